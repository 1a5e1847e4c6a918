//! The JSON Schema of a configuration, derived from its type.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// The schema (2020-12), whole: what is used twice is there twice, so that each key says for itself what it takes.
#[must_use]
pub fn of<C: JsonSchema>() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.into_generator().into_root_schema_for::<C>().to_value()
}

/// The same as text.
pub(crate) fn text<C: JsonSchema>() -> String {
    of::<C>().to_string()
}
