//! Hosts, as far as they have to do with the registry.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::jetstream::{self, object_store::ObjectStore};
use futures::FutureExt;
use pilothouse::api::EngineState;
use pilothouse::driver::engines::{self, Engines};
use pilothouse::driver::registry::{self, Ahead, Entry, Ready, Registry, What, Wish};
use pilothouse_core::name::Name;
use pilothouse_core::subject::Subjects;
use pilothouse_core::time::Timestamp;
use pilothouse_engine_host::{Sandbox, SandboxConfig, Version};
use pilothouse_tests::guest::Guest;
use pilothouse_tests::nats::NatsServer;
use pilothouse_tests::wait::eventually;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Long enough for a crowded machine; what is awaited takes a moment.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A host that follows the registry. Dropping it ends that.
pub(crate) struct Host {
    pub(crate) registry: Arc<Registry>,
    pub(crate) store: ObjectStore,
    pub(crate) client: async_nats::Client,
    _stop: DropGuard,
    stop: CancellationToken,
}

/// A host that compiles, too.
pub(crate) struct Compiling {
    pub(crate) host: Host,
    pub(crate) engines: Engines,
    pub(crate) ready: Ready,
}

impl Host {
    pub(crate) async fn on(server: &NatsServer) -> Result<Self> {
        let client = server.client().await?;
        let jetstream = jetstream::new(client.clone());
        let registry = Arc::new(Registry::open(&client, &jetstream, "PH_REGISTRY", 1).await?);
        let store = engines::open_store(&jetstream, "PH_ENGINES", 1).await?;
        let stop = CancellationToken::new();
        let (follows, stopped) = (Arc::clone(&registry), stop.clone());
        tokio::spawn(async move { follows.follow(stopped).await });
        Ok(Self { registry, store, client, _stop: stop.clone().drop_guard(), stop })
    }

    /// It knows that of an engine by now, or soon will.
    pub(crate) async fn sees(&self, what: &str, mut condition: impl FnMut(Option<&Entry>) -> bool) -> Result<()> {
        eventually(what, SOON, async || condition(self.registry.known().get(&guest()))).await
    }

    pub(crate) async fn change(&self, what: What) -> Result<pilothouse::api::EngineChanged> {
        let changed = self.registry.change(&guest(), &wish(what), None).await;
        changed.map_err(|error| anyhow::anyhow!("{}: {error}", error.kind()))
    }

    /// Puts a component into the store, and enters it as a version.
    pub(crate) async fn push(&self, version: &str, component: &[u8]) -> Result<String> {
        let digest = registry::digest_of(component);
        let pushed = self.registry.push(&self.store, component, &guest(), &wish(push(version, &digest)), None).await;
        pushed.map_err(|error| anyhow::anyhow!("{}: {error}", error.kind()))?;
        Ok(digest)
    }

    /// Takes a component out of the store that no version names.
    pub(crate) async fn discard(&self, digest: &str) -> Result<bool> {
        let is_named = || self.names(digest).boxed();
        let copy = registry::copy_component(&self.store, digest, 1 << 20).await?;
        registry::discard_component(&self.store, digest, copy.as_deref(), is_named, anyhow::Error::from).await
    }

    /// Whether the registry has a version with these bytes.
    pub(crate) async fn names(&self, digest: &str) -> Result<bool> {
        let entry = self.registry.get(&guest()).await.map_err(|error| anyhow::anyhow!("{}: {error}", error.kind()))?;
        Ok(entry.is_some_and(|entry| entry.versions.values().any(|pushed| pushed.digest == digest)))
    }
}

impl Compiling {
    pub(crate) async fn on(server: &NatsServer, name: &str) -> Result<Self> {
        let host = Host::on(server).await?;
        let engines = tokio::task::spawn_blocking(|| {
            let sandbox = Sandbox::new(SandboxConfig { concurrent_calls: 4, ..SandboxConfig::default() })?;
            anyhow::Ok(Engines::embedded(sandbox)?)
        });
        let engines = engines.await??;
        let ready = engines.ready().clone();
        let ahead = Ahead::new(host.registry.entries(), host.store.clone(), engines.clone());
        tokio::spawn(ahead.run(host.stop.clone()));
        registry::attend(&host.client, &subjects(), &name.parse()?, &engines, &host.stop).await?;
        host.client.flush().await?;
        Ok(Self { host, engines, ready })
    }

    /// How it is with a component, once that is settled.
    pub(crate) async fn settled(&self, digest: &str) -> Result<EngineState> {
        let is = |state: Option<EngineState>| matches!(state, Some(EngineState::Ready { .. } | EngineState::Refused { .. }));
        eventually(&format!("{digest} is settled"), SOON, async || is(self.ready.get(digest))).await?;
        self.ready.get(digest).context("it has just been there")
    }
}

pub(crate) fn subjects() -> Subjects {
    Subjects::new(&"ph".parse().expect("a name"))
}

/// As the guests call themselves.
pub(crate) fn guest() -> Name {
    "guest".parse().expect("a name")
}

pub(crate) fn version(text: &str) -> Version {
    text.parse().expect("a version")
}

/// A component that calls itself so.
pub(crate) fn component(version: &str) -> Vec<u8> {
    Guest::new("quiet").with("1.0.0\\00", &format!("{version}\\00")).component()
}

pub(crate) fn push(text: &str, digest: &str) -> What {
    What::Push { version: version(text), digest: digest.to_owned(), bytes: 1, about: String::new() }
}

pub(crate) fn wish(what: What) -> Wish {
    Wish { what, by: "ann".parse().expect("a name"), at: Timestamp::from_secs(1), built_in: BTreeMap::new() }
}
