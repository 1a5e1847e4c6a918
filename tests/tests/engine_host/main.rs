//! The engine host on real components: the engines that ship, and small guests that misbehave in every way we could think of.

mod domain;
mod guest;

use std::time::{Duration, Instant};

use domain::{cycle, decide, domain, reconfigure, run};
use guest::{Guest, guest, shipped};
use pilothouse_core::cycle::{Engine, Fault, FaultKind, Ran, Reconfigured, Status};
use pilothouse_core::record::{Event, Prepared};
use pilothouse_core::time::Millis;
use pilothouse_engine_host::{EngineLimits, LoadError, LoadedEngine, Runner, RunnerConfig, Sandbox, SandboxConfig};
use proptest::prelude::*;
use serde_json::json;

fn sandbox() -> Sandbox {
    limited(|_| ())
}

fn limited(change: impl FnOnce(&mut EngineLimits)) -> Sandbox {
    let mut config = SandboxConfig::default();
    change(&mut config.limits);
    Sandbox::new(config).expect("a sandbox")
}

fn load(name: &str) -> LoadedEngine {
    sandbox().load(&guest(name)).expect("it loads")
}

fn refused(bytes: &[u8]) -> LoadError {
    sandbox().load(bytes).expect_err("it is refused")
}

/// How a guest fails on an empty domain, and what else came of it.
fn fault_of(engine: &LoadedEngine) -> (Fault, Ran) {
    let mut ran = run(&domain(json!({})), engine);
    match &mut ran.outcome {
        Ok(decided) => panic!("it decided: {decided:?}"),
        Err(failed) => (failed.fault.clone(), ran),
    }
}

fn kind_of(name: &str) -> FaultKind {
    fault_of(&load(name)).0.kind
}

// What ships.

#[test]
fn the_engines_that_ship_load_and_say_who_they_are() {
    let sandbox = sandbox();
    for name in ["simplest", "npreserving", "sensor"] {
        let engine = sandbox.load(&shipped(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let description = engine.description();
        assert_eq!(description.name.as_str(), name);
        assert!(!description.documentation.is_empty() && description.config_schema.contains_key("properties"), "{name}");
        assert_eq!(engine.digest().len(), 64);
        assert_eq!(engine.identity().digest, engine.digest());
        assert_eq!(engine.identity().version, description.version.to_string());
    }
}

#[test]
fn simplest_launches_what_is_missing_and_then_wants_nothing_more() {
    let engine = sandbox().load(&shipped("simplest")).expect("it loads");
    let mut state = domain(json!({"preserve_n": 3}));
    let first = decide(&mut state, &engine);
    assert_eq!(first.prepared, Some(Prepared::Initialized));
    assert_eq!((first.launches.len(), first.launches[0].instances.len()), (1, 3));
    assert_eq!(state.counts().valid, 3);
    let second = decide(&mut state, &engine);
    assert!(second.launches.is_empty() && second.terminations.is_empty(), "{second:?}");
}

#[test]
fn a_decision_is_the_same_to_the_byte_wherever_it_is_made() {
    let decided = |bytes: &[u8]| {
        let engine = sandbox().load(bytes).expect("it loads");
        let finished = run(&domain(json!({"preserve_n": 3})), &engine).finish(&domain(json!({"preserve_n": 3})), domain::NOW);
        serde_json::to_vec(&finished.event).expect("a record is JSON")
    };
    let bytes = shipped("simplest");
    assert_eq!(decided(&bytes), decided(&bytes), "ids, reasons, figures and fuel");
}

#[test]
fn a_configuration_that_the_engine_does_not_want_is_told_with_its_key() {
    let engine = sandbox().load(&shipped("simplest")).expect("it loads");
    assert_eq!(engine.check_config(r#"{"preserve_n": 3}"#), Ok(vec![]));
    let problems = engine.check_config(r#"{"preserve_n": "many"}"#).expect("the call succeeds");
    assert!(problems.iter().any(|problem| problem.at.contains("preserve_n")), "{problems:?}");
    engine.retire(b"anything").expect("a memory that can't be read stops nothing");
}

// What a call may use up.

#[test]
fn a_guest_that_spins_is_cut_by_its_fuel() {
    let engine = limited(|limits| limits.fuel = 10_000_000).load(&guest("spin")).expect("it loads");
    let (fault, ran) = fault_of(&engine);
    assert_eq!(fault.kind, FaultKind::Fuel, "{fault}");
    assert!((10_000_000..10_100_000).contains(&ran.fuel), "{} is what it used", ran.fuel);
    let (_, again) = fault_of(&engine);
    assert_eq!(again.fuel, ran.fuel, "fuel is deterministic");
}

#[test]
fn a_guest_that_only_lets_the_host_work_is_cut_by_its_fuel_and_not_by_the_clock() {
    let (fault, _) = fault_of(&load("ask_for_ever"));
    assert_eq!(fault.kind, FaultKind::Fuel, "{fault}");
}

#[test]
fn every_byte_that_a_guest_hands_over_is_paid_with_fuel() {
    let fuel = |bytes: u64| {
        let line = |bytes: u64| format!("(call $log (i32.const 1) (i32.const 128) (i32.const {bytes}))");
        let guest = Guest::new("chatter").with(&line(4), &line(bytes)).component();
        run(&domain(json!({})), &sandbox().load(&guest).expect("it loads")).fuel
    };
    assert_eq!(fuel(900) - fuel(4), 1000 * (900 - 4), "a thousand lines");
}

#[test]
fn a_guest_that_spins_with_endless_fuel_is_cut_by_the_clock() {
    let sandbox = limited(|limits| (limits.fuel, limits.deadline) = (u64::MAX, Duration::from_millis(50)));
    let engine = sandbox.load(&guest("spin")).expect("it loads");
    let begun = Instant::now();
    let (fault, _) = fault_of(&engine);
    assert_eq!(fault.kind, FaultKind::Deadline, "{fault}");
    assert!(begun.elapsed() >= Duration::from_millis(50), "not before its time");
    assert!(!fault.kind.counts(), "a slow machine is not the engine's fault");
}

#[test]
fn a_guest_that_takes_all_memory_is_told_apart_from_other_traps() {
    let (fault, _) = fault_of(&limited(|limits| limits.memory_bytes = 8 << 20).load(&guest("hog")).expect("it loads"));
    assert_eq!(fault.kind, FaultKind::Memory, "{fault}");
    assert!(fault.message.contains("memory"), "{fault}");
}

#[test]
fn a_guest_that_makes_do_with_less_memory_than_it_wanted_has_not_failed() {
    assert!(run(&domain(json!({})), &load("content")).outcome.is_ok());
}

#[test]
fn a_component_that_begins_with_more_memory_than_it_may_have_is_refused() {
    let large = Guest::new("quiet").with("(memory (export \"memory\") 1)", "(memory (export \"memory\") 2000)").component();
    match refused(&large) {
        LoadError::TooDemanding(problem) => assert!(problem.contains("memory"), "{problem}"),
        other => panic!("{other}"),
    }
}

#[test]
fn endless_recursion_is_a_trap() {
    let (fault, _) = fault_of(&load("recurse"));
    assert_eq!(fault.kind, FaultKind::Trap);
    assert!(fault.message.contains("stack"), "{fault}");
}

#[test]
fn a_call_knows_nothing_of_the_one_before() {
    let (engine, mut state) = (load("count"), domain(json!({})));
    for _ in 0..3 {
        decide(&mut state, &engine);
        assert_eq!(state.memory.as_deref(), Some(&1u32.to_le_bytes()[..]));
    }
}

// What comes back.

#[test]
fn a_trap_leaves_nothing_of_what_was_asked_for() {
    let control = decide(&mut domain(json!({})), &load("ask"));
    assert_eq!(control.launches[0].instances.len(), 3, "without the trap it is granted");

    let (fault, ran) = fault_of(&load("ask_and_trap"));
    assert_eq!(fault.kind, FaultKind::Trap, "{fault}");
    let mut state = domain(json!({}));
    let Some(event @ Event::Faulted(_)) = ran.finish(&state, domain::NOW).event else { panic!("a fault is recorded as a fault") };
    domain::apply(&mut state, event);
    assert_eq!((state.counts().total, state.memory.as_deref()), (0, None));
}

#[test]
fn answers_that_make_no_sense_are_output_faults() {
    for name in ["odd_status", "outside", "not_text", "large_memory"] {
        assert_eq!(kind_of(name), FaultKind::Output, "{name}");
    }
}

#[test]
fn a_memory_of_just_the_limit_is_kept() {
    let guest = Guest::new("large_memory").with("65537", "65536").component();
    let engine = sandbox().load(&guest).expect("it loads");
    let mut state = domain(json!({}));
    decide(&mut state, &engine);
    assert_eq!(state.memory.map(|memory| memory.len()), Some(65_536));
}

#[test]
fn a_guest_that_keeps_its_handles_has_failed() {
    let (fault, _) = fault_of(&load("keep_handles"));
    assert!(fault.kind.counts(), "{fault}");
}

#[test]
fn a_guest_can_not_make_the_host_copy_the_same_text_a_thousand_times() {
    let (fault, _) = fault_of(&load("amplify"));
    assert_eq!(fault.kind, FaultKind::Output, "{fault}");
    assert!(fault.message.contains("too much data"), "{fault}");
}

#[test]
fn a_figure_that_is_no_number_is_left_out_and_the_decision_stands() {
    let decision = decide(&mut domain(json!({})), &load("odd_figures"));
    assert_eq!(decision.figures, [("type".to_owned(), 1.0)]);
    assert!(decision.log.iter().any(|line| line.contains("\"site\" is NaN")), "{:?}", decision.log);
}

#[test]
fn an_error_that_the_engine_returns_is_told_in_its_words_and_does_not_count_against_it() {
    let (fault, _) = fault_of(&load("refuse"));
    assert_eq!(fault, Fault::new(FaultKind::Returned, "type"));
    assert!(!fault.kind.counts());
}

#[test]
fn an_engine_that_does_not_reconfigure_says_so() {
    let called = load("quiet").reconfigure(cycle(&domain(json!({}))), b"");
    assert_eq!(called.result, Ok(Reconfigured::NotSupported));
    assert!(called.fuel > 0);
}

/// A guest whose `reconfigure` asks for a pulse of 1 s and returns the error of this number, or with 9 no error.
fn asks_for_a_pulse(error: u32) -> LoadedEngine {
    let signature = "(param i32 i32) (param $domain i32) (param $setup i32) (result i32)\n";
    let pulse = "    (call $configure (local.get $setup) (i32.const 1) (i64.const 1000) \
                 (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2048))\n";
    let import = "(import \"pilothouse:engine/control@0.1.0\" \"[method]setup.configure\" \
                  (func $configure (param i32 i32 i64 i32 i32 i32 i32)))";
    let mut guest = Guest::new("quiet").with(signature, &format!("{signature}{pulse}")).with("  ;; more imports", import);
    guest = match error {
        9 => guest.with("(i32.store8 (i32.const 1024) (i32.const 1))", ""),
        error => guest.with("(i32.store8 (i32.const 1028) (i32.const 2))", &format!("(i32.store8 (i32.const 1028) (i32.const {error}))")),
    };
    // Without an error, the byte behind it is part of the memory's address.
    let guest = if error == 9 { guest.with("(i32.store8 (i32.const 1028) (i32.const 2))", "") } else { guest };
    sandbox().load(&guest.component()).expect("it loads")
}

#[test]
fn what_an_unsuccessful_reconfigure_has_set_has_not_happened() {
    for (error, prepared, pulse) in
        [(9, Prepared::Reconfigured, Some(Millis::from_secs(1))), (2, Prepared::Initialized, None), (0, Prepared::Refused, None)]
    {
        let engine = asks_for_a_pulse(error);
        let mut state = domain(json!({}));
        decide(&mut state, &engine);
        reconfigure(&mut state, json!({"a": 1}));
        let decision = decide(&mut state, &engine);
        assert_eq!((decision.prepared, decision.settings.pulse), (Some(prepared), pulse), "with error {error}");
    }
}

#[test]
fn a_quiet_engine_is_pending() {
    assert_eq!(decide(&mut domain(json!({})), &load("quiet")).status, Status::Pending);
}

#[test]
fn lines_over_the_bound_are_dropped_and_counted() {
    let decision = decide(&mut domain(json!({})), &load("chatter"));
    assert_eq!(decision.log.len(), 65);
    assert!(decision.log[64].contains("936 more lines"), "{}", decision.log[64]);
}

// What is refused.

#[test]
fn what_is_no_component_is_refused_as_what_it_is() {
    assert_eq!(refused(b""), LoadError::NotWasm);
    assert_eq!(refused(b"#!/bin/sh\n"), LoadError::NotWasm);
    assert_eq!(refused(b"\0as"), LoadError::NotWasm);
    assert_eq!(refused(&Guest::new("quiet").module()), LoadError::CoreModule);
    assert!(matches!(refused(b"\0asm\x09\0\x09\0"), LoadError::Malformed(_)));
}

#[test]
fn a_component_that_was_cut_off_is_refused_wherever_the_cut_is() {
    let (sandbox, whole) = (sandbox(), guest("quiet"));
    for end in (0..whole.len()).step_by(97) {
        let error = sandbox.load(&whole[..end]).expect_err("it is not whole");
        let expected = match end {
            0..8 => matches!(error, LoadError::NotWasm | LoadError::Malformed(_)),
            // Cut between two sections it is still a component, of nothing.
            _ => matches!(error, LoadError::Malformed(_) | LoadError::MissingExport),
        };
        assert!(expected, "cut at {end}: {error}");
    }
}

#[test]
fn a_component_that_is_too_large_is_not_looked_at() {
    let sandbox = limited(|limits| limits.component_bytes = 1000);
    assert_eq!(sandbox.load(&[0; 1001]).expect_err("too large"), LoadError::TooLarge { bytes: 1001, limit: 1000 });
}

#[test]
fn an_import_that_is_not_served_is_refused_with_its_name() {
    let bell = "(import \"BELL\" \"ring\" (func (param i32)))";
    let plain = Guest::new("quiet")
        .with_contract("export engine;", "import bell: interface { ring: func(times: u32); }\n    export engine;")
        .with("  ;; more imports", &bell.replace("BELL", "bell"));
    assert_eq!(refused(&plain.component()), LoadError::UnknownImport { import: "bell".to_owned() });

    let ours = Guest::new("quiet")
        .with_contract("interface log {", "interface bell { ring: func(times: u32); }\ninterface log {")
        .with_contract("export engine;", "import bell;\n    export engine;")
        .with("  ;; more imports", &bell.replace("BELL", "pilothouse:engine/bell@0.1.0"));
    assert_eq!(refused(&ours.component()), LoadError::UnknownImport { import: "pilothouse:engine/bell@0.1.0".to_owned() });
}

#[test]
fn a_function_that_is_not_served_is_refused_with_its_name() {
    let guest = Guest::new("quiet")
        .with_contract("interface log {", "interface log {\n    ring: func(times: u32);")
        .with("  ;; more imports", "(import \"pilothouse:engine/log@0.1.0\" \"ring\" (func (param i32)))");
    match refused(&guest.component()) {
        LoadError::ImportType { problem } => {
            assert!(problem.contains("pilothouse:engine/log@0.1.0") && problem.contains("ring"), "{problem}")
        }
        other => panic!("{other}"),
    }
}

#[test]
fn another_version_of_the_contract_is_refused_with_what_it_is() {
    let newer = || Guest::new("quiet").with_contract("package pilothouse:engine@0.1.0", "package pilothouse:engine@0.2.0");
    let all = newer().with("@0.1.0", "@0.2.0").component();
    assert!(matches!(refused(&all), LoadError::ImportVersion { import } if import.ends_with("@0.2.0")));

    // One that imports nothing.
    let module = "(module (func (export \"pilothouse:engine/lone@0.2.0#ring\")))";
    let mut lone = newer()
        .with_contract("interface log {", "interface engine2 { describe: func(); }\ninterface log {")
        .with_contract("export engine;", "export engine2;");
    lone.replace_module(&module.replace("lone", "engine2").replace("ring", "describe"));
    let renamed = replace_bytes(&lone.component(), b"pilothouse:engine/engine2@0.2.0", b"pilothouse:engine/engine@0.22.0");
    assert_eq!(refused(&renamed), LoadError::ExportVersion { found: "pilothouse:engine/engine@0.22.0".to_owned() });
}

#[test]
fn a_component_without_the_export_is_refused() {
    let mut guest = Guest::new("quiet").with_contract("export engine;", "export ring: func();");
    guest.replace_module("(module (func (export \"ring\")))");
    assert_eq!(refused(&guest.component()), LoadError::MissingExport);
}

#[test]
fn an_export_of_another_type_is_refused() {
    let guest = Guest::new("quiet").with_contract("retire: func(memory: list<u8>);", "retire: func(memory: string);");
    match refused(&guest.component()) {
        LoadError::ExportType { problem } => assert!(problem.contains("retire"), "{problem}"),
        other => panic!("{other}"),
    }
}

#[test]
fn a_description_that_makes_no_sense_is_refused_with_its_field() {
    let field = |old: &str, new: &str| match refused(&Guest::new("quiet").with(old, new).component()) {
        LoadError::Description { field, .. } => field,
        other => panic!("{other}"),
    };
    assert_eq!(field("\"guest\\00", "\"gu.st\\00"), "name");
    assert_eq!(field("1.0.0", "1.0.x"), "version");
    assert_eq!(field("{}\")", "[]\")"), "config-schema");
}

#[test]
fn a_component_that_can_not_say_who_it_is_is_refused() {
    let mute = Guest::new("quiet").with("#describe\") (result i32) (i32.const 0))", "#describe\") (result i32) unreachable)");
    assert!(matches!(refused(&mute.component()), LoadError::Describe(Fault { kind: FaultKind::Trap, .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_to_a_component_panics_the_host(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        thread_local! {
            static WHOLE: (Sandbox, Vec<u8>) = (limited(|limits| limits.fuel = 1_000_000), guest("ask"));
        }
        WHOLE.with(|(sandbox, whole)| {
            let mut bytes = whole.clone();
            for (at, value) in damage {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if let Ok(engine) = sandbox.load(&bytes) {
                let _ = run(&domain(json!({})), &engine);
                let _ = engine.check_config("{}");
                let _ = engine.retire(b"");
            }
        });
    }
}

// Threads.

#[tokio::test(flavor = "current_thread")]
async fn guests_that_spin_do_not_delay_their_neighbours() {
    let sandbox = limited(|limits| (limits.fuel, limits.deadline) = (u64::MAX, Duration::from_secs(2)));
    let (spin, quiet) = (sandbox.load(&guest("spin")).expect("it loads"), sandbox.load(&guest("quiet")).expect("it loads"));
    let runner = Runner::new(RunnerConfig { threads: 4, queue: 16 }).expect("threads");
    let state = domain(json!({}));
    let call = |engine: &LoadedEngine| {
        let (engine, cycle) = (engine.clone(), cycle(&state));
        runner.run(move || engine.decide(cycle, b"").result).expect("there is room")
    };
    let spinning = [call(&spin), call(&spin)];
    for _ in 0..100 {
        call(&quiet).await.expect("an answer").expect("a verdict");
    }
    assert_eq!(runner.busy(), 2, "the neighbours were done while both still spun");
    for spun in spinning {
        assert_eq!(spun.await.expect("an answer").expect_err("it was cut").kind, FaultKind::Deadline);
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_counts_as_lost_until_it_comes_back() {
    let sandbox = limited(|limits| (limits.fuel, limits.deadline) = (u64::MAX, Duration::from_millis(300)));
    let spin = sandbox.load(&guest("spin")).expect("it loads");
    let runner = Runner::new(RunnerConfig { threads: 1, queue: 1 }).expect("threads");
    let cycle = cycle(&domain(json!({})));
    let call = runner.run(move || spin.decide(cycle, b"").result).expect("there is room");
    assert!(tokio::time::timeout(Duration::from_millis(50), call).await.is_err(), "it still spins");
    assert_eq!((runner.busy(), runner.lost()), (1, 1));
    // The next job on the only thread starts when the clock has cut the one before.
    assert_eq!(runner.run(|| 7).expect("there is room").await, Ok(7));
    assert_eq!((runner.busy(), runner.lost()), (0, 0));
}

#[tokio::test]
async fn more_calls_than_the_pool_has_room_for_wait_for_each_other() {
    let config = SandboxConfig { concurrent_calls: 1, ..SandboxConfig::default() };
    let engine = Sandbox::new(config).expect("a sandbox").load(&guest("ask")).expect("it loads");
    let runner = Runner::new(RunnerConfig { threads: 8, queue: 100 }).expect("threads");
    let state = domain(json!({}));
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let (engine, cycle) = (engine.clone(), cycle(&state));
            runner.run(move || engine.initialize(cycle).result).expect("there is room")
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.expect("an answer"), Ok(Vec::new()));
    }
}

// What is kept of compiling.

fn cached(folder: &std::path::Path) -> Sandbox {
    Sandbox::new(SandboxConfig { cache: Some(folder.to_owned()), ..SandboxConfig::default() }).expect("a sandbox")
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn what_was_compiled_once_is_not_compiled_again() {
    let (folder, bytes) = (tempfile::tempdir().expect("a folder"), guest("ask"));
    let first = cached(folder.path());
    first.load(&bytes).expect("it loads");
    assert_eq!(first.compiled(), 1);
    let second = cached(folder.path());
    let engine = second.load(&bytes).expect("it loads");
    assert_eq!(second.compiled(), 0);
    assert_eq!(decide(&mut domain(json!({})), &engine).launches.len(), 1, "and it works");
    second.load(&guest("quiet")).expect("it loads");
    assert_eq!(second.compiled(), 1, "another component is another matter");
}

#[test]
fn a_compiled_component_that_is_damaged_is_compiled_again() {
    let (folder, bytes) = (tempfile::tempdir().expect("a folder"), guest("ask"));
    cached(folder.path()).load(&bytes).expect("it loads");
    let [file] = &files(folder.path())[..] else { panic!("one component, one file") };
    let good = std::fs::read(file).expect("a file");
    let middle = good.len() / 2;
    let mut flipped = good.clone();
    flipped[middle] ^= 1;
    for bad in [&flipped[..], &good[..middle], &good[..10], b"", b"nonsense"] {
        std::fs::write(file, bad).expect("written");
        let sandbox = cached(folder.path());
        sandbox.load(&bytes).expect("it loads");
        assert_eq!(sandbox.compiled(), 1, "{} bytes", bad.len());
        assert_eq!(std::fs::read(file).expect("a file"), good, "and the file is whole again");
    }
}

#[test]
fn a_compiled_component_under_a_foreign_name_is_not_taken() {
    let (folder, ask) = (tempfile::tempdir().expect("a folder"), guest("ask"));
    cached(folder.path()).load(&guest("quiet")).expect("it loads");
    let [quiet] = &files(folder.path())[..] else { panic!("one component, one file") };
    let digest = sandbox().load(&ask).expect("it loads").digest().to_owned();
    std::fs::rename(quiet, quiet.with_file_name(format!("{digest}.cwasm"))).expect("renamed");
    let sandbox = cached(folder.path());
    let engine = sandbox.load(&ask).expect("it loads");
    assert_eq!(sandbox.compiled(), 1);
    assert_eq!(decide(&mut domain(json!({})), &engine).launches.len(), 1, "it is the right one");
}

#[test]
fn the_folder_of_compiled_components_is_closed_to_others() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("opened");
    cached(folder.path()).load(&guest("quiet")).expect("it loads");
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(folder.path()), 0o700);
    assert!(files(folder.path()).iter().all(|file| mode(file) == 0o600));
}

#[test]
fn a_cache_that_can_not_be_used_only_costs_time() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let sandbox = cached(file.path());
    sandbox.load(&guest("quiet")).expect("it loads");
    assert_eq!(sandbox.compiled(), 1);
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    for change in [
        |limits: &mut EngineLimits| limits.fuel = 0,
        |limits: &mut EngineLimits| limits.deadline = Duration::ZERO,
        |limits: &mut EngineLimits| limits.memory_bytes = usize::MAX,
        |limits: &mut EngineLimits| limits.stack_bytes = 0,
    ] {
        let mut config = SandboxConfig::default();
        change(&mut config.limits);
        assert!(Sandbox::new(config).is_err());
    }
}

fn replace_bytes(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let mut bytes = bytes.to_vec();
    for at in 0..bytes.len() - old.len() {
        if bytes[at..].starts_with(old) {
            bytes[at..at + new.len()].copy_from_slice(new);
        }
    }
    bytes
}
