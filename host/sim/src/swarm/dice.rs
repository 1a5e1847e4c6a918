//! Chance for whoever makes scenarios.

use pilothouse_core::seed::{Random, Seed, Stream};

/// Dice that fall the same for the same seed.
#[derive(Debug)]
pub struct Dice(Random);

impl Dice {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(Seed(u128::from(seed).to_be_bytes()).stream(Stream::Engine))
    }

    /// A number from 0 up to, and not including, `end`. The tiny bias of a remainder does not matter here.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64() % end.max(1)
    }

    /// A number from `least` up to and including `most`.
    pub fn from_to(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of them. There must be one.
    pub fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}
