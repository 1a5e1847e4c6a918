//! What comes back of a call, and what does not.

use pilothouse_core::cycle::{Engine, Fault, FaultKind, Reconfigured, Status};
use pilothouse_core::record::{Event, Prepared};
use pilothouse_core::time::Millis;
use pilothouse_engine_host::LoadedEngine;
use serde_json::json;

use crate::domain::{self, cycle, decide, domain, reconfigure, run};
use crate::guest::Guest;
use crate::{fault_of, load, sandbox};

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
        assert_eq!(fault_of(&load(name)).0.kind, FaultKind::Output, "{name}");
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

/// A guest that returns the error of this number, with the text `type`, from `reconfigure` and from `decide`.
fn returns(error: u8) -> LoadedEngine {
    let from_reconfigure = format!(
        "(i32.store8 (i32.const 1024) (i32.const 1)) (i32.store8 (i32.const 1028) (i32.const {error})) \
         (i32.store (i32.const 1032) (i32.const 128)) (i32.store (i32.const 1036) (i32.const 4))"
    );
    let guest = Guest::new("refuse")
        .with("(i32.store8 (i32.const 1024) (i32.const 1)) (i32.store8 (i32.const 1028) (i32.const 2))", &from_reconfigure)
        .with("(i32.store8 (i32.const 1032) (i32.const 3))", &format!("(i32.store8 (i32.const 1032) (i32.const {error}))"));
    sandbox().load(&guest.component()).expect("it loads")
}

#[test]
fn each_error_that_an_engine_returns_is_told_for_what_it_is() {
    let (memory, not_supported, other) = (1, 2, 3);
    let returned = |text: &str| Fault::new(FaultKind::Returned, text);
    for (error, reconfigured, decided) in [
        (memory, Ok(Reconfigured::MemoryRefused("type".to_owned())), "the memory can't be read: type"),
        (not_supported, Ok(Reconfigured::NotSupported), "decide is not offered"),
        (other, Err(returned("type")), "type"),
    ] {
        let (engine, state) = (returns(error), domain(json!({})));
        assert_eq!(engine.reconfigure(cycle(&state), b"of another age").result, reconfigured);
        assert_eq!(engine.decide(cycle(&state), b"").result.expect_err("an error"), returned(decided));
    }
}

/// A guest whose `reconfigure` asks for a pulse of 1 s, and returns the error of this number or, without one, a memory.
fn asks_for_a_pulse(error: Option<u8>) -> LoadedEngine {
    let pulse = "(call $configure (local.get $setup) (i32.const 1) (i64.const 1000) \
                 (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2048))";
    let not_supported = "(i32.store8 (i32.const 1024) (i32.const 1)) (i32.store8 (i32.const 1028) (i32.const 2))";
    let returned = error.map_or_else(String::new, |error| not_supported.replace("(i32.const 2)", &format!("(i32.const {error})")));
    let guest = Guest::new("quiet").with(";; what it sets", pulse).with(not_supported, &returned);
    sandbox().load(&guest.component()).expect("it loads")
}

#[test]
fn what_an_unsuccessful_reconfigure_has_set_has_not_happened() {
    let (config, memory, not_supported) = (Some(0), Some(1), Some(2));
    for (error, prepared, pulse) in [
        (None, Prepared::Reconfigured, Some(Millis::from_secs(1))),
        (not_supported, Prepared::Initialized, None),
        (memory, Prepared::Initialized, None),
        (config, Prepared::Refused, None),
    ] {
        let engine = asks_for_a_pulse(error);
        let mut state = domain(json!({}));
        decide(&mut state, &engine);
        reconfigure(&mut state, json!({"a": 1}));
        let decision = decide(&mut state, &engine);
        assert_eq!((decision.prepared, decision.settings.pulse), (Some(prepared), pulse));
    }
}

#[test]
fn a_quiet_engine_is_pending() {
    assert_eq!(decide(&mut domain(json!({})), &load("quiet")).status, Status::Pending);
}

#[test]
fn what_was_logged_last_before_a_trap_is_kept_with_the_fault() {
    let traps = |guest: &str| {
        let guest = Guest::new(guest).with("(call $done (local.get $domain) (local.get $control)))", "unreachable)");
        let ran = run(&domain(json!({})), &sandbox().load(&guest.component()).expect("it loads"));
        let Some(Event::Faulted(fault)) = ran.finish(&domain(json!({})), domain::NOW).event else { panic!("it traps") };
        fault.log
    };
    assert_eq!(traps("quiet"), [""; 0]);
    let log = traps("chatter");
    assert_eq!((log.len(), log[0].as_str(), log[15].as_str()), (16, "warn: type", "warn: 936 more lines were dropped"));
}

#[test]
fn lines_over_the_bound_are_dropped_and_counted() {
    let decision = decide(&mut domain(json!({})), &load("chatter"));
    assert_eq!(decision.log.len(), 65);
    assert!(decision.log[64].contains("936 more lines"), "{}", decision.log[64]);
}
