//! What a scenario shows: a line for each thing that happens, and how everything stands at each tick.

use std::collections::BTreeMap;

use pilothouse_core::cycle::{Cause, Settings, Status, Wake};
use pilothouse_core::instance::{Health, Instance, State};
use pilothouse_core::problem::Problem;
use pilothouse_core::record::{EngineInForce, Prepared};
use pilothouse_core::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::messages::{Messages, Notifications};

/// A loop of the host that runs once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TickKind {
    /// The engine is asked; a domain that is being removed comes one step nearer to its end.
    Decide,
    /// The monitor looks who is silent for too long, and which launches make no progress.
    Health,
    /// Records of instances that are gone for long are dropped.
    Reap,
}

impl TickKind {
    /// The name in scenarios and transcripts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decide => "decide",
            Self::Health => "health",
            Self::Reap => "reap",
        }
    }
}

/// One line of a transcript.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Line {
    /// What runs.
    Scenario {
        /// The scenario's title.
        title: String,
        /// The engine, pinned.
        engine: EngineInForce,
        /// The domain, as `OWNER/NAME`.
        domain: String,
        /// What all chance follows from.
        seed: u64,
    },
    /// Something happened between ticks.
    Event {
        /// Seconds since the start.
        at: f64,
        /// In words.
        what: String,
    },
    /// How everything stands after a tick.
    Tick(Box<Tick>),
    /// How it ended.
    End(Box<EndLine>),
}

/// `[state, health]` of every instance by launch order; nothing for one whose record is gone.
pub type Instances = Vec<Option<(State, Health)>>;

/// How everything stands after a tick. *So far* counts from the start of the scenario; what is *new* came since the tick before.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tick {
    /// Seconds since the start.
    pub at: f64,
    /// Which loop ran.
    pub tick: TickKind,
    /// Instances launched so far.
    pub launched: u64,
    /// Requests to launch.
    pub provisions: Messages,
    /// Requests to terminate.
    pub terminations: Messages,
    /// Everybody whose end was asked for so far, each once, by launch order.
    pub terminated: Vec<u64>,
    /// Their ids, in the same order.
    pub terminated_ids: Vec<String>,
    /// Every instance by launch order.
    pub instances: Instances,
    /// What is recorded to be wrong, by launch order; whoever is well is left out.
    pub errors: BTreeMap<u64, Vec<Problem>>,
    /// What the engine said, when it was asked in this tick and answered.
    pub engine: Option<Said>,
    /// Which versions of the engine came into force or were held since the tick before, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<String>,
    /// How what runs beside compares, when it was asked in this tick.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside: Option<Beside>,
    /// Instances whose agent was asked for a sign of life.
    pub probes: Probes,
    /// Requests for the state of everything.
    pub dumps: Messages,
    /// What subscribers would be told.
    pub notifications: Notifications,
    /// What guards held back in this tick's decision.
    pub refusals: Vec<Refusal>,
    /// Engine calls that failed since the tick before.
    pub faults: Vec<String>,
    /// Messages and commands that were refused since the tick before, and why.
    pub rejected: Vec<String>,
    /// Whether the domain is gone.
    pub gone: bool,
}

/// Instances whose agent was asked for a sign of life.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Probes {
    /// How many questions there were so far.
    pub so_far: u64,
    /// Who was asked since the tick before, by launch order.
    pub new: Vec<u64>,
}

/// How what runs beside compares, from its beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Beside {
    /// Which.
    pub engine: EngineInForce,
    /// Decisions that were compared.
    pub compared: u64,
    /// Of these, those in which it wanted something else.
    pub differed: u64,
    /// Calls of it that failed.
    pub failed: u64,
    /// In what it differed this time, or how it failed; nothing, when it wanted the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<String>,
}

/// What the engine said.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Said {
    /// Why it was asked.
    pub cause: Cause,
    /// What it says of the domain.
    pub status: Status,
    /// In its words.
    pub reason: String,
    /// The figures behind it.
    pub figures: BTreeMap<String, f64>,
    /// When it wants to be asked next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wake: Option<Wake>,
    /// How it was made ready, if it had to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prepared: Option<Prepared>,
    /// Whether the decision is in the journal; one that says nothing new is not.
    pub recorded: bool,
    /// What it asked for was only recorded.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// What it set: the pulse in milliseconds, the variables of every launch.
    #[serde(skip_serializing_if = "Settings::is_empty")]
    pub settings: Settings,
    /// Lines that it logged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

/// What a guard held back of one request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Refusal {
    /// `launch` or `terminate`.
    pub request: &'static str,
    /// Which guard.
    pub guard: &'static str,
    /// How many it held back.
    pub held_back: u32,
    /// Why.
    pub because: String,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndLine {
    /// Seconds since the start.
    pub at: f64,
    /// What second 0 is, in milliseconds since the Unix epoch: times of records count from there.
    pub start: Timestamp,
    /// What provisioners were told of each launch: type, site, allocation, variables, owner, instances.
    pub launches: Vec<Value>,
    /// Every field of every record by launch order; nothing for one that is gone.
    pub records: Vec<Option<Instance>>,
    /// Decisions that are in the journal.
    pub decisions: u64,
    /// Engine calls that failed.
    pub faults: u64,
    /// Messages and commands that were refused.
    pub rejected: u64,
    /// What was written of instances that are not there.
    pub skipped: u64,
    /// Records of the journal.
    pub journal_records: u64,
    /// Whether the domain is gone.
    pub gone: bool,
}
