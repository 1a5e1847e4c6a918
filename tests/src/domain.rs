//! Domains to decide over, without a journal: their records are folded into a state at once. What goes wrong here is a panic.

use std::sync::Arc;

use pilothouse_core::config::DomainConfig;
use pilothouse_core::cycle::{Cause, Cycle, Engine, Ran};
use pilothouse_core::guard::Eyes;
use pilothouse_core::id::InstanceId;
use pilothouse_core::instance::{Health, Instance, State};
use pilothouse_core::name::Slot;
use pilothouse_core::record::{Change, Configured, Decision, Event, Judged, Judgement, Record, Reported};
use pilothouse_core::seed::Seed;
use pilothouse_core::sensor::Sensors;
use pilothouse_core::state::DomainState;
use pilothouse_core::time::Timestamp;
use pilothouse_core::{name, record};
use serde_json::{Value, json};

/// The moment at which all this happens, unless a function is told another one.
pub const NOW: Timestamp = Timestamp::from_secs(1_000_000);

/// An empty domain with this configuration of its engine.
pub fn domain(engine_conf: Value) -> DomainState {
    let key = name::DomainKey { owner: word("tester"), name: word("web") };
    let mut state = DomainState::absent(key, Slot(7));
    apply(&mut state, changed(Change::Added { config: config(engine_conf), engine: record::EngineInForce::default() }));
    state
}

/// Puts so many instances into it that run and are well, however they came there.
pub fn populate(state: &mut DomainState, count: u64) {
    for ordinal in state.next_ordinal..state.next_ordinal + count {
        let (id, launch) = (format!("i{ordinal}").parse().expect("an id"), format!("l{ordinal}").parse().expect("an id"));
        state.set(Instance {
            deployable_type: "worker".to_owned(),
            site: "local".to_owned(),
            allocation: "small".to_owned(),
            state: State::Running,
            health: Health::Ok,
            ..Instance::requesting(id, launch, ordinal, NOW, 1)
        });
    }
    state.next_ordinal += count;
}

/// Gives its engine another configuration.
pub fn reconfigure(state: &mut DomainState, engine_conf: Value) {
    apply(state, changed(Change::Reconfigured { config: config(engine_conf), engine: record::EngineInForce::default() }));
}

/// Pauses it, or lets it go on.
pub fn pause(state: &mut DomainState, paused: bool) {
    apply(state, changed(Change::Paused(paused)));
}

/// A provisioner tells that an instance is in this state.
pub fn report(state: &mut DomainState, id: &InstanceId, of: State) {
    let (id, attributes) = (id.clone(), Default::default());
    apply(state, Event::Reported(Reported { id, state: Some(of), update_counter: None, attributes, reason: None, undead: None }));
}

/// The host finds an instance to be in this health.
pub fn judge(state: &mut DomainState, id: &InstanceId, health: Health) {
    let verdict = Judgement::Health { health, well: health == Health::Ok, problems: Vec::new(), error_time: None, heartbeats: 0 };
    apply(state, Event::Judged(Judged { id: id.clone(), verdict }));
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
pub fn apply(state: &mut DomainState, event: Event) {
    apply_at(state, NOW, event);
}

/// Commits one event at this moment, or at that of the last one if that was later.
fn apply_at(state: &mut DomainState, now: Timestamp, event: Event) {
    let sequence = state.sequence + 1;
    state.apply(sequence, &Record::new(now.max(state.now), 1, vec![event]));
}

/// A cycle over it. The same state gives the same seed, and another state another one, so that no id is minted twice.
pub fn cycle(state: &DomainState) -> Cycle {
    cycle_at(state, NOW)
}

fn cycle_at(state: &DomainState, now: Timestamp) -> Cycle {
    let seed = Seed(u128::from(state.sequence).to_be_bytes());
    Cycle::begin(Arc::new(state.clone()), Arc::new(Sensors::default()), Eyes::default(), now, Cause::Pulse, seed)
}

/// Lets an engine decide.
pub fn run(state: &DomainState, engine: &impl Engine) -> Ran {
    cycle(state).run(engine)
}

/// Lets an engine decide, commits what comes of it, and tells what was decided.
pub fn decide(state: &mut DomainState, engine: &impl Engine) -> Decision {
    decide_at(state, NOW, engine)
}

/// The same at this moment.
pub fn decide_at(state: &mut DomainState, now: Timestamp, engine: &impl Engine) -> Decision {
    let finished = cycle_at(state, now).run(engine).finish(state, now);
    if let Some(event) = finished.event {
        apply_at(state, now, event.clone());
        if let Event::Faulted(fault) = event {
            panic!("the engine failed: {fault:?}");
        }
    }
    finished.said.expect("an engine that does not fail says something")
}
