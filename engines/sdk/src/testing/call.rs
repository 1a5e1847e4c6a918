//! One call of an engine: the sources that answer it, over a fake domain that does not change meanwhile.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::time::Duration;

use crate::host::{ControlSource, DomainSource, SetupSource};
use crate::{
    Cause, Columns, Counts, Destroyed, Filter, Instance, InstanceId, InstanceState, LAUNCHES_PER_DECISION, LaunchRequest, Launched,
    RateBudget, Refusal, Sample, Scope, Settings, SiteReport, Statistic, Timestamp, Vars,
};

use super::Asked;
use super::bounds::{self, Tally};
use super::world::{World, is_to_be_replaced};

/// How long it takes until a budget that is used up has something again.
const BUDGET_WAIT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Call<'a> {
    world: &'a World,
    random: Cell<u64>,
    tally: Tally,
    asked: RefCell<Vec<Asked>>,
}

/// What a call has asked for.
#[derive(Debug, PartialEq)]
pub(super) struct Outcome {
    asked: Vec<Asked>,
}

impl<'a> Call<'a> {
    pub(super) fn new(world: &'a World) -> Self {
        let random = Cell::new(mixed(mixed(world.seed).wrapping_add(world.calls)));
        Self { world, random, tally: Tally::default(), asked: RefCell::default() }
    }

    pub(super) fn outcome(self) -> Outcome {
        Outcome { asked: self.asked.into_inner() }
    }

    /// Instances granted so far in this call, and those whose end was.
    fn granted(&self) -> (u32, BTreeSet<InstanceId>) {
        let (mut launched, mut destroyed) = (0, BTreeSet::new());
        for asked in &*self.asked.borrow() {
            match asked {
                Asked::Launch { answer: Ok(granted), .. } => launched += narrow(granted.instances.len()),
                Asked::Destroy { answer: Ok(granted), .. } => destroyed.extend(granted.accepted.iter().cloned()),
                _ => {}
            }
        }
        (launched, destroyed)
    }

    fn rule_on_launch(&self, request: &LaunchRequest) -> Result<Launched, Refusal> {
        let (before, _) = self.granted();
        self.tally.may_ask()?;
        bounds::check_launch(request, before)?;
        self.may_replace(request)?;
        self.tally.launch(request)?;
        if let Some(refusal) = &self.world.rules.refuse_launches {
            return Err(refusal.clone());
        }
        let left = self.world.rules.launches.map_or(u32::MAX, |most| most.saturating_sub(before));
        if left == 0 {
            return Err(Refusal::Budget(BUDGET_WAIT));
        }
        let granted = request.count.min(left);
        let launches = narrow(self.asked.borrow().iter().filter(|asked| matches!(asked, Asked::Launch { answer: Ok(_), .. })).count());
        let first = self.world.minted + before;
        Ok(Launched {
            launch: format!("launch-{}", self.world.launches + launches),
            instances: (first..first + granted).map(|n| format!("new-{n}")).collect(),
            deferred: request.count - granted,
        })
    }

    fn may_replace(&self, request: &LaunchRequest) -> Result<(), Refusal> {
        let Some(id) = &request.replaces else { return Ok(()) };
        bounds::check_id("replaces", id)?;
        let (_, promised) = self.granted();
        let invalid = |why: &str| Err(Refusal::Invalid(format!("replaces: {id:?} {why}")));
        if self.is_valid(id) && !promised.contains(id) {
            return invalid("stays: its end was not granted before in this decision");
        }
        if request.count != 1 {
            return invalid("is one instance: expected a count of 1");
        }
        let replaces_it = |asked: &Asked| matches!(asked, Asked::Launch { request, answer: Ok(granted) } if request.replaces.as_ref() == Some(id) && !granted.instances.is_empty());
        if self.asked.borrow().iter().any(replaces_it) {
            return invalid("is replaced already in this decision");
        }
        Ok(())
    }

    fn rule_on_destroy(&self, ids: &[InstanceId], named: usize, reason: &str) -> Result<Destroyed, Refusal> {
        let (_, promised) = self.granted();
        self.tally.may_ask()?;
        self.tally.name(named)?;
        let (mut again, mut alive) = (Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        for id in ids.iter().filter(|id| seen.insert(*id)) {
            let Some(row) = self.world.row_of(id) else { return Err(Refusal::Invalid(format!("ids: no instance {id:?} in this domain"))) };
            if self.world.instances[&row].is_valid() && !promised.contains(id) { &mut alive } else { &mut again }.push(id.clone());
        }
        self.tally.destroy(reason)?;
        if alive.is_empty() {
            return Ok(Destroyed { accepted: again, deferred: Vec::new() });
        }
        let rules = &self.world.rules;
        let (mut deferred, alive): (Vec<_>, Vec<_>) = alive.into_iter().partition(|id| self.is_protected(id));
        let mut refusal = alive.is_empty().then(|| Refusal::Other("protected by an operator".to_owned()));
        let (held, mut accepted): (Vec<_>, Vec<_>) = alive.into_iter().partition(|id| rules.held.contains(id));
        if accepted.is_empty() && !held.is_empty() {
            refusal = Some(Refusal::Brake("the test holds them".to_owned()));
        }
        deferred.extend(held);
        if let Some(most) = rules.terminations {
            let before = narrow(promised.iter().filter(|id| self.is_valid(id)).count());
            let late = accepted.split_off(accepted.len().min(most.saturating_sub(before) as usize));
            if accepted.is_empty() && !late.is_empty() {
                refusal = Some(Refusal::Budget(BUDGET_WAIT));
            }
            deferred.extend(late);
        }
        if let Some(refused) = &rules.refuse_terminations {
            deferred.append(&mut accepted);
            refusal = Some(refused.clone());
        }
        match refusal {
            Some(refusal) if again.is_empty() => Err(refusal),
            _ => Ok(Destroyed { accepted: again.into_iter().chain(accepted).collect(), deferred }),
        }
    }

    fn is_valid(&self, id: &str) -> bool {
        self.world.row_of(id).is_some_and(|row| self.world.instances[&row].is_valid())
    }

    fn is_protected(&self, id: &str) -> bool {
        self.world.row_of(id).is_some_and(|row| self.world.instances[&row].protected)
    }

    /// `named`: how many of the ids the engine itself has named.
    fn destroy(&self, ids: Vec<InstanceId>, named: usize, reason: &str) -> Result<Destroyed, Refusal> {
        let answer = self.rule_on_destroy(&ids, named, reason);
        self.asked.borrow_mut().push(Asked::Destroy { ids, reason: reason.to_owned(), answer: answer.clone() });
        answer
    }

    fn set(&self, settings: &Settings) -> Result<(), Refusal> {
        let answer = settings.provisioner_vars.as_ref().map_or(Ok(()), |vars| bounds::check_vars("provisioner-vars", vars));
        self.asked.borrow_mut().push(Asked::Configure { settings: settings.clone(), answer: answer.clone() });
        answer
    }
}

impl Outcome {
    /// Carries out what was granted, and gives everything that was asked for.
    pub(super) fn settle(self, world: &mut World) -> Vec<Asked> {
        world.changed.clear();
        world.cause = Cause::Pulse;
        for asked in &self.asked {
            match asked {
                Asked::Launch { request, answer: Ok(granted) } => {
                    world.launches += 1;
                    world.minted += narrow(granted.instances.len());
                    for id in &granted.instances {
                        world.add(launched(request, granted, id, world.now));
                    }
                }
                Asked::Destroy { answer: Ok(granted), .. } => {
                    let rows: Vec<u32> = granted.accepted.iter().filter_map(|id| world.row_of(id)).collect();
                    for row in rows {
                        if world.instances[&row].is_valid() {
                            world.moved(row, InstanceState::Terminating);
                        }
                    }
                }
                Asked::Configure { settings, answer: Ok(()) } => {
                    let Settings { pulse, provisioner_vars } = settings.clone();
                    world.settings.pulse = pulse.map(bounds::pulse).or(world.settings.pulse);
                    world.settings.provisioner_vars = provisioner_vars.or_else(|| world.settings.provisioner_vars.take());
                }
                Asked::Launch { .. } | Asked::Destroy { .. } | Asked::Configure { .. } => {}
            }
        }
        self.asked
    }
}

fn launched(request: &LaunchRequest, granted: &Launched, id: &str, now: Timestamp) -> Instance {
    Instance {
        id: id.to_owned(),
        launch: granted.launch.clone(),
        deployable_type: request.deployable_type.clone(),
        site: request.site.clone(),
        allocation: request.allocation.clone(),
        state: InstanceState::Requesting,
        state_since: now,
        health: crate::Health::Unknown,
        errors: Vec::new(),
        extra_vars: request.extra_vars.clone(),
        attributes: Vec::new(),
        protected: false,
    }
}

impl DomainSource for Call<'_> {
    fn owner(&self) -> String {
        "tester".to_owned()
    }

    fn name(&self) -> String {
        "fake".to_owned()
    }

    fn now(&self) -> Timestamp {
        self.world.now
    }

    fn random(&self) -> u64 {
        let next = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(next);
        mixed(next)
    }

    fn cause(&self) -> Cause {
        self.world.cause
    }

    fn config(&self) -> String {
        self.world.config.clone()
    }

    fn config_revision(&self) -> u64 {
        self.world.revision
    }

    fn provisioner_vars(&self) -> Vars {
        self.world.settings.provisioner_vars.as_ref().unwrap_or(&self.world.provisioner_vars).clone()
    }

    fn counts(&self) -> Counts {
        self.world.counts()
    }

    fn instances(&self, filter: &Filter, limit: Option<u32>) -> Vec<Instance> {
        let limit = limit.map_or(usize::MAX, |limit| limit as usize);
        self.world.seen().map(|(_, instance)| instance).filter(|instance| filter.fits(instance)).take(limit).collect()
    }

    fn unhealthy(&self, limit: Option<u32>) -> Vec<Instance> {
        let limit = limit.map_or(usize::MAX, |limit| limit as usize);
        self.world.seen().map(|(_, instance)| instance).filter(is_to_be_replaced).take(limit).collect()
    }

    fn instance(&self, id: &str) -> Option<Instance> {
        self.world.seen().map(|(_, instance)| instance).find(|instance| instance.id == id)
    }

    fn instance_at(&self, row: u32) -> Option<Instance> {
        self.world.seen().find(|(known, _)| *known == row).map(|(_, instance)| instance)
    }

    fn columns(&self, filter: &Filter) -> Columns {
        let mut columns = Columns::default();
        for (row, instance) in self.world.seen().filter(|(_, instance)| filter.fits(instance)) {
            columns.rows.push(row);
            columns.states.push(instance.state);
            columns.healths.push(instance.health);
            columns.state_since.push(instance.state_since);
        }
        columns
    }

    fn sites(&self) -> Vec<SiteReport> {
        let valid_at = |site: &str| self.world.instances.values().filter(|instance| instance.site == site && instance.is_valid()).count();
        let sites = self.world.sites.iter();
        let report = |(site, record): (&String, &super::world::Site)| SiteReport {
            site: site.clone(),
            instances: narrow(valid_at(site)),
            failures: record.failures,
            backing_off_until: record.backing_off_until,
        };
        sites.map(report).collect()
    }

    fn changed(&self, limit: Option<u32>) -> Vec<Instance> {
        let limit = limit.map_or(usize::MAX, |limit| limit as usize);
        self.world.seen().filter(|(row, _)| self.world.changed.contains(row)).map(|(_, instance)| instance).take(limit).collect()
    }

    fn sensor(&self, metric: &str, scope: &Scope, statistic: Statistic, window: Duration) -> Sample {
        self.world.readings.sample(metric, scope, statistic, self.world.now, window)
    }

    fn sensor_of_all(&self, metric: &str, statistic: Statistic, window: Duration) -> Vec<(InstanceId, Sample)> {
        let valid = self.world.instances.values().filter(|instance| instance.is_valid());
        valid.map(|instance| (instance.id.clone(), self.sensor(metric, &Scope::instance(&instance.id), statistic, window))).collect()
    }

    fn series(&self, metric: &str, scope: &Scope, window: Duration, limit: u32) -> Vec<(Timestamp, f64)> {
        self.world.readings.series(metric, scope, self.world.now, window, limit as usize)
    }

    fn health_monitored(&self) -> bool {
        self.world.monitored
    }
}

impl ControlSource for Call<'_> {
    fn launch(&self, request: LaunchRequest) -> Result<Launched, Refusal> {
        let answer = self.rule_on_launch(&request);
        self.asked.borrow_mut().push(Asked::Launch { request, answer: answer.clone() });
        answer
    }

    fn destroy_instances(&self, ids: &[InstanceId], reason: &str) -> Result<Destroyed, Refusal> {
        self.destroy(ids.to_vec(), ids.len(), reason)
    }

    fn destroy_launch(&self, launch: &str, reason: &str) -> Result<Destroyed, Refusal> {
        let of_launch: Vec<&Instance> = self.world.instances.values().filter(|instance| instance.launch == launch).collect();
        if of_launch.is_empty() {
            return Err(Refusal::Invalid(format!("launch: no launch {launch:?} in this domain")));
        }
        let gone = |state| matches!(state, InstanceState::Terminated | InstanceState::Failed | InstanceState::Rejected);
        let ids: Vec<InstanceId> = of_launch.into_iter().filter(|it| !gone(it.state)).map(|instance| instance.id.clone()).collect();
        self.tally.may_ask()?;
        self.tally.name_launch(ids.len())?;
        self.destroy(ids, 0, reason)
    }

    fn budget(&self) -> RateBudget {
        let (launched, destroyed) = self.granted();
        let rules = &self.world.rules;
        let limited = rules.launches.is_some() || rules.terminations.is_some();
        RateBudget {
            launches: rules.launches.map_or(LAUNCHES_PER_DECISION, |most| most.saturating_sub(launched)),
            terminations: rules.terminations.map_or(u32::MAX, |most| most.saturating_sub(narrow(destroyed.len()))),
            full_at: if limited { self.world.now + BUDGET_WAIT } else { self.world.now },
        }
    }

    fn configure(&self, settings: &Settings) -> Result<(), Refusal> {
        self.set(settings)
    }
}

impl SetupSource for Call<'_> {
    fn configure(&self, settings: &Settings) -> Result<(), Refusal> {
        self.set(settings)
    }
}

/// Bits that have nothing of their origin's order (the finaliser of splitmix64).
fn mixed(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
