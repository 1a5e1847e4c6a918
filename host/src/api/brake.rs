//! The brake of a domain.

use pilothouse_core::config::BrakeConfig;
use pilothouse_core::name::Name;
use pilothouse_core::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the brake of a domain is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BrakeDescription {
    /// The domain.
    pub domain: Name,
    /// Whether it holds terminations back now.
    pub on: bool,
    /// Why it is on, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Instances that are unhealthy now.
    pub unhealthy: u32,
    /// Of so many that are neither gone nor on their way out.
    pub valid: u32,
    /// When somebody last released it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<Timestamp>,
    /// When it last let one go by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dripped: Option<Timestamp>,
    /// When it is on.
    pub config: BrakeConfig,
}
