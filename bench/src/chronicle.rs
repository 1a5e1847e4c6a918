//! What a journal says of decisions: the truth about what was decided, when, and by which version.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::{Client, jetstream};
use futures::StreamExt;
use pilothouse::store::JetStreamJournal;
use pilothouse_core::cycle::Cause;
use pilothouse_core::name::DomainKey;
use pilothouse_core::record::{Event, Record};
use pilothouse_core::time::{Millis, Timestamp};

use crate::host::subjects;

/// What was recorded of one domain, oldest first.
pub(crate) type Story = Vec<Told>;

/// A record that is about its engine.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    /// It decided.
    Decided(Decided),
    /// Another version is in force, stored by the server's clock at that moment.
    Swapped { version: String, at: Timestamp, stored: Timestamp },
    /// A call failed.
    Faulted { at: Timestamp, kind: &'static str },
}

/// A decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decided {
    /// When the engine had come back.
    pub(crate) at: Timestamp,
    /// Why it was asked then.
    pub(crate) cause: Cause,
    /// The how-manieth decision of the domain, as its engine counts them.
    pub(crate) count: u64,
}

/// Reads all of a journal.
pub(crate) async fn read(client: &Client, journal: &JetStreamJournal) -> Result<BTreeMap<DomainKey, Story>> {
    let stream = jetstream::new(client.clone()).get_stream(journal.stream_name()).await.context("looking at the journal")?;
    let mut stories = BTreeMap::<DomainKey, Story>::new();
    if stream.cached_info().state.messages == 0 {
        return Ok(stories);
    }
    let consumer = stream.create_consumer(OrderedConfig::default()).await.context("reading the journal")?;
    let (mut messages, subjects) = (consumer.messages().await.context("reading the journal")?, subjects()?);
    while let Some(message) = messages.next().await {
        let message = message.context("reading the journal")?;
        let info = message.info().map_err(|error| anyhow::anyhow!("a message of the journal: {error}"))?;
        let (pending, stored) = (info.pending, info.published.unix_timestamp_nanos() / 1_000_000);
        let (_, key) = subjects.journal_key(&message.subject).context("a subject of the journal")?;
        let record = Record::from_bytes(&message.payload)?;
        let stored = Timestamp::from_millis(u64::try_from(stored).unwrap_or_default());
        stories.entry(key).or_default().extend(record.events.iter().filter_map(|event| told(event, record.at, stored)));
        if pending == 0 {
            break;
        }
    }
    Ok(stories)
}

fn told(event: &Event, at: Timestamp, stored: Timestamp) -> Option<Told> {
    match event {
        Event::Decided(decision) => {
            let count = decision.memory.as_deref().and_then(|memory| memory.try_into().ok()).map_or(0, u64::from_le_bytes);
            Some(Told::Decided(Decided { at, cause: decision.cause, count }))
        }
        Event::Swapped(swapped) => Some(Told::Swapped { version: swapped.engine.version.clone(), at, stored }),
        Event::Faulted(faulted) => Some(Told::Faulted { at, kind: faulted.kind.name() }),
        _ => None,
    }
}

/// How the decisions of a domain went that is decided at this interval, within a span of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Course {
    /// Decisions that were made.
    pub(crate) made: u64,
    /// Whole intervals that passed without one, and decisions that its engine knows of and the journal does not.
    pub(crate) lost: u64,
    /// Calls that failed, by the sort of fault.
    pub(crate) failed: BTreeMap<&'static str, u64>,
    /// Decisions from the same memory as another one, and decisions at the domain's own pace before they were due.
    pub(crate) doubled: u64,
    /// The longest time between two.
    pub(crate) longest: Millis,
    /// Of each decision at the domain's own pace, how long after it was due its engine had come back. A decision is due one interval after the
    /// one before.
    pub(crate) late: Vec<u64>,
}

impl Course {
    /// What a story says of the time from `from` on, up to `to`.
    pub(crate) fn of(story: &[Told], interval: Millis, from: Timestamp, to: Timestamp) -> Self {
        let mut course = Self::default();
        let mut before: Option<Decided> = None;
        for told in story {
            match told {
                Told::Decided(decided) => {
                    let begins = before.is_none_or(|before| before.at < from);
                    if decided.at >= from && decided.at < to {
                        course.made += 1;
                        if let Some(before) = before {
                            course.follow(before, *decided, interval, begins);
                        }
                    }
                    before = Some(*decided);
                }
                Told::Faulted { at, kind } if *at >= from && *at < to => *course.failed.entry(kind).or_default() += 1,
                Told::Faulted { .. } | Told::Swapped { .. } => {}
            }
        }
        course
    }

    fn follow(&mut self, before: Decided, decided: Decided, interval: Millis, begins: bool) {
        let gap = decided.at.since(before.at);
        self.longest = self.longest.max(gap);
        self.lost += (gap.get() / interval.get()).saturating_sub(1);
        self.lost += decided.count.saturating_sub(before.count + 1);
        self.doubled += u64::from(decided.count <= before.count);
        if decided.cause == Cause::Pulse {
            self.doubled += u64::from(gap < interval);
            if !begins {
                self.late.push(gap.get().saturating_sub(interval.get()));
            }
        }
    }

    /// Both together, for many domains.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.late.extend(other.late);
        other.failed.into_iter().for_each(|(kind, count)| *self.failed.entry(kind).or_default() += count);
        Self {
            made: self.made + other.made,
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            longest: self.longest.max(other.longest),
            failed: self.failed,
            late: self.late,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Millis = Millis::from_secs(1);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    fn story(decisions: &[(u64, Cause, u64)]) -> Story {
        decisions.iter().map(|(millis, cause, count)| Told::Decided(Decided { at: at(*millis), cause: *cause, count: *count })).collect()
    }

    fn course(decisions: &[(u64, Cause, u64)]) -> Course {
        Course::of(&story(decisions), INTERVAL, at(0), at(60_000))
    }

    #[test]
    fn an_even_course_loses_nothing_and_doubles_nothing() {
        let even = course(&[(0, Cause::TakenOver, 1), (1002, Cause::Pulse, 2), (2005, Cause::Pulse, 3)]);
        assert_eq!((even.made, even.lost, even.doubled, even.longest, even.late), (3, 0, 0, Millis::new(1003), vec![2, 3]));
    }

    #[test]
    fn a_swap_between_two_decisions_is_asked_at_once_and_doubles_nothing() {
        let mut swapped = story(&[(0, Cause::TakenOver, 1), (400, Cause::Swapped, 2), (1401, Cause::Pulse, 3)]);
        swapped.insert(1, Told::Swapped { version: "2.0.0".to_owned(), at: at(399), stored: at(399) });
        let swapped = Course::of(&swapped, INTERVAL, at(0), at(60_000));
        assert_eq!((swapped.lost, swapped.doubled, swapped.late), (0, 0, vec![1]));
    }

    #[test]
    fn what_is_missing_is_lost() {
        assert_eq!(course(&[(0, Cause::Pulse, 1), (1999, Cause::Pulse, 2)]).lost, 0);
        assert_eq!(course(&[(0, Cause::Pulse, 1), (2000, Cause::Pulse, 2)]).lost, 1);
        assert_eq!(course(&[(0, Cause::Pulse, 1), (1001, Cause::Pulse, 3)]).lost, 1);
        let mut faulted = story(&[(0, Cause::Pulse, 1), (1001, Cause::Pulse, 2)]);
        faulted.push(Told::Faulted { at: at(2000), kind: "trap" });
        let faulted = Course::of(&faulted, INTERVAL, at(0), at(60_000));
        assert_eq!((faulted.lost, faulted.failed), (0, BTreeMap::from([("trap", 1)])));
    }

    #[test]
    fn what_was_made_twice_is_doubled() {
        assert_eq!(course(&[(0, Cause::Pulse, 1), (1001, Cause::Pulse, 1)]).doubled, 1);
        assert_eq!(course(&[(0, Cause::Pulse, 1), (10, Cause::Pulse, 2)]).doubled, 1);
    }

    #[test]
    fn only_what_lies_within_the_span_counts() {
        let all = story(&[(0, Cause::Pulse, 1), (1500, Cause::Pulse, 2), (2600, Cause::Pulse, 3), (3700, Cause::Pulse, 4)]);
        let some = Course::of(&all, INTERVAL, at(1000), at(3000));
        // The first of the span is late for what was before it.
        assert_eq!((some.made, some.late, some.longest), (2, vec![100], Millis::new(1500)));
    }
}
