//! The journal on a NATS server: one JetStream stream, one subject for each domain.
//!
//! Appends go through [`wire`] and are settled by the protocol in `settle`; everything that a decision depends on is read from the leader of
//! the stream. A record that is too large for one message is stored as an object first, and the message in the stream points to it.
//!
//! The stream is named after the subject prefix: `ph-journal`, and the bucket for large records is `ph-journal` too.

mod load;
mod objects;
mod record;
mod scan;
mod stream;
mod wire;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream;
use pilothouse_core::name::DomainKey;
use pilothouse_core::subject::Subjects;

use self::objects::{GetFailed, Objects, PutFailed};
use self::record::{Payload, Record};
use super::error::Source;
use super::health::{Doubt, Health};
use super::in_flight::InFlight;
use super::settle::{Backoff, Body, Message, settle};
use super::{Append, Appended, Entry, Journal, JournalError, Loaded, MAX_RECORD, OpenError, Scope};

/// How long a server may take to answer. One that flushes every message to a busy disk takes seconds when a thousand domains append at once.
const ANSWER: Duration = Duration::from_secs(5);

/// For how long a reading is tried again before it fails: longer than the election of a leader takes.
const READ_PATIENCE: Duration = Duration::from_secs(20);

/// Acknowledgements that may be outstanding: one for each domain that a host can own, and for repetitions that were given up.
const MAX_ACKS: usize = 1 << 17;

/// The largest record that is sent as one message.
const MAX_INLINE: usize = 512 << 10;

/// Room for subject and headers in a message, when the server allows less than usual.
const HEADROOM: usize = 8 << 10;

/// How the journal is kept.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// How many servers keep a copy. One is safe only on a server that flushes every message (`sync_interval: always`); else take three.
    pub replicas: usize,
    /// The room for records, in bytes; without it, what the server has.
    pub max_bytes: Option<u64>,
    /// The room for large records, in bytes; without it, what the server has.
    pub max_object_bytes: Option<u64>,
    /// Into how many slots domains are divided. Part of every subject, so it never changes for a journal.
    pub slots: u16,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self { replicas: 1, max_bytes: None, max_object_bytes: None, slots: pilothouse_core::name::Slot::DEFAULT_COUNT }
    }
}

/// A journal in JetStream. Clones are one writer.
#[derive(Clone)]
pub struct JetStreamJournal {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    jetstream: jetstream::Context,
    stream: jetstream::stream::Stream,
    objects: Objects,
    subjects: Subjects,
    slots: u16,
    /// Makes message ids differ from those of every other writer, and of this one before it was restarted.
    writer: u64,
    appends: AtomicU64,
    in_flight: InFlight,
    health: Health,
}

impl fmt::Debug for JetStreamJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetStreamJournal").field("stream", &self.stream_name()).finish_non_exhaustive()
    }
}

impl JetStreamJournal {
    /// Opens the journal under a prefix, and makes its streams when they are not there.
    ///
    /// # Errors
    /// When a stream of that name would lose records or the fence, or when JetStream does not answer.
    pub async fn open(client: Client, subjects: Subjects, options: &JournalOptions) -> Result<Self, OpenError> {
        let jetstream =
            jetstream::context::ContextBuilder::new().timeout(ANSWER).ack_timeout(ANSWER).max_ack_inflight(MAX_ACKS).build(client.clone());
        let stream = stream::open_records(&jetstream, &subjects, options).await?;
        let objects = Objects::new(stream::open_objects(&jetstream, &subjects, options).await?);
        let inner = Inner {
            client,
            jetstream,
            stream,
            objects,
            subjects,
            slots: options.slots,
            writer: rand::random(),
            appends: AtomicU64::new(0),
            in_flight: InFlight::default(),
            health: Health::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The name of the stream that holds the records.
    pub fn stream_name(&self) -> &str {
        &self.inner.stream.cached_info().config.name
    }

    fn subject(&self, key: &DomainKey) -> String {
        self.inner.subjects.journal(key.slot(self.inner.slots), key)
    }

    fn mint_id(&self, key: &DomainKey) -> String {
        // Ids are known to the whole stream: one that two domains shared would make the second one's record vanish.
        let n = self.inner.appends.fetch_add(1, Ordering::Relaxed);
        format!("{key}/{:016x}/{n}", self.inner.writer)
    }

    /// Stores a record as an object, for as long as it takes. The name, or why there is no room.
    async fn put(&self, key: &DomainKey, id: &str, bytes: &bytes::Bytes) -> Result<String, String> {
        let name = objects::name(id, bytes);
        let chunk = (self.inner.client.max_payload().saturating_sub(HEADROOM)).clamp(1, 128 << 10);
        let mut doubt = Doubt::none(&self.inner.health, key);
        let mut backoff = Backoff::new();
        loop {
            match self.inner.objects.put(&name, bytes, chunk).await {
                Ok(()) => return Ok(name),
                Err(PutFailed::Full(reason)) => {
                    self.inner.health.full(key, &reason);
                    return Err(reason);
                }
                Err(PutFailed::Unknown(why)) => doubt.grow(&why),
            }
            backoff.pause().await;
        }
    }

    async fn body(&self, key: &DomainKey, id: &str, bytes: bytes::Bytes) -> Result<Body, String> {
        let inline = MAX_INLINE.min(self.inner.client.max_payload().saturating_sub(HEADROOM));
        if bytes.len() <= inline { Ok(Body::Inline(bytes)) } else { self.put(key, id, &bytes).await.map(Body::Object) }
    }

    /// Reads again and again, until there is an answer or patience ends.
    async fn patiently<T, F: Future<Output = Result<T, Source>>>(
        &self,
        doing: impl Fn() -> String,
        mut read: impl FnMut() -> F,
    ) -> Result<T, JournalError> {
        let end = tokio::time::Instant::now() + READ_PATIENCE;
        let mut backoff = Backoff::new();
        loop {
            match read().await {
                Ok(found) => return Ok(found),
                Err(source) if tokio::time::Instant::now() >= end => return Err(JournalError::Unavailable { doing: doing(), source }),
                Err(source) => tracing::debug!(source, "{}: trying again", doing()),
            }
            backoff.pause().await;
        }
    }

    /// The newest record of a domain, with its large body still elsewhere.
    async fn newest(&self, key: &DomainKey) -> Result<Option<Record>, JournalError> {
        let subject = self.subject(key);
        let found = self.patiently(|| format!("reading the newest record of {key}"), || self.raw_last(&subject)).await?;
        found.map(|message| Record::from_stored(message).map_err(|junk| junk.damages(key))).transpose()
    }

    /// One record of a domain, with its large body still elsewhere; nothing when it is not there (any more), or not of that domain.
    async fn at(&self, key: &DomainKey, sequence: u64) -> Result<Option<Record>, JournalError> {
        let subject = self.subject(key);
        let found = self.patiently(|| format!("reading record {sequence} of {key}"), || self.raw_at(sequence)).await?;
        let found = found.filter(|message| message.subject.as_str() == subject);
        found.map(|message| Record::from_stored(message).map_err(|junk| junk.damages(key))).transpose()
    }

    /// Fetches the body of a record from wherever it is. Nothing when the record was purged meanwhile.
    async fn resolve(&self, key: &DomainKey, record: Record) -> Result<Option<Entry>, JournalError> {
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
    async fn fetch(&self, key: &DomainKey, sequence: u64, name: &str) -> Result<Option<bytes::Bytes>, JournalError> {
        let end = tokio::time::Instant::now() + READ_PATIENCE;
        let mut backoff = Backoff::new();
        loop {
            let failed = match self.inner.objects.get(name).await {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(failed) => failed,
            };
            if self.at(key, sequence).await?.is_none() {
                return Ok(None);
            }
            if tokio::time::Instant::now() >= end {
                return Err(match failed {
                    GetFailed::Broken(what) => JournalError::Damaged { key: key.clone(), sequence, what: format!("object {name} {what}") },
                    GetFailed::Unknown(source) => JournalError::Unavailable { doing: format!("reading object {name}"), source },
                });
            }
            backoff.pause().await;
        }
    }
}

impl Journal for JetStreamJournal {
    async fn append(&self, key: &DomainKey, append: Append) -> Result<Appended, JournalError> {
        if append.bytes.len() > MAX_RECORD {
            return Err(JournalError::TooLarge { key: key.clone(), size: append.bytes.len() });
        }
        let _turn = self.inner.in_flight.enter(key)?;
        let id = self.mint_id(key);
        let body = match self.body(key, &id, append.bytes).await {
            Ok(body) => body,
            Err(reason) => return Ok(Appended::Full { reason }),
        };
        let message = Message { id, after: append.after, is_snapshot: append.is_snapshot, body };
        let appended = settle(self, &self.inner.health, key, &message).await?;
        if let (Appended::Fenced { .. } | Appended::Full { .. }, Body::Object(name)) = (&appended, &message.body) {
            // No record will ever point to it.
            self.inner.objects.discard(name).await;
        }
        Ok(appended)
    }

    async fn last(&self, key: &DomainKey) -> Result<Option<Entry>, JournalError> {
        loop {
            let Some(record) = self.newest(key).await? else { return Ok(None) };
            if let Some(entry) = self.resolve(key, record).await? {
                return Ok(Some(entry));
            }
            // Purged since, so there is a newer one.
        }
    }

    async fn load(&self, scope: &Scope) -> Result<Loaded, JournalError> {
        self.load_scope(scope).await
    }

    async fn history(&self, key: &DomainKey, before: Option<u64>, limit: usize) -> Result<Vec<Entry>, JournalError> {
        let mut entries = Vec::new();
        // Every record names the one before it, so there is nothing to search for.
        let mut next = match before {
            None => self.newest(key).await?,
            Some(sequence) => match self.at(key, sequence).await? {
                Some(record) => self.before(key, &record).await?,
                None => None,
            },
        };
        while let Some(record) = next.take().filter(|_| entries.len() < limit) {
            let previous = if entries.len() + 1 < limit { self.before(key, &record).await? } else { None };
            match self.resolve(key, record).await? {
                Some(entry) => entries.push(entry),
                None => break,
            }
            next = previous;
        }
        Ok(entries)
    }

    async fn purge_below(&self, key: &DomainKey, sequence: u64) -> Result<u64, JournalError> {
        let Some(last) = self.newest(key).await? else { return Ok(0) };
        if sequence > last.snapshot {
            return Err(JournalError::PurgeTooFar { key: key.clone(), sequence, newest: last.snapshot });
        }
        let subject = self.subject(key);
        let orphans = self.objects_below(key, sequence).await?;
        let purged = self
            .patiently(
                || format!("purging the journal of {key} below {sequence}"),
                || async {
                    let purge = self.inner.stream.purge().filter(&subject).sequence(sequence);
                    Ok(purge.await.map_err(Source::from)?.purged)
                },
            )
            .await?;
        for name in orphans {
            self.inner.objects.discard(&name).await;
        }
        Ok(purged)
    }

    fn health(&self) -> &Health {
        &self.inner.health
    }
}

impl JetStreamJournal {
    /// The record that one follows; nothing when it was purged, or was never any.
    async fn before(&self, key: &DomainKey, record: &Record) -> Result<Option<Record>, JournalError> {
        if record.follows == 0 { Ok(None) } else { self.at(key, record.follows).await }
    }
}
