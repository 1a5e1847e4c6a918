//! Instances as an engine sees them, and which of them are meant.

use crate::time::Timestamp;

pub use crate::bindings::pilothouse::engine::state::Filter;
pub use crate::bindings::pilothouse::engine::types::{Health, InstanceState};

/// Minted by the host, unique for ever. Opaque: compare it, keep it, hand it back; don't take it apart.
pub type InstanceId = String;

/// Minted by the host for one launch request. The instances of that launch share it.
pub type LaunchId = String;

/// Names and values, each name once. Order is kept.
pub type Vars = Vec<(String, String)>;

/// One launched unit: a machine, a container, a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Which one.
    pub id: InstanceId,
    /// The launch that it came with.
    pub launch: LaunchId,
    /// What was started.
    pub deployable_type: String,
    /// Where.
    pub site: String,
    /// In which size.
    pub allocation: String,
    /// How far it has come.
    pub state: InstanceState,
    /// When it reached `state`.
    pub state_since: Timestamp,
    /// What the host's monitor thinks of it.
    pub health: Health,
    /// What went wrong on it, newest first, at most eight lines. Kept until it reports that all is well.
    pub errors: Vec<String>,
    /// The variables of its own that it was launched with, without those that every launch of the domain gets.
    pub extra_vars: Vars,
    /// What the provisioner told of it: addresses, host name, zone, machine.
    pub attributes: Vars,
    /// An operator keeps it: its end is not granted, so choose another. It counts like any other.
    pub protected: bool,
}

impl Instance {
    /// Whether it counts: not on its way out, gone or refused.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        is_valid(self.state)
    }

    /// The value of a variable of its own.
    #[must_use]
    pub fn extra_var(&self, name: &str) -> Option<&str> {
        find(&self.extra_vars, name)
    }

    /// What the provisioner told of it under this name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        find(&self.attributes, name)
    }
}

fn find<'a>(vars: &'a Vars, name: &str) -> Option<&'a str> {
    vars.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// The same instances as columns, for engines that look at every one: far cheaper than a list of records. The four lists are of one
/// length, oldest launch first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Columns {
    /// What [`Domain::instance_at`](crate::Domain::instance_at) takes.
    pub rows: Vec<u32>,
    /// How far each has come.
    pub states: Vec<InstanceState>,
    /// What the host's monitor thinks of each.
    pub healths: Vec<Health>,
    /// When each reached its state.
    pub state_since: Vec<Timestamp>,
}

/// States of an instance that counts: everything but on its way out, gone or refused.
const VALID: [InstanceState; 9] = [
    InstanceState::Requesting,
    InstanceState::Requested,
    InstanceState::ErrorRetrying,
    InstanceState::Pending,
    InstanceState::Started,
    InstanceState::Running,
    InstanceState::RunningFailed,
    InstanceState::Draining,
    InstanceState::Other,
];

/// Whether an instance in this state counts.
#[must_use]
pub fn is_valid(state: InstanceState) -> bool {
    VALID.contains(&state)
}

/// Whether an instance in this state is on its way to running.
#[must_use]
pub fn is_starting(state: InstanceState) -> bool {
    matches!(
        state,
        InstanceState::Requesting
            | InstanceState::Requested
            | InstanceState::ErrorRetrying
            | InstanceState::Pending
            | InstanceState::Started
    )
}

/// Whether a valid instance is unhealthy. A health that has no name in this version is not.
#[must_use]
pub fn is_unhealthy(state: InstanceState, health: Health) -> bool {
    state == InstanceState::RunningFailed
        || matches!(health, Health::MonitorError | Health::ProcessError | Health::Missing | Health::Zombie)
}

impl Filter {
    /// Every instance on record, the gone ones too until they are reaped.
    #[must_use]
    pub fn all() -> Self {
        Self { states: Vec::new(), healths: Vec::new(), site: None, valid: false }
    }

    /// The instances that count.
    #[must_use]
    pub fn valid() -> Self {
        Self { valid: true, ..Self::all() }
    }

    /// The running ones, well or not.
    #[must_use]
    pub fn running() -> Self {
        Self::all().states([InstanceState::Running])
    }

    /// Only those in one of these states.
    #[must_use]
    pub fn states(mut self, states: impl Into<Vec<InstanceState>>) -> Self {
        self.states = states.into();
        self
    }

    /// Only those of one of these healths.
    #[must_use]
    pub fn healths(mut self, healths: impl Into<Vec<Health>>) -> Self {
        self.healths = healths.into();
        self
    }

    /// Only those at this site.
    #[must_use]
    pub fn at_site(mut self, site: impl Into<String>) -> Self {
        self.site = Some(site.into());
        self
    }

    /// Whether this instance is meant.
    #[must_use]
    pub fn fits(&self, instance: &Instance) -> bool {
        (self.states.is_empty() || self.states.contains(&instance.state))
            && (self.healths.is_empty() || self.healths.contains(&instance.health))
            && self.site.as_ref().is_none_or(|site| *site == instance.site)
            && (!self.valid || instance.is_valid())
    }
}
