//! Reading many records in order.
//!
//! A consumer may run on a server that lags behind the leader, so it can't say where the end is. The leader can: it is asked for the first
//! message beyond what was read, and when there is none, everything was.

use std::time::Duration;

use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::consumer::{Consumer, DeliverPolicy};
use bytes::Bytes;
use futures::StreamExt;

use super::record::{Junk, Record};
use super::{JetStreamJournal, READ_PATIENCE};
use crate::store::JournalError;
use crate::store::error::Source;
use crate::store::settle::Backoff;

/// A consumer that is silent for so long, although there is more, is given up for a new one.
const SILENCE: Duration = Duration::from_secs(5);

/// What to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range<'a> {
    /// Subjects, wildcards allowed.
    pub(super) filter: &'a str,
    /// The first sequence.
    pub(super) from: u64,
    /// The last sequence, if it is not the end.
    pub(super) to: Option<u64>,
    /// Whether bodies are left out.
    pub(super) headers_only: bool,
}

impl JetStreamJournal {
    /// Shows every record in the range to `each`, with its subject, oldest first and once.
    pub(super) async fn scan(&self, range: Range<'_>, mut each: impl FnMut(&str, Result<Record, Junk>)) -> Result<(), JournalError> {
        let doing = || format!("reading {} from {}", range.filter, range.from);
        // Everything up to here was shown.
        let mut cursor = range.from.saturating_sub(1);
        let mut patience = tokio::time::Instant::now() + READ_PATIENCE;
        let mut backoff = Backoff::new();
        loop {
            let beyond = self.patiently(doing, || self.raw_first_after(range.filter, cursor)).await?;
            let Some(target) = beyond.map(|message| message.sequence).filter(|found| range.to.is_none_or(|to| *found <= to)) else {
                return Ok(());
            };
            let before = cursor;
            let read = self.read_up_to(range, target, &mut cursor, &mut each).await;
            if cursor > before {
                patience = tokio::time::Instant::now() + READ_PATIENCE;
                backoff = Backoff::new();
            }
            if let Err(source) = read {
                if tokio::time::Instant::now() >= patience {
                    return Err(JournalError::Unavailable { doing: doing(), source });
                }
                backoff.pause().await;
            }
        }
    }

    /// Reads with one consumer until `target` is reached and nothing more is waiting.
    async fn read_up_to(
        &self,
        range: Range<'_>,
        target: u64,
        cursor: &mut u64,
        each: &mut impl FnMut(&str, Result<Record, Junk>),
    ) -> Result<(), Source> {
        let config = OrderedConfig {
            filter_subject: range.filter.to_owned(),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: *cursor + 1 },
            headers_only: range.headers_only,
            ..Default::default()
        };
        let consumer: Consumer<OrderedConfig> = self.inner.stream.create_consumer(config).await?;
        let name = consumer.cached_info().name.clone();
        let mut messages = consumer.messages().await?;
        let read = read(&mut messages, range, target, cursor, each).await;
        drop(messages);
        // The server forgets it by itself after half a minute; a host that loads its slots would leave hundreds until then.
        let _ = self.inner.stream.delete_consumer(&name).await;
        read
    }
}

async fn read(
    messages: &mut Ordered,
    range: Range<'_>,
    target: u64,
    cursor: &mut u64,
    each: &mut impl FnMut(&str, Result<Record, Junk>),
) -> Result<(), Source> {
    loop {
        let next = tokio::time::timeout(SILENCE, messages.next()).await.map_err(|_| "the consumer is silent")?;
        let message = next.ok_or("the consumer ended")??;
        let info = message.info()?;
        let (sequence, pending, nanos) = (info.stream_sequence, info.pending, info.published.unix_timestamp_nanos());
        // A consumer that had to be made anew may begin again at the beginning.
        if sequence > *cursor {
            if range.to.is_some_and(|to| sequence > to) {
                return Ok(());
            }
            *cursor = sequence;
            let payload = if range.headers_only { Bytes::new() } else { message.payload.clone() };
            each(&message.subject, Record::from_parts(sequence, nanos, message.headers.as_ref(), payload));
        }
        if *cursor >= target && pending == 0 {
            return Ok(());
        }
    }
}
