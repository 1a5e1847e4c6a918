//! Reading single records, from the leader and with patience.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use pilothouse_core::name::DomainKey;
use tokio::time::Instant;

use super::objects::GetFailed;
use super::record::{Payload, Record};
use super::scan::Range;
use super::{JetStreamJournal, READ_PATIENCE};
use crate::store::error::Source;
use crate::store::settle::Backoff;
use crate::store::{Entry, JournalError};

/// So many records are read one by one rather than by a consumer, which has to be made first and may bring more than is wanted.
const ONE_BY_ONE: usize = 16;

/// For how long a leader may say that a large record is not there before it is believed: a new one may not have gone through all of its log.
const MISSING_PATIENCE: Duration = Duration::from_secs(2);

impl JetStreamJournal {
    /// Reads again and again, until there is an answer or patience ends.
    pub(super) async fn patiently<T, F: Future<Output = Result<T, Source>>>(
        &self,
        doing: impl Fn() -> String,
        mut read: impl FnMut() -> F,
    ) -> Result<T, JournalError> {
        let end = Instant::now() + READ_PATIENCE;
        let mut backoff = Backoff::new();
        loop {
            match read().await {
                Ok(found) => return Ok(found),
                Err(source) if Instant::now() >= end => return Err(JournalError::Unavailable { doing: doing(), source }),
                Err(source) => tracing::debug!(source, "{}: trying again", doing()),
            }
            backoff.pause().await;
        }
    }

    /// The newest record of a domain, with its large body still elsewhere.
    pub(super) async fn newest(&self, key: &DomainKey) -> Result<Option<Record>, JournalError> {
        let subject = self.subject(key);
        let found = self.patiently(|| format!("reading the newest record of {key}"), || self.raw_last(&subject)).await?;
        found.map(|message| Record::from_stored(message).map_err(|junk| junk.damages(key))).transpose()
    }

    /// One record of a domain, with its large body still elsewhere; nothing when it is not there (any more), or not of that domain.
    pub(super) async fn at(&self, key: &DomainKey, sequence: u64) -> Result<Option<Record>, JournalError> {
        let subject = self.subject(key);
        let found = self.patiently(|| format!("reading record {sequence} of {key}"), || self.raw_at(sequence)).await?;
        let found = found.filter(|message| message.subject.as_str() == subject);
        found.map(|message| Record::from_stored(message).map_err(|junk| junk.damages(key))).transpose()
    }

    /// Fetches the body of a record from wherever it is. Nothing when the record was purged meanwhile.
    pub(super) async fn resolve(&self, key: &DomainKey, record: Record) -> Result<Option<Entry>, JournalError> {
        let Record { sequence, snapshot, id, time, payload, .. } = record;
        let bytes = match payload {
            Payload::Inline(bytes) => bytes,
            Payload::Object(name) => match self.fetch(key, sequence, &name).await? {
                Some(bytes) => bytes,
                None => return Ok(None),
            },
        };
        Ok(Some(Entry { sequence, snapshot, id, time, bytes }))
    }

    /// A replica that lags behind may not have an object yet, so absence counts only when the record that points to it is gone too, or when
    /// the leader keeps saying that there is no such object: whoever looks after a thousand domains should not wait long for the one that is
    /// damaged.
    pub(super) async fn fetch(&self, key: &DomainKey, sequence: u64, name: &str) -> Result<Option<Bytes>, JournalError> {
        let began = Instant::now();
        let mut backoff = Backoff::new();
        loop {
            let failed = match self.inner.objects.get(name).await {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(failed) => failed,
            };
            if self.at(key, sequence).await?.is_none() {
                return Ok(None);
            }
            let is_missing = matches!(failed, GetFailed::Broken(_)) && self.inner.objects.is_missing(name).await;
            if began.elapsed() >= if is_missing { MISSING_PATIENCE } else { READ_PATIENCE } {
                return Err(match failed {
                    GetFailed::Broken(what) => JournalError::Damaged { key: key.clone(), sequence, what: format!("object {name} {what}") },
                    GetFailed::Unknown(source) => JournalError::Unavailable { doing: format!("reading object {name}"), source },
                });
            }
            backoff.pause().await;
        }
    }

    /// Up to `limit` records back from `newest`, newest first, with their large bodies still elsewhere. Ends early where older ones were
    /// purged.
    ///
    /// Every record names the one before it, so a few are read one by one. Many are read a stretch at a time, from one snapshot to the
    /// next, which every record names too: a question each for a thousand of them would take seconds.
    pub(super) async fn back_from(&self, key: &DomainKey, newest: Record, limit: usize) -> Result<Vec<Record>, JournalError> {
        let subject = self.subject(key);
        let mut back: Vec<Record> = Vec::new();
        let mut next = Some(newest);
        while let Some(record) = next.take().filter(|_| back.len() < limit) {
            // A snapshot names itself: what it follows begins the next stretch.
            let from = if record.is_snapshot() { record.sequence } else { record.snapshot.max(1) };
            let mut stretch = Vec::new();
            if limit - back.len() > ONE_BY_ONE && from < record.sequence {
                let range = Range { filter: &subject, from, to: Some(record.sequence - 1), headers_only: false };
                self.scan(range, |_, found| stretch.extend(found.ok())).await?;
            }
            let mut follows = record.follows;
            back.push(record);
            // What does not fit was purged meanwhile, or is no record; then the next one is asked for by its name.
            while let Some(found) = stretch.pop().filter(|found| found.sequence == follows && back.len() < limit) {
                follows = found.follows;
                back.push(found);
            }
            if follows > 0 && back.len() < limit {
                next = self.at(key, follows).await?;
            }
        }
        Ok(back)
    }

    /// The record that one follows; nothing when it was purged, or was never any.
    pub(super) async fn before(&self, key: &DomainKey, record: &Record) -> Result<Option<Record>, JournalError> {
        if record.follows == 0 { Ok(None) } else { self.at(key, record.follows).await }
    }
}
