//! `pilothouse engine check`: what it prints, how it exits, and what it says of files that are no engines.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::guest::{Guest, guest, shipped};
use crate::program::{Ran, pilothouse};

fn with(component: &[u8]) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("engine.wasm"), component)?;
    Ok(folder)
}

fn check(component: &[u8]) -> Result<Ran> {
    pilothouse(with(component)?.path(), "engine check engine.wasm")
}

#[test]
fn a_good_engine_is_told_as_a_table() -> Result<()> {
    let ran = check(&shipped("simplest"))?;
    ran.ends(0)?.says("simplest 0.1.0  engine.wasm, ")?.says("exports  engine of pilothouse:engine@0.1.0")?;
    ran.says("preserve_n")?.says("examined with {\"preserve_n\":3} (example 1 of its schema)")?;
    ran.says("\n  ok  decide: 10000 instances")?.says("A host can rely on it: ")?;
    ensure!(!ran.stdout().contains("WARN") && !ran.stdout().contains("FAIL"), "{}", ran.stdout());
    Ok(())
}

#[test]
fn the_same_is_told_as_json() -> Result<()> {
    let folder = with(&guest("quiet"))?;
    let told = pilothouse(folder.path(), "engine check engine.wasm --output json")?.ends(0)?.json()?;
    ensure!(told["passed"] == true && told["failed"] == 0 && told["engine"]["name"] == "guest", "{told}");
    let checks = told["checks"].as_array().context("checks")?;
    let decide = checks.iter().find(|check| check["name"] == "decide: 1000 instances").context("it decided")?;
    ensure!(decide["outcome"] == "warned" && decide["fuel"].as_u64() > Some(0) && decide["fuel_percent"].is_f64(), "{decide}");
    ensure!(decide["time_ms"].is_f64() && decide["memory_bytes"].is_u64(), "{decide}");
    Ok(())
}

#[test]
fn an_engine_that_fails_exits_so_that_programs_can_tell() -> Result<()> {
    let ran = check(&guest("brittle"))?;
    ran.ends(7)?.says("FAIL a memory of garbage: no trap\n  decide with 1 bytes (ff): trap: ")?.says(" of 30 checks failed, ")?;
    ran.complains("engine.wasm: 2 of 30 checks failed")?;
    let folder = with(&guest("brittle"))?;
    let told = pilothouse(folder.path(), "engine check engine.wasm --output json")?.ends(7)?.json()?;
    ensure!(told["passed"] == false && told["failed"] == 2, "{told}");
    Ok(())
}

#[test]
fn an_engine_that_does_not_say_who_it_is_fails() -> Result<()> {
    let mute = Guest::new("quiet").with("#describe\") (result i32) (i32.const 0))", "#describe\") (result i32) unreachable)");
    check(&mute.component())?.ends(7)?.complains("asked for its description, it failed: trap")?;
    let nameless = Guest::new("quiet").with("\"guest\\00", "\"gu.st\\00");
    check(&nameless.component())?.ends(7)?.complains("in its description, name: \"gu.st\" is not a name").map(drop)
}

#[test]
fn a_file_that_is_no_engine_is_told_with_what_to_do() -> Result<()> {
    let whole = guest("quiet");
    let newer = Guest::new("quiet").with_contract("package pilothouse:engine@0.1.0", "package pilothouse:engine@0.2.0");
    let wasi = wat::parse_str(r#"(component (import "wasi:http/types@0.2.0" (instance)))"#)?;
    let cases: [(&[u8], &str, &str); 6] = [
        (b"#!/bin/sh\n", "it is no WebAssembly component", "pilothouse engine build"),
        (&Guest::new("quiet").module(), "it is a core module", "makes a component of it"),
        (&whole[..whole.len() / 2], "it is damaged", "copy it again"),
        (&newer.with("@0.1.0", "@0.2.0").component(), "version 0.1.0 is served", "another version of the contract"),
        (&wasi, "it imports `wasi:http/types@0.2.0`", "`fetch-event` disabled"),
        (&wat::parse_str("(component)")?, "does not export", "decision-engine"),
    ];
    for (file, what, remedy) in cases {
        let ran = check(file)?;
        ran.ends(2)?.complains(what)?.complains(remedy)?;
        ensure!(ran.stdout().is_empty(), "{}", ran.stdout());
    }
    pilothouse(Path::new("/"), "engine check no-such.wasm")?.ends(2)?.complains("no-such.wasm: No such file").map(drop)
}

#[test]
fn a_configuration_is_taken_from_a_file_or_from_the_line() -> Result<()> {
    let folder = with(&shipped("simplest"))?;
    fs::write(folder.path().join("conf.toml"), "preserve_n = 5")?;
    pilothouse(folder.path(), "engine check engine.wasm --config conf.toml")?.ends(0)?.says("examined with {\"preserve_n\":5} (given)")?;
    pilothouse(folder.path(), "engine check engine.wasm --config {\"preserve_n\":6}")?.ends(0)?.says("launch 6")?;
    let wrong = pilothouse(folder.path(), "engine check engine.wasm --config {\"preserve_m\":6}")?;
    wrong.ends(2)?.complains("preserve_m")?;
    pilothouse(folder.path(), "engine check engine.wasm --config none.toml")?.ends(2)?.complains("none.toml").map(drop)
}
