//! How often an engine is asked that takes long, or writes much, and what is told of it.

use pilothouse_core::command::What;
use pilothouse_core::cycle::{Cause, Verdict, Wake};
use pilothouse_core::domain::JOURNAL_BYTES_A_MINUTE;
use pilothouse_core::explain::Hold;
use pilothouse_core::record::Event;
use pilothouse_core::time::{Millis, Timestamp};
use serde_json::json;

use crate::support::{Bench, Native, config, verdict};

/// A domain that is decided ten times a second and has decided once, with a call that took so long.
fn after(took: Millis) -> Bench {
    let mut bench = Bench::new(config(json!({"general": {"decide_interval": 0.1}})), Timestamp::from_secs(1000));
    bench.decide(&Native::idle());
    bench.domain.called_for(took, bench.now);
    bench
}

/// After how long the next decision begins.
fn next(bench: &mut Bench) -> Millis {
    let (began, due) = (bench.now, bench.domain.due().expect("it is asked"));
    while bench.begin().is_none() {
        // What else is due is done, as a driver does it.
        bench.tick();
        bench.effects();
        let look = bench.domain.next_look(bench.now);
        assert!(bench.now < look && look <= due, "{look:?} is the next look at {:?}, and a decision is due at {due:?}", bench.now);
        bench.pass(Millis::new(1));
    }
    assert_eq!(bench.now, began.max(due));
    bench.now.since(began)
}

#[test]
fn a_call_that_takes_long_is_followed_by_as_long_a_pause_and_a_quick_one_by_the_pulse() {
    for (took, pause) in [(0, 100), (40, 100), (100, 100), (101, 101), (2900, 2900)] {
        assert_eq!(next(&mut after(Millis::new(took))), Millis::new(pause), "{took} ms");
    }
    // Whatever the engine wants.
    let mut bench = after(Millis::ZERO);
    bench.pass(Millis::from_secs(1));
    bench.decide(&Native::new(|_, memory| Ok(Verdict { wake: Some(Wake::After(Millis::new(100))), ..verdict(memory) })));
    bench.domain.called_for(Millis::from_secs(2), bench.now);
    assert_eq!(next(&mut bench), Millis::from_secs(2));
}

#[test]
fn nobody_gets_a_long_call_sooner_by_asking_and_another_engine_or_configuration_does_not_wait() {
    let mut bench = after(Millis::from_secs(3));
    bench.domain.ask(Cause::Asked, bench.now);
    assert_eq!(next(&mut bench), Millis::from_secs(3));

    let mut bench = after(Millis::from_secs(3));
    bench.command(bench.reconfigure(config(json!({"engine_conf": {"n": 2}})))).expect("taken");
    assert_eq!(next(&mut bench), Millis::ZERO);

    let mut bench = after(Millis::from_secs(3));
    bench.command(bench.reconfigure_to("2.0.0", json!({}))).expect("taken");
    assert_eq!(next(&mut bench), Millis::ZERO);
}

#[test]
fn who_has_to_wait_is_told_so_as_long_as_it_waits() {
    let mut bench = after(Millis::new(2900));
    let until = bench.now + Millis::new(2900);
    assert_eq!(bench.domain.waits(bench.now), Some(Hold::Rests { took: Millis::new(2900), until }));
    bench.pass(Millis::new(2900));
    assert_eq!(bench.domain.waits(bench.now), None);
    let bench = after(Millis::new(100));
    assert_eq!(bench.domain.waits(bench.now), None, "the pulse is as long");
    // One that is not asked at all waits for nothing.
    let mut bench = after(Millis::new(2900));
    bench.command(What::Remove { abandon: false }).expect("taken");
    assert_eq!(bench.domain.waits(bench.now), None);
}

#[test]
fn what_a_domain_decides_takes_so_much_of_the_journal_in_a_minute_and_no_more() {
    let mut bench = after(Millis::ZERO);
    let mib = 1 << 20;
    bench.domain.wrote(JOURNAL_BYTES_A_MINUTE, bench.now);
    assert_eq!(
        (bench.domain.due().map(|due| due.since(bench.now)), bench.domain.waits(bench.now)),
        (Some(Millis::new(100)), None),
        "as much at once"
    );
    bench.domain.wrote(mib, bench.now);
    let until = bench.now + Millis::new(60_000 / 8);
    assert_eq!(bench.domain.waits(bench.now), Some(Hold::WritesTooMuch { bytes_a_minute: JOURNAL_BYTES_A_MINUTE, until }));
    // Nobody is faster by asking, or by configuring.
    bench.domain.ask(Cause::Asked, bench.now);
    bench.command(bench.reconfigure(config(json!({"engine_conf": {"n": 2}})))).expect("taken");
    assert_eq!(next(&mut bench), Millis::new(60_000 / 8));
    assert_eq!(bench.domain.waits(bench.now), None);

    // One that nobody would ask before waits for nothing.
    let mut bench = after(Millis::ZERO);
    bench.pass(Millis::from_secs(1));
    bench.decide(&Native::new(|_, memory| Ok(Verdict { wake: Some(Wake::OnChange), ..verdict(memory) })));
    bench.domain.wrote(JOURNAL_BYTES_A_MINUTE + mib, bench.now);
    assert_eq!((bench.domain.due(), bench.domain.waits(bench.now)), (None, None));
    bench.domain.ask(Cause::Asked, bench.now);
    assert!(matches!(bench.domain.waits(bench.now), Some(Hold::WritesTooMuch { .. })));
    let mut bench = after(Millis::ZERO);
    bench.pass(Millis::from_secs(1));
    bench.decide(&Native::new(|_, memory| Ok(Verdict { wake: Some(Wake::After(Millis::from_secs(60))), ..verdict(memory) })));
    bench.domain.wrote(JOURNAL_BYTES_A_MINUTE + mib, bench.now);
    assert_eq!(bench.domain.waits(bench.now), None, "there is room again by then");

    // A megabyte for each decision: eight at once, and then eight a minute.
    let mut bench = after(Millis::ZERO);
    let (began, mut decisions) = (bench.now, 0);
    while bench.now.since(began) < Millis::from_secs(600) {
        if let Some(cycle) = bench.begin() {
            decisions += 1;
            bench.finish(cycle.run(&Native::idle()));
            bench.domain.wrote(mib, bench.now);
        }
        bench.pass(Millis::new(50));
    }
    assert!((87..=90).contains(&decisions), "{decisions} in ten minutes");
}

#[test]
fn a_snapshot_that_can_not_be_written_is_left_out_and_tried_again_much_later() {
    let mut bench = after(Millis::ZERO);
    let decides = |bench: &mut Bench| {
        let memory = bench.state().sequence.to_be_bytes();
        bench.pass(Millis::from_secs(1));
        bench.decide(&Native::new(|_, _| Ok(verdict(&memory))));
    };
    while bench.domain.snapshot(bench.now).is_none() {
        decides(&mut bench);
    }
    let first = bench.state().since_snapshot;
    bench.domain.snapshot_left_out();
    assert!(bench.domain.snapshot(bench.now).is_none());
    while bench.domain.snapshot(bench.now).is_none() {
        decides(&mut bench);
    }
    assert_eq!(bench.state().since_snapshot, 2 * first);
    let record = bench.domain.snapshot(bench.now).expect("due");
    assert!(matches!(&record.events[..], [Event::Snapshot(_)]));
    bench.commit(record);
    while bench.domain.snapshot(bench.now).is_none() {
        decides(&mut bench);
    }
    assert_eq!(bench.state().since_snapshot, first, "one that was written begins anew");
}
