//! What was pushed is compiled before anybody needs it, on every host, and every host says how far it is.

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

    let entries = host.host.registry.known();
    let candidates = |entry| host.engines.candidates(&guest(), entry).into_iter().map(|it| (it.version, it.origin)).collect::<Vec<_>>();
    assert_eq!(candidates(entries.get(&guest())), [(version("1.0.0"), Origin::Registry)], "nobody takes up what is not ready");
    host.host.change(What::Pin { version: version("2.0.0"), reason: None }).await?;
    let entries = host.host.registry.known();
    let pinned = host.engines.candidates(&guest(), entries.get(&guest())).into_iter().filter(|it| it.pinned).collect::<Vec<_>>();
    assert_eq!(pinned.iter().map(|it| &it.version).collect::<Vec<_>>(), [&version("2.0.0")], "what is pinned is waited for");
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
