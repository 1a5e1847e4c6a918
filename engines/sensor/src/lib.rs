//! The engine `sensor`: as many instances as what is read of them, or of their domain, asks for, between a minimum and a maximum.
//!
//! The policy is in [`policy`]; here it is only connected.

pub mod config;
pub mod cooldown;
pub mod policy;
pub mod reading;
pub mod recommendation;
pub mod silence;
pub mod window;

use pilothouse_engine::{About, Cause, Control, Domain, Engine, Error, Problem, Setup, Survey, Template, Timestamp, Verdict};
use serde::{Deserialize, Serialize};

use config::Config;
use reading::Reading;
use silence::Silence;
use window::Window;

/// As many instances as what is read asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sensor {
    /// The wanted size. Nothing yet: what is there.
    pub target: Option<u32>,
    /// When the size was last changed by what was read. Cooldowns begin there.
    pub scaled_at: Option<Timestamp>,
    /// That every look has found no reading where one was expected. Only kept where something follows from it.
    pub silence: Option<Silence>,
    /// What was recommended in the recent past. Only kept where a window is configured.
    pub window: Window,
}

/// What version 1 kept.
#[derive(Default, Serialize, Deserialize)]
struct Version1 {
    target: Option<u32>,
    scaled_at: Option<Timestamp>,
}

/// What version 2 kept: of a silence only when it began.
#[derive(Serialize, Deserialize)]
struct Version2 {
    target: Option<u32>,
    scaled_at: Option<Timestamp>,
    silent_since: Option<Timestamp>,
    window: Window,
}

impl Engine for Sensor {
    type Config = Config;

    const ABOUT: About = About { name: "sensor", version: env!("CARGO_PKG_VERSION"), documentation: include_str!("../README.md") };

    const MEMORY_VERSION: u8 = 3;

    fn check_config(config: &Config) -> Vec<Problem> {
        config::check(config)
    }

    fn migrate(version: u8, bytes: &[u8]) -> Option<Self> {
        if version == 2 {
            let Version2 { target, scaled_at, silent_since: _, window } = pilothouse_engine::read_memory(bytes)?;
            return Some(Self { target, scaled_at, silence: None, window });
        }
        let Version1 { target, scaled_at } = match (version, bytes) {
            (1, []) => Version1::default(),
            (1, bytes) => pilothouse_engine::read_memory(bytes)?,
            _ => return None,
        };
        Some(Self { target, scaled_at, ..Self::default() })
    }

    fn initialize(domain: &Domain<'_>, config: &Config, _setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(policy::adopt(config, domain.counts().valid))
    }

    /// What is silent may be another sensor now.
    fn reconfigure(&mut self, _domain: &Domain<'_>, _config: &Config, _setup: &Setup<'_>) -> Result<(), Error> {
        self.silence = None;
        Ok(())
    }

    fn decide(&mut self, domain: &Domain<'_>, config: &Config, control: &Control<'_>) -> Result<Verdict, Error> {
        let (survey, now) = (Survey::of(domain), domain.now());
        if domain.cause() == Cause::TakenOver {
            // This host has heard nothing yet of what was told before.
            self.silence = None;
        }
        let metric = policy::metric_to_read(config, self, &survey, now);
        let mut reading = metric.map(|metric| reading::read(domain, config, metric, &survey));
        if let (Some(metric), Some(Reading::Figure(figure))) = (metric, &reading)
            && config.sample_function.adds_up()
            && policy::points_down(config, &survey, self, figure)
        {
            reading = Some(reading::throughout(domain, config, metric, &survey, figure));
        }
        let policy::Wish { plan, scaling, memory } = policy::plan(config, &survey, self, now, reading);
        let template = Template { deployable_type: &config.deployable_type, site: &config.iaas_site, allocation: &config.iaas_allocation };
        let done = plan.carry_out(domain, control, &template);
        *self = policy::remember(memory, scaling, &survey, &done, now);
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
