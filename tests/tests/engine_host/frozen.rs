//! The contract stays as it was released: its text, and what a component gets that was built against it once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fs};

use pilothouse_core::config::DomainConfig;
use pilothouse_core::cycle::{Cause, Cycle, Engine as _, Fault, FaultKind, Reconfigured, Status, Wake};
use pilothouse_core::guard::Eyes;
use pilothouse_core::instance::{Health, State};
use pilothouse_core::message::Reading;
use pilothouse_core::record::{Change, Configured, Decision, EngineInForce, Event, Prepared};
use pilothouse_core::seed::Seed;
use pilothouse_core::sensor::{Scope, Sensors};
use pilothouse_core::state::DomainState;
use pilothouse_core::time::Millis;
use pilothouse_engine_host::LoadedEngine;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use wit_parser::{Resolve, WorldItem};

use crate::domain::{NOW, apply, domain, judge, populate, report};
use crate::sandbox;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn path(within: &str) -> PathBuf {
    Path::new(ROOT).join(within)
}

/// The texts of a package in a folder, by the names of their files.
fn texts(folder: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let texts = files.map(|entry| entry.expect("an entry").path()).filter(|path| path.extension().is_some_and(|it| it == "wit"));
    texts.map(|path| (path.file_name().expect("a name").to_string_lossy().into_owned(), fs::read_to_string(&path).expect("text"))).collect()
}

/// Which package it is, with its version: `pilothouse:engine@0.1.0`.
fn package(texts: &BTreeMap<String, String>) -> String {
    let lines = texts.values().flat_map(|text| text.lines());
    let named = lines.filter_map(|line| line.strip_prefix("package ")?.strip_suffix(';')).collect::<BTreeSet<_>>();
    assert_eq!(named.len(), 1, "one package");
    named.first().expect("it is named").to_string()
}

#[test]
fn what_is_served_under_a_released_version_is_the_text_that_was_released() {
    let folders = |within: &str| fs::read_dir(path(within)).expect("a folder").map(|entry| entry.expect("an entry").path());
    let packages = folders("wit").filter(|folder| folder.is_dir() && !folder.ends_with("released"));
    let served: BTreeMap<String, BTreeMap<String, String>> =
        packages.map(|folder| texts(&folder)).map(|texts| (package(&texts), texts)).collect();
    let mut released = 0;
    for folder in folders("wit/released") {
        let kept = texts(&folder);
        let package = package(&kept);
        let folder = folder.strip_prefix(ROOT).expect("it is in there").display().to_string();
        let Some(now) = served.get(&package) else {
            panic!("{folder} has {package}, and no folder of wit/ has it: a version that was released stays served");
        };
        for name in kept.keys().chain(now.keys()) {
            assert!(
                kept.get(name) == now.get(name),
                "{name} of {package} is not the text that was released, which {folder} has. A released version never changes, not even \
                 in a comment: put what is new into a package or a version of its own, as wit/README.md says"
            );
        }
        released += 1;
    }
    assert!(released > 0, "0.1.0 was released");
}

#[test]
fn neither_the_released_texts_nor_the_component_have_changed_since() {
    let folder = path("tests/guests/frozen-0.1.0");
    let sums = fs::read_to_string(folder.join("SHA256SUMS")).expect("text");
    let mut listed = BTreeSet::new();
    for line in sums.lines() {
        let (digest, name) = line.split_once("  ").expect("a digest and a name");
        let bytes = fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let found: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, digest, "{name} is not what it was when 0.1.0 was frozen");
        listed.insert(name.rsplit('/').next().expect("a name").to_owned());
    }
    let mut expected: BTreeSet<String> = texts(&path("wit/released/engine-0.1.0")).into_keys().collect();
    expected.insert("frozen.wasm".to_owned());
    assert_eq!(listed, expected, "all of them are listed");
}

fn component() -> Vec<u8> {
    let path = path("tests/guests/frozen-0.1.0/frozen.wasm");
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn frozen() -> LoadedEngine {
    sandbox().load(&component()).expect("a host serves every version that was released")
}

#[test]
fn the_component_imports_every_function_of_the_contract() {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(path("wit/released/engine-0.1.0")).expect("the text is sound");
    let world = resolve.select_world(&[package], Some("decision-engine")).expect("the world is there");
    let component = component();
    let imports = |name: &str| component.windows(name.len()).any(|window| window == name.as_bytes());
    let mut functions = 0;
    for item in resolve.worlds[world].imports.values() {
        let WorldItem::Interface { id, .. } = item else { continue };
        for name in resolve.interfaces[*id].functions.keys() {
            assert!(imports(name), "{name} is not imported, so nothing here says that it is served");
            functions += 1;
        }
    }
    assert_eq!(functions, 27, "all that there are");
    assert!(component.len() < 200 * 1024, "{} bytes", component.len());
}

/// Two variables that every launch of the domain is given, and a limit that nothing here reaches.
fn configured(change: impl FnOnce(DomainConfig) -> Change, engine_conf: Value) -> Event {
    let sections = json!({
        "general": {"provisioner_vars": {"zone": "a"}, "brake": {"enabled": false}},
        "engine_conf": engine_conf,
    });
    let config = DomainConfig::from_json(sections).expect("a good configuration");
    let by = "tester".parse().expect("a name");
    Event::Configured(Configured { by, request: None, answer: Value::Null, change: change(config) })
}

fn empty() -> DomainState {
    let mut state = domain(json!({}));
    apply(&mut state, configured(|config| Change::Added { config, engine: EngineInForce::default() }, json!({"any": 1})));
    state
}

fn reconfigured(state: &mut DomainState, engine_conf: Value) {
    apply(state, configured(|config| Change::Reconfigured { config, engine: EngineInForce::default() }, engine_conf));
}

/// Readings of the last minute: `queue` of the domain, and `load` of an instance.
fn cycle(state: &DomainState) -> Cycle {
    let mut sensors = Sensors::default();
    let mut take = |scope: Scope, metric: &str, ago: u64, value: f64| {
        let reading = Reading { metric: metric.to_owned(), time: NOW - Millis::from_secs(ago), value };
        sensors.take(scope, reading).expect("there is room");
    };
    for (ago, value) in [(90, 7.0), (40, 4.0), (30, 1.0), (20, 3.0), (10, 2.0)] {
        take(Scope::Domain, "queue", ago, value);
    }
    if let Some(first) = state.instances().next() {
        take(Scope::Instance(first.id.clone()), "load", 5, 0.5);
    }
    let seed = Seed(u128::from(state.sequence).to_be_bytes());
    Cycle::begin(Arc::new(state.clone()), Arc::new(sensors), Eyes::default(), NOW, Cause::Pulse, seed)
}

/// Lets it decide, and commits that.
fn decide(state: &mut DomainState, engine: &LoadedEngine) -> Decision {
    let finished = cycle(state).run(engine).finish(state, NOW);
    match finished.event {
        Some(event @ Event::Decided(_)) => apply(state, event),
        other => panic!("{other:?}"),
    }
    finished.said.expect("it said something")
}

fn figure(decision: &Decision, name: &str) -> f64 {
    decision.figures.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("{name}: {:?}", decision.figures)).1
}

#[track_caller]
fn says(decision: &Decision, words: &[&str]) {
    for words in words {
        assert!(decision.reason.contains(words), "{words:?} is not in {:?}", decision.reason);
    }
}

#[test]
fn it_is_initialised_and_launches() {
    let engine = frozen();
    assert_eq!((engine.description().name.as_str(), engine.description().version.to_string().as_str()), ("frozen", "1.0.0"));
    let mut state = empty();
    let first = decide(&mut state, &engine);
    assert_eq!((first.prepared, first.memory.as_deref()), (Some(Prepared::Initialized), Some(&[1, 1][..])));
    assert_eq!((first.status, first.wake), (Status::Pending, Some(Wake::After(Millis::new(2500)))));
    says(
        &first,
        &[
            "tester/web at 1000000000 because Cause::Pulse, configured with {\"any\":1} (revision 1)",
            "[(\"set-by\", \"initialize\")], health monitored true, chance true",
            "launched 2 and 0 wait",
        ],
    );
    let vars = |state: &DomainState| state.base_vars().clone();
    assert_eq!(vars(&state), [("set-by".to_owned(), "decide".to_owned())], "what it set last");
    assert_eq!((state.pace(), state.counts().launching), (Millis::new(7000), 2));
    assert!(state.instances().all(|it| it.extra_vars == [("launched-by".to_owned(), "frozen".to_owned())]));
    let lines = ["error", "warn", "info", "debug", "trace"].map(|level| {
        let name = level[..1].to_uppercase() + &level[1..];
        format!("{level}: at level Level::{name}")
    });
    assert_eq!(first.log, lines);
    let second = decide(&mut state, &engine);
    assert_eq!((second.prepared, second.memory.as_deref(), second.wake), (None, Some(&[1, 2][..]), Some(Wake::OnChange)));
}

#[test]
fn it_reads_sensors_and_looks_at_instances() {
    let engine = frozen();
    let mut state = empty();
    populate(&mut state, 3);
    let decision = decide(&mut state, &engine);
    for (name, expected) in [
        ("last", 2.0),
        ("average", 2.5),
        ("sum", 10.0),
        ("minimum", 1.0),
        ("maximum", 4.0),
        ("sample-count", 4.0),
        ("p50", 2.0),
        ("p90", 4.0),
        ("p95", 4.0),
        ("p99", 4.0),
        ("total", 3.0),
        ("valid", 3.0),
        ("running", 3.0),
        ("unconfirmed", 0.0),
        ("listed", 3.0),
        ("listed-valid", 3.0),
        ("listed-first", 1.0),
        ("listed-narrow", 3.0),
        ("unhealthy-first", 0.0),
        ("rows", 3.0),
    ] {
        assert_eq!(figure(&decision, name), expected, "{name}");
    }
    says(
        &decision,
        &[
            "queue Sample::Stale((2.0, 10000)), nothing Sample::Absent, load of 3 and the first Some(Sample::Value(0.5))",
            "series [(999980000, 3.0), (999990000, 2.0)]",
            "the same by row and by id true",
            "first i0 of l0: worker local small InstanceState::Running since 1000000000 Health::Ok [] [] [] protected false",
            "budget full in 0",
        ],
    );
}

#[test]
fn it_replaces_who_is_ill_and_ends_a_launch() {
    let engine = frozen();
    let mut state = empty();
    populate(&mut state, 5);
    let ids: Vec<_> = state.instances().map(|it| it.id.clone()).collect();
    for (id, health) in [(&ids[2], Health::Missing), (&ids[3], Health::ProcessError), (&ids[4], Health::OutOfContact)] {
        judge(&mut state, id, health);
    }
    let third = ids[2].clone();
    let decision = decide(&mut state, &engine);
    for (name, expected) in [("unhealthy", 2.0), ("unhealthy-first", 1.0), ("changed", 3.0), ("unconfirmed", 1.0), ("listed-narrow", 2.0)] {
        assert_eq!(figure(&decision, name), expected, "{name}");
    }
    says(
        &decision,
        &[
            "too early Err(Refusal::Invalid(\"replaces: \\\"i2\\\" stays: its end was not granted before in this decision\"))",
            "replaced [\"i2\"] by 1, [] stay, ended launch l0: [\"i0\"]",
        ],
    );
    let [launch] = &decision.launches[..] else { panic!("{decision:?}") };
    assert_eq!((launch.instances.len(), launch.replaces.as_ref()), (1, Some(&third)));
    assert_eq!((state.counts().terminating, state.counts().launching), (2, 1));

    report(&mut state, &third, State::Terminated);
    let next = decide(&mut state, &engine);
    says(&next, &["local has 4 with 0 failures, backing off until None"]);
    for (name, expected) in
        [("total", 6.0), ("listed", 6.0), ("valid", 4.0), ("listed-valid", 4.0), ("rows", 4.0), ("starting", 1.0), ("terminating", 1.0)]
    {
        assert_eq!(figure(&next, name), expected, "{name}");
    }
}

#[test]
fn it_takes_up_a_configuration_refuses_one_and_starts_afresh() {
    let engine = frozen();
    let mut state = empty();
    decide(&mut state, &engine);
    reconfigured(&mut state, json!({"any": 2}));
    let taken = decide(&mut state, &engine);
    assert_eq!((taken.prepared, state.memory.as_deref()), (Some(Prepared::Reconfigured), Some(&[1, 2][..])));
    says(&taken, &["configured with {\"any\":2} (revision 2) and [(\"zone\", \"a\")]"]);

    reconfigured(&mut state, json!({"wrong": true}));
    assert_eq!(decide(&mut state, &engine).prepared, Some(Prepared::Refused));
    let problems = engine.check_config("{\"wrong\": true}").expect("the call succeeds");
    assert_eq!((problems[0].at.as_str(), problems[0].message.as_str()), ("/wrong", "expected anything else"));
    assert_eq!(engine.check_config("{}"), Ok(Vec::new()));
    let called = engine.reconfigure(cycle(&state), &[1, 5]);
    assert_eq!(called.result, Ok(Reconfigured::Refused(problems)));

    reconfigured(&mut state, json!({"afresh": true}));
    let afresh = decide(&mut state, &engine);
    assert_eq!((afresh.prepared, afresh.memory.as_deref()), (Some(Prepared::Initialized), Some(&[1, 1][..])));
}

#[test]
fn its_failures_are_told_in_its_words_with_what_it_had_logged() {
    let engine = frozen();
    let mut state = empty();
    decide(&mut state, &engine);
    state.memory = Some(b"of another".to_vec());
    let failed = cycle(&state).run(&engine).outcome.expect_err("it can't be read");
    assert_eq!(failed.fault, Fault::new(FaultKind::Returned, "the memory can't be read: not one of mine"));
    assert_eq!(engine.retire(b"anything"), Ok(()));
}
