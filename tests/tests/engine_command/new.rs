//! `pilothouse engine new` and `build`: a project builds, passes its tests and is an engine, as it stands, with the tools that its author has.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::program::{pilothouse, run};

/// The target folder that this test was built into: `target/debug/deps/engine_command-…`.
fn target() -> Result<PathBuf> {
    Ok(env::current_exe()?.ancestors().nth(3).context("a test is three folders deep")?.to_owned())
}

/// A folder with a project in it, called `kept` for an engine called `keep`.
fn project(language: &str) -> Result<(TempDir, PathBuf)> {
    let folder = tempfile::tempdir()?;
    let made = pilothouse(folder.path(), &format!("engine new keep --lang {language} --path kept"))?;
    made.ends(0)?.says("\n  cd kept\n")?.says("\n  pilothouse engine check kept.wasm\n")?;
    let project = folder.path().join("kept");
    Ok((folder, project))
}

/// It is an engine.
fn serves(project: &Path) -> Result<()> {
    pilothouse(project, "engine check kept.wasm --quick")?
        .ends(0)?
        .says("keep 0.1.0  kept.wasm, ")?
        .says("A host can rely on it: ")
        .map(drop)
}

#[test]
fn a_project_in_rust_passes_its_tests_and_becomes_an_engine() -> Result<()> {
    let (_folder, project) = project("rust")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // The versions that are here already: what is tried is the project, not the registry.
    fs::copy(root.join("Cargo.lock"), project.join("Cargo.lock"))?;
    let cargo = || {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&project);
        cargo
    };
    let tested = run(cargo().args(["test", "--quiet"]).env("CARGO_TARGET_DIR", target()?), "cargo test")?;
    tested.ends(0)?.says("6 passed")?;

    let mut build = Command::new(env!("CARGO_BIN_EXE_pilothouse-under-test"));
    build.args(["engine", "build"]).current_dir(&project).env("CARGO_TARGET_DIR", target()?);
    let built = run(&mut build, "engine build")?;
    let library = run(Command::new("rustc").args(["--print", "target-libdir", "--target", "wasm32-unknown-unknown"]), "rustc")?;
    if !Path::new(library.ends(0)?.stdout().trim()).is_dir() {
        // A compiler that can't build engines: then that is what is said, and how to change it.
        return built.ends(5)?.complains("rustup target add wasm32-unknown-unknown").map(drop);
    }
    built.ends(0)?.says("kept.wasm: ")?.says("imports control, log, state, types")?;
    serves(&project)?;
    let mut simulate = Command::new(env!("CARGO_BIN_EXE_pilothouse-under-test"));
    simulate.args(["simulate", "scenario.toml"]).current_dir(&project).env("XDG_CACHE_HOME", project.join("cache"));
    run(&mut simulate, "simulate")?.ends(0)?.says("4 decisions, 0 faults")?.says("3 of 3 healthy")?;
    let again = run(&mut build, "engine build")?;
    again.ends(0)?.says("nothing has changed").map(drop)
}

#[test]
fn a_project_in_python_passes_its_tests_and_becomes_an_engine() -> Result<()> {
    let (_folder, project) = project("python")?;
    let tested = run(Command::new("python3").args(["-B", "-m", "unittest"]).current_dir(&project), "python3 -m unittest")?;
    tested.ends(0)?.complains("\nOK")?;
    builds_with_what_is_installed(&project, ".venv")
}

#[test]
fn a_project_in_javascript_passes_its_tests_and_becomes_an_engine() -> Result<()> {
    let (_folder, project) = project("javascript")?;
    let tested = run(Command::new("node").arg("--test").current_dir(&project), "node --test")?;
    tested.ends(0)?.says("# fail 0")?;
    builds_with_what_is_installed(&project, "node_modules")
}

/// Without its tools it is told how to get them; with those that `cargo xtask setup` installed, as if they were the project's own, it builds.
fn builds_with_what_is_installed(project: &Path, tools: &str) -> Result<()> {
    let installed = target()?.join("tools").join(tools);
    ensure!(installed.is_dir(), "{} is not there: `cargo xtask setup` sets it up", installed.display());
    let without = pilothouse(project, "engine build")?;
    without.ends(5)?.complains("pilothouse engine build --install-tools")?;
    symlink(installed, project.join(tools))?;
    pilothouse(project, "engine build")?
        .ends(0)?
        .says("imports control, log, state, types, wasi:cli, wasi:clocks, wasi:filesystem, wasi:io, ")?;
    pilothouse(project, "engine build")?.ends(0)?.says("nothing has changed")?;
    let forced = pilothouse(project, "engine build --force")?;
    ensure!(!forced.ends(0)?.stdout().contains("nothing has changed"), "{}", forced.stdout());
    serves(project)
}

#[test]
fn what_is_there_is_not_written_over() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::create_dir(folder.path().join("keep"))?;
    pilothouse(folder.path(), "engine new keep")?.ends(0)?;
    pilothouse(folder.path(), "engine new keep")?.ends(4)?.complains("keep is not empty")?;
    fs::write(folder.path().join("file"), "")?;
    pilothouse(folder.path(), "engine new other --path file")?.ends(4)?.complains("file is a file").map(drop)
}

#[test]
fn a_name_that_can_not_be_one_is_refused_before_anything_is_written() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (name, code) in [("Keep", 2), ("3keep", 2), ("../keep", 2), ("simplest", 4), ("match", 4)] {
        pilothouse(folder.path(), &format!("engine new {name}"))?.ends(code)?;
    }
    pilothouse(folder.path(), "engine new keep --lang cobol")?.ends(2)?.complains("javascript")?;
    ensure!(fs::read_dir(folder.path())?.count() == 0, "something was written");
    Ok(())
}

#[test]
fn a_folder_that_would_not_stand_in_files_and_commands_is_refused_before_anything_is_written() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for bad in ["we\"ird", "a$b", "it's", "none/.."] {
        let refused = pilothouse(folder.path(), &format!("engine new keep --path {bad}"))?;
        refused.ends(2)?.complains("take another one with --path")?;
    }
    ensure!(fs::read_dir(folder.path())?.count() == 0, "something was written");
    Ok(())
}

#[test]
fn what_is_told_can_be_typed_where_folders_have_spaces() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let made = {
        let mut new = Command::new(env!("CARGO_BIN_EXE_pilothouse-under-test"));
        new.args(["engine", "new", "keep", "--path", "my engines/kept"]).current_dir(folder.path());
        run(&mut new, "engine new")?
    };
    made.ends(0)?.says("\n  cd 'my engines/kept'\n")?;
    let changes = made.stdout().lines().find(|line| line.starts_with("  cd ")).context("it says where to go")?.to_owned();
    let there = run(Command::new("sh").arg("-c").arg(format!("{changes} && pwd")).current_dir(folder.path()), "sh")?;
    there.ends(0)?.says("my engines/kept").map(drop)
}

#[test]
fn a_project_is_called_as_the_folder_that_a_link_leads_to() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::create_dir(folder.path().join("kept"))?;
    symlink("kept", folder.path().join("link"))?;
    let made = pilothouse(folder.path(), "engine new keep --path link")?;
    made.ends(0)?.says("\n  cd link\n")?.says("\n  pilothouse engine check kept.wasm\n")?;
    ensure!(fs::read_to_string(folder.path().join("kept/domain.toml"))?.contains("\"kept.wasm\""), "the domain names another file");
    Ok(())
}

#[test]
fn what_was_made_is_told_as_json() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let made = pilothouse(folder.path(), "engine new keep --output json")?.ends(0)?.json()?;
    ensure!(made["folder"] == "keep" && made["language"] == "rust" && made["next"][0] == "cargo test", "{made}");
    let files = made["files"].as_u64().context("a count")?;
    ensure!(files > 20, "{made}");
    Ok(())
}

#[test]
fn what_is_no_project_is_not_built() -> Result<()> {
    let folder = tempfile::tempdir()?;
    pilothouse(folder.path(), "engine build")?.ends(2)?.complains("holds no engine project").map(drop)
}
