//! Versions that fail: where a domain goes then, and what is told of it.

use anyhow::{Context, Result, ensure};
use pilothouse::api::EngineFaults;
use pilothouse_core::engine::HoldReason;
use pilothouse_tests::rig::SOON;
use pilothouse_tests::wait::eventually;
use serde_json::{Value, json};

use crate::ship::{Ship, content, never, tallied, tally};

#[tokio::test]
async fn a_version_that_fails_three_times_is_left_for_the_one_before() -> Result<()> {
    let ship = Ship::new().await?;
    ship.push(&tally("1.0.0"))?;
    ship.add("web", "guest").await?;
    ship.sees("web", "it decides", |it| tallied(it).is_some()).await?;
    let fails = tally("1.1.0").with("  (memory.copy (i32.const 4096) (local.get $memory) (i32.const 3))", "  unreachable");
    ship.push(&fails)?;
    let back = ship.sees("web", "it went back", |it| it.summary.rolled_back.is_some()).await?;
    ensure!(back.summary.engine.version == "1.0.0" && back.rejected[0].engine.version == "1.1.0", "{back:#?}");
    let goes_on = ship.sees("web", "it decides", |it| it.summary.fault.is_none() && tallied(it).is_some()).await?;
    ensure!(tallied(&goes_on).is_some_and(|it| it[0] == 1), "its memory is as it was: {goes_on:#?}");

    let faults: EngineFaults = serde_json::from_value(ship.engine(&["faults", "guest"])?)?;
    ensure!(faults.faults.len() == 3 && faults.counts == [("trap".to_owned(), 3)].into() && !faults.more, "{faults:#?}");
    let newest = &faults.faults[0];
    ensure!(newest.engine.version == "1.1.0" && newest.counted && newest.call == "decide" && newest.fuel > 0, "{newest:#?}");
    ensure!(newest.led_to.as_deref() == Some("back to 1.0.0") && faults.faults[1].led_to.is_none(), "{faults:#?}");
    ensure!(newest.owner.as_str() == "default" && newest.domain.as_str() == "web" && !newest.backtrace.is_empty(), "{newest:#?}");
    for (arguments, count) in
        [(&["faults", "sensor"][..], 0), (&["faults", "--domain", "default/web"], 3), (&["faults", "--domain", "jobs"], 0)]
    {
        let faults = ship.engine(arguments)?;
        ensure!(faults["faults"].as_array().is_some_and(|it| it.len() == count), "{arguments:?}: {faults:#}");
    }
    let one = ship.engine(&["faults", "--limit", "1"])?;
    ensure!(one["more"] == true && one["counts"]["trap"] == 3, "{one:#}");
    let text = ship.told(&["engine", "faults"])?;
    ensure!(
        text.contains("default/web  guest@1.1.0  trap in decide, counted, BACK TO 1.0.0\n") && text.ends_with("3 trap in all\n"),
        "{text}"
    );
    let shown = ship.engine(&["show", "guest"])?;
    ensure!(shown["domains"][0]["rolled_back_from"] == "1.1.0" && shown["faults"].as_array().is_some_and(|it| it.len() == 3), "{shown:#}");

    // It is not taken up again by itself, a mended one is.
    ship.push(&tally("1.2.0"))?;
    ship.decided_by("web", "1.2.0").await?;
    Ok(())
}

#[tokio::test]
async fn one_that_nothing_came_before_is_held_until_a_mended_one_is_pushed() -> Result<()> {
    let ship = Ship::new().await?;
    ship.push(&never("1.0.0"))?;
    ship.add("web", "guest").await?;
    let held = ship.sees("web", "it is held", |it| it.summary.held.is_some()).await?;
    let why = held.summary.held.context("held")?.held.why;
    ensure!(matches!(why, HoldReason::Failed { faults: 3, .. }), "{why:?}");
    let faults = ship.engine(&["faults"])?;
    ensure!(faults["faults"][0]["led_to"] == "held", "{faults:#}");
    ensure!(ship.engine(&["show", "guest"])?["domains"][0]["held"] == true);

    let asked = async || Ok::<_, anyhow::Error>(ship.engine(&["faults"])?["counts"]["trap"].as_u64().unwrap_or_default());
    ensure!(asked().await? == 3);
    let answer = ship.rig.run(&["domain", "retry", "web"])?;
    ensure!(answer.code == 0, "{answer:?}");
    eventually("it is tried again, and held again", SOON, async || asked().await.is_ok_and(|count| count == 6)).await?;
    ship.sees("web", "it is held again", |it| it.summary.held.is_some()).await?;

    ship.push(&content("1.0.1"))?;
    let mended = ship.sees("web", "it is mended", |it| it.summary.engine.version == "1.0.1" && it.summary.held.is_none()).await?;
    ensure!(mended.summary.fault.is_none(), "{mended:#?}");
    Ok(())
}

#[tokio::test]
async fn a_shadow_from_the_registry_is_compared_told_and_promoted() -> Result<()> {
    let ship = Ship::new().await?;
    ship.push(&content("1.0.0"))?;
    ship.add("web", "guest@1").await?;
    ship.decided_by("web", "1.0.0").await?;
    let digest = ship.push(&content("2.0.0"))?["digest"].as_str().context("a digest")?.to_owned();
    ensure!(ship.rig.run(&["domain", "shadow", "web", "--engine", &digest, "--promote-after", "1s"])?.code == 0);
    let shadows = || Ok::<Value, anyhow::Error>(ship.engine(&["show", "guest"])?["shadows"].clone());
    let told = shadows()?;
    // It may have been promoted by now.
    if let Some(shadow) = told.get(0) {
        ensure!(shadow["domain"] == "web" && shadow["engine"]["version"] == "2.0.0" && shadow["tally"]["differed"] == 0, "{told:#}");
    }
    let promoted = ship.decided_by("web", "2.0.0").await?;
    ensure!(promoted.config["general"]["engine"] == json!(digest), "what it asks for is what it has: {:#}", promoted.config);
    ensure!(promoted.shadow.is_none() && ship.swaps("web").last().is_some_and(|(_, why)| why.contains("as a shadow it wanted the same")));
    ensure!(shadows()?.is_null() || shadows()? == json!([]));
    Ok(())
}
