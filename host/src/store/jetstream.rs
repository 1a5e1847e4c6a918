//! The journal on a NATS server: one JetStream stream, one subject for each domain.
//!
//! Appends go through [`wire`] and are settled by the protocol in `settle`; everything that a decision depends on is read from the leader of
//! the stream. A record that is too large for one message is stored as an object first, and the message in the stream points to it.
//!
//! The stream is named after the subject prefix: `ph-journal`, and the bucket for large records is `ph-journal` too.

mod load;
mod objects;
mod read;
mod record;
mod scan;
mod stream;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream;
use bytes::Bytes;
use pilothouse_core::name::DomainKey;
use pilothouse_core::subject::Subjects;

use self::objects::{Objects, PutFailed};
pub(crate) use self::stream::is_absent;
use super::health::{Doubt, Health};
use super::in_flight::InFlight;
use super::settle::{Backoff, Body, Message, settle};
use super::{Append, Appended, Entry, Journal, JournalError, Loaded, MAX_RECORD, OpenError, Scope, Tip};

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
        let objects = Objects::new(jetstream.clone(), stream::open_objects(&jetstream, &subjects, options).await?);
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

    /// Opens the journal under a prefix as it is, if there is one: for those who look at it and have no say in how it is kept.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_existing(client: Client, subjects: Subjects) -> Result<Option<Self>, OpenError> {
        match stream::options_of(&jetstream::new(client.clone()), &subjects).await? {
            Some(options) => Ok(Some(Self::open(client, subjects, &options).await?)),
            None => Ok(None),
        }
    }

    /// Into how many slots domains are divided.
    pub fn slots(&self) -> u16 {
        self.inner.slots
    }

    /// The name of the stream that holds the records.
    pub fn stream_name(&self) -> &str {
        &self.inner.stream.cached_info().config.name
    }

    /// The end of a domain's journal, also where its records don't fit together: for whoever makes void what they say.
    ///
    /// # Errors
    /// When the server can't be asked.
    pub(crate) async fn tip(&self, key: &DomainKey) -> Result<Tip, JournalError> {
        match self.newest(key).await {
            Ok(newest) => Ok(newest.map(|record| Tip { sequence: record.sequence, snapshot: record.snapshot }).unwrap_or_default()),
            Err(JournalError::Damaged { sequence, .. }) => Ok(Tip { sequence, snapshot: 0 }),
            Err(error) => Err(error),
        }
    }

    fn subject(&self, key: &DomainKey) -> String {
        self.inner.subjects.journal(key.slot(self.inner.slots), key)
    }

    fn mint_id(&self, key: &DomainKey) -> String {
        // Ids are known to the whole stream: one that two domains shared would make the second one's record vanish.
        let n = self.inner.appends.fetch_add(1, Ordering::Relaxed);
        format!("{key}/{:016x}/{n}", self.inner.writer)
    }

    /// The record itself if it fits into one message, else an object that holds it.
    async fn body(&self, key: &DomainKey, id: &str, bytes: Bytes) -> Result<Body, PutFailed> {
        let room = self.inner.client.max_payload().saturating_sub(HEADROOM);
        if bytes.len() <= room.min(MAX_INLINE) { Ok(Body::Inline(bytes)) } else { self.put(key, id, &bytes, room).await.map(Body::Object) }
    }

    /// Stores a record as an object, for as long as it takes, and gives back its name.
    async fn put(&self, key: &DomainKey, id: &str, bytes: &Bytes, room: usize) -> Result<String, PutFailed> {
        let name = objects::name(id, bytes);
        let mut doubt = Doubt::none(&self.inner.health, key);
        let mut backoff = Backoff::new();
        for attempt in 0.. {
            match self.inner.objects.put(&name, bytes, room, attempt).await {
                Ok(()) => break,
                Err(PutFailed::Unknown(why)) => doubt.grow(&why),
                Err(no) => {
                    self.inner.objects.discard(&name).await;
                    return Err(no);
                }
            }
            backoff.pause().await;
        }
        Ok(name)
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
            Err(PutFailed::Full(reason)) => {
                self.inner.health.full(key, &reason);
                return Ok(Appended::Full { reason });
            }
            Err(PutFailed::Refused(reason) | PutFailed::Unknown(reason)) => return Err(JournalError::Refused { key: key.clone(), reason }),
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
        let newest = match before {
            None => self.newest(key).await?,
            Some(sequence) => match self.at(key, sequence).await? {
                Some(record) => self.before(key, &record).await?,
                None => None,
            },
        };
        let Some(newest) = newest else { return Ok(Vec::new()) };
        let mut entries = Vec::new();
        for record in self.back_from(key, newest, limit).await? {
            match self.resolve(key, record).await? {
                Some(entry) => entries.push(entry),
                None => break,
            }
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
                    Ok(purge.await?.purged)
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
