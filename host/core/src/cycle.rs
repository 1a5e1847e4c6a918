//! The decision cycle: `begin` → the engine → `finish`.
//!
//! A cycle looks at a committed prefix of the journal, as an immutable [`DomainState`]. It is handed to whatever runs the engine, answers
//! the engine's questions and requests on the spot, and comes back with what the engine wants, as data. Nothing is done here: `finish`
//! makes a journal record out of it, and effects follow when that is committed. If the engine fails, the cycle is thrown away.
//!
//! Who runs the engine implements [`Engine`]: the sandbox in the host, a native policy in tests.

mod bounds;
mod fault;
mod finish;
mod request;
mod view;

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use bounds::Bounds;
pub use fault::{Fault, FaultKind};
pub use finish::Finished;
pub use request::{Destroyed, LaunchRequest, Launched, Level};
pub use view::Filter;

use crate::config::{ConfigProblem, MemoryRefused};
use crate::engine::HoldReason;
use crate::guard::Eyes;
use crate::id::InstanceId;
use crate::instance::Vars;
use crate::record::{DecidedLaunch, DecidedTermination, EngineInForce, Prepared};
use crate::seed::{Random, Seed, Stream};
use crate::sensor::{Sample, Scope, Sensors, Statistic};
use crate::state::DomainState;
use crate::time::{Millis, Timestamp};

/// Why a decision is made now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The domain's own pace.
    #[default]
    Pulse,
    /// The engine asked to be called now.
    Wake,
    /// Something changed, and the engine waited for that.
    Changed,
    /// The configuration changed.
    Configured,
    /// Another engine was in force before.
    Swapped,
    /// This host has just taken the domain.
    TakenOver,
    /// An operator asked.
    Asked,
}

/// What an engine says of its domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Something is still to be done or waited for.
    #[default]
    Pending,
    /// The domain is as its policy wants it.
    Stable,
    /// The policy can't be kept; people should look.
    Failed,
}

/// When an engine wants to be asked next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wake {
    /// After so long.
    After(Millis),
    /// When something changed.
    OnChange,
}

/// What an engine wants of the host. Nothing: unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// The pause between two decisions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulse: Option<Millis>,
    /// What every launch is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioner_vars: Option<Vars>,
}

impl Settings {
    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        self.pulse.is_none() && self.provisioner_vars.is_none()
    }
}

/// A sensor that an engine read, and what it was told: part of what the decision can be explained, and run again, with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Observation {
    /// The series.
    pub metric: String,
    /// Whose.
    pub scope: Scope,
    /// What was made of it; nothing for the series itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistic: Option<Statistic>,
    /// Over how long.
    pub window: Millis,
    /// The answer.
    pub sample: Sample,
}

/// What a decide call returned.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Handed to the next call.
    pub memory: Vec<u8>,
    /// What the engine says of the domain.
    pub status: Status,
    /// In words.
    pub reason: String,
    /// The figures behind it.
    pub figures: Vec<(String, f64)>,
    /// When to be asked next.
    pub wake: Option<Wake>,
}

/// Bounds on what engines may hand back. What is over one is a [`FaultKind::Output`].
pub mod limits {
    /// Of the memory, in bytes: the journal carries it.
    pub const MEMORY_BYTES: usize = 64 * 1024;
    /// Of the reason, in bytes.
    pub const REASON_BYTES: usize = 4096;
    /// Figures of one decision.
    pub const FIGURES: usize = 64;
    /// Launched instances of one decision.
    pub const LAUNCHES: u32 = 1000;
    /// Requests of one decision, launches and terminations together.
    pub const REQUESTS: usize = 2000;
    /// Ids named in one decision's terminations; and as many again that are ended by their launches.
    pub const VICTIMS: usize = 20_000;
    /// Variables of one request, and bytes of all of them.
    pub const VARS: usize = 128;
    /// Bytes of all variables of one request.
    pub const VARS_BYTES: usize = 16 * 1024;
    /// Bytes of the variables of all instances of a domain together, those given by launches, as snapshots write them. Each instance has its
    /// own, in memory and in snapshots, and a launch of a thousand carries them once.
    pub const DOMAIN_VARS_BYTES: usize = 16 << 20;
    /// Bytes that all requests of one decision carry together (variables, reasons, words): the journal carries them.
    pub const REQUESTED_BYTES: usize = 256 * 1024;
    /// Log lines of one cycle.
    pub const LOG_LINES: usize = 64;
    /// Log lines of a call that failed: the last before it did. An engine that fails may do so every few seconds.
    pub const FAULT_LINES: usize = 16;
    /// Of a log line, in bytes.
    pub const LOG_BYTES: usize = 1024;
    /// Sensor answers that a decision record holds.
    pub const OBSERVATIONS: usize = 256;
}

/// A call that came back: the cycle, what it used up, and what it returned.
#[derive(Debug)]
pub struct Called<T> {
    /// The cycle. Lost when the call had to be abandoned; it is then only good for the record of the fault.
    pub cycle: Cycle,
    /// What the call used up.
    pub fuel: u64,
    /// What it returned.
    pub result: Result<T, Fault>,
}

/// What runs an engine: takes the cycle, lets the engine ask and request, and gives it back.
pub trait Engine {
    /// Which engine.
    fn identity(&self) -> EngineInForce;
    /// What it may hand back and ask for.
    fn bounds(&self) -> Bounds {
        Bounds::default()
    }
    /// The first memory.
    fn initialize(&self, cycle: Cycle) -> Called<Vec<u8>>;
    /// The memory that goes with the new configuration; nothing when the engine does not offer to take it up.
    fn reconfigure(&self, cycle: Cycle, memory: &[u8]) -> Called<Reconfigured>;
    /// A decision.
    fn decide(&self, cycle: Cycle, memory: &[u8]) -> Called<Verdict>;
    /// The domain goes away.
    ///
    /// # Errors
    /// How the call failed. It stops nothing.
    fn retire(&self, _memory: &[u8]) -> Result<(), Fault> {
        Ok(())
    }
}

/// What came of a reconfiguration.
#[derive(Clone, Debug, PartialEq)]
pub enum Reconfigured {
    /// The memory from now on.
    Memory(Vec<u8>),
    /// Not offered: the engine starts afresh.
    NotSupported,
    /// The memory is not one that this version understands, in its words.
    MemoryRefused(String),
    /// The configuration can't be used: the memory from before stays.
    Refused(Vec<ConfigProblem>),
}

/// One decision in the making.
#[derive(Debug)]
pub struct Cycle {
    state: Arc<DomainState>,
    sensors: Arc<Sensors>,
    eyes: Eyes,
    now: Timestamp,
    cause: Cause,
    seed: Seed,
    ids: Random,
    random: Random,
    /// Made when it is first drawn from: few engines ever do.
    wasi_random: Option<Box<Random>>,
    may_request: bool,
    bounds: Bounds,
    /// What every launch is given, in a cycle in which the engine is initialised or reconfigured: settings from before don't hold any more.
    base_vars: Option<Vars>,
    launches: Vec<DecidedLaunch>,
    terminations: Vec<DecidedTermination>,
    /// Whose end was granted by so many of them: looked up when a launch takes somebody's place.
    leaving: (BTreeSet<InstanceId>, usize),
    launched: u32,
    terminated: u32,
    named: usize,
    /// Instances whose launches it asked to end.
    of_launches: usize,
    /// Bytes of variables that the instances hold which were granted.
    vars_granted: usize,
    /// Bytes that the requests carry so far.
    carried: usize,
    settings: Settings,
    observed: Vec<Observation>,
    log: Vec<(Level, String)>,
    log_dropped: u32,
    /// Requests that made no sense, in words. Not recorded: the engine was told, and nothing came of them.
    invalid: Vec<String>,
}

/// What came of a whole cycle.
#[derive(Debug)]
pub struct Ran {
    /// The cycle, with what the engine asked for.
    pub cycle: Cycle,
    /// What the calls used up together.
    pub fuel: u64,
    /// What the engine decided, or why it did not.
    pub outcome: Result<Decided, Failed>,
}

/// A decision that succeeded.
#[derive(Debug)]
pub struct Decided {
    /// Which engine.
    pub engine: EngineInForce,
    /// How it was made ready.
    pub prepared: Option<Prepared>,
    /// What it returned.
    pub verdict: Verdict,
}

/// A cycle that failed.
#[derive(Debug)]
pub struct Failed {
    /// Which engine.
    pub engine: EngineInForce,
    /// In which call.
    pub call: &'static str,
    /// How.
    pub fault: Fault,
    /// The engine is not to be asked again until somebody changes something.
    pub hold: Option<HoldReason>,
}

/// What an engine remembers, and of what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Its memory; nothing before its first call.
    pub memory: Option<Vec<u8>>,
    /// The name of the engine whose memory it is.
    pub name: String,
    /// The revision of the configuration that it has taken up.
    pub revision: u64,
    /// The domain went back from the version that wrote it to the one in force.
    pub gone_back: bool,
}

impl Cycle {
    /// A cycle over a committed state. `seed` is fresh for every cycle.
    pub fn begin(state: Arc<DomainState>, sensors: Arc<Sensors>, eyes: Eyes, now: Timestamp, cause: Cause, seed: Seed) -> Self {
        Self {
            ids: seed.stream(Stream::Ids),
            random: seed.stream(Stream::Engine),
            wasi_random: None,
            now: now.max(state.now),
            state,
            sensors,
            eyes,
            cause,
            seed,
            may_request: false,
            bounds: Bounds::default(),
            base_vars: None,
            launches: Vec::new(),
            terminations: Vec::new(),
            leaving: Default::default(),
            launched: 0,
            terminated: 0,
            named: 0,
            of_launches: 0,
            vars_granted: 0,
            carried: 0,
            settings: Settings::default(),
            observed: Vec::new(),
            log: Vec::new(),
            log_dropped: 0,
            invalid: Vec::new(),
        }
    }

    /// Another cycle that is the same in everything: for a shadow.
    pub fn twin(&self) -> Self {
        let Self { state, sensors, eyes, now, cause, seed, .. } = self;
        Self::begin(Arc::clone(state), Arc::clone(sensors), eyes.clone(), *now, *cause, *seed)
    }

    /// The state that the engine looks at.
    pub(crate) fn shared_state(&self) -> &Arc<DomainState> {
        &self.state
    }

    /// Runs the engine: prepares it if it is new or its configuration is, then lets it decide.
    pub fn run(self, engine: &impl Engine) -> Ran {
        let remembered = Remembered {
            memory: self.state.memory.clone(),
            name: self.state.memory_of.name.clone(),
            revision: self.state.applied_revision,
            gone_back: self.state.remembers_what_it_went_back_from(),
        };
        self.run_with(engine, remembered)
    }

    /// The same, with what the engine remembers told instead of looked up.
    pub fn run_with(mut self, engine: &impl Engine, remembered: Remembered) -> Ran {
        let identity = engine.identity();
        self.bounds = engine.bounds();
        let current = remembered.revision == self.state.config_revision;
        // Whoever goes back to a version, the domain by itself or an operator, wants it to decide. What the other one wrote, perhaps wrongly,
        // and always without knowing of this one, must not be what stops it: it begins anew if it can't read that, whatever the
        // configuration says of versions that are new.
        let gone_back = remembered.gone_back;
        let known = remembered.memory.filter(|_| remembered.name == identity.name);
        let mut fuel = 0;
        let mut step = |spent: u64| fuel += spent;

        let (cycle, prepared, memory) = match known {
            Some(memory) if current => (self, Ok(None), memory),
            Some(memory) => {
                let Called { mut cycle, fuel: spent, result } = engine.reconfigure(self.afresh(), &memory);
                step(spent);
                if !matches!(result, Ok(Reconfigured::Memory(_))) {
                    // The call did not succeed, so what it set has not happened.
                    (cycle.settings, cycle.base_vars) = (Settings::default(), None);
                }
                match result {
                    Ok(Reconfigured::Memory(memory)) => (cycle, Ok(Some(Prepared::Reconfigured)), memory),
                    Ok(Reconfigured::Refused(_)) => (cycle, Ok(Some(Prepared::Refused)), memory),
                    Ok(Reconfigured::NotSupported) => first_memory(cycle, engine, &mut step),
                    Ok(Reconfigured::MemoryRefused(message)) => match cycle.state.config.general.memory_refused {
                        MemoryRefused::Hold if !gone_back => {
                            let fault = Fault::new(FaultKind::Returned, format!("the memory can't be read: {message}"));
                            (cycle, Err(("reconfigure", fault, Some(HoldReason::MemoryRefused { message }))), memory)
                        }
                        MemoryRefused::Hold | MemoryRefused::Initialize => first_memory(cycle.anew(message), engine, &mut step),
                    },
                    Err(fault) if gone_back && fault.kind.counts() => first_memory(cycle.anew(fault.to_string()), engine, &mut step),
                    Err(fault) => (cycle, Err(("reconfigure", fault, None)), memory),
                }
            }
            None => first_memory(self, engine, &mut step),
        };
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err((call, fault, hold)) => return Ran { cycle, fuel, outcome: Err(Failed { engine: identity, call, fault, hold }) },
        };
        let Called { mut cycle, fuel: spent, result } = engine.decide(cycle.with_control(), &memory);
        fuel += spent;
        cycle.may_request = false;
        let outcome = match result {
            Ok(verdict) => Ok(Decided { engine: identity, prepared, verdict }),
            Err(fault) => Err(Failed { engine: identity, call: "decide", fault, hold: None }),
        };
        Ran { cycle, fuel, outcome }
    }

    /// The engine begins anew because the memory is of no use to it. The log of the decision is the only place that says why.
    fn anew(mut self, why: String) -> Self {
        let mut line = format!("begins anew, as it can't make use of the memory of the version before: {why}");
        request::truncate(&mut line, limits::LOG_BYTES);
        self.log.push((Level::Warn, line));
        self
    }

    fn afresh(mut self) -> Self {
        self.base_vars = Some(self.state.config.general.provisioner_vars.clone());
        self
    }

    fn with_control(mut self) -> Self {
        self.may_request = true;
        if let (Some(base), Some(set)) = (&mut self.base_vars, &self.settings.provisioner_vars) {
            base.clone_from(set);
        }
        self
    }

    /// Why this decision is made now.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// The moment of this cycle.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The next number of the engine's random stream.
    pub fn random(&mut self) -> u64 {
        self.random.next_u64()
    }

    /// The next number of the stream that the libraries beneath the engine draw from. It goes on from call to call of a cycle.
    pub fn wasi_random(&mut self) -> u64 {
        self.wasi_random.get_or_insert_with(|| Box::new(self.seed.stream(Stream::Wasi))).next_u64()
    }
}

type FirstMemory = (Cycle, Result<Option<Prepared>, (&'static str, Fault, Option<HoldReason>)>, Vec<u8>);

fn first_memory(cycle: Cycle, engine: &impl Engine, step: &mut impl FnMut(u64)) -> FirstMemory {
    let Called { cycle, fuel, result } = engine.initialize(cycle.afresh());
    step(fuel);
    match result {
        Ok(memory) => (cycle, Ok(Some(Prepared::Initialized)), memory),
        Err(fault) => (cycle, Err(("initialize", fault, None)), Vec::new()),
    }
}
