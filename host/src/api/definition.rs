//! Definitions: named templates of configurations.

use pilothouse_core::name::Name;
use pilothouse_core::record::EngineInForce;
use pilothouse_core::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Adds a definition, or replaces it whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteDefinition {
    /// Its name.
    pub name: String,
    /// Any of the sections `general`, `health`, `engine_conf` and `sensors`, each with any of its keys.
    #[serde(default)]
    pub definition: Value,
    /// Tells a repetition of this request from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Names a definition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnDefinition {
    /// Which.
    pub name: String,
    /// Tells a repetition of this request from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Lists the definitions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListDefinitions {}

/// The definitions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DefinitionList {
    /// In the order of their names.
    pub definitions: Vec<DefinitionSummary>,
    /// Names under which something is kept that is no definition. It can be replaced or removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Name>,
    /// How many are not told of, because there are too many for one answer.
    #[serde(default)]
    pub left_out: usize,
}

/// A line about a definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DefinitionSummary {
    /// Its name.
    pub name: Name,
    /// The engine that its domains get unless they name one: `NAME` or `NAME@VERSION`.
    pub engine: String,
    /// Grows with every change of any definition.
    pub revision: u64,
}

/// All about a definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DefinitionDescription {
    /// Its name.
    pub name: Name,
    /// As it was written.
    pub definition: Value,
    /// Grows with every change of any definition.
    pub revision: u64,
    /// Who wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_by: Option<Name>,
    /// When, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_at: Option<Timestamp>,
    /// Its engine, if this host has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineInForce>,
    /// What its engine says about itself and its configuration, as Markdown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documentation: Option<String>,
    /// The JSON Schema of the section `engine_conf`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<Value>,
}
