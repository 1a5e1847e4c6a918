//! Versions that can't read the memory of the one before, in a domain whose instances really run.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use pilothouse::api::{DomainDescription, EngineFaults};
use pilothouse_core::domain::Happened;
use pilothouse_core::engine::HoldReason;
use pilothouse_core::instance::State;
use pilothouse_tests::guest::Guest;
use pilothouse_tests::processes::Program;
use pilothouse_tests::rig::SOON;
use pilothouse_tests::wait::eventually;
use serde_json::{Value, json};

use crate::ship::{Ship, brisk, called};

/// An engine that launches three when it remembers nothing, and remembers that from then on. It tells what it remembers.
fn first(version: &str) -> Guest {
    let guest = Guest::new("settler")
        .with("\"type\\00\\00\\00\\00site\"", "\"worker\\00\\00local\"")
        .with("(i32.const 128) (i32.const 4) (i32.const 136) (i32.const 4)", "(i32.const 128) (i32.const 6) (i32.const 136) (i32.const 5)");
    called(guest, version)
}

/// The same, but it can't read the memory of another, and where it begins it remembers how many run then.
fn stranger(version: &str) -> Guest {
    let counts = r#"(import "pilothouse:engine/state@0.1.0" "[method]domain.counts" (func $counts (param i32 i32)))"#;
    // `memory`, with a text.
    let refuses = "(i32.store8 (i32.const 1024) (i32.const 1)) (i32.store8 (i32.const 1028) (i32.const 1)) \
                   (i32.store (i32.const 1032) (i32.const 160)) (i32.store (i32.const 1036) (i32.const 14))";
    // The fourth of the counts.
    let counted = "(call $counts (local.get $domain) (i32.const 2048)) \
                   (i32.store8 (i32.const 4096) (i32.add (i32.const 48) (i32.load (i32.const 2060)))) \
                   (i32.store (i32.const 1028) (i32.const 4096)) (i32.store (i32.const 1032) (i32.const 1))";
    let begins = "#initialize\") (param $domain i32) (param $setup i32) (result i32)";
    first(version)
        .with("  ;; more imports", counts)
        .with("(global $heap ", "(data (i32.const 160) \"of another age\")\n  (global $heap ")
        .with(begins, &format!("{begins}\n    {counted}"))
        .with("(i32.store8 (i32.const 1024) (i32.const 1)) (i32.store8 (i32.const 1028) (i32.const 2))", refuses)
}

/// A ship with a site, and a domain of three that run. Their ids.
async fn three_run(ship: &Ship, config: Value) -> Result<(Program, BTreeSet<String>)> {
    let site = ship.rig.site("local").await?;
    ship.push(&first("1.0.0"))?;
    ship.rig.add("web", config).await?;
    let all_run = |it: &DomainDescription| it.instances.len() == 3 && it.instances.iter().all(|it| it.state == State::Running);
    let described = ship.sees("web", "three run", all_run).await?;
    ensure!(described.summary.engine.version == "1.0.0", "{described:#?}");
    let ids: BTreeSet<_> = described.instances.iter().map(|it| it.instance_id.to_string()).collect();
    eventually("all of them have a process", SOON, async || ship.rig.ledger.alive().into_keys().eq(ids.iter().cloned())).await?;
    Ok((site, ids))
}

/// None of them went, and none was started, whoever decides: not even by later decisions.
async fn are_as_they_were(ship: &Ship, ids: &BTreeSet<String>) -> Result<()> {
    let described = ship.describe("web").await?;
    let there = described.instances.iter().map(|it| it.instance_id.as_str()).collect::<BTreeSet<_>>();
    ensure!(there.iter().eq(ids) && described.instances.iter().all(|it| it.state == State::Running), "{described:#?}");
    let (alive, starts) = (ship.rig.ledger.alive(), ship.rig.ledger.starts());
    ensure!(alive.keys().eq(ids) && starts.keys().eq(ids) && starts.values().all(|it| *it == 1), "{alive:#?}\n{starts:#?}");
    let asked_for = |it: &Happened| matches!(it, Happened::Decided { launches, terminations, .. } if launches + terminations > 0);
    let happened = ship.rig.happened();
    ensure!(happened.iter().filter(|it| asked_for(&it.what)).count() == 1, "{happened:#?}");
    Ok(())
}

/// It began anew with the three that ran, and goes on from there.
async fn began_with_three(ship: &Ship, ids: &BTreeSet<String>) -> Result<()> {
    let began = ship.sees("web", "it began with three", |it| it.summary.engine.version == "1.1.0" && it.summary.reason == "3").await?;
    let is_well = |it: &DomainDescription| it.summary.fault.is_none() && it.summary.held.is_none() && it.rejected.is_empty();
    ensure!(is_well(&began), "{began:#?}");
    let asked = began.asked.decisions + 3;
    let goes_on = ship.sees("web", "it goes on", |it| it.asked.decisions >= asked).await?;
    ensure!(is_well(&goes_on) && goes_on.summary.reason == "3" && goes_on.summary.engine.version == "1.1.0", "{goes_on:#?}");
    let why = ship.told(&["why", "web"])?;
    for part in [
        "  the engine began with a fresh memory\n",
        "  it saw 3 running of 3\n",
        "  it asked for nothing\n",
        "  it logged warn: begins anew, as it can't make use of the memory of the version before: of another age\n",
    ] {
        ensure!(why.contains(part), "{part:?} is not in:\n{why}");
    }
    are_as_they_were(ship, ids).await
}

#[tokio::test]
async fn a_version_that_refuses_the_memory_begins_anew_with_the_instances_that_run() -> Result<()> {
    let ship = Ship::new().await?;
    let (_site, ids) = three_run(&ship, brisk("guest")).await?;
    ship.push(&stranger("1.1.0"))?;
    began_with_three(&ship, &ids).await?;
    let figures = ship.figures().await?;
    ensure!(figures.faults.is_empty() && (figures.swaps, figures.rolled_back, figures.held) == (1, 0, 0), "{figures:#?}");
    ensure!(ship.failed("web").is_empty() && ship.swaps("web").len() == 1, "{:#?}", ship.rig.happened());
    Ok(())
}

#[tokio::test]
async fn a_version_that_refuses_the_memory_is_held_where_that_is_configured_until_it_may_begin_anew() -> Result<()> {
    let ship = Ship::new().await?;
    let mut config = brisk("guest");
    config["general"]["memory_refused"] = json!("hold");
    let (_site, ids) = three_run(&ship, config).await?;
    ship.push(&stranger("1.1.0"))?;
    let held = ship.sees("web", "it is held", |it| it.summary.held.is_some()).await?;
    ensure!(held.summary.engine.version == "1.1.0" && held.rejected.is_empty() && held.summary.rolled_back.is_none(), "{held:#?}");
    let told = held.summary.held.context("held")?.held;
    ensure!(told.engine.version == "1.1.0" && told.why == HoldReason::MemoryRefused { message: "of another age".to_owned() }, "{told:#?}");
    let of_held = |it: &Happened| match it {
        Happened::Held { why, .. } => Some(why.clone()),
        _ => None,
    };
    let holds = || ship.rig.happened().iter().filter_map(|it| of_held(&it.what)).collect::<Vec<_>>();
    eventually("that is told", SOON, async || !holds().is_empty()).await?;
    let not_understood = "guest 1.1.0 does not understand the memory of the version before: of another age";
    ensure!(holds() == [format!("HELD: {not_understood}")], "{:?}", holds());
    ensure!(ship.failed("web") == [("returned in reconfigure: the memory can't be read: of another age".to_owned(), 1)]);
    let faults: EngineFaults = serde_json::from_value(ship.engine(&["faults", "guest"])?)?;
    ensure!(faults.faults.len() == 1 && faults.faults[0].call == "reconfigure" && !faults.faults[0].counted, "{faults:#?}");
    let figures = ship.figures().await?;
    ensure!(figures.faults == [("returned".to_owned(), 1)].into(), "{figures:#?}");
    ensure!((figures.swaps, figures.rolled_back, figures.held) == (1, 0, 1), "{figures:#?}");

    let why = ship.told(&["why", "web"])?;
    let mends = "pilothouse domain reconfigure web --set general.memory_refused=initialize";
    ensure!(why.starts_with("Domain web gets NO DECISIONS: its engine is HELD since ") && why.contains(not_understood), "{why}");
    ensure!(why.contains(mends), "{why}");
    ensure!(ship.told(&["domain", "list"])?.contains("HELD"));
    are_as_they_were(&ship, &ids).await?;

    // What it says helps.
    let arguments: Vec<_> = mends.split(' ').skip(1).collect();
    let answer = ship.rig.run(&arguments)?;
    ensure!(answer.code == 0, "{answer:?}");
    began_with_three(&ship, &ids).await
}
