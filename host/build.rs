//! Finds what the binary embeds: the engines, which `cargo xtask engines` builds, and the sources of the SDK, which `pilothouse engine new`
//! writes into projects.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, process};

/// The engines that the host embeds. `xtask/src/engines.rs` has the same list.
const ENGINES: [&str; 3] = ["simplest", "npreserving", "sensor"];

const VARIABLE: &str = "PILOTHOUSE_ENGINES_DIR";

fn main() {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    println!("cargo::rerun-if-env-changed=CARGO_TARGET_DIR");
    let folder = folder();
    for engine in ENGINES {
        let path = folder.join(format!("{engine}.wasm"));
        println!("cargo::rerun-if-changed={}", path.display());
        if !path.is_file() {
            println!("cargo::error={} is missing: run `cargo xtask engines`", path.display());
            process::exit(1);
        }
    }
    println!("cargo::rustc-env={VARIABLE}={}", folder.display());
    list_sources();
}

/// Writes a table of the SDK's sources and of the contract, each file by its path and its text: nothing that is added there is left out.
fn list_sources() {
    let root = root();
    let mut table = String::new();
    for (name, folder) in [("SDK", "engines/sdk/src"), ("CONTRACT", "wit/engine")] {
        let folder = root.join(folder);
        println!("cargo::rerun-if-changed={}", folder.display());
        let mut files = Vec::new();
        collect(&folder, &mut files);
        files.sort();
        let _ = writeln!(table, "const {name}: &[(&str, &str)] = &[");
        for file in files {
            let path = file.strip_prefix(&folder).expect("it lies in there");
            let _ = writeln!(table, "    ({path:?}, include_str!({file:?})),");
        }
        table.push_str("];\n");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("sources.rs");
    fs::write(&out, table).unwrap_or_else(|error| panic!("{}: {error}", out.display()));
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for path in entries.map(|entry| entry.expect("an entry of a folder").path()) {
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

fn root() -> PathBuf {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("..");
    root.canonicalize().unwrap_or(root)
}

/// Where the engines should be: where the environment says, else beside whatever else is built.
fn folder() -> PathBuf {
    let root = root();
    match (env::var_os(VARIABLE), env::var_os("CARGO_TARGET_DIR")) {
        (Some(folder), _) => root.join(folder),
        (None, Some(target)) => root.join(target).join("engines"),
        (None, None) => root.join("target/engines"),
    }
}
