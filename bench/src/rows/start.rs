//! From the start of the real program to the first decision that it committed.

use std::path::PathBuf;

use anyhow::{Context, Result};
use pilothouse::store::{JetStreamJournal, JournalOptions};
use pilothouse_core::domain::Happened;
use pilothouse_core::record::EngineInForce;
use tempfile::TempDir;

use crate::Settings;
use crate::fixture;
use crate::host::{Running, Watcher, add, program, subjects};
use crate::measure::Samples;
use crate::nats::{NatsServer, Sync};
use crate::report::{Figure, Outcome, Target, Unit};

pub(crate) fn measure(settings: &Settings) -> Result<Outcome> {
    let program = program()?;
    let engine = fixture::embedded()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting a runtime")?;
    let (took, decided) = runtime.block_on(starts(settings, program, &engine))?;
    Ok(Outcome {
        figures: vec![
            Figure::new("to the first decision committed", Unit::Seconds, &decided).target(Target::AtMost(0.2)),
            Figure::new("to the first domain taken", Unit::Seconds, &took),
        ],
        notes: vec![
            "the program `pilothouse serve`, its compiled engines in the cache, on a nats-server with `sync_interval: always`; each start \
             finds a domain that nobody has decided for yet"
                .to_owned(),
        ],
    })
}

/// Seconds from each start to the first domain taken, and to its first decision.
async fn starts(settings: &Settings, program: PathBuf, engine: &EngineInForce) -> Result<(Samples, Samples)> {
    let server = NatsServer::start(Sync::Always).await?;
    let cache = TempDir::with_prefix("pilothouse-bench-")?;
    let client = server.client().await?;
    let journal = JetStreamJournal::open(client.clone(), subjects()?, &JournalOptions::default()).await?;
    let mut events = Watcher::start(&client).await?;
    let (mut taken, mut decided) = (Vec::new(), Vec::new());
    // The first start compiles the engines, and makes buckets and streams.
    for number in 0..=settings.rounds(20) {
        let key = fixture::key(number);
        add(&journal, &key, engine, fixture::config(1)).await?;
        let mut host = Running::start(&program, &server, cache.path(), &[])?;
        let began = host.began;
        let mut first_taken = None;
        let first_decided = loop {
            let happening = events.next().await?;
            match happening.what {
                Happened::Taken { .. } => _ = first_taken.get_or_insert_with(|| began.elapsed()),
                Happened::Decided { .. } if happening.domain == key => break began.elapsed(),
                _ => {}
            }
        };
        if number > 0 {
            taken.push(first_taken.context("it is taken before it is decided")?.as_secs_f64());
            decided.push(first_decided.as_secs_f64());
        }
        host.end()?;
    }
    Ok((Samples::of(taken), Samples::of(decided)))
}
