//! The file that `pilothouse up` is given: domains, definitions that they are made from, what can be started for them, and engines beside
//! those that are built in.
//!
//! It is judged whole before anything is started; whatever is wrong is named by its key. What only an engine can judge is judged when
//! the domain is added.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pilothouse_core::config::{ConfigProblem, DomainConfig};
use pilothouse_core::name::Name;
use pilothouse_core::pointer::pointer;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::agent::{Command, Spec};
use crate::failure::Failure;
use crate::prometheus::{self, PrometheusSource};

/// The file, judged.
#[derive(Debug, PartialEq)]
pub(super) struct UpFile {
    /// Definitions, as they are written.
    pub(super) definitions: BTreeMap<Name, Value>,
    /// The domains, each with what it has of its definition.
    pub(super) domains: BTreeMap<Name, DomainConfig>,
    /// What the provisioner is told, as TOML.
    pub(super) deployables: String,
    /// Components, by the names that they have as engines.
    pub(super) engines: BTreeMap<Name, PathBuf>,
    /// Prometheus servers that the host may ask.
    pub(super) prometheus: BTreeMap<String, PrometheusSource>,
}

/// An engine that is not built in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Engine {
    /// Its component, seen from the folder of this file.
    file: PathBuf,
}

/// One deployable type, as the provisioner reads it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deployable {
    commands: Vec<Command>,
    #[serde(default)]
    heartbeat_seconds: Option<f64>,
}

impl UpFile {
    /// Reads and judges it.
    ///
    /// # Errors
    /// When it can't be read, and every problem that it has.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| Failure::Invalid(format!("{name}: {error}")))?;
        let whole = toml::from_str(&text).map_err(|error| Failure::Invalid(format!("{name}: {error}")))?;
        let mut file = Self::judge(whole).map_err(|problems| Failure::Problems { what: name.to_string(), problems })?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        file.engines.values_mut().for_each(|component| *component = folder.join(&component));
        // The host is told of them in a file elsewhere.
        let whole = std::path::absolute(path).map_err(|error| Failure::Invalid(format!("{name}: {error}")))?;
        let folder = whole.parent().unwrap_or(&whole);
        file.prometheus.values_mut().for_each(|source| source.seen_from(folder));
        let mut problems = Vec::new();
        prometheus::judge_files(&file.prometheus, &mut problems);
        if problems.is_empty() { Ok(file) } else { Err(Failure::Problems { what: name.to_string(), problems }) }
    }

    fn judge(whole: Value) -> Result<Self, Vec<ConfigProblem>> {
        let mut problems = Vec::new();
        let mut tables = match whole {
            Value::Object(tables) => tables,
            other => return Err(vec![ConfigProblem::new("", format!("expected tables, got {other}"))]),
        };
        let mut take = |name: &str, problems: &mut Vec<ConfigProblem>| match tables.remove(name) {
            Some(Value::Object(table)) => table,
            None => Map::new(),
            Some(_) => {
                problems.push(ConfigProblem::new(format!("/{name}"), format!("expected tables [{name}.NAME]")));
                Map::new()
            }
        };
        let definitions = take("definition", &mut problems);
        let domains = take("domain", &mut problems);
        let deployables = take("deployable", &mut problems);
        let engines = take("engine", &mut problems);
        let sources = take("prometheus", &mut problems);
        problems.extend(
            tables
                .keys()
                .map(|key| ConfigProblem::new(format!("/{key}"), "unknown; expected domain, definition, deployable, engine or prometheus")),
        );
        if domains.is_empty() {
            problems.push(ConfigProblem::new("/domain", "expected at least one table [domain.NAME]"));
        }
        let domains = judge_domains(domains, &definitions, &mut problems);
        let definitions = judge_definitions(definitions, &mut problems);
        judge_deployables(&deployables, &mut problems);
        let engines = judge_engines(engines, &mut problems);
        let prometheus = judge_sources(&sources, &mut problems);
        let deployables = toml::to_string(&json!({"deployable": deployables})).unwrap_or_else(|error| {
            problems.push(ConfigProblem::new("/deployable", error.to_string()));
            String::new()
        });
        if problems.is_empty() { Ok(Self { definitions, domains, deployables, engines, prometheus }) } else { Err(problems) }
    }
}

fn judge_definitions(definitions: Map<String, Value>, problems: &mut Vec<ConfigProblem>) -> BTreeMap<Name, Value> {
    let mut judged = BTreeMap::new();
    for (name, definition) in definitions {
        let at = format!("/definition/{name}");
        let known = name.parse::<Name>().map_err(|error| problems.push(ConfigProblem::new(&*at, error.to_string())));
        match (known, DomainConfig::from_json(definition.clone())) {
            (Ok(name), Ok(_)) => drop(judged.insert(name, definition)),
            (Err(()), Ok(_)) => {}
            (_, Err(found)) => problems.extend(found.into_iter().map(|it| ConfigProblem::new(format!("{at}{}", it.at), it.message))),
        }
    }
    judged
}

/// A domain with what it has of its definition: key by key, within each section. The definition must be in the file, so that the file says
/// all of what a domain is to be.
fn made_from(definitions: &Map<String, Value>, at: &str, mut domain: Value) -> Result<Value, ConfigProblem> {
    let Some(named) = domain.as_object_mut().and_then(|sections| sections.remove("definition")) else { return Ok(domain) };
    let problem = |message: String| ConfigProblem::new(format!("{at}/definition"), message);
    let name = named.as_str().ok_or_else(|| problem(format!("expected the name of a table [definition.NAME], got {named}")))?;
    let mut made = definitions.get(name).cloned().ok_or_else(|| problem(format!("there is no table [definition.{name}] in this file")))?;
    let (Value::Object(sections), Value::Object(own)) = (&mut made, domain) else { return Ok(made) };
    for (section, keys) in own {
        match (sections.get_mut(&section), keys) {
            (Some(Value::Object(there)), Value::Object(keys)) => there.extend(keys),
            (_, keys) => drop(sections.insert(section, keys)),
        }
    }
    Ok(made)
}

fn judge_domains(
    domains: Map<String, Value>,
    definitions: &Map<String, Value>,
    problems: &mut Vec<ConfigProblem>,
) -> BTreeMap<Name, DomainConfig> {
    let mut judged = BTreeMap::new();
    for (name, config) in domains {
        let at = format!("/domain/{name}");
        let config = match made_from(definitions, &at, config) {
            Ok(config) => config,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        let known = name.parse::<Name>().map_err(|error| problems.push(ConfigProblem::new(&*at, error.to_string())));
        match (known, DomainConfig::from_json(config)) {
            (Ok(name), Ok(config)) => drop(judged.insert(name, config)),
            (Err(()), Ok(_)) => {}
            (_, Err(found)) => problems.extend(found.into_iter().map(|it| ConfigProblem::new(format!("{at}{}", it.at), it.message))),
        }
    }
    judged
}

fn judge_engines(engines: Map<String, Value>, problems: &mut Vec<ConfigProblem>) -> BTreeMap<Name, PathBuf> {
    let mut judged = BTreeMap::new();
    for (name, value) in engines {
        let at = format!("/engine/{name}");
        let known = name.parse::<Name>().map_err(|error| ConfigProblem::new(&*at, error.to_string()));
        match (known, read::<Engine>(&at, &value)) {
            (Ok(name), Ok(engine)) => drop(judged.insert(name, engine.file)),
            (name, engine) => problems.extend(name.err().into_iter().chain(engine.err())),
        }
    }
    judged
}

fn judge_sources(sources: &Map<String, Value>, problems: &mut Vec<ConfigProblem>) -> BTreeMap<String, PrometheusSource> {
    let mut judged = BTreeMap::new();
    for (name, value) in sources {
        match read(&format!("/prometheus/{name}"), value) {
            Ok(source) => drop(judged.insert(name.clone(), source)),
            Err(problem) => problems.push(problem),
        }
    }
    prometheus::judge(&judged, problems);
    judged
}

/// A table as what it should be; a problem names the key inside it.
fn read<T: for<'de> Deserialize<'de>>(at: &str, value: &Value) -> Result<T, ConfigProblem> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let at = format!("{at}{}", pointer(error.path()));
        ConfigProblem::new(at, error.into_inner().to_string())
    })
}

fn judge_deployables(deployables: &Map<String, Value>, problems: &mut Vec<ConfigProblem>) {
    for (name, value) in deployables {
        let at = format!("/deployable/{name}");
        if let Err(error) = name.parse::<Name>() {
            problems.push(ConfigProblem::new(&*at, error.to_string()));
        }
        let judged = read::<Deployable>(&at, value);
        let judged = judged.and_then(|deployable| deployable.check().map_err(|error| ConfigProblem::new(&*at, error.to_string())));
        problems.extend(judged.err());
    }
}

impl Deployable {
    fn check(&self) -> Result<(), crate::agent::SpecError> {
        Spec::check_heartbeat(self.heartbeat_seconds.unwrap_or(Spec::DEFAULT_HEARTBEAT_SECONDS))?;
        Spec::check_commands(&self.commands)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_file_panics(table in prop::sample::select(vec!["domain", "definition", "deployable", "engine", "colour"]), name in ".{0,12}", key in ".{0,12}", value in ".{0,12}", n in any::<i64>()) {
            for value in [Value::from(value), Value::from(n), serde_json::json!([n]), serde_json::json!({ key.clone(): n })] {
                let _ = UpFile::judge(serde_json::json!({ table: { name.clone(): { "engine_conf": value.clone(), "commands": [value.clone()], key.clone(): value } } }));
            }
        }
    }

    fn judge(toml: &str) -> Result<UpFile, Vec<String>> {
        let whole = toml::from_str(toml).expect("TOML");
        UpFile::judge(whole).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    const GOOD: &str = "
        [domain.web.engine_conf]
        preserve_n = 3
        [deployable.worker]
        commands = [{ name = 'main', argv = ['sleep', '1000'] }]
    ";

    #[test]
    fn domains_and_deployables_are_taken() {
        let file = judge(GOOD).expect("good");
        assert_eq!(file.domains.keys().map(Name::as_str).collect::<Vec<_>>(), ["web"]);
        let written: Value = toml::from_str(&file.deployables).expect("TOML");
        assert_eq!(written["deployable"]["worker"]["commands"][0]["argv"][1], "1000");
    }

    #[test]
    fn a_domain_has_what_its_definition_says_and_what_it_says_itself() {
        let file = judge(&format!(
            "{GOOD}
            [definition.worker.general]
            decide_interval = 2
            [definition.worker.engine_conf]
            preserve_n = 1
            epuworker_type = 'worker'
            [domain.jobs]
            definition = 'worker'
            engine_conf.preserve_n = 5
            health.boot_timeout = 20
            [domain.plain]
            definition = 'worker'"
        ))
        .expect("good");
        let jobs = file.domains[&"jobs".parse().expect("a name")].to_json();
        assert_eq!(jobs["engine_conf"], json!({"preserve_n": 5, "epuworker_type": "worker"}));
        assert_eq!((&jobs["general"]["decide_interval"], &jobs["health"]["boot_timeout"]), (&json!(2), &json!(20)));
        let worker = json!({"general": {"decide_interval": 2}, "engine_conf": {"preserve_n": 1, "epuworker_type": "worker"}});
        assert_eq!(file.definitions.values().collect::<Vec<_>>(), [&worker], "as it is written");
        assert_eq!(file.domains[&"plain".parse().expect("a name")].to_json()["engine_conf"], worker["engine_conf"]);
    }

    #[test]
    fn components_are_seen_from_the_folder_of_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("up.toml");
        std::fs::write(&path, format!("{GOOD}\n[engine.keep]\nfile = 'build/keep.wasm'")).expect("written");
        let file = UpFile::read(&path).expect("good");
        assert_eq!(file.engines.values().collect::<Vec<_>>(), [&folder.path().join("build/keep.wasm")]);
    }

    #[test]
    fn the_example_in_the_repository_is_good() {
        let text = include_str!("../../../examples/quickstart/domain.toml");
        assert!(judge(text).is_ok(), "{:?}", judge(text));
    }

    #[test]
    fn whatever_is_wrong_is_named_by_its_key_and_all_at_once() {
        for (wrong, named) in [
            ("[domains.web]", "/domains: unknown"),
            ("[domain.web.health]\nboot_timout = 3", "/domain/web/health/boot_timout: unknown field"),
            ("[domain.web.colour]", "/domain/web/colour: unknown section"),
            ("[domain.'a.b']", "/domain/a.b: \"a.b\" is not a name"),
            ("[domain]\nweb = 3", "/domain/web: expected an object"),
            ("domain = 3", "/domain: expected tables"),
            ("[deployable.worker]\ncomands = []", "/deployable/worker/comands"),
            ("[deployable.worker]\ncommands = [{ name = 'm', argv = 'sleep' }]", "/deployable/worker/commands/0/argv"),
            ("[deployable.worker]\ncommands = []", "/deployable/worker: spec: commands"),
            ("[domain.web]\ndefinition = 'worker'", "/domain/web/definition: there is no table [definition.worker]"),
            ("[domain.web]\ndefinition = 3", "/domain/web/definition: expected the name"),
            ("[definition.worker.health]\nboot_timout = 3", "/definition/worker/health/boot_timout: unknown field"),
            ("[definition.'a.b']", "/definition/a.b: \"a.b\" is not a name"),
            ("definition = 3", "/definition: expected tables"),
            ("[engine.keep]\nfille = 'keep.wasm'", "/engine/keep/fille: unknown field"),
            ("[engine.keep]", "/engine/keep: missing field `file`"),
            ("[engine.'a.b']\nfile = 'keep.wasm'", "/engine/a.b: \"a.b\" is not a name"),
            ("[prometheus.main]", "/prometheus/main: missing field `url`"),
            ("[prometheus.main]\nurl = 'localhost'", "/prometheus/main/url: expected an address"),
            ("[prometheus.main]\nurl = 'http://a'\ntoken = 'x'", "/prometheus/main/token: unknown field"),
            ("[prometheus.'a.b']\nurl = 'http://a'", "/prometheus/a.b: \"a.b\" is not a name"),
            ("prometheus = 3", "/prometheus: expected tables"),
            ("[domain.web.sensors.queue]\nsource = 'main'", "/domain/web/sensors/queue: missing field `query`"),
            ("[deployable.'-']\ncommands = [{ name = 'm', argv = ['a'] }]", "/deployable/-: \"-\" is not a name"),
        ] {
            let found = judge(wrong).expect_err("wrong");
            assert!(found.iter().any(|problem| problem.starts_with(named)), "{named} is not in {found:?}");
        }
        let both = judge("[domain.web.colour]\n[deployable.worker]\ncommands = []").expect_err("wrong");
        assert_eq!(both.len(), 2, "{both:?}");
        assert_eq!(judge("").expect_err("empty"), ["/domain: expected at least one table [domain.NAME]"]);
    }
}
