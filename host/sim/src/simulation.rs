//! Carries out a scenario, step by step.

mod engines;
mod events;
mod said;

use std::collections::BTreeMap;
use std::sync::Arc;

use pilothouse_core::command::What;
use pilothouse_core::config::ConfigProblem;
use pilothouse_core::cycle::{Cause, Engine, Finished, Ran};
use pilothouse_core::domain::{Domain, Effect, Look};
use pilothouse_core::engine::ShadowCycle;
use pilothouse_core::id::InstanceId;
use pilothouse_core::instance::Instance;
use pilothouse_core::intake::Input;
use pilothouse_core::message::{Heartbeat, Notice, Verdict};
use pilothouse_core::name::Name;
use pilothouse_core::promise::Request;
use pilothouse_core::record::{Change, Configured, Decision, Event as Recorded, Record};
use pilothouse_core::schedule;
use pilothouse_core::seed::Seed;
use pilothouse_core::state::{DomainState, Life};
use pilothouse_core::subject::Subjects;
use pilothouse_core::time::Timestamp;
use serde_json::{Value, json};

pub use self::engines::Available;
use self::engines::Engines;
use self::said::{held_back, told};
use crate::check::{Checker, Violation};
use crate::event::AgentDoes;
use crate::messages::{Messages, Notification, Notifications, Post};
use crate::scenario::{Guards, Invalid, Scenario};
use crate::tick::{Beside, EndLine, Line, Probes, Refusal, Said, Tick, TickKind};
use crate::timeline::Step;

/// What an engine and its schema think of the section `engine_conf`.
pub type Judge<'j> = &'j dyn Fn(&serde_json::Map<String, Value>) -> Vec<ConfigProblem>;

/// What an engine said, and whether that is on record.
type Decided = (Decision, bool);

/// The host that plays its part.
const HOST: &str = "host";

/// Carries out a whole scenario; every line goes to `tell` as it comes.
///
/// # Errors
/// When the configuration does not suit the engine, or a rule is broken.
pub fn run<E: Engine>(scenario: &Scenario, engine: &E, judge: Judge<'_>, tell: impl FnMut(Line)) -> Result<(), Failed> {
    run_among(scenario, &[Available { engine, judge }], tell)
}

/// The same, with all engines that the scenario names. The first of them decides to begin with.
///
/// # Errors
/// When the configuration does not suit the engine, or a rule is broken.
pub fn run_among(scenario: &Scenario, engines: &[Available<'_>], mut tell: impl FnMut(Line)) -> Result<(), Failed> {
    let mut simulation = Simulation::among(scenario, engines)?;
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
pub struct Simulation<'e> {
    engines: Engines<'e>,
    domain: Domain,
    subjects: Subjects,
    start: Timestamp,
    now: Timestamp,
    seed: u64,
    cycles: u64,
    /// What an engine that takes its time will say, and what runs beside has yet to be asked.
    asked: Option<(Ran, Option<ShadowCycle>)>,
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
    /// Which versions came into force or were held since the tick before, in words.
    versions: Vec<String>,
    rejected: (u64, Vec<String>),
    decisions: u64,
    skipped: u64,
}

impl std::fmt::Debug for Simulation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulation").field("now", &self.now).field("records", &self.journal.len()).finish_non_exhaustive()
    }
}

impl<'e> Simulation<'e> {
    /// A domain that was just added and taken.
    ///
    /// # Errors
    /// When the scenario makes no sense, or its configuration does not suit the engine.
    pub fn begin<E: Engine>(scenario: &Scenario, engine: &'e E, judge: Judge<'e>) -> Result<Self, Invalid> {
        Self::among(scenario, &[Available { engine, judge }])
    }

    /// The same, with all engines that the scenario names. The first of them decides to begin with.
    ///
    /// # Errors
    /// When the scenario makes no sense, or its configuration does not suit the engine.
    ///
    /// # Panics
    /// Without any engine.
    pub fn among(scenario: &Scenario, engines: &[Available<'e>]) -> Result<Self, Invalid> {
        let judge = engines.first().expect("an engine decides").judge;
        let engines = Engines::new(engines);
        let identity = engines.first();
        let config = scenario.config(&identity.name)?;
        let start = scenario.start()?;
        let problems = schedule::check(&config, start, judge);
        if !problems.is_empty() {
            return Err(Invalid { problems });
        }
        let (key, slot) = scenario.key()?;
        let absent = DomainState::absent(key, slot);
        let answer = json!({"domain": absent.key.name});
        let added = Configured { by: absent.key.owner.clone(), request: None, answer, change: Change::Added { config, engine: identity } };
        let mut simulation = Self {
            engines,
            domain: Domain::taken(absent.clone(), start),
            subjects: Subjects::new(&name("ph")),
            start,
            now: start,
            seed: scenario.seed,
            cycles: 0,
            asked: None,
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
            versions: Vec::new(),
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
            engine: self.engines.first(),
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

    /// Takes up what the schedule says by now; in words, if that is something else.
    fn switch(&mut self) -> Result<Option<String>, Violation> {
        let before = self.domain.state().windows.clone();
        self.look(Vec::new(), Look { schedule: true, ..Look::default() })?;
        let state = self.domain.state();
        Ok(state.config.turn(&before, &state.windows).map(|turn| format!("the schedule: {}", turn.in_words())))
    }

    fn tick(&mut self, at: f64, kind: TickKind) -> Result<Tick, Violation> {
        let (mut engine, mut beside) = (None, None);
        let mut refusals = Vec::new();
        match kind {
            TickKind::Decide if self.domain.state().life == Life::Removing && self.asked.is_none() => self.come_to_an_end()?,
            TickKind::Decide => {
                if self.asked.is_none() && self.domain.state().held().is_some() {
                    self.versions.push("the engine is held, and not asked".to_owned());
                }
                let (decided, compared) = self.decide()?;
                beside = compared;
                if let Some((said, recorded)) = decided {
                    refusals = held_back(&said);
                    engine = Some(told(said, recorded));
                }
            }
            TickKind::Health => self.look(Vec::new(), Look { health: true, ..Look::default() })?,
            TickKind::Reap => self.look(Vec::new(), Look { reaping: true, ..Look::default() })?,
        }
        self.act()?;
        Ok(Tick { beside, ..self.stands(at, kind, engine, refusals) })
    }

    /// Asks the engine. Whether it could be asked.
    fn ask(&mut self) -> Result<bool, Violation> {
        self.cycles += 1;
        let seed = Seed((u128::from(self.seed) << 64 | u128::from(self.cycles)).to_be_bytes());
        self.domain.ask(Cause::Pulse, self.now);
        let Some(cycle) = self.domain.begin(self.now, seed) else { return Ok(false) };
        self.checker.begun()?;
        let twin = self.domain.shadow_cycle(&cycle);
        let engine = self.engines.played(&self.domain.state().engine, false).expect("whatever is in force is one of the scenario's");
        self.asked = Some((cycle.run(&engine), twin));
        Ok(true)
    }

    /// Asks the engine, unless it was asked before, and commits what comes of it.
    fn decide(&mut self) -> Result<(Option<Decided>, Option<Beside>), Violation> {
        if self.asked.is_none() {
            self.ask()?;
        }
        let Some((ran, twin)) = self.asked.take() else { return Ok((None, None)) };
        self.checker.ended();
        for nonsense in ran.cycle.invalid_requests().to_vec() {
            self.reject(format!("of what the engine asked: {nonsense}"));
        }
        let (record, Finished { said, event, taken_back, .. }) = self.domain.finish(ran, self.now);
        if let (None, Some(Recorded::Faulted(fault))) = (&said, &event) {
            self.faults.0 += 1;
            self.faults.1.push(format!("{} in {}: {}", fault.kind.name(), fault.call, fault.message));
        }
        let recorded = record.is_some();
        if let Some(record) = record {
            self.commit(record)?;
        }
        self.decisions += u64::from(recorded && said.is_some());
        let beside = match (&said, twin) {
            (Some(said), Some(twin)) => self.compare(said, !taken_back && !said.dry_run, twin)?,
            _ => None,
        };
        Ok((said.map(|said| (said, recorded)), beside))
    }

    /// Asks what runs beside, and commits what is worth that.
    fn compare(&mut self, said: &Decision, carried_out: bool, twin: ShadowCycle) -> Result<Option<Beside>, Violation> {
        let Some(shadow) = self.domain.state().shadow().map(|it| it.engine.clone()) else { return Ok(None) };
        let Some(engine) = self.engines.played(&shadow, true) else { return Ok(None) };
        let wanted = twin.run(&engine);
        let before = self.domain.shadowing().map(|it| it.tally().clone());
        let record = self.domain.compare(wanted, said, carried_out, self.now);
        let tally = self.domain.shadowing().map(|it| it.tally().clone());
        if let Some(record) = record {
            self.commit(record)?;
        }
        Ok(before.zip(tally).map(|(before, tally)| {
            let differs = (before.differed, before.failed) != (tally.differed, tally.failed);
            let difference = tally.last.as_ref().filter(|_| differs).map(|last| last.words.clone());
            Beside { engine: shadow, compared: tally.compared, differed: tally.differed, failed: tally.failed, difference }
        }))
    }

    /// One step of a removal: first everybody is told to go; when nobody is left the engine retires and the domain is gone.
    fn come_to_an_end(&mut self) -> Result<(), Violation> {
        if !self.domain.is_empty_at_last() {
            return self.look(Vec::new(), Look { removal: true, ..Look::default() });
        }
        let memory = self.domain.state().memory.clone();
        let engine = self.engines.played(&self.domain.state().engine, false);
        if let Some(Err(fault)) = memory.zip(engine).map(|(memory, engine)| engine.retire(&memory)) {
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
            versions: std::mem::take(&mut self.versions),
            beside: None,
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
        self.versions.extend(record.events.iter().filter_map(|event| match event {
            Recorded::Swapped(swapped) => Some(swapped.in_words()),
            Recorded::Held(held) => Some(held.in_words()),
            _ => None,
        }));
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
}

fn name(text: &str) -> Name {
    text.parse().expect("a name that is written here")
}
