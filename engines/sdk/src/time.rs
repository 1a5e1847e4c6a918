//! Moments. Lengths of time are [`Duration`]s of the standard library; what is shorter than a millisecond is lost on the way to the host.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since the Unix epoch. It never goes backwards from one call of a domain to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// So many milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// How many milliseconds after the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was at this moment. Zero if it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// How long it is from this moment to `later`. Zero if it is not later.
    #[must_use]
    pub const fn until(self, later: Self) -> Duration {
        later.since(self)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    /// So much later; at the end of time it stops.
    fn add(self, length: Duration) -> Self {
        Self(self.0.saturating_add(millis(length)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    /// So much earlier; at the epoch it stops.
    fn sub(self, length: Duration) -> Self {
        Self(self.0.saturating_sub(millis(length)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// In whole milliseconds.
pub(crate) fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// In whole seconds, rounded up: what people are told to wait.
pub(crate) fn seconds_to_wait(length: Duration) -> u64 {
    millis(length).div_ceil(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_length_of_time_is_negative_and_no_moment_overflows() {
        let (early, late) = (Timestamp::from_millis(1000), Timestamp::from_millis(3500));
        assert_eq!((late.since(early), early.since(late)), (Duration::from_millis(2500), Duration::ZERO));
        assert_eq!((early.until(late), late.until(early)), (Duration::from_millis(2500), Duration::ZERO));
        assert_eq!(early + Duration::from_secs(2), Timestamp::from_millis(3000));
        assert_eq!(early - Duration::from_secs(2), Timestamp::default());
        assert_eq!(late + Duration::MAX, Timestamp::from_millis(u64::MAX));
    }
}
