//! The health monitor: who was heard when, and what follows from silence. All on sighted time, all limits strict: exactly at a limit
//! nothing happens yet.
//!
//! | state | heard | verdict |
//! |---|---|---|
//! | running | never, running since before the watching began, health unknown | silent when watched for longer than *boot* |
//! | running | never, running since before the watching began, health known | silent when watched for longer than *missing* |
//! | running | never, began to run under our eyes | silent when running for longer than *boot* |
//! | running | yes | silent when not heard for longer than *missing* |
//! | running, out of contact | | missing when not answered for longer than *really missing* |
//! | terminating or gone | longer than *zombie* after its end | zombie |
//! | terminating or gone | not for longer than *zombie* | forgotten: unknown |
//! | on its way to running | | stalled after the *launch time-out*, ended after as long once more |
//!
//! The watching begins when a host takes the domain, and again when monitoring is switched on.
//!
//! *Silent* is out of contact, and asks the agent for a sign of life; where *really missing* is zero it is missing at once.
//!
//! The cost follows the limits that expire, not the instances: a heartbeat only notes the time, and the queue of limits finds out later.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::DomainConfig;
use crate::instance::{Health, Instance, State};
use crate::record::Judgement;
use crate::sight::{Sight, Sighted, signed};
use crate::state::DomainState;
use crate::time::{Millis, Timestamp};

/// What a host knows of its instances that is not in the journal.
#[derive(Clone, Debug)]
pub struct Monitor {
    sight: Sight,
    vitals: BTreeMap<u64, Vital>,
    /// Error heartbeats that said nothing new and are not in the journal yet: how many, and when there were last none. Of those few that
    /// send any.
    unsaved: BTreeMap<u64, (u64, Sighted)>,
    /// By when each instance must be looked at; never later than its true limit, perhaps earlier.
    queue: BTreeSet<(Sighted, u64)>,
    /// Whether health is monitored, and since when: silence before that proves nothing.
    monitors: bool,
    monitors_since: Sighted,
}

#[derive(Clone, Debug)]
struct Vital {
    state: State,
    health: Health,
    /// When it reached its state.
    since: Sighted,
    /// When it was last heard, or [`NEVER`].
    heard: Sighted,
    /// When it was asked for a sign of life.
    asked: Sighted,
    /// Its place in the queue.
    queued: Option<Sighted>,
}

/// No moment: long before everything.
const NEVER: Sighted = Sighted::MIN;

impl Vital {
    /// When it was last heard, if ever.
    fn heard(&self) -> Option<Sighted> {
        (self.heard != NEVER).then_some(self.heard)
    }
}

impl Monitor {
    /// Begins to watch the instances of a domain.
    pub fn begin(state: &DomainState, now: Timestamp) -> Self {
        let mut monitor = Self {
            sight: Sight::begin(now),
            vitals: BTreeMap::new(),
            unsaved: BTreeMap::new(),
            queue: BTreeSet::new(),
            monitors: true,
            monitors_since: 0,
        };
        monitor.look_at_all(state, now);
        monitor
    }

    /// What can be seen.
    pub fn sight(&self) -> &Sight {
        &self.sight
    }

    /// What can be seen, to change it.
    pub fn sight_mut(&mut self) -> &mut Sight {
        &mut self.sight
    }

    /// An instance was heard. If it says that all is `well`, errors that were said over and over are settled, those that are not in the
    /// journal yet, too.
    pub fn heard(&mut self, instance: &Instance, well: bool, now: Timestamp) {
        let at = self.sight.at(now);
        if let Some(vital) = self.vitals.get_mut(&instance.ordinal) {
            vital.heard = at;
            if well && !self.unsaved.is_empty() {
                self.unsaved.remove(&instance.ordinal);
            }
            // Whoever should be gone must be looked at; for everybody else it only moves the limit out, and the queue will find out.
            if vital.state >= State::Terminating {
                enqueue(&mut self.queue, vital, instance.ordinal, at);
            }
        }
    }

    /// Whether an instance was heard within the last `window`.
    pub fn heard_within(&self, ordinal: u64, window: Millis, now: Timestamp) -> bool {
        let heard = self.vitals.get(&ordinal).and_then(Vital::heard);
        heard.is_some_and(|heard| self.sight.at(now).saturating_sub(heard) <= signed(window.get()))
    }

    /// Counts an error heartbeat that says nothing new. Returns how many there are to save, at most once a minute.
    pub(crate) fn count_error(&mut self, ordinal: u64, now: Timestamp, new: bool) -> Option<u64> {
        const SAVE_EVERY: i64 = 60_000;
        let at = self.sight.at(now);
        let (count, since) = self.unsaved.entry(ordinal).or_insert((0, at));
        *count += 1;
        (new || at.saturating_sub(*since) >= SAVE_EVERY).then(|| {
            *since = at;
            std::mem::take(count)
        })
    }

    /// Takes note of an instance's record: after every change of it.
    pub fn look_at(&mut self, instance: &Instance, config: &DomainConfig, now: Timestamp) {
        let ordinal = instance.ordinal;
        let at = self.sight.at(now);
        let vital = self.vitals.entry(ordinal).or_insert_with(|| Vital {
            state: instance.state,
            health: instance.health,
            since: self.sight.past(instance.state_since, now),
            heard: NEVER,
            asked: at,
            queued: None,
        });
        // A state is never reached twice.
        if vital.state != instance.state {
            vital.since = self.sight.past(instance.state_since, now);
        }
        if instance.health == Health::OutOfContact && vital.health != Health::OutOfContact {
            vital.asked = at;
        }
        (vital.state, vital.health) = (instance.state, instance.health);
        match limit(instance, vital, config, self.monitors_since) {
            Some(limit) => enqueue(&mut self.queue, vital, ordinal, limit),
            None => dequeue(&mut self.queue, vital, ordinal),
        }
    }

    /// Takes note of every instance: at the beginning, and when the windows have changed.
    pub fn look_at_all(&mut self, state: &DomainState, now: Timestamp) {
        let monitors = state.config.health.monitor_health;
        if monitors && !self.monitors {
            self.monitors_since = self.sight.at(now);
        }
        self.monitors = monitors;
        for instance in state.instances() {
            self.look_at(instance, &state.config, now);
        }
    }

    /// An instance's record is gone.
    pub fn forget(&mut self, ordinal: u64) {
        if let Some(mut vital) = self.vitals.remove(&ordinal) {
            dequeue(&mut self.queue, &mut vital, ordinal);
            self.unsaved.remove(&ordinal);
        }
    }

    /// Forgets every instance: the domain they were of is gone, and the next one of its name counts from the beginning.
    pub(crate) fn forget_all(&mut self) {
        self.vitals.clear();
        self.unsaved.clear();
        self.queue.clear();
    }

    /// The verdicts that are due, at most `most`. Each must be recorded, or the instance looked at again. Nothing is said of an instance
    /// that `instance_at` does not give: it is looked at again when what changes it is committed.
    pub fn due<'a>(
        &mut self,
        config: &DomainConfig,
        now: Timestamp,
        most: usize,
        instance_at: impl Fn(u64) -> Option<&'a Instance>,
    ) -> Vec<(u64, Judgement)> {
        let at = self.sight.at(now);
        let mut due = Vec::new();
        while due.len() < most {
            let Some(&(limit_at, ordinal)) = self.queue.first() else { break };
            if limit_at > at {
                break;
            }
            self.queue.pop_first();
            let Some(vital) = self.vitals.get_mut(&ordinal) else { continue };
            vital.queued = None;
            let Some(instance) = instance_at(ordinal) else { continue };
            match verdict(instance, vital, config, self.monitors_since, at) {
                Some(verdict) => {
                    if verdict == FORGOTTEN {
                        vital.heard = NEVER;
                    }
                    due.push((ordinal, verdict));
                }
                None => {
                    // Heard since, or moved on: look again at the true limit. It lies in the future, or the verdict was due.
                    if let Some(later) = limit(instance, vital, config, self.monitors_since).filter(|later| *later > at) {
                        enqueue(&mut self.queue, vital, ordinal, later);
                    }
                }
            }
        }
        due
    }

    /// When the next look is due; nothing while blind, or when nobody can come due.
    pub fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        self.sight.when(self.queue.first()?.0, now)
    }
}

fn enqueue(queue: &mut BTreeSet<(Sighted, u64)>, vital: &mut Vital, ordinal: u64, at: Sighted) {
    dequeue(queue, vital, ordinal);
    queue.insert((at, ordinal));
    vital.queued = Some(at);
}

fn dequeue(queue: &mut BTreeSet<(Sighted, u64)>, vital: &mut Vital, ordinal: u64) {
    if let Some(at) = vital.queued.take() {
        queue.remove(&(at, ordinal));
    }
}

const fn health(health: Health) -> Judgement {
    Judgement::Health { health, well: false, problems: Vec::new(), error_time: None, heartbeats: 0 }
}

/// Nobody hears of it any more, as it should be.
const FORGOTTEN: Judgement = health(Health::Unknown);

/// The first sighted millisecond at which [`verdict`] has something to say, if nothing else happens. Health is monitored since `from`.
fn limit(instance: &Instance, vital: &Vital, config: &DomainConfig, from: Sighted) -> Option<Sighted> {
    let after = |start: Sighted, window: Millis| start.saturating_add(signed(window.get())).saturating_add(1);
    let windows = &config.health;
    if instance.state.is_starting() {
        let start = after(vital.since.max(0), config.general.launch_timeout);
        return Some(if instance.stalled { start.saturating_add(signed(config.general.launch_timeout.get())) } else { start });
    }
    if !windows.monitor_health {
        return (instance.health != Health::Unknown).then_some(Sighted::MIN);
    }
    match (instance.state, instance.health, vital.heard()) {
        (State::RunningFailed, _, _) | (State::Running, Health::Missing, _) => None,
        (State::Running, Health::OutOfContact, _) => Some(after(vital.asked, windows.really_missing_timeout)),
        (State::Running, _, Some(heard)) => Some(after(heard.max(from), windows.missing_timeout)),
        (State::Running, Health::Unknown, None) if vital.since < from => Some(after(from, windows.boot_timeout)),
        (State::Running, _, None) if vital.since < from => Some(after(from, windows.missing_timeout)),
        (State::Running, _, None) => Some(after(vital.since, windows.boot_timeout)),
        // Terminating or gone.
        (_, health, None) => (health != Health::Unknown).then_some(Sighted::MIN),
        (_, Health::Zombie, Some(heard)) => Some(after(heard.max(vital.since), windows.zombie_seconds)),
        (_, _, Some(heard)) if heard >= after(vital.since, windows.zombie_seconds) => Some(heard),
        (_, _, Some(heard)) => Some(after(heard.max(vital.since), windows.zombie_seconds)),
    }
}

/// What is to be said of an instance at a sighted moment.
fn verdict(instance: &Instance, vital: &Vital, config: &DomainConfig, from: Sighted, at: Sighted) -> Option<Judgement> {
    if limit(instance, vital, config, from)? > at {
        return None;
    }
    let windows = &config.health;
    if instance.state.is_starting() {
        let state = instance.state;
        let waited = config.general.launch_timeout;
        return Some(if instance.stalled {
            Judgement::Ended { reason: format!("its launch made no progress in {state} for twice the launch time-out of {waited}") }
        } else {
            Judgement::Stalled
        });
    }
    match (instance.state, instance.health, vital.heard()) {
        _ if !windows.monitor_health => Some(FORGOTTEN),
        (State::Running, Health::OutOfContact, _) => Some(health(Health::Missing)),
        (State::Running, _, _) if windows.really_missing_timeout == Millis::ZERO => Some(health(Health::Missing)),
        (State::Running, _, _) => Some(health(Health::OutOfContact)),
        (_, was, Some(heard)) => {
            let silent = at.saturating_sub(heard.max(vital.since)) > signed(windows.zombie_seconds.get());
            match (silent, was) {
                (true, Health::Unknown) => None,
                (true, _) => Some(FORGOTTEN),
                (false, Health::Zombie) => None,
                (false, _) => Some(health(Health::Zombie)),
            }
        }
        (_, _, None) => Some(FORGOTTEN),
    }
}
