//! The task of one domain. It alone judges, appends, folds and acts for that domain; everything else sends it mail.

mod answer;
mod beside;
mod decide;
mod follow;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pilothouse_core::cycle::{FaultKind, Finished, Ran};
use pilothouse_core::domain::{Domain, Happened, Happening, Told};
use pilothouse_core::engine::{ShadowCycle, SwapReason};
use pilothouse_core::message::{Malformed, MalformedKind, Reading};
use pilothouse_core::record::{Change, Configured, Event, Judged, Judgement, Record};
use pilothouse_core::sensor::Scope;
use pilothouse_core::state::{DomainState, Life};
use pilothouse_core::time::{Millis, Timestamp};
use pilothouse_engine_host::Habit;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::beside::Beside;
use self::decide::Deciding;
use self::follow::Following;
use self::turn::Turn;
use super::pull::{Asking, Pulls};
use super::router::{Handle, Mail};
use super::shared::Shared;
use super::watch::View;
use crate::api::{Asked, Disabled};
use crate::failpoint;
use crate::output::clean;
use crate::store::{Append, Appended, Entry, Journal, JournalError, MAX_RECORD, Tip};

/// Messages that are taken at once. Bounds how long one domain holds a thread, and how large a record gets.
const MAX_MAIL: usize = 512;

/// How long a message that nobody waits for may take to leave. Longer only when the link is in trouble.
const TELL: Duration = Duration::from_secs(1);

/// How long a full journal is left alone before the same append is tried again.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// How long a task gathers what comes in before it looks at it. A look costs some microseconds whether it is at one message or at many, and
/// a fleet that reports at once sends many; nobody waits for any of them.
const GATHER: Duration = Duration::from_millis(2);

/// When mail was lost, how much time before is not held against anybody.
const OVERFLOWN: Millis = Millis::from_secs(5);

/// Why a task ended.
#[derive(Debug)]
pub(crate) enum End {
    /// It was told to.
    Stopped,
    /// There is no such domain, or not any more.
    Gone,
    /// Another host took it.
    Fenced,
    /// What is in the journal is not what was thought: load it again.
    Lost(JournalError),
    /// It panicked.
    Crashed(String),
}

pub(crate) struct Task<J> {
    shared: Arc<Shared<J>>,
    domain: Domain,
    handle: Handle,
    mail: mpsc::Receiver<Mail>,
    /// What ended the last wait.
    arrived: Option<Mail>,
    view: watch::Receiver<View>,
    /// Whether the domain was told that nothing can be seen.
    blind: bool,
    blind_lost_seen: u64,
    lost_seen: u64,
    deciding: Option<Deciding>,
    /// How long decisions take, and what runs beside.
    habit: Habit,
    habit_beside: Habit,
    /// How it has been asking so far.
    asked: Asked,
    /// Which versions of engines there are.
    versions: watch::Receiver<u64>,
    following: Following,
    turn: Turn,
    /// The engine in force could not be had here: its domain need not wait once it can.
    misses_engine: bool,
    /// The cycle of the decision under way, for what runs beside.
    twin: Option<Box<ShadowCycle>>,
    beside: Option<Box<Beside>>,
    /// What is fetched for the domain meanwhile.
    pulls: Pulls,
    /// Who disabled this host, if anybody did.
    disabled: watch::Receiver<Option<Disabled>>,
    /// Whether the domain was told that no engine is asked.
    idle: bool,
    stop: CancellationToken,
}

/// Folds the records of a load.
///
/// # Errors
/// When one can't be read.
pub(crate) fn fold(mut state: DomainState, entries: &[Entry]) -> Result<DomainState, pilothouse_core::record::RecordError> {
    for entry in entries {
        state.apply(entry.sequence, &Record::from_bytes(&entry.bytes)?);
    }
    Ok(state)
}

fn append_of(state: &DomainState, record: &Record) -> Append {
    let after = Tip { sequence: state.sequence, snapshot: state.snapshot };
    Append { after, is_snapshot: record.is_snapshot(), bytes: Bytes::from(record.to_bytes()) }
}

/// Whether a snapshot is larger than the journal takes. The records before it say the same, and are all there.
fn must_be_left_out(append: &Append) -> bool {
    append.is_snapshot && append.bytes.len() > MAX_RECORD
}

impl<J: Journal> Task<J> {
    /// Takes a domain for this host, and looks after it until it ends. The caller has put it on the router with its instances, and takes
    /// it off.
    pub(crate) async fn run(
        shared: Arc<Shared<J>>,
        state: DomainState,
        handle: Handle,
        mail: mpsc::Receiver<Mail>,
        stop: CancellationToken,
    ) -> End {
        let taken = tokio::select! {
            taken = Self::take(&shared, state) => taken,
            () = stop.cancelled() => Err(End::Stopped),
        };
        let (domain, happenings) = match taken {
            Ok(taken) => taken,
            Err(end) => return end,
        };
        let lost_seen = shared.watch.lost_by(shared.clock.now());
        let view = shared.watch.view();
        let blind_lost_seen = view.borrow().lost;
        let (disabled, versions) = (shared.hosts.own(), shared.engines.looks());
        let mut task = Self {
            shared,
            domain,
            handle,
            mail,
            arrived: None,
            view,
            blind: false,
            blind_lost_seen,
            lost_seen,
            deciding: None,
            asked: Asked::default(),
            versions,
            following: Following::default(),
            turn: Turn::default(),
            misses_engine: false,
            habit: Habit::default(),
            habit_beside: Habit::default(),
            twin: None,
            beside: None,
            pulls: Pulls::default(),
            disabled,
            idle: false,
            stop,
        };
        task.tell(Told { happenings, notices: Vec::new() }).await;
        match task.live().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    /// The first append: from here on every other host is fenced off.
    async fn take(shared: &Shared<J>, mut state: DomainState) -> Result<(Domain, Vec<Happening>), End> {
        let record = Domain::take(&state, &shared.host, shared.clock.now());
        let took = append_of(&state, &record);
        let sequence = loop {
            if let Some(sequence) = append(shared, &state, &took).await? {
                break sequence;
            }
        };
        let known = state.life != Life::Absent && state.life != Life::Removed;
        let happened = |at, what| Happening { domain: state.key.clone(), at, what };
        let taken = known.then(|| happened(record.at, Happened::Taken { host: shared.host.clone(), epoch: record.epoch }));
        // Nobody who tells what happens saw the restore itself.
        let restored = state.restored.clone().map(|(by, backup_at)| happened(state.now, Happened::Restored { by, backup_at }));
        let happenings = restored.into_iter().chain(taken).collect();
        state.apply(sequence, &record);
        Ok((Domain::taken(state, shared.clock.now()), happenings))
    }

    async fn live(&mut self) -> Result<std::convert::Infallible, End> {
        loop {
            let now = self.shared.clock.now();
            self.look_around(now);
            self.heed_disabling(now);
            // As much room as is needed, so that nothing is moved when there is much of it.
            let (mut inputs, mut calls) = (Vec::with_capacity(self.mail.len().min(MAX_MAIL)), Vec::new());
            let mut drained = false;
            for _ in 0..MAX_MAIL {
                match self.arrived.take().or_else(|| self.mail.try_recv().ok()) {
                    Some(mail) => self.sort(mail, &mut inputs, &mut calls),
                    None => {
                        drained = true;
                        break;
                    }
                }
            }
            self.absorb(inputs, drained, now).await?;
            for call in calls {
                self.answer(call).await?;
            }
            if matches!(self.domain.state().life, Life::Absent | Life::Removed) {
                return Err(End::Gone);
            }
            self.follow(now).await?;
            // What was just changed: the engine must not decide by readings of something else.
            self.pull();
            self.begin_decision().await?;
            if self.domain.is_empty_at_last() {
                self.remove().await?;
            }
            self.act().await;
            self.maybe_snapshot().await?;
            self.wait().await?;
        }
    }

    /// What could be seen since the last look.
    fn look_around(&mut self, now: Timestamp) {
        let lost = self.shared.watch.lost_by(now);
        let missed = lost.saturating_sub(std::mem::replace(&mut self.lost_seen, lost));
        if missed > 0 {
            self.domain.missed(Millis::new(missed), now);
        }
        let overflow = self.handle.take_overflow();
        if overflow > 0 {
            tracing::warn!(domain = %self.handle.key, messages = overflow, "mailbox full: messages dropped; the time counts as not seen");
            self.domain.missed(OVERFLOWN, now);
        }
        let view = self.view.borrow_and_update().clone();
        let closed = view.lost - std::mem::replace(&mut self.blind_lost_seen, view.lost);
        match (&view.blind, std::mem::replace(&mut self.blind, view.blind.is_some())) {
            (None, true) => self.domain.regain_sight(now),
            (Some(_), true) => {}
            (blind, false) => {
                // It came and went while this task waited for its journal.
                if closed > 0 {
                    self.domain.missed(Millis::new(closed), now);
                }
                if let Some((since, why)) = blind {
                    self.domain.lose_sight(*since, why);
                }
            }
        }
    }

    fn sort(&mut self, mail: Mail, inputs: &mut Vec<pilothouse_core::intake::Input>, calls: &mut Vec<Mail>) {
        match mail {
            Mail::Input(input) => inputs.push(input),
            Mail::Reading(scope, reading) => self.read(scope, reading),
            Mail::Readings(batch) if self.pulls.asked_for(&batch) => batch.hand_over(|scope, reading| self.domain.read(scope, reading)),
            Mail::Readings(_) => {}
            Mail::DumpUnanswered => self.domain.dump_unanswered(self.shared.clock.now()),
            call => calls.push(call),
        }
    }

    fn read(&mut self, scope: Scope, reading: Reading) {
        if let Err(error) = self.domain.read(scope, reading) {
            let malformed = Malformed::new(MalformedKind::Value, error.to_string());
            self.shared.ledger.note(&format!("a sensor of {}", self.handle.key), &malformed);
        }
    }

    /// Has those readings fetched that the configuration asks for by now.
    fn pull(&mut self) {
        let Shared { sources, ownership, clock, .. } = &*self.shared;
        let asking = Asking { sources, ownership, clock: *clock, handle: &self.handle };
        for metric in self.pulls.follow(self.domain.state(), &asking) {
            self.domain.forget_series(&metric);
        }
    }

    async fn absorb(&mut self, inputs: Vec<pilothouse_core::intake::Input>, drained: bool, now: Timestamp) -> Result<(), End> {
        let key = &self.handle.key;
        let stranger = |id: &_| tracing::debug!(domain = %key, instance = %id, "input for an instance that is gone from the record");
        match self.domain.absorb(inputs, drained, now, stranger) {
            Some(record) => self.commit(record).await,
            None => Ok(()),
        }
    }

    /// Appends a record and folds it in. Nothing is applied, and nothing is done, before the journal has it.
    async fn commit(&mut self, record: Record) -> Result<(), End> {
        let entry = append_of(self.domain.state(), &record);
        if must_be_left_out(&entry) {
            self.leave_out_snapshot(entry.bytes.len()).await;
            return Ok(());
        }
        let kind = failpoint::kind(&record);
        if let Some(kind) = kind {
            failpoint::reach("before-append", kind);
        }
        let sequence = loop {
            let appended = tokio::select! {
                appended = append(&self.shared, self.domain.state(), &entry) => appended?,
                () = self.stop.cancelled() => return Err(End::Stopped),
            };
            match appended {
                Some(sequence) => break sequence,
                // What an engine wanted then is not what it wants when there is room again; it is asked anew. A snapshot is made anew, too.
                None if can_be_made_anew(&record) => {
                    if !record.is_snapshot() {
                        self.domain.given_up(self.shared.clock.now());
                    }
                    return Ok(());
                }
                None => {}
            }
        };
        if let Some(kind) = kind {
            failpoint::reach("after-append", kind);
        }
        self.shared.decisions.recorded(&self.handle.key, &record);
        self.warn_of(&record);
        let now = self.shared.clock.now();
        if can_be_made_anew(&record) && !record.is_snapshot() {
            self.domain.wrote(entry.bytes.len() as u64, now);
        }
        let told = self.domain.committed(sequence, &record, now);
        self.register(&record);
        self.tell(told).await;
        Ok(())
    }

    /// Goes on without a snapshot that the journal does not take: the domain must not be lost for it.
    async fn leave_out_snapshot(&mut self, bytes: usize) {
        self.domain.snapshot_left_out();
        let (domain, most) = (self.handle.key.clone(), MAX_RECORD);
        tracing::error!(%domain, bytes, most, "a snapshot is larger than the journal takes and is left out: loading the domain takes longer and longer, and nothing old is purged; have it run fewer instances, or instances with fewer variables");
        let what = Happened::SnapshotLeftOut { bytes: bytes as u64, most: most as u64 };
        let happenings = vec![Happening { domain, at: self.domain.state().now, what }];
        self.tell(Told { happenings, notices: Vec::new() }).await;
    }

    /// What an operator of this host should see whatever is logged otherwise.
    fn warn_of(&self, record: &Record) {
        let domain = &self.handle.key;
        for event in &record.events {
            match event {
                Event::Faulted(it) => {
                    let (engine, version, kind) = (&it.engine.name, &it.engine.version, it.kind.name());
                    tracing::warn!(%domain, engine, version, kind, call = it.call, in_a_row = it.in_a_row, "an engine failed: {}", clean(&it.message));
                }
                Event::Swapped(it) if matches!(it.why, SwapReason::RolledBack { .. }) => tracing::error!(%domain, "{}", it.in_words()),
                Event::Held(it) => tracing::error!(%domain, "{}", it.in_words()),
                _ => {}
            }
        }
    }

    /// Lets messages for new instances find their way here, before anybody is told of them.
    fn register(&self, record: &Record) {
        for event in &record.events {
            match event {
                Event::Decided(decision) if !decision.dry_run => {
                    let ids = decision.launches.iter().flat_map(|launch| &launch.instances);
                    self.shared.router.add_instances(ids, &self.handle);
                }
                Event::Configured(Configured { change: Change::Adopted(adopted), .. }) => {
                    self.shared.router.add_instances(std::iter::once(&adopted.id), &self.handle);
                }
                Event::Judged(Judged { id, verdict: Judgement::Reaped }) => self.shared.router.remove_instances(std::iter::once(id)),
                _ => {}
            }
        }
    }

    async fn tell(&self, told: Told) {
        let subject = self.shared.subjects.events(self.domain.state().slot, &self.handle.key);
        let mut news = Vec::with_capacity(told.happenings.len() + told.notices.len());
        for happening in told.happenings {
            tracing::info!(domain = %happening.domain, what = ?happening.what, "happened");
            news.push((subject.clone(), serde_json::to_vec(&happening)));
        }
        for (whom, notice) in told.notices {
            let subject = self.shared.subjects.subscriber(&self.handle.key.owner, &whom.name, &whom.operation);
            news.push((subject, serde_json::to_vec(&notice)));
        }
        for (subject, json) in news {
            // Whoever watches can ask for the truth; this is only the news, and not worth waiting for a link that takes nothing.
            let Ok(json) = json else { continue };
            match tokio::time::timeout(TELL, self.shared.nats.publish(subject.clone(), json.into())).await {
                Ok(Ok(())) => {}
                // This one alone, perhaps.
                Ok(Err(error)) => tracing::warn!(subject, %error, "not told"),
                Err(_) if self.link_carries() => tracing::warn!(subject, "not told in time"),
                Err(_) => return,
            }
        }
    }

    /// Whether what is sent arrives, as far as this host can see.
    fn link_carries(&self) -> bool {
        let view = self.view.borrow();
        view.link && view.blind.is_none()
    }

    /// Whether what is sent now may be sent, and arrives. A host that was stopped may wake up here, long after its lease ran out.
    fn can_act(&self) -> bool {
        self.shared.ownership.is_mine() && self.view.borrow().link
    }

    async fn act(&mut self) {
        if !self.can_act() {
            return;
        }
        let effects = self.domain.effects(&self.shared.subjects, self.shared.clock.now());
        if !effects.is_empty() {
            self.shared.sender.send(self.domain.state().slot, effects).await;
        }
    }

    async fn maybe_snapshot(&mut self) -> Result<(), End> {
        let now = self.shared.clock.now();
        let Some(record) = self.domain.snapshot(now) else { return Ok(()) };
        self.commit(record).await?;
        if let Some(below) = self.domain.state().purgeable(now, self.shared.history_retention) {
            let (shared, key) = (Arc::clone(&self.shared), self.handle.key.clone());
            // Off the hot path; what is not purged now is purged after the next snapshot.
            tokio::spawn(async move {
                match shared.journal.purge_below(&key, below).await {
                    Ok(purged) => tracing::debug!(domain = %key, purged, "old records purged"),
                    Err(error) => tracing::warn!(domain = %key, %error, "old records not purged"),
                }
            });
        }
        Ok(())
    }

    async fn wait(&mut self) -> Result<(), End> {
        let now = self.shared.clock.now();
        let looks = [Some(self.domain.next_look(now)), self.following.next_look(), self.turn.next_look()];
        let mut next = looks.into_iter().flatten().min().unwrap_or(now);
        if !self.can_act() {
            // Nothing is sent: looking at what is owed over and over would only burn the processor.
            next = next.max(now + Millis::new(100));
        }
        tokio::select! {
            ran = decide::result(&mut self.deciding) => self.end_decision(ran).await?,
            ran = beside::result(&mut self.beside) => self.compare(ran).await?,
            judged = follow::judged(&mut self.following) => self.end_judging(judged, self.shared.clock.now()),
            () = self.turn.come(self.domain.is_deciding(), || self.shared.clock.now()) => {}
            mail = self.mail.recv() => match mail {
                Some(mail) => {
                    let gather = !mail.is_awaited();
                    self.arrived = Some(mail);
                    if gather {
                        tokio::time::sleep(GATHER).await;
                    }
                }
                None => return Err(End::Stopped),
            },
            changed = self.view.changed() => if changed.is_err() { return Err(End::Stopped) },
            changed = self.versions.changed() => if changed.is_err() { return Err(End::Stopped) },
            changed = self.disabled.changed() => if changed.is_err() { return Err(End::Stopped) },
            () = tokio::time::sleep_until(self.shared.clock.at(next)) => {}
            () = self.stop.cancelled() => return Err(End::Stopped),
        }
        Ok(())
    }

    async fn end_decision(&mut self, ran: decide::Outcome) -> Result<(), End> {
        let now = self.shared.clock.now();
        self.heed_disabling(now);
        let twin = self.twin.take();
        if self.idle {
            return Ok(());
        }
        self.misses_engine = matches!(&ran, decide::Outcome::Failed(fault, _) if fault.kind == FaultKind::Load);
        let (record, finished) = match ran {
            decide::Outcome::Ran(ran, timing) => {
                self.note_lateness(timing.late);
                let ended = self.finish(*ran, now);
                self.domain.called_for(timing.took, now);
                ended
            }
            decide::Outcome::Failed(fault, took) => {
                let record = self.domain.abandon(fault, now);
                if took > Millis::ZERO {
                    self.domain.called_for(took, now);
                }
                (record, None)
            }
        };
        let count = if finished.is_some() { &mut self.asked.decisions } else { &mut self.asked.faults };
        *count += 1;
        let (quiet, before) = (record.is_none(), self.domain.state().decision.sequence);
        if let Some(record) = record {
            self.commit(record).await?;
        }
        self.turn.decided();
        if let (Some(cycle), Some(Finished { said: Some(decided), taken_back, .. })) = (twin, finished) {
            // One for which the journal had no room was given up.
            let on_record = quiet || self.domain.state().decision.sequence != before;
            let carried_out = on_record && !taken_back && !decided.dry_run;
            self.ask_beside(*cycle, decided, carried_out);
        }
        Ok(())
    }

    fn note_lateness(&mut self, late: Duration) {
        self.shared.decisions.began(late);
        let millis = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
        self.asked.lateness_last_ms = millis;
        self.asked.lateness_worst_ms = self.asked.lateness_worst_ms.max(millis);
    }

    /// Ends a decision. Of one that failed there is only the record.
    fn finish(&mut self, ran: Ran, now: Timestamp) -> (Option<Record>, Option<Finished>) {
        for (level, line) in ran.cycle.lines() {
            tracing::debug!(domain = %self.handle.key, ?level, "engine: {line}");
        }
        self.asked.fuel_last = ran.fuel;
        let (record, finished) = self.domain.finish(ran, now);
        let decided = finished.said.is_some();
        (record, decided.then_some(finished))
    }
}

/// Whether a record is only one of many that could be made: nothing is lost if this one is never written.
fn can_be_made_anew(record: &Record) -> bool {
    record.events.iter().all(|event| matches!(event, Event::Decided(_) | Event::Faulted(_) | Event::Compared(_) | Event::Snapshot(_)))
}

/// Appends an entry after the newest one of a state, for as long as it takes to know what became of it. Nothing, after a pause, when there
/// is no room.
async fn append<J: Journal>(shared: &Shared<J>, state: &DomainState, entry: &Append) -> Result<Option<u64>, End> {
    match shared.journal.append(&state.key, entry.clone()).await {
        Ok(Appended::Committed { tip }) => Ok(Some(tip.sequence)),
        Ok(Appended::Fenced { by }) => {
            tracing::warn!(domain = %state.key, by = by.id, "fenced: another host has taken this domain");
            Err(End::Fenced)
        }
        Ok(Appended::Full { reason }) => {
            tracing::error!(domain = %state.key, reason, "the journal is full: this domain stands still until there is room");
            tokio::time::sleep(FULL_PAUSE).await;
            Ok(None)
        }
        Err(error) => Err(End::Lost(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_snapshot_that_is_larger_than_the_journal_takes_is_left_out() {
        for (is_snapshot, bytes, left_out) in [(true, MAX_RECORD, false), (true, MAX_RECORD + 1, true), (false, MAX_RECORD + 1, false)] {
            let append = Append { after: Tip::default(), is_snapshot, bytes: Bytes::from(vec![0; bytes]) };
            assert_eq!(must_be_left_out(&append), left_out, "{is_snapshot}, {bytes}");
        }
    }
}
