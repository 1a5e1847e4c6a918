//! Carries out a scenario, step by step.

use std::collections::BTreeMap;
use std::sync::Arc;

use pilothouse_core::command::{Command, What};
use pilothouse_core::config::{ConfigProblem, DomainConfig};
use pilothouse_core::cycle::{Cause, Engine, Finished};
use pilothouse_core::domain::{Domain, Effect, Look};
use pilothouse_core::guard::{Guard, Ruling};
use pilothouse_core::id::InstanceId;
use pilothouse_core::instance::{Health, Instance, State};
use pilothouse_core::intake::Input;
use pilothouse_core::message::{Heartbeat, Malformed, Notice, Reading, StateReport, Verdict};
use pilothouse_core::name::Name;
use pilothouse_core::promise::Request;
use pilothouse_core::record::{Change, Configured, Decision, Event as Recorded, Record};
use pilothouse_core::seed::Seed;
use pilothouse_core::sensor::Scope;
use pilothouse_core::state::{DomainState, Life};
use pilothouse_core::subject::Subjects;
use pilothouse_core::time::Timestamp;
use serde_json::{Value, json};

use crate::check::{Checker, Violation};
use crate::event::{AgentDoes, Beat, Event, Kill, Of, Report, Unsubscribe};
use crate::messages::{Messages, Notification, Notifications, Post};
use crate::scenario::{Guards, Invalid, Scenario};
use crate::tick::{EndLine, Line, Probes, Refusal, Said, Tick, TickKind};
use crate::timeline::{Step, length};

/// What an engine and its schema think of the section `engine_conf`.
pub type Judge<'j> = &'j dyn Fn(&serde_json::Map<String, Value>) -> Vec<ConfigProblem>;

/// The host that plays its part.
const HOST: &str = "host";

/// Carries out a whole scenario; every line goes to `tell` as it comes.
///
/// # Errors
/// When the configuration does not suit the engine, or a rule is broken.
pub fn run<E: Engine>(scenario: &Scenario, engine: &E, judge: Judge<'_>, mut tell: impl FnMut(Line)) -> Result<(), Failed> {
    let mut simulation = Simulation::begin(scenario, engine, judge)?;
    tell(simulation.head(scenario));
    for step in scenario.steps()? {
        simulation.step(&step)?.into_iter().for_each(&mut tell);
    }
    tell(simulation.end());
    Ok(())
}

/// Why a scenario ended early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// It makes no sense.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// What must always be true was not: a fault of the host, or of this crate.
    #[error("at {at} s: {violation}")]
    Broken {
        /// Seconds since the start.
        at: String,
        /// Which rule, and what was seen.
        violation: Violation,
    },
}

/// A domain under way.
pub struct Simulation<'e, E> {
    engine: &'e E,
    judge: Judge<'e>,
    domain: Domain,
    subjects: Subjects,
    start: Timestamp,
    now: Timestamp,
    seed: u64,
    cycles: u64,
    absent: DomainState,
    journal: Vec<(u64, Vec<u8>)>,
    checker: Checker,
    /// Every instance ever launched, by launch order.
    launched: Vec<InstanceId>,
    nth: BTreeMap<InstanceId, u64>,
    guards: Guards,
    agent: AgentDoes,
    post: Post,
    /// Whether the next dump answers something that happened, rather than the host's own loop.
    asks_for_state: bool,
    probes: Probes,
    notifications: Notifications,
    faults: (u64, Vec<String>),
    rejected: (u64, Vec<String>),
    decisions: u64,
    skipped: u64,
}

impl<E> std::fmt::Debug for Simulation<'_, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulation").field("now", &self.now).field("records", &self.journal.len()).finish_non_exhaustive()
    }
}

impl<'e, E: Engine> Simulation<'e, E> {
    /// A domain that was just added and taken.
    ///
    /// # Errors
    /// When the scenario makes no sense, or its configuration does not suit the engine.
    pub fn begin(scenario: &Scenario, engine: &'e E, judge: Judge<'e>) -> Result<Self, Invalid> {
        let identity = engine.identity();
        let config = scenario.config(&identity.name)?;
        let problems = judge(&config.engine_conf);
        if !problems.is_empty() {
            return Err(Invalid { problems });
        }
        let (key, slot) = scenario.key()?;
        let start = scenario.start()?;
        let absent = DomainState::absent(key, slot);
        let answer = json!({"domain": absent.key.name});
        let added = Configured { by: absent.key.owner.clone(), request: None, answer, change: Change::Added { config, engine: identity } };
        let mut simulation = Self {
            engine,
            judge,
            domain: Domain::taken(absent.clone(), start),
            subjects: Subjects::new(&name("ph")),
            start,
            now: start,
            seed: scenario.seed,
            cycles: 0,
            checker: Checker::new(absent.clone()),
            absent,
            journal: Vec::new(),
            launched: Vec::new(),
            nth: BTreeMap::new(),
            guards: scenario.guards,
            agent: scenario.agent,
            post: Post::default(),
            asks_for_state: false,
            probes: Probes::default(),
            notifications: Notifications::default(),
            faults: (0, Vec::new()),
            rejected: (0, Vec::new()),
            decisions: 0,
            skipped: 0,
        };
        let begin = || {
            let took = Domain::take(simulation.domain.state(), &name(HOST), start);
            simulation.commit(took)?;
            let epoch = simulation.domain.state().epoch;
            simulation.commit(Record::new(start, epoch, vec![Recorded::Configured(added)]))?;
            if scenario.guards.pause {
                simulation.command(What::Pause(true))?;
            }
            if scenario.guards.dry_run {
                simulation.command(What::DryRun(true))?;
            }
            Ok(())
        };
        begin().map_err(|violation: Violation| Invalid { problems: vec![ConfigProblem::new("", violation.to_string())] })?;
        Ok(simulation)
    }

    /// What runs.
    pub fn head(&self, scenario: &Scenario) -> Line {
        Line::Scenario {
            title: scenario.title.clone(),
            engine: self.engine.identity(),
            domain: self.absent.key.to_string(),
            seed: scenario.seed,
        }
    }

    /// The state as it stands.
    pub fn state(&self) -> &DomainState {
        self.domain.state()
    }

    /// The records of the journal, each with its sequence, as they were written.
    pub fn journal(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.journal.iter().map(|(sequence, bytes)| (*sequence, bytes.as_slice()))
    }

    /// Carries out a step.
    ///
    /// # Errors
    /// When a rule is broken.
    pub fn step(&mut self, step: &Step) -> Result<Vec<Line>, Failed> {
        self.now = step.moment(self.start).max(self.now);
        let lines = self.carry_out(step);
        lines.map_err(|violation| Failed::Broken { at: step.at.to_string(), violation })
    }

    fn carry_out(&mut self, step: &Step) -> Result<Vec<Line>, Violation> {
        let before = self.rejected.1.len();
        let told = match &step.event {
            Event::Tick(kind) => {
                let tick = self.tick(step.at, *kind)?;
                return Ok(vec![Line::Tick(Box::new(tick))]);
            }
            Event::Report(report) => self.report(report)?,
            Event::Heartbeat(beat) => self.heartbeat(beat)?,
            Event::Reading(reading) => self.reading(reading),
            Event::Unknown(of) => {
                let ids = self.find(of);
                self.take(ids.iter().filter_map(|(id, _)| id.parse().ok()).map(Input::Unknown).collect())?;
                let are = if ids.len() > 1 { "are unknown to their" } else { "is unknown to its" };
                format!("{} {are} provisioner", self.names(of, &ids))
            }
            Event::Reconfigure(changes) => self.reconfigure(changes)?,
            Event::Provisioner(works) => {
                self.post.works.provision = works.provision.or(self.post.works.provision);
                self.post.works.terminate = works.terminate.or(self.post.works.terminate);
                format!("the provisioner: {}", words(&json!(works)))
            }
            Event::Agent(does) => {
                self.agent = *does;
                format!("agents from now on: {}", words(&json!(does)))
            }
            Event::Restart => {
                self.restart()?;
                "the host dies and comes back".to_owned()
            }
            Event::Snapshot => {
                let snapshot = self.domain.snapshot_now(self.now);
                self.commit(snapshot)?;
                "the journal gets a snapshot".to_owned()
            }
            Event::Remove => {
                self.command(What::Remove { abandon: false })?;
                "remove the domain".to_owned()
            }
            Event::Abandon => {
                self.command(What::Remove { abandon: true })?;
                "abandon the domain".to_owned()
            }
            Event::Subscribe(subscriber) => {
                self.command(What::Subscribe(subscriber.clone()))?;
                format!("subscribe {}.{}", subscriber.name, subscriber.operation)
            }
            Event::Unsubscribe(Unsubscribe { name, operation }) => {
                self.command(What::Unsubscribe { name: name.clone(), operation: operation.clone() })?;
                let only = operation.as_ref().map_or_else(String::new, |operation| format!(".{operation}"));
                format!("unsubscribe {name}{only}")
            }
            Event::Kill(Kill { of, reason }) => {
                let ids = self.find(of);
                for (id, _) in &ids {
                    self.command(What::Kill { instance: id.clone(), reason: reason.clone() })?;
                }
                format!("kill {} ({reason})", self.names(of, &ids))
            }
            Event::Protect(of, on) => {
                let ids = self.find(of);
                for (id, _) in &ids {
                    self.command(What::Protect { instance: id.clone(), on: *on })?;
                }
                format!("{} {}", if *on { "protect" } else { "unprotect" }, self.names(of, &ids))
            }
            Event::Blind(why) => {
                self.domain.lose_sight(self.now, why);
                format!("the host can't see: {why}")
            }
            Event::See => {
                self.domain.regain_sight(self.now);
                self.asks_for_state = true;
                "the host sees again".to_owned()
            }
            Event::Missed(seconds) => {
                self.domain.missed(length(*seconds), self.now);
                self.asks_for_state = true;
                format!("the host finds that it saw nothing for {seconds} s")
            }
            Event::Pause(pause) => {
                self.command(What::Pause(*pause))?;
                if *pause { "pause the domain" } else { "resume the domain" }.to_owned()
            }
            Event::DryRun(dry_run) => {
                self.command(What::DryRun(*dry_run))?;
                format!("switch dry run {}", if *dry_run { "on" } else { "off" })
            }
            Event::ReleaseBrake => {
                self.command(What::ReleaseBrake)?;
                "release the brake".to_owned()
            }
        };
        let event = |what| Line::Event { at: step.at, what };
        let refused = self.rejected.1[before..].iter().map(|why| event(format!("refused: {why}")));
        Ok(std::iter::once(event(told)).chain(refused).collect())
    }

    fn tick(&mut self, at: f64, kind: TickKind) -> Result<Tick, Violation> {
        let mut engine = None;
        let mut refusals = Vec::new();
        match kind {
            TickKind::Decide if self.domain.state().life == Life::Removing => self.come_to_an_end()?,
            TickKind::Decide => {
                if let Some((said, recorded)) = self.decide()? {
                    refusals = held_back(&said);
                    engine = Some(told(said, recorded));
                }
            }
            TickKind::Health => self.look(Vec::new(), Look { health: true, ..Look::default() })?,
            TickKind::Reap => self.look(Vec::new(), Look { reaping: true, ..Look::default() })?,
        }
        self.act()?;
        Ok(self.stands(at, kind, engine, refusals))
    }

    /// Asks the engine, and commits what comes of it.
    fn decide(&mut self) -> Result<Option<(Decision, bool)>, Violation> {
        self.cycles += 1;
        let seed = Seed((u128::from(self.seed) << 64 | u128::from(self.cycles)).to_be_bytes());
        self.domain.ask(Cause::Pulse, self.now);
        let Some(cycle) = self.domain.begin(self.now, seed) else { return Ok(None) };
        self.checker.begun()?;
        let ran = cycle.run(self.engine);
        self.checker.ended();
        for nonsense in ran.cycle.invalid_requests().to_vec() {
            self.reject(format!("of what the engine asked: {nonsense}"));
        }
        let (record, Finished { said, event }) = self.domain.finish(ran, self.now);
        if let (None, Some(Recorded::Faulted(fault))) = (&said, &event) {
            self.faults.0 += 1;
            self.faults.1.push(format!("{} in {}: {}", fault.kind.name(), fault.call, fault.message));
        }
        let recorded = record.is_some();
        if let Some(record) = record {
            self.commit(record)?;
        }
        self.decisions += u64::from(recorded && said.is_some());
        Ok(said.map(|said| (said, recorded)))
    }

    /// One step of a removal: first everybody is told to go; when nobody is left the engine retires and the domain is gone.
    fn come_to_an_end(&mut self) -> Result<(), Violation> {
        if !self.domain.is_empty_at_last() {
            return self.look(Vec::new(), Look { removal: true, ..Look::default() });
        }
        let memory = self.domain.state().memory.clone();
        if let Some(Err(fault)) = memory.map(|memory| self.engine.retire(&memory)) {
            self.faults.0 += 1;
            self.faults.1.push(format!("{fault} in retire"));
        }
        let record = self.domain.removed(self.now);
        self.commit(record)
    }

    /// Sends what is due, and lets agents answer.
    fn act(&mut self) -> Result<(), Violation> {
        let asks = std::mem::take(&mut self.asks_for_state);
        let mut answers = Vec::new();
        for effect in self.domain.effects(&self.subjects, self.now) {
            match effect {
                // Now and then a host asks by itself, in case a report was lost: a loop, and loops do not run by themselves here.
                Effect::Request(Request::Dump { .. }) if !asks => {}
                Effect::Request(request) => {
                    if matches!(request, Request::Dump { .. }) && self.post.is_nobody_there() {
                        self.domain.dump_unanswered(self.now);
                        self.asks_for_state = true;
                    }
                    self.checker.sent(&request, self.now)?;
                    self.post.send(&request, |id| self.nth.get(id).copied().unwrap_or(u64::MAX));
                }
                Effect::Probe(id) => {
                    self.probes.so_far += 1;
                    self.probes.new.extend(self.nth.get(&id));
                    match self.agent {
                        AgentDoes::Answers => answers.push(Input::Heartbeat(id, Heartbeat { verdict: Verdict::Ok })),
                        AgentDoes::Ignores => {}
                        AgentDoes::Absent => answers.push(Input::NoAgent(id)),
                    }
                }
            }
        }
        if answers.is_empty() { Ok(()) } else { self.take(answers) }
    }

    fn stands(&mut self, at: f64, tick: TickKind, engine: Option<Said>, refusals: Vec<Refusal>) -> Tick {
        let state = self.domain.state();
        let found: Vec<Option<&Arc<Instance>>> = self.launched.iter().map(|id| state.instance(id)).collect();
        let instances = found.iter().map(|it| it.map(|it| (it.state, it.health))).collect();
        let errors = found.iter().flatten().filter(|it| !it.errors.is_empty());
        let errors = errors.filter_map(|it| Some((*self.nth.get(&it.id)?, it.errors.list.to_vec()))).collect();
        let mut new_of = |messages: fn(&mut Post) -> &mut Messages| {
            let messages = messages(&mut self.post);
            Messages { so_far: messages.so_far, new: std::mem::take(&mut messages.new) }
        };
        let provisions = new_of(|post| &mut post.provisions);
        let terminations = new_of(|post| &mut post.terminations);
        let dumps = new_of(|post| &mut post.dumps);
        let terminated: Vec<u64> = self.post.terminated.iter().copied().collect();
        Tick {
            at,
            tick,
            launched: self.launched.len() as u64,
            provisions,
            terminations,
            terminated_ids: terminated.iter().filter_map(|nth| self.launched.get(*nth as usize)).map(ToString::to_string).collect(),
            terminated,
            instances,
            errors,
            engine,
            probes: Probes { so_far: self.probes.so_far, new: std::mem::take(&mut self.probes.new) },
            dumps,
            notifications: Notifications { so_far: self.notifications.so_far, new: std::mem::take(&mut self.notifications.new) },
            refusals,
            faults: std::mem::take(&mut self.faults.1),
            rejected: std::mem::take(&mut self.rejected.1),
            gone: state.life == Life::Removed,
        }
    }

    /// How it ended.
    pub fn end(&self) -> Line {
        let state = self.domain.state();
        Line::End(Box::new(EndLine {
            at: self.now.since(self.start).as_secs_f64(),
            start: self.start,
            launches: self.post.launches.iter().map(|(_, said)| said.clone()).collect(),
            records: self.launched.iter().map(|id| state.instance(id).map(|it| Instance::clone(it))).collect(),
            decisions: self.decisions,
            faults: self.faults.0,
            rejected: self.rejected.0,
            skipped: self.skipped,
            journal_records: self.journal.len() as u64,
            gone: state.life == Life::Removed,
        }))
    }

    fn report(&mut self, report: &Report) -> Result<String, Violation> {
        let ids = self.find(&report.of);
        let mut inputs = Vec::new();
        for (id, nth) in &ids {
            let mut message = Value::Object(report.fields.clone());
            if report.generate_address {
                let nth = nth.unwrap_or(0);
                let host = nth + 1;
                message["hostname"] = json!(format!("host-{nth}.example"));
                message["public_ip"] = json!(format!("10.{}.{}.{}", host >> 16 & 255, host >> 8 & 255, host & 255));
            }
            message["node_id"] = json!(id);
            message["state"] = json!(report.state);
            message["timestamp"] = json!(self.now.as_secs_f64());
            let parsed = StateReport::parse(id, message.to_string().as_bytes(), self.now);
            inputs.extend(self.parsed(id, parsed).map(|(id, parsed)| Input::Report(id, parsed)));
        }
        self.take(inputs)?;
        let fields = if report.fields.is_empty() { String::new() } else { format!(" {}", words(&Value::Object(report.fields.clone()))) };
        let address = if report.generate_address { " with an address" } else { "" };
        Ok(format!("report {} {}{address}{fields}", self.names(&report.of, &ids), report.state))
    }

    fn heartbeat(&mut self, beat: &Beat) -> Result<String, Violation> {
        let ids = self.find(&beat.of);
        let mut inputs = Vec::new();
        for (id, _) in &ids {
            let mut message = json!({"node_id": id, "state": beat.state, "timestamp": self.now.as_secs_f64()});
            if let Some(error) = &beat.error {
                message["error"] = json!(error);
            }
            if let Some(time) = beat.error_time {
                message["error_time"] = json!(self.start.as_secs_f64() + time);
            }
            if let Some(processes) = &beat.failed_processes {
                message["failed_processes"] = json!(processes);
            }
            let parsed = Heartbeat::parse(id, message.to_string().as_bytes(), self.now);
            inputs.extend(self.parsed(id, parsed).map(|(id, parsed)| Input::Heartbeat(id, parsed)));
        }
        self.take(inputs)?;
        let error = beat.error.as_ref().map_or(String::new(), |error| format!(" {error:?}"));
        let processes = beat.failed_processes.as_ref().map_or(String::new(), |all| format!(" {}", json!(all)));
        Ok(format!("heartbeat {} {}{error}{processes}", self.names(&beat.of, &ids), beat.state))
    }

    fn reading(&mut self, told: &crate::event::Reading) -> String {
        let ids = told.of.as_ref().map(|of| self.find(of));
        let scopes: Vec<Option<String>> =
            ids.as_ref().map_or_else(|| vec![None], |ids| ids.iter().map(|(id, _)| Some(id.clone())).collect());
        let moments = told.series.iter().map(|(at, value)| (self.start.as_secs_f64() + at, *value));
        let readings: Vec<(f64, f64)> = told.value.map(|value| (self.now.as_secs_f64(), value)).into_iter().chain(moments).collect();
        for id in &scopes {
            for (time, value) in &readings {
                let mut message = json!({"sensor_id": told.metric, "time": time, "value": value});
                if let Some(id) = id {
                    message["node_id"] = json!(id);
                }
                let parsed = Reading::parse(id.as_deref(), message.to_string().as_bytes(), self.now);
                let scope = match id.as_deref().map(str::parse) {
                    None => Scope::Domain,
                    Some(Ok(id)) if self.domain.state().instance(&id).is_none() => {
                        self.reject(format!("nobody here is called {id}"));
                        continue;
                    }
                    Some(Ok(id)) => Scope::Instance(id),
                    Some(Err(error)) => {
                        self.reject(format!("{error}"));
                        continue;
                    }
                };
                let taken = parsed.map_err(|error| error.to_string());
                let taken = taken.and_then(|reading| self.domain.read(scope, reading).map_err(|error| error.to_string()));
                if let Err(error) = taken {
                    self.reject(format!("reading of {}: {error}", told.metric));
                }
            }
        }
        let whose = match (&told.of, &ids) {
            (Some(of), Some(ids)) => self.names(of, ids),
            _ => "of the domain".to_owned(),
        };
        let values: Vec<String> = readings.iter().map(|(_, value)| value.to_string()).collect();
        format!("reading {} {whose}: {}", told.metric, values.join(" "))
    }

    fn reconfigure(&mut self, changes: &Value) -> Result<String, Violation> {
        let told = format!("reconfigure {}", words(changes));
        let state = self.domain.state();
        let (identity, from_revision) = (state.engine.clone(), state.config_revision);
        let new = state.config.changed_by(changes).and_then(|mut config: DomainConfig| {
            // A guard that the scenario switched off stays off.
            self.guards.switch(&mut config);
            let problems = (self.judge)(&config.engine_conf);
            if problems.is_empty() { Ok(config) } else { Err(problems) }
        });
        match new {
            Ok(config) => self.command(What::Reconfigure { config, engine: identity, from_revision })?,
            Err(problems) => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                self.reject(problems.join("; "));
            }
        }
        Ok(told)
    }

    /// The journal is all that is left: another host takes the domain from it.
    fn restart(&mut self) -> Result<(), Violation> {
        let mut state = self.absent.clone();
        // What was written by this code can be read by it: the checker did, record by record.
        let records: Vec<(u64, Record)> =
            self.journal.iter().filter_map(|(sequence, bytes)| Some((*sequence, Record::from_bytes(bytes).ok()?))).collect();
        let newest_snapshot = records.iter().rposition(|(_, record)| record.is_snapshot()).unwrap_or(0);
        for (sequence, record) in &records[newest_snapshot..] {
            state.apply(*sequence, record);
        }
        if state.life == Life::Removed {
            return Ok(());
        }
        self.checker.restarted();
        let took = Domain::take(&state, &name(HOST), self.now);
        let (sequence, bytes) = (state.sequence + 3, took.to_bytes());
        state.apply(sequence, &took);
        self.journal.push((sequence, bytes));
        self.checker.committed(sequence, &took, &state)?;
        self.domain = Domain::taken(state, self.now);
        self.asks_for_state = true;
        Ok(())
    }

    fn command(&mut self, what: What) -> Result<(), Violation> {
        let command = Command { by: self.absent.key.owner.clone(), request: None, what };
        match self.domain.command(command, self.now) {
            Ok(commanded) => commanded.record.map_or(Ok(()), |record| self.commit(record)),
            Err(error) => {
                self.reject(error.to_string());
                Ok(())
            }
        }
    }

    fn take(&mut self, inputs: Vec<Input>) -> Result<(), Violation> {
        self.look(inputs, Look::default())
    }

    fn look(&mut self, inputs: Vec<Input>, look: Look) -> Result<(), Violation> {
        let mut strangers = Vec::new();
        let record = self.domain.look(inputs, look, self.now, |stranger| strangers.push(format!("nobody here is called {stranger}")));
        strangers.into_iter().for_each(|stranger| self.reject(stranger));
        record.map_or(Ok(()), |record| self.commit(record))
    }

    fn commit(&mut self, record: Record) -> Result<(), Violation> {
        // The stream of a real journal holds other domains, too: sequences have gaps.
        let sequence = self.domain.state().sequence + 3;
        let told = self.domain.committed(sequence, &record, self.now);
        self.journal.push((sequence, record.to_bytes()));
        for it in self.domain.state().instances() {
            if !self.nth.contains_key(&it.id) {
                self.nth.insert(it.id.clone(), self.launched.len() as u64);
                self.launched.push(it.id.clone());
            }
        }
        self.checker.committed(sequence, &record, self.domain.state())?;
        let state = self.domain.state();
        let mut news: Vec<Notification> = self
            .checker
            .news()
            .iter()
            .filter_map(|(id, _)| {
                let notice = Notice::of(&state.key.name, state.instance(id)?)?;
                let whom = told.notices.iter().filter(|(_, notice)| notice.node_id == *id).map(|(whom, _)| whom.clone());
                Some(Notification {
                    instance: self.nth.get(id).copied().unwrap_or(u64::MAX),
                    node_id: notice.node_id,
                    state: notice.state,
                    hostname: notice.properties.hostname,
                    to: whom.collect(),
                })
            })
            .collect();
        self.checker.told(&told.notices)?;
        news.sort_by_key(|told| told.instance);
        self.notifications.so_far += news.len() as u64;
        self.notifications.new.append(&mut news);
        Ok(())
    }

    /// Who is meant, with the launch order of those who have one. Whoever is not there is told of and counted.
    fn find(&mut self, of: &Of) -> Vec<(String, Option<u64>)> {
        let by_order = |nth: u64| self.launched.get(usize::try_from(nth).unwrap_or(usize::MAX)).map(|id| (id.to_string(), Some(nth)));
        let found: Vec<_> = match of {
            Of::Nth(nth) => by_order(*nth).into_iter().collect(),
            Of::Each(all) => all.iter().filter_map(|nth| by_order(*nth)).collect(),
            Of::Id(id) => vec![(id.clone(), id.parse().ok().and_then(|id: InstanceId| self.nth.get(&id).copied()))],
            Of::Matching(wanted) => {
                let state = wanted.state.parse::<State>().ok();
                let health = wanted.health.as_ref().map(|health| health.parse::<Health>().ok());
                let fits = |it: &&Arc<Instance>| Some(it.state) == state && health.is_none_or(|health| Some(it.health) == health);
                let found = self.domain.state().instances().filter(fits).nth(wanted.nth);
                found.map(|it| (it.id.to_string(), self.nth.get(&it.id).copied())).into_iter().collect()
            }
        };
        let meant = if let Of::Each(all) = of { all.len() } else { 1 };
        self.skipped += meant.saturating_sub(found.len()) as u64;
        found
    }

    fn names(&self, of: &Of, found: &[(String, Option<u64>)]) -> String {
        let names: Vec<String> = found.iter().map(|(id, nth)| nth.map_or_else(|| id.clone(), |nth| format!("#{nth}"))).collect();
        if names.is_empty() { format!("{of} (nobody is)") } else { names.join(" ") }
    }

    fn parsed<T>(&mut self, id: &str, parsed: Result<T, Malformed>) -> Option<(InstanceId, T)> {
        let parsed =
            parsed.map_err(|error| error.to_string()).and_then(|parsed| Ok((id.parse().map_err(|error| format!("{error}"))?, parsed)));
        parsed.map_err(|error| self.reject(error)).ok()
    }

    fn reject(&mut self, why: String) {
        self.rejected.0 += 1;
        self.rejected.1.push(why);
    }
}

fn name(text: &str) -> Name {
    text.parse().expect("a name that is written here")
}

/// JSON as people would write it: without the outermost braces and the quotes of plain words.
fn words(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let parts: Vec<String> = map.iter().map(|(key, value)| format!("{key}={}", inner(value))).collect();
            parts.join(" ")
        }
        other => inner(other),
    }
}

fn inner(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "_-.:/".contains(c)) => text.clone(),
        Value::Object(map) if !map.is_empty() => format!("{{{}}}", words(value)),
        other => other.to_string(),
    }
}

fn told(said: Decision, recorded: bool) -> Said {
    Said {
        cause: said.cause,
        status: said.status,
        reason: said.reason,
        figures: said.figures.into_iter().collect(),
        wake: said.wake,
        prepared: said.prepared,
        recorded,
        dry_run: said.dry_run,
        log: said.log,
    }
}

/// What each guard held back, in the order of requests and guards.
fn held_back(said: &Decision) -> Vec<Refusal> {
    let mut all = Vec::new();
    let mut add = |request: &'static str, asked: u32, rulings: &[Ruling]| {
        let mut before = asked;
        for ruling in rulings {
            if ruling.passed < before {
                let because = ruling.note.clone().unwrap_or_default();
                all.push(Refusal { request, guard: ruling.guard.name(), held_back: before - ruling.passed, because });
            }
            before = ruling.passed;
        }
        if said.dry_run && before > 0 {
            let (guard, because) = (Guard::DryRun.name(), "recorded only".to_owned());
            all.push(Refusal { request, guard, held_back: before, because });
        }
    };
    for launch in &said.launches {
        add("launch", launch.asked, &launch.rulings);
    }
    for termination in &said.terminations {
        let passed = termination.rulings.last().map_or(0, |last| last.passed);
        add("terminate", passed + termination.deferred.len() as u32, &termination.rulings);
    }
    all
}
