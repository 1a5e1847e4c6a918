//! The engine `needy`: keeps exactly N instances, each with a value of its own where that is wanted; those that may be retired go first.

use pilothouse_engine::config::{Count, defaults, json};
use pilothouse_engine::{
    About, Control, Domain, Engine, Error, InstanceId, Launch, Plan, Surplus, Survey, Template, UniqueValues, Uniques, Verdict, Victims,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the engine is told.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Configuration of the engine needy", example = json!({
    "preserve_n": 2, "iaas_site": "local", "deployable_type": "worker",
    "unique_key": "rack", "unique_values": ["a", "b", "c"], "retirable_nodes": [],
}))]
pub struct Config {
    /// How many instances to keep. A whole number, or one in a string.
    #[serde(default)]
    preserve_n: Count,
    /// The deployable type to launch.
    #[schemars(length(min = 1))]
    deployable_type: String,
    /// The site to launch at.
    #[schemars(length(min = 1))]
    iaas_site: String,
    /// The size to launch.
    #[serde(default = "defaults::allocation")]
    #[schemars(length(min = 1))]
    iaas_allocation: String,
    /// Ids of instances that go before all others when there are too many.
    #[serde(default)]
    retirable_nodes: Vec<InstanceId>,
    /// The variable that every instance gets with a value of its own.
    #[serde(default)]
    #[schemars(example = &"rack")]
    unique_key: Option<String>,
    /// The values that it may have, in the order in which they are handed out: a list, or a text with commas.
    #[serde(default)]
    #[schemars(example = &"a, b, c")]
    unique_values: UniqueValues,
}

/// Remembers nothing: who has which value is written in the instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Needy {}

impl Engine for Needy {
    type Config = Config;
    const ABOUT: About = About { name: "needy", version: env!("CARGO_PKG_VERSION"), documentation: include_str!("../README.md") };

    fn decide(&mut self, domain: &Domain<'_>, config: &Config, control: &Control<'_>) -> Result<Verdict, Error> {
        let (survey, wanted) = (Survey::of(domain), config.preserve_n.get());
        let mut plan = Plan::of(&survey, wanted);
        plan.uniques = Uniques::of(config.unique_key.as_deref(), &config.unique_values);
        let (missing, surplus) = (survey.missing(wanted), survey.surplus(wanted));
        if missing > 0 {
            plan.launches.push(Launch { count: missing, ..Launch::default() });
        } else if surplus > 0 {
            plan.surplus = Some(Surplus { first: config.retirable_nodes.clone(), ..Surplus::of(surplus, Victims::Newest) });
        }
        let template = Template { deployable_type: &config.deployable_type, site: &config.iaas_site, allocation: &config.iaas_allocation };
        Ok(plan.carry_out(domain, control, &template).verdict())
    }
}

pilothouse_engine::export!(Needy);

#[cfg(test)]
mod tests;
