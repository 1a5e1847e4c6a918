//! The engine: keeps so many workers alive, and replaces those that the host advises to replace.

use std::collections::BTreeSet;

use pilothouse_engine::config::{Count, json};
use pilothouse_engine::{
    About, Control, Domain, Engine, Error, InstanceId, LAUNCHES_PER_DECISION, LaunchRequest, Survey, Verdict, Victims, victims,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the engine is told: the section `engine_conf` of a domain. The comments on the keys are what people read of them.
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({ "workers": 3, "site": "local" }))]
pub struct Config {
    /// How many workers to keep.
    #[schemars(example = 3)]
    pub workers: Count,
    /// The site to launch them at.
    #[schemars(example = &"local")]
    pub site: String,
}

/// What the engine remembers from one decision to the next.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Keeper {
    /// How often it was granted the end of an unhealthy worker.
    pub ended: u64,
}

impl Engine for Keeper {
    type Config = Config;

    const ABOUT: About =
        About { name: "{{name}}", version: env!("CARGO_PKG_VERSION"), documentation: include_str!("../documentation.md") };

    fn decide(&mut self, domain: &Domain<'_>, config: &Config, control: &Control<'_>) -> Result<Verdict, Error> {
        let (survey, wanted) = (Survey::of(domain), config.workers.get());
        let mut said = vec![format!("{} of {wanted} healthy", survey.healthy)];
        // Those that an operator protects stay, whatever their health: nobody is launched for them, and nobody healthy goes for them.
        let (missing, surplus) = (survey.missing(wanted).min(LAUNCHES_PER_DECISION), survey.surplus(wanted));

        let ill: BTreeSet<InstanceId> = survey.to_replace().map(|instance| instance.id.clone()).collect();
        if !ill.is_empty() {
            // A refusal is an answer: say so, and ask again next time.
            match control.destroy_instances(&Vec::from_iter(ill.clone()), "unhealthy") {
                Ok(destroyed) => {
                    self.ended += destroyed.accepted.len() as u64;
                    said.push(format!("terminating {} unhealthy", destroyed.accepted.len()));
                }
                Err(refusal) => said.push(format!("{} unhealthy stay: {refusal}", ill.len())),
            }
        }
        if missing > 0 {
            match control.launch(LaunchRequest::new("worker", &config.site, "small").count(missing)) {
                Ok(launched) => said.push(format!("launching {}", launched.instances.len())),
                Err(refusal) => said.push(format!("not launching {missing}: {refusal}")),
            }
        } else if surplus > 0 {
            let newest = victims::choose(domain, Victims::Newest, surplus, |id| ill.contains(id));
            match control.destroy_instances(&newest, "more than wanted") {
                Ok(destroyed) => said.push(format!("terminating {} of {} too many", destroyed.accepted.len(), newest.len())),
                Err(refusal) => said.push(format!("{} too many stay: {refusal}", newest.len())),
            }
        }

        let reason = said.join("; ");
        let verdict = if survey.is_settled_at(wanted) { Verdict::stable(reason) } else { Verdict::pending(reason) };
        Ok(verdict.figure("wanted", wanted).figure("healthy", survey.healthy).figure("ended", self.ended))
    }
}

pilothouse_engine::export!(Keeper);

#[cfg(test)]
mod tests;
