//! The engines of a scenario: which there are, under which versions they run, and how calls of them are made to fail.

use std::cell::RefCell;

use pilothouse_core::cycle::{Bounds, Called, Cycle, Engine, Fault, FaultKind, Reconfigured, Verdict};
use pilothouse_core::engine::{Candidate, Origin, Reference, newest};
use pilothouse_core::record::EngineInForce;

use super::Judge;
use crate::event::{Fail, FailKind};

/// An engine that a scenario may name, and what judges its configuration.
#[derive(Clone, Copy)]
pub struct Available<'e> {
    /// The engine.
    pub engine: &'e dyn Engine,
    /// What it and its schema think of a configuration.
    pub judge: Judge<'e>,
}

impl std::fmt::Debug for Available<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Available").field("engine", &self.engine.identity()).finish_non_exhaustive()
    }
}

/// Calls that are to fail.
struct Failing {
    fail: Fail,
    left: u32,
}

/// All engines of a scenario. A version is the same component under another name: what differs between versions is what a scenario says
/// of them.
pub(super) struct Engines<'e> {
    all: Vec<Available<'e>>,
    /// Every version that was named so far.
    known: Vec<EngineInForce>,
    failing: RefCell<Vec<Failing>>,
}

impl<'e> Engines<'e> {
    /// The first of them decides to begin with.
    pub(super) fn new(all: &[Available<'e>]) -> Self {
        let known = all.iter().map(|it| it.engine.identity()).collect();
        Self { all: all.to_vec(), known, failing: RefCell::default() }
    }

    fn of(&self, name: &str) -> Option<&Available<'e>> {
        self.all.iter().find(|it| it.engine.identity().name == name)
    }

    /// The engine that decides to begin with.
    pub(super) fn first(&self) -> EngineInForce {
        self.known[0].clone()
    }

    /// What judges the configuration of an engine.
    pub(super) fn judge(&self, name: &str) -> Option<Judge<'e>> {
        self.of(name).map(|it| it.judge)
    }

    /// An engine under a version; that of its component, when none is said.
    pub(super) fn version(&mut self, name: &str, version: Option<&str>) -> Option<EngineInForce> {
        let component = self.of(name)?.engine.identity();
        let engine = match version {
            Some(version) if version != component.version => {
                let digest = digest(&component.digest, version);
                EngineInForce { name: component.name, version: version.to_owned(), digest }
            }
            _ => component,
        };
        if !self.known.contains(&engine) {
            self.known.push(engine.clone());
        }
        Some(engine)
    }

    /// What a configuration gets that asks for something else than before.
    pub(super) fn newest(&self, reference: &str) -> Option<EngineInForce> {
        let reference: Reference = reference.parse().ok()?;
        let candidate = |engine: &EngineInForce| {
            let version = engine.version.parse().ok()?;
            Some(Candidate { engine: engine.clone(), version, origin: Origin::Registry, pinned: false })
        };
        let candidates: Vec<Candidate> = self.known.iter().filter_map(candidate).collect();
        newest(&reference, &candidates).map(|it| it.engine.clone())
    }

    /// From now on so many calls fail.
    pub(super) fn fail(&mut self, fail: &Fail) {
        self.failing.get_mut().push(Failing { fail: fail.clone(), left: fail.times });
    }

    /// An engine as it is called: in force, or beside.
    pub(super) fn played(&self, identity: &EngineInForce, beside: bool) -> Option<Played<'_>> {
        let engine = self.of(&identity.name)?.engine;
        Some(Played { engine, identity: identity.clone(), beside, failing: &self.failing })
    }
}

/// Something that no two versions of a component have in common, and that looks like a digest.
fn digest(component: &str, version: &str) -> String {
    let part = |nth: u64| {
        let bytes = component.bytes().chain([b'@']).chain(version.bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325 ^ nth, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    };
    (0..4).map(|nth| format!("{:016x}", part(nth))).collect()
}

/// An engine under one of its versions.
pub(super) struct Played<'e> {
    engine: &'e dyn Engine,
    identity: EngineInForce,
    beside: bool,
    failing: &'e RefCell<Vec<Failing>>,
}

impl Played<'_> {
    /// How this call is to fail, if it is. `memory`: it is handed a memory that it may refuse.
    fn fails(&self, memory: bool) -> Option<FailKind> {
        let mut failing = self.failing.borrow_mut();
        let concerns = |fail: &Fail| fail.version.as_ref().map_or(!self.beside, |version| *version == self.identity.version);
        let concerns = |it: &Failing| it.left > 0 && concerns(&it.fail) && (memory || it.fail.kind != FailKind::MemoryRefused);
        let found = failing.iter_mut().find(|it| concerns(it))?;
        found.left -= 1;
        Some(found.fail.kind)
    }

    fn fault(&self) -> Option<Fault> {
        Some(Fault::new(kind(self.fails(false)?), "so the scenario says"))
    }
}

/// The sort of fault; a memory that is refused where none is handed over is an error that the engine returns.
fn kind(kind: FailKind) -> FaultKind {
    match kind {
        FailKind::Trap => FaultKind::Trap,
        FailKind::Fuel => FaultKind::Fuel,
        FailKind::Memory => FaultKind::Memory,
        FailKind::Deadline => FaultKind::Deadline,
        FailKind::Processor => FaultKind::Processor,
        FailKind::Abandoned => FaultKind::Abandoned,
        FailKind::Output => FaultKind::Output,
        FailKind::Load => FaultKind::Load,
        FailKind::Crowded => FaultKind::Crowded,
        FailKind::Returned | FailKind::MemoryRefused => FaultKind::Returned,
    }
}

impl Engine for Played<'_> {
    fn identity(&self) -> EngineInForce {
        self.identity.clone()
    }

    fn bounds(&self) -> Bounds {
        self.engine.bounds()
    }

    fn initialize(&self, cycle: Cycle) -> Called<Vec<u8>> {
        match self.fault() {
            Some(fault) => Called { cycle, fuel: 0, result: Err(fault) },
            None => self.engine.initialize(cycle),
        }
    }

    fn reconfigure(&self, cycle: Cycle, memory: &[u8]) -> Called<Reconfigured> {
        match self.fails(true) {
            Some(FailKind::MemoryRefused) => {
                Called { cycle, fuel: 0, result: Ok(Reconfigured::MemoryRefused("so the scenario says".to_owned())) }
            }
            Some(fails) => Called { cycle, fuel: 0, result: Err(Fault::new(kind(fails), "so the scenario says")) },
            None => self.engine.reconfigure(cycle, memory),
        }
    }

    fn decide(&self, cycle: Cycle, memory: &[u8]) -> Called<Verdict> {
        match self.fault() {
            Some(fault) => Called { cycle, fuel: 0, result: Err(fault) },
            None => self.engine.decide(cycle, memory),
        }
    }

    fn retire(&self, memory: &[u8]) -> Result<(), Fault> {
        self.engine.retire(memory)
    }
}
