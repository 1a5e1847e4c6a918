//! Engines that ask for what they can't have, and engines that only seem to misbehave.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use pilothouse::api::{DomainDescription, Operation};
use pilothouse_core::cycle::{Cause, Cycle, Engine as _, FaultKind};
use pilothouse_core::guard::Eyes;
use pilothouse_core::instance::State;
use pilothouse_core::record::{Decision, Event};
use pilothouse_core::seed::Seed;
use pilothouse_engine_host::{EngineLimits, LoadedEngine};
use pilothouse_tests::domain::{NOW, domain};
use pilothouse_tests::guest::Guest;
use pilothouse_tests::play::sandbox;
use pilothouse_tests::rig::SOON;
use pilothouse_tests::wait::eventually_some;
use serde_json::{Value, json};

use crate::beast::Beast;
use crate::keeper::{Zoo, visit};

/// So many decisions show that it goes on.
const SEVERAL: u64 = 5;

fn decided_several_times(it: &DomainDescription) -> bool {
    it.asked.decisions >= SEVERAL && it.asked.faults == 0
}

async fn decisions(zoo: &Zoo, domain: &str) -> Result<Vec<Decision>> {
    let events = zoo.events(domain).await?.into_iter();
    Ok(events.filter_map(|event| if let Event::Decided(decision) = event { Some(*decision) } else { None }).collect())
}

#[test]
fn an_engine_that_does_nothing_wrong_is_granted_what_the_others_are_not() {
    visit(async |zoo| {
        let beast = Beast::once("behave");
        zoo.offer(&beast).await?;
        zoo.add("behave", "behave", json!({})).await?;
        // One, then three, and the first of them ends.
        let is_granted = |it: &DomainDescription| {
            it.instances.len() >= 4
                && it.instances[0].state == State::Terminated
                && it.instances[1..4].iter().all(|it| it.state >= State::Running)
        };
        let seen = zoo.sees("behave", "what it asks for happens", is_granted).await?;
        ensure!(seen.asked.faults == 0, "{seen:#?}");
        zoo.remove("behave").await
    });
}

#[test]
fn a_million_launches_at_once_are_refused_and_the_decision_stands() {
    visit(async |zoo| {
        zoo.offer(&Beast::alone("million_at_once")).await?;
        zoo.add("million", "million_at_once", json!({})).await?;
        let seen = zoo.sees("million", "it goes on", decided_several_times).await?;
        ensure!(seen.instances.is_empty() && seen.summary.fault.is_none(), "{seen:#?}");
        ensure!(decisions(zoo, "million").await?.iter().all(|it| it.launches.is_empty()), "nothing of it is on record");
        ensure!(zoo.strangers().await?.is_empty());
        zoo.remove("million").await
    });
}

#[test]
fn an_engine_that_asks_for_the_end_of_another_domains_instance_is_refused() {
    visit(async |zoo| {
        let victim = zoo.describe("calm-1").await?.instances[0].instance_id.clone();
        zoo.offer(&Beast::alone("strangers")).await?;
        zoo.add("strangers", "strangers", json!({"victim": victim})).await?;
        zoo.sees("strangers", "it goes on", decided_several_times).await?;
        ensure!(zoo.state("strangers").await?.memory.as_deref() == Some(&[1]), "it was refused");
        ensure!(decisions(zoo, "strangers").await?.iter().all(|it| it.terminations.is_empty()));
        let described = zoo.describe("calm-1").await?;
        ensure!(described.instances[0].instance_id == victim && described.instances[0].state == State::Running, "{described:#?}");
        zoo.remove("strangers").await
    });
}

#[test]
fn an_instance_whose_end_is_asked_for_ten_thousand_times_ends_once() {
    visit(async |zoo| {
        zoo.offer(&Beast::alone("own_ten_thousand_times")).await?;
        zoo.add("own", "own_ten_thousand_times", json!({})).await?;
        zoo.sees("own", "it is gone", |it| it.instances.first().is_some_and(|it| it.state == State::Terminated)).await?;
        let seen = zoo.sees("own", "it goes on", decided_several_times).await?;
        ensure!(seen.instances.len() == 1, "{seen:#?}");
        let ends = decisions(zoo, "own").await?.iter().flat_map(|it| &it.terminations).map(|it| it.accepted.len()).sum::<usize>();
        ensure!(ends == 1, "{ends} ends");
        zoo.remove("own").await
    });
}

#[test]
fn refusals_that_are_returned_as_errors_are_told_in_its_words_and_never_count() {
    visit(async |zoo| {
        zoo.offer(&Beast::alone("refusals")).await?;
        zoo.add("refusals", "refusals", json!({})).await?;
        // More than are borne of those that count.
        let seen = zoo.sees("refusals", "it is asked on", |it| it.asked.faults >= 5).await?;
        let fault = seen.summary.fault.context("it is shown")?;
        ensure!(fault.message.contains("returned") && fault.message.contains("a decision may launch 1000 instances in all"), "{fault:?}");
        ensure!(seen.summary.held.is_none() && seen.instances.is_empty(), "it is not held");
        ensure!(zoo.state("refusals").await?.memory.is_none() && decisions(zoo, "refusals").await?.is_empty());
        zoo.remove("refusals").await
    });
}

#[test]
fn a_memory_of_garbage_is_handed_back_as_it_was_however_often_its_engine_fails_on_it() {
    visit(async |zoo| {
        zoo.offer(&Beast::alone("garbage")).await?;
        zoo.add("garbage", "garbage", json!({})).await?;
        let seen = zoo.sees("garbage", "its engine is held", |it| it.summary.held.is_some()).await?;
        ensure!(seen.summary.fault.is_some_and(|it| it.message.contains("trap") && it.message.contains("unreachable")));
        let decisions = decisions(zoo, "garbage").await?;
        let [only] = &decisions[..] else { anyhow::bail!("{decisions:#?}") };
        let memory = zoo.state("garbage").await?.memory.context("a memory")?;
        ensure!(memory.len() == 1000 && only.memory.as_ref() == Some(&memory), "to the byte");
        ensure!(std::str::from_utf8(&memory).is_err(), "it is no text");
        zoo.remove("garbage").await
    });
}

/// What a decision used up that goes so many rounds and hands over so many bytes.
async fn used(zoo: &Zoo, rounds: u64, bytes: u64) -> Result<Event> {
    let conf = json!({"engine_conf": {"rounds": format!("{rounds:010}"), "bytes": format!("{bytes:03}")}});
    let _: Value = zoo.rig.api.call(Operation::DomainReconfigure, &json!({"domain": "burn", "config": conf})).await?;
    let revision = zoo.describe("burn").await?.config_revision;
    eventually_some("it is asked with that", SOON, async || {
        let records = zoo.records("burn").await.ok()?;
        let configured = |event: &Event| matches!(event, Event::Configured(_));
        let last = records.iter().rposition(|(_, record)| record.events.iter().any(configured))?;
        records[last..].iter().flat_map(|(_, record)| &record.events).find_map(|event| match event {
            // Where it had to be prepared, that is in the figure.
            Event::Decided(it) if it.config_revision == revision && it.prepared.is_none() => Some(event.clone()),
            Event::Faulted(_) => Some(event.clone()),
            _ => None,
        })
    })
    .await
}

async fn fuel(zoo: &Zoo, rounds: u64, bytes: u64) -> Result<u64> {
    match used(zoo, rounds, bytes).await? {
        Event::Decided(decision) => Ok(decision.fuel),
        other => anyhow::bail!("{rounds} rounds and {bytes} bytes: {other:#?}"),
    }
}

#[test]
fn an_engine_that_uses_its_fuel_up_to_the_last_unit_succeeds_and_one_unit_more_is_a_fault() {
    visit(async |zoo| {
        let limit = EngineLimits::default().fuel;
        zoo.offer(&Beast::alone("burn")).await?;
        zoo.add("burn", "burn", json!({"rounds": "0000000000", "bytes": "000"})).await?;
        let (none, round, byte) = (fuel(zoo, 0, 0).await?, fuel(zoo, 1, 0).await?, fuel(zoo, 0, 1).await?);
        ensure!((1..900).contains(&(round - none)) && byte - none == 1, "a round costs {}, a byte {}", round - none, byte - none);
        let left = limit - none;
        let (rounds, bytes) = (left / (round - none), left % (round - none));
        ensure!(bytes >= 1);
        for short in [1, 0] {
            let used = fuel(zoo, rounds, bytes - short).await?;
            ensure!(used == limit - short, "{used}");
        }
        match used(zoo, rounds, bytes + 1).await? {
            Event::Faulted(fault) => ensure!(fault.kind == FaultKind::Fuel && fault.fuel == limit + 1, "{fault:#?}"),
            other => anyhow::bail!("{other:#?}"),
        }
        zoo.remove("burn").await
    });
}

#[test]
fn an_engine_that_lives_on_chance_gives_the_same_again_from_what_is_on_record() {
    visit(async |zoo| {
        let beast = Beast::alone("chance");
        zoo.offer(&beast).await?;
        zoo.add("chance", "chance", json!({})).await?;
        zoo.sees("chance", "it goes on", decided_several_times).await?;
        let decisions = decisions(zoo, "chance").await?;
        let engine = sandbox().load(&beast.component())?;
        let mut memories = std::collections::BTreeSet::new();
        for decision in &decisions {
            let again = remembered(&engine, decision.seed);
            ensure!(decision.memory.as_ref() == Some(&again), "{decision:#?}");
            memories.insert(again);
        }
        ensure!(memories.len() == decisions.len() && decisions.len() >= SEVERAL as usize, "every decision draws for itself");
        zoo.remove("chance").await
    });
}

/// The memory that an engine returns on a domain that is of no account to it.
fn remembered(engine: &LoadedEngine, seed: Seed) -> Vec<u8> {
    let cycle = Cycle::begin(Arc::new(domain(json!({}))), Arc::default(), Eyes::default(), NOW, Cause::Pulse, seed);
    engine.decide(cycle, b"").result.expect("it decides").memory
}

#[test]
fn an_engine_that_looks_for_what_calls_before_left_behind_finds_nothing() {
    visit(async |zoo| {
        zoo.offer(&Beast::of("snoop", Guest::new("snoop"))).await?;
        zoo.add("snoop", "snoop", json!({})).await?;
        zoo.sees("snoop", "it goes on", decided_several_times).await?;
        // What it saw before and after it had made a mess of everything; chance and time come behind that.
        let memories: Vec<_> = decisions(zoo, "snoop").await?.into_iter().filter_map(|it| it.memory).collect();
        ensure!(memories.len() >= SEVERAL as usize && memories.iter().all(|it| it[..16] == memories[0][..16]), "{memories:?}");
        ensure!(memories[0][..8] != memories[0][8..16], "it does see its own mess");
        zoo.remove("snoop").await
    });
}
