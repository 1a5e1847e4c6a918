//! N instances, some of them unique: how a domain stands and who holds which label → what has to come and what has to go.
//!
//! A unique instance has a label and variables of its own. Who holds a label is remembered by instance id, never guessed from the
//! variables, so that a label can get new variables without anybody being replaced. There is never a second holder by our own doing: a
//! holder that the host won't let go keeps its label, and its replacement waits.

use std::collections::{BTreeMap, BTreeSet};

use pilothouse_engine::{Done, Instance, InstanceId, Launch, Plan, Surplus, Survey, Termination};

use crate::config::{BOUND, Bound, Config, vars};

/// How the holder of a label is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// It counts, and would go if it were asked to.
    Well,
    /// It counts, because an operator keeps it as it is, well or not. Nobody asks it to go.
    Kept,
    /// Still there, but the host advises to replace it.
    Ill,
    /// On its way out, gone, or not known any more.
    Gone,
}

/// Who holds a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Which instance.
    pub id: InstanceId,
    /// How it is.
    pub holding: Holding,
    /// What it was launched with, in the order of names.
    pub variables: BTreeMap<String, String>,
}

/// Label → who holds it.
pub type Holders = BTreeMap<String, Holder>;

/// A plan, and what its launches are for.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// What has to come and what has to go. The launches for labels come first.
    pub plan: Plan,
    /// The labels of the first launches, in their order.
    pub labels: Vec<String>,
}

/// Looks at every holder.
#[must_use]
pub fn holders(bound: &Bound, find: impl Fn(&str) -> Option<Instance>, survey: &Survey) -> Holders {
    let ill = survey.unhealthy_ids();
    let look = |id: &InstanceId| {
        let found = find(id);
        let holding = match &found {
            Some(instance) if !instance.is_valid() => Holding::Gone,
            Some(instance) if instance.protected => Holding::Kept,
            Some(instance) if ill.contains(id.as_str()) => Holding::Ill,
            Some(_) => Holding::Well,
            None => Holding::Gone,
        };
        Holder { id: id.clone(), holding, variables: found.map(variables_of).unwrap_or_default() }
    };
    bound.iter().map(|(label, id)| (label.clone(), look(id))).collect()
}

fn variables_of(instance: Instance) -> BTreeMap<String, String> {
    instance.extra_vars.into_iter().collect()
}

/// Who of the instances that are already there holds a label: the first that was launched with exactly its variables.
#[must_use]
pub fn adopt(config: &Config, instances: Vec<Instance>) -> Bound {
    let mut bound = Bound::new();
    for instance in instances.into_iter().filter(|instance| !instance.extra_vars.is_empty()) {
        let id = instance.id.clone();
        let variables = variables_of(instance);
        let label = config.unique_instances.iter().find(|(label, wanted)| !bound.contains_key(*label) && **wanted == variables);
        if let Some((label, _)) = label {
            bound.insert(label.clone(), id);
        }
    }
    bound
}

/// What has to come and what has to go.
///
/// Who holds a label that is not wanted any more goes, and whoever comes in its place is bound to its end: so there are no more than
/// `preserve_n` while the host holds it back. While an operator keeps it, it takes a place like any other. In devmode it stays, as does
/// whoever is unhealthy.
#[must_use]
pub fn plan(config: &Config, survey: &Survey, holders: &Holders) -> Wish {
    let (target, devmode) = (config.preserve_n.get(), config.devmode());
    let mut plan = Plan::of(survey, target);
    if devmode {
        plan.terminations.clear();
    }
    let unwanted: Vec<_> = holders.iter().filter(|(label, holder)| is_unwanted(config, label, holder)).collect();
    let mut leaving = Vec::new();
    for (label, Holder { id, .. }) in unwanted.iter().filter(|(_, holder)| !devmode && holder.holding == Holding::Well) {
        plan.terminations.push(Termination { ids: vec![id.clone()], reason: format!("the label {label} is no longer wanted") });
        leaving.push(id);
    }

    // Who goes or stays for its label alone is none of those that are counted; and in devmode the unhealthy are.
    let (taken, healthy, apart) = match devmode {
        true => (survey.valid, survey.valid, unwanted.len()),
        false => (survey.taken(), survey.healthy, leaving.len()),
    };
    let (taken, healthy) = (taken.saturating_sub(narrow(apart)), healthy.saturating_sub(narrow(apart)));
    let free = free_labels(config, holders, &unwanted);
    let labels: Vec<String> = free.launches.iter().map(|(label, _)| label.clone()).collect();
    let coming = narrow(labels.len());
    let missing = target.saturating_sub(taken.saturating_add(coming + free.reserved));
    let reduction = healthy.saturating_sub(target);
    let displaced = (taken - reduction).saturating_add(coming).saturating_sub(target).min(coming);
    if reduction + displaced > 0 {
        let spare = holders.values().map(|holder| holder.id.clone()).collect();
        plan.surplus = Some(Surplus { spare, ..Surplus::of(reduction + displaced, config.victims) });
    }
    plan.launches = free.launches.into_iter().map(|(_, launch)| launch).collect();
    leaving.retain(|id| plan.launches.iter().all(|launch| launch.replaces.as_ref() != Some(*id)));
    let generic = bound_to_ends(&mut plan.launches, missing, &leaving);
    plan.launches.extend(generic);

    let uniques = config.unique_instances.len();
    if uniques > 0 {
        plan.seen = format!("{}, {} of {uniques} labels held", plan.seen, free.held);
        plan.figures.push(("labels", uniques as f64));
        plan.figures.push(("labels-held", free.held as f64));
    }
    let kept = unwanted.iter().filter(|(_, holder)| holder.holding == Holding::Kept).count();
    if kept > 0 && !devmode {
        plan.seen = format!("{}, {kept} protected with a label that is no longer wanted", plan.seen);
        plan.settled = false;
    }
    if free.waiting > 0 {
        plan.seen = format!("{}, {} waiting for holders of labels that are no longer wanted", plan.seen, free.waiting);
        plan.settled = false;
    }
    Wish { plan, labels }
}

/// Whether it is still there, with a label that is not configured.
fn is_unwanted(config: &Config, label: &str, holder: &Holder) -> bool {
    holder.holding != Holding::Gone && !config.unique_instances.contains_key(label)
}

/// The labels that nobody holds.
struct FreeLabels {
    /// Those that somebody is launched for, in their order.
    launches: Vec<(String, Launch)>,
    /// How many can't be launched yet.
    waiting: usize,
    /// For how many of these a place is left free: the others wait for a place.
    reserved: u32,
    /// How many are held.
    held: usize,
}

/// Which labels somebody is launched for.
///
/// One waits while an operator keeps whoever has its variables under another name; while those that operators keep leave no place; and
/// while there are so many holders of labels that are no longer wanted that no more fit into the memory.
fn free_labels(config: &Config, holders: &Holders, unwanted: &[(&String, &Holder)]) -> FreeLabels {
    let is_held = |holder: &Holder| match holder.holding {
        Holding::Well | Holding::Kept => true,
        Holding::Ill => config.devmode(),
        Holding::Gone => false,
    };
    let wanted = || config.unique_instances.iter();
    let held = wanted().filter(|(label, _)| holders.get(*label).is_some_and(is_held)).count();
    let kept = unwanted.iter().filter(|(_, holder)| !config.devmode() && holder.holding == Holding::Kept).count();
    let mut places = (config.preserve_n.get() as usize).saturating_sub(held + kept);
    let mut memory = BOUND.saturating_sub(holders.values().filter(|holder| holder.holding != Holding::Gone).count());
    let mut passed_on = BTreeSet::new();
    let mut free = FreeLabels { launches: Vec::new(), waiting: 0, reserved: 0, held };
    for (label, variables) in wanted() {
        let own = holders.get(label).filter(|holder| holder.holding != Holding::Gone);
        if own.is_some_and(is_held) {
            continue;
        }
        // A label with another name is another label. But the identity is not there twice meanwhile: each of those that have it passes it on once.
        let same = |holder: &&Holder| !variables.is_empty() && holder.variables == *variables && !passed_on.contains(&holder.id);
        let before = own.or_else(|| unwanted.iter().map(|(_, holder)| *holder).find(same));
        passed_on.extend(before.map(|holder| &holder.id));
        let stays = before.is_some_and(|holder| holder.holding == Holding::Kept);
        if stays || places == 0 {
            free.waiting += 1;
            continue;
        }
        places -= 1;
        if before.is_some() && config.devmode() || own.is_none() && memory == 0 {
            free.waiting += 1;
            free.reserved += 1;
            continue;
        }
        memory -= usize::from(own.is_none());
        let replaces = before.map(|holder| holder.id.clone());
        free.launches.push((label.clone(), Launch { count: 1, extra_vars: vars(variables), replaces }));
    }
    free
}

/// So many generic launches. As many launches as there are instances `leaving` are bound to the end of one of them, the last ones to the last:
/// the first ones have places of their own, and if there are fewer launches, the first of the leaving go without being replaced.
fn bound_to_ends(labelled: &mut [Launch], generic: u32, leaving: &[&InstanceId]) -> Vec<Launch> {
    let mut ends = leaving.iter().rev();
    let bound = generic.min(narrow(leaving.len()));
    let mut launches: Vec<Launch> =
        ends.by_ref().take(bound as usize).map(|id| Launch { count: 1, replaces: Some((*id).clone()), ..Launch::default() }).collect();
    if generic > bound {
        launches.push(Launch { count: generic - bound, ..Launch::default() });
    }
    launches.reverse();
    for (launch, id) in labelled.iter_mut().rev().filter(|launch| launch.replaces.is_none()).zip(ends) {
        launch.replaces = Some((*id).clone());
    }
    launches
}

/// What in devmode is a failure that people should look at, in words, if there is anything. `total`: every instance on record.
#[must_use]
pub fn failed_in_devmode(config: &Config, survey: &Survey, total: u32, holders: &Holders) -> Option<String> {
    let unwanted = |(label, holder): &(&String, &Holder)| is_unwanted(config, label, holder);
    let kinds = [
        (survey.unhealthy.len(), "unhealthy"),
        (total.saturating_sub(survey.valid) as usize, "ended"),
        (holders.iter().filter(unwanted).count(), "with a label that is no longer wanted"),
    ];
    let told: Vec<String> = kinds.iter().filter(|(count, _)| *count > 0).map(|(count, kind)| format!("{count} {kind}")).collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// Who holds which label now. `labels` are those of the plan's first launches. A holder whose end was granted still holds its label: the
/// host may find, when it commits the decision, that it stays.
#[must_use]
pub fn remember(holders: Holders, labels: &[String], done: &Done) -> Bound {
    let stays = |holder: &Holder| holder.holding != Holding::Gone;
    let mut bound: Bound = holders.into_iter().filter(|(_, holder)| stays(holder)).map(|(label, holder)| (label, holder.id)).collect();
    for (label, launched) in labels.iter().zip(&done.launched) {
        if let Some(id) = launched.first() {
            bound.insert(label.clone(), id.clone());
        }
    }
    bound
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
