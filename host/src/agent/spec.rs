//! What an agent is told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pilothouse_core::id::InstanceId;
use pilothouse_core::name::Name;
use pilothouse_core::subject::is_publishable;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who the agent is, where it speaks, and what it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The instance it speaks for.
    pub node_id: InstanceId,
    /// Where its heartbeats go.
    pub heartbeat_subject: String,
    /// Where its readings go.
    pub sensor_subject: String,
    /// Where it is asked how it is.
    pub probe_subject: String,
    /// Seconds between two heartbeats when nothing happens.
    #[serde(default = "default_heartbeat")]
    pub heartbeat_seconds: f64,
    /// Seconds that its workers have to stop by themselves when it is stopped.
    #[serde(default = "default_grace")]
    pub grace_seconds: f64,
    /// What it runs.
    pub commands: Vec<Command>,
}

/// One worker.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// What it is called in reports and log files.
    pub name: Name,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Added to the environment that the agent has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

/// Variables may hold secrets, so their values are not shown.
impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, argv, env } = self;
        f.debug_struct("Command").field("name", name).field("argv", argv).field("env", &env.keys()).finish()
    }
}

/// A spec can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file can't be read.
    #[error("reading the spec {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is no JSON, or has another shape.
    #[error("spec: {key}: {problem}")]
    Shape {
        /// Where in it.
        key: String,
        /// What is wrong.
        problem: serde_json::Error,
    },
    /// A value is out of its range.
    #[error("spec: {key}: {problem}")]
    Value {
        /// Where in it.
        key: String,
        /// What is wrong and what was expected.
        problem: String,
    },
}

const fn default_heartbeat() -> f64 {
    Spec::DEFAULT_HEARTBEAT_SECONDS
}

const fn default_grace() -> f64 {
    Spec::DEFAULT_GRACE_SECONDS
}

impl Spec {
    /// Often enough for a missing window of half a minute, seldom enough for a hundred thousand instances.
    pub const DEFAULT_HEARTBEAT_SECONDS: f64 = 5.0;
    /// Long enough for a server to finish its requests.
    pub const DEFAULT_GRACE_SECONDS: f64 = 5.0;
    /// The most workers of one instance: what its heartbeat can tell of if all of them fail.
    pub const MAX_COMMANDS: usize = 32;
    /// The least and the most seconds between two heartbeats.
    pub const HEARTBEAT_RANGE: (f64, f64) = (0.05, 3600.0);
    /// The least and the most seconds of grace.
    pub const GRACE_RANGE: (f64, f64) = (0.0, 3600.0);

    /// Reads and judges a spec.
    ///
    /// # Errors
    /// When the file can't be read or is no usable spec; the error names the key.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let json = std::fs::read(path).map_err(|source| SpecError::Read { path: path.to_owned(), source })?;
        Self::parse(&json)
    }

    /// Judges a spec.
    ///
    /// # Errors
    /// When it is not usable; the error names the key.
    pub fn parse(json: &[u8]) -> Result<Self, SpecError> {
        let reader = &mut serde_json::Deserializer::from_slice(json);
        let spec: Self = serde_path_to_error::deserialize(reader)
            .map_err(|error| SpecError::Shape { key: error.path().to_string(), problem: error.into_inner() })?;
        spec.check()?;
        Ok(spec)
    }

    /// Judges the values.
    ///
    /// # Errors
    /// When one is out of its range; the error names the key.
    pub fn check(&self) -> Result<(), SpecError> {
        for (key, subject) in [
            ("heartbeat_subject", &self.heartbeat_subject),
            ("sensor_subject", &self.sensor_subject),
            ("probe_subject", &self.probe_subject),
        ] {
            ensure(is_publishable(subject), key, || format!("{subject:?} is no subject that can be published on"))?;
        }
        Self::check_heartbeat(self.heartbeat_seconds)?;
        in_range("grace_seconds", self.grace_seconds, Self::GRACE_RANGE)?;
        Self::check_commands(&self.commands)
    }

    /// Judges how often there are heartbeats.
    pub(crate) fn check_heartbeat(seconds: f64) -> Result<(), SpecError> {
        in_range("heartbeat_seconds", seconds, Self::HEARTBEAT_RANGE)
    }

    /// Judges the commands.
    pub(crate) fn check_commands(commands: &[Command]) -> Result<(), SpecError> {
        let count = commands.len();
        ensure((1..=Self::MAX_COMMANDS).contains(&count), "commands", || format!("{count} of them; expected 1 to {}", Self::MAX_COMMANDS))?;
        let mut names = BTreeSet::new();
        for (index, command) in commands.iter().enumerate() {
            let key = |field: &str| format!("commands[{index}].{field}");
            ensure(names.insert(&command.name), key("name"), || format!("{} is there twice", command.name))?;
            ensure(command.argv.first().is_some_and(|program| !program.is_empty()), key("argv"), || "names no program".to_owned())?;
            ensure(command.argv.iter().all(|word| !word.contains('\0')), key("argv"), || "has a zero byte".to_owned())?;
            for (name, value) in &command.env {
                let usable = !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0');
                ensure(usable, key("env"), || format!("{name:?} is no variable: its name is empty or has `=`, or there is a zero byte"))?;
            }
        }
        Ok(())
    }

    /// Between two heartbeats when nothing happens.
    pub fn heartbeat(&self) -> Duration {
        seconds(self.heartbeat_seconds, Self::HEARTBEAT_RANGE)
    }

    /// How long workers have to stop by themselves.
    pub fn grace(&self) -> Duration {
        seconds(self.grace_seconds, Self::GRACE_RANGE)
    }
}

/// Never panics, also for a spec that was not judged.
fn seconds(value: f64, (least, most): (f64, f64)) -> Duration {
    Duration::from_secs_f64(if value.is_nan() { most } else { value.clamp(least, most) })
}

fn in_range(key: &str, value: f64, (least, most): (f64, f64)) -> Result<(), SpecError> {
    ensure((least..=most).contains(&value), key, || format!("{value} is out of range; expected {least} to {most}"))
}

fn ensure(holds: bool, key: impl Into<String>, problem: impl FnOnce() -> String) -> Result<(), SpecError> {
    if holds { Ok(()) } else { Err(SpecError::Value { key: key.into(), problem: problem() }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn good() -> Value {
        json!({
            "node_id": "n1", "heartbeat_subject": "a.b", "sensor_subject": "a.c", "probe_subject": "a.d",
            "commands": [{"name": "main", "argv": ["sleep", "1"], "env": {"A": "1"}}, {"name": "side", "argv": ["true"]}],
        })
    }

    fn error(change: impl FnOnce(&mut Value)) -> String {
        let mut spec = good();
        change(&mut spec);
        Spec::parse(spec.to_string().as_bytes()).expect_err("not usable").to_string()
    }

    #[test]
    fn a_spec_survives_its_file() {
        let spec = Spec::parse(good().to_string().as_bytes()).expect("usable");
        assert_eq!(spec.heartbeat(), Duration::from_secs(5));
        assert_eq!(Spec::parse(&serde_json::to_vec(&spec).expect("JSON")).expect("usable"), spec);
    }

    #[test]
    fn what_a_variable_holds_is_not_shown() {
        let mut spec = good();
        spec["commands"][0]["env"] = json!({"TOKEN": "hunter2"});
        let shown = format!("{:?}", Spec::parse(spec.to_string().as_bytes()).expect("usable"));
        assert!(shown.contains("TOKEN") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn an_error_names_the_key() {
        for (part, message) in [
            ("commands[1].argv", error(|spec| spec["commands"][1]["argv"] = json!("sleep"))),
            ("commands[1].argv", error(|spec| spec["commands"][1]["argv"] = json!([]))),
            ("commands[1].name", error(|spec| spec["commands"][1]["name"] = json!("main"))),
            ("commands[0].name", error(|spec| spec["commands"][0]["name"] = json!("../main"))),
            ("commands[0].env", error(|spec| spec["commands"][0]["env"] = json!({"A=B": "1"}))),
            ("commands[0].colour", error(|spec| spec["commands"][0]["colour"] = json!("red"))),
            ("commands", error(|spec| spec["commands"] = json!([]))),
            ("heartbeat_seconds", error(|spec| spec["heartbeat_seconds"] = json!(-1))),
            ("heartbeat_seconds", error(|spec| spec["heartbeat_seconds"] = json!("5"))),
            ("grace_seconds", error(|spec| spec["grace_seconds"] = json!(1e9))),
            ("probe_subject", error(|spec| spec["probe_subject"] = json!("a b"))),
            ("node_id", error(|spec| spec["node_id"] = json!("a.b"))),
            ("colour", error(|spec| spec["colour"] = json!(1))),
            ("sensor_subject", error(|spec| drop(spec.as_object_mut().expect("an object").remove("sensor_subject")))),
        ] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
    }

    proptest! {
        #[test]
        fn no_file_panics(json in prop::collection::vec(any::<u8>(), 0..256), beat in any::<f64>()) {
            let _ = Spec::parse(&json);
            let mut spec = Spec::parse(good().to_string().as_bytes()).expect("usable");
            spec.heartbeat_seconds = beat;
            let _ = (spec.check(), spec.heartbeat());
        }
    }
}
