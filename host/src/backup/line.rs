//! What a backup file consists of, line by line.

use pilothouse_core::name::Name;
use pilothouse_core::state::DomainState;
use pilothouse_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::driver::definitions::Written;

/// The version of the format that is written.
pub(super) const VERSION: u16 = 2;

/// The oldest version that can be read: the first one did not have the registry of engines. A file of any other is refused.
pub(super) const OLDEST: u16 = 1;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// The first.
    #[serde(rename = "pilothouse_backup")]
    Header(Header),
    /// A definition.
    Definition(Definition),
    /// The component of an engine.
    Engine(Engine),
    /// What the registry says of an engine.
    Registry(Registered),
    /// A domain.
    Domain(Box<DomainState>),
    /// The last.
    End(Trailer),
}

/// What is said of a backup before its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// Of the format.
    pub(crate) version: u16,
    /// When it was begun, in milliseconds since the Unix epoch.
    pub(crate) at: Timestamp,
    /// The prefix of the subjects where it was made. It may be restored under another one.
    pub(crate) prefix: String,
    /// The version of the program that made it.
    pub(crate) program: String,
}

/// A definition, and what is known of its writing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Definition {
    pub(super) name: Name,
    pub(super) written: Written,
}

/// A component by its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Engine {
    /// SHA-256 of the component, in hexadecimal.
    pub(super) digest: String,
    /// As base64.
    #[serde(with = "as_text")]
    pub(super) component: Vec<u8>,
}

/// What the registry says of an engine: its versions, its pin and its limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Registered {
    pub(super) name: Name,
    /// As the bucket keeps it, with the version of that format.
    pub(super) entry: Value,
}

/// What closes a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trailer {
    /// How many there are.
    pub(super) definitions: usize,
    /// How many there are.
    pub(super) engines: usize,
    /// How many there are; left out where there are none, as it always was in the first version.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(super) registry: usize,
    /// How many there are.
    pub(super) domains: usize,
    /// SHA-256 of every byte before this line, in hexadecimal.
    pub(super) sha256: String,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

impl Trailer {
    /// Counts a line, if it is one that is counted.
    pub(super) fn count(&mut self, line: &Line) {
        match line {
            Line::Definition(_) => self.definitions += 1,
            Line::Engine(_) => self.engines += 1,
            Line::Registry(_) => self.registry += 1,
            Line::Domain(_) => self.domains += 1,
            Line::Header(_) | Line::End(_) => {}
        }
    }
}

/// Bytes as hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes as base64.
mod as_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
