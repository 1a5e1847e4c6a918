//! Domains to decide over.

use std::sync::Arc;

use pilothouse_core::config::DomainConfig;
use pilothouse_core::cycle::{Cause, Cycle, Engine, Ran};
use pilothouse_core::guard::Eyes;
use pilothouse_core::name::Slot;
use pilothouse_core::record::{Change, Configured, Decision, Event, Record};
use pilothouse_core::seed::Seed;
use pilothouse_core::sensor::Sensors;
use pilothouse_core::state::DomainState;
use pilothouse_core::time::Timestamp;
use pilothouse_core::{name, record};
use serde_json::{Value, json};

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_000_000);

/// An empty domain with this configuration of its engine.
pub(crate) fn domain(engine_conf: Value) -> DomainState {
    let key = name::DomainKey { owner: word("tester"), name: word("web") };
    let mut state = DomainState::absent(key, Slot(7));
    apply(&mut state, changed(Change::Added { config: config(engine_conf), engine: record::EngineInForce::default() }));
    state
}

/// Gives its engine another configuration.
pub(crate) fn reconfigure(state: &mut DomainState, engine_conf: Value) {
    apply(state, changed(Change::Reconfigured { config: config(engine_conf), engine: record::EngineInForce::default() }));
}

fn word(text: &str) -> name::Name {
    text.parse().expect("a name")
}

fn config(engine_conf: Value) -> DomainConfig {
    DomainConfig::from_json(json!({"engine_conf": engine_conf})).expect("a good configuration")
}

fn changed(change: Change) -> Event {
    Event::Configured(Configured { by: word("tester"), request: None, answer: Value::Null, change })
}

/// Commits one event.
pub(crate) fn apply(state: &mut DomainState, event: Event) {
    let sequence = state.sequence + 1;
    state.apply(sequence, &Record::new(NOW, 1, vec![event]));
}

/// A cycle over it. The seed is always the same.
pub(crate) fn cycle(state: &DomainState) -> Cycle {
    Cycle::begin(Arc::new(state.clone()), Arc::new(Sensors::default()), Eyes::default(), NOW, Cause::Pulse, Seed([7; 16]))
}

/// Lets an engine decide.
pub(crate) fn run(state: &DomainState, engine: &impl Engine) -> Ran {
    cycle(state).run(engine)
}

/// Lets an engine decide, commits what comes of it, and tells what was decided.
pub(crate) fn decide(state: &mut DomainState, engine: &impl Engine) -> Decision {
    let finished = run(state, engine).finish(state, NOW);
    if let Some(event) = finished.event {
        apply(state, event.clone());
        if let Event::Faulted(fault) = event {
            panic!("the engine failed: {fault:?}");
        }
    }
    finished.said.expect("an engine that does not fail says something")
}
