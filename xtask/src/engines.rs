//! From crates to components.
//!
//! Cargo builds a core module of each engine; the bindings left a description of its world inside, from which the encoder makes the
//! component. A file is written only when its bytes differ, so that what embeds it is not built again for nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use wit_component::{ComponentEncoder, DecodedWasm};

use crate::process;
use crate::wasm_target::{Compiler, TARGET};
use crate::workspace::Workspace;

/// The engines that the host embeds. `host/build.rs` has the same list.
const ENGINES: [&str; 3] = ["simplest", "npreserving", "sensor"];

/// The cargo profile for guests.
const PROFILE: &str = "engine";

/// The package whose interfaces an engine may import. Anything else would be refused when it is loaded.
const SERVED: &str = "pilothouse:engine/";

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
        let component = encode(&module).with_context(|| format!("making a component of {}", module.display()))?;
        let imports = imports(&component).with_context(|| format!("checking the component of {engine}"))?;
        let path = folder.join(format!("{engine}.wasm"));
        let note = if write_if_changed(&path, &component)? { "" } else { ", unchanged" };
        let size = component.len().div_ceil(1024);
        eprintln!("engine {engine}: {} ({size} KiB, imports {}{note})", path.display(), imports.join(", "));
    }
    Ok(())
}

fn encode(module: &Path) -> Result<Vec<u8>> {
    let module = fs::read(module)?;
    ComponentEncoder::default().module(&module)?.validate(true).encode()
}

/// The interfaces that a component imports, without the package's name. Fails if it exports no engine or asks for what is not served.
fn imports(component: &[u8]) -> Result<Vec<String>> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component)? else { bail!("it is no component") };
    let world = &resolve.worlds[world];
    let name = |key| resolve.name_world_key(key);
    let imports: BTreeSet<String> = world.imports.keys().map(name).collect();
    let foreign: Vec<&str> = imports.iter().map(String::as_str).filter(|import| !import.starts_with(SERVED)).collect();
    if !foreign.is_empty() {
        bail!("it imports what no host serves: {}", foreign.join(", "));
    }
    if !world.exports.keys().map(name).any(|export| export.starts_with("pilothouse:engine/engine@")) {
        bail!("it does not export the interface `engine`");
    }
    Ok(imports.iter().map(|import| import[SERVED.len()..].split('@').next().unwrap_or_default().to_owned()).collect())
}

/// Whether it had to be written. The new file takes the old one's place at once, so nobody reads half of it.
fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    let new = path.with_extension("new");
    fs::write(&new, bytes).and_then(|()| fs::rename(&new, path)).with_context(|| format!("writing {}", path.display()))?;
    Ok(true)
}
