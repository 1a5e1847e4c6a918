//! What is told of sensors.

use pilothouse_core::name::Name;
use pilothouse_core::sensor::{Sample, Statistic};
use pilothouse_core::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is known of one series of readings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct SensorData {
    /// How far back it is told, in seconds: as far as the engine looked in its last decision, or five minutes when it did not look.
    #[serde(default)]
    pub window: f64,
    /// The newest reading: in the window, before it (with its age in milliseconds), or none.
    #[serde(default)]
    pub newest: Sample,
    /// Times, in seconds since the Unix epoch, and values, oldest first: the newest in the window, at most 60.
    pub series: Vec<(f64, f64)>,
    /// Of all readings in the window; left out when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<f64>,
    /// Of all readings in the window; left out when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<f64>,
    /// Of all readings in the window; left out when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<f64>,
    /// Of all readings in the window; left out when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<f64>,
    /// How many there are in the window.
    pub sample_count: u64,
    /// What the engine asked for in its last decision, and what it would be told now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<SensorAnswer>,
}

/// What an engine would be told now.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct SensorAnswer {
    /// What it asked for.
    pub statistic: Statistic,
    /// Over how many seconds.
    pub window: f64,
    /// A value; or the last reading before those seconds, stale, with its age in milliseconds; or that there is none.
    pub sample: Sample,
}

/// How asking Prometheus for one series goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PullDescription {
    /// The source, by the name that hosts know it by.
    pub source: Name,
    /// What is asked there.
    pub query: String,
    /// From one question to the next, in seconds.
    pub interval: f64,
    /// When the last good answer came since this host took the domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Timestamp>,
    /// Readings that the last good answer gave. Nothing is known of what it did not tell: none is never zero.
    pub readings: u64,
    /// Series of the last good answer whose label fits no instance.
    pub unmatched: u64,
    /// Series of the last good answer whose label fits more than one instance.
    pub ambiguous: u64,
    /// Series of the last good answer without a number: NaN, an infinity, or a histogram.
    pub without_number: u64,
    /// What the server said against its last good answer: that some of it is missing, perhaps. Its values are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// What went wrong, if the last question was not answered well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<PullFailure>,
}

/// What went wrong with the last question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PullFailure {
    /// In words.
    pub message: String,
    /// When.
    pub at: Timestamp,
    /// How often in a row by now.
    pub in_a_row: u32,
}
