//! Exactly N instances: how a domain stands → what has to come and what has to go.
//!
//! Pure: it sees a [`Survey`] and gives a [`Plan`]. Unhealthy instances don't count, so their replacements are asked for at once. If
//! the host defers their end, the replacements are there already when it asks again, and nothing is launched twice.

use pilothouse_engine::{Launch, Plan, Surplus, Survey, Victims, config};
use serde::Deserialize;

/// What the engine is told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How many instances to keep.
    #[serde(deserialize_with = "config::count")]
    pub preserve_n: u32,
    /// Where to launch.
    #[serde(default = "default_site")]
    pub force_site: String,
    /// What to launch.
    #[serde(default = "default_type")]
    pub epuworker_type: String,
    /// In which size.
    #[serde(default = "default_allocation")]
    pub epuworker_allocation: String,
    /// Who goes first when there are too many.
    #[serde(default)]
    pub victims: Victims,
}

fn default_site() -> String {
    "ec2-east".to_owned()
}

fn default_type() -> String {
    "epu_work_consumer".to_owned()
}

fn default_allocation() -> String {
    "small".to_owned()
}

/// What has to come and what has to go.
#[must_use]
pub fn plan(config: &Config, survey: &Survey) -> Plan {
    let target = config.preserve_n;
    let mut plan = Plan::of(survey, target);
    if survey.healthy < target {
        plan.launches.push(Launch { count: target - survey.healthy, ..Launch::default() });
    } else if survey.healthy > target {
        plan.surplus = Some(Surplus::of(survey.healthy - target, config.victims));
    }
    plan
}
