//! Components in the engine store.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use futures::FutureExt;
use pilothouse::driver::registry::{ComponentError, What};
use pilothouse::driver::registry::{copy_component, delete_component, digest_of, discard_component, get_component, put_component};
use pilothouse_tests::nats::NatsServer;

use crate::hosts::{Host, version};

/// More than one piece of an object.
fn bytes() -> Vec<u8> {
    (0..300_000_u32).map(|n| (n % 251) as u8).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_is_put_once_read_whole_and_put_again_after_it_was_deleted() -> Result<()> {
    let server = NatsServer::start().await?;
    let store = Host::on(&server).await?.store;
    let digest = put_component(&store, &bytes()).await?;
    assert_eq!(digest, digest_of(&bytes()));
    let first = store.info(&digest).await?.nuid;
    put_component(&store, &bytes()).await?;
    assert_eq!(store.info(&digest).await?.nuid, first, "what is there is left alone");
    assert_eq!(get_component(&store, &digest, bytes().len()).await?, bytes());

    delete_component(&store, &digest).await?;
    delete_component(&store, &digest).await.context("there is nothing to delete any more")?;
    delete_component(&store, "never").await.context("there never was")?;
    let gone = get_component(&store, &digest, bytes().len()).await.expect_err("it is gone");
    assert!(matches!(gone, ComponentError::Missing { .. }), "{gone}");
    put_component(&store, &bytes()).await?;
    assert_eq!(get_component(&store, &digest, bytes().len()).await?, bytes());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_is_too_large_or_not_what_its_name_says_is_refused() -> Result<()> {
    let server = NatsServer::start().await?;
    let store = Host::on(&server).await?.store;
    let digest = put_component(&store, &bytes()).await?;
    let refused = get_component(&store, &digest, bytes().len() - 1).await.expect_err("one byte too many");
    assert!(matches!(refused, ComponentError::TooLarge { bytes: 300_000, limit: 299_999, .. }), "{refused}");
    assert!(!refused.may_pass());

    let other = digest_of(b"what it should be");
    store.put(other.as_str(), &mut &b"what it is"[..]).await?;
    let refused = get_component(&store, &other, 1000).await.expect_err("something else");
    assert!(matches!(refused, ComponentError::Forged { .. }), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_is_discarded_only_when_no_version_names_it() -> Result<()> {
    let server = NatsServer::start().await?;
    let host = Host::on(&server).await?;
    let digest = host.push("1.0.0", &bytes()).await?;
    let discard = async || host.discard(&digest).await;
    assert!(!discard().await?, "it is in use");
    assert_eq!(get_component(&host.store, &digest, 1 << 20).await?, bytes());
    host.change(What::Remove { version: version("1.0.0") }).await?;
    assert!(discard().await?);
    let gone = get_component(&host.store, &digest, 1 << 20).await.expect_err("it is gone");
    assert!(matches!(gone, ComponentError::Missing { .. }), "{gone}");
    assert!(discard().await?, "it is gone already");
    host.push("1.0.0", &bytes()).await?;
    assert_eq!(get_component(&host.store, &digest, 1 << 20).await?, bytes(), "it comes back with its version");
    Ok(())
}

/// Whoever pushes a version while its component is being discarded finds it there in the end, whichever of the two is faster at what.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_comes_back_while_its_component_is_discarded_has_its_component() -> Result<()> {
    let server = NatsServer::start().await?;
    let (one, other) = (Host::on(&server).await?, Host::on(&server).await?);
    let digest = one.push("1.0.0", &bytes()).await?;
    for round in 0..30 {
        one.change(What::Remove { version: version("1.0.0") }).await?;
        let component = bytes();
        let (discarded, pushed) = futures::join!(one.discard(&digest), other.push("1.0.0", &component));
        discarded?;
        pushed?;
        assert_eq!(get_component(&one.store, &digest, 1 << 20).await.with_context(|| format!("round {round}"))?, bytes());
    }
    Ok(())
}

/// The worst moment of all: the version appears after it was found that nobody needs the component, and before that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_somebody_comes_to_need_before_it_is_gone_is_put_back() -> Result<()> {
    let server = NatsServer::start().await?;
    let host = Host::on(&server).await?;
    let digest = put_component(&host.store, &bytes()).await?;
    let asked = AtomicU32::new(0);
    let is_needed = || {
        async {
            let is_named = host.names(&digest).await?;
            if asked.fetch_add(1, Ordering::Relaxed) == 0 {
                host.push("1.0.0", &bytes()).await?;
            }
            Ok(is_named)
        }
        .boxed()
    };
    let copy = copy_component(&host.store, &digest, 1 << 20).await?;
    let gone = discard_component(&host.store, &digest, copy.as_deref(), is_needed, anyhow::Error::from).await?;
    assert!(!gone && asked.load(Ordering::Relaxed) == 2);
    assert_eq!(get_component(&host.store, &digest, 1 << 20).await?, bytes());

    // Nor is it gone when nobody can say any more whether it is needed.
    host.change(What::Remove { version: version("1.0.0") }).await?;
    let asked = AtomicU32::new(0);
    let nobody_knows = || {
        let first = asked.fetch_add(1, Ordering::Relaxed) == 0;
        async move { if first { Ok(false) } else { Err(anyhow::anyhow!("a domain is silent")) } }.boxed()
    };
    let told = discard_component(&host.store, &digest, copy.as_deref(), nobody_knows, anyhow::Error::from).await;
    assert!(told.is_err_and(|error| error.to_string() == "a domain is silent"));
    assert_eq!(get_component(&host.store, &digest, 1 << 20).await?, bytes());
    Ok(())
}
