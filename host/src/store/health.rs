//! How a writer of the journal has been faring: figures for people, and a signal for those who must stop acting.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pilothouse_core::name::DomainKey;
use tokio::sync::watch;

/// A journal in trouble is reported that often, for all domains together: a thousand domains are in the same trouble.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Figures of one writer, shared by its clones.
#[derive(Clone, Debug, Default)]
pub struct Health {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    committed: AtomicU64,
    fenced: AtomicU64,
    full: AtomicU64,
    repeats: AtomicU64,
    unsettled: watch::Sender<usize>,
    report: Mutex<Report>,
}

#[derive(Debug, Default)]
struct Report {
    last: Option<Instant>,
    unreported: u64,
}

/// The figures at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Appends that are in the journal.
    pub committed: u64,
    /// Appends that found somebody else's record.
    pub fenced: u64,
    /// Appends for which there was no room.
    pub full: u64,
    /// Times that something had to be sent again.
    pub repeats: u64,
    /// Appends that are being sent again right now.
    pub unsettled: usize,
}

impl Health {
    /// The figures now.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Inner { committed, fenced, full, repeats, unsettled, .. } = &*self.inner;
        Counts {
            committed: read(committed),
            fenced: read(fenced),
            full: read(full),
            repeats: read(repeats),
            unsettled: *unsettled.borrow(),
        }
    }

    /// Tells how many appends are being sent again, whenever that changes. While it is not zero, this host does not know its own past.
    pub fn unsettled(&self) -> watch::Receiver<usize> {
        self.inner.unsettled.subscribe()
    }

    pub(crate) fn committed(&self) {
        self.inner.committed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn fenced(&self, key: &DomainKey, by: &super::Foreign) {
        self.inner.fenced.fetch_add(1, Ordering::Relaxed);
        tracing::info!(%key, by = by.id, sequence = by.sequence, "fenced: another writer has the domain");
    }

    pub(crate) fn full(&self, key: &DomainKey, reason: &str) {
        self.inner.full.fetch_add(1, Ordering::Relaxed);
        if let Some(unreported) = self.may_report() {
            tracing::error!(%key, reason, unreported, "THE JOURNAL IS FULL: nothing can be decided until there is room");
        }
    }

    /// Reports trouble with one append, unless somebody just did: then only counts it.
    fn trouble(&self, key: &DomainKey, attempt: u64, what: &str) {
        self.inner.repeats.fetch_add(1, Ordering::Relaxed);
        if let Some(unreported) = self.may_report() {
            tracing::warn!(%key, attempt, unreported, "an append is not settled: {what}; sending it again");
        }
    }

    /// When a report is due, how many were left out before it.
    fn may_report(&self) -> Option<u64> {
        let mut report = self.inner.report.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if report.last.is_some_and(|last| now.duration_since(last) < REPORT_EVERY) {
            report.unreported += 1;
            return None;
        }
        report.last = Some(now);
        Some(std::mem::take(&mut report.unreported))
    }
}

/// The doubt about one append: none at first, and counted in [`Health`] from the first attempt that settled nothing until this is dropped.
#[derive(Debug)]
pub(crate) struct Doubt<'a> {
    health: &'a Health,
    key: &'a DomainKey,
    attempts: u64,
}

impl<'a> Doubt<'a> {
    pub(crate) fn none(health: &'a Health, key: &'a DomainKey) -> Self {
        Self { health, key, attempts: 0 }
    }

    /// One more attempt that settled nothing.
    pub(crate) fn grow(&mut self, what: &str) {
        self.attempts += 1;
        if self.attempts == 1 {
            self.health.inner.unsettled.send_modify(|unsettled| *unsettled += 1);
        }
        self.health.trouble(self.key, self.attempts, what);
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if self.attempts > 0 {
            self.health.inner.unsettled.send_modify(|unsettled| *unsettled -= 1);
        }
    }
}
