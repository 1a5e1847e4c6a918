//! What the engine is told, and what of it does not go together.

use pilothouse_engine::config::{self, defaults};
use pilothouse_engine::{Duration, Problem, Statistic, Victims};
use serde::Deserialize;

/// What the engine is told.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The sensor to follow. Without one the size stays between the bounds.
    #[serde(default)]
    pub metric: Option<String>,
    /// What is made of each instance's readings before they are averaged over the instances.
    #[serde(default)]
    pub sample_function: SampleFunction,
    /// How far back readings count, in milliseconds (seconds in the configuration).
    #[serde(default = "default_period", deserialize_with = "config::seconds")]
    pub sample_period: Duration,
    /// How long after an action the size is held, in milliseconds (seconds in the configuration).
    #[serde(default, deserialize_with = "config::seconds")]
    pub cooldown_period: Duration,
    /// Above it the size grows. Equal to it nothing happens.
    #[serde(default)]
    pub scale_up_threshold: Option<f64>,
    /// By how many; 0 never grows.
    #[serde(default, deserialize_with = "config::count")]
    pub scale_up_n_vms: u32,
    /// Below it the size shrinks. Equal to it nothing happens.
    #[serde(default)]
    pub scale_down_threshold: Option<f64>,
    /// By how many; 0 never shrinks.
    #[serde(default, deserialize_with = "config::count")]
    pub scale_down_n_vms: u32,
    /// Never fewer than that.
    #[serde(default, deserialize_with = "config::count")]
    pub minimum_vms: u32,
    /// Never more than that.
    #[serde(deserialize_with = "config::count")]
    pub maximum_vms: u32,
    /// What to launch.
    #[serde(default = "defaults::deployable_type")]
    pub deployable_type: String,
    /// Where to launch.
    #[serde(default = "defaults::site")]
    pub iaas_site: String,
    /// In which size.
    #[serde(default = "defaults::allocation")]
    pub iaas_allocation: String,
    /// Who goes first when there are too many.
    #[serde(default)]
    pub victims: Victims,
}

fn default_period() -> Duration {
    90_000
}

/// A statistic over the readings of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
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
    use pilothouse_engine::Engine;
    use pilothouse_engine::testing::check_schema;

    use super::*;

    #[test]
    fn configurations_that_contradict_themselves_are_refused_with_the_key() {
        let scaled = || -> Config {
            config::parse(r#"{"metric":"load","scale_up_threshold":4,"scale_down_threshold":1,"minimum_vms":2,"maximum_vms":6}"#).unwrap()
        };
        let keys = |config: &Config| check(config).into_iter().map(|problem| problem.at).collect::<Vec<_>>();
        assert_eq!(keys(&scaled()), [""; 0]);
        assert_eq!(keys(&Config { minimum_vms: 6, ..scaled() }), [""; 0]);
        assert_eq!(keys(&Config { minimum_vms: 7, ..scaled() }), ["/minimum_vms"]);
        assert_eq!(keys(&Config { scale_down_threshold: Some(4.1), ..scaled() }), ["/scale_down_threshold"]);
        assert_eq!(keys(&Config { metric: None, ..scaled() }), ["/scale_up_threshold", "/scale_down_threshold"]);
    }

    #[test]
    fn the_schema_says_what_the_configuration_is() {
        check_schema::<Config>(crate::Sensor::ABOUT.config_schema);
    }
}
