//! Domains to decide over: the core's own state, with instances in every state and health, and readings of whatever an engine may ask for.

use std::sync::Arc;

use pilothouse_core::config::DomainConfig;
use pilothouse_core::cycle::{Cause, Cycle, Engine as _};
use pilothouse_core::guard::Eyes;
use pilothouse_core::id::{InstanceId, LaunchId};
use pilothouse_core::instance::{Health, Instance, State};
use pilothouse_core::message::Reading;
use pilothouse_core::name::{DomainKey, Name, Slot};
use pilothouse_core::problem::Problem;
use pilothouse_core::record::{Change, Configured, EngineInForce, Event, Record};
use pilothouse_core::seed::{Random, Seed, Stream};
use pilothouse_core::sensor::{Scope, Sensors};
use pilothouse_core::state::DomainState;
use pilothouse_core::time::{Millis, Timestamp};
use pilothouse_engine_host::LoadedEngine;
use serde_json::{Map, Value};

/// The moment of the first decision. Any would do; a round one is easy to recognise in what an engine logs.
pub(super) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
/// The slot of the domain.
const SLOT: Slot = Slot(7);
/// Of all chance. The same for every engine: a failure can be looked at again.
const SEED: Seed = Seed(*b"conformance kit.");
/// Instances of one launch.
const LAUNCH: usize = 3;
/// Readings of each series, a minute apart.
const READINGS: u64 = 5;

/// States and healths that an instance can be in, in turns. Half of them are running and well, as in most domains.
const MIXED: [(State, Health); 24] = [
    (State::Running, Health::Ok),
    (State::Running, Health::Missing),
    (State::Running, Health::Ok),
    (State::Requesting, Health::Unknown),
    (State::Running, Health::Ok),
    (State::Running, Health::ProcessError),
    (State::Running, Health::Ok),
    (State::Terminated, Health::Unknown),
    (State::Running, Health::Ok),
    (State::RunningFailed, Health::Unknown),
    (State::Running, Health::Ok),
    (State::Pending, Health::Unknown),
    (State::Running, Health::Ok),
    (State::Terminating, Health::Unknown),
    (State::Running, Health::Ok),
    (State::Running, Health::OutOfContact),
    (State::Running, Health::Ok),
    (State::Failed, Health::Unknown),
    (State::Running, Health::MonitorError),
    (State::Requested, Health::Unknown),
    (State::Terminated, Health::Zombie),
    (State::Started, Health::Ok),
    (State::ErrorRetrying, Health::Unknown),
    (State::Rejected, Health::Unknown),
];

/// A domain in the making.
#[derive(Clone, Debug)]
pub(super) struct Bench {
    pub(super) state: DomainState,
    pub(super) sensors: Arc<Sensors>,
    pub(super) eyes: Eyes,
    pub(super) cause: Cause,
    pub(super) now: Timestamp,
}

impl Bench {
    /// A domain with no instances, whose engine is configured so.
    pub(super) fn empty(engine_conf: &Map<String, Value>) -> Self {
        let key = DomainKey { owner: name("tester"), name: name("conformance") };
        let mut bench =
            Self { state: DomainState::absent(key, SLOT), sensors: Arc::default(), eyes: Eyes::default(), cause: Cause::Pulse, now: NOW };
        // Wide enough that nothing but what a case is about holds an engine back.
        let mut config = DomainConfig { engine_conf: engine_conf.clone(), ..DomainConfig::default() };
        config.general.max_instances = 100_000;
        config.general.launches_per_minute = 100_000;
        config.general.terminations_per_minute = 100_000;
        config.general.brake.enabled = false;
        bench.configured(Change::Added { config, engine: EngineInForce::default() });
        bench
    }

    /// With so many instances, in mixed states and healths.
    pub(super) fn with_instances(mut self, count: usize) -> Self {
        let mut random = SEED.stream(Stream::Ids);
        let mut launch = LaunchId::mint(SLOT, &mut random);
        for n in 0..count {
            if n % LAUNCH == 0 {
                launch = LaunchId::mint(SLOT, &mut random);
            }
            let instance = instance(n, &launch, &mut random);
            if n % 4 == 0 {
                self.state.changed.insert(instance.ordinal, self.state.sequence);
            }
            self.state.set(instance);
        }
        self
    }

    /// With readings of these series, for the domain and for every second instance.
    pub(super) fn with_readings(mut self, metrics: &[String]) -> Self {
        let mut sensors = Sensors::default();
        let of_instances = self.state.instances().step_by(2).map(|instance| Scope::Instance(instance.id.clone()));
        for (n, scope) in std::iter::once(Scope::Domain).chain(of_instances).enumerate() {
            for metric in metrics {
                for minute in 0..READINGS {
                    let value = ((n * 37 + minute as usize * 11) % 100) as f64;
                    let time = self.now - Millis::from_secs(60 * (READINGS - 1 - minute));
                    // More series than are kept are not kept: an engine has to do with what there is.
                    let _ = sensors.take(scope.clone(), Reading { metric: metric.clone(), time, value });
                }
            }
        }
        self.sensors = Arc::new(sensors);
        self
    }

    /// With a memory that the engine is taken to have returned.
    pub(super) fn with_memory(mut self, engine: &LoadedEngine, memory: Vec<u8>) -> Self {
        self.state.memory = Some(memory);
        self.state.memory_of = engine.identity();
        self.state.applied_revision = self.state.config_revision;
        self
    }

    /// Changed in any way.
    pub(super) fn but(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Gives it its configuration once more, as if somebody had changed it.
    pub(super) fn reconfigured(mut self) -> Self {
        let config = self.state.config.clone();
        self.configured(Change::Reconfigured { config, engine: EngineInForce::default() });
        self.cause = Cause::Configured;
        self
    }

    /// A cycle over it. All chance in it follows from `n`.
    pub(super) fn cycle(&self, n: u64) -> Cycle {
        let mut seed = SEED;
        seed.0[..8].copy_from_slice(&n.to_be_bytes());
        Cycle::begin(Arc::new(self.state.clone()), Arc::clone(&self.sensors), self.eyes.clone(), self.now, self.cause, seed)
    }

    /// Commits events.
    pub(super) fn apply(&mut self, events: Vec<Event>) {
        let sequence = self.state.sequence + 1;
        self.state.apply(sequence, &Record::new(self.now, 1, events));
    }

    fn configured(&mut self, change: Change) {
        let configured = Configured { by: name("tester"), request: None, answer: Value::Null, change };
        self.apply(vec![Event::Configured(configured)]);
    }
}

fn instance(n: usize, launch: &LaunchId, random: &mut Random) -> Instance {
    let (state, health) = MIXED[n % MIXED.len()];
    // Spread over the last hours, oldest launch first.
    let since = NOW - Millis::from_secs(20_000_u64.saturating_sub(n as u64));
    let mut instance = Instance {
        deployable_type: "worker".to_owned(),
        site: if n.is_multiple_of(2) { "east" } else { "west" }.to_owned(),
        allocation: "small".to_owned(),
        extra_vars: if n.is_multiple_of(5) { vec![("label".to_owned(), format!("n{n}"))] } else { Vec::new() },
        state,
        health,
        attributes: [("hostname".to_owned(), format!("host-{n}"))].into_iter().collect(),
        undead: health == Health::Zombie,
        ..Instance::requesting(InstanceId::mint(SLOT, random), launch.clone(), n as u64, since, 1)
    };
    if matches!(health, Health::ProcessError | Health::MonitorError) {
        instance.errors.merge(vec![Problem::Text("the process \"main\" ended with code 1".to_owned())], Some(since));
    }
    instance
}

/// A name that is known to be one.
fn name(text: &str) -> Name {
    text.parse().expect("a literal that is a name")
}
