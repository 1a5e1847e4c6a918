//! One decision: what a task of the host does for it, and nothing else around it.

use std::cell::Cell;
use std::sync::Arc;

use pilothouse_core::cycle::{Cause, Cycle, Engine, Finished};
use pilothouse_core::guard::Eyes;
use pilothouse_core::record::Record;
use pilothouse_core::seed::Seed;
use pilothouse_core::sensor::Sensors;
use pilothouse_core::state::DomainState;

use crate::fixture::NOW;

/// What a decision needs. Each call decides the same anew, with chance of its own.
pub(crate) struct Decide<E> {
    engine: E,
    pub(crate) state: Arc<DomainState>,
    sensors: Arc<Sensors>,
    seed: Cell<u128>,
}

impl<E: Engine> Decide<E> {
    /// Over this state and without readings.
    pub(crate) fn new(engine: E, state: DomainState) -> Self {
        Self::with(engine, Arc::new(state), Arc::default())
    }

    pub(crate) fn with(engine: E, state: Arc<DomainState>, sensors: Arc<Sensors>) -> Self {
        Self { engine, state, sensors, seed: Cell::new(0) }
    }

    pub(crate) fn begin(&self) -> Cycle {
        let seed = self.seed.get() + 1;
        self.seed.set(seed);
        let (state, sensors) = (Arc::clone(&self.state), Arc::clone(&self.sensors));
        Cycle::begin(state, sensors, Eyes::default(), NOW, Cause::Pulse, Seed(seed.to_be_bytes()))
    }

    /// The whole of it: begin, the call of the engine, finish, and the bytes for the journal if there are any.
    pub(crate) fn once(&self) -> (Finished, Option<Vec<u8>>) {
        let finished = self.begin().run(&self.engine).finish(&self.state, NOW);
        let bytes = finished.event.clone().map(|event| Record::new(NOW, self.state.epoch, vec![event]).to_bytes());
        (finished, bytes)
    }
}
