//! A decision cycle from its beginning to its record.

use pilothouse_core::command::What;
use pilothouse_core::config::ConfigProblem;
use pilothouse_core::cycle::{Cause, Fault, FaultKind, Reconfigured, Settings, Status, Verdict, Wake};
use pilothouse_core::instance::State;
use pilothouse_core::record::{Decision, Event, Prepared, Record};
use pilothouse_core::time::{Millis, Timestamp};
use serde_json::json;

use crate::support::{Bench, Native, config, launch, verdict};

fn bench() -> Bench {
    Bench::new(config(json!({"engine_conf": {"n": 1}})), Timestamp::from_secs(1000))
}

#[track_caller]
fn decision(record: &Option<Record>) -> &Decision {
    match record.as_ref().map(|record| &record.events[..]) {
        Some([Event::Decided(decision)]) => decision,
        other => panic!("expected a decision and nothing else, got {other:?}"),
    }
}

#[test]
fn the_first_cycle_initializes_and_decides_in_one_record() {
    let mut bench = bench();
    let engine = Native::new(|cycle, memory| {
        assert_eq!((memory, cycle.cause()), (&b"first"[..], Cause::TakenOver));
        cycle.launch(launch("here", 2)).expect("granted");
        Ok(verdict(b"second"))
    })
    .initializing(|_| Ok(b"first".to_vec()));
    let (record, _) = bench.decide(&engine);
    let decided = decision(&record);
    assert_eq!(decided.prepared, Some(Prepared::Initialized));
    assert_eq!((decided.memory.as_deref(), decided.fuel), (Some(&b"second"[..]), 101));
    assert_eq!(decided.launches[0].instances.len(), 2);
    let state = bench.state();
    assert_eq!((state.memory.as_deref(), state.applied_revision), (Some(&b"second"[..]), 1));
    assert_eq!(state.counts().launching, 2);
    assert!(state.instances().all(|it| it.state == State::Requesting && it.promised_at == state.sequence));
}

#[test]
fn a_quiet_decision_appends_nothing_and_the_next_is_due_after_the_pace() {
    let mut bench = bench();
    assert!(bench.decide(&Native::idle()).0.is_some(), "the first is never quiet");
    assert!(bench.begin().is_none(), "not due yet");
    bench.pass(Millis::new(4999));
    assert!(bench.begin().is_none());
    bench.pass(Millis::new(1));
    let (record, finished) = bench.decide(&Native::idle());
    assert_eq!(record, None);
    assert_eq!(finished.said.map(|said| said.cause), Some(Cause::Pulse), "it was made all the same");
}

#[test]
fn another_reason_alone_is_quiet_and_another_status_is_not() {
    let mut bench = bench();
    bench.decide(&Native::idle());
    let says =
        |status, reason: &'static str| Native::new(move |_, memory| Ok(Verdict { status, reason: reason.to_owned(), ..verdict(memory) }));
    assert!(bench.decide_next(&says(Status::Stable, "in other words")).0.is_none());
    assert!(bench.decide_next(&says(Status::Failed, "no")).0.is_some());
    assert!(bench.decide_next(&says(Status::Failed, "no")).0.is_none());
}

#[test]
fn one_decision_at_a_time() {
    let mut bench = bench();
    let cycle = bench.begin().expect("due");
    bench.pass(Millis::from_secs(1000));
    assert!(bench.begin().is_none(), "one is being made");
    bench.finish(cycle.run(&Native::idle()));
    bench.pass(Millis::from_secs(5));
    assert!(bench.begin().is_some());
}

#[test]
fn a_changed_configuration_is_taken_up_before_the_next_decision() {
    let mut bench = bench();
    bench.decide(&Native::idle());
    bench.command(bench.reconfigure(config(json!({"engine_conf": {"n": 2}})))).expect("taken");
    let engine = Native::new(|cycle, memory| {
        assert_eq!((memory, cycle.cause()), (&b"new"[..], Cause::Configured));
        Ok(verdict(memory))
    })
    .reconfiguring(|cycle, memory| {
        assert_eq!((memory, cycle.state().config.engine_conf["n"].as_u64()), (&b""[..], Some(2)));
        Ok(Reconfigured::Memory(b"new".to_vec()))
    });
    let (record, _) = bench.decide(&engine);
    assert_eq!((decision(&record).prepared, decision(&record).config_revision), (Some(Prepared::Reconfigured), 2));
    assert!(bench.decide_next(&engine_with_memory(b"new")).0.is_none(), "once");
}

/// Goes on only with this memory, and changes nothing.
fn engine_with_memory(expected: &'static [u8]) -> Native<'static> {
    Native::new(move |_, memory| {
        assert_eq!(memory, expected);
        Ok(verdict(memory))
    })
}

#[test]
fn an_engine_that_offers_no_reconfiguration_starts_afresh() {
    let mut bench = bench();
    bench.decide(&Native::new(|_, _| Ok(verdict(b"old"))));
    bench.command(bench.reconfigure(config(json!({"engine_conf": {"n": 2}})))).expect("taken");
    let (record, _) = bench.decide(&engine_with_memory(b"afresh").initializing(|_| Ok(b"afresh".to_vec())));
    assert_eq!(decision(&record).prepared, Some(Prepared::Initialized));
    assert_eq!(bench.state().memory.as_deref(), Some(&b"afresh"[..]));
}

#[test]
fn a_configuration_that_the_engine_refuses_leaves_its_memory() {
    let mut bench = bench();
    bench.decide(&Native::new(|_, _| Ok(verdict(b"old"))));
    bench.command(bench.reconfigure(config(json!({"engine_conf": {"n": -2}})))).expect("taken");
    let engine = engine_with_memory(b"old").reconfiguring(|cycle, _| {
        cycle.configure(Settings { pulse: Some(Millis::from_secs(77)), provisioner_vars: None }).expect("taken");
        Ok(Reconfigured::Refused(vec![ConfigProblem::new("/n", "expected at least 0")]))
    });
    let (record, _) = bench.decide(&engine);
    assert_eq!(decision(&record).prepared, Some(Prepared::Refused));
    assert!(decision(&record).settings.is_empty(), "a call that was refused sets nothing");
    assert!(bench.decide_next(&engine_with_memory(b"old")).0.is_none(), "it is not asked again");
}

#[test]
fn another_engine_does_not_get_the_memory_of_the_one_before() {
    let mut bench = bench();
    bench.decide(&Native::new(|_, _| Ok(verdict(b"old"))));
    bench.give_to("other");
    let other = engine_with_memory(b"mine").named("other").initializing(|_| Ok(b"mine".to_vec()));
    let (record, _) = bench.decide_next(&other);
    assert_eq!((decision(&record).prepared, decision(&record).engine.name.as_str()), (Some(Prepared::Initialized), "other"));
    assert_eq!(bench.state().memory_of.name, "other");
}

#[test]
fn an_engine_is_told_that_another_one_was_in_force_before() {
    let mut bench = bench();
    bench.decide(&Native::idle());
    let What::Reconfigure { config, mut engine, from_revision } = bench.reconfigure(config(json!({}))) else { panic!("a reconfiguration") };
    engine.digest = "11".to_owned();
    bench.command(What::Reconfigure { config, engine, from_revision }).expect("taken");
    assert_eq!(bench.begin().expect("due").cause(), Cause::Swapped);
}

#[test]
fn a_fault_leaves_nothing_but_its_record_and_makes_the_next_wait_twice_as_long() {
    let mut bench = bench();
    bench.decide(&Native::new(|_, _| Ok(verdict(b"kept"))));
    let greedy = Native::new(|cycle, _| {
        cycle.launch(launch("here", 5)).expect("granted");
        // After a few that speak against it, an engine is held.
        Err(Fault::new(FaultKind::Returned, "no such site"))
    });
    bench.pass(Millis::from_secs(5));
    for (in_a_row, pause) in [(1, 5), (2, 10), (3, 20), (4, 40), (5, 80), (6, 160), (7, 300), (8, 300)] {
        let (record, finished) = bench.decide(&greedy);
        assert_eq!(finished.said, None);
        let Some([Event::Faulted(faulted)]) = record.as_ref().map(|record| &record.events[..]) else { panic!("{record:?}") };
        assert_eq!((faulted.in_a_row, faulted.kind, faulted.call.as_str()), (in_a_row, FaultKind::Returned, "decide"));
        assert_eq!((bench.state().counts().total, bench.state().memory.as_deref()), (0, Some(&b"kept"[..])));
        bench.pass(Millis::new(pause * 1000 - 1));
        assert!(bench.begin().is_none(), "fault {in_a_row} makes it wait {pause} s");
        bench.pass(Millis::new(1));
    }
    let (record, _) = bench.decide(&engine_with_memory(b"kept"));
    assert!(record.is_some(), "a success after a fault is worth a record");
    assert_eq!(bench.state().fault, None);
    assert!(bench.decide_next(&Native::idle()).0.is_none());
    bench.pass(Millis::from_secs(5));
    bench.decide(&Native::trapping());
    bench.pass(Millis::from_secs(5));
    assert!(bench.begin().is_some(), "the first pause again");
}

#[test]
fn a_fault_names_the_call_it_was_in() {
    let mut bench = bench();
    let fails = || Fault::new(FaultKind::Returned, "no such key");
    let (record, _) = bench.decide(&Native::idle().initializing(move |_| Err(fails())));
    let call = |record: &Option<Record>| match &record.as_ref().expect("a fault").events[0] {
        Event::Faulted(faulted) => faulted.call.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(call(&record), "initialize");
    bench.pass(Millis::from_secs(5));
    bench.decide(&Native::idle());
    bench.command(bench.reconfigure(config(json!({"engine_conf": {"n": 2}})))).expect("taken");
    assert_eq!(call(&bench.decide(&Native::idle().reconfiguring(move |_, _| Err(fails()))).0), "reconfigure");
    assert_eq!(bench.state().applied_revision, 1, "it is tried again");
}

#[test]
fn a_call_that_never_came_back_is_a_fault_too() {
    let mut bench = bench();
    bench.begin().expect("due");
    let record = bench.domain.abandon(Fault::new(FaultKind::Abandoned, "it did not end"), bench.now).expect("a record");
    bench.commit(record);
    assert_eq!(bench.state().fault.as_ref().map(|open| open.in_a_row), Some(1));
    bench.pass(Millis::from_secs(5));
    assert!(bench.begin().is_some(), "and the next may begin");
}

#[test]
fn nothing_can_be_asked_for_before_the_decision() {
    let mut bench = bench();
    let engine = Native::idle().initializing(|cycle| {
        let refused = [
            cycle.launch(launch("here", 1)).map(drop),
            cycle.destroy(&[], "no".to_owned()).map(drop),
            cycle.destroy_launch("l", "no".to_owned()).map(drop),
        ];
        assert!(
            refused.iter().all(|asked| matches!(asked, Err(refusal) if refusal.to_string() == "nothing can be asked for in this call"))
        );
        cycle.configure(Settings { pulse: Some(Millis::from_secs(7)), provisioner_vars: None }).expect("that can be set");
        Ok(Vec::new())
    });
    let (record, _) = bench.decide(&engine);
    assert!(decision(&record).launches.is_empty() && decision(&record).terminations.is_empty());
    assert_eq!(bench.state().pace(), Millis::from_secs(7));
    bench.pass(Millis::new(6999));
    assert!(bench.begin().is_none(), "the pace that was asked for counts at once");
    bench.pass(Millis::new(1));
    assert!(bench.begin().is_some());
}

#[test]
fn ids_and_chance_follow_from_the_seed() {
    let run = |draws: usize| {
        let mut bench = bench();
        let engine = Native::new(|cycle, _| {
            let drawn: Vec<u64> = (0..draws).map(|_| cycle.random()).collect();
            let launched = cycle.launch(launch("here", 2)).expect("granted");
            Ok(Verdict { reason: format!("{drawn:?} {launched:?}"), ..verdict(b"") })
        });
        let (record, _) = bench.decide(&engine);
        let decided = decision(&record).clone();
        (decided.seed, decided.reason, decided.launches)
    };
    assert_eq!(run(2), run(2));
    assert_eq!(run(0).2, run(5).2, "ids don't depend on what the engine draws");
}

#[test]
fn an_engine_is_asked_when_it_said_so() {
    let mut bench = bench();
    let wakes = |wake| Native::new(move |_, memory| Ok(Verdict { wake, ..verdict(memory) }));
    bench.decide(&wakes(Some(Wake::After(Millis::from_secs(60)))));
    bench.pass(Millis::from_secs(59));
    assert!(bench.begin().is_none());
    bench.pass(Millis::from_secs(1));
    let cycle = bench.begin().expect("due");
    assert_eq!(cycle.cause(), Cause::Wake);
    bench.finish(cycle.run(&wakes(Some(Wake::OnChange))));
    bench.pass(Millis::from_secs(100_000));
    assert!(bench.begin().is_none(), "nothing changed");
    bench.tick();
    bench.effects();
    assert!(bench.domain.next_look(bench.now) > bench.now);
    bench.command(bench.reconfigure(config(json!({"engine_conf": {"n": 2}})))).expect("taken");
    assert_eq!(bench.begin().expect("due").cause(), Cause::Configured);
}

#[test]
fn figures_that_are_no_numbers_can_not_spoil_the_journal() {
    let mut bench = bench();
    let engine = Native::new(|_, _| {
        let figures = [("nan", f64::NAN), ("inf", f64::INFINITY), ("third", 1.0 / 3.0)].map(|(name, value)| (name.to_owned(), value));
        Ok(Verdict { figures: figures.to_vec(), ..verdict(b"") })
    });
    let (record, _) = bench.decide(&engine);
    assert_eq!(decision(&record).figures, [("third".to_owned(), 1.0 / 3.0)]);
    let record = record.expect("a decision");
    assert_eq!(Record::from_bytes(&record.to_bytes()).expect("it can be read"), record, "to the last bit");
}

#[test]
fn whoever_asks_for_a_decision_gets_one_at_once_and_a_better_reason_stands() {
    let mut bench = Bench::new(config(json!({})), Timestamp::from_secs(1000));
    bench.domain.ask(Cause::Asked, bench.now);
    let taken_over = bench.begin().expect("due anyway");
    assert_eq!(taken_over.cause(), Cause::TakenOver);
    bench.finish(taken_over.run(&Native::idle()));
    assert!(bench.begin().is_none());
    bench.domain.ask(Cause::Asked, bench.now);
    assert_eq!(bench.begin().expect("asked for").cause(), Cause::Asked);
}
