//! Sensor readings.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::{MAX_DATA_BYTES, Malformed, MalformedKind, near, read, same_id};
use crate::id::InstanceId;
use crate::time::Timestamp;

/// One reading of a named series.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The series.
    pub metric: String,
    /// When it was taken.
    pub time: Timestamp,
    /// Finite.
    pub value: f64,
}

/// One reading of a named series, of an instance or of a domain as a whole.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wire {
    /// The instance that the subject speaks for. Left out in a reading of a domain as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<InstanceId>")]
    node_id: Option<String>,
    /// The series.
    #[schemars(length(min = 1, max = Reading::MAX_METRIC_BYTES))]
    sensor_id: String,
    /// When it was taken, in seconds since the Unix epoch; left out, or dated ahead, it was taken now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time: Option<f64>,
    /// What was read.
    value: f64,
}

/// What is read and written is the schema.
impl JsonSchema for Reading {
    fn schema_name() -> Cow<'static, str> {
        "Reading".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Wire::json_schema(generator)
    }
}

impl Reading {
    /// The longest name of a series, in bytes.
    pub const MAX_METRIC_BYTES: usize = 128;

    /// Reads a reading; `subject_id` is the instance that the subject speaks for, if it is not the domain as a whole. A reading without
    /// a time, or one that is dated ahead, is taken now.
    ///
    /// # Errors
    /// When the payload is too large, no JSON, lacks a field or has an unknown one, speaks for another instance, has an empty or long
    /// name, or a time far from `now`.
    pub fn parse(subject_id: Option<&str>, payload: &[u8], now: Timestamp) -> Result<Self, Malformed> {
        let wire: Wire = read(payload, MAX_DATA_BYTES)?;
        match (subject_id, wire.node_id.as_deref()) {
            (Some(subject_id), Some(inside)) => same_id(inside, subject_id)?,
            (Some(_), None) => return Err(Malformed::new(MalformedKind::Json, "missing field `node_id`")),
            (None, Some(_)) => return Err(Malformed::new(MalformedKind::ForeignId, "`node_id` in a reading of a whole domain")),
            (None, None) => {}
        }
        if wire.sensor_id.is_empty() || wire.sensor_id.len() > Self::MAX_METRIC_BYTES {
            let text = format!("sensor_id has {} bytes; expected 1 to {}", wire.sensor_id.len(), Self::MAX_METRIC_BYTES);
            return Err(Malformed::new(MalformedKind::Value, text));
        }
        // One that is dated ahead would make all that follow look old.
        let time = wire.time.map_or(Ok(now), |secs| near("time", secs, now))?.min(now);
        Ok(Self { metric: wire.sensor_id, time, value: wire.value })
    }

    /// The message that is published, for an instance or (none) for a domain as a whole.
    pub fn to_json(&self, node_id: Option<&str>) -> Vec<u8> {
        let wire = Wire {
            node_id: node_id.map(str::to_owned),
            sensor_id: self.metric.clone(),
            time: Some(self.time.as_secs_f64()),
            value: self.value,
        };
        serde_json::to_vec(&wire).expect("a reading has only string keys")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    #[test]
    fn what_is_malformed_is_refused_by_kind() {
        let kind = |payload: &str| Reading::parse(Some("n1"), payload.as_bytes(), NOW).expect_err("malformed").kind;
        assert_eq!(kind(r#"{"node_id":"n1","sensor_id":"load"}"#), MalformedKind::Json);
        assert_eq!(kind(r#"{"sensor_id":"load","value":1}"#), MalformedKind::Json);
        assert_eq!(kind(r#"{"node_id":"n1","sensor_id":"load","value":"1"}"#), MalformedKind::Json);
        assert_eq!(kind(r#"{"node_id":"n1","sensor_id":"load","value":1e999}"#), MalformedKind::Json);
        assert_eq!(kind(r#"{"node_id":"n2","sensor_id":"load","value":1}"#), MalformedKind::ForeignId);
        assert_eq!(kind(r#"{"node_id":"n1","sensor_id":"","value":1}"#), MalformedKind::Value);
        assert_eq!(kind(r#"{"node_id":"n1","sensor_id":"load","value":1,"time":5}"#), MalformedKind::Time);
    }

    #[test]
    fn a_reading_that_is_dated_ahead_is_taken_now() {
        let ahead = Reading { metric: "q".into(), time: NOW + crate::time::Millis::from_secs(3600), value: 1.0 };
        assert_eq!(Reading::parse(None, &ahead.to_json(None), NOW).map(|reading| reading.time), Ok(NOW));
    }

    #[test]
    fn a_reading_survives_the_wire() {
        let reading = Reading { metric: "queue-length".into(), time: NOW, value: 3.5 };
        assert_eq!(Reading::parse(None, &reading.to_json(None), NOW), Ok(reading.clone()));
        assert_eq!(Reading::parse(Some("n1"), &reading.to_json(Some("n1")), NOW), Ok(reading));
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in prop::collection::vec(any::<u8>(), 0..512)) {
            let _ = Reading::parse(Some("n1"), &payload, NOW);
        }
    }
}
