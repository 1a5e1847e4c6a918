//! How long nothing has been read.

use std::time::Duration;

use pilothouse_engine::Timestamp;
use serde::{Deserialize, Serialize};

/// Looks that found no reading where one was expected, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// The first of them.
    pub since: Timestamp,
    /// The last one that is remembered. Those that follow within half a period are not, so that a domain that stays silent writes little into the
    /// journal of its host.
    pub seen: Timestamp,
}

impl Silence {
    /// The silence that a look finds after what was remembered. If the last look is longer ago than a period, readings may have come and grown
    /// old since, or may have been kept by nobody: then it begins now.
    #[must_use]
    pub fn found(before: Option<Self>, now: Timestamp, period: Duration) -> Self {
        match before.filter(|before| now <= before.seen + period) {
            Some(before) if now < before.seen + period / 2 => before,
            Some(before) => Self { seen: now, ..before },
            None => Self { since: now, seen: now },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Since when it is silent and which look is remembered, after looks so many seconds after the beginning.
    fn after(looks: &[u64]) -> (u64, u64) {
        let found = |before, seconds: &u64| Some(Silence::found(before, Timestamp::from_millis(seconds * 1000), MINUTE));
        let Silence { since, seen } = looks.iter().fold(None, found).unwrap();
        (since.as_millis() / 1000, seen.as_millis() / 1000)
    }

    #[test]
    fn a_silence_lasts_as_long_as_looks_follow_each_other_within_a_period() {
        assert_eq!(after(&[100]), (100, 100));
        assert_eq!(after(&[100, 160]), (100, 160));
        assert_eq!(after(&[100, 161]), (161, 161));
        assert_eq!(after(&[100, 160, 220, 280]), (100, 280));
    }

    #[test]
    fn looks_that_follow_soon_are_not_remembered() {
        assert_eq!(after(&[100, 110, 129]), (100, 100));
        assert_eq!(after(&[100, 110, 130]), (100, 130));
        assert_eq!(after(&(100..=400).collect::<Vec<_>>()), (100, 400));
    }
}
