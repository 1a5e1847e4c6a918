//! What came of an examination, for people and for programs.

use std::time::Duration;

use pilothouse_core::cycle::limits;
use pilothouse_engine_host::{EngineLimits, LoadedEngine};
use serde::Serialize;
use serde_json::{Map, Value};

use super::Call;

/// Lines of an engine's documentation that are shown: its title and first paragraph.
const DOCUMENTATION_LINES: usize = 8;

/// What came of an examination.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether no check failed. Warnings do not count.
    pub passed: bool,
    /// How many checks failed.
    pub failed: usize,
    /// How many checks passed with a warning.
    pub warned: usize,
    /// What was examined.
    pub engine: Identity,
    /// What it was configured with; none when no configuration was found.
    pub configuration: Option<Configuration>,
    /// What each call may use up.
    pub limits: Limits,
    /// What was looked at, in order.
    pub checks: Vec<Check>,
}

/// What a component is.
#[derive(Clone, Debug, Serialize)]
pub struct Identity {
    /// By which domains ask for it.
    pub name: String,
    /// Semantic.
    pub version: String,
    /// SHA-256 of the component, in hexadecimal.
    pub digest: String,
    /// Of the component.
    pub bytes: usize,
    /// Interfaces.
    pub imports: Vec<String>,
    /// Interfaces.
    pub exports: Vec<String>,
    /// The first lines.
    pub documentation: Vec<String>,
    /// The keys of its configuration, as its schema gives them.
    pub keys: Vec<Key>,
}

/// One key of an engine's configuration.
#[derive(Clone, Debug, Serialize)]
pub struct Key {
    /// As it is written.
    pub name: String,
    /// In a word or two: `integer`, `integer or string`, `newest | random`.
    pub kind: String,
    /// Whether there must be a value.
    pub required: bool,
    /// What it is when nobody says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// What it means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// The configuration that an engine was examined with.
#[derive(Clone, Debug, Serialize)]
pub struct Configuration {
    /// Where it is from: given, an example of the schema, its defaults.
    pub source: String,
    /// The engine's section.
    pub value: Map<String, Value>,
}

/// What each call may use up.
#[derive(Clone, Debug, Serialize)]
pub struct Limits {
    /// Units.
    pub fuel: u64,
    /// By the clock on the wall.
    pub deadline_ms: u64,
    /// Of linear memory, while it runs.
    pub linear_memory_bytes: usize,
    /// Of what it remembers from one call to the next.
    pub memory_bytes: usize,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should.
    Passed,
    /// As it should, but something is worth a look.
    Warned,
    /// Not as it should.
    Failed,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// How it went.
    pub outcome: Outcome,
    /// What is wrong, what is worth a look, and what was seen.
    pub notes: Vec<String>,
    /// What the dearest of its calls used up.
    #[serde(flatten)]
    pub cost: Cost,
}

/// What a call used up. Nothing is told where nothing is known.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cost {
    /// Units of fuel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Of the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel_percent: Option<f64>,
    /// By the clock on the wall, on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<f64>,
    /// Of the deadline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_percent: Option<f64>,
    /// Bytes that it wants remembered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<usize>,
}

impl Report {
    pub(super) fn new(engine: Identity, limits: Limits) -> Self {
        Self { passed: true, failed: 0, warned: 0, engine, configuration: None, limits, checks: Vec::new() }
    }

    pub(super) fn push(&mut self, check: Check) {
        self.checks.push(check);
    }

    pub(super) fn finished(mut self) -> Self {
        let count = |outcome| self.checks.iter().filter(|check| check.outcome == outcome).count();
        (self.failed, self.warned) = (count(Outcome::Failed), count(Outcome::Warned));
        self.passed = self.failed == 0;
        self
    }
}

impl Identity {
    pub(super) fn of(engine: &LoadedEngine, bytes: usize) -> Self {
        let description = engine.description();
        let mut lines = description.documentation.lines().map(str::trim_end).skip_while(|line| line.is_empty());
        let mut documentation: Vec<String> = lines.by_ref().take(DOCUMENTATION_LINES).map(str::to_owned).collect();
        documentation.extend(lines.next().map(|_| "…".to_owned()));
        Self {
            name: description.name.to_string(),
            version: description.version.to_string(),
            digest: engine.digest().to_owned(),
            bytes,
            imports: engine.imports(),
            exports: engine.exports(),
            documentation,
            keys: super::described::keys(&description.config_schema),
        }
    }
}

impl Limits {
    pub(super) fn of(limits_of_call: &EngineLimits) -> Self {
        Self {
            fuel: limits_of_call.fuel,
            deadline_ms: u64::try_from(limits_of_call.deadline.as_millis()).unwrap_or(u64::MAX),
            linear_memory_bytes: limits_of_call.memory_bytes,
            memory_bytes: limits::MEMORY_BYTES,
        }
    }
}

impl Check {
    pub(super) fn new(name: impl Into<String>) -> Self {
        Self::passed(name, Cost::default())
    }

    pub(super) fn passed(name: impl Into<String>, cost: Cost) -> Self {
        Self { name: name.into(), outcome: Outcome::Passed, notes: Vec::new(), cost }
    }

    /// Something that was seen, neither good nor bad.
    pub(super) fn note(&mut self, what: impl Into<String>) {
        self.notes.push(what.into());
    }

    pub(super) fn warn(&mut self, what: impl Into<String>) {
        self.outcome = self.outcome.max(Outcome::Warned);
        self.note(what);
    }

    pub(super) fn fail(&mut self, what: impl Into<String>) {
        self.outcome = Outcome::Failed;
        self.note(what);
    }
}

impl Cost {
    pub(super) fn of_call(call: &Call, limits: &EngineLimits) -> Self {
        let fuel = Self { fuel: Some(call.fuel), fuel_percent: Some(percent(call.fuel as f64, limits.fuel as f64)), ..Self::default() };
        fuel.worst(Self::of_time(call.time, Some(limits.deadline)))
    }

    /// A time, and its share of what it may be, if that is limited.
    pub(super) fn of_time(time: Duration, limit: Option<Duration>) -> Self {
        let time_percent = limit.map(|limit| percent(time.as_secs_f64(), limit.as_secs_f64()));
        Self { time_ms: Some(rounded(time.as_secs_f64() * 1e3)), time_percent, ..Self::default() }
    }

    /// The larger of each.
    pub(super) fn worst(self, other: Self) -> Self {
        let larger = |one: Option<f64>, other: Option<f64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.max(other)),
            (one, other) => one.or(other),
        };
        Self {
            fuel: self.fuel.max(other.fuel),
            fuel_percent: larger(self.fuel_percent, other.fuel_percent),
            time_ms: larger(self.time_ms, other.time_ms),
            time_percent: larger(self.time_percent, other.time_percent),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
        }
    }
}

fn percent(part: f64, whole: f64) -> f64 {
    rounded(part / whole * 100.0)
}

/// To three digits behind the point: more would only look exact.
fn rounded(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}
