//! Hosts that are disabled: others take over, or nobody decides and everything else goes on.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use pilothouse::api::{
    ApiClient, CallError, DomainDescription, HostDescription, HostList, HostSwitched, ListHosts, OnDomain, OnHost, Operation,
};
use pilothouse_core::command::ApiError;
use pilothouse_core::explain::{Ask, Explanation, Hold};
use pilothouse_core::instance::Health;
use pilothouse_tests::rig::{Rig, SOON, WEB, keep};
use pilothouse_tests::wait::{eventually, eventually_some};
use serde_json::Value;

/// The program that has `serve`, `agent` and `provisioner local` as its first arguments.
const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");

/// How long others wait before they take over from a host that they don't hear of, as the hosts of these tests are told.
const LEASE: Duration = Duration::from_secs(3);

/// Disables or enables a host.
async fn switch(rig: &Rig, host: &str, operation: Operation) -> Result<HostSwitched> {
    let request = OnHost { host: host.to_owned(), request_id: None };
    Ok(rig.api.call(operation, &request).await?)
}

async fn hosts(rig: &Rig) -> Result<HostList> {
    Ok(rig.api.call(Operation::HostList, &ListHosts {}).await?)
}

/// Waits until so many hosts answer.
async fn all_there(rig: &Rig, count: usize) -> Result<Vec<HostDescription>> {
    let there = eventually_some("the hosts answer", SOON, async || {
        let hosts = hosts(rig).await.ok()?.hosts;
        (hosts.len() == count).then_some(hosts)
    });
    there.await.with_context(|| rig.logs())
}

/// Waits until a host looks after `web`.
/// What a host says of the domain that looks after it. Its predecessor may still answer for a moment: whoever wants to know more asks it, not
/// whichever host answers next.
async fn looked_after_by(rig: &Rig, host: &str) -> Result<DomainDescription> {
    let what = format!("{host} looks after the domain");
    let said = async || rig.describe().await.ok().filter(|it| it.host.as_str() == host);
    eventually_some(&what, SOON, said).await.with_context(|| rig.logs())
}

async fn why(rig: &Rig, last: Option<u32>) -> Result<Explanation> {
    let ask = Ask { domain: WEB.to_owned(), last, ..Ask::default() };
    Ok(rig.api.call(Operation::Why, &ask).await?)
}

/// The journal sequences of the decisions on `web`, newest first.
async fn decisions(rig: &Rig) -> Result<Vec<u64>> {
    match why(rig, Some(100)).await? {
        Explanation::Decisions(list) => Ok(list.decisions.iter().map(|line| line.sequence).collect()),
        other => anyhow::bail!("{other:?}"),
    }
}

#[tokio::test]
async fn the_domains_of_a_host_that_is_disabled_go_to_one_that_decides() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let _first = rig.host("first")?;
    let _site = rig.site("local").await?;
    rig.add_web(keep(2, "local")).await?;
    rig.settles_at(2).await?;
    let _second = rig.host("second")?;
    let there = all_there(&rig, 2).await?;
    ensure!(there[0].host.as_str() == "first" && there[0].owner && !there[1].owner && there[0].domains == 1, "{there:?}");

    let switched = switch(&rig, "first", Operation::HostDisable).await?;
    ensure!(!switched.enabled && switched.noted, "{switched:?}");
    let described = looked_after_by(&rig, "second").await?;
    ensure!(described.deciding && described.epoch == 2, "{described:?}");
    rig.reconfigure(keep(3, "local")).await?;
    rig.settles_at(3).await?;
    let there = all_there(&rig, 2).await?;
    ensure!(!there[0].owner && there[0].disabled.as_ref().is_some_and(|it| it.by.as_str() == "default") && there[1].owner, "{there:?}");

    // Who took over keeps the domains when the other one is enabled, and hands them back when it is disabled itself.
    ensure!(switch(&rig, "first", Operation::HostEnable).await?.noted);
    rig.reconfigure(keep(4, "local")).await?;
    rig.settles_at(4).await?;
    ensure!(rig.describe().await?.epoch == 2, "it did not change hands");
    switch(&rig, "second", Operation::HostDisable).await?;
    let described = looked_after_by(&rig, "first").await?;
    rig.reconfigure(keep(1, "local")).await?;
    rig.settles_at(1).await?;
    ensure!(described.epoch == 3, "each change of hands is one");
    let starts = rig.ledger.starts();
    ensure!(starts.len() == 4 && starts.values().all(|starts| *starts == 1), "nothing is started twice: {starts:?}");
    Ok(())
}

#[tokio::test]
async fn where_the_only_host_is_disabled_all_but_deciding_goes_on_and_is_made_up_for_at_once() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let host = rig.host("only")?;
    let _site = rig.site("local").await?;
    rig.add_web(keep(1, "local")).await?;
    let before = rig.settles_at(1).await?;
    ensure!(switch(&rig, "only", Operation::HostDisable).await?.noted);
    // The first who did it is told, also when somebody does it again.
    ensure!(switch(&rig, "only", Operation::HostDisable).await?.noted);
    ensure!(!rig.describe().await?.deciding);
    let decided = decisions(&rig).await?;
    ensure!(!decided.is_empty());

    // It stays disabled when it is started again.
    host.crash().await?;
    let _host = rig.host("only")?;
    eventually("it looks after the domain again", SOON, async || rig.describe().await.is_ok_and(|it| it.epoch == 2)).await?;
    let described = rig.describe().await?;
    ensure!(!described.deciding && hosts(&rig).await?.hosts[0].disabled.is_some(), "{described:?}");
    rig.reconfigure(keep(4, "local")).await?;
    // Health is judged meanwhile, over many times the pause between two decisions.
    let agent = rig.ledger.agent_of(before[0].instance_id.as_str()).context("an agent")?;
    agent.signal(Signal::SIGSTOP)?;
    let health = async || rig.describe().await.ok().map(|it| it.instances[0].health);
    eventually("the silent one is noticed", SOON, async || health().await.is_some_and(|it| it != Health::Ok)).await?;
    agent.signal(Signal::SIGCONT)?;
    eventually("it is heard again", SOON, async || health().await == Some(Health::Ok)).await?;
    ensure!(decisions(&rig).await? == decided, "nothing is decided: {:?}, not {decided:?}", decisions(&rig).await?);
    ensure!(rig.describe().await?.instances.len() == 1);
    match why(&rig, None).await? {
        Explanation::Domain(story) => ensure!(
            matches!(&story.holds[..], [Hold::Disabled { host, by, .. }, ..] if host.as_str() == "only" && by.as_str() == "default"),
            "{:?}",
            story.holds
        ),
        other => anyhow::bail!("{other:?}"),
    }

    ensure!(switch(&rig, "only", Operation::HostEnable).await?.noted);
    let after = rig.settles_at(4).await?;
    ensure!(after[0].instance_id == before[0].instance_id, "the same one, and three more");
    let starts = rig.ledger.starts();
    ensure!(starts.len() == 4 && starts.values().all(|starts| *starts == 1), "exactly three launches: {starts:?}");
    ensure!(rig.describe().await?.instances.len() == 4 && rig.describe().await?.deciding);
    Ok(())
}

#[tokio::test]
async fn a_domain_can_be_removed_while_nobody_decides() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let _host = rig.host("only")?;
    let _site = rig.site("local").await?;
    rig.add_web(keep(2, "local")).await?;
    rig.settles_at(2).await?;
    switch(&rig, "only", Operation::HostDisable).await?;
    let request = OnDomain { domain: WEB.to_owned(), request_id: None };
    rig.api.call::<Value>(Operation::DomainRemove, &request).await?;
    let gone = async || {
        let described = rig.api.call::<Value>(Operation::DomainDescribe, &request).await;
        matches!(described, Err(CallError::Api(ApiError::NotFound { .. }))) && rig.ledger.alive().is_empty()
    };
    eventually("the domain and its instances are gone", SOON, gone).await.with_context(|| rig.logs())
}

#[tokio::test]
async fn a_host_can_be_disabled_while_it_is_away() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let here = rig.host("here")?;
    let _site = rig.site("local").await?;
    rig.add_web(keep(1, "local")).await?;
    rig.settles_at(1).await?;
    ensure!(!switch(&rig, "away", Operation::HostDisable).await?.noted);
    let list = hosts(&rig).await?;
    ensure!(list.hosts.len() == 1 && list.disabled_and_away.iter().map(|it| it.as_str()).eq(["away"]), "{list:?}");
    let _away = rig.host("away")?;
    let there = all_there(&rig, 2).await?;
    ensure!(there[0].host.as_str() == "away" && there[0].disabled.is_some() && hosts(&rig).await?.disabled_and_away.is_empty());
    // It takes the domains when nobody else does for as long as a lease lasts, and gives them back to the first who decides.
    let left_alone = Instant::now();
    ensure!(here.stop().await?.success());
    let described = looked_after_by(&rig, "away").await?;
    ensure!(left_alone.elapsed() >= LEASE, "it took them after {:?}", left_alone.elapsed());
    ensure!(!described.deciding);
    let _here = rig.host("here")?;
    let described = looked_after_by(&rig, "here").await?;
    ensure!(described.deciding && rig.ledger.starts().len() == 1);
    Ok(())
}

#[tokio::test]
async fn nobody_is_a_host_whose_name_is_none() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let _host = rig.host("only")?;
    all_there(&rig, 1).await?;
    for name in ["", "a.b", "*", "-a", "@x", &"x".repeat(64)] {
        let refused = switch(&rig, name, Operation::HostDisable).await.err().and_then(|error| error.downcast::<CallError>().ok());
        ensure!(
            matches!(&refused, Some(CallError::Api(ApiError::Invalid { problems })) if problems[0].at == "/host"),
            "{name}: {refused:?}"
        );
    }
    let nobody = ApiClient::new(rig.api.nats().clone(), rig.api.subjects().clone(), None);
    let refused = nobody.call::<HostList>(Operation::HostList, &ListHosts {}).await;
    ensure!(matches!(&refused, Err(CallError::Api(ApiError::NotPermitted { .. }))), "{refused:?}");
    Ok(())
}
