//! The host dies in the worst moments, and the promise is kept: nothing is started twice, nothing is lost.
//!
//! Each test names the point, shows by a mark that the host died there and by a signal, looks at what really ran in that moment, starts the
//! host again, and compares the journal's promise with an independent ledger of processes.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;

use anyhow::{Context, Result, ensure};
use pilothouse::api::{CallError, Operation};
use pilothouse_core::command::ApiError;
use pilothouse_core::instance::State;
use pilothouse_tests::guest::Guest;
use pilothouse_tests::processes::Program;
use pilothouse_tests::rig::{Rig, SOON, keep};
use pilothouse_tests::wait::eventually;
use serde_json::{Value, json};

/// The program that has `serve`, `agent` and `provisioner local` as its first arguments.
const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");

/// Two instances with identities, so that one decision makes two launches, and each is a request of its own.
fn two_launches() -> Value {
    json!({
        "general": { "engine": "npreserving", "decide_interval": 0.2 },
        "health": { "boot_timeout": 30, "missing_timeout": 4, "really_missing_timeout": 1, "zombie_seconds": 10 },
        "engine_conf": {
            "preserve_n": 2,
            "unique_instances": { "red": { "colour": "red" }, "blue": { "colour": "blue" } },
            "force_site": "a",
            "epuworker_type": "worker",
        },
    })
}

struct Wreck {
    rig: Rig,
    _sites: [Program; 2],
}

impl Wreck {
    async fn new() -> Result<Self> {
        let rig = Rig::new(PROGRAM).await?;
        let sites = [rig.site("a").await?, rig.site("b").await?];
        Ok(Self { rig, _sites: sites })
    }

    /// A host that will die at a point.
    fn doomed(&self, point: &str) -> Result<Program> {
        let mark = self.rig.path("died-at").display().to_string();
        self.rig.host_with("ship", &[("PILOTHOUSE_FAILPOINT", point), ("PILOTHOUSE_FAILPOINT_MARK", &mark)])
    }

    /// Waits until the host has died, and shows that it died at the point and by a signal.
    async fn dies(&self, mut host: Program, point: &str) -> Result<()> {
        let status = host.ended().await.with_context(|| self.rig.logs())?;
        ensure!(status.signal() == Some(9), "it ended with {status}: {}", host.said());
        let mark = fs::read_to_string(self.rig.path("died-at")).context("the mark of the point")?;
        ensure!(mark == point, "died at {mark}");
        Ok(())
    }

    /// Starts the host again and compares, once `web` has settled, what the journal promised with what was ever started.
    async fn keeps_its_promise(&self, count: usize) -> Result<Program> {
        let host = self.rig.host("ship")?;
        let settled = self.rig.settles_at(count).await?;
        let promised: BTreeSet<String> = self.rig.describe().await?.instances.iter().map(|it| it.instance_id.to_string()).collect();
        let starts = self.rig.ledger.starts();
        ensure!(starts.values().all(|starts| *starts == 1), "started twice: {starts:?}");
        let started: BTreeSet<String> = starts.into_keys().collect();
        ensure!(started == promised, "started {started:?}, promised {promised:?}");
        ensure!(settled.len() == count);
        Ok(host)
    }
}

async fn dies_launching(point: &str, config: Value, count: usize, promised: usize, running: impl Fn(usize) -> bool) -> Result<()> {
    let wreck = Wreck::new().await?;
    let host = wreck.doomed(point)?;
    wreck.rig.add_web(config).await?;
    wreck.dies(host, point).await?;
    // What was asked for before the death still goes on; nothing else can.
    if running(0) {
        ensure!(wreck.rig.ledger.starts().is_empty(), "nothing may have been started: {:?}", wreck.rig.ledger.starts());
    } else {
        eventually("what was asked for runs", SOON, async || running(wreck.rig.ledger.starts().len())).await?;
    }
    let _host = wreck.keeps_its_promise(count).await?;
    let all = wreck.rig.describe().await?.instances;
    ensure!(all.len() == promised, "{} launches in all, not {promised}: {all:#?}", all.len());
    Ok(())
}

#[tokio::test]
async fn a_launch_that_was_not_yet_recorded_is_decided_again() -> Result<()> {
    dies_launching("before-append.launch", keep(3, "a"), 3, 3, |started| started == 0).await
}

#[tokio::test]
async fn a_launch_that_was_recorded_but_not_asked_for_is_asked_for() -> Result<()> {
    dies_launching("after-append.launch", keep(3, "a"), 3, 3, |started| started == 0).await
}

#[tokio::test]
async fn of_two_launches_the_one_that_was_not_asked_for_is_asked_for() -> Result<()> {
    dies_launching("between-effects.launch", two_launches(), 2, 2, |started| started == 1).await
}

#[tokio::test]
async fn a_launch_that_was_asked_for_but_not_acknowledged_is_not_doubled() -> Result<()> {
    dies_launching("after-effect.launch", keep(3, "a"), 3, 3, |started| started == 3).await
}

/// Four instances at two sites, then none: one decision, and a request to each site.
async fn dies_terminating(point: &str, left: impl Fn(usize) -> bool) -> Result<()> {
    let wreck = Wreck::new().await?;
    let host = wreck.doomed(point)?;
    wreck.rig.add_web(keep(2, "a")).await?;
    wreck.rig.settles_at(2).await?;
    wreck.rig.reconfigure(keep(4, "b")).await?;
    let four = wreck.rig.settles_at(4).await?;
    let sites: BTreeSet<&str> = four.iter().map(|it| it.site.as_str()).collect();
    ensure!(sites.len() == 2, "two at each site: {four:?}");
    wreck.rig.reconfigure(keep(0, "b")).await?;
    wreck.dies(host, point).await?;
    let alive = || wreck.rig.ledger.alive().len();
    if left(4) {
        ensure!(alive() == 4, "nothing may have been terminated");
    } else {
        eventually("what was asked for is gone", SOON, async || left(alive())).await?;
    }
    let _host = wreck.keeps_its_promise(0).await?;
    let all = wreck.rig.describe().await?.instances;
    ensure!(all.len() == 4 && all.iter().all(|it| it.state == State::Terminated), "{all:#?}");
    Ok(())
}

#[tokio::test]
async fn a_termination_that_was_not_yet_recorded_is_decided_again() -> Result<()> {
    dies_terminating("before-append.terminate", |left| left == 4).await
}

#[tokio::test]
async fn a_termination_that_was_recorded_but_not_asked_for_is_asked_for() -> Result<()> {
    dies_terminating("after-append.terminate", |left| left == 4).await
}

#[tokio::test]
async fn of_two_terminations_the_one_that_was_not_asked_for_is_asked_for() -> Result<()> {
    dies_terminating("between-effects.terminate", |left| left == 2).await
}

#[tokio::test]
async fn a_termination_that_was_asked_for_but_not_confirmed_is_completed() -> Result<()> {
    dies_terminating("after-effect.terminate", |left| left == 2).await
}

#[tokio::test]
async fn an_engine_is_told_that_its_domain_goes_also_by_a_host_that_never_asked_it() -> Result<()> {
    let wreck = Wreck::new().await?;
    // It fails when it is told, and so leaves a trace.
    let brittle = Guest::new("brittle").with("#retire\") (param i32 i32))", "#retire\") (param i32 i32) unreachable)");
    let file = wreck.rig.path("brittle.wasm");
    fs::write(&file, brittle.component())?;
    let point = "before-append.removed";
    let mut command = wreck.rig.host_command("ship", &wreck.rig.nats.url());
    command.arg("--engine").arg(file).env("PILOTHOUSE_FAILPOINT", point).env("PILOTHOUSE_FAILPOINT_MARK", wreck.rig.path("died-at"));
    let host = wreck.rig.start("ship", command)?;
    wreck.rig.add_web(json!({"general": {"engine": "guest", "decide_interval": 0.2}, "health": {"monitor_health": false}})).await?;
    eventually("it has decided, and has a memory", SOON, async || {
        let told = wreck.rig.api.call::<Value>(Operation::Why, &json!({"domain": "web", "last": 1})).await.unwrap_or_default();
        told["decisions"].as_array().is_some_and(|all| !all.is_empty())
    })
    .await
    .with_context(|| wreck.rig.logs())?;
    let _ = wreck.rig.run(&["domain", "remove", "web"])?;
    wreck.dies(host, point).await?;

    let mut command = wreck.rig.host_command("ship", &wreck.rig.nats.url());
    command.env("RUST_LOG", "info");
    let next = wreck.rig.start("next", command)?;
    eventually("the domain is gone", SOON, async || {
        matches!(
            wreck.rig.api.call::<Value>(Operation::DomainDescribe, &json!({"domain": "web"})).await,
            Err(CallError::Api(ApiError::NotFound { .. }))
        )
    })
    .await
    .with_context(|| wreck.rig.logs())?;
    let said = next.said();
    ensure!(said.contains("failed to retire") && said.contains("trap"), "{said}");
    Ok(())
}
