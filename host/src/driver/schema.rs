//! Judges an engine's section of a configuration by the engine's schema, in words for whoever wrote the configuration.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use pilothouse_core::config::ConfigProblem;
use pilothouse_core::pointer::escaped;
use serde_json::{Map, Value};

/// Problems that are told: enough to work with.
const MAX_PROBLEMS: usize = 64;

/// The longest text of a problem, in characters.
const MAX_TEXT: usize = 1000;

fn brief(text: String) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text,
    }
}

/// What is wrong with a section by the schema alone, each with the key.
pub fn check_schema(schema: &Map<String, Value>, conf: &Map<String, Value>) -> Vec<ConfigProblem> {
    match jsonschema::validator_for(&Value::Object(schema.clone())) {
        Ok(validator) => {
            let conf = Value::Object(conf.clone());
            let all = validator.iter_errors(&conf).flat_map(|error| problems(&error));
            // Each may repeat what it is about, and a schema may find fault as often as it likes.
            all.take(MAX_PROBLEMS).map(|it| ConfigProblem { message: brief(it.message), ..it }).collect()
        }
        Err(error) => vec![ConfigProblem::new("/general/engine", format!("the engine's own schema is none: {error}"))],
    }
}

fn problems(error: &ValidationError<'_>) -> Vec<ConfigProblem> {
    let at = format!("/engine_conf{}", error.instance_path().as_str());
    match error.kind() {
        // Each unknown key is a problem of its own, at its own place.
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let unknown = |key: &String| ConfigProblem::new(format!("{at}/{}", escaped(key)), "the engine knows no such key");
            unexpected.iter().map(unknown).collect()
        }
        ValidationErrorKind::AnyOf { context } => vec![ConfigProblem::new(at, alternatives(context).unwrap_or_else(|| error.to_string()))],
        _ => vec![ConfigProblem::new(at, error.to_string())],
    }
}

/// Why each alternative does not fit. One of another type was hardly meant, where there is one of the right type.
fn alternatives(context: &[Vec<ValidationError<'static>>]) -> Option<String> {
    let (types, nearer): (Vec<_>, Vec<_>) =
        context.iter().filter_map(|errors| errors.first()).partition(|error| matches!(error.kind(), ValidationErrorKind::Type { .. }));
    let told = if nearer.is_empty() { types } else { nearer };
    let told: Vec<String> = told.into_iter().map(ToString::to_string).collect();
    (!told.is_empty()).then(|| told.join(", and "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(conf: Value) -> Vec<String> {
        let count = json!({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+$"}]});
        let schema = json!({"type": "object", "properties": {"n": count, "a": {"type": "boolean"}}, "required": ["n"], "additionalProperties": false});
        let (Value::Object(schema), Value::Object(conf)) = (schema, conf) else { panic!("objects") };
        check_schema(&schema, &conf).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_unknown_key_is_named_by_its_place() {
        let expected = ["/engine_conf/a~1b: the engine knows no such key", "/engine_conf/m: the engine knows no such key"];
        assert_eq!(told(json!({"n": 1, "m": 2, "a/b": 3})), expected);
    }

    #[test]
    fn of_several_alternatives_the_nearest_says_what_is_wrong() {
        assert_eq!(told(json!({"n": -1})), ["/engine_conf/n: -1 is less than the minimum of 0"]);
        assert_eq!(told(json!({"n": "x"})), ["/engine_conf/n: \"x\" does not match \"^[0-9]+$\""]);
        let neither = told(json!({"n": true}));
        assert!(neither[0].contains("integer") && neither[0].contains("string"), "{neither:?}");
    }

    #[test]
    fn what_is_missing_or_of_another_type_is_told() {
        assert_eq!(told(json!({})), ["/engine_conf: \"n\" is a required property"]);
        assert_eq!(told(json!({"n": "3", "a": 1})), ["/engine_conf/a: 1 is not of type \"boolean\""]);
    }
}
