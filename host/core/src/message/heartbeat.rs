//! Heartbeats: an agent says how its instance is.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::{MAX_DATA_BYTES, Malformed, MalformedKind, near, read, same_id};
use crate::id::InstanceId;
use crate::instance::Health;
use crate::problem::{ErrorLog, Problem};
use crate::time::Timestamp;

/// What an agent says of its instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    /// Well, or which kind of error.
    pub verdict: Verdict,
}

/// The verdict of an agent.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// All is well.
    Ok,
    /// Something is wrong: [`Health::MonitorError`] or [`Health::ProcessError`].
    Error {
        /// Which of the two.
        health: Health,
        /// What, newest first.
        problems: Vec<Problem>,
        /// When it came up, if the agent says so.
        time: Option<Timestamp>,
    },
}

/// An agent says how its instance is.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire<'m> {
    // Of most heartbeats nothing is kept, so nothing is copied.
    /// The instance that the subject speaks for.
    #[serde(borrow)]
    #[schemars(with = "InstanceId")]
    node_id: Cow<'m, str>,
    /// `OK`; `MONITOR_ERROR`, when what watches the instance finds something wrong; `PROCESS_ERROR`, when a process of it failed.
    #[serde(borrow)]
    #[schemars(extend("enum" = ["OK", "MONITOR_ERROR", "PROCESS_ERROR"]))]
    state: Cow<'m, str>,
    /// When it was sent, in seconds since the Unix epoch; at most a day away from the host's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp: Option<f64>,
    /// What is wrong, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// When that came up, in seconds since the Unix epoch; at most a day away from the host's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error_time: Option<f64>,
    /// The processes that failed, newest first. The first eight problems are kept, `error` included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failed_processes: Option<Vec<Problem>>,
}

/// What is read and written is the schema.
impl JsonSchema for Heartbeat {
    fn schema_name() -> Cow<'static, str> {
        "Heartbeat".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Wire::json_schema(generator)
    }
}

impl Heartbeat {
    /// Reads a heartbeat that came on the subject of `subject_id`.
    ///
    /// # Errors
    /// When the payload is too large, no JSON, lacks a field or has an unknown one, speaks for another instance, has a state that agents
    /// don't send, or a time far from `now`.
    pub fn parse(subject_id: &str, payload: &[u8], now: Timestamp) -> Result<Self, Malformed> {
        let wire: Wire<'_> = read(payload, MAX_DATA_BYTES)?;
        same_id(&wire.node_id, subject_id)?;
        if let Some(secs) = wire.timestamp {
            near("timestamp", secs, now)?;
        }
        let health: Health = wire.state.parse().map_err(|_| unknown_state(&wire.state))?;
        let verdict = match health {
            Health::Ok => Verdict::Ok,
            Health::MonitorError | Health::ProcessError => {
                let text = wire.error.filter(|text| !text.is_empty()).map(Problem::Text);
                let all = text.into_iter().chain(wire.failed_processes.into_iter().flatten());
                Verdict::Error {
                    health,
                    // As many as are kept, each as long as it is kept: what is recorded of one heartbeat is bounded, too.
                    problems: all.take(ErrorLog::MAX).map(Problem::bounded).collect(),
                    time: wire.error_time.map(|secs| near("error_time", secs, now)).transpose()?,
                }
            }
            _ => return Err(unknown_state(&wire.state)),
        };
        Ok(Self { verdict })
    }

    /// The message an agent publishes for the instance `node_id`.
    pub fn to_json(&self, node_id: &str, timestamp: Timestamp) -> Vec<u8> {
        let mut wire = Wire { node_id: node_id.into(), timestamp: Some(timestamp.as_secs_f64()), ..Wire::default() };
        match &self.verdict {
            Verdict::Ok => wire.state = Health::Ok.name().into(),
            Verdict::Error { health, problems, time } => {
                wire.state = health.name().into();
                wire.error_time = time.map(Timestamp::as_secs_f64);
                wire.error = problems.iter().find_map(|problem| match problem {
                    Problem::Text(text) => Some(text.clone()),
                    Problem::Process(_) => None,
                });
                let processes: Vec<_> = problems.iter().filter(|problem| matches!(problem, Problem::Process(_))).cloned().collect();
                wire.failed_processes = (!processes.is_empty()).then_some(processes);
            }
        }
        serde_json::to_vec(&wire).expect("a heartbeat has only string keys")
    }
}

fn unknown_state(word: &str) -> Malformed {
    let word: String = word.chars().take(80).collect();
    Malformed::new(MalformedKind::UnknownWord, format!("state {word:?}; a heartbeat says OK, MONITOR_ERROR or PROCESS_ERROR"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn kind(payload: &str) -> MalformedKind {
        Heartbeat::parse("n1", payload.as_bytes(), NOW).expect_err("malformed").kind
    }

    #[test]
    fn what_is_malformed_is_refused_by_kind() {
        assert_eq!(kind("{"), MalformedKind::Json);
        assert_eq!(kind(r#"{"node_id":"n1"}"#), MalformedKind::Json);
        assert_eq!(kind(r#"["n1","OK"]"#), MalformedKind::Json);
        assert_eq!(kind(r#"{"node_id":"n1","state":"OK","colour":"red"}"#), MalformedKind::Json);
        assert_eq!(kind(r#"{"node_id":"n2","state":"OK"}"#), MalformedKind::ForeignId);
        assert_eq!(kind(r#"{"node_id":"n1","state":"MISSING"}"#), MalformedKind::UnknownWord);
        assert_eq!(kind(r#"{"node_id":"n1","state":"fine"}"#), MalformedKind::UnknownWord);
        assert_eq!(kind(r#"{"node_id":"n1","state":"OK","timestamp":12}"#), MalformedKind::Time);
        assert_eq!(kind(r#"{"node_id":"n1","state":"OK","timestamp":-1}"#), MalformedKind::Time);
        assert_eq!(kind(&format!(r#"{{"node_id":"n1","state":"OK","error":"{}"}}"#, "x".repeat(MAX_DATA_BYTES))), MalformedKind::TooLarge);
    }

    #[test]
    fn an_agent_is_understood_by_the_host() {
        let heartbeat = Heartbeat {
            verdict: Verdict::Error { health: Health::MonitorError, problems: vec![Problem::Text("boom".into())], time: Some(NOW) },
        };
        assert_eq!(Heartbeat::parse("n1", &heartbeat.to_json("n1", NOW), NOW), Ok(heartbeat));
    }

    #[test]
    fn what_is_told_is_bounded_as_it_is_read() {
        let processes: Vec<_> = (0..100).map(|i| serde_json::json!({"name": format!("p{i}"), "stderr": "x".repeat(300)})).collect();
        let long = "x".repeat(20_000);
        let payload = serde_json::json!({"node_id": "n1", "state": "PROCESS_ERROR", "error": long, "failed_processes": processes});
        let heartbeat = Heartbeat::parse("n1", payload.to_string().as_bytes(), NOW).expect("well formed");
        let Verdict::Error { problems, .. } = heartbeat.verdict else { panic!("an error") };
        assert_eq!(problems.len(), ErrorLog::MAX);
        assert!(matches!(&problems[0], Problem::Text(text) if text.len() == ErrorLog::MAX_TEXT), "the longest");
        assert!(matches!(&problems[1], Problem::Process(process) if process.name == "p0"), "the newest");
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in prop::collection::vec(any::<u8>(), 0..512)) {
            let _ = Heartbeat::parse("n1", &payload, NOW);
        }

        #[test]
        fn no_json_panics(state in ".*", time in any::<f64>(), error in ".*") {
            let payload = serde_json::json!({"node_id": "n1", "state": state, "timestamp": time, "error": error, "failed_processes": [error]});
            let _ = Heartbeat::parse("n1", payload.to_string().as_bytes(), NOW);
        }
    }
}
