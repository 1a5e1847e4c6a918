//! What a driver holds for each domain that its host owns.
//!
//! The driver brings inputs and time; the domain says what to append to the journal, and when that is committed, what to do. The order is
//! always the same: *judge → append → [`Domain::committed`] → effects*. One record at a time: as long as one is being appended, nothing
//! else is judged. Only an engine call may run meanwhile, over the state it was given.

mod happening;
mod schedule;
mod swap;

use std::sync::Arc;

pub use happening::{Happening, Told, What as Happened};
pub use schedule::JOURNAL_BYTES_A_MINUTE;
use schedule::Schedule;

use crate::command::{ApiError, Command, Commanded};
use crate::cycle::{Cause, Cycle, Failed, Fault, FaultKind, Finished, Ran};
use crate::engine::Shadowing;
use crate::explain::Hold;
use crate::guard::Eyes;
use crate::id::InstanceId;
use crate::instance::{Health, Instance, State};
use crate::intake::{Batch, Input, UnknownInstance, must_end};
use crate::message::Reading;
use crate::monitor::Monitor;
use crate::name::Name;
use crate::promise::{Promises, RETRY_AFTER, Request, dumps};
use crate::record::{Change, Configured, Event, Judged, Judgement, Prepared, Record, Scheduled};
use crate::schedule::Timetable;
use crate::seed::Seed;
use crate::sensor::{Asked, Scope, Sensors, TooManySeries};
use crate::state::{DomainState, Life};
use crate::subject::Subjects;
use crate::time::{Millis, Timestamp};

/// How often provisioners are asked for the state of everything, in case a report was lost.
const DUMP_EVERY: Millis = Millis::from_secs(300);

/// How often gone instances are looked through for those whose records may go.
const REAP_EVERY: Millis = Millis::from_secs(30);

/// Verdicts of one record: a fleet that falls silent at once still makes records that fit a message.
const MAX_VERDICTS: usize = 1000;

/// Records after which a snapshot is due: loading reads at most about as many.
const SNAPSHOT_EVERY: u32 = 500;

/// Something to do, now that what asked for it is committed.
#[allow(clippy::large_enum_variant, reason = "effects live only from their making to their sending, and most are requests")]
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Ask a provisioner.
    Request(Request),
    /// Ask the agent of an instance for a sign of life. An answer is a heartbeat; nobody there is [`Input::NoAgent`].
    Probe(InstanceId),
}

/// What is looked at beside the inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Who is silent for too long, and which launches make no progress.
    pub health: bool,
    /// What is left of a domain that is being removed.
    pub removal: bool,
    /// Whose record may go.
    pub reaping: bool,
    /// Which windows of the schedule are on.
    pub schedule: bool,
}

/// A domain that this host owns.
#[derive(Clone, Debug)]
pub struct Domain {
    state: Arc<DomainState>,
    /// How far the newest record lay ahead of this host's clock when it took the domain. The domain's own time is that much later than
    /// what the driver calls now: it goes on from that record, and neither goes back nor stands still until the clock has caught up.
    ahead: Millis,
    /// Nothing as long as there are no readings, as in most domains.
    sensors: Option<Arc<Sensors>>,
    /// What the engine asked of them in its last decision, if anything.
    observed: Option<Box<Asked>>,
    monitor: Monitor,
    promises: Promises,
    schedule: Schedule,
    next_dump: Timestamp,
    /// Domains of one host must not all ask at the same moment: each has its own turn.
    turn: Millis,
    next_reap: Timestamp,
    /// When windows of its schedule may begin or end next; nothing where it has none.
    next_switch: Option<Timestamp>,
    to_probe: Vec<InstanceId>,
    /// Engines may be asked. While they may not, no decision begins, and everything else goes on.
    asks: bool,
    /// An engine looks at a state that may be older by now.
    deciding: bool,
    /// That state, for what a call that does not come back is told of.
    begun: Option<Arc<DomainState>>,
    /// When an engine was last asked.
    asked: Option<Timestamp>,
    /// The configuration that it looks at.
    seen_revision: u64,
    /// An instance changed since.
    changed_meanwhile: bool,
    /// What runs beside, if anything does.
    shadowing: Option<Box<Shadowing>>,
    /// After so many records a snapshot is due.
    snapshot_after: u32,
}

impl Domain {
    /// The record that takes a domain for a host: the first append, before any effect.
    pub fn take(state: &DomainState, host: &Name, now: Timestamp) -> Record {
        Record::new(now.max(state.now), state.epoch + 1, vec![Event::Took { host: host.clone() }])
    }

    /// Begins to look after a domain, when that record is committed and folded in.
    pub fn taken(state: DomainState, now: Timestamp) -> Self {
        let ahead = state.now.since(now);
        let now = now + ahead;
        let monitor = Monitor::begin(&state, now);
        let turn = Millis::new(u64::from(state.slot.0) * 997 % DUMP_EVERY.get());
        let to_probe = state.instances().filter(|it| it.health == Health::OutOfContact).map(|it| it.id.clone()).collect();
        // What began or ended while nobody looked after it is taken up with the first look.
        let next_switch = next_switch(&state, now);
        let shadowing = state.shadow().map(|shadow| Box::new(Shadowing::begin(shadow, now)));
        Self {
            schedule: Schedule::taken_over(now),
            state: Arc::new(state),
            ahead,
            sensors: None,
            observed: None,
            monitor,
            promises: Promises::default(),
            next_dump: now,
            turn,
            next_reap: now + Millis::new(turn.get() % REAP_EVERY.get()),
            next_switch,
            to_probe,
            asks: true,
            deciding: false,
            begun: None,
            asked: None,
            seen_revision: 0,
            changed_meanwhile: false,
            shadowing,
            snapshot_after: SNAPSHOT_EVERY,
        }
    }

    /// The domain's own time.
    fn time(&self, now: Timestamp) -> Timestamp {
        now + self.ahead
    }

    /// The state, as far as it is committed.
    pub fn state(&self) -> &Arc<DomainState> {
        &self.state
    }

    /// The readings.
    pub fn sensors(&self) -> &Sensors {
        match &self.sensors {
            Some(sensors) => sensors,
            None => Sensors::none(),
        }
    }

    /// What the engine asked of the readings in the last decision that it made here.
    pub fn observed(&self) -> &Asked {
        match &self.observed {
            Some(asked) => asked,
            None => Asked::none(),
        }
    }

    /// What this host can see.
    pub fn eyes(&self) -> Eyes {
        self.monitor.sight().eyes()
    }

    /// From now on nothing can be seen.
    pub fn lose_sight(&mut self, now: Timestamp, why: &str) {
        let now = self.time(now);
        self.monitor.sight_mut().lose(now, why);
    }

    /// From now on everything can be seen again; what was missed is asked for.
    pub fn regain_sight(&mut self, now: Timestamp) {
        let now = self.time(now);
        if self.monitor.sight_mut().regain(now).is_some() {
            self.next_dump = now;
        }
    }

    /// Nothing could be seen for `length` up to now, as was found out only now.
    pub fn missed(&mut self, length: Millis, now: Timestamp) {
        let now = self.time(now);
        self.monitor.sight_mut().gap(length, now);
        self.next_dump = now;
    }

    /// Takes a reading. It is not recorded: only what an engine makes of it is. One of an instance that is gone, or not here, is late or
    /// made up; it is nobody's error, and nothing is kept of it.
    ///
    /// # Errors
    /// When the domain has too many series.
    pub fn read(&mut self, scope: Scope, reading: Reading) -> Result<(), TooManySeries> {
        if let Scope::Instance(id) = &scope
            && self.state.instance(id).is_none_or(|instance| instance.state.is_gone())
        {
            return Ok(());
        }
        let time = self.time(reading.time);
        Arc::make_mut(self.sensors.get_or_insert_default()).take(scope, Reading { time, ..reading })
    }

    /// Forgets the readings of a series, because what follows under its name is something else.
    pub fn forget_series(&mut self, metric: &str) {
        if let Some(sensors) = &mut self.sensors {
            Arc::make_mut(sensors).forget_metric(metric);
        }
    }

    /// Takes what came in, looks at what is due, and says what to append. `strangers` is told of inputs for instances that are not here.
    ///
    /// `drained`: nothing more is waiting to be read. While something is, nobody is judged for silence and nothing is reaped: what would
    /// prove the silence wrong may lie there, read by nobody yet. A driver that is never done with reading must say that it can't see.
    pub fn absorb(
        &mut self,
        inputs: impl IntoIterator<Item = Input>,
        drained: bool,
        now: Timestamp,
        strangers: impl FnMut(&InstanceId),
    ) -> Option<Record> {
        let reaping = drained && self.time(now) >= self.next_reap;
        self.look(inputs, Look { health: drained, removal: true, reaping, schedule: true }, now, strangers)
    }

    /// The parts of [`Domain::absorb`] one by one, for whoever says himself when each is to happen: scenarios on an explicit timeline.
    pub fn look(
        &mut self,
        inputs: impl IntoIterator<Item = Input>,
        look: Look,
        now: Timestamp,
        mut strangers: impl FnMut(&InstanceId),
    ) -> Option<Record> {
        let now = self.time(now).max(self.state.now);
        let cares = self.cares();
        let mut batch = Batch::new(&self.state, &mut self.monitor, now);
        for input in inputs {
            if let Err(UnknownInstance(id)) = batch.take(input) {
                strangers(&id);
            }
        }
        if look.health && cares {
            let room = MAX_VERDICTS.saturating_sub(batch.len());
            batch.tick(room);
        }
        if look.removal && cares && self.state.life == Life::Removing {
            batch.end_all(MAX_VERDICTS);
        }
        let (mut events, changed) = batch.into_parts();
        if look.reaping {
            self.next_reap = now + REAP_EVERY;
            // Whom this record changes was heard of just now.
            events.extend(self.reapable(now).filter(|it| !changed.contains_key(&it.ordinal)).take(MAX_VERDICTS).map(reaped));
        }
        if look.schedule {
            events.extend(self.switch(now));
        }
        (!events.is_empty()).then(|| Record::new(now, self.state.epoch, events))
    }

    /// What is to be recorded of the schedule. Where nothing is, the next moment at which something may be is kept, and until then this costs
    /// a comparison.
    fn switch(&mut self, now: Timestamp) -> Option<Event> {
        if !self.switches(now) {
            return None;
        }
        self.next_switch = next_switch(&self.state, now);
        let windows = self.state.config.windows_on(now);
        // Until that is committed, every look finds the same.
        (windows != self.state.windows).then_some(Event::Scheduled(Scheduled { windows }))
    }

    /// Whether the windows on record may not be those that are on now. Paused or not: a paused domain is configured, too.
    fn switches(&self, now: Timestamp) -> bool {
        self.state.life == Life::Active && self.next_switch.is_some_and(|next| next <= now)
    }

    /// Whether its engine is asked at all.
    pub fn decides(&self) -> bool {
        self.asks && self.state.life == Life::Active && self.state.held().is_none()
    }

    /// Whether there is a domain here that looks after its instances. One that was abandoned lets them be, up to the end of an engine call
    /// that it still waits for: they may be protected, and go on running.
    fn cares(&self) -> bool {
        matches!(self.state.life, Life::Active | Life::Removing) && !self.state.abandoned
    }

    /// Whose records are old enough to go, and nothing was heard of for long.
    fn reapable(&self, now: Timestamp) -> impl Iterator<Item = &Instance> {
        let config = &self.state.config;
        let gone = self.state.gone().map(|it| &**it);
        gone.filter(move |it| {
            now.since(it.state_since) > config.general.record_reaping_max_age
                && !it.undead
                && it.health != Health::Zombie
                && !self.monitor.heard_within(it.ordinal, config.health.zombie_seconds, now)
        })
    }

    /// Judges what somebody asks for.
    ///
    /// # Errors
    /// Why it is not carried out.
    pub fn command(&self, command: Command, now: Timestamp) -> Result<Commanded, ApiError> {
        self.state.command(command, self.time(now))
    }

    /// Asks for a decision now, whenever the next one would be due. `cause` is what the engine is told, unless there is a better reason.
    pub fn ask(&mut self, cause: Cause, now: Timestamp) {
        let now = self.time(now);
        self.schedule.asked(cause, now);
    }

    /// From now on the engine is asked no more, or it is asked again, and then at once: whatever changed meanwhile has waited for it. A
    /// decision under way is given up: it is as if the engine had not been asked, and the driver does not bring its result.
    pub fn set_asking(&mut self, on: bool, now: Timestamp) {
        (self.asks, self.deciding) = (on, on && self.deciding);
        if !self.deciding {
            self.begun = None;
        }
        if on {
            self.ask(Cause::Asked, now);
        }
    }

    /// When the next decision is due, by the driver's clock; nothing while the engine waits for a change.
    pub fn due(&self) -> Option<Timestamp> {
        Some(self.schedule.next()? - self.ahead)
    }

    /// When the engine was last asked since this host took the domain.
    pub fn last_asked(&self) -> Option<Timestamp> {
        self.asked
    }

    /// Begins a decision, if one is due. The engine runs outside; [`Domain::finish`] or [`Domain::abandon`] must follow.
    pub fn begin(&mut self, now: Timestamp, seed: Seed) -> Option<Cycle> {
        if self.deciding || !self.decides() {
            return None;
        }
        let now = self.time(now);
        if self.switches(now) {
            // With another configuration, as soon as that is on record.
            return None;
        }
        let cause = self.schedule.due(now)?;
        (self.deciding, self.asked) = (true, Some(now));
        (self.seen_revision, self.changed_meanwhile) = (self.state.config_revision, false);
        self.begun = Some(Arc::clone(&self.state));
        let eyes = self.monitor.sight().eyes();
        Some(Cycle::begin(Arc::clone(&self.state), self.sensors.clone().unwrap_or_default(), eyes, now, cause, seed))
    }

    /// Ends a decision: what to append, and what the engine said.
    pub fn finish(&mut self, ran: Ran, now: Timestamp) -> (Option<Record>, Finished) {
        let now = self.time(now).max(self.state.now);
        (self.deciding, self.begun) = (false, None);
        let finished = ran.finish(&self.state, now);
        match &finished.said {
            Some(decision) => {
                // An engine that reads nothing for a while (a cooldown, say) still goes by what it read before.
                if !decision.observed.is_empty() || decision.prepared.is_some() {
                    self.observed = (!decision.observed.is_empty()).then(|| Box::new(Asked::of(&decision.observed)));
                }
                let general = &self.state.config.general;
                let pace = match decision.prepared {
                    // A pulse from before ends with this decision.
                    Some(Prepared::Initialized | Prepared::Reconfigured) => general.decide_interval,
                    _ if finished.taken_back => general.decide_interval.min(self.state.pace()),
                    _ => self.state.pace(),
                };
                self.schedule.decided(decision.wake, decision.settings.pulse.unwrap_or(pace), now);
            }
            None => self.schedule.faulted(self.state.fault.as_ref().map_or(0, |open| open.in_a_row), self.state.pace(), now),
        }
        // What the engine could not see it must not wait for.
        if self.state.config_revision != self.seen_revision {
            let swapped = finished.engine().is_some_and(|engine| *engine != self.state.engine);
            self.schedule.configured(if swapped { Cause::Swapped } else { Cause::Configured }, now);
        } else if self.changed_meanwhile {
            self.schedule.something_changed(now);
        }
        // A domain that went away meanwhile has no decisions any more.
        let event = finished.event.clone().filter(|_| self.state.life == Life::Active);
        let then = finished.then.clone();
        (event.map(|event| Record::new(now, self.state.epoch, std::iter::once(event).chain(then).collect())), finished)
    }

    /// Ends a decision whose engine call did not come back in time, or could not be made at all.
    pub fn abandon(&mut self, fault: Fault, now: Timestamp) -> Option<Record> {
        // The engine that was asked: another one may be in force by now, which has nothing to do with it.
        let seen = self.begun.take().unwrap_or_else(|| Arc::clone(&self.state));
        let engine = seen.engine.clone();
        let nothing = Cycle::begin(seen, Arc::default(), Eyes::default(), self.time(now), Default::default(), Seed::default());
        let failed = Failed { engine, call: if fault.kind == FaultKind::Load { "load" } else { "decide" }, fault, hold: None };
        self.finish(Ran { cycle: nothing, fuel: 0, outcome: Err(failed) }, now).0
    }

    /// A call of the engine that has just ended, well or not, had a thread for so long. The next one begins as long after its end, or
    /// later: one engine never has a thread for more than half of the time. To be told after [`Domain::finish`] or [`Domain::abandon`].
    pub fn called_for(&mut self, took: Millis, now: Timestamp) {
        let now = self.time(now);
        self.schedule.called_for(took, now);
    }

    /// What the engine led to takes so many bytes of the journal. Beyond [`JOURNAL_BYTES_A_MINUTE`] the next decision waits until there is
    /// room again.
    pub fn wrote(&mut self, bytes: u64, now: Timestamp) {
        let now = self.time(now);
        self.schedule.wrote(bytes, now);
    }

    /// What keeps the engine from being asked as often as it wants to be, if anything does. Not on record: only its host knows.
    pub fn waits(&self, now: Timestamp) -> Option<Hold> {
        let now = self.time(now);
        if !self.decides() {
            return None;
        }
        if let Some(until) = self.schedule.has_no_room_until(now) {
            return Some(Hold::WritesTooMuch { bytes_a_minute: JOURNAL_BYTES_A_MINUTE, until: until - self.ahead });
        }
        self.schedule.rests(now).map(|(took, until)| Hold::Rests { took, until: until - self.ahead })
    }

    /// A decision could not be recorded and is given up: the engine is asked anew at the domain's pace, whatever it wanted to wait for.
    pub fn given_up(&mut self, now: Timestamp) {
        let now = self.time(now);
        self.schedule.decided(None, self.state.pace(), now);
    }

    /// Folds in a record that the journal now holds at `sequence`. Returns what there is to tell of it.
    pub fn committed(&mut self, sequence: u64, record: &Record, now: Timestamp) -> Told {
        let now = self.time(now);
        let (revision, incarnation, before) = (self.state.config_revision, self.state.incarnation, self.state.sequence);
        let (engine, held) = (self.state.engine.clone(), self.state.held().is_some());
        let recorder = happening::Recorder::new(&self.state, record);
        if record.is_snapshot() {
            self.snapshot_after = SNAPSHOT_EVERY;
        }
        // Copies the state only if an engine still looks at it.
        let touched = Arc::make_mut(&mut self.state).apply(sequence, record);
        if self.state.incarnation != incarnation {
            // Another domain, or none any more: nothing that was known of the one before is true of it.
            self.monitor.forget_all();
            self.to_probe.clear();
            (self.sensors, self.observed, self.promises) = (None, None, Promises::default());
            self.shadowing = None;
            // After a restore it has instances from the beginning.
            self.monitor.look_at_all(&self.state, now);
        }
        self.note(&touched, before, now);
        for event in &record.events {
            if let Event::Judged(Judged { id, verdict: Judgement::Reaped }) = event {
                self.forget_readings(id);
            }
        }
        if self.state.config_revision != revision {
            let swapped = self.state.incarnation == incarnation && self.state.engine != engine;
            let cause = if swapped { Cause::Swapped } else { Cause::Configured };
            self.monitor.look_at_all(&self.state, now);
            self.schedule.configured(cause, now);
        } else if (held && self.state.held().is_none()) || record.events.iter().any(is_retry) {
            self.schedule.configured(Cause::Asked, now);
        }
        self.follow_shadow(now);
        if (self.state.config_revision, self.state.incarnation) != (revision, incarnation) {
            self.next_switch = next_switch(&self.state, now.max(self.state.now));
        }
        recorder.finish(&self.state, &touched, record)
    }

    /// Takes note of instances that a record touched which follows on the sequence `before`.
    fn note(&mut self, touched: &[u64], before: u64, now: Timestamp) {
        let mut changed = false;
        for ordinal in touched {
            let Some(instance) = self.state.instance_at(*ordinal) else {
                self.monitor.forget(*ordinal);
                continue;
            };
            let changed_now = self.state.changed.get(ordinal) == Some(&before);
            changed |= changed_now;
            self.monitor.look_at(instance, &self.state.config, now);
            if changed_now && instance.state == State::Running && instance.health == Health::OutOfContact {
                self.to_probe.push(instance.id.clone());
            }
            if instance.state.is_gone() && changed_now {
                let id = instance.id.clone();
                self.forget_readings(&id);
            }
        }
        if changed {
            self.changed_meanwhile = true;
            self.schedule.something_changed(now);
        }
    }

    fn forget_readings(&mut self, id: &InstanceId) {
        // Copies the readings if an engine still looks at them: not for nothing.
        if let Some(sensors) = self.sensors.as_mut().filter(|sensors| sensors.knows(id)) {
            Arc::make_mut(sensors).forget(id);
        }
    }

    /// Test fixtures and scenarios put a record where they want it.
    #[doc(hidden)]
    pub fn set(&mut self, instance: Instance, now: Timestamp) {
        let (ordinal, now) = (instance.ordinal, self.time(now));
        Arc::make_mut(&mut self.state).set(instance);
        self.note(&[ordinal], self.state.sequence, now);
    }

    /// What is to be done now. Only what is committed leads to effects, and all of them can be repeated. Not being able to see is no reason to
    /// do nothing; a driver that can't send does not ask.
    pub fn effects(&mut self, subjects: &Subjects, now: Timestamp) -> Vec<Effect> {
        if !self.cares() {
            return Vec::new();
        }
        // Provisioners know the true time: what they are asked, and how often, goes by the clock.
        let mut effects: Vec<Effect> = self.promises.due(&self.state, subjects, now).into_iter().map(Effect::Request).collect();
        effects.extend(self.to_probe.drain(..).map(Effect::Probe));
        let now = self.time(now);
        if now >= self.next_dump {
            let since_last_turn = now.since(Timestamp::ZERO + self.turn).get() % DUMP_EVERY.get();
            self.next_dump = now + Millis::new(DUMP_EVERY.get() - since_last_turn);
            effects.extend(dumps(&self.state, subjects).into_iter().map(Effect::Request));
        }
        effects
    }

    /// Nobody answered when the state of everything was asked for: it is asked for again before long.
    pub fn dump_unanswered(&mut self, now: Timestamp) {
        self.next_dump = self.next_dump.min(self.time(now) + RETRY_AFTER);
    }

    /// Whether the domain is being removed and nothing of it is left, not even one that is heard although it is held for gone: then its
    /// engine is told, and [`Domain::removed`] appended.
    pub fn is_empty_at_last(&self) -> bool {
        self.state.life == Life::Removing
            && !self.deciding
            && (self.state.abandoned
                || (self.state.alive() == 0
                    && self.state.promised().next().is_none()
                    && !self.state.gone().any(|instance| must_end(instance))))
    }

    /// The record that ends a domain.
    pub fn removed(&self, now: Timestamp) -> Record {
        Record::new(self.time(now).max(self.state.now), self.state.epoch, vec![Event::Removed])
    }

    /// A snapshot, if one is due.
    pub fn snapshot(&self, now: Timestamp) -> Option<Record> {
        (self.state.since_snapshot >= self.snapshot_after).then(|| self.snapshot_now(now))
    }

    /// A snapshot that was due is larger than the journal takes: it is left out, and the next one is due after as many records more. Whoever
    /// loads the domain reads all of them.
    pub fn snapshot_left_out(&mut self) {
        self.snapshot_after = self.state.since_snapshot.saturating_add(SNAPSHOT_EVERY);
    }

    /// A snapshot, whether one is due or not.
    pub fn snapshot_now(&self, now: Timestamp) -> Record {
        let event = Event::Snapshot(Box::new(DomainState::clone(&self.state)));
        Record::new(self.time(now).max(self.state.now), self.state.epoch, vec![event])
    }

    /// When to look again, if nothing comes in before: never later than that.
    pub fn next_look(&self, now: Timestamp) -> Timestamp {
        let (clock, now) = (now, self.time(now));
        let decision = self.schedule.next().filter(|_| !self.deciding && self.decides());
        let ends = (self.state.life == Life::Removing).then(|| now + Millis::from_secs(1));
        let cares = if !self.cares() {
            None
        } else {
            let probe = (!self.to_probe.is_empty()).then_some(now);
            let retry = self.promises.next_due(&self.state).map(|due| self.time(due));
            [probe, retry, Some(self.next_dump), self.monitor.next_due(now)].into_iter().flatten().min()
        };
        let switch = self.next_switch.filter(|_| self.state.life == Life::Active);
        let looks = [decision, ends, cares, switch, Some(self.next_reap)];
        let next = looks.into_iter().flatten().min().unwrap_or(now);
        (next - self.ahead).max(clock)
    }
}

/// When the windows on record may be others than those that are on: at once, if they are, and else with the next that begins or ends.
fn next_switch(state: &DomainState, now: Timestamp) -> Option<Timestamp> {
    let config = &state.config;
    if config.windows_on(now) != state.windows {
        return Some(now);
    }
    // Ahead in any case: a moment that has come without a change would keep the domain from every decision.
    Timetable::of(&config.schedule).next(now).map(|next| next.max(now + Millis::new(1)))
}

fn is_retry(event: &Event) -> bool {
    matches!(event, Event::Configured(Configured { change: Change::Retried, .. }))
}

fn reaped(instance: &Instance) -> Event {
    Event::Judged(Judged { id: instance.id.clone(), verdict: Judgement::Reaped })
}
