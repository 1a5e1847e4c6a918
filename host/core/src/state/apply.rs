//! The fold: the one place where a domain's state changes.
//!
//! It never fails and never asks: whether something may happen was judged before it was written. A record that makes no sense (a report on
//! an instance that is not there) changes nothing, so that a journal which was once accepted can always be read.

use std::collections::BTreeMap;
use std::sync::Arc;

use litemap::LiteMap;

use super::{DomainState, LastDecision, Life, OpenFault, SiteRecord};
use crate::id::InstanceId;
use crate::instance::{Health, Instance, State};
use crate::record::{Adopted, Change, Configured, Decision, Event, Faulted, Judged, Judgement, Prepared, Record, Reported};
use crate::time::{Millis, Timestamp};

impl DomainState {
    /// Folds in one record that the journal holds at `sequence`. Returns the ordinals of the instances that it touched.
    pub fn apply(&mut self, sequence: u64, record: &Record) -> Vec<u64> {
        let mut touched = Vec::new();
        for event in &record.events {
            self.apply_event(sequence, record, event, &mut touched);
        }
        self.sequence = sequence;
        self.now = self.now.max(record.at);
        if record.is_snapshot() {
            (self.snapshot, self.since_snapshot) = (sequence, 0);
            self.remember_snapshot(sequence, record.at);
        } else {
            self.since_snapshot += 1;
        }
        touched
    }

    /// Keeps a few old snapshots in mind: the older, the farther apart, so that there is one for any length of time that is to be kept.
    fn remember_snapshot(&mut self, sequence: u64, at: Timestamp) {
        const MOST: usize = 64;
        const APART: Millis = Millis::from_secs(3 * 3600);
        if self.snapshots.last().is_none_or(|(_, last)| at.since(*last) >= APART) {
            self.snapshots.push((sequence, at));
        }
        if self.snapshots.len() > MOST {
            // The one without which the gap would be the smallest, measured by its age; in whole numbers, for every host folds the same.
            let gap = |three: &[(u64, Timestamp)]| {
                three[2].1.since(three[0].1).get().saturating_mul(1_000_000) / at.since(three[1].1).get().max(1)
            };
            let least = self.snapshots.windows(3).enumerate().min_by_key(|(_, three)| gap(three));
            if let Some(between) = least.map(|(first, _)| first + 1) {
                self.snapshots.remove(between);
            }
        }
    }

    fn apply_event(&mut self, sequence: u64, record: &Record, event: &Event, touched: &mut Vec<u64>) {
        match event {
            Event::Took { host } => {
                (self.host, self.epoch) = (Some(host.clone()), record.epoch);
                self.restored = None;
            }
            Event::Configured(configured) => self.configured(sequence, record.at, configured, touched),
            Event::Reported(reported) => touched.extend(self.change(&reported.id, |it| it.reported(reported, record.at))),
            Event::Judged(Judged { id, verdict: Judgement::Reaped }) => touched.extend(self.reap(id, record.at)),
            Event::Judged(judged) => touched.extend(self.change(&judged.id, |it| it.judged(&judged.verdict, record.at, sequence))),
            Event::Decided(decision) => self.decided(sequence, record.at, decision, touched),
            Event::Faulted(faulted) => self.faulted(record.at, faulted),
            Event::Swapped(swapped) => self.swapped(sequence, record.at, swapped),
            Event::Held(held) => self.lineage.get_or_insert_default().held = Some((record.at, held.clone())),
            Event::Compared(compared) => self.compared(compared),
            Event::Scheduled(scheduled) => {
                self.windows = scheduled.windows.clone();
                self.config_revision += 1;
            }
            Event::Snapshot(state) => *self = Self::clone(state).reindexed(),
            Event::Restored(restored) => {
                *self = restored.state.clone().reindexed().rebased(sequence, record.epoch);
                self.paused |= restored.paused;
                self.restored = Some((restored.by.clone(), restored.backup_at));
            }
            Event::Removed => {
                *self = self.successor();
                self.life = Life::Removed;
            }
        }
    }

    /// Nothing of what this domain was, but all that belongs to its journal, which goes on.
    fn successor(&mut self) -> Self {
        Self {
            epoch: self.epoch,
            host: self.host.take(),
            now: self.now,
            answers: std::mem::take(&mut self.answers),
            snapshot: self.snapshot,
            since_snapshot: self.since_snapshot,
            snapshots: std::mem::take(&mut self.snapshots),
            ..Self::absent(self.key.clone(), self.slot)
        }
    }

    fn configured(&mut self, sequence: u64, at: Timestamp, configured: &Configured, touched: &mut Vec<u64>) {
        match &configured.change {
            Change::Added { config, engine } => {
                *self = self.successor();
                self.life = Life::Active;
                self.incarnation = sequence;
                self.config = config.clone();
                self.config_revision = 1;
                self.engine = engine.clone();
            }
            Change::Reconfigured { config, engine } => {
                self.chosen(sequence, config, engine);
                self.config = config.clone();
                self.config_revision += 1;
                self.engine = engine.clone();
            }
            Change::Paused(paused) => self.paused = *paused,
            Change::DryRun(dry_run) => self.dry_run = *dry_run,
            Change::Shadowed(shadow) => self.shadowed(shadow.as_deref()),
            Change::Retried => self.retried(),
            Change::BrakeReleased => self.brake_released = Some(at),
            Change::Removing => self.life = Life::Removing,
            Change::Abandoned => (self.life, self.abandoned) = (Life::Removing, true),
            Change::Subscribed(subscriber) => {
                if let Err(at) = self.subscribers.binary_search(subscriber) {
                    self.subscribers.insert(at, subscriber.clone());
                }
            }
            Change::Unsubscribed { name, operation } => {
                self.subscribers.retain(|it| it.name != *name || operation.as_ref().is_some_and(|only| it.operation != *only));
            }
            Change::Killed { id, reason } => touched.extend(self.change(id, |it| it.end(reason, at, sequence))),
            Change::Protected { id, on } => touched.extend(self.change(id, |it| it.protected = *on && it.state.is_valid())),
            Change::Adopted(adopted) => touched.extend(self.adopt(adopted, at, sequence)),
            Change::Nothing => {}
        }
        if let Some(request) = &configured.request {
            self.answers.push_back((request.clone(), configured.answer.clone()));
            while self.answers.len() > Self::MAX_ANSWERS {
                self.answers.pop_front();
            }
        }
    }

    /// A state of another journal, as one of this: nothing in it refers to records that are not here.
    fn rebased(mut self, sequence: u64, epoch: u64) -> Self {
        self.epoch = epoch;
        self.host = None;
        self.snapshots.clear();
        self.decision.sequence = 0;
        if let Some(lineage) = &mut self.lineage {
            lineage.since = 0;
        }
        self.incarnation = sequence;
        self.changed.values_mut().for_each(|after| *after = sequence);
        // What was promised is promised by this record now: requests to provisioners carry its sequence.
        let promised: Vec<u64> = self.promised().map(|it| it.ordinal).collect();
        for ordinal in promised {
            if let Some(instance) = self.instances.get_mut(&ordinal) {
                Arc::make_mut(instance).promised_at = sequence;
            }
        }
        self
    }

    /// A site at which there is an instance is one that engines are told of, and brakes look at.
    fn know_site(&mut self, site: &str) {
        if !self.sites.contains_key(site) {
            if self.sites.is_empty() {
                // Most domains use one site for ever.
                self.sites = LiteMap::with_capacity(1);
            }
            self.sites.insert(site.to_owned(), SiteRecord::default());
        }
    }

    fn adopt(&mut self, adopted: &Adopted, at: Timestamp, sequence: u64) -> Option<u64> {
        if self.index.ordinal(&adopted.id).is_some() {
            return None;
        }
        self.know_site(&adopted.site);
        let ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        self.put(Instance {
            deployable_type: adopted.deployable_type.clone(),
            site: adopted.site.clone(),
            allocation: adopted.allocation.clone(),
            state: adopted.state,
            attributes: adopted.attributes.clone().into_iter().collect(),
            extra_vars: adopted.extra_vars.clone(),
            ..Instance::requesting(adopted.id.clone(), adopted.launch.clone(), ordinal, at, sequence)
        });
        // Other than with a launch, its engine does not know of it.
        self.changed.insert(ordinal, self.sequence);
        Some(ordinal)
    }

    fn decided(&mut self, sequence: u64, at: Timestamp, decision: &Decision, touched: &mut Vec<u64>) {
        // What was committed while the engine decided it has not seen.
        self.changed.retain(|_, after| *after >= decision.based_on);
        if self.changed.is_empty() {
            // An empty tree that was once full keeps its last leaf.
            self.changed = BTreeMap::new();
        }
        self.fault = None;
        if let Some(lineage) = self.lineage.as_mut().filter(|_| decision.engine.digest != self.engine.digest) {
            // It was decided before the engine in force was: that one has yet to show that it works.
            lineage.since = sequence;
        }
        self.decision = LastDecision {
            sequence,
            at,
            status: decision.status,
            reason: decision.reason.clone(),
            wake: decision.wake,
            held_back: decision.held_back(),
        };
        if decision.dry_run {
            return;
        }
        if let Some(memory) = &decision.memory {
            self.memory = Some(memory.clone());
            self.memory_of = decision.engine.clone();
        }
        if matches!(decision.prepared, Some(Prepared::Initialized | Prepared::Reconfigured | Prepared::Refused)) {
            self.applied_revision = decision.config_revision;
        }
        if matches!(decision.prepared, Some(Prepared::Initialized | Prepared::Reconfigured)) {
            // What an engine once wanted goes with the configuration, or the engine, that made it want it.
            (self.pulse, self.provisioner_vars) = (None, None);
        }
        if let Some(pulse) = decision.settings.pulse {
            self.pulse = Some(pulse);
        }
        if let Some(vars) = &decision.settings.provisioner_vars {
            self.provisioner_vars = Some(vars.clone());
        }
        for launch in decision.launches.iter().filter(|launch| !launch.instances.is_empty()) {
            self.know_site(&launch.site);
            for id in &launch.instances {
                if self.index.ordinal(id).is_some() {
                    continue;
                }
                let ordinal = self.next_ordinal;
                self.next_ordinal += 1;
                self.put(launch.instance(id, ordinal, at, sequence));
                touched.push(ordinal);
            }
        }
        for termination in &decision.terminations {
            for id in &termination.accepted {
                touched.extend(self.change(id, |it| it.end(&termination.reason, at, sequence)));
            }
            for id in &termination.again {
                touched.extend(self.change(id, |it| it.undead |= it.rises()));
            }
            if termination.dripped {
                self.brake_dripped = Some(at);
            }
        }
        let count = |lists: &mut dyn Iterator<Item = usize>| lists.sum::<usize>() as u32;
        let launches = count(&mut decision.launches.iter().map(|launch| launch.instances.len()));
        let terminations = count(&mut decision.terminations.iter().map(|termination| termination.accepted.len()));
        if launches + terminations > 0 {
            self.budget.take(&self.config.general, at, launches, terminations);
        }
    }

    fn faulted(&mut self, at: Timestamp, faulted: &Faulted) {
        let since = self.fault.as_ref().map_or(at, |open| open.since);
        let message = format!("{} in {}: {}", faulted.kind.name(), faulted.call, faulted.message);
        // One of an engine that was in force before speaks against nobody.
        let counts = faulted.kind.counts() && faulted.engine.digest == self.engine.digest;
        let counted = self.fault.as_ref().map_or(0, |open| open.counted) + u32::from(counts);
        self.fault = Some(OpenFault { message, in_a_row: faulted.in_a_row, counted, since });
    }

    /// Changes one instance and keeps everything that is derived from it.
    fn change(&mut self, id: &InstanceId, change: impl FnOnce(&mut Instance)) -> Option<u64> {
        let ordinal = self.index.ordinal(id)?;
        let mut instance = Instance::clone(self.instances.get(&ordinal)?);
        let before = instance.state;
        change(&mut instance);
        self.note_launch_outcome(before, &instance);
        self.put(instance);
        Some(ordinal)
    }

    fn put(&mut self, instance: Instance) {
        let ordinal = instance.ordinal;
        if let Some(old) = self.instances.get(&ordinal) {
            if old.state != instance.state || old.health != instance.health {
                self.changed.insert(ordinal, self.sequence);
            }
            self.index.remove(old);
        }
        self.index.add(&instance);
        self.instances.insert(ordinal, Arc::new(instance));
    }

    fn reap(&mut self, id: &InstanceId, at: Timestamp) -> Option<u64> {
        let ordinal = self.index.ordinal(id)?;
        let instance = self.instances.remove(&ordinal)?;
        self.index.remove(&instance);
        self.changed.remove(&ordinal);
        // How launches went where nothing is on record any more is history, unless it still makes the next ones wait.
        let in_use = |site: &String| self.index.sites.contains_key(site);
        self.sites.retain(|site, record| in_use(site) || record.backing_off_until.is_some_and(|until| until > at));
        Some(ordinal)
    }

    /// A launch that reached running clears the site's failures; one that ended before makes the next ones wait.
    fn note_launch_outcome(&mut self, before: State, after: &Instance) {
        if !before.is_starting() || after.state.is_starting() {
            return;
        }
        let mut site = self.sites.get(&after.site).cloned().unwrap_or_default();
        let gave_up = after.state == State::Terminating && after.stalled;
        match after.state {
            State::Running => site = SiteRecord::default(),
            // Those of one launch fail together: they make the next ones wait once, not each twice as long as the one before.
            _ if site.backing_off_until.is_some_and(|until| after.state_since < until) => {}
            _ if gave_up || matches!(after.state, State::Failed | State::Rejected) => {
                site.failures = site.failures.saturating_add(1);
                let back_off = &self.config.general.back_off;
                let doubled = Millis::new(back_off.first.get().saturating_mul(1 << (site.failures - 1).min(10)));
                site.backing_off_until = back_off.enabled.then(|| after.state_since + doubled.min(back_off.longest));
            }
            // Ended before it could show anything, or not yet settled.
            _ => {}
        }
        self.sites.insert(after.site.clone(), site);
    }

    /// Test fixtures and scenarios put a record where they want it.
    #[doc(hidden)]
    pub fn set(&mut self, instance: Instance) {
        self.next_ordinal = self.next_ordinal.max(instance.ordinal + 1);
        self.put(instance);
    }
}

impl Instance {
    /// Folds in what a provisioner told.
    pub(crate) fn reported(&mut self, reported: &Reported, at: Timestamp) {
        if let Some(state) = reported.state {
            // Why an end was asked for says more than how it was carried out; before that, the newest word counts.
            if self.state < State::Terminating || self.end_reason.is_none() {
                self.end_reason = reported.reason.clone().or_else(|| self.end_reason.take());
            }
            self.move_to(state, at);
            self.stalled = false;
            // It orders reports of one state only.
            self.update_counter = None;
        }
        self.update_counter = reported.update_counter.or(self.update_counter);
        if !reported.attributes.is_empty() {
            // As large as need be: with very many instances, room to grow is most of what they take.
            let mut names = LiteMap::with_capacity(self.attributes.len() + reported.attributes.len());
            names.extend(std::mem::take(&mut self.attributes).into_iter().chain(reported.attributes.clone()));
            self.attributes = names;
        }
        self.undead = reported.undead.unwrap_or(self.undead);
    }

    /// Folds in a verdict of the host.
    pub(crate) fn judged(&mut self, verdict: &Judgement, at: Timestamp, sequence: u64) {
        match verdict {
            Judgement::Health { health, well, problems, error_time, heartbeats } => {
                if *health != self.health {
                    (self.health, self.health_since) = (*health, at);
                }
                if *well {
                    self.errors = Default::default();
                }
                if *heartbeats > 0 {
                    self.errors.merge(problems.clone(), *error_time);
                    self.errors.count += heartbeats - 1;
                }
            }
            Judgement::Stalled => self.stalled = true,
            Judgement::Ended { reason } if self.rises() => {
                (self.undead, self.end_reason) = (true, Some(reason.clone()));
            }
            Judgement::Ended { reason } => self.end(reason, at, sequence),
            Judgement::Reaped => {}
        }
    }

    /// Whether asking for its end once more makes a new promise: it is held for gone, is heard all the same, and that is not settled.
    pub(crate) fn rises(&self) -> bool {
        self.state.is_gone() && self.health == Health::Zombie && !self.undead
    }

    /// Its end is promised. Nothing happens to one that is on its way out already.
    fn end(&mut self, reason: &str, at: Timestamp, sequence: u64) {
        if self.state.is_valid() {
            self.move_to(State::Terminating, at);
            self.promised_at = sequence;
            self.end_reason = Some(reason.to_owned());
        }
    }

    fn move_to(&mut self, state: State, at: Timestamp) {
        if self.state.is_valid() && !state.is_valid() {
            self.unhealthy_at_end = self.unhealthy_since();
        }
        self.state = state;
        self.state_since = at;
        if state >= State::Terminating {
            (self.health, self.health_since) = (Health::Unknown, at);
            self.protected = false;
        }
        if state.is_gone() {
            self.undead = false;
        }
    }
}
