//! Makes components of engine projects: a folder with an engine in Rust, Python or JavaScript goes in, the bytes of a component come out,
//! checked to import nothing but what a host serves.
//!
//! - [`Language::of`] tells in which language a folder is written.
//! - [`build`] runs the language's own tools on it; [`build_if_changed`] only when something changed since the last time,
//!   [`build_anyway`] into the same file whatever changed.
//! - [`provide`] installs those tools into a folder, and says so. Nothing else in here installs anything: a tool that is missing is an
//!   error that tells how to get it.
//! - [`component`] is the last step of all three, for those who have a module or a component already.
//!
//! What is not done here: loading and running what was built (that is the host's business), and starting new projects.

mod changes;
mod command;
pub mod component;
mod contract;
mod error;
mod javascript;
mod language;
mod python;
pub mod rust;
mod tools;

use std::path::Path;

pub use changes::{Built, build_anyway, build_if_changed};
pub use component::Component;
pub use error::BuildError;
pub use language::Language;
pub use tools::{Tools, provide};

/// Builds the engine in a folder. Takes from a second to a minute, most of it in other programs.
///
/// # Errors
/// When the folder holds no project or more than one, a tool is missing or fails, or what comes out is no engine.
pub fn build(folder: &Path, tools: &Tools) -> Result<Component, BuildError> {
    let folder = &folder.canonicalize().map_err(BuildError::file("opening", folder))?;
    match Language::of(folder)? {
        Language::Rust => rust::build(folder, tools),
        Language::Python => python::build(folder, tools),
        Language::JavaScript => javascript::build(folder, tools),
    }
}
