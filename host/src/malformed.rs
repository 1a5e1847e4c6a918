//! What could not be used: counted by kind, reported at a bounded rate.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pilothouse_core::message::{Malformed, MalformedKind};

/// At most one report of each kind in this time; what comes between is only counted.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Counts of one process: a host, or a provisioner.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    kinds: Mutex<BTreeMap<MalformedKind, Kind>>,
}

#[derive(Debug, Default)]
struct Kind {
    count: u64,
    unreported: u64,
    reported: Option<Instant>,
}

impl Ledger {
    /// Takes note of a message that came on `subject` and can't be used.
    pub(crate) fn note(&self, subject: &str, malformed: &Malformed) {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = kinds.entry(malformed.kind).or_default();
        kind.count += 1;
        if kind.reported.is_some_and(|last| last.elapsed() < REPORT_EVERY) {
            kind.unreported += 1;
            return;
        }
        kind.reported = Some(Instant::now());
        let more = std::mem::take(&mut kind.unreported);
        let subject: String = subject.chars().take(200).collect();
        tracing::warn!(subject, kind = malformed.kind.name(), reason = %malformed, unreported_before = more, total = kind.count, "message refused");
    }

    /// How many there were of each kind.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.iter().map(|(kind, counted)| (kind.name(), counted.count)).collect()
    }
}
