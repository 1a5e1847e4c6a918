//! Why a domain stands as it does.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::hold::holds;
use super::list::LineKind;
use super::mention::mentions;
use super::{DecisionLine, Explanation, Hold, Mention, ShadowTold, View};
use crate::cycle::Status;
use crate::id::InstanceId;
use crate::instance::{Health, Instance, State};
use crate::name::{DomainKey, Name};
use crate::record::{Change, Decision, EngineInForce, Event, Record};
use crate::schedule::{KeyChange, Switch, key_changes};
use crate::state::{Counts, DomainState, Life, OpenFault, SiteRecord};
use crate::time::{Millis, Timestamp};

/// How many decisions are told: the newest, and what led up to it.
const DECISIONS: usize = 5;

/// How many changes by people are told.
const CHANGES: usize = 5;

/// How many versions are told that came into force by themselves.
const SWAPS: usize = 3;

/// How many unhealthy instances are told of one by one.
const UNHEALTHY: usize = 20;

/// How many ids are named in all: beyond that only the newest decision is told whole, so that the story still fits one answer.
const NAMED: usize = 2000;

/// Of how many of those it is told what came of them.
const MENTIONED: usize = 1000;

/// What a domain does, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DomainStory {
    /// Which.
    pub domain: DomainKey,
    /// The moment of which this is the story.
    pub told_at: Timestamp,
    /// That moment is past: what its host could see then is not on record.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub past: bool,
    /// What holds it back, what matters most first. Empty when nothing does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<Hold>,
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
    /// What runs beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowTold>,
    /// The configuration in force.
    pub config_revision: u64,
    /// The configuration that the engine has taken up.
    pub applied_revision: u64,
    /// What its schedule says, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleTold>,
    /// Its engine may ask for nothing.
    pub paused: bool,
    /// What its engine asks for is only recorded.
    pub dry_run: bool,
    /// How many instances there are of each kind.
    pub counts: Counts,
    /// Those that the host advises to replace, oldest launch first; the first few of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unhealthy: Vec<UnhealthyTold>,
    /// What the engine says of it.
    pub status: Status,
    /// In the engine's words.
    pub reason: String,
    /// The pause between two decisions, unless the engine asks for another.
    pub pace: Millis,
    /// When the engine was last asked, whether or not anything came of it; where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Timestamp>,
    /// What keeps the engine from deciding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<OpenFault>,
    /// Sites whose launches fail.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failing_sites: BTreeMap<String, SiteRecord>,
    /// The newest decisions, newest first. Decisions that changed nothing and said nothing new are not on record.
    pub decisions: Vec<DecisionTold>,
    /// The newest changes by people, and versions of the engine that came into force by themselves, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangeTold>,
    /// The instances that the decisions name: what people call them, and what came of them by now, also when the story is of the past.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub instances: BTreeMap<InstanceId, Mention>,
    /// For a story of the past: the decision on record that came next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<DecisionLine>,
}

/// What the schedule of a domain says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleTold {
    /// The windows that are on.
    pub on: Vec<Name>,
    /// Since when it is those, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What the engine is given otherwise for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<KeyChange>,
    /// The next change that is coming.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Switch>,
}

/// An instance that the host advises to replace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UnhealthyTold {
    /// Its id.
    pub instance_id: InstanceId,
    /// The how-manieth of its domain.
    pub ordinal: u64,
    /// How far it has come.
    pub state: State,
    /// What the monitor thinks of it.
    pub health: Health,
    /// Since when it is unhealthy.
    pub since: Timestamp,
    /// An operator protects it: it is not replaced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
}

/// A decision as the journal holds it, without the engine's memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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

/// A change that somebody asked for, or another version of the engine that came into force by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeTold {
    /// Its journal sequence.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// Who asked; nothing of a version that came into force by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Name>,
    /// In words.
    pub change: String,
}

/// Tells a domain's story.
pub fn explain_domain(view: &View<'_>) -> Explanation {
    let state = view.state;
    let failing = |(_, site): &(&String, &SiteRecord)| site.failures > 0;
    let mut story = DomainStory {
        domain: state.key.clone(),
        told_at: view.now,
        past: view.later.is_some(),
        holds: holds(view),
        sequence: state.sequence,
        life: state.life,
        host: state.host.clone(),
        epoch: state.epoch,
        engine: state.engine.clone(),
        shadow: ShadowTold::on_record(view),
        config_revision: state.config_revision,
        applied_revision: state.applied_revision,
        schedule: ScheduleTold::of(view),
        paused: state.paused,
        dry_run: state.dry_run,
        counts: state.counts(),
        unhealthy: state.unhealthy().take(UNHEALTHY).filter_map(|instance| UnhealthyTold::of(instance)).collect(),
        status: state.decision.status,
        reason: state.decision.reason.clone(),
        pace: state.pace(),
        asked: view.asked,
        fault: state.fault.clone(),
        failing_sites: state.sites.iter().filter(failing).map(|(site, record)| (site.clone(), record.clone())).collect(),
        decisions: Vec::new(),
        changes: Vec::new(),
        instances: BTreeMap::new(),
        next: next(view),
    };
    let mut room = Some(NAMED);
    for (sequence, record, event) in view.events_back() {
        match event {
            Event::Decided(decision) => story.add_decision(sequence, record, decision, &mut room),
            Event::Configured(configured) if configured.change != Change::Nothing => {
                story.add_change(sequence, record.at, Some(&configured.by), configured.change.in_words());
            }
            Event::Restored(restored) => {
                story.add_change(sequence, record.at, Some(&restored.by), "restored from a backup".to_owned());
            }
            Event::Swapped(swapped) => story.add_change(sequence, record.at, None, swapped.in_words()),
            _ => {}
        }
    }
    let ids = story.decisions.iter().flat_map(|told| named(&told.decision)).take(MENTIONED).cloned().collect::<Vec<_>>();
    story.instances = mentions(view, ids.into_iter());
    Explanation::Domain(Box::new(story))
}

/// The first decision after a moment of the past.
fn next(view: &View<'_>) -> Option<DecisionLine> {
    let since = view.records_since().iter().flat_map(|(sequence, record)| record.events.iter().map(move |event| (sequence, record, event)));
    let mut decisions = since.filter_map(|(sequence, record, event)| match event {
        Event::Decided(decision) => Some(DecisionLine { sequence: *sequence, at: record.at, what: LineKind::of(decision) }),
        _ => None,
    });
    decisions.next()
}

impl ScheduleTold {
    fn of(view: &View<'_>) -> Option<Self> {
        let DomainState { config, windows, life, .. } = view.state;
        if config.schedule.is_empty() || *life != Life::Active {
            return None;
        }
        let scheduled = |event: &Event| matches!(event, Event::Scheduled(_));
        Some(Self {
            on: windows.clone(),
            since: view.events_back().find(|(_, _, event)| scheduled(event)).map(|(_, record, _)| record.at),
            changes: key_changes(&config.engine_conf, &view.state.engine_conf()),
            next: config.coming(view.now, 1).pop(),
        })
    }
}

impl UnhealthyTold {
    fn of(instance: &Instance) -> Option<Self> {
        Some(Self {
            instance_id: instance.id.clone(),
            ordinal: instance.ordinal,
            state: instance.state,
            health: instance.health,
            since: instance.unhealthy_since()?,
            protected: instance.protected,
        })
    }
}

impl DomainStory {
    fn add_change(&mut self, sequence: u64, at: Timestamp, by: Option<&Name>, change: String) {
        // What people did must not hide how the engine came into force, nor the other way about.
        let most = if by.is_some() { CHANGES } else { SWAPS };
        if self.changes.iter().filter(|told| told.by.is_some() == by.is_some()).count() < most {
            self.changes.push(ChangeTold { sequence, at, by: by.cloned(), change });
        }
    }

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
}

/// Every instance that a decision names.
fn named(decision: &Decision) -> impl Iterator<Item = &InstanceId> {
    let launched = decision.launches.iter().flat_map(|launch| launch.instances.iter().chain(&launch.replaces));
    let terminated = decision.terminations.iter().flat_map(|it| {
        let listed = it.accepted.iter().chain(&it.again).chain(&it.deferred);
        listed.chain(it.dropped.iter().map(|(id, _)| id))
    });
    launched.chain(terminated)
}
