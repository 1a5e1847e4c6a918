//! Reading a configuration, and the kinds of value that configurations share.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Deserializer, Unexpected, Visitor};
use serde::{Deserialize, Serialize};

use crate::Problem;

pub use serde_json::{Value, json};

/// The largest number that a key which counts instances may have. Far over any domain that was tried; it catches a slipped finger.
pub const MOST_INSTANCES: u32 = 1_000_000;

/// What the shipped engines launch when they are not told. The values are their predecessors', so that old configurations mean the same.
pub mod defaults {
    /// Where to launch.
    #[must_use]
    pub fn site() -> String {
        "ec2-east".to_owned()
    }

    /// What to launch.
    #[must_use]
    pub fn deployable_type() -> String {
        "epu_work_consumer".to_owned()
    }

    /// In which size.
    #[must_use]
    pub fn allocation() -> String {
        "small".to_owned()
    }
}

/// Reads a configuration. What is wrong is told with the key.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse<C: DeserializeOwned>(text: &str) -> Result<C, Problem> {
    // A derived type would also take a list of its fields in their order, which nobody means.
    if text.trim_start().starts_with('[') {
        return Err(Problem { at: String::new(), message: "expected an object".to_owned() });
    }
    // Almost every configuration is good, so the way to the bad key is looked for only when there is one.
    serde_json::from_str(text).or_else(|_| {
        let mut json = serde_json::Deserializer::from_str(text);
        serde_path_to_error::deserialize(&mut json).map_err(|error| problem_of(&error)).and_then(|config| match json.end() {
            Ok(()) => Ok(config),
            Err(error) => Err(Problem { at: String::new(), message: error.to_string() }),
        })
    })
}

/// A problem with the value of a top-level key.
pub fn problem(key: &str, message: impl Into<String>) -> Problem {
    Problem { at: format!("/{}", escape(key)), message: message.into() }
}

/// A number of instances: a whole number from 0 to [`MOST_INSTANCES`], also when it is written in a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(transparent)]
pub struct Count(u32);

impl Count {
    /// So many, but at most [`MOST_INSTANCES`].
    #[must_use]
    pub const fn new(count: u32) -> Self {
        Self(if count < MOST_INSTANCES { count } else { MOST_INSTANCES })
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let count = deserializer.deserialize_any(Whole { most: u64::from(MOST_INSTANCES) })?;
        Ok(Self(u32::try_from(count).unwrap_or(MOST_INSTANCES)))
    }
}

impl JsonSchema for Count {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        whole(u64::from(MOST_INSTANCES), r"^\s*0*([0-9]{1,6}|1000000)\s*$")
    }
}

/// A length of time in whole seconds, at most ten years, also when it is written in a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(transparent)]
pub struct Seconds(u64);

impl Seconds {
    /// Ten years, leap days included.
    const MOST: u64 = 315_576_000;

    /// So many seconds, but at most ten years.
    #[must_use]
    pub const fn new(seconds: u64) -> Self {
        Self(if seconds < Self::MOST { seconds } else { Self::MOST })
    }

    /// As a length of time.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Whole { most: Self::MOST }).map(Self)
    }
}

impl JsonSchema for Seconds {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Seconds".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        whole(Self::MOST, r"^\s*0*[0-9]{1,9}\s*$")
    }
}

/// The schema of what [`Whole`] reads.
fn whole(most: u64, pattern: &str) -> Schema {
    json_schema!({
        "anyOf": [
            { "type": "integer", "minimum": 0, "maximum": most },
            { "type": "string", "pattern": pattern },
        ],
    })
}

struct Whole {
    most: u64,
}

impl Visitor<'_> for Whole {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from 0 to {}", self.most)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<u64, E> {
        if value <= self.most { Ok(value) } else { Err(E::invalid_value(Unexpected::Unsigned(value), &self)) }
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<u64, E> {
        match u64::try_from(value) {
            Ok(value) => self.visit_u64(value),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(value), &self)),
        }
    }

    /// JSON knows one kind of number: `3.0` is as whole as `3`.
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<u64, E> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be whole and small")]
        if value.fract() == 0.0 && (0.0..=9e15).contains(&value) {
            self.visit_u64(value as u64)
        } else {
            Err(E::invalid_value(Unexpected::Float(value), &self))
        }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<u64, E> {
        let digits = text.trim();
        match digits.parse::<u64>() {
            Ok(value) if digits.starts_with(|first: char| first.is_ascii_digit()) => self.visit_u64(value),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

/// People don't see the text as it was stored, so where in it an error stands helps nobody; unless it is no JSON at all.
fn problem_of(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let text = error.inner().to_string();
    if !error.inner().is_data() {
        return Problem { at: String::new(), message: text };
    }
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    Problem { at: pointer(error.path()), message: message.to_owned() }
}

/// The path as a JSON pointer.
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(String::new(), |at, segment| match segment {
        Segment::Seq { index } => format!("{at}/{index}"),
        Segment::Map { key } => format!("{at}/{}", escape(key)),
        Segment::Enum { variant } => format!("{at}/{}", escape(variant)),
        Segment::Unknown => at,
    })
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        preserve_n: Count,
        #[serde(default)]
        cooldown: Seconds,
        #[serde(default)]
        labels: std::collections::BTreeMap<String, u8>,
    }

    fn told(text: &str) -> (String, String) {
        let problem = parse::<Config>(text).unwrap_err();
        (problem.at, problem.message)
    }

    #[test]
    fn a_count_is_an_integer_or_an_integer_in_a_string() {
        for (text, value) in [("3", 3), ("\"3\"", 3), ("\" 3 \"", 3), ("3.0", 3), ("0", 0), ("1000000", 1_000_000)] {
            assert_eq!(parse::<Config>(&format!("{{\"preserve_n\":{text}}}")).map(|config| config.preserve_n.get()), Ok(value), "{text}");
        }
        for text in ["-1", "\"-1\"", "\"+1\"", "3.5", "\"\"", "\"three\"", "null", "true", "[]", "1000001", "1e300"] {
            let (at, message) = told(&format!("{{\"preserve_n\":{text}}}"));
            assert_eq!(at, "/preserve_n", "{text}");
            assert!(message.contains("expected a whole number from 0 to 1000000"), "{text}: {message}");
        }
    }

    #[test]
    fn seconds_are_a_length_of_time() {
        let cooldown = parse::<Config>("{\"preserve_n\":1,\"cooldown\":\"90\"}").unwrap().cooldown;
        assert_eq!(cooldown.duration(), Duration::from_secs(90));
    }

    #[test]
    fn an_unknown_key_is_named() {
        let (at, message) = told("{\"preserve_n\":1,\"preserve_m\":2}");
        assert_eq!(at, "/preserve_m");
        assert!(message.starts_with("unknown field `preserve_m`, expected one of"), "{message}");
    }

    #[test]
    fn a_missing_key_is_named() {
        assert_eq!(told("{}"), (String::new(), "missing field `preserve_n`".to_owned()));
    }

    #[test]
    fn a_key_inside_another_is_a_path() {
        assert_eq!(told("{\"preserve_n\":1,\"labels\":{\"a/b\":\"x\"}}").0, "/labels/a~1b");
    }

    #[test]
    fn a_list_is_no_configuration() {
        assert_eq!(told(" [3, 1, {}]"), (String::new(), "expected an object".to_owned()));
    }

    #[test]
    fn what_is_no_json_is_told_with_its_place() {
        let (at, message) = told("{\"preserve_n\":");
        assert_eq!(at, "");
        assert!(message.contains("line 1"), "{message}");
        assert!(told("{\"preserve_n\":1} x").1.contains("trailing"));
    }
}
