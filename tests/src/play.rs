//! Scenarios as tests: played with a component, or with the same engine natively, and kept with the transcript that is expected.

use std::path::{Path, PathBuf};
use std::{env, fs};

use pilothouse::driver::engines::check;
use pilothouse_core::cycle::Engine;
use pilothouse_core::record::{Event, Record};
use pilothouse_engine_host::{LoadedEngine, Sandbox, SandboxConfig};
use pilothouse_sim::{Available, Format, Judge, Scenario, Simulation, Transcript};

/// Set to `1`, expected transcripts are written instead of compared. Read what changed before it is committed.
pub const UPDATE: &str = "PILOTHOUSE_UPDATE_TRANSCRIPTS";

/// Everything that a scenario showed.
#[derive(Debug, PartialEq, Eq)]
pub struct Played {
    /// For people, without the component's digest, which changes with every compiler.
    pub text: String,
    /// For programs, a line each.
    pub lines: Vec<String>,
    /// The records, without the fuel that calls used up: natively there is none.
    pub journal: Vec<String>,
}

/// Plays a scenario to its end.
///
/// # Errors
/// Why it ended early.
pub fn play<E: Engine>(scenario: &Scenario, engine: &E, judge: Judge<'_>) -> Result<Played, String> {
    play_among(scenario, &[Available { engine, judge }])
}

/// The same, with all engines that the scenario names. The first of them decides to begin with.
///
/// # Errors
/// Why it ended early.
pub fn play_among(scenario: &Scenario, engines: &[Available<'_>]) -> Result<Played, String> {
    let mut simulation = Simulation::among(scenario, engines).map_err(|invalid| invalid.to_string())?;
    let mut lines = vec![simulation.head(scenario)];
    for step in scenario.steps().map_err(|invalid| invalid.to_string())? {
        lines.extend(simulation.step(&step).map_err(|failed| failed.to_string())?);
    }
    lines.push(simulation.end());
    let journal = simulation.journal().map(|(sequence, bytes)| format!("{sequence} {}", without_fuel(bytes))).collect();
    let mut transcript = Transcript::default();
    let digest: String = engines[0].engine.identity().digest.chars().take(16).collect();
    Ok(Played {
        text: lines.iter().map(|line| transcript.text(line)).collect::<String>().replace(&digest, "digest"),
        lines: lines.iter().map(|line| serde_json::to_string(line).expect("a line is JSON")).collect(),
        journal,
    })
}

fn without_fuel(bytes: &[u8]) -> String {
    let mut record = Record::from_bytes(bytes).expect("a record that was just written");
    for event in &mut record.events {
        match event {
            Event::Decided(decision) => decision.fuel = 0,
            Event::Faulted(faulted) => faulted.fuel = 0,
            _ => {}
        }
    }
    String::from_utf8(record.to_bytes()).expect("a record is text")
}

/// Plays a scenario with a component.
///
/// # Errors
/// Why it ended early.
pub fn play_component(scenario: &Scenario, engine: &LoadedEngine) -> Result<Played, String> {
    play(scenario, engine, &|conf| check(engine, conf))
}

/// A sandbox as a host has it.
pub fn sandbox() -> Sandbox {
    Sandbox::new(SandboxConfig::default()).expect("a sandbox")
}

/// The bytes of an engine that ships.
pub fn shipped(name: &str) -> Vec<u8> {
    let folder = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |target| root().join(target));
    let folder = env::var_os("PILOTHOUSE_ENGINES_DIR").map_or_else(|| folder.join("engines"), |folder| root().join(folder));
    let path = folder.join(format!("{name}.wasm"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}: run `cargo xtask engines`", path.display()))
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

/// Every scenario below a folder, in order.
pub fn scenarios(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let below = |path: PathBuf| match path.extension() {
        _ if path.is_dir() => scenarios(&path),
        Some(extension) if extension == "toml" || extension == "json" => vec![path],
        _ => Vec::new(),
    };
    paths.into_iter().flat_map(below).collect()
}

/// Reads a scenario.
///
/// # Errors
/// What is wrong with it.
pub fn read(path: &Path) -> Result<Scenario, String> {
    let written = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let format = if path.extension().is_some_and(|extension| extension == "json") { Format::Json } else { Format::Toml };
    Scenario::parse(&written, format).map_err(|invalid| invalid.to_string())
}

/// Compares a transcript with the expected one beside the scenario; or writes it, when that is asked for.
///
/// # Errors
/// The first line that differs.
pub fn expect(scenario: &Path, transcript: &str) -> Result<(), String> {
    let path = scenario.with_extension("txt");
    if env::var_os(UPDATE).is_some_and(|value| value == "1") {
        return fs::write(&path, transcript).map_err(|error| error.to_string());
    }
    let expected = fs::read_to_string(&path)
        .map_err(|error| format!("{}: {error}; write it with {UPDATE}=1 and read what it says", path.display()))?;
    first_difference(&expected, transcript)
}

/// # Errors
/// The first line that differs.
pub fn first_difference(expected: &str, got: &str) -> Result<(), String> {
    if expected == got {
        return Ok(());
    }
    let (mut expected, mut got) = (expected.lines(), got.lines());
    let mut number = 0;
    loop {
        number += 1;
        match (expected.next(), got.next()) {
            (Some(one), Some(other)) if one == other => {}
            (None, None) => return Err("they differ in their line ends only".to_owned()),
            (one, other) => {
                return Err(format!(
                    "line {number}\n  expected: {}\n  got:      {}",
                    one.unwrap_or("(the end)"),
                    other.unwrap_or("(the end)")
                ));
            }
        }
    }
}
