//! How a domain is configured: sections, each judged whole, with errors that name the key.

mod pull;

pub use pull::{Pull, Pulls};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::engine::Reference;
use crate::instance::Vars;
use crate::pointer::{escaped, pointer};
use crate::schedule::{self, MAX_WINDOWS, Window};
use crate::time::Millis;

/// The whole configuration of a domain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainConfig {
    /// What the host needs to know.
    #[serde(default)]
    pub general: General,
    /// How health is judged.
    #[serde(default)]
    pub health: HealthConfig,
    /// What the engine needs to know. The engine's own schema judges it.
    #[serde(default)]
    pub engine_conf: Map<String, Value>,
    /// When the engine is configured otherwise. In a change, the list is replaced whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_WINDOWS))]
    pub schedule: Vec<Window>,
    /// What the host pulls for it from Prometheus, by the name of the series. In a change, null takes a series away.
    #[serde(default, skip_serializing_if = "Pulls::is_empty")]
    pub sensors: Pulls,
}

/// What the host needs to know of a domain. Lengths of time are in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct General {
    /// The engine: `NAME` or `NAME@VERSION`.
    #[schemars(length(min = 1))]
    pub engine: String,
    /// The pause between the end of one decision and the start of the next.
    #[serde(with = "seconds")]
    #[schemars(with = "seconds::Seconds", extend("minimum" = 0.1))]
    pub decide_interval: Millis,
    /// How long a launch may go without progress before it is tried again; after as long once more it is terminated.
    #[serde(with = "seconds")]
    #[schemars(with = "seconds::Seconds", extend("minimum" = 1))]
    pub launch_timeout: Millis,
    /// How long the record of a gone instance is kept.
    #[serde(with = "seconds")]
    #[schemars(with = "seconds::Seconds")]
    pub record_reaping_max_age: Millis,
    /// What every launch is given.
    #[serde(with = "vars_as_map")]
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    pub provisioner_vars: Vars,
    /// The most instances that may be there at once, those on their way out included.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_instances: u32,
    /// The rate budget for an engine's launches: as many at once, and refilled within a minute.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub launches_per_minute: u32,
    /// The rate budget for an engine's terminations: as many at once, and refilled within a minute.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub terminations_per_minute: u32,
    /// When so many turn unhealthy at once that it is not believed.
    pub brake: BrakeConfig,
    /// How long launches wait at a site where launches fail.
    pub back_off: BackOffConfig,
    /// Whether terminations for silence wait while the host could not see. Off, silence is always believed.
    pub own_eyes: bool,
    /// After so many faults in a row that speak against a version the domain goes back to the one before, or its engine is held where there
    /// is none.
    #[schemars(range(min = 1))]
    pub roll_back_after: u8,
    /// What becomes of the domain when a new version does not understand the memory of the one before.
    pub memory_refused: MemoryRefused,
}

/// What becomes of a domain when a new version of its engine does not understand the memory of the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemoryRefused {
    /// The new version begins anew, with the instances that there are.
    #[default]
    Initialize,
    /// The engine is held until somebody changes something: what it remembered matters.
    Hold,
}

/// The pause after a launch that failed: `first`, and twice as long after every further one, up to `longest`. A launch that reaches
/// running clears it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BackOffConfig {
    /// Off means that failed launches are replaced at once, for ever.
    pub enabled: bool,
    /// After the first failure.
    #[serde(with = "seconds")]
    #[schemars(with = "seconds::Seconds", extend("minimum" = 0.001))]
    pub first: Millis,
    /// At most: a site that heals should be noticed soon.
    #[serde(with = "seconds")]
    #[schemars(with = "seconds::Seconds")]
    pub longest: Millis,
}

/// The brake: on when at least `floor` instances *and* at least `share` of a domain, or of a site, turned unhealthy within `window`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BrakeConfig {
    /// Off means that everything is believed.
    pub enabled: bool,
    /// Fewer than that are never too many: small domains must be able to heal.
    pub floor: u32,
    /// Above 0, and up to 1.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0))]
    pub share: f64,
    /// How close together.
    #[serde(with = "seconds")]
    #[schemars(with = "seconds::Seconds", extend("minimum" = 0.001))]
    pub window: Millis,
    /// How long terminations wait before they go one by one.
    #[serde(with = "seconds")]
    #[schemars(with = "seconds::Seconds")]
    pub drip_after: Millis,
    /// The pause between two terminations that go one by one.
    #[serde(with = "seconds")]
    #[schemars(with = "seconds::Seconds")]
    pub drip_every: Millis,
}

/// The windows of the health monitor, in seconds. Exactly at a limit nothing happens yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthConfig {
    /// When off, heartbeats are ignored and nobody is ever unhealthy for them.
    pub monitor_health: bool,
    /// From running to the first heartbeat.
    #[serde(with = "seconds")]
    #[schemars(with = "seconds::Seconds")]
    pub boot_timeout: Millis,
    /// Between two heartbeats.
    #[serde(with = "seconds")]
    #[schemars(with = "seconds::Seconds")]
    pub missing_timeout: Millis,
    /// From the question for a sign of life to the verdict. Zero: no question, the verdict at once.
    #[serde(with = "seconds")]
    #[schemars(with = "seconds::Seconds")]
    pub really_missing_timeout: Millis,
    /// How long after its end an instance may still be heard from.
    #[serde(with = "seconds")]
    #[schemars(with = "seconds::Seconds")]
    pub zombie_seconds: Millis,
}

impl Default for General {
    fn default() -> Self {
        Self {
            engine: "simplest".to_owned(),
            decide_interval: Millis::from_secs(5),
            launch_timeout: Millis::from_secs(600),
            record_reaping_max_age: Millis::from_secs(7200),
            provisioner_vars: Vars::new(),
            max_instances: 1000,
            launches_per_minute: 100,
            terminations_per_minute: 20,
            brake: BrakeConfig::default(),
            back_off: BackOffConfig::default(),
            own_eyes: true,
            roll_back_after: 3,
            memory_refused: MemoryRefused::default(),
        }
    }
}

impl Default for BackOffConfig {
    fn default() -> Self {
        Self { enabled: true, first: Millis::from_secs(2), longest: Millis::from_secs(300) }
    }
}

impl Default for BrakeConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            floor: 3,
            share: 0.5,
            window: Millis::from_secs(300),
            drip_after: Millis::from_secs(900),
            drip_every: Millis::from_secs(60),
        }
    }
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            monitor_health: true,
            boot_timeout: Millis::from_secs(300),
            missing_timeout: Millis::from_secs(120),
            really_missing_timeout: Millis::from_secs(15),
            zombie_seconds: Millis::from_secs(120),
        }
    }
}

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigProblem {
    /// JSON pointer to the value, empty for the whole.
    pub at: String,
    /// What was expected.
    pub message: String,
}

impl ConfigProblem {
    /// A problem at a key.
    pub fn new(at: impl Into<String>, message: impl Into<String>) -> Self {
        Self { at: at.into(), message: message.into() }
    }
}

impl std::fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.at.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.at, self.message) }
    }
}

impl DomainConfig {
    /// Reads a configuration and judges what the host can judge; the engine's section is only required to be an object.
    ///
    /// # Errors
    /// Every problem found.
    pub fn from_json(value: Value) -> Result<Self, Vec<ConfigProblem>> {
        Self::unless_problems(Self::judged(value))
    }

    fn unless_problems((config, problems): (Self, Vec<ConfigProblem>)) -> Result<Self, Vec<ConfigProblem>> {
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// The same, with what can be made of a configuration that has problems: whatever can't be read is as if it were not there. So that an
    /// engine can find its own problems in the same go.
    pub fn judged(value: Value) -> (Self, Vec<ConfigProblem>) {
        let Value::Object(mut sections) = value else {
            return (Self::default(), vec![Self::no_sections()]);
        };
        let mut problems = Vec::new();
        let general = section(&mut sections, "general", &mut problems);
        let health = section(&mut sections, "health", &mut problems);
        let engine_conf = section(&mut sections, "engine_conf", &mut problems);
        let sensors = section(&mut sections, "sensors", &mut problems);
        let schedule = schedule::read(sections.remove("schedule"), &mut problems);
        for unknown in sections.keys() {
            problems.push(ConfigProblem::new(
                format!("/{}", escaped(unknown)),
                "unknown section; expected general, health, engine_conf, schedule or sensors",
            ));
        }
        let config = Self { general, health, engine_conf, schedule, sensors };
        config.judge(&mut problems);
        (config, problems)
    }

    fn no_sections() -> ConfigProblem {
        ConfigProblem::new("", "expected an object with the sections general, health, engine_conf, schedule and sensors")
    }

    /// This configuration with `changes` folded in, key by key within each section; a value is replaced whole.
    ///
    /// # Errors
    /// Every problem of the result.
    pub fn changed_by(&self, changes: &Value) -> Result<Self, Vec<ConfigProblem>> {
        Self::unless_problems(self.changed(changes))
    }

    /// The same, with what can be made of a result that has problems.
    pub fn changed(&self, changes: &Value) -> (Self, Vec<ConfigProblem>) {
        if !changes.is_object() {
            return (self.clone(), vec![Self::no_sections()]);
        }
        Self::judged(folded(self.to_json(), changes))
    }

    /// As JSON, every key present.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("a configuration has only string keys")
    }

    fn judge(&self, problems: &mut Vec<ConfigProblem>) {
        let mut at_least = |at: &str, value: Millis, least: Millis| {
            if value < least {
                problems.push(ConfigProblem::new(
                    at,
                    format!("expected at least {} seconds, got {}", least.as_secs_f64(), value.as_secs_f64()),
                ));
            }
        };
        at_least("/general/decide_interval", self.general.decide_interval, Millis::new(100));
        at_least("/general/launch_timeout", self.general.launch_timeout, Millis::from_secs(1));
        at_least("/general/brake/window", self.general.brake.window, Millis::new(1));
        at_least("/general/back_off/first", self.general.back_off.first, Millis::new(1));
        if !(self.general.brake.share > 0.0 && self.general.brake.share <= 1.0) {
            problems.push(ConfigProblem::new("/general/brake/share", "expected a number above 0 and up to 1"));
        }
        for (at, rate) in [
            ("/general/launches_per_minute", self.general.launches_per_minute),
            ("/general/terminations_per_minute", self.general.terminations_per_minute),
            ("/general/max_instances", self.general.max_instances),
        ] {
            if !(1..=1_000_000).contains(&rate) {
                problems.push(ConfigProblem::new(at, format!("expected 1 to 1000000, got {rate}")));
            }
        }
        if self.general.engine.is_empty() {
            problems.push(ConfigProblem::new("/general/engine", "expected the name of an engine"));
        } else if let Err(error) = self.general.engine.parse::<Reference>() {
            problems.push(ConfigProblem::new("/general/engine", error.to_string()));
        }
        if self.general.roll_back_after == 0 {
            problems.push(ConfigProblem::new("/general/roll_back_after", "expected 1 to 255, got 0"));
        }
        self.sensors.judge(problems);
    }
}

/// A configuration with `changes` folded in, key by key within each section; a value is replaced whole. What is no section stays where it
/// is, and changes that have none stay alone: for whoever judges the result and can say what is wrong with it.
pub fn folded(mut whole: Value, changes: &Value) -> Value {
    let (Value::Object(sections), Value::Object(changes)) = (&mut whole, changes) else { return changes.clone() };
    for (section, keys) in changes {
        match (sections.get_mut(section), keys) {
            (Some(Value::Object(old)), Value::Object(new)) => old.extend(new.clone()),
            (_, other) => {
                sections.insert(section.clone(), other.clone());
            }
        }
    }
    whole
}

/// Takes one section out and reads it; a problem names the key inside it.
fn section<T: Default + for<'de> Deserialize<'de>>(sections: &mut Map<String, Value>, name: &str, problems: &mut Vec<ConfigProblem>) -> T {
    let Some(value) = sections.remove(name) else { return T::default() };
    let problem = match read(name, value.clone()) {
        Ok(section) => return section,
        Err(problem) => problem,
    };
    let Value::Object(keys) = value else {
        problems.push(problem);
        return T::default();
    };
    // Reading stops at the first problem: each key by itself, so that all are told.
    let before = problems.len();
    let single = |key: &String, value: &Value| Value::Object(Map::from_iter([(key.clone(), value.clone())]));
    let good = keys.into_iter().filter(|(key, value)| match read::<T>(name, single(key, value)) {
        Ok(_) => true,
        Err(problem) => {
            problems.push(problem);
            false
        }
    });
    let good = Value::Object(good.collect());
    if problems.len() == before {
        problems.push(problem);
    }
    read(name, good).unwrap_or_default()
}

fn read<T: for<'de> Deserialize<'de>>(section: &str, value: Value) -> Result<T, ConfigProblem> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let at = format!("/{section}{}", pointer(error.path()));
        ConfigProblem::new(at, error.into_inner().to_string())
    })
}

/// Lengths of time as seconds with a fraction.
mod seconds {
    use super::*;

    /// A hundred years: longer windows mean *never*, and sums stay far from overflow.
    const MAX: f64 = 3.2e9;

    /// What the schema says of such a length.
    pub(super) struct Seconds;

    impl JsonSchema for Seconds {
        fn inline_schema() -> bool {
            true
        }

        fn schema_name() -> std::borrow::Cow<'static, str> {
            "Seconds".into()
        }

        fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
            schemars::json_schema!({"type": "number", "minimum": 0, "maximum": MAX, "x-unit": "s"})
        }
    }

    pub(super) fn serialize<S: Serializer>(length: &Millis, serializer: S) -> Result<S::Ok, S::Error> {
        let millis = length.get();
        if millis.is_multiple_of(1000) { serializer.serialize_u64(millis / 1000) } else { serializer.serialize_f64(length.as_secs_f64()) }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Millis, D::Error> {
        let secs = f64::deserialize(deserializer)?;
        if (0.0..=MAX).contains(&secs) {
            Ok(Millis::new((secs * 1000.0).round() as u64))
        } else {
            Err(serde::de::Error::custom(format!("expected seconds from 0 to {MAX}, got {secs}")))
        }
    }
}

/// Variables as a JSON object of texts.
mod vars_as_map {
    use super::*;

    pub(super) fn serialize<S: Serializer>(vars: &Vars, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(vars.iter().map(|(name, value)| (name, value)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vars, D::Error> {
        let map = std::collections::BTreeMap::<String, String>::deserialize(deserializer)?;
        Ok(map.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(value: Value) -> Vec<String> {
        DomainConfig::from_json(value).expect_err("something is wrong").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_problem_names_the_key_and_what_was_expected() {
        let found = problems(json!({"general": {"decide_interval": "soon"}, "health": {"boot_timout": 3}, "colour": {}}));
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("/general/decide_interval: ") && found[0].contains("f64"), "{found:?}");
        assert!(found[1].contains("boot_timout") && found[1].contains("boot_timeout"), "{found:?}");
        assert!(found[2].starts_with("/colour: unknown section"), "{found:?}");
        let found = problems(json!({"general": {"provisioner_vars": {"a.b/c": 3}}, "d/e": {}}));
        assert!(found[0].starts_with("/general/provisioner_vars/a.b~1c: ") && found[1].starts_with("/d~1e: "), "{found:?}");
    }

    #[test]
    fn every_key_that_is_wrong_is_named_and_the_rest_is_read() {
        let wrong = json!({"general": {"engine": "sensor", "decide_interval": "soon", "max_instances": -1}, "health": {"colour": 1, "boot_timeout": 7}});
        let (config, problems) = DomainConfig::judged(wrong);
        let at: Vec<_> = problems.iter().map(|problem| problem.at.as_str()).collect();
        assert_eq!(at, ["/general/decide_interval", "/general/max_instances", "/health/colour"]);
        assert_eq!((config.general.engine.as_str(), config.health.boot_timeout), ("sensor", Millis::from_secs(7)));
    }

    #[test]
    fn values_out_of_range_are_problems() {
        let found = problems(json!({"general": {"decide_interval": 0, "max_instances": 0, "brake": {"share": 2}}}));
        assert_eq!(found.len(), 3, "{found:?}");
        let found = problems(json!({"health": {"missing_timeout": -1}}));
        assert!(found[0].starts_with("/health/missing_timeout: expected seconds"), "{found:?}");
    }

    #[test]
    fn changes_fold_in_key_by_key() {
        let old = DomainConfig::from_json(json!({"engine_conf": {"preserve_n": 3, "force_site": "a"}})).expect("good");
        let new = old.changed_by(&json!({"engine_conf": {"preserve_n": 4}, "health": {"boot_timeout": 1.5}})).expect("good");
        assert_eq!(new.engine_conf, *json!({"preserve_n": 4, "force_site": "a"}).as_object().expect("an object"));
        assert_eq!(new.health.boot_timeout, Millis::new(1500));
        assert_eq!(new.general, old.general);
        assert!(old.changed_by(&json!({"engine_conf": 3})).is_err());
        assert!(old.changed_by(&json!([])).is_err());
    }

    #[test]
    fn a_configuration_survives_json() {
        let config = DomainConfig::default();
        assert_eq!(DomainConfig::from_json(config.to_json()), Ok(config));
    }
}
