//! Domains.

use std::collections::BTreeMap;

use pilothouse_core::config::ConfigProblem;
use pilothouse_core::cycle::Status;
use pilothouse_core::domain::Happening;
use pilothouse_core::engine::Rejected;
use pilothouse_core::explain::{HeldTold, ShadowTold};
use pilothouse_core::name::Name;
use pilothouse_core::record::{EngineInForce, Subscriber};
use pilothouse_core::schedule::{KeyChange, Switch, Window};
use pilothouse_core::state::{Counts, Life, OpenFault};
use pilothouse_core::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{InstanceDescription, PullDescription, SensorData};

/// Adds a domain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddDomain {
    /// Its name.
    pub domain: String,
    /// The definition that it is made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// Its configuration: the sections `general`, `health`, `engine_conf` and `sensors`, key by key over those of the definition, and `schedule`,
    /// which is replaced whole.
    #[serde(default)]
    pub config: Value,
    /// Whom to tell of its instances from the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriber_name: Option<String>,
    /// What of theirs is called then; goes with `subscriber_name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriber_op: Option<String>,
    /// Tells a repetition of this request from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Changes a domain's configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReconfigureDomain {
    /// Which.
    pub domain: String,
    /// What changes: keys are folded in one by one within each section.
    pub config: Value,
    /// Tells a repetition of this request from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Asks what a change of the configuration would change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiffDomain {
    /// Which.
    pub domain: String,
    /// What would change: keys are folded in one by one within each section.
    pub config: Value,
}

/// What a change of the configuration would change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DomainDiff {
    /// The domain.
    pub domain: Name,
    /// The revision that it was compared with.
    pub config_revision: u64,
    /// Every value that would be another one, by its key; nothing when nothing would change.
    pub changes: Vec<ConfigChange>,
    /// The engine in force.
    pub engine: EngineInForce,
    /// The engine from then on, if it would be another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_engine: Option<EngineInForce>,
    /// What is wrong with the result: with any of these the change is refused.
    pub problems: Vec<ConfigProblem>,
}

/// One value that would change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigChange {
    /// JSON pointer to it.
    pub at: String,
    /// What it is; nothing when it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// What it would be; nothing when it would go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

/// Asks what the schedule of a domain says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AskSchedule {
    /// Of which domain.
    pub domain: String,
    /// How many of the changes that are coming are told, at most 100; 5 unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
}

/// What the schedule of a domain says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DomainSchedule {
    /// The domain.
    pub domain: Name,
    /// When this was so.
    pub at: Timestamp,
    /// The windows, in order: of those that overlap the later one wins.
    pub windows: Vec<Window>,
    /// The names of those that are on.
    pub on: Vec<Name>,
    /// The engine's section of the configuration as it is in effect.
    pub engine_conf: Map<String, Value>,
    /// What is otherwise in it than without any window.
    pub changes: Vec<KeyChange>,
    /// The next changes that are coming, the first one first.
    pub next: Vec<Switch>,
}

/// Ends a domain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveDomain {
    /// Which.
    pub domain: String,
    /// Don't wait for the end of its instances: for when their provisioner is gone for good.
    #[serde(default)]
    pub abandon: bool,
    /// Tells a repetition of this request from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Has somebody told of a domain's instances.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscribeDomain {
    /// Which domain.
    pub domain: String,
    /// Who: the last token but one of the subject.
    pub subscriber_name: String,
    /// What of theirs is called: the last token of the subject.
    pub subscriber_op: String,
    /// Tells a repetition of this request from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Has somebody told no more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnsubscribeDomain {
    /// Which domain.
    pub domain: String,
    /// Who.
    pub subscriber_name: String,
    /// Only this of their operations; all of them when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriber_op: Option<String>,
    /// Tells a repetition of this request from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Asks what happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryOf {
    /// In which domain.
    pub domain: String,
    /// Only to this instance: its id or its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// From this moment on, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Up to this moment, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The newest so many, at most 1000; 100 unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// What happened, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct History {
    /// The domain.
    pub domain: Name,
    /// What happened.
    pub happenings: Vec<Happening>,
    /// There is more before the first of them within the time that was asked for, as far as the journal goes back.
    pub more: bool,
}

/// Names a domain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnDomain {
    /// Which.
    pub domain: String,
    /// Tells a repetition of this request from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Switches the dry run of a domain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DryRun {
    /// Which.
    pub domain: String,
    /// On or off.
    pub on: bool,
    /// Tells a repetition of this request from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Has another engine run beside that of a domain, or none any more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShadowDomain {
    /// Which domain.
    pub domain: String,
    /// Which engine: `NAME`, `NAME@VERSION`, or a digest. Without one nothing runs beside any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// It comes into force when it has wanted the same for so many seconds, at least 1. Without this it never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promote_after: Option<f64>,
    /// Tells a repetition of this request from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Lists the caller's domains.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListDomains {}

/// The caller's domains.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DomainList {
    /// In the order of their names.
    pub domains: Vec<DomainSummary>,
    /// Those that did not say how they are.
    #[serde(default)]
    pub unanswered: Vec<Name>,
    /// How many are not told of, because there are too many for one answer.
    #[serde(default)]
    pub left_out: usize,
}

/// A line about a domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DomainSummary {
    /// Its name.
    pub name: Name,
    /// Where it is in its life.
    pub life: Life,
    /// The engine in force.
    pub engine: EngineInForce,
    /// What the engine says of it.
    pub status: Status,
    /// In the engine's words.
    pub reason: String,
    /// Its engine may ask for nothing.
    pub paused: bool,
    /// Its engine's requests are only recorded.
    pub dry_run: bool,
    /// How many instances there are of each kind.
    pub counts: Counts,
    /// What keeps the engine from deciding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<OpenFault>,
    /// Its engine is not asked any more, until somebody changes something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldTold>,
    /// The version that it went back from and would have otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<Rejected>,
}

/// How often the engine of a domain was asked since its host took the domain, and how late. Not on record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Asked {
    /// Calls that came back with a decision, those that are not worth a record included.
    pub decisions: u64,
    /// Calls that failed.
    pub faults: u64,
    /// Units of fuel that the newest call used up.
    pub fuel_last: u64,
    /// Milliseconds between the moment at which the newest call was due and that at which it began.
    pub lateness_last_ms: u64,
    /// The most milliseconds that any of these calls began late.
    pub lateness_worst_ms: u64,
}

/// All about a domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DomainDescription {
    /// The line about it.
    #[serde(flatten)]
    pub summary: DomainSummary,
    /// Whose it is.
    pub owner: Name,
    /// Its configuration, whole.
    pub config: Value,
    /// The windows of its schedule that are on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Name>,
    /// Grows with every change of the configuration.
    pub config_revision: u64,
    /// The host that looks after it.
    pub host: Name,
    /// How often it was taken.
    pub epoch: u64,
    /// Since when its host can't see, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blind: Option<(Timestamp, String)>,
    /// The brake that is on, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brake: Option<String>,
    /// Whether its host's engines are asked at all.
    pub deciding: bool,
    /// How often its engine was asked.
    #[serde(default)]
    pub asked: Asked,
    /// The version before that worked: what faults lead back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_before: Option<EngineInForce>,
    /// Versions that it went back from, oldest first. They are not taken up again by themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Rejected>,
    /// What runs beside its engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowTold>,
    /// Where what concerns it is published.
    pub subjects: DomainSubjects,
    /// Who is told of its instances.
    pub subscribers: Vec<Subscriber>,
    /// Readings of the domain as a whole, by the name of the series.
    pub sensor_data: BTreeMap<String, SensorData>,
    /// What is pulled from Prometheus and how that goes, by the name of the series.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pulled: BTreeMap<String, PullDescription>,
    /// How many series, of the domain and of its instances, are not told of, because there are too many.
    #[serde(default)]
    pub series_left_out: usize,
    /// How many instances are not told of, because there are too many; the gone ones are left out first.
    #[serde(default)]
    pub instances_left_out: usize,
    /// Its instances, oldest launch first; the gone ones too, until their records go.
    pub instances: Vec<InstanceDescription>,
}

/// Where what concerns a domain is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DomainSubjects {
    /// Readings of the domain as a whole.
    pub sensor: String,
    /// What happens in it.
    pub events: String,
}
