//! What a call may use up.

use std::time::{Duration, Instant};

use pilothouse_core::cycle::FaultKind;
use pilothouse_engine_host::{EngineLimits, LoadError, Sandbox, SandboxConfig};
use serde_json::json;

use crate::domain::{decide, domain, run};
use crate::guest::{Guest, guest};
use crate::{cut_by_the_clock, fault_of, limited, load, refused, sandbox};

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
fn a_guest_that_spins_with_endless_fuel_is_cut_by_the_clock_and_is_to_blame_unless_the_machine_was_busy() {
    let sandbox = limited(|limits| (limits.fuel, limits.deadline) = (u64::MAX, Duration::from_millis(50)));
    let engine = sandbox.load(&guest("spin")).expect("it loads");
    let begun = Instant::now();
    let (fault, _) = fault_of(&engine);
    assert!(begun.elapsed() >= Duration::from_millis(50), "not before its time");
    cut_by_the_clock(&fault, 50);
}

#[test]
fn a_guest_whose_instructions_are_slower_than_their_fuel_is_cut_by_the_clock_and_is_to_blame() {
    let roots =
        format!("(local $x f64) (loop $again (local.set $x {} (local.get $x) {}) (br $again))", "(f64.sqrt".repeat(200), ")".repeat(200));
    let guest = Guest::new("spin").with("  (loop $again (br $again))", &format!("  {roots}"));
    let sandbox = limited(|limits| limits.deadline = Duration::from_millis(100));
    let engine = sandbox.load(&guest.component()).expect("it loads");
    // A machine that is busy with other things may end it a few times for its own sake, and not for ever.
    let mut faults = (0..100).map(|_| fault_of(&engine)).map(|(fault, ran)| {
        assert!(ran.fuel < sandbox.limits().fuel / 2, "{} of fuel is far below what it may", ran.fuel);
        cut_by_the_clock(&fault, 100);
        fault.kind
    });
    assert!(faults.any(|kind| kind == FaultKind::Processor && kind.counts()));
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
