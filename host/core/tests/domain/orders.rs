//! What operators want of single instances, and of a domain whose instances nobody will confirm any more.

use pilothouse_core::command::{ApiError, What};
use pilothouse_core::guard::Guard;
use pilothouse_core::instance::{Health, Instance, State};
use pilothouse_core::intake::Input;
use pilothouse_core::message::StateReport;
use pilothouse_core::promise::Request;
use pilothouse_core::record::{Adopted, Decision, Event, Record};
use pilothouse_core::state::{DomainState, Life};
use pilothouse_core::time::{Millis, Timestamp};
use serde_json::{Value, json};

use crate::support::{Bench, Native, config, instance, verdict};

/// Three running instances, `a` to `c`, and a fourth that is gone.
fn bench() -> Bench {
    bench_of(json!({}))
}

fn bench_of(general: Value) -> Bench {
    let running = |id, ordinal| instance(id, ordinal, State::Running, Timestamp::from_secs(900));
    let gone = instance("d", 3, State::Failed, Timestamp::from_secs(900));
    let instances = [running("a", 0), running("b", 1), running("c", 2), gone];
    Bench::with(config(json!({"general": general})), Timestamp::from_secs(1000), instances)
}

fn kill(instance: &str) -> What {
    What::Kill { instance: instance.to_owned(), reason: "it misbehaves".to_owned() }
}

fn protect(instance: &str, on: bool) -> What {
    What::Protect { instance: instance.to_owned(), on }
}

#[track_caller]
fn refused(answer: Result<Value, ApiError>, kind: &str, word: &str) {
    let error = answer.expect_err("refused");
    assert!(error.kind() == kind && error.to_string().contains(word), "{error:?}");
}

fn records(bench: &Bench) -> usize {
    bench.records().count()
}

/// Whose end provisioners are still asked for.
fn ends(bench: &mut Bench) -> Vec<String> {
    let requests = bench.requests().into_iter();
    let ends = requests.filter_map(|request| if let Request::Terminate { message, .. } = request { Some(message.instances) } else { None });
    ends.flatten().map(|it| it.node_id.to_string()).collect()
}

fn report(bench: &mut Bench, id: &str, state: State) {
    bench.absorb([Input::Report(id.parse().expect("an id"), StateReport::new(state))]);
}

/// Asks for the end of these, whatever it is answered.
fn ending(ids: &'static [&'static str]) -> Native<'static> {
    Native::new(move |cycle, memory| {
        let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        drop(cycle.destroy(&ids, "there are too many".to_owned()));
        Ok(verdict(memory))
    })
}

#[track_caller]
fn decision(record: Option<Record>) -> Decision {
    let record = record.expect("recorded");
    let [Event::Decided(decision)] = &record.events[..] else { panic!("{record:?}") };
    Decision::clone(decision)
}

#[test]
fn whoever_is_killed_ends_by_id_or_by_number() {
    let mut bench = bench();
    let answer = bench.command(kill("b")).expect("taken");
    assert_eq!(answer, json!({"domain": "web", "instance_id": "b", "ordinal": 1, "state": "TERMINATING"}));
    bench.command(kill("web/2")).expect("taken");
    let killed = bench.instance("c");
    assert_eq!((killed.state, killed.end_reason.as_deref()), (State::Terminating, Some("it misbehaves")));
    assert_eq!((killed.state_since, killed.promised_at), (bench.now, bench.state().sequence));
    assert_eq!(ends(&mut bench), ["b", "c"]);
    bench.pass(Millis::from_secs(5));
    assert_eq!(ends(&mut bench), ["b", "c"], "asked for again, as long as nobody confirms it");
    report(&mut bench, "b", State::Terminated);
    assert_eq!(bench.instance("b").end_reason.as_deref(), Some("it misbehaves"), "why it was asked for stays");
}

#[test]
fn whoever_is_not_there_or_gone_cannot_be_killed_and_twice_is_once() {
    let mut bench = bench();
    let before = records(&bench);
    for unknown in ["e", "17", "", "other/0", "web/", "-1", "\u{1b}[0m", &"x".repeat(500)] {
        refused(bench.command(kill(unknown)), "not_found", "instance");
    }
    refused(bench.command(kill("d")), "conflict", "gone already: FAILED");
    refused(bench.command(What::Kill { instance: "a".to_owned(), reason: " ".to_owned() }), "invalid", "/reason");
    let long = "x".repeat(DomainState::MAX_REASON_BYTES + 1);
    refused(bench.command(What::Kill { instance: "a".to_owned(), reason: long.clone() }), "invalid", "/reason");
    assert_eq!(records(&bench), before);
    let just = long[1..].to_owned();
    let first = bench.command(What::Kill { instance: "a".to_owned(), reason: just }).expect("as long as may be");
    let before = records(&bench);
    assert_eq!(bench.command(kill("a")).expect("on its way out already"), first);
    assert_eq!(records(&bench), before);
}

#[test]
fn a_kill_asks_no_guard_and_takes_nothing_of_the_budget() {
    let ill = |id, ordinal| Instance { health: Health::Missing, ..instance(id, ordinal, State::Running, Timestamp::from_secs(990)) };
    let general = json!({"terminations_per_minute": 1});
    let mut bench = Bench::with(config(json!({"general": general})), Timestamp::from_secs(1000), [ill("a", 0), ill("b", 1), ill("c", 2)]);
    for what in [What::Pause(true), What::DryRun(true)] {
        bench.command(what).expect("taken");
    }
    let budget = bench.state().budget;
    bench.domain.lose_sight(bench.now, "so it is");
    for id in ["a", "b", "c"] {
        bench.command(kill(id)).expect("no guard is asked");
    }
    assert_eq!(bench.state().counts().terminating, 3);
    assert_eq!(bench.state().budget, budget);
    assert_eq!(ends(&mut bench), ["a", "b", "c"]);
}

#[test]
fn no_engine_ends_what_is_protected() {
    let mut bench = bench();
    bench.command(protect("b", true)).expect("taken");
    let said = decision(bench.decide(&ending(&["a", "b"])).0);
    let termination = &said.terminations[0];
    let ids = |ids: &[pilothouse_core::id::InstanceId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!((ids(&termination.accepted), ids(&termination.deferred)), (vec!["a".to_owned()], vec!["b".to_owned()]));
    assert_eq!((termination.rulings[2].guard, termination.rulings[2].passed), (Guard::Protection, 1));
    assert_eq!(bench.state().decision.held_back, ["terminate: 1 held back by protection"]);
    let (record, finished) = bench.decide_next(&ending(&["b"]));
    assert!(record.is_none(), "the same again is not worth a record");
    assert_eq!(finished.said.expect("it decided").terminations[0].refused.as_deref(), Some("protected by an operator"));
    bench.command(protect("b", false)).expect("taken");
    decision(bench.decide_next(&ending(&["b"])).0);
    assert_eq!(bench.instance("b").state, State::Terminating);
}

#[test]
fn what_is_protected_while_its_engine_decides_stays() {
    let mut bench = bench();
    let ran = bench.begin().expect("due").run(&ending(&["a", "b"]));
    bench.command(protect("b", true)).expect("taken");
    let said = decision(bench.finish(ran).0);
    let dropped = &said.terminations[0].dropped;
    assert_eq!(dropped[..], [("b".parse().expect("an id"), "it was protected while the engine decided".to_owned())]);
    assert_eq!((bench.instance("a").state, bench.instance("b").state), (State::Terminating, State::Running));
}

#[test]
fn what_is_protected_is_neither_killed_nor_in_a_domain_that_goes() {
    let mut bench = bench();
    bench.command(protect("1", true)).expect("taken");
    let before = records(&bench);
    assert_eq!(bench.command(protect("b", true)).expect("as it is")["protected"], json!(true));
    assert_eq!(records(&bench), before, "twice is once");
    refused(bench.command(kill("b")), "conflict", "web/1 is protected");
    refused(bench.command(What::Remove { abandon: false }), "conflict", "web/1 is protected");
    bench.command(protect("a", true)).expect("taken");
    refused(bench.command(What::Remove { abandon: false }), "conflict", "web/0, web/1 are protected");
    refused(bench.command(protect("d", true)), "conflict", "FAILED");
    refused(bench.command(protect("e", true)), "not_found", "instance");
    assert_eq!(bench.state().life, Life::Active);
    for id in ["a", "b"] {
        bench.command(protect(id, false)).expect("taken");
    }
    bench.command(What::Remove { abandon: false }).expect("nobody is in the way");
    assert_eq!(bench.state().life, Life::Removing);
}

#[test]
fn whatever_leaves_is_protected_no_more() {
    let mut bench = bench();
    for id in ["a", "b"] {
        bench.command(protect(id, true)).expect("taken");
    }
    report(&mut bench, "a", State::Failed);
    report(&mut bench, "b", State::Terminating);
    assert!(!bench.instance("a").protected && !bench.instance("b").protected);
    bench.command(What::Remove { abandon: false }).expect("nobody is in the way");
}

#[test]
fn a_launch_that_stalls_twice_ends_although_it_is_protected() {
    let requesting = instance("a", 0, State::Pending, Timestamp::from_secs(1000));
    let mut bench = Bench::with(config(json!({"general": {"launch_timeout": 60}})), Timestamp::from_secs(1000), [requesting]);
    bench.command(protect("a", true)).expect("taken");
    for _ in 0..2 {
        bench.pass(Millis::from_secs(61));
        bench.tick();
    }
    assert_eq!((bench.instance("a").state, bench.instance("a").protected), (State::Terminating, false));
}

#[test]
fn a_domain_that_is_abandoned_goes_at_once_and_with_everybody() {
    let mut bench = bench();
    bench.command(protect("a", true)).expect("taken");
    let answer = bench.command(What::Remove { abandon: true }).expect("also with protected instances");
    assert_eq!(answer, json!({"domain": "web", "removing": true, "abandoned": true}));
    assert!(bench.domain.is_empty_at_last(), "nobody waits");
    let record = bench.domain.removed(bench.now);
    bench.commit(record);
    assert_eq!((bench.state().life, bench.instances().len(), bench.state().abandoned), (Life::Removed, 0, false));
}

#[test]
fn a_domain_that_is_being_removed_can_be_abandoned() {
    let mut bench = bench();
    bench.command(What::Remove { abandon: false }).expect("taken");
    bench.tick();
    assert_eq!(ends(&mut bench), ["a", "b", "c"]);
    assert!(!bench.domain.is_empty_at_last(), "their provisioner is gone for good");
    bench.command(What::Remove { abandon: true }).expect("taken");
    assert!(bench.domain.is_empty_at_last());
    let before = records(&bench);
    let again = bench.command(What::Remove { abandon: false }).expect("it goes already");
    assert_eq!((again["abandoned"].clone(), records(&bench)), (json!(true), before));
}

#[test]
fn an_abandoned_domain_lets_its_instances_be_while_an_engine_still_decides() {
    let asked = instance("e", 4, State::Requesting, Timestamp::from_secs(900));
    let mut bench = bench_of(json!({"launch_timeout": 60}));
    bench.set(asked);
    bench.command(protect("a", true)).expect("taken");
    bench.command(kill("b")).expect("taken");
    let ran = bench.begin().expect("due").run(&ending(&["c"]));
    bench.command(What::Remove { abandon: true }).expect("taken");
    assert!(!bench.domain.is_empty_at_last(), "an engine decides");
    let before = records(&bench);
    for _ in 0..3 {
        bench.tick();
        assert_eq!(bench.requests(), [], "neither those that run nor what was promised before");
        assert!(bench.domain.next_look(bench.now) > bench.now, "there is nothing to do");
        bench.pass(Millis::from_secs(61));
    }
    assert!(bench.finish(ran).0.is_none(), "what the engine wanted is wanted no more");
    assert_eq!((records(&bench), bench.instance("a").state), (before, State::Running));
    assert!(bench.domain.is_empty_at_last());
}

fn adopted(id: &str, state: State) -> Adopted {
    Adopted {
        id: id.parse().expect("an id"),
        launch: "l-of-old".parse().expect("an id"),
        deployable_type: "worker".to_owned(),
        site: "there".to_owned(),
        allocation: "large".to_owned(),
        state,
        attributes: [("public_ip".to_owned(), "10.0.0.9".to_owned())].into(),
        extra_vars: vec![("label".to_owned(), "n1".to_owned())],
    }
}

#[test]
fn what_is_adopted_is_an_instance_like_any_other() {
    let mut bench = bench();
    let answer = bench.command(What::Adopt(adopted("x", State::Running))).expect("taken");
    assert_eq!(answer, json!({"domain": "web", "instance_id": "x"}));
    let it = bench.instance("x");
    assert_eq!((it.ordinal, it.state, it.launched_at, &*it.site), (4, State::Running, bench.now, "there"));
    assert_eq!(it.attributes.get("public_ip").map(String::as_str), Some("10.0.0.9"));
    assert_eq!(it.extra_vars, [("label".to_owned(), "n1".to_owned())], "engines know their instances by them");
    let ordinal = it.ordinal;
    assert!(bench.state().changed.contains_key(&ordinal), "its engine is told of it");
    assert!(bench.state().sites.contains_key("there"), "and of its site, which the brake watches, too");
    assert_eq!((bench.state().next_ordinal, bench.state().counts().running), (5, 4));
    let before = records(&bench);
    bench.command(What::Adopt(adopted("x", State::Started))).expect("it is here already");
    assert_eq!((records(&bench), bench.instance("x").state), (before, State::Running), "twice is once");
    bench.command(kill("x")).expect("taken");
    assert_eq!(ends(&mut bench), ["x"]);
    report(&mut bench, "x", State::Terminated);
    assert_eq!(bench.instance("x").state, State::Terminated);
}

#[test]
fn what_is_gone_or_too_much_is_not_adopted() {
    let mut bench = bench_of(json!({"max_instances": 4}));
    for state in [State::Terminating, State::Terminated, State::Failed, State::Rejected] {
        refused(bench.command(What::Adopt(adopted("x", state))), "conflict", state.name());
    }
    bench.command(What::Adopt(adopted("x", State::Running))).expect("the fourth");
    refused(bench.command(What::Adopt(adopted("y", State::Running))), "conflict", "max_instances");
    bench.command(What::Adopt(adopted("x", State::Running))).expect("it is here already");
}

#[test]
fn an_adopted_instance_that_never_sends_a_heartbeat_goes_missing() {
    let mut bench =
        Bench::with(config(json!({"health": {"boot_timeout": 30, "really_missing_timeout": 0}})), Timestamp::from_secs(1000), []);
    bench.command(What::Adopt(adopted("x", State::Running))).expect("taken");
    bench.pass(Millis::from_secs(30));
    bench.tick();
    assert_eq!(bench.instance("x").health, Health::Unknown);
    bench.pass(Millis::new(1));
    bench.tick();
    assert_eq!(bench.instance("x").health, Health::Missing, "the host watches it from the moment of its adoption");
}
