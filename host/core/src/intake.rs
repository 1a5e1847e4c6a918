//! Inputs become events: what a message changes, and nothing when it changes nothing.
//!
//! Inputs that arrive together become one record. Each is judged against what the ones before it changed, so a [`Batch`] keeps changed
//! instances beside the state until the record is committed and folded.

use std::collections::BTreeMap;

use crate::config::DomainConfig;
use crate::id::InstanceId;
use crate::instance::{Health, Instance, State};
use crate::message::{Heartbeat, StateReport, Verdict};
use crate::monitor::Monitor;
use crate::record::{Event, Judged, Judgement, Reported};
use crate::state::DomainState;
use crate::time::Timestamp;

/// Something that came in for one instance.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Its agent told how it is.
    Heartbeat(InstanceId, Heartbeat),
    /// Its provisioner told how far it has come.
    Report(InstanceId, StateReport),
    /// Its provisioner was asked, and does not know it.
    Unknown(InstanceId),
    /// Its agent was asked for a sign of life, and there is nobody who could answer.
    NoAgent(InstanceId),
}

impl Input {
    /// Which instance.
    pub fn id(&self) -> &InstanceId {
        match self {
            Self::Heartbeat(id, _) | Self::Report(id, _) | Self::Unknown(id) | Self::NoAgent(id) => id,
        }
    }
}

/// An input for an instance that this domain does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownInstance(pub InstanceId);

/// Events in the making.
pub(crate) struct Batch<'d> {
    state: &'d DomainState,
    monitor: &'d mut Monitor,
    changed: BTreeMap<u64, Instance>,
    events: Vec<Event>,
    now: Timestamp,
}

impl<'d> Batch<'d> {
    pub(crate) fn new(state: &'d DomainState, monitor: &'d mut Monitor, now: Timestamp) -> Self {
        Self { state, monitor, changed: BTreeMap::new(), events: Vec::new(), now }
    }

    /// The events, and whom they change.
    pub(crate) fn into_parts(self) -> (Vec<Event>, BTreeMap<u64, Instance>) {
        (self.events, self.changed)
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// Takes one input.
    pub(crate) fn take(&mut self, input: Input) -> Result<(), UnknownInstance> {
        let known = self.state.instance(input.id()).ok_or_else(|| UnknownInstance(input.id().clone()))?;
        let newest = self.changed.get(&known.ordinal).unwrap_or(known);
        match input {
            // By far the most of what comes in, and almost always without news: only if there are some, the instance is copied.
            Input::Heartbeat(_, heartbeat) => {
                if let Some(verdict) = news(newest, heartbeat, &self.state.config, self.monitor, self.now) {
                    let instance = newest.clone();
                    self.judge(instance, verdict);
                }
            }
            Input::Report(_, report) => {
                let instance = newest.clone();
                self.report(instance, report);
            }
            Input::Unknown(_) => {
                let instance = newest.clone();
                self.unknown(instance);
            }
            Input::NoAgent(_) => {
                if newest.state == State::Running && newest.health == Health::OutOfContact {
                    let instance = newest.clone();
                    self.judge(instance, health(Health::Missing));
                }
            }
        }
        Ok(())
    }

    /// The verdicts of the monitor that are due, at most `most`. Instances that this batch changes are left for later: what the monitor
    /// knows of them is from before the change.
    pub(crate) fn tick(&mut self, most: usize) {
        let (state, changed) = (self.state, &self.changed);
        let unchanged = |ordinal: u64| state.instance_at(ordinal).filter(|_| !changed.contains_key(&ordinal)).map(|it| &**it);
        for (ordinal, verdict) in self.monitor.due(&state.config, self.now, most, unchanged) {
            if let Some(instance) = state.instance_at(ordinal) {
                self.judge(Instance::clone(instance), verdict);
            }
        }
    }

    /// The end of everything that is left of a domain which is being removed, at most `most`.
    pub(crate) fn end_all(&mut self, most: usize) {
        let newest = |known: &'d Instance| self.changed.get(&known.ordinal).unwrap_or(known).clone();
        let left: Vec<Instance> = self.state.instances().map(|it| newest(it)).filter(must_end).take(most).collect();
        for instance in left {
            self.judge(instance, Judgement::Ended { reason: REMOVED.to_owned() });
        }
    }

    fn judge(&mut self, mut instance: Instance, verdict: Judgement) {
        instance.judged(&verdict, self.now, 0);
        self.events.push(Event::Judged(Judged { id: instance.id.clone(), verdict }));
        self.changed.insert(instance.ordinal, instance);
    }

    fn report(&mut self, instance: Instance, report: StateReport) {
        let mut reported = Reported {
            id: instance.id.clone(),
            state: None,
            update_counter: report.update_counter,
            attributes: BTreeMap::new(),
            reason: report.reason,
            undead: None,
        };
        // Whatever it died of: that it is gone settles the doubt.
        let settles = instance.undead && report.state.is_gone();
        if report.state < instance.state {
            // It lives although it is held for gone: ask for its end again. Anything else that is earlier is late news.
            let lives = report.state < State::Terminating && instance.state.is_gone();
            if (lives && !instance.undead) || settles {
                reported = Reported { undead: Some(lives), ..Reported::of(&instance) };
                self.record(instance, reported);
            }
            return;
        }
        if report.state == instance.state {
            let newer = match (report.update_counter, instance.update_counter) {
                (_, None) => true,
                (None, Some(_)) => false,
                (Some(new), Some(old)) => new > old,
            };
            if !newer && !settles {
                return;
            }
            reported.reason = None;
            reported.update_counter =
                reported.update_counter.filter(|counter| instance.update_counter.is_none_or(|known| known < *counter));
        } else {
            reported.state = Some(report.state);
        }
        reported.undead = settles.then_some(false);
        reported.attributes = report.attributes.into_iter().filter(|(name, value)| instance.attributes.get(name) != Some(value)).collect();
        let room = StateReport::MAX_ATTRIBUTES.saturating_sub(instance.attributes.len());
        let fits = reported.attributes.keys().filter(|name| !instance.attributes.contains_key(*name)).count() <= room;
        if !fits {
            reported.attributes.clear();
        }
        if reported.state.is_some() || reported.undead.is_some() || !reported.attributes.is_empty() || reported.update_counter.is_some() {
            self.record(instance, reported);
        }
    }

    /// Its provisioner does not know it: then there is nothing to wait for, unless it is heard from all the same.
    fn unknown(&mut self, instance: Instance) {
        let (state, reason) = match instance.state {
            // The request may not have arrived yet; it is sent again.
            State::Requesting => return,
            State::Terminating => (State::Terminated, "its provisioner does not know it"),
            state if state.is_gone() => {
                if instance.undead {
                    let reported = Reported { undead: Some(false), ..Reported::of(&instance) };
                    self.record(instance, reported);
                }
                return;
            }
            _ if self.monitor.heard_within(instance.ordinal, self.state.config.health.missing_timeout, self.now) => return,
            _ => (State::Failed, "its provisioner does not know it any more"),
        };
        let reported = Reported { state: Some(state), reason: Some(reason.to_owned()), ..Reported::of(&instance) };
        self.record(instance, reported);
    }

    fn record(&mut self, mut instance: Instance, reported: Reported) {
        instance.reported(&reported, self.now);
        self.events.push(Event::Reported(reported));
        self.changed.insert(instance.ordinal, instance);
    }
}

/// What follows from a heartbeat of an instance as it is now, if anything does.
fn news(instance: &Instance, heartbeat: Heartbeat, config: &DomainConfig, monitor: &mut Monitor, now: Timestamp) -> Option<Judgement> {
    // Also noted when health is not monitored: nothing is reaped while it is heard.
    monitor.heard(instance, config.health.monitor_health && heartbeat.verdict == Verdict::Ok, now);
    if !config.health.monitor_health {
        return None;
    }
    match heartbeat.verdict {
        Verdict::Ok => {
            let revives = !matches!(instance.health, Health::Ok | Health::Zombie) && !instance.state.is_gone();
            let says_something_new = revives || (!instance.errors.is_empty() && !instance.state.is_gone());
            let health = if revives { Health::Ok } else { instance.health };
            says_something_new.then(|| Judgement::Health { health, well: true, problems: vec![], error_time: None, heartbeats: 0 })
        }
        Verdict::Error { health, problems, time } => {
            let mut merged = instance.errors.clone();
            merged.merge(problems.clone(), time);
            // A zombie stays one, whatever ails it.
            let health = if instance.health == Health::Zombie { Health::Zombie } else { health };
            let new = instance.health != health || merged.list != instance.errors.list;
            let heartbeats = monitor.count_error(instance.ordinal, now, new)?;
            Some(Judgement::Health { health, well: false, problems, error_time: time, heartbeats })
        }
    }
}

impl Reported {
    fn of(instance: &Instance) -> Self {
        Self { id: instance.id.clone(), state: None, update_counter: None, attributes: BTreeMap::new(), reason: None, undead: None }
    }
}

/// Why an instance ends whose domain does.
const REMOVED: &str = "its domain is being removed";

/// Whether a domain that is being removed must still ask for the end of an instance: it is not on its way out, or it is held for gone but
/// heard. The latter is asked for once, until its provisioner has answered; it may be heard for a while after that.
pub(crate) fn must_end(instance: &Instance) -> bool {
    instance.state.is_valid() || (instance.rises() && instance.end_reason.as_deref() != Some(REMOVED))
}

const fn health(health: Health) -> Judgement {
    Judgement::Health { health, well: false, problems: Vec::new(), error_time: None, heartbeats: 0 }
}
