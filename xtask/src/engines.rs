//! From crates to components.
//!
//! Cargo builds a core module of each engine; the bindings left a description of its world inside, from which the encoder makes the
//! component. A file is written only when its bytes differ, so that what embeds it is not built again for nothing.

use std::fs;

use anyhow::{Context, Result};
use pilothouse_engine_build::component;

use crate::process;
use crate::wasm_target::{Compiler, TARGET};
use crate::workspace::{Workspace, write_if_changed};

/// The engines that the host embeds. `host/build.rs` has the same list.
const ENGINES: [&str; 3] = ["simplest", "npreserving", "sensor"];

/// The cargo profile for guests.
const PROFILE: &str = "engine";

/// Builds the engines.
pub(crate) fn build(workspace: &Workspace, compiler: &Compiler) -> Result<()> {
    let mut cargo = compiler.cargo(workspace);
    cargo.args(["build", "--quiet", "--profile", PROFILE, "--target", TARGET]);
    for engine in ENGINES {
        cargo.args(["--package".to_owned(), format!("pilothouse-engine-{engine}")]);
    }
    process::run(&mut cargo).context("building the engines")?;

    let folder = workspace.engines();
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    for engine in ENGINES {
        let module = compiler.target_dir(workspace).join(TARGET).join(PROFILE).join(format!("pilothouse_engine_{engine}.wasm"));
        let bytes = fs::read(&module).with_context(|| format!("reading {}", module.display()))?;
        let component = component::encode(&bytes).with_context(|| format!("making a component of {}", module.display()))?;
        let path = folder.join(format!("{engine}.wasm"));
        let note = if write_if_changed(&path, component.bytes())? { "" } else { ", unchanged" };
        let size = component.bytes().len().div_ceil(1024);
        eprintln!("engine {engine}: {} ({size} KiB, imports {}{note})", path.display(), component.imports().join(", "));
    }
    Ok(())
}
