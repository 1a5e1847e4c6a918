//! Engines that misbehave elsewhere than in `decide`.

use anyhow::{Context, Result, ensure};
use pilothouse::api::{DomainDescription, Operation};
use pilothouse_core::cycle::FaultKind;
use pilothouse_core::record::Event;
use pilothouse_tests::guest::Guest;
use serde_json::{Value, json};

use crate::beast::Beast;
use crate::keeper::{Zoo, visit};

const SPINS: &str = "(loop $again (br $again))";

fn is_held(it: &DomainDescription) -> bool {
    it.summary.held.is_some()
}

/// Every fault is of this call, and in these words.
async fn only_fails_in(zoo: &Zoo, domain: &str, call: &str, kind: FaultKind, words: &str) -> Result<()> {
    let events = zoo.events(domain).await?;
    let faults: Vec<_> = events.iter().filter_map(|event| if let Event::Faulted(fault) = event { Some(fault) } else { None }).collect();
    ensure!(!faults.is_empty(), "{events:#?}");
    ensure!(faults.iter().all(|it| it.call == call && it.kind == kind && it.message.contains(words)), "{faults:#?}");
    Ok(())
}

#[test]
fn an_engine_that_spins_in_initialize_never_comes_to_decide() {
    visit(async |zoo| {
        zoo.offer(&Beast::quiet("slow_start").with(";; its first memory", SPINS)).await?;
        zoo.add("slow", "slow_start", json!({})).await?;
        let seen = zoo.sees("slow", "its engine is held", is_held).await?;
        only_fails_in(zoo, "slow", "initialize", FaultKind::Fuel, "units of fuel").await?;
        ensure!(seen.instances.is_empty() && zoo.state("slow").await?.memory.is_none(), "{seen:#?}");
        zoo.remove("slow").await
    });
}

#[test]
fn an_engine_that_gives_up_in_reconfigure_keeps_the_memory_from_before() {
    visit(async |zoo| {
        let beast = Beast::of("unwilling", Guest::new("brittle")).with("  ;; what it sets", "unreachable");
        zoo.offer(&beast).await?;
        zoo.add("unwilling", "unwilling", json!({})).await?;
        zoo.sees("unwilling", "it decides", |it| it.asked.decisions >= 2).await?;
        let before = zoo.state("unwilling").await?.memory.context("a memory")?;
        let change = json!({"domain": "unwilling", "config": {"engine_conf": {"a": 1}}});
        let _: Value = zoo.rig.api.call(Operation::DomainReconfigure, &change).await?;
        zoo.sees("unwilling", "its engine is held", is_held).await?;
        only_fails_in(zoo, "unwilling", "reconfigure", FaultKind::Trap, "unreachable").await?;
        ensure!(before == [1] && zoo.state("unwilling").await?.memory.as_ref() == Some(&before), "its memory is as it was");
        zoo.remove("unwilling").await
    });
}

#[test]
fn an_engine_that_spins_while_it_checks_a_configuration_gets_no_domain() {
    visit(async |zoo| {
        let check = "#check-config\") (param i32 i32) (result i32)";
        zoo.offer(&Beast::quiet("brooding").with(check, &format!("{check} {SPINS}"))).await?;
        let told = zoo.add_refused("brooding", "brooding").await?;
        ensure!(told.contains("the engine failed to check its configuration: fuel"), "{told}");
        ensure!(zoo.records("brooding").await?.is_empty(), "nothing is on record");
        Ok(())
    });
}

#[test]
fn an_engine_that_finds_hundreds_of_millions_of_problems_gets_no_domain() {
    visit(async |zoo| {
        let check = "#check-config\") (param i32 i32) (result i32)";
        let problems = "(i32.store (i32.const 1024) (i32.const 4096)) (i32.store (i32.const 1028) (i32.const 0x10000000))";
        zoo.offer(&Beast::quiet("fussy").with(check, &format!("{check} {problems}"))).await?;
        let told = zoo.add_refused("fussy", "fussy").await?;
        ensure!(told.contains("the engine failed to check its configuration: output"), "{told}");
        ensure!(zoo.records("fussy").await?.is_empty(), "nothing is on record");
        Ok(())
    });
}

#[test]
fn a_domain_goes_although_its_engine_spins_when_it_retires() {
    visit(async |zoo| {
        let retire = "#retire\") (param i32 i32)";
        zoo.offer(&Beast::once_as("clinging", "behave").with(retire, &format!("{retire} {SPINS}"))).await?;
        zoo.add("clinging", "clinging", json!({})).await?;
        zoo.sees("clinging", "it decides", |it| it.asked.decisions >= 2).await?;
        zoo.remove("clinging").await?;
        ensure!(zoo.said().contains("the engine failed to retire"), "it is told in the log");
        Ok(())
    });
}
