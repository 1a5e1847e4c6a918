//! The engine `simplest`: keeps exactly N instances alive.
//!
//! The policy is in [`policy`]; here it is only connected.

pub mod policy;

use pilothouse_engine::{About, Control, Domain, Engine, Error, Live, Survey, Template, Verdict};

use policy::Config;

/// Keeps exactly N instances alive. Remembers nothing: what it sees is enough.
#[derive(Debug)]
pub struct Simplest;

impl Engine for Simplest {
    type Config = Config;
    type Memory = ();

    const ABOUT: About = About {
        name: "simplest",
        version: env!("CARGO_PKG_VERSION"),
        documentation: include_str!("../README.md"),
        config_schema: include_str!("config.schema.json"),
    };

    fn decide((): (), domain: &Domain, config: &Config, control: &Control) -> Result<Verdict<()>, Error> {
        let plan = policy::plan(config, &Survey::of(domain));
        let template =
            Template { deployable_type: &config.epuworker_type, site: &config.force_site, allocation: &config.epuworker_allocation };
        Ok(plan.carry_out(&Live { domain, control }, &template).verdict(()))
    }
}

pilothouse_engine::export!(Simplest);
