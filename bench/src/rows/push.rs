//! From the push of a version to the first decision that it made, and where the time goes.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use pilothouse::api::{ApiClient, EngineChanged, Operation, PushEngine};
use pilothouse::driver::registry::{get_component, put_component};
use pilothouse_core::time::Millis;

use crate::Settings;
use crate::followed::{Followed, NAME, Newer};
use crate::host::subjects;
use crate::measure::Samples;
use crate::report::{Figure, Outcome, Target, Unit};

/// Nothing is due by itself.
const INTERVAL: Millis = Millis::from_secs(3600);

/// What came of all pushes, in seconds.
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
    let mut followed = Followed::start(INTERVAL, &[]).await?;
    let api = ApiClient::new(followed.client.clone(), subjects()?, followed.key.owner.clone());
    let mut steps = Steps::default();
    // The first is to warm up.
    for round in 0..=rounds {
        let newer = followed.newer(round + 1)?;
        let Newer { engine, component } = &newer;
        let begun = Instant::now();
        put_component(&followed.versions.store, component).await.context("storing a component")?;
        let uploaded = begun.elapsed();
        let request = PushEngine {
            digest: engine.digest.clone(),
            bytes: component.len() as u64,
            expect: Some(format!("{NAME}@{}", engine.version)),
            request_id: None,
        };
        let registered = api.call::<EngineChanged>(Operation::EnginePush, &request).await;
        registered.map_err(|error| anyhow!("pushing {}: {error}", engine.version))?;
        let registered = begun.elapsed();
        let [swapped, decided] = followed.takes_up(engine).await?.map(|at| at - begun);
        let fetch = fetched(&followed, &newer).await?;
        let [compile, vet] = followed.alone(&newer).await?;
        let (loading, _) = followed.loaded(engine).await?;
        if round > 0 {
            steps.whole.push(decided.as_secs_f64());
            steps.upload.push(uploaded.as_secs_f64());
            steps.register.push((registered - uploaded).as_secs_f64());
            steps.swapped.push((swapped - registered).as_secs_f64());
            steps.decided.push((decided - swapped).as_secs_f64());
            steps.loading.push(loading);
            steps.fetch.push(fetch);
            steps.compile.push(compile);
            steps.vet.push(vet);
        }
    }
    followed.end()?;
    Ok(steps)
}

/// Seconds for fetching a version from the store, without any host.
async fn fetched(followed: &Followed, newer: &Newer) -> Result<f64> {
    let begun = Instant::now();
    let component = get_component(&followed.versions.store, &newer.engine.digest, newer.component.len()).await;
    black_box(component.context("fetching a component")?);
    Ok(begun.elapsed().as_secs_f64())
}
