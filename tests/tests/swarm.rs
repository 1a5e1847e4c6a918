//! A bounded swarm of random scenarios over the engines that ship, as components in their sandbox.
//!
//! Every rule holds, two runs of one seed are the same to the byte, and the same engine natively agrees. What fails is shrunk, written under
//! the target folder and told with the command that plays it again.

use std::cell::Cell;
use std::path::Path;

use pilothouse::driver::engines::check;
use pilothouse_core::cycle::Engine;
use pilothouse_core::record::EngineInForce;
use pilothouse_engine_npreserving::Npreserving;
use pilothouse_engine_sensor::Sensor;
use pilothouse_engine_simplest::Simplest;
use pilothouse_sim::event::Beside;
use pilothouse_sim::swarm::{Dice, Failure, Places, Shape, Swarm, play, scenario, twice};
use pilothouse_sim::timeline::Entry;
use pilothouse_sim::{Line, Scenario};
use pilothouse_tests::native::Native;
use pilothouse_tests::play::{sandbox, shipped};
use serde_json::{Map, Value, json};

/// Scenarios for each engine: a few seconds in a build that is not optimised.
const COUNT: u64 = 60;

/// Where every engine must come.
const PLACES: [&str; 16] = [
    "launches",
    "launches asked for again",
    "launches given up",
    "terminations",
    "requests to terminate",
    "quiet decisions",
    "dry runs",
    "held by pause",
    "held by quota",
    "engines reconfigured",
    "missing",
    "recovered",
    "reconfigurations refused",
    "restarts with promised work",
    "reaped",
    "removals completed",
];

fn section(conf: Value) -> Map<String, Value> {
    conf.as_object().cloned().expect("an object")
}

/// A number of instances, as a number or in a string: both are good.
fn count(dice: &mut Dice, least: u64, most: u64) -> (u64, Value) {
    let count = dice.from_to(least, most);
    (count, if dice.percent(80) { json!(count) } else { json!(count.to_string()) })
}

fn victims(dice: &mut Dice, conf: &mut Map<String, Value>) {
    if dice.percent(40) {
        conf.insert("victims".to_owned(), json!(dice.pick(&["newest", "random"])));
    }
}

fn of_simplest(dice: &mut Dice) -> Map<String, Value> {
    let mut conf = section(json!({"preserve_n": count(dice, 0, 6).1}));
    if dice.percent(30) {
        conf.insert("force_site".to_owned(), json!(dice.pick(&["here", "there"])));
    }
    victims(dice, &mut conf);
    conf
}

fn of_npreserving(dice: &mut Dice) -> Map<String, Value> {
    let (preserve_n, written) = count(dice, 0, 6);
    let labels = ["primary", "second", "third"].iter().take(dice.below(preserve_n.min(3) + 1) as usize);
    let unique: Map<String, Value> = labels.map(|label| ((*label).to_owned(), json!({"role": dice.pick(&["a", "b"])}))).collect();
    let mut conf = section(json!({"preserve_n": written, "unique_instances": unique}));
    victims(dice, &mut conf);
    conf
}

fn of_sensor(dice: &mut Dice) -> Map<String, Value> {
    let least = dice.below(4);
    let most = count(dice, least, 6).1;
    let mut conf = section(json!({"minimum_vms": least, "maximum_vms": most, "cooldown_period": dice.pick(&[0, 5, 60])}));
    if dice.percent(80) {
        let down = dice.from_to(0, 5) as f64;
        let function = dice.pick(&["Average", "Sum", "Maximum", "Last", "P50", "SampleCount"]);
        conf.extend(section(json!({
            "metric": "load", "sample_function": function, "sample_period": dice.pick(&[1, 30, 90]),
            "scale_up_threshold": down + dice.below(4) as f64, "scale_up_n_vms": dice.below(3),
            "scale_down_threshold": down, "scale_down_n_vms": dice.below(3),
        })));
    }
    victims(dice, &mut conf);
    conf
}

fn swarm<E: pilothouse_engine::Engine>(name: &'static str, engine_conf: fn(&mut Dice) -> Map<String, Value>) {
    let component = sandbox().load(&shipped(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let native = Native::<E>::in_place_of(component.identity());
    let judge = |conf: &Map<String, Value>| check(&component, conf);
    let checked = |it: &Scenario| -> Result<Places, Failure> {
        let sandboxed = twice(it, &component, &judge)?;
        // Judged by the component, too: schema and policy refuse the same, but each in its own words.
        play(it, &native, &judge)?.agrees(&sandboxed)?;
        match Native::<E>::check(&it.engine_conf).is_empty() {
            true => Ok(sandboxed.places),
            false => Err(Failure::Differs(format!("natively {:?} is refused", it.engine_conf))),
        }
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("swarm");
    let swarm = Swarm::of(COUNT, folder, "cargo test -p pilothouse-tests --test swarm").expect("a good environment");
    let swarm = Swarm { simulates: true, ..swarm };
    let shape = Shape { engine: name, engine_conf: &engine_conf, others: &[], metric: "load" };
    let places = swarm.run(|seed| scenario(seed, &shape), checked).unwrap_or_else(|found| panic!("{found}"));
    println!("{places}");
    // A swarm of another size or another seed is somebody's search, and may miss some.
    if (swarm.first, swarm.count) == (0, COUNT) {
        let missing: Vec<&str> = PLACES.into_iter().filter(|place| places.count(place) == 0).collect();
        assert_eq!(missing, [""; 0], "nobody came there:\n{places}");
    }
}

/// What a shadow can't know, or what makes it fail: without these it sees all of a life, from its beginning.
fn is_its_own(entry: &Entry) -> bool {
    let another = entry.reconfigure.as_ref().is_some_and(|it| it.get("general").is_some_and(|general| general.get("engine").is_some()));
    let happens = entry.swap.is_some() || entry.fail.is_some() || entry.shadow.is_some();
    entry.restart.is_some() || entry.unshadow.is_some() || happens || another
}

/// The same engine runs beside itself through random lives: it is asked whenever the other is, and always wants the same.
fn never_differs<E: pilothouse_engine::Engine>(name: &'static str, engine_conf: fn(&mut Dice) -> Map<String, Value>) {
    let identity = EngineInForce { name: name.to_owned(), version: "1.0.0".to_owned(), digest: "00".to_owned() };
    let native = Native::<E>::in_place_of(identity);
    let judge = |conf: &Map<String, Value>| Native::<E>::check(conf);
    let shape = Shape { engine: name, engine_conf: &engine_conf, others: &[], metric: "load" };
    let make = |seed| {
        let mut made = scenario(seed, &shape);
        made.events.retain(|entry| !is_its_own(entry));
        let beside = Beside { engine: None, version: Some("2.0.0".to_owned()), promote_after: None };
        made.events.insert(0, Entry { shadow: Some(beside), ..Entry::default() });
        made
    };
    let (compared, launched, asked) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let checked = |it: &Scenario| -> Result<Places, Failure> {
        let played = play(it, &native, &judge)?;
        for line in &played.lines {
            let Line::Tick(tick) = line else { continue };
            asked.set(asked.get() + u64::from(tick.engine.is_some()));
            launched.set(launched.get() + tick.provisions.new.len());
            let Some(beside) = &tick.beside else { continue };
            compared.set(compared.get() + 1);
            if (beside.differed, beside.failed) != (0, 0) {
                let seen = format!("at {} s: {:?}", tick.at, beside.difference);
                return Err(Failure::Unkept { promise: "who sees the same wants the same", seen });
            }
        }
        Ok(played.places)
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("swarm-beside");
    let swarm = Swarm::of(2 * COUNT, folder, "cargo test -p pilothouse-tests --test swarm").expect("a good environment");
    let swarm = Swarm { simulates: true, ..swarm };
    swarm.run(make, checked).unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(compared.get(), asked.get(), "whenever one is asked, both are");
    assert!(swarm.count < COUNT || (compared.get() > 500 && launched.get() > 50), "{compared:?} decisions, {launched:?} launches");
}

#[test]
fn simplest_beside_itself_never_differs() {
    never_differs::<Simplest>("simplest", of_simplest);
}

#[test]
fn npreserving_beside_itself_never_differs() {
    never_differs::<Npreserving>("npreserving", of_npreserving);
}

#[test]
fn sensor_beside_itself_never_differs() {
    never_differs::<Sensor>("sensor", of_sensor);
}

#[test]
fn whatever_happens_to_simplest_no_rule_is_broken() {
    swarm::<Simplest>("simplest", of_simplest);
}

#[test]
fn whatever_happens_to_npreserving_no_rule_is_broken() {
    swarm::<Npreserving>("npreserving", of_npreserving);
}

#[test]
fn whatever_happens_to_sensor_no_rule_is_broken() {
    swarm::<Sensor>("sensor", of_sensor);
}
