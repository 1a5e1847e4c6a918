//! Inputs that the scenarios of health do not cover: strangers, groups, sizes, and records that make no sense.

use std::collections::BTreeMap;

use pilothouse_core::instance::{Health, Instance, State};
use pilothouse_core::intake::Input;
use pilothouse_core::message::{Heartbeat, StateReport, Verdict as Beat};
use pilothouse_core::problem::{ErrorLog, FailedProcess, Problem};
use pilothouse_core::record::{Event, Judged, Judgement, Record, Reported};
use pilothouse_core::time::{Millis, Timestamp};
use serde_json::json;

use crate::support::{Bench, config, instance};

fn bench(count: u64) -> Bench {
    let running = |i: u64| instance(&format!("n{i}"), i, State::Running, Timestamp::from_secs(1000));
    Bench::with(config(json!({"health": {"really_missing_timeout": 0}})), Timestamp::from_secs(1000), (0..count).map(running))
}

fn report(id: &str, state: State, attributes: &[(&str, &str)]) -> Input {
    let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Input::Report(id.parse().expect("an id"), StateReport { attributes, ..StateReport::new(state) })
}

fn failed(id: &str, problems: Vec<Problem>) -> Input {
    Input::Heartbeat(id.parse().expect("an id"), Heartbeat { verdict: Beat::Error { health: Health::ProcessError, problems, time: None } })
}

fn process(name: &str, more: &[(&str, &str)]) -> Problem {
    let more = more.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    Problem::Process(FailedProcess { name: name.to_owned(), exitcode: Some(1), stop_timestamp: Some(0.1 + 0.2), stderr: None, more })
}

#[test]
fn inputs_for_strangers_are_told_of_and_change_nothing() {
    let mut bench = bench(1);
    let mut strangers = Vec::new();
    let inputs = [report("x", State::Running, &[]), Input::Unknown("y".parse().expect("an id"))];
    let record = bench.domain.absorb(inputs, true, bench.now, |id| strangers.push(id.to_string()));
    assert_eq!((record, strangers), (None, vec!["x".to_owned(), "y".to_owned()]));
}

#[test]
fn what_arrives_together_is_one_record_and_each_is_judged_after_the_one_before() {
    let mut bench = bench(2);
    let inputs = [
        failed("n0", vec![process("a", &[])]),
        Input::Heartbeat("n0".parse().expect("an id"), Heartbeat { verdict: Beat::Ok }),
        report("n1", State::Terminated, &[]),
        report("n1", State::Running, &[]),
    ];
    let record = bench.absorb(inputs).expect("changes");
    assert_eq!(record.events.len(), 4);
    assert_eq!((bench.instance("n0").health, bench.instance("n0").errors.is_empty()), (Health::Ok, true));
    assert_eq!((bench.instance("n1").state, bench.instance("n1").undead), (State::Terminated, true));
}

#[test]
fn what_says_nothing_new_records_nothing() {
    let mut bench = bench(1);
    bench.absorb([report("n0", State::Running, &[("host", "a")])]).expect("an attribute");
    for input in [
        report("n0", State::Running, &[("host", "a")]),
        report("n0", State::Running, &[]),
        report("n0", State::Pending, &[("host", "b")]),
        Input::NoAgent("n0".parse().expect("an id")),
    ] {
        assert_eq!(bench.absorb([input]), None);
    }
    bench.absorb([report("n0", State::Running, &[("zone", "b")])]).expect("another attribute");
    assert_eq!(json!(bench.instance("n0").attributes), json!({"host": "a", "zone": "b"}), "merged");
}

#[test]
fn a_counter_orders_reports_of_one_state_only() {
    let mut bench = bench(1);
    let counted = |state, update_counter, value: &str| {
        let attributes = BTreeMap::from([("v".to_owned(), value.to_owned())]);
        Input::Report("n0".parse().expect("an id"), StateReport { update_counter, attributes, ..StateReport::new(state) })
    };
    bench.absorb([counted(State::Running, Some(9), "1")]);
    bench.absorb([counted(State::Terminating, None, "2")]);
    assert_eq!(bench.instance("n0").update_counter, None, "that of another state says nothing");
    bench.absorb([counted(State::Terminating, Some(1), "3")]);
    assert_eq!((bench.instance("n0").update_counter, bench.instance("n0").attributes.get("v").map(String::as_str)), (Some(1), Some("3")));
    bench.absorb([counted(State::Terminated, Some(1), "4")]);
    assert_eq!((bench.instance("n0").update_counter, bench.instance("n0").attributes.get("v").map(String::as_str)), (Some(1), Some("4")));
}

#[test]
fn the_reason_of_an_end_is_that_of_the_end() {
    let mut bench = bench(2);
    let told = |id: &str, state, reason: &str| {
        Input::Report(id.parse().expect("an id"), StateReport { reason: Some(reason.to_owned()), ..StateReport::new(state) })
    };
    bench.set(instance("n0", 0, State::Requested, bench.now));
    bench.absorb([told("n0", State::ErrorRetrying, "no capacity")]);
    bench.absorb([told("n0", State::Failed, "gave up")]);
    assert_eq!(bench.instance("n0").end_reason.as_deref(), Some("gave up"));
    bench.set(Instance { end_reason: Some("scaled down".to_owned()), ..instance("n1", 1, State::Terminating, bench.now) });
    bench.absorb([told("n1", State::Terminated, "exit code 0")]);
    assert_eq!(bench.instance("n1").end_reason.as_deref(), Some("scaled down"), "why it was asked for stays");
}

#[test]
fn a_fleet_that_falls_silent_at_once_is_judged_a_thousand_at_a_time() {
    let mut bench = bench(2500);
    bench.pass(Millis::from_secs(301));
    let mut sizes = Vec::new();
    while let Some(record) = bench.tick() {
        sizes.push(record.events.len());
        assert!(sizes.len() == 3 || bench.domain.next_look(bench.now) == bench.now, "more is due");
    }
    assert_eq!(sizes, [1000, 1000, 500]);
    assert_eq!(bench.state().counts().unhealthy, 2500);
}

#[test]
fn a_zombie_that_repeats_itself_does_not_fill_the_journal() {
    let mut bench = bench(1);
    bench.absorb([report("n0", State::Terminated, &[])]);
    bench.pass(Millis::from_secs(121));
    assert!(bench.absorb([failed("n0", vec![process("a", &[])])]).is_some());
    assert!(bench.tick().is_some(), "a zombie");
    let records = (0..50).filter(|_| bench.pass(Millis::from_secs(1)).absorb([failed("n0", vec![process("a", &[])])]).is_some()).count();
    assert_eq!((bench.instance("n0").health, records), (Health::Zombie, 0));
}

#[test]
fn nobody_is_judged_for_silence_while_mail_is_unread() {
    let mut bench = bench(2);
    bench.set(instance("old", 2, State::Terminated, Timestamp::ZERO));
    bench.pass(Millis::from_secs(9000));
    let ok = |id: &str| Input::Heartbeat(id.parse().expect("an id"), Heartbeat { verdict: Beat::Ok });
    let record = bench.domain.absorb([ok("n0")], false, bench.now, |_| ()).expect("it is well");
    bench.commit(record);
    assert_eq!((bench.instance("n1").health, bench.state().counts().total), (Health::Unknown, 3));
    assert_eq!(bench.domain.absorb([], false, bench.now, |_| ()), None, "still not all is read");
    assert!(bench.domain.next_look(bench.now) == bench.now, "the verdicts are not forgotten");
    bench.tick().expect("all is read");
    assert_eq!((bench.instance("n0").health, bench.instance("n1").health), (Health::Ok, Health::Missing));
    assert_eq!(bench.state().counts().total, 2);
}

#[test]
fn whoever_is_said_to_live_is_not_reaped_in_the_same_record() {
    let mut bench = bench(0);
    bench.set(instance("a", 0, State::Terminated, Timestamp::ZERO));
    bench.set(instance("b", 1, State::Terminated, Timestamp::ZERO));
    bench.pass(Millis::from_secs(9000));
    bench.absorb([report("a", State::Running, &[])]);
    assert!(bench.instance("a").undead);
    assert_eq!(bench.state().counts().total, 1, "the other goes");
}

#[test]
fn errors_are_bounded_whatever_an_agent_tells() {
    let mut bench = bench(1);
    for i in 0..20 {
        let name = format!("p{i}{}", "x".repeat(10_000));
        bench.absorb([failed("n0", vec![process(&name, &[("a", &"x".repeat(20_000)), ("b", "small")])])]);
    }
    let errors = &bench.instance("n0").errors;
    assert_eq!((errors.list.len(), errors.count), (ErrorLog::MAX, 20));
    let size = serde_json::to_vec(errors).expect("json").len();
    assert!(size < ErrorLog::MAX * 2 * ErrorLog::MAX_TEXT, "{size} bytes");
    let Problem::Process(newest) = &errors.list[0] else { panic!("a process") };
    assert!(newest.name.starts_with("p19") && newest.more["b"] == json!("small") && !newest.more.contains_key("a"));
}

#[test]
fn numbers_come_back_from_the_journal_to_the_last_bit() {
    let mut bench = bench(1);
    bench.absorb([failed("n0", vec![process("a", &[])])]);
    crate::support::same(&bench.folded(), bench.state(), "the fold of what was written is the state");
}

#[test]
fn a_report_that_was_long_on_its_way_into_the_journal_while_nothing_could_be_seen_costs_nobody_time() {
    let mut bench = bench(1);
    bench.set(instance("s", 1, State::Started, bench.now));
    bench.pass(Millis::from_secs(500));
    let record = bench.domain.absorb([report("s", State::Running, &[])], true, bench.now, |_| ()).expect("it runs");
    bench.domain.lose_sight(bench.now, "the link is down");
    bench.pass(Millis::from_secs(3600));
    bench.domain.regain_sight(bench.now);
    bench.commit(record);
    bench.pass(Millis::from_secs(300));
    bench.tick();
    assert_eq!(bench.instance("s").health, Health::Unknown, "exactly its boot window, of what was seen");
    bench.pass(Millis::new(1));
    bench.tick();
    assert_eq!(bench.instance("s").health, Health::Missing);
}

#[test]
fn records_that_make_no_sense_change_nothing_and_never_fail() {
    let mut bench = bench(1);
    let id = || "nobody".parse().expect("an id");
    let reported = Reported {
        id: id(),
        state: Some(State::Running),
        update_counter: None,
        attributes: BTreeMap::new(),
        reason: None,
        undead: Some(true),
    };
    let judged = |verdict| Event::Judged(Judged { id: id(), verdict });
    let events = vec![
        Event::Reported(reported),
        judged(Judgement::Stalled),
        judged(Judgement::Ended { reason: String::new() }),
        judged(Judgement::Reaped),
    ];
    let before = bench.state().clone();
    // Past the bench, whose checker would not have it.
    bench.domain.committed(before.sequence + 1, &Record::new(bench.now, 1, events), bench.now);
    assert!(bench.state().instances().eq(before.instances()) && bench.state().changed == before.changed);
}

#[test]
fn a_record_of_a_later_format_is_refused_and_never_guessed_at() {
    let mut record = Record::new(Timestamp::ZERO, 1, vec![Event::Removed]);
    record.v += 1;
    let error = Record::from_bytes(&record.to_bytes()).expect_err("too new");
    assert!(error.to_string().contains("update this host"), "{error}");
}

#[test]
fn absurd_times_and_windows_break_nothing() {
    let mut settings = config(json!({}));
    // The longest that a configuration can say.
    let century = Millis::from_secs(3_200_000_000);
    (settings.health.missing_timeout, settings.health.boot_timeout, settings.general.launch_timeout) = (century, century, century);
    let instances = [instance("a", 0, State::Running, Timestamp::ZERO), instance("b", 1, State::Requested, Timestamp::ZERO)];
    let mut bench = Bench::with(settings, Timestamp::from_secs(1000), instances);
    bench.domain.missed(Millis::new(u64::MAX), bench.now);
    bench.domain.lose_sight(bench.now, "no reason");
    bench.domain.missed(Millis::new(u64::MAX), bench.now);
    bench.domain.regain_sight(bench.now);
    bench.absorb([Input::Heartbeat("a".parse().expect("an id"), Heartbeat { verdict: Beat::Ok })]);
    bench.tick();
    assert_eq!((bench.instance("a").health, bench.instance("b").state), (Health::Ok, State::Requested));
    bench.now = Timestamp::from_millis(u64::MAX);
    let _ = bench.domain.absorb([], true, bench.now, |_| ());
    bench.now = Timestamp::ZERO;
    bench.domain.lose_sight(bench.now, "the clock went back");
    bench.domain.regain_sight(bench.now);
    bench.tick();
    bench.effects();
}
