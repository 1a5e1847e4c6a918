//! What happened, for those who watch: people, programs, subscribers.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cycle::Status;
use crate::id::InstanceId;
use crate::instance::{Health, Instance, State};
use crate::name::{DomainKey, Name};
use crate::record::{Change, Configured, Event, Record};
use crate::state::DomainState;
use crate::time::Timestamp;

/// Something that happened in a domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Happening {
    /// Which domain.
    pub domain: DomainKey,
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// A host took the domain.
    Taken {
        /// Which.
        host: Name,
        /// The how-manieth time it was taken.
        epoch: u64,
    },
    /// Somebody changed the domain.
    Configured {
        /// Who.
        by: Name,
        /// In words.
        change: String,
    },
    /// An instance has come to another state or health.
    Instance {
        /// Its id.
        node_id: InstanceId,
        /// The how-manieth of its domain.
        ordinal: u64,
        /// Its state.
        state: State,
        /// Its health.
        health: Health,
        /// Why, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The engine decided something that is new.
    Decided {
        /// What it says of the domain.
        status: Status,
        /// In its words.
        reason: String,
        /// Instances that it launches.
        launches: usize,
        /// Instances that it terminates.
        terminations: usize,
        /// What the guards held back.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        held_back: Vec<String>,
    },
    /// An engine call failed.
    Faulted {
        /// In words.
        message: String,
        /// How many in a row.
        in_a_row: u32,
    },
    /// The domain is again what a backup says.
    Restored {
        /// Who restored it.
        by: Name,
        /// When the backup was made.
        backup_at: Timestamp,
    },
    /// The domain is gone.
    Removed,
}

/// Compares the instances that a record names before and after it is folded in.
pub(super) struct Recorder {
    before: BTreeMap<InstanceId, (State, Health)>,
}

impl Recorder {
    pub(super) fn new(state: &DomainState, record: &Record) -> Self {
        let mut before = BTreeMap::new();
        let mut note = |id: &InstanceId| {
            if let Some(instance) = state.instance(id) {
                before.insert(id.clone(), (instance.state, instance.health));
            }
        };
        for event in &record.events {
            match event {
                Event::Reported(reported) => note(&reported.id),
                Event::Judged(judged) => note(&judged.id),
                Event::Configured(Configured { change: Change::Killed { id, .. }, .. }) => note(id),
                Event::Decided(decision) => decision.terminations.iter().flat_map(|it| &it.accepted).for_each(&mut note),
                _ => {}
            }
        }
        Self { before }
    }

    pub(super) fn finish(&mut self, state: &DomainState, touched: &[u64], record: &Record) -> Vec<Happening> {
        let happened = |what| Happening { domain: state.key.clone(), at: record.at, what };
        let mut all: Vec<Happening> = record.events.iter().filter_map(|event| of_event(event, record)).map(happened).collect();
        let mut seen = std::collections::BTreeSet::new();
        for instance in touched.iter().filter(|ordinal| seen.insert(**ordinal)).filter_map(|ordinal| state.instance_at(*ordinal)) {
            if self.before.get(&instance.id) != Some(&(instance.state, instance.health)) {
                all.push(happened(of_instance(instance)));
            }
        }
        all
    }
}

fn of_instance(instance: &Arc<Instance>) -> What {
    let ends = instance.state >= State::Terminating;
    let reason = if ends { instance.end_reason.clone() } else { instance.errors.list.first().map(|problem| problem.line()) };
    What::Instance { node_id: instance.id.clone(), ordinal: instance.ordinal, state: instance.state, health: instance.health, reason }
}

fn of_event(event: &Event, record: &Record) -> Option<What> {
    Some(match event {
        Event::Took { host } => What::Taken { host: host.clone(), epoch: record.epoch },
        Event::Configured(configured) => What::Configured { by: configured.by.clone(), change: configured.change.in_words() },
        Event::Decided(decision) => What::Decided {
            status: decision.status,
            reason: decision.reason.clone(),
            launches: decision.launches.iter().map(|launch| launch.instances.len()).sum(),
            terminations: decision.terminations.iter().map(|termination| termination.accepted.len()).sum(),
            held_back: decision.held_back(),
        },
        Event::Faulted(faulted) => What::Faulted {
            message: format!("{} in {}: {}", faulted.kind.name(), faulted.call, faulted.message),
            in_a_row: faulted.in_a_row,
        },
        Event::Removed => What::Removed,
        Event::Restored(restored) => What::Restored { by: restored.by.clone(), backup_at: restored.backup_at },
        Event::Reported(_) | Event::Judged(_) | Event::Snapshot(_) => return None,
    })
}
