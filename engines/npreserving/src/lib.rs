//! The engine `npreserving`: keeps exactly N instances alive, some of which have an identity.
//!
//! The policy is in [`policy`]; here it is only connected.

pub mod policy;

use pilothouse_engine::{About, Control, Domain, Engine, Error, Filter, Problem, Setup, Survey, Template, Verdict};
use serde::{Deserialize, Serialize};

use policy::{Bound, Config};

/// Keeps exactly N instances alive, some of which have an identity. Remembers who holds which label.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Npreserving {
    /// Who holds which label.
    pub bound: Bound,
}

impl Engine for Npreserving {
    type Config = Config;

    const ABOUT: About = About { name: "npreserving", version: env!("CARGO_PKG_VERSION"), documentation: include_str!("../README.md") };

    fn check_config(config: &Config) -> Vec<Problem> {
        policy::check(config)
    }

    fn initialize(domain: &Domain<'_>, config: &Config, _setup: &Setup<'_>) -> Result<Self, Error> {
        if config.unique_instances.is_empty() {
            return Ok(Self::default());
        }
        Ok(Self { bound: policy::adopt(config, &domain.instances(&Filter::valid(), None)) })
    }

    fn decide(&mut self, domain: &Domain<'_>, config: &Config, control: &Control<'_>) -> Result<Verdict, Error> {
        let survey = Survey::of(domain);
        let holders = policy::holders(&self.bound, |id| domain.instance(id), &survey);
        let wish = policy::plan(config, &survey, &holders);
        let template =
            Template { deployable_type: &config.epuworker_type, site: &config.force_site, allocation: &config.epuworker_allocation };
        let done = wish.plan.carry_out(domain, control, &template);
        self.bound = policy::remember(config, holders, &wish.labels, &done);
        Ok(done.verdict())
    }
}

pilothouse_engine::export!(Npreserving);

#[cfg(test)]
mod tests {
    use pilothouse_engine::testing::check_schema_with;

    #[test]
    fn the_schema_says_what_the_configuration_is() {
        check_schema_with::<super::Npreserving>(|schema, config| {
            jsonschema::draft202012::meta::validate(schema).expect("it is a schema");
            jsonschema::draft202012::is_valid(schema, config)
        });
    }
}
