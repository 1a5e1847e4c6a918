//! Instances.

use std::collections::BTreeMap;

use pilothouse_core::id::{InstanceId, LaunchId};
use pilothouse_core::instance::{Health, State};
use pilothouse_core::name::Name;
use pilothouse_core::problem::Problem;
use pilothouse_core::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SensorData;

/// Lists instances.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListInstances {
    /// Those of one domain; of all the caller's domains when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

/// Instances.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceList {
    /// In the order of their domains' names, then of their launches.
    pub instances: Vec<InstanceOf>,
    /// Domains that did not say how they are.
    #[serde(default)]
    pub unanswered: Vec<Name>,
    /// How many instances are not told of, because there are too many for one answer.
    #[serde(default)]
    pub left_out: usize,
}

/// An instance, and the domain that it belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceOf {
    /// Whose it is.
    pub owner: Name,
    /// The domain.
    pub domain: Name,
    /// All about it.
    #[serde(flatten)]
    pub instance: InstanceDescription,
}

/// Names an instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnInstance {
    /// Its id, which needs no domain; or `DOMAIN/NUMBER`.
    pub instance: String,
    /// Tells a repetition of this request from another one. Of an instance that is named by its id alone: as long as there is a record of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Ends an instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KillInstance {
    /// Its id, which needs no domain; or `DOMAIN/NUMBER`.
    pub instance: String,
    /// Why: `why` tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Tells a repetition of this request from another one. Of an instance that is named by its id alone: as long as there is a record of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// All about an instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceDescription {
    /// Its id.
    pub instance_id: InstanceId,
    /// The how-manieth of its domain.
    pub ordinal: u64,
    /// The launch it belongs to.
    pub launch_id: LaunchId,
    /// How far it has come.
    pub state: State,
    /// When it reached that, in milliseconds since the Unix epoch.
    pub state_time: Timestamp,
    /// What the monitor thinks of it.
    pub health: Health,
    /// What was started.
    pub deployable_type: String,
    /// Where.
    pub site: String,
    /// How large.
    pub allocation: String,
    /// Neither its engine nor people may end it. Its host still does if its launch stalls twice.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
    /// What its provisioner told of it.
    pub attributes: BTreeMap<String, String>,
    /// What went wrong on it, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Problem>,
    /// Why it ended, or is about to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<String>,
    /// Its readings, by the name of the series.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sensor_data: BTreeMap<String, SensorData>,
}
