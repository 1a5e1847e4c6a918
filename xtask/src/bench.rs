//! Benchmarks: builds host and harness in release, and runs the harness on what was built.

use std::process::Command;

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{engines, nats_server, process, wasm_target};

/// Measures. The arguments are the harness's own, which also says what there are.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    engines::build(workspace, &wasm_target::provide(workspace)?)?;
    let nats_server = nats_server::provide(workspace)?;
    eprintln!("building in release; the first time takes minutes");
    process::run(workspace.cargo().args(["build", "--quiet", "--release", "--package", "pilothouse", "--package", "pilothouse-bench"]))?;
    let mut bench = Command::new(workspace.target.join("release/pilothouse-bench"));
    bench.env("PILOTHOUSE_ENGINES_DIR", workspace.engines()).env(nats_server::VARIABLE, nats_server);
    process::run(bench.args(args))
}
