//! How long to wait before a child is started again.

use std::time::Duration;

/// The first pause: short, since one death is usually an accident, or a test.
const FIRST: Duration = Duration::from_millis(200);

/// The longest pause: whoever repairs what is wrong should not wait for long.
const LONGEST: Duration = Duration::from_secs(5);

/// Whoever ran for that long was well.
const WELL: Duration = Duration::from_secs(10);

/// Pauses that double while a child keeps ending soon after its start.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    soon: u32,
}

impl Backoff {
    /// The pause after a child that ran for so long.
    pub(super) fn after(&mut self, ran_for: Duration) -> Duration {
        self.soon = if ran_for >= WELL { 1 } else { self.soon.saturating_add(1) };
        FIRST.saturating_mul(1 << (self.soon - 1).min(10)).min(LONGEST)
    }

    /// How often in a row it ended soon after its start.
    pub(super) fn in_a_row(&self) -> u32 {
        self.soon
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_until_a_child_was_well() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..7).map(|_| backoff.after(Duration::ZERO).as_millis()).collect();
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff.in_a_row(), 7);
        assert_eq!(backoff.after(WELL), FIRST);
        assert_eq!(backoff.in_a_row(), 1);
        for _ in 0..100 {
            assert!(backoff.after(Duration::ZERO) <= LONGEST);
        }
    }
}
