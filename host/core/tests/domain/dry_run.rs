//! Dry run: an engine decides, and the world stays as it is.

use pilothouse_core::command::What;
use pilothouse_core::cycle::Settings;
use pilothouse_core::instance::State;
use pilothouse_core::record::{Event, Record};
use pilothouse_core::time::{Millis, Timestamp};
use serde_json::json;

use crate::support::{Bench, Native, config, instance, launch, verdict};

fn bench() -> Bench {
    let instances = [instance("a", 0, State::Running, Timestamp::ZERO)];
    let mut bench = Bench::with(config(json!({})), Timestamp::from_secs(1000), instances);
    bench.decide(&Native::new(|_, _| Ok(verdict(b"before"))));
    bench.command(What::DryRun(true)).expect("taken");
    bench.pass(Millis::from_secs(5));
    bench
}

fn asking(count: u32) -> Native<'static> {
    Native::new(move |cycle, _| {
        let launched = cycle.launch(launch("here", count)).expect("it is told that it may");
        assert_eq!(launched.instances.len(), count as usize);
        cycle.destroy(&["a".to_owned()], "no use".to_owned()).expect("it is told that it may");
        cycle.configure(Settings { pulse: Some(Millis::from_secs(1)), provisioner_vars: None }).expect("taken");
        Ok(verdict(b"believes in a new world"))
    })
}

#[test]
fn requests_are_recorded_and_nothing_else_comes_of_them() {
    let mut bench = bench();
    let before = bench.state().clone();
    let (record, _) = bench.decide(&asking(2));
    let record = record.expect("worth a record");
    let Event::Decided(decided) = &record.events[0] else { panic!("{record:?}") };
    assert!(decided.dry_run && decided.memory.is_none() && decided.settings.is_empty());
    assert_eq!((decided.launches[0].instances.len(), decided.terminations[0].accepted.len()), (2, 1));
    let state = bench.state();
    assert_eq!(state.decision.held_back, ["launch: 2 held back by dry run", "terminate: 1 held back by dry run"]);
    assert_eq!(
        (&state.memory, state.counts(), state.budget, state.pace()),
        (&before.memory, before.counts(), before.budget, before.pace())
    );
    assert!(bench.requests().iter().all(|request| matches!(request, pilothouse_core::promise::Request::Dump { .. })));
}

#[test]
fn the_same_again_is_quiet_and_something_else_is_not() {
    let mut bench = bench();
    bench.decide(&asking(2));
    assert_eq!(bench.decide_next(&asking(2)).0, None);
    assert!(bench.decide_next(&asking(3)).0.is_some());
}

#[test]
fn an_engine_that_asks_for_nothing_keeps_its_memory() {
    let mut bench = bench();
    let (record, _) = bench.decide(&Native::new(|_, _| Ok(verdict(b"counted on"))));
    assert!(record.is_some_and(|record: Record| matches!(&record.events[0], Event::Decided(decided) if !decided.dry_run)));
    assert_eq!(bench.state().memory.as_deref(), Some(&b"counted on"[..]));
}

#[test]
fn when_it_is_over_the_engine_acts() {
    let mut bench = bench();
    bench.decide(&asking(2));
    bench.command(What::DryRun(false)).expect("taken");
    bench.decide_next(&asking(2));
    assert_eq!((bench.state().counts().launching, bench.state().counts().terminating), (2, 1));
}

#[test]
fn a_new_engine_on_trial_begins_anew_each_time_until_it_asks_for_nothing() {
    let mut bench = Bench::new(config(json!({})), Timestamp::from_secs(1000));
    bench.command(What::DryRun(true)).expect("taken");
    let launching = Native::new(|cycle, memory| {
        assert_eq!(memory, b"fresh");
        cycle.launch(launch("here", 1)).expect("it is told that it may");
        Ok(verdict(b"spoilt"))
    })
    .initializing(|_| Ok(b"fresh".to_vec()));
    assert!(bench.decide(&launching).0.is_some());
    assert_eq!(bench.decide_next(&launching).0, None);
    assert_eq!((&bench.state().memory, bench.state().applied_revision), (&None, 0));
}
