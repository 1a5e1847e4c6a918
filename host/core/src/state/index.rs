//! What is derived from the instances and kept beside them, so that no question costs a walk over all of them.

use std::collections::BTreeSet;

use litemap::LiteMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::by_id::ById;
use crate::id::InstanceId;
use crate::instance::{Instance, State, bytes_written};

/// How many instances there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// On record, the gone ones too.
    pub total: u32,
    /// Neither gone nor on their way out.
    pub valid: u32,
    /// Of the valid ones, those on their way to running.
    pub starting: u32,
    /// Running.
    pub running: u32,
    /// Those that the host advises to replace.
    pub unhealthy: u32,
    /// Launches that no provisioner has acknowledged.
    pub launching: u32,
    /// Terminations that no provisioner has confirmed.
    pub terminating: u32,
    /// Running and not unhealthy, and yet not said to be well. None when health is not monitored.
    #[serde(default)]
    pub unconfirmed: u32,
}

/// Instances at one site.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct AtSite {
    pub(super) total: u32,
    pub(super) valid: u32,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Index {
    ordinals: ById<u64>,
    pub(super) unhealthy: BTreeSet<u64>,
    pub(super) promised: BTreeSet<u64>,
    pub(super) gone: BTreeSet<u64>,
    pub(super) let_go: BTreeSet<u64>,
    pub(super) sites: LiteMap<String, AtSite>,
    /// Bytes of the variables that launches gave to instances.
    pub(super) vars_bytes: usize,
    by_state: [u32; State::ALL.len()],
    unconfirmed: u32,
}

impl Index {
    /// The ordinal of an id.
    pub(super) fn ordinal(&self, id: &InstanceId) -> Option<u64> {
        self.ordinals.get(id).copied()
    }

    pub(super) fn add(&mut self, instance: &Instance) {
        let ordinal = instance.ordinal;
        *self.ordinals.get_or_insert(&instance.id, || ordinal) = ordinal;
        self.by_state[instance.state as usize] += 1;
        self.unconfirmed += u32::from(instance.is_unconfirmed());
        self.vars_bytes += bytes_written(&instance.extra_vars);
        if instance.is_unhealthy() {
            self.unhealthy.insert(ordinal);
        }
        if is_promised(instance) {
            self.promised.insert(ordinal);
        }
        if instance.state.is_gone() {
            self.gone.insert(ordinal);
        }
        if instance.unhealthy_at_end.is_some() {
            self.let_go.insert(ordinal);
        }
        if self.sites.is_empty() {
            // Most domains use one site for ever.
            self.sites = LiteMap::with_capacity(1);
        }
        if !self.sites.contains_key(&instance.site) {
            self.sites.insert(instance.site.clone(), AtSite::default());
        }
        if let Some(site) = self.sites.get_mut(&instance.site) {
            site.total += 1;
            site.valid += u32::from(instance.state.is_valid());
        }
    }

    pub(super) fn remove(&mut self, instance: &Instance) {
        let ordinal = instance.ordinal;
        self.ordinals.remove(&instance.id);
        self.by_state[instance.state as usize] -= 1;
        self.unconfirmed -= u32::from(instance.is_unconfirmed());
        self.vars_bytes -= bytes_written(&instance.extra_vars);
        self.unhealthy.remove(&ordinal);
        self.promised.remove(&ordinal);
        if self.promised.is_empty() {
            // An empty tree that was once full keeps its last leaf, and most domains are owed nothing most of the time.
            self.promised = BTreeSet::new();
        }
        self.gone.remove(&ordinal);
        self.let_go.remove(&ordinal);
        if let Some(site) = self.sites.get_mut(&instance.site) {
            site.total -= 1;
            site.valid -= u32::from(instance.state.is_valid());
            // A site without any is not there, as if the index were made anew.
            if site.total == 0 {
                self.sites.remove(&instance.site);
            }
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let of = |state: State| self.by_state[state as usize];
        let sum = |fits: fn(State) -> bool| State::ALL.into_iter().filter(|state| fits(*state)).map(of).sum();
        Counts {
            total: self.by_state.iter().sum(),
            valid: sum(State::is_valid),
            starting: sum(State::is_starting),
            running: of(State::Running),
            unhealthy: self.unhealthy.len() as u32,
            launching: of(State::Requesting),
            terminating: of(State::Terminating),
            unconfirmed: self.unconfirmed,
        }
    }
}

/// Whether something is still owed to a provisioner for this instance.
fn is_promised(instance: &Instance) -> bool {
    matches!(instance.state, State::Requesting | State::Terminating)
        || instance.undead
        || (instance.stalled && instance.state.is_starting())
}
