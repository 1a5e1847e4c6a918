//! What is kept for long, and what is not.

use pilothouse_core::command::What;
use pilothouse_core::instance::State;
use pilothouse_core::intake::Input;
use pilothouse_core::message::{Reading, StateReport};
use pilothouse_core::record::{Event, Record};
use pilothouse_core::sensor::{Sample, Scope, Sensors, Statistic};
use pilothouse_core::time::{Millis, Timestamp};
use serde_json::json;

use crate::support::{Bench, Native, config, instance, launch, verdict};

#[test]
fn whatever_is_to_be_kept_what_is_older_can_be_purged() {
    let mut state = Bench::new(config(json!({})), Timestamp::ZERO).state().clone();
    const HOUR: u64 = 3600;
    for hour in 1..=200 * 24 {
        let snapshot = Event::Snapshot(Box::new(state.clone()));
        // The sequence tells the hour.
        state.apply(hour, &Record::new(Timestamp::from_secs(hour * HOUR), 1, vec![snapshot]));
        assert!(state.snapshots.len() <= 64);
        for days in [7, 30, 90] {
            let kept = state.purgeable(state.now, Millis::from_secs(days * 24 * HOUR)).map(|sequence| hour - sequence);
            match kept {
                None => assert!(hour <= days * 24 + 4, "after {hour} hours nothing of {days} days"),
                Some(kept) => assert!((days * 24..=days * 24 * 3 / 2).contains(&kept), "{kept} hours of {days} days are kept"),
            }
        }
    }
}

#[test]
fn a_site_is_remembered_for_as_long_as_anything_that_was_launched_at_it() {
    let mut bench = Bench::new(config(json!({"general": {"record_reaping_max_age": 100, "max_instances": 1}})), Timestamp::from_secs(1000));
    let engine = Native::new(|cycle, memory| {
        for site in ["here", "there", "elsewhere"] {
            drop(cycle.launch(launch(site, 1)));
        }
        Ok(verdict(memory))
    });
    bench.decide(&engine);
    let sites = |bench: &Bench| bench.state().sites.keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(sites(&bench), "here", "nothing was launched at the others");
    let id = bench.instances()[0].id.clone();
    bench.absorb([Input::Report(id, StateReport::new(State::Failed))]);
    bench.command(What::Pause(true)).expect("taken");
    bench.pass(Millis::from_secs(100));
    bench.tick();
    assert_eq!(sites(&bench), "here");
    bench.pass(Millis::from_secs(100));
    bench.tick();
    assert_eq!((sites(&bench).as_str(), bench.instances().len()), ("", 0));
}

#[test]
fn readings_of_the_gone_and_of_the_unknown_are_not_kept() {
    let mut bench = Bench::with(config(json!({})), Timestamp::from_secs(10_000), [instance("a", 0, State::Running, Timestamp::ZERO)]);
    let scope = |id: &str| Scope::Instance(id.parse().expect("an id"));
    let read = |bench: &mut Bench, id: &str| {
        let reading = Reading { metric: "q".to_owned(), time: bench.now, value: 7.0 };
        bench.domain.read(scope(id), reading).expect("it is no error");
        bench.domain.sensors().sample("q", &scope(id), Statistic::Last, bench.now, Sensors::MAX_AGE)
    };
    assert_eq!(read(&mut bench, "a"), Sample::Value(7.0));
    assert_eq!(read(&mut bench, "nobody"), Sample::Absent);
    bench.absorb([Input::Report("a".parse().expect("an id"), StateReport::new(State::Failed))]);
    assert_eq!(read(&mut bench, "a"), Sample::Absent);
}
