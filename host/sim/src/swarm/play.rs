//! Plays one scenario, whatever becomes of it.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pilothouse_core::cycle::Engine;
use pilothouse_core::record::{Event, Record};

use super::Places;
use crate::check::Violation;
use crate::scenario::{Invalid, Scenario};
use crate::simulation::{Available, Failed, Judge, Simulation};
use crate::tick::Line;

/// How a scenario fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It makes no sense: whoever made it is at fault.
    Invalid(String),
    /// A rule was broken.
    Broken(Violation),
    /// Something panicked.
    Panicked(String),
    /// An engine did not keep one of its promises.
    Unkept {
        /// Which.
        promise: &'static str,
        /// What was seen.
        seen: String,
    },
    /// Two runs that should be the same are not, or two engines that should agree do not: where.
    Differs(String),
}

impl Failure {
    /// Whether two failures are likely to have one cause. What they say in detail may differ.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Broken(one), Self::Broken(other)) => one.rule == other.rule,
            (Self::Unkept { promise: one, .. }, Self::Unkept { promise: other, .. }) => one == other,
            (Self::Panicked(one), Self::Panicked(other)) => beginning(one) == beginning(other),
            (Self::Differs(one), Self::Differs(other)) => beginning(one) == beginning(other),
            (Self::Invalid(one), Self::Invalid(other)) => one == other,
            _ => false,
        }
    }
}

/// A message up to its first figure or quotation: what follows is of one case.
fn beginning(message: &str) -> &str {
    message.split(|c: char| c.is_ascii_digit() || "\"'`".contains(c)).next().unwrap_or_default()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(why) => write!(f, "it makes no sense: {why}"),
            Self::Broken(violation) => violation.fmt(f),
            Self::Unkept { promise, seen } => write!(f, "a promise is not kept: {promise}: {seen}"),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::Differs(at) => write!(f, "two runs differ: {at}"),
        }
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Invalid(invalid) => Self::from(invalid),
            Failed::Broken { violation, .. } => Self::Broken(violation),
        }
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid.to_string())
    }
}

/// A scenario that was played to its end.
#[derive(Clone, Debug)]
pub struct Played {
    /// What it showed.
    pub lines: Vec<Line>,
    /// The journal, each record with its sequence.
    pub journal: Vec<(u64, Vec<u8>)>,
    /// Where it came.
    pub places: Places,
}

/// Plays a scenario. A panic on the way is a failure like any other.
///
/// # Errors
/// How it failed.
pub fn play<E: Engine>(scenario: &Scenario, engine: &E, judge: Judge<'_>) -> Result<Played, Failure> {
    play_among(scenario, &[Available { engine, judge }])
}

/// The same, with all engines that the scenario names. The first of them decides to begin with.
///
/// # Errors
/// How it failed.
pub fn play_among(scenario: &Scenario, engines: &[Available<'_>]) -> Result<Played, Failure> {
    caught(|| to_the_end(scenario, engines))
}

/// Does something with a simulation. A panic on the way is a failure like any other.
///
/// # Errors
/// How it failed.
pub fn caught<T>(run: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    // Nothing may outlive the closure but what it returns; engines are asked through shared references only.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(Failure::Panicked(message(&*panic))))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a word").to_owned()
}

fn to_the_end(scenario: &Scenario, engines: &[Available<'_>]) -> Result<Played, Failure> {
    let mut places = Places::default();
    let mut simulation = Simulation::among(scenario, engines)?;
    let mut lines = vec![simulation.head(scenario)];
    for step in scenario.steps()? {
        places.before(&step.event, simulation.state());
        let shown = simulation.step(&step)?;
        places.after(&step.event, &shown, simulation.state());
        lines.extend(shown);
    }
    lines.push(simulation.end());
    let journal: Vec<(u64, Vec<u8>)> = simulation.journal().map(|(sequence, bytes)| (sequence, bytes.to_vec())).collect();
    for (sequence, bytes) in &journal {
        let record = Record::from_bytes(bytes).map_err(|error| Failure::Differs(format!("record {sequence} can't be read: {error}")))?;
        places.recorded(&record);
    }
    Ok(Played { lines, journal, places })
}

/// Plays a scenario twice: the same seed must give the same run, to the byte.
///
/// # Errors
/// How it failed, or where the two runs differ.
pub fn twice<E: Engine>(scenario: &Scenario, engine: &E, judge: Judge<'_>) -> Result<Played, Failure> {
    twice_among(scenario, &[Available { engine, judge }])
}

/// The same, with all engines that the scenario names. The first of them decides to begin with.
///
/// # Errors
/// How it failed, or where the two runs differ.
pub fn twice_among(scenario: &Scenario, engines: &[Available<'_>]) -> Result<Played, Failure> {
    let (first, second) = (play_among(scenario, engines)?, play_among(scenario, engines)?);
    same("record", &first.journal, &second.journal, |(sequence, bytes)| format!("{sequence} {}", String::from_utf8_lossy(bytes)))?;
    same("line", &first.lines, &second.lines, |line| format!("{line:?}"))?;
    Ok(first)
}

impl Played {
    /// Whether another run came to the same: with an engine that should agree, and for which fuel is not reckoned or differently.
    ///
    /// # Errors
    /// Where they differ.
    pub fn agrees(&self, other: &Self) -> Result<(), Failure> {
        same("record", &self.without_fuel(), &other.without_fuel(), Clone::clone)?;
        same("line", &self.lines, &other.lines, |line| format!("{line:?}"))
    }

    fn without_fuel(&self) -> Vec<String> {
        let without = |(sequence, bytes): &(u64, Vec<u8>)| match Record::from_bytes(bytes) {
            Err(error) => format!("{sequence} {error}"),
            Ok(mut record) => {
                for event in &mut record.events {
                    match event {
                        Event::Decided(decision) => decision.fuel = 0,
                        Event::Faulted(fault) => fault.fuel = 0,
                        _ => {}
                    }
                }
                format!("{sequence} {}", String::from_utf8_lossy(&record.to_bytes()))
            }
        };
        self.journal.iter().map(without).collect()
    }
}

fn same<T: PartialEq>(what: &str, one: &[T], other: &[T], show: impl Fn(&T) -> String) -> Result<(), Failure> {
    let differs = (0..one.len().max(other.len())).find(|nth| one.get(*nth) != other.get(*nth));
    differs.map_or(Ok(()), |nth| {
        let shown = |it: Option<&T>| it.map_or_else(|| "nothing".to_owned(), &show);
        Err(Failure::Differs(format!("{what} {nth} is\n  {}\nand\n  {}", shown(one.get(nth)), shown(other.get(nth)))))
    })
}
