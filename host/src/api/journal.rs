//! The journal as a whole.

use pilothouse_core::name::DomainKey;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Has the owner look after domains that were put into the journal behind its back, by a restore for example.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReloadJournal {
    /// At most 128 bytes. Nothing is kept of it, because nothing depends on it: a repetition finds nothing left to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Domains that are looked after from now on and were not before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// In order.
    pub domains: Vec<DomainKey>,
}
