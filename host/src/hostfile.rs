//! The configuration file of a host, `pilothouse serve --config FILE`: who callers are that name nobody, and what is there from the beginning.
//!
//! The file itself is judged whole before the host starts: a key that nobody knows is an error, and every one is named. What its entries
//! say is judged when they are put there, like anything that a user asks for: one that is refused is reported, and the others are put
//! there all the same.

mod engine_limits;

use std::collections::BTreeMap;

use pilothouse_core::config::ConfigProblem;
use pilothouse_core::name::Name;
use pilothouse_core::pointer::{escaped, pointer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};

pub use engine_limits::EngineCeilings;

use crate::prometheus::{self, PrometheusSource};

/// Problems that are named at once.
const MAX_PROBLEMS: usize = 100;

/// The configuration file of a host, as TOML or JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostFile {
    /// The user that callers are who name none; without one they are refused. `--default-user` wins over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_user: Option<Name>,
    /// Definitions to add, by name. One that is there already stays as it is.
    #[serde(default)]
    pub initial_definitions: BTreeMap<String, Sections>,
    /// Domains to add, by name, once the definitions are there. One that is there already stays as it is; one that was removed is added
    /// again at the next start.
    #[serde(default)]
    pub initial_domains: BTreeMap<String, InitialDomain>,
    /// Prometheus servers that domains may have asked, by the names that they call them by.
    #[serde(default)]
    pub prometheus: BTreeMap<String, PrometheusSource>,
    /// What this host allows any engine, and all of them together.
    #[serde(default)]
    pub engine_limits: EngineCeilings,
}

/// The sections of a configuration, each with any of its keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sections {
    /// What the host needs to know.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub general: Map<String, Value>,
    /// How health is judged.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub health: Map<String, Value>,
    /// What the engine needs to know.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub engine_conf: Map<String, Value>,
    /// When the engine is configured otherwise: a list of windows, which is given whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedule: Vec<Value>,
    /// What the host pulls from Prometheus, by the name of the series.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub sensors: Map<String, Value>,
}

/// A domain that is there from the beginning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InitialDomain {
    /// The definition that it is made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// Its configuration, key by key over that of the definition.
    #[serde(default)]
    pub config: Sections,
    /// Whose it is; the default user's, unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Name>,
}

impl HostFile {
    /// Judges a file that was read.
    ///
    /// # Errors
    /// Everything that is wrong with it, by its key.
    pub fn judge(whole: Value) -> Result<Self, Vec<ConfigProblem>> {
        let (mut left, mut problems) = (whole, Vec::new());
        no_lists(&mut left, &mut problems);
        loop {
            // Reading ends at the first problem: what it is about is taken out, and the rest is read again.
            let error = match serde_path_to_error::deserialize::<_, Self>(&left) {
                Ok(file) => {
                    prometheus::judge(&file.prometheus, &mut problems);
                    file.engine_limits.judge(&mut problems);
                    return if problems.is_empty() { Ok(file) } else { Err(problems) };
                }
                Err(error) => error,
            };
            let taken_out = take_out(&mut left, error.path());
            problems.push(ConfigProblem::new(pointer(error.path()), error.into_inner().to_string()));
            if !taken_out || problems.len() >= MAX_PROBLEMS {
                return Err(problems);
            }
        }
    }

    /// Files that it names are seen from this folder from now on. Reads them, and returns what is wrong with them.
    pub fn find_files(&mut self, folder: &std::path::Path) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        self.prometheus.values_mut().for_each(|source| source.seen_from(folder));
        prometheus::judge_files(&self.prometheus, &mut problems);
        problems
    }
}

/// A list would be read as a table without its keys.
fn no_lists(whole: &mut Value, problems: &mut Vec<ConfigProblem>) {
    let mut table = |at: String, value: &mut Value| {
        if value.is_array() {
            problems.push(ConfigProblem::new(at, "expected a table, got a list"));
            *value = Value::Object(Map::new());
        }
    };
    table(String::new(), whole);
    if let Some(limits) = whole.get_mut("engine_limits") {
        table("/engine_limits".to_owned(), limits);
    }
    for section in ["initial_definitions", "initial_domains", "prometheus"] {
        for (name, entry) in whole.get_mut(section).and_then(Value::as_object_mut).into_iter().flatten() {
            let at = format!("/{section}/{}", escaped(name));
            table(at.clone(), entry);
            if let Some(config) = entry.get_mut("config") {
                table(format!("{at}/config"), config);
            }
        }
    }
}

/// Takes a value out of the tables that it is in. Not if it is the whole, or within a list.
fn take_out(whole: &mut Value, path: &Path) -> bool {
    let keys: Vec<&str> =
        path.iter().map_while(|segment| if let Segment::Map { key } = segment { Some(key.as_str()) } else { None }).collect();
    let Some((last, tables)) = keys.split_last() else { return false };
    let table = tables.iter().try_fold(whole, |table, key| table.get_mut(key));
    table.and_then(Value::as_object_mut).is_some_and(|table| table.remove(*last).is_some())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn judge(toml: &str) -> Result<HostFile, Vec<String>> {
        HostFile::judge(toml::from_str(toml).expect("TOML")).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn definitions_and_domains_are_taken_as_they_are_written() {
        let file = judge(
            "default_user = 'ann'
             [initial_definitions.worker.general]
             engine = 'simplest'
             [initial_definitions.worker.health]
             boot_timeout = 20
             [initial_domains.web]
             definition = 'worker'
             owner = 'bob'
             config.engine_conf.preserve_n = 3
             [initial_domains.jobs]",
        )
        .expect("good");
        assert_eq!(file.default_user.as_ref().map(Name::as_str), Some("ann"));
        assert_eq!(json!(file.initial_definitions["worker"]), json!({"general": {"engine": "simplest"}, "health": {"boot_timeout": 20}}));
        let web = &file.initial_domains["web"];
        assert_eq!((web.definition.as_deref(), web.owner.as_ref().map(Name::as_str)), (Some("worker"), Some("bob")));
        assert_eq!(json!(web.config), json!({"engine_conf": {"preserve_n": 3}}));
        assert_eq!(file.initial_domains["jobs"], InitialDomain::default());
        assert_eq!(judge(""), Ok(HostFile::default()));
    }

    #[test]
    fn every_problem_is_named_by_its_key_and_all_at_once() {
        let problems = judge(
            "default_user = 'a.b'
             colour = 'red'
             [initial_definitions.worker]
             generell = {}
             helth = {}
             health = 3
             [initial_domains.web]
             definitions = 'worker'
             config.engine_config.preserve_n = 3
             [initial_domains]
             jobs = 7
             [prometheus]
             main = { url = 'http://localhost:9090', token = 'secret' }
             other = {}",
        )
        .expect_err("wrong");
        for at in [
            "/default_user: ",
            "/colour: unknown field",
            "/initial_definitions/worker/generell: unknown field",
            "/initial_definitions/worker/helth: unknown field",
            "/initial_definitions/worker/health: invalid type",
            "/initial_domains/web/definitions: unknown field",
            "/initial_domains/web/config/engine_config: unknown field",
            "/initial_domains/jobs: invalid type",
            "/prometheus/main/token: unknown field",
            "/prometheus/other: missing field `url`",
        ] {
            assert!(problems.iter().any(|problem| problem.starts_with(at)), "{at} is not in {problems:#?}");
        }
        assert_eq!(problems.len(), 10, "{problems:#?}");
        for (list, at) in [
            (json!([]), "expected a table"),
            (json!({"initial_domains": {"web": ["worker"]}}), "/initial_domains/web: expected a table"),
            (json!({"initial_domains": {"web": {"config": [{}]}}}), "/initial_domains/web/config: expected a table"),
            (json!({"initial_domains": []}), "/initial_domains: "),
            (json!({"initial_domains": {"a/b": ["worker"]}}), "/initial_domains/a~1b: expected a table"),
            (json!({"initial_definitions": {"a/b.c": {"health": 3}}}), "/initial_definitions/a~1b.c/health: invalid type"),
        ] {
            let problems = HostFile::judge(list).expect_err("a list is no table");
            assert!(problems.len() == 1 && problems[0].to_string().starts_with(at), "{problems:?}");
        }
    }

    proptest! {
        #[test]
        fn no_file_panics(section in prop::sample::select(vec!["default_user", "initial_definitions", "initial_domains", "prometheus", "engine_limits", "x"]), name in ".{0,8}", key in ".{0,8}", n in any::<i64>()) {
            for value in [json!(n), json!(key), json!([n]), json!({ key.clone(): n }), json!({ key.clone(): [{ key.clone(): n }] })] {
                let _ = HostFile::judge(json!({ section: { name.clone(): value.clone() } }));
                let _ = HostFile::judge(json!({ section: value }));
            }
        }
    }
}
