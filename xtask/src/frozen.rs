//! The component that stands for all engines built against a released version of the contract.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use pilothouse_engine_build::rust;
use sha2::{Digest, Sha256};

use crate::wasm_target::Compiler;
use crate::workspace::Workspace;

/// The version that is frozen.
const VERSION: &str = "0.1.0";

/// Builds it, and writes down the digests of component and texts. Once: what is frozen stays as it is.
pub(crate) fn build(workspace: &Workspace, compiler: &Compiler) -> Result<()> {
    let folder = workspace.root.join(format!("tests/guests/frozen-{VERSION}"));
    let sums = folder.join("SHA256SUMS");
    if sums.exists() {
        bail!("{VERSION} is frozen: {} is there; another version gets a VERSION, a text and a folder of its own", sums.display());
    }
    let mut cargo = compiler.cargo(workspace);
    // A workspace of its own, so a target folder of its own.
    cargo.current_dir(&folder).env("CARGO_TARGET_DIR", workspace.target.join("frozen"));
    let component = rust::build_with(cargo, &folder)?.into_bytes();
    let path = folder.join("frozen.wasm");
    fs::write(&path, &component).with_context(|| format!("writing {}", path.display()))?;

    let released = format!("wit/released/engine-{VERSION}");
    let mut texts = Vec::new();
    for entry in fs::read_dir(workspace.root.join(&released)).with_context(|| format!("reading {released}"))? {
        texts.push(entry?.file_name().to_string_lossy().into_owned());
    }
    texts.sort();
    let mut digests = String::new();
    let mut add = |name: &str, file: &Path| -> Result<()> {
        let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(digests, "{digest}  {name}").context("writing to a text")
    };
    add("frozen.wasm", &path)?;
    for text in texts {
        add(&format!("../../../{released}/{text}"), &workspace.root.join(&released).join(&text))?;
    }
    fs::write(&sums, digests).with_context(|| format!("writing {}", sums.display()))?;
    eprintln!("frozen {VERSION}: {} ({} KiB)", folder.display(), component.len().div_ceil(1024));
    Ok(())
}
