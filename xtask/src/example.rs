//! The example engines: folders in `examples` with a project in Rust, Python or JavaScript.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use pilothouse_engine_build::{Built, Language, Tools, build_if_changed, provide, rust};

use crate::wasm_target;
use crate::workspace::{Workspace, write_if_changed};

/// An example engine.
#[derive(Debug)]
pub(crate) struct Example {
    name: String,
    folder: PathBuf,
    language: Language,
}

/// All of them, by name. Examples that are no engines are left out.
pub(crate) fn all(workspace: &Workspace) -> Result<Vec<Example>> {
    let folder = workspace.root.join("examples");
    let mut examples = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let folder = entry?.path();
        if let Ok(language) = Language::of(&folder) {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            examples.push(Example { name, folder, language });
        }
    }
    examples.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(examples)
}

/// Prints what there is.
pub(crate) fn list(workspace: &Workspace) -> Result<()> {
    for Example { name, language, .. } in all(workspace)? {
        println!("{name:<24} {language}");
    }
    Ok(())
}

/// Sets up what is missing, builds one, and says what came of it.
pub(crate) fn build(workspace: &Workspace, name: &str) -> Result<()> {
    let examples = all(workspace)?;
    let Some(example) = examples.iter().find(|example| example.name == name) else {
        let names: Vec<&str> = examples.iter().map(|example| example.name.as_str()).collect();
        bail!("no example engine is named {name:?}; there are {}", names.join(", "));
    };
    let path = workspace.target.join("examples").join(format!("{name}.wasm"));
    let Built { component, fresh } = if example.language == Language::Rust {
        with_cargo(workspace, &example.folder, &path)?
    } else {
        provide_tools(workspace, &[example.language])?;
        build_if_changed(&example.folder, &Tools::default().and_in(&tools(workspace)), &path)?
    };
    let note = if fresh { "" } else { ", unchanged" };
    let size = component.bytes().len().div_ceil(1024);
    eprintln!("example {name}: {} ({size} KiB, imports {}{note})", path.display(), component.imports().join(", "));
    Ok(())
}

/// Builds those in Rust. The tests take them as they lie there, like the engines that ship.
pub(crate) fn build_rust(workspace: &Workspace) -> Result<()> {
    let all = all(workspace)?;
    all.iter().filter(|example| example.language == Language::Rust).try_for_each(|example| build(workspace, &example.name))
}

/// They belong to the workspace, whose release profile is that of the host. An engine wants to be small, and has no use for debug
/// information.
const LEAN: [(&str, &str); 4] = [
    ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
    ("CARGO_PROFILE_RELEASE_STRIP", "true"),
    ("CARGO_PROFILE_RELEASE_LTO", "true"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
];

/// With the compiler that builds the engines that ship, which need not be one that has the target.
fn with_cargo(workspace: &Workspace, folder: &Path, path: &Path) -> Result<Built> {
    let compiler = wasm_target::provide(workspace)?;
    let mut cargo = compiler.cargo(workspace);
    cargo.current_dir(folder).env("CARGO_TARGET_DIR", compiler.target_dir(workspace)).envs(LEAN);
    let component = rust::build_with(cargo, folder)?;
    fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
    let fresh = write_if_changed(path, component.bytes())?;
    Ok(Built { component, fresh })
}

/// Installs what the examples are built with, except what the engines that ship need as well.
pub(crate) fn provide_all_tools(workspace: &Workspace) -> Result<()> {
    let mut languages: Vec<Language> = all(workspace)?.into_iter().map(|example| example.language).collect();
    languages.sort();
    languages.dedup();
    languages.retain(|language| *language != Language::Rust);
    provide_tools(workspace, &languages)
}

fn provide_tools(workspace: &Workspace, languages: &[Language]) -> Result<()> {
    for &language in languages {
        provide(language, &tools(workspace), &mut |what| eprintln!("set-up: {what}"))
            .with_context(|| format!("setting up what builds the {language} examples"))?;
    }
    Ok(())
}

/// Where they are installed: in one folder for all examples. The tests of the examples look there.
fn tools(workspace: &Workspace) -> PathBuf {
    workspace.target.join("tools")
}
