//! Hosts.

use pilothouse_core::name::Name;
use pilothouse_core::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Lists the hosts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListHosts {}

/// The hosts that answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostList {
    /// In the order of their names.
    pub hosts: Vec<HostDescription>,
    /// Hosts that are disabled and did not answer: they will be disabled when they come back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disabled_and_away: Vec<Name>,
}

/// A line about a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostDescription {
    /// Its name.
    pub host: Name,
    /// Its version.
    pub version: String,
    /// Whether it looks after the domains.
    pub owner: bool,
    /// How many it looks after.
    pub domains: u64,
    /// Why its engines are not asked, if they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Disabled>,
}

/// Who disabled a host, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Disabled {
    /// Who.
    pub by: Name,
    /// When, in milliseconds since the Unix epoch.
    pub at: Timestamp,
}

/// Names a host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnHost {
    /// Which.
    pub host: String,
    /// Tells a repetition of this request from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What holds for a host now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostSwitched {
    /// Which.
    pub host: Name,
    /// Whether its engines are asked.
    pub enabled: bool,
    /// Whether the host has said that it knows. One that is away will see it when it comes back.
    #[serde(default)]
    pub noted: bool,
}
