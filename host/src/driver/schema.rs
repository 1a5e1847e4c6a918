//! Judges an engine's section of a configuration by the engine's schema, in words for whoever wrote the configuration.

mod bound;
mod outline;
#[cfg(test)]
mod tests;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError, Validator};
use pilothouse_core::config::ConfigProblem;
use pilothouse_core::pointer::escaped;
use serde_json::{Map, Value};

use self::outline::Outline;

/// Problems that are told: enough to work with.
const MAX_PROBLEMS: usize = 64;

/// The longest text of a problem, in characters.
const MAX_TEXT: usize = 1000;

/// Steps that judging a configuration may take, some seconds at the very most.
const MAX_STEPS: u64 = 10_000_000;

/// Steps up to which every fault of a configuration is told. All of them are held at once, so it is about memory.
const MAX_STEPS_TOLD: u64 = 500_000;

/// The largest program of one pattern, in bytes, and the largest table that matching makes of it.
const PATTERN_BYTES: usize = 256 << 10;

fn brief(text: String) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text,
    }
}

/// Judges a schema by itself, once it is known: that it is one, and that judging by it comes to an end soon. Takes well below a second
/// whatever the schema is.
///
/// # Errors
/// What is wrong with it, in words.
pub fn judge_schema(schema: &Map<String, Value>) -> Result<(), String> {
    validator(schema).map(drop)
}

/// The same, and what judges by it.
pub(crate) fn validator(schema: &Map<String, Value>) -> Result<Validator, String> {
    let schema = Value::Object(schema.clone());
    bound::judge(&Outline::of(&schema)?)?;
    compiled(&schema)
}

/// Only for a schema that is within its bounds: compiling one that is not may never end.
fn compiled(schema: &Value) -> Result<Validator, String> {
    // This engine matches in a time that grows with the text alone. It has no look-around and no back-references.
    let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES);
    let validator = jsonschema::options().with_pattern_options(patterns).build(schema);
    validator.map_err(|error| {
        let at = error.instance_path().as_str();
        let at = if at.is_empty() { String::new() } else { format!("at {at:?}: ") };
        brief(format!("no JSON Schema: {at}{error}"))
    })
}

/// What is wrong with a section by the schema alone, each with the key. The schema is judged as well: an engine that was loaded by itself
/// may have any.
pub fn check_schema(schema: &Map<String, Value>, conf: &Map<String, Value>) -> Vec<ConfigProblem> {
    let (schema, conf) = (Value::Object(schema.clone()), Value::Object(conf.clone()));
    judged(&schema, &conf)
        .unwrap_or_else(|problem| vec![ConfigProblem::new("/general/engine", format!("the engine's own schema: {problem}"))])
}

fn judged(schema: &Value, conf: &Value) -> Result<Vec<ConfigProblem>, String> {
    let outline = Outline::of(schema)?;
    bound::judge(&outline)?;
    let validator = compiled(schema)?;
    let too_much = || vec![ConfigProblem::new("/engine_conf", "too large, or nested too deeply, to be judged by the engine's schema")];
    let Ok(steps) = bound::steps(&outline, schema, conf, MAX_STEPS) else { return Ok(too_much()) };
    if validator.is_valid(conf) {
        return Ok(Vec::new());
    }
    if steps > MAX_STEPS_TOLD {
        let problem = "the engine's schema does not allow it, and it is too large to tell where";
        return Ok(vec![ConfigProblem::new("/engine_conf", problem)]);
    }
    let all = validator.iter_errors(conf).flat_map(|error| problems(&error));
    // Each may repeat what it is about, and a schema may find fault as often as it likes.
    Ok(all.take(MAX_PROBLEMS).map(|it| ConfigProblem { message: brief(it.message), ..it }).collect())
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
