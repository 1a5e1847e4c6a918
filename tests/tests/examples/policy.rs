//! What the engines decide.

use pilothouse_core::cycle::{Status, Wake};
use pilothouse_core::id::InstanceId;
use pilothouse_core::instance::{Health, State};
use pilothouse_core::record::Decision;
use pilothouse_core::state::DomainState;
use pilothouse_core::time::{Millis, Timestamp};
use pilothouse_engine_host::LoadedEngine;
use pilothouse_tests::domain::{NOW, decide, decide_at, domain, judge, pause, reconfigure, report};
use serde_json::{Value, json};

use crate::engine::examples;

/// The instances that are neither gone nor on their way out, oldest first.
fn valid(state: &DomainState) -> Vec<InstanceId> {
    state.instances().filter(|it| it.state.is_valid()).map(|it| it.id.clone()).collect()
}

/// A domain whose instances the engine has launched, all of them running and well.
pub(crate) fn settled(engine: &LoadedEngine, config: Value) -> DomainState {
    let mut state = domain(config);
    decide(&mut state, engine);
    all_well(&mut state);
    state
}

/// What was launched runs, and is well.
fn all_well(state: &mut DomainState) {
    for id in valid(state) {
        report(state, &id, State::Running);
        judge(state, &id, Health::Ok);
    }
}

fn launched(decision: &Decision) -> usize {
    decision.launches.iter().map(|launch| launch.instances.len()).sum()
}

fn terminated(decision: &Decision) -> Vec<InstanceId> {
    decision.terminations.iter().flat_map(|it| it.accepted.clone()).collect()
}

fn figure(decision: &Decision, name: &str) -> f64 {
    decision.figures.iter().find(|(found, _)| found == name).expect("the figure is there").1
}

#[test]
fn what_is_missing_is_launched_and_then_all_is_stable() {
    for example in examples() {
        let mut state = domain(json!({"preserve_n": 3, "site": "here", "deployable_type": "web", "allocation": "large"}));
        let first = decide(&mut state, &example.engine);
        let [launch] = &first.launches[..] else { panic!("{}: {first:?}", example.name) };
        assert_eq!((&*launch.site, &*launch.deployable_type, &*launch.allocation), ("here", "web", "large"), "{}", example.name);
        assert_eq!((launch.instances.len(), first.status), (3, Status::Pending), "{}", example.name);
        assert_eq!(first.reason, "0 of 3 healthy: launching 3", "{}", example.name);

        all_well(&mut state);
        let second = decide(&mut state, &example.engine);
        assert_eq!((second.status, &*second.reason), (Status::Stable, "3 of 3 healthy"), "{}", example.name);
        assert!(second.launches.is_empty() && second.terminations.is_empty(), "{}", example.name);

        let first = valid(&state).swap_remove(0);
        report(&mut state, &first, State::Failed);
        let third = decide(&mut state, &example.engine);
        assert_eq!((launched(&third), &*third.reason), (1, "2 of 3 healthy: launching 1"), "{}", example.name);
    }
}

#[test]
fn what_is_unhealthy_is_replaced_and_counted_in_the_memory() {
    for example in examples() {
        let mut state = settled(&example.engine, json!({"preserve_n": 5}));
        let ids = valid(&state);
        judge(&mut state, &ids[1], Health::Missing);
        let decision = decide(&mut state, &example.engine);
        assert_eq!(decision.reason, "4 of 5 healthy: terminating 1 (missing); launching 1", "{}", example.name);
        assert_eq!((terminated(&decision), launched(&decision)), (vec![ids[1].clone()], 1), "{}", example.name);
        let memory = String::from_utf8(state.memory.clone().expect("a memory")).expect("text");
        assert_eq!(memory, format!("{{\"version\":1,\"replaced\":1,\"recent\":[{}]}}", NOW.as_millis()), "{}", example.name);

        all_well(&mut state);
        report(&mut state, &ids[0], State::RunningFailed);
        let next = decide(&mut state, &example.engine);
        assert_eq!(next.terminations[0].reason, "did not become ready", "{}", example.name);
        assert_eq!(figure(&next, "replaced"), 2.0, "{}: what it read of its memory went into what it wrote", example.name);
    }
}

#[test]
fn the_newest_go_when_there_are_too_many() {
    for example in examples() {
        let mut state = settled(&example.engine, json!({"preserve_n": 5}));
        let ids = valid(&state);
        reconfigure(&mut state, json!({"preserve_n": 3}));
        let decision = decide(&mut state, &example.engine);
        assert_eq!(decision.reason, "5 of 3 healthy: terminating 2 (2 more than wanted)", "{}", example.name);
        assert_eq!(terminated(&decision), [ids[4].clone(), ids[3].clone()], "{}", example.name);
    }
}

#[test]
fn a_refusal_is_an_answer_and_is_told() {
    for example in examples() {
        let mut state = domain(json!({"preserve_n": 3, "site": "here"}));
        pause(&mut state, true);
        let decision = decide(&mut state, &example.engine);
        assert_eq!(decision.status, Status::Pending, "{}", example.name);
        assert_eq!(decision.reason, "0 of 3 healthy: not launching 3: the domain is paused", "{}", example.name);
        assert_eq!(launched(&decision), 0, "{}", example.name);

        // A length of time is a number of 64 bits, which JavaScript has as a type of its own.
        pause(&mut state, false);
        state.sites.entry("here".to_owned()).or_default().backing_off_until = Some(NOW + Millis::new(12_300));
        let decision = decide(&mut state, &example.engine);
        let reason = "0 of 3 healthy: not launching 3: launches at the site keep failing, 13 s to wait";
        assert_eq!((decision.status, &*decision.reason), (Status::Pending, reason), "{}", example.name);

        state.sites.clear();
        assert_eq!(launched(&decide(&mut state, &example.engine)), 3, "{}: asked again next time", example.name);
    }
}

#[test]
fn who_is_held_back_still_counts() {
    for example in examples() {
        // Four of five at once is too much to be believed: the brake holds them.
        let mut state = settled(&example.engine, json!({"preserve_n": 5}));
        for id in &valid(&state)[..4] {
            judge(&mut state, id, Health::Missing);
        }
        let decision = decide(&mut state, &example.engine);
        assert_eq!((launched(&decision), terminated(&decision).len()), (0, 0), "{}: {}", example.name, decision.reason);
        let held = "1 of 5 healthy: 4 held back from terminating (missing)";
        let refused = "1 of 5 healthy: not terminating 4 (missing): the brake is on: ";
        assert!(decision.reason == held || decision.reason.starts_with(refused), "{}: {}", example.name, decision.reason);
    }
}

#[test]
fn when_replacing_does_not_help_people_should_look() {
    for example in examples() {
        let mut state = settled(&example.engine, json!({"preserve_n": 5, "replacements_per_hour": 1}));
        let first = valid(&state).swap_remove(0);
        judge(&mut state, &first, Health::Missing);
        let first = decide(&mut state, &example.engine);
        assert_eq!(figure(&first, "replaced"), 1.0, "{}", example.name);

        all_well(&mut state);
        let first = valid(&state).swap_remove(0);
        judge(&mut state, &first, Health::ProcessError);
        let minute = NOW + Millis::from_secs(60);
        let second = decide_at(&mut state, minute, &example.engine);
        let reason = "4 of 5 healthy: 1 not replaced (process error): 1 were in the last hour, and replacing does not help";
        assert_eq!((second.status, &*second.reason), (Status::Failed, reason), "{}", example.name);
        assert_eq!(second.wake, Some(Wake::After(Millis::from_secs(59 * 60))), "{}", example.name);
        assert!(second.terminations.is_empty(), "{}", example.name);

        let third = decide_at(&mut state, NOW + Millis::from_secs(3600), &example.engine);
        assert_eq!((terminated(&third).len(), figure(&third, "replaced")), (1, 2.0), "{}: an hour later", example.name);
    }
}

#[test]
fn a_zombie_is_asked_to_go_again_and_not_replaced() {
    for example in examples() {
        let mut state = settled(&example.engine, json!({"preserve_n": 3}));
        let gone = valid(&state)[2].clone();
        reconfigure(&mut state, json!({"preserve_n": 2}));
        decide(&mut state, &example.engine);
        report(&mut state, &gone, State::Terminated);
        judge(&mut state, &gone, Health::Zombie);
        let decision = decide_at(&mut state, NOW + Millis::from_secs(60), &example.engine);
        let asked: Vec<&InstanceId> = decision.terminations.iter().flat_map(|it| it.accepted.iter().chain(&it.again)).collect();
        assert_eq!(asked, [&gone], "{}: {decision:?}", example.name);
        assert_eq!((launched(&decision), figure(&decision, "replaced")), (0, 0.0), "{}", example.name);
    }
}

#[test]
fn time_in_the_memory_is_exact() {
    for example in examples() {
        let late = Timestamp::from_millis(1_795_243_081_357);
        let mut state = settled(&example.engine, json!({"preserve_n": 2}));
        let first = valid(&state).swap_remove(0);
        judge(&mut state, &first, Health::Missing);
        decide_at(&mut state, late, &example.engine);
        let memory = String::from_utf8(state.memory.expect("a memory")).expect("text");
        assert!(memory.ends_with("\"recent\":[1795243081357]}"), "{}: {memory}", example.name);
    }
}
