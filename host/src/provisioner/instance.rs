//! One instance as the provisioner holds it: its record, changed by one at a time, and the wish that it end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pilothouse_core::id::InstanceId;
use pilothouse_core::instance::State;
use pilothouse_core::time::{Millis, Timestamp};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::means::Means;
use super::record::Record;
use super::records::RecordsError;
use crate::process::ProcessId;

/// How long after its end an instance is reported again when the link comes back: whoever was away longer asks for a dump.
const RECENT: Millis = Millis::from_secs(10 * 60);

/// One instance.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) id: InstanceId,
    /// What is on disk. Held while a change is written and told, so that changes are told in their order.
    record: Mutex<Record>,
    /// Cancelled when its end is wanted and recorded.
    pub(super) end: CancellationToken,
    /// What was last said of it went out.
    told: AtomicBool,
}

impl Instance {
    /// Holds a record that is on disk.
    pub(super) fn new(record: Record) -> Arc<Self> {
        let end = CancellationToken::new();
        if record.state == State::Terminating {
            end.cancel();
        }
        Arc::new(Self { id: record.node_id.clone(), record: Mutex::new(record), end, told: AtomicBool::new(true) })
    }

    /// What is known of it now.
    pub(super) async fn record(&self) -> Record {
        self.record.lock().await.clone()
    }

    /// Changes the record before something is done: what is not on disk must not be done, and is not changed.
    pub(super) async fn promise<T>(&self, means: &Means, change: impl FnOnce(&mut Record) -> T) -> Result<T, RecordsError> {
        let mut record = self.record.lock().await;
        let mut next = record.clone();
        let outcome = change(&mut next);
        if next != *record {
            means.write(next.clone()).await?;
            let is_news = next.update_counter != record.update_counter;
            *record = next;
            if is_news {
                record.log();
                self.say(means, &record).await;
            }
        }
        if record.state == State::Terminating {
            self.end.cancel();
        }
        Ok(outcome)
    }

    /// Takes note of what has happened: true also if it can't be written, and then found out again after a restart.
    pub(super) async fn note(&self, means: &Means, change: impl FnOnce(&mut Record)) {
        let mut record = self.record.lock().await;
        let before = record.clone();
        change(&mut record);
        if *record == before {
            return;
        }
        if let Err(error) = means.write(record.clone()).await {
            tracing::error!(instance = %self.id, error = &error as &dyn std::error::Error, "its record can't be written");
        }
        record.log();
        self.say(means, &record).await;
    }

    /// Reports its state, whether or not it is news.
    pub(super) async fn tell(&self, means: &Means) {
        let record = self.record.lock().await;
        self.say(means, &record).await;
    }

    /// Reports its state after a time without link, if anybody may have missed it.
    pub(super) async fn tell_again(&self, means: &Means, now: Timestamp) {
        let record = self.record.lock().await;
        let is_recent = now.since(record.changed_at) < RECENT;
        if !record.state.is_gone() || is_recent || !self.told.load(Ordering::Relaxed) {
            self.say(means, &record).await;
        }
    }

    /// Reports its state where the one who asks wants it.
    pub(super) async fn tell_on(&self, means: &Means, subject: &str) {
        let record = self.record.lock().await;
        means.outlet.send(subject, report(means, &record)).await;
    }

    /// Its agent runs.
    pub(super) async fn is_led_by(&self, means: &Means, agent: ProcessId) {
        self.note(means, |record| record.led_by(agent, crate::clock::now())).await;
    }

    /// It reached a state by itself.
    pub(super) async fn reached(&self, means: &Means, state: State, reason: Option<String>) {
        self.note(means, |record| {
            record.advance(state, reason, crate::clock::now());
        })
        .await;
    }

    async fn say(&self, means: &Means, record: &Record) {
        let told = means.outlet.send(&record.state_subject, report(means, record)).await;
        self.told.store(told, Ordering::Relaxed);
    }
}

fn report(means: &Means, record: &Record) -> Vec<u8> {
    record.report(means.attributes(&record.node_id)).to_json(record.node_id.as_str(), crate::clock::now())
}
