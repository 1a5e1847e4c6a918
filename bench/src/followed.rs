//! A host with a domain that follows an engine by its name, and newer versions of that engine.
//!
//! The engine is `npreserving` as it ships, under other versions: the number is written into it. So each is new to store, compiler and
//! cache. The host is the real program.

use std::ffi::OsStr;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use async_nats::Client;
use pilothouse::api::EngineState;
use pilothouse::driver::registry::digest_of;
use pilothouse::store::{JetStreamJournal, Journal, JournalOptions};
use pilothouse_core::cycle::Engine;
use pilothouse_core::domain::Happened;
use pilothouse_core::name::DomainKey;
use pilothouse_core::record::{EngineInForce, Event, Record};
use pilothouse_core::time::Millis;
use pilothouse_engine_host::{Compiler, Sandbox, SandboxConfig};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fixture;
use crate::host::{Running, Watcher, add, program, subjects};
use crate::nats::{NatsServer, Sync};
use crate::registry::Versions;

/// What the engine is called.
pub(crate) const NAME: &str = "npreserving";
/// What it says of itself as it ships.
const SHIPPED: &str = "0.1.0";

/// A host that runs on a nats-server of its own, and a domain that it has decided for.
pub(crate) struct Followed {
    host: Running,
    watcher: Watcher,
    journal: JetStreamJournal,
    /// The domain.
    pub(crate) key: DomainKey,
    config: Value,
    /// A connection to the server.
    pub(crate) client: Client,
    /// The registry and the store.
    pub(crate) versions: Versions,
    shipped: Vec<u8>,
    compiler: Compiler,
    _cache: TempDir,
    _server: NatsServer,
}

/// A version of the engine.
pub(crate) struct Newer {
    /// As a domain knows it.
    pub(crate) engine: EngineInForce,
    /// Its bytes.
    pub(crate) component: Vec<u8>,
}

impl Followed {
    /// Starts a host with these arguments more, and waits for the domain's first decision: of the engine as it ships.
    pub(crate) async fn start(decide_interval: Millis, more: &[&OsStr]) -> Result<Self> {
        let server = NatsServer::start(Sync::Always).await?;
        let client = server.client().await?;
        let cache = TempDir::with_prefix("pilothouse-bench-")?;
        let program = program()?;
        let compiler = Compiler { program: program.clone(), arguments: vec!["compile-component".into()] };
        let shipped = fixture::component(NAME)?;
        let (_sandbox, engine) = fixture::engine(NAME)?;
        let versions = Versions::open(&client).await?;
        let journal = JetStreamJournal::open(client.clone(), subjects()?, &JournalOptions::default()).await?;
        let (key, config) = (fixture::key(0), config(decide_interval));
        add(&journal, &key, &engine.identity(), config.clone()).await?;
        let mut watcher = Watcher::start(&client).await?;
        let host = Running::start_with(&program, &server, cache.path(), more)?;
        watcher.until(1, |_, what| matches!(what, Happened::Decided { .. })).await.context("the first decision")?;
        Ok(Self { host, watcher, journal, key, config, client, versions, shipped, compiler, _cache: cache, _server: server })
    }

    /// The how-manieth version after the one that ships.
    pub(crate) fn newer(&self, number: usize) -> Result<Newer> {
        let version = version(number);
        let component = renumbered(&self.shipped, &version)?;
        let engine = EngineInForce { name: NAME.to_owned(), version, digest: digest_of(&component) };
        Ok(Newer { engine, component })
    }

    /// Waits until the domain was swapped to a version, and then until that has decided: when each was told, which is when it is on record.
    pub(crate) async fn takes_up(&mut self, wanted: &EngineInForce) -> Result<[Instant; 2]> {
        let is_swap = |what: &Happened| matches!(what, Happened::Swapped { engine, .. } if engine == wanted);
        self.watcher.until(1, |_, what| is_swap(what)).await.context("the swap")?;
        let swapped = Instant::now();
        self.watcher.until(1, |_, what| matches!(what, Happened::Decided { .. })).await.context("the decision after the swap")?;
        let decided = Instant::now();
        // The news of a decision does not say whose it is. The journal does.
        let by = |event| if let Event::Decided(decision) = event { Some(decision.engine) } else { None };
        let mut engines = Vec::new();
        for entry in self.journal.history(&self.key, None, 10).await? {
            engines.extend(Record::from_bytes(&entry.bytes)?.events.into_iter().filter_map(by));
        }
        ensure!(engines.first() == Some(wanted), "the decision after the swap to {wanted:?} was made by {:?}", engines.first());
        Ok([swapped, decided])
    }

    /// Seconds that the host needed to load a version, as it says, and whether it found it in its cache.
    pub(crate) async fn loaded(&self, engine: &EngineInForce) -> Result<(f64, bool)> {
        let states = self.versions.states(std::slice::from_ref(&engine.digest)).await?.unwrap_or_default();
        let state = states.get(&engine.digest).context("the host says how it is with the version")?;
        let EngineState::Ready { compile_ms, from_cache } = state else { bail!("the host decides by a version that is {state:?}") };
        Ok((*compile_ms as f64 / 1e3, *from_cache))
    }

    /// Seconds for compiling a version and for having it judge the domain's configuration, each by itself and without any host.
    pub(crate) async fn alone(&self, newer: &Newer) -> Result<[f64; 2]> {
        let config = SandboxConfig { compiler: Some(self.compiler.clone()), ..SandboxConfig::default() };
        let sandbox = Sandbox::new(config).context("a sandbox")?;
        let (component, conf) = (newer.component.clone(), self.config["engine_conf"].to_string());
        let compiling = tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            let engine = sandbox.load(&component).context("loading a component")?;
            let compiled = begun.elapsed();
            let begun = Instant::now();
            let problems = engine.check_config(&conf).map_err(|fault| anyhow!("judging a configuration: {fault}"))?;
            ensure!(problems.is_empty(), "the configuration is good: {problems:?}");
            Ok([compiled, begun.elapsed()])
        });
        Ok(compiling.await.context("a thread that compiles")??.map(|length| length.as_secs_f64()))
    }

    /// Ends the host in order.
    pub(crate) fn end(mut self) -> Result<()> {
        self.host.end()
    }
}

/// Nothing is wanted.
fn config(decide_interval: Millis) -> Value {
    json!({
        "general": { "engine": NAME, "decide_interval": decide_interval.as_secs_f64() },
        "engine_conf": { "preserve_n": 0 },
    })
}

/// The number of the how-manieth version after the one that ships, as long as that.
fn version(number: usize) -> String {
    format!("0.{}.{}", 1 + number / 10, number % 10)
}

/// The same component, which says that it is another version.
fn renumbered(shipped: &[u8], version: &str) -> Result<Vec<u8>> {
    let says = |version: &str| format!("{NAME}{version}").into_bytes();
    let (old, new) = (says(SHIPPED), says(version));
    ensure!(old.len() == new.len(), "a version as long as {SHIPPED}, not {version}");
    let found = shipped.windows(old.len()).enumerate().filter(|(_, window)| *window == old);
    let found: Vec<usize> = found.map(|(at, _)| at).collect();
    let [at] = found[..] else { bail!("the component of {NAME} says {} times that it is {SHIPPED}, not once", found.len()) };
    let mut component = shipped.to_vec();
    component[at..at + new.len()].copy_from_slice(&new);
    Ok(component)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_given_another_version_in_one_place() {
        let shipped = b"\0asm npreserving0.1.0# npreserving 0.1.0";
        assert_eq!(renumbered(shipped, "0.2.3").expect("it says so once"), b"\0asm npreserving0.2.3# npreserving 0.1.0");
        assert!(renumbered(b"npreserving0.1.0 npreserving0.1.0", "0.2.3").is_err());
        assert!(renumbered(shipped, "0.12.3").is_err());
        assert_eq!((version(1), version(9), version(10)), ("0.1.1".to_owned(), "0.1.9".to_owned(), "0.2.0".to_owned()));
    }
}
