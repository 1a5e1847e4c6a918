//! What one engine may use up, where that is less than what its host allows every engine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits of one engine, all versions of it. What is not said is as the host has it; what is above the host's own ceiling is cut to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Units of fuel for a call: about one an instruction, and one a byte that crosses the border.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub fuel: Option<u64>,
    /// Milliseconds that a call may run by the clock on the wall.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10))]
    pub deadline_ms: Option<u64>,
    /// Bytes of linear memory of a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 65_536))]
    pub memory_bytes: Option<u64>,
    /// Elements of all tables of a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub table_elements: Option<u64>,
    /// Bytes of the memory that is kept from one call to the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob_bytes: Option<u64>,
    /// Requests of one decision, launches and terminations together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Log lines of one decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_lines: Option<u64>,
    /// Bytes of one log line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_bytes: Option<u64>,
    /// Bytes that one call to the host, or one return, may hand over.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 4096))]
    pub answer_bytes: Option<u64>,
    /// Calls of one component of the engine that may run at the same time on one host: each of two versions has so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub calls: Option<u64>,
}
