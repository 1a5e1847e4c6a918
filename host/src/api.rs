//! What users ask of a host over NATS, and what it answers.
//!
//! Operations are requests to `PREFIX.v1.api.USER.OPERATION` with a JSON body. The user is part of the subject, so that the permissions of
//! the NATS server decide who may speak for whom. Answers are JSON; an error carries the service headers of the NATS micro protocol, and
//! beside them the [`ApiError`] as JSON in [`ERROR_HEADER`].

mod client;

use pilothouse_core::command::ApiError;
use pilothouse_core::cycle::Status;
use pilothouse_core::id::{InstanceId, LaunchId};
use pilothouse_core::instance::{Health, State};
use pilothouse_core::name::Name;
use pilothouse_core::problem::Problem;
use pilothouse_core::record::EngineInForce;
use pilothouse_core::state::{Counts, Life, OpenFault};
use pilothouse_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use client::{ApiClient, CallError};
pub(crate) use client::{ask, identify};

/// The header that carries an error as JSON: the micro protocol has only a code and a text.
pub const ERROR_HEADER: &str = "Pilothouse-Error";

/// An operation: the last tokens of its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Adds a domain: [`AddDomain`] → [`Done`].
    DomainAdd,
    /// Lists the caller's domains: [`ListDomains`] → [`DomainList`].
    DomainList,
    /// Tells all about one: [`OnDomain`] → [`DomainDescription`].
    DomainDescribe,
    /// Changes its configuration: [`ReconfigureDomain`] → [`Done`].
    DomainReconfigure,
    /// Ends it: [`OnDomain`] → [`Done`].
    DomainRemove,
    /// Its engine may ask for nothing: [`OnDomain`] → [`Done`].
    DomainPause,
    /// Its engine may ask again: [`OnDomain`] → [`Done`].
    DomainResume,
    /// Its engine's requests are only recorded, or carried out again: [`DryRun`] → [`Done`].
    DomainDryRun,
    /// What turned unhealthy so far is believed: [`OnDomain`] → [`Done`].
    DomainReleaseBrake,
    /// Why it did what it did: [`pilothouse_core::explain::Ask`] → an explanation ([`pilothouse_core::explain`]).
    Why,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 10] = [
        Self::DomainAdd,
        Self::DomainList,
        Self::DomainDescribe,
        Self::DomainReconfigure,
        Self::DomainRemove,
        Self::DomainPause,
        Self::DomainResume,
        Self::DomainDryRun,
        Self::DomainReleaseBrake,
        Self::Why,
    ];

    /// Whether it changes something, so that its request carries an id.
    pub const fn changes(self) -> bool {
        !matches!(self, Self::DomainList | Self::DomainDescribe | Self::Why)
    }

    /// Its name: the last tokens of its subject.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DomainAdd => "domain.add",
            Self::DomainList => "domain.list",
            Self::DomainDescribe => "domain.describe",
            Self::DomainReconfigure => "domain.reconfigure",
            Self::DomainRemove => "domain.remove",
            Self::DomainPause => "domain.pause",
            Self::DomainResume => "domain.resume",
            Self::DomainDryRun => "domain.dry-run",
            Self::DomainReleaseBrake => "domain.release-brake",
            Self::Why => "why",
        }
    }
}

/// Adds a domain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddDomain {
    /// Its name.
    pub domain: String,
    /// Its configuration: the sections `general`, `health` and `engine_conf`.
    #[serde(default)]
    pub config: Value,
    /// Tells a repetition of this request from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Changes a domain's configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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

/// Names a domain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnDomain {
    /// Which.
    pub domain: String,
    /// Tells a repetition of this request from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Switches the dry run of a domain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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

/// Lists the caller's domains.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListDomains {}

/// The answer to a command: what now holds. It says at least which domain.
pub type Done = Value;

/// The caller's domains.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DomainList {
    /// In the order of their names.
    pub domains: Vec<DomainSummary>,
    /// Those that did not say how they are.
    #[serde(default)]
    pub unanswered: Vec<Name>,
}

/// A line about a domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
}

/// All about a domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DomainDescription {
    /// The line about it.
    #[serde(flatten)]
    pub summary: DomainSummary,
    /// Whose it is.
    pub owner: Name,
    /// Its configuration, whole.
    pub config: Value,
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
    /// Where readings of the domain as a whole are published.
    pub sensor_subject: String,
    /// How many instances are not told of, because there are too many; the gone ones are left out first.
    #[serde(default)]
    pub instances_left_out: usize,
    /// Its instances, oldest launch first; the gone ones too, until their records go.
    pub instances: Vec<InstanceDescription>,
}

/// All about an instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceDescription {
    /// Its id.
    pub instance_id: InstanceId,
    /// The how-manieth of its domain.
    pub ordinal: u64,
    /// The launch it belongs to.
    pub launch_id: LaunchId,
    /// How far it has come.
    pub state: State,
    /// When it reached that.
    pub state_time: Timestamp,
    /// What the monitor thinks of it.
    pub health: Health,
    /// What was started.
    pub deployable_type: String,
    /// Where.
    pub site: String,
    /// How large.
    pub allocation: String,
    /// What its provisioner told of it.
    pub attributes: std::collections::BTreeMap<String, String>,
    /// What went wrong on it, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Problem>,
    /// Why it ended, or is about to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<String>,
}

/// The code of an error in the service headers: that of HTTP which people know.
pub const fn error_code(error: &ApiError) -> usize {
    match error {
        ApiError::NotFound { .. } => 404,
        ApiError::Conflict { .. } => 409,
        ApiError::Invalid { .. } => 422,
        ApiError::NotPermitted { .. } => 403,
        ApiError::Unavailable { .. } => 503,
    }
}
