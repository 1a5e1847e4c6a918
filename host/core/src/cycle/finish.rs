//! The end of a cycle: what the engine wanted, held against the newest state, becomes a journal record.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Cycle, Decided, Failed, Level, Ran, Settings, limits};
use crate::id::InstanceId;
use crate::instance::Vars;
use crate::record::{Decision, EngineInForce, Event, Faulted};
use crate::state::{DomainState, Life};
use crate::time::Timestamp;

/// What came of a cycle.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// What to append: nothing when the decision is quiet, that is, changes nothing and says nothing new.
    pub event: Option<Event>,
    /// What the engine said, also when it was quiet.
    pub said: Option<Decision>,
    /// What follows from it, in the same record: the domain goes back to another version, or its engine is held.
    pub then: Option<Event>,
    /// What was granted had to be taken back, with the memory: the engine should be asked again soon, whatever it wanted to wait for.
    pub taken_back: bool,
}

impl Finished {
    /// The engine that was asked.
    pub(crate) fn engine(&self) -> Option<&EngineInForce> {
        match (&self.said, &self.event) {
            (Some(said), _) => Some(&said.engine),
            (None, Some(Event::Faulted(faulted))) => Some(&faulted.engine),
            _ => None,
        }
    }
}

impl Ran {
    /// Makes the record. `newest` may be ahead of what the engine saw: what no longer holds is dropped, with a reason.
    pub fn finish(self, newest: &DomainState, now: Timestamp) -> Finished {
        let Self { cycle, fuel, outcome } = self;
        match outcome {
            Err(failed) => {
                let hold = failed.hold.clone();
                let faulted = faulted(failed, fuel, lines(cycle.log, cycle.log_dropped), newest);
                let then = newest.after_fault(&faulted, hold);
                Finished { event: Some(Event::Faulted(faulted)), then, said: None, taken_back: false }
            }
            Ok(decided) => cycle.decision(decided, fuel, newest, now),
        }
    }
}

fn faulted(failed: Failed, fuel: u64, mut log: Vec<String>, newest: &DomainState) -> Faulted {
    let Failed { engine, call, fault, hold: _ } = failed;
    log.drain(..log.len().saturating_sub(limits::FAULT_LINES));
    let mut message = fault.message;
    super::request::truncate(&mut message, limits::REASON_BYTES);
    let in_a_row = newest.fault.as_ref().map_or(0, |open| open.in_a_row).saturating_add(1);
    Faulted { engine, call: call.to_owned(), kind: fault.kind, message, backtrace: fault.backtrace, in_a_row, fuel, log }
}

/// What an engine logged, as records hold it.
fn lines(log: Vec<(Level, String)>, dropped: u32) -> Vec<String> {
    let mut lines: Vec<String> = log.into_iter().map(|(level, line)| format!("{}: {line}", level.name())).collect();
    if dropped > 0 {
        lines.push(format!("warn: {dropped} more lines were dropped"));
    }
    lines
}

impl Cycle {
    fn decision(self, decided: Decided, fuel: u64, newest: &DomainState, now: Timestamp) -> Finished {
        let Decided { engine, prepared, mut verdict } = decided;
        // JSON has no word for them, and a record must be readable.
        verdict.figures.retain(|(_, value)| value.is_finite());
        let asked = !self.launches.is_empty() || !self.terminations.is_empty();
        let dry_run = self.state.dry_run && asked;
        let new_memory = newest.memory.as_ref() != Some(&verdict.memory) || prepared == Some(super::Prepared::Initialized);
        let reconfigured = newest.config_revision != self.state.config_revision;
        let granted_with = reconfigured.then(|| self.settings.provisioner_vars.clone().unwrap_or_else(|| self.base_vars().clone()));
        let log = lines(self.log, self.log_dropped);
        let mut decision = Decision {
            based_on: self.state.sequence,
            saw: Some(self.state.counts()),
            seed: self.seed,
            cause: self.cause,
            engine,
            config_revision: self.state.config_revision,
            prepared,
            status: verdict.status,
            reason: verdict.reason,
            figures: verdict.figures,
            wake: verdict.wake,
            // The world did not change as the engine believes: what it remembers of that would be wrong.
            memory: (new_memory && !dry_run).then_some(verdict.memory),
            // What people asked for last wins over what the engine asked for before it knew of that.
            settings: if dry_run || reconfigured { Settings::default() } else { self.settings },
            launches: self.launches,
            terminations: self.terminations,
            dry_run,
            observed: self.observed,
            log,
            fuel,
        };
        let says_something_new = (decision.prepared.is_some() && !dry_run)
            || decision.memory.is_some()
            || !decision.settings.is_empty()
            || decision.status != newest.decision.status
            || newest.decision.sequence == 0
            || !newest.has_worked()
            || newest.fault.is_some()
            || (decision.grants_something(newest) && !dry_run)
            || (asked && decision.held_back() != newest.decision.held_back);
        let mut taken_back = decision.drop_what_no_longer_holds(&self.state, newest, now);
        if granted_with.is_some_and(|vars| decision.would_launch_without(&vars, newest)) {
            decision.launch_nobody("the configuration changed while the engine decided, and with it the variables of launches");
            taken_back = true;
        }
        Finished {
            event: says_something_new.then(|| Event::Decided(Box::new(decision.clone()))),
            then: None,
            said: Some(decision),
            taken_back,
        }
    }
}

impl Decision {
    /// Whether anything that was asked for was granted, and changes something.
    fn grants_something(&self, newest: &DomainState) -> bool {
        let is_new = |id: &InstanceId| newest.instance(id).is_some_and(|instance| instance.rises());
        self.launches.iter().any(|launch| !launch.instances.is_empty())
            || self.terminations.iter().any(|termination| !termination.accepted.is_empty() || termination.again.iter().any(is_new))
    }

    /// What was refused or deferred, by the guard that held it: the same again is not worth a record. Figures that move by themselves
    /// (waiting times) are left out.
    pub(crate) fn held_back(&self) -> Vec<String> {
        let held = |what: &str, rulings: &[crate::guard::Ruling], asked: u32| {
            let mut before = asked;
            let mut by = Vec::new();
            for ruling in rulings {
                if ruling.passed < before {
                    by.push(ruling.guard.name());
                }
                before = ruling.passed;
            }
            if self.dry_run && before > 0 {
                by.push(crate::guard::Guard::DryRun.name());
                before = 0;
            }
            (!by.is_empty()).then(|| format!("{what}: {} held back by {}", asked - before, by.join(", ")))
        };
        let launches = self.launches.iter().filter_map(|it| held("launch", &it.rulings, it.asked));
        // As many as the guards were asked about, whatever became of those that they let pass.
        let asked = |rulings: &[crate::guard::Ruling], deferred: usize| rulings.last().map_or(0, |last| last.passed) + deferred as u32;
        let terminations = self.terminations.iter().filter_map(|it| held("terminate", &it.rulings, asked(&it.rulings, it.deferred.len())));
        launches.chain(terminations).collect()
    }

    /// Whether anything was taken back, and the engine's memory with it.
    fn drop_what_no_longer_holds(&mut self, seen: &Arc<DomainState>, newest: &DomainState, now: Timestamp) -> bool {
        if newest.sequence == seen.sequence {
            return false;
        }
        let mut taken_back = false;
        let stopped = if newest.life != Life::Active {
            Some("the domain is being removed")
        } else if newest.paused {
            Some("the domain was paused")
        } else if newest.dry_run && !self.dry_run {
            Some("dry run was switched on")
        } else {
            None
        };
        if let Some(why) = stopped {
            if self.grants_something(newest) {
                self.forget();
                taken_back = true;
            }
            for launch in self.launches.iter_mut().filter(|launch| !launch.instances.is_empty()) {
                launch.instances.clear();
                launch.refused = Some(format!("{why} while the engine decided"));
            }
        }
        taken_back |= self.keep_to_the_maximum(newest);
        for termination in &mut self.terminations {
            let (mut accepted, mut again, mut dropped) = (Vec::new(), std::mem::take(&mut termination.again), Vec::new());
            for id in termination.accepted.drain(..) {
                let was_unhealthy = seen.instance(&id).is_some_and(|instance| instance.is_unhealthy());
                match (stopped, newest.instance(&id)) {
                    (Some(why), _) => dropped.push((id, format!("{why} while the engine decided"))),
                    (None, None) => dropped.push((id, "its record is gone".to_owned())),
                    (None, Some(instance)) if instance.state.is_gone() => dropped.push((id, format!("it is {} by now", instance.state))),
                    (None, Some(instance)) if !instance.state.is_valid() => again.push(id),
                    (None, Some(instance)) if instance.protected => {
                        dropped.push((id, "it was protected while the engine decided".to_owned()))
                    }
                    (None, Some(instance)) if was_unhealthy && !instance.is_unhealthy() => {
                        dropped.push((id, format!("it recovered: {} since {}", instance.health, now.since(instance.health_since))));
                    }
                    (None, Some(_)) => accepted.push(id),
                }
            }
            (termination.accepted, termination.again, termination.dropped) = (accepted, again, dropped);
        }
        taken_back | self.launch_nobody_for_those_who_stay(newest)
    }

    /// A launch that takes the place of an instance goes only with its end.
    fn launch_nobody_for_those_who_stay(&mut self, newest: &DomainState) -> bool {
        let launched = self.launches.iter().filter(|launch| !launch.instances.is_empty());
        let replaced: Vec<&InstanceId> = launched.filter_map(|launch| launch.replaces.as_ref()).collect();
        if replaced.is_empty() {
            return false;
        }
        let leaving: BTreeSet<&InstanceId> = self.terminations.iter().flat_map(|termination| &termination.accepted).collect();
        let stays = |id: &&InstanceId| newest.instance(id).is_some_and(|it| it.state.is_valid()) && !leaving.contains(id);
        let Some(id) = replaced.into_iter().find(stays) else { return false };
        let dropped = self.terminations.iter().flat_map(|termination| &termination.dropped).find(|(dropped, _)| dropped == id);
        let why = dropped.map_or("it was adopted while the engine decided", |(_, why)| why);
        let because = format!("{id} is not replaced: {why}");
        self.launch_nobody(&because);
        true
    }

    /// Takes back all launches: an engine believes in all of what it was granted or in none, and what it remembers must not name instances
    /// that there are not.
    fn launch_nobody(&mut self, because: &str) {
        for launch in self.launches.iter_mut().filter(|launch| !launch.instances.is_empty()) {
            launch.instances.clear();
            launch.refused = Some(because.to_owned());
        }
        self.forget();
    }

    /// The world does not change as the engine believes: what it remembers of that, and what it wants to wait for, would be wrong.
    fn forget(&mut self) {
        (self.memory, self.prepared, self.settings, self.wake) = (None, None, Settings::default(), None);
    }

    /// Whether instances would be launched that are not given these variables by the time that they are asked for.
    fn would_launch_without(&self, vars: &Vars, newest: &DomainState) -> bool {
        let fresh = matches!(self.prepared, Some(super::Prepared::Initialized | super::Prepared::Reconfigured));
        let given = if fresh { &newest.config.general.provisioner_vars } else { newest.base_vars() };
        given != vars && !self.dry_run && self.launches.iter().any(|launch| !launch.instances.is_empty())
    }

    /// The maximum may have been lowered, or a promise kept that was counted out. Then nothing of the decision is launched.
    fn keep_to_the_maximum(&mut self, newest: &DomainState) -> bool {
        let most = newest.config.general.max_instances;
        let launched: usize = self.launches.iter().map(|launch| launch.instances.len()).sum();
        if launched == 0 || launched <= most.saturating_sub(newest.alive()) as usize {
            return false;
        }
        let because = format!("max_instances is {most} by now");
        for launch in self.launches.iter_mut().filter(|launch| !launch.instances.is_empty()) {
            // The quota is the last guard that was asked, and the one that was asked again.
            if let Some(quota) = launch.rulings.last_mut() {
                (quota.passed, quota.note) = (0, Some(because.clone()));
            }
        }
        self.launch_nobody(&because);
        true
    }
}
