//! State reports: a provisioner says how far an instance has come.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{MAX_DATA_BYTES, Malformed, MalformedKind, near, read, same_id};
use crate::id::InstanceId;
use crate::instance::State;
use crate::time::Timestamp;

/// What a provisioner says of an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct StateReport {
    /// How far it has come.
    pub state: State,
    /// Orders reports of equal state.
    pub update_counter: Option<u64>,
    /// Addresses, host name, zone, whatever else the provisioner tells. Only what is told is changed.
    pub attributes: BTreeMap<String, String>,
    /// Why, for people: what the site answered, how the process ended.
    pub reason: Option<String>,
}

/// A provisioner says how far an instance has come.
///
/// Every other field becomes an attribute of the instance: text, a number or a boolean, with its name no longer than 1024 bytes, and at most
/// 64 of them. `hostname`, `public_ip` and `private_ip` are what others look for.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = {"type": ["string", "number", "boolean", "null"], "maxLength": StateReport::MAX_ATTRIBUTE_BYTES}))]
struct Wire {
    /// The instance that the subject speaks for.
    #[schemars(with = "InstanceId")]
    node_id: String,
    /// How far it has come.
    #[schemars(with = "State")]
    state: String,
    /// When it was sent, in seconds since the Unix epoch; at most a day away from the host's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp: Option<f64>,
    /// Orders reports of equal state: one with a lower counter changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    update_counter: Option<u64>,
    /// Why, for people: what the site answered, how the process ended. The first thousand characters are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(flatten)]
    attributes: BTreeMap<String, Value>,
}

/// What is read and written is the schema.
impl JsonSchema for StateReport {
    fn schema_name() -> Cow<'static, str> {
        "StateReport".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Wire::json_schema(generator)
    }
}

impl StateReport {
    /// The most attributes an instance may have.
    pub const MAX_ATTRIBUTES: usize = 64;
    /// The longest value of an attribute, in bytes.
    pub const MAX_ATTRIBUTE_BYTES: usize = 1024;

    /// A report of a state and nothing more.
    pub fn new(state: State) -> Self {
        Self { state, update_counter: None, attributes: BTreeMap::new(), reason: None }
    }

    /// Reads a report that came on the subject of `subject_id`.
    ///
    /// Fields that are not known become attributes, if they are text, numbers or booleans.
    ///
    /// # Errors
    /// When the payload is too large, no JSON, lacks a field, speaks for another instance, names a state that is not known, has a time
    /// far from `now`, or an attribute that is a list or an object, or too many or too long ones.
    pub fn parse(subject_id: &str, payload: &[u8], now: Timestamp) -> Result<Self, Malformed> {
        let wire: Wire = read(payload, MAX_DATA_BYTES)?;
        same_id(&wire.node_id, subject_id)?;
        Self::from_wire(wire, now)
    }

    fn from_wire(wire: Wire, now: Timestamp) -> Result<Self, Malformed> {
        if let Some(secs) = wire.timestamp {
            near("timestamp", secs, now)?;
        }
        let state = wire.state.parse().map_err(|error| Malformed::new(MalformedKind::UnknownWord, format!("{error}")))?;
        if wire.attributes.len() > Self::MAX_ATTRIBUTES {
            let text = format!("{} attributes, at most {} are kept", wire.attributes.len(), Self::MAX_ATTRIBUTES);
            return Err(Malformed::new(MalformedKind::Value, text));
        }
        let mut attributes = BTreeMap::new();
        for (name, value) in wire.attributes {
            let text = match value {
                Value::Null => continue,
                Value::String(text) => text,
                Value::Bool(_) | Value::Number(_) => value.to_string(),
                Value::Array(_) | Value::Object(_) => {
                    return Err(Malformed::new(
                        MalformedKind::Value,
                        format!("{name:?} is a list or an object; expected text, a number or a boolean"),
                    ));
                }
            };
            if name.len() + text.len() > Self::MAX_ATTRIBUTE_BYTES {
                let name: String = name.chars().take(80).collect();
                let text = format!("{name:?} is longer than {} bytes", Self::MAX_ATTRIBUTE_BYTES);
                return Err(Malformed::new(MalformedKind::Value, text));
            }
            attributes.insert(name, text);
        }
        let reason = wire.reason.map(|text| text.chars().take(1000).collect());
        Ok(Self { state, update_counter: wire.update_counter, attributes, reason })
    }

    /// The message a provisioner publishes for the instance `node_id`.
    pub fn to_json(&self, node_id: &str, timestamp: Timestamp) -> Vec<u8> {
        serde_json::to_vec(&self.to_wire(node_id, timestamp)).expect("a report has only string keys")
    }

    fn to_wire(&self, node_id: &str, timestamp: Timestamp) -> Wire {
        Wire {
            node_id: node_id.to_owned(),
            state: self.state.name().to_owned(),
            timestamp: Some(timestamp.as_secs_f64()),
            update_counter: self.update_counter,
            reason: self.reason.clone(),
            attributes: self.attributes.iter().map(|(name, text)| (name.clone(), Value::String(text.clone()))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    #[test]
    fn unknown_fields_become_attributes_if_they_are_plain() {
        let payload =
            br#"{"node_id":"n1","state":"600-RUNNING","public_ip":"10.0.0.1","cores":4,"spot":true,"gone":null,"update_counter":3}"#;
        let report = StateReport::parse("n1", payload, NOW).expect("well formed");
        assert_eq!((report.state, report.update_counter), (State::Running, Some(3)));
        let attributes: Vec<_> = report.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(attributes, [("cores", "4"), ("public_ip", "10.0.0.1"), ("spot", "true")]);
        assert_eq!(StateReport::parse("n1", &report.to_json("n1", NOW), NOW), Ok(report));
    }

    #[test]
    fn what_is_malformed_is_refused_by_kind() {
        let kind = |payload: &str| StateReport::parse("n1", payload.as_bytes(), NOW).expect_err("malformed").kind;
        assert_eq!(kind("[]"), MalformedKind::Json);
        assert_eq!(kind(r#"{"node_id":"n1"}"#), MalformedKind::Json);
        assert_eq!(kind(r#"{"node_id":"n2","state":"RUNNING"}"#), MalformedKind::ForeignId);
        assert_eq!(kind(r#"{"node_id":"n1","state":"garbage"}"#), MalformedKind::UnknownWord);
        assert_eq!(kind(r#"{"node_id":"n1","state":"RUNNING","timestamp":99999999999}"#), MalformedKind::Time);
        assert_eq!(kind(r#"{"node_id":"n1","state":"RUNNING","addresses":["a"]}"#), MalformedKind::Value);
        assert_eq!(kind(r#"{"node_id":"n1","state":"RUNNING","update_counter":-1}"#), MalformedKind::Json);
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in prop::collection::vec(any::<u8>(), 0..512)) {
            let _ = StateReport::parse("n1", &payload, NOW);
        }

        #[test]
        fn no_json_panics(state in ".*", key in ".*", value in ".*", time in any::<f64>()) {
            let payload = serde_json::json!({"node_id": "n1", "state": state, key: value, "timestamp": time});
            let _ = StateReport::parse("n1", payload.to_string().as_bytes(), NOW);
        }
    }
}
