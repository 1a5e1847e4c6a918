//! When an engine is asked.

use crate::cycle::{Cause, Wake};
use crate::time::{Millis, Timestamp};

/// The shortest pause an engine may ask for, so that one domain can't take the whole host.
const MIN_WAKE: Millis = Millis::new(100);
/// The longest.
const MAX_WAKE: Millis = Millis::from_secs(24 * 60 * 60);
/// The longest pause after faults: a mended engine should be noticed soon.
const MAX_FAULT_PAUSE: Millis = Millis::from_secs(300);

/// When the next decision is due, and why.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    /// Nothing: when something changes.
    next: Option<Timestamp>,
    cause: Cause,
}

impl Schedule {
    pub(super) fn taken_over(now: Timestamp) -> Self {
        Self { next: Some(now), cause: Cause::TakenOver }
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        self.next
    }

    pub(super) fn due(&self, now: Timestamp) -> Option<Cause> {
        (self.next? <= now).then_some(self.cause)
    }

    pub(super) fn decided(&mut self, wake: Option<Wake>, pace: Millis, now: Timestamp) {
        *self = match wake {
            None => Self { next: Some(now + pace), cause: Cause::Pulse },
            Some(Wake::After(length)) => Self { next: Some(now + length.clamp(MIN_WAKE, MAX_WAKE)), cause: Cause::Wake },
            Some(Wake::OnChange) => Self { next: None, cause: Cause::Changed },
        };
    }

    /// After a fault the pause doubles with every further one.
    pub(super) fn faulted(&mut self, before: u32, pace: Millis, now: Timestamp) {
        let pause = Millis::new(pace.get().saturating_mul(1 << before.min(12))).min(MAX_FAULT_PAUSE.max(pace));
        *self = Self { next: Some(now + pause), cause: Cause::Pulse };
    }

    /// The configuration changed, or the engine: `cause` says which, unless there is an even better reason.
    pub(super) fn configured(&mut self, cause: Cause, now: Timestamp) {
        let cause = if matches!(self.cause, Cause::TakenOver | Cause::Swapped) { self.cause } else { cause };
        *self = Self { next: Some(now), cause };
    }

    /// Somebody wants a decision now. One that is due already has a reason of its own.
    pub(super) fn asked(&mut self, cause: Cause, now: Timestamp) {
        if self.due(now).is_none() {
            *self = Self { next: Some(now), cause };
        }
    }

    pub(super) fn something_changed(&mut self, now: Timestamp) {
        if self.next.is_none() {
            *self = Self { next: Some(now), cause: Cause::Changed };
        }
    }
}
