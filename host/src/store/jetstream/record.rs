//! A record as a message: what its headers say.

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use bytes::Bytes;
use pilothouse_core::name::DomainKey;
use pilothouse_core::time::Timestamp;

use crate::store::JournalError;
use crate::store::settle::{Body, Message};

/// Where the newest snapshot is: `this`, or the sequence of an earlier record. Not there before the first.
const SNAPSHOT: &str = "Ph-Snapshot";
const THIS: &str = "this";

/// The object that holds the body. The message itself is empty then.
const OBJECT: &str = "Ph-Object";

/// A stored record.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) sequence: u64,
    /// The sequence of the record before it, 0 for none: what its append expected, so it is true.
    pub(super) follows: u64,
    /// The sequence of the newest snapshot, which may be this record; 0 for none.
    pub(super) snapshot: u64,
    pub(super) id: String,
    pub(super) time: Timestamp,
    pub(super) payload: Payload,
}

#[derive(Clone, Debug)]
pub(super) enum Payload {
    Inline(Bytes),
    /// The name of the object.
    Object(String),
}

/// A message that no journal wrote.
#[derive(Debug)]
pub(super) struct Junk {
    sequence: u64,
    what: &'static str,
}

impl Junk {
    pub(super) fn damages(self, key: &DomainKey) -> JournalError {
        JournalError::Damaged { key: key.clone(), sequence: self.sequence, what: format!("{}: no journal wrote it", self.what) }
    }
}

impl Record {
    pub(super) fn is_snapshot(&self) -> bool {
        self.snapshot == self.sequence
    }

    pub(super) fn from_stored(message: StreamMessage) -> Result<Self, Junk> {
        Self::from_parts(message.sequence, message.time.unix_timestamp_nanos(), Some(&message.headers), message.payload)
    }

    /// What a consumer delivered.
    pub(super) fn from_parts(sequence: u64, nanos: i128, headers: Option<&HeaderMap>, payload: Bytes) -> Result<Self, Junk> {
        let junk = |what| Junk { sequence, what };
        let header = |name: &str| headers.and_then(|headers| headers.get(name)).map(|value| value.as_str());
        let follows = header(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE.as_ref()).and_then(|text| text.parse().ok());
        let snapshot = match header(SNAPSHOT) {
            None => 0,
            Some(THIS) => sequence,
            Some(text) => text.parse().map_err(|_| junk("its Ph-Snapshot header is unreadable"))?,
        };
        Ok(Self {
            sequence,
            follows: follows.ok_or_else(|| junk("it does not say what it follows"))?,
            id: header(NATS_MESSAGE_ID.as_ref()).ok_or_else(|| junk("it has no message id"))?.to_owned(),
            time: Timestamp::from_millis(u64::try_from(nanos / 1_000_000).unwrap_or_default()),
            snapshot,
            payload: header(OBJECT).map_or_else(|| Payload::Inline(payload), |name| Payload::Object(name.to_owned())),
        })
    }
}

/// The message for a record. Every call for the same record makes the same message.
pub(super) fn publish(stream: &str, message: &Message) -> PublishMessage {
    let after = message.after;
    let publish = PublishMessage::build().message_id(&message.id).expected_stream(stream).expected_last_subject_sequence(after.sequence);
    let publish = match after.snapshot {
        _ if message.is_snapshot => publish.header(SNAPSHOT, THIS),
        0 => publish,
        earlier => publish.header(SNAPSHOT, earlier.to_string()),
    };
    match &message.body {
        Body::Inline(bytes) => publish.payload(bytes.clone()),
        Body::Object(name) => publish.header(OBJECT, name.as_str()),
    }
}
