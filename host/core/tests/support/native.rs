//! Engines made of closures.

use pilothouse_core::cycle::{Called, Cycle, Engine, Fault, FaultKind, LaunchRequest, Reconfigured, Status, Verdict};
use pilothouse_core::record::EngineInForce;

type Initialize<'f> = Box<dyn Fn(&mut Cycle) -> Result<Vec<u8>, Fault> + 'f>;
type Reconfigure<'f> = Box<dyn Fn(&mut Cycle, &[u8]) -> Result<Reconfigured, Fault> + 'f>;
type Decide<'f> = Box<dyn Fn(&mut Cycle, &[u8]) -> Result<Verdict, Fault> + 'f>;

/// An engine that is a few closures. Unless told otherwise it starts with an empty memory and offers no reconfiguration.
pub(crate) struct Native<'f> {
    pub(crate) identity: EngineInForce,
    initialize: Initialize<'f>,
    reconfigure: Reconfigure<'f>,
    decide: Decide<'f>,
}

impl<'f> Native<'f> {
    pub(crate) fn new(decide: impl Fn(&mut Cycle, &[u8]) -> Result<Verdict, Fault> + 'f) -> Self {
        Self {
            identity: engine("native", "1.0.0"),
            initialize: Box::new(|_| Ok(Vec::new())),
            reconfigure: Box::new(|_, _| Ok(Reconfigured::NotSupported)),
            decide: Box::new(decide),
        }
    }

    /// Decides nothing, is content, and keeps its memory.
    pub(crate) fn idle() -> Self {
        Self::new(|_, memory| Ok(verdict(memory)))
    }

    /// Traps in every decision.
    pub(crate) fn trapping() -> Self {
        Self::failing(FaultKind::Trap)
    }

    /// Fails in every decision.
    pub(crate) fn failing(kind: FaultKind) -> Self {
        Self::new(move |_, _| Err(Fault::new(kind, "unreachable executed")))
    }

    pub(crate) fn initializing(self, initialize: impl Fn(&mut Cycle) -> Result<Vec<u8>, Fault> + 'f) -> Self {
        Self { initialize: Box::new(initialize), ..self }
    }

    pub(crate) fn reconfiguring(self, reconfigure: impl Fn(&mut Cycle, &[u8]) -> Result<Reconfigured, Fault> + 'f) -> Self {
        Self { reconfigure: Box::new(reconfigure), ..self }
    }

    pub(crate) fn named(self, name: &str) -> Self {
        let identity = engine(name, &self.identity.version);
        Self { identity, ..self }
    }

    /// The same as another version.
    pub(crate) fn version(self, version: &str) -> Self {
        let identity = engine(&self.identity.name, version);
        Self { identity, ..self }
    }

    /// The same under the name of this one.
    pub(crate) fn in_place_of(self, identity: &EngineInForce) -> Self {
        Self { identity: identity.clone(), ..self }
    }
}

/// A version of an engine. Each has a digest of its own.
pub(crate) fn engine(name: &str, version: &str) -> EngineInForce {
    let digest = if (name, version) == ("native", "1.0.0") { "00".to_owned() } else { format!("{name}-{version}") };
    EngineInForce { name: name.to_owned(), version: version.to_owned(), digest }
}

impl Engine for Native<'_> {
    fn identity(&self) -> EngineInForce {
        self.identity.clone()
    }

    fn initialize(&self, mut cycle: Cycle) -> Called<Vec<u8>> {
        let result = (self.initialize)(&mut cycle);
        Called { cycle, fuel: 1, result }
    }

    fn reconfigure(&self, mut cycle: Cycle, memory: &[u8]) -> Called<Reconfigured> {
        let result = (self.reconfigure)(&mut cycle, memory);
        Called { cycle, fuel: 10, result }
    }

    fn decide(&self, mut cycle: Cycle, memory: &[u8]) -> Called<Verdict> {
        let result = (self.decide)(&mut cycle, memory);
        Called { cycle, fuel: 100, result }
    }
}

/// All is well, and this is to be remembered.
pub(crate) fn verdict(memory: &[u8]) -> Verdict {
    Verdict { memory: memory.to_vec(), status: Status::Stable, reason: "as it should be".to_owned(), figures: Vec::new(), wake: None }
}

/// So many workers at a site.
pub(crate) fn launch(site: &str, count: u32) -> LaunchRequest {
    LaunchRequest {
        deployable_type: "worker".to_owned(),
        site: site.to_owned(),
        allocation: "small".to_owned(),
        count,
        extra_vars: Vec::new(),
        replaces: None,
        options: Vec::new(),
    }
}
