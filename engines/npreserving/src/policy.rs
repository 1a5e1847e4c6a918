//! N instances, some of them unique: how a domain stands and who holds which label → what has to come and what has to go.
//!
//! A unique instance has a label and variables of its own. Who holds a label is remembered by instance id, never guessed from the
//! variables, so that a label can get new variables without anybody being replaced. There is never a second holder by our own doing: a
//! holder that the host won't let go keeps its label, and its replacement waits.

use std::collections::{BTreeMap, BTreeSet};

use pilothouse_engine::{Done, Instance, InstanceId, Launch, Plan, Problem, Surplus, Survey, Termination, Victims, config, is_valid};
use serde::{Deserialize, Serialize};

/// What the engine is told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How many instances to keep, the unique ones among them.
    #[serde(default, deserialize_with = "config::count")]
    pub preserve_n: u32,
    /// Label → the variables of the instance that holds it.
    #[serde(default)]
    pub unique_instances: BTreeMap<String, BTreeMap<String, String>>,
    /// Where to launch.
    #[serde(default = "default_site")]
    pub force_site: String,
    /// What to launch.
    #[serde(default = "default_type")]
    pub epuworker_type: String,
    /// In which size.
    #[serde(default = "default_allocation")]
    pub epuworker_allocation: String,
    /// Who goes first when there are too many.
    #[serde(default)]
    pub victims: Victims,
}

fn default_site() -> String {
    "ec2-east".to_owned()
}

fn default_type() -> String {
    "epu_work_consumer".to_owned()
}

fn default_allocation() -> String {
    "small".to_owned()
}

/// Who holds which label.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Label → instance. A label stays here after it has left the configuration, until its holder has gone.
    pub bound: BTreeMap<String, InstanceId>,
}

/// How the holder of a label is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// It counts.
    Well,
    /// Still there, but the host advises to replace it.
    Ill,
    /// On its way out, gone, or not known any more.
    Gone,
}

/// Label → who holds it, and how that one is.
pub type Holders = BTreeMap<String, (InstanceId, Holding)>;

/// A plan, and what its launches are for.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// What has to come and what has to go. The launches for labels come first.
    pub plan: Plan,
    /// The labels of the first launches, in their order.
    pub labels: Vec<String>,
}

impl Memory {
    /// Looks at every holder.
    #[must_use]
    pub fn holders(&self, find: impl Fn(&str) -> Option<Instance>, survey: &Survey) -> Holders {
        let ill: BTreeSet<&str> = survey.unhealthy.iter().map(|instance| instance.id.as_str()).collect();
        let look = |id: &InstanceId| match find(id) {
            Some(instance) if !is_valid(instance.state) => Holding::Gone,
            Some(_) if ill.contains(id.as_str()) => Holding::Ill,
            Some(_) => Holding::Well,
            None => Holding::Gone,
        };
        self.bound.iter().map(|(label, id)| (label.clone(), (id.clone(), look(id)))).collect()
    }
}

/// What does not go together.
#[must_use]
pub fn check(config: &Config) -> Vec<Problem> {
    let uniques = config.unique_instances.len();
    if uniques > config.preserve_n as usize {
        let message =
            format!("{uniques} unique instances do not fit into preserve_n = {}: at most as many labels as instances", config.preserve_n);
        return vec![config::problem("unique_instances", message)];
    }
    Vec::new()
}

/// Who of the instances that are already there holds a label: the first that was launched with exactly its variables.
#[must_use]
pub fn adopt(config: &Config, instances: &[Instance]) -> Memory {
    let mut memory = Memory::default();
    for instance in instances.iter().filter(|instance| !instance.extra_vars.is_empty()) {
        let vars: BTreeMap<&str, &str> = instance.extra_vars.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let label = config.unique_instances.iter().find(|(label, wanted)| {
            !memory.bound.contains_key(*label)
                && wanted.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(vars.iter().map(|(name, value)| (*name, *value)))
        });
        if let Some((label, _)) = label {
            memory.bound.insert(label.clone(), instance.id.clone());
        }
    }
    memory
}

/// What has to come and what has to go.
#[must_use]
pub fn plan(config: &Config, survey: &Survey, holders: &Holders) -> Wish {
    let mut plan = Plan::of(survey, config.preserve_n);
    let mut labels = Vec::new();
    for (label, vars) in &config.unique_instances {
        let after = match holders.get(label) {
            Some((_, Holding::Well)) => continue,
            Some((id, Holding::Ill)) => Some(id.clone()),
            Some((_, Holding::Gone)) | None => None,
        };
        let extra_vars = vars.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        plan.launches.push(Launch { count: 1, extra_vars, after });
        labels.push(label.clone());
    }
    for (label, (id, holding)) in holders {
        if *holding == Holding::Well && !config.unique_instances.contains_key(label) {
            plan.terminations.push(Termination { ids: vec![id.clone()], reason: format!("the label {label} is no longer wanted") });
        }
    }

    let well = holders.values().filter(|(_, holding)| *holding == Holding::Well).count();
    let uniques = config.unique_instances.len();
    let generic = survey.healthy.saturating_sub(narrow(well));
    let wanted = config.preserve_n.saturating_sub(narrow(uniques));
    if generic < wanted {
        plan.launches.push(Launch { count: wanted - generic, ..Launch::default() });
    } else if generic > wanted {
        let spare = holders.values().map(|(id, _)| id.clone()).collect();
        plan.surplus = Some(Surplus { spare, ..Surplus::of(generic - wanted, config.victims) });
    }
    if uniques > 0 {
        plan.seen = format!("{}, {} of {uniques} labels held", plan.seen, uniques - labels.len());
        plan.figures.push(("labels", uniques as f64));
        plan.figures.push(("labels-held", (uniques - labels.len()) as f64));
    }
    Wish { plan, labels }
}

/// Who holds which label now. `labels` are those of the plan's first launches.
#[must_use]
pub fn remember(config: &Config, holders: Holders, labels: &[String], done: &Done) -> Memory {
    let gone = |label: &str, id: &InstanceId, holding| {
        holding == Holding::Gone || done.destroyed.contains(id) && !config.unique_instances.contains_key(label)
    };
    let mut bound: BTreeMap<String, InstanceId> =
        holders.into_iter().filter(|(label, (id, holding))| !gone(label, id, *holding)).map(|(label, (id, _))| (label, id)).collect();
    for (label, launched) in labels.iter().zip(&done.launched) {
        if let Some(id) = launched.first() {
            bound.insert(label.clone(), id.clone());
        }
    }
    Memory { bound }
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
