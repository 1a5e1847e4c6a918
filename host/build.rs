//! Finds the engines that the binary embeds. `cargo xtask engines` builds them; this only looks where they are.

use std::path::PathBuf;
use std::{env, process};

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
}

/// Where the engines should be: where the environment says, else beside whatever else is built.
fn folder() -> PathBuf {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("..");
    let root = root.canonicalize().unwrap_or(root);
    match (env::var_os(VARIABLE), env::var_os("CARGO_TARGET_DIR")) {
        (Some(folder), _) => root.join(folder),
        (None, Some(target)) => root.join(target).join("engines"),
        (None, None) => root.join("target/engines"),
    }
}
