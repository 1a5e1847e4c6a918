//! Domains to measure: made by the records that a real one is made by.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use pilothouse::driver::engines::Engines;
use pilothouse_core::config::DomainConfig;
use pilothouse_core::cycle::{Engine, Status};
use pilothouse_core::domain::Domain;
use pilothouse_core::id::{InstanceId, LaunchId};
use pilothouse_core::instance::{Health, State};
use pilothouse_core::name::{DomainKey, Slot};
use pilothouse_core::record::{
    Change, Configured, DecidedLaunch, Decision, EngineInForce, Event, Judged, Judgement, Prepared, Record, Reported,
};
use pilothouse_core::seed::{Seed, Stream};
use pilothouse_core::state::DomainState;
use pilothouse_core::time::Timestamp;
use pilothouse_engine_host::{LoadedEngine, Sandbox, SandboxConfig};
use serde_json::{Value, json};

/// Names the folder of the engines, where they are not in the target folder.
const ENGINES: &str = "PILOTHOUSE_ENGINES_DIR";

/// The component that most rows run: the file that the host embeds.
pub(crate) fn component() -> Result<Vec<u8>> {
    let exe = std::env::current_exe().context("finding the target folder")?;
    let named = std::env::var_os(ENGINES).map(PathBuf::from).into_iter();
    let mut folders = named.chain(exe.ancestors().map(|folder| folder.join("engines")));
    let file = folders.find_map(|folder| Some(folder.join("simplest.wasm")).filter(|file| file.is_file()));
    let file = file.context("no engines in the target folder: run `cargo xtask engines`")?;
    std::fs::read(&file).with_context(|| format!("reading {}", file.display()))
}

/// When all of it happens.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

/// A sandbox as the host makes it, and the engine in it.
pub(crate) fn simplest() -> Result<(Sandbox, LoadedEngine)> {
    let sandbox = Sandbox::new(SandboxConfig::default()).context("making a sandbox")?;
    let engine = sandbox.load(&component()?).context("loading the engine `simplest`")?;
    Ok((sandbox, engine))
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
    json!({
        "general": {
            "max_instances": 1_000_000, "launches_per_minute": 1_000_000, "terminations_per_minute": 1_000_000,
            "provisioner_vars": { "region": "eu-central-1" },
        },
        "engine_conf": { "preserve_n": preserve_n, "force_site": "local", "epuworker_type": "worker" },
    })
}

/// The key of the how-manieth domain.
pub(crate) fn key(number: usize) -> DomainKey {
    let name = |text: String| text.parse().expect("letters, digits and a dash");
    DomainKey { owner: name("default".to_owned()), name: name(format!("domain-{number}")) }
}

/// The state of the how-manieth domain, with so many instances that run and are well, as an engine left it that wants `preserve_n`.
pub(crate) fn state(number: usize, instances: usize, preserve_n: usize, engine: &EngineInForce) -> DomainState {
    let key = key(number);
    let slot = key.slot(Slot::DEFAULT_COUNT);
    let mut state = DomainState::absent(key, slot);
    for record in records(slot, number, instances, preserve_n, engine) {
        let sequence = state.sequence + 1;
        state.apply(sequence, &record);
    }
    // Nothing has changed since the engine last looked.
    let sequence = state.sequence + 1;
    let seen = Decision { based_on: state.sequence, engine: engine.clone(), status: Status::Stable, ..decision(&state, engine) };
    let seen = Record::new(NOW, state.epoch, vec![Event::Decided(Box::new(Decision { memory: Some(Vec::new()), ..seen }))]);
    state.apply(sequence, &seen);
    state
}

fn decision(state: &DomainState, engine: &EngineInForce) -> Decision {
    Decision {
        config_revision: state.config_revision,
        engine: engine.clone(),
        prepared: Some(Prepared::Initialized),
        ..Decision::default()
    }
}

/// Added, launched in heaps of a thousand, reported to run with an address, and heard.
fn records(slot: Slot, number: usize, instances: usize, preserve_n: usize, engine: &EngineInForce) -> Vec<Record> {
    let config = DomainConfig::from_json(config(preserve_n)).expect("a good configuration");
    let change = Change::Added { config, engine: engine.clone() };
    let by = "default".parse().expect("a name");
    let added = Event::Configured(Configured { by, request: None, answer: Value::Null, change });
    let mut records = vec![Record::new(NOW, 1, vec![added])];
    let mut random = Seed((number as u128).to_be_bytes()).stream(Stream::Ids);
    for first in (0..instances).step_by(1000) {
        let ids: Vec<InstanceId> = (first..instances.min(first + 1000)).map(|_| InstanceId::mint(slot, &mut random)).collect();
        let launch = DecidedLaunch {
            launch: LaunchId::mint(slot, &mut random),
            deployable_type: "worker".to_owned(),
            site: "local".to_owned(),
            allocation: "small".to_owned(),
            extra_vars: Vec::new(),
            asked: ids.len() as u32,
            instances: ids.clone(),
            refused: None,
            rulings: Vec::new(),
        };
        let decided = Decision { config_revision: 1, engine: engine.clone(), launches: vec![launch], ..Decision::default() };
        records.push(Record::new(NOW, 1, vec![Event::Decided(Box::new(decided))]));
        let runs = |id: &InstanceId| {
            Event::Reported(Reported {
                id: id.clone(),
                state: Some(State::Running),
                update_counter: Some(1),
                attributes: [("public_ip".to_owned(), "192.0.2.17".to_owned())].into(),
                reason: None,
                undead: None,
            })
        };
        records.push(Record::new(NOW, 1, ids.iter().map(runs).collect()));
        let well = |id: &InstanceId| {
            let verdict = Judgement::Health { health: Health::Ok, well: true, problems: Vec::new(), error_time: None, heartbeats: 0 };
            Event::Judged(Judged { id: id.clone(), verdict })
        };
        records.push(Record::new(NOW, 1, ids.iter().map(well).collect()));
    }
    records
}

/// The domain of such a state, as the host that has just taken it holds it.
pub(crate) fn domain(state: DomainState) -> Domain {
    let took = Domain::take(&state, &"bench".parse().expect("a name"), NOW);
    let mut state = state;
    let sequence = state.sequence + 1;
    state.apply(sequence, &took);
    Domain::taken(state, NOW)
}
