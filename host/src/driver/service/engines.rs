//! Operations on engines: what is pushed into the registry, and what is said of it.
//!
//! Any host pushes and lists; what depends on all domains, the owner of the domains does.

mod change;
mod push;
mod remove;
mod show;
mod sweep;
mod usage;

use std::collections::BTreeMap;

use pilothouse_core::command::ApiError;
use pilothouse_core::name::Name;
use semver::Version;

use super::unavailable;
use crate::driver::host::Domains;
use crate::driver::registry::{What, Wish};
use crate::store::Journal;

impl<J: Journal> Domains<J> {
    /// What somebody wants of an engine, now.
    fn wish(&self, user: &Name, name: &Name, what: What) -> Wish {
        let built_in: BTreeMap<Version, String> = self.shared.engines.built_in(name);
        Wish { what, by: user.clone(), at: self.shared.clock.now(), built_in }
    }
}

/// A version, whole.
fn version_of(at: &str, text: &str) -> Result<Version, ApiError> {
    let shown = || text.chars().take(80).collect::<String>();
    Version::parse(text).map_err(|error| ApiError::invalid(at, format!("{:?} is no version: {error}; expected one such as 1.2.0", shown())))
}
