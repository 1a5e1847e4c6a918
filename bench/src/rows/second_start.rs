//! A start that finds its compiled engines in the cache: the engines that ship, and one in Python that was pushed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pilothouse::api::EngineState;
use pilothouse::driver::engines::Engines;
use pilothouse_core::cycle::Engine;
use pilothouse_core::record::EngineInForce;
use pilothouse_engine_host::{Sandbox, SandboxConfig};
use tempfile::TempDir;

use crate::Settings;
use crate::host::{Running, program};
use crate::measure::Samples;
use crate::nats::{NatsServer, Sync};
use crate::registry::Versions;
use crate::report::{Figure, Outcome, Target, Unit};

/// The largest engine that there is here: an interpreter is in it.
const PYTHON: &str = "examples/needy-python.wasm";

/// How long a host may take until it has everything ready, compiling a Python interpreter on a busy machine included.
const READY: Duration = Duration::from_secs(180);

pub(crate) fn measure(settings: &Settings) -> Result<Outcome> {
    let program = program()?;
    let python = python()?;
    let cache = TempDir::with_prefix("pilothouse-bench-")?;
    let mut starts = Starts::default();
    // In this process, where what was compiled is counted; what it leaves in the cache is the host's as well.
    let (cold, pushed) = starts.load(&cache, python.as_deref())?;
    ensure!(cold > 0, "the first start compiles");
    let cold_took = starts.took.pop().context("a start was made")?;
    for _ in 0..settings.rounds(20) {
        let (compiled, _) = starts.load(&cache, python.as_deref())?;
        starts.compiled.push(compiled as f64);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting a runtime")?;
    let python_or_not = python.as_deref().zip(pushed.last());
    let hosts = runtime.block_on(hosts(settings.rounds(10), program, &pushed, python_or_not))?;

    let count = |samples: Vec<f64>| Samples::of(samples);
    let (compiled, took) = (count(starts.compiled), count(starts.took));
    // One first start for all that followed it.
    let first = |seconds: f64, of: &Samples| Samples::of(vec![seconds; of.len()]);
    let started = count(hosts.took);
    let mut notes = vec![
        format!("{} components; the first start compiles {cold} of them, on all cores", pushed.len()),
        "loading: in this process, the embedded engines and the one in Python; a host: the program, on a nats-server, from its start until it \
         answers that all of them are ready, the pushed one among them"
            .to_owned(),
    ];
    if python.is_none() {
        notes.push(format!("without an engine in Python: there is no target/{PYTHON}; `cargo xtask example needy-python` builds it"));
    }
    Ok(Outcome {
        figures: vec![
            Figure::new("compiled by a second loading", Unit::Count, &compiled).target(Target::AtMost(0.0)),
            Figure::new("a second loading", Unit::Seconds, &took).beside("the first", &took, &first(cold_took, &took)),
            Figure::new("compiled by a second start of a host", Unit::Count, &count(hosts.compiled)).target(Target::AtMost(0.0)),
            Figure::new("a second start of a host, until all are ready", Unit::Seconds, &started).beside(
                "the first",
                &started,
                &first(hosts.first, &started),
            ),
        ],
        notes,
    })
}

/// Loadings of everything.
#[derive(Default)]
struct Starts {
    compiled: Vec<f64>,
    took: Vec<f64>,
}

impl Starts {
    /// Loads everything into a new sandbox. How many were compiled, and which engines there are.
    fn load(&mut self, cache: &TempDir, python: Option<&[u8]>) -> Result<(u64, Vec<EngineInForce>)> {
        let begun = Instant::now();
        let config = SandboxConfig { cache: Some(cache.path().to_owned()), ..SandboxConfig::default() };
        let sandbox = Sandbox::new(config).context("making a sandbox")?;
        let engines = Engines::embedded(sandbox.clone()).context("loading the embedded engines")?;
        let mut all: Vec<EngineInForce> = engines.own().map(|(engine, _)| engine.identity()).collect();
        if let Some(python) = python {
            all.push(sandbox.load(python).context("loading the engine in Python")?.identity());
        }
        self.took.push(begun.elapsed().as_secs_f64());
        Ok((sandbox.compiled(), all))
    }
}

/// Starts of a host.
struct Hosts {
    first: f64,
    took: Vec<f64>,
    compiled: Vec<f64>,
}

async fn hosts(rounds: usize, program: PathBuf, all: &[EngineInForce], python: Option<(&[u8], &EngineInForce)>) -> Result<Hosts> {
    let server = NatsServer::start(Sync::Always).await?;
    let (client, cache) = (server.client().await?, TempDir::with_prefix("pilothouse-bench-")?);
    let versions = Versions::open(&client).await?;
    if let Some((component, engine)) = python {
        versions.push(&engine.name, &engine.version, component).await?;
    }
    let digests: Vec<String> = all.iter().map(|engine| engine.digest.clone()).collect();
    let (mut took, mut compiled, mut first) = (Vec::new(), Vec::new(), 0.0);
    for round in 0..=rounds {
        let mut host = Running::start(&program, &server, cache.path(), &[])?;
        let ready = ready(&versions, &digests, host.began).await?;
        let seconds = host.began.elapsed().as_secs_f64();
        let anew = ready.values().filter(|state| !matches!(state, EngineState::Ready { from_cache: true, .. })).count();
        if round == 0 {
            ensure!(anew == digests.len(), "the first start compiles all of them, not {anew}");
            first = seconds;
        } else {
            took.push(seconds);
            compiled.push(anew as f64);
        }
        host.end()?;
    }
    Ok(Hosts { first, took, compiled })
}

/// Waits until a host has all of them ready.
async fn ready(versions: &Versions, digests: &[String], began: Instant) -> Result<BTreeMap<String, EngineState>> {
    loop {
        if let Some(engines) = versions.states(digests).await? {
            if engines.len() == digests.len() && engines.values().all(|state| matches!(state, EngineState::Ready { .. })) {
                return Ok(engines);
            }
            if let Some((digest, state)) = engines.iter().find(|(_, state)| matches!(state, EngineState::Refused { .. })) {
                anyhow::bail!("the host refuses {digest}: {state:?}");
            }
        }
        ensure!(began.elapsed() < READY, "the host is not ready in time");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The engine in Python, if it was built.
fn python() -> Result<Option<Vec<u8>>> {
    let exe = std::env::current_exe().context("finding the target folder")?;
    let file = exe.ancestors().map(|folder| folder.join(PYTHON)).find(|file| file.is_file());
    file.map(|file| std::fs::read(&file).with_context(|| format!("reading {}", file.display()))).transpose()
}
