//! Whether the schema of a configuration and the type that reads it agree.

use std::fmt::Debug;

use serde_json::{Map, Value, json};

use crate::{Engine, Problem, config, schema};

/// Compares the schema of an engine's configuration with the type that reads it, so that what people are told is what is taken.
///
/// The type has to refuse unknown keys, describe each key, and give at least one `example` for the whole; a key that has no default and
/// is not in the first of these needs an `example` of its own. Accepted must be: each whole example; the first one with any key set to its default or one of its examples; the first
/// one without any key that is not required, which must mean the same as the key's default. Refused must be: the first one without a
/// required key, and with an unknown key.
///
/// # Panics
/// When the two differ, with the key.
#[track_caller]
pub fn check_schema<E: Engine<Config: PartialEq + Debug>>() {
    compare::<E>(None);
}

/// The same with a validator, which tells whether a configuration is good by a schema (the first is the schema): it must say the same of
/// every configuration named above. Besides, values of every kind are tried for each key: what the schema lets pass the type must take.
///
/// # Panics
/// When the two differ, with the key.
#[track_caller]
pub fn check_schema_with<E: Engine<Config: PartialEq + Debug>>(is_valid: impl Fn(&Value, &Value) -> bool) {
    compare::<E>(Some(&is_valid));
}

type Validator<'a> = &'a dyn Fn(&Value, &Value) -> bool;

#[track_caller]
fn compare<E: Engine<Config: PartialEq + Debug>>(validator: Option<Validator<'_>>) {
    let schema = schema::of::<E::Config>();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["type"], "object", "a configuration is an object");
    assert_eq!(schema["additionalProperties"], false, "unknown keys are not refused: use `#[serde(deny_unknown_fields)]`");
    let examples = schema["examples"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(!examples.is_empty(), "there is no example for the whole: use `#[schemars(example = json!({{ … }}))]`");

    let both = Both { schema: &schema, validator, reads: |config| config::parse::<E::Config>(&config.to_string()) };
    for example in examples {
        both.accept("example", example);
    }
    let first = examples[0].as_object().expect("a configuration is an object");
    for (key, property) in schema["properties"].as_object().expect("an object has properties") {
        both.agree_on(key, property, first);
    }
    let mut config = first.clone();
    config.insert("no_such_key".to_owned(), Value::Null);
    both.refuse("an unknown key", &Value::Object(config));
}

/// The two that have to agree.
struct Both<'a, C> {
    schema: &'a Value,
    validator: Option<Validator<'a>>,
    reads: fn(&Value) -> Result<C, Problem>,
}

impl<C: PartialEq + Debug> Both<'_, C> {
    #[track_caller]
    fn agree_on(&self, key: &str, property: &Value, first: &Map<String, Value>) {
        assert!(property["description"].is_string(), "{key} has no description: write a comment");
        let with = |value: &Value| {
            let mut config = first.clone();
            config.insert(key.to_owned(), value.clone());
            Value::Object(config)
        };
        let mut without = first.clone();
        without.remove(key);
        let without = Value::Object(without);

        let default = property.get("default");
        let required = self.schema["required"].as_array().is_some_and(|keys| keys.iter().any(|known| known == key));
        if required {
            self.refuse(key, &without);
        } else {
            let left_out = self.accept(key, &without);
            if let Some(default) = default {
                assert_eq!(left_out, self.accept(key, &with(default)), "{key}: left out it does not mean its default");
            }
        }
        let examples: Vec<&Value> = property["examples"].as_array().into_iter().flatten().collect();
        let shown = default.is_some() || first.contains_key(key) || !examples.is_empty();
        assert!(shown, "{key} has neither a default nor an example");
        for value in examples {
            self.accept(key, &with(value));
        }
        for value in kinds() {
            let config = with(&value);
            if let (Some(is_valid), Err(problem)) = (self.validator, (self.reads)(&config)) {
                assert!(!is_valid(self.schema, &config), "{key}: the schema lets {value} pass, but it is refused: {}", problem.message);
            }
        }
    }

    #[track_caller]
    fn accept(&self, what: &str, config: &Value) -> C {
        let read = (self.reads)(config).unwrap_or_else(|problem| panic!("{what}: {config} is refused: {problem:?}"));
        let passes = self.validator.is_none_or(|is_valid| is_valid(self.schema, config));
        assert!(passes, "{what}: {config} is taken, but the schema does not let it pass");
        read
    }

    #[track_caller]
    fn refuse(&self, what: &str, config: &Value) {
        assert!((self.reads)(config).is_err(), "{what}: {config} is taken");
        let passes = self.validator.is_some_and(|is_valid| is_valid(self.schema, config));
        assert!(!passes, "{what}: {config} is refused, but the schema lets it pass");
    }
}

/// Values of every kind.
fn kinds() -> Vec<Value> {
    let Value::Array(kinds) = json!([
        null, true, -1, 0, 1, 1.5, 3.0, 1_000_001, 1e300, "", "x", "3", " 3 ", "-1", "+1", "1000001", [], ["x"], {}, { "x": 1 },
        { "x": "y" }, { "x": {} }, { "x": { "y": 1 } }
    ]) else {
        unreachable!("it is written as an array")
    };
    kinds
}
