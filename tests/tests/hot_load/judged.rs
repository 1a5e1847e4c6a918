//! A version that domains would follow says first whether it takes their configurations.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use pilothouse::api::Operation;
use pilothouse_tests::guest::Guest;
use pilothouse_tests::rig::SOON;
use pilothouse_tests::wait::eventually;
use serde_json::{Value, json};

use crate::ship::{Ship, brisk, content, demanding};

/// An engine that takes its time over every configuration that it is shown: a tenth of a second, or a few.
fn pensive(version: &str) -> Guest {
    let check = "#check-config\") (param i32 i32) (result i32)";
    let round = "(local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br_if $again (local.get 0))";
    content(version).with(check, &format!("{check} (local.set 0 (i32.const 100000000)) (loop $again {round})"))
}

/// With so many windows of a day: each but the first begins before the one before it has ended, so there are twice as many sets of them.
fn scheduled(windows: u32) -> Value {
    let window = |hour: u32| {
        let (start, end) = (format!("0 {hour} * * *"), format!("30 {} * * *", (hour + 1) % 24));
        json!({"name": format!("from-{hour}"), "time_zone": "UTC", "start": start, "end": end, "engine_conf": {"hour": hour}})
    };
    let mut config = brisk("guest");
    config["schedule"] = (0..windows).map(window).collect();
    config
}

#[tokio::test]
async fn however_many_versions_would_not_take_the_configuration_one_that_does_is_taken_up() -> Result<()> {
    let ship = Ship::new().await?;
    ship.push(&content("1.0.0"))?;
    ship.add("web", "guest").await?;
    ship.decided_by("web", "1.0.0").await?;
    for n in 0..34 {
        ship.push(&demanding(&format!("2.{}.{}", n / 10, n % 10)))?;
    }
    ship.push(&content("1.1.0"))?;
    ship.decided_by("web", "1.1.0").await?;
    let told = ship.told(&["why", "web"])?;
    ensure!(told.contains("does NOT TAKE UP guest 2.3.3: that would not take the configuration"), "{told}");
    Ok(())
}

#[tokio::test]
async fn a_version_is_judged_to_the_end_and_taken_up_whatever_else_changes_meanwhile() -> Result<()> {
    let ship = Ship::limited("time_out_ms = 60000").await?;
    ship.push(&content("1.0.0"))?;
    ship.rig.add("web", scheduled(12)).await?;
    ship.decided_by("web", "1.0.0").await?;
    ship.push(&pensive("1.1.0"))?;
    let (begun, mut changes) = (Instant::now(), 0);
    while ship.version("web").await? == "1.0.0" {
        ensure!(begun.elapsed() < SOON, "it is not taken up as long as something changes\n{}", ship.rig.logs());
        // What the registry says of an engine has all domains look.
        changes += 1;
        let _changed: Value =
            ship.rig.api.call(Operation::EngineLimit, &json!({"name": "guest", "limits": {"requests": 1000 + changes}})).await?;
    }
    ensure!(ship.version("web").await? == "1.1.0" && changes >= 3, "{changes} changes");
    Ok(())
}

#[tokio::test]
async fn a_version_that_can_not_be_judged_is_told_and_taken_up_once_it_can() -> Result<()> {
    let ship = Ship::limited("deadline_ms = 2000\ntime_out_ms = 2000").await?;
    ship.push(&content("1.0.0"))?;
    ship.rig.add("web", scheduled(24)).await?;
    ship.decided_by("web", "1.0.0").await?;
    ship.push(&pensive("1.1.0"))?;
    let headline =
        "does NOT TAKE UP guest 1.1.0: its host can't use that: whether it takes the configuration could not be found out so far";
    let told = || ship.told(&["why", "web"]).is_ok_and(|it| it.contains(headline));
    eventually("it is told", SOON, async || told()).await.with_context(|| ship.rig.logs())?;
    let warned = || ship.rig.logs().contains("a version is not taken up: it could not be judged, and is judged again");
    eventually("operators of the host are told, too", SOON, async || warned()).await.with_context(|| ship.rig.logs())?;
    ensure!(told() && ship.version("web").await? == "1.0.0");
    ship.rig.reconfigure(json!({"schedule": []})).await?;
    ship.decided_by("web", "1.1.0").await?;
    ensure!(!told());
    Ok(())
}
