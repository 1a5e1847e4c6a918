//! The same inputs give the same bytes: twice, after a restart, from the cache of compiled engines, in another process, and a year from now.
//!
//! What the engines that ship are told is recorded in `tests/determinism`, a file an engine. What comes of it stands beside it, and
//! `SHA256SUMS` has its digest.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;
use std::{env, fs};

use pilothouse::driver::engines::check;
use pilothouse_core::cycle::Engine as _;
use pilothouse_engine_host::{LoadedEngine, Runner, RunnerConfig, Sandbox, SandboxConfig};
use pilothouse_sim::{Line, Scenario, Simulation, Transcript};
use pilothouse_tests::domain::{cycle, domain};
use pilothouse_tests::guest::{Guest, guest};
use pilothouse_tests::play::{UPDATE, first_difference, read, root, shipped};
use serde_json::json;
use sha2::{Digest, Sha256};

/// The program, whose `simulate` is another process with a sandbox of its own.
const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");

/// Recorded inputs, by the engine that they are for.
const RECORDED: [(&str, &str); 3] = [("simplest", "simplest.toml"), ("npreserving", "npreserving.toml"), ("sensor", "sensor.json")];

/// Everything that came of recorded inputs, in order, each as a text that differs when a byte of it does.
#[derive(Debug)]
struct Played {
    lines: Vec<Line>,
    /// As they were written: with fuel, seeds, ids, memories and digests.
    records: Vec<String>,
}

impl Played {
    fn of(scenario: &Scenario, engine: &LoadedEngine) -> Self {
        let judge = |conf: &serde_json::Map<String, serde_json::Value>| check(engine, conf);
        let mut simulation = Simulation::begin(scenario, engine, &judge).expect("inputs that make sense");
        let mut lines = vec![simulation.head(scenario)];
        for step in scenario.steps().expect("inputs that make sense") {
            lines.extend(simulation.step(&step).expect("no rule is broken"));
        }
        lines.push(simulation.end());
        let records = simulation.journal().map(|(at, bytes)| format!("{at} {}", std::str::from_utf8(bytes).expect("JSON"))).collect();
        Self { lines, records }
    }

    /// To the byte.
    fn text(&self) -> String {
        let lines = self.lines.iter().map(|line| serde_json::to_string(line).expect("a line is JSON"));
        lines.chain(self.records.iter().cloned()).fold(String::new(), |text, line| text + &line + "\n")
    }

    /// What is kept: readable, and without what depends on the compiler of the engines (the digest of a component, and fuel).
    fn kept(&self, digest: &str) -> String {
        let mut transcript = Transcript::default();
        let mut kept: String = self.lines.iter().map(|line| transcript.text(line)).collect();
        kept += "\n";
        for record in &self.records {
            let _ = writeln!(kept, "{}", without_fuel(record));
        }
        kept.replace(digest, "digest").replace(&digest[..16], "digest")
    }
}

/// The one figure of a record that is written as `"fuel":NUMBER`, as zero.
fn without_fuel(record: &str) -> String {
    const FUEL: &str = "\"fuel\":";
    let mut parts = record.split(FUEL);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let _ = write!(text, "{FUEL}0{}", part.trim_start_matches(|it: char| it.is_ascii_digit()));
    }
    text
}

fn folder() -> PathBuf {
    root().join("tests/determinism")
}

fn recorded(file: &str) -> Scenario {
    read(&folder().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn sandbox(cache: Option<&std::path::Path>) -> Sandbox {
    Sandbox::new(SandboxConfig { cache: cache.map(Into::into), ..SandboxConfig::default() }).expect("a sandbox")
}

fn same(what: &str, expected: &str, got: &str) {
    first_difference(expected, got).unwrap_or_else(|difference| panic!("{what}: {difference}"));
}

#[test]
fn an_engine_that_ships_gives_the_same_bytes_again_after_a_restart_and_from_the_cache() {
    let cache = tempfile::tempdir().expect("a folder");
    for (name, file) in RECORDED {
        let (scenario, component) = (recorded(file), shipped(name));
        let first_sandbox = sandbox(Some(cache.path()));
        let engine = first_sandbox.load(&component).expect("it loads");
        assert_eq!(first_sandbox.compiled(), 1, "{name} is compiled");
        let first = Played::of(&scenario, &engine).text();
        same(&format!("{name}, again"), &first, &Played::of(&scenario, &engine).text());
        drop((engine, first_sandbox));

        let restarted = sandbox(Some(cache.path()));
        let engine = restarted.load(&component).expect("it loads");
        assert_eq!(restarted.compiled(), 0, "{name} comes from the cache");
        same(&format!("{name}, from the cache"), &first, &Played::of(&scenario, &engine).text());

        let anew = sandbox(None);
        let engine = anew.load(&component).expect("it loads");
        assert_eq!(anew.compiled(), 1, "{name} is compiled anew");
        same(&format!("{name}, compiled anew"), &first, &Played::of(&scenario, &engine).text());
    }
}

/// The engines that ship, compiled once for those tests that are not about that.
fn engine(name: &str) -> &'static LoadedEngine {
    static ENGINES: LazyLock<BTreeMap<&str, LoadedEngine>> = LazyLock::new(|| {
        let sandbox = sandbox(None);
        RECORDED.map(|(name, _)| (name, sandbox.load(&shipped(name)).expect("it loads"))).into()
    });
    &ENGINES[name]
}

#[test]
fn an_engine_that_ships_gives_the_same_bytes_in_another_process() {
    for (name, file) in RECORDED {
        let answer =
            Command::new(PROGRAM).args(["simulate", "--output", "json"]).arg(folder().join(file)).output().expect("the program starts");
        assert!(answer.status.success(), "{name}: {}", String::from_utf8_lossy(&answer.stderr));
        let told = Played::of(&recorded(file), engine(name)).lines;
        // What only tells of the inputs is for people.
        let told = told.iter().filter(|line| !matches!(line, Line::Event { .. }));
        let told: String = told.map(|line| serde_json::to_string(line).expect("a line is JSON") + "\n").collect();
        same(&format!("{name}, in another process"), &told, &String::from_utf8(answer.stdout).expect("text"));
    }
}

#[test]
fn what_came_of_the_recorded_inputs_is_what_is_kept() {
    let update = env::var_os(UPDATE).is_some_and(|value| value == "1");
    let sums_file = folder().join("SHA256SUMS");
    let (mut sums, mut problems) = (String::new(), Vec::new());
    let kept_sums = fs::read_to_string(&sums_file).unwrap_or_default();
    let kept_sums: BTreeMap<&str, &str> =
        kept_sums.lines().filter_map(|line| line.split_once("  ")).map(|(sum, name)| (name, sum)).collect();
    for (name, file) in RECORDED {
        let engine = engine(name);
        let kept = Played::of(&recorded(file), engine).kept(engine.digest());
        let path = folder().join(name).with_extension("txt");
        let file = format!("{name}.txt");
        let sum: String = Sha256::digest(&kept).iter().map(|byte| format!("{byte:02x}")).collect();
        if update {
            fs::write(&path, &kept).expect("written");
        } else if kept_sums.get(&*file) != Some(&&*sum) {
            let expected =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}; write it with {UPDATE}=1", path.display()));
            let difference = first_difference(&expected, &kept).err();
            let difference = difference.unwrap_or_else(|| format!("it is what {file} has, and SHA256SUMS was not changed along with that"));
            problems.push(format!("{name}: {difference}"));
        }
        let _ = writeln!(sums, "{sum}  {file}");
    }
    if update {
        fs::write(&sums_file, sums).expect("written");
    }
    assert!(
        problems.is_empty(),
        "the engines that ship decide something else than they did. If that is meant, write what they decide with {UPDATE}=1, and read what \
         has changed:\n\n{}",
        problems.join("\n\n")
    );
}

#[test]
fn the_recorded_inputs_are_about_everything_that_an_engine_does() {
    for (name, file) in RECORDED {
        let engine = engine(name);
        let records = Played::of(&recorded(file), engine).records.join("\n");
        for what in
            ["\"launches\":[{", "\"terminations\":[{", "\"memory\":\"", "\"prepared\":\"initialized\"", "\"prepared\":\"reconfigured\""]
        {
            assert!(records.contains(what), "{name}: nothing has {what}");
        }
        assert!(!records.contains("\"faulted\""), "{name}: no call fails");
        let other = Scenario { seed: recorded(file).seed + 1, ..recorded(file) };
        assert_ne!(Played::of(&other, engine).records.join("\n"), records, "{name}: the seed is part of what it is told");
    }
}

/// The memory that a guest returns for an empty domain.
fn remembered(engine: &LoadedEngine) -> Vec<u8> {
    let called = engine.decide(cycle(&domain(json!({}))), b"");
    called.result.unwrap_or_else(|fault| panic!("{fault}")).memory
}

#[test]
fn a_nan_has_one_pattern_of_bits_however_it_came_about() {
    let memory = remembered(&sandbox(None).load(&guest("floats")).expect("it loads"));
    let (wide, narrow) = (f64::from_bits(0x7ff8 << 48), f32::from_bits(0x7fc0 << 16));
    assert!(wide.is_nan() && narrow.is_nan());
    // 16 numbers and 4 vectors of two, three times; then 7 numbers that are narrow, twice.
    let (wides, narrows) = (3 * (16 + 4 * 2), 2 * 7);
    assert_eq!(memory.len(), 8 * (wides + narrows), "all of them");
    for (nth, bytes) in memory.chunks(8).enumerate() {
        let expected = if nth < wides { wide.to_le_bytes().to_vec() } else { [narrow.to_le_bytes(); 2].concat() };
        assert_eq!(bytes, expected, "NaN {nth}");
    }
}

/// A guest that looks for what calls before have left behind.
fn snoop() -> Vec<u8> {
    let random = "(import \"pilothouse:engine/state@0.1.0\" \"[method]domain.random\" (func $draw (param i32) (result i64)))";
    Guest::new("snoop").with("  ;; more imports", random).component()
}

#[tokio::test]
async fn an_engine_that_looks_for_what_calls_before_left_behind_finds_nothing() {
    // Places are few, so that every call gets one in which another was before.
    let few = Sandbox::new(SandboxConfig { concurrent_calls: 2, ..SandboxConfig::default() }).expect("a sandbox");
    let (engine, ships) = (few.load(&snoop()).expect("it loads"), few.load(&shipped("simplest")).expect("it loads"));
    let first = remembered(&engine);
    assert_ne!(first[..8], first[8..16], "it does see what it has left behind itself");
    assert_eq!(first[24..32], first[32..], "and time stands still for it");

    let runner = Runner::new(RunnerConfig { threads: 4, queue: 1000 }).expect("threads");
    let calls: Vec<_> = (0..200)
        .map(|nth| {
            let (engine, ships) = (engine.clone(), ships.clone());
            let call = move || {
                let between = (nth % 3 == 0).then(|| ships.initialize(cycle(&domain(json!({"preserve_n": 3})))).result);
                assert!(between.is_none_or(|it| it.is_ok()));
                remembered(&engine)
            };
            runner.run(call).expect("there is room")
        })
        .collect();
    for (nth, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.expect("an answer"), first, "call {nth}");
    }
    assert_eq!(remembered(&sandbox(None).load(&snoop()).expect("it loads")), first, "and in another sandbox");
}
