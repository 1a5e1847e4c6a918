//! What a fake domain consists of.

use std::collections::{BTreeMap, BTreeSet};

use crate::instance::{is_starting, is_valid};
use crate::{Cause, Counts, Health, Instance, InstanceId, InstanceState, Refusal, Settings, Timestamp, Vars};

use super::readings::Readings;

/// Lines that are kept of what went wrong on an instance.
pub(super) const ERRORS: usize = 8;

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) seed: u64,
    /// How many calls were made since the seed was set: each has a random stream of its own.
    pub(super) calls: u64,
    pub(super) cause: Cause,
    pub(super) config: String,
    pub(super) revision: u64,
    pub(super) provisioner_vars: Vars,
    /// What the engine has set.
    pub(super) settings: Settings,
    pub(super) monitored: bool,
    /// By row, which is the order of launches.
    pub(super) instances: BTreeMap<u32, Instance>,
    pub(super) next_row: u32,
    /// Rows whose state or health changed since the last decision.
    pub(super) changed: BTreeSet<u32>,
    pub(super) sites: BTreeMap<String, Site>,
    pub(super) readings: Readings,
    pub(super) rules: Rules,
    /// Launches and instances that were granted so far: what the next ids are made of.
    pub(super) launches: u32,
    pub(super) minted: u32,
}

/// How launches at a site have been going.
#[derive(Debug, Clone, Default)]
pub(super) struct Site {
    pub(super) failures: u32,
    pub(super) backing_off_until: Option<Timestamp>,
}

/// What is granted.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    pub(super) refuse_launches: Option<Refusal>,
    pub(super) refuse_terminations: Option<Refusal>,
    pub(super) launches: Option<u32>,
    pub(super) terminations: Option<u32>,
    pub(super) held: BTreeSet<InstanceId>,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            now: super::BEGIN,
            seed: 0,
            calls: 0,
            cause: Cause::Pulse,
            config: String::new(),
            revision: 0,
            provisioner_vars: Vec::new(),
            settings: Settings::default(),
            monitored: true,
            instances: BTreeMap::new(),
            next_row: 0,
            changed: BTreeSet::new(),
            sites: BTreeMap::new(),
            readings: Readings::default(),
            rules: Rules::default(),
            launches: 0,
            minted: 0,
        }
    }

    pub(super) fn row_of(&self, id: &str) -> Option<u32> {
        self.instances.iter().find(|(_, instance)| instance.id == id).map(|(row, _)| *row)
    }

    pub(super) fn add(&mut self, instance: Instance) {
        self.sites.entry(instance.site.clone()).or_default();
        self.instances.insert(self.next_row, instance);
        self.next_row += 1;
    }

    pub(super) fn moved(&mut self, row: u32, state: InstanceState) {
        let Some(instance) = self.instances.get_mut(&row).filter(|instance| instance.state != state) else { return };
        let site = self.sites.entry(instance.site.clone()).or_default();
        match state {
            InstanceState::Running => *site = Site::default(),
            InstanceState::Failed | InstanceState::Rejected if is_starting(instance.state) => site.failures += 1,
            _ => {}
        }
        (instance.state, instance.state_since) = (state, self.now);
        if !is_valid(state) {
            (instance.health, instance.protected) = (Health::Unknown, false);
        }
        self.changed.insert(row);
    }

    pub(super) fn judged(&mut self, row: u32, health: Health) {
        let Some(instance) = self.instances.get_mut(&row) else { return };
        if health == Health::Ok {
            instance.errors.clear();
        }
        if instance.health != health {
            instance.health = health;
            self.changed.insert(row);
        }
    }

    /// The instances as an engine sees them, oldest launch first.
    pub(super) fn seen(&self) -> impl Iterator<Item = (u32, Instance)> {
        self.instances.iter().map(|(row, instance)| {
            let health = if self.monitored { instance.health } else { Health::Unknown };
            (*row, Instance { health, ..instance.clone() })
        })
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = super::counts();
        for (_, instance) in self.seen() {
            counts.total += 1;
            counts.valid += u32::from(instance.is_valid());
            counts.starting += u32::from(is_starting(instance.state));
            counts.running += u32::from(instance.state == InstanceState::Running);
            counts.unhealthy += u32::from(is_to_be_replaced(&instance));
            counts.launching += u32::from(instance.state == InstanceState::Requesting);
            counts.terminating += u32::from(instance.state == InstanceState::Terminating);
            let said = instance.health == Health::Ok || is_to_be_replaced(&instance);
            counts.unconfirmed += u32::from(self.monitored && instance.state == InstanceState::Running && !said);
        }
        counts
    }
}

/// Whether a host would advise to replace it: it did not become ready; or its health is bad and it is not gone; or it is a zombie.
pub(super) fn is_to_be_replaced(instance: &Instance) -> bool {
    let gone = matches!(instance.state, InstanceState::Terminated | InstanceState::Failed | InstanceState::Rejected);
    let healthy = matches!(instance.health, Health::Unknown | Health::Ok | Health::OutOfContact | Health::Other);
    instance.state == InstanceState::RunningFailed || (!healthy && (!gone || instance.health == Health::Zombie))
}
