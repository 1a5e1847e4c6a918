//! Finding out what became of an append.
//!
//! An acknowledgement can get lost, a leader can vanish with the message in its hands, a server can be too busy to say yes or no. Then the
//! append is *unknown*: the message may be stored, may be lost, or may still be on its way. The one thing that settles all three is the
//! very same message again. If the first one is stored, the repetition is refused or recognised, and the journal shows our own message id
//! where the record ought to be; if it is not, the repetition takes its place; and should the first one still arrive, it finds the place
//! taken. That the record is absent when we look proves nothing: only somebody else's record in its place does.
//!
//! This is the protocol alone. What carries the messages is a [`Wire`]: JetStream, or memory in tests.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use pilothouse_core::name::DomainKey;
use tokio::time::Instant;

use super::health::{Doubt, Health};
use super::{Appended, Foreign, JournalError, Tip};

/// The first pause before a message is sent again.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// The longest such pause. A thousand domains that wait for the same election then ask two thousand times a second, which a server bears.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// For how long the journal must keep saying that our predecessor is not the newest record *and* that nothing follows it, until we believe
/// that it has lost its end. A leader that has just been elected, or that has another writer's message in its hands, says so for a moment.
const LOST_AFTER: Duration = Duration::from_secs(2);

/// What is sent, and sent again: always the same.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// Unique for ever.
    pub(crate) id: String,
    pub(crate) after: Tip,
    pub(crate) is_snapshot: bool,
    pub(crate) body: Body,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    Inline(Bytes),
    /// The name of an object that holds it.
    Object(String),
}

/// What came of sending it once.
#[derive(Debug)]
pub(crate) enum Reply {
    /// It is stored at that sequence, now or earlier.
    Stored(u64),
    /// The newest record is not the expected one. Perhaps it is ours.
    WrongLast,
    /// There is no room.
    Full(String),
    /// It is not acceptable, now or ever.
    Refused(String),
    /// It was turned away for the moment, unseen.
    NotNow(String),
    /// Anything may have happened.
    Unknown(String),
}

/// What carries messages to the journal.
pub(crate) trait Wire: Sync {
    /// Sends the message once.
    fn publish(&self, key: &DomainKey, message: &Message) -> impl Future<Output = Reply> + Send;

    /// The first record of the domain after `sequence`, from the leader; an error says in words why nobody knows.
    fn first_after(&self, key: &DomainKey, sequence: u64) -> impl Future<Output = Result<Option<Foreign>, String>> + Send;
}

/// Sends the message until its outcome is known.
///
/// # Errors
/// When the journal refuses it as such, or turns out to have lost its end.
pub(crate) async fn settle(wire: &impl Wire, health: &Health, key: &DomainKey, message: &Message) -> Result<Appended, JournalError> {
    let mut doubt = Doubt::none(health, key);
    let mut backoff = Backoff::new();
    let mut end_missing_since = None;
    // Whether an attempt is out there that may have landed, or will. An attempt that was answered, however, is not.
    let mut may_land = false;
    let expected = message.after.sequence;
    let committed = |sequence| {
        health.committed();
        Ok(Appended::Committed { tip: message.after.advanced(sequence, message.is_snapshot) })
    };
    loop {
        let reply = wire.publish(key, message).await;
        // Only as long as nothing else is heard in between.
        let missing_since = end_missing_since.take();
        let trouble = match reply {
            // A sequence that is not beyond the expected one belongs to another use of the id, which minting excludes.
            Reply::Stored(sequence) if sequence > expected => return committed(sequence),
            Reply::Stored(sequence) => {
                let reason = format!("message id {} was used before, for record {sequence}", message.id);
                return Err(JournalError::Refused { key: key.clone(), reason });
            }
            Reply::Refused(reason) => return Err(JournalError::Refused { key: key.clone(), reason }),
            Reply::Full(reason) if !may_land => {
                health.full(key, &reason);
                return Ok(Appended::Full { reason });
            }
            Reply::NotNow(why) => why,
            Reply::Unknown(why) => {
                may_land = true;
                why
            }
            // Neither says whether an earlier attempt landed. The journal does.
            Reply::WrongLast | Reply::Full(_) => match wire.first_after(key, expected).await {
                Ok(Some(next)) if next.id == message.id => return committed(next.sequence),
                Ok(Some(by)) => {
                    health.fenced(key, &by);
                    return Ok(Appended::Fenced { by });
                }
                Ok(None) => match reply {
                    Reply::Full(reason) => reason,
                    _ => {
                        let since = missing_since.unwrap_or_else(Instant::now);
                        if since.elapsed() >= LOST_AFTER {
                            return Err(JournalError::Lost { key: key.clone(), expected });
                        }
                        end_missing_since = Some(since);
                        format!("record {expected} is not the newest, yet none follows it")
                    }
                },
                Err(why) => why,
            },
        };
        doubt.grow(&trouble);
        backoff.pause().await;
    }
}

/// Pauses that grow a little.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(FIRST_PAUSE)
    }

    pub(crate) async fn pause(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 3 / 2).min(LONGEST_PAUSE);
    }
}
