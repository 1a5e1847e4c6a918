//! Single messages to the stream and from its leader, and what the server's answers mean.

use std::error::Error as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::RawMessageErrorKind;
use async_nats::jetstream::{self, ErrorCode};
use pilothouse_core::name::DomainKey;

use super::JetStreamJournal;
use super::record::{Record, publish};
use crate::store::Foreign;
use crate::store::error::Source;
use crate::store::settle::{Message, Reply, Wire};

/// Another write to the subject is on its way through the replicas. A sole writer hears that too, now and then.
const IN_FLIGHT: ErrorCode = ErrorCode(10164);

/// The store said no. Its words tell whether for lack of room.
const STORE_FAILED: ErrorCode = ErrorCode(10077);

/// The status of a server that has too much to do.
const TOO_MANY: usize = 429;

/// How often a wait for an acknowledgement looks whether the connection it would come over is still the same.
const LINK_CHECK: Duration = Duration::from_millis(100);

impl Wire for JetStreamJournal {
    async fn publish(&self, key: &DomainKey, message: &Message) -> Reply {
        // What is sent into a broken connection piles up and arrives in one heap when it is mended.
        let Some(link) = self.link() else { return Reply::Unknown("the connection is down".to_owned()) };
        let publish = publish(self.stream_name(), message);
        let acknowledged = async { self.inner.jetstream.send_publish(self.subject(key), publish).await?.await };
        tokio::select! {
            answer = acknowledged => match answer {
                Ok(ack) => Reply::Stored(ack.sequence),
                Err(error) => judge(&error),
            },
            () = self.link_lost(link) => Reply::Unknown("the connection was lost before the acknowledgement".to_owned()),
        }
    }

    async fn first_after(&self, key: &DomainKey, sequence: u64) -> Result<Option<Foreign>, String> {
        let found = self.raw_first_after(&self.subject(key), sequence).await.map_err(|error| error.to_string())?;
        // A message without an id is nobody's record, and foreign all the same.
        Ok(found.map(|message| Foreign {
            sequence: message.sequence,
            id: Record::from_stored(message).map(|record| record.id).unwrap_or_default(),
        }))
    }
}

impl JetStreamJournal {
    /// Which connection this is, by number; nothing while there is none.
    fn link(&self) -> Option<u64> {
        let up = self.inner.client.connection_state() == State::Connected;
        up.then(|| self.inner.client.statistics().connects.load(Ordering::Relaxed))
    }

    async fn link_lost(&self, link: u64) {
        while self.link() == Some(link) {
            tokio::time::sleep(LINK_CHECK).await;
        }
    }

    /// The newest message of a subject, from the leader.
    pub(super) async fn raw_last(&self, subject: &str) -> Result<Option<StreamMessage>, Source> {
        absent_is_none(self.inner.stream.raw_message_builder().last_by_subject(subject).send().await)
    }

    /// The first message after `sequence` whose subject fits `filter`, from the leader.
    pub(super) async fn raw_first_after(&self, filter: &str, sequence: u64) -> Result<Option<StreamMessage>, Source> {
        let after = sequence.saturating_add(1);
        absent_is_none(self.inner.stream.raw_message_builder().sequence(after).next_by_subject(filter).send().await)
    }

    /// The message at a sequence, from the leader.
    pub(super) async fn raw_at(&self, sequence: u64) -> Result<Option<StreamMessage>, Source> {
        absent_is_none(self.inner.stream.raw_message_builder().sequence(sequence).send().await)
    }
}

fn absent_is_none(answer: Result<StreamMessage, jetstream::stream::RawMessageError>) -> Result<Option<StreamMessage>, Source> {
    match answer {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What a failed publish means. Whatever is not plainly a no is unknown.
pub(super) fn judge(error: &PublishError) -> Reply {
    let kind = error.kind();
    match (kind, error.source().and_then(|source| source.downcast_ref::<jetstream::Error>())) {
        (PublishErrorKind::WrongLastSequence, _) => Reply::WrongLast,
        // Said by the client, before anything is sent.
        (PublishErrorKind::MaxPayloadExceeded, _) => Reply::Refused(error.to_string()),
        (_, Some(said)) if is_full(said.error_code(), &said.to_string()) => Reply::Full(said.to_string()),
        (_, Some(said)) if said.error_code() == IN_FLIGHT => Reply::NotNow(said.to_string()),
        (_, Some(said)) if said.code() < 500 && said.code() != TOO_MANY => Reply::Refused(said.to_string()),
        _ => Reply::Unknown(error.to_string()),
    }
}

/// Whether an error of the server speaks of lack of room.
fn is_full(code: ErrorCode, text: &str) -> bool {
    match code {
        ErrorCode::INSUFFICIENT_RESOURCES | ErrorCode::STORAGE_RESOURCES_EXCEEDED | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED => true,
        STORE_FAILED => text.contains("maximum"),
        _ => false,
    }
}
