//! What is different from engine to engine: how it is configured, what is unique, and when all is as wanted.

use std::collections::BTreeMap;

use pilothouse_core::cycle::Status;
use pilothouse_core::instance::{Health, Instance, State};
use pilothouse_core::record::EngineInForce;
use pilothouse_core::state::DomainState;
use pilothouse_core::time::Timestamp;
use pilothouse_engine_npreserving::Npreserving;
use pilothouse_engine_sensor::Sensor;
use pilothouse_engine_simplest::Simplest;
use pilothouse_sim::swarm::{Dice, Failure};
use pilothouse_tests::native::Native;
use serde_json::{Map, Value, json};

use crate::account::{Decided, unkept};
use crate::edges::Edges;
use crate::size::Size;

/// What is reckoned for one engine alone.
pub(crate) trait Own: Default {
    /// The engine was asked.
    ///
    /// # Errors
    /// The promise that its answer breaks.
    fn decided(&mut self, decided: &Decided<'_>, edges: &mut Edges) -> Result<(), Failure>;

    /// The end of a cooldown.
    fn rests_until(&self) -> Option<Timestamp> {
        None
    }
}

/// An engine that ships.
pub(crate) trait Kind {
    /// Its name.
    const NAME: &'static str;
    /// How many lives are played: seconds in a build that is not optimised.
    const LIVES: u64;
    /// The boundaries that lives must reach.
    const EDGES: &'static [&'static str];
    /// The engine.
    type Engine: pilothouse_engine::Engine;
    /// What is reckoned for it alone.
    type Own: Own;

    /// The engine, without a component.
    fn engine() -> Native<Self::Engine> {
        Native::in_place_of(EngineInForce { name: Self::NAME.to_owned(), version: "1.0.0".to_owned(), digest: "0".repeat(64) })
    }

    /// A good configuration.
    fn conf(dice: &mut Dice) -> Map<String, Value>;

    /// One that contradicts itself.
    fn bad_conf(dice: &mut Dice) -> Map<String, Value>;

    /// Whether a configuration may be in force.
    fn is_good(conf: &Map<String, Value>) -> bool;

    /// The number that launches may not lead above.
    fn most(conf: &Map<String, Value>) -> u32;

    /// What no other instance may be, if this one is unique.
    fn identity(_: &Instance) -> Option<String> {
        None
    }

    /// Whether the engine leaves this one where it is although there are too many.
    fn spares(_: &Instance) -> bool {
        false
    }

    /// Whether the engine is told to leave alone whoever it would end.
    fn leaves_alone(_: &Map<String, Value>) -> bool {
        false
    }

    /// What is configured when everything is to work again.
    fn at_work() -> Map<String, Value> {
        Map::new()
    }

    /// Whether all is as wanted.
    fn is_settled(state: &DomainState, own: &Self::Own) -> bool;
}

/// A value of a configuration that is a number, or one in a string.
pub(crate) fn number(conf: &Map<String, Value>, key: &str) -> Option<f64> {
    let value = conf.get(key)?;
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// So many run, all of them well, and the engine says so.
fn rests_at(state: &DomainState, count: u32) -> bool {
    let (counts, well) = (state.counts(), |it: &&std::sync::Arc<Instance>| it.state == State::Running && it.health == Health::Ok);
    let is_well = state.instances().filter(well).count() == count as usize || !state.config.health.monitor_health;
    counts.valid == count && counts.running == count && is_well && state.decision.status == Status::Stable
}

/// Small numbers, and often none.
fn a_number(dice: &mut Dice) -> u64 {
    dice.pick(&[0, 0, 1, 2, 3, 3, 4, 5])
}

/// As a number or in a string: both are good.
fn written(dice: &mut Dice, count: u64) -> Value {
    if dice.percent(80) { json!(count) } else { json!(count.to_string()) }
}

fn section(conf: Value) -> Map<String, Value> {
    conf.as_object().cloned().expect("an object")
}

fn victims(dice: &mut Dice, conf: &mut Map<String, Value>) {
    if dice.percent(30) {
        conf.insert("victims".to_owned(), json!("random"));
    }
}

/// Nothing is reckoned for it alone.
#[derive(Debug, Default)]
pub(crate) struct Nothing;

impl Own for Nothing {
    fn decided(&mut self, _: &Decided<'_>, _: &mut Edges) -> Result<(), Failure> {
        Ok(())
    }
}

/// The engine `simplest`.
pub(crate) struct OfSimplest;

impl Kind for OfSimplest {
    const NAME: &'static str = "simplest";
    const LIVES: u64 = 60;
    const EDGES: &'static [&'static str] = &[
        "N or maximum = 0",
        "no instances",
        "all unhealthy",
        "a configuration that contradicts itself is refused",
        "a victim recovers while the engine decides",
        "a victim is protected while the engine decides",
        "a victim is held back",
        "a restart while an engine decides",
    ];
    type Engine = Simplest;
    type Own = Nothing;

    fn conf(dice: &mut Dice) -> Map<String, Value> {
        let count = a_number(dice);
        let mut conf = section(json!({ "preserve_n": written(dice, count) }));
        if dice.percent(20) {
            conf.insert("force_site".to_owned(), json!(dice.pick(&["here", "there"])));
        }
        victims(dice, &mut conf);
        conf
    }

    fn bad_conf(dice: &mut Dice) -> Map<String, Value> {
        section(json!({ "preserve_n": dice.pick::<fn() -> Value>(&[|| json!(-1), || json!(1.5), || json!("many"), || json!("-1")])() }))
    }

    fn is_good(conf: &Map<String, Value>) -> bool {
        number(conf, "preserve_n").is_some_and(|count| count >= 0.0 && count.fract() == 0.0)
    }

    fn most(conf: &Map<String, Value>) -> u32 {
        number(conf, "preserve_n").unwrap_or_default() as u32
    }

    fn is_settled(state: &DomainState, _: &Nothing) -> bool {
        rests_at(state, Self::most(&state.engine_conf()))
    }
}

/// The engine `npreserving`.
pub(crate) struct OfNpreserving;

/// The variable that says which label an instance was launched for.
const LABEL: &str = "label";

/// The labels of a configuration.
fn labels(conf: &Map<String, Value>) -> Vec<&String> {
    conf.get("unique_instances").and_then(Value::as_object).into_iter().flat_map(|all| all.keys()).collect()
}

impl Kind for OfNpreserving {
    const NAME: &'static str = "npreserving";
    const LIVES: u64 = 100;
    const EDGES: &'static [&'static str] = &[
        "N or maximum = 0",
        "no instances",
        "all unhealthy",
        "as many labels as instances",
        "unhealthy ones that devmode leaves alone",
        "a configuration that contradicts itself is refused",
        "a victim recovers while the engine decides",
        "a victim is protected while the engine decides",
        "a victim is held back",
        "a launch in the place of another",
        "a launch falls with the end of whom it replaces",
        "a restart while an engine decides",
    ];
    type Engine = Npreserving;
    type Own = Labels;

    fn conf(dice: &mut Dice) -> Map<String, Value> {
        let count = a_number(dice);
        let all = ["primary", "second", "third", "witness"];
        // Often exactly as many as there may be.
        let most = count.min(all.len() as u64);
        let held = if dice.percent(40) { most } else { dice.below(most + 1) };
        let first = dice.below(all.len() as u64);
        let labels = (0..held).map(|nth| all[((first + nth) % all.len() as u64) as usize]);
        let mut unique: BTreeMap<&str, Value> =
            labels.map(|label| (label, json!({ LABEL: label, "port": dice.pick(&["1", "2"]) }))).collect();
        // At times a label has another name, and is the same instance all the same.
        if unique.remove("primary").is_some() {
            unique.insert(dice.pick(&["primary", "leader"]), json!({ LABEL: "primary" }));
        }
        let devmode = dice.percent(15);
        let mut conf =
            section(json!({ "preserve_n": written(dice, count), "unique_instances": unique, "devmode_no_failure_compensation": devmode }));
        victims(dice, &mut conf);
        conf
    }

    fn bad_conf(dice: &mut Dice) -> Map<String, Value> {
        let unique = json!({ "primary": { LABEL: "primary" }, "second": { LABEL: "second" } });
        let count = dice.pick::<fn() -> Value>(&[|| json!(0), || json!(1), || json!("1"), || json!(-1), || json!(2.5)])();
        section(json!({ "preserve_n": count, "unique_instances": unique }))
    }

    fn is_good(conf: &Map<String, Value>) -> bool {
        let count = number(conf, "preserve_n").unwrap_or_default();
        count >= 0.0 && count.fract() == 0.0 && labels(conf).len() as f64 <= count
    }

    fn most(conf: &Map<String, Value>) -> u32 {
        number(conf, "preserve_n").unwrap_or_default() as u32
    }

    fn leaves_alone(conf: &Map<String, Value>) -> bool {
        conf.get("devmode_no_failure_compensation") == Some(&json!(true))
    }

    fn at_work() -> Map<String, Value> {
        section(json!({ "devmode_no_failure_compensation": false }))
    }

    fn identity(instance: &Instance) -> Option<String> {
        instance.extra_vars.iter().find(|(name, _)| name == LABEL).map(|(_, value)| value.clone())
    }

    fn spares(instance: &Instance) -> bool {
        // A label that comes needs a place, and an operator may keep whoever should make room.
        instance.protected
    }

    fn is_settled(state: &DomainState, _: &Labels) -> bool {
        let conf = state.engine_conf();
        let held = |label: &&String| {
            let identity = conf["unique_instances"][*label][LABEL].as_str();
            let holds = |it: &&std::sync::Arc<Instance>| it.state == State::Running && Self::identity(it).as_deref() == identity;
            state.instances().filter(holds).count() == 1
        };
        rests_at(state, Self::most(&conf)) && labels(&conf).iter().all(held)
    }
}

/// What is reckoned for labels.
#[derive(Debug, Default)]
pub(crate) struct Labels;

impl Own for Labels {
    fn decided(&mut self, decided: &Decided<'_>, edges: &mut Edges) -> Result<(), Failure> {
        let conf = decided.looked.state.engine_conf();
        let held = labels(&conf).len() as u32;
        edges.reach("as many labels as instances", held > 0 && held == OfNpreserving::most(&conf));
        edges.reach("unhealthy ones that devmode leaves alone", OfNpreserving::leaves_alone(&conf) && !decided.looked.ill().is_empty());
        // Those of the label that has two names go when it changes its name.
        let wanted = |identity: &str| identity != "primary" && labels(&conf).into_iter().any(|label| label == identity);
        let accepted = decided.decision.iter().flat_map(|it| &it.terminations).flat_map(|it| &it.accepted);
        let ended = accepted.filter_map(|id| decided.looked.state.instance(id)).filter(|it| !it.is_unhealthy());
        if let Some(holder) = ended.filter_map(|it| OfNpreserving::identity(it)).find(|identity| wanted(identity)) {
            return Err(unkept("a well holder of a label that is wanted stays", holder));
        }
        Ok(())
    }
}

/// The engine `sensor`.
pub(crate) struct OfSensor;

impl Kind for OfSensor {
    const NAME: &'static str = "sensor";
    const LIVES: u64 = 160;
    const EDGES: &'static [&'static str] = &[
        "N or maximum = 0",
        "no instances",
        "all unhealthy",
        "a configuration that contradicts itself is refused",
        "minimum = maximum",
        "equal to scale_up_threshold",
        "equal to scale_down_threshold",
        "a millisecond before the end of a cooldown",
        "at the end of a cooldown",
        "scaled up at the end of a cooldown",
        "scaled down at the end of a cooldown",
        "scaled up",
        "scaled down",
        "above the threshold at the maximum",
        "below the threshold at the minimum",
        "no reading at all, and room to shrink",
        "readings of some only",
        "grown for want of readings",
        "from nothing, by readings of the domain",
        "fewer for the work of the domain, and more than one",
        "within the tolerance of a target",
        "by readings that are stale",
        "a sum that is not believed",
        "the rest of a shrink is called off",
        "a move for which nobody comes or goes",
        "scaling that a guard refused",
        "replacement in a cooldown",
        "a victim is held back",
        "a restart while an engine decides",
        "a restart in a cooldown",
        "another configuration in a cooldown",
    ];
    type Engine = Sensor;
    type Own = Size;

    fn conf(dice: &mut Dice) -> Map<String, Value> {
        crate::size::conf(dice)
    }

    fn bad_conf(dice: &mut Dice) -> Map<String, Value> {
        crate::size::bad_conf(dice)
    }

    fn is_good(conf: &Map<String, Value>) -> bool {
        let value = |key| number(conf, key);
        let thresholds = ["scale_up_threshold", "scale_down_threshold"].into_iter().any(|key| value(key).is_some());
        value("minimum_vms").unwrap_or_default() <= value("maximum_vms").unwrap_or(-1.0)
            && value("scale_down_threshold").unwrap_or(f64::MIN) <= value("scale_up_threshold").unwrap_or(f64::MAX)
            && !(thresholds && value("target_value").is_some())
            && value("absent_data_max_age").is_none_or(|age| age > value("sample_period").unwrap_or(90.0))
    }

    fn most(conf: &Map<String, Value>) -> u32 {
        number(conf, "maximum_vms").unwrap_or_default() as u32
    }

    fn identity(instance: &Instance) -> Option<String> {
        instance.extra_vars.iter().find(|(name, _)| name == crate::size::UNIQUE_KEY).map(|(_, value)| value.clone())
    }

    fn is_settled(state: &DomainState, own: &Size) -> bool {
        let conf = state.engine_conf();
        // With no value left nobody is launched, and the engine says so.
        let exhausted = || {
            let values = crate::size::values(&conf);
            let held = |value: &String| state.instances().any(|it| it.state.is_valid() && Self::identity(it).as_ref() == Some(value));
            let counts = state.counts();
            !values.is_empty() && values.iter().all(held) && counts.valid == counts.running && state.decision.status == Status::Failed
        };
        own.wanted(&conf).is_some_and(|size| rests_at(state, size) || exhausted())
    }
}
