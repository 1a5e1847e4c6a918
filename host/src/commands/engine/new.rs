//! `pilothouse engine new`: a project that builds and passes its tests as it stands.

mod project;
mod sdk;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::ValueEnum;
use pilothouse_core::name::Name;
use serde::Serialize;

use self::project::Project;
use super::build::{component_name, typed};
use crate::failure::Failure;
use crate::output::{Format, clean};

/// Names that a project can't have: those of the engines that are built in, of what a project depends on, and what Rust does not take as
/// the name of a crate.
const TAKEN: [&str; 13] = [
    "simplest",
    "npreserving",
    "sensor",
    "pilothouse-engine",
    "schemars",
    "serde",
    "postcard",
    "test",
    "core",
    "std",
    "alloc",
    "proc-macro",
    "build",
];

/// The words that Rust keeps for itself, as far as they look like names.
const KEYWORDS: &str = "abstract as async await become box break const continue crate do dyn else enum extern false final fn for gen if \
    impl in let loop macro match mod move mut override priv pub ref return self static struct super trait true try type typeof unsafe \
    unsized use virtual where while yield";

/// Writes a project for an engine of your own
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pilothouse engine new my-engine
  pilothouse engine new my-engine --lang python --path engines/mine

The project builds and passes its tests as it stands; its README says how. A project in Rust brings the SDK along, as that is in no registry.")]
pub(super) struct NewArgs {
    /// What the engine is called: small letters, digits and `-`, a letter first
    #[arg(value_name = "NAME")]
    name: String,
    /// In which language
    #[arg(long = "lang", value_name = "LANGUAGE", value_enum, default_value_t = Lang::Rust)]
    lang: Lang,
    /// Where to [default: a folder of that name, here]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

/// What a project can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Lang {
    Rust,
    Python,
    #[value(name = "javascript")]
    JavaScript,
}

/// What was made.
#[derive(Debug, Serialize)]
struct Made {
    name: String,
    language: Lang,
    folder: PathBuf,
    files: usize,
    /// What to do next, in the order in which to do it.
    next: Vec<String>,
}

/// Writes the project.
pub(super) fn run(args: NewArgs, output: Format) -> anyhow::Result<()> {
    let NewArgs { name, lang, path } = args;
    judge(&name)?;
    let folder = path.unwrap_or_else(|| PathBuf::from(&name));
    let file = component(&folder)?;
    empty(&folder)?;
    let project = Project::new(&name, lang, &file);
    for (path, text) in &project.files {
        let path = folder.join(path);
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(&folder))?;
            fs::write(&path, text)
        };
        write().with_context(|| format!("writing {}", path.display()))?;
    }
    let made = Made { name, language: lang, folder, files: project.files.len(), next: project.next };
    output.print(&made, text)?;
    Ok(())
}

fn text(made: &Made) -> String {
    let folder = clean(&made.folder.display().to_string());
    let mut text = format!("made {folder}: an engine that keeps a number of instances alive\n\n  cd {}\n", typed(&made.folder));
    for line in &made.next {
        text += &format!("  {line}\n");
    }
    text
}

fn judge(name: &str) -> Result<(), Failure> {
    let is_letter = |c: char| c.is_ascii_lowercase();
    let fits = name.starts_with(is_letter) && name.chars().all(|c| is_letter(c) || c.is_ascii_digit() || c == '-');
    if !fits || name.parse::<Name>().is_err() {
        let shown: String = name.chars().take(80).collect();
        return Err(Failure::Invalid(format!(
            "{shown:?} can't be the name of a project: use 1 to 63 small letters, digits or `-`, a letter first"
        )));
    }
    if TAKEN.contains(&name) || KEYWORDS.split_whitespace().any(|keyword| keyword == name) {
        return Err(Failure::Conflict(format!("{name} is the name of something else; take another one")));
    }
    Ok(())
}

/// What is there is nobody's to overwrite.
fn empty(folder: &Path) -> anyhow::Result<()> {
    match fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Failure::Conflict(format!("{} is not empty", folder.display())).into()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(Failure::Conflict(format!("{} is a file", folder.display())).into())
        }
        Err(error) => Err(error).with_context(|| format!("looking into {}", folder.display())),
    }
}

/// The name of the component that `pilothouse engine build` makes: that of the folder. It stands in the project's files and in the commands
/// that they tell, so it must mean nothing else there.
fn component(folder: &Path) -> Result<String, Failure> {
    let name = component_name(folder).unwrap_or_default();
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.starts_with('-') || !name.chars().all(fits) {
        return Err(Failure::Invalid(format!(
            "a project can't be in the folder {name:?}: its component is called as the folder is, so that may have letters, digits, `_`, \
             `-` and `.`, and not begin with `-`; take another one with --path"
        )));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_everything_takes() {
        for good in ["a", "my-engine", "keep3", &"x".repeat(63)] {
            assert!(judge(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "3a", "My", "a_b", "a.b", "a b", "../a", "é", &"x".repeat(64)] {
            assert!(matches!(judge(bad), Err(Failure::Invalid(_))), "{bad}");
        }
        for taken in ["simplest", "match", "test", "pilothouse-engine"] {
            assert!(matches!(judge(taken), Err(Failure::Conflict(_))), "{taken}");
        }
    }

    #[test]
    fn the_component_is_called_as_its_folder_if_files_and_commands_take_that() {
        for (folder, name) in [("engines/mine", "mine"), ("my engines/mine_2.x-y", "mine_2.x-y")] {
            assert_eq!(component(Path::new(folder)).ok().as_deref(), Some(name));
        }
        for bad in ["we\"ird", "my engine", "a\nb", "$HOME", "it's", "-x", "none/..", "/", "a/b;c"] {
            assert!(matches!(component(Path::new(bad)), Err(Failure::Invalid(_))), "{bad}");
        }
    }
}
