//! What an engine says of itself, judged.

use pilothouse_core::name::Name;
use semver::Version;
use serde_json::{Map, Value};

use crate::bindings::exports::pilothouse::engine::engine as guest;
use crate::loader::LoadError;

/// The longest documentation, and the longest schema, in bytes: hosts hand them round.
const TEXT_BYTES: usize = 256 << 10;

/// What an engine says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// By which domains ask for it.
    pub name: Name,
    /// Semantic.
    pub version: Version,
    /// Markdown, for people who configure a domain.
    pub documentation: String,
    /// JSON Schema (2020-12) of its configuration. Only known to be an object here.
    pub config_schema: Map<String, Value>,
}

impl Description {
    /// The longest version, in bytes: it is in every record of a decision.
    pub const MAX_VERSION_BYTES: usize = 64;

    pub(crate) fn judge(told: guest::Description) -> Result<Self, LoadError> {
        let bad = |field, problem: String| LoadError::Description { field, problem };
        for (field, text, most) in [
            ("version", &told.version, Self::MAX_VERSION_BYTES),
            ("documentation", &told.documentation, TEXT_BYTES),
            ("config-schema", &told.config_schema, TEXT_BYTES),
        ] {
            if text.len() > most {
                return Err(bad(field, format!("{} bytes; at most {most} are taken", text.len())));
            }
        }
        Ok(Self {
            name: told.name.parse().map_err(|error: pilothouse_core::name::BadName| bad("name", error.to_string()))?,
            version: Version::parse(&told.version)
                .map_err(|error| bad("version", format!("{:?} is no semantic version: {error}", told.version)))?,
            documentation: told.documentation,
            config_schema: serde_json::from_str(&told.config_schema)
                .map_err(|error| bad("config-schema", format!("expected a JSON object: {error}")))?,
        })
    }
}
