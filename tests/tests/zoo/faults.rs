//! What is so after an engine misbehaved in `decide`, whatever it did.

use anyhow::{Context, Result, ensure};
use pilothouse_core::cycle::FaultKind;
use pilothouse_core::instance::{Health, State};
use pilothouse_core::record::{Event, Faulted};
use pilothouse_tests::rig::SOON;
use pilothouse_tests::wait::eventually;
use serde_json::json;

use crate::beast::Beast;
use crate::keeper::{Zoo, visit};

/// As many faults that count as a domain bears: then its engine is held.
const BORNE: u32 = 3;

/// The engine decides well once and then misbehaves: it fails with this kind of fault and in these words, and with nothing else.
pub(crate) fn fails(beast: &Beast, kind: FaultKind, words: &str) {
    visit(async |zoo| {
        zoo.offer(beast).await?;
        assert_fails(zoo, beast, kind, words).await
    });
}

/// The same, of an engine whose every unit of fuel is work of the host, which is slower than its own. So it has less of it.
pub(crate) fn uses_up(beast: &Beast) {
    visit(async |zoo| {
        zoo.offer(beast).await?;
        zoo.limit(beast, "fuel", 20_000_000).await?;
        assert_fails(zoo, beast, FaultKind::Fuel, "used up its 20000000 units of fuel").await
    });
}

/// The same, of an engine that was offered already.
pub(crate) async fn assert_fails(zoo: &Zoo, beast: &Beast, kind: FaultKind, words: &str) -> Result<()> {
    let name = &*beast.name;
    zoo.add(name, name, json!({})).await?;
    // One more when they do not count: then it is asked on and on.
    let faults = if kind.counts() { BORNE } else { BORNE + 1 };
    let failed = zoo.sees(name, "it fails", |it| it.asked.faults >= u64::from(faults)).await?;
    ensure!(failed.summary.held.is_some() == kind.counts(), "faults that count lead to its being held, and others do not: {failed:#?}");
    let fault = failed.summary.fault.context("the fault is shown")?;
    ensure!(fault.in_a_row >= faults, "{fault:?}");
    ensure!(fault.message.contains(words) && fault.message.contains(kind.name()), "{fault:?}");

    let events = zoo.events(name).await?;
    let (mut faults_told, mut launched, mut ended) = (0, 0, 0);
    for event in &events {
        match event {
            Event::Faulted(told) => {
                is_told(told, kind, words)?;
                faults_told += 1;
            }
            Event::Decided(decision) => {
                launched += decision.launches.iter().map(|launch| launch.instances.len()).sum::<usize>();
                ended += decision.terminations.len();
            }
            _ => {}
        }
    }
    ensure!(faults_told >= faults && (launched, ended) == (1, 0), "{faults_told} faults, {launched} launches, {ended} ends: {events:#?}");

    // What it asked for before it failed, three more and the end of its own, has not happened; and it remembers what it did.
    let state = zoo.state(name).await?;
    let only = state.instances().next().context("it launched one when it behaved")?.id.clone();
    ensure!(state.counts().total == 1, "{:?}", state.counts());
    ensure!(state.memory.as_deref() == Some(only.as_str().as_bytes()), "it remembers {:?} and not {only}", state.memory);
    let described = zoo
        .sees(name, "its instance runs", |it| it.instances.iter().all(|it| it.state == State::Running && it.health == Health::Ok))
        .await?;
    ensure!(described.instances.len() == 1 && described.instances[0].instance_id == only, "{described:#?}");
    let starts = zoo.rig.ledger.starts().get(only.as_str()).copied();
    ensure!(starts == Some(1), "it was started {starts:?} times");
    eventually("nothing runs but its instance", SOON, async || zoo.strangers().await.is_ok_and(|it| it.iter().eq([only.as_str()]))).await?;
    zoo.remove(name).await
}

fn is_told(told: &Faulted, kind: FaultKind, words: &str) -> Result<()> {
    ensure!(told.kind == kind && told.message.contains(words) && told.call == "decide", "{told:#?}");
    // Who stopped in its own code can be told where.
    ensure!(kind != FaultKind::Trap || !told.backtrace.is_empty(), "{told:#?}");
    Ok(())
}
