//! A plan is what a policy wants, as data; carrying it out makes requests and a verdict of it.
//!
//! Terminations are asked first, then launches, because some launches make sense only when who holds their identity really goes.
//! A refusal is an answer: it is told in the verdict's reason, and what was refused is wanted again next time.

mod done;

use std::collections::{BTreeMap, BTreeSet};

pub use done::{Done, SITE_FAILURES};

use crate::survey::trouble;
use crate::{Control, Domain, Instance, InstanceId, Survey, Uniques, Vars, Victims};

/// What a policy wants.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// What was seen and compared, in words: `2 of 3 healthy`.
    pub seen: String,
    /// Whether all is as wanted if nothing has to be asked.
    pub settled: bool,
    /// Why the policy can't be kept and people should look, in words, if the policy itself knows. [`Done::verdict`] finds out by itself
    /// what is the same for every policy.
    pub failed: Option<String>,
    /// The figures behind it, in the order in which they should be read.
    pub figures: Vec<(&'static str, f64)>,
    /// How many run and are well fewer than are wanted.
    pub lacking: u32,
    /// How many are on their way out already: they still count against the limits of the host.
    pub leaving: u32,
    /// Who has to go.
    pub terminations: Vec<Termination>,
    /// How many have to go, whoever they are.
    pub surplus: Option<Surplus>,
    /// What has to come.
    pub launches: Vec<Launch>,
    /// Of these, each launched instance gets one of its own, over what its [`Launch`] says. Where none is left nobody is launched.
    pub uniques: Option<Uniques>,
}

/// Instances that have to go for the same reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Termination {
    /// Who.
    pub ids: Vec<InstanceId>,
    /// Why. Kept and shown to people.
    pub reason: String,
}

/// So many too many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surplus {
    /// How many have to go.
    pub count: u32,
    /// How they are chosen.
    pub victims: Victims,
    /// Who goes before all others, in this order. Who is not there, or is spared, is passed over.
    pub first: Vec<InstanceId>,
    /// Who is not chosen. Those in [`Plan::terminations`] are spared anyway.
    pub spare: BTreeSet<InstanceId>,
    /// Why.
    pub reason: String,
}

impl Surplus {
    /// So many too many, anyone.
    #[must_use]
    pub fn of(count: u32, victims: Victims) -> Self {
        Self { count, victims, first: Vec::new(), spare: BTreeSet::new(), reason: format!("{count} more than wanted") }
    }
}

/// Instances that have to come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Launch {
    /// How many.
    pub count: u32,
    /// Variables of their own.
    pub extra_vars: Vars,
    /// Only together with the end of this instance: asked for if its termination was granted in the same plan, and taken back by the host
    /// if that does not come about after all.
    pub replaces: Option<InstanceId>,
}

/// Where and as what instances are launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template<'a> {
    /// What is started.
    pub deployable_type: &'a str,
    /// At which site.
    pub site: &'a str,
    /// In which size.
    pub allocation: &'a str,
}

impl Plan {
    /// Starts a plan with the figures that every policy has, and with the end of those that the host advises to replace.
    #[must_use]
    pub fn of(survey: &Survey, target: u32) -> Self {
        Self {
            seen: match survey.kept {
                0 => format!("{} of {target} healthy", survey.healthy),
                kept => format!("{} of {target} healthy, {kept} unhealthy and protected", survey.healthy),
            },
            settled: survey.is_settled_at(target),
            lacking: target.saturating_sub(survey.running),
            leaving: survey.terminating,
            figures: vec![
                ("target", f64::from(target)),
                ("valid", f64::from(survey.valid)),
                ("healthy", f64::from(survey.healthy)),
                ("running", f64::from(survey.running)),
                ("starting", f64::from(survey.starting)),
                ("unhealthy", survey.unhealthy.len() as f64),
            ],
            terminations: replace(survey.to_replace()),
            ..Self::default()
        }
    }

    /// Makes the requests.
    pub fn carry_out(self, domain: &Domain<'_>, control: &Control<'_>, template: &Template<'_>) -> Done {
        Done::of(self, domain, control, template)
    }
}

/// The end of these instances, one request for each kind of trouble, in the order in which the kinds were met.
fn replace<'a>(instances: impl Iterator<Item = &'a Instance>) -> Vec<Termination> {
    let mut known = BTreeMap::new();
    let mut terminations: Vec<Termination> = Vec::new();
    for instance in instances {
        let reason = trouble(instance);
        let at = *known.entry(reason.clone()).or_insert_with(|| {
            terminations.push(Termination { ids: Vec::new(), reason });
            terminations.len() - 1
        });
        terminations[at].ids.push(instance.id.clone());
    }
    terminations
}

#[cfg(test)]
mod tests;
