//! Windows of a schedule on a real host, by the real clock: seen before they strike, and begun once, however the host dies.
//!
//! Patterns have minutes, so that each test waits for the minute that comes next.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use pilothouse::api::{DomainSchedule, Operation};
use pilothouse_core::time::{Millis, Timestamp};
use pilothouse_tests::rig::{Rig, keep};
use pilothouse_tests::wait::eventually;
use serde_json::{Value, json};

/// The program that has `serve`, `agent` and `provisioner local` as its first arguments.
const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");

/// What a host needs at most to start and to add a domain, for crowded machines.
const READY: Millis = Millis::from_secs(30);

/// Far more than the minute that is waited for, and what follows from it.
const SOON: Duration = Duration::from_secs(180);

/// The next full minute that leaves enough time before it.
fn next_minute() -> Result<Timestamp> {
    const MINUTE: u64 = 60_000;
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    Ok(Timestamp::from_millis(((now + READY.get()) / MINUTE + 1) * MINUTE))
}

/// A pattern for the minute of a moment.
fn pattern(at: Timestamp) -> String {
    let minutes = at.as_millis() / 60_000;
    format!("{} {} * * *", minutes % 60, minutes / 60 % 24)
}

/// No instance, and one from `start` on, for half an hour.
fn one_from(start: Timestamp) -> Value {
    let mut config = keep(0, "local");
    let end = start + Millis::from_secs(1800);
    config["schedule"] = json!([
        {"name": "soon", "time_zone": "UTC", "start": pattern(start), "end": pattern(end), "engine_conf": {"preserve_n": 1}},
    ]);
    config
}

async fn begins_once_although_the_host_dies(point: &str) -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let _site = rig.site("local").await?;
    let mark = rig.path("died-at");
    let mut host = rig.host_with("ship", &[("PILOTHOUSE_FAILPOINT", point), ("PILOTHOUSE_FAILPOINT_MARK", &mark.display().to_string())])?;
    let start = next_minute()?;
    rig.add_web(one_from(start)).await?;

    // Before it strikes.
    let schedule: DomainSchedule = rig.api.call(Operation::DomainSchedule, &json!({"domain": "web", "next": 1})).await?;
    ensure!(schedule.at < start, "the machine is too slow for this test: {schedule:?}");
    ensure!(schedule.on.is_empty() && schedule.next[0].at == start && schedule.engine_conf["preserve_n"] == 0, "{schedule:?}");
    let shown = rig.run(&["domain", "schedule", "web", "--next", "1"])?.json()?;
    ensure!(shown["next"] == json!(schedule.next) && shown["windows"] == json!(schedule.windows), "{shown:#}");
    let why = rig.run(&["why", "web"])?.json()?;
    ensure!(why["schedule"]["next"] == json!(schedule.next[0]) && why["schedule"]["on"] == json!([]), "{why:#}");

    eventually("the minute comes, and the host dies", SOON, async || mark.exists()).await.with_context(|| rig.logs())?;
    let status = host.ended().await.with_context(|| rig.logs())?;
    ensure!(status.signal() == Some(9) && fs::read_to_string(&mark)? == point, "it ended with {status}: {}", host.said());
    ensure!(rig.ledger.starts().is_empty(), "nothing was decided with it yet: {:?}", rig.ledger.starts());

    let _host = rig.host("ship")?;
    rig.settles_at(1).await?;
    let described = rig.describe().await?;
    ensure!(described.windows.iter().map(|name| name.as_str()).eq(["soon"]), "{described:?}");
    ensure!(described.config_revision == 2, "one switch, and no second one after the restart: {described:?}");
    ensure!(described.config["engine_conf"]["preserve_n"] == 0, "the configuration stays as it was written: {described:?}");
    ensure!(rig.ledger.starts().values().all(|starts| *starts == 1), "{:?}", rig.ledger.starts());
    let history = rig.run(&["history", "web"])?.json()?;
    let switches: Vec<_> = history["happenings"].as_array().into_iter().flatten().filter(|it| it["event"] == "scheduled").collect();
    let [switch] = &switches[..] else { anyhow::bail!("one switch: {switches:?}") };
    ensure!(switch["began"] == json!(["soon"]) && switch["changes"] == json!([{"key": "preserve_n", "from": 0, "to": 1}]), "{switch}");
    ensure!(switch["at"].as_u64() >= Some(start.as_millis()), "{switch}");
    Ok(())
}

#[tokio::test]
async fn a_window_whose_begin_was_not_yet_recorded_begins_with_the_next_host() -> Result<()> {
    begins_once_although_the_host_dies("before-append.scheduled").await
}

#[tokio::test]
async fn a_window_whose_begin_was_recorded_does_not_begin_again() -> Result<()> {
    begins_once_although_the_host_dies("after-append.scheduled").await
}

#[tokio::test]
async fn a_schedule_is_shown_changed_and_refused_by_commands() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let _host = rig.host("ship")?;
    rig.add_web(keep(0, "local")).await?;
    let text = |arguments: &[&str]| -> Result<(i32, String, String)> {
        let output = rig.ledger.command(PROGRAM).args(arguments).args(["--nats", &rig.nats.url(), "--user", "default"]).output()?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok((output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr)))
    };
    let (code, out, err) = text(&["domain", "schedule", "web"])?;
    ensure!(code == 0 && out.starts_with("domain web has no schedule"), "{out}{err}");

    let file = rig.path("day.toml");
    let window = |n: i32| {
        format!(
            "[[schedule]]\nname = 'always'\ntime_zone = 'Europe/Vienna'\nstart = '0 * * * *'\nend = '30 4 29 2 *'\nengine_conf = {{ preserve_n = {n} }}\n"
        )
    };
    let file_name = file.display().to_string();
    // A number that the engine refuses is found before it would come into force.
    fs::write(&file, window(-1))?;
    let (code, out, err) = text(&["domain", "diff", "web", &file_name])?;
    ensure!(
        code == 2 && out.contains("! /schedule/0/engine_conf/preserve_n: ") && out.contains("while always is on, as at "),
        "{out}{err}"
    );
    let (code, _, err) = text(&["domain", "reconfigure", "web", &file_name])?;
    ensure!(code == 2 && err.contains("/schedule/0/engine_conf/preserve_n"), "{err}");
    fs::write(rig.path("bad.toml"), window(0).replace("Vienna", "Vienne"))?;
    let (code, _, err) = text(&["definition", "add", "days", &rig.path("bad.toml").display().to_string(), "--engine", "simplest"])?;
    ensure!(code == 2 && err.contains("/schedule/0/time_zone"), "a definition is judged, too: {err}");
    ensure!(rig.describe().await?.config_revision == 1, "nothing has changed");

    fs::write(&file, window(2))?;
    let (code, out, err) = text(&["domain", "reconfigure", "web", &file_name])?;
    ensure!(code == 0 && out.contains("is at revision 3"), "the configuration, and the window that is on at once: {out}{err}");
    let (_, out, _) = text(&["domain", "schedule", "web", "--next", "2"])?;
    for part in [
        "always  on   0 * * * *  30 4 29 2 *  Europe/Vienna  preserve_n 2\n",
        "with preserve_n 2\n",
        "Europe/Vienna (20",
        "always ends: preserve_n 2 -> 0\n",
    ] {
        ensure!(out.contains(part), "{part:?} is not in:\n{out}");
    }
    let (_, out, _) = text(&["domain", "describe", "web"])?;
    ensure!(out.contains("schedule   always on") && out.contains("schedule[0] = {"), "{out}");
    let (_, out, _) = text(&["why", "web"])?;
    ensure!(
        out.contains("windows of its schedule that are on since 20") && out.contains("next: 20") && out.contains("always ends"),
        "{out}"
    );
    let (_, out, _) = text(&["history", "web"])?;
    ensure!(out.contains("web: schedule: window always began: preserve_n 0 -> 2"), "{out}");
    for (wrong, says) in [(&["domain", "schedule", "web", "--next", "101"][..], "101"), (&["domain", "schedule", "nobody"], "not found")] {
        let (code, _, err) = text(wrong)?;
        ensure!(code != 0 && err.contains(says), "{err}");
    }
    fs::write(&file, "schedule = []\n")?;
    let (code, out, err) = text(&["domain", "reconfigure", "web", &file_name])?;
    ensure!(code == 0 && out.contains("is at revision 5"), "{out}{err}");
    let described = rig.describe().await?;
    ensure!(described.windows.is_empty() && described.config.get("schedule").is_none(), "{described:?}");
    Ok(())
}
