//! The guards, one by one and in their order, over states that are put together by hand.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::config::DomainConfig;
use crate::instance::{Health, State};
use crate::name::{DomainKey, Slot};
use crate::record::{Change, Configured, EngineInForce, Event, Judged, Judgement, Record, Reported};

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// An active domain with this `general` section.
fn domain(general: serde_json::Value) -> DomainState {
    let key = DomainKey { owner: "ann".parse().expect("a name"), name: "web".parse().expect("a name") };
    let mut state = DomainState::absent(key, Slot(1));
    let config = DomainConfig::from_json(json!({"general": general})).expect("a good configuration");
    configure(&mut state, 0, Change::Added { config, engine: EngineInForce::default() });
    state
}

fn configure(state: &mut DomainState, secs: u64, change: Change) {
    let configured = Configured { by: "ann".parse().expect("a name"), request: None, answer: json!({}), change };
    state.apply(state.sequence + 1, &Record::new(at(secs), 1, vec![Event::Configured(configured)]));
}

/// Puts an instance there, launched at 0 and running unless told otherwise.
fn put(state: &mut DomainState, site: &str, health: Health, health_since: u64) -> u64 {
    put_in(state, site, State::Running, 0, health, health_since)
}

fn put_in(state: &mut DomainState, site: &str, reached: State, launched: u64, health: Health, health_since: u64) -> u64 {
    let ordinal = state.next_ordinal;
    let launch = crate::record::DecidedLaunch {
        launch: "l".parse().expect("an id"),
        deployable_type: "worker".to_owned(),
        site: site.to_owned(),
        allocation: String::new(),
        extra_vars: Vec::new(),
        replaces: None,
        asked: 1,
        instances: Vec::new(),
        refused: None,
        rulings: Vec::new(),
    };
    let mut instance = launch.instance(&format!("i{ordinal}").parse().expect("an id"), ordinal, at(launched), 1);
    (instance.state, instance.health, instance.health_since) = (reached, health, at(health_since));
    state.set(instance);
    ordinal
}

const SEEING: Eyes = Eyes { blind_since: None, seeing_since: Timestamp::ZERO };

fn scene<'a>(state: &'a DomainState, eyes: &'a Eyes, secs: u64) -> Scene<'a> {
    Scene { state, eyes, now: at(secs), launched: 0, terminated: 0 }
}

fn launch(state: &DomainState, secs: u64, count: u32) -> LaunchRuling {
    scene(state, &SEEING, secs).rule_on_launch("here", count)
}

/// Asks for the end of everything that is valid. Returns ordinals granted and deferred, and the ruling.
fn terminate_all<'s>(scene: &Scene<'s>) -> (Vec<u64>, Vec<u64>, TerminationRuling<'s>) {
    let state: &'s DomainState = scene.state;
    let ruling = scene.rule_on_termination(state.instances().map(|it| &**it).filter(|it| it.state.is_valid()).collect());
    let ordinals = |instances: &[&Instance]| instances.iter().map(|it| it.ordinal).collect::<Vec<_>>();
    (ordinals(&ruling.granted), ordinals(&ruling.deferred), ruling)
}

/// A guard's name with how many it let pass.
fn passed(rulings: &[Ruling]) -> Vec<(&'static str, u32)> {
    rulings.iter().map(|ruling| (ruling.guard.name(), ruling.passed)).collect()
}

#[test]
fn a_request_that_nobody_minds_passes_every_guard_in_order() {
    let mut state = domain(json!({}));
    put(&mut state, "here", Health::Ok, 0);
    let expected = [("pause", 1), ("dry run", 1), ("protection", 1), ("blind", 1), ("brake", 1), ("budget", 1), ("quota", 1)];
    let ruling = launch(&state, 1000, 1);
    assert_eq!((ruling.granted, ruling.refusal, passed(&ruling.rulings)), (1, None, expected.to_vec()));
    let (granted, deferred, ruling) = terminate_all(&scene(&state, &SEEING, 1000));
    assert_eq!((granted, deferred, ruling.refusal.clone(), ruling.dripped), (vec![0], vec![], None, false));
    assert_eq!(passed(&ruling.rulings), expected);
    assert!(ruling.rulings.iter().all(|ruling| ruling.note.is_none()));
}

#[test]
fn pause_refuses_everything() {
    let mut state = domain(json!({}));
    put(&mut state, "here", Health::MonitorError, 0);
    configure(&mut state, 1, Change::Paused(true));
    let ruling = launch(&state, 1000, 3);
    assert_eq!((ruling.granted, ruling.refusal), (0, Some(Refusal::Paused)));
    let (granted, deferred, ruling) = terminate_all(&scene(&state, &SEEING, 1000));
    assert_eq!((granted, deferred, ruling.refusal), (vec![], vec![0], Some(Refusal::Paused)));
    configure(&mut state, 2, Change::Paused(false));
    assert_eq!(launch(&state, 1000, 3).granted, 3);
}

#[test]
fn dry_run_lets_the_other_guards_speak_and_notes_itself() {
    let mut state = domain(json!({"max_instances": 2}));
    configure(&mut state, 1, Change::DryRun(true));
    let ruling = launch(&state, 1000, 3);
    assert_eq!(ruling.granted, 2, "what would have been granted");
    assert_eq!(ruling.rulings[1], Ruling { guard: Guard::DryRun, passed: 3, note: Some("recorded only".to_owned()) });
}

#[test]
fn a_blind_host_defers_ends_for_silence_and_nothing_else() {
    let mut state = domain(json!({}));
    let table = [Health::Ok, Health::Unknown, Health::OutOfContact, Health::Missing, Health::ProcessError, Health::MonitorError];
    for health in table {
        put(&mut state, "here", health, 0);
    }
    let half = put_in(&mut state, "here", State::RunningFailed, 0, Health::Unknown, 0);
    configure(&mut state, 1, Change::BrakeReleased);
    let blind = Eyes { blind_since: Some((at(900), "the link is down".to_owned())), seeing_since: at(0) };
    let scene = scene(&state, &blind, 1000);
    assert_eq!(scene.rule_on_launch("here", 2).granted, 2);
    let (granted, deferred, ruling) = terminate_all(&scene);
    assert_eq!((granted, deferred, ruling.refusal), (vec![0, 1, 4, 5, half], vec![2, 3], None));
    let note = ruling.rulings[3].note.as_deref().unwrap_or_default();
    assert!(note.contains("the link is down for 1.7 min"), "{note}");
}

#[test]
fn silence_is_always_believed_where_the_host_is_not_to_doubt_its_own_eyes() {
    let mut state = domain(json!({"own_eyes": false}));
    put(&mut state, "here", Health::Missing, 0);
    let blind = Eyes { blind_since: Some((at(900), "the link is down".to_owned())), seeing_since: at(0) };
    assert_eq!(terminate_all(&scene(&state, &blind, 1000)).0, [0]);
}

#[test]
fn silence_is_believed_again_only_after_a_whole_missing_window() {
    let mut state = domain(json!({}));
    put(&mut state, "here", Health::Missing, 0);
    let regained = Eyes { blind_since: None, seeing_since: at(1000) };
    for (secs, goes) in [(1000, false), (1119, false), (1120, false), (1121, true)] {
        let (granted, _, ruling) = terminate_all(&scene(&state, &regained, secs));
        assert_eq!(granted.len(), usize::from(goes), "at {secs}");
        assert_eq!(matches!(ruling.refusal, Some(Refusal::Blind(_))), !goes, "at {secs}");
    }
}

#[test]
fn the_brake_needs_its_floor_and_its_share_within_its_window() {
    // (healthy, unhealthy, seconds between two of them turning) and whether the brake is on
    let table = [
        (0, 2, 0, false), // below the floor: small domains heal
        (0, 3, 0, true),
        (3, 3, 0, true), // exactly half
        (4, 3, 0, false),
        (1, 5, 100, true),  // never more than four within the window: 4 of 6
        (5, 5, 100, false), // 4 of 10
        (0, 3, 150, true),  // 0, 150, 300: exactly the window
        (0, 3, 151, false),
    ];
    for (healthy, unhealthy, apart, on) in table {
        let mut state = domain(json!({}));
        for _ in 0..healthy {
            put(&mut state, "here", Health::Ok, 0);
        }
        for i in 0..unhealthy {
            put(&mut state, "here", Health::Missing, 1000 + i * apart);
        }
        assert_eq!(Brake::on(&state, at(2000), None).is_some(), on, "{healthy} healthy, {unhealthy} unhealthy, {apart} s apart");
    }
}

#[test]
fn a_brake_that_is_on_defers_every_end_and_says_why() {
    let mut state = domain(json!({}));
    put(&mut state, "here", Health::Ok, 0);
    for i in 0..3 {
        put(&mut state, "here", Health::ProcessError, 1000 + i);
    }
    let (granted, deferred, ruling) = terminate_all(&scene(&state, &SEEING, 1100));
    assert_eq!((granted, deferred), (vec![], vec![0, 1, 2, 3]));
    let why = ruling.refusal.map(|refusal| refusal.to_string()).unwrap_or_default();
    assert_eq!(why, "3 of 4 instances turned unhealthy within 2 s: too many at once to be believed");
}

#[test]
fn a_site_in_trouble_holds_its_own_and_no_others() {
    let mut state = domain(json!({}));
    for _ in 0..6 {
        put(&mut state, "there", Health::Ok, 0);
    }
    for _ in 0..3 {
        put(&mut state, "here", Health::Missing, 1000);
    }
    assert_eq!(Brake::on(&state, at(1100), None), None);
    let (granted, deferred, ruling) = terminate_all(&scene(&state, &SEEING, 1100));
    assert_eq!((granted, deferred), (vec![0, 1, 2, 3, 4, 5], vec![6, 7, 8]));
    assert!(ruling.refusal.is_none() && ruling.rulings[4].note.as_deref().is_some_and(|note| note.contains("3 of 3 instances at here")));
    assert_eq!(scene(&state, &SEEING, 1100).rule_on_launch("here", 9).granted, 3);
    assert_eq!(scene(&state, &SEEING, 1100).rule_on_launch("there", 9).granted, 9);
}

#[test]
fn a_surge_replaces_the_unhealthy_once() {
    let mut state = domain(json!({}));
    put(&mut state, "here", Health::Ok, 0);
    for _ in 0..4 {
        put(&mut state, "here", Health::Missing, 1000);
    }
    let ruling = launch(&state, 1100, 9);
    assert_eq!((ruling.granted, ruling.refusal), (4, None), "as many as are unhealthy");
    let second = Scene { launched: 3, ..scene(&state, &SEEING, 1100) };
    assert_eq!(second.rule_on_launch("here", 9).granted, 1, "within one decision");
    for _ in 0..4 {
        put_in(&mut state, "here", State::Pending, 1100, Health::Unknown, 1100);
    }
    let ruling = launch(&state, 1200, 9);
    assert!(matches!(ruling.refusal, Some(Refusal::Brake(_))), "and not again: {ruling:?}");
    assert!(Brake::on(&state, at(1200), None).is_some(), "what was launched since does not release it");
}

#[test]
fn replacements_of_the_very_millisecond_do_not_release_the_brake() {
    let mut state = domain(json!({}));
    put(&mut state, "here", Health::Ok, 0);
    for _ in 0..3 {
        put(&mut state, "here", Health::Missing, 1000);
    }
    assert_eq!(launch(&state, 1000, 9).granted, 3);
    for _ in 0..3 {
        put_in(&mut state, "here", State::Requesting, 1000, Health::Unknown, 1000);
    }
    let brake = Brake::on(&state, at(1005), None).expect("it is still on");
    assert_eq!((brake.unhealthy, brake.of, brake.surge), (3, 4, 0));
    assert_eq!(terminate_all(&scene(&state, &SEEING, 1005)).0, Vec::<u64>::new());
}

#[test]
fn after_a_quarter_of_an_hour_ends_go_one_a_minute() {
    let mut state = domain(json!({}));
    for _ in 0..4 {
        put(&mut state, "here", Health::Missing, 1000);
    }
    let ends = |state: &DomainState, secs| {
        let (granted, deferred, ruling) = terminate_all(&scene(state, &SEEING, secs));
        assert_eq!(ruling.dripped, !granted.is_empty());
        (granted.len(), deferred.len())
    };
    assert_eq!(ends(&state, 1900), (0, 4), "exactly at the limit");
    assert_eq!(ends(&state, 1901), (1, 3));
    state.brake_dripped = Some(at(1901));
    assert_eq!(ends(&state, 1960), (0, 4));
    assert_eq!(ends(&state, 1961), (1, 3));
    let after_another = Scene { terminated: 1, ..scene(&state, &SEEING, 1961) };
    assert_eq!(terminate_all(&after_another).0, Vec::<u64>::new(), "one a decision");
}

#[test]
fn a_drip_that_the_budget_holds_is_none() {
    let mut state = domain(json!({"terminations_per_minute": 1}));
    for _ in 0..4 {
        put(&mut state, "here", Health::Missing, 1000);
    }
    let general = state.config.general.clone();
    state.budget.take(&general, at(1990), 0, 1);
    let (granted, deferred, ruling) = terminate_all(&scene(&state, &SEEING, 2000));
    assert_eq!((granted, deferred.len(), ruling.dripped), (vec![], 4, false));
    assert!(matches!(ruling.refusal, Some(Refusal::Budget(_))), "the guard that reduced it to nothing: {:?}", ruling.refusal);
}

#[test]
fn the_brake_lets_go_when_they_recover_or_an_operator_says_so() {
    let mut state = domain(json!({}));
    for _ in 0..3 {
        put(&mut state, "here", Health::Missing, 1000);
    }
    let mut recovered = state.clone();
    let mut first = Instance::clone(recovered.instance_at(0).expect("it is there"));
    (first.health, first.health_since) = (Health::Ok, at(1050));
    recovered.set(first);
    assert_eq!(Brake::on(&recovered, at(1100), None), None, "two are left: below the floor");

    configure(&mut state, 1100, Change::BrakeReleased);
    assert_eq!(Brake::on(&state, at(1100), None), None);
    assert_eq!(terminate_all(&scene(&state, &SEEING, 1100)).0, [0, 1, 2]);
    for _ in 0..3 {
        put(&mut state, "here", Health::Missing, 1101);
    }
    assert!(Brake::on(&state, at(1200), None).is_some(), "what turns unhealthy later is another matter");
}

/// Lets an instance go, as a decision does, and as its provisioner confirms.
fn let_go(state: &mut DomainState, ordinal: u64, secs: u64) {
    let id = state.instance_at(ordinal).expect("it is there").id.clone();
    let ended = Event::Judged(Judged { id: id.clone(), verdict: Judgement::Ended { reason: "unhealthy".to_owned() } });
    let gone = Some(State::Terminated);
    let gone = Reported { id, state: gone, update_counter: None, attributes: Default::default(), reason: None, undead: None };
    state.apply(state.sequence + 1, &Record::new(at(secs), 1, vec![ended, Event::Reported(gone)]));
}

fn turn(state: &mut DomainState, ordinal: u64, secs: u64) {
    let mut instance = Instance::clone(state.instance_at(ordinal).expect("it is there"));
    (instance.health, instance.health_since) = (Health::Missing, at(secs));
    state.set(instance);
}

/// Instances of those given turn unhealthy one after another, six seconds apart; each decision lets go whom it may, and replaces them if
/// told so. Returns how many were let go by the end.
fn one_after_another(state: &mut DomainState, ill: &[u64], begin: u64, replace: bool) -> usize {
    let mut gone = 0;
    for (ordinal, secs) in ill.iter().zip((begin..).step_by(6)) {
        turn(state, *ordinal, secs);
        let unhealthy: Vec<Arc<Instance>> = state.unhealthy().cloned().collect();
        let asked = unhealthy.iter().map(|it| &**it).collect();
        let granted: Vec<u64> =
            scene(state, &SEEING, secs + 5).rule_on_termination(asked).granted.into_iter().map(|it| it.ordinal).collect();
        for ordinal in granted {
            let_go(state, ordinal, secs + 5);
            gone += 1;
            if replace && launch(state, secs + 5, 1).granted == 1 {
                put_in(state, "here", State::Running, secs + 5, Health::Ok, secs + 5);
            }
        }
    }
    gone
}

#[test]
fn those_that_were_let_go_count_on_for_as_long_as_the_window() {
    for replace in [false, true] {
        let mut state = domain(json!({"terminations_per_minute": 100}));
        let ill: Vec<u64> = (0..10).map(|_| put(&mut state, "here", Health::Ok, 0)).collect();
        assert_eq!(one_after_another(&mut state, &ill, 1000, replace), 4, "the fifth is half of them");
        let brake = Brake::on(&state, at(1060), None).expect("on");
        assert_eq!((brake.unhealthy, brake.of, brake.since, brake.until), (10, 10, at(1000), at(1054)));
        assert_eq!(launch(&state, 1060, 99).granted, if replace { 6 } else { 10 }, "whoever was let go may be replaced");
        // Six are left, and unhealthy; of them, and of what replaced the others.
        let brake = Brake::on(&state, at(1500), None).expect("still on");
        assert_eq!((brake.unhealthy, brake.of), (6, if replace { 10 } else { 6 }));
    }
}

#[test]
fn a_brake_for_those_that_were_let_go_ends_with_the_window() {
    let mut state = domain(json!({"terminations_per_minute": 100}));
    let all: Vec<u64> = (0..10).map(|_| put(&mut state, "here", Health::Ok, 0)).collect();
    assert_eq!(one_after_another(&mut state, &all[..5], 1000, false), 4);
    // The first of them turned at 1000, the last at 1024.
    let goes = |state: &DomainState, secs| {
        !scene(state, &SEEING, secs).rule_on_termination(vec![&**state.instance_at(4).unwrap()]).granted.is_empty()
    };
    assert!(!goes(&state, 1300) && goes(&state, 1301), "four of nine");
    configure(&mut state, 1100, Change::BrakeReleased);
    assert!(goes(&state, 1100), "or when an operator says so");
}

#[test]
fn a_small_domain_heals_however_often() {
    let mut state = domain(json!({"terminations_per_minute": 100}));
    for _ in 0..2 {
        put(&mut state, "here", Health::Ok, 0);
    }
    for round in 0..10_u64 {
        let valid: Vec<u64> = state.instances().filter(|it| it.state.is_valid()).map(|it| it.ordinal).collect();
        assert_eq!(valid.len(), 2);
        assert_eq!(one_after_another(&mut state, &valid, 1000 + round * 20, true), 2, "in round {round}");
    }
}

#[test]
fn what_failed_while_it_was_unhealthy_counts_as_well() {
    let mut state = domain(json!({}));
    for _ in 0..6 {
        put(&mut state, "here", Health::Ok, 0);
    }
    for ordinal in 0..3 {
        turn(&mut state, ordinal, 1000);
        let id = state.instance_at(ordinal).expect("it is there").id.clone();
        let failed =
            Reported { id, state: Some(State::Failed), update_counter: None, attributes: Default::default(), reason: None, undead: None };
        state.apply(state.sequence + 1, &Record::new(at(1001), 1, vec![Event::Reported(failed)]));
    }
    assert_eq!(Brake::on(&state, at(1100), None).map(|brake| (brake.unhealthy, brake.of, brake.surge)), Some((3, 6, 3)));
    assert_eq!(Brake::on(&state, at(1301), None), None);
}

#[test]
fn whoever_asks_with_a_clock_that_is_behind_is_answered() {
    let mut state = domain(json!({}));
    for _ in 0..3 {
        put(&mut state, "here", Health::Missing, 1000);
    }
    assert!(Brake::on(&state, at(900), None).is_some());
}

#[test]
fn a_brake_that_is_switched_off_holds_nothing() {
    let mut state = domain(json!({"brake": {"enabled": false}}));
    for _ in 0..9 {
        put(&mut state, "here", Health::Missing, 1000);
    }
    assert_eq!(terminate_all(&scene(&state, &SEEING, 1100)).0.len(), 9);
}

#[test]
fn what_is_on_its_way_out_or_gone_does_not_brake() {
    let mut state = domain(json!({}));
    put(&mut state, "here", Health::Missing, 1000);
    put_in(&mut state, "here", State::Terminating, 0, Health::ProcessError, 1000);
    put_in(&mut state, "here", State::Terminated, 0, Health::Zombie, 1000);
    put_in(&mut state, "here", State::Failed, 0, Health::Unknown, 1000);
    assert_eq!(state.counts().unhealthy, 3, "zombies are to be replaced");
    assert_eq!(Brake::on(&state, at(1100), None), None);
}

#[test]
fn the_budget_grants_a_part_and_tells_how_long_the_rest_waits() {
    let mut state = domain(json!({"launches_per_minute": 6, "terminations_per_minute": 2}));
    for _ in 0..4 {
        put(&mut state, "here", Health::Ok, 0);
    }
    let ruling = launch(&state, 1000, 10);
    assert_eq!((ruling.granted, ruling.refusal), (6, None));
    assert_eq!(ruling.rulings[5].note.as_deref(), Some("the rate budget is used up for 10 s"));
    let (granted, deferred, ruling) = terminate_all(&scene(&state, &SEEING, 1000));
    assert_eq!((granted, deferred, ruling.refusal), (vec![0, 1], vec![2, 3], None));

    let general = state.config.general.clone();
    state.budget.take(&general, at(1000), 6, 2);
    assert_eq!(launch(&state, 1004, 1).refusal, Some(Refusal::Budget(Millis::from_secs(6))));
    assert_eq!(launch(&state, 1010, 5).granted, 1);
    assert_eq!(terminate_all(&scene(&state, &SEEING, 1024)).2.refusal, Some(Refusal::Budget(Millis::from_secs(6))));
    assert_eq!(terminate_all(&scene(&state, &SEEING, 1030)).0, [0]);
}

#[test]
fn the_quota_counts_whatever_is_not_gone() {
    let mut state = domain(json!({"max_instances": 5}));
    for reached in [State::Requesting, State::Running, State::Terminating, State::Terminated, State::Failed] {
        put_in(&mut state, "here", reached, 0, Health::Unknown, 0);
    }
    assert_eq!(launch(&state, 1000, 9).granted, 2);
    let full = Scene { launched: 2, ..scene(&state, &SEEING, 1000) }.rule_on_launch("here", 1);
    assert_eq!(full.refusal, Some(Refusal::Quota("max_instances is 5 and 5 are there".to_owned())));
}

#[test]
fn a_site_whose_launches_fail_backs_off_twice_as_long_each_time() {
    let mut state = domain(json!({}));
    let mut report = |reached: State, secs: u64| {
        let ordinal = put_in(&mut state, "here", State::Requested, secs, Health::Unknown, secs);
        let id = state.instance_at(ordinal).expect("it is there").id.clone();
        let reported =
            Reported { id, state: Some(reached), update_counter: None, attributes: Default::default(), reason: None, undead: None };
        state.apply(state.sequence + 1, &Record::new(at(secs), 1, vec![Event::Reported(reported)]));
        let site = state.sites.get("here").expect("launched at").clone();
        let waits = site.backing_off_until.map(|until| until.since(at(secs)).get() / 1000);
        let refusal = launch(&state, secs, 1).refusal;
        assert_eq!(refusal, waits.map(|secs| Refusal::BackingOff(Millis::from_secs(secs))));
        assert_eq!(scene(&state, &SEEING, secs).rule_on_launch("there", 1).granted, 1, "another site is not concerned");
        (site.failures, waits)
    };
    let doubling = [2, 4, 8, 16, 32, 64, 128, 256, 300, 300];
    for (failures, expected) in (1..).zip(doubling) {
        let reached = if failures % 2 == 0 { State::Failed } else { State::Rejected };
        assert_eq!(report(reached, 1000 + u64::from(failures) * 1000), (failures, Some(expected)));
    }
    assert_eq!(report(State::Running, 20_000), (0, None), "one that runs clears it");
    assert_eq!(report(State::Rejected, 21_000), (1, Some(2)));
    assert_eq!(launch(&state, 21_002, 1).granted, 1, "over");
}

#[test]
fn how_long_a_site_backs_off_is_configured() {
    let waits = |back_off: serde_json::Value, failures: u64| {
        let mut state = domain(json!({"back_off": back_off}));
        for nth in 1..=failures {
            let ordinal = put_in(&mut state, "here", State::Requested, nth * 1000, Health::Unknown, nth * 1000);
            let id = state.instance_at(ordinal).expect("it is there").id.clone();
            let state_told = Some(State::Failed);
            let reported =
                Reported { id, state: state_told, update_counter: None, attributes: Default::default(), reason: None, undead: None };
            state.apply(state.sequence + 1, &Record::new(at(nth * 1000), 1, vec![Event::Reported(reported)]));
        }
        launch(&state, failures * 1000, 1).refusal
    };
    let after = |secs| Some(Refusal::BackingOff(Millis::from_secs(secs)));
    assert_eq!(waits(json!({"first": 10}), 1), after(10));
    assert_eq!(waits(json!({"first": 10}), 3), after(40));
    assert_eq!(waits(json!({"first": 10, "longest": 15}), 3), after(15));
    assert_eq!(waits(json!({"enabled": false}), 3), None);
}

#[test]
fn a_launch_that_ran_before_it_failed_is_no_failed_launch() {
    let mut state = domain(json!({}));
    let ordinal = put(&mut state, "here", Health::Ok, 0);
    let id = state.instance_at(ordinal).expect("it is there").id.clone();
    let reported =
        Reported { id, state: Some(State::Failed), update_counter: None, attributes: Default::default(), reason: None, undead: None };
    state.apply(9, &Record::new(at(10), 1, vec![Event::Reported(reported)]));
    assert_eq!(launch(&state, 10, 1).refusal, None);
}

#[test]
fn the_refusal_is_that_of_the_guard_which_left_nothing() {
    let mut state = domain(json!({"max_instances": 4, "launches_per_minute": 2}));
    for _ in 0..4 {
        put(&mut state, "here", Health::Ok, 0);
    }
    let ruling = launch(&state, 1000, 3);
    assert_eq!(passed(&ruling.rulings)[4..], [("brake", 3), ("budget", 2), ("quota", 0)]);
    assert!(matches!(ruling.refusal, Some(Refusal::Quota(_))), "{ruling:?}");
}

fn protect(state: &mut DomainState, ordinal: u64) {
    let id = state.instance_at(ordinal).expect("it is there").id.clone();
    configure(state, 900, Change::Protected { id, on: true });
}

#[test]
fn the_protected_stay_and_the_others_go() {
    let mut state = domain(json!({"terminations_per_minute": 2}));
    for _ in 0..3 {
        put(&mut state, "here", Health::Ok, 0);
    }
    protect(&mut state, 0);
    let (granted, deferred, ruling) = terminate_all(&scene(&state, &SEEING, 1000));
    assert_eq!((granted, deferred, ruling.refusal), (vec![1, 2], vec![0], None), "and what is protected takes nothing of the budget");
    assert_eq!(ruling.rulings[2], Ruling { guard: Guard::Protection, passed: 2, note: Some("protected by an operator".to_owned()) });
    protect(&mut state, 1);
    protect(&mut state, 2);
    let (granted, deferred, ruling) = terminate_all(&scene(&state, &SEEING, 1000));
    assert_eq!((granted, deferred, ruling.refusal), (vec![], vec![0, 1, 2], Some(Refusal::Protected)));
    assert_eq!(launch(&state, 1000, 2).granted, 2, "launches are no business of theirs");
}

#[test]
fn a_drip_of_the_brake_is_not_spent_on_the_protected() {
    let mut state = domain(json!({}));
    for _ in 0..4 {
        put(&mut state, "here", Health::Missing, 1000);
    }
    protect(&mut state, 0);
    let brake = Brake::on(&state, at(1901), None).expect("on");
    assert_eq!((brake.unhealthy, brake.of), (4, 4), "what is protected is as ill as the others");
    let (granted, deferred, ruling) = terminate_all(&scene(&state, &SEEING, 1901));
    assert_eq!((granted, deferred, ruling.dripped), (vec![1], vec![0, 2, 3], true));
}
