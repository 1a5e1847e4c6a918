//! The lease on the domains: one key with a time to live in a KV bucket. Who holds it looks after all domains; the others stand by.
//!
//! The lease only keeps two hosts from getting in each other's way. What keeps them from doing harm is the fence of the journal and the
//! epoch in every request, so it does not matter that a lease is fuzzy for a moment.
//!
//! A host that starts under the name of the holder takes the lease at once: it is the same host, started again. If it is not, and two run
//! under one name, the later one has it and the earlier one stands by like anybody else.
//!
//! A host that is disabled asks no engine, so the domains are better off with another. The key says whether its holder decides: a host that
//! does takes the lease at once from one that does not, and a disabled host lets a free lease lie for as long as one lasts before it takes it.
//! If nobody else is there, a disabled host looks after the domains like any other, and only asks no engine. Nobody who decides loses
//! the lease that way, so two hosts never take it from each other in turn.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::kv::{Operation, Store};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, context::PublishErrorKind};
use pilothouse_core::name::Name;
use pilothouse_core::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::bucket;
use super::clock::Clock;
use super::hosts::Hosts;
use super::ownership::{Owner, Register};

/// The one key.
const KEY: &str = "owner";

/// How far the clock of this machine may be off that of the journal: moments in records must make sense to other hosts.
const MAX_OFFSET: Millis = Millis::from_secs(2);

/// What the key holds.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    host: Name,
    /// Tells two processes of one name apart.
    process: u64,
    /// Whether it asks engines: false when it was disabled.
    #[serde(default = "yes")]
    deciding: bool,
}

/// A holder that says nothing of it decides.
const fn yes() -> bool {
    true
}

/// Keeps the lease, or waits for it.
pub(crate) struct Lease {
    pub(crate) jetstream: jetstream::Context,
    pub(crate) bucket: String,
    pub(crate) replicas: usize,
    pub(crate) host: Name,
    pub(crate) process: u64,
    pub(crate) ttl: Duration,
    pub(crate) clock: Clock,
    pub(crate) register: Register,
    /// Which hosts are disabled.
    pub(crate) hosts: Arc<Hosts>,
    /// Since when this host can't renew the lease that it held.
    pub(crate) in_doubt: watch::Sender<Option<Timestamp>>,
    /// Told when this host must not go on, with the reason.
    pub(crate) fatal: mpsc::UnboundedSender<String>,
}

/// What this process knows of the key.
#[derive(Clone, Copy, Debug)]
enum Hold {
    /// Not ours.
    None,
    /// Ours, at this revision.
    Revision(u64),
    /// Not looked at yet.
    Unseen,
    /// Not ours, and it will not be: this machine's clock is off by so many milliseconds.
    Barred(i128),
}

impl Lease {
    /// Keeps trying until it is stopped, then gives the lease back.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let ttl = self.length();
        let mut disabled = self.hosts.own();
        let mut free_since = None;
        let mut hold = Hold::Unseen;
        let mut until = Timestamp::ZERO;
        let mut store = None;
        let mut ticker = tokio::time::interval(self.ttl / 4);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticker.tick() => {}
                // Others should know at once. This host's own watch is never gone before the lease is.
                Ok(()) = disabled.changed() => {}
                // Somebody who decides may have taken it, and would be asked through this host.
                () = tokio::time::sleep(self.ttl / 16), if disabled.borrow().is_some() && matches!(hold, Hold::Revision(_)) => {}
                () = stop.cancelled() => break,
            }
            let deciding = disabled.borrow_and_update().is_none();
            // Reckoned from before the request: the server's time begins later.
            let asked = self.clock.now();
            let step = tokio::time::timeout(self.ttl / 2, self.step(&mut store, hold, deciding, &mut free_since)).await;
            match step {
                Ok(Ok((Owner::Me, now_held))) => {
                    (hold, free_since) = (now_held, None);
                    until = asked + ttl;
                    self.register.mine_until(until);
                }
                Ok(Ok((owner, now_held))) => {
                    hold = now_held;
                    self.register.set(owner);
                }
                Ok(Err(error)) => tracing::debug!(error, "the lease could not be looked at"),
                Err(_) => tracing::debug!("the lease could not be looked at in time"),
            }
            let lapsed = (matches!(hold, Hold::Revision(_)) && self.clock.now() >= until).then_some(until);
            self.in_doubt.send_if_modified(|doubt| std::mem::replace(doubt, lapsed) != lapsed);
            if let Hold::Barred(off) = hold {
                let text = format!(
                    "the clock of this host is {off} ms off that of the journal, and {} are allowed: set the clock and start it again",
                    MAX_OFFSET.get()
                );
                // If nobody listens the host ends already.
                let _ = self.fatal.send(text);
                break;
            }
        }
        if let (Hold::Revision(revision), Some(store)) = (hold, &store) {
            let given_back = tokio::time::timeout(Duration::from_secs(1), Store::purge_expect_revision(store, KEY, Some(revision))).await;
            tracing::debug!(?given_back, "lease given back");
        }
    }

    /// How long the lease lasts.
    fn length(&self) -> Millis {
        Millis::new(u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX))
    }

    /// One look at the key: renews it, takes it, or sees whose it is. `free_since` remembers since when it has been nobody's.
    async fn step(
        &self,
        store: &mut Option<Store>,
        hold: Hold,
        deciding: bool,
        free_since: &mut Option<Timestamp>,
    ) -> Result<(Owner, Hold), String> {
        let store = match store {
            Some(store) => store,
            None => store.insert(self.open().await?),
        };
        if let Hold::Revision(revision) = hold {
            let taken = self.take(store, revision, deciding).await?;
            if taken.0 == Owner::Me || matches!(taken.1, Hold::Barred(_)) {
                return Ok(taken);
            }
        }
        let entry = store.entry(KEY).await.map_err(|error| error.to_string())?;
        let held = entry.as_ref().filter(|entry| entry.operation == Operation::Put);
        let Some(entry) = held else {
            let since = *free_since.get_or_insert_with(|| self.clock.now());
            if !deciding && self.clock.now().since(since) < self.length() {
                return Ok((Owner::Unknown, Hold::None));
            }
            return self.take(store, entry.map_or(0, |entry| entry.revision), deciding).await;
        };
        *free_since = None;
        let holder: Holder = match serde_json::from_slice(&entry.value) {
            Ok(holder) => holder,
            Err(error) => {
                // Whoever wrote that may have given it no time to live.
                let written = entry.created.unix_timestamp_nanos() / 1_000_000;
                let age = i128::from(self.clock.now().as_millis()) - written;
                tracing::error!(%error, age_ms = %age, "the lease holds nonsense; taken as soon as that is older than a lease");
                if age < i128::from(self.length().get()) {
                    return Ok((Owner::Unknown, Hold::None));
                }
                return self.take(store, entry.revision, deciding).await;
            }
        };
        // Its acknowledgement was lost, and how long it holds is not known: once more.
        let is_own = holder.process == self.process;
        let was_own = holder.host == self.host && matches!(hold, Hold::Unseen);
        if is_own || was_own || (deciding && !holder.deciding) {
            return self.take(store, entry.revision, deciding).await;
        }
        Ok((Owner::Other { host: holder.host, process: holder.process }, Hold::None))
    }

    /// Takes or renews the lease, if the key is still at `revision` and this machine's clock can be trusted.
    async fn take(&self, store: &Store, revision: u64, deciding: bool) -> Result<(Owner, Hold), String> {
        let before = self.clock.now();
        let Some(revision) = self.put(revision, deciding).await? else { return Ok((Owner::Unknown, Hold::None)) };
        let after = self.clock.now();
        let entry = store.entry_for_revision(KEY, revision).await.map_err(|error| error.to_string())?;
        let stored = entry.map(|entry| entry.created.unix_timestamp_nanos() / 1_000_000);
        let Some(off) = stored.and_then(|stored| distance(stored, before, after)) else { return Ok((Owner::Me, Hold::Revision(revision))) };
        // If this fails the lease runs out by itself.
        let _ = store.purge_expect_revision(KEY, Some(revision)).await;
        Ok((Owner::Unknown, Hold::Barred(off)))
    }

    /// Writes the key if it is still at `revision`. The new revision, or nothing when somebody was faster.
    async fn put(&self, revision: u64, deciding: bool) -> Result<Option<u64>, String> {
        let holder = Holder { host: self.host.clone(), process: self.process, deciding };
        let value = serde_json::to_vec(&holder).map_err(|error| error.to_string())?;
        // Not by the bucket's own means: over a marker that the last holder left behind they lose the time to live.
        let message = PublishMessage::build().payload(value.into()).expected_last_subject_sequence(revision).ttl(self.ttl);
        let sent = self.jetstream.send_publish(format!("$KV.{}.{KEY}", self.bucket), message).await;
        match async { sent?.await }.await {
            Ok(ack) => Ok(Some(ack.sequence)),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn open(&self) -> Result<Store, String> {
        let config = jetstream::kv::Config {
            bucket: self.bucket.clone(),
            description: "who looks after the domains".to_owned(),
            history: 1,
            num_replicas: self.replicas,
            limit_markers: Some(self.ttl.max(Duration::from_secs(1))),
            ..Default::default()
        };
        bucket::open_as(&self.jetstream, config).await.map_err(|error| error.to_string())
    }
}

/// By how many milliseconds a moment that was stored between `before` and `after` is off them, if that is too much.
fn distance(stored: i128, before: Timestamp, after: Timestamp) -> Option<i128> {
    let (before, after) = (i128::from(before.as_millis()), i128::from(after.as_millis()));
    let off = if stored < before { stored - before } else { (stored - after).max(0) };
    (off.abs() > i128::from(MAX_OFFSET.get())).then_some(off)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_off_only_beyond_what_the_request_took() {
        let (before, after) = (Timestamp::from_secs(100), Timestamp::from_secs(105));
        for (stored, off) in [(98_000, None), (97_999, Some(-2001)), (103_000, None), (107_000, None), (107_001, Some(2001))] {
            assert_eq!(distance(stored, before, after), off, "{stored}");
        }
    }
}
