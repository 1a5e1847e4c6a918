//! Requests to provisioners and what they answer at once. What becomes of an instance they tell later, in state reports.
//!
//! Every request carries the epoch of the host that sends it, for each instance the journal sequence that promised it, and a moment after
//! which it must not be carried out any more. A provisioner remembers the highest epoch for each instance, and the highest sequence of that
//! epoch, and refuses what is older; carrying out the same request twice is harmless. A higher epoch starts a count of its own.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Malformed, StateReport, read};
use crate::id::{InstanceId, LaunchId};
use crate::instance::State;
use crate::name::DomainKey;
use crate::time::Timestamp;

/// The largest request or answer, in bytes: below the 1 MiB that a NATS server takes by default.
const MAX_BYTES: usize = 900 * 1024;

/// Start these instances.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provision {
    /// Whose.
    pub domain: DomainKey,
    /// The launch they belong to.
    pub launch_id: LaunchId,
    /// What to start.
    pub deployable_type: String,
    /// Where.
    pub site: String,
    /// How large.
    pub allocation: String,
    /// The domain's variables and over them those of the launch.
    pub vars: BTreeMap<String, String>,
    /// Those of the launch alone, as its engine wrote them: kept by the provisioner, and told when it is asked what it runs. A reference to
    /// a secret is still that reference here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_vars: BTreeMap<String, String>,
    /// Grows whenever a host takes the domain.
    pub epoch: u64,
    /// Don't begin after this moment, in milliseconds since the Unix epoch.
    pub not_after: Timestamp,
    /// Which, at most 100 a request.
    pub instances: Vec<ToStart>,
}

/// What was secret in the variables is plain in a request that travels, so their values are not shown.
impl fmt::Debug for Provision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, launch_id, deployable_type, site, allocation, vars, extra_vars, epoch, not_after, instances } = self;
        f.debug_struct("Provision")
            .field("domain", domain)
            .field("launch_id", launch_id)
            .field("deployable_type", deployable_type)
            .field("site", site)
            .field("allocation", allocation)
            .field("vars", &vars.keys())
            .field("extra_vars", &extra_vars.keys())
            .field("epoch", epoch)
            .field("not_after", not_after)
            .field("instances", instances)
            .finish()
    }
}

/// The text of a credentials file. It can be sent and written, but is never shown: not in logs, not in messages of failed tests.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Credentials(String);

impl Credentials {
    /// Takes a text that was just made.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for whoever proves with it who they are.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// One instance to start, and the subjects it speaks on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToStart {
    /// Its id.
    pub node_id: InstanceId,
    /// The how-manieth of its domain; for names that people read.
    pub ordinal: u64,
    /// The journal sequence that promised it.
    pub sequence: u64,
    /// Where its provisioner reports its state.
    pub state_subject: String,
    /// Where its agent publishes heartbeats.
    pub heartbeat_subject: String,
    /// Where its agent publishes readings.
    pub sensor_subject: String,
    /// Where its agent listens for the question how it is.
    pub probe_subject: String,
    /// What its agent proves with who it is, as the text of a credentials file; nothing on a server that asks for none. Made anew for every
    /// request, and never written into the journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

/// Stop these instances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Terminate {
    /// Whose.
    pub domain: DomainKey,
    /// Grows whenever a host takes the domain.
    pub epoch: u64,
    /// Don't begin after this moment, in milliseconds since the Unix epoch.
    pub not_after: Timestamp,
    /// Which, at most 100 a request.
    pub instances: Vec<ToStop>,
}

/// One instance to stop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToStop {
    /// Its id.
    pub node_id: InstanceId,
    /// The journal sequence that promised its end.
    pub sequence: u64,
    /// Where its provisioner reports its state, also when it never saw the instance.
    pub state_subject: String,
}

/// Tell the state of these instances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dump {
    /// Whose.
    pub domain: DomainKey,
    /// Grows whenever a host takes the domain.
    pub epoch: u64,
    /// Which, at most 100 a request.
    pub instances: Vec<ToDump>,
}

/// One instance to tell of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToDump {
    /// Its id.
    pub node_id: InstanceId,
    /// Where its provisioner reports its state.
    pub state_subject: String,
}

/// The answer to a dump. The states themselves are published on each instance's state subject before it is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DumpAnswer {
    /// Instances whose state was published.
    pub known: Vec<InstanceId>,
    /// Instances that the provisioner has never seen, or has forgotten because they are gone for long.
    pub unknown: Vec<InstanceId>,
}

/// Tell what you run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// Only those whose id comes after this one: where the answer before ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<InstanceId>,
}

/// What a provisioner runs: everything that is not gone, in the order of ids.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InventoryAnswer {
    /// At most [`Known::MAX_LISTED`].
    pub instances: Vec<Known>,
    /// There are more: ask again, after the last of these.
    pub more: bool,
}

/// An instance as its provisioner knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Known {
    /// Its id.
    pub node_id: InstanceId,
    /// The domain that it was started for.
    pub domain: DomainKey,
    /// The launch it belongs to.
    pub launch_id: LaunchId,
    /// What was started.
    pub deployable_type: String,
    /// How large.
    pub allocation: String,
    /// The variables of its launch alone, as the request said them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_vars: BTreeMap<String, String>,
    /// How far it has come.
    pub state: State,
    /// The epoch of the newest request that it heard of the instance.
    pub epoch: u64,
    /// The sequence of that request.
    pub sequence: u64,
}

impl Known {
    /// How many instances one answer tells of.
    pub const MAX_LISTED: usize = 500;
}

/// The answer to a request to provision or terminate: what was taken, not what became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Taken, also when it was taken before.
    pub accepted: Vec<InstanceId>,
    /// Not taken.
    #[serde(default)]
    pub refused: Vec<Refused>,
}

/// One instance of a request that was not taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// Its id.
    pub node_id: InstanceId,
    /// `stale_epoch`, `stale_sequence`, `too_late`, `terminated`, `invalid`, or `unavailable`: not now, ask again.
    pub kind: String,
    /// In words.
    pub reason: String,
}

impl Provision {
    /// The most instances one request names.
    pub const MAX_INSTANCES: usize = 100;
}

macro_rules! json {
    ($($type:ty),*) => {$(
        impl $type {
            /// Reads the message.
            ///
            /// # Errors
            /// When it is too large, no JSON, lacks a field or has an unknown one, or has ids or names that are none.
            pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
                read(payload, MAX_BYTES)
            }

            /// Writes the message.
            pub fn to_json(&self) -> Vec<u8> {
                serde_json::to_vec(self).expect("requests have only string keys")
            }
        }
    )*};
}
json!(Provision, Terminate, Dump, DumpAnswer, Receipt, Inventory, InventoryAnswer);

/// A report that says of an instance it never saw, or no longer knows, that it is gone.
impl StateReport {
    /// What a provisioner reports when it is asked to stop an instance that it does not know.
    pub fn never_seen() -> Self {
        Self { reason: Some("unknown to its provisioner".to_owned()), ..Self::new(State::Terminated) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_payload_panics(payload in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = Provision::parse(&payload);
            let _ = Terminate::parse(&payload);
            let _ = Dump::parse(&payload);
            let _ = DumpAnswer::parse(&payload);
            let _ = Receipt::parse(&payload);
            let _ = Inventory::parse(&payload);
            let _ = InventoryAnswer::parse(&payload);
        }
    }

    #[test]
    fn what_is_secret_in_a_request_is_sent_and_not_shown() {
        let json = br#"{"domain":{"owner":"ann","name":"web"},"launch_id":"l1","deployable_type":"worker","site":"local","allocation":"",
            "vars":{"TOKEN":"hunter2"},"epoch":1,"not_after":1,"instances":[{"node_id":"i1","ordinal":1,"sequence":1,"state_subject":"s",
            "heartbeat_subject":"h","sensor_subject":"r","probe_subject":"p","credentials":"seed-of-i1"}]}"#;
        let request = Provision::parse(json).expect("a request");
        let shown = format!("{request:?}");
        assert!(shown.contains("TOKEN") && !shown.contains("hunter2") && !shown.contains("seed-of-i1"), "{shown}");
        let sent = String::from_utf8(request.to_json()).expect("text");
        assert!(sent.contains("hunter2") && sent.contains("seed-of-i1"), "{sent}");
    }

    #[test]
    fn an_unknown_field_is_named() {
        let error = Receipt::parse(br#"{"accepted":[],"colour":1}"#).expect_err("malformed");
        assert!(error.reason.contains("colour"), "{error}");
    }
}
