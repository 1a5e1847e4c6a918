//! Another version runs beside: it sees the same, nothing of what it asks for is carried out, and how it compares is told.

use std::cell::RefCell;

use pilothouse_core::command::{ApiError, Command, What};
use pilothouse_core::cycle::{Cause, Cycle, Fault, FaultKind, Reconfigured, Status, Verdict};
use pilothouse_core::domain::Domain;
use pilothouse_core::engine::{Compared, Shadow, SwapReason, Tally, Where};
use pilothouse_core::explain::rolled_back;
use pilothouse_core::instance::{Health, State};
use pilothouse_core::intake::Input;
use pilothouse_core::message::{Heartbeat, Verdict as Beat};
use pilothouse_core::record::{Event, Record};
use pilothouse_core::seed::Seed;
use pilothouse_core::time::{Millis, Timestamp};
use serde_json::json;

use crate::support::{Bench, Native, config, engine, instance, launch, same, verdict};

fn shadow(version: &str, since: Timestamp, promote_after: Option<Millis>) -> Shadow {
    let by = "ann".parse().expect("a name");
    let (engine, reference) = (engine("native", version), format!("native@{version}"));
    Shadow { engine, reference, by, since, promote_after, tally: Tally::default() }
}

fn runs_beside(bench: &mut Bench, version: &str, promote_after: Option<Millis>) {
    let shadow = shadow(version, bench.now, promote_after);
    bench.command(What::Shadow(Some(shadow))).expect("taken");
}

/// A domain beside whose engine another version runs from the beginning.
fn beside() -> Bench {
    let mut bench = Bench::new(config(json!({})), Timestamp::from_secs(1000));
    runs_beside(&mut bench, "2.0.0", None);
    bench
}

fn pass(bench: &mut Bench, secs: u64) {
    bench.pass(Millis::from_secs(secs));
}

/// Asks for so many launches, and remembers how often it was called.
fn counts(version: &str, launches: u32) -> Native<'_> {
    Native::new(move |cycle, memory| counted(cycle, memory, launches))
        .reconfiguring(|_, memory| Ok(Reconfigured::Memory(memory.to_vec())))
        .version(version)
}

fn counted(cycle: &mut Cycle, memory: &[u8], launches: u32) -> Result<Verdict, Fault> {
    let reason = format!("called {} times before", memory.len());
    if launches > 0 {
        // Refused or not.
        drop(cycle.launch(launch("here", launches)));
    }
    Ok(Verdict { reason, ..verdict(&[memory, b"x"].concat()) })
}

fn compared(record: &Record) -> Option<&Compared> {
    record.events.iter().find_map(|event| if let Event::Compared(compared) = event { Some(&**compared) } else { None })
}

fn tally(bench: &Bench) -> (u64, u64, u64) {
    let tally = bench.domain.shadowing().expect("a shadow").tally();
    (tally.compared, tally.differed, tally.failed)
}

/// What a shadow is told that it remembers, decision by decision.
fn remembered(bench: &mut Bench, launches: &[(u32, u32)]) -> Vec<usize> {
    let lengths = RefCell::new(Vec::new());
    for (here, there) in launches {
        let there = Native::new(|cycle, memory| {
            lengths.borrow_mut().push(memory.len());
            counted(cycle, memory, *there)
        });
        let there = there.reconfiguring(|_, memory| Ok(Reconfigured::Memory(memory.to_vec()))).version("2.0.0");
        bench.decide_beside(&counts("1.0.0", *here), &there);
        pass(bench, 300);
    }
    lengths.into_inner()
}

#[test]
fn who_asks_for_the_same_differs_in_nothing_and_remembers() {
    let mut bench = beside();
    assert_eq!(remembered(&mut bench, &[(0, 0), (1, 1), (0, 0), (2, 2)]), [0, 1, 2, 3]);
    assert_eq!(tally(&bench), (4, 0, 0));
    assert_eq!(bench.instances().len(), 3, "launched once");
    assert!(bench.records().all(|(_, record)| compared(record).is_none_or(|it| it.requested.is_none() && it.tally.last.is_none())));
}

#[test]
fn who_asks_for_something_else_is_counted_each_time_told_once_and_forgets() {
    let mut bench = beside();
    let (first, told) = bench.decide_beside(&counts("1.0.0", 0), &counts("2.0.0", 2));
    let (based_on, told) = (first.expect("on record"), told.expect("new"));
    let Event::Decided(decision) = &based_on.events[0] else { panic!("{based_on:?}") };
    let it = compared(&told).expect("a comparison");
    assert_eq!((it.based_on, &it.engine), (decision.based_on, &engine("native", "2.0.0")));
    let requested = it.requested.as_ref().expect("what it asked for");
    assert_eq!(requested.launches.iter().map(|it| (it.site.as_str(), it.count)).collect::<Vec<_>>(), [("here", 2)]);
    let last = it.tally.last.as_ref().expect("a difference");
    assert_eq!((&last.places[..], last.words.as_str()), (&[Where::Launches][..], "it would launch 2, the engine in force 0"));
    // The same again, and again.
    for _ in 0..3 {
        pass(&mut bench, 60);
        assert_eq!(bench.decide_beside(&counts("1.0.0", 0), &counts("2.0.0", 2)).1, None);
    }
    assert_eq!(tally(&bench), (4, 4, 0));
    assert_eq!(bench.state().shadow().expect("there").tally.differed, 1, "as far as that is on record");
    // Another one is told, and what was counted with it.
    pass(&mut bench, 60);
    let (_, told) = bench.decide_beside(&counts("1.0.0", 0), &counts("2.0.0", 3));
    assert_eq!(compared(&told.expect("new")).map(|it| it.tally.differed), Some(5));
    assert_eq!(bench.state().shadow().expect("there").tally.differed, 5);
    assert_eq!(bench.instances().len(), 0, "nothing of it was carried out");
    // It remembers none of these calls.
    assert_eq!(remembered(&mut beside(), &[(0, 1), (0, 1), (0, 0), (1, 2), (0, 0)]), [0, 0, 0, 1, 1]);
}

#[test]
fn what_is_not_carried_out_is_not_remembered() {
    // In dry run.
    let mut bench = beside();
    bench.command(What::DryRun(true)).expect("taken");
    assert_eq!(remembered(&mut bench, &[(1, 1), (1, 1), (0, 0), (1, 1)]), [0, 0, 0, 1]);
    assert_eq!(tally(&bench), (4, 0, 0));
    // What was taken back, because somebody paused the domain meanwhile.
    let mut bench = beside();
    let lengths = RefCell::new(Vec::new());
    let there = || {
        let decide = |cycle: &mut Cycle, memory: &[u8]| {
            lengths.borrow_mut().push(memory.len());
            counted(cycle, memory, 1)
        };
        Native::new(decide).reconfiguring(|_, memory| Ok(Reconfigured::Memory(memory.to_vec()))).version("2.0.0")
    };
    let cycle = bench.begin().expect("due");
    let twin = bench.domain.shadow_cycle(&cycle).expect("a shadow");
    let (ran, wanted) = (cycle.run(&counts("1.0.0", 1)), twin.run(&there()));
    bench.command(What::Pause(true)).expect("taken");
    let finished = bench.finish(ran).1;
    assert!(finished.taken_back);
    bench.compare(wanted, &finished.said.expect("said"), false);
    assert_eq!(tally(&bench), (1, 0, 0), "it wanted the same");
    bench.command(What::Pause(false)).expect("taken");
    pass(&mut bench, 300);
    bench.decide_beside(&counts("1.0.0", 1), &there());
    pass(&mut bench, 300);
    bench.decide_beside(&counts("1.0.0", 1), &there());
    assert_eq!(*lengths.borrow(), [0, 0, 1]);
    assert_eq!(bench.state().memory.as_deref(), Some(&b"xx"[..]), "as the engine in force remembers");
}

#[test]
fn an_end_that_no_longer_holds_when_it_is_committed_is_remembered_by_both() {
    let ill = [("a", Health::MonitorError), ("b", Health::Ok)].into_iter().enumerate();
    let ill = ill.map(|(nth, (id, health))| pilothouse_core::instance::Instance {
        health,
        ..instance(id, nth as u64, State::Running, Timestamp::ZERO)
    });
    let mut bench = Bench::with(config(json!({})), Timestamp::from_secs(1000), ill);
    runs_beside(&mut bench, "2.0.0", None);
    let ends = |version: &'static str| {
        let decide = move |cycle: &mut Cycle, memory: &[u8]| {
            // Each in its own words.
            drop(cycle.destroy(&["a".to_owned()], format!("{version} finds it ill")));
            Ok(verdict(&[memory, b"x"].concat()))
        };
        Native::new(decide).version(version)
    };
    let cycle = bench.begin().expect("due");
    let twin = bench.domain.shadow_cycle(&cycle).expect("a shadow");
    let (ran, wanted) = (cycle.run(&ends("1.0.0")), twin.run(&ends("2.0.0")));
    bench.absorb([Input::Heartbeat("a".parse().expect("an id"), Heartbeat { verdict: Beat::Ok })]);
    let finished = bench.finish(ran).1;
    let decided = finished.said.expect("said");
    assert_eq!((decided.terminations[0].dropped.len(), finished.taken_back), (1, false));
    assert_eq!(bench.state().memory.as_deref(), Some(&b"x"[..]));
    bench.compare(wanted, &decided, true);
    assert_eq!(tally(&bench), (1, 0, 0));
    pass(&mut bench, 300);
    assert_eq!(remembered(&mut bench, &[(0, 0)]), [1]);
}

/// What an engine does, and what it says of the domain.
type Wants = fn(&mut Cycle) -> Status;

#[test]
fn differences_are_told_by_what_they_are_about() {
    let running = [instance("a", 0, State::Running, Timestamp::ZERO), instance("b", 1, State::Running, Timestamp::ZERO)];
    let wants =
        |decide: fn(&mut Cycle) -> Status| Native::new(move |cycle, memory| Ok(Verdict { status: decide(cycle), ..verdict(memory) }));
    let end = |cycle: &mut Cycle, id: &str| drop(cycle.destroy(&[id.to_owned()], "so it is".to_owned()));
    let ends_a: Wants = |cycle| {
        drop(cycle.destroy(&["a".to_owned()], "so it is".to_owned()));
        Status::Stable
    };
    let cases: [(Wants, &[Where], &str); 5] = [
        (|_| Status::Stable, &[Where::Terminations], "it would end 0, the engine in force 1"),
        (
            |cycle| {
                drop(cycle.destroy(&["b".to_owned()], "so it is".to_owned()));
                Status::Stable
            },
            &[Where::Terminations],
            "it would end 1 others, the engine in force 1",
        ),
        (
            |cycle| {
                drop(cycle.destroy(&["a".to_owned()], "in other words".to_owned()));
                Status::Failed
            },
            &[Where::Status],
            "it calls the domain failed, the engine in force stable",
        ),
        (
            |cycle| {
                drop(cycle.launch(launch("there", 3)));
                drop(cycle.destroy(&["a".to_owned()], "so it is".to_owned()));
                Status::Pending
            },
            &[Where::Launches, Where::Status],
            "it would launch 3, the engine in force 0; it calls the domain pending, the engine in force stable",
        ),
        (
            |cycle| {
                // In two requests, or named twice.
                for id in ["a", "a"] {
                    drop(cycle.destroy(&[id.to_owned()], "so it is".to_owned()));
                }
                Status::Stable
            },
            &[],
            "",
        ),
    ];
    for (shadows, places, words) in cases {
        // Whatever the guards say to it.
        for paused in [false, true] {
            let mut bench = Bench::with(config(json!({})), Timestamp::from_secs(1000), running.clone());
            bench.command(What::Pause(paused)).expect("taken");
            runs_beside(&mut bench, "2.0.0", None);
            bench.decide_beside(&wants(ends_a), &wants(shadows).version("2.0.0"));
            let last = bench.domain.shadowing().expect("a shadow").tally().last.clone();
            let last = last.map(|last| (last.places, last.words)).unwrap_or_default();
            assert_eq!((&last.0[..], last.1.as_str()), (places, words), "paused: {paused}");
        }
    }
    // Launches of another kind.
    let mut bench = Bench::with(config(json!({})), Timestamp::from_secs(1000), running);
    runs_beside(&mut bench, "2.0.0", None);
    let launches = |site: &'static str| {
        Native::new(move |cycle, memory| {
            drop(cycle.launch(launch(site, 2)));
            end(cycle, "a");
            Ok(verdict(memory))
        })
    };
    let (_, told) = bench.decide_beside(&launches("here"), &launches("there").version("2.0.0"));
    let words = compared(&told.expect("new")).and_then(|it| it.tally.last.clone()).expect("a difference").words;
    assert_eq!(words, "it would launch 2 of another kind, the engine in force 2");
}

#[test]
fn a_shadow_that_fails_is_counted_and_harms_nobody() {
    let mut bench = beside();
    bench.decide_beside(&counts("1.0.0", 0), &counts("2.0.0", 0));
    let fails = Native::new(|_, _| Err(Fault::new(FaultKind::Trap, "é".repeat(5000)))).version("2.0.0");
    for nth in 1..=10 {
        pass(&mut bench, 10);
        let (_, told) = bench.decide_beside(&counts("1.0.0", 0), &fails);
        assert_eq!(told.is_some(), nth == 1, "told once");
        // After the third it is asked ever less often: for the fifth time, and for the ninth.
        let asked = [1, 2, 3, 3, 4, 4, 4, 4, 5, 5][nth - 1];
        assert_eq!(tally(&bench).2, asked, "{nth}");
        let last = bench.domain.shadowing().expect("there").tally().last.clone().expect("a difference");
        assert_eq!(last.places, [Where::Failed]);
        assert!(last.words.starts_with("decide failed: trap: é") && last.words.len() < 2000, "{}", last.words.len());
    }
    assert_eq!(tally(&bench), (1, 0, 5));
    assert_eq!((&bench.state().fault, bench.state().held(), bench.state().engine.version.as_str()), (&None, None, "1.0.0"));
    // Nor does one that never came back.
    let now = bench.now;
    let told = bench.domain.shadow_failed("x".repeat(5000), now).expect("another one");
    assert!(compared(&told).and_then(|it| it.tally.last.as_ref()).expect("a difference").words.len() <= 500);
    bench.commit(told);
    assert_eq!(tally(&bench), (1, 0, 6));
    // It goes on with what it remembered, once it is asked again; and then every time.
    pass(&mut bench, 10);
    assert_eq!(remembered(&mut bench, &[(0, 0); 18]), [1, 2, 3]);
}

/// So long without a difference, and it comes into force.
const QUIET: u64 = 600;

fn promising(reference: &str) -> Bench {
    let mut config = config(json!({"general": {"decide_interval": 1}}));
    config.general.engine = reference.to_owned();
    let mut bench = Bench::new(config, Timestamp::from_secs(1000));
    runs_beside(&mut bench, "2.0.0", Some(Millis::from_secs(QUIET)));
    bench
}

fn decide_beside(bench: &mut Bench, there: u32) -> Option<Record> {
    bench.decide_beside(&counts("1.0.0", 0), &counts("2.0.0", there)).1
}

fn is_promoted(bench: &Bench) -> bool {
    bench.state().engine.version == "2.0.0"
}

#[test]
fn a_shadow_that_wants_the_same_for_long_enough_comes_into_force_at_that_moment() {
    let mut bench = promising("native");
    let began = bench.now;
    decide_beside(&mut bench, 0);
    bench.now = began + Millis::from_secs(QUIET) - Millis::new(1);
    decide_beside(&mut bench, 0);
    assert!(!is_promoted(&bench), "a millisecond early");
    pass(&mut bench, 1);
    bench.now = began + Millis::from_secs(QUIET) + Millis::from_secs(1);
    let record = decide_beside(&mut bench, 0).expect("a swap");
    let [Event::Compared(compared), Event::Swapped(swapped)] = &record.events[..] else { panic!("{record:?}") };
    assert_eq!((compared.tally.compared, compared.tally.differed), (3, 0), "what it has shown is on record");
    let by = "ann".parse().expect("a name");
    assert_eq!(swapped.why, SwapReason::Promoted { quiet: Millis::from_secs(QUIET + 1), by });
    assert_eq!((&swapped.reference, bench.state().config.general.engine.as_str()), (&None, "native"));
    assert!(is_promoted(&bench) && bench.state().shadow().is_none() && bench.domain.shadowing().is_none());
    // It takes over the memory of the one before, and if it fails the domain goes back.
    bench.decide(&counts("2.0.0", 0));
    for _ in 0..3 {
        bench.decide_next(&Native::trapping().version("2.0.0"));
    }
    assert_eq!(bench.state().engine.version, "1.0.0");
    // At the very moment.
    let mut bench = promising("native");
    let began = bench.now;
    decide_beside(&mut bench, 0);
    bench.now = began + Millis::from_secs(QUIET);
    decide_beside(&mut bench, 0);
    assert!(is_promoted(&bench));
}

#[test]
fn a_difference_or_a_failure_begins_the_quiet_time_anew() {
    for failing in [false, true] {
        let mut bench = promising("native");
        for _ in 0..5 {
            decide_beside(&mut bench, 0);
            pass(&mut bench, QUIET - 1);
            if failing {
                bench.decide_beside(&counts("1.0.0", 0), &Native::trapping().version("2.0.0"));
            } else {
                decide_beside(&mut bench, 1);
            }
            pass(&mut bench, 1);
        }
        assert!(!is_promoted(&bench));
        // From the first decision on in which it wants the same again, and not from the last in which it did not.
        pass(&mut bench, 10 * QUIET);
        decide_beside(&mut bench, 0);
        assert!(!is_promoted(&bench));
        pass(&mut bench, QUIET - 1);
        decide_beside(&mut bench, 0);
        assert!(!is_promoted(&bench));
        pass(&mut bench, 1);
        decide_beside(&mut bench, 0);
        assert!(is_promoted(&bench), "failing: {failing}");
    }
}

#[test]
fn a_shadow_that_was_never_compared_does_not_come_into_force() {
    let mut bench = promising("native");
    let fails = || Native::trapping().version("2.0.0");
    // The time in which nobody was asked is not one in which it wanted the same.
    pass(&mut bench, 10 * QUIET);
    bench.decide_beside(&counts("1.0.0", 0), &fails());
    pass(&mut bench, 10 * QUIET);
    bench.decide_beside(&counts("1.0.0", 0), &fails());
    assert!(!is_promoted(&bench));
    pass(&mut bench, 10 * QUIET);
    decide_beside(&mut bench, 0);
    assert!(!is_promoted(&bench), "once is not for so long");
    pass(&mut bench, QUIET);
    decide_beside(&mut bench, 0);
    assert!(is_promoted(&bench));
    // Nor one of which nobody said that it should.
    let mut bench = beside();
    for _ in 0..3 {
        pass(&mut bench, 1_000_000);
        decide_beside(&mut bench, 0);
    }
    assert!(!is_promoted(&bench));
}

#[test]
fn what_the_configuration_asks_for_follows_a_shadow_that_does_not_fit() {
    let mut bench = promising("native@1");
    decide_beside(&mut bench, 0);
    pass(&mut bench, QUIET);
    let record = decide_beside(&mut bench, 0).expect("a swap");
    let Some(Event::Swapped(swapped)) = record.events.last() else { panic!("{record:?}") };
    assert_eq!(swapped.reference.as_deref(), Some("native@2.0.0"));
    assert_eq!(bench.state().config.general.engine, "native@2.0.0");
    // Nobody but the promotion wanted another one than before: it is gone back to, and what was asked for with it.
    bench.decide(&counts("2.0.0", 0));
    let mut goes_back = bench.domain.clone();
    for _ in 0..3 {
        bench.decide_next(&Native::trapping().version("2.0.0"));
    }
    let (state, asked_for) = (bench.state(), &bench.state().config.general.engine);
    assert_eq!((state.held(), state.engine.version.as_str(), asked_for.as_str()), (None, "1.0.0", "native@1"));
    assert_eq!(rolled_back(state).map(|it| it.engine.version.as_str()), Some("2.0.0"), "people are told");
    same(&bench.folded(), bench.state(), "from the bytes of the records");
    // Unless a person asks for something since.
    let (mut config, from_revision) = (goes_back.state().config.clone(), goes_back.state().config_revision);
    config.general.engine = "native@2".to_owned();
    let what = What::Reconfigure { config, engine: engine("native", "2.0.0"), from_revision };
    let command = Command { by: "ann".parse().expect("a name"), request: None, what };
    let (mut now, mut sequence) = (bench.now, goes_back.state().sequence);
    let mut commit = |domain: &mut Domain, record: Record, now| {
        sequence += 1;
        domain.committed(sequence, &record, now);
    };
    let record = goes_back.command(command, now).expect("taken").record.expect("it changes something");
    commit(&mut goes_back, record, now);
    for _ in 0..3 {
        now = now + Millis::from_secs(3600);
        let cycle = goes_back.begin(now, Seed::default()).expect("due");
        let record = goes_back.finish(cycle.run(&Native::trapping().version("2.0.0")), now).0.expect("a fault");
        commit(&mut goes_back, record, now);
    }
    assert!(goes_back.state().held().is_some());
}

/// 2.0.0 was promoted, which what was asked for does not fit, and has decided nothing yet.
fn promoted() -> Bench {
    let mut bench = promising("native@1");
    decide_beside(&mut bench, 0);
    pass(&mut bench, QUIET);
    decide_beside(&mut bench, 0);
    assert!(is_promoted(&bench));
    bench
}

/// Fails so often, and the last fault has its consequences.
fn traps(bench: &mut Bench, times: u32, version: &str) {
    for _ in 0..times {
        bench.decide_next(&Native::trapping().version(version));
    }
}

#[test]
fn what_is_taken_up_for_a_promoted_version_that_never_decided_goes_back_to_what_that_one_would() {
    type Mends = fn(&mut Bench);
    let follows: Mends = |bench| assert!(bench.swap(&engine("native", "2.0.1"), SwapReason::Followed));
    let reconfigures: Mends = |bench| {
        let (mut config, from_revision) = (bench.state().config.clone(), bench.state().config_revision);
        config.engine_conf.insert("mended".to_owned(), json!(true));
        bench.command(What::Reconfigure { config, engine: engine("native", "2.0.1"), from_revision }).expect("taken");
    };
    for mends in [follows, reconfigures] {
        let mut bench = promoted();
        traps(&mut bench, 2, "2.0.0");
        mends(&mut bench);
        traps(&mut bench, 3, "2.0.1");
        let state = bench.state();
        assert_eq!((state.held(), state.engine.version.as_str()), (None, "1.0.0"));
        assert_eq!(state.config.general.engine, "native@1");
        same(&bench.folded(), bench.state(), "from the bytes of the records");
        // One that decided is what there is to go back to, and what was asked for before it is forgotten.
        let mut bench = promoted();
        bench.decide(&counts("2.0.0", 0));
        mends(&mut bench);
        traps(&mut bench, 3, "2.0.1");
        assert_eq!((bench.state().engine.version.as_str(), bench.state().config.general.engine.as_str()), ("2.0.0", "native@2.0.0"));
        traps(&mut bench, 3, "2.0.0");
        assert!(bench.state().held().is_some());
    }
}

#[test]
fn a_shadow_that_flaps_is_told_once_a_minute_and_counted_every_time() {
    let mut bench = beside();
    let mut told = Vec::new();
    for nth in 0..180_u32 {
        // Every second in other words; now and then something of another kind.
        let fails = Native::failing(FaultKind::Trap).version("2.0.0");
        let (_, record) = if nth % 90 == 45 {
            bench.decide_beside(&counts("1.0.0", 0), &fails)
        } else {
            bench.decide_beside(&counts("1.0.0", 0), &counts("2.0.0", 1 + nth % 7))
        };
        told.extend(record.map(|_| nth));
        pass(&mut bench, 1);
        if bench.state().pace() > Millis::from_secs(1) {
            bench.pass(bench.state().pace());
        }
    }
    let pause = bench.state().pace().get() / 1000 + 1;
    let most = 180 * pause / 60 + 4;
    assert!(!told.is_empty() && told.len() as u64 <= most && told.contains(&45), "{told:?} of at most {most}");
    assert_eq!(tally(&bench).1 + tally(&bench).2, 180, "all are counted");
}

#[test]
fn a_shadow_that_takes_long_is_left_alone_as_long() {
    let mut bench = beside();
    bench.decide_beside(&counts("1.0.0", 0), &counts("2.0.0", 0));
    bench.domain.shadow_called_for(Millis::from_secs(20), bench.now);
    for (length, asked) in [(19, 1), (1, 2), (10, 3)] {
        pass(&mut bench, length);
        bench.domain.ask(Cause::Asked, bench.now);
        bench.decide_beside(&counts("1.0.0", 0), &counts("2.0.0", 0));
        assert_eq!(tally(&bench).0, asked, "after {length} s more");
    }
}

#[test]
fn the_next_host_begins_anew_with_what_is_on_record() {
    let mut bench = promising("native");
    decide_beside(&mut bench, 0);
    pass(&mut bench, 60);
    decide_beside(&mut bench, 1);
    pass(&mut bench, 60);
    decide_beside(&mut bench, 0);
    assert_eq!(tally(&bench), (3, 1, 0));
    let now = bench.now + Millis::from_secs(1);
    let mut bench = bench.restart(now);
    assert_eq!(tally(&bench), (2, 1, 0), "what was not on record is lost");
    // It remembers nothing, and it was quiet only from now on.
    let initialized = RefCell::new(0);
    let begins = Native::new(|_, memory| Ok(verdict(memory)))
        .initializing(|_| {
            *initialized.borrow_mut() += 1;
            Ok(Vec::new())
        })
        .version("2.0.0");
    pass(&mut bench, QUIET);
    bench.decide_beside(&counts("1.0.0", 0), &begins);
    assert_eq!((*initialized.borrow(), is_promoted(&bench)), (1, false));
    pass(&mut bench, QUIET);
    bench.decide_beside(&counts("1.0.0", 0), &begins);
    assert_eq!((*initialized.borrow(), is_promoted(&bench)), (1, true));
}

#[test]
fn what_was_counted_is_on_record_every_ten_minutes() {
    let mut bench = beside();
    let mut on_record = 0;
    for _ in 0..60 {
        pass(&mut bench, 60);
        on_record += u32::from(decide_beside(&mut bench, 0).is_some());
    }
    assert_eq!(on_record, 6, "in an hour");
    assert_eq!(bench.state().shadow().expect("there").tally.compared, 60);
}

#[test]
fn a_newer_version_waits_while_another_runs_beside_and_an_operators_word_does_not() {
    let mut bench = beside();
    assert!(!bench.swap(&engine("native", "3.0.0"), SwapReason::Followed));
    assert!(bench.swap(&engine("native", "1.1.0"), SwapReason::Pinned));
    assert!(bench.state().shadow().is_some(), "it is compared with that one from now on");
    assert!(bench.swap(&engine("native", "2.0.0"), SwapReason::Pinned));
    assert!(bench.state().shadow().is_none(), "nothing runs beside itself");
    assert!(bench.swap(&engine("native", "3.0.0"), SwapReason::Followed));
}

#[test]
fn a_shadow_of_an_engine_that_was_swapped_meanwhile_is_not_compared() {
    let mut bench = beside();
    let cycle = bench.begin().expect("due");
    let twin = bench.domain.shadow_cycle(&cycle).expect("a shadow");
    let (ran, wanted) = (cycle.run(&counts("1.0.0", 0)), twin.run(&counts("2.0.0", 5)));
    let decided = bench.finish(ran).1.said.expect("said");
    assert!(bench.swap(&engine("native", "1.1.0"), SwapReason::Pinned));
    assert_eq!(bench.compare(wanted, &decided, true), None);
    assert_eq!(tally(&bench), (0, 0, 0));
    // And it brings nothing into force, however long it was quiet before.
    let mut bench = promising("native");
    decide_beside(&mut bench, 0);
    pass(&mut bench, QUIET);
    let cycle = bench.begin().expect("due");
    let twin = bench.domain.shadow_cycle(&cycle).expect("a shadow");
    let (ran, wanted) = (cycle.run(&counts("1.0.0", 0)), twin.run(&counts("2.0.0", 0)));
    let decided = bench.finish(ran).1.said.expect("said");
    assert!(bench.swap(&engine("native", "1.1.0"), SwapReason::Pinned));
    assert_eq!(bench.compare(wanted, &decided, true), None);
    assert_eq!(bench.state().engine.version, "1.1.0");
    // Nor is what another one wanted that ran beside before.
    let mut bench = beside();
    assert!(bench.swap(&engine("native", "1.1.0"), SwapReason::Pinned));
    let cycle = bench.begin().expect("at once");
    let twin = bench.domain.shadow_cycle(&cycle).expect("a shadow");
    let (ran, wanted) = (cycle.run(&counts("1.1.0", 0)), twin.run(&counts("2.0.0", 5)));
    let decided = bench.finish(ran).1.said.expect("said");
    runs_beside(&mut bench, "3.0.0", None);
    assert_eq!(bench.compare(wanted, &decided, true), None);
    assert_eq!(tally(&bench), (0, 0, 0));
    bench.command(What::Shadow(None)).expect("taken");
    assert!(bench.domain.shadowing().is_none());
}

#[test]
fn a_promotion_waits_for_a_decision_under_way() {
    let mut bench = promising("native");
    decide_beside(&mut bench, 0);
    pass(&mut bench, QUIET);
    let cycle = bench.begin().expect("due");
    let twin = bench.domain.shadow_cycle(&cycle).expect("a shadow");
    let (ran, wanted) = (cycle.run(&counts("1.0.0", 0)), twin.run(&counts("2.0.0", 0)));
    let decided = bench.finish(ran).1.said.expect("said");
    pass(&mut bench, 10);
    let under_way = bench.begin().expect("due again");
    let twin = bench.domain.shadow_cycle(&under_way).expect("a shadow");
    bench.compare(wanted, &decided, true);
    assert!(!is_promoted(&bench));
    let wanted = twin.run(&counts("2.0.0", 0));
    let decided = bench.finish(under_way.run(&counts("1.0.0", 0))).1.said.expect("said");
    bench.compare(wanted, &decided, true);
    assert!(is_promoted(&bench));
}

#[test]
fn a_restored_shadow_begins_with_the_figures_of_its_backup() {
    let mut bench = beside();
    decide_beside(&mut bench, 1);
    let backup = bench.state().clone();
    for _ in 0..5 {
        pass(&mut bench, 300);
        decide_beside(&mut bench, 0);
    }
    assert_eq!(tally(&bench), (6, 1, 0));
    bench.restore(backup, false);
    assert_eq!(tally(&bench), (1, 1, 0));
}

#[test]
fn what_makes_no_sense_beside_a_domain_is_refused_and_what_is_so_already_changes_nothing() {
    let mut bench = Bench::new(config(json!({})), Timestamp::from_secs(1000));
    let now = bench.now;
    let refused = bench.command(What::Shadow(Some(shadow("1.0.0", now, None))));
    assert!(matches!(&refused, Err(ApiError::Conflict { message }) if message.contains("decides domain web already")), "{refused:?}");
    let records = |bench: &Bench| bench.records().count();
    let before = records(&bench);
    bench.command(What::Shadow(None)).expect("taken");
    assert_eq!(records(&bench), before, "there was none");
    runs_beside(&mut bench, "2.0.0", None);
    decide_beside(&mut bench, 1);
    let before = records(&bench);
    pass(&mut bench, 1);
    runs_beside(&mut bench, "2.0.0", None);
    assert_eq!((records(&bench), tally(&bench)), (before, (1, 1, 0)), "it runs beside already");
    runs_beside(&mut bench, "2.0.0", Some(Millis::from_secs(60)));
    assert_eq!((records(&bench), tally(&bench)), (before + 1, (0, 0, 0)), "with another wish it begins anew");
    // Nothing of it is left when another engine decides.
    let from_revision = bench.state().config_revision;
    let mut other = config(json!({}));
    other.general.engine = "other".to_owned();
    bench.command(What::Reconfigure { config: other, engine: engine("other", "1.0.0"), from_revision }).expect("taken");
    assert!(bench.state().shadow().is_none());
}
