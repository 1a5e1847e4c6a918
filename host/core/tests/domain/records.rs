//! What is kept for long, and what is not.

use pilothouse_core::command::What;
use pilothouse_core::config::MemoryRefused;
use pilothouse_core::domain::Domain;
use pilothouse_core::instance::State;
use pilothouse_core::intake::Input;
use pilothouse_core::message::{Reading, StateReport};
use pilothouse_core::name::Slot;
use pilothouse_core::record::{Event, Record, RecordError};
use pilothouse_core::seed::Seed;
use pilothouse_core::sensor::{Sample, Scope, Sensors, Statistic};
use pilothouse_core::state::DomainState;
use pilothouse_core::time::{Millis, Timestamp};
use serde_json::json;

use crate::support::{Bench, Native, config, instance, launch, same, verdict};

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

/// Records as they were written before versions of engines could be swapped, a line each. Nobody writes the like any more.
const OF_FORMAT_1: &str = include_str!("format_1.jsonl");

#[test]
fn records_of_the_format_before_are_read_and_mean_what_they_meant() {
    let records: Vec<Record> = OF_FORMAT_1.lines().map(|line| Record::from_bytes(line.as_bytes()).expect("it is read")).collect();
    assert!(records.iter().all(|record| record.v == 1) && records.len() > 10, "{}", records.len());
    let absent = DomainState::absent(Bench::absent(Timestamp::ZERO).state().key.clone(), Slot(42));
    let (mut state, mut from_snapshot) = (absent.clone(), absent);
    for (nth, record) in records.iter().enumerate() {
        state.apply(nth as u64 + 1, record);
        if from_snapshot.sequence > 0 || record.is_snapshot() {
            from_snapshot.apply(nth as u64 + 1, record);
        }
    }
    same(&state, &from_snapshot, "the fold from its snapshot");
    assert_eq!((state.counts().running, state.counts().total, state.epoch), (1, 3, 1));
    assert_eq!((state.engine.version.as_str(), state.memory.as_deref(), &state.lineage), ("1.0.0", Some(&b"kept"[..]), &None));
    // What was not said then.
    assert_eq!((state.config.general.roll_back_after, state.config.general.memory_refused), (3, MemoryRefused::Initialize));
    assert_eq!(state.fault.as_ref().map(|open| (open.in_a_row, open.counted)), Some((2, 1)), "one before the snapshot and one after it");
    // And it goes on from there.
    let later = state.now + Millis::from_secs(60);
    let took = Domain::take(&state, &"host-a".parse().expect("a name"), later);
    state.apply(100, &took);
    let mut domain = Domain::taken(state, later);
    let ran = domain.begin(later, Seed::default()).expect("due").run(&Native::idle());
    let (record, _) = domain.finish(ran, later);
    assert!(record.is_some_and(|it| it.v == 2 && it.to_bytes().starts_with(br#"{"v":2,"#)), "what is written is of the newest");
}

#[test]
fn records_of_a_later_format_are_an_error_and_no_guess() {
    let line = OF_FORMAT_1.lines().next().expect("a record");
    for later in [3, 4, 65535] {
        let text = line.replacen("\"v\":1", &format!("\"v\":{later}"), 1);
        let error = Record::from_bytes(text.as_bytes()).expect_err("nobody here knows it");
        assert!(matches!(error, RecordError::Format { found } if found == later), "{error}");
        assert_eq!(error.to_string(), format!("journal record of format {later}; this version reads up to 2: update this host"));
    }
}
