//! The engine `npreserving`: keeps exactly N instances alive, some of which have an identity.
//!
//! The policy is in [`policy`] and what it is told in [`config`]; here it is only connected.

pub mod config;
pub mod policy;

use std::collections::BTreeSet;

use pilothouse_engine::{About, Control, Domain, Engine, Error, Filter, InstanceId, Problem, Setup, Survey, Verdict, read_memory, victims};
use serde::{Deserialize, Serialize};

use config::{Bound, Config};

/// Keeps exactly N instances alive, some of which have an identity. Remembers who holds which label.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Npreserving {
    /// Who holds which label.
    pub bound: Bound,
    /// Whether anything failed since devmode was switched on.
    pub devmode_failed: bool,
}

/// What version 1 remembered: who held which label.
#[derive(Deserialize)]
struct Version1 {
    bound: Bound,
}

impl Engine for Npreserving {
    type Config = Config;

    const ABOUT: About = About { name: "npreserving", version: env!("CARGO_PKG_VERSION"), documentation: include_str!("../README.md") };

    const MEMORY_VERSION: u8 = 2;

    fn check_config(config: &Config) -> Vec<Problem> {
        config::check(config)
    }

    fn migrate(version: u8, bytes: &[u8]) -> Option<Self> {
        match version {
            1 if bytes.is_empty() => Some(Self::default()),
            1 => read_memory(bytes).map(|Version1 { bound }| Self { bound, devmode_failed: false }),
            _ => None,
        }
    }

    fn initialize(domain: &Domain<'_>, config: &Config, setup: &Setup<'_>) -> Result<Self, Error> {
        configure(config, setup)?;
        let mut held = policy::Held::new();
        if policy::may_adopt(config, &held) {
            policy::adopt(config, &mut held, domain.instances(&Filter::valid(), None));
        }
        let bound = held.into_iter().map(|(label, instance)| (label, instance.id)).collect();
        Ok(Self { bound, devmode_failed: false })
    }

    fn reconfigure(&mut self, _domain: &Domain<'_>, config: &Config, setup: &Setup<'_>) -> Result<(), Error> {
        configure(config, setup)
    }

    fn decide(&mut self, domain: &Domain<'_>, config: &Config, control: &Control<'_>) -> Result<Verdict, Error> {
        let survey = Survey::of(domain);
        let mut held = policy::held(&self.bound, |id| domain.instance(id));
        if policy::may_adopt(config, &held) {
            policy::adopt(config, &mut held, domain.instances(&Filter::valid(), None));
        }
        let holders = policy::holders(held, &survey);
        let mut wish = policy::plan(config, &survey, &holders, &Host { domain, control, config, starting: survey.starting });
        if config.devmode() {
            let failed = policy::failed_in_devmode(config, &survey, domain.counts().total, &holders);
            self.devmode_failed |= failed.is_some();
            let told = failed.unwrap_or_else(|| "nobody any more".to_owned());
            wish.plan.failed = self.devmode_failed.then(|| format!("something failed in devmode: {told}"));
        } else {
            self.devmode_failed = false;
        }
        let done = wish.plan.carry_out(domain, control, &config.template());
        self.bound = policy::remember(holders, &wish.labels, &done);
        Ok(done.verdict())
    }
}

/// The host of a decision.
struct Host<'a> {
    domain: &'a Domain<'a>,
    control: &'a Control<'a>,
    config: &'a Config,
    starting: u32,
}

impl policy::Host for Host<'_> {
    fn room(&self) -> u32 {
        let site = self.domain.sites().into_iter().find(|report| report.site == self.config.force_site);
        policy::room(site.as_ref(), self.domain.now(), self.control.budget().launches, self.starting)
    }

    fn choose(&self, count: u32, spare: &BTreeSet<&str>) -> Vec<InstanceId> {
        victims::choose(self.domain, self.config.victims, count, |id| spare.contains(id))
    }
}

/// Tells the host what the configuration wants of it.
fn configure(config: &Config, setup: &Setup<'_>) -> Result<(), Error> {
    let settings = config.settings();
    if settings == Default::default() {
        return Ok(());
    }
    setup.configure(&settings).map_err(|refusal| Error::Other(refusal.to_string()))
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
