//! Domains to measure: made by the records that a real one is made by.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use pilothouse::driver::engines::Engines;
use pilothouse_core::config::DomainConfig;
use pilothouse_core::cycle::{Cause, Cycle, Engine, Status};
use pilothouse_core::domain::Domain;
use pilothouse_core::guard::Eyes;
use pilothouse_core::id::{InstanceId, LaunchId};
use pilothouse_core::instance::{Health, State, Vars};
use pilothouse_core::message::Reading;
use pilothouse_core::name::{DomainKey, Slot};
use pilothouse_core::record::{
    Change, Configured, DecidedLaunch, Decision, EngineInForce, Event, Judged, Judgement, Prepared, Record, Reported,
};
use pilothouse_core::seed::{Seed, Stream};
use pilothouse_core::sensor::{Scope, Sensors};
use pilothouse_core::state::DomainState;
use pilothouse_core::time::{Millis, Timestamp};
use pilothouse_engine_host::{LoadedEngine, Sandbox, SandboxConfig};
use serde_json::{Value, json};

/// Names the folder of the engines, where they are not in the target folder.
const ENGINES: &str = "PILOTHOUSE_ENGINES_DIR";

/// The component of an engine that ships: the file that the host embeds.
pub(crate) fn component(name: &str) -> Result<Vec<u8>> {
    let exe = std::env::current_exe().context("finding the target folder")?;
    let named = std::env::var_os(ENGINES).map(PathBuf::from).into_iter();
    let mut folders = named.chain(exe.ancestors().map(|folder| folder.join("engines")));
    let file = folders.find_map(|folder| Some(folder.join(format!("{name}.wasm"))).filter(|file| file.is_file()));
    let file = file.context("no engines in the target folder: run `cargo xtask engines`")?;
    std::fs::read(&file).with_context(|| format!("reading {}", file.display()))
}

/// When all of it happens.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

/// A sandbox as the host makes it, and an engine in it.
pub(crate) fn engine(name: &str) -> Result<(Sandbox, LoadedEngine)> {
    let sandbox = Sandbox::new(SandboxConfig::default()).context("making a sandbox")?;
    let engine = sandbox.load(&component(name)?).with_context(|| format!("loading the engine `{name}`"))?;
    Ok((sandbox, engine))
}

/// The engine that most rows run.
pub(crate) fn simplest() -> Result<(Sandbox, LoadedEngine)> {
    engine("simplest")
}

/// The same engine as the host under test has it in its program, which may be older than the file.
pub(crate) fn embedded() -> Result<EngineInForce> {
    let sandbox = Sandbox::new(SandboxConfig::default()).context("making a sandbox")?;
    let engines = Engines::embedded(sandbox).context("loading the embedded engines")?;
    match engines.resolve("simplest") {
        Ok(engine) => Ok(engine.identity()),
        Err(error) => bail!("finding the engine `simplest`: {error}"),
    }
}

/// A configuration of `simplest` that lets a domain of any size be launched at once.
pub(crate) fn config(preserve_n: usize) -> Value {
    whole_config(simplest_conf(preserve_n))
}

fn simplest_conf(preserve_n: usize) -> Value {
    json!({ "preserve_n": preserve_n, "force_site": "local", "epuworker_type": "worker" })
}

fn whole_config(engine_conf: Value) -> Value {
    json!({
        "general": {
            "max_instances": 1_000_000, "launches_per_minute": 1_000_000, "terminations_per_minute": 1_000_000,
            "provisioner_vars": { "region": "eu-central-1" },
        },
        "engine_conf": engine_conf,
    })
}

/// What a domain is like: its instances run and are well.
#[derive(Clone, Debug)]
pub(crate) struct Model<'e> {
    pub(crate) engine: &'e EngineInForce,
    pub(crate) engine_conf: Value,
    pub(crate) instances: usize,
    /// Variables that the first instances were launched with, one after the other.
    pub(crate) labelled: Vec<Vars>,
}

impl<'e> Model<'e> {
    fn of_simplest(instances: usize, preserve_n: usize, engine: &'e EngineInForce) -> Self {
        Self { engine, engine_conf: simplest_conf(preserve_n), instances, labelled: Vec::new() }
    }
}

/// The key of the how-manieth domain.
pub(crate) fn key(number: usize) -> DomainKey {
    let name = |text: String| text.parse().expect("letters, digits and a dash");
    DomainKey { owner: name("default".to_owned()), name: name(format!("domain-{number}")) }
}

/// The state of the how-manieth domain, with so many instances that run and are well, as an engine left it that wants `preserve_n`.
pub(crate) fn state(number: usize, instances: usize, preserve_n: usize, engine: &EngineInForce) -> DomainState {
    let mut state = undecided(number, &Model::of_simplest(instances, preserve_n, engine));
    // Nothing has changed since the engine last looked.
    let seen = Decision {
        based_on: state.sequence,
        config_revision: state.config_revision,
        engine: engine.clone(),
        prepared: Some(Prepared::Initialized),
        status: Status::Stable,
        memory: Some(Vec::new()),
        ..Decision::default()
    };
    apply(&mut state, vec![Event::Decided(Box::new(seen))]);
    state
}

/// The state of the how-manieth domain, which no engine has looked at yet.
pub(crate) fn undecided(number: usize, model: &Model<'_>) -> DomainState {
    let key = key(number);
    let slot = key.slot(Slot::DEFAULT_COUNT);
    let mut state = DomainState::absent(key, slot);
    for events in history(slot, number, model) {
        apply(&mut state, events);
    }
    state
}

/// The same when its engine has looked, and has nothing to do and nothing new to say.
pub(crate) fn settled(mut state: DomainState, engine: &impl Engine, sensors: &Arc<Sensors>) -> Result<DomainState> {
    for round in 0..3_u128 {
        let seen = Arc::new(state.clone());
        let cycle = Cycle::begin(seen, Arc::clone(sensors), Eyes::default(), NOW, Cause::Pulse, Seed(round.to_be_bytes()));
        let finished = cycle.run(engine).finish(&state, NOW);
        let Some(event) = finished.event else { return Ok(state) };
        let idle = matches!(&event, Event::Decided(decision) if decision.launches.is_empty() && decision.terminations.is_empty());
        ensure!(idle, "the engine has something to do in a domain that is as it should be: {event:?}");
        apply(&mut state, vec![event]);
    }
    bail!("the engine says something new each time it is asked")
}

/// The next record of a domain.
pub(crate) fn apply(state: &mut DomainState, events: Vec<Event>) {
    let record = Record::new(NOW, state.epoch.max(1), events);
    state.apply(state.sequence + 1, &record);
}

/// Added, launched in heaps of a thousand, reported to run with an address, and heard.
fn history(slot: Slot, number: usize, model: &Model<'_>) -> Vec<Vec<Event>> {
    let config = DomainConfig::from_json(whole_config(model.engine_conf.clone())).expect("a good configuration");
    let change = Change::Added { config, engine: model.engine.clone() };
    let by = "default".parse().expect("a name");
    let mut records = vec![vec![Event::Configured(Configured { by, request: None, answer: Value::Null, change })]];
    let mut random = Seed((number as u128).to_be_bytes()).stream(Stream::Ids);
    let heaps = (model.labelled.len()..model.instances).step_by(1000);
    let heaps = heaps.map(|first| (Vec::new(), (model.instances - first).min(1000)));
    for (extra_vars, size) in model.labelled.iter().map(|vars| (vars.clone(), 1)).chain(heaps) {
        let ids: Vec<InstanceId> = (0..size).map(|_| InstanceId::mint(slot, &mut random)).collect();
        let launch = DecidedLaunch {
            launch: LaunchId::mint(slot, &mut random),
            deployable_type: "worker".to_owned(),
            site: "local".to_owned(),
            allocation: "small".to_owned(),
            extra_vars,
            replaces: None,
            asked: ids.len() as u32,
            instances: ids.clone(),
            refused: None,
            rulings: Vec::new(),
        };
        let decided = Decision { config_revision: 1, engine: model.engine.clone(), launches: vec![launch], ..Decision::default() };
        records.push(vec![Event::Decided(Box::new(decided))]);
        records.push(ids.iter().map(|id| reported(id, State::Running)).collect());
        records.push(ids.iter().map(|id| judged(id, Health::Ok)).collect());
    }
    records
}

/// What a provisioner says of an instance.
pub(crate) fn reported(id: &InstanceId, state: State) -> Event {
    Event::Reported(Reported {
        id: id.clone(),
        state: Some(state),
        update_counter: Some(1),
        attributes: [("public_ip".to_owned(), "192.0.2.17".to_owned())].into(),
        reason: None,
        undead: None,
    })
}

/// What the host holds of the health of an instance.
pub(crate) fn judged(id: &InstanceId, health: Health) -> Event {
    let verdict = Judgement::Health { health, well: health == Health::Ok, problems: Vec::new(), error_time: None, heartbeats: 0 };
    Event::Judged(Judged { id: id.clone(), verdict })
}

/// Three readings of every instance, half a minute apart, all of one value.
pub(crate) fn readings(state: &DomainState, metric: &str, value: f64) -> Result<Arc<Sensors>> {
    let mut sensors = Sensors::default();
    for instance in state.instances() {
        for age in [80, 50, 20] {
            let time = Timestamp::from_millis(NOW.as_millis() - Millis::from_secs(age).get());
            let reading = Reading { metric: metric.to_owned(), time, value };
            sensors.take(Scope::Instance(instance.id.clone()), reading).context("taking readings")?;
        }
    }
    Ok(Arc::new(sensors))
}

/// The domain of such a state, as the host that has just taken it holds it.
pub(crate) fn domain(state: DomainState) -> Domain {
    let took = Domain::take(&state, &"bench".parse().expect("a name"), NOW);
    let mut state = state;
    let sequence = state.sequence + 1;
    state.apply(sequence, &took);
    Domain::taken(state, NOW)
}
