//! The engine `sensor`: as many instances as their readings ask for, between a minimum and a maximum.
//!
//! The policy is in [`policy`]; here it is only connected.

pub mod config;
pub mod policy;

use pilothouse_engine::{About, Control, Domain, Engine, Error, Live, Problem, Setup, Survey, Template, Verdict};

use config::Config;
use policy::Memory;

/// As many instances as their readings ask for.
#[derive(Debug)]
pub struct Sensor;

impl Engine for Sensor {
    type Config = Config;
    type Memory = Memory;

    const ABOUT: About = About {
        name: "sensor",
        version: env!("CARGO_PKG_VERSION"),
        documentation: include_str!("../README.md"),
        config_schema: include_str!("config.schema.json"),
    };

    fn check_config(config: &Config) -> Vec<Problem> {
        config::check(config)
    }

    fn initialize(domain: &Domain, config: &Config, _setup: &Setup) -> Result<Memory, Error> {
        Ok(policy::adopt(config, domain.counts().valid))
    }

    fn decide(memory: Memory, domain: &Domain, config: &Config, control: &Control) -> Result<Verdict<Memory>, Error> {
        let (survey, now) = (Survey::of(domain), domain.now());
        let readings = policy::metric_to_read(config, &memory, &survey, now)
            .map(|metric| domain.sensor_of_all(metric, config.sample_function.statistic(), config.sample_period));
        let wish = policy::plan(config, &survey, &memory, now, readings.as_deref());
        let template = Template { deployable_type: &config.deployable_type, site: &config.iaas_site, allocation: &config.iaas_allocation };
        let done = wish.plan.carry_out(&Live { domain, control }, &template);
        let memory = policy::remember(memory, wish.scaling, &survey, &done, now);
        Ok(done.verdict(memory))
    }
}

pilothouse_engine::export!(Sensor);
