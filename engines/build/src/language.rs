//! In which language a project is written.

use std::fmt;
use std::path::Path;

use crate::BuildError;

/// What engines can be written in here. Every other language that compiles to components will do as well, with tools of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Language {
    /// A crate with `crate-type = ["cdylib"]`.
    Rust,
    /// A module `app` with a class `Engine`.
    Python,
    /// An ES module that exports an object `engine`, named by `main` in `package.json`, else `engine.js`.
    JavaScript,
}

impl Language {
    const ALL: [Self; 3] = [Self::Rust, Self::Python, Self::JavaScript];

    /// In which language the project in a folder is written, by the file that each language's projects have.
    ///
    /// # Errors
    /// When none of these files is there, or more than one.
    pub fn of(folder: &Path) -> Result<Self, BuildError> {
        let found: Vec<Self> = Self::ALL.into_iter().filter(|language| folder.join(language.mark()).is_file()).collect();
        match found[..] {
            [language] => Ok(language),
            [] => Err(BuildError::NoProject { folder: folder.to_owned() }),
            _ => Err(BuildError::Ambiguous { folder: folder.to_owned(), marks: found.iter().map(|language| language.mark()).collect() }),
        }
    }

    /// The file by which a project is known.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::Python => "app.py",
            Self::JavaScript => "package.json",
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "Rust",
            Self::Python => "Python",
            Self::JavaScript => "JavaScript",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for file in files {
            fs::write(folder.path().join(file), "").expect("written");
        }
        folder
    }

    #[test]
    fn a_project_is_known_by_its_file() {
        for (file, language) in [("Cargo.toml", Language::Rust), ("app.py", Language::Python), ("package.json", Language::JavaScript)] {
            assert_eq!(Language::of(folder(&[file, "README.md"]).path()).expect("it is known"), language);
        }
    }

    #[test]
    fn a_folder_without_a_project_is_told_what_was_expected() {
        let error = Language::of(folder(&["README.md"]).path()).expect_err("no project").to_string();
        assert!(["Cargo.toml", "package.json", "app.py"].iter().all(|file| error.contains(file)), "{error}");
    }

    #[test]
    fn a_folder_with_two_projects_is_refused_with_both() {
        let error = Language::of(folder(&["Cargo.toml", "app.py"]).path()).expect_err("two projects").to_string();
        assert!(error.contains("Cargo.toml, app.py"), "{error}");
    }
}
