//! Instances that provisioners run and no domain knows, and the reverse.

use pilothouse_core::id::InstanceId;
use pilothouse_core::instance::State;
use pilothouse_core::message::Known;
use pilothouse_core::name::{DomainKey, Name};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Compares what provisioners run with what the domains know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListOrphans {
    /// Only these sites; every site that is on record in some domain when there are none. What a domain that was abandoned left at a site
    /// that no other uses is found only if that site is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<String>,
}

/// What the comparison found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Orphans {
    /// What provisioners run and no domain knows.
    pub unknown: Vec<Orphan>,
    /// What domains hold for alive and its provisioner does not run. The domain learns it with the next question for the state of
    /// everything, within five minutes.
    pub missing: Vec<Missing>,
    /// Sites that were asked. None when no site was named and no domain has one on record: then nothing was compared.
    pub sites: Vec<Name>,
    /// Sites of which no provisioner answered.
    pub unanswered: Vec<Name>,
    /// How many are not told of, because there are too many for one answer.
    #[serde(default)]
    pub left_out: usize,
}

/// An instance that a provisioner runs and no domain knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Orphan {
    /// Where.
    pub site: Name,
    /// What its provisioner tells of it.
    #[serde(flatten)]
    pub known: Known,
    /// Whether the domain that it was started for is there, in a journal that its provisioner believes, so that it can be adopted.
    pub adoptable: bool,
}

/// An instance that a domain holds for alive and its provisioner does not run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Missing {
    /// Where it should be.
    pub site: Name,
    /// The domain.
    pub domain: DomainKey,
    /// Its id.
    pub instance_id: InstanceId,
    /// The how-manieth of its domain.
    pub ordinal: u64,
    /// How far the domain thinks that it has come.
    pub state: State,
}

/// Says which orphans are meant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChooseOrphans {
    /// Only these sites.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<String>,
    /// Only these instances; all of the sites when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<InstanceId>,
    /// All of them, at every site on record. It must be said when neither sites nor instances are named.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// At most 128 bytes. Nothing is kept of it, because nothing depends on it: a repetition does what is left to do, and names what is
    /// done already as done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What became of orphans.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrphansDone {
    /// Those that were adopted, or whose provisioner took the order to end them.
    pub done: Vec<InstanceId>,
    /// Those that were not, and why.
    pub failed: Vec<NotDone>,
    /// Sites of which no provisioner answered.
    pub unanswered: Vec<Name>,
    /// How many more there are than one request acts on: ask again.
    #[serde(default)]
    pub left_out: usize,
}

/// An orphan with which nothing was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NotDone {
    /// Which.
    pub instance_id: InstanceId,
    /// Why.
    pub reason: String,
}
