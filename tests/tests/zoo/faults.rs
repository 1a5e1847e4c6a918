//! What is so after an engine misbehaved in `decide`, whatever it did.

use anyhow::{Context, Result, ensure};
use pilothouse_core::cycle::FaultKind;
use pilothouse_core::instance::{Health, State};
use pilothouse_core::record::{Decision, Event, Faulted};
use pilothouse_tests::rig::SOON;
use pilothouse_tests::wait::eventually;
use serde_json::json;

use crate::beast::Beast;
use crate::keeper::{Zoo, visit};

/// As many faults that count as a domain bears: then its engine is held.
pub(crate) const BORNE: u32 = 3;

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

    let told = assert_stands_by_its_first(zoo, name).await?;
    ensure!(told.len() >= faults as usize, "{told:#?}");
    for fault in &told {
        is_told(fault, kind, words)?;
    }
    zoo.remove(name).await
}

/// Whatever it asked for when it failed, three more and the end of its own, has not happened: there is the one that it launched when it
/// behaved, and that is what it remembers. Returns its faults, oldest first.
pub(crate) async fn assert_stands_by_its_first(zoo: &Zoo, name: &str) -> Result<Vec<Faulted>> {
    let (decisions, faults) = told(zoo, name).await?;
    let launched = decisions.iter().flat_map(|it| &it.launches).map(|launch| launch.instances.len()).sum::<usize>();
    let ended = decisions.iter().map(|it| it.terminations.len()).sum::<usize>();
    ensure!((launched, ended) == (1, 0), "{launched} launches, {ended} ends: {decisions:#?}");

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
    Ok(faults)
}

/// What is on record of the engine of a domain: its decisions and its faults, oldest first.
pub(crate) async fn told(zoo: &Zoo, domain: &str) -> Result<(Vec<Decision>, Vec<Faulted>)> {
    let (mut decisions, mut faults) = (Vec::new(), Vec::new());
    for event in zoo.events(domain).await? {
        match event {
            Event::Decided(decision) => decisions.push(*decision),
            Event::Faulted(fault) => faults.push(fault),
            _ => {}
        }
    }
    Ok((decisions, faults))
}

fn is_told(told: &Faulted, kind: FaultKind, words: &str) -> Result<()> {
    ensure!(told.kind == kind && told.message.contains(words) && told.call == "decide", "{told:#?}");
    // Who stopped in its own code can be told where.
    ensure!(kind != FaultKind::Trap || !told.backtrace.is_empty(), "{told:#?}");
    Ok(())
}
