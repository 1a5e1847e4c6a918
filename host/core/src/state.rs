//! The state of a domain: the fold of its journal, and nothing else.
//!
//! State changes in one place only, [`DomainState::apply`]. What a host knows beside it (when it last heard of an instance, what it has
//! sent) is not here: it is gone with the process, and nothing that is promised depends on it.

mod apply;
mod index;
mod lineage;

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use litemap::LiteMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use index::Counts;
use index::Index;

use crate::config::DomainConfig;
use crate::cycle::{Status, Wake};
use crate::engine::{EngineHeld, Lineage, Shadow};
use crate::guard::RateBudget;
use crate::id::InstanceId;
use crate::instance::{Instance, Vars};
use crate::name::{DomainKey, Name, Slot};
use crate::record::{EngineInForce, Subscriber, Wish, memory_as_text};
use crate::time::{Millis, Timestamp};

/// Where a domain is in its own life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Life {
    /// Never added.
    #[default]
    Absent,
    /// Its engine is asked.
    Active,
    /// Its instances are being terminated; its engine is not asked any more.
    Removing,
    /// Gone. A new domain of the name continues the journal.
    Removed,
}

/// How launches at a site have been going.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SiteRecord {
    /// Launches that failed or were rejected since the last one that reached running.
    pub failures: u32,
    /// Launches wait until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backing_off_until: Option<Timestamp>,
}

/// What the newest committed decision left behind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LastDecision {
    /// Its journal sequence; 0 when there was none yet.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// What the engine said of the domain.
    pub status: Status,
    /// In the engine's words.
    pub reason: String,
    /// When the engine wanted to be asked next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake: Option<Wake>,
    /// What was refused or deferred, as text: a decision that says the same again is not worth a record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_back: Vec<String>,
}

/// A fault that has not been followed by a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OpenFault {
    /// In words, with its kind.
    pub message: String,
    /// How many in a row.
    pub in_a_row: u32,
    /// How many of these speak against the version in force.
    #[serde(default)]
    pub counted: u32,
    /// Since when.
    pub since: Timestamp,
}

/// The fold of a domain's journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DomainState {
    /// Whose domain, and its name.
    pub key: DomainKey,
    /// Its partition.
    pub slot: Slot,
    /// The journal sequence up to which this is the fold.
    pub sequence: u64,
    /// The sequence of the newest snapshot; 0 when there is none.
    pub snapshot: u64,
    /// Records since that snapshot.
    pub since_snapshot: u32,
    /// Earlier snapshots, a few of them, each with its moment: what is older than one of them may be purged.
    pub snapshots: Vec<(u64, Timestamp)>,
    /// The moment of the newest record.
    pub now: Timestamp,
    /// How often it was taken.
    pub epoch: u64,
    /// Who took it last.
    pub host: Option<Name>,
    /// From a restore up to the moment that a host takes the domain: who restored it, and when the backup was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<(Name, Timestamp)>,
    /// Where it is in its life.
    pub life: Life,
    /// The journal sequence at which it was added; tells domains of one name apart.
    pub incarnation: u64,
    /// Its configuration.
    pub config: DomainConfig,
    /// The windows of its schedule that are on, in the order of the schedule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Name>,
    /// Grows with every change of the configuration, and of the windows that are on.
    pub config_revision: u64,
    /// The revision that the engine has taken up.
    pub applied_revision: u64,
    /// The engine in force.
    pub engine: EngineInForce,
    /// How the domain came to it, and what runs beside. Nothing, where nothing happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<Box<Lineage>>,
    /// The engine that wrote the memory.
    pub memory_of: EngineInForce,
    /// The engine's memory; nothing before its first call.
    #[serde(with = "memory_as_text")]
    pub memory: Option<Vec<u8>>,
    /// The pace that the engine asked for, over that of the configuration.
    pub pulse: Option<Millis>,
    /// Variables that the engine asked for, over those of the configuration.
    pub provisioner_vars: Option<Vars>,
    /// Engines may ask for nothing.
    pub paused: bool,
    /// What engines ask for is only recorded.
    pub dry_run: bool,
    /// It is being removed and waits for nobody.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub abandoned: bool,
    /// Whom to tell of its instances, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscribers: Vec<Subscriber>,
    /// Whatever turned unhealthy up to then is believed.
    pub brake_released: Option<Timestamp>,
    /// When the brake last let one go.
    pub brake_dripped: Option<Timestamp>,
    /// The newest decision.
    pub decision: LastDecision,
    /// The fault that keeps the engine from deciding, if there is one.
    pub fault: Option<OpenFault>,
    /// What is left for launches and terminations.
    pub budget: RateBudget,
    /// By site, for every site at which anything on record was launched.
    pub sites: LiteMap<String, SiteRecord>,
    /// The next launch's ordinal.
    pub next_ordinal: u64,
    /// Answers to the newest requests that have an id.
    pub answers: VecDeque<(Wish, Value)>,
    #[serde(with = "instances_as_list")]
    instances: BTreeMap<u64, Arc<Instance>>,
    /// Instances whose state or health changed and which no decision has seen since, by ordinal: each with the journal sequence after
    /// which it changed.
    pub changed: BTreeMap<u64, u64>,
    #[serde(skip)]
    index: Index,
}

impl DomainState {
    /// How many answers are kept for requests that are repeated.
    pub const MAX_ANSWERS: usize = 64;

    /// A domain of which nothing is written yet.
    pub fn absent(key: DomainKey, slot: Slot) -> Self {
        Self {
            key,
            slot,
            sequence: 0,
            snapshot: 0,
            since_snapshot: 0,
            snapshots: Vec::new(),
            now: Timestamp::ZERO,
            epoch: 0,
            host: None,
            restored: None,
            life: Life::Absent,
            incarnation: 0,
            config: DomainConfig::default(),
            windows: Vec::new(),
            config_revision: 0,
            applied_revision: 0,
            engine: EngineInForce::default(),
            lineage: None,
            memory_of: EngineInForce::default(),
            memory: None,
            pulse: None,
            provisioner_vars: None,
            paused: false,
            dry_run: false,
            abandoned: false,
            subscribers: Vec::new(),
            brake_released: None,
            brake_dripped: None,
            decision: LastDecision::default(),
            fault: None,
            budget: RateBudget::default(),
            sites: LiteMap::new(),
            next_ordinal: 0,
            answers: VecDeque::new(),
            instances: BTreeMap::new(),
            changed: BTreeMap::new(),
            index: Index::default(),
        }
    }

    /// The instance of an ordinal.
    pub fn instance_at(&self, ordinal: u64) -> Option<&Arc<Instance>> {
        self.instances.get(&ordinal)
    }

    /// The instance of an id.
    pub fn instance(&self, id: &InstanceId) -> Option<&Arc<Instance>> {
        self.instances.get(&self.index.ordinal(id)?)
    }

    /// Every instance on record, oldest launch first.
    pub fn instances(&self) -> impl DoubleEndedIterator<Item = &Arc<Instance>> + Clone {
        self.instances.values()
    }

    /// Those that the host advises to replace, oldest launch first.
    pub fn unhealthy(&self) -> impl Iterator<Item = &Arc<Instance>> + Clone {
        self.index.unhealthy.iter().filter_map(|ordinal| self.instances.get(ordinal))
    }

    /// Those for which something is promised: a launch not yet acknowledged, one that stalled, a termination not yet confirmed.
    pub fn promised(&self) -> impl Iterator<Item = &Arc<Instance>> + Clone {
        self.index.promised.iter().filter_map(|ordinal| self.instances.get(ordinal))
    }

    /// Those that are gone but still on record, oldest launch first.
    pub fn gone(&self) -> impl Iterator<Item = &Arc<Instance>> + Clone {
        self.index.gone.iter().filter_map(|ordinal| self.instances.get(ordinal))
    }

    /// Those on record that were unhealthy when they went, or were told to, oldest launch first.
    pub fn let_go(&self) -> impl Iterator<Item = &Arc<Instance>> + Clone {
        self.index.let_go.iter().filter_map(|ordinal| self.instances.get(ordinal))
    }

    /// How many there are of each kind.
    pub fn counts(&self) -> Counts {
        let counts = self.index.counts();
        // Nobody says how it is where nobody listens.
        if self.config.health.monitor_health { counts } else { Counts { unconfirmed: 0, ..counts } }
    }

    /// Valid instances at a site.
    pub fn valid_at(&self, site: &str) -> u32 {
        self.index.sites.get(site).map_or(0, |here| here.valid)
    }

    /// Bytes of the variables that launches gave to the instances on record.
    pub fn vars_bytes(&self) -> usize {
        self.index.vars_bytes
    }

    /// Instances that are not gone: what counts against the quota.
    pub fn alive(&self) -> u32 {
        (self.instances.len() - self.index.gone.len()) as u32
    }

    /// The engine's section of the configuration, with that of the windows that are on over it.
    pub fn engine_conf(&self) -> Cow<'_, Map<String, Value>> {
        self.config.engine_conf_while(&self.windows)
    }

    /// What every launch is given, before its own variables.
    pub fn base_vars(&self) -> &Vars {
        self.provisioner_vars.as_ref().unwrap_or(&self.config.general.provisioner_vars)
    }

    /// The pause between two decisions.
    pub fn pace(&self) -> Millis {
        self.pulse.unwrap_or(self.config.general.decide_interval)
    }

    /// The engine that is not asked any more, since when and why, if it is so.
    pub fn held(&self) -> Option<&(Timestamp, EngineHeld)> {
        self.lineage.as_ref()?.held.as_ref()
    }

    /// What runs beside the engine in force.
    pub fn shadow(&self) -> Option<&Shadow> {
        self.lineage.as_ref()?.shadow.as_ref()
    }

    /// The answer that was given to a request, if it is one of the newest.
    pub fn answer_to(&self, request: &str) -> Option<&Value> {
        self.answered(request).map(|(_, answer)| answer)
    }

    pub(crate) fn answered(&self, request: &str) -> Option<&(Wish, Value)> {
        self.answers.iter().rev().find(|(wish, _)| wish.id == request)
    }

    /// The sequence below which nothing is needed any more, if something is: that of the newest snapshot older than `retention`.
    pub fn purgeable(&self, now: Timestamp, retention: Millis) -> Option<u64> {
        self.snapshots.iter().rev().find(|(_, at)| now.since(*at) > retention).map(|(sequence, _)| *sequence)
    }

    /// Makes the derived parts again after the state was read.
    pub fn reindexed(mut self) -> Self {
        self.index = Index::default();
        for instance in self.instances.values() {
            self.index.add(instance);
        }
        self
    }
}

/// Instances as a list in the order of their ordinals.
mod instances_as_list {
    use super::*;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(instances: &BTreeMap<u64, Arc<Instance>>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(instances.values().map(|instance| &**instance))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<u64, Arc<Instance>>, D::Error> {
        let list = Vec::<Instance>::deserialize(deserializer)?;
        Ok(list.into_iter().map(|instance| (instance.ordinal, Arc::new(instance))).collect())
    }
}
