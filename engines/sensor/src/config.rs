//! What the engine is told, and what of it does not go together.

use pilothouse_engine::config::{self, Count, Seconds, defaults, json};
use pilothouse_engine::{Problem, Statistic, Victims};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
#[schemars(example = json!({ "minimum_vms": 1, "maximum_vms": 1 }))]
pub struct Config {
    /// The sensor to follow. Without one the size stays between the bounds.
    #[serde(default)]
    #[schemars(length(min = 1), example = &"load")]
    pub metric: Option<String>,
    /// What is made of the readings of each instance before they are averaged over the instances.
    #[serde(default)]
    pub sample_function: SampleFunction,
    /// How far back readings count, in seconds.
    #[serde(default = "default_period")]
    #[schemars(example = &"60")]
    pub sample_period: Seconds,
    /// How long after an action the size is held, in seconds. Replacements and the minimum are not.
    #[serde(default)]
    #[schemars(example = 180)]
    pub cooldown_period: Seconds,
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
    /// Who goes first when there are too many.
    #[serde(default)]
    pub victims: Victims,
}

fn default_period() -> Seconds {
    Seconds::new(90)
}

/// A statistic over the readings of one instance.
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
    P99,
}

impl SampleFunction {
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
            Self::P99 => Statistic::P99,
        }
    }
}

/// What does not go together.
#[must_use]
pub fn check(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    if config.minimum_vms > config.maximum_vms {
        let message = format!("minimum_vms = {} is over maximum_vms = {}", config.minimum_vms, config.maximum_vms);
        problems.push(config::problem("minimum_vms", message));
    }
    if let (Some(up), Some(down)) = (config.scale_up_threshold, config.scale_down_threshold)
        && down > up
    {
        let message = format!("expected at most scale_up_threshold = {up}, or every reading between the two would do both");
        problems.push(config::problem("scale_down_threshold", message));
    }
    if config.metric.is_none() {
        for (key, threshold) in [("scale_up_threshold", config.scale_up_threshold), ("scale_down_threshold", config.scale_down_threshold)] {
            if threshold.is_some() {
                problems.push(config::problem(key, "expected a metric beside it"));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use pilothouse_engine::testing::FakeDomain;

    use super::*;
    use crate::Sensor;

    #[test]
    fn configurations_that_contradict_themselves_are_refused_with_the_key() {
        let keys = |changes: config::Value| {
            let mut config =
                json!({ "metric": "load", "scale_up_threshold": 4, "scale_down_threshold": 1, "minimum_vms": 2, "maximum_vms": 6 });
            config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            FakeDomain::<Sensor>::problems(&config).into_iter().map(|problem| problem.at).collect::<Vec<_>>()
        };
        assert_eq!(keys(json!({})), [""; 0]);
        assert_eq!(keys(json!({ "minimum_vms": 6 })), [""; 0]);
        assert_eq!(keys(json!({ "minimum_vms": 7 })), ["/minimum_vms"]);
        assert_eq!(keys(json!({ "scale_down_threshold": 4.1 })), ["/scale_down_threshold"]);
        assert_eq!(keys(json!({ "metric": null })), ["/scale_up_threshold", "/scale_down_threshold"]);
        assert_eq!(keys(json!({ "maximum_vms": "many" })), ["/maximum_vms"]);
    }
}
