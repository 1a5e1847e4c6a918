//! Readings on real parts: workers and a domain tell something over a real server, a real host listens, and the engine `sensor` follows
//! it; or holds still, when nobody tells anything any more.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pilothouse::api::DomainDescription;
use pilothouse_core::domain::{Happened, Happening};
use pilothouse_core::message::Reading;
use pilothouse_core::name::{DomainKey, Slot};
use pilothouse_core::sensor::Sample;
use pilothouse_core::subject::DataKind;
use pilothouse_core::time::{Millis, Timestamp};
use pilothouse_tests::rig::{Rig, SOON, WEB};
use pilothouse_tests::wait::eventually;
use serde_json::{Value, json};
use tokio::time::interval;

/// The program that has `serve`, `agent` and `provisioner local` as its first arguments.
const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");

/// How often sensors tell something.
const EVERY: Duration = Duration::from_millis(100);

/// Grows above 4 and shrinks below 1, by one; readings count for two seconds.
fn sensor(keys: Value) -> Value {
    let mut engine_conf = json!({
        "metric": "load", "sample_period": 2, "cooldown_period": 1,
        "scale_up_threshold": 4, "scale_up_n_vms": 1, "scale_down_threshold": 1, "scale_down_n_vms": 1,
        "minimum_vms": 1, "maximum_vms": 3, "iaas_site": "local", "deployable_type": "worker",
    });
    let all = engine_conf.as_object_mut().expect("an object");
    all.extend(keys.as_object().cloned().expect("an object"));
    json!({
        "general": { "engine": "sensor", "decide_interval": 0.2 },
        "health": { "boot_timeout": 30, "missing_timeout": 30 },
        "engine_conf": engine_conf,
    })
}

/// Who tells something.
#[derive(Clone, Copy)]
enum Who {
    /// Every instance of which a process runs.
    Instances,
    /// Somebody for the domain as a whole.
    Domain,
}

/// They tell this, again and again, while something else goes on.
async fn telling<T>(rig: &Rig, who: Who, value: f64, meanwhile: impl Future<Output = Result<T>>) -> Result<T> {
    let tell = async {
        let (mut every, nats, subjects) = (interval(EVERY), rig.api.nats(), rig.api.subjects());
        let key = DomainKey { owner: "default".parse()?, name: WEB.parse()? };
        let slot = key.slot(Slot::DEFAULT_COUNT);
        loop {
            every.tick().await;
            let time = Timestamp::from_millis(u64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_millis())?);
            let reading = Reading { metric: "load".to_owned(), time, value };
            match who {
                Who::Domain => nats.publish(subjects.domain_sensor(slot, &key), reading.to_json(None).into()).await?,
                Who::Instances => {
                    for id in rig.ledger.alive().keys() {
                        let subject = subjects.data(DataKind::Sensor, slot, &id.parse()?);
                        nats.publish(subject, reading.to_json(Some(id)).into()).await?;
                    }
                }
            }
        }
    };
    tokio::select! {
        told = meanwhile => told,
        failed = tell => failed,
    }
}

/// What was decided so far.
fn decisions(rig: &Rig) -> Vec<(Timestamp, String, usize, usize)> {
    let decided = |it: Happening| match it.what {
        Happened::Decided { reason, launches, terminations, .. } => Some((it.at, reason, launches, terminations)),
        _ => None,
    };
    rig.happened().into_iter().filter_map(decided).collect()
}

/// Waits until the domain is described as it should be.
async fn described(rig: &Rig, what: &str, wanted: impl Fn(&DomainDescription) -> bool) -> Result<()> {
    let is_so = async || rig.describe().await.is_ok_and(|it| wanted(&it));
    eventually(what, SOON, is_so).await.with_context(|| rig.logs())
}

/// Lets time pass: what is waited for is the clock itself.
async fn passes(seconds: u64) -> Result<()> {
    let then = Instant::now() + Duration::from_secs(seconds);
    eventually("time passes", SOON, async || Instant::now() >= then).await
}

fn newest(readings: &DomainDescription) -> Vec<Sample> {
    readings.instances.iter().filter(|it| it.state.is_valid()).filter_map(|it| it.sensor_data.get("load")).map(|it| it.newest).collect()
}

#[tokio::test]
async fn a_domain_follows_the_readings_of_its_instances_and_holds_still_without_any() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let (host, _site) = (rig.host("ship")?, rig.site("local").await?);
    rig.add_web(sensor(json!({}))).await?;
    rig.settles_at(1).await?;
    telling(&rig, Who::Instances, 9.0, async {
        rig.settles_at(3).await?;
        described(&rig, "every reading is a value", |it| newest(it) == [Sample::Value(9.0); 3]).await
    })
    .await?;

    // Nobody tells anything any more: what was told last grows old, and is neither believed nor taken for zero.
    let is_stale = |it: &Sample| matches!(it, Sample::Stale(value, age) if *value == 9.0 && *age > Millis::from_secs(2));
    described(&rig, "every reading is stale", |it| newest(it).len() == 3 && newest(it).iter().all(is_stale)).await?;
    // More than the period and some cooldowns.
    passes(4).await?;
    rig.settles_at(3).await?;
    // A host that takes the domain has no readings: those are in nobody's journal.
    host.crash().await?;
    let _host = rig.host("ship")?;
    described(&rig, "nothing is known of any reading", |it| it.epoch == 2 && newest(it).iter().all(|it| *it == Sample::Absent)).await?;
    passes(2).await?;
    rig.settles_at(3).await?;
    ensure!(rig.ledger.starts().values().copied().collect::<Vec<_>>() == [1; 3], "nobody came or went: {:?}", rig.ledger.starts());

    // And a low load is one.
    telling(&rig, Who::Instances, 0.5, rig.settles_at(1)).await?;
    let shrank: Vec<String> =
        decisions(&rig).into_iter().filter(|(.., terminations)| *terminations > 0).map(|(_, reason, ..)| reason).collect();
    ensure!(shrank.len() == 2 && shrank.iter().all(|reason| reason.contains("load is 0.500 over ")), "{shrank:?}");

    // Why, in the words that people see.
    let why = rig.run(&["why", WEB, "--last", "50"])?;
    for compared in ["load is 9.000 over 1 instance, above 4: from 1 to 2", "load is 0.500 over 3 instances, below 1: from 3 to 2"] {
        ensure!(why.out.contains(compared), "{compared}: {why:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_domain_comes_from_nothing_and_goes_to_nothing_by_readings_of_its_own() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let (_host, _site) = (rig.host("ship")?, rig.site("local").await?);
    rig.add_web(sensor(json!({ "scope": "domain", "minimum_vms": 0, "maximum_vms": 2 }))).await?;
    described(&rig, "it is content with nobody", |it| it.summary.reason.contains("no readings of load")).await?;
    telling(&rig, Who::Domain, 9.0, rig.settles_at(2)).await?;
    let newest = |it: &DomainDescription| it.sensor_data.get("load").map(|it| it.newest);
    described(&rig, "the reading is stale", |it| matches!(newest(it), Some(Sample::Stale(..)))).await?;
    passes(3).await?;
    rig.settles_at(2).await?;
    telling(&rig, Who::Domain, 0.0, async {
        rig.settles_at(0).await?;
        described(&rig, "the reading is a value", |it| newest(it) == Some(Sample::Value(0.0))).await
    })
    .await?;
    ensure!(rig.ledger.starts().values().copied().collect::<Vec<_>>() == [1; 2], "{:?}", rig.ledger.starts());
    Ok(())
}

/// A cooldown that is longer than it takes another host to take over.
const COOLDOWN: u64 = 12;

/// The load is high all the time. Between two steps up lies the whole cooldown, although another host has the domain by then.
async fn rests(rig: &Rig, taken_over: impl Future<Output = Result<()>>) -> Result<()> {
    telling(rig, Who::Instances, 9.0, async {
        rig.settles_at(2).await?;
        taken_over.await?;
        rig.settles_at(3).await
    })
    .await?;
    let taken = rig.happened().into_iter().find(|it| matches!(it.what, Happened::Taken { epoch: 2, .. })).context("it was taken over")?;
    let steps: Vec<(Timestamp, String)> = decisions(rig)
        .into_iter()
        .filter(|(_, reason, launches, _)| *launches > 0 && reason.contains("above 4: from "))
        .map(|it| (it.0, it.1))
        .collect();
    let [(first, _), (second, _)] = &steps[..] else { anyhow::bail!("two steps up: {steps:?}") };
    let rested = second.since(*first);
    ensure!(taken.at < *first + Millis::from_secs(COOLDOWN), "it was taken over within the cooldown: {taken:?} {steps:?}");
    ensure!(rested >= Millis::from_secs(COOLDOWN) && rested < Millis::from_secs(COOLDOWN + 10), "{rested} lie between {steps:?}");
    Ok(())
}

#[tokio::test]
async fn a_cooldown_goes_on_when_the_host_is_killed_and_started_again() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let (host, _site) = (rig.host("ship")?, rig.site("local").await?);
    rig.add_web(sensor(json!({ "cooldown_period": COOLDOWN }))).await?;
    let mut again = None;
    rests(&rig, async {
        host.crash().await?;
        again = Some(rig.host("ship")?);
        Ok(())
    })
    .await?;
    again.context("it was started again")?.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_cooldown_goes_on_when_another_host_takes_over() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let first = rig.host("first")?;
    let _site = rig.site("local").await?;
    rig.add_web(sensor(json!({ "cooldown_period": COOLDOWN }))).await?;
    let _second = rig.host("second")?;
    rests(&rig, first.crash()).await?;
    ensure!(rig.describe().await?.host.as_str() == "second");
    Ok(())
}
