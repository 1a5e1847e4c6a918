//! What the engine is told, and what of it does not go together.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use pilothouse_engine::config::{self, Count, Seconds, defaults, json};
use pilothouse_engine::{InstanceId, Problem, Settings, Template, VARS, VARS_BYTES, Victims};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// The most labels: who holds them has to fit into the engine's memory, those that have just left the configuration too.
pub const LABELS: usize = 256;

/// The most that a label may take up, for the same reason.
pub const LABEL_BYTES: usize = 63;

/// The most that can be bound to labels: those of a whole configuration, and as many that have left it and are not gone yet. Of the longest
/// labels that takes up two thirds of the memory.
pub const BOUND: usize = 2 * LABELS;

/// The longest pulse that a host takes, in seconds.
const LONGEST_PULSE: Seconds = Seconds::new(24 * 60 * 60);

/// Variables by their names.
pub type Variables = BTreeMap<String, String>;

/// What the engine is told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Configuration of the engine npreserving")]
#[schemars(example = json!({ "preserve_n": 3, "unique_instances": { "primary": { "role": "primary" } } }))]
#[schemars(example = json!({ "preserve_n": 3, "force_site": "local", "epuworker_type": "db", "provisioner_vars": { "zone": "a" } }))]
pub struct Config {
    /// How many instances to keep, the unique ones among them. A whole number, or one in a string.
    #[serde(default)]
    #[schemars(example = 3, example = &"3")]
    pub preserve_n: Count,
    /// Labels, each with the variables of the instance that holds it. At most `preserve_n` labels, and at most 256 of at most 63 bytes.
    #[serde(default)]
    #[schemars(example = json!({ "primary": { "role": "primary", "port": "5432" } }))]
    pub unique_instances: BTreeMap<String, Variables>,
    /// The variables that every launch gets, in the place of those of the domain. At most 128 and 16 KiB.
    #[serde(default)]
    #[schemars(example = json!({ "zone": "a" }))]
    pub provisioner_vars: Option<Variables>,
    /// The site to launch at.
    #[serde(default = "defaults::site")]
    #[schemars(length(min = 1))]
    pub force_site: String,
    /// The deployable type to launch.
    #[serde(default = "defaults::deployable_type")]
    #[schemars(length(min = 1))]
    pub epuworker_type: String,
    /// The size to launch.
    #[serde(default = "defaults::allocation")]
    #[schemars(length(min = 1))]
    pub epuworker_allocation: String,
    /// For development: whoever fails is left alone, so that people can look at it. True or false, also in a string.
    #[serde(default)]
    #[schemars(example = true, example = &"true")]
    pub devmode_no_failure_compensation: Switch,
    /// Seconds between two decisions, from 1 to a day, in the place of those of the domain.
    #[serde(default)]
    #[schemars(example = 5)]
    pub pulse: Option<Seconds>,
    /// Who goes first when there are too many. Holders of labels are never chosen.
    #[serde(default)]
    pub victims: Victims,
}

impl Config {
    /// Where and as what instances are launched.
    #[must_use]
    pub fn template(&self) -> Template<'_> {
        Template { deployable_type: &self.epuworker_type, site: &self.force_site, allocation: &self.epuworker_allocation }
    }

    /// What is wanted of the host. What is not configured is as the domain says.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings { pulse: self.pulse.map(Seconds::duration), provisioner_vars: self.provisioner_vars.as_ref().map(vars) }
    }

    /// Whether whoever fails is left alone.
    #[must_use]
    pub fn devmode(&self) -> bool {
        self.devmode_no_failure_compensation.0
    }
}

/// As a launch takes them.
pub(crate) fn vars(variables: &Variables) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Label → the instance that holds it. A label stays here after it has left the configuration, until its holder has gone.
pub type Bound = BTreeMap<String, InstanceId>;

/// What does not go together.
#[must_use]
pub fn check(config: &Config) -> Vec<Problem> {
    const KEY: &str = "unique_instances";
    let labels = config.unique_instances.len();
    let mut problems = Vec::new();
    if labels > config.preserve_n.get() as usize {
        let message =
            format!("{labels} unique instances do not fit into preserve_n = {}: at most as many labels as instances", config.preserve_n);
        problems.push(config::problem(KEY, message));
    }
    if labels > LABELS {
        problems.push(config::problem(KEY, format!("{labels} labels; expected at most {LABELS}")));
    }
    for (label, variables) in &config.unique_instances {
        if label.is_empty() || label.len() > LABEL_BYTES {
            let shown: String = label.chars().take(LABEL_BYTES).collect();
            problems.push(config::problem(KEY, format!("{shown:?} is no label: expected 1 to {LABEL_BYTES} bytes")));
        }
        problems.extend(wrong_with(variables).map(|message| config::problem(KEY, format!("{label}: {message}"))));
    }
    let variables = config.provisioner_vars.as_ref();
    problems.extend(variables.and_then(wrong_with).map(|message| config::problem("provisioner_vars", message)));
    if config.pulse.is_some_and(|pulse| pulse < Seconds::new(1) || pulse > LONGEST_PULSE) {
        problems.push(config::problem("pulse", format!("expected 1 to {LONGEST_PULSE} seconds")));
    }
    problems
}

/// What a host would not take.
fn wrong_with(variables: &Variables) -> Option<String> {
    let bytes: usize = variables.iter().map(|(name, value)| name.len() + value.len()).sum();
    if variables.contains_key("") {
        return Some("a variable without a name".to_owned());
    }
    (variables.len() > VARS || bytes > VARS_BYTES).then(|| format!("expected at most {VARS} variables and {VARS_BYTES} bytes"))
}

/// On or off: a boolean, or the word for it in a string, in letters of any size. Anything else is refused: a switch that people believe to
/// be on must not be off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Switch(pub bool);

impl<'de> Deserialize<'de> for Switch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OnOrOff)
    }
}

impl serde::Serialize for Switch {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(self.0)
    }
}

impl JsonSchema for Switch {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Switch".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "boolean" },
                { "type": "string", "pattern": r"^\s*([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee])\s*$" },
            ],
        })
    }
}

struct OnOrOff;

impl Visitor<'_> for OnOrOff {
    type Value = Switch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true or false")
    }

    fn visit_bool<E: Error>(self, on: bool) -> Result<Switch, E> {
        Ok(Switch(on))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Switch, E> {
        match text.trim() {
            word if word.eq_ignore_ascii_case("true") => Ok(Switch(true)),
            word if word.eq_ignore_ascii_case("false") => Ok(Switch(false)),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use pilothouse_engine::testing::FakeDomain;

    use super::*;
    use crate::Npreserving;

    /// The problems, each with its place.
    fn problems(config: config::Value) -> Vec<String> {
        FakeDomain::<Npreserving>::problems(&config).into_iter().map(|problem| format!("{}: {}", problem.at, problem.message)).collect()
    }

    fn labels(count: usize) -> BTreeMap<String, Variables> {
        (0..count).map(|n| (format!("label-{n}"), Variables::new())).collect()
    }

    #[test]
    fn as_many_labels_as_instances_fit_and_no_more() {
        assert_eq!(problems(json!({ "preserve_n": 2, "unique_instances": labels(2) })), [""; 0]);
        let told = "/unique_instances: 3 unique instances do not fit into preserve_n = 2: at most as many labels as instances";
        assert_eq!(problems(json!({ "preserve_n": 2, "unique_instances": labels(3) })), [told]);
        assert_eq!(problems(json!({ "unique_instances": labels(1) })).len(), 1, "without a number none is wanted");
    }

    #[test]
    fn labels_fit_into_the_memory_of_the_engine() {
        assert_eq!(problems(json!({ "preserve_n": 1000, "unique_instances": labels(LABELS) })), [""; 0]);
        let told = problems(json!({ "preserve_n": 1000, "unique_instances": labels(LABELS + 1) }));
        assert_eq!(told, ["/unique_instances: 257 labels; expected at most 256"]);
        let named = |label: String| problems(json!({ "preserve_n": 1, "unique_instances": { label: {} } })).len();
        assert_eq!((named("x".repeat(LABEL_BYTES)), named("x".repeat(LABEL_BYTES + 1)), named(String::new())), (0, 1, 1));
    }

    #[test]
    fn variables_are_such_as_a_host_takes() {
        let some = |count: usize, value: &str| -> Variables { (0..count).map(|n| (format!("v{n}"), value.to_owned())).collect() };
        let good = [some(VARS, ""), some(1, &"x".repeat(VARS_BYTES - 2))];
        let bad = [some(VARS + 1, ""), some(1, &"x".repeat(VARS_BYTES - 1)), [(String::new(), "x".to_owned())].into()];
        let told = |variables: &Variables| {
            [
                problems(json!({ "provisioner_vars": variables })).len(),
                problems(json!({ "preserve_n": 1, "unique_instances": { "a": variables } })).len(),
            ]
        };
        assert!(good.iter().all(|variables| told(variables) == [0, 0]));
        assert!(bad.iter().all(|variables| told(variables) == [1, 1]));
    }

    #[test]
    fn a_pulse_is_such_as_a_host_takes() {
        let told = |pulse: config::Value| problems(json!({ "pulse": pulse })).len();
        assert_eq!([json!(1), json!("5"), json!(86_400), json!(null)].map(told), [0; 4]);
        assert_eq!([json!(0), json!(86_401), json!(-1), json!(0.5), json!("soon")].map(told), [1; 5]);
    }

    #[test]
    fn a_number_is_whole_and_not_negative() {
        for number in [json!(-1), json!("-1"), json!(2.5), json!("two"), json!(""), json!(null), json!(true), json!([])] {
            let told = problems(json!({ "preserve_n": number }));
            assert!(told[0].starts_with("/preserve_n: ") && told[0].contains("expected a whole number"), "{number}: {told:?}");
        }
    }

    #[test]
    fn devmode_is_on_or_off_and_nothing_else() {
        let read = |value: config::Value| {
            config::parse::<Config>(&json!({ "devmode_no_failure_compensation": value }).to_string()).map(|config| config.devmode())
        };
        assert!([json!(true), json!("true"), json!(" True "), json!("TRUE")].into_iter().all(|on| read(on).unwrap()));
        assert!([json!(false), json!("false"), json!("False ")].into_iter().all(|off| !read(off).unwrap()));
        for neither in [json!("yes"), json!("on"), json!(1), json!("1"), json!(""), json!(null), json!("truee")] {
            let told = problems(json!({ "devmode_no_failure_compensation": neither }));
            assert!(told[0].starts_with("/devmode_no_failure_compensation: ") && told[0].contains("true or false"), "{neither}: {told:?}");
        }
    }
}
