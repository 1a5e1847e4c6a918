//! How long the size rests after it was changed.

use std::time::Duration;

use pilothouse_engine::Timestamp;
use pilothouse_engine::config::Seconds;

use crate::config::Config;

/// Which way a size changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It grows.
    Up,
    /// It shrinks.
    Down,
}

impl Direction {
    /// Which way it is from one size to another. Nothing if they are the same.
    #[must_use]
    pub fn of(from: u32, to: u32) -> Option<Self> {
        match to.cmp(&from) {
            std::cmp::Ordering::Greater => Some(Self::Up),
            std::cmp::Ordering::Less => Some(Self::Down),
            std::cmp::Ordering::Equal => None,
        }
    }
}

/// How much is left of the cooldown of a direction. It began with the last change of size, whichever way that went. Nothing: it is over, as
/// it is exactly at its end.
#[must_use]
pub fn left(config: &Config, scaled_at: Option<Timestamp>, direction: Direction, now: Timestamp) -> Option<Duration> {
    let until = scaled_at? + length(config, direction).duration();
    (now < until).then(|| now.until(until))
}

fn length(config: &Config, direction: Direction) -> Seconds {
    let of_its_own = match direction {
        Direction::Up => config.scale_up_cooldown,
        Direction::Down => config.scale_down_cooldown,
    };
    of_its_own.unwrap_or(config.cooldown_period)
}

/// So long, in words: `12 s`, rounded up.
#[must_use]
pub fn in_words(left: Duration) -> String {
    format!("{} s", left.as_millis().div_ceil(1000))
}
