//! What all tasks of a host share, and how any of them calls an engine.

use std::sync::Arc;
use std::time::Duration;

use pilothouse_core::cycle::{Fault, FaultKind};
use pilothouse_core::time::Millis;
use pilothouse_engine_host::{Habit, LoadedEngine};

use super::clock::Clock;
use super::decisions::Decisions;
use super::engines::{Engines, FetchError};
use super::ownership::Ownership;
use super::pull::Sources;
use super::registry::Registry;
use super::router::Router;
use super::send::Sender;
use super::watch::Watch;
use crate::api::{HostFigures, JournalFigures};
use crate::store::{Counts, Journal};

/// What all tasks of a host share.
pub(crate) struct Shared<J> {
    pub(crate) host: pilothouse_core::name::Name,
    /// Tells two processes of one name apart.
    pub(crate) process: u64,
    pub(crate) journal: J,
    pub(crate) nats: async_nats::Client,
    pub(crate) subjects: pilothouse_core::subject::Subjects,
    pub(crate) clock: Clock,
    pub(crate) watch: Watch,
    pub(crate) ownership: Ownership,
    pub(crate) router: Arc<Router>,
    pub(crate) ledger: Arc<crate::malformed::Ledger>,
    pub(crate) sender: Arc<Sender>,
    pub(crate) equipment: Arc<super::equip::Equipment>,
    pub(crate) engines: Engines,
    /// The engines that were pushed.
    pub(crate) registry: Arc<Registry>,
    pub(crate) engine_store: async_nats::jetstream::object_store::ObjectStore,
    pub(crate) definitions: super::definitions::Definitions,
    /// Which hosts are disabled, and whether this one is.
    pub(crate) hosts: Arc<super::hosts::Hosts>,
    /// The Prometheus servers that may be asked.
    pub(crate) sources: Arc<Sources>,
    pub(crate) runner: pilothouse_engine_host::Runner,
    /// Versions that domains would take up are judged by so many at a time: decisions take the same threads.
    pub(crate) judging: Arc<tokio::sync::Semaphore>,
    /// So many domains at a time are about to decide by another version for the first time.
    pub(crate) swapping: Arc<tokio::sync::Semaphore>,
    pub(crate) decisions: Decisions,
    pub(crate) engine_time_out: Duration,
    pub(crate) history_retention: Millis,
}

impl<J: Journal> Shared<J> {
    /// The engine of a digest, from the store if it is not loaded yet.
    pub(crate) async fn engine(&self, digest: &str) -> Result<LoadedEngine, FetchError> {
        self.engines.fetch(&self.engine_store, digest).await
    }

    /// The same, for a decision, which does not wait for it for ever: nobody would see that it waits.
    ///
    /// # Errors
    /// A fault that does not speak against the engine.
    pub(crate) async fn engine_in_time(&self, digest: &str) -> Result<LoadedEngine, Fault> {
        let fault = |text| Fault::new(FaultKind::Load, text);
        match tokio::time::timeout(self.engine_time_out, self.engine(digest)).await {
            Ok(loaded) => loaded.map_err(|error| fault(format!("{:#}", anyhow::Error::new(error)))),
            Err(_) => Err(fault(format!("engine {digest} could not be had within {} s", self.engine_time_out.as_secs_f64()))),
        }
    }

    /// Calls an engine, on a thread for that: waits for one of its places, for a thread and for the answer, all within the time-out. Of
    /// calls that come again and again, the runner knows how long they are.
    ///
    /// # Errors
    /// A fault that does not speak against the engine: no room, no answer in time, or none at all.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        engine: LoadedEngine,
        habit: Option<&Habit>,
        job: impl FnOnce(&LoadedEngine) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let asked = async {
            let place = engine.place().await;
            // The place goes with the job, which keeps its thread even if nobody waits for it any more, and is given back with its answer.
            let job = move || (job(&engine), place);
            let pending = self.runner.run_for(habit, job).map_err(|busy| Fault::new(FaultKind::Crowded, busy.to_string()))?;
            pending.await.map(|(answer, _place)| answer).map_err(|lost| Fault::new(FaultKind::Abandoned, lost.to_string()))
        };
        let late = |_| {
            let text = format!("no answer within {} s, waiting for a thread included", self.engine_time_out.as_secs_f64());
            Fault::new(FaultKind::Abandoned, text)
        };
        tokio::time::timeout(self.engine_time_out, asked).await.map_err(late)?
    }

    /// The figures of this host, as the service tells them to whoever asks for its statistics.
    pub(crate) fn figures(&self) -> HostFigures {
        let Counts { committed, fenced, full, repeats, unsettled } = self.journal.health().counts();
        HostFigures {
            host: self.host.clone(),
            owner: self.ownership.is_mine(),
            domains: self.router.len(),
            refused_messages: self.ledger.counts().into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect(),
            milliseconds_not_run: self.watch.lost_by(self.clock.now()),
            engine_threads_busy: self.runner.busy(),
            engine_threads_lost: self.runner.lost(),
            decisions: self.decisions.figures(),
            journal: JournalFigures { committed, fenced, full, repeats, unsettled },
            pulls: self.sources.figures(),
        }
    }
}
