//! What an engine may use up, changed while it decides.

use anyhow::{Result, ensure};
use pilothouse_tests::rig::SOON;
use pilothouse_tests::wait::eventually;

use crate::ship::{Ship, content};

#[tokio::test]
async fn limits_hold_from_the_next_call_on_and_until_they_are_taken_back() -> Result<()> {
    let mut ship = Ship::new().await?;
    ship.push(&content("1.0.0"))?;
    ship.add("web", "guest").await?;
    ship.sees("web", "it decides", |it| it.asked.decisions >= 2).await?;
    let limits = ship.engine(&["limits", "guest", "--set", "fuel=1", "--set", "requests=9000"])?;
    ensure!(limits["effective"]["fuel"] == 1 && limits["overrides"]["fuel"] == 1, "{limits:#}");
    ensure!(
        limits["effective"]["requests"] == 2000 && limits["cut"][0] == "/requests: 9000 is cut to the host's ceiling of 2000",
        "{limits:#}"
    );
    ensure!(limits["of_all"]["stack_bytes"] == 524_288 && limits["of_all"]["threads"].as_u64() >= Some(4), "{limits:#}");
    let held = ship.sees("web", "it runs out of fuel, and is held", |it| it.summary.held.is_some()).await?;
    let faults = ship.engine(&["faults"])?;
    ensure!(faults["counts"]["fuel"] == 3 && held.summary.engine.version == "1.0.0", "{faults:#}");

    // A host that is started again knows them before it asks an engine for anything.
    ship.restart()?;
    let answer = async || ship.rig.run(&["domain", "retry", "web"]).is_ok_and(|answer| answer.code == 0);
    eventually("it is tried again", SOON, answer).await?;
    eventually("it fails again", SOON, async || ship.engine(&["faults"]).is_ok_and(|it| it["counts"]["fuel"] == 3)).await?;
    let limits = ship.engine(&["limits", "guest", "--unset", "fuel"])?;
    ensure!(limits["effective"]["fuel"] == 1_000_000_000 && limits["overrides"]["fuel"].is_null(), "{limits:#}");
    ensure!(ship.rig.run(&["domain", "retry", "web"])?.code == 0);
    ship.sees("web", "it decides again", |it| it.summary.held.is_none() && it.summary.fault.is_none() && it.asked.decisions >= 1).await?;

    for (wrong, why) in [("fuel=0", "expected at least 1"), ("deadline_ms=3", "expected at least 10"), ("colour=3", "unknown field")] {
        let (code, told) = ship.fails(&["limits", "guest", "--set", wrong])?;
        ensure!(code == 2 && told.contains(why), "{wrong}: {told}");
    }
    ensure!(ship.fails(&["limits", "nobody", "--set", "fuel=5"])?.0 == 3);
    Ok(())
}
