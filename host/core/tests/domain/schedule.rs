//! Windows of the calendar: what is on record, what the engine is given, and when.

use pilothouse_core::command::{Command, What};
use pilothouse_core::config::DomainConfig;
use pilothouse_core::cycle::{Cause, Reconfigured};
use pilothouse_core::domain::{Happened, Happening};
use pilothouse_core::record::{Event, Prepared, Record};
use pilothouse_core::state::Life;
use pilothouse_core::time::{Millis, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Bench, Native, config, same, verdict};

/// 2026-11-20 06:00:00Z, a Friday; seven in the morning in Vienna.
const MORNING: Timestamp = Timestamp::from_secs(1_795_154_400);
const HOUR: Millis = Millis::from_secs(3600);

fn window(name: &str, start: &str, end: &str, conf: Value) -> Value {
    json!({"name": name, "time_zone": "Europe/Vienna", "start": start, "end": end, "engine_conf": conf})
}

fn day() -> DomainConfig {
    config(json!({"engine_conf": {"n": 1}, "schedule": [window("day", "0 8 * * mon-fri", "0 18 * * mon-fri", json!({"n": 2}))]}))
}

fn idle() -> Native<'static> {
    Native::new(|_, _| Ok(verdict(b"idle")))
}

fn on(bench: &Bench) -> Vec<&str> {
    bench.state().windows.iter().map(|name| name.as_str()).collect()
}

fn scheduled(record: Option<Record>) -> Option<Vec<String>> {
    record?.events.into_iter().find_map(|event| match event {
        Event::Scheduled(it) => Some(it.windows.iter().map(ToString::to_string).collect()),
        _ => None,
    })
}

fn n(bench: &Bench) -> Option<u64> {
    bench.state().engine_conf()["n"].as_u64()
}

#[test]
fn a_window_begins_with_a_record_and_the_engine_takes_it_up() {
    let mut bench = Bench::absent(MORNING);
    bench.command(Bench::add(day())).expect("added");
    bench.tick();
    bench.decide(&idle());
    assert_eq!((on(&bench), n(&bench), bench.state().config_revision), (vec![], Some(1), 1));
    bench.now = MORNING + HOUR;
    assert_eq!(scheduled(bench.tick()), Some(vec!["day".to_owned()]));
    assert_eq!((on(&bench), n(&bench), bench.state().config_revision), (vec!["day"], Some(2), 2));
    assert_eq!(bench.state().config, day(), "the configuration itself stays as it was written");
    let cycle = bench.begin().expect("the engine is asked at once");
    assert_eq!((cycle.cause(), cycle.state().engine_conf()["n"].as_u64()), (Cause::Configured, Some(2)));
    let engine = idle().reconfiguring(|_, memory| Ok(Reconfigured::Memory(memory.to_vec())));
    let (record, finished) = bench.finish(cycle.run(&engine));
    assert_eq!(finished.said.expect("it answers").prepared, Some(Prepared::Reconfigured));
    assert!(record.is_some());
    assert_eq!(scheduled(bench.tick()), None, "once");
    bench.now = MORNING + Millis::from_secs(11 * 3600);
    assert_eq!(scheduled(bench.tick()), Some(vec![]));
    assert_eq!((n(&bench), bench.state().config_revision), (Some(1), 3));
}

#[test]
fn the_driver_looks_in_time_and_not_before() {
    let mut bench = Bench::absent(MORNING + HOUR - Millis::from_secs(20));
    bench.command(Bench::add(day())).expect("added");
    bench.tick();
    bench.decide(&Native::new(|_, _| {
        Ok(pilothouse_core::cycle::Verdict { wake: Some(pilothouse_core::cycle::Wake::OnChange), ..verdict(b"") })
    }));
    // Other loops look, too: they must not go past it.
    for _ in 0..1000 {
        let next = bench.domain.next_look(bench.now);
        assert!(next <= MORNING + HOUR, "a look at {next:?} is too late");
        bench.now = next;
        bench.effects();
        let record = bench.tick();
        if bench.now < MORNING + HOUR {
            assert_eq!(on(&bench), Vec::<&str>::new());
        } else {
            assert_eq!(scheduled(record), Some(vec!["day".to_owned()]));
            return;
        }
    }
    panic!("it never gets there");
}

#[test]
fn exactly_at_the_start_it_is_on_and_a_millisecond_before_it_is_off() {
    let mut bench = Bench::absent(MORNING);
    bench.command(Bench::add(day())).expect("added");
    bench.tick();
    bench.now = MORNING + HOUR - Millis::new(1);
    assert_eq!(scheduled(bench.tick()), None);
    bench.pass(Millis::new(1));
    assert_eq!(scheduled(bench.tick()), Some(vec!["day".to_owned()]));
}

#[test]
fn a_domain_that_is_added_within_a_window_begins_with_it() {
    let mut bench = Bench::absent(MORNING + HOUR);
    let answer = bench.command(Bench::add(day())).expect("added");
    assert_eq!((on(&bench), answer["config_revision"].as_u64()), (vec!["day"], Some(bench.state().config_revision)));
    assert_eq!(scheduled(bench.tick()), None);
    let cycle = bench.begin().expect("due");
    assert_eq!(cycle.state().engine_conf()["n"].as_u64(), Some(2));
    bench.finish(cycle.run(&idle()));
}

#[test]
fn a_reconfiguration_brings_its_windows_along_in_the_same_record() {
    let mut bench = Bench::absent(MORNING + HOUR);
    bench.command(Bench::add(day())).expect("added");
    let mut new = day();
    new.schedule[0].name = "morning".parse().expect("a name");
    let answer = bench.command(bench.reconfigure(new.clone())).expect("taken");
    assert_eq!((on(&bench), n(&bench)), (vec!["morning"], Some(2)), "it is never between two windows");
    assert_eq!(answer["config_revision"].as_u64(), Some(bench.state().config_revision));
    new.schedule.clear();
    bench.command(bench.reconfigure(new)).expect("taken");
    assert_eq!((on(&bench), n(&bench)), (vec![], Some(1)));
    bench.tick();
    assert!(bench.begin().is_some(), "without a schedule nothing is waited for");
}

#[test]
fn a_window_that_only_sets_other_values_is_no_other_window() {
    let mut bench = Bench::absent(MORNING + HOUR);
    bench.command(Bench::add(day())).expect("added");
    let revision = bench.state().config_revision;
    let mut new = day();
    new.schedule[0].engine_conf.insert("n".to_owned(), json!(9));
    bench.command(bench.reconfigure(new)).expect("taken");
    assert_eq!((on(&bench), n(&bench), bench.state().config_revision), (vec!["day"], Some(9), revision + 1));
}

#[test]
fn a_host_that_was_down_takes_it_up_with_its_first_look_and_once() {
    let mut bench = Bench::absent(MORNING);
    bench.command(Bench::add(day())).expect("added");
    bench.tick();
    bench.decide(&idle());
    let mut bench = bench.restart(MORNING + HOUR + HOUR);
    assert_eq!(on(&bench), Vec::<&str>::new(), "the journal says nothing yet");
    assert_eq!(bench.domain.next_look(bench.now), bench.now, "at once");
    assert!(bench.begin().is_none(), "no decision with what held before");
    assert_eq!(scheduled(bench.tick()), Some(vec!["day".to_owned()]));
    bench.decide(&idle());
    let now = bench.now;
    let mut bench = bench.restart(now + HOUR);
    assert_eq!((scheduled(bench.tick()), on(&bench)), (None, vec!["day"]), "what is on record is not recorded again");
    bench.snapshot();
    let from_snapshot = bench.folded_from_snapshot().expect("a snapshot");
    same(bench.state(), &from_snapshot, "a snapshot carries the windows");
}

#[test]
fn a_switch_that_finds_no_room_in_the_journal_is_made_with_the_next_look() {
    let mut bench = Bench::absent(MORNING);
    bench.command(Bench::add(day())).expect("added");
    bench.tick();
    bench.now = MORNING + HOUR;
    for _ in 0..3 {
        let lost = bench.domain.absorb([], true, bench.now, |_| ());
        assert_eq!(scheduled(lost), Some(vec!["day".to_owned()]));
        assert!(bench.begin().is_none());
    }
    assert_eq!(scheduled(bench.tick()), Some(vec!["day".to_owned()]));
    assert!(bench.begin().is_some());
}

#[test]
fn a_paused_domain_switches_and_one_that_goes_does_not() {
    let mut bench = Bench::absent(MORNING);
    bench.command(Bench::add(day())).expect("added");
    bench.tick();
    bench.command(What::Pause(true)).expect("taken");
    bench.now = MORNING + HOUR;
    bench.tick();
    assert_eq!(on(&bench), ["day"]);
    bench.command(What::Remove { abandon: false }).expect("taken");
    bench.now = MORNING + Millis::from_secs(11 * 3600);
    assert_eq!(scheduled(bench.tick()), None);
    bench.effects();
    assert!(bench.domain.next_look(bench.now) > bench.now, "nor is it looked at again and again");
}

#[test]
fn those_who_watch_are_told_which_window_began_and_what_changes() {
    let mut bench = Bench::absent(MORNING);
    bench.command(Bench::add(day())).expect("added");
    bench.tick();
    bench.now = MORNING + HOUR;
    let record = bench.domain.absorb([], true, bench.now, |_| ()).expect("due");
    let told = bench.commit(record).happenings;
    let [happening] = &told[..] else { panic!("one line: {told:?}") };
    let Happened::Scheduled(turn) = &happening.what else { panic!("{happening:?}") };
    assert_eq!(turn.in_words(), "window day began: n 1 -> 2");
    assert_eq!(
        json!(happening),
        json!({"domain": {"owner": "ann", "name": "web"}, "at": bench.now, "event": "scheduled", "began": ["day"], "changes": [{"key": "n", "from": 1, "to": 2}]})
    );
}

#[test]
fn what_ended_is_told_although_the_new_configuration_does_not_know_it() {
    let mut bench = Bench::absent(MORNING + HOUR);
    let told = |bench: &mut Bench, what: What| {
        let command = Command { by: "ann".parse().expect("a name"), request: None, what };
        let record = bench.domain.command(command, bench.now).expect("taken").record.expect("a change");
        let turn = |it: Happening| if let Happened::Scheduled(turn) = it.what { Some(turn.in_words()) } else { None };
        bench.commit(record).happenings.into_iter().find_map(turn)
    };
    assert_eq!(told(&mut bench, Bench::add(day())).as_deref(), Some("window day began: n 1 -> 2"), "nothing was before");
    let mut new = day();
    new.schedule.clear();
    new.engine_conf.insert("n".to_owned(), json!(7));
    let what = bench.reconfigure(new);
    assert_eq!(told(&mut bench, what).as_deref(), Some("window day ended: n 2 -> 7"));
}

#[test]
fn a_state_that_was_restored_within_another_window_is_set_right() {
    let mut bench = Bench::absent(MORNING + HOUR);
    bench.command(Bench::add(day())).expect("added");
    let backup = bench.state().clone();
    bench.now = MORNING + Millis::from_secs(12 * 3600);
    bench.tick();
    bench.restore(backup, true);
    let now = bench.now;
    let mut bench = bench.restart(now);
    assert_eq!(on(&bench), ["day"], "as in the backup");
    assert_eq!(scheduled(bench.tick()), Some(vec![]));
}

#[derive(Clone, Debug)]
enum Op {
    Pass(u64),
    Tick,
    Lost,
    Decide,
    Reconfigure(usize),
    Pause(bool),
    Asking(bool),
    Restart(u64),
    Snapshot,
    Remove,
}

fn an_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => prop_oneof![0..120_000_u64, 0..7_200_000_u64, 0..200_000_000_u64].prop_map(Op::Pass),
        4 => Just(Op::Tick),
        1 => Just(Op::Lost),
        4 => Just(Op::Decide),
        2 => (0..4_usize).prop_map(Op::Reconfigure),
        1 => any::<bool>().prop_map(Op::Pause),
        1 => any::<bool>().prop_map(Op::Asking),
        1 => (0..50_000_000_u64).prop_map(Op::Restart),
        1 => Just(Op::Snapshot),
        1 => prop::bool::weighted(0.05).prop_map(|remove| if remove { Op::Remove } else { Op::Tick }),
    ]
}

fn variant(which: usize) -> DomainConfig {
    let windows = [
        vec![],
        vec![window("day", "0 8 * * mon-fri", "0 18 * * mon-fri", json!({"n": 2}))],
        vec![
            window("day", "0 8 * * *", "0 18 * * *", json!({"n": 3})),
            window("rush", "*/20 * * * *", "10-59/20 * * * *", json!({"n": 4, "m": 5})),
        ],
        vec![
            window("rush", "30 2 * * *", "45 2 * * *", json!({"n": 5})),
            window("week-end", "0 0 * * sat", "0 0 * * mon", json!({"m": 6})),
        ],
    ];
    config(json!({"engine_conf": {"n": 1, "m": 1}, "schedule": windows[which]}))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// After every look the windows on record are those of the calendar, no decision is made with others, and whoever reads the journal
    /// finds the same.
    #[test]
    fn the_windows_on_record_are_those_of_the_calendar(ops in prop::collection::vec(an_op(), 1..40), from in 0..20_000_000_000_u64) {
        let mut bench = Bench::absent(MORNING + Millis::new(from));
        bench.command(Bench::add(variant(1))).expect("added");
        for op in ops {
            match op {
                Op::Pass(length) => drop(bench.pass(Millis::new(length))),
                Op::Tick => {
                    bench.tick();
                    let (state, now) = (bench.state(), bench.now);
                    if state.life == Life::Active {
                        prop_assert_eq!(&state.windows, &state.config.windows_on(now));
                        prop_assert_eq!(scheduled(bench.tick()), None, "what changes nothing is not recorded");
                        let state = bench.state();
                        let next = bench.domain.next_look(now);
                        prop_assert!(state.config.coming(now, 1).iter().all(|switch| next <= switch.at), "a look in time");
                    }
                }
                Op::Lost => drop(bench.domain.absorb([], true, bench.now, |_| ())),
                Op::Decide => {
                    if let Some(cycle) = bench.begin() {
                        let state = cycle.state();
                        prop_assert_eq!(&state.windows, &state.config.windows_on(bench.now));
                        bench.finish(cycle.run(&idle()));
                    }
                }
                Op::Reconfigure(which) if bench.state().life == Life::Active => {
                    let changes = bench.state().config != variant(which);
                    bench.command(bench.reconfigure(variant(which))).expect("taken");
                    // What changes nothing is not recorded, and a switch waits for the next look.
                    prop_assert!(!changes || bench.state().windows == bench.state().config.windows_on(bench.now));
                }
                Op::Pause(pause) if bench.state().life == Life::Active => drop(bench.command(What::Pause(pause))),
                Op::Reconfigure(_) | Op::Pause(_) => {}
                Op::Asking(on) => {
                    let now = bench.now;
                    bench.domain.set_asking(on, now);
                }
                Op::Restart(length) => {
                    let now = bench.now + Millis::new(length);
                    bench = bench.restart(now);
                }
                Op::Snapshot => bench.snapshot(),
                Op::Remove => drop(bench.command(What::Remove { abandon: false })),
            }
        }
        same(bench.state(), &bench.folded(), "the fold of the journal");
    }
}
