//! Why nothing was built.

use std::io;
use std::path::{Path, PathBuf};

use crate::Language;

/// Why nothing was built, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Nothing in the folder says that it holds an engine.
    #[error(
        "{} holds no engine project: expected a Cargo.toml (Rust), a package.json (JavaScript) or an app.py (Python)",
        folder.display()
    )]
    NoProject {
        /// Which folder.
        folder: PathBuf,
    },
    /// The folder holds projects in several languages.
    #[error("{} holds more than one project ({}): give each a folder of its own", folder.display(), marks.join(", "))]
    Ambiguous {
        /// Which folder.
        folder: PathBuf,
        /// The files that each mean another language.
        marks: Vec<&'static str>,
    },
    /// A program that is needed is nowhere.
    #[error("{tool} is needed for {language} engines and was not found {looked}; get it with {remedy}")]
    MissingTool {
        /// Which tool.
        tool: &'static str,
        /// What needs it.
        language: Language,
        /// Where it was looked for.
        looked: String,
        /// How to get it.
        remedy: String,
    },
    /// A program is there, but too old.
    #[error("{tool} is {found}, and {needed} or newer is needed; get it with {remedy}")]
    OldTool {
        /// Which tool.
        tool: &'static str,
        /// What it says of itself.
        found: String,
        /// The oldest that does.
        needed: &'static str,
        /// How to get a newer one.
        remedy: String,
    },
    /// A program could not be started.
    #[error("starting {command}: {source}")]
    Start {
        /// As one would type it.
        command: String,
        /// Why not.
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("{command} failed ({status}):\n{said}")]
    Failed {
        /// As one would type it.
        command: String,
        /// How it ended.
        status: String,
        /// The end of what it said.
        said: String,
    },
    /// A file could not be read or written.
    #[error("{doing} {}: {source}", path.display())]
    File {
        /// What was being done to it.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The `package.json` makes no sense.
    #[error("{}: {problem}", path.display())]
    Package {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A Rust project that makes no module.
    #[error("{} makes no module: put `crate-type = [\"cdylib\"]` into the section [lib] of its Cargo.toml", folder.display())]
    NoModule {
        /// Which folder.
        folder: PathBuf,
    },
    /// A module of which no component can be made.
    #[error("making a component of the module: {0}")]
    Encode(String),
    /// What was built is no component.
    #[error("what was built is no component: {0}")]
    NoComponent(String),
    /// What was built asks for more than a host serves.
    #[error(
        "it imports what no host serves: {}. Beside the contract there is WASI 0.2 without http, and in it no files and no network",
        .0.join(", ")
    )]
    ForeignImports(Vec<String>),
    /// What was built does not export an engine.
    #[error("it does not export the interface `pilothouse:engine/engine`")]
    NoEngine,
}

impl BuildError {
    /// For `map_err`: what was done to which file.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { doing, path, source }
    }
}
