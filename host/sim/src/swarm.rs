//! A swarm of random scenarios: made from seeds, played, and shrunk when one fails.
//!
//! [`scenario()`] makes a valid scenario of a seed. [`play()`] plays one and tells where it came; panics and broken rules come back as a
//! [`Failure`]. A [`Swarm`] does that for so many seeds, one after the other, and the first failure ends it: the scenario is made smaller for
//! as long as it fails in the same way, and written to a file.

mod dice;
mod make;
mod places;
mod play;
mod shrink;
mod versions;

use std::fmt;
use std::path::PathBuf;

pub use dice::Dice;
pub use make::{Shape, scenario};
pub use places::Places;
pub use play::{Failure, Played, caught, play, play_among, twice, twice_among};
pub use shrink::shrink;

use crate::scenario::Scenario;

/// So many scenarios.
#[derive(Clone, Debug)]
pub struct Swarm {
    /// The seed of the first one.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// Where a scenario that fails is written.
    pub folder: PathBuf,
    /// The command that runs this swarm, to be told when a scenario fails.
    pub command: &'static str,
    /// Whether `pilothouse simulate` has the engine.
    pub simulates: bool,
}

impl Swarm {
    /// How many scenarios there are, over what a test says.
    pub const COUNT: &'static str = "PILOTHOUSE_SWARM";
    /// Where to begin instead of at 0.
    pub const SEED: &'static str = "PILOTHOUSE_SWARM_SEED";

    /// `count` scenarios from seed 0 on, unless the environment says otherwise.
    ///
    /// # Errors
    /// When a variable of the environment is no number.
    pub fn of(count: u64, folder: impl Into<PathBuf>, command: &'static str) -> Result<Self, String> {
        let number = |name: &str, otherwise: u64| match std::env::var(name) {
            Ok(text) => text.parse().map_err(|_| format!("{name}={text}: expected a number")),
            Err(_) => Ok(otherwise),
        };
        let (first, count) = (number(Self::SEED, 0)?, number(Self::COUNT, count)?);
        if count == 0 || first.checked_add(count).is_none_or(|end| i64::try_from(end).is_err()) {
            return Err(format!("{}={first} {}={count}: expected at least one scenario, and seeds below 2^63", Self::SEED, Self::COUNT));
        }
        Ok(Self { first, count, folder: folder.into(), command, simulates: false })
    }

    /// Makes every scenario and checks it. Tells where they came together.
    ///
    /// # Errors
    /// The first that fails, shrunk.
    pub fn run(&self, make: impl Fn(u64) -> Scenario, check: impl Fn(&Scenario) -> Result<Places, Failure>) -> Result<Places, Box<Found>> {
        let mut places = Places::default();
        for seed in self.first..self.first.saturating_add(self.count) {
            let scenario = make(seed);
            match check(&scenario) {
                Ok(came) => places.add(&came),
                Err(failure) => return Err(Box::new(self.found(seed, &scenario, &failure, check))),
            }
        }
        Ok(places)
    }

    fn found(&self, seed: u64, scenario: &Scenario, failure: &Failure, check: impl Fn(&Scenario) -> Result<Places, Failure>) -> Found {
        let shrunk = shrink(scenario, |smaller| check(smaller).is_err_and(|other| other.is_like(failure)));
        // What it says now: the first words were of the large one.
        let failure = check(&shrunk).err().unwrap_or_else(|| failure.clone());
        let written = shrunk.to_toml();
        let extension = if written.starts_with('{') { "json" } else { "toml" };
        let file = self.folder.join(format!("swarm-{}-{seed}.{extension}", shrunk.engine));
        let written = std::fs::create_dir_all(&self.folder).and_then(|()| std::fs::write(&file, written));
        let mut again = format!("{}={seed} {}=1 {}", Self::SEED, Self::COUNT, self.command);
        if self.simulates {
            again = format!("pilothouse simulate {}\n  or {again}", file.display());
        }
        Found {
            seed,
            failure,
            events: (scenario.events.len(), shrunk.events.len()),
            scenario: shrunk,
            file: written.map(|()| file).map_err(|error| error.to_string()),
            again,
        }
    }
}

/// A scenario that fails.
#[derive(Debug)]
pub struct Found {
    /// What it was made of.
    pub seed: u64,
    /// How it fails.
    pub failure: Failure,
    /// Entries of its timeline before it was shrunk, and after.
    pub events: (usize, usize),
    /// The smallest that was found to fail in the same way.
    pub scenario: Scenario,
    /// Where that was written, or why it was not.
    pub file: Result<PathBuf, String>,
    /// How to see it again.
    pub again: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, failure, events: (before, after), scenario, file, again } = self;
        writeln!(f, "the scenario of seed {seed} fails: {failure}\n")?;
        match file {
            Ok(file) => writeln!(f, "shrunk from {before} entries to {after}, in {}:\n", file.display())?,
            Err(error) => writeln!(f, "shrunk from {before} entries to {after} (not written: {error}):\n")?,
        }
        writeln!(f, "{}\nagain:\n  {again}", scenario.to_toml())
    }
}
