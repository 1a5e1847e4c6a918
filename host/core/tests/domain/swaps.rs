//! Versions of an engine that come and go: what a fault leads to, and what a domain goes back to.

use pilothouse_core::command::What;
use pilothouse_core::config::DomainConfig;
use pilothouse_core::cycle::{Cause, Fault, FaultKind, Reconfigured};
use pilothouse_core::engine::{Candidate, HoldReason, Origin, Reference, SwapReason, follow};
use pilothouse_core::instance::State;
use pilothouse_core::intake::Input;
use pilothouse_core::message::StateReport;
use pilothouse_core::promise::Request;
use pilothouse_core::record::{Event, Record};
use pilothouse_core::time::{Millis, Timestamp};
use serde_json::{Value, json};

use crate::memories::refuses;
use crate::support::{Bench, Native, config, engine, launch, same, verdict};

/// A version that works, and remembers which it is.
pub(crate) fn works(version: &str) -> Native<'_> {
    let remembers = move |_: &mut _, _: &[u8]| Ok(verdict(version.as_bytes()));
    Native::new(remembers).reconfiguring(|_, memory| Ok(Reconfigured::Memory(memory.to_vec()))).version(version)
}

pub(crate) fn fails(version: &str, kind: FaultKind) -> Native<'_> {
    Native::failing(kind).reconfiguring(|_, memory| Ok(Reconfigured::Memory(memory.to_vec()))).version(version)
}

/// A domain with these sections whose engine is of version 1.0.0 and has decided once.
pub(crate) fn with(sections: Value) -> Bench {
    let mut bench = Bench::new(config(sections), Timestamp::from_secs(1000));
    bench.decide(&works("1.0.0"));
    bench
}

fn asking_for(reference: &str) -> DomainConfig {
    let mut config = config(json!({}));
    config.general.engine = reference.to_owned();
    config
}

#[track_caller]
pub(crate) fn follows(bench: &mut Bench, version: &str) {
    assert!(bench.swap(&engine("native", version), SwapReason::Followed), "{version} is taken up");
}

pub(crate) fn reconfigure(bench: &mut Bench, reference: &str, name: &str, version: &str) {
    let from_revision = bench.state().config_revision;
    let what = What::Reconfigure { config: asking_for(reference), engine: engine(name, version), from_revision };
    bench.command(what).expect("taken");
}

pub(crate) fn in_force(bench: &Bench) -> &str {
    &bench.state().engine.version
}

/// Fails so often, one decision after the other. Returns the last record.
#[track_caller]
pub(crate) fn fails_times(bench: &mut Bench, times: u32, version: &str, kind: FaultKind) -> Record {
    let mut last = None;
    for _ in 0..times {
        last = bench.decide_next(&fails(version, kind)).0;
    }
    last.expect("a fault is on record")
}

pub(crate) const COUNTED: [FaultKind; 5] = [FaultKind::Trap, FaultKind::Fuel, FaultKind::Memory, FaultKind::Processor, FaultKind::Output];
pub(crate) const OTHERS: [FaultKind; 5] =
    [FaultKind::Deadline, FaultKind::Abandoned, FaultKind::Returned, FaultKind::Load, FaultKind::Crowded];

#[test]
fn the_third_fault_in_a_row_leads_back_in_its_own_record() {
    for kind in COUNTED {
        let mut bench = with(json!({}));
        follows(&mut bench, "2.0.0");
        let before = fails_times(&mut bench, 2, "2.0.0", kind);
        assert_eq!((before.events.len(), in_force(&bench)), (1, "2.0.0"));
        let last = fails_times(&mut bench, 1, "2.0.0", kind);
        let [Event::Faulted(fault), Event::Swapped(swapped)] = &last.events[..] else { panic!("{last:?}") };
        assert_eq!((fault.in_a_row, &swapped.engine), (3, &engine("native", "1.0.0")));
        assert_eq!(swapped.why, SwapReason::RolledBack { kind, faults: 3 });
        let state = bench.state();
        assert_eq!((in_force(&bench), &state.fault, state.memory.as_deref()), ("1.0.0", &None, Some(&b"1.0.0"[..])));
        let rejected = &state.lineage.as_ref().expect("something happened").rejected;
        assert_eq!(rejected.iter().map(|it| it.engine.version.as_str()).collect::<Vec<_>>(), ["2.0.0"]);
        assert!(rejected[0].why.contains(kind.name()), "the last fault is what it is told of: {rejected:?}");
        // It is asked at once, and knows why.
        assert_eq!(bench.begin().map(|cycle| cycle.cause()), Some(Cause::Swapped));
    }
}

#[test]
fn what_says_nothing_of_a_version_neither_counts_nor_begins_the_count_anew() {
    for kind in OTHERS {
        let mut bench = with(json!({}));
        follows(&mut bench, "2.0.0");
        fails_times(&mut bench, 20, "2.0.0", kind);
        assert_eq!((in_force(&bench), bench.state().held()), ("2.0.0", None), "{kind:?}");
        fails_times(&mut bench, 2, "2.0.0", FaultKind::Trap);
        fails_times(&mut bench, 2, "2.0.0", kind);
        assert_eq!(in_force(&bench), "2.0.0", "{kind:?}");
        fails_times(&mut bench, 1, "2.0.0", FaultKind::Fuel);
        assert_eq!(in_force(&bench), "1.0.0", "{kind:?}");
    }
}

#[test]
fn a_decision_begins_the_count_anew_and_the_configuration_says_how_far_it_goes() {
    let mut bench = with(json!({"general": {"roll_back_after": 2}}));
    follows(&mut bench, "2.0.0");
    for _ in 0..5 {
        fails_times(&mut bench, 1, "2.0.0", FaultKind::Trap);
        bench.decide_next(&works("2.0.0"));
    }
    assert_eq!(in_force(&bench), "2.0.0");
    fails_times(&mut bench, 2, "2.0.0", FaultKind::Trap);
    assert_eq!(in_force(&bench), "1.0.0");
}

#[test]
fn an_engine_with_nothing_to_go_back_to_is_held_and_everything_else_goes_on() {
    let sections = json!({
        "health": {"boot_timeout": 60, "really_missing_timeout": 0},
        "schedule": [{"name": "night", "time_zone": "UTC", "start": "30 1 * * *", "end": "0 2 * * *", "engine_conf": {"keep": 2}}],
    });
    let mut bench = Bench::new(config(sections), Timestamp::from_secs(1000));
    bench.decide(&Native::new(|cycle, _| {
        cycle.launch(launch("here", 2)).expect("granted");
        Ok(verdict(b"remembered"))
    }));
    let memory = bench.state().memory.clone();
    let last = fails_times(&mut bench, 3, "1.0.0", FaultKind::Memory);
    let [Event::Faulted(_), Event::Held(held)] = &last.events[..] else { panic!("{last:?}") };
    assert_eq!(held.why, HoldReason::Failed { kind: FaultKind::Memory, faults: 3 });
    assert_eq!(bench.state().held().map(|(at, held)| (*at, &held.engine)), Some((last.at, &engine("native", "1.0.0"))));
    // Nobody asks it any more, and nobody looks again and again.
    let id = bench.instances()[0].id.clone();
    bench.absorb([Input::Report(id.clone(), StateReport::new(State::Running))]);
    let (mut looks, mut asked) = (0, 0);
    let end = bench.now + Millis::from_secs(3 * 3600);
    while bench.now < end {
        assert!(bench.begin().is_none(), "it is held");
        bench.tick();
        asked += bench.requests().iter().filter(|request| matches!(request, Request::Provision(_))).count();
        let next = bench.domain.next_look(bench.now);
        assert!(next > bench.now, "the next look lies ahead");
        (bench.now, looks) = (next, looks + 1);
    }
    assert!(looks < 3 * 3600, "{looks} looks in three hours");
    assert!(asked > 10, "the other launch was asked for again, and then its end: {asked}");
    assert!(bench.instance(id.as_str()).is_unhealthy(), "nobody heard of it");
    assert_eq!((&bench.state().memory, bench.state().windows.is_empty()), (&memory, true), "kept");
    assert!(bench.state().config_revision > 1, "windows began and ended");
    // A switch of the schedule is no reason to ask it.
    assert!(bench.state().held().is_some());
    // And it can be removed.
    bench.command(What::Remove { abandon: false }).expect("taken");
    bench.tick();
    let ids: Vec<_> = bench.instances().iter().map(|it| it.id.clone()).collect();
    bench.absorb(ids.into_iter().map(|id| Input::Report(id, StateReport::new(State::Terminated))));
    assert!(bench.domain.is_empty_at_last());
}

/// One that is held after three faults.
fn held() -> Bench {
    let mut bench = with(json!({}));
    fails_times(&mut bench, 3, "1.0.0", FaultKind::Trap);
    assert!(bench.state().held().is_some());
    bench
}

#[test]
fn a_new_version_another_configuration_and_somebodys_word_each_give_it_another_chance_at_once() {
    type Lift = fn(&mut Bench);
    let ways: [(Lift, Cause, &str); 3] = [
        (|bench| follows(bench, "2.0.0"), Cause::Swapped, "2.0.0"),
        (|bench| reconfigure(bench, "native@1", "native", "1.0.0"), Cause::Configured, "1.0.0"),
        (|bench| drop(bench.command(What::Retry).expect("taken")), Cause::Asked, "1.0.0"),
    ];
    for (lift, cause, version) in ways {
        let mut bench = held();
        bench.pass(Millis::from_secs(3600));
        assert!(bench.begin().is_none());
        lift(&mut bench);
        assert_eq!(bench.state().held(), None, "{cause:?}");
        let cycle = bench.begin().expect("at once");
        assert_eq!(cycle.cause(), cause);
        bench.finish(cycle.run(&fails(version, FaultKind::Trap)));
        // Not with the first fault that comes after it.
        fails_times(&mut bench, 1, version, FaultKind::Trap);
        assert_eq!(bench.state().held(), None, "{cause:?}: its faults of before are forgiven");
        fails_times(&mut bench, 1, version, FaultKind::Trap);
        assert_ne!((bench.state().held().is_some(), in_force(&bench)), (false, version), "{cause:?}: three are three again");
    }
}

#[test]
fn a_word_for_an_engine_that_works_changes_nothing() {
    let mut bench = with(json!({}));
    let records = bench.records().count();
    bench.command(What::Retry).expect("taken");
    assert_eq!(bench.records().count(), records);
}

#[test]
fn a_word_ends_the_pause_after_faults_of_any_kind() {
    for kind in COUNTED.into_iter().chain(OTHERS) {
        let mut bench = with(json!({"general": {"roll_back_after": 200}}));
        fails_times(&mut bench, 6, "1.0.0", kind);
        bench.pass(Millis::from_secs(1));
        assert!(bench.begin().is_none(), "{kind:?}: it waits ever longer");
        let records = bench.records().count();
        bench.command(What::Retry).expect("taken");
        assert_eq!(bench.records().count(), records + 1, "{kind:?}");
        let cycle = bench.begin().expect("at once");
        assert_eq!(cycle.cause(), Cause::Asked);
        bench.finish(cycle.run(&works("1.0.0")));
        assert_eq!(bench.state().fault, None);
    }
}

#[test]
fn what_a_domain_went_back_from_is_not_taken_up_again_by_itself() {
    let mut bench = with(json!({}));
    follows(&mut bench, "2.0.0");
    fails_times(&mut bench, 3, "2.0.0", FaultKind::Trap);
    let candidates = |versions: &[&str]| -> Vec<Candidate> {
        let candidate = |version: &&str| Candidate {
            engine: engine("native", version),
            version: version.parse().expect("a version"),
            origin: Origin::Registry,
            pinned: false,
        };
        versions.iter().map(candidate).collect()
    };
    let follows = |bench: &Bench, versions: &[&str]| {
        let (state, all) = (bench.state(), candidates(versions));
        let rejected = state.lineage.as_ref().map_or(&[][..], |lineage| &lineage.rejected);
        let reference: Reference = state.config.general.engine.parse().expect("a reference");
        follow(&reference, &state.engine, rejected, &all).map(|(it, _)| it.engine.version.clone())
    };
    assert_eq!(follows(&bench, &["1.0.0", "2.0.0"]), None);
    assert_eq!(follows(&bench, &["1.0.0", "2.0.0", "2.0.1"]).as_deref(), Some("2.0.1"));
    // Until somebody says so, or asks for something else.
    let mut told = bench.domain.clone();
    let retried = told.command(command(What::Retry), bench.now).expect("taken").record.expect("it changes something");
    told.committed(bench.state().sequence + 1, &retried, bench.now);
    assert!(told.state().lineage.is_none(), "nothing is left to tell");
    reconfigure(&mut bench, "native@>=1", "native", "1.0.0");
    assert_eq!(follows(&bench, &["1.0.0", "2.0.0"]).as_deref(), Some("2.0.0"));
}

fn command(what: What) -> pilothouse_core::command::Command {
    pilothouse_core::command::Command { by: "ann".parse().expect("a name"), request: None, what }
}

#[test]
fn a_domain_never_goes_back_to_another_engine_nor_to_what_its_configuration_excludes() {
    // Another engine; the same with a reference that the one before does not fit; one component for ever.
    for (reference, name) in [("other", "other"), ("native@2", "native"), ("native@2.0.0", "native")] {
        let mut bench = with(json!({}));
        reconfigure(&mut bench, reference, name, "2.0.0");
        let mut last = None;
        for _ in 0..3 {
            last = bench.decide_next(&fails("2.0.0", FaultKind::Trap).named(name)).0;
        }
        let record = last.expect("a fault");
        assert!(matches!(&record.events[..], [Event::Faulted(_), Event::Held(_)]), "{reference}: {record:?}");
    }
    // Nor to what was there before another engine.
    let mut bench = with(json!({}));
    follows(&mut bench, "1.1.0");
    bench.decide(&works("1.1.0"));
    bench.give_to("other");
    bench.decide(&works("1.0.0").named("other"));
    reconfigure(&mut bench, "native", "native", "2.0.0");
    fails_times(&mut bench, 3, "2.0.0", FaultKind::Trap);
    assert!(bench.state().held().is_some(), "its memory is of another age");
    // And to the one before where it fits.
    let mut bench = with(json!({}));
    reconfigure(&mut bench, "native@>=1", "native", "2.0.0");
    fails_times(&mut bench, 3, "2.0.0", FaultKind::Trap);
    assert_eq!(in_force(&bench), "1.0.0");
}

#[test]
fn a_version_that_never_worked_is_nothing_to_go_back_to() {
    let mut bench = Bench::new(config(json!({})), Timestamp::from_secs(1000));
    follows(&mut bench, "2.0.0");
    fails_times(&mut bench, 3, "2.0.0", FaultKind::Trap);
    assert!(bench.state().held().is_some(), "1.0.0 never decided anything");
    // 1 works, 2 fails, 3 comes before 2 has failed often enough, and fails: back to 1.
    let mut bench = with(json!({}));
    follows(&mut bench, "2.0.0");
    fails_times(&mut bench, 2, "2.0.0", FaultKind::Trap);
    follows(&mut bench, "3.0.0");
    fails_times(&mut bench, 2, "3.0.0", FaultKind::Output);
    assert_eq!(in_force(&bench), "3.0.0", "each version has faults of its own");
    fails_times(&mut bench, 1, "3.0.0", FaultKind::Output);
    assert_eq!(in_force(&bench), "1.0.0");
}

#[test]
fn what_was_gone_back_to_is_gone_back_to_again() {
    let mut bench = with(json!({}));
    follows(&mut bench, "2.0.0");
    fails_times(&mut bench, 3, "2.0.0", FaultKind::Trap);
    // The next one comes before the first has decided again.
    follows(&mut bench, "3.0.0");
    fails_times(&mut bench, 3, "3.0.0", FaultKind::Trap);
    assert_eq!((in_force(&bench), bench.state().held()), ("1.0.0", None));
    // If that fails, too, there is nothing.
    fails_times(&mut bench, 3, "1.0.0", FaultKind::Trap);
    assert!(bench.state().held().is_some());
}

#[test]
fn a_version_that_worked_is_what_the_next_one_goes_back_to() {
    let mut bench = with(json!({}));
    for version in ["2.0.0", "3.0.0"] {
        follows(&mut bench, version);
        bench.decide_next(&works(version));
    }
    fails_times(&mut bench, 3, "3.0.0", FaultKind::Trap);
    assert_eq!(in_force(&bench), "2.0.0");
    fails_times(&mut bench, 3, "2.0.0", FaultKind::Trap);
    assert!(bench.state().held().is_some(), "one step back, and no further");
}

#[test]
fn a_new_version_is_on_record_with_its_first_decision_also_in_dry_run() {
    let mut bench = with(json!({}));
    bench.command(What::DryRun(true)).expect("taken");
    let launches = |version: &'static str| {
        let decide = |cycle: &mut pilothouse_core::cycle::Cycle, memory: &[u8]| {
            drop(cycle.launch(launch("here", 1)));
            Ok(verdict(memory))
        };
        Native::new(decide).reconfiguring(|_, memory| Ok(Reconfigured::Memory(memory.to_vec()))).version(version)
    };
    bench.decide_next(&launches("1.0.0"));
    assert_eq!(bench.decide_next(&launches("1.0.0")).0, None, "it says nothing new");
    follows(&mut bench, "2.0.0");
    assert!(bench.decide(&launches("2.0.0")).0.is_some(), "that it works is new");
    follows(&mut bench, "3.0.0");
    fails_times(&mut bench, 3, "3.0.0", FaultKind::Trap);
    assert_eq!(in_force(&bench), "2.0.0");
}

#[test]
fn a_swap_happens_between_two_decisions_and_only_where_there_is_something_to_swap() {
    let mut bench = with(json!({}));
    let (newer, now) = (engine("native", "2.0.0"), bench.now);
    let whys = || [SwapReason::Followed, SwapReason::Pinned, SwapReason::Reloaded];
    bench.pass(Millis::from_secs(300));
    let cycle = bench.begin().expect("due");
    assert!(bench.domain.is_deciding());
    for why in whys() {
        assert_eq!(bench.domain.swap(&newer, why, now), None, "while an engine decides");
    }
    bench.finish(cycle.run(&works("1.0.0")));
    for why in whys() {
        assert!(bench.domain.swap(&newer, why.clone(), now).is_some());
        assert_eq!(bench.domain.swap(&engine("native", "1.0.0"), why, now), None, "it is in force");
    }
    bench.command(What::Remove { abandon: false }).expect("taken");
    assert_eq!(bench.domain.swap(&newer, SwapReason::Followed, now), None, "the domain goes");
}

#[test]
fn a_decision_of_the_engine_before_that_comes_back_late_proves_nothing_of_the_one_in_force() {
    let mut bench = with(json!({}));
    bench.pass(Millis::from_secs(300));
    let late = bench.begin().expect("due").run(&works("1.0.0"));
    reconfigure(&mut bench, "native", "native", "2.0.0");
    let (record, _) = bench.finish(late);
    assert!(record.is_some_and(|it| matches!(&it.events[..], [Event::Decided(it)] if it.engine.version == "1.0.0")));
    let cycle = bench.begin().expect("at once");
    assert_eq!(cycle.cause(), Cause::Swapped, "the new one is told why");
    bench.finish(cycle.run(&fails("2.0.0", FaultKind::Trap)));
    // 2.0.0 has shown nothing, so the next one goes back to 1.0.0.
    follows(&mut bench, "3.0.0");
    fails_times(&mut bench, 3, "3.0.0", FaultKind::Trap);
    assert_eq!(in_force(&bench), "1.0.0");
}

#[test]
fn faults_of_an_engine_that_is_not_in_force_any_more_have_no_consequences() {
    let mut bench = with(json!({"general": {"roll_back_after": 2}}));
    bench.decide_next(&fails("1.0.0", FaultKind::Trap));
    bench.pass(Millis::from_secs(300));
    let late = bench.begin().expect("due").run(&fails("1.0.0", FaultKind::Trap));
    reconfigure(&mut bench, "native", "native", "2.0.0");
    bench.command(bench.reconfigure_to("2.0.0", json!({"general": {"roll_back_after": 2}}))).expect("taken");
    let (record, _) = bench.finish(late);
    assert_eq!(record.expect("it is on record").events.len(), 1);
    assert_eq!((bench.state().held(), in_force(&bench)), (None, "2.0.0"));
    // Nor do they count against the new one.
    fails_times(&mut bench, 1, "2.0.0", FaultKind::Trap);
    assert_eq!(in_force(&bench), "2.0.0");
    fails_times(&mut bench, 1, "2.0.0", FaultKind::Trap);
    assert_eq!(in_force(&bench), "1.0.0");
    // One that would be held is not, either.
    let mut bench = with(json!({"general": {"memory_refused": "hold"}}));
    follows(&mut bench, "2.0.0");
    let late = bench.begin().expect("due").run(&refuses("2.0.0"));
    reconfigure(&mut bench, "native", "native", "3.0.0");
    bench.finish(late);
    assert_eq!(bench.state().held(), None);
}

#[test]
fn a_restored_domain_goes_back_to_what_its_backup_says_and_a_held_one_is_held() {
    let mut bench = with(json!({}));
    follows(&mut bench, "2.0.0");
    fails_times(&mut bench, 3, "2.0.0", FaultKind::Trap);
    bench.decide(&works("1.0.0"));
    follows(&mut bench, "3.0.0");
    bench.decide(&works("3.0.0"));
    let backup = bench.state().clone();
    follows(&mut bench, "4.0.0");
    fails_times(&mut bench, 3, "4.0.0", FaultKind::Trap);
    bench.restore(backup.clone(), false);
    let (now, then) = (bench.state().lineage.clone().expect("kept"), backup.lineage.clone().expect("there"));
    assert_eq!((&now.before, &now.rejected, now.since), (&then.before, &then.rejected, 0));
    // A newer one is taken up before it has decided anything here: it worked when the backup was made.
    follows(&mut bench, "5.0.0");
    fails_times(&mut bench, 3, "5.0.0", FaultKind::Trap);
    assert_eq!(in_force(&bench), "3.0.0");
    // And what was before it is what it goes back to.
    bench.restore(backup, false);
    fails_times(&mut bench, 3, "3.0.0", FaultKind::Trap);
    assert_eq!(in_force(&bench), "1.0.0");
    let mut bench = held();
    let backup = bench.state().clone();
    bench.command(What::Retry).expect("taken");
    bench.restore(backup, false);
    bench.pass(Millis::from_secs(300));
    assert!(bench.begin().is_none() && bench.state().held().is_some());
    let now = bench.now + Millis::from_secs(1);
    let mut bench = bench.restart(now);
    assert!(bench.begin().is_none(), "nor does the next host ask it");
    bench.command(What::Retry).expect("taken");
    assert!(bench.begin().is_some());
}

#[test]
fn a_domain_that_is_added_again_knows_nothing_of_the_one_before() {
    let mut bench = held();
    bench.command(What::Remove { abandon: false }).expect("taken");
    let gone = bench.domain.removed(bench.now);
    bench.commit(gone);
    assert_eq!(bench.state().lineage, None);
    bench.command(Bench::add(config(json!({})))).expect("taken");
    assert_eq!((&bench.state().lineage, &bench.state().fault), (&None, &None));
    bench.decide(&works("1.0.0"));
}

#[test]
fn a_lineage_survives_snapshots_and_its_bytes() {
    let mut bench = with(json!({}));
    follows(&mut bench, "2.0.0");
    fails_times(&mut bench, 3, "2.0.0", FaultKind::Trap);
    follows(&mut bench, "3.0.0");
    bench.decide(&works("3.0.0"));
    fails_times(&mut bench, 2, "3.0.0", FaultKind::Trap);
    bench.snapshot();
    same(&bench.folded(), bench.state(), "from the beginning");
    // What was counted before the snapshot is counted.
    fails_times(&mut bench, 1, "3.0.0", FaultKind::Trap);
    assert_eq!(in_force(&bench), "1.0.0");
    fails_times(&mut bench, 3, "1.0.0", FaultKind::Trap);
    assert!(bench.state().held().is_some());
    same(&bench.folded(), bench.state(), "from the beginning");
    same(&bench.folded_from_snapshot().expect("a snapshot"), bench.state(), "from the snapshot");
}

#[test]
fn only_so_many_versions_are_remembered_that_a_domain_went_back_from() {
    let mut bench = with(json!({"general": {"roll_back_after": 1}}));
    for nth in 2..40 {
        let version = format!("{nth}.0.0");
        follows(&mut bench, &version);
        bench.decide(&fails(&version, FaultKind::Trap));
        bench.decide(&works("1.0.0"));
    }
    let rejected = &bench.state().lineage.as_ref().expect("there").rejected;
    assert_eq!((rejected.len(), rejected[15].engine.version.as_str()), (16, "39.0.0"), "the newest of them");
}

#[test]
fn of_the_words_of_a_version_that_was_gone_back_from_only_so_much_is_remembered() {
    let mut bench = with(json!({"general": {"roll_back_after": 1}}));
    follows(&mut bench, "2.0.0");
    bench.decide(&Native::new(|_, _| Err(Fault::new(FaultKind::Trap, "é".repeat(1500)))).version("2.0.0"));
    let why = &bench.state().lineage.as_ref().expect("there").rejected[0].why;
    assert!(why.starts_with("trap in ") && why.chars().count() == 500, "{}", why.chars().count());
}

#[test]
fn a_call_that_does_not_come_back_is_told_of_the_engine_that_was_asked() {
    let mut bench = with(json!({}));
    bench.pass(Millis::from_secs(60));
    bench.begin().expect("due");
    reconfigure(&mut bench, "native@>=1", "native", "2.0.0");
    let record = bench.domain.abandon(Fault::new(FaultKind::Abandoned, "it did not end"), bench.now).expect("a record");
    let [Event::Faulted(fault)] = &record.events[..] else { panic!("{record:?}") };
    assert_eq!(fault.engine, engine("native", "1.0.0"));
    bench.commit(record);
    assert_eq!(bench.begin().map(|cycle| cycle.cause()), Some(Cause::Swapped), "the new one is asked at once");
}

#[test]
fn a_fault_without_a_word_is_a_fault() {
    let mut bench = with(json!({}));
    let silent = Native::new(|_, _| Err(Fault::new(FaultKind::Trap, "")));
    bench.decide_next(&silent);
    assert_eq!(bench.state().fault.as_ref().map(|open| (open.in_a_row, open.counted)), Some((1, 1)));
}
