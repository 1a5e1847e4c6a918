//! From the messages of the stream to the records that a domain starts from.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use pilothouse_core::name::{DomainKey, Slot};

use super::JetStreamJournal;
use super::record::{Junk, Payload, Record};
use super::scan::Range;
use crate::store::{Entry, JournalError, Loaded, Scope};

/// How often a load starts over, because what it had found was purged before its large records were fetched. Each time somebody else has
/// made a newer snapshot, so once is rare.
const RESTARTS: usize = 5;

/// Domains whose large records are fetched at the same time. Bounds the memory as well: each may hold one that is just read.
const AT_ONCE: usize = 16;

impl JetStreamJournal {
    pub(super) async fn load_scope(&self, scope: &Scope) -> Result<Loaded, JournalError> {
        let (filter, from) = match scope {
            Scope::Domain(key) => match self.beginning(key).await? {
                Some(from) => (self.subject(key), from),
                None => return Ok(Loaded::default()),
            },
            Scope::Slot(slot) => (self.inner.subjects.journal_of(*slot), 1),
            Scope::All => (self.inner.subjects.all_journals(), 1),
        };
        let mut tails: BTreeMap<DomainKey, Tail> = BTreeMap::new();
        let range = Range { filter: &filter, from, to: None, headers_only: false };
        self.scan(range, |subject, record| match self.inner.subjects.journal_key(subject) {
            Some((slot, key)) if slot == self.slot_of(&key) => tails.entry(key).or_default().push(record),
            _ => tracing::error!(subject, "a journal subject that no domain has is left alone"),
        })
        .await?;

        let mut loaded = Loaded::default();
        // At the same time: one that waits for a large record does not hold up the others.
        let whole: Vec<BoxFuture<'_, _>> = tails.into_iter().map(|(key, tail)| self.named_whole(key, tail).boxed()).collect();
        let mut whole = futures::stream::iter(whole).buffer_unordered(AT_ONCE);
        while let Some((key, whole)) = whole.next().await {
            match whole {
                Ok(entries) => drop(loaded.domains.insert(key, entries)),
                Err(damage) => drop(loaded.damaged.insert(key, damage)),
            }
        }
        Ok(loaded)
    }

    async fn named_whole(&self, key: DomainKey, tail: Tail) -> (DomainKey, Result<Vec<Entry>, JournalError>) {
        let whole = self.whole(&key, tail).await;
        (key, whole)
    }

    /// The names of the objects that records below a sequence point to.
    pub(super) async fn objects_below(&self, key: &DomainKey, sequence: u64) -> Result<Vec<String>, JournalError> {
        let mut names = Vec::new();
        let subject = self.subject(key);
        let range = Range { filter: &subject, from: 1, to: Some(sequence.saturating_sub(1)), headers_only: true };
        self.scan(range, |_, record| {
            if let Ok(Record { payload: Payload::Object(name), .. }) = record {
                names.push(name);
            }
        })
        .await?;
        Ok(names)
    }

    fn slot_of(&self, key: &DomainKey) -> Slot {
        key.slot(self.inner.slots)
    }

    /// Where the records of a domain begin that matter; nothing when it was never written.
    async fn beginning(&self, key: &DomainKey) -> Result<Option<u64>, JournalError> {
        let last = match self.newest(key).await {
            Ok(last) => last,
            // The junk is met again on the way, where the others are not held up by it.
            Err(JournalError::Damaged { .. }) => return Ok(Some(1)),
            Err(error) => return Err(error),
        };
        Ok(last.map(|last| last.snapshot.max(1)))
    }

    /// The records with their bodies, wherever those are.
    async fn whole(&self, key: &DomainKey, tail: Tail) -> Result<Vec<Entry>, JournalError> {
        let mut tail = tail;
        for _ in 0..RESTARTS {
            let records = tail.finish(key)?;
            let mut entries = Vec::with_capacity(records.len());
            let count = records.len();
            for record in records {
                entries.extend(self.resolve(key, record).await?);
            }
            if entries.len() == count {
                return Ok(entries);
            }
            tail = Tail::default();
            let from = self.beginning(key).await?.unwrap_or(1);
            let subject = self.subject(key);
            self.scan(Range { filter: &subject, from, to: None, headers_only: false }, |_, record| tail.push(record)).await?;
        }
        let what = format!("its large records vanished {RESTARTS} times while they were fetched");
        Err(JournalError::Damaged { key: key.clone(), sequence: 0, what })
    }
}

/// The newest snapshot of a domain and what follows it, as it comes out of the stream.
#[derive(Debug, Default)]
struct Tail {
    records: Vec<Record>,
    junk: Option<Junk>,
}

impl Tail {
    fn push(&mut self, record: Result<Record, Junk>) {
        match record {
            Ok(record) => {
                // What went before is in it.
                if record.is_snapshot() {
                    self.records.clear();
                }
                self.records.push(record);
            }
            // Also what a later snapshot covers: whoever wrote it may write again.
            Err(junk) => drop(self.junk.get_or_insert(junk)),
        }
    }

    /// Checks that nothing is missing: a snapshot or the very first record, and then each record after the one that it says it follows.
    fn finish(self, key: &DomainKey) -> Result<Vec<Record>, JournalError> {
        if let Some(junk) = self.junk {
            return Err(junk.damages(key));
        }
        let mut previous = None;
        for record in &self.records {
            let fits = match previous {
                Some(previous) => record.follows == previous,
                None => record.is_snapshot() || record.follows == 0,
            };
            if !fits {
                let what = format!("it follows record {}, which is not there", record.follows);
                return Err(JournalError::Damaged { key: key.clone(), sequence: record.sequence, what });
            }
            previous = Some(record.sequence);
        }
        Ok(self.records)
    }
}
