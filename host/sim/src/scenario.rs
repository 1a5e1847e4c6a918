//! The scenario file.

use std::collections::BTreeSet;

use pilothouse_core::config::{ConfigProblem, DomainConfig};
use pilothouse_core::name::{DomainKey, Name, Slot};
use pilothouse_core::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::event::AgentDoes;
use crate::timeline::{self, Entry, Step};

/// A domain, an engine, and what happens when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Pilothouse scenario")]
pub struct Scenario {
    /// What it shows, in a line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// The engine: the name of one that ships with the host, or a path to a component, seen from the scenario's folder.
    pub engine: String,
    /// All chance follows from it: ids, and the numbers that the engine draws.
    #[serde(default, skip_serializing_if = "is_default")]
    pub seed: u64,
    /// What second 0 of the timeline is on the calendar, as `2026-03-01T12:00:00Z`. Left out, it is the beginning of 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Whose domain it is, and its name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub domain: Who,
    /// The section `general` of the domain's configuration.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub general: Map<String, Value>,
    /// The section `health` of the domain's configuration.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub health: Map<String, Value>,
    /// The section `engine_conf` of the domain's configuration.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub engine_conf: Map<String, Value>,
    /// The section `schedule` of the domain's configuration. Windows begin and end at ticks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedule: Vec<Value>,
    /// Guards that are switched off, or on from the beginning.
    #[serde(default, skip_serializing_if = "is_default")]
    pub guards: Guards,
    /// What agents do when they are asked for a sign of life, from the beginning.
    #[serde(default, skip_serializing_if = "is_default")]
    pub agent: AgentDoes,
    /// What happens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Entry>,
}

/// Whose domain it is, and its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Who {
    /// The user that the domain belongs to.
    pub owner: String,
    /// Its name.
    pub name: String,
}

impl Default for Who {
    fn default() -> Self {
        Self { owner: "ann".to_owned(), name: "web".to_owned() }
    }
}

/// Guards, each to be switched. How strict those are that are on is said in the section `general`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Guards {
    /// Whether the domain is paused from the beginning.
    pub pause: bool,
    /// Whether it is in dry run from the beginning.
    pub dry_run: bool,
    /// Whether terminations for silence wait while the host could not see.
    pub blind: bool,
    /// Whether too much at once is not believed.
    pub brake: bool,
    /// Whether launches and terminations are limited by the minute.
    pub budget: bool,
    /// Whether the number of instances is limited.
    pub quota: bool,
    /// Whether launches wait at a site where launches failed.
    pub back_off: bool,
}

impl Default for Guards {
    fn default() -> Self {
        Self { pause: false, dry_run: false, blind: true, brake: true, budget: true, quota: true, back_off: true }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How a scenario is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// TOML.
    Toml,
    /// JSON.
    Json,
}

/// A scenario that makes no sense: everything that was found, each with the place in the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Invalid {
    /// What is wrong.
    pub problems: Vec<ConfigProblem>,
}

impl Invalid {
    fn at(at: impl Into<String>, message: impl Into<String>) -> Self {
        Self { problems: vec![ConfigProblem::new(at, message)] }
    }
}

/// The JSON Schema of a scenario.
pub fn schema() -> Value {
    schemars::schema_for!(Scenario).to_value()
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn parse(text: &str, format: Format) -> Result<Self, Invalid> {
        let value: Value = match format {
            Format::Toml => toml::from_str(text).map_err(|error| Invalid::at("", error.to_string()))?,
            Format::Json => serde_json::from_str(text).map_err(|error| Invalid::at("", error.to_string()))?,
        };
        let scenario: Self = serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().to_string();
            let at = if path == "." { String::new() } else { format!("/{}", path.replace("[", "/").replace(']', "").replace('.', "/")) };
            Invalid::at(at, error.into_inner().to_string())
        })?;
        scenario.steps()?;
        scenario.config("")?;
        scenario.key()?;
        scenario.start()?;
        Ok(scenario)
    }

    /// As it would be written. What TOML has no word for (a seed of 2^63 and above, a `null`) is written as JSON.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|_| serde_json::to_string_pretty(self).expect("a scenario has only string keys"))
    }

    /// What happens, in order.
    ///
    /// # Errors
    /// Which entry makes no sense.
    pub fn steps(&self) -> Result<Vec<Step>, Invalid> {
        timeline::steps(&self.events).map_err(|(number, error)| Invalid::at(format!("/events/{number}"), error))
    }

    /// The engines that it names beside the one at its top: those that a reconfiguration or a shadow asks for, each once.
    pub fn other_engines(&self) -> BTreeSet<String> {
        let by_reconfigure = |entry: &Entry| {
            let reference = entry.reconfigure.as_ref()?.get("general")?.get("engine")?.as_str()?;
            Some(reference.split_once('@').map_or(reference, |(name, _)| name).to_owned())
        };
        let by_shadow = |entry: &Entry| entry.shadow.as_ref()?.engine.clone();
        self.events
            .iter()
            .flat_map(|entry| [by_reconfigure(entry), by_shadow(entry)])
            .flatten()
            .filter(|name| *name != self.engine)
            .collect()
    }

    /// Second 0 of the timeline.
    pub(crate) fn start(&self) -> Result<Timestamp, Invalid> {
        let Some(text) = &self.start else { return Ok(Timestamp::ZERO) };
        let wrong = || Invalid::at("/start", format!("{text:?} is no time; expected one like 2026-03-01T12:00:00Z"));
        let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| wrong())?;
        u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).map(Timestamp::from_millis).map_err(|_| wrong())
    }

    /// The domain.
    pub(crate) fn key(&self) -> Result<(DomainKey, Slot), Invalid> {
        let name = |at: &str, text: &str| text.parse::<Name>().map_err(|error| Invalid::at(at, error.to_string()));
        let key = DomainKey { owner: name("/domain/owner", &self.domain.owner)?, name: name("/domain/name", &self.domain.name)? };
        let slot = key.slot(Slot::DEFAULT_COUNT);
        Ok((key, slot))
    }

    /// The configuration of the domain, with the guards switched as the scenario says.
    pub(crate) fn config(&self, engine: &str) -> Result<DomainConfig, Invalid> {
        let mut general = self.general.clone();
        if general.contains_key("engine") {
            return Err(Invalid::at("/general/engine", "the engine is named at the top of the scenario"));
        }
        if !engine.is_empty() {
            general.insert("engine".to_owned(), json!(engine));
        }
        let sections = json!({"general": general, "health": self.health, "engine_conf": self.engine_conf, "schedule": self.schedule});
        let mut config = DomainConfig::from_json(sections).map_err(|problems| Invalid { problems })?;
        self.guards.switch(&mut config);
        Ok(config)
    }
}

impl Guards {
    /// As many as no scenario reaches.
    const UNLIMITED: u32 = 1_000_000;

    /// Switches off what is off. What is on stays as it is configured.
    pub(crate) fn switch(self, config: &mut DomainConfig) {
        let general = &mut config.general;
        general.own_eyes &= self.blind;
        general.brake.enabled &= self.brake;
        general.back_off.enabled &= self.back_off;
        if !self.budget {
            (general.launches_per_minute, general.terminations_per_minute) = (Self::UNLIMITED, Self::UNLIMITED);
        }
        if !self.quota {
            general.max_instances = Self::UNLIMITED;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
        engine = "simplest"
        start = "2026-03-01T12:00:00Z"
        [engine_conf]
        preserve_n = 1
        [guards]
        brake = false
        budget = false
        [[events]]
        at = 0
        tick = "decide"
        [[events]]
        at = 1
        report = { of = 0, state = "RUNNING", generate_address = true, zone = "a" }
        [[events]]
        at = 2
        heartbeat = { of = { state = "RUNNING", nth = 0 }, state = "OK" }
    "#;

    fn wrong(text: &str) -> String {
        Scenario::parse(text, Format::Toml).expect_err("wrong").to_string()
    }

    #[test]
    fn a_scenario_survives_being_written() {
        let scenario = Scenario::parse(SMALL, Format::Toml).expect("good");
        assert_eq!(Scenario::parse(&scenario.to_toml(), Format::Toml), Ok(scenario.clone()));
        let json = serde_json::to_string(&scenario).expect("as JSON");
        assert_eq!(Scenario::parse(&json, Format::Json), Ok(scenario));
    }

    #[test]
    fn guards_are_switched_in_the_configuration() {
        let config = Scenario::parse(SMALL, Format::Toml).expect("good").config("simplest").expect("good");
        assert!(!config.general.brake.enabled && config.general.own_eyes && config.general.back_off.enabled);
        assert_eq!((config.general.launches_per_minute, config.general.max_instances), (1_000_000, 1000));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        assert!(wrong("engine = 3").contains("/engine"));
        assert!(wrong("engine = \"x\"\ncolour = 1").contains("colour"));
        assert!(wrong("engine = \"x\"\n[general]\ndecide_interval = 0").contains("/general/decide_interval"));
        assert!(wrong("engine = \"x\"\n[domain]\nowner = \"a b\"").contains("/domain/owner"));
        assert!(wrong("engine = \"x\"\nstart = \"soon\"").contains("/start"));
        let error = wrong("engine = \"x\"\n[[events]]\nat = 0\ntick = \"decide\"\n[[events]]\nat = 1\nheartbeat = { of = 0 }");
        assert!(error.contains("/events/1") && error.contains("state"), "{error}");
        assert!(wrong("engine = \"x\"\n[[events]]\nat = 0").contains("/events/0"));
    }

    #[test]
    fn the_schema_knows_the_events() {
        let schema = schema();
        let entry = &schema["$defs"]["Entry"]["properties"];
        for key in ["at", "tick", "report", "heartbeat", "reading", "reconfigure", "provisioner", "restart", "remove"] {
            assert!(entry[key].is_object(), "{key}: {schema:#}");
        }
    }
}
