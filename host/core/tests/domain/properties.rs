//! What holds whatever happens. [`Bench`] holds after every step what the checker knows of; here random things happen, and more must hold.

use std::collections::BTreeSet;

use pilothouse_core::command::What;
use pilothouse_core::cycle::{Fault, FaultKind, LaunchRequest, Status, Verdict, Wake};
use pilothouse_core::engine::{Shadow, SwapReason};
use pilothouse_core::id::InstanceId;
use pilothouse_core::instance::{Health, State};
use pilothouse_core::intake::Input;
use pilothouse_core::message::{Heartbeat, StateReport, Verdict as Beat};
use pilothouse_core::problem::{FailedProcess, Problem};
use pilothouse_core::record::{Adopted, EngineInForce, Event, Record, Subscriber};
use pilothouse_core::seed::Seed;
use pilothouse_core::state::Life;
use pilothouse_core::time::{Millis, Timestamp};
use proptest::prelude::*;
use serde_json::json;

use crate::support::{Bench, Native, config, engine, launch, same, verdict};

const MAX_INSTANCES: u32 = 12;

/// Those that speak against a version, and others.
const FAULTS: [FaultKind; 7] =
    [FaultKind::Trap, FaultKind::Trap, FaultKind::Fuel, FaultKind::Output, FaultKind::Deadline, FaultKind::Returned, FaultKind::Crowded];

/// Something for an instance, chosen by a number.
#[derive(Clone, Debug)]
enum In {
    Ok(usize),
    Error(usize, u8, bool),
    Report(usize, State, Option<u64>),
    Unknown(usize),
    NoAgent(usize),
}

/// What an engine asks for.
#[derive(Clone, Debug)]
enum Ask {
    Launch(bool, u32),
    /// One in the place of another, whose end is asked for first or not.
    Replace(usize, bool),
    /// One in the place of one that may be adopted meanwhile.
    ReplaceAdopted(u16),
    Destroy(Vec<usize>),
    DestroyLaunch(usize),
}

/// What happens while an engine decides.
#[derive(Clone, Debug)]
struct Meanwhile {
    inputs: Vec<In>,
    adopts: Option<u16>,
}

#[derive(Clone, Debug)]
enum Op {
    Absorb(Vec<In>),
    Pass(u64),
    Decide { asks: Vec<Ask>, memory: u8, wakes: u8, fault: Option<FaultKind>, meanwhile: Meanwhile },
    Swap(u8, u8),
    Shadow(Option<u8>, Option<u64>),
    Retry,
    Pause(bool),
    DryRun(bool),
    ReleaseBrake,
    Reconfigure(u8),
    Blind,
    See,
    Missed(u64),
    Restart,
    Snapshot,
    Remove,
    Abandon,
    Kill(usize),
    Protect(usize, bool),
    Subscribe(u8),
    Unsubscribe(u8),
    Adopt(u16, State),
    Backup,
    Restore,
}

fn an_input() -> impl Strategy<Value = In> {
    let who = 0..64_usize;
    prop_oneof![
        3 => who.clone().prop_map(In::Ok),
        2 => (who.clone(), 0..4_u8, any::<bool>()).prop_map(|(who, what, process)| In::Error(who, what, process)),
        6 => (who.clone(), prop::sample::select(&State::ALL[..]), prop::option::of(0..4_u64)).prop_map(|(who, state, n)| In::Report(who, state, n)),
        1 => who.clone().prop_map(In::Unknown),
        1 => who.prop_map(In::NoAgent),
    ]
}

fn an_ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        3 => (any::<bool>(), 1..5_u32).prop_map(|(here, count)| Ask::Launch(here, count)),
        2 => prop::collection::vec(0..64_usize, 0..4).prop_map(Ask::Destroy),
        2 => (0..64_usize, prop::bool::weighted(0.8)).prop_map(|(who, ends)| Ask::Replace(who, ends)),
        1 => (0..9_u16).prop_map(Ask::ReplaceAdopted),
        1 => (0..64_usize).prop_map(Ask::DestroyLaunch),
    ]
}

fn an_op() -> impl Strategy<Value = Op> {
    let inputs = || prop::collection::vec(an_input(), 0..4);
    let decide = (
        prop::collection::vec(an_ask(), 0..3),
        0..3_u8,
        0..4_u8,
        prop::option::weighted(0.3, prop::sample::select(&FAULTS[..])),
        (inputs(), prop::option::weighted(0.2, 0..9_u16)),
    );
    prop_oneof![
        8 => inputs().prop_map(Op::Absorb),
        5 => prop_oneof![0..2_000_u64, 0..200_000_u64, 0..8_000_000_u64].prop_map(Op::Pass),
        8 => decide.prop_map(|(asks, memory, wakes, fault, (inputs, adopts))| Op::Decide { asks, memory, wakes, fault, meanwhile: Meanwhile { inputs, adopts } }),
        2 => (0..4_u8, 0..3_u8).prop_map(|(version, why)| Op::Swap(version, why)),
        1 => (prop::option::weighted(0.8, 0..4_u8), prop::option::of(1..60_000_u64)).prop_map(|(which, after)| Op::Shadow(which, after)),
        1 => Just(Op::Retry),
        1 => any::<bool>().prop_map(Op::Pause),
        1 => any::<bool>().prop_map(Op::DryRun),
        1 => Just(Op::ReleaseBrake),
        1 => (0..4_u8).prop_map(Op::Reconfigure),
        1 => Just(Op::Blind),
        2 => Just(Op::See),
        1 => (0..1_000_000_u64).prop_map(Op::Missed),
        1 => Just(Op::Restart),
        1 => Just(Op::Snapshot),
        1 => prop::bool::weighted(0.1).prop_map(|remove| if remove { Op::Remove } else { Op::See }),
        1 => prop::bool::weighted(0.05).prop_map(|abandon| if abandon { Op::Abandon } else { Op::See }),
        2 => (0..64_usize).prop_map(Op::Kill),
        2 => (0..64_usize, prop::bool::weighted(0.7)).prop_map(|(who, on)| Op::Protect(who, on)),
        1 => (0..6_u8).prop_map(Op::Subscribe),
        1 => (0..6_u8).prop_map(Op::Unsubscribe),
        1 => (0..9_u16, prop::sample::select(&State::ALL[..])).prop_map(|(who, state)| Op::Adopt(who, state)),
        1 => Just(Op::Backup),
        1 => prop::bool::weighted(0.3).prop_map(|restore| if restore { Op::Restore } else { Op::Backup }),
    ]
}

fn settings(which: u8) -> pilothouse_core::config::DomainConfig {
    config(json!({
        "general": {"max_instances": MAX_INSTANCES, "launch_timeout": 60, "record_reaping_max_age": 600, "launches_per_minute": 7},
        "health": {"monitor_health": which != 3, "missing_timeout": 30 + u32::from(which) * 100, "really_missing_timeout": (which % 2) * 10},
        "engine_conf": {"which": which, "share": 0.1 + 0.2 * f64::from(which)},
    }))
}

fn number(who: usize) -> String {
    // Some by a number that there is, most of the time.
    (who % 16).to_string()
}

fn subscriber(which: u8) -> Subscriber {
    let name = |text: &str| text.parse().expect("a name");
    Subscriber { name: name(["bob", "eve"][usize::from(which % 2)]), operation: name(["one", "two", "three"][usize::from(which / 2)]) }
}

fn adopted(who: u16, state: State) -> Adopted {
    Adopted {
        id: format!("adopted-{who}").parse().expect("an id"),
        launch: "l-of-old".parse().expect("an id"),
        deployable_type: "worker".to_owned(),
        site: "there".to_owned(),
        allocation: "small".to_owned(),
        state,
        attributes: Default::default(),
        extra_vars: Vec::new(),
    }
}

fn input(bench: &Bench, input: &In) -> Option<Input> {
    let instances = bench.instances();
    let id = |who: usize| -> Option<InstanceId> { (!instances.is_empty()).then(|| instances[who % instances.len()].id.clone()) };
    Some(match *input {
        In::Ok(who) => Input::Heartbeat(id(who)?, Heartbeat { verdict: Beat::Ok }),
        In::Error(who, what, process) => {
            let more = Default::default();
            let process_failed = FailedProcess {
                name: format!("p{what}"),
                exitcode: Some(1),
                stop_timestamp: Some(f64::from(what) / 3.0),
                stderr: None,
                more,
            };
            let problem = if process { Problem::Process(process_failed) } else { Problem::Text(format!("e{what}")) };
            let health = if process { Health::ProcessError } else { Health::MonitorError };
            Input::Heartbeat(id(who)?, Heartbeat { verdict: Beat::Error { health, problems: vec![problem], time: Some(bench.now) } })
        }
        In::Report(who, state, update_counter) => {
            let reason = Some("so its provisioner says".to_owned());
            Input::Report(id(who)?, StateReport { update_counter, reason, ..StateReport::new(state) })
        }
        In::Unknown(who) => Input::Unknown(id(who)?),
        In::NoAgent(who) => Input::NoAgent(id(who)?),
    })
}

fn absorb(bench: &mut Bench, inputs: &[In]) {
    let inputs: Vec<Input> = inputs.iter().filter_map(|it| input(bench, it)).collect();
    bench.absorb(inputs);
}

fn version(which: u8) -> EngineInForce {
    engine("native", ["1.0.0", "1.1.0", "2.0.0", "3.0.0"][usize::from(which)])
}

fn decide(bench: &mut Bench, asks: &[Ask], memory: u8, wakes: u8, fault: Option<FaultKind>, meanwhile: &Meanwhile) {
    let Some(cycle) = bench.begin() else { return };
    let (twin, in_force) = (bench.domain.shadow_cycle(&cycle), bench.state().engine.clone());
    let beside = bench.state().shadow().map(|it| it.engine.clone());
    let (paused, dry_run) = (bench.state().paused, bench.state().dry_run);
    let victims: Vec<(String, String)> = bench.instances().iter().map(|it| (it.id.to_string(), it.launch.to_string())).collect();
    let engine = Native::new(|cycle, _| {
        for ask in asks {
            let victim = |who: &usize| victims.get(who % victims.len().max(1));
            // Refusals are answers, too.
            match ask {
                Ask::Launch(here, count) => drop(cycle.launch(launch(if *here { "here" } else { "there" }, *count))),
                Ask::Replace(who, ends) => {
                    let replaces = victim(who).map(|(id, _)| id.clone());
                    if let Some(id) = replaces.as_ref().filter(|_| *ends) {
                        drop(cycle.destroy(std::slice::from_ref(id), "so the dice say".to_owned()));
                    }
                    drop(cycle.launch(LaunchRequest { replaces, ..launch("here", 1) }));
                }
                Ask::ReplaceAdopted(who) => {
                    drop(cycle.launch(LaunchRequest { replaces: Some(format!("adopted-{who}")), ..launch("here", 1) }));
                }
                Ask::Destroy(who) => {
                    let ids: Vec<String> = who.iter().filter_map(victim).map(|(id, _)| id.clone()).collect();
                    drop(cycle.destroy(&ids, "so the dice say".to_owned()));
                }
                Ask::DestroyLaunch(who) => drop(victim(who).map(|(_, launch)| cycle.destroy_launch(launch, "so the dice say".to_owned()))),
            }
        }
        if let Some(kind) = fault {
            return Err(Fault::new(kind, "so the dice say"));
        }
        let wake = [None, None, Some(Wake::OnChange), Some(Wake::After(Millis::from_secs(1)))][usize::from(wakes)];
        Ok(Verdict { status: if memory == 0 { Status::Pending } else { Status::Stable }, wake, ..verdict(&[memory]) })
    });
    let engine = engine.in_place_of(&in_force);
    let ran = cycle.run(&engine);
    bench.pass(Millis::new(50));
    absorb(bench, &meanwhile.inputs);
    if let Some(who) = meanwhile.adopts {
        drop(bench.command(What::Adopt(adopted(who, State::Running))));
    }
    let before = bench.state().counts();
    let before_it = bench.state().engine.clone();
    let (record, finished) = bench.finish(ran);
    let after = bench.state().counts();
    check_consequences(record.as_ref(), &before_it, bench);
    if after.total > before.total {
        assert!(bench.state().alive() <= MAX_INSTANCES, "{} are alive", bench.state().alive());
    }
    if paused || dry_run || fault.is_some() {
        assert_eq!(before, after, "paused {paused}, dry run {dry_run}, fault {fault:?}: {record:?}");
    }
    if let (Some(said), Some(twin), Some(beside)) = (finished.said, twin, beside) {
        let engine = engine.in_place_of(&beside);
        let differed = bench.domain.shadowing().map(|it| it.tally().differed);
        bench.compare(twin.run(&engine), &said, !finished.taken_back && !said.dry_run);
        if let Some((before, after)) = differed.zip(bench.domain.shadowing().map(|it| it.tally().differed)) {
            assert_eq!(before, after, "it asks for the very same");
        }
        assert_eq!(after, bench.state().counts(), "nothing of a shadow is carried out");
    }
}

/// What a fault may lead to, and what it may not.
fn check_consequences(record: Option<&Record>, before: &EngineInForce, bench: &Bench) {
    let Some([Event::Faulted(fault), rest @ ..]) = record.map(|record| &record.events[..]) else { return };
    let state = bench.state();
    match rest {
        [] => assert_eq!(&state.engine, before),
        [Event::Held(held)] => assert!(fault.kind.counts() && held.engine == *before && fault.engine == *before, "{held:?}"),
        [Event::Swapped(swapped)] => {
            let to = &swapped.engine;
            assert!(fault.kind.counts() && fault.engine == *before && to != before && to.name == before.name, "{swapped:?}");
            let decided = |(_, record): (u64, &Record)| {
                let by = |event: &Event| match event {
                    Event::Decided(decision) => decision.engine == *to,
                    Event::Restored(_) => true,
                    _ => false,
                };
                record.events.iter().any(by)
            };
            assert!(bench.records().any(decided), "{to:?} has worked before");
            let rejected = state.lineage.as_ref().map_or(&[][..], |it| &it.rejected);
            assert!(rejected.iter().any(|it| it.engine == *before) && rejected.iter().all(|it| it.engine != *to), "{rejected:?}");
        }
        other => panic!("{other:?}"),
    }
}

fn carry_out(mut bench: Bench, op: &Op) -> Bench {
    match op {
        Op::Absorb(inputs) => absorb(&mut bench, inputs),
        Op::Pass(millis) => {
            bench.pass(Millis::new(*millis));
            bench.tick();
        }
        Op::Decide { asks, memory, wakes, fault, meanwhile } => decide(&mut bench, asks, *memory, *wakes, *fault, meanwhile),
        Op::Swap(which, why) => {
            let why = [SwapReason::Followed, SwapReason::Pinned, SwapReason::Reloaded][usize::from(*why)].clone();
            bench.swap(&version(*which), why);
        }
        Op::Shadow(which, after) => {
            let shadow = which.map(|which| Shadow {
                engine: version(which),
                reference: "native".to_owned(),
                by: "ann".parse().expect("a name"),
                since: bench.now,
                promote_after: after.map(Millis::new),
                tally: Default::default(),
            });
            drop(bench.command(What::Shadow(shadow)));
        }
        Op::Retry => drop(bench.command(What::Retry)),
        // Whether it is taken depends on where the domain is in its life.
        Op::Pause(paused) => drop(bench.command(What::Pause(*paused))),
        Op::DryRun(dry_run) => drop(bench.command(What::DryRun(*dry_run))),
        Op::ReleaseBrake => drop(bench.command(What::ReleaseBrake)),
        Op::Reconfigure(which) => {
            let (config, from_revision) = (settings(*which), bench.state().config_revision);
            // With the engine in force, or with another version of it.
            let engine = if *which == 2 { version(2) } else { bench.state().engine.clone() };
            drop(bench.command(What::Reconfigure { config, engine, from_revision }));
        }
        Op::Remove => drop(bench.command(What::Remove { abandon: false })),
        Op::Blind => bench.domain.lose_sight(bench.now, "so the dice say"),
        Op::See => bench.domain.regain_sight(bench.now),
        Op::Missed(millis) => bench.domain.missed(Millis::new(*millis), bench.now),
        Op::Restart => {
            let now = bench.now + Millis::new(1);
            bench = bench.restart(now);
        }
        Op::Snapshot => bench.snapshot(),
        Op::Abandon => drop(bench.command(What::Remove { abandon: true })),
        Op::Kill(who) => drop(bench.command(What::Kill { instance: number(*who), reason: "so the dice say".to_owned() })),
        Op::Protect(who, on) => drop(bench.command(What::Protect { instance: number(*who), on: *on })),
        Op::Subscribe(which) => drop(bench.command(What::Subscribe(subscriber(*which)))),
        Op::Unsubscribe(which) => {
            let Subscriber { name, operation } = subscriber(*which);
            drop(bench.command(What::Unsubscribe { name, operation: (*which % 2 == 0).then_some(operation) }));
        }
        Op::Adopt(who, state) => drop(bench.command(What::Adopt(adopted(*who, *state)))),
        Op::Backup => bench.backup = Some(bench.state().clone()),
        Op::Restore => {
            if let Some(backup) = bench.backup.clone().filter(|it| matches!(it.life, Life::Active | Life::Removing)) {
                bench.restore(backup, false);
            }
        }
    }
    bench.effects();
    if bench.domain.is_empty_at_last() {
        let record = bench.domain.removed(bench.now);
        bench.commit(record);
    }
    bench
}

/// What must hold after each step, beyond what the bench holds by itself.
fn check(bench: &Bench) {
    if bench.state().held().is_some() {
        let mut asked = bench.domain.clone();
        assert!(asked.begin(bench.now + Millis::from_secs(86_400), Seed::default()).is_none(), "it is held");
    }
    if bench.state().shadow().is_none() {
        assert!(bench.domain.shadowing().is_none());
    }
    for instance in bench.instances() {
        assert!(instance.state != State::Terminating || instance.end_reason.is_some(), "{} ends without a reason", instance.id);
        assert!(!instance.undead || instance.state.is_gone(), "{} is undead and {}", instance.id, instance.state);
        assert!(!instance.stalled || instance.state <= State::Terminating, "{} stalls and is {}", instance.id, instance.state);
    }
    if let Some(brake) = pilothouse_core::guard::Brake::on(bench.state(), bench.now.max(bench.state().now), None) {
        assert!(brake.unhealthy >= 3 && brake.unhealthy * 2 >= brake.of, "{brake:?}");
    }
}

/// Nobody is told the same twice: states never go back, and an equal one is no news. What a backup brings back, and what is taken in under an
/// id that was here before, begins anew.
fn check_notices(bench: &Bench) {
    if bench.records().any(|(_, record)| record.events.iter().any(|event| matches!(event, Event::Restored(_)))) {
        return;
    }
    let mut told = BTreeSet::new();
    for (whom, notice) in bench.notices.iter().filter(|(_, notice)| !notice.node_id.as_str().starts_with("adopted-")) {
        assert!(told.insert((whom, notice.node_id.as_str(), notice.state)), "{whom:?} was told twice: {notice:?}");
    }
}

/// What must hold of a whole journal.
fn check_journal(bench: &Bench) {
    same(&bench.folded(), bench.state(), "the fold of what was written is the state");
    if let Some(folded) = bench.folded_from_snapshot() {
        same(&folded, bench.state(), "the fold from the newest snapshot is the state");
    }
    let (mut launched, mut last) = (BTreeSet::new(), Timestamp::ZERO);
    for (_, record) in bench.records() {
        assert!(record.at >= last, "time goes on");
        last = record.at;
        let read = Record::from_bytes(&record.to_bytes()).expect("it can be read");
        assert_eq!(read.to_bytes(), record.to_bytes(), "a record survives its bytes");
        for event in &record.events {
            let Event::Decided(decision) = event else { continue };
            for id in decision.launches.iter().flat_map(|it| &it.instances) {
                assert!(launched.insert(id.clone()), "{id} was launched twice");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_journal_tells_the_state_and_the_guards_hold(ops in prop::collection::vec(an_op(), 1..50)) {
        let mut bench = Bench::new(settings(0), Timestamp::from_secs(1_000_000));
        for op in &ops {
            bench = carry_out(bench, op);
            check(&bench);
        }
        check_journal(&bench);
        check_notices(&bench);
    }

    #[test]
    fn a_domain_that_is_removed_comes_to_its_end(ops in prop::collection::vec(an_op(), 1..30)) {
        let mut bench = Bench::new(settings(0), Timestamp::from_secs(1_000_000));
        for op in ops.iter().chain([&Op::See]) {
            bench = carry_out(bench, op);
        }
        let protected: Vec<usize> = bench.instances().iter().filter(|it| it.protected).map(|it| it.ordinal as usize).collect();
        for ordinal in protected {
            bench.command(What::Protect { instance: ordinal.to_string(), on: false }).expect("taken");
        }
        bench = carry_out(bench, &Op::Remove);
        for _ in 0..3 {
            // Its provisioner answers every request.
            let gone = bench.instances().iter().map(|it| Input::Report(it.id.clone(), StateReport::new(State::Terminated))).collect::<Vec<_>>();
            bench.absorb(gone);
            bench = carry_out(bench, &Op::Pass(5000));
        }
        prop_assert_eq!(bench.state().life, Life::Removed);
        check_journal(&bench);
    }
}
