//! Whatever is killed comes back, and nothing is lost or started twice.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use pilothouse::api::{DomainList, ERROR_HEADER, InstanceDescription, ListDomains, Operation};
use pilothouse_core::instance::{Health, State};
use pilothouse_core::name::{DomainKey, Slot};
use pilothouse_tests::processes::Program;
use pilothouse_tests::rig::{Rig, SOON, keep};
use pilothouse_tests::wait::eventually;
use serde_json::{Value, json};

/// The program that has `serve`, `agent` and `provisioner local` as its first arguments.
const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");

/// A host, a site, and `web` settled at `count`.
async fn at_work(count: u32) -> Result<(Rig, Program, Program, Vec<InstanceDescription>)> {
    at_work_as(count, keep(count, "local")).await
}

/// As [`at_work`], and whoever is silent is missing at once: nobody is asked for a sign of life.
async fn at_work_without_questions(count: u32) -> Result<(Rig, Program, Program, Vec<InstanceDescription>)> {
    let mut config = keep(count, "local");
    config["health"]["really_missing_timeout"] = 0.into();
    at_work_as(count, config).await
}

async fn at_work_as(count: u32, config: Value) -> Result<(Rig, Program, Program, Vec<InstanceDescription>)> {
    let rig = Rig::new(PROGRAM).await?;
    let (host, site) = (rig.host("ship")?, rig.site("local").await?);
    rig.add_web(config).await?;
    let settled = rig.settles_at(count as usize).await?;
    Ok((rig, host, site, settled))
}

/// Lets time pass: what is waited for is the clock itself.
async fn passes(seconds: u64) -> Result<()> {
    let then = Instant::now() + Duration::from_secs(seconds);
    eventually("time passes", SOON, async || Instant::now() >= then).await
}

fn ids(instances: &[InstanceDescription]) -> Vec<String> {
    instances.iter().map(|instance| instance.instance_id.to_string()).collect()
}

#[tokio::test]
async fn an_agent_that_is_killed_is_replaced() -> Result<()> {
    let (rig, _host, _site, before) = at_work(3).await?;
    let victim = before[0].instance_id.as_str();
    rig.ledger.agent_of(victim).context("its agent runs")?.signal(Signal::SIGKILL)?;
    eventually("the victim is gone", SOON, async || rig.ledger.of(victim).is_empty()).await?;
    let after = rig.settles_at(3).await?;
    ensure!(ids(&after)[..2] == ids(&before)[1..], "the others stay: {before:?} {after:?}");
    ensure!(rig.ledger.starts().values().all(|starts| *starts == 1), "nothing is started twice: {:?}", rig.ledger.starts());
    let gone = rig.describe().await?.instances;
    let gone = gone.iter().find(|it| it.instance_id.as_str() == victim).context("its record is kept")?;
    ensure!(gone.state == State::Failed, "{gone:?}");
    Ok(())
}

#[tokio::test]
async fn a_worker_that_fails_is_reported_and_its_instance_replaced() -> Result<()> {
    let (rig, _host, _site, before) = at_work(1).await?;
    let victim = before[0].instance_id.as_str();
    rig.ledger.workers_of(victim).first().context("its worker runs")?.signal(Signal::SIGKILL)?;
    eventually("the victim is gone", SOON, async || rig.ledger.of(victim).is_empty()).await?;
    let after = rig.settles_at(1).await?;
    ensure!(ids(&after) != ids(&before), "another instance");
    let told = rig.happened();
    let told = serde_json::to_string(&told)?;
    ensure!(told.contains("PROCESS_ERROR") && told.contains("killed by signal 9"), "{told}");
    Ok(())
}

#[tokio::test]
async fn a_provisioner_that_is_killed_finds_its_instances_again() -> Result<()> {
    let (rig, _host, site, before) = at_work(3).await?;
    let running = rig.ledger.alive();
    site.crash().await?;
    let _site = rig.site("local").await?;
    // It is asked for more and for less: it must know what it has.
    rig.reconfigure(keep(4, "local")).await?;
    let four = rig.settles_at(4).await?;
    ensure!(ids(&four)[..3] == ids(&before), "the same instances");
    rig.reconfigure(keep(3, "local")).await?;
    rig.settles_at(3).await?;
    ensure!(rig.ledger.alive() == running, "the same processes");
    ensure!(rig.ledger.starts().values().all(|starts| *starts == 1), "nothing is started twice: {:?}", rig.ledger.starts());
    Ok(())
}

#[tokio::test]
async fn nothing_is_terminated_because_the_server_was_away() -> Result<()> {
    let (mut rig, _host, _site, before) = at_work_without_questions(3).await?;
    let running = rig.ledger.alive();
    rig.nats.kill();
    // Longer than every window of the domain together.
    passes(8).await?;
    rig.nats.restart().await?;
    let after = rig.settles_at(3).await?;
    ensure!(ids(&after) == ids(&before) && rig.ledger.alive() == running, "the same instances and processes");
    // And everything goes on.
    rig.reconfigure(keep(4, "local")).await?;
    rig.settles_at(4).await?;
    let told = serde_json::to_string(&rig.happened())?;
    ensure!(!told.contains("MISSING"), "nobody is declared missing: {told}");
    Ok(())
}

#[tokio::test]
async fn a_host_that_was_stopped_past_its_windows_declares_nobody_missing() -> Result<()> {
    let (rig, host, _site, before) = at_work_without_questions(3).await?;
    let running = rig.ledger.alive();
    host.signal(Signal::SIGSTOP)?;
    passes(9).await?;
    host.signal(Signal::SIGCONT)?;
    let after = rig.settles_at(3).await?;
    ensure!(ids(&after) == ids(&before) && rig.ledger.alive() == running, "the same instances and processes");
    let told = serde_json::to_string(&rig.happened())?;
    ensure!(!told.contains("MISSING"), "nobody is declared missing: {told}");
    Ok(())
}

#[tokio::test]
async fn an_agent_that_hangs_is_asked_and_then_replaced() -> Result<()> {
    let (rig, _host, _site, before) = at_work(1).await?;
    let victim = before[0].instance_id.as_str();
    rig.ledger.agent_of(victim).context("its agent runs")?.signal(Signal::SIGSTOP)?;
    eventually("the victim is gone", SOON, async || rig.ledger.of(victim).is_empty()).await.with_context(|| rig.logs())?;
    rig.settles_at(1).await?;
    let healths: Vec<_> = rig
        .happened()
        .into_iter()
        .filter_map(|happening| match happening.what {
            pilothouse_core::domain::Happened::Instance { node_id, health, .. } if node_id.as_str() == victim => Some(health),
            _ => None,
        })
        .collect();
    let silent = healths.iter().position(|health| *health == Health::OutOfContact).context("it was asked first")?;
    ensure!(healths[silent + 1] == Health::Missing, "{healths:?}");
    Ok(())
}

/// The names of the domains that are listed, and of those that are listed as silent.
async fn listed(rig: &Rig) -> Result<(Vec<String>, Vec<String>)> {
    let list: DomainList = rig.api.call(Operation::DomainList, &ListDomains {}).await?;
    let silent = list.unanswered.iter().map(ToString::to_string).collect();
    Ok((list.domains.iter().map(|it| it.name.to_string()).collect(), silent))
}

#[tokio::test]
async fn a_domain_that_cannot_be_read_is_told_of_and_hinders_no_other() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let host = rig.host("ship")?;
    rig.add_web(keep(0, "local")).await?;
    rig.add("other", keep(0, "local")).await?;
    let key = DomainKey { owner: "default".parse()?, name: "web".parse()? };
    let subject = rig.api.subjects().journal(key.slot(Slot::DEFAULT_COUNT), &key);
    async_nats::jetstream::new(rig.nats.client().await?).publish(subject, "junk".into()).await?.await?;
    // Of one answer each: the client would ask again for long.
    let ask = async |operation: Operation| -> Result<String> {
        let answer = rig.api.nats().request(rig.api.subject(operation), r#"{"domain": "web"}"#.into()).await?;
        let error = answer.headers.as_ref().and_then(|headers| headers.get(ERROR_HEADER));
        Ok(error.map(ToString::to_string).unwrap_or_default())
    };
    // Its next append is fenced, and what it is loaded from again is junk.
    ask(Operation::DomainPause).await?;

    let both = (vec!["other".to_owned()], vec!["web".to_owned()]);
    let is_told_of = async |why: &str| {
        eventually(why, SOON, async || {
            let told = ask(Operation::DomainDescribe).await.unwrap_or_default();
            let unreadable = told.contains("unavailable") && told.contains("can't be read");
            unreadable && listed(&rig).await.is_ok_and(|listed| listed == both)
        })
        .await
        .with_context(|| rig.logs())
    };
    is_told_of("the domain that is there is told of as one that can't be read").await?;
    rig.add("third", keep(0, "local")).await?;
    rig.api.call::<Value>(Operation::DomainRemove, &json!({"domain": "third"})).await?;

    host.crash().await?;
    let _host = rig.host("ship")?;
    is_told_of("nor is it forgotten by the next owner").await?;
    let instances: Value = rig.api.call(Operation::InstanceList, &json!({})).await?;
    ensure!(instances["unanswered"] == json!(["web"]), "{instances}");
    Ok(())
}
