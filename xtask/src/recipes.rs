//! The recipes that put the parts together.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, anyhow};

use crate::wasm_target::{Compiler, TARGET};
use crate::workspace::Workspace;
use crate::{admin_client, engines, example, nats_server, process, prometheus, wasm_target};

/// The package whose tests build the example engines, and need tools for that.
const EXAMPLES_TESTED_BY: &str = "pilothouse-tests";

/// What the other recipes need.
#[derive(Debug)]
pub(crate) struct Ready {
    compiler: Compiler,
    nats_server: PathBuf,
}

/// Sets up what is missing for everything but the example engines.
pub(crate) fn setup(workspace: &Workspace) -> Result<Ready> {
    let compiler = wasm_target::provide(workspace)?;
    let nats_server = nats_server::provide(workspace)?;
    eprintln!("set-up: engines are built {}, nats-server is {}", compiler.describe(), nats_server.display());
    Ok(Ready { compiler, nats_server })
}

/// Runs the quickstart in the foreground, in our place: signals reach it directly.
pub(crate) fn up(workspace: &Workspace, args: &[String]) -> Result<()> {
    let ready = setup(workspace)?;
    engines::build(workspace, &ready.compiler)?;
    eprintln!("building pilothouse in release; the first time takes minutes");
    process::run(workspace.cargo().args(["build", "--quiet", "--release", "--package", "pilothouse"]))?;
    let mut pilothouse = Command::new(workspace.target.join("release/pilothouse"));
    pilothouse
        .current_dir(&workspace.root)
        .env(nats_server::VARIABLE, &ready.nats_server)
        .args(["up", "examples/quickstart/domain.toml", "--data"])
        .arg(workspace.target.join("quickstart"))
        .args(args);
    let words = process::words(&pilothouse);
    Err(anyhow!(pilothouse.exec())).with_context(|| format!("starting {words}"))
}

/// Runs every test, or those of the packages that the arguments name.
pub(crate) fn test(workspace: &Workspace, args: &[String]) -> Result<()> {
    let ready = setup(workspace)?;
    engines::build(workspace, &ready.compiler)?;
    let mut cargo = workspace.cargo();
    cargo.arg("test").env(nats_server::VARIABLE, &ready.nats_server);
    let own = args.iter().take_while(|arg| *arg != "--");
    let some = own.clone().any(|arg| arg.starts_with("-p") || arg.starts_with("--package"));
    if !some {
        // Whoever waits for all of it wants to hear of all that is wrong, not of the first.
        cargo.args(["--workspace", "--no-fail-fast"]);
    }
    if !some || own.clone().any(|arg| arg.contains(EXAMPLES_TESTED_BY)) {
        example::provide_all_tools(workspace)?;
        example::build_rust(workspace)?;
        admin_client::provide(workspace)?;
        cargo.env(prometheus::VARIABLE, prometheus::provide(workspace)?);
    }
    process::run(cargo.args(args))
}

/// Writes anew what is generated from code: the tests that compare it do so when they are told to.
pub(crate) fn reference(workspace: &Workspace) -> Result<()> {
    let compiler = wasm_target::provide(workspace)?;
    engines::build(workspace, &compiler)?;
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--quiet", "--package", "pilothouse-tests", "--test", "reference", "--test", "simulate", "--", "--exact"]);
    cargo.args(["the_reference_is_what_the_code_says", "guide::the_schema_beside_the_guide_is_the_one_that_is_printed"]);
    process::run(cargo.env("UPDATE_GOLDEN", "1"))
}

/// Builds the core for a target without an operating system.
pub(crate) fn wasm_core(workspace: &Workspace) -> Result<()> {
    let compiler = wasm_target::provide(workspace)?;
    process::run(compiler.cargo(workspace).args(["build", "--package", "pilothouse-core", "--target", TARGET]))
}
