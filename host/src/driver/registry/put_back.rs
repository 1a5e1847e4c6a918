//! Putting back what a backup says of an engine.

use pilothouse_core::command::ApiError;
use pilothouse_core::name::Name;

use super::{ATTEMPTS, Entry, Registry, unavailable};

/// What became of an entry of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutBack {
    /// Nothing was said of the engine, and now it is what the backup says.
    Added,
    /// Something else was said. All that the backup knows is said now beside it, with the backup's pin and limits.
    Merged,
    /// All that the backup knows is said already.
    Unchanged,
    /// Something else is said, and stays: why.
    LeftAlone(String),
}

impl Registry {
    /// Has the registry say of an engine what a backup knows of it ([`Entry::with_backup`]): where something else is said, only with
    /// `merge`. All components that it names have to be in the store. In a dry run nothing is written.
    ///
    /// # Errors
    /// `unavailable` when JetStream does not answer: then it may be written.
    pub async fn put_back(&self, name: &Name, backup: &Entry, merge: bool, dry_run: bool) -> Result<PutBack, ApiError> {
        for _ in 0..ATTEMPTS {
            let (revision, here) = match self.read(name).await {
                Ok(read) => read,
                Err(ApiError::Conflict { message }) => return Ok(PutBack::LeftAlone(message)),
                Err(error) => return Err(error),
            };
            let here = here.unwrap_or_default();
            let (next, outcome) = match here.with_backup(backup) {
                Ok(next) if next == here => return Ok(PutBack::Unchanged),
                Ok(next) if here.says_nothing() => (next, PutBack::Added),
                Ok(next) if merge => (next, PutBack::Merged),
                Ok(_) => return Ok(PutBack::LeftAlone("the registry says something else of this engine".to_owned())),
                Err(why) => return Ok(PutBack::LeftAlone(why)),
            };
            if dry_run || self.put(name, revision, &next).await?.is_some() {
                return Ok(outcome);
            }
        }
        Err(unavailable(format!("{name} is being changed by too many at once")))
    }
}
