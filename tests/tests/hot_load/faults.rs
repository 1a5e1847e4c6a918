//! Versions that fail: where a domain goes then, and what is told of it.

use anyhow::{Context, Result, ensure};
use pilothouse::api::EngineFaults;
use pilothouse_core::domain::Happened;
use pilothouse_core::engine::HoldReason;
use pilothouse_tests::guest::Guest;
use pilothouse_tests::rig::SOON;
use pilothouse_tests::wait::eventually;
use serde_json::{Value, json};

use crate::ship::{Ship, called, content, never, tallied, tally};

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

    // Those who watch were told of each of them as it happened, and then what they led to.
    let story = || -> Vec<String> {
        let happened = ship.rig.happened().into_iter().filter(|it| it.domain.name.as_str() == "web");
        let line = |what: Happened| match what {
            Happened::Faulted { message, in_a_row } => Some(format!("{in_a_row}: {message}")),
            Happened::Swapped { engine, rolled_back, .. } => Some(format!("{}, back: {rolled_back}", engine.version)),
            _ => None,
        };
        happened.filter_map(|it| line(it.what)).collect()
    };
    eventually("it is told that it went back", SOON, async || story().last().is_some_and(|it| it == "1.0.0, back: true")).await?;
    let trap = "trap in decide: wasm trap: wasm `unreachable` instruction executed";
    let expected = ["1.1.0, back: false", &format!("1: {trap}"), &format!("2: {trap}"), &format!("3: {trap}"), "1.0.0, back: true"];
    ensure!(story() == expected, "{:#?}", story());

    let figures = ship.figures().await?;
    ensure!(figures.faults == [("trap".to_owned(), 3)].into(), "{figures:#?}");
    ensure!((figures.swaps, figures.rolled_back, figures.held, figures.shadows) == (2, 1, 0, 0), "{figures:#?}");
    let asked = goes_on.asked;
    ensure!(figures.asked >= asked.decisions + asked.faults && asked.decisions >= 1 && asked.faults == 3, "{asked:?}, {figures:#?}");
    let late = |name: &str| figures.lateness_ms.get(name).copied().with_context(|| format!("{name} in {figures:#?}"));
    ensure!(0.0 < late("p50")? && late("p50")? <= late("p99")? && late("p99")? <= late("max")?, "{figures:#?}");
    let more = async || ship.figures().await.is_ok_and(|it| it.asked > figures.asked && it.faults == figures.faults);
    eventually("it is asked again, and that is counted", SOON, more).await.with_context(|| ship.rig.logs())?;

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
    let figures = ship.figures().await?;
    ensure!((figures.swaps, figures.rolled_back) == (3, 1), "{figures:#?}");
    Ok(())
}

#[tokio::test]
async fn errors_that_a_version_returns_do_not_speak_against_it_however_many_there_are() -> Result<()> {
    let ship = Ship::new().await?;
    ship.push(&content("1.0.0"))?;
    ship.add("web", "guest").await?;
    ship.sees("web", "it decides", |it| it.summary.engine.version == "1.0.0" && it.asked.decisions >= 1).await?;
    ship.push(&called(Guest::new("refuse"), "1.1.0"))?;
    let more_than_three = async || ship.failed("web").iter().any(|(_, in_a_row)| *in_a_row >= 4);
    eventually("it has failed more than three times", SOON, more_than_three).await.with_context(|| ship.rig.logs())?;
    for (nth, (message, in_a_row)) in (1..).zip(ship.failed("web")) {
        ensure!(message == "returned in decide: type" && in_a_row == nth, "{:#?}", ship.failed("web"));
    }
    let stays = ship.describe("web").await?;
    ensure!(stays.summary.engine.version == "1.1.0" && stays.rejected.is_empty() && stays.summary.held.is_none(), "{stays:#?}");
    let faults: EngineFaults = serde_json::from_value(ship.engine(&["faults", "guest"])?)?;
    ensure!(faults.faults.len() >= 4 && faults.faults.iter().all(|it| !it.counted && it.led_to.is_none()), "{faults:#?}");
    let figures = ship.figures().await?;
    ensure!(figures.faults.keys().eq(["returned"]) && figures.faults["returned"] >= 4, "{figures:#?}");
    ensure!((figures.swaps, figures.rolled_back, figures.held) == (1, 0, 0), "{figures:#?}");
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
    let figures = async || -> Result<_> {
        let it = ship.figures().await?;
        Ok((it.faults, it.held, it.swaps, it.rolled_back))
    };
    ensure!(figures().await? == ([("trap".to_owned(), 3)].into(), 1, 0, 0), "{:#?}", ship.figures().await?);
    ensure!(ship.figures().await?.asked == 3, "it is not asked any more: {:#?}", ship.figures().await?);

    let asked = async || Ok::<_, anyhow::Error>(ship.engine(&["faults"])?["counts"]["trap"].as_u64().unwrap_or_default());
    ensure!(asked().await? == 3);
    let answer = ship.rig.run(&["domain", "retry", "web"])?;
    ensure!(answer.code == 0, "{answer:?}");
    eventually("it is tried again, and held again", SOON, async || asked().await.is_ok_and(|count| count == 6)).await?;
    ship.sees("web", "it is held again", |it| it.summary.held.is_some()).await?;
    ensure!(figures().await? == ([("trap".to_owned(), 6)].into(), 2, 0, 0), "{:#?}", ship.figures().await?);

    ship.push(&content("1.0.1"))?;
    let mended = ship.sees("web", "it is mended", |it| it.summary.engine.version == "1.0.1" && it.summary.held.is_none()).await?;
    ensure!(mended.summary.fault.is_none(), "{mended:#?}");
    ensure!(figures().await? == ([("trap".to_owned(), 6)].into(), 2, 1, 0), "{:#?}", ship.figures().await?);
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
