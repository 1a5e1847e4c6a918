//! What people ask of a domain.

use pilothouse_core::command::What;
use pilothouse_core::instance::{Health, Instance, State};
use pilothouse_core::intake::Input;
use pilothouse_core::message::{Heartbeat, Reading, StateReport, Verdict as Beat};
use pilothouse_core::promise::Request;
use pilothouse_core::sensor::{Sample, Scope, Statistic};
use pilothouse_core::state::Life;
use pilothouse_core::time::{Millis, Timestamp};
use serde_json::json;

use crate::support::{Bench, Native, config, instance, launch, verdict};

fn records(bench: &Bench) -> usize {
    bench.records().count()
}

fn kind<T: std::fmt::Debug>(answer: Result<T, pilothouse_core::command::ApiError>) -> &'static str {
    answer.expect_err("refused").kind()
}

fn absent() -> Bench {
    Bench::absent(Timestamp::from_secs(1000))
}

fn added() -> Bench {
    let mut bench = absent();
    bench.command(Bench::add(config(json!({})))).expect("added");
    bench
}

fn launching() -> Native<'static> {
    Native::new(|cycle, memory| {
        cycle.launch(launch("here", 1)).expect("granted");
        Ok(verdict(memory))
    })
}

/// Ends the only instance, and then the domain.
fn remove(bench: &mut Bench) {
    bench.command(What::Remove { abandon: false }).expect("taken");
    bench.tick();
    let ids: Vec<_> = bench.instances().into_iter().map(|it| it.id.clone()).collect();
    bench.absorb(ids.into_iter().map(|id| Input::Report(id, StateReport::new(State::Terminated))));
    assert!(bench.domain.is_empty_at_last());
    let record = bench.domain.removed(bench.now);
    bench.commit(record);
}

#[test]
fn a_domain_that_is_not_there_can_only_be_added() {
    let mut bench = absent();
    for what in
        [What::Remove { abandon: false }, What::Pause(true), What::DryRun(true), What::ReleaseBrake, bench.reconfigure(config(json!({})))]
    {
        assert_eq!(kind(bench.command(what)), "not_found");
    }
    assert!(bench.begin().is_none());
    let answer = bench.command(Bench::add(config(json!({})))).expect("added");
    assert_eq!((&answer["domain"], &answer["config_revision"]), (&json!("web"), &json!(1)));
    assert_eq!((bench.state().life, bench.state().incarnation), (Life::Active, bench.state().sequence));
    assert!(bench.begin().is_some(), "and is decided on at once");
}

#[test]
fn a_domain_that_is_there_is_in_the_way_until_it_is_gone() {
    let mut bench = added();
    bench.decide(&launching());
    let add = || Bench::add(config(json!({})));
    assert_eq!(kind(bench.command(add())), "conflict");
    bench.command(What::Remove { abandon: false }).expect("taken");
    assert_eq!(kind(bench.command(add())), "conflict");
    assert_eq!(kind(bench.command(What::Pause(true))), "conflict");
    let before = records(&bench);
    assert_eq!(
        bench.command(What::Remove { abandon: false }).expect("it is being removed already"),
        json!({"domain": "web", "removing": true, "abandoned": false})
    );
    assert_eq!(records(&bench), before);
    assert!(!bench.domain.is_empty_at_last(), "its instance is still there");
}

#[test]
fn a_name_that_is_used_again_is_another_domain() {
    let mut bench = added();
    bench.decide(&launching());
    let first = bench.state().incarnation;
    let old = bench.instances()[0].id.clone();
    bench.absorb([Input::Report(old.clone(), StateReport::new(State::Running)), Input::Heartbeat(old, Heartbeat { verdict: Beat::Ok })]);
    let reading = Reading { metric: "queue".to_owned(), time: bench.now, value: 7.0 };
    bench.domain.read(Scope::Domain, reading).expect("few series");
    remove(&mut bench);
    assert_eq!((bench.state().life, bench.instances().len()), (Life::Removed, 0));
    assert!(bench.state().memory.is_none());
    assert_eq!(kind(bench.command(What::Pause(true))), "not_found");

    bench.pass(Millis::from_secs(200));
    bench.command(Bench::add(config(json!({"health": {"really_missing_timeout": 0}})))).expect("added again");
    assert!(bench.state().incarnation > first && bench.state().sequence > first, "the journal goes on");
    bench.decide(&launching());
    assert_eq!(bench.instances()[0].ordinal, 0, "it counts from the beginning");
    let new = bench.instances()[0].id.clone();
    bench.absorb([Input::Report(new.clone(), StateReport::new(State::Running))]);
    bench.tick();
    assert_eq!(bench.instance(new.as_str()).health, Health::Unknown, "what was heard of the old domain's first instance is not its own");
    let (now, window) = (bench.now, Millis::from_secs(3600));
    assert_eq!(bench.domain.sensors().sample("queue", &Scope::Domain, Statistic::Last, now, window), Sample::Absent);
}

#[test]
fn a_domain_that_is_gone_leaves_its_host_in_peace() {
    for mut bench in [absent(), added()] {
        if bench.state().life == Life::Active {
            remove(&mut bench);
        }
        for _ in 0..100 {
            bench.tick();
            assert_eq!(bench.effects(), []);
            let next = bench.domain.next_look(bench.now);
            assert!(next.since(bench.now) >= Millis::from_secs(1), "looked at again after {}", next.since(bench.now));
            bench.now = next;
        }
    }
}

#[test]
fn a_request_that_comes_again_is_answered_the_same_and_recorded_once() {
    let mut bench = absent();
    let add = || Bench::add(config(json!({"engine_conf": {"n": 1}})));
    let first = bench.request(Some("r1"), add()).expect("added");
    let before = records(&bench);
    assert_eq!(bench.request(Some("r1"), add()).expect("the same answer"), first);
    assert_eq!(kind(bench.request(Some("r2"), add())), "conflict", "another wish");
    bench.request(Some("r3"), What::Pause(true)).expect("paused");
    bench.command(What::Pause(false)).expect("resumed");
    assert_eq!(bench.request(Some("r3"), What::Pause(true)).expect("the same answer")["paused"], json!(true));
    assert!(!bench.state().paused, "it is not carried out again");
    remove(&mut bench);
    assert_eq!(bench.request(Some("r1"), add()).expect("the same answer"), first);
    assert_eq!(bench.state().life, Life::Removed, "the answer outlives the domain");
    assert!(records(&bench) > before);
    let now = bench.now;
    let mut bench = bench.restart(now);
    assert_eq!(bench.request(Some("r1"), add()).expect("another host answers the same"), first);
}

#[test]
fn answers_are_kept_for_the_newest_requests_only() {
    let mut bench = added();
    for i in 0..100 {
        bench.request(Some(&format!("r{i}")), What::Pause(i % 2 == 0)).expect("taken");
    }
    assert_eq!(bench.state().answers.len(), 64);
    assert!(bench.state().answer_to("r35").is_none() && bench.state().answer_to("r36").is_some());
}

#[test]
fn a_command_that_changes_nothing_records_nothing() {
    let mut bench = added();
    let before = records(&bench);
    let same = bench.command(bench.reconfigure(config(json!({})))).expect("taken");
    assert_eq!(same["config_revision"], json!(1));
    bench.command(What::Pause(false)).expect("taken");
    bench.command(What::DryRun(false)).expect("taken");
    assert_eq!(records(&bench), before);
    let new = bench.command(bench.reconfigure(config(json!({"engine_conf": {"n": 2}})))).expect("taken");
    assert_eq!((&new["config_revision"], records(&bench)), (&json!(2), before + 1));
}

#[test]
fn a_change_that_was_made_from_an_older_configuration_is_a_conflict() {
    let mut bench = added();
    let (mine, other) =
        (bench.reconfigure(config(json!({"engine_conf": {"n": 2}}))), bench.reconfigure(config(json!({"engine_conf": {"n": 3}}))));
    bench.command(other).expect("taken");
    assert_eq!(kind(bench.command(mine)), "conflict");
    assert_eq!(bench.state().config.engine_conf["n"], json!(3));
}

#[test]
fn a_request_id_is_bounded() {
    let mut bench = added();
    let error = bench.request(Some(&"x".repeat(129)), What::Pause(true)).expect_err("too long");
    assert!(error.kind() == "invalid" && error.to_string().contains("/request_id"), "{error}");
    assert!(!bench.state().paused);
    bench.request(Some(&"x".repeat(128)), What::Pause(true)).expect("as long as may be");
}

#[test]
fn a_removal_waits_for_those_that_live_although_they_are_held_for_gone() {
    let gone = |id: &str, ordinal| instance(id, ordinal, State::Terminated, Timestamp::ZERO);
    let instances = [
        Instance { undead: true, ..gone("undead", 0) },
        Instance { health: Health::Zombie, ..gone("zombie", 1) },
        Instance { health: Health::Zombie, ..gone("stranger", 2) },
        gone("gone", 3),
    ];
    let mut bench = Bench::with(config(json!({})), Timestamp::from_secs(1000), instances);
    let heard = |id: &str| Input::Heartbeat(id.parse().expect("an id"), Heartbeat { verdict: Beat::Ok });
    bench.absorb([heard("zombie"), heard("stranger")]);
    bench.requests();
    bench.command(What::Remove { abandon: false }).expect("taken");
    assert!(!bench.domain.is_empty_at_last(), "not before it was looked for zombies");
    bench.pass(Millis::from_secs(5));
    bench.tick();
    let asked = |bench: &mut Bench| {
        let requests = bench.requests().into_iter();
        let of = |request| if let Request::Terminate { message, .. } = request { message.instances } else { Vec::new() };
        requests.flat_map(of).map(|it| it.node_id.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(asked(&mut bench), "undead zombie stranger");
    let confirmed = |id: &str| Input::Report(id.parse().expect("an id"), StateReport::new(State::Terminated));
    bench.absorb([confirmed("undead"), heard("zombie")]);
    assert!(!bench.domain.is_empty_at_last());
    bench.absorb([confirmed("zombie"), Input::Unknown("stranger".parse().expect("an id"))]);
    assert!(bench.domain.is_empty_at_last(), "whatever is still heard of them");
    bench.pass(Millis::from_secs(60));
    bench.absorb([heard("zombie")]);
    assert!(bench.domain.is_empty_at_last(), "asked once");
}

#[test]
fn a_request_that_changed_nothing_is_answered_the_same_when_it_would_change_something() {
    let mut bench = added();
    bench.command(What::Pause(true)).expect("paused");
    let before = bench.state().clone();
    let first = bench.request(Some("r1"), What::Pause(true)).expect("it is so already");
    assert_eq!((bench.state().paused, bench.notices.len()), (before.paused, 0));
    bench.command(What::Pause(false)).expect("resumed");
    assert_eq!(bench.request(Some("r1"), What::Pause(true)).expect("the same answer"), first);
    assert!(!bench.state().paused, "it is not carried out again");
    let now = bench.now;
    let mut bench = bench.restart(now);
    assert_eq!(bench.request(Some("r1"), What::Pause(true)).expect("another host answers the same"), first);
    assert!(!bench.state().paused);
}

#[test]
fn another_wish_under_an_id_that_was_used_is_a_conflict() {
    let mut bench = added();
    bench.request(Some("r1"), What::Pause(true)).expect("paused");
    for other in [What::Pause(false), What::DryRun(true), What::Remove { abandon: true }, What::ReleaseBrake] {
        assert_eq!(kind(bench.request(Some("r1"), other.clone())), "conflict", "{other:?}");
    }
    assert_eq!(kind(bench.state().answer_to_reconfigure("r1")), "conflict", "also where a repetition is not judged again");
    let reconfigure = bench.reconfigure(config(json!({"engine_conf": {"preserve_n": 7}})));
    let answer = bench.request(Some("r3"), reconfigure).expect("under an id of its own");
    assert_eq!(bench.state().answer_to_reconfigure("r3"), Ok(Some(&answer)));
    let state = bench.state();
    assert!(state.paused && !state.dry_run && state.life == Life::Active && state.brake_released.is_none());
    bench.request(Some("r2"), What::Pause(false)).expect("under an id of its own");
    assert!(!bench.state().paused);
}

#[test]
fn requests_of_records_that_kept_only_their_id_are_still_recognised() {
    let mut bench = added();
    bench.request(Some("r1"), What::Pause(true)).expect("paused");
    let (_, record) = bench.records().last().expect("a record");
    let mut old = serde_json::to_value(record).expect("JSON");
    old["events"][0]["configured"]["request"] = json!("r1");
    let old: pilothouse_core::record::Record = serde_json::from_value(old).expect("a record of before");
    let mut bench = added();
    bench.commit(old);
    assert_eq!(bench.request(Some("r1"), What::Pause(false)).expect("whatever it was")["paused"], json!(true));
    let mut state = serde_json::to_value(bench.state()).expect("JSON");
    assert!(state["answers"][0][0].is_object());
    state["answers"][0][0] = json!("r1");
    let state: pilothouse_core::state::DomainState = serde_json::from_value(state).expect("a snapshot of before");
    assert_eq!(state.answer_to("r1"), bench.state().answer_to("r1"));
}
