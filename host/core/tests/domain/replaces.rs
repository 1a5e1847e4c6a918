//! Launches in the place of an instance: only together with its end, whatever happens while the engine decides.

use pilothouse_core::command::What;
use pilothouse_core::cycle::{Cycle, LaunchRequest, Ran, Settings};
use pilothouse_core::guard::Refusal;
use pilothouse_core::instance::{Health, Instance, State};
use pilothouse_core::intake::Input;
use pilothouse_core::message::{Heartbeat, StateReport, Verdict as Beat};
use pilothouse_core::record::{Adopted, Decision, Event};
use pilothouse_core::time::{Millis, Timestamp};
use serde_json::json;

use crate::support::{Bench, Native, config, instance, launch, verdict};

/// One that runs, one that is ill, one on its way out and one that is gone; the first decision is made, the second due.
fn bench() -> Bench {
    let instances = [
        at("well", 0, State::Running),
        Instance { health: Health::MonitorError, ..at("ill", 1, State::Running) },
        at("leaving", 2, State::Terminating),
        at("gone", 3, State::Failed),
    ];
    let mut bench = Bench::with(config(json!({})), Timestamp::from_secs(1000), instances);
    bench.decide(&Native::new(|_, _| Ok(verdict(b"before"))));
    bench.pass(Millis::from_secs(5));
    bench
}

fn at(id: &str, ordinal: u64, state: State) -> Instance {
    let end_reason = (state != State::Running).then(|| "it was too many".to_owned());
    Instance { end_reason, ..instance(id, ordinal, state, Timestamp::ZERO) }
}

fn in_place_of(id: &str) -> LaunchRequest {
    LaunchRequest { replaces: Some(id.to_owned()), ..launch("here", 1) }
}

fn end(cycle: &mut Cycle, id: &str) {
    let granted = cycle.destroy(&[id.to_owned()], "to be replaced".to_owned()).expect("granted");
    assert_eq!(granted.accepted.len(), 1);
}

/// Ends the ill one, launches one in its place and one beside, and remembers that.
fn replacing() -> Native<'static> {
    Native::new(|cycle, _| {
        end(cycle, "ill");
        cycle.launch(in_place_of("ill")).expect("granted");
        cycle.launch(launch("here", 1)).expect("granted");
        cycle.configure(Settings { pulse: Some(Millis::from_secs(50)), provisioner_vars: None }).expect("taken");
        Ok(verdict(b"after"))
    })
}

/// Runs the engine over what is there now, lets something happen, and ends the decision.
#[track_caller]
fn decide_while(bench: &mut Bench, happens: impl FnOnce(&mut Bench)) -> Decision {
    let ran: Ran = bench.begin().expect("due").run(&replacing());
    bench.pass(Millis::new(200));
    happens(bench);
    let record = bench.finish(ran).0.expect("a record");
    match &record.events[..] {
        [Event::Decided(decision)] => Decision::clone(decision),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn all_is_dropped(bench: &Bench, decided: &Decision, because: &str) {
    for launch in &decided.launches {
        assert_eq!((launch.instances.len(), launch.refused.as_deref()), (0, Some(because)));
    }
    let state = bench.state();
    assert_eq!((state.counts().launching, state.memory.as_deref(), state.pulse), (0, Some(&b"before"[..]), None));
}

#[test]
fn only_who_leaves_can_be_replaced() {
    let answers = std::cell::RefCell::new(Vec::new());
    let engine = Native::new(|cycle, memory| {
        let ask = |cycle: &mut Cycle, id: &str| {
            let answer = cycle.launch(in_place_of(id));
            answers.borrow_mut().push((id.to_owned(), answer.map(|granted| granted.instances.len())));
        };
        for id in ["leaving", "gone", "stranger", "well", "no id", ""] {
            ask(cycle, id);
        }
        end(cycle, "well");
        ask(cycle, "well");
        ask(cycle, "well");
        end(cycle, "ill");
        let answer = cycle.launch(LaunchRequest { replaces: Some("ill".to_owned()), ..launch("here", 2) });
        answers.borrow_mut().push(("two".to_owned(), answer.map(|granted| granted.instances.len())));
        Ok(verdict(memory))
    });
    let mut bench = bench();
    bench.decide(&engine);
    drop(engine);
    let invalid = |text: &str| Err(Refusal::Invalid(text.to_owned()));
    let expected = [
        ("leaving", Ok(1)),
        ("gone", Ok(1)),
        ("stranger", Ok(1)),
        ("well", invalid("replaces: \"well\" stays: its end was not granted before in this decision")),
        ("no id", invalid("replaces: \"no id\" is no instance id")),
        ("", invalid("replaces: \"\" is no instance id")),
        ("well", Ok(1)),
        ("well", invalid("replaces: \"well\" is replaced already in this decision")),
        ("two", invalid("replaces: \"ill\" is one instance: expected a count of 1")),
    ];
    assert_eq!(answers.into_inner(), expected.map(|(id, answer)| (id.to_owned(), answer)));
    assert_eq!((bench.state().counts().launching, bench.instance("well").state), (4, State::Terminating));
}

#[test]
fn whose_end_is_held_back_is_not_replaced() {
    let mut bench = bench();
    bench.command(What::Protect { instance: "0".to_owned(), on: true }).expect("taken");
    bench.decide(&Native::new(|cycle, memory| {
        cycle.destroy(&["well".to_owned(), "ill".to_owned()], "to be replaced".to_owned()).expect("granted in part");
        assert!(matches!(cycle.launch(in_place_of("well")), Err(Refusal::Invalid(_))));
        cycle.launch(in_place_of("ill")).expect("granted");
        Ok(verdict(memory))
    }));
    assert_eq!(bench.state().counts().launching, 1);
}

#[test]
fn it_is_launched_when_nothing_happened() {
    let mut bench = bench();
    let decided = decide_while(&mut bench, |_| ());
    assert_eq!(decided.launches[0].replaces.as_ref().map(|id| id.as_str()), Some("ill"));
    assert_eq!((bench.state().counts().launching, bench.instance("ill").state), (2, State::Terminating));
    assert_eq!(bench.state().memory.as_deref(), Some(&b"after"[..]));
}

#[test]
fn it_is_dropped_with_all_that_the_engine_believes_when_the_victim_recovered() {
    let mut bench = bench();
    let ok = Input::Heartbeat("ill".parse().expect("an id"), Heartbeat { verdict: Beat::Ok });
    let decided = decide_while(&mut bench, |bench| drop(bench.absorb([ok])));
    all_is_dropped(&bench, &decided, "ill is not replaced: it recovered: OK since 0 ms");
    bench.pass(Millis::from_secs(5));
    assert!(bench.begin().is_some(), "the engine is asked again at the domain's pace, not at the one that it had set");
    assert_eq!(bench.instance("ill").state, State::Running);
}

#[test]
fn it_is_dropped_when_the_victim_was_protected_meanwhile() {
    let mut bench = bench();
    let protect = What::Protect { instance: "1".to_owned(), on: true };
    let decided = decide_while(&mut bench, |bench| drop(bench.command(protect).expect("taken")));
    all_is_dropped(&bench, &decided, "ill is not replaced: it was protected while the engine decided");
}

#[test]
fn it_stays_when_the_victim_went_by_itself_meanwhile() {
    for state in [State::Terminating, State::Terminated, State::Failed] {
        let mut bench = bench();
        let report = Input::Report("ill".parse().expect("an id"), StateReport::new(state));
        decide_while(&mut bench, |bench| drop(bench.absorb([report])));
        assert_eq!((bench.state().counts().launching, bench.state().memory.as_deref()), (2, Some(&b"after"[..])), "{state}");
    }
}

#[test]
fn it_is_dropped_when_the_replaced_one_was_adopted_meanwhile() {
    let mut bench = bench();
    let ran = bench.begin().expect("due").run(&Native::new(|cycle, _| {
        cycle.launch(in_place_of("stranger")).expect("nobody knows it");
        Ok(verdict(b"after"))
    }));
    let adopted = Adopted {
        id: "stranger".parse().expect("an id"),
        launch: "l-of-old".parse().expect("an id"),
        deployable_type: "worker".to_owned(),
        site: "here".to_owned(),
        allocation: "small".to_owned(),
        state: State::Running,
        attributes: Default::default(),
        extra_vars: Vec::new(),
    };
    bench.command(What::Adopt(adopted)).expect("taken");
    let Some(record) = bench.finish(ran).0 else { panic!("a record") };
    let Event::Decided(decided) = &record.events[0] else { panic!("{record:?}") };
    all_is_dropped(&bench, decided, "stranger is not replaced: it was adopted while the engine decided");
}
