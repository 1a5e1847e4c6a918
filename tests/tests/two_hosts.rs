//! Two hosts on the same domains: one looks after them, the other forwards, and whatever they believe, nothing is launched twice.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use nix::sys::signal::Signal;
use pilothouse::api::{DomainList, ListDomains, Operation};
use pilothouse_core::instance::State;
use pilothouse_core::message::{Provision, Receipt};
use pilothouse_core::time::Millis;
use pilothouse_tests::rig::{Rig, SOON, keep};
use pilothouse_tests::wait::{eventually, eventually_some};
use serde_json::Value;

/// The program that has `serve`, `agent` and `provisioner local` as its first arguments.
const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");

/// The statistics of every host that answers.
async fn statistics(rig: &Rig) -> Result<Vec<Value>> {
    let nats = rig.api.nats();
    let inbox = nats.new_inbox();
    let mut answers = nats.subscribe(inbox.clone()).await?;
    nats.publish_with_reply("$SRV.STATS.pilothouse", inbox, "".into()).await?;
    let mut all = Vec::new();
    while let Ok(Some(answer)) = tokio::time::timeout(Duration::from_millis(500), answers.next()).await {
        all.push(serde_json::from_slice(&answer.payload)?);
    }
    Ok(all)
}

/// Requests that one host received from users.
fn requests(statistics: &Value) -> u64 {
    let endpoints = statistics["endpoints"].as_array().map(Vec::as_slice).unwrap_or_default();
    endpoints.iter().map(|endpoint| endpoint["num_requests"].as_u64().unwrap_or(0)).sum()
}

fn is_owner(statistics: &Value) -> bool {
    statistics["endpoints"][0]["data"]["owner"] == true
}

#[tokio::test]
async fn a_host_that_does_not_look_after_a_domain_forwards_what_is_asked_of_it() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let (_first, _second) = (rig.host("first")?, rig.host("second")?);
    let _site = rig.site("local").await?;
    rig.add_web(keep(2, "local")).await?;
    let settled = rig.settles_at(2).await?;
    let standing_by = eventually_some("both have received requests", SOON, async || {
        let list: DomainList = rig.api.call(Operation::DomainList, &ListDomains {}).await.ok()?;
        assert_eq!(list.domains.len(), 1, "either host knows the domain");
        let statistics = statistics(&rig).await.ok()?;
        let both = statistics.len() == 2 && statistics.iter().all(|host| requests(host) >= 5);
        both.then(|| statistics.into_iter().filter(|host| !is_owner(host)).count())
    });
    ensure!(standing_by.await? == 1, "one looks after the domains, one stands by");
    // A change through either of them is made once.
    for count in [3, 1, 2] {
        rig.reconfigure(keep(count, "local")).await?;
        rig.settles_at(count as usize).await?;
    }
    ensure!(rig.ledger.starts().values().all(|starts| *starts == 1) && rig.ledger.starts().len() == 4, "{:?}", rig.ledger.starts());
    ensure!(rig.describe().await?.epoch == 1, "it never changed hands");
    ensure!(settled.len() == 2);
    Ok(())
}

#[tokio::test]
async fn a_host_that_was_stopped_and_comes_back_finds_itself_fenced() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let first = rig.host("first")?;
    let _site = rig.site("local").await?;
    rig.add_web(keep(3, "local")).await?;
    let before = rig.settles_at(3).await?;
    let running = rig.ledger.alive();
    let second = rig.host("second")?;
    first.signal(Signal::SIGSTOP)?;
    // The server still hands requests to the one that is stopped: any of them may get lost.
    let taken = async || rig.describe().await.ok().filter(|it| it.host.as_str() == "second");
    let taken = eventually_some("the other host takes over", SOON, taken).await.with_context(|| rig.logs())?;
    ensure!(taken.epoch == 2);
    // Something to decide while two believe that it is theirs.
    eventually("the other host is told", SOON, async || rig.reconfigure(keep(4, "local")).await.is_ok()).await?;
    first.signal(Signal::SIGCONT)?;
    let after = rig.settles_at(4).await?;
    ensure!(before.iter().zip(&after).all(|(was, is)| was.instance_id == is.instance_id), "the same instances, and one more");
    ensure!(running.iter().all(|(id, processes)| rig.ledger.alive().get(id) == Some(processes)), "the same processes");
    eventually("the first knows that it stands by", SOON, async || {
        first.said().contains("second") && rig.describe().await.is_ok_and(|it| it.host.as_str() == "second")
    })
    .await
    .with_context(|| rig.logs())?;
    ensure!(rig.describe().await?.epoch == 2, "it did not take the domain back");
    ensure!(rig.ledger.starts().values().all(|starts| *starts == 1), "nothing is started twice: {:?}", rig.ledger.starts());
    // And it takes over when the other is gone.
    second.crash().await?;
    eventually("the first takes over again", SOON, async || rig.describe().await.is_ok_and(|it| it.host.as_str() == "first")).await?;
    rig.settles_at(4).await?;
    Ok(())
}

#[tokio::test]
async fn what_an_earlier_owner_asked_for_is_refused_when_the_later_one_has_ended_it() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let mut asked = rig.api.nats().subscribe(rig.api.subjects().provisioner("local", "provision")).await?;
    let first = rig.host("first")?;
    let _site = rig.site("local").await?;
    rig.add_web(keep(2, "local")).await?;
    rig.settles_at(2).await?;
    let of_first = asked.next().await.context("the first host asked for two")?;
    first.crash().await?;
    let _second = rig.host("second")?;
    rig.settles_at(2).await?;
    rig.reconfigure(keep(0, "local")).await?;
    rig.settles_at(0).await?;
    // The very request of the first host, as if it had been on its way all the time, and once more as if it were in time.
    for in_time in [false, true] {
        let mut request = Provision::parse(&of_first.payload)?;
        ensure!(request.epoch == 1 && request.instances.len() == 2, "{request:?}");
        if in_time {
            request.not_after = request.not_after + Millis::from_secs(3600);
        }
        let answer = rig.api.nats().request(of_first.subject.clone(), request.to_json().into()).await?;
        let receipt = Receipt::parse(&answer.payload)?;
        ensure!(receipt.accepted.is_empty() && receipt.refused.len() == 2, "{receipt:?}");
    }
    ensure!(rig.ledger.alive().is_empty() && rig.ledger.starts().len() == 2, "nothing is started: {:?}", rig.ledger.starts());
    Ok(())
}

#[tokio::test]
async fn two_hosts_under_one_name_do_not_launch_anything_twice() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let _first = rig.host("twin")?;
    let _site = rig.site("local").await?;
    rig.add_web(keep(2, "local")).await?;
    rig.settles_at(2).await?;
    let _second = rig.host("twin")?;
    eventually("the second takes over", SOON, async || rig.describe().await.is_ok_and(|it| it.epoch == 2))
        .await
        .with_context(|| rig.logs())?;
    for count in [5, 3, 4] {
        rig.reconfigure(keep(count, "local")).await?;
        rig.settles_at(count as usize).await?;
    }
    ensure!(rig.describe().await?.epoch == 2, "the first stepped back for good");
    ensure!(rig.ledger.starts().values().all(|starts| *starts == 1), "nothing is started twice: {:?}", rig.ledger.starts());
    let all = rig.describe().await?.instances;
    ensure!(all.iter().filter(|it| it.state == State::Running).count() == 4);
    Ok(())
}

#[tokio::test]
async fn a_host_whose_clock_is_off_looks_after_nothing() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let mut off = rig.host_with("off", &[("PILOTHOUSE_CLOCK_AHEAD", "5000")])?;
    let ended = off.ended().await.with_context(|| off.said())?;
    ensure!(!ended.success() && off.said().contains("off that of the journal"), "it ends and says why: {ended} {}", off.said());
    let _right = rig.host("right")?;
    rig.add_web(keep(0, "local")).await?;
    ensure!(rig.describe().await?.host.as_str() == "right");
    Ok(())
}

#[tokio::test]
async fn a_lease_that_holds_nonsense_is_taken_when_it_is_older_than_a_lease() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let host = rig.host("ship")?;
    let _site = rig.site("local").await?;
    rig.add_web(keep(1, "local")).await?;
    rig.settles_at(1).await?;
    let jetstream = async_nats::jetstream::new(rig.api.nats().clone());
    let lease = jetstream.get_key_value("PH_LEASE").await?;
    // Without a time to live, so that nobody is rid of it by waiting.
    lease.put("owner", "nonsense".into()).await?;
    eventually("the host says so", SOON, async || host.said().contains("the lease holds nonsense")).await?;
    eventually("the host has the lease again", SOON, async || {
        let held = lease.get("owner").await.ok().flatten().unwrap_or_default();
        serde_json::from_slice::<Value>(&held).is_ok_and(|holder| holder["host"] == "ship")
    })
    .await?;
    eventually("it looks after the domain", SOON, async || rig.reconfigure(keep(2, "local")).await.is_ok()).await?;
    rig.settles_at(2).await?;
    Ok(())
}
