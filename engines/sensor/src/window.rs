//! The recommendations of the recent past, for the way down: the highest of them wins.
//!
//! Kept are not the recommendations themselves but *since when none has been over this size*, for each size for which that can matter. That
//! says the same, and while the recommendation stays as it is it says it in the same bytes, so that a domain whose load is even writes
//! nothing new into the journal of its host. A recommendation holds until the next one is made: what was recommended last before a
//! window began still holds in it.

use std::time::Duration;

use pilothouse_engine::Timestamp;
use serde::{Deserialize, Serialize};

/// The most sizes that are kept: half a kilobyte. Only that many falling recommendations within one window reach it, and then the size whose
/// word would be the shortest is left out. Until its time is over the next higher one holds in its place, so the domain shrinks a little
/// later, never earlier.
pub const MOST_SIZES: usize = 64;

/// Since when every recommendation has been at most this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ceiling {
    /// The size.
    pub size: u32,
    /// The first recommendation after the last one that was higher.
    pub since: Timestamp,
}

/// The sizes that count, from the highest to the lowest; the lower one, the later it began.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Window(Vec<Ceiling>);

impl Window {
    /// Takes a recommendation, and forgets what can't matter any more in a window of this length.
    pub fn take(&mut self, size: u32, now: Timestamp, length: Duration) {
        let mut since = now;
        while let Some(lower) = self.0.pop_if(|ceiling| ceiling.size <= size) {
            since = lower.since;
        }
        self.0.push(Ceiling { size, since });
        if let Some(in_force) = self.0.iter().rposition(|ceiling| ceiling.since + length <= now) {
            self.0.drain(..in_force);
        }
        if self.0.len() > MOST_SIZES {
            let word = |at: &usize| self.0[*at].since.until(self.0[*at + 1].since);
            let shortest = (0..self.0.len() - 1).min_by_key(word);
            self.0.remove(shortest.unwrap_or_default());
        }
    }

    /// The highest recommendation of the window that ends now. Exactly at the end of the window a recommendation counts no more. Nothing:
    /// what was recommended when the window began is not known.
    #[must_use]
    pub fn highest(&self, now: Timestamp, length: Duration) -> Option<u32> {
        self.0.iter().rev().find(|ceiling| ceiling.since + length <= now).map(|ceiling| ceiling.size)
    }

    /// How long it is until the highest recommendation is lower than this, if no other comes.
    #[must_use]
    pub fn until_lower_than(&self, size: u32, now: Timestamp, length: Duration) -> Option<Duration> {
        self.0.iter().find(|ceiling| ceiling.size < size).map(|ceiling| now.until(ceiling.since + length))
    }

    /// How many sizes are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was recommended yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn taken(recommendations: &[(u64, u32)]) -> Window {
        let mut window = Window::default();
        for (seconds, size) in recommendations {
            window.take(*size, at(*seconds), MINUTE);
        }
        window
    }

    /// By its definition: every recommendation holds until the next; the highest one that holds at some moment from `now - length` on.
    fn by_definition(recommendations: &[(u64, u32)], now: u64) -> Option<u32> {
        let begin = now.checked_sub(60)?;
        let held = recommendations.iter().enumerate().filter(|(n, _)| match recommendations.get(n + 1) {
            Some((next, _)) => *next > begin,
            None => true,
        });
        let known = recommendations.first().is_some_and(|(first, _)| *first <= begin);
        if known { held.map(|(_, (_, size))| *size).max() } else { None }
    }

    #[test]
    fn the_highest_of_the_window_is_what_its_definition_says() {
        let mut seed = 1_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for _ in 0..500 {
            let (mut now, mut recommendations) = (0, Vec::new());
            for _ in 0..20 {
                now += 1 + random(25);
                recommendations.push((now, u32::try_from(random(6)).unwrap()));
                let highest = taken(&recommendations).highest(at(now), MINUTE);
                assert_eq!(highest, by_definition(&recommendations, now), "{recommendations:?}");
            }
        }
    }

    #[test]
    fn exactly_at_its_end_a_recommendation_counts_no_more() {
        let window = taken(&[(0, 5), (10, 3)]);
        assert_eq!(window.highest(at(70) - Duration::from_millis(1), MINUTE), Some(5));
        assert_eq!(window.highest(at(70), MINUTE), Some(3));
        assert_eq!(window.until_lower_than(5, at(50), MINUTE), Some(Duration::from_secs(20)));
    }

    #[test]
    fn what_was_recommended_before_the_first_time_is_not_known() {
        assert_eq!(Window::default().highest(at(100), MINUTE), None);
        assert_eq!(taken(&[(41, 3)]).highest(at(100), MINUTE), None);
        assert_eq!(taken(&[(40, 3)]).highest(at(100), MINUTE), Some(3));
    }

    #[test]
    fn a_recommendation_that_stays_changes_nothing_that_is_remembered() {
        let even = taken(&[(0, 5), (10, 3), (100, 3)]);
        assert_eq!(taken(&[(0, 5), (10, 3), (100, 3), (105, 3), (110, 3)]), even);
        assert_eq!(even.len(), 1);
    }

    #[test]
    fn too_many_falling_recommendations_cost_time_and_never_instances() {
        let mut window = Window::default();
        let falling: Vec<(u64, u32)> = (0..1000).map(|n| (n, 2000 - u32::try_from(n).unwrap())).collect();
        for (seconds, size) in &falling {
            window.take(*size, at(*seconds), 500 * Duration::from_secs(1));
            assert!(window.len() <= MOST_SIZES);
            let exact = if *seconds < 500 { 2000 } else { 2000 - u32::try_from(*seconds - 500).unwrap() };
            let highest = window.highest(at(*seconds), 500 * Duration::from_secs(1)).unwrap_or(2000);
            assert!(highest >= exact, "{highest} at {seconds}, {exact} by the definition");
        }
        assert_eq!(window.highest(at(999 + 500), 500 * Duration::from_secs(1)), Some(1001), "the newest is never left out");
    }
}
