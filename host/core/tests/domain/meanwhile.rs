//! What happens while the engine decides.

use pilothouse_core::command::What;
use pilothouse_core::cycle::{Cause, Ran, Settings, Verdict, Wake};
use pilothouse_core::guard::Guard;
use pilothouse_core::instance::{Health, Instance, State};
use pilothouse_core::intake::Input;
use pilothouse_core::message::{Heartbeat, StateReport, Verdict as Beat};
use pilothouse_core::record::{DecidedTermination, Decision, Event, Record};
use pilothouse_core::time::{Millis, Timestamp};
use serde_json::json;

use crate::support::{Bench, Native, config, instance, launch, verdict};

/// Four running instances, two of them ill; the first decision is made, the second due.
fn bench() -> Bench {
    let ill = |id, ordinal| Instance { health: Health::MonitorError, ..running(id, ordinal) };
    let instances = [running("a", 0), running("b", 1), ill("c", 2), ill("d", 3)];
    let mut bench = Bench::with(config(json!({"general": {"terminations_per_minute": 3}})), Timestamp::from_secs(1000), instances);
    bench.decide(&Native::new(|_, _| Ok(verdict(b"before"))));
    bench.pass(Millis::from_secs(5));
    bench
}

fn running(id: &str, ordinal: u64) -> Instance {
    instance(id, ordinal, State::Running, Timestamp::ZERO)
}

/// Ends all and launches two.
fn replacing() -> Native<'static> {
    Native::new(|cycle, _| {
        cycle.destroy(&["a", "b", "c", "d"].map(str::to_owned), "to be replaced".to_owned()).expect("granted");
        cycle.launch(launch("here", 2)).expect("granted");
        cycle.configure(Settings { pulse: Some(Millis::from_secs(50)), provisioner_vars: None }).expect("taken");
        Ok(verdict(b"after"))
    })
}

fn ok(id: &str) -> Input {
    Input::Heartbeat(id.parse().expect("an id"), Heartbeat { verdict: Beat::Ok })
}

fn report(id: &str, state: State) -> Input {
    Input::Report(id.parse().expect("an id"), StateReport::new(state))
}

/// Runs the engine over what is there now, lets something happen, and ends the decision.
fn decide_while(bench: &mut Bench, engine: &Native<'_>, happens: impl FnOnce(&mut Bench)) -> Option<Record> {
    let ran: Ran = bench.begin().expect("due").run(engine);
    bench.pass(Millis::new(200));
    happens(bench);
    bench.finish(ran).0
}

#[track_caller]
fn decision(record: Option<Record>) -> Decision {
    match record.map(|record| record.events) {
        Some(events) => match &events[..] {
            [Event::Decided(decision)] => Decision::clone(decision),
            other => panic!("{other:?}"),
        },
        None => panic!("no record"),
    }
}

fn ids(ids: &[pilothouse_core::id::InstanceId]) -> Vec<&str> {
    ids.iter().map(|id| id.as_str()).collect()
}

fn dropped(termination: &DecidedTermination) -> Vec<(&str, &str)> {
    termination.dropped.iter().map(|(id, why)| (id.as_str(), why.as_str())).collect()
}

#[test]
fn nothing_is_dropped_when_nothing_happened() {
    let mut bench = bench();
    let decided = decision(decide_while(&mut bench, &replacing(), |_| ()));
    let termination = &decided.terminations[0];
    assert_eq!((ids(&termination.accepted), ids(&termination.deferred)), (vec!["a", "b", "c"], vec!["d"]), "the budget is three");
    assert!(termination.dropped.is_empty());
    assert_eq!((bench.state().counts().terminating, bench.state().counts().launching), (3, 2));
    assert_eq!(bench.instance("a").end_reason.as_deref(), Some("to be replaced"));
}

#[test]
fn a_victim_that_recovered_is_dropped_with_the_reason() {
    let mut bench = bench();
    let decided = decision(decide_while(&mut bench, &replacing(), |bench| drop(bench.absorb([ok("c")]))));
    assert_eq!(ids(&decided.terminations[0].accepted), ["a", "b"], "what was never ill did not recover");
    assert_eq!(dropped(&decided.terminations[0]), [("c", "it recovered: OK since 0 ms")]);
    assert_eq!(bench.instance("c").state, State::Running);
}

#[test]
fn a_victim_that_is_gone_or_going_needs_no_end_any_more() {
    let mut bench = bench();
    let happens = |bench: &mut Bench| drop(bench.absorb([report("a", State::Failed), report("b", State::Terminating)]));
    let decided = decision(decide_while(&mut bench, &replacing(), happens));
    let termination = &decided.terminations[0];
    assert_eq!((ids(&termination.accepted), ids(&termination.again)), (vec!["c"], vec!["b"]));
    assert_eq!(dropped(termination), [("a", "it is FAILED by now")]);
    assert_eq!(bench.state().decision.held_back, ["terminate: 1 held back by budget"]);
}

#[test]
fn a_domain_that_was_stopped_meanwhile_does_nothing_and_remembers_nothing() {
    for (what, why) in [(What::Pause(true), "the domain was paused"), (What::DryRun(true), "dry run was switched on")] {
        let mut bench = bench();
        let decided = decision(decide_while(&mut bench, &replacing(), |bench| drop(bench.command(what).expect("taken"))));
        let why = format!("{why} while the engine decided");
        assert_eq!((decided.launches[0].instances.len(), decided.launches[0].refused.as_ref()), (0, Some(&why)));
        assert_eq!(dropped(&decided.terminations[0]), [("a", &*why), ("b", &*why), ("c", &*why)]);
        let state = bench.state();
        assert_eq!((state.counts().total, state.counts().terminating), (4, 0));
        assert_eq!(state.memory.as_deref(), Some(&b"before"[..]), "the world did not change as the engine believes");
    }
}

#[test]
fn a_maximum_that_was_lowered_meanwhile_holds() {
    for (most, launched) in [(6, 2), (5, 0), (4, 0)] {
        let mut bench = bench();
        let lower = |bench: &mut Bench| {
            let lower = config(json!({"general": {"max_instances": most, "terminations_per_minute": 3}}));
            drop(bench.command(bench.reconfigure(lower)).expect("taken"));
        };
        let decided = decision(decide_while(&mut bench, &replacing(), lower));
        assert_eq!(decided.launches[0].instances.len(), launched, "max_instances {most}");
        assert_eq!(decided.launches[0].refused.is_some(), launched == 0);
        let quota = decided.launches[0].rulings.last().expect("every guard was asked");
        assert_eq!((quota.guard, quota.passed as usize, quota.note.is_some()), (Guard::Quota, launched, launched < 2));
        assert_eq!(bench.state().alive() as usize, 4 + launched);
        let remembers = if launched == 2 { b"after".as_slice() } else { b"before" };
        assert_eq!(bench.state().memory.as_deref(), Some(remembers), "an engine remembers all that it was granted, or nothing");
    }
}

#[test]
fn a_domain_that_is_being_removed_meanwhile_has_no_decisions_any_more() {
    let mut bench = bench();
    let record = decide_while(&mut bench, &replacing(), |bench| drop(bench.command(What::Remove { abandon: false }).expect("taken")));
    assert_eq!(record, None);
    assert_eq!(bench.state().counts().total, 4);
}

#[test]
fn a_configuration_that_came_meanwhile_is_taken_up_next_and_its_settings_stand() {
    let mut bench = bench();
    let waits = Native::new(|cycle, memory| {
        cycle
            .configure(Settings { pulse: Some(Millis::from_secs(50)), provisioner_vars: Some(vec![("a".into(), "old".into())]) })
            .expect("taken");
        Ok(Verdict { wake: Some(Wake::OnChange), ..verdict(memory) })
    });
    let new = config(json!({"general": {"decide_interval": 9, "provisioner_vars": {"a": "new"}}}));
    decide_while(&mut bench, &waits, |bench| drop(bench.command(bench.reconfigure(new)).expect("taken")));
    let state = bench.state();
    assert_eq!((state.pace(), &state.base_vars()[0].1), (Millis::from_secs(9), &"new".to_owned()), "what people asked for last");
    assert_eq!(bench.begin().expect("due at once, whatever the engine waits for").cause(), Cause::Configured);
}

#[test]
fn an_engine_that_waits_for_a_change_is_told_of_one_that_it_could_not_see() {
    let mut bench = bench();
    let waits = Native::new(|_, memory| Ok(Verdict { wake: Some(Wake::OnChange), ..verdict(memory) }));
    decide_while(&mut bench, &waits, |bench| drop(bench.absorb([report("a", State::Failed)])));
    let cycle = bench.begin().expect("due at once");
    assert_eq!(cycle.cause(), Cause::Changed);
    assert_eq!(cycle.changed().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["a"]);
    bench.finish(cycle.run(&waits));
    assert!(bench.begin().is_none(), "once");
}

#[test]
fn what_changed_is_told_until_a_decision_that_saw_it_is_committed() {
    let mut bench = bench();
    bench.absorb([report("a", State::Failed)]);
    let says_more = |text: &'static [u8]| Native::new(move |_, _| Ok(verdict(text)));
    let changed = |bench: &mut Bench| {
        bench.pass(Millis::from_secs(5));
        let cycle = bench.begin().expect("due");
        let changed: Vec<String> = cycle.changed().map(|it| it.id.to_string()).collect();
        (cycle, changed)
    };
    let (cycle, first) = changed(&mut bench);
    assert_eq!(first, ["a"]);
    let ran = cycle.run(&says_more(b"1"));
    bench.absorb([report("b", State::Failed)]);
    assert!(bench.finish(ran).0.is_some());
    let (cycle, second) = changed(&mut bench);
    assert_eq!(second, ["b"], "it changed while the engine decided, and no decision has seen it");
    assert!(bench.finish(cycle.run(&says_more(b"1"))).0.is_none(), "quiet");
    let (cycle, third) = changed(&mut bench);
    assert_eq!(third, ["b"], "a quiet decision is not on record");
    assert!(bench.finish(cycle.run(&says_more(b"2"))).0.is_some());
    assert_eq!(changed(&mut bench).1, Vec::<String>::new());
}

#[test]
fn a_decision_that_could_not_be_recorded_is_made_anew_whatever_the_engine_waits_for() {
    let mut bench = bench();
    let waits = Native::new(|_, memory| Ok(Verdict { memory: b"news".to_vec(), wake: Some(Wake::OnChange), ..verdict(memory) }));
    let ran = bench.begin().expect("due").run(&waits);
    assert!(bench.give_up(ran).is_some(), "something is to be recorded, and is not");
    bench.pass(bench.state().pace());
    assert!(bench.begin().is_some());
}
