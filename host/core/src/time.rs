//! Moments and lengths of time as values. Nothing here knows what time it is.

use std::fmt;
use std::ops::{Add, Sub};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A moment: milliseconds since the Unix epoch.
///
/// ```
/// use pilothouse_core::time::{Millis, Timestamp};
/// let t = Timestamp::from_millis(5_000);
/// assert_eq!(t + Millis::from_secs(2), Timestamp::from_millis(7_000));
/// assert_eq!(t.since(Timestamp::from_millis(9_000)), Millis::ZERO, "never negative");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Timestamp(u64);

/// A length of time in milliseconds. Sums saturate: an absurd window means *for ever*, not a wrap to zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Millis(u64);

impl Timestamp {
    /// The Unix epoch.
    pub const ZERO: Self = Self(0);

    /// A moment that many milliseconds after the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// A moment that many whole seconds after the Unix epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// A moment given in seconds with a fraction, as messages carry it. Nothing when it is negative, not a number, or beyond the
    /// year 9999.
    pub fn from_secs_f64(secs: f64) -> Option<Self> {
        const YEAR_10000: f64 = 253_402_300_800.0;
        // Written so that a NaN fails it.
        if !(0.0..YEAR_10000).contains(&secs) {
            return None;
        }
        // Rounded, because most thousandths have no exact form: 1.001 s would become 1000 ms.
        Some(Self((secs * 1000.0).round() as u64))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Seconds since the Unix epoch, as messages carry it.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// How long it is since `earlier`; zero when that lies in the future.
    pub const fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

impl Millis {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// So many milliseconds.
    pub const fn new(millis: u64) -> Self {
        Self(millis)
    }

    /// So many whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// In milliseconds.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// In seconds.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// For timers of the standard library.
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

impl Add<Millis> for Timestamp {
    type Output = Self;
    fn add(self, length: Millis) -> Self {
        Self(self.0.saturating_add(length.0))
    }
}

impl Sub<Millis> for Timestamp {
    type Output = Self;
    fn sub(self, length: Millis) -> Self {
        Self(self.0.saturating_sub(length.0))
    }
}

impl Add for Millis {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Millis {
    /// In the unit a person would choose: `250 ms`, `4.5 s`, `12 min`, `3.5 h`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn short(f: &mut fmt::Formatter<'_>, value: f64, unit: &str) -> fmt::Result {
            let rounded = (value * 10.0).round() / 10.0;
            if rounded.fract() == 0.0 { write!(f, "{rounded:.0} {unit}") } else { write!(f, "{rounded:.1} {unit}") }
        }
        match self.0 {
            0..1_000 => write!(f, "{} ms", self.0),
            1_000..60_000 => short(f, self.0 as f64 / 1e3, "s"),
            60_000..3_600_000 => short(f, self.0 as f64 / 6e4, "min"),
            _ => short(f, self.0 as f64 / 3.6e6, "h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_shown_in_the_unit_a_person_would_choose() {
        for (millis, shown) in [(0, "0 ms"), (999, "999 ms"), (1_000, "1 s"), (4_520, "4.5 s"), (90_000, "1.5 min"), (7_200_000, "2 h")] {
            assert_eq!(Millis::new(millis).to_string(), shown);
        }
    }

    #[test]
    fn seconds_that_are_no_moment_are_refused() {
        for bad in [-1.0, f64::NAN, f64::INFINITY, 1e15] {
            assert_eq!(Timestamp::from_secs_f64(bad), None, "{bad}");
        }
        assert_eq!(Timestamp::from_secs_f64(1.5), Some(Timestamp::from_millis(1500)));
        assert_eq!(Timestamp::from_secs_f64(1.001), Some(Timestamp::from_millis(1001)));
    }
}
