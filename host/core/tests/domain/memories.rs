//! What an engine remembers when another version comes into force: it is handed over, and not everybody can read it.

use std::cell::RefCell;

use pilothouse_core::command::What;
use pilothouse_core::cycle::{Cause, Fault, FaultKind, Reconfigured};
use pilothouse_core::engine::{HoldReason, SwapReason};
use pilothouse_core::instance::State;
use pilothouse_core::record::{Event, Prepared};
use pilothouse_core::time::{Millis, Timestamp};
use serde_json::json;

use crate::support::{Bench, Native, config, engine, instance, verdict};
use crate::swaps::{COUNTED, OTHERS, fails_times, follows, in_force, reconfigure, with, works};

#[test]
fn the_memory_is_handed_over_and_the_new_version_knows_why_it_is_asked() {
    let mut bench = with(json!({}));
    follows(&mut bench, "2.0.0");
    let seen = RefCell::new(Vec::new());
    let takes_over = Native::new(|cycle, memory| {
        seen.borrow_mut().push(("decide", cycle.cause(), memory.to_vec()));
        Ok(verdict(memory))
    })
    .reconfiguring(|cycle, memory| {
        seen.borrow_mut().push(("reconfigure", cycle.cause(), memory.to_vec()));
        Ok(Reconfigured::Memory([memory, b", and 2"].concat()))
    })
    .initializing(|_| panic!("it begins nothing anew"))
    .version("2.0.0");
    let (record, _) = bench.decide(&takes_over);
    let expected = [("reconfigure", Cause::Swapped, b"1.0.0".to_vec()), ("decide", Cause::Swapped, b"1.0.0, and 2".to_vec())];
    assert_eq!(*seen.borrow(), expected);
    let record = record.expect("on record");
    let [Event::Decided(decision)] = &record.events[..] else { panic!("{record:?}") };
    assert_eq!((decision.prepared, &decision.engine), (Some(Prepared::Reconfigured), &engine("native", "2.0.0")));
    assert_eq!((&bench.state().memory_of, bench.state().applied_revision), (&engine("native", "2.0.0"), bench.state().config_revision));
}

/// Works, but not with the memory that it is handed.
pub(crate) fn refuses(version: &str) -> Native<'_> {
    works(version)
        .reconfiguring(|_, _| Ok(Reconfigured::MemoryRefused("it is of another age".to_owned())))
        .initializing(|cycle| Ok(format!("{} are there", cycle.state().counts().total).into_bytes()))
}

#[test]
fn a_version_that_refuses_the_memory_begins_anew_with_the_instances_that_there_are() {
    let running = [instance("a", 0, State::Running, Timestamp::ZERO), instance("b", 1, State::Running, Timestamp::ZERO)];
    let mut bench = Bench::with(config(json!({})), Timestamp::from_secs(1000), running);
    bench.decide(&works("1.0.0"));
    follows(&mut bench, "2.0.0");
    let seen = RefCell::new(Vec::new());
    let begins = Native::new(|_, memory| {
        seen.borrow_mut().push(String::from_utf8_lossy(memory).into_owned());
        Ok(verdict(memory))
    });
    let begins = begins
        .reconfiguring(|_, _| Ok(Reconfigured::MemoryRefused("it is of another age".to_owned())))
        .initializing(|cycle| Ok(format!("{} are there", cycle.state().counts().total).into_bytes()));
    let (record, _) = bench.decide(&begins.version("2.0.0"));
    assert_eq!(*seen.borrow(), ["2 are there"]);
    let record = record.expect("on record");
    assert!(matches!(&record.events[..], [Event::Decided(it)] if it.prepared == Some(Prepared::Initialized)), "{record:?}");
}

#[test]
fn a_version_that_refuses_the_memory_is_held_where_the_configuration_says_so() {
    let mut bench = with(json!({"general": {"memory_refused": "hold"}}));
    follows(&mut bench, "2.0.0");
    let record = bench.decide(&refuses("2.0.0")).0.expect("on record");
    let [Event::Faulted(fault), Event::Held(held)] = &record.events[..] else { panic!("{record:?}") };
    assert_eq!((fault.call.as_str(), fault.kind), ("reconfigure", FaultKind::Returned));
    assert_eq!(held.why, HoldReason::MemoryRefused { message: "it is of another age".to_owned() });
    assert_eq!((bench.state().memory.as_deref(), in_force(&bench)), (Some(&b"1.0.0"[..]), "2.0.0"), "the memory is kept");
    bench.pass(Millis::from_secs(3600));
    assert!(bench.begin().is_none());
    // The same once more, when somebody wants to see it.
    bench.command(What::Retry).expect("taken");
    bench.decide(&refuses("2.0.0"));
    assert!(bench.state().held().is_some());
    // The version before goes on where it was.
    assert!(bench.swap(&engine("native", "1.0.0"), SwapReason::Pinned));
    bench.decide(&works("1.0.0"));
    assert_eq!((bench.state().memory.as_deref(), bench.state().held()), (Some(&b"1.0.0"[..]), None));
    // And where the configuration says the other thing from now on, the new one begins anew.
    assert!(bench.swap(&engine("native", "2.0.0"), SwapReason::Followed));
    bench.decide(&refuses("2.0.0"));
    let from_revision = bench.state().config_revision;
    let new = What::Reconfigure { config: config(json!({})), engine: engine("native", "2.0.0"), from_revision };
    bench.command(new).expect("taken");
    bench.decide(&refuses("2.0.0"));
    assert_eq!((bench.state().memory.as_deref(), bench.state().held()), (Some(&b"2.0.0"[..]), None));
}

/// 1.0.0, gone back to, with what 2.0.0 wrote before it failed. Who can't read a memory is held.
fn gone_back() -> Bench {
    let mut bench = with(json!({"general": {"memory_refused": "hold"}}));
    follows(&mut bench, "2.0.0");
    bench.decide(&works("2.0.0"));
    fails_times(&mut bench, 3, "2.0.0", FaultKind::Trap);
    assert_eq!((in_force(&bench), bench.state().memory.as_deref()), ("1.0.0", Some(&b"2.0.0"[..])));
    bench
}

/// Fails over the memory that it is handed.
fn stumbles(version: &str, kind: FaultKind) -> Native<'_> {
    refuses(version).reconfiguring(move |_, _| Err(Fault::new(kind, "it is of another age")))
}

/// It decides, with a memory of its own, and says why.
#[track_caller]
fn begins_anew(bench: &mut Bench, engine: &Native<'_>) {
    let record = bench.decide(engine).0.expect("on record");
    let [Event::Decided(it)] = &record.events[..] else { panic!("{record:?}") };
    assert_eq!((it.prepared, bench.state().held()), (Some(Prepared::Initialized), None));
    let [line] = &it.log[..] else { panic!("{:?}", it.log) };
    assert!(line.starts_with("warn: begins anew") && line.ends_with("it is of another age"), "{line}");
    let version = engine.identity.version.as_bytes();
    assert_eq!((bench.state().memory.as_deref(), &bench.state().memory_of), (Some(version), &engine.identity));
}

#[test]
fn a_version_that_is_gone_back_to_is_not_stopped_by_what_the_newer_one_wrote() {
    // It says that it can't read that, or fails over it.
    let ways = [None].into_iter().chain(COUNTED.map(Some));
    for kind in ways {
        let stops = || kind.map_or_else(|| refuses("1.0.0"), |kind| stumbles("1.0.0", kind));
        let mut bench = gone_back();
        begins_anew(&mut bench, &stops());
        // With a memory of its own again, it is held as before.
        bench
            .command(bench.reconfigure_to("1.0.0", json!({"general": {"memory_refused": "hold"}, "engine_conf": {"n": 2}})))
            .expect("taken");
        let record = bench.decide(&stops()).0.expect("on record");
        assert!(matches!(&record.events[0], Event::Faulted(_)), "{kind:?}: {record:?}");
        assert_eq!(bench.state().held().is_some(), kind.is_none());
        // Also when somebody has given the newer one another chance meanwhile.
        let mut bench = gone_back();
        bench.command(What::Retry).expect("taken");
        begins_anew(&mut bench, &stops());
    }
    // What tells of the host, or is meant, leaves the memory alone, and it is asked again.
    for kind in OTHERS {
        let mut bench = gone_back();
        let record = bench.decide(&stumbles("1.0.0", kind)).0.expect("on record");
        assert!(matches!(&record.events[..], [Event::Faulted(_)]), "{kind:?}: {record:?}");
        assert_eq!((bench.state().memory.as_deref(), bench.state().held()), (Some(&b"2.0.0"[..]), None));
    }
    // One that only does not take the configuration goes on with the memory.
    let mut bench = gone_back();
    let handed = RefCell::new(Vec::new());
    let takes_not = Native::new(|_, memory| {
        handed.borrow_mut().extend_from_slice(memory);
        Ok(verdict(memory))
    });
    let record = bench.decide(&takes_not.reconfiguring(|_, _| Ok(Reconfigured::Refused(Vec::new())))).0.expect("on record");
    assert!(matches!(&record.events[..], [Event::Decided(it)] if it.prepared == Some(Prepared::Refused)), "{record:?}");
    assert_eq!(*handed.borrow(), b"2.0.0");
}

#[test]
fn nor_is_one_that_somebody_goes_back_to() {
    type GoesBack = fn(&mut Bench);
    let pins: GoesBack = |bench| assert!(bench.swap(&engine("native", "1.0.0"), SwapReason::Pinned));
    let asks: GoesBack = |bench| {
        let what = bench.reconfigure_to("1.0.0", json!({"general": {"memory_refused": "hold"}}));
        bench.command(what).expect("taken");
    };
    for goes_back in [pins, asks] {
        for stops in [refuses("1.0.0"), stumbles("1.0.0", FaultKind::Trap)] {
            let mut bench = with(json!({"general": {"memory_refused": "hold"}}));
            follows(&mut bench, "2.0.0");
            bench.decide(&works("2.0.0"));
            goes_back(&mut bench);
            begins_anew(&mut bench, &stops);
            // What is newer is held, as it was before.
            follows(&mut bench, "2.0.0");
            bench.decide(&refuses("2.0.0"));
            assert!(bench.state().held().is_some());
        }
    }
    // 1.0.0 was pinned and failed: what is gone back to is the newer one.
    let mut bench = Bench::new(config(json!({"general": {"memory_refused": "hold"}})), Timestamp::from_secs(1000));
    follows(&mut bench, "2.0.0");
    bench.decide(&works("2.0.0"));
    assert!(bench.swap(&engine("native", "1.0.0"), SwapReason::Pinned));
    bench.decide(&works("1.0.0"));
    fails_times(&mut bench, 3, "1.0.0", FaultKind::Trap);
    assert_eq!((in_force(&bench), bench.state().memory.as_deref()), ("2.0.0", Some(&b"1.0.0"[..])));
    begins_anew(&mut bench, &refuses("2.0.0"));
}

#[test]
fn what_is_taken_up_after_a_roll_back_is_new_and_held_as_the_configuration_says() {
    let mut bench = gone_back();
    follows(&mut bench, "3.0.0");
    let record = bench.decide(&stumbles("3.0.0", FaultKind::Trap)).0.expect("on record");
    assert!(matches!(&record.events[..], [Event::Faulted(_)]), "{record:?}");
    bench.pass(Millis::from_secs(300));
    let record = bench.decide(&refuses("3.0.0")).0.expect("on record");
    assert!(matches!(&record.events[..], [Event::Faulted(_), Event::Held(_)]), "{record:?}");
    assert_eq!(bench.state().memory.as_deref(), Some(&b"2.0.0"[..]), "it is kept");
    // Nor does a restore make it one that was gone back to.
    let backup = bench.state().clone();
    bench.restore(backup, false);
    bench.command(What::Retry).expect("taken");
    bench.decide(&refuses("3.0.0"));
    assert!(bench.state().held().is_some());
}

#[test]
fn an_engine_of_another_name_adopts_the_instances_that_there_are() {
    let mut bench = Bench::with(config(json!({})), Timestamp::from_secs(1000), [instance("a", 0, State::Running, Timestamp::ZERO)]);
    bench.decide(&works("1.0.0"));
    reconfigure(&mut bench, "other", "other", "1.0.0");
    let adopts = Native::new(|_, memory| Ok(verdict(memory)))
        .initializing(|cycle| Ok(format!("adopted {}", cycle.state().counts().running).into_bytes()))
        .reconfiguring(|_, _| panic!("it can't read the memory of another engine"))
        .named("other");
    let cycle = bench.begin().expect("at once");
    assert_eq!(cycle.cause(), Cause::Swapped);
    bench.finish(cycle.run(&adopts));
    assert_eq!((bench.state().memory.as_deref(), bench.instances().len()), (Some(&b"adopted 1"[..]), 1));
    assert_eq!(bench.state().memory_of.name, "other");
}
