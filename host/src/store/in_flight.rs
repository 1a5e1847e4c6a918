//! One append at a time in a domain, checked.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use pilothouse_core::name::DomainKey;

use super::JournalError;

/// The domains that have an append in flight.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    domains: Mutex<BTreeSet<DomainKey>>,
}

/// The right to append to one domain, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    all: &'a InFlight,
    key: &'a DomainKey,
}

impl InFlight {
    /// # Errors
    /// When there is one already.
    pub(crate) fn enter<'a>(&'a self, key: &'a DomainKey) -> Result<Turn<'a>, JournalError> {
        let fresh = self.domains.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        if fresh { Ok(Turn { all: self, key }) } else { Err(JournalError::Busy { key: key.clone() }) }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.all.domains.lock().unwrap_or_else(PoisonError::into_inner).remove(self.key);
    }
}
