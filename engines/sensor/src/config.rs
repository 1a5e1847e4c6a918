//! What the engine is told.

mod check;

use std::time::Duration;

use pilothouse_engine::config::{Count, Seconds, defaults, json};
use pilothouse_engine::{InstanceId, Statistic, UniqueValues, Victims};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use check::check;

/// The shortest time over which readings can be looked at, in seconds: over none at all only what comes at that very moment is read.
pub const SHORTEST_PERIOD: Seconds = Seconds::new(1);

/// How long hosts keep readings, in seconds.
pub const LONGEST_PERIOD: Seconds = Seconds::new(3600);

/// The most readings of a series that hosts keep.
pub const MOST_READINGS: u32 = 720;

/// How far from its target a figure is left alone: a tenth.
const TOLERANCE: f64 = 0.1;

/// What the engine is told.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Configuration of the engine sensor")]
#[schemars(example = json!({
    "metric": "load",
    "scale_up_threshold": 4, "scale_up_n_vms": 2,
    "scale_down_threshold": 1, "scale_down_n_vms": 1,
    "minimum_vms": 2, "maximum_vms": 10,
    "cooldown_period": 180,
}))]
#[schemars(example = json!({
    "metric": "queue", "scope": "domain", "target_value": 30,
    "minimum_vms": 0, "maximum_vms": 20,
    "scale_down_cooldown": 120, "stabilisation_window": 300,
}))]
#[schemars(example = json!({ "minimum_vms": 1, "maximum_vms": 1 }))]
pub struct Config {
    /// The sensor to follow. Without one the size stays between the bounds.
    #[serde(default)]
    #[schemars(length(min = 1), example = &"load")]
    pub metric: Option<String>,
    /// Whose readings count: those of each instance, averaged, or those of the domain as a whole.
    #[serde(default)]
    pub scope: Scope,
    /// What is made of the readings of each instance before they are averaged over the instances, or of those of the domain.
    #[serde(default)]
    pub sample_function: SampleFunction,
    /// How far back readings count, in seconds. From 1 to 3600: hosts keep readings for an hour, and 720 of each series. A sum or a count over
    /// more than those is too small.
    #[serde(default = "default_period")]
    #[schemars(extend("minimum" = 1, "maximum" = 3600), example = &"60")]
    pub sample_period: Seconds,
    /// What to do when there is no reading at all: hold the size; go by the last readings, as long as they are not older than
    /// absent_data_max_age; or grow by scale_up_n_vms whenever that has lasted for sample_period.
    #[serde(default)]
    pub absent_data: AbsentData,
    /// How old a reading may be with absent_data = "last-known", in seconds. Over sample_period, and at most 3600: hosts keep readings for an
    /// hour.
    #[serde(default)]
    #[schemars(extend("maximum" = 3600), example = 600)]
    pub absent_data_max_age: Option<Seconds>,
    /// Above it the size grows. Equal to it nothing happens.
    #[serde(default)]
    #[schemars(example = 4, example = 0.8)]
    pub scale_up_threshold: Option<f64>,
    /// By how many it grows; 0 never grows.
    #[serde(default)]
    #[schemars(example = 1)]
    pub scale_up_n_vms: Count,
    /// Below it the size shrinks. Equal to it nothing happens. Not over scale_up_threshold.
    #[serde(default)]
    #[schemars(example = 1, example = 0.2)]
    pub scale_down_threshold: Option<f64>,
    /// By how many it shrinks; 0 never shrinks.
    #[serde(default)]
    #[schemars(example = 1)]
    pub scale_down_n_vms: Count,
    /// Instead of thresholds: the size is such that the average of the instances is this, or that each has this much of the reading of the
    /// domain. Over 0.
    #[serde(default)]
    #[schemars(extend("exclusiveMinimum" = 0), example = 30, example = 0.6)]
    pub target_value: Option<f64>,
    /// As a share of target_value: as close to it nothing happens. 0.1 unless said otherwise; below 1.
    #[serde(default)]
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1), example = 0.05)]
    pub target_tolerance: Option<f64>,
    /// How long the size is held after it was changed, in seconds. Replacements and the bounds are not.
    #[serde(default)]
    #[schemars(example = 180)]
    pub cooldown_period: Seconds,
    /// The same for growing only, instead of cooldown_period.
    #[serde(default)]
    #[schemars(example = 30)]
    pub scale_up_cooldown: Option<Seconds>,
    /// The same for shrinking only, instead of cooldown_period.
    #[serde(default)]
    #[schemars(example = 600)]
    pub scale_down_cooldown: Option<Seconds>,
    /// The size only shrinks to the highest size that was recommended in so many seconds. 0: it shrinks at once.
    #[serde(default)]
    #[schemars(example = 300)]
    pub stabilisation_window: Seconds,
    /// Never fewer than that. Not over maximum_vms.
    #[serde(default)]
    #[schemars(example = 2)]
    pub minimum_vms: Count,
    /// Never more than that.
    #[schemars(example = 10, example = &"10")]
    pub maximum_vms: Count,
    /// The deployable type to launch.
    #[serde(default = "defaults::deployable_type")]
    #[schemars(length(min = 1))]
    pub deployable_type: String,
    /// The site to launch at.
    #[serde(default = "defaults::site")]
    #[schemars(length(min = 1))]
    pub iaas_site: String,
    /// The size to launch.
    #[serde(default = "defaults::allocation")]
    #[schemars(length(min = 1))]
    pub iaas_allocation: String,
    /// The variable that is different for every instance. Together with unique_values.
    #[serde(default)]
    #[schemars(example = &"port")]
    pub unique_key: Option<String>,
    /// Its values, in the order in which they are given out. With none left nobody is launched. Without a unique_key they mean nothing.
    #[serde(default)]
    #[schemars(example = json!(["8001", "8002"]), example = &"8001, 8002")]
    pub unique_values: Option<UniqueValues>,
    /// The ids of instances that go first when there are too many, in this order.
    #[serde(default)]
    #[schemars(example = json!(["i0a6-wh449zq7zpvcp3dy"]))]
    pub retirable_nodes: Vec<InstanceId>,
    /// Who goes first when there are too many, after those.
    #[serde(default)]
    pub victims: Victims,
}

fn default_period() -> Seconds {
    Seconds::new(90)
}

impl Config {
    /// How far from its target a figure is left alone, as a share of the target.
    #[must_use]
    pub fn tolerance(&self) -> f64 {
        self.target_tolerance.unwrap_or(TOLERANCE)
    }

    /// How old a reading may be that stands in for one of the period. Nothing: none may.
    #[must_use]
    pub fn last_known_for(&self) -> Option<Duration> {
        self.absent_data_max_age.filter(|_| self.absent_data == AbsentData::LastKnown).map(Seconds::duration)
    }

    /// Within the bounds. A configuration whose minimum is over its maximum was refused.
    #[must_use]
    pub fn bounded(&self, size: u32) -> u32 {
        size.min(self.maximum_vms.get()).max(self.minimum_vms.get())
    }
}

/// Whose readings count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Those of each instance: their average is compared.
    #[default]
    Instance,
    /// Those of the domain as a whole.
    Domain,
}

/// What to do when there is no reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AbsentData {
    /// The size is held.
    #[default]
    Hold,
    /// The last readings stand in for as long as they are not too old; then the size is held.
    LastKnown,
    /// The size grows.
    Up,
}

/// A statistic over the readings of one instance, or of the domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "each is what it is called")]
pub enum SampleFunction {
    #[default]
    Average,
    Sum,
    Minimum,
    Maximum,
    SampleCount,
    Last,
    P50,
    P90,
    P95,
    P99,
}

impl SampleFunction {
    /// Whether it says the less the fewer readings there are. Over a period of which a part is not covered it says too little.
    #[must_use]
    pub fn adds_up(self) -> bool {
        matches!(self, Self::Sum | Self::SampleCount)
    }

    /// What the host calls it.
    #[must_use]
    pub fn statistic(self) -> Statistic {
        match self {
            Self::Average => Statistic::Average,
            Self::Sum => Statistic::Sum,
            Self::Minimum => Statistic::Minimum,
            Self::Maximum => Statistic::Maximum,
            Self::SampleCount => Statistic::SampleCount,
            Self::Last => Statistic::Last,
            Self::P50 => Statistic::P50,
            Self::P90 => Statistic::P90,
            Self::P95 => Statistic::P95,
            Self::P99 => Statistic::P99,
        }
    }
}
