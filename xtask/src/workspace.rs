//! Where things are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process;

/// The workspace, as cargo sees it.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The folder of the top `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Where everything is built, `CARGO_TARGET_DIR` and cargo's configuration considered.
    pub(crate) target: PathBuf,
    /// The oldest compiler that the workspace builds with, as `[1, 95]`.
    pub(crate) rust_version: Vec<u64>,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn find() -> Result<Self> {
        let mut cargo = Command::new(cargo());
        cargo.args(["metadata", "--format-version", "1", "--no-deps"]).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        let metadata: Value = serde_json::from_str(&process::output(&mut cargo)?).context("reading what `cargo metadata` says")?;
        let folder = |key: &str| metadata[key].as_str().map(PathBuf::from).with_context(|| format!("`cargo metadata` names no {key}"));
        let own = metadata["packages"].as_array().into_iter().flatten().find(|package| package["name"] == env!("CARGO_PKG_NAME"));
        let rust_version = own.and_then(|package| package["rust_version"].as_str()).context("`cargo metadata` names no rust_version")?;
        Ok(Self { root: folder("workspace_root")?, target: folder("target_directory")?, rust_version: version(rust_version) })
    }

    /// Where the engines lie as components.
    pub(crate) fn engines(&self) -> PathBuf {
        self.target.join("engines")
    }

    /// A cargo command in this workspace.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(cargo());
        command.current_dir(&self.root);
        if self.target != self.root.join("target") {
            // The host's build script would look in the wrong place when the folder comes from cargo's configuration.
            command.env("PILOTHOUSE_ENGINES_DIR", self.engines());
        }
        command
    }
}

/// The cargo that runs us, so that a `+toolchain` holds for what we call too.
fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// Writes a file, unless it has these bytes already, and tells whether it had to. The new file takes the old one's place at once, so nobody
/// reads half of it.
pub(crate) fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    let new = path.with_extension("new");
    fs::write(&new, bytes).and_then(|()| fs::rename(&new, path)).with_context(|| format!("writing {}", path.display()))?;
    Ok(true)
}

/// The numbers of the first version in a text: `nats-server: v2.11.3-beta` is `[2, 11, 3]`. Empty when there is none.
pub(crate) fn version(text: &str) -> Vec<u64> {
    let word = text.split_whitespace().map(|word| word.trim_start_matches('v')).find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let numbers = word.into_iter().flat_map(|word| word.split(|c: char| !c.is_ascii_digit()));
    numbers.map_while(|number| number.parse().ok()).take(3).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_in_what_a_program_says() {
        assert_eq!(version("nats-server: v2.15.1"), [2, 15, 1]);
        assert_eq!(version("nats-server: v2.12.0-beta.1"), [2, 12, 0]);
        assert_eq!(version("1.96.0+dfsg1-1~deb12u2"), [1, 96, 0]);
        assert_eq!(version("1.95"), [1, 95]);
        assert_eq!(version("no version at all"), [0; 0]);
    }

    #[test]
    fn versions_compare_number_by_number() {
        assert!(version("v2.9.10") < version("v2.11"));
        assert!(version("2.11.0") >= version("2.11"));
    }

    #[test]
    fn the_workspace_is_this_one() {
        let workspace = Workspace::find().unwrap();
        assert!(workspace.root.join("engines/simplest").is_dir());
        assert!(workspace.rust_version >= vec![1, 80]);
    }
}
