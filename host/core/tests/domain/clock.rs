//! A journal that was written by a host whose clock was ahead: the domain's time goes on from there, as fast as any other.

use pilothouse_core::domain::Effect;
use pilothouse_core::instance::{Health, State};
use pilothouse_core::message::Reading;
use pilothouse_core::promise::{RETRY_AFTER, Request, VALID_FOR};
use pilothouse_core::sensor::{Sample, Scope, Statistic};
use pilothouse_core::time::{Millis, Timestamp};
use serde_json::json;

use crate::support::{Bench, Native, config, instance, launch, verdict};

const DAY: u64 = 24 * 60 * 60;

/// The newest record is of tomorrow.
fn bench() -> Bench {
    let running = instance("a", 0, State::Running, Timestamp::from_secs(DAY));
    let windows = config(json!({"health": {"boot_timeout": 300, "really_missing_timeout": 0}}));
    Bench::with(windows, Timestamp::from_secs(DAY + 1000), [running]).restart(Timestamp::from_secs(1000))
}

fn launching() -> Native<'static> {
    Native::new(|cycle, memory| {
        drop(cycle.launch(launch("here", 1)));
        Ok(verdict(memory))
    })
}

#[test]
fn decisions_and_requests_go_on_at_the_usual_pace() {
    let mut bench = bench();
    bench.requests();
    let (record, _) = bench.decide(&launching());
    assert_eq!(record.expect("a launch").at, Timestamp::from_secs(DAY + 1000), "never before the record before");
    assert!(bench.begin().is_none(), "one at a time");
    let not_after = |bench: &mut Bench| match &bench.requests()[..] {
        [Request::Provision(message)] => Some(message.not_after),
        _ => None,
    };
    assert_eq!(not_after(&mut bench), Some(bench.now + VALID_FOR), "provisioners know the true time");
    assert_eq!(bench.domain.next_look(bench.now), bench.now + RETRY_AFTER);
    bench.pass(Millis::new(4999));
    assert_eq!((not_after(&mut bench), bench.begin().is_none()), (None, true));
    bench.pass(Millis::new(1));
    assert_eq!(not_after(&mut bench), Some(bench.now + VALID_FOR));
    assert!(bench.begin().is_some(), "after its pace");
}

#[test]
fn verdicts_come_after_their_windows() {
    let mut bench = bench();
    bench.pass(Millis::from_secs(300));
    bench.tick();
    assert_eq!(bench.instance("a").health, Health::Unknown, "exactly its window");
    assert!(bench.domain.next_look(bench.now).since(bench.now) <= Millis::new(1));
    bench.pass(Millis::new(1));
    bench.tick();
    assert_eq!(bench.instance("a").health, Health::Missing);
    bench.domain.lose_sight(bench.now, "the link is down");
    bench.pass(Millis::from_secs(60));
    let blind_since = bench.domain.eyes().blind_since.expect("blind").0;
    assert_eq!(blind_since, Timestamp::from_millis((DAY + 1300) * 1000 + 1), "in the time of the domain");
}

#[test]
fn dumps_and_readings_are_as_fresh_as_they_are() {
    let mut bench = bench();
    let dumps = |bench: &mut Bench| bench.effects().iter().any(|it| matches!(it, Effect::Request(Request::Dump { .. })));
    assert!(dumps(&mut bench), "when it is taken");
    assert!((0..300).any(|_| dumps(bench.pass(Millis::from_secs(1)))), "every five minutes");
    bench.domain.read(Scope::Domain, Reading { metric: "q".to_owned(), time: bench.now, value: 7.0 }).expect("few series");
    bench.pass(Millis::from_secs(5));
    let mut cycle = bench.begin().expect("due");
    assert_eq!(cycle.sensor("q", Scope::Domain, Statistic::Last, Millis::from_secs(10)), Sample::Value(7.0));
}
