//! Reading single records, from the leader and with patience.

use std::future::Future;

use bytes::Bytes;
use pilothouse_core::name::DomainKey;
use tokio::time::Instant;

use super::objects::GetFailed;
use super::record::{Payload, Record};
use super::{JetStreamJournal, READ_PATIENCE};
use crate::store::error::Source;
use crate::store::settle::Backoff;
use crate::store::{Entry, JournalError};

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

    /// A replica that lags behind may not have an object yet, so absence counts only when the record that points to it is gone too.
    pub(super) async fn fetch(&self, key: &DomainKey, sequence: u64, name: &str) -> Result<Option<Bytes>, JournalError> {
        let end = Instant::now() + READ_PATIENCE;
        let mut backoff = Backoff::new();
        loop {
            let failed = match self.inner.objects.get(name).await {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(failed) => failed,
            };
            if self.at(key, sequence).await?.is_none() {
                return Ok(None);
            }
            if Instant::now() >= end {
                return Err(match failed {
                    GetFailed::Broken(what) => JournalError::Damaged { key: key.clone(), sequence, what: format!("object {name} {what}") },
                    GetFailed::Unknown(source) => JournalError::Unavailable { doing: format!("reading object {name}"), source },
                });
            }
            backoff.pause().await;
        }
    }

    /// The record that one follows; nothing when it was purged, or was never any.
    pub(super) async fn before(&self, key: &DomainKey, record: &Record) -> Result<Option<Record>, JournalError> {
        if record.follows == 0 { Ok(None) } else { self.at(key, record.follows).await }
    }
}
