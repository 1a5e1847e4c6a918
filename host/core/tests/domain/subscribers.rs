//! Who is told of a domain's instances, and of what.

use pilothouse_core::command::What;
use pilothouse_core::instance::{Instance, State};
use pilothouse_core::intake::Input;
use pilothouse_core::message::StateReport;
use pilothouse_core::name::Name;
use pilothouse_core::record::{Adopted, Subscriber};
use pilothouse_core::state::{DomainState, Life};
use pilothouse_core::time::{Millis, Timestamp};
use serde_json::{Value, json};

use crate::support::{Bench, Native, config, instance, verdict};

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn subscriber(who: &str, operation: &str) -> Subscriber {
    Subscriber { name: name(who), operation: name(operation) }
}

fn subscribe(bench: &mut Bench, who: &str, operation: &str) -> Value {
    bench.command(What::Subscribe(subscriber(who, operation))).expect("taken")
}

fn unsubscribe(bench: &mut Bench, who: &str, operation: Option<&str>) -> Value {
    bench.command(What::Unsubscribe { name: name(who), operation: operation.map(name) }).expect("taken")
}

fn known(bench: &Bench) -> Vec<String> {
    bench.state().subscribers.iter().map(|it| format!("{}.{}", it.name, it.operation)).collect()
}

/// Two that are starting, `a` and `b`.
fn bench() -> Bench {
    let starting = |id, ordinal| instance(id, ordinal, State::Pending, Timestamp::from_secs(990));
    Bench::with(config(json!({})), Timestamp::from_secs(1000), [starting("a", 0), starting("b", 1)])
}

fn report(bench: &mut Bench, id: &str, state: State) {
    report_with(bench, id, StateReport::new(state));
}

fn report_with(bench: &mut Bench, id: &str, report: StateReport) {
    bench.pass(Millis::from_secs(1));
    bench.absorb([Input::Report(id.parse().expect("an id"), report)]);
}

/// What was told since the last time this was asked: `bob.changed: a RUNNING`.
fn told(bench: &mut Bench) -> Vec<String> {
    let all = std::mem::take(&mut bench.notices);
    all.iter().map(|(whom, it)| format!("{}.{}: {} {}", whom.name, whom.operation, it.node_id, it.state)).collect()
}

#[test]
fn a_pair_is_kept_once_and_a_name_may_have_several() {
    let mut bench = bench();
    let answer = subscribe(&mut bench, "bob", "changed");
    assert_eq!(answer, json!({"domain": "web", "subscriber": {"name": "bob", "operation": "changed"}}));
    let before = bench.records().count();
    assert_eq!(subscribe(&mut bench, "bob", "changed"), answer);
    assert_eq!(bench.records().count(), before, "the same pair twice is one");
    subscribe(&mut bench, "eve", "changed");
    subscribe(&mut bench, "bob", "again");
    assert_eq!(known(&bench), ["bob.again", "bob.changed", "eve.changed"]);
}

#[test]
fn whoever_unsubscribes_goes_with_one_operation_or_with_all() {
    let mut bench = bench();
    for (who, operation) in [("bob", "one"), ("bob", "two"), ("eve", "one")] {
        subscribe(&mut bench, who, operation);
    }
    assert_eq!(unsubscribe(&mut bench, "bob", Some("one")), json!({"domain": "web", "unsubscribed": 1}));
    assert_eq!(known(&bench), ["bob.two", "eve.one"]);
    subscribe(&mut bench, "bob", "one");
    assert_eq!(unsubscribe(&mut bench, "bob", None), json!({"domain": "web", "unsubscribed": 2}));
    assert_eq!(known(&bench), ["eve.one"]);
    let before = bench.records().count();
    for operation in [None, Some("one"), Some("three")] {
        assert_eq!(unsubscribe(&mut bench, "bob", operation), json!({"domain": "web", "unsubscribed": 0}));
    }
    assert_eq!(bench.records().count(), before, "nobody there is no error, and no record");
    report(&mut bench, "a", State::Running);
    assert_eq!(told(&mut bench), ["eve.one: a RUNNING"]);
}

#[test]
fn more_subscribers_than_can_be_told_are_refused() {
    let mut bench = bench();
    for nth in 0..DomainState::MAX_SUBSCRIBERS {
        subscribe(&mut bench, &format!("s{nth}"), "changed");
    }
    let more = bench.command(What::Subscribe(subscriber("one-more", "changed"))).expect_err("too many");
    assert_eq!(more.kind(), "conflict");
    subscribe(&mut bench, "s0", "changed");
    unsubscribe(&mut bench, "s0", None);
    subscribe(&mut bench, "one-more", "changed");
    report(&mut bench, "a", State::Running);
    assert_eq!(told(&mut bench).len(), DomainState::MAX_SUBSCRIBERS);
}

#[test]
fn each_is_told_once_of_who_runs_fails_or_ends() {
    let mut bench = bench();
    subscribe(&mut bench, "bob", "changed");
    subscribe(&mut bench, "eve", "seen");
    report(&mut bench, "a", State::Started);
    assert_eq!(told(&mut bench), [""; 0]);
    report(&mut bench, "a", State::Running);
    assert_eq!(told(&mut bench), ["bob.changed: a RUNNING", "eve.seen: a RUNNING"]);
    report(&mut bench, "a", State::Running);
    report_with(&mut bench, "a", StateReport { update_counter: Some(7), ..StateReport::new(State::Running) });
    assert_eq!(told(&mut bench), [""; 0], "an equal state is no news, whatever else it tells");
    report(&mut bench, "a", State::RunningFailed);
    report(&mut bench, "a", State::Terminating);
    assert_eq!(told(&mut bench), [""; 0], "neither is what leads to an end");
    report(&mut bench, "a", State::Terminated);
    assert_eq!(told(&mut bench), ["bob.changed: a TERMINATED", "eve.seen: a TERMINATED"]);
    report(&mut bench, "b", State::Failed);
    assert_eq!(told(&mut bench), ["bob.changed: b FAILED", "eve.seen: b FAILED"]);
    report(&mut bench, "b", State::Rejected);
    assert_eq!(told(&mut bench), [""; 0], "it has failed already");
}

#[test]
fn a_notice_has_what_was_told_with_the_state() {
    let mut bench = bench();
    subscribe(&mut bench, "bob", "changed");
    let hostname = [("hostname".to_owned(), "vm-7".to_owned())].into();
    report_with(&mut bench, "a", StateReport { attributes: hostname, ..StateReport::new(State::Running) });
    let (_, notice) = &bench.notices[0];
    let expected = json!({"node_id": "a", "state": "RUNNING", "domain_id": "web", "properties": {"hostname": "vm-7"}});
    assert_eq!(serde_json::to_value(notice).expect("JSON"), expected);
}

#[test]
fn whoever_subscribes_late_is_told_of_what_comes() {
    let mut bench = bench();
    report(&mut bench, "a", State::Running);
    subscribe(&mut bench, "bob", "changed");
    report(&mut bench, "b", State::Running);
    assert_eq!(told(&mut bench), ["bob.changed: b RUNNING"]);
}

#[test]
fn a_new_domain_may_have_a_subscriber_from_the_beginning() {
    let mut bench = Bench::absent(Timestamp::from_secs(1000));
    let What::Add { config, engine, .. } = Bench::add(config(json!({}))) else { panic!("adds") };
    bench.command(What::Add { config, engine, subscriber: Some(subscriber("bob", "changed")) }).expect("added");
    assert_eq!(known(&bench), ["bob.changed"]);
    let adopted = Adopted {
        id: "x".parse().expect("an id"),
        launch: "l".parse().expect("an id"),
        deployable_type: String::new(),
        site: "here".to_owned(),
        allocation: String::new(),
        state: State::Running,
        attributes: Default::default(),
        extra_vars: Vec::new(),
    };
    bench.command(What::Adopt(adopted)).expect("taken");
    assert_eq!(told(&mut bench), ["bob.changed: x RUNNING"], "what is taken in runs as well");
}

#[test]
fn the_host_that_comes_next_tells_the_same_people_and_nothing_twice() {
    let mut bench = bench();
    subscribe(&mut bench, "bob", "changed");
    report(&mut bench, "a", State::Running);
    assert_eq!(told(&mut bench), ["bob.changed: a RUNNING"]);
    let now = bench.now;
    let mut bench = bench.restart(now);
    report(&mut bench, "a", State::Running);
    assert_eq!(told(&mut bench), [""; 0]);
    report(&mut bench, "b", State::Running);
    assert_eq!(told(&mut bench), ["bob.changed: b RUNNING"]);
}

#[test]
fn one_that_is_held_for_gone_and_heard_is_told_once() {
    let mut bench = bench();
    subscribe(&mut bench, "bob", "changed");
    report(&mut bench, "a", State::Terminated);
    assert_eq!(told(&mut bench), ["bob.changed: a TERMINATED"]);
    let zombie = Instance { health: pilothouse_core::instance::Health::Zombie, ..bench.instance("a").clone() };
    bench.set(zombie);
    bench.decide(&Native::new(|cycle, memory| {
        cycle.destroy(&["a".to_owned()], "it is heard".to_owned()).expect("granted");
        Ok(verdict(memory))
    }));
    assert!(bench.instance("a").undead, "its end is asked for again");
    report(&mut bench, "a", State::Terminated);
    assert_eq!(told(&mut bench), [""; 0]);
}

#[test]
fn a_domain_that_is_removed_tells_the_end_of_its_instances() {
    let mut bench = bench();
    subscribe(&mut bench, "bob", "changed");
    report(&mut bench, "a", State::Running);
    bench.command(What::Remove { abandon: false }).expect("taken");
    bench.tick();
    bench.notices.clear();
    report(&mut bench, "a", State::Terminated);
    report(&mut bench, "b", State::Failed);
    let record = bench.domain.removed(bench.now);
    bench.commit(record);
    assert_eq!(bench.state().life, Life::Removed);
    assert_eq!(told(&mut bench), ["bob.changed: a TERMINATED", "bob.changed: b FAILED"]);
    assert_eq!(known(&bench), [""; 0], "a new domain of the name is nobody's business yet");
}
