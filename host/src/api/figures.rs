//! What a host tells of itself to whoever asks for the statistics of the service.

use std::collections::BTreeMap;

use pilothouse_core::name::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The figures of one process of a host, since it was started. They are told as `data` with the statistics of every endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostFigures {
    /// The host.
    pub host: Name,
    /// Whether it looks after the domains now.
    pub owner: bool,
    /// How many domains it looks after now.
    pub domains: usize,
    /// Messages that could not be used, by what was wrong with them. Kinds that never came up are left out.
    pub refused_messages: BTreeMap<String, u64>,
    /// Milliseconds in which the process did not run although it should have: nothing is held against instances for them.
    pub milliseconds_not_run: u64,
    /// Threads on which an engine runs now.
    pub engine_threads_busy: usize,
    /// Threads on which an engine still runs whose answer nobody awaits any more: it came too late. They count until it ends.
    pub engine_threads_lost: usize,
    /// How asking engines has been going.
    pub decisions: DecisionFigures,
    /// How writing the journal has been going.
    pub journal: JournalFigures,
    /// How asking Prometheus servers has been going.
    pub pulls: PullFigures,
}

/// How asking engines has been going, since the process was started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DecisionFigures {
    /// Times that an engine in force was asked.
    pub asked: u64,
    /// Times that a shadow was asked.
    pub shadows: u64,
    /// Calls that failed, by the sort of fault. Sorts that never came up are left out.
    pub faults: BTreeMap<String, u64>,
    /// Times that another version came into force by itself.
    pub swaps: u64,
    /// Of those, times that a domain went back to the version before.
    pub rolled_back: u64,
    /// Times that an engine was held, because there was nothing to go back to.
    pub held: u64,
    /// Milliseconds from the moment that a decision was due to the start of its engine: `p50`, `p99` and `max`.
    pub lateness_ms: BTreeMap<String, f64>,
}

/// How writing the journal has been going, since the process was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JournalFigures {
    /// Appends that are in the journal.
    pub committed: u64,
    /// Appends that found somebody else's record: another host had taken the domain.
    pub fenced: u64,
    /// Appends for which there was no room.
    pub full: u64,
    /// Times that something had to be sent again.
    pub repeats: u64,
    /// Appends that are being sent again right now.
    pub unsettled: usize,
}

/// How asking Prometheus servers has been going, since the process was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PullFigures {
    /// Questions that were asked.
    pub questions: u64,
    /// Of those, the ones that were not answered well.
    pub failures: u64,
    /// Readings that came of the others.
    pub readings: u64,
}
