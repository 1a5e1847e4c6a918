//! A host that was disabled asks no engine, and makes up for it when it is enabled again.

use pilothouse_core::command::What;
use pilothouse_core::cycle::Cause;
use pilothouse_core::instance::State;
use pilothouse_core::intake::Input;
use pilothouse_core::message::StateReport;
use pilothouse_core::seed::Seed;
use pilothouse_core::time::{Millis, Timestamp};
use serde_json::json;

use crate::support::{Bench, Native, config, launch, verdict};

fn idle() -> Native<'static> {
    Native::new(|_, _| Ok(verdict(b"idle")))
}

/// A domain whose engine was asked once and launched one, and is due again.
fn due() -> Bench {
    let mut bench = Bench::new(config(json!({})), Timestamp::from_secs(1000));
    bench.decide(&Native::new(|cycle, _| {
        cycle.launch(launch("here", 1)).expect("granted");
        Ok(verdict(b"launched"))
    }));
    bench.pass(Millis::from_secs(60));
    bench
}

fn set_asking(bench: &mut Bench, on: bool) {
    let now = bench.now;
    bench.domain.set_asking(on, now);
}

#[test]
fn no_decision_begins_and_none_is_waited_for() {
    let mut bench = due();
    set_asking(&mut bench, false);
    assert!(bench.begin().is_none());
    bench.tick();
    bench.effects();
    assert!(bench.domain.next_look(bench.now) > bench.now, "the driver does not look again and again");
    // The rest goes on.
    let id = bench.instances()[0].id.clone();
    bench.absorb([Input::Report(id.clone(), StateReport::new(State::Running))]);
    assert_eq!(bench.instance(id.as_str()).state, State::Running);
    assert!(bench.command(What::Kill { instance: "0".to_owned(), reason: "in the way".to_owned() }).is_ok());
    assert_eq!(bench.requests().len(), 1, "what is promised is asked for");
}

#[test]
fn it_is_asked_at_once_when_that_is_over_whenever_it_would_be_due() {
    let mut bench = due();
    bench.decide(&idle());
    set_asking(&mut bench, false);
    set_asking(&mut bench, true);
    assert_eq!(bench.begin().map(|cycle| cycle.cause()), Some(Cause::Asked));
}

#[test]
fn a_change_of_its_configuration_has_waited_for_it() {
    let mut bench = due();
    set_asking(&mut bench, false);
    let change = bench.reconfigure(config(json!({"engine_conf": {"n": 4}})));
    bench.command(change).expect("taken");
    assert!(bench.begin().is_none());
    set_asking(&mut bench, true);
    assert_eq!(bench.begin().map(|cycle| cycle.cause()), Some(Cause::Configured));
}

#[test]
fn a_decision_under_way_is_as_if_it_had_not_begun() {
    let mut bench = Bench::new(config(json!({})), Timestamp::from_secs(1000));
    let begun = bench.domain.begin(bench.now, Seed::default()).expect("due");
    let (cause, before) = (begun.cause(), bench.state().clone());
    set_asking(&mut bench, false);
    drop(begun);
    assert!(bench.begin().is_none());
    set_asking(&mut bench, true);
    let again = bench.begin().expect("due once more");
    assert_eq!((again.cause(), bench.state()), (cause, &before), "for the same reason, and nothing of it is recorded");
    assert_eq!(cause, Cause::TakenOver);
    // One at a time, as ever.
    assert!(bench.begin().is_none());
}

#[test]
fn a_removal_ends_also_if_a_decision_was_given_up_for_it() {
    let mut bench = Bench::new(config(json!({})), Timestamp::from_secs(1000));
    let begun = bench.domain.begin(bench.now, Seed::default()).expect("due");
    set_asking(&mut bench, false);
    drop(begun);
    bench.command(What::Remove { abandon: false }).expect("taken");
    assert!(bench.domain.is_empty_at_last());
}
