//! What is asked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Asks why. Only the domain must be named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// Which domain.
    pub domain: String,
    /// One of its instances, by id or by number; nothing for the domain as a whole. Its story is told whole: neither `at` nor `last` goes
    /// with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The domain as it was at this moment, in milliseconds since 1970; left out, as it is at present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The newest decisions, a line each: so many, from 1 to [`Self::MAX_LAST`]. With `at`, the newest by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<u32>,
}

impl Ask {
    /// How many decisions can be listed at once: as many lines as still fit one answer.
    pub const MAX_LAST: u32 = 500;
}
