//! Why a domain stands as it does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Explanation, begins, ordinals};
use crate::cycle::Status;
use crate::id::InstanceId;
use crate::name::{DomainKey, Name};
use crate::record::{Change, Decision, EngineInForce, Event, Record};
use crate::state::{Counts, DomainState, Life, OpenFault, SiteRecord};
use crate::time::Timestamp;

/// How many decisions are told: the newest, and what led up to it.
const DECISIONS: usize = 5;

/// How many changes by people are told.
const CHANGES: usize = 5;

/// How many ids are named in all: beyond that only the newest decision is told whole, so that the story still fits one answer.
const NAMED: usize = 2000;

/// What a domain does, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DomainStory {
    /// Which.
    pub domain: DomainKey,
    /// The journal sequence up to which this is the story.
    pub sequence: u64,
    /// Where it is in its life.
    pub life: Life,
    /// Who looks after it.
    pub host: Option<Name>,
    /// How often it was taken.
    pub epoch: u64,
    /// The engine in force.
    pub engine: EngineInForce,
    /// The configuration in force.
    pub config_revision: u64,
    /// The configuration that the engine has taken up.
    pub applied_revision: u64,
    /// Its engine may ask for nothing.
    pub paused: bool,
    /// What its engine asks for is only recorded.
    pub dry_run: bool,
    /// How many instances there are of each kind.
    pub counts: Counts,
    /// What the engine says of it.
    pub status: Status,
    /// In the engine's words.
    pub reason: String,
    /// What keeps the engine from deciding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<OpenFault>,
    /// Sites whose launches fail.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failing_sites: BTreeMap<String, SiteRecord>,
    /// The newest decisions, newest first. Decisions that changed nothing and said nothing new are not on record.
    pub decisions: Vec<DecisionTold>,
    /// The newest changes by people, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangeTold>,
    /// What people call the instances that the decisions name: the how-manieth of the domain.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ordinals: BTreeMap<InstanceId, u64>,
}

/// A decision as the journal holds it, without the engine's memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecisionTold {
    /// Its journal sequence.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// How often the domain had been taken.
    pub epoch: u64,
    /// What was decided.
    #[serde(flatten)]
    pub decision: Decision,
}

/// A change that somebody asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeTold {
    /// Its journal sequence.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// Who asked.
    pub by: Name,
    /// In words.
    pub change: String,
}

/// Tells a domain's story from the newest `records`, which come in the order of the journal.
pub fn explain_domain(state: &DomainState, records: &[(u64, Record)]) -> Explanation {
    let failing = |(_, site): &(&String, &SiteRecord)| site.failures > 0;
    let mut story = DomainStory {
        domain: state.key.clone(),
        sequence: state.sequence,
        life: state.life,
        host: state.host.clone(),
        epoch: state.epoch,
        engine: state.engine.clone(),
        config_revision: state.config_revision,
        applied_revision: state.applied_revision,
        paused: state.paused,
        dry_run: state.dry_run,
        counts: state.counts(),
        status: state.decision.status,
        reason: state.decision.reason.clone(),
        fault: state.fault.clone(),
        failing_sites: state.sites.iter().filter(failing).map(|(site, record)| (site.clone(), record.clone())).collect(),
        decisions: Vec::new(),
        changes: Vec::new(),
        ordinals: BTreeMap::new(),
    };
    let mut room = Some(NAMED);
    'records: for (sequence, record) in records.iter().rev() {
        for event in record.events.iter().rev() {
            match event {
                Event::Decided(decision) => story.add_decision(*sequence, record, decision, &mut room),
                Event::Configured(configured) if story.changes.len() < CHANGES => {
                    let change = in_words(&configured.change);
                    story.changes.push(ChangeTold { sequence: *sequence, at: record.at, by: configured.by.clone(), change });
                }
                _ => {}
            }
            if begins(event) {
                break 'records;
            }
        }
    }
    story.name_instances(state, records);
    Explanation::Domain(Box::new(story))
}

impl DomainStory {
    fn add_decision(&mut self, sequence: u64, record: &Record, decision: &Decision, room: &mut Option<usize>) {
        // Once one is left out the older ones are too: a story has no gaps.
        let Some(left) = *room else { return };
        let names = named(decision).count();
        if self.decisions.len() >= DECISIONS || (names > left && !self.decisions.is_empty()) {
            *room = None;
            return;
        }
        *room = Some(left.saturating_sub(names));
        let decision = Decision { memory: None, ..decision.clone() };
        self.decisions.push(DecisionTold { sequence, at: record.at, epoch: record.epoch, decision });
    }

    fn name_instances(&mut self, state: &DomainState, records: &[(u64, Record)]) {
        let launched = ordinals(state, records);
        let ordinal = |id: &InstanceId| state.instance(id).map(|instance| instance.ordinal).or_else(|| launched.get(id).copied());
        let ids = self.decisions.iter().flat_map(|told| named(&told.decision)).take(NAMED);
        self.ordinals = ids.filter_map(|id| Some((id.clone(), ordinal(id)?))).collect();
    }
}

/// Every instance that a decision names.
fn named(decision: &Decision) -> impl Iterator<Item = &InstanceId> {
    let launched = decision.launches.iter().flat_map(|launch| &launch.instances);
    let terminated = decision.terminations.iter().flat_map(|it| {
        let listed = it.accepted.iter().chain(&it.again).chain(&it.deferred);
        listed.chain(it.dropped.iter().map(|(id, _)| id))
    });
    launched.chain(terminated)
}

fn in_words(change: &Change) -> String {
    match change {
        Change::Added { engine, .. } => format!("added, with engine {} {}", engine.name, engine.version),
        Change::Reconfigured { engine, .. } => format!("reconfigured, with engine {} {}", engine.name, engine.version),
        Change::Paused(true) => "paused".to_owned(),
        Change::Paused(false) => "resumed".to_owned(),
        Change::DryRun(true) => "dry run switched on".to_owned(),
        Change::DryRun(false) => "dry run switched off".to_owned(),
        Change::BrakeReleased => "brake released".to_owned(),
        Change::Removing => "asked to be removed".to_owned(),
    }
}
