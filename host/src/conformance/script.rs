//! The script: every engine is asked the same, in the same order, over domains of every size, well and unwell, with and without leave.

use std::time::Instant;

use pilothouse_core::cycle::{Called, Cause, Cycle, Engine as _, Fault, FaultKind, Ran, Reconfigured, Settings, Status};
use pilothouse_core::instance::{Health, Instance, State};
use pilothouse_core::message::Reading;
use pilothouse_core::record::Decision;
use pilothouse_core::state::DomainState;
use pilothouse_core::time::Millis;
use pilothouse_engine_host::{EngineLimits, LoadedEngine};
use serde_json::{Map, Value};

use super::bench::Bench;
use super::report::{Check, Outcome, Report};
use super::{Call, judge_memory};

/// Metrics that an engine may well follow, whatever its configuration names.
const METRICS: [&str; 3] = ["load", "cpu", "queue_length"];
/// Instances of a domain that is larger than most. An engine that can't decide over it is still one for smaller domains.
const LARGE: usize = 10_000;
/// Series of each instance at most: those of a thousand instances must fit what a domain may have.
const MAX_METRICS: usize = 12;

/// What is asked of an engine that is configured so.
#[derive(Debug)]
pub(super) struct Script {
    config: Map<String, Value>,
    metrics: Vec<String>,
}

/// What one step asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Initialize,
    Decide,
    Reconfigure,
}

/// What came of a step.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) call: Call,
    /// The memory that it returned.
    pub(super) memory: Option<Vec<u8>>,
    /// What it set, where that is not part of a decision.
    pub(super) settings: Option<Settings>,
    /// What it decided.
    pub(super) decision: Option<Decision>,
    /// Requests that made no sense.
    invalid: Vec<String>,
    /// Ids that it asked to end again although they are gone and not heard from.
    gone: usize,
    /// It refused the configuration that it has.
    refused: Option<String>,
    /// Something was to be refused in this step.
    held_back: bool,
    /// The domain was larger than most.
    is_large: bool,
}

/// What came of a run of the whole script.
#[derive(Clone, Debug)]
pub(super) struct Transcript {
    /// What the engine said of itself.
    pub(super) description: String,
    pub(super) steps: Vec<Step>,
    /// A step ran into a limit of time, and so the rest was left out: each would take as long.
    pub(super) cut_short: bool,
}

impl Script {
    pub(super) fn new(config: Map<String, Value>) -> Self {
        // Whatever is a text in the configuration may be the name of a metric.
        let mut metrics: Vec<String> = METRICS.map(str::to_owned).into();
        texts(&Value::Object(config.clone()), &mut metrics);
        metrics.retain(|metric| (1..=Reading::MAX_METRIC_BYTES).contains(&metric.len()));
        metrics.sort();
        metrics.dedup();
        metrics.truncate(MAX_METRICS);
        Self { config, metrics }
    }

    /// A domain with no instances, with the engine's configuration.
    pub(super) fn empty(&self) -> Bench {
        Bench::empty(&self.config)
    }

    /// A domain with readings of whatever the engine may follow.
    pub(super) fn with_readings(&self, bench: Bench) -> Bench {
        bench.with_readings(&self.metrics)
    }

    /// Asks everything.
    pub(super) fn run(&self, engine: &LoadedEngine, progress: &dyn Fn(&str)) -> Transcript {
        let mut running = Running { engine, steps: Vec::new(), progress, cut_short: false };
        let empty = self.empty();
        let memory = running.initialize("initialize: no instances", &empty);
        let empty = empty.with_memory(engine, memory);
        running.decide("decide: no instances", &empty.clone());
        running.decide("decide: no instances, paused", &empty.clone().but(|it| it.state.paused = true));
        running.decide("decide: no instances, granted in part", &empty.but(one_at_a_time));
        for count in [10, 1000] {
            running.initialize_and_decide(&self.empty().with_instances(count), count);
        }
        let thousand = self.empty().with_instances(1000);
        let memory = running.memory_of("initialize: 1000 instances");
        let thousand = thousand.with_memory(engine, memory);
        let sensed = self.with_readings(thousand);
        running.decide("decide: 1000 instances, with readings", &sensed.clone().but(|it| it.cause = Cause::Wake));
        running.decide("decide: 1000 instances, paused", &sensed.clone().but(|it| it.state.paused = true));
        running.decide("decide: 1000 instances, granted in part", &sensed.clone().but(one_at_a_time));
        running.decide("decide: 1000 instances, host blind", &sensed.clone().but(blind));
        running.decide("decide: 1000 instances, every one unhealthy", &sensed.clone().but(all_ill));
        running.decide("decide: 1000 instances, taken over", &sensed.clone().but(|it| it.cause = Cause::TakenOver));
        running.reconfigure("reconfigure: 1000 instances", &sensed.reconfigured());
        // The last, for they may take more than an engine has.
        running.initialize_and_decide(&self.empty().with_instances(LARGE), LARGE);
        let description = engine.description();
        Transcript { description: format!("{description:?}"), steps: running.steps, cut_short: running.cut_short }
    }
}

/// Each request is granted one, the rest must wait.
fn one_at_a_time(bench: &mut Bench) {
    let general = &mut bench.state.config.general;
    (general.launches_per_minute, general.terminations_per_minute) = (1, 1);
}

/// Nobody is well.
fn all_ill(bench: &mut Bench) {
    let running: Vec<_> = bench.state.instances().filter(|it| it.state == State::Running).cloned().collect();
    for instance in running {
        bench.state.set(Instance { health: Health::Missing, ..Instance::clone(&instance) });
    }
}

/// Silence proves nothing.
fn blind(bench: &mut Bench) {
    bench.eyes.blind_since = Some((bench.now - Millis::from_secs(5), "the link to NATS is down".to_owned()));
}

fn texts(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| texts(value, into)),
        Value::Object(values) => values.values().for_each(|value| texts(value, into)),
        _ => {}
    }
}

/// A script that is being run.
struct Running<'a> {
    engine: &'a LoadedEngine,
    steps: Vec<Step>,
    progress: &'a dyn Fn(&str),
    cut_short: bool,
}

impl Running<'_> {
    fn initialize(&mut self, name: &str, domain: &Bench) -> Vec<u8> {
        self.step(name, domain, |engine, cycle, begun| {
            let Called { cycle, fuel, result } = engine.initialize(cycle);
            let step = Step::new(name, fuel, begun, &cycle);
            match result {
                Ok(memory) => Step { memory: Some(memory), settings: Some(cycle.settings().clone()), ..step },
                Err(fault) => step.failed(fault),
            }
        });
        self.memory_of(name)
    }

    fn initialize_and_decide(&mut self, domain: &Bench, count: usize) {
        let memory = self.initialize(&format!("initialize: {count} instances"), domain);
        let domain = domain.clone().with_memory(self.engine, memory);
        let name = format!("decide: {count} instances");
        let (is_large, before) = (count >= LARGE, self.cut_short);
        self.decide(&name, &domain);
        if let Some(step) = self.steps.last_mut().filter(|step| is_large && step.name == name) {
            step.is_large = true;
            self.cut_short = before;
        }
    }

    fn reconfigure(&mut self, name: &str, domain: &Bench) {
        let before = domain.state.memory.clone().unwrap_or_default();
        self.step(name, domain, |engine, cycle, begun| {
            let Called { cycle, fuel, result } = engine.reconfigure(cycle, &before);
            let step = Step::new(name, fuel, begun, &cycle);
            match result {
                Ok(Reconfigured::Memory(memory)) => Step { memory: Some(memory), settings: Some(cycle.settings().clone()), ..step },
                Ok(Reconfigured::NotSupported) => step,
                Ok(Reconfigured::MemoryRefused(text)) => {
                    step.failed(Fault::new(FaultKind::Returned, format!("the memory can't be read: {text}")))
                }
                Ok(Reconfigured::Refused(problems)) => {
                    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
                    Step { refused: Some(problems.join("; ")), ..step }
                }
                Err(fault) => step.failed(fault),
            }
        });
    }

    fn decide(&mut self, name: &str, domain: &Bench) {
        let general = &domain.state.config.general;
        let held_back = domain.state.paused || general.launches_per_minute == 1 || domain.eyes.blind_since.is_some();
        self.step(name, domain, |engine, cycle, _| Step { held_back, ..decide(name, engine, cycle, &domain.state) });
    }

    fn step(&mut self, name: &str, domain: &Bench, ask: impl FnOnce(&LoadedEngine, Cycle, Instant) -> Step) {
        if self.cut_short {
            return;
        }
        (self.progress)(name);
        let step = ask(self.engine, domain.cycle(self.steps.len() as u64), Instant::now());
        self.cut_short = step.call.ran_for_too_long();
        self.steps.push(step);
    }

    /// The memory that a step returned; an empty one if it failed, so that the rest is looked at all the same.
    fn memory_of(&self, name: &str) -> Vec<u8> {
        self.steps.iter().find(|step| step.name == name).and_then(|step| step.memory.clone()).unwrap_or_default()
    }
}

/// One decision, without anything before it: the state has the engine's memory.
pub(super) fn decide(name: &str, engine: &LoadedEngine, cycle: Cycle, state: &DomainState) -> Step {
    let begun = Instant::now();
    let ran = cycle.run(engine);
    let step = Step::new(name, ran.fuel, begun, &ran.cycle);
    let Ran { outcome, .. } = &ran;
    let memory = match outcome {
        Ok(decided) => decided.verdict.memory.clone(),
        Err(failed) => return step.failed(Fault::new(failed.fault.kind, format!("in {}: {}", failed.call, failed.fault.message))),
    };
    let decision = ran.finish(state, state.now).said;
    let is_gone = |id: &&_| state.instance(id).is_some_and(|it| it.state.is_gone() && it.health != Health::Zombie);
    let gone = decision.iter().flat_map(|it| &it.terminations).flat_map(|it| &it.again).filter(is_gone).count();
    Step { memory: Some(memory), decision, gone, ..step }
}

impl Step {
    fn new(name: &str, fuel: u64, begun: Instant, cycle: &Cycle) -> Self {
        Self {
            name: name.to_owned(),
            call: Call { fuel, time: begun.elapsed(), fault: None },
            memory: None,
            settings: None,
            decision: None,
            invalid: cycle.invalid_requests().to_vec(),
            gone: 0,
            refused: None,
            held_back: false,
            is_large: false,
        }
    }

    /// One that used up seven units and said nothing.
    #[cfg(test)]
    pub(super) fn example(name: &str) -> Self {
        Self::new(name, 7, Instant::now(), &Bench::empty(&Map::new()).cycle(0))
    }

    fn failed(mut self, fault: Fault) -> Self {
        self.call.fault = Some(fault);
        self
    }

    /// What was asked, by the first word of the name.
    fn ask(&self) -> Ask {
        match self.name.split(':').next() {
            Some("initialize") => Ask::Initialize,
            Some("reconfigure") => Ask::Reconfigure,
            _ => Ask::Decide,
        }
    }

    /// How it went.
    pub(super) fn judge(&self, limits: &EngineLimits) -> Check {
        let mut check = Check::new(&self.name);
        self.call.judge(limits, &mut check);
        if self.is_large && self.call.ran_for_too_long() {
            check.outcome = Outcome::Warned;
            check.note("so it is for smaller domains: `max_instances`, which is 1000 unless a domain says otherwise, keeps them small");
        }
        if self.held_back && self.call.fault.as_ref().is_some_and(|fault| fault.kind == FaultKind::Returned) {
            check.note("a refusal is an answer: say so in the reason, and ask again next time");
        }
        if let Some(memory) = &self.memory {
            judge_memory(memory.len(), &mut check);
        }
        for request in &self.invalid {
            check.fail(format!("it asked for what can't be: {request}"));
        }
        if self.gone > 0 {
            check.warn(format!("it asked for the end of {} that are gone", self.gone));
        }
        if let Some(problems) = &self.refused {
            check.fail(format!("it does not take the configuration that it has: {problems}"));
        }
        if self.ask() == Ask::Reconfigure && self.memory.is_none() && check.notes.is_empty() {
            check.note("not offered: a changed configuration has it start afresh");
        }
        if let Some(decision) = &self.decision {
            if decision.reason.trim().is_empty() {
                check.warn("it gave no reason: `pilothouse why` has nothing to tell");
            }
            check.note(summary(decision));
        }
        check
    }
}

/// What was decided, in a line: `pending, launch 3, terminate 1: "0 of 3 healthy"`.
fn summary(decision: &Decision) -> String {
    let status = match decision.status {
        Status::Pending => "pending",
        Status::Stable => "stable",
        Status::Failed => "failed",
    };
    let asked: u32 = decision.launches.iter().map(|launch| launch.asked).sum();
    let launched: usize = decision.launches.iter().map(|launch| launch.instances.len()).sum();
    let ended: usize = decision.terminations.iter().map(|it| it.accepted.len() + it.again.len()).sum();
    let deferred: usize = decision.terminations.iter().map(|it| it.deferred.len()).sum();
    let mut text = status.to_owned();
    let mut add = |what: &str, all: usize, granted: usize| match all {
        0 => {}
        _ if all == granted => text += &format!(", {what} {all}"),
        _ => text += &format!(", {what} {granted} of {all}"),
    };
    add("launch", asked as usize, launched);
    add("terminate", ended + deferred, ended);
    if decision.reason.is_empty() { text } else { format!("{text}: {:?}", decision.reason) }
}

impl Transcript {
    /// The largest memory that any step returned.
    pub(super) fn memory(&self) -> Option<&Vec<u8>> {
        self.steps.iter().filter_map(|step| step.memory.as_ref()).max_by_key(|memory| memory.len())
    }

    pub(super) fn judge(&self, limits: &EngineLimits, report: &mut Report) {
        for step in &self.steps {
            report.push(step.judge(limits));
        }
        if let Some(last) = report.checks.last_mut().filter(|_| self.cut_short) {
            last.note("what else there is was not tried: it would take as long");
        }
    }
}
