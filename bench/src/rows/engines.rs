//! The engines that ship, over few instances and many.
//!
//! Each decision is made three times: in the sandbox; bare, an empty call of the same component; and natively, by the same policy on the
//! same cycle without any wasm. What lies between the last and the first is the sandbox and the border.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use pilothouse_core::cycle::{Engine, limits};
use pilothouse_core::instance::{Health, State, Vars};
use pilothouse_core::message::Reading;
use pilothouse_core::record::{Decision, Event};
use pilothouse_core::sensor::{Scope, Sensors};
use pilothouse_core::state::DomainState;
use pilothouse_engine_host::{EngineLimits, LoadedEngine};
use pilothouse_engine_npreserving::Npreserving;
use pilothouse_engine_sensor::Sensor;
use pilothouse_engine_simplest::Simplest;
use pilothouse_native::Native;
use serde_json::{Map, Value, json};

use crate::Settings;
use crate::bare::{Bare, Bounds};
use crate::decision::Decide;
use crate::fixture::{self, Model, NOW};
use crate::measure::{Samples, Subject, by_turns, repeat};
use crate::report::{Figure, Outcome, Unit};

const SIZES: [usize; 3] = [10, 1000, 10_000];

/// How an engine is measured.
struct Subjects {
    name: &'static str,
    /// A configuration that wants so many instances, with that many labels.
    conf: fn(usize, &[String]) -> Value,
    /// So many of so many instances have variables of their own.
    labels: fn(usize) -> usize,
    /// What every instance reads when nothing is to be done, and when something is. Engines without readings act when an instance ends.
    readings: Option<(f64, f64)>,
}

const SIMPLEST: Subjects = Subjects {
    name: "simplest",
    conf: |wanted, _| json!({ "preserve_n": wanted, "force_site": "local", "epuworker_type": "worker" }),
    labels: |_| 0,
    readings: None,
};

const NPRESERVING: Subjects = Subjects {
    name: "npreserving",
    conf: |wanted, labels| {
        let unique: Map<String, Value> = labels.iter().map(|label| (label.clone(), vars_of(label).into_iter().collect())).collect();
        json!({ "preserve_n": wanted, "unique_instances": unique, "force_site": "local", "epuworker_type": "worker" })
    },
    labels: |instances| (instances / 2).min(100),
    readings: None,
};

const SENSOR: Subjects = Subjects {
    name: "sensor",
    conf: |wanted, _| {
        json!({
            "metric": "load", "scale_up_threshold": 4, "scale_up_n_vms": 2, "scale_down_threshold": 1, "scale_down_n_vms": 1,
            "minimum_vms": 1, "maximum_vms": 2 * wanted, "cooldown_period": 180, "stabilisation_window": 300, "iaas_site": "local", "deployable_type": "worker",
        })
    },
    labels: |_| 0,
    readings: Some((2.0, 5.0)),
};

pub(crate) fn simplest(settings: &Settings) -> Result<Outcome> {
    measure::<Simplest>(&SIMPLEST, settings)
}

pub(crate) fn npreserving(settings: &Settings) -> Result<Outcome> {
    measure::<Npreserving>(&NPRESERVING, settings)
}

pub(crate) fn sensor(settings: &Settings) -> Result<Outcome> {
    measure::<Sensor>(&SENSOR, settings)
}

/// For a profiler.
pub(crate) fn profile_simplest(calls: u32) -> Result<f64> {
    profile(&SIMPLEST, calls)
}

/// For a profiler.
pub(crate) fn profile_npreserving(calls: u32) -> Result<f64> {
    profile(&NPRESERVING, calls)
}

/// For a profiler.
pub(crate) fn profile_sensor(calls: u32) -> Result<f64> {
    profile(&SENSOR, calls)
}

/// A decision with nothing to do over the most instances.
fn profile(subjects: &Subjects, calls: u32) -> Result<f64> {
    let (_sandbox, engine) = fixture::engine(subjects.name)?;
    let [quiet, ..] = subjects.cases(SIZES[SIZES.len() - 1], &engine)?;
    let quiet = quiet.decide(engine);
    Ok(repeat(calls, || drop(black_box(quiet.once()))))
}

/// A moment of a domain, and what its engine makes of it.
struct Case {
    what: &'static str,
    state: Arc<DomainState>,
    sensors: Arc<Sensors>,
    /// Whether the engine asks for something.
    acts: bool,
}

impl Case {
    fn decide<E: Engine>(&self, engine: E) -> Decide<E> {
        Decide::with(engine, Arc::clone(&self.state), Arc::clone(&self.sensors))
    }
}

impl Subjects {
    fn cases(&self, instances: usize, engine: &LoadedEngine) -> Result<[Case; 3]> {
        let labels: Vec<String> = (0..(self.labels)(instances)).map(|number| format!("unique-{number:04}")).collect();
        let model = Model {
            engine: &engine.identity(),
            engine_conf: (self.conf)(instances, &labels),
            instances,
            labelled: labels.iter().map(|label| vars_of(label)).collect(),
        };
        let state = fixture::undecided(0, &model);
        let readings = |value: f64| fixture::readings(&state, "load", value);
        let (calm, busy) = match self.readings {
            Some((calm, busy)) => (readings(calm)?, Some(readings(busy)?)),
            None => (Arc::default(), None),
        };
        let state = fixture::settled(state.clone(), engine, &calm)?;
        let ids: Vec<_> = state.instances().map(|instance| instance.id.clone()).collect();
        let after = |events: Vec<Event>| {
            let mut state = state.clone();
            fixture::apply(&mut state, events);
            Arc::new(state)
        };
        let oldest = ids.first().context("a domain without instances")?;
        let acting = match busy {
            Some(busy) => Case { what: "above its threshold", state: Arc::new(state.clone()), sensors: busy, acts: true },
            None => Case {
                what: "one has ended",
                state: after(vec![fixture::reported(oldest, State::Terminated)]),
                sensors: Arc::clone(&calm),
                acts: true,
            },
        };
        let ill = after(ids.iter().map(|id| fixture::judged(id, Health::Missing)).collect());
        Ok([
            Case { what: "nothing to do", state: Arc::new(state), sensors: Arc::clone(&calm), acts: false },
            acting,
            Case { what: "all are ill", state: ill, sensors: calm, acts: true },
        ])
    }
}

/// The variables of an instance that is one of its kind.
fn vars_of(label: &str) -> Vars {
    vec![("name".to_owned(), label.to_owned()), ("port".to_owned(), "5432".to_owned())]
}

fn measure<E: pilothouse_engine::Engine>(subjects: &Subjects, settings: &Settings) -> Result<Outcome> {
    let (_sandbox, engine) = fixture::engine(subjects.name)?;
    let component = fixture::component(subjects.name)?;
    let bare = Bare::engine(&component, Bounds::None).map_err(|error| anyhow!("making a reference: {error:#}"))?;
    let mut figures = Vec::new();
    for instances in SIZES {
        let cases = subjects.cases(instances, &engine)?;
        let sandboxed: Vec<_> = cases.iter().map(|case| case.decide(engine.clone())).collect();
        let natively: Vec<_> = cases.iter().map(|case| case.decide(Native::<E>::in_place_of(engine.identity()))).collect();
        let mut measured: Vec<Subject<'_>> = vec![Box::new(|| bare.call().expect("the reference runs"))];
        let mut said = Vec::new();
        for ((case, sandboxed), natively) in cases.iter().zip(&sandboxed).zip(&natively) {
            let decision = the_same_of_both(sandboxed, natively)?;
            let asked = !decision.launches.is_empty() || !decision.terminations.is_empty();
            ensure!(asked == case.acts, "{instances} instances, {}: {decision:?}", case.what);
            said.push(decision);
            measured.push(Box::new(|| drop(black_box(sandboxed.once()))));
            measured.push(Box::new(|| drop(black_box(natively.once()))));
        }
        if subjects.readings.is_some() {
            measured.push(Box::new(|| drop(black_box(meanwhile(&cases[0])))));
        }
        let samples = by_turns(settings.effort(), measured);
        for (place, (case, decision)) in cases.iter().zip(&said).enumerate() {
            let (sandboxed, natively) = (&samples[1 + 2 * place], &samples[2 + 2 * place]);
            let time = Figure::new(format!("{instances} instances, {}", case.what), Unit::Seconds, sandboxed);
            figures.push(time.beside("bare empty call", sandboxed, &samples[0]).beside("natively", sandboxed, natively));
            figures.push(of_the_most("  fuel", Unit::Fuel, decision.fuel, EngineLimits::default().fuel));
        }
        if let Some(reading) = samples.get(1 + 2 * cases.len()) {
            figures.push(Figure::new(format!("{instances} instances, a reading while it decides"), Unit::Seconds, reading));
        }
        let remembered = said.iter().zip(&cases).map(|(decision, case)| decision.memory.as_ref().or(case.state.memory.as_ref()));
        let longest = remembered.map(|memory| memory.map_or(0, Vec::len)).max().unwrap_or(0);
        figures.push(of_the_most("  memory, the largest of these", Unit::Bytes, longest as u64, limits::MEMORY_BYTES as u64));
    }
    let mut notes = vec![
        "bare: an empty call of the same component, nothing bounded; natively: the same policy on the same cycle, without wasm".to_owned(),
        "all are ill: every instance was just found missing, so all of them cross the border, and the brake holds nearly all".to_owned(),
    ];
    if (subjects.labels)(SIZES[2]) > 0 {
        let labels = SIZES.map(|size| (subjects.labels)(size).to_string());
        notes.push(format!("instances with labels: {}", labels.join(", ")));
    }
    Ok(Outcome { figures, notes })
}

/// The first reading that comes in while a decision has the readings as they were.
fn meanwhile(case: &Case) -> Sensors {
    let mut sensors = Sensors::clone(&case.sensors);
    let newest = case.state.instances().last().map(|instance| Scope::Instance(instance.id.clone()));
    let reading = Reading { metric: "load".to_owned(), time: NOW, value: 2.0 };
    sensors.take(newest.unwrap_or(Scope::Domain), reading).expect("as many series as before");
    sensors
}

/// What an engine decides, having made sure that it is the same in the sandbox and out of it.
fn the_same_of_both(sandboxed: &Decide<impl Engine>, natively: &Decide<impl Engine>) -> Result<Decision> {
    let said =
        |finished: pilothouse_core::cycle::Finished| finished.said.with_context(|| format!("the engine failed: {:?}", finished.event));
    let (inside, outside) = (said(sandboxed.once().0)?, said(natively.once().0)?);
    ensure!(Decision { fuel: 0, ..inside.clone() } == outside, "in the sandbox: {inside:?}\nnatively: {outside:?}");
    Ok(inside)
}

fn of_the_most(what: &str, unit: Unit, value: u64, most: u64) -> Figure {
    let (value, most) = (Samples::of([value as f64]), Samples::of([most as f64]));
    Figure::new(what, unit, &value).beside("the limit", &value, &most)
}
