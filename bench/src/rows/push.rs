//! From the push of a version to the first decision that it made, and where the time goes.
//!
//! The component is `npreserving` as it ships, under other versions: the number is written into it. So each is new to store, compiler and
//! cache. One host, the real program, has a domain that follows the engine by its name.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use pilothouse::api::{ApiClient, EngineChanged, EngineState, Operation, PushEngine};
use pilothouse::driver::registry::{digest_of, get_component, put_component};
use pilothouse::store::{JetStreamJournal, JournalOptions};
use pilothouse_core::cycle::Engine;
use pilothouse_core::domain::Happened;
use pilothouse_core::record::EngineInForce;
use pilothouse_engine_host::{Compiler, Sandbox, SandboxConfig};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Settings;
use crate::fixture;
use crate::host::{Running, Watcher, add, program, subjects};
use crate::measure::Samples;
use crate::nats::{NatsServer, Sync};
use crate::registry::Versions;
use crate::report::{Figure, Outcome, Target, Unit};

const NAME: &str = "npreserving";
/// What it says of itself as it ships.
const SHIPPED: &str = "0.1.0";

/// What came of one push, in seconds.
#[derive(Default)]
struct Steps {
    whole: Vec<f64>,
    upload: Vec<f64>,
    register: Vec<f64>,
    swapped: Vec<f64>,
    decided: Vec<f64>,
    /// As the host says, for the one that decides: it was compiled before, to be judged.
    loading: Vec<f64>,
    /// The same steps, each by itself.
    fetch: Vec<f64>,
    compile: Vec<f64>,
    vet: Vec<f64>,
}

pub(crate) fn measure(settings: &Settings) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting a runtime")?;
    let steps = runtime.block_on(run(settings.rounds(20)))?;
    let whole = Samples::of(steps.whole);
    let part = |what: &str, seconds: Vec<f64>| {
        let part = Samples::of(seconds);
        Figure::new(what, Unit::Seconds, &part).beside("the whole", &part, &whole)
    };
    Ok(Outcome {
        figures: vec![
            Figure::new("from the push to the first decision", Unit::Seconds, &whole).target(Target::AtMost(1.0)),
            part("  uploaded: the component is in the store", steps.upload),
            part("  fetched, compiled, judged, registered: the request is answered", steps.register),
            part("  loaded from the cache, its judgement asked, swapped: on record", steps.swapped),
            part("  decided by it: on record", steps.decided),
            part("of that, loading it from the cache, as the host says", steps.loading),
            part("by itself: fetching it", steps.fetch),
            part("by itself: compiling it in a process, at a low priority", steps.compile),
            part("by itself: having it judge a configuration", steps.vet),
        ],
        notes: vec![
            "a component of `npreserving` under a new version each time, pushed as `pilothouse engine push` does, on a nats-server with `sync_interval: always`; \
             one host, whose domain follows the newest version"
                .to_owned(),
            "the lines that are indented follow one another, and are the whole".to_owned(),
        ],
    })
}

async fn run(rounds: usize) -> Result<Steps> {
    let server = NatsServer::start(Sync::Always).await?;
    let client = server.client().await?;
    let cache = TempDir::with_prefix("pilothouse-bench-")?;
    let program = program()?;
    let compiler = Compiler { program: program.clone(), arguments: vec!["compile-component".into()] };
    let shipped = fixture::component(NAME)?;
    let (_sandbox, engine) = fixture::engine(NAME)?;
    let versions = Versions::open(&client).await?;
    let journal = JetStreamJournal::open(client.clone(), subjects()?, &JournalOptions::default()).await?;
    let key = fixture::key(0);
    add(&journal, &key, &engine.identity(), config()).await?;
    let mut watcher = Watcher::start(&client).await?;
    let mut host = Running::start(&program, &server, cache.path(), &[])?;
    watcher.until(1, |_, what| matches!(what, Happened::Decided { .. })).await.context("the first decision")?;

    let api = ApiClient::new(client.clone(), subjects()?, key.owner.clone());
    let mut steps = Steps::default();
    // The first is to warm up.
    for round in 0..=rounds {
        let version = version(round + 1);
        let component = renumbered(&shipped, &version)?;
        let begun = Instant::now();
        put_component(&versions.store, &component).await.context("storing a component")?;
        let uploaded = begun.elapsed();
        let request = PushEngine {
            digest: digest_of(&component),
            bytes: component.len() as u64,
            expect: Some(format!("{NAME}@{version}")),
            request_id: None,
        };
        let registered = api.call::<EngineChanged>(Operation::EnginePush, &request).await;
        registered.map_err(|error| anyhow!("pushing {version}: {error}"))?;
        let pushed = EngineInForce { name: NAME.to_owned(), version: version.clone(), digest: request.digest };
        let registered = begun.elapsed();
        watcher.until(1, |_, what| matches!(what, Happened::Swapped { engine, .. } if *engine == pushed)).await.context("the swap")?;
        let swapped = begun.elapsed();
        watcher.until(1, |_, what| matches!(what, Happened::Decided { .. })).await.context("the decision after the swap")?;
        let decided = begun.elapsed();
        let alone = alone(&versions, &pushed.digest, &component, &compiler).await?;
        let digests = [pushed.digest];
        let states = versions.states(&digests).await?.unwrap_or_default();
        let state = states.get(&digests[0]).context("the host says how it is with the version")?;
        let EngineState::Ready { compile_ms, .. } = state else { anyhow::bail!("the host decides by a version that is {state:?}") };
        if round > 0 {
            steps.whole.push(decided.as_secs_f64());
            steps.upload.push(uploaded.as_secs_f64());
            steps.register.push((registered - uploaded).as_secs_f64());
            steps.swapped.push((swapped - registered).as_secs_f64());
            steps.decided.push((decided - swapped).as_secs_f64());
            steps.loading.push(*compile_ms as f64 / 1e3);
            let [fetch, compile, vet] = alone;
            steps.fetch.push(fetch);
            steps.compile.push(compile);
            steps.vet.push(vet);
        }
    }
    host.end()?;
    Ok(steps)
}

/// Seconds for fetching, compiling and vetting a component, each by itself and without any host.
async fn alone(versions: &Versions, digest: &str, component: &[u8], compiler: &Compiler) -> Result<[f64; 3]> {
    let sandbox = Sandbox::new(SandboxConfig { compiler: Some(compiler.clone()), ..SandboxConfig::default() }).context("a sandbox")?;
    let begun = Instant::now();
    black_box(get_component(&versions.store, digest, sandbox.limits().component_bytes).await.context("fetching a component")?);
    let fetched = begun.elapsed();
    let component = component.to_vec();
    let compiling = tokio::task::spawn_blocking(move || {
        let begun = Instant::now();
        let engine = sandbox.load(&component).context("loading a component")?;
        let compiled = begun.elapsed();
        let conf = config()["engine_conf"].to_string();
        let begun = Instant::now();
        let problems = engine.check_config(&conf).map_err(|fault| anyhow!("judging a configuration: {fault}"))?;
        ensure!(problems.is_empty(), "the configuration is good: {problems:?}");
        Ok((compiled, begun.elapsed()))
    });
    let (compiled, vetted) = compiling.await.context("a thread that compiles")??;
    Ok([fetched, compiled, vetted].map(|length| length.as_secs_f64()))
}

/// Nothing is wanted, and nothing is due by itself.
fn config() -> Value {
    json!({ "general": { "engine": NAME, "decide_interval": 3600 }, "engine_conf": { "preserve_n": 0 } })
}

/// The how-manieth version after the one that ships, as long as that.
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
    let [at] = found[..] else { anyhow::bail!("the component of {NAME} says {} times that it is {SHIPPED}, not once", found.len()) };
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
