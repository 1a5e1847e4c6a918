//! `config.md`: every key of every file that people write.

use pilothouse_core::config::DomainConfig;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, schema_for};
use serde_json::{Map, Value, json};

use super::head;
use super::markdown::{bounds, cell, description, named, type_of};
use crate::agent::Spec;
use crate::hostfile::HostFile;
use crate::provisioner::Deployables;

/// The configuration of a domain, as JSON Schema.
pub(super) fn domain_schema() -> Value {
    let mut schema = schema_for!(DomainConfig);
    schema.insert("title".to_owned(), "Pilothouse domain configuration".into());
    schema.to_value()
}

/// The page.
pub(super) fn page() -> String {
    let mut text = head("Configuration");
    text += "- [A domain](#a-domain)\n- [A host](#a-host): `pilothouse serve --config FILE`\n- [Everything on one machine](#everything-on-one-machine): `pilothouse up FILE`\n\
             - [Deployable types](#deployable-types): `pilothouse provisioner local --deployables FILE`\n- [An agent](#an-agent): `pilothouse agent FILE`\n\n\
             A key that nobody knows is an error that names it.\n";
    text += "\n## A domain\n\nSections, the same in every place where a domain or a definition is configured. Every key may be left out. \
             A reconfiguration folds keys in one by one within each section; a value is replaced whole, and so is the list `schedule`. \
             [domain-config.schema.json](domain-config.schema.json) is the same for tools. What belongs into `engine_conf` is told by the engine: \
             `pilothouse definition describe` shows it.\n";
    text += &keys::<DomainConfig>(&DomainConfig::default().to_json());
    text += "\n## A host\n\nTOML, or JSON. Its definitions and domains are put there when the host is ready, if they are not there yet; one that is refused \
             is reported, and the others are put there all the same.\n";
    text += &keys::<HostFile>(&Value::Null);
    text += "\n## Everything on one machine\n\nTOML.\n\n\
             | table | meaning |\n|---|---|\n\
             | `[domain.NAME]` | A domain, with the sections of [a domain](#a-domain) as tables of their own, and with `definition`, the name of the definition that they lie over, if there is one. At least one domain is needed. |\n\
             | `[definition.NAME]` | A definition, with the same sections. |\n\
             | `[deployable.NAME]` | What can be started: see [deployable types](#deployable-types). |\n\
             | `[engine.NAME]` | An engine that is not built in: `file` is its component, seen from the folder of the file. |\n\
             | `[prometheus.NAME]` | A Prometheus server that domains may have asked, as in the configuration of [a host](#a-host). |\n";
    text += "\n## Deployable types\n\nTOML.\n";
    text += &keys::<Deployables>(&Value::Null);
    text += "\n## An agent\n\nJSON. Provisioners write it; people do when they try an agent by hand.\n";
    text += &keys::<Spec>(&Value::Null);
    text
}

/// The keys of a type, a table for each object in it. `defaults` are its defaults where its schema has none.
fn keys<T: JsonSchema>(defaults: &Value) -> String {
    let mut generator = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true).into_generator();
    let schema = T::json_schema(&mut generator).to_value();
    let mut text = String::new();
    table(&schema, "", defaults, &mut text);
    text
}

fn table(schema: &Value, path: &str, defaults: &Value, text: &mut String) {
    let none = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&none);
    if !path.is_empty() {
        *text += &format!("\n### `{path}`\n\n{}\n", description(schema));
    }
    let (mut rows, mut below) = (String::new(), Vec::new());
    for (key, field) in properties {
        let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let default = if defaults[key].is_null() { &field["default"] } else { &defaults[key] };
        if let Some((at, inner)) = inner(&at, field) {
            below.push((at, inner, default));
        }
        let is_required = schema["required"].as_array().is_some_and(|all| all.iter().any(|it| it == key));
        // Tables have tables of their own.
        let is_table = field["properties"].is_object();
        let shown = if is_required { "required".to_owned() } else { shown(default, is_table) };
        let limits = Some(bounds(field)).filter(|text| !text.is_empty()).map(|text| format!(", {text}")).unwrap_or_default();
        let kind = if is_table { "table".to_owned() } else { cell(&format!("{}{limits}", type_of(field, ""))) };
        let unit = field["x-unit"].as_str().unwrap_or_default();
        rows += &format!("| `{key}` | {kind} | {unit} | {shown} | {} |\n", cell(&description(field)));
    }
    if !rows.is_empty() {
        *text += &format!("\n| key | type | unit | default | meaning |\n|---|---|---|---|---|\n{rows}");
    }
    for (at, inner, default) in below {
        table(inner, &at, default, text);
    }
}

/// The object that a key leads to, and its path: a table, one of several by name, or one of a list.
fn inner<'s>(at: &str, field: &'s Value) -> Option<(String, &'s Value)> {
    let object = |schema: &'s Value, at: String| schema["properties"].is_object().then_some((at, schema));
    object(field, at.to_owned())
        .or_else(|| named(field).and_then(|value| object(value, format!("{at}.NAME"))))
        .or_else(|| object(&field["items"], format!("{at}[]")))
}

fn shown(default: &Value, is_table: bool) -> String {
    match default {
        Value::Null => String::new(),
        _ if is_table => String::new(),
        value if *value == json!({}) || *value == json!([]) => "none".to_owned(),
        value => format!("`{value}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key of a configuration that is whole, with its value.
    fn leaves(value: &Value, path: &str, all: &mut Vec<(String, String, Value)>) {
        for (key, value) in value.as_object().expect("a section") {
            match value {
                Value::Object(inner) if !inner.is_empty() => {
                    leaves(value, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, all);
                }
                value => all.push((path.to_owned(), key.clone(), value.clone())),
            }
        }
    }

    #[test]
    fn every_key_of_a_domain_is_told_with_its_default_and_its_unit() {
        let page = page();
        let mut all = Vec::new();
        leaves(&DomainConfig::default().to_json(), "", &mut all);
        assert!(all.len() > 15, "{all:?}");
        for (path, key, value) in all.into_iter().filter(|(path, ..)| !path.is_empty()) {
            let section = page.split(&format!("\n### `{path}`\n")).nth(1).expect("a section of its own");
            let row = section.lines().find(|line| line.starts_with(&format!("| `{key}` |"))).expect("a row");
            assert!(row.contains(&format!("| {} |", shown(&value, false))), "{value}: {row}");
            let is_length =
                ["_timeout", "_seconds", "_interval", "_age", "window", "drip_", "first", "longest"].iter().any(|part| key.contains(part));
            assert_eq!(row.contains("| s |"), is_length, "{row}");
        }
    }

    #[test]
    fn the_defaults_fit_the_schema_and_an_unknown_key_does_not() {
        let schema = domain_schema();
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        let mut config = DomainConfig::default().to_json();
        assert!(validator.is_valid(&config));
        config["health"]["boot_timout"] = json!(3);
        assert!(!validator.is_valid(&config));
        assert!(!validator.is_valid(&json!({"general": {"decide_interval": "soon"}})));
    }

    #[test]
    fn the_schema_has_the_bounds_that_the_host_has() {
        let schema = domain_schema();
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        let mut all = Vec::new();
        leaves(&DomainConfig::default().to_json(), "", &mut all);
        let (mut taken, mut refused) = (0, 0);
        for (path, key, _) in all.into_iter().filter(|(path, ..)| !path.is_empty()) {
            for value in [
                json!(-1),
                json!(0),
                json!(0.05),
                json!(0.5),
                json!(1),
                json!(2_000_000),
                json!(4_000_000_000_u64),
                json!(""),
                json!("x"),
                json!(true),
            ] {
                let inmost = json!({&key: value});
                let config = path.rsplit('.').fold(inmost, |inner, table| json!({table: inner}));
                let judged = DomainConfig::from_json(config.clone());
                assert_eq!(judged.is_ok(), validator.is_valid(&config), "{config}: {judged:?}");
                if judged.is_ok() { taken += 1 } else { refused += 1 }
            }
        }
        assert!(taken > 20 && refused > 20, "{taken} taken, {refused} refused");
    }
}
