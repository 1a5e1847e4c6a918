//! The rate budget: two buckets that fill again within a minute.

use serde::{Deserialize, Serialize};

use crate::config::General;
use crate::time::{Millis, Timestamp};

/// How long an empty bucket takes to be full.
const FILL: u64 = 60_000;

/// What was taken out of the two buckets, and when that was reckoned. In thousandths, so that slow rates add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateBudget {
    launches: Bucket,
    terminations: Bucket,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Bucket {
    /// Thousandths that are missing.
    used: u64,
    at: Timestamp,
}

impl Bucket {
    /// Thousandths that are missing at `now`.
    fn used_at(self, size: u32, now: Timestamp) -> u64 {
        // A full bucket of `size` thousand thousandths comes back in `FILL` milliseconds.
        let back = now.since(self.at).get().saturating_mul(u64::from(size) * 1000) / FILL;
        self.used.saturating_sub(back)
    }

    /// How many are left, and how long until there is one if there is none.
    fn left(self, size: u32, now: Timestamp, taken: u32) -> (u32, Millis) {
        let used = self.used_at(size, now) + u64::from(taken) * 1000;
        let full = u64::from(size) * 1000;
        let left = full.saturating_sub(used) / 1000;
        let missing = (used + 1000).saturating_sub(full);
        (left as u32, Millis::new((missing * FILL).div_ceil(full.max(1))))
    }

    fn take(&mut self, size: u32, now: Timestamp, count: u32) {
        *self = Self { used: self.used_at(size, now) + u64::from(count) * 1000, at: now };
    }

    fn full_at(self, size: u32, now: Timestamp) -> Timestamp {
        now + Millis::new((self.used_at(size, now) * FILL).div_ceil(u64::from(size.max(1)) * 1000))
    }
}

impl RateBudget {
    /// Launches left when `taken` more are spoken for, and how long until there is one.
    pub fn launches_left(&self, config: &General, now: Timestamp, taken: u32) -> (u32, Millis) {
        self.launches.left(config.launches_per_minute, now, taken)
    }

    /// Terminations left when `taken` more are spoken for, and how long until there is one.
    pub fn terminations_left(&self, config: &General, now: Timestamp, taken: u32) -> (u32, Millis) {
        self.terminations.left(config.terminations_per_minute, now, taken)
    }

    /// When both are full again.
    pub fn full_at(&self, config: &General, now: Timestamp) -> Timestamp {
        self.launches.full_at(config.launches_per_minute, now).max(self.terminations.full_at(config.terminations_per_minute, now))
    }

    /// Takes out what a committed decision was granted.
    pub(crate) fn take(&mut self, config: &General, now: Timestamp, launches: u32, terminations: u32) {
        self.launches.take(config.launches_per_minute, now, launches);
        self.terminations.take(config.terminations_per_minute, now, terminations);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back_within_a_minute() {
        let config = General { launches_per_minute: 6, ..General::default() };
        let at = Timestamp::from_secs;
        let mut budget = RateBudget::default();
        assert_eq!(budget.launches_left(&config, at(1000), 0).0, 6);
        budget.take(&config, at(1000), 6, 0);
        assert_eq!(budget.launches_left(&config, at(1000), 0), (0, Millis::from_secs(10)));
        assert_eq!(budget.launches_left(&config, at(1009), 0), (0, Millis::from_secs(1)));
        assert_eq!(budget.launches_left(&config, at(1010), 0).0, 1);
        assert_eq!(budget.launches_left(&config, at(1030), 1).0, 2, "what this decision took before counts");
        assert_eq!(budget.full_at(&config, at(1000)), at(1060));
        assert_eq!(budget.launches_left(&config, at(9000), 0).0, 6, "never more than full");
    }
}
