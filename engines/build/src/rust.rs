//! Rust: cargo builds a core module for `wasm32-unknown-unknown`, of which a component is made.
//!
//! The target has no operating system, so there is nothing that a module could import but what the contract offers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::tools::Tools;
use crate::{BuildError, Component, Language, command, component};

/// What engines are built for.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Builds the project with the cargo on the PATH.
pub(crate) fn build(folder: &Path, tools: &Tools) -> Result<Component, BuildError> {
    if !has_target(folder, tools)? {
        return Err(BuildError::MissingTool {
            tool: "the target wasm32-unknown-unknown",
            language: Language::Rust,
            looked: "in the toolchain in use".to_owned(),
            remedy: format!("`rustup target add {TARGET}`"),
        });
    }
    let mut cargo = Command::new(find("cargo", tools)?);
    cargo.current_dir(folder);
    build_with(cargo, folder)
}

/// Builds the project in a folder with a cargo that somebody has prepared: another compiler, another target folder. It must have no
/// arguments that are subcommands, and run in the project's folder.
///
/// # Errors
/// When cargo fails, the project makes no module, or what it makes is no engine.
pub fn build_with(mut cargo: Command, folder: &Path) -> Result<Component, BuildError> {
    cargo.args(["build", "--release", "--target", TARGET, "--message-format", "json-render-diagnostics"]);
    let said = command::output(&mut cargo)?;
    let manifest = folder.join(Language::Rust.mark());
    let module = module(&said, &manifest).ok_or_else(|| BuildError::NoModule { folder: folder.to_owned() })?;
    component::encode(&fs::read(&module).map_err(BuildError::file("reading", &module))?)
}

/// The module that cargo made of the package itself, and not of something that it depends on.
fn module(said: &str, manifest: &Path) -> Option<PathBuf> {
    let artifacts = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let own = artifacts.filter(|it| it["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest));
    let files = own.flat_map(|it| it["filenames"].as_array().cloned().unwrap_or_default());
    files.filter_map(|file| file.as_str().map(PathBuf::from)).find(|file| file.extension().is_some_and(|it| it == "wasm"))
}

/// Adds the target to the toolchain that is in use in the folder.
pub(crate) fn provide(folder: &Path, tools: &Tools, say: &mut dyn FnMut(&str)) -> Result<(), BuildError> {
    if has_target(folder, tools)? {
        return Ok(());
    }
    let rustup = find("rustup", tools)?;
    say(&format!("adding the target {TARGET} to the Rust toolchain with rustup"));
    command::output(Command::new(rustup).current_dir(folder).args(["target", "add", TARGET])).map(drop)
}

/// Whether the toolchain that is in use in the folder has the target's standard library.
fn has_target(folder: &Path, tools: &Tools) -> Result<bool, BuildError> {
    let mut rustc = Command::new(find("rustc", tools)?);
    let library = command::output(rustc.current_dir(folder).args(["--print", "target-libdir", "--target", TARGET]))?;
    Ok(Path::new(library.trim()).is_dir())
}

fn find(tool: &'static str, tools: &Tools) -> Result<PathBuf, BuildError> {
    tools.program(tool).ok_or_else(|| BuildError::MissingTool {
        tool,
        language: Language::Rust,
        looked: "on the PATH".to_owned(),
        remedy: "rustup, from https://rustup.rs".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_of_the_project_is_told_from_those_of_others() {
        let said = r#"{"reason":"compiler-artifact","manifest_path":"/dep/Cargo.toml","filenames":["/t/dep.wasm"]}
            {"reason":"compiler-artifact","manifest_path":"/own/Cargo.toml","filenames":["/t/libown.rlib","/t/own.wasm"]}
            {"reason":"build-finished","success":true}"#;
        assert_eq!(module(said, Path::new("/own/Cargo.toml")), Some(PathBuf::from("/t/own.wasm")));
        assert_eq!(module(said, Path::new("/third/Cargo.toml")), None);
    }
}
