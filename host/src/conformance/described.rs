//! What an engine says of itself, and whether that is true: the schema of its configuration, with its examples and defaults.

use std::time::Instant;

use pilothouse_core::config::ConfigProblem;
use pilothouse_engine_host::{EngineLimits, LoadedEngine};
use serde_json::{Map, Value, json};

use super::report::{Check, Configuration, Cost, Key, Report};
use super::{Call, told};
use crate::driver::engines;

/// Examples of a schema that are tried. Each may take as long as a call may.
const EXAMPLES: usize = 8;
/// Properties that are tried with odd values.
const ODD_PROPERTIES: usize = 32;
/// Faults that are told of each check.
const TOLD: usize = 8;
/// Alternatives that are looked at, and words that are told, to say what a key may be. A schema is a stranger's: one in which a thousand
/// alternatives refer to the thousand themselves must not keep us.
const MAX_ALTERNATIVES: usize = 64;
/// Characters of each word.
const MAX_WORD: usize = 100;

/// A key that no engine has.
const NO_KEY: &str = "no_such_key_in_any_engine";
/// Where a problem is that is not one of the configuration: the engine failed instead of judging it.
const ENGINE_FAILED: &str = "/general/engine";

/// Looks at the documentation, the schema, and how the engine judges configurations.
pub(super) fn check(engine: &LoadedEngine, limits: &EngineLimits, report: &mut Report) {
    report.push(documentation(engine));
    report.push(schema(engine));
    report.push(judging(engine, limits));
}

/// A configuration that the engine takes: the first example of its schema that is good, else what its defaults make. None, with a failed
/// check, when there is none.
pub(super) fn configuration(engine: &LoadedEngine, report: &mut Report) -> Option<Configuration> {
    let mut check = Check::new("gives a configuration to start from");
    let mut problems = Vec::new();
    for (source, candidate) in candidates(&engine.description().config_schema) {
        match &*engines::check(engine, &candidate) {
            [] => {
                check.note(format!("{source}: {}", Value::Object(candidate.clone())));
                report.push(check);
                return Some(Configuration { source, value: candidate });
            }
            found => problems.push(format!("{source}: {}", listed(found))),
        }
    }
    check.fail(format!("its schema gives no example and no defaults that it takes; name a configuration ({})", problems.join("; ")));
    report.push(check);
    None
}

/// The keys of a configuration, as a schema gives them.
pub(crate) fn keys(schema: &Map<String, Value>) -> Vec<Key> {
    let required: Vec<&str> = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let key = |(name, property): (&String, &Value)| Key {
        name: name.clone(),
        kind: kind(property, schema),
        required: required.contains(&name.as_str()),
        default: property.get("default").cloned(),
        description: property.get("description").and_then(Value::as_str).map(str::to_owned),
    };
    properties(schema).map(key).collect()
}

fn documentation(engine: &LoadedEngine) -> Check {
    let description = engine.description();
    let mut check = Check::new("documents itself");
    if description.documentation.trim().is_empty() {
        check.warn("it has no documentation: people who configure a domain are told nothing");
    }
    let keys = keys(&description.config_schema);
    let silent: Vec<&str> = keys.iter().filter(|key| key.description.is_none()).map(|key| key.name.as_str()).collect();
    if !silent.is_empty() {
        check.warn(format!("no description of {}", silent.join(", ")));
    }
    check
}

/// The schema is one, and the engine takes what its schema shows.
fn schema(engine: &LoadedEngine) -> Check {
    let mut check = Check::new("its schema is one, and true");
    // First of all: what is not within its bounds may never end.
    let validator = match engines::validator(&engine.description().config_schema) {
        Ok(validator) => validator,
        Err(problem) => {
            check.fail(problem);
            return check;
        }
    };
    let schema = Value::Object(engine.description().config_schema.clone());
    if let Err(error) = jsonschema::draft202012::meta::validate(&schema) {
        check.fail(format!("no JSON Schema (2020-12), at {:?}: {error}", error.instance_path().as_str()));
        return check;
    }
    for (n, example) in examples(&engine.description().config_schema).enumerate() {
        let problems = match example {
            Value::Object(example) => engines::check(engine, example),
            _ => vec![ConfigProblem::new("", "expected an object")],
        };
        if !problems.is_empty() {
            check.fail(format!("it does not take example {} of its schema: {}", n + 1, listed(&problems)));
        }
        if problems.iter().any(|problem| problem.at == ENGINE_FAILED) {
            break;
        }
    }
    for key in keys(&engine.description().config_schema) {
        let Some(default) = key.default else { continue };
        let value = json!({ &key.name: default });
        let at = format!("/{}", key.name);
        // Only what is said of that key: others may be missing.
        let problem = validator.iter_errors(&value).find(|error| error.instance_path().as_str().starts_with(&at));
        if let Some(problem) = problem {
            check.fail(format!("the default of {} is not one that its schema allows: {problem}", key.name));
        }
    }
    check
}

/// Configurations that make no sense are judged, not stumbled over.
fn judging(engine: &LoadedEngine, limits: &EngineLimits) -> Check {
    let mut check = Check::new("judges odd configurations");
    let schema = &engine.description().config_schema;
    let mut faults = 0;
    for config in odd(schema) {
        let begun = Instant::now();
        let fault = engine.check_config(&config.to_string()).err();
        let call = Call { fuel: 0, time: begun.elapsed(), fault };
        check.cost = check.cost.clone().worst(Cost::of_time(call.time, None));
        let Some(fault) = &call.fault else { continue };
        faults += 1;
        if faults <= TOLD {
            check.fail(format!("asked to check {config}, it failed: {}", told(fault, limits)));
        }
        if call.ran_for_too_long() {
            check.note("what else there is was not tried: it would take as long");
            return check;
        }
    }
    if faults > TOLD {
        check.note(format!("it failed with {} more", faults - TOLD));
    }
    if let Some((_, mut config)) = candidates(schema).into_iter().find(|(_, config)| engines::check(engine, config).is_empty()) {
        config.insert(NO_KEY.to_owned(), json!(1));
        if engines::check(engine, &config).is_empty() {
            check.warn("it takes a key that it does not know: a key that is misspelt in a domain goes unnoticed");
        }
    }
    check
}

/// Configurations that make no sense.
fn odd(schema: &Map<String, Value>) -> Vec<Value> {
    let mut odd = vec![json!({}), json!({ NO_KEY: 1 })];
    for (name, _) in properties(schema).take(ODD_PROPERTIES) {
        odd.extend([json!({ name: null }), json!({ name: -1 }), json!({ name: "" }), json!({ name: { "odd": [] } })]);
    }
    odd
}

/// What may be a configuration, the likeliest first.
fn candidates(schema: &Map<String, Value>) -> Vec<(String, Map<String, Value>)> {
    let mut candidates: Vec<_> = examples(schema)
        .enumerate()
        .filter_map(|(n, example)| Some((format!("example {} of its schema", n + 1), example.as_object()?.clone())))
        .collect();
    if let Some(default) = schema.get("default").and_then(Value::as_object) {
        candidates.push(("the default of its schema".to_owned(), default.clone()));
    }
    let mut assembled = Map::new();
    for key in keys(schema) {
        let property = &schema["properties"][&key.name];
        let value = key.default.or_else(|| key.required.then(|| likely(property, schema)));
        assembled.extend(value.map(|value| (key.name, value)));
    }
    candidates.push(("the defaults of its keys".to_owned(), assembled));
    candidates.push(("nothing".to_owned(), Map::new()));
    candidates
}

/// A value that a schema is likely to allow.
fn likely(property: &Value, schema: &Map<String, Value>) -> Value {
    let property = resolved(property, schema, 0);
    let first = |name: &str| property.get(name).and_then(Value::as_array).and_then(|list| list.first());
    if let Some(value) = first("examples").or_else(|| property.get("const")).or_else(|| first("enum")) {
        return value.clone();
    }
    let alternative = first("anyOf").or_else(|| first("oneOf"));
    match kind(alternative.unwrap_or(property), schema).split(' ').next() {
        Some("integer" | "number") => some(alternative.unwrap_or(property)),
        Some("boolean") => json!(false),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => json!("x"),
    }
}

/// A number that shows something: three where that is allowed, for with none or one of something little happens.
fn some(property: &Value) -> Value {
    let bound = |name: &str| property.get(name).and_then(Value::as_f64);
    let (least, most) = (bound("minimum").unwrap_or(f64::MIN), bound("maximum").unwrap_or(f64::MAX));
    if (least..=most).contains(&3.0) { json!(3) } else { property.get("minimum").cloned().unwrap_or_else(|| json!(1)) }
}

/// What values a property has, in a few words.
fn kind(property: &Value, schema: &Map<String, Value>) -> String {
    let mut left = MAX_ALTERNATIVES;
    kind_at(property, schema, 0, &mut left)
}

/// The same of an alternative so deep inside. `left` counts the alternatives that may still be looked at.
fn kind_at(property: &Value, schema: &Map<String, Value>, depth: usize, left: &mut usize) -> String {
    let property = resolved(property, schema, depth);
    let list = |name: &str| property.get(name).and_then(Value::as_array);
    if let Some(words) = list("enum") {
        return joined(words.iter().map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned)), " | ");
    }
    match property.get("type") {
        Some(Value::String(kind)) => return cut(kind),
        Some(Value::Array(kinds)) => return joined(kinds.iter().filter_map(Value::as_str).map(str::to_owned), " or "),
        _ => {}
    }
    match list("anyOf").or_else(|| list("oneOf")) {
        // A schema may refer to itself.
        Some(alternatives) if depth < 4 => {
            let mut kinds = Vec::new();
            for alternative in alternatives {
                let Some(fewer) = left.checked_sub(1) else { break };
                *left = fewer;
                kinds.push(kind_at(alternative, schema, depth + 1, left));
            }
            kinds.dedup();
            kinds.join(" or ")
        }
        _ => "any".to_owned(),
    }
}

/// The first of these words, each of them cut.
fn joined(mut words: impl Iterator<Item = String>, between: &str) -> String {
    let mut told: Vec<String> = words.by_ref().take(MAX_ALTERNATIVES).map(|word| cut(&word)).collect();
    told.extend(words.next().map(|_| "…".to_owned()));
    told.join(between)
}

/// The beginning of a word.
fn cut(word: &str) -> String {
    let head: String = word.chars().take(MAX_WORD).collect();
    if head.len() < word.len() { format!("{head}…") } else { head }
}

/// What a reference within the schema leads to; a property that is none as it is.
fn resolved<'s>(property: &'s Value, schema: &'s Map<String, Value>, depth: usize) -> &'s Value {
    let target = property.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix("#/"));
    let Some(target) = target.filter(|_| depth < 4) else { return property };
    let mut parts = target.split('/');
    let first = parts.next().and_then(|part| schema.get(part));
    match parts.try_fold(first, |at, part| at.map(|at| at.get(part))).flatten() {
        Some(found) => resolved(found, schema, depth + 1),
        None => property,
    }
}

fn properties(schema: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

/// The first examples.
fn examples(schema: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    schema.get("examples").and_then(Value::as_array).into_iter().flatten().take(EXAMPLES)
}

fn listed(problems: &[ConfigProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Map<String, Value> {
        let schema = json!({
            "required": ["n", "mode"],
            "properties": {
                "n": { "$ref": "#/$defs/whole", "description": "How many." },
                "mode": { "enum": ["fast", "slow"] },
                "site": { "type": ["string", "null"], "default": "here" },
                "deep": { "type": "array", "examples": [[1]] },
            },
            "$defs": { "whole": { "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string" }] } },
        });
        schema.as_object().expect("an object").clone()
    }

    #[test]
    fn keys_are_told_with_what_they_are() {
        let told: Vec<_> = keys(&schema()).into_iter().map(|key| format!("{} {} {}", key.name, key.kind, key.required)).collect();
        assert_eq!(told, ["deep array false", "mode fast | slow true", "n integer or string true", "site string or null false"]);
    }

    #[test]
    fn a_configuration_is_made_of_defaults_and_of_what_is_required() {
        let (source, made) = candidates(&schema()).remove(0);
        assert_eq!((source.as_str(), Value::Object(made)), ("the defaults of its keys", json!({"n": 3, "mode": "fast", "site": "here"})));
    }

    #[test]
    fn examples_come_first() {
        let mut schema = schema();
        schema.insert("examples".to_owned(), json!([{"n": 3}]));
        assert_eq!(Value::Object(candidates(&schema).remove(0).1), json!({"n": 3}));
    }

    #[test]
    fn a_schema_that_refers_to_itself_is_no_endless_walk() {
        let schema = json!({"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}});
        assert_eq!(keys(schema.as_object().expect("an object"))[0].kind, "any");
    }

    #[test]
    fn a_schema_whose_many_alternatives_refer_to_all_of_them_is_no_long_walk() {
        let alternatives = vec![json!({"$ref": "#/$defs/a"}); 1000];
        let schema = json!({"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"anyOf": alternatives}}});
        let kind = &keys(schema.as_object().expect("an object"))[0].kind;
        assert!(kind.starts_with("any") && kind.len() < 1000, "{kind}");
    }

    #[test]
    fn of_many_and_long_words_the_first_are_told() {
        let of = |property: Value| kind(&property, &Map::new());
        let many: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        let told = of(json!({"enum": many}));
        assert!(told.starts_with("0 | 1 | ") && told.ends_with(" | 63 | …"), "{told}");
        assert_eq!(of(json!({"enum": ["x".repeat(1000)]})).chars().count(), MAX_WORD + 1);
        assert_eq!(of(json!({"type": ["string", "null"]})), "string or null");
    }

    #[test]
    fn of_many_properties_and_examples_the_first_are_tried() {
        let many: Map<String, Value> = (0..1000).map(|n| (n.to_string(), json!({}))).collect();
        let schema = json!({"properties": many, "examples": vec![json!({}); 1000]});
        let schema = schema.as_object().expect("an object");
        assert_eq!(odd(schema).len(), 2 + 4 * ODD_PROPERTIES);
        assert_eq!(examples(schema).count(), EXAMPLES);
    }
}
