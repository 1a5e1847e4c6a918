//! N instances, some of them unique: how a domain stands and who holds which label → what has to come and what has to go.
//!
//! A unique instance has a label and variables of its own. Who holds a label is remembered by instance id, never guessed from the
//! variables, so that a label can get new variables without anybody being replaced. There is never a second holder by our own doing: a
//! holder that the host won't let go keeps its label, and its replacement waits.

use std::collections::{BTreeMap, BTreeSet};

use pilothouse_engine::{Done, Instance, InstanceId, Launch, Plan, SiteReport, Surplus, Survey, Termination, Timestamp};

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

/// Label → who holds it. Who is on its way out, gone, or not known any more holds nothing.
pub type Holders = BTreeMap<String, Holder>;

/// Label → who holds it, as the domain shows it.
pub type Held = BTreeMap<String, Instance>;

/// A plan, and what its launches are for.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// What has to come and what has to go. The launches for labels come first.
    pub plan: Plan,
    /// The labels of the first launches, in their order.
    pub labels: Vec<String>,
}

/// What a plan asks of the host, as far as it can't do without.
pub trait Host {
    /// How many can be launched now.
    fn room(&self) -> u32;

    /// At most so many instances that may go, in the order in which they should, without those to spare.
    fn choose(&self, count: u32, spare: &BTreeSet<&str>) -> Vec<InstanceId>;
}

/// How many launches a site takes now, out of those that the rate budget leaves: none while it rests, and only one at a time, those on their
/// way there among them, while the last that came to an end have failed. So those that are well do not all go for some that never run.
#[must_use]
pub fn room(site: Option<&SiteReport>, now: Timestamp, budget: u32, starting: u32) -> u32 {
    match site {
        Some(site) if site.backing_off_until.is_some_and(|until| until > now) => 0,
        Some(site) if site.failures > 0 => budget.min(1_u32.saturating_sub(starting)),
        _ => budget,
    }
}

/// Who of those that are remembered is still there.
#[must_use]
pub fn held(bound: &Bound, find: impl Fn(&str) -> Option<Instance>) -> Held {
    bound.iter().filter_map(|(label, id)| Some((label.clone(), find(id).filter(Instance::is_valid)?))).collect()
}

/// Whether it is worth looking for somebody who holds a label that nobody is remembered for.
#[must_use]
pub fn may_adopt(config: &Config, held: &Held) -> bool {
    config.unique_instances.iter().any(|(label, variables)| !variables.is_empty() && !held.contains_key(label))
}

/// Who of the instances that are already there holds a label that nobody holds: the first that was launched with exactly its variables and
/// holds no other. An engine that takes over a domain begins so, and later an operator may adopt what was lost and found.
pub fn adopt(config: &Config, held: &mut Held, instances: Vec<Instance>) {
    let known: BTreeSet<InstanceId> = held.values().map(|instance| instance.id.clone()).collect();
    for instance in instances.into_iter().filter(|instance| !instance.extra_vars.is_empty() && !known.contains(&instance.id)) {
        let variables = variables_of(&instance);
        let label = config.unique_instances.iter().find(|(label, wanted)| !held.contains_key(*label) && **wanted == variables);
        if let Some((label, _)) = label.filter(|_| held.len() < BOUND) {
            held.insert(label.clone(), instance);
        }
    }
}

/// Looks at every holder.
#[must_use]
pub fn holders(held: Held, survey: &Survey) -> Holders {
    let ill = survey.unhealthy_ids();
    let look = |instance: Instance| {
        let holding = match &instance {
            instance if instance.protected => Holding::Kept,
            instance if ill.contains(instance.id.as_str()) => Holding::Ill,
            _ => Holding::Well,
        };
        Holder { holding, variables: variables_of(&instance), id: instance.id }
    };
    held.into_iter().map(|(label, instance)| (label, look(instance))).collect()
}

fn variables_of(instance: &Instance) -> BTreeMap<String, String> {
    instance.extra_vars.iter().cloned().collect()
}

/// What has to come and what has to go.
///
/// Who holds a label that is not wanted any more goes, and whoever comes in its place is bound to its end: so there are no more than
/// `preserve_n` while the host holds it back. While an operator keeps it, it takes a place like any other. In devmode it stays, as does
/// whoever is unhealthy. A label for which there is no place takes that of a generic instance, and is bound to its end in the same way.
/// Nobody goes for somebody who can't be launched now.
#[must_use]
pub fn plan(config: &Config, survey: &Survey, holders: &Holders, host: &impl Host) -> Wish {
    let (target, devmode) = (config.preserve_n.get(), config.devmode());
    let mut plan = Plan::of(survey, target);
    if devmode {
        plan.terminations.clear();
    }
    let unwanted: Vec<_> = holders.iter().filter(|(label, _)| !config.unique_instances.contains_key(*label)).collect();
    let leaving: Vec<_> = unwanted.iter().filter(|(_, holder)| !devmode && holder.holding == Holding::Well).collect();

    // Who goes or stays for its label alone is none of those that are counted; and in devmode the unhealthy are.
    let (taken, healthy, apart) = match devmode {
        true => (survey.valid, survey.valid, unwanted.len()),
        false => (survey.taken(), survey.healthy, leaving.len()),
    };
    let (taken, healthy) = (taken.saturating_sub(narrow(apart)), healthy.saturating_sub(narrow(apart)));
    let free = free_labels(config, holders, &unwanted);
    let free_count = free.launches.len();
    let missing = target.saturating_sub(taken.saturating_add(narrow(free_count) + free.reserved));
    let reduction = healthy.saturating_sub(target);
    let places = target.saturating_sub(taken - reduction) as usize;

    let ends: Vec<&InstanceId> = leaving.iter().map(|(_, holder)| &holder.id).collect();
    let mut comers = Comers::of(free.launches, places, missing, &ends);
    let nobody_goes = ends.is_empty() && comers.displacing.is_empty();
    let (staying, room) = if nobody_goes { (BTreeSet::new(), 0) } else { comers.hold_back(&ends, host) };
    for (label, Holder { id, .. }) in leaving.iter().filter(|(_, holder)| !staying.contains(&holder.id)) {
        plan.terminations.push(Termination { ids: vec![id.clone()], reason: format!("the label {label} is no longer wanted") });
    }
    let displaced = narrow(comers.displacing.len()).min(room);
    if displaced > 0 {
        let going = plan.terminations.iter().flat_map(|termination| &termination.ids);
        let spare = holders.values().map(|holder| &holder.id).chain(going).map(String::as_str).collect();
        let ids = host.choose(displaced, &spare);
        comers.displace(&ids);
        if !ids.is_empty() {
            plan.terminations.push(Termination { ids, reason: "it makes room for a label".to_owned() });
        }
    }
    if reduction > 0 {
        let spare = holders.values().map(|holder| holder.id.clone()).collect();
        plan.surplus = Some(Surplus { spare, ..Surplus::of(reduction, config.victims) });
    }
    let (labels, launches) = comers.in_order();
    plan.launches = launches;

    let uniques = config.unique_instances.len();
    if uniques > 0 {
        plan.seen = format!("{}, {} of {uniques} labels held", plan.seen, free.held);
        plan.figures.push(("labels", uniques as f64));
        plan.figures.push(("labels-held", free.held as f64));
    }
    let kept = if devmode { 0 } else { unwanted.iter().filter(|(_, holder)| holder.holding == Holding::Kept).count() };
    let without_place = free_count - labels.len();
    plan.lacking = plan.lacking.max(narrow(without_place));
    let waits = [
        (kept, "protected with a label that is no longer wanted"),
        (free.waiting, "waiting for holders of labels that are no longer wanted"),
        (without_place, "waiting for a place"),
        (staying.len(), "staying until somebody can come in their place"),
    ];
    for (count, what) in waits.into_iter().filter(|(count, _)| *count > 0) {
        plan.seen = format!("{}, {count} {what}", plan.seen);
        plan.settled = false;
    }
    Wish { plan, labels }
}

/// Who comes, apart by what it depends on. Each labelled one is a label and its launch.
struct Comers {
    /// Those that come with the end of who has their identity.
    following: Vec<(String, Launch)>,
    /// Those that nobody had before, for the places that are free or become free.
    placed: Vec<(String, Launch)>,
    /// Those that nobody had before, in the places of generic instances.
    displacing: Vec<(String, Launch)>,
    /// Those without a label.
    generic: Vec<Launch>,
}

impl Comers {
    /// There are so many `places` for the labels, those of the `leaving` among them, and so many generic instances are `missing`.
    ///
    /// Who follows somebody has the first places, and waits if there is none: it can't be bound to two ends.
    fn of(labelled: Vec<(String, Launch)>, places: usize, missing: u32, leaving: &[&InstanceId]) -> Self {
        let (mut following, mut placed): (Vec<_>, Vec<_>) = labelled.into_iter().partition(|(_, launch)| launch.replaces.is_some());
        following.truncate(places);
        let displacing = placed.split_off(placed.len().min(places - following.len()));
        let followed: BTreeSet<_> = following.iter().filter_map(|(_, launch)| launch.replaces.as_ref()).collect();
        let leaving: Vec<&InstanceId> = leaving.iter().copied().filter(|id| !followed.contains(id)).collect();
        let generic = bound_to_ends(&mut placed, missing, &leaving);
        Self { following, placed, displacing, generic }
    }

    fn launches(&self) -> impl Iterator<Item = &Launch> {
        self.following.iter().chain(&self.placed).map(|(_, launch)| launch).chain(&self.generic)
    }

    /// Leaves out those who would come in the place of somebody `leaving` and can't be launched now. Gives those who stay therefore, and
    /// how many can be launched besides.
    fn hold_back(&mut self, leaving: &[&InstanceId], host: &impl Host) -> (BTreeSet<InstanceId>, u32) {
        let leaving: BTreeSet<_> = leaving.iter().copied().collect();
        let takes = |launch: &Launch| launch.replaces.as_ref().filter(|id| leaving.contains(id)).cloned();
        let certain =
            self.launches().filter(|launch| takes(launch).is_none()).fold(0, |count: u32, launch| count.saturating_add(launch.count));
        let mut room = host.room().saturating_sub(certain);
        let mut staying = BTreeSet::new();
        let mut comes = |launch: &Launch| match takes(launch) {
            Some(id) if room == 0 => !staying.insert(id),
            taken => {
                room -= u32::from(taken.is_some());
                true
            }
        };
        self.following.retain(|(_, launch)| comes(launch));
        self.placed.retain(|(_, launch)| comes(launch));
        self.generic.retain(comes);
        (staying, room)
    }

    /// These go for the first of those who take their places. The others wait.
    fn displace(&mut self, victims: &[InstanceId]) {
        for ((_, launch), id) in self.displacing.iter_mut().zip(victims) {
            launch.replaces = Some(id.clone());
        }
    }

    /// The labels of the first launches, in the order of their names, and all launches.
    fn in_order(self) -> (Vec<String>, Vec<Launch>) {
        let displacing = self.displacing.into_iter().filter(|(_, launch)| launch.replaces.is_some());
        let labelled: BTreeMap<String, Launch> = self.following.into_iter().chain(self.placed).chain(displacing).collect();
        let (labels, mut launches): (Vec<_>, Vec<_>) = labelled.into_iter().unzip();
        launches.extend(self.generic);
        (labels, launches)
    }
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
/// One waits while an operator keeps whoever has its variables under another name; while such a one and a holder of its own are both on
/// their way; while those that operators keep leave no place; and while there are so many holders of labels that are no longer wanted that
/// no more fit into the memory.
fn free_labels(config: &Config, holders: &Holders, unwanted: &[(&String, &Holder)]) -> FreeLabels {
    let is_held = |holder: &Holder| match holder.holding {
        Holding::Well | Holding::Kept => true,
        Holding::Ill => config.devmode(),
    };
    let wanted = || config.unique_instances.iter();
    let held = wanted().filter(|(label, _)| holders.get(*label).is_some_and(is_held)).count();
    let kept = unwanted.iter().filter(|(_, holder)| !config.devmode() && holder.holding == Holding::Kept).count();
    let mut places = (config.preserve_n.get() as usize).saturating_sub(held + kept);
    let mut memory = BOUND.saturating_sub(holders.len());
    let mut passed_on = BTreeSet::new();
    let mut free = FreeLabels { launches: Vec::new(), waiting: 0, reserved: 0, held };
    for (label, variables) in wanted() {
        let own = holders.get(label);
        if own.is_some_and(is_held) {
            continue;
        }
        // A label with another name is another label. But the identity is not there twice meanwhile: each of those that have it passes it on once.
        let same = |holder: &&Holder| !variables.is_empty() && holder.variables == *variables && !passed_on.contains(&holder.id);
        let same = unwanted.iter().map(|(_, holder)| *holder).find(same);
        passed_on.extend(same.map(|holder| &holder.id));
        let stays = same.is_some_and(|holder| holder.holding == Holding::Kept);
        if stays || places == 0 {
            free.waiting += 1;
            continue;
        }
        places -= 1;
        let before = own.or(same);
        let after_both = own.is_some() && same.is_some();
        if after_both || before.is_some() && config.devmode() || own.is_none() && memory == 0 {
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
fn bound_to_ends(labelled: &mut [(String, Launch)], generic: u32, leaving: &[&InstanceId]) -> Vec<Launch> {
    let mut ends = leaving.iter().rev();
    let bound = generic.min(narrow(leaving.len()));
    let mut launches: Vec<Launch> =
        ends.by_ref().take(bound as usize).map(|id| Launch { count: 1, replaces: Some((*id).clone()), ..Launch::default() }).collect();
    if generic > bound {
        launches.push(Launch { count: generic - bound, ..Launch::default() });
    }
    launches.reverse();
    for ((_, launch), id) in labelled.iter_mut().rev().zip(ends) {
        launch.replaces = Some((*id).clone());
    }
    launches
}

/// What in devmode is a failure that people should look at, in words, if there is anything. `total`: every instance on record.
#[must_use]
pub fn failed_in_devmode(config: &Config, survey: &Survey, total: u32, holders: &Holders) -> Option<String> {
    let kinds = [
        (survey.unhealthy.len(), "unhealthy"),
        (total.saturating_sub(survey.valid) as usize, "ended"),
        (holders.keys().filter(|label| !config.unique_instances.contains_key(*label)).count(), "with a label that is no longer wanted"),
    ];
    let told: Vec<String> = kinds.iter().filter(|(count, _)| *count > 0).map(|(count, kind)| format!("{count} {kind}")).collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// Who holds which label now. `labels` are those of the plan's first launches. A holder whose end was granted still holds its label: the
/// host may find, when it commits the decision, that it stays.
#[must_use]
pub fn remember(holders: Holders, labels: &[String], done: &Done) -> Bound {
    let mut bound: Bound = holders.into_iter().map(|(label, holder)| (label, holder.id)).collect();
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
