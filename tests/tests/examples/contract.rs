//! What every engine owes its host.

use std::time::Instant;

use pilothouse_core::cycle::{Engine, FaultKind};
use pilothouse_core::instance::Health;
use pilothouse_core::record::Prepared;
use pilothouse_core::state::DomainState;
use pilothouse_engine_host::{EngineLimits, LoadedEngine};
use pilothouse_tests::domain::{self, cycle, decide, domain, judge, populate, reconfigure, run};
use serde_json::json;

use crate::engine::{examples, sandbox, sandbox_with};
use crate::policy::settled;

#[test]
fn it_says_who_it_is() {
    for example in examples() {
        let description = example.engine.description();
        let (language, policy) = example.name.split_once('-').expect("two words");
        assert_eq!(description.name.as_str(), format!("{policy}-{language}"));
        let keys: Vec<&String> = description.config_schema["properties"].as_object().expect("an object").keys().collect();
        assert!(!keys.is_empty(), "{}", example.name);
        for key in keys {
            assert!(description.documentation.contains(&format!("| `{key}` |")), "{}: {key} is not documented", example.name);
        }
    }
}

#[test]
fn a_bad_configuration_is_told_with_its_key() {
    for example in examples() {
        assert_eq!(example.engine.check_config(r#"{"preserve_n": 3}"#), Ok(vec![]), "{}", example.name);
        let problems = example.engine.check_config(r#"{"preserve_n": "many", "sight": "here"}"#).expect("the call succeeds");
        let told: Vec<(&str, &str)> = problems.iter().map(|problem| (&*problem.at, &*problem.message)).collect();
        let expected = [("/preserve_n", "expected a whole number from 0 to 1000000"), ("/sight", "unknown key")];
        assert_eq!(told, expected, "{}", example.name);

        let failed = run(&domain(json!({"preserve_n": -1})), &example.engine).outcome.expect_err("it can't be used");
        assert_eq!((failed.call, failed.fault.kind), ("initialize", FaultKind::Returned), "{}: {}", example.name, failed.fault);
        assert!(failed.fault.message.contains("/preserve_n"), "{}: {}", example.name, failed.fault);
    }
}

#[test]
fn the_memory_survives_a_change_of_the_configuration() {
    for example in examples() {
        let mut state = settled(&example.engine, json!({"preserve_n": 5}));
        let id = state.instances().next().expect("an instance").id.clone();
        judge(&mut state, &id, Health::Missing);
        decide(&mut state, &example.engine);
        let before = state.memory.clone().expect("a memory");

        reconfigure(&mut state, json!({"preserve_n": 6}));
        let decision = decide(&mut state, &example.engine);
        assert_eq!((decision.prepared, decision.launches.len()), (Some(Prepared::Reconfigured), 1), "{}", example.name);
        assert_eq!(state.memory.as_ref(), Some(&before), "{}", example.name);

        let refused = domain_of(&state, json!({"preserve_n": "many"}));
        let called = example.engine.reconfigure(cycle(&refused), &before);
        assert!(format!("{:?}", called.result).contains("/preserve_n"), "{}: {:?}", example.name, called.result);
    }
}

/// The same domain with another configuration.
fn domain_of(state: &DomainState, config: serde_json::Value) -> DomainState {
    let mut other = state.clone();
    reconfigure(&mut other, config);
    other
}

#[test]
fn a_memory_that_it_did_not_write_is_an_error_and_no_trap() {
    // Deeper than any configuration can be: hosts read JSON to a depth of 128.
    let deep = "[".repeat(200);
    let garbage: [&[u8]; 7] =
        [b"", b"garbage", b"\xff\xfe\0", b"[1]", b"null", br#"{"version":1,"replaced":"x","recent":[]}"#, deep.as_bytes()];
    for example in examples() {
        let mut state = settled(&example.engine, json!({"preserve_n": 1}));
        for memory in garbage {
            state.memory = Some(memory.to_vec());
            let shown = String::from_utf8_lossy(&memory[..memory.len().min(20)]).into_owned();
            let failed = run(&state, &example.engine).outcome.expect_err("it can't be read");
            assert_eq!(failed.fault.kind, FaultKind::Returned, "{} with {shown:?}: {}", example.name, failed.fault);
            assert!(failed.fault.message.contains("memory"), "{}: {}", example.name, failed.fault);
            assert_eq!(example.engine.retire(memory), Ok(()), "{} with {shown:?}", example.name);
        }
        state.memory = Some(br#"{"version":2}"#.to_vec());
        let failed = run(&state, &example.engine).outcome.expect_err("it is of another version");
        assert!(failed.fault.message.ends_with("version 2; this engine reads version 1"), "{}: {}", example.name, failed.fault);
    }
}

/// A domain in which much is to be done: the record of what an engine decides there.
fn decided(engine: &LoadedEngine) -> Vec<u8> {
    let mut state = settled(engine, json!({"preserve_n": 12, "replacements_per_hour": 100}));
    // No more than two, or the brake would be on.
    let ids: Vec<_> = state.instances().take(2).map(|it| it.id.clone()).collect();
    judge(&mut state, &ids[0], Health::Missing);
    judge(&mut state, &ids[1], Health::ProcessError);
    reconfigure(&mut state, json!({"preserve_n": 14, "replacements_per_hour": 1}));
    let finished = run(&state, engine).finish(&state, domain::NOW);
    serde_json::to_vec(&finished.event).expect("a record is JSON")
}

#[test]
fn a_decision_is_the_same_to_the_byte_wherever_it_is_made() {
    for example in examples() {
        let first = decided(&example.engine);
        let text = String::from_utf8_lossy(&first);
        assert!(text.contains("terminating 1 (missing); launching 3; 1 not replaced (process error)"), "{}: {text}", example.name);
        assert_eq!(first, decided(&example.engine), "{}: ids, reasons, memory and fuel", example.name);

        let other = sandbox();
        let engine = other.load(&example.component).expect("it loads");
        assert_eq!(other.compiled(), 0, "{}: taken from the cache", example.name);
        assert_eq!(first, decided(&engine), "{}: in another sandbox", example.name);
    }
}

#[test]
fn what_a_decision_uses_up_is_far_from_the_limits() {
    let limits = EngineLimits::default();
    for example in examples() {
        for (count, ill) in [(10, 0), (10, 3), (1000, 0), (1000, 300), (1000, 1000), (10_000, 0), (10_000, 10_000)] {
            let mut state = settled(&example.engine, json!({"preserve_n": 0, "replacements_per_hour": 1000}));
            reconfigure(&mut state, json!({"preserve_n": count, "replacements_per_hour": 1000}));
            populate(&mut state, count);
            assert_eq!(u64::from(state.counts().valid), count);
            let ids: Vec<_> = state.instances().take(ill).map(|it| it.id.clone()).collect();
            for id in &ids {
                judge(&mut state, id, Health::Missing);
            }
            let begun = Instant::now();
            let ran = run(&state, &example.engine);
            let took = begun.elapsed();
            let verdict = &ran.outcome.as_ref().unwrap_or_else(|failed| panic!("{}: {:?}", example.name, failed.fault)).verdict;
            let memory = verdict.memory.len();
            println!("{}: {count} instances, {ill} ill: fuel {}, {took:.1?}, memory {memory} bytes", example.name, ran.fuel);
            assert!(ran.fuel < limits.fuel / 2, "{}: {count} instances, {ill} ill: fuel {}", example.name, ran.fuel);
        }
    }
}

#[test]
fn a_quarter_of_the_memory_and_of_the_stack_would_do() {
    let mut limits = EngineLimits::default();
    (limits.memory_bytes, limits.stack_bytes) = (limits.memory_bytes / 4, limits.stack_bytes / 4);
    let narrow = sandbox_with(limits);
    for example in examples() {
        let engine = narrow.load(&example.component).expect("it loads");
        let mut state = domain(json!({"preserve_n": 1000}));
        populate(&mut state, 2000);
        let ran = run(&state, &engine);
        assert!(ran.outcome.is_ok(), "{}: {:?}", example.name, ran.outcome);
    }
}
