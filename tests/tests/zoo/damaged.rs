//! Files that were damaged on their way: most of them are refused, each with a reason, and the others are engines like any other.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use pilothouse_core::cycle::FaultKind;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::json;
use wasmparser::{Parser, Payload};

use crate::beast::Beast;
use crate::faults::{BORNE, told};
use crate::keeper::{Zoo, config, visit};

/// So many are damaged in each way, at most.
const CASES: usize = 40;

/// So many that are engines all the same, and get a domain, are enough: it takes its time to start and to end what they launch.
const DOMAINS: usize = 8;

/// So many decisions show that an engine goes on: it launches in every one, and ends in every other what the one before launched.
const SEVERAL: u64 = 3;

/// An engine that does nothing wrong, as long as it is whole.
fn whole(name: &str) -> Vec<u8> {
    Beast::once_as(name, "behave").component()
}

/// Some ways to damage, always the same ones.
fn drawn<S: Strategy>(damage: S, cases: usize) -> Result<Vec<S::Value>> {
    let mut runner = TestRunner::deterministic();
    let draw = || Ok(damage.new_tree(&mut runner).map_err(|reason| anyhow::anyhow!("{reason}"))?.current());
    std::iter::repeat_with(draw).take(cases).collect()
}

#[test]
fn a_component_that_was_cut_off_is_refused_wherever_the_cut_is() {
    visit(async |zoo| {
        let whole = whole("cut_off");
        for end in drawn(0..whole.len(), 32)? {
            let told = zoo.refusal(&whole[..end]).await?;
            let reasons = ["no WebAssembly", "damaged", "preamble", "does not export"];
            ensure!(reasons.iter().any(|reason| told.contains(reason)), "cut at {end}: {told}");
        }
        Ok(())
    });
}

#[test]
fn a_component_in_which_bits_were_turned_round_is_refused_or_does_no_harm() {
    visit(async |zoo| {
        let bits = drawn(prop::collection::vec(bit(), 1..6), CASES)?;
        // Hardly anything of a component stands for nothing.
        each_is_refused_or_does_no_harm(zoo, "damaged", &bits, |bytes| (0..bytes.len()).collect()).await?;
        Ok(())
    });
}

#[test]
fn an_engine_in_the_code_of_which_a_bit_was_turned_round_decides_or_fails_and_does_no_harm() {
    visit(async |zoo| {
        let bits = drawn(prop::collection::vec(bit(), 1), CASES)?;
        let taken = each_is_refused_or_does_no_harm(zoo, "confused", &bits, code).await?;
        ensure!(taken >= DOMAINS, "only {taken} were taken, and this is about them");
        Ok(())
    });
}

/// Which byte of those that may be hit, and which bit of it.
fn bit() -> impl Strategy<Value = Bit> {
    (any::<prop::sample::Index>(), 0u8..8)
}

type Bit = (prop::sample::Index, u8);

/// Where the code of a component is, without what comes before and after it.
fn code(component: &[u8]) -> Vec<usize> {
    let payloads = Parser::new(0).parse_all(component);
    let bodies = payloads.filter_map(|payload| match payload.expect("it is well formed") {
        Payload::CodeSectionEntry(body) => Some(body.range()),
        _ => None,
    });
    bodies.flatten().map(|at| usize::try_from(at).expect("it is in memory")).collect()
}

/// Turns bits round in a component, in some ways, and offers each to the host. Returns how many were taken.
async fn each_is_refused_or_does_no_harm(zoo: &Zoo, name: &str, ways: &[Vec<Bit>], may_hit: impl Fn(&[u8]) -> Vec<usize>) -> Result<usize> {
    let mut taken = 0;
    for (n, bits) in ways.iter().enumerate() {
        // Each under a name of its own: other bytes under the same one are refused for that.
        let name = format!("{name}_{n:02}");
        let mut bytes = whole(&name);
        let places = may_hit(&bytes);
        for (at, bit) in bits {
            bytes[*at.get(&places)] ^= 1 << bit;
        }
        let Ok(changed) = zoo.pushed(&bytes).await? else { continue };
        let digest = changed.digest.as_deref().context("a digest")?;
        decides_or_fails(zoo, &name, digest).await.with_context(|| name)?;
        taken += 1;
        if taken == DOMAINS {
            break;
        }
    }
    Ok(taken)
}

/// An engine that was taken, whatever it is by now, gets no domain because it can't check its configuration, or it decides, or its faults
/// count; and nothing happens that it has not decided. The neighbours go on.
async fn decides_or_fails(zoo: &Zoo, domain: &str, digest: &str) -> Result<()> {
    let mut config = config(digest, json!({}));
    // Whatever number it asks for.
    config["general"]["max_instances"] = json!(8);
    if let Err(why) = zoo.added(domain, config).await? {
        ensure!(why.contains("the engine failed to check its configuration"), "{why}");
        ensure!(zoo.records(domain).await?.is_empty(), "something is on record");
        return zoo.neighbours_go_on().await;
    }
    let asked = |decisions: u64, faults: u64| decisions >= SEVERAL || faults >= u64::from(BORNE);
    zoo.sees(domain, "it decides or fails", |it| asked(it.asked.decisions, it.asked.faults)).await?;
    zoo.neighbours_go_on().await?;

    // In this order: what is there by now is on record by then.
    let running = zoo.strangers().await?;
    let described = zoo.describe(domain).await?;
    let (decisions, faults) = told(zoo, domain).await?;
    ensure!(described.asked.decisions >= SEVERAL || faults.len() >= BORNE as usize, "{faults:#?}");
    // One that spins may meet a machine that is busy before it meets its fuel.
    ensure!(faults.iter().all(|it| it.kind.counts() || it.kind == FaultKind::Deadline), "{faults:#?}");
    let decided: BTreeSet<&str> = decisions.iter().flat_map(|it| &it.launches).flat_map(|it| &it.instances).map(|id| id.as_str()).collect();
    ensure!(running.iter().all(|id| decided.contains(id.as_str())), "{running:?} run, and it decided {decided:?}");
    let there = || described.instances.iter().map(|it| it.instance_id.as_str());
    ensure!(there().all(|id| decided.contains(id)), "{described:#?}\nand it decided {decided:?}");
    if described.summary.held.is_some() {
        let remembered = decisions.iter().rev().find_map(|it| it.memory.as_ref());
        ensure!(zoo.state(domain).await?.memory.as_ref() == remembered, "its memory is not what it decided: {remembered:?}");
    }
    zoo.remove(domain).await
}
