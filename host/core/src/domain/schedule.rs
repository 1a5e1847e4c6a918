//! When an engine is asked.

use crate::cycle::{Cause, Wake};
use crate::time::{Millis, Timestamp};

/// The shortest pause an engine may ask for, so that one domain can't take the whole host.
const MIN_WAKE: Millis = Millis::new(100);
/// The longest.
const MAX_WAKE: Millis = Millis::from_secs(24 * 60 * 60);
/// The longest pause after faults: a mended engine should be noticed soon.
const MAX_FAULT_PAUSE: Millis = Millis::from_secs(300);

/// Bytes that what a domain's engine leads to may add to the journal in a minute, and as many at once. A domain of a thousand instances that
/// are all replaced within a minute needs a twentieth of it; one that does nothing but write would fill any journal, and a full one stops
/// everybody.
pub const JOURNAL_BYTES_A_MINUTE: u64 = 8 << 20;

const MINUTE_MS: u64 = 60_000;

/// When the next decision is due, and why.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    /// Nothing: when something changes.
    next: Option<Timestamp>,
    cause: Cause,
    /// The newest call took so long.
    took: Millis,
    /// As long after its end nobody is asked.
    rests_until: Timestamp,
    written: Written,
}

impl Schedule {
    pub(super) fn taken_over(now: Timestamp) -> Self {
        Self { next: Some(now), cause: Cause::TakenOver, took: Millis::ZERO, rests_until: Timestamp::ZERO, written: Written::default() }
    }

    /// When the next decision may begin.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let next = self.next?.max(self.written.room_from());
        // Whoever configures a domain, or gives it another engine, does not wait for what the one before had taken.
        let waits = !matches!(self.cause, Cause::Configured | Cause::Swapped);
        Some(if waits { next.max(self.rests_until) } else { next })
    }

    pub(super) fn due(&self, now: Timestamp) -> Option<Cause> {
        (self.next()? <= now).then_some(self.cause)
    }

    pub(super) fn decided(&mut self, wake: Option<Wake>, pace: Millis, now: Timestamp) {
        (self.next, self.cause) = match wake {
            None => (Some(now + pace), Cause::Pulse),
            Some(Wake::After(length)) => (Some(now + length.clamp(MIN_WAKE, MAX_WAKE)), Cause::Wake),
            Some(Wake::OnChange) => (None, Cause::Changed),
        };
    }

    /// After a fault the pause doubles with every further one.
    pub(super) fn faulted(&mut self, before: u32, pace: Millis, now: Timestamp) {
        let pause = Millis::new(pace.get().saturating_mul(1 << before.min(12))).min(MAX_FAULT_PAUSE.max(pace));
        (self.next, self.cause) = (Some(now + pause), Cause::Pulse);
    }

    /// A call that has just ended took so long. The next one begins as long after it, or later: an engine that needs three seconds for
    /// each decision has a thread for half of the time, however often it wants to be asked.
    pub(super) fn called_for(&mut self, took: Millis, now: Timestamp) {
        (self.took, self.rests_until) = (took, now + took);
    }

    /// What the engine led to has added so many bytes to the journal.
    pub(super) fn wrote(&mut self, bytes: u64, now: Timestamp) {
        self.written.add(bytes, now);
    }

    /// How long the newest call took and until when nobody is asked for that, if a decision would be due before.
    pub(super) fn rests(&self, now: Timestamp) -> Option<(Millis, Timestamp)> {
        let waits = self.rests_until > now && self.next.is_some_and(|next| next < self.rests_until) && self.next() > self.next;
        waits.then_some((self.took, self.rests_until))
    }

    /// Until when nobody is asked because too much was written, if a decision would be due before.
    pub(super) fn has_no_room_until(&self, now: Timestamp) -> Option<Timestamp> {
        Some(self.written.room_from()).filter(|from| *from > now && self.next.is_some_and(|next| next < *from))
    }

    /// The configuration changed, or the engine: `cause` says which, unless there is an even better reason.
    pub(super) fn configured(&mut self, cause: Cause, now: Timestamp) {
        let cause = if matches!(self.cause, Cause::TakenOver | Cause::Swapped) { self.cause } else { cause };
        (self.next, self.cause) = (Some(now), cause);
    }

    /// Somebody wants a decision now. One that is due already has a reason of its own.
    pub(super) fn asked(&mut self, cause: Cause, now: Timestamp) {
        if self.next.is_none_or(|next| next > now) {
            (self.next, self.cause) = (Some(now), cause);
        }
    }

    pub(super) fn something_changed(&mut self, now: Timestamp) {
        if self.next.is_none() {
            (self.next, self.cause) = (Some(now), Cause::Changed);
        }
    }
}

/// How much was written, less what has drained since.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    bytes: u64,
    at: Timestamp,
}

impl Written {
    fn add(&mut self, bytes: u64, now: Timestamp) {
        let now = now.max(self.at);
        let drained = now.since(self.at).get().saturating_mul(JOURNAL_BYTES_A_MINUTE) / MINUTE_MS;
        *self = Self { bytes: self.bytes.saturating_sub(drained).saturating_add(bytes), at: now };
    }

    /// From when on there is room again.
    fn room_from(&self) -> Timestamp {
        let beyond = self.bytes.saturating_sub(JOURNAL_BYTES_A_MINUTE);
        self.at + Millis::new(beyond.saturating_mul(MINUTE_MS).div_ceil(JOURNAL_BYTES_A_MINUTE))
    }
}
