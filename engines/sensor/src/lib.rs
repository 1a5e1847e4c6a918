//! The engine `sensor`: as many instances as their readings ask for, between a minimum and a maximum.
//!
//! The policy is in [`policy`]; here it is only connected.

pub mod config;
pub mod policy;

use pilothouse_engine::{About, Control, Domain, Engine, Error, Problem, Setup, Survey, Template, Timestamp, Verdict};
use serde::{Deserialize, Serialize};

use config::Config;

/// As many instances as their readings ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sensor {
    /// The wanted size. Nothing yet: what is there.
    pub target: Option<u32>,
    /// When the size was last changed by a threshold.
    pub scaled_at: Option<Timestamp>,
}

impl Engine for Sensor {
    type Config = Config;

    const ABOUT: About = About { name: "sensor", version: env!("CARGO_PKG_VERSION"), documentation: include_str!("../README.md") };

    fn check_config(config: &Config) -> Vec<Problem> {
        config::check(config)
    }

    fn initialize(domain: &Domain<'_>, config: &Config, _setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(policy::adopt(config, domain.counts().valid))
    }

    fn decide(&mut self, domain: &Domain<'_>, config: &Config, control: &Control<'_>) -> Result<Verdict, Error> {
        let (survey, now) = (Survey::of(domain), domain.now());
        let readings = policy::metric_to_read(config, self, &survey, now)
            .map(|metric| domain.sensor_of_all(metric, config.sample_function.statistic(), config.sample_period.duration()));
        let wish = policy::plan(config, &survey, self, now, readings.as_deref());
        let template = Template { deployable_type: &config.deployable_type, site: &config.iaas_site, allocation: &config.iaas_allocation };
        let done = wish.plan.carry_out(domain, control, &template);
        *self = policy::remember(*self, wish.scaling, &survey, &done, now);
        Ok(done.verdict())
    }
}

pilothouse_engine::export!(Sensor);

#[cfg(test)]
mod tests {
    use pilothouse_engine::testing::check_schema_with;

    #[test]
    fn the_schema_says_what_the_configuration_is() {
        check_schema_with::<super::Sensor>(|schema, config| {
            jsonschema::draft202012::meta::validate(schema).expect("it is a schema");
            jsonschema::draft202012::is_valid(schema, config)
        });
    }
}
