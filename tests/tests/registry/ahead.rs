//! What was pushed is compiled before anybody needs it, on every host, and every host says how far it is.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use pilothouse::api::EngineState;
use pilothouse::driver::registry::{What, ask, digest_of, put_component};
use pilothouse_core::engine::Origin;
use pilothouse_tests::guest::{Guest, shipped};
use pilothouse_tests::nats::NatsServer;
use pilothouse_tests::wait::{eventually, eventually_some};

use crate::hosts::{Compiling, SOON, component, guest, push, subjects, version};

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_pushed_is_ready_on_every_host_and_domains_look_again() -> Result<()> {
    let server = NatsServer::start().await?;
    let (north, south) = (Compiling::on(&server, "north").await?, Compiling::on(&server, "south").await?);
    let looks = south.engines.looks();
    let digest = north.host.push("1.1.0", &component("1.1.0")).await?;
    let built_in = digest_of(&shipped("simplest"));
    let both = async || {
        let hosts = ask(&north.host.client, &subjects(), vec![digest.clone(), built_in.clone(), "unheard".to_owned()]).await.ok()?;
        let ready = |state: Option<&EngineState>| matches!(state, Some(EngineState::Ready { .. }));
        (hosts.len() == 2 && hosts.iter().all(|host| ready(host.engines.get(&digest)))).then_some(hosts)
    };
    let hosts = eventually_some("both hosts are ready", SOON, both).await?;
    assert_eq!(hosts.iter().map(|host| host.host.as_str()).collect::<Vec<_>>(), ["north", "south"]);
    for host in hosts {
        assert!(matches!(host.engines.get(&built_in), Some(EngineState::Ready { .. })), "what comes with the program is ready as well");
        assert_eq!(host.engines.len(), 2, "a host says nothing of what it has not heard of");
    }
    assert!(looks.has_changed()?);
    let engine = south.engines.get(&digest).context("it is loaded")?;
    assert_eq!((engine.description().name.as_str(), engine.description().version.to_string().as_str()), ("guest", "1.1.0"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_t_serve_is_refused_with_the_reason_and_holds_nothing_up() -> Result<()> {
    let server = NatsServer::start().await?;
    let host = Compiling::on(&server, "north").await?;
    let mute = Guest::new("quiet").with("#describe\") (result i32) (i32.const 0))", "#describe\") (result i32) unreachable)");
    let cases = [
        ("2.0.0", b"no component".to_vec(), "no WebAssembly component"),
        ("2.1.0", mute.component(), "asked for its description"),
        ("2.2.0", component("1.5.0"), "it says that it is guest@1.5.0, not guest@2.2.0"),
        ("2.3.0", Guest::new("quiet").module(), "core module"),
    ];
    for (version, component, reason) in cases {
        let digest = host.host.push(version, &component).await?;
        let state = host.settled(&digest).await?;
        ensure!(matches!(&state, EngineState::Refused { reason: told } if told.contains(reason)), "{version}: {state:?}");
        assert!(host.engines.get(&digest).is_none());
    }
    let digest = host.host.push("1.0.0", &component("1.0.0")).await?;
    assert!(matches!(host.settled(&digest).await?, EngineState::Ready { .. }));

    let candidates = || host.engines.candidates(&guest(), &host.host.registry.known());
    let told = || candidates().iter().map(|it| (it.version.clone(), it.origin)).collect::<Vec<_>>();
    assert_eq!(told(), [(version("1.0.0"), Origin::Registry)], "nobody takes up what is not ready");
    assert!(Arc::ptr_eq(&candidates(), &candidates()), "that is found out once for all domains");

    // One that was loaded for who asked for these bytes is still no such version.
    let digest = digest_of(&component("1.5.0"));
    assert_eq!(host.engines.fetch(&host.host.store, &digest).await?.description().version, version("1.5.0"));
    assert_eq!(told(), [(version("1.0.0"), Origin::Registry)]);
    let digest = host.host.push("2.4.0", &component("2.4.0")).await?;
    host.settled(&digest).await?;
    assert_eq!(told().len(), 2, "a version more is found");

    host.host.change(What::Pin { version: version("2.0.0"), reason: None }).await?;
    let pinned = candidates().iter().filter(|it| it.pinned).map(|it| it.version.clone()).collect::<Vec<_>>();
    assert_eq!(pinned, [version("2.0.0")], "what is pinned is waited for");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_version_is_loaded_when_a_domain_would_take_it_up() -> Result<()> {
    let server = NatsServer::start().await?;
    let host = Compiling::on(&server, "north").await?;
    let mut digests = Vec::new();
    // The oldest of them is one too many.
    for n in 0..17 {
        let version = format!("{}.{}.0", 1 + n / 10, n % 10);
        digests.push(host.host.push(&version, &component(&version)).await?);
    }
    for digest in &digests[1..] {
        assert!(matches!(host.settled(digest).await?, EngineState::Ready { .. }));
    }
    let oldest = &digests[0];
    let candidate = || host.engines.candidates(&guest(), &host.host.registry.known()).iter().any(|it| it.engine.digest == *oldest);
    // When there were fewer it may have been ready.
    let is_dropped = async || {
        host.engines.forget(oldest);
        host.engines.look_again();
        host.host.change(What::Limit([("fuel".to_owned(), Some(2_000_000))].into())).await.is_ok()
            && host.host.change(What::Limit([("fuel".to_owned(), None)].into())).await.is_ok()
            && host.engines.state(oldest) == Some(EngineState::OnDemand)
    };
    eventually("it is there on demand", SOON, is_dropped).await?;
    assert!(candidate(), "it can be followed");
    assert!(host.engines.get(oldest).is_none());
    host.engines.wanted(oldest);
    let mut stays = true;
    let is_ready = async || {
        stays &= candidate();
        matches!(host.engines.state(oldest), Some(EngineState::Ready { .. }))
    };
    eventually("it is ready", SOON, is_ready).await?;
    assert!(stays && candidate() && host.engines.get(oldest).is_some(), "no older one stands in for it meanwhile");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_many_want_at_once_is_fetched_and_compiled_once() -> Result<()> {
    let server = NatsServer::start().await?;
    let host = Compiling::on(&server, "north").await?;
    // The registry does not name it: nobody has it compiled ahead of use.
    let digest = put_component(&host.host.store, &component("1.0.0")).await?;
    let before = host.engines.sandbox().compiled();
    let fetched = futures::future::join_all((0..100).map(|_| host.engines.fetch(&host.host.store, &digest))).await;
    for engine in fetched {
        assert_eq!(engine?.digest(), digest);
    }
    assert_eq!(host.engines.sandbox().compiled() - before, 1);

    // So is what somebody has the bytes of.
    let bytes = component("2.0.0");
    let digest = digest_of(&bytes);
    let loaded = futures::future::join_all((0..10).map(|_| host.engines.load(&digest, bytes.clone().into()))).await;
    for engine in loaded {
        assert_eq!(engine?.engine().digest(), digest);
    }
    assert_eq!(host.engines.sandbox().compiled() - before, 2);
    assert!(host.engines.get(&digest).is_none(), "nobody keeps it");

    // One that can't be used is not compiled again for each who asks.
    let mute = Guest::new("quiet").with("#describe\") (result i32) (i32.const 0))", "#describe\") (result i32) unreachable)").component();
    let digest = put_component(&host.host.store, &mute).await?;
    for _ in 0..10 {
        let refused = host.engines.fetch(&host.host.store, &digest).await.expect_err("it can't say who it is");
        ensure!(!refused.may_pass(), "{refused:?}");
    }
    assert_eq!(host.engines.sandbox().compiled() - before, 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_is_not_there_yet_is_tried_again_and_one_that_was_removed_is_forgotten() -> Result<()> {
    let server = NatsServer::start().await?;
    let host = Compiling::on(&server, "north").await?;
    let component = component("1.0.0");
    let digest = digest_of(&component);
    host.host.change(push("1.0.0", &digest)).await?;
    let waits =
        || matches!(host.ready.get(&digest), Some(EngineState::Waiting { reason: Some(reason) }) if reason.contains("has no component"));
    eventually("it is missed", SOON, async || waits()).await?;
    put_component(&host.host.store, &component).await?;
    assert!(matches!(host.settled(&digest).await?, EngineState::Ready { .. }));

    host.host.change(What::Remove { version: version("1.0.0") }).await?;
    eventually("it is forgotten", SOON, async || host.ready.get(&digest).is_none() && host.engines.get(&digest).is_none()).await
}
