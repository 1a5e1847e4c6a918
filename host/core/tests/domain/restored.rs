//! A domain that is again what a backup says.

use pilothouse_core::command::What;
use pilothouse_core::explain::{Explanation, Hold, View, explain_domain, explain_instance};
use pilothouse_core::instance::{Health, Instance, State};
use pilothouse_core::intake::Input;
use pilothouse_core::message::StateReport;
use pilothouse_core::promise::Request;
use pilothouse_core::record::{Record, Subscriber};
use pilothouse_core::state::DomainState;
use pilothouse_core::time::{Millis, Timestamp};
use serde_json::json;

use crate::support::{Bench, Native, config, launch, same, verdict};

fn launching(count: u32) -> Native<'static> {
    Native::new(move |cycle, _| {
        cycle.launch(launch("here", count)).expect("granted");
        Ok(verdict(b"remembered"))
    })
}

/// Two are launched, of which one runs, and a third is on its way out; after the backup everything went on for a while.
fn backed_up() -> (Bench, DomainState) {
    let mut bench = Bench::new(config(json!({"health": {"boot_timeout": 60, "really_missing_timeout": 0}})), Timestamp::from_secs(1000));
    let subscriber = Subscriber { name: "bob".parse().expect("a name"), operation: "changed".parse().expect("a name") };
    bench.command(What::Subscribe(subscriber)).expect("taken");
    bench.decide(&launching(3));
    let ids: Vec<_> = bench.instances().iter().map(|it| it.id.clone()).collect();
    bench.pass(Millis::from_secs(1));
    bench.absorb([Input::Report(ids[0].clone(), StateReport::new(State::Running))]);
    bench.command(What::Kill { instance: "2".to_owned(), reason: "it misbehaves".to_owned() }).expect("taken");
    bench.command(What::Protect { instance: "0".to_owned(), on: true }).expect("taken");
    bench.snapshot();
    let backup = bench.state().clone();
    bench.pass(Millis::from_secs(600));
    bench.absorb(ids.iter().map(|id| Input::Report(id.clone(), StateReport::new(State::Terminated))));
    bench.command(What::Protect { instance: "0".to_owned(), on: false }).expect("no more");
    bench.decide(&launching(1));
    bench.pass(Millis::from_secs(60));
    (bench, backup)
}

fn records(bench: &Bench) -> Vec<(u64, Record)> {
    bench.records().map(|(sequence, record)| (sequence, record.clone())).collect()
}

fn why(bench: &Bench, instance: Option<&str>) -> Explanation {
    let (records, eyes) = (records(bench), bench.domain.eyes());
    let view = View { state: bench.state(), records: &records, now: bench.now, eyes: Some(&eyes), asked: None, later: None };
    match instance {
        None => explain_domain(&view),
        Some(which) => explain_instance(&view, which).expect("it is known"),
    }
}

#[test]
fn a_restored_domain_is_what_the_backup_says_and_refers_to_nothing_before() {
    let (mut bench, backup) = backed_up();
    let known_epoch = bench.state().epoch;
    bench.restore(backup.clone(), false);
    let state = bench.state();
    assert_eq!((state.snapshot, state.since_snapshot, state.incarnation), (state.sequence, 0, state.sequence));
    assert_eq!((state.decision.sequence, &state.decision.reason), (0, &backup.decision.reason));
    assert_eq!(state.snapshots, [(state.sequence, bench.now)]);
    assert!(state.epoch > known_epoch && state.host.is_none() && state.now == bench.now);
    assert_eq!((&state.memory, &state.config, &state.subscribers), (&backup.memory, &backup.config, &backup.subscribers));
    assert_eq!(state.next_ordinal, backup.next_ordinal);
    let moved = |it: &Instance| Instance { promised_at: 0, ..it.clone() };
    let (now, then): (Vec<_>, Vec<_>) =
        (bench.instances().into_iter().map(moved).collect(), backup.instances().map(|it| moved(it)).collect());
    assert_eq!(now, then);
    assert_eq!(state.restored, Some(("eve".parse().expect("a name"), backup.now)), "whoever takes it next tells of it");
    // The promises, and only those, are promised by the restore.
    let promised_at: Vec<u64> = bench.instances().iter().map(|it| it.promised_at).collect();
    assert_eq!((promised_at[1], promised_at[2]), (state.sequence, state.sequence));
    assert!(promised_at[0] < state.sequence && state.changed.values().all(|after| *after == state.sequence));
}

#[test]
fn a_restored_domain_folds_the_same_from_everywhere() {
    let (mut bench, backup) = backed_up();
    bench.restore(backup, false);
    bench.pass(Millis::from_secs(5));
    bench.decide(&launching(2));
    same(&bench.folded(), bench.state(), "from the beginning");
    same(&bench.folded_from_snapshot().expect("the restore is one"), bench.state(), "from the restore");
    let bytes = bench.state().clone();
    let read: DomainState = serde_json::from_slice(&serde_json::to_vec(&bytes).expect("JSON")).expect("a state");
    same(&read.reindexed(), bench.state(), "through its bytes");
}

#[test]
fn provisioners_are_asked_again_in_an_epoch_of_its_own() {
    let (mut bench, backup) = backed_up();
    bench.requests();
    bench.restore(backup, false);
    let (epoch, sequence) = (bench.state().epoch, bench.state().sequence);
    let mut asked = Vec::new();
    for request in bench.requests() {
        match request {
            Request::Provision(ask) => asked.extend(ask.instances.iter().map(|it| ("start", it.ordinal, ask.epoch, it.sequence))),
            Request::Terminate { message, .. } => {
                let ordinal = |id| bench.state().instance(id).expect("it is there").ordinal;
                asked.extend(message.instances.iter().map(|it| ("stop", ordinal(&it.node_id), message.epoch, it.sequence)));
            }
            Request::Dump { .. } => {}
        }
    }
    assert_eq!(asked, [("start", 1, epoch, sequence), ("stop", 2, epoch, sequence)]);
    // And so does the host that takes it next.
    let later = bench.now + Millis::from_secs(1);
    let mut bench = bench.restart(later);
    assert_eq!((bench.state().epoch, &bench.state().restored), (epoch + 1, &None));
    assert!(bench.requests().iter().any(|request| matches!(request, Request::Provision(ask) if ask.epoch == epoch + 1)));
}

#[test]
fn a_restored_domain_is_watched_and_protected_as_before() {
    let (mut bench, backup) = backed_up();
    bench.restore(backup, false);
    assert!(bench.instances()[0].protected);
    assert!(bench.command(What::Kill { instance: "0".to_owned(), reason: "so it is".to_owned() }).is_err());
    bench.pass(Millis::from_secs(61));
    bench.tick();
    assert_eq!(bench.instances()[0].health, Health::Missing, "it runs, says the backup, and nobody hears it");
}

#[test]
fn what_the_journal_said_before_tells_nothing_any_more() {
    let (mut bench, backup) = backed_up();
    bench.restore(backup, false);
    let Explanation::Domain(domain) = why(&bench, None) else { panic!("of a domain") };
    assert_eq!(domain.decisions, [], "what was decided was decided elsewhere");
    let changes: Vec<_> = domain.changes.iter().map(|told| (told.by.as_ref().map_or("", |by| by.as_str()), &*told.change)).collect();
    assert_eq!(changes, [("eve", "restored from a backup")]);
    let Explanation::Instance(killed) = why(&bench, Some("2")) else { panic!("of an instance") };
    assert!(killed.started.is_none() && killed.ended.is_none(), "who asked for it is no longer on record");
    assert_eq!(serde_json::to_value(&killed.history).expect("JSON")[0]["step"], json!("restored"));
    let Explanation::Instance(kept) = why(&bench, Some("web/0")) else { panic!("of an instance") };
    assert_eq!(kept.protected, Some(Default::default()), "protected, by whom is no longer on record");
    bench.decide(&launching(1));
    let Explanation::Instance(new) = why(&bench, Some("3")) else { panic!("of an instance") };
    assert!(new.started.is_some() && new.ordinal == Some(3));
}

#[test]
fn a_domain_that_is_restored_paused_launches_nothing_until_somebody_resumes_it() {
    let (mut bench, backup) = backed_up();
    let ran = backup.instances().next().expect("one that ran").id.clone();
    bench.restore(backup, true);
    // It ended since, and was replaced by one that nobody knows here.
    bench.absorb([Input::Report(ran, StateReport::new(State::Terminated))]);
    let total = bench.instances().len();
    bench.decide(&Native::new(|cycle, _| {
        cycle.launch(launch("here", 1)).expect_err("paused");
        Ok(verdict(b"remembered"))
    }));
    assert_eq!((bench.state().paused, bench.instances().len()), (true, total));
    let Explanation::Domain(domain) = why(&bench, None) else { panic!("of a domain") };
    let paused_by = domain.holds.iter().find_map(|hold| if let Hold::Paused { by, .. } = hold { by.as_ref() } else { None });
    assert_eq!(paused_by.map(|by| by.as_str()), Some("eve"), "whoever restored it");
    same(&bench.folded(), bench.state(), "from the beginning");
    bench.command(What::Pause(false)).expect("resumed");
    bench.pass(Millis::from_secs(10));
    bench.decide(&launching(1));
    assert_eq!(bench.instances().len(), total + 1);
}
