//! The time that domains live by: the wall clock as it was when the process started, moved on by the monotonic clock.
//!
//! So nobody who sets the clock of this machine can make a timer run out. What the wall clock does meanwhile is only watched.

use std::time::Instant;

use pilothouse_core::time::{Millis, Timestamp};

/// The clock of one process. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    wall: Timestamp,
    started: Instant,
}

impl Clock {
    /// Starts from the wall clock.
    pub(crate) fn start() -> Self {
        Self { wall: crate::clock::now() + crate::failpoint::clock_offset(), started: Instant::now() }
    }

    /// The moment.
    pub(crate) fn now(&self) -> Timestamp {
        self.wall + Millis::new(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// How far the wall clock has moved against this one since the start, in milliseconds.
    pub(crate) fn drift(&self) -> i64 {
        crate::clock::now().as_millis() as i64 - self.now().as_millis() as i64
    }

    /// When a moment was; now, for one that is still to come.
    pub(crate) fn at_or_before(&self, moment: Timestamp) -> Instant {
        let now = Instant::now();
        now.checked_sub((self.now().since(moment)).to_std()).unwrap_or(now)
    }

    /// The timer for a moment. One that has passed, or lies absurdly far ahead, is bounded.
    pub(crate) fn at(&self, moment: Timestamp) -> tokio::time::Instant {
        const FAR: Millis = Millis::from_secs(3600);
        (Instant::now() + moment.since(self.now()).min(FAR).to_std()).into()
    }
}
