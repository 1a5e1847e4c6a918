//! Whether whoever calls again and again takes long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// So many short jobs in a row make a long one forgotten. One that alternates would be at the usual share half of the time otherwise.
const FORGOTTEN_AFTER: u8 = 8;

/// What a [`Runner`](crate::Runner) knows of whoever has it run one job after another, such as the decisions of one domain. Clones are the same
/// habit.
///
/// The first milliseconds of a long job take from others what they need, since nobody knows yet how long it will be. Whose jobs
/// have been long lately has a thread beside the pool from the start, and with it what nobody else wants of the processors.
#[derive(Clone, Debug, Default)]
pub struct Habit(Arc<AtomicU8>);

impl Habit {
    /// Whether one of the last few jobs has computed for long.
    pub fn is_long(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// A job has ended.
    pub(super) fn note(&self, long: bool) {
        let before = self.0.load(Ordering::Relaxed);
        let now = if long { FORGOTTEN_AFTER } else { before.saturating_sub(1) };
        // Jobs that end at the same time may count as one, and most change nothing.
        if now != before {
            self.0.store(now, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_job_is_remembered_until_enough_short_ones_came() {
        let habit = Habit::default();
        habit.note(false);
        assert!(!habit.is_long());
        habit.note(true);
        for _ in 1..FORGOTTEN_AFTER {
            habit.note(false);
            assert!(habit.clone().is_long());
        }
        habit.note(false);
        assert!(!habit.is_long());
    }
}
