//! Many domains that decide at the same time.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use pilothouse_core::cycle::Engine;
use pilothouse_core::domain::Domain;
use pilothouse_core::seed::Seed;
use pilothouse_core::time::Millis;
use pilothouse_engine_host::{LoadedEngine, Runner, RunnerConfig};

use crate::Settings;
use crate::fixture::{self, NOW};
use crate::measure::Samples;
use crate::report::{Figure, Outcome, Target, Unit};

const DOMAINS: usize = 1000;
const INSTANCES: usize = 10;
/// What is to be reached on two cores: half of it for each core.
const FOR_EACH_CORE: f64 = 50_000.0;

/// Each domain decides so often in a round.
const DECISIONS: usize = 50;

pub(crate) fn measure(settings: &Settings) -> Result<Outcome> {
    let cores = std::thread::available_parallelism().map_or(1, Into::into);
    let (_sandbox, engine) = fixture::simplest()?;
    let runner = Arc::new(Runner::new(RunnerConfig::default()).context("starting engine threads")?);
    let runtime = tokio::runtime::Builder::new_multi_thread().build().context("starting a runtime")?;
    let mut domains: Vec<Domain> =
        (0..DOMAINS).map(|number| fixture::domain(fixture::state(number, INSTANCES, INSTANCES, &engine.identity()))).collect();
    let (mut rates, mut alone) = (Vec::new(), Vec::new());
    for round in 0..settings.rounds(20) {
        let began = Instant::now();
        domains = runtime.block_on(decide_all(domains, round, &engine, &runner))?;
        rates.push((DOMAINS * DECISIONS) as f64 / began.elapsed().as_secs_f64());

        // The same calls without domains, tasks and queue: what the cores give.
        let began = Instant::now();
        std::thread::scope(|scope| {
            for share in domains.chunks_mut(DOMAINS.div_ceil(cores)) {
                let engine = &engine;
                scope.spawn(move || {
                    for (number, domain) in share.iter_mut().enumerate() {
                        for n in 0..DECISIONS {
                            let now = NOW + Millis::from_secs(((2 * round + 1) * DECISIONS + n) as u64 * 10);
                            let cycle = domain.begin(now, seed(number, n)).expect("a decision is due");
                            let (record, _) = domain.finish(cycle.run(engine), now);
                            assert!(record.is_none(), "all is well");
                        }
                    }
                });
            }
        });
        alone.push((DOMAINS * DECISIONS) as f64 / began.elapsed().as_secs_f64());
    }
    let (rates, alone) = (Samples::of(rates), Samples::of(alone));
    let figure = Figure::new("through tasks and the runner", Unit::PerSecond, &rates);
    let figure = figure.beside("the same without tasks and runner", &rates, &alone).target(Target::AtLeast(FOR_EACH_CORE * cores as f64));
    Ok(Outcome { figures: vec![figure], notes: vec![format!("the target is {FOR_EACH_CORE} for each of {cores} cores")] })
}

/// Each domain decides some times, one after the other; all domains at the same time.
async fn decide_all(domains: Vec<Domain>, round: usize, engine: &LoadedEngine, runner: &Arc<Runner>) -> Result<Vec<Domain>> {
    let tasks = domains.into_iter().enumerate().map(|(number, mut domain)| {
        let (engine, runner) = (engine.clone(), Arc::clone(runner));
        tokio::spawn(async move {
            for n in 0..DECISIONS {
                // Its own time: a decision is due whenever it is asked.
                let now = NOW + Millis::from_secs((2 * round * DECISIONS + n) as u64 * 10);
                let cycle = domain.begin(now, seed(number, n)).context("a decision is due")?;
                let engine = engine.clone();
                let ran = runner.run(move || cycle.run(&engine))?.await?;
                let (record, finished) = domain.finish(ran, now);
                ensure!(record.is_none() && finished.said.is_some(), "nothing is to be done");
            }
            anyhow::Ok(domain)
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut domains = Vec::with_capacity(tasks.len());
    for task in tasks {
        domains.push(task.await.context("a task")??);
    }
    Ok(domains)
}

fn seed(number: usize, n: usize) -> Seed {
    Seed(((number as u128) << 64 | n as u128).to_be_bytes())
}
