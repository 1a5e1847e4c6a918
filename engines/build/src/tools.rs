//! Where the tools of a language are looked for, and the one step that installs them.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::{BuildError, Language, javascript, python, rust};

/// Where tools are looked for: first in the project itself, then in the folders named here, then on the PATH.
///
/// In a folder, Python's tools lie in a virtual environment `.venv`, JavaScript's in `node_modules`: as [`provide`] puts them.
#[derive(Debug, Clone)]
pub struct Tools {
    folders: Vec<PathBuf>,
    path: OsString,
}

impl Default for Tools {
    fn default() -> Self {
        Self { folders: Vec::new(), path: env::var_os("PATH").unwrap_or_default() }
    }
}

impl Tools {
    /// Looks also in this folder, which [`provide`] may have filled.
    #[must_use]
    pub fn and_in(mut self, folder: &Path) -> Self {
        self.folders.push(folder.to_owned());
        self
    }

    /// Looks for programs along this list of folders instead of the PATH of this process.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<OsString>) -> Self {
        self.path = path.into();
        self
    }

    /// The folders that come before the PATH, the project first.
    pub(crate) fn folders<'a>(&'a self, project: &'a Path) -> impl Iterator<Item = &'a Path> {
        std::iter::once(project).chain(self.folders.iter().map(PathBuf::as_path))
    }

    /// Where a program is on the PATH.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        env::split_paths(&self.path).map(|folder| folder.join(name)).find(|path| path.is_file())
    }

    /// Where was looked, in words.
    pub(crate) fn looked(&self, project: &Path, below: &str) -> String {
        let folders: Vec<String> = self.folders(project).map(|folder| folder.join(below).display().to_string()).collect();
        format!("in {}", folders.join(", "))
    }
}

/// Installs what building a language's engines takes, unless it is there. For Python and JavaScript into a folder, which is made if it is
/// not there: a project's own, or one that many projects share through [`Tools::and_in`]. For Rust the target is added to the toolchain.
///
/// `say` is told, before anything is installed, what and where to.
///
/// # Errors
/// When the language itself is not on the machine (its error says how to get it), or the installer fails, most often for lack of a network.
pub fn provide(language: Language, folder: &Path, say: &mut dyn FnMut(&str)) -> Result<(), BuildError> {
    std::fs::create_dir_all(folder).map_err(BuildError::file("making", folder))?;
    let folder = &folder.canonicalize().map_err(BuildError::file("opening", folder))?;
    let tools = Tools::default();
    match language {
        Language::Rust => rust::provide(folder, &tools, say),
        Language::Python => python::provide(folder, &tools, say),
        Language::JavaScript => javascript::provide(folder, &tools, say),
    }
}
