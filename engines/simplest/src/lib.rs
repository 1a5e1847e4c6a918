//! The engine `simplest`: keeps exactly N instances alive.
//!
//! The policy is in [`policy`]; here it is only connected.

pub mod policy;

use pilothouse_engine::{About, Control, Domain, Engine, Error, Survey, Template, Verdict};
use serde::{Deserialize, Serialize};

use policy::Config;

/// Keeps exactly N instances alive. Remembers nothing: what it sees is enough.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Simplest {}

impl Engine for Simplest {
    type Config = Config;

    const ABOUT: About = About { name: "simplest", version: env!("CARGO_PKG_VERSION"), documentation: include_str!("../README.md") };

    fn decide(&mut self, domain: &Domain<'_>, config: &Config, control: &Control<'_>) -> Result<Verdict, Error> {
        let plan = policy::plan(config, &Survey::of(domain));
        let template =
            Template { deployable_type: &config.epuworker_type, site: &config.force_site, allocation: &config.epuworker_allocation };
        Ok(plan.carry_out(domain, control, &template).verdict())
    }
}

pilothouse_engine::export!(Simplest);

#[cfg(test)]
mod tests {
    use pilothouse_engine::testing::check_schema_with;

    #[test]
    fn the_schema_says_what_the_configuration_is() {
        check_schema_with::<super::Simplest>(|schema, config| {
            jsonschema::draft202012::meta::validate(schema).expect("it is a schema");
            jsonschema::draft202012::is_valid(schema, config)
        });
    }
}
