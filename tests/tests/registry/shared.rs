//! Several hosts on one registry.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::jetstream;
use pilothouse::driver::registry::{Entry, MAX_VERSIONS, What};
use pilothouse_tests::nats::NatsServer;
use pilothouse_tests::wait::eventually;

use crate::hosts::{Host, SOON, guest, push, version, wish};

fn versions(entry: Option<&Entry>) -> usize {
    entry.map_or(0, |entry| entry.versions.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_on_one_host_is_known_to_it_at_once_and_to_every_other_soon() -> Result<()> {
    let server = NatsServer::start().await?;
    let (one, other) = (Host::on(&server).await?, Host::on(&server).await?);
    one.change(push("1.0.0", "aa")).await?;
    assert_eq!(versions(one.registry.known().get(&guest())), 1, "whoever changed it need not wait");
    other.sees("the version", |entry| versions(entry) == 1).await?;
    other.change(What::Pin { version: version("1.0.0"), reason: None }).await?;
    one.sees("the pin", |entry| entry.is_some_and(|entry| entry.pinned.is_some())).await?;

    let late = Host::on(&server).await?;
    assert_eq!(late.registry.known(), one.registry.known(), "a host that starts knows it before it does anything");
    Ok(())
}

/// What is promised is a second from the answer of whoever pushed. That a version is then compiled depends on the machine.
#[tokio::test(flavor = "multi_thread")]
async fn every_other_host_knows_of_a_version_within_a_second() -> Result<()> {
    let server = NatsServer::start().await?;
    let (one, other) = (Host::on(&server).await?, Host::on(&server).await?);
    for n in 1..=10 {
        one.push(&format!("1.{n}.0"), format!("component {n}").as_bytes()).await?;
        let knows = async || versions(other.registry.known().get(&guest())) == n;
        eventually(&format!("version {n} is known"), Duration::from_secs(1), knows).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_changes_at_the_same_time_none_is_lost() -> Result<()> {
    let server = NatsServer::start().await?;
    let hosts = [Arc::new(Host::on(&server).await?), Arc::new(Host::on(&server).await?)];
    let pushes = (0..20).map(|n| {
        let host = Arc::clone(&hosts[n % 2]);
        tokio::spawn(async move { host.change(push(&format!("1.{n}.0"), &format!("d{n}"))).await })
    });
    for push in futures::future::join_all(pushes).await {
        assert!(push??.changed);
    }
    let entry = hosts[0].registry.get(&guest()).await?.context("an entry")?;
    assert_eq!(entry.versions.len(), 20);
    for host in &hosts {
        host.sees("all versions", |entry| versions(entry) == 20).await?;
    }

    // Two that want the same version with different bytes: one of them has it, and the other is told.
    let both = futures::join!(hosts[0].change(push("2.0.0", "aa")), hosts[1].change(push("2.0.0", "bb")));
    let refused = [both.0, both.1].into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert_eq!(refused.len(), 1);
    let told = refused[0].to_string();
    assert!(told.contains("conflict") && told.contains("aa") && told.contains("bb"), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_again_at_another_host_is_answered_the_same() -> Result<()> {
    let server = NatsServer::start().await?;
    let (one, other) = (Host::on(&server).await?, Host::on(&server).await?);
    let (name, pushed) = (guest(), wish(push("1.0.0", "aa")));
    let first = one.registry.change(&name, &pushed, Some("r1")).await?;
    other.change(What::Remove { version: version("1.0.0") }).await?;
    let again = other.registry.change(&name, &pushed, Some("r1")).await?;
    assert_eq!(again, first);
    assert!(first.changed && other.registry.get(&name).await?.context("an entry")?.versions.is_empty(), "nothing is pushed twice");
    let error = other.registry.change(&name, &wish(What::Unpin), Some("r1")).await.expect_err("another wish");
    assert_eq!(error.kind(), "conflict");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_knows_what_changed_while_it_had_no_link() -> Result<()> {
    let mut server = NatsServer::start().await?;
    let host = Host::on(&server).await?;
    host.change(push("1.0.0", "aa")).await?;
    let mut told = host.registry.entries();
    told.mark_unchanged();
    server.kill();
    server.restart().await?;
    let other = Host::on(&server).await?;
    other.change(push("1.1.0", "bb")).await?;
    host.sees("what changed", |entry| versions(entry) == 2).await?;
    assert!(told.has_changed()?, "whoever waits for changes is told");

    // All is gone, and the revisions begin anew: what was known is no reason to leave out what is said.
    server.restart_empty().await?;
    let other = Host::on(&server).await?;
    other.change(push("3.0.0", "cc")).await?;
    host.sees("the new beginning", |entry| entry.is_some_and(|entry| entry.versions.keys().eq([&version("3.0.0")]))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_t_be_read_leaves_an_engine_as_it_was_and_stands_in_nobodys_way() -> Result<()> {
    let server = NatsServer::start().await?;
    let host = Host::on(&server).await?;
    host.change(push("1.0.0", "aa")).await?;
    let bucket = jetstream::new(server.client().await?).get_key_value("PH_REGISTRY").await?;
    bucket.put("guest", r#"{"v": 2, "versions": 5}"#.into()).await?;
    bucket.put("other", "nonsense".into()).await?;
    bucket.put("no.name", "nonsense".into()).await?;
    let good = host.registry.known().get(&guest()).cloned().context("an entry")?;
    bucket.put("good", good.write().map_err(anyhow::Error::msg)?.into()).await?;
    let good = "good".parse()?;
    eventually("what comes after nonsense", SOON, async || host.registry.known().contains_key(&good)).await?;
    assert_eq!(versions(host.registry.known().get(&guest())), 1, "a domain goes on with what was known");

    let listed = host.registry.all().await?;
    assert_eq!(listed.unreadable.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["guest", "other"]);
    let error = host.registry.change(&guest(), &wish(push("1.1.0", "bb")), None).await.expect_err("a newer format");
    assert!(error.kind() == "conflict" && error.to_string().contains("format 2"), "{error}");

    bucket.delete("guest").await?;
    host.sees("that it is gone", |entry| entry.is_none()).await?;
    assert!(host.change(push("1.1.0", "bb")).await?.changed);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_with_all_the_versions_it_may_have_is_stored_and_no_more_fit() -> Result<()> {
    let server = NatsServer::start().await?;
    let host = Host::on(&server).await?;
    for n in 0..MAX_VERSIONS {
        host.change(push(&format!("1.0.{n}"), &format!("{n:064}"))).await?;
    }
    let error = host.change(push("2.0.0", "aa")).await.expect_err("no room");
    assert!(error.to_string().contains("remove some"), "{error}");
    Ok(())
}
