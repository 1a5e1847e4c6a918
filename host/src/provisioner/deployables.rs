//! What can be started here: deployable types and their commands.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pilothouse_core::message::{Provision, ToStart};
use pilothouse_core::name::Name;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::agent::{Command, Spec, SpecError};

/// Before the name of a variable of a launch, in the environment of the workers.
const VAR_PREFIX: &str = "PILOTHOUSE_VAR_";

/// The variable of a launch that says how often its agents publish heartbeats.
const HEARTBEAT_VAR: &str = "heartbeat_seconds";

/// The deployable types of a site, as its operator wrote them down:
///
/// ```toml
/// [deployable.worker]
/// commands = [{ name = "main", argv = ["sleep", "1000000"] }]
/// ```
///
/// In arguments `{node_id}` and `{ordinal}` stand for those of the instance; other braces are left as they are.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deployables {
    /// What can be started, by name.
    #[serde(default)]
    deployable: BTreeMap<Name, Deployable>,
}

/// One deployable type.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Deployable {
    /// What its agent runs.
    commands: Vec<Command>,
    /// Seconds between two heartbeats of its agent, unless the variable `heartbeat_seconds` of a launch says otherwise; 5 when neither does.
    #[serde(default)]
    heartbeat_seconds: Option<f64>,
}

/// The deployable types can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeployablesError {
    #[error("reading the deployable types in {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the deployable types in {path}")]
    Shape { path: PathBuf, source: toml::de::Error },
    #[error("deployable type {name} in {path}")]
    Value { name: Name, path: PathBuf, source: SpecError },
}

impl Deployables {
    /// Reads and judges the whole file, before anything is started from it.
    pub(super) fn read(path: &Path) -> Result<Self, DeployablesError> {
        let text = std::fs::read_to_string(path).map_err(|source| DeployablesError::Read { path: path.to_owned(), source })?;
        let all: Self = toml::from_str(&text).map_err(|source| DeployablesError::Shape { path: path.to_owned(), source })?;
        for (name, deployable) in &all.deployable {
            deployable.check().map_err(|source| DeployablesError::Value { name: name.clone(), path: path.to_owned(), source })?;
        }
        Ok(all)
    }

    /// What the agent of an instance is told; or why there can be none, in words for the host.
    pub(super) fn spec(&self, request: &Provision, instance: &ToStart, grace_seconds: f64) -> Result<Spec, String> {
        let wanted = &request.deployable_type;
        let deployable = self.deployable.iter().find_map(|(name, deployable)| (name.as_str() == wanted).then_some(deployable));
        let Some(deployable) = deployable else {
            let known: Vec<_> = self.deployable.keys().map(Name::as_str).collect();
            return Err(format!("deployable type {wanted:?} is not known here; known: {}", known.join(", ")));
        };
        let heartbeat_seconds = match request.vars.get(HEARTBEAT_VAR) {
            // What it holds is not told: it may have been a secret.
            Some(text) => text.parse().map_err(|_| format!("variable {HEARTBEAT_VAR} is no number"))?,
            None => deployable.heartbeat(),
        };
        let vars = || request.vars.iter().map(|(name, value)| (variable(name), value.clone()));
        let filled =
            |word: &String| word.replace("{node_id}", instance.node_id.as_str()).replace("{ordinal}", &instance.ordinal.to_string());
        let commands = deployable.commands.iter().map(|command| Command {
            name: command.name.clone(),
            argv: command.argv.iter().map(filled).collect(),
            env: vars().chain(command.env.clone()).collect(),
        });
        let spec = Spec {
            node_id: instance.node_id.clone(),
            heartbeat_subject: instance.heartbeat_subject.clone(),
            sensor_subject: instance.sensor_subject.clone(),
            probe_subject: instance.probe_subject.clone(),
            heartbeat_seconds,
            grace_seconds,
            commands: commands.collect(),
        };
        spec.check().map_err(|error| error.to_string())?;
        Ok(spec)
    }
}

impl Deployable {
    fn heartbeat(&self) -> f64 {
        self.heartbeat_seconds.unwrap_or(Spec::DEFAULT_HEARTBEAT_SECONDS)
    }

    fn check(&self) -> Result<(), SpecError> {
        Spec::check_heartbeat(self.heartbeat())?;
        Spec::check_commands(&self.commands)
    }
}

/// The environment variable for a variable of a launch: what a shell could not name becomes `_`.
fn variable(name: &str) -> String {
    let name = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    VAR_PREFIX.chars().chain(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provisioner::record::tests::NOW;

    fn read(toml: &str) -> Result<Deployables, DeployablesError> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), toml).expect("written");
        Deployables::read(file.path())
    }

    fn spec(deployable_type: &str, vars: &[(&str, &str)]) -> Result<Spec, String> {
        let all = read(
            "[deployable.worker]\nheartbeat_seconds = 2\n[[deployable.worker.commands]]\nname = 'main'\n\
             argv = ['serve', '--id={node_id}', '{ordinal}', '{\"a\": {}}']\nenv = { A = '1' }",
        )
        .expect("usable");
        let instance = ToStart {
            node_id: "i1".parse().expect("an id"),
            ordinal: 4,
            sequence: 1,
            state_subject: "s".into(),
            heartbeat_subject: "h".into(),
            sensor_subject: "r".into(),
            probe_subject: "p".into(),
            credentials: None,
        };
        let request = Provision {
            domain: crate::provisioner::record::tests::record(
                pilothouse_core::instance::State::Running,
                crate::provisioner::rules::Promise { epoch: 1, sequence: 1, not_after: NOW },
            )
            .domain,
            launch_id: "l1".parse().expect("an id"),
            deployable_type: deployable_type.into(),
            site: "local".into(),
            allocation: "small".into(),
            vars: vars.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            extra_vars: Default::default(),
            epoch: 1,
            not_after: NOW,
            instances: vec![],
        };
        all.spec(&request, &instance, 1.0)
    }

    #[test]
    fn arguments_are_filled_in_and_variables_become_environment() {
        let spec = spec("worker", &[("log-level", "debug")]).expect("usable");
        assert_eq!(spec.commands[0].argv, ["serve", "--id=i1", "4", "{\"a\": {}}"]);
        assert_eq!(
            spec.commands[0].env.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(),
            ["A=1", "PILOTHOUSE_VAR_log_level=debug"]
        );
        assert_eq!(spec.heartbeat_seconds, 2.0);
    }

    #[test]
    fn the_launch_may_say_how_often_there_are_heartbeats() {
        assert_eq!(spec("worker", &[("heartbeat_seconds", "0.5")]).expect("usable").heartbeat_seconds, 0.5);
        for bad in ["often", "-1", "NaN", "1e99"] {
            assert!(spec("worker", &[("heartbeat_seconds", bad)]).expect_err("no interval").contains("heartbeat_seconds"), "{bad}");
        }
    }

    #[test]
    fn what_can_not_be_started_is_said_in_words() {
        assert_eq!(spec("wroker", &[]).expect_err("unknown"), "deployable type \"wroker\" is not known here; known: worker");
        assert!(spec("worker", &[("a", "\0")]).expect_err("not usable").contains("zero byte"));
    }

    #[test]
    fn a_file_that_is_wrong_anywhere_is_refused_and_the_key_named() {
        let error = |toml: &str| {
            let error = read(toml).expect_err("not usable");
            format!("{error}: {}", std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default())
        };
        for (toml, part) in [
            ("[deployable.worker]\ncomands = []", "comands"),
            ("[deployable.worker]\ncommands = []", "worker"),
            ("[deployable.worker]\ncommands = [{ name = 'main', argv = [] }]", "commands[0].argv"),
            ("[deployable.worker]\ncommands = [{ name = 'main', argv = ['a'] }]\nheartbeat_seconds = 0", "heartbeat_seconds"),
            ("[deployable.'a.b']\ncommands = [{ name = 'main', argv = ['a'] }]", "not a name"),
            ("[deployables]", "deployables"),
        ] {
            let error = error(toml);
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    }
}
