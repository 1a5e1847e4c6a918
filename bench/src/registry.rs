//! Versions of engines, pushed as a host pushes them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use async_nats::jetstream::object_store::ObjectStore;
use async_nats::{Client, RequestErrorKind, jetstream};
use pilothouse::api::{AskEngines, EngineState, HostEngines};
use pilothouse::driver::engines::open_store;
use pilothouse::driver::registry::{Registry, What, Wish, digest_of};
use pilothouse_core::record::EngineInForce;

use crate::host::{subjects, wall};

/// The registry of a server, and the components.
pub(crate) struct Versions {
    client: Client,
    registry: Registry,
    /// Where components are.
    pub(crate) store: ObjectStore,
}

impl Versions {
    /// Makes the registry if no host has made it yet.
    pub(crate) async fn open(client: &Client) -> Result<Self> {
        let jetstream = jetstream::new(client.clone());
        let store = open_store(&jetstream, "PH_ENGINES", 1).await.context("opening the store of engines")?;
        let registry = Registry::open(client, &jetstream, "PH_REGISTRY", 1).await.context("opening the registry")?;
        Ok(Self { client: client.clone(), registry, store })
    }

    /// Stores a component, and has the registry say which version it is.
    pub(crate) async fn push(&self, name: &str, version: &str, component: &[u8]) -> Result<EngineInForce> {
        let digest = digest_of(component);
        let what = What::Push {
            version: version.parse().with_context(|| format!("the version {version}"))?,
            digest: digest.clone(),
            bytes: component.len() as u64,
            about: String::new(),
        };
        let wish = Wish { what, by: "bench".parse()?, at: wall(), built_in: BTreeMap::new() };
        let pushed = self.registry.push(&self.store, component, &name.parse()?, &wish, None).await;
        pushed.map_err(|error| anyhow!("pushing {name}@{version}: {error:?}"))?;
        Ok(EngineInForce { name: name.to_owned(), version: version.to_owned(), digest })
    }

    /// How the host is with these components, those that it knows. Nothing, while there is no host.
    pub(crate) async fn states(&self, digests: &[String]) -> Result<Option<BTreeMap<String, EngineState>>> {
        let question = serde_json::to_vec(&AskEngines { digests: digests.to_vec() })?;
        match self.client.request(subjects()?.hosts("engines"), question.into()).await {
            Ok(answer) => Ok(Some(serde_json::from_slice::<HostEngines>(&answer.payload)?.engines)),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(None),
            Err(error) => Err(error).context("asking the host for its engines"),
        }
    }
}
