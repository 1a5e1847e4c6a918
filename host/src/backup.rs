//! Backups: everything that a cluster of hosts needs for going on, as one file.
//!
//! A backup holds the state of every domain as its journal said it, the definitions, what the registry says of engines, and the components
//! that a domain or a version needs. It does not hold what happened before, readings, secrets, or credentials. It is read from JetStream
//! directly, so it needs no host, and is made while hosts run: every domain is consistent in itself, and domains of one backup may be some
//! seconds apart.
//!
//! The file is text, a JSON object a line: a header with the version, one line for each thing, and a trailer with the counts and the
//! SHA-256 of all that is before it. So a file that was cut off or altered is found out before anything of it is restored.
//!
//! A restore appends one record to the journal of each domain, fenced like every append: [`Event::Restored`] makes void whatever was before.
//! Its epoch is one that no provisioner has seen, so hosts of the restored journal are believed, and those of a journal that was lost are not.
//!
//! [`Event::Restored`]: pilothouse_core::record::Event::Restored

mod file;
mod line;
mod make;
mod progress;
mod restore;
mod server;

pub(crate) use file::FileError;
pub(crate) use make::{Made, MakeError, make};
pub(crate) use restore::{Outcome, Restore, RestoreError, RestoreReport, restore};
pub(crate) use server::{Server, ServerError};
