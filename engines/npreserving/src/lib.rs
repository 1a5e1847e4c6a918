//! The engine `npreserving`: keeps exactly N instances alive, some of which have an identity.
//!
//! The policy is in [`policy`]; here it is only connected.

pub mod policy;

use pilothouse_engine::{About, Control, Domain, Engine, Error, Filter, Live, Problem, Setup, Survey, Template, Verdict, valid_states};

use policy::{Config, Memory};

/// Keeps exactly N instances alive, some of which have an identity.
#[derive(Debug)]
pub struct Npreserving;

impl Engine for Npreserving {
    type Config = Config;
    type Memory = Memory;

    const ABOUT: About = About {
        name: "npreserving",
        version: env!("CARGO_PKG_VERSION"),
        documentation: include_str!("../README.md"),
        config_schema: include_str!("config.schema.json"),
    };

    fn check_config(config: &Config) -> Vec<Problem> {
        policy::check(config)
    }

    fn initialize(domain: &Domain, config: &Config, _setup: &Setup) -> Result<Memory, Error> {
        if config.unique_instances.is_empty() {
            return Ok(Memory::default());
        }
        let valid = Filter { states: valid_states(), healths: Vec::new(), site: None };
        Ok(policy::adopt(config, &domain.instances(&valid, None)))
    }

    fn decide(memory: Memory, domain: &Domain, config: &Config, control: &Control) -> Result<Verdict<Memory>, Error> {
        let survey = Survey::of(domain);
        let holders = memory.holders(|id| domain.instance(id), &survey);
        let wish = policy::plan(config, &survey, &holders);
        let template =
            Template { deployable_type: &config.epuworker_type, site: &config.force_site, allocation: &config.epuworker_allocation };
        let done = wish.plan.carry_out(&Live { domain, control }, &template);
        let memory = policy::remember(config, holders, &wish.labels, &done);
        Ok(done.verdict(memory))
    }
}

pilothouse_engine::export!(Npreserving);
