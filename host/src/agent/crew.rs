//! The workers of one instance, together.

use std::path::Path;
use std::time::Duration;

use futures::future::{pending, select_all};
use pilothouse_core::time::Timestamp;
use tokio::time::{Instant, timeout_at};

use super::spec::Spec;
use super::worker::{Condition, Worker};
use crate::process::Signal;

/// How long killed workers have to vanish. One that waits for a device may take longer; it is left to the system then.
const KILLED_VANISH: Duration = Duration::from_secs(2);

/// All workers of an instance, running or not.
#[derive(Debug)]
pub(super) struct Crew {
    workers: Vec<Worker>,
}

impl Crew {
    /// Starts every command of the spec.
    pub(super) fn start(spec: &Spec, directory: &Path) -> Self {
        let workers = spec.commands.iter().map(|command| Worker::start(command, spec, directory, crate::clock::now())).collect();
        Self { workers }
    }

    /// How many run.
    pub(super) fn running(&self) -> usize {
        self.workers.iter().filter(|worker| worker.condition == Condition::Running).count()
    }

    /// Their names and conditions, in the order of the spec.
    pub(super) fn conditions(&self) -> impl Iterator<Item = (&str, &Condition)> {
        self.workers.iter().map(|worker| (worker.name.as_str(), &worker.condition))
    }

    /// Returns which worker ended; never, when none runs. Giving up waiting loses nothing.
    pub(super) async fn next_end(&self) -> usize {
        let running: Vec<_> = self.workers.iter().enumerate().filter_map(|(index, worker)| Some((index, worker.handle()?))).collect();
        if running.is_empty() {
            return pending().await;
        }
        let waits = running.iter().map(|(index, handle)| {
            Box::pin(async move {
                match handle.ended().await {
                    Ok(()) => *index,
                    // The runtime goes down, and this with it.
                    Err(_) => pending().await,
                }
            })
        });
        select_all(waits).await.0
    }

    /// Takes note that a worker ended.
    pub(super) fn take_end(&mut self, index: usize, now: Timestamp) {
        if let Some(worker) = self.workers.get_mut(index) {
            worker.take_end(now);
        }
    }

    /// Keeps the logs from filling the disk.
    pub(super) fn trim_logs(&mut self) {
        self.workers.iter_mut().for_each(Worker::trim_logs);
    }

    /// Asks all to stop, and kills those that do not within `grace`.
    pub(super) async fn stop(&mut self, grace: Duration) {
        self.signal(Signal::TERM);
        if self.wait(grace).await {
            return;
        }
        tracing::warn!("killing {} workers that did not stop within {grace:?}", self.running());
        self.signal(Signal::KILL);
        if !self.wait(KILLED_VANISH).await {
            tracing::error!("{} workers do not die", self.running());
        }
    }

    fn signal(&self, signal: Signal) {
        self.workers.iter().for_each(|worker| worker.signal(signal));
    }

    /// Waits until none runs; says whether that came in time.
    async fn wait(&mut self, length: Duration) -> bool {
        let end = Instant::now() + length;
        while self.running() > 0 {
            let Ok(index) = timeout_at(end, self.next_end()).await else { return false };
            self.take_end(index, crate::clock::now());
        }
        true
    }
}
