//! What is there of a language's own clock, chance and output: those of the decision.

use std::fs;

use pilothouse_core::cycle::FaultKind;
use pilothouse_core::record::Event;
use pilothouse_core::state::DomainState;
use pilothouse_core::time::Timestamp;
use pilothouse_engine_build::build_if_changed;
use pilothouse_engine_host::LoadedEngine;
use pilothouse_tests::domain::{NOW, decide_at, domain, run};
use serde_json::{Value, json};

use crate::build::copy;
use crate::engine::{Example, examples, sandbox, target, tools};

/// For each example a file, a text in it, and what stands in its place: the reason tells clock and chance by every way that the language
/// has to them, as JSON, and something is printed.
const LOOKING: [(&str, &str, &str); 2] = [
    (
        "app.py",
        "from itertools import islice",
        "from itertools import islice
import datetime, json, os, random, secrets, sys, time, uuid

def look():
    print('printed')
    print('complained', file=sys.stderr)
    return json.dumps({
        'clocks': [time.time() * 1000, time.time_ns() // 1_000_000, datetime.datetime.now().timestamp() * 1000],
        'chance': [random.random(), random.SystemRandom().random(), secrets.token_hex(8), str(uuid.uuid4()), os.urandom(8).hex()],
    })
",
    ),
    (
        "engine.js",
        "import { log }",
        "function look() {
  console.log('printed');
  console.error('complained');
  return JSON.stringify({
    clocks: [Date.now(), new Date().getTime(), Date.parse(new Date().toISOString())],
    chance: [Math.random(), Math.random(), crypto.randomUUID(), [...crypto.getRandomValues(new Uint8Array(8))]],
  });
}
import { log }",
    ),
];

/// An example that tells what it sees of clock and chance, ready to decide.
fn looking(at: usize) -> (&'static Example, LoadedEngine, Vec<u8>) {
    let example = &examples()[at];
    let (file, old, new) = LOOKING[at];
    let folder = copy(example, file, old, new);
    let path = folder.path().join(file);
    let text = fs::read_to_string(&path).expect("text");
    assert!(text.contains("decided.reason"), "{file}");
    fs::write(&path, text.replace("decided.reason", "look()")).expect("written");
    let out = target().join("examples").join(format!("{}-looking.wasm", example.name));
    let built = build_if_changed(folder.path(), &tools(), &out).unwrap_or_else(|error| panic!("{}: {error}", example.name));
    let component = built.component.into_bytes();
    (example, sandbox().load(&component).expect("it loads"), component)
}

fn told(reason: &str) -> (Value, Value) {
    let told: Value = serde_json::from_str(reason).unwrap_or_else(|error| panic!("{error}: {reason}"));
    (told["clocks"].clone(), told["chance"].clone())
}

/// The record of what it decides there, without applying it.
fn record(state: &DomainState, engine: &LoadedEngine) -> String {
    serde_json::to_string(&run(state, engine).finish(state, NOW).event).expect("a record is JSON")
}

#[test]
fn clock_and_chance_of_a_language_are_those_of_the_decision() {
    for at in 0..LOOKING.len() {
        let (example, engine, component) = looking(at);
        let name = example.name;
        let mut state = domain(json!({"preserve_n": 1}));
        let first = record(&state, &engine);
        assert_eq!(first, record(&state, &engine), "{name}: the same call, the same bytes");
        assert_eq!(first, record(&state, &sandbox().load(&component).expect("it loads")), "{name}: in another sandbox");

        let now = Timestamp::from_millis(NOW.as_millis() + 1234);
        let one = decide_at(&mut state, now, &engine);
        let (clocks, chance) = told(&one.reason);
        for clock in clocks.as_array().expect("a list") {
            assert_eq!(clock.as_f64().expect("a number").round() as u64, now.as_millis(), "{name}: {clocks}");
        }
        let drawn = chance.as_array().expect("a list");
        assert!((1..drawn.len()).all(|n| !drawn[..n].contains(&drawn[n])), "{name}: {chance}");

        // The same moment, another seed.
        let (again, other) = told(&decide_at(&mut state, now, &engine).reason);
        assert_eq!(clocks, again, "{name}");
        for (one, other) in drawn.iter().zip(other.as_array().expect("a list")) {
            assert_ne!(one, other, "{name}: another seed, another chance");
        }
        assert!(["info: printed", "warn: complained"].iter().all(|line| one.log.iter().any(|told| told == line)), "{name}: {:?}", one.log);
    }
}

#[test]
fn what_a_language_says_of_its_failure_is_in_the_log_of_the_fault() {
    let [python, javascript] = examples();
    let cases = [
        (python, "app.py", "decided.reason", "policy.no_such_thing", "AttributeError: module 'policy' has no attribute 'no_such_thing'"),
        (javascript, "engine.js", "decided.reason", "decided.no.such", "TypeError"),
    ];
    for (example, file, old, new, words) in cases {
        let folder = copy(example, file, old, new);
        let out = target().join("examples").join(format!("{}-failing.wasm", example.name));
        let built = build_if_changed(folder.path(), &tools(), &out).unwrap_or_else(|error| panic!("{}: {error}", example.name));
        let engine = sandbox().load(built.component.bytes()).expect("it loads");
        let state = domain(json!({"preserve_n": 1}));
        let finished = run(&state, &engine).finish(&state, NOW);
        let Some(Event::Faulted(fault)) = finished.event else { panic!("{}: {:?}", example.name, finished.event) };
        assert_eq!(fault.kind, FaultKind::Trap, "{}", example.name);
        assert!(fault.log.iter().any(|line| line.contains(words)), "{}: {:?}", example.name, fault.log);
    }
}
