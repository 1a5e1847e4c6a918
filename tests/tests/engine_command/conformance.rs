//! The conformance kit on components: those that ship pass, and each way to misbehave is found, by its name.

use pilothouse::conformance::{Check, ExamineError, Kit, Outcome, Report};
use pilothouse_core::config::ConfigProblem;
use pilothouse_engine_host::{EngineLimits, LoadError};
use serde_json::{Map, Value, json};

use crate::guest::{Guest, guest, shipped};

fn examine(component: &[u8]) -> Report {
    tried(component, None).unwrap_or_else(|error| panic!("{error:?}"))
}

fn tried(component: &[u8], config: Option<Value>) -> Result<Report, ExamineError> {
    let config: Option<Map<String, Value>> = config.map(|config| config.as_object().expect("an object").clone());
    Kit { config, limits: EngineLimits::default(), quick: false, progress: &|_| () }.examine(component)
}

fn check<'r>(report: &'r Report, name: &str) -> &'r Check {
    report.checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no check {name:?}: {:#?}", report.checks))
}

/// The checks that did not pass, by name.
fn of(outcome: Outcome, report: &Report) -> Vec<&str> {
    report.checks.iter().filter(|check| check.outcome == outcome).map(|check| check.name.as_str()).collect()
}

/// Fails unless these checks failed and no other, and the first says so.
#[track_caller]
fn fails(report: &Report, names: &[&str], says: &str) {
    assert_eq!((of(Outcome::Failed, report).as_slice(), report.failed, report.passed), (names, names.len(), false));
    let notes = &check(report, names[0]).notes;
    assert!(notes.iter().any(|note| note.contains(says)), "{says:?} is not in {notes:?}");
}

/// The checks in which an engine decides over some state of a domain.
fn decides(report: &Report) -> Vec<&str> {
    report.checks.iter().map(|check| check.name.as_str()).filter(|name| name.starts_with("decide:")).collect()
}

const AGAIN: &str = "decide again and again: a bounded memory";
const GARBAGE: &str = "a memory of garbage: no trap";
const CUT: &str = "a memory cut short: no trap";
const LATER: &str = "a memory of a later version: no trap";

#[test]
fn the_engines_that_ship_pass_without_a_warning() {
    for name in ["simplest", "npreserving", "sensor"] {
        let report = tried(&shipped(name), None).expect("it is an engine");
        assert!(report.passed && report.warned == 0, "{name}: {:#?}", report.checks);
        assert_eq!((report.engine.name.as_str(), report.engine.digest.len()), (name, 64));
        assert_eq!(report.engine.exports, ["pilothouse:engine/engine@0.1.0"]);
        assert!(report.engine.keys.iter().all(|key| key.description.is_some()), "{name}: {:?}", report.engine.keys);
        assert_eq!(decides(&report).len(), 12, "{name}: {:?}", decides(&report));
        let fuel = check(&report, "decide: 10000 instances").cost.fuel.expect("it is counted");
        assert!(fuel > check(&report, "decide: 10 instances").cost.fuel.expect("it is counted"), "{name}");
    }
}

#[test]
fn an_engine_that_remembers_is_handed_memories_of_its_own_kind() {
    let report = examine(&shipped("npreserving"));
    for name in [GARBAGE, CUT, LATER] {
        let check = check(&report, name);
        assert!(check.notes[0].ends_with(" refused") && check.cost.fuel > Some(0), "{name}: {check:?}");
    }
}

#[test]
fn an_engine_that_says_nothing_is_warned_of_and_passes() {
    let report = examine(&guest("quiet"));
    assert!(report.passed, "{:#?}", report.checks);
    let warned = of(Outcome::Warned, &report);
    assert!(decides(&report).iter().all(|name| warned.contains(name)), "no reason is given: {warned:?}");
    assert!(check(&report, "decide: no instances").notes[0].contains("no reason"));
    assert!(warned.contains(&"judges odd configurations"), "it takes any key: {warned:?}");
}

#[test]
fn a_trap_on_a_memory_of_others_is_found() {
    fails(&examine(&guest("brittle")), &[GARBAGE, LATER], "decide with 1 bytes (ff): trap: wasm trap: wasm `unreachable`");
}

#[test]
fn a_memory_that_is_taken_whatever_it_is_is_warned_of() {
    let report = examine(&guest("trusting"));
    assert!(report.passed, "{:#?}", report.checks);
    for name in [CUT, LATER] {
        let check = check(&report, name);
        assert!(check.outcome == Outcome::Warned && check.notes.iter().any(|note| note.contains("taken")), "{check:?}");
    }
}

#[test]
fn a_memory_that_grows_with_every_decision_is_found() {
    // Handed 64 KiB it wants more as well.
    fails(&examine(&guest("hoard")), &[AGAIN, GARBAGE, LATER], "a memory of 65600 bytes; at most 65536 are kept");
}

#[test]
fn a_memory_that_is_too_large_at_once_is_found() {
    let report = examine(&guest("large_memory"));
    assert!(decides(&report).iter().all(|name| of(Outcome::Failed, &report).contains(name)), "{:#?}", report.checks);
    assert!(check(&report, "decide: no instances").notes[0].contains("65537 bytes"));
}

#[test]
fn an_engine_that_does_not_end_is_found_and_not_waited_for_again_and_again() {
    // Less than a machine that is busy gets through before the deadline.
    let limits = EngineLimits { fuel: 10_000_000, ..EngineLimits::default() };
    let report = Kit { config: None, limits, quick: false, progress: &|_| () }.examine(&guest("spin")).expect("it is an engine");
    fails(&report, &["decide: no instances"], "fuel: in decide: used up its 10000000 units of fuel");
    assert_eq!(report.checks.last().expect("a check").name, "decide: no instances", "what else there is would take as long");
    assert!(check(&report, "decide: no instances").cost.fuel_percent >= Some(99.0));
}

/// Examines a guest with a call that never ends. It has too little fuel for the clock to end it first.
fn with_endless(call: &str, returns: &str) -> Report {
    let head = format!("#{call}\") (param i32 i32)");
    let guest =
        Guest::new("quiet").with(&head, &format!("{head}{returns} (loop $again (br $again)) unreachable)\n  (func (param i32 i32)"));
    let limits = EngineLimits { fuel: 10_000_000, ..EngineLimits::default() };
    Kit { config: None, limits, quick: true, progress: &|_| () }.examine(&guest.component()).expect("it is an engine")
}

#[test]
fn a_judge_of_configurations_that_does_not_end_is_asked_for_few() {
    let report = with_endless("check-config", " (result i32)");
    fails(&report, &["judges odd configurations", "gives a configuration to start from"], "asked to check {}, it failed: fuel");
    let notes = &check(&report, "judges odd configurations").notes;
    assert!(notes.len() == 2 && notes[1].contains("was not tried: it would take as long"), "{notes:?}");
}

#[test]
fn an_engine_that_does_not_end_when_it_retires_is_asked_to_once() {
    let report = with_endless("retire", "");
    fails(&report, &["retire"], "fuel: ");
    let notes = &check(&report, "retire").notes;
    assert!(notes.len() == 2 && notes[1].contains("was not tried: it would take as long"), "{notes:?}");
}

#[test]
fn a_request_that_makes_no_sense_is_found() {
    let report = examine(&guest("stranger"));
    let failed = of(Outcome::Failed, &report);
    assert_eq!(failed, decides(&report));
    let notes = &check(&report, failed[0]).notes;
    assert!(
        notes.iter().any(|it| it == "it asked for what can't be: destroy-instances: ids: no instance \"type\" in this domain"),
        "{notes:?}"
    );
}

#[test]
fn a_launch_in_the_place_of_one_that_stays_is_found() {
    // It asks too early once, to see what comes of it.
    let frozen = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/guests/frozen-0.1.0/frozen.wasm")).expect("it is kept");
    let report = examine(&frozen);
    let notes = &check(&report, "decide: 1000 instances").notes;
    assert!(notes.iter().any(|it| it.starts_with("it asked for what can't be: launch: replaces: \"i")), "{notes:?}");
}

#[test]
fn an_error_instead_of_a_decision_is_found_and_after_a_refusal_explained() {
    let report = examine(&guest("refuse"));
    assert_eq!(of(Outcome::Failed, &report), [decides(&report), vec![AGAIN]].concat());
    let told = |name: &str| check(&report, name).notes.join("; ");
    assert!(told("decide: no instances").contains("returned: in decide: type") && !told("decide: no instances").contains("refusal"));
    assert!(told("decide: no instances, paused").contains("a refusal is an answer"));
}

#[test]
fn memory_that_is_taken_without_end_is_found_as_what_it_is() {
    for (memory_bytes, told) in [(64 << 20, "64 MiB"), (8 << 20, "8 MiB"), (0x90_0000 + 0x1_0000, "9502720 bytes")] {
        let limits = EngineLimits { memory_bytes, ..EngineLimits::default() };
        let report = Kit { config: None, limits, quick: true, progress: &|_| () }.examine(&guest("hog")).expect("it is an engine");
        let note = &check(&report, "decide: no instances").notes[0];
        assert!(note.starts_with("memory: ") && note.ends_with(&format!("; a call may use {told}")), "{note}");
    }
}

/// A guest whose schema is this text, which lies where nothing else does.
fn with_schema(schema: &str) -> Vec<u8> {
    let data = schema.replace('"', "\\22");
    assert!(schema.len() <= 4096, "the heap begins behind it");
    let length = format!("\\{:02x}\\{:02x}\\00\\00", schema.len() % 256, schema.len() / 256);
    let guest = Guest::new("quiet").with("\\58\\00\\00\\00\\02\\00\\00\\00", &format!("\\00\\10\\00\\00{length}"));
    guest.with("(global $heap", &format!("(data (i32.const 4096) \"{data}\")\n  (global $heap")).component()
}

#[test]
fn a_schema_that_is_none_is_found() {
    let report = examine(&with_schema(r#"{"type":"nonsense"}"#));
    let schema = check(&report, "its schema is one, and true");
    assert_eq!(schema.outcome, Outcome::Failed);
    assert!(schema.notes[0].contains("/type"), "{schema:?}");
    assert!(report.configuration.is_none() && report.checks.last().is_some_and(|it| it.outcome == Outcome::Failed), "{:#?}", report.checks);
}

#[test]
fn an_example_and_a_default_that_the_schema_does_not_allow_are_found() {
    let report = examine(&with_schema(r#"{"required":["n"],"examples":[{}],"properties":{"n":{"type":"integer","default":"x"}}}"#));
    let schema = check(&report, "its schema is one, and true");
    assert_eq!((schema.outcome, schema.notes.len()), (Outcome::Failed, 2), "{schema:?}");
    assert!(schema.notes[0].contains("example 1") && schema.notes[1].contains("the default of n"), "{schema:?}");
}

#[test]
fn a_schema_whose_many_alternatives_refer_to_all_of_them_is_found_out_in_no_time() {
    let alternatives = [r##"{"$ref":"#/$defs/a"}"##; 150].join(",");
    let schema = format!(r##"{{"properties":{{"n":{{"$ref":"#/$defs/a"}}}},"$defs":{{"a":{{"anyOf":[{alternatives}]}}}}}}"##);
    let report = examine(&with_schema(&schema));
    assert_eq!(report.engine.keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["n"]);
    let judged = check(&report, "its schema is one, and true");
    assert!(!report.passed && judged.notes[0].contains("without end"), "{judged:?}");
}

#[test]
fn keys_without_a_description_are_named() {
    let report = examine(&with_schema(r#"{"properties":{"n":{"type":"integer"}}}"#));
    assert_eq!(check(&report, "documents itself").notes, ["no description of n"]);
}

#[test]
fn a_configuration_that_is_given_is_used_and_one_that_the_engine_does_not_take_is_told() {
    let given = json!({"preserve_n": 12});
    let report = tried(&shipped("simplest"), Some(given.clone())).expect("it takes it");
    assert!(report.passed, "{:#?}", report.checks);
    assert_eq!(report.configuration.map(|it| Value::Object(it.value)), Some(given));
    assert!(check_note(&report.checks, "decide: no instances").contains("launch 12"));

    let error = tried(&shipped("simplest"), Some(json!({"preserve_n": 3, "preserve_m": 4}))).expect_err("no such key");
    let ExamineError::Config(problems) = error else { panic!("{error:?}") };
    assert!(problems.iter().any(|ConfigProblem { at, .. }| at == "/engine_conf/preserve_m"), "{problems:?}");
}

fn check_note(checks: &[Check], name: &str) -> String {
    checks.iter().filter(|check| check.name == name).map(|check| check.notes.join("; ")).collect()
}

#[test]
fn what_is_no_engine_is_not_examined() {
    let refused = |component: &[u8]| match tried(component, None) {
        Err(ExamineError::Load(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&Guest::new("quiet").module()), LoadError::CoreModule);
    let whole = guest("quiet");
    assert!(matches!(refused(&whole[..whole.len() / 2]), LoadError::Malformed(_)));
    let newer = Guest::new("quiet").with_contract("package pilothouse:engine@0.1.0", "package pilothouse:engine@0.2.0");
    assert!(matches!(refused(&newer.with("@0.1.0", "@0.2.0").component()), LoadError::ImportVersion { .. }));
}
