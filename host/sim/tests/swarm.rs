//! A bounded swarm of random scenarios with small native engines: one that keeps so many instances, and one that asks for whatever the dice
//! say. Every rule holds, every run is the same twice, and everything that should be reached is. What fails is found, shrunk and written.

mod support;

use std::cell::Cell;
use std::path::Path;

use pilothouse_core::config::ConfigProblem;
use pilothouse_core::cycle::{Cycle, Engine};
use pilothouse_core::instance::Health;
use pilothouse_core::record::{Event, Judgement, Record};
use pilothouse_core::state::DomainState;
use pilothouse_sim::swarm::{Dice, Failure, Found, Places, Played, Shape, Swarm, play, scenario, twice_among};
use pilothouse_sim::{Available, Format, Rule, Scenario, Simulation, Violation};
use serde_json::{Map, Value, json};
use support::{Acts, chaos, keeper, keeps, verdict};

/// Scenarios for each of the two engines: a few seconds in a build that is not optimised.
const COUNT: u64 = 200;

fn swarm(count: u64) -> Swarm {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("swarm");
    Swarm::of(count, folder, "cargo test -p pilothouse-sim --test swarm").expect("a good environment")
}

/// Both engines take `keep`, and nothing else.
fn judge(conf: &Map<String, Value>) -> Vec<ConfigProblem> {
    let known = |(key, value): &(&String, &Value)| *key != "keep" || !value.is_u64();
    conf.iter().filter(known).map(|(key, _)| ConfigProblem::new(format!("/engine_conf/{key}"), "is not known")).collect()
}

fn keep(dice: &mut Dice) -> Map<String, Value> {
    Map::from_iter([("keep".to_owned(), json!(dice.pick(&[0, 1, 2, 3, 5, 8])))])
}

fn shape(engine: &str) -> Shape<'_> {
    let others = if engine == "keeper" { &["chaos"][..] } else { &["keeper"] };
    Shape { engine, engine_conf: &keep, others, metric: "load" }
}

fn checked(engine: &impl Engine, scenario: &Scenario) -> Result<Places, Failure> {
    let (keeper, chaos) = (keeper(), chaos());
    let other: &dyn Engine = if engine.identity().name == "keeper" { &chaos } else { &keeper };
    let both = [Available { engine, judge: &judge }, Available { engine: other, judge: &judge }];
    twice_among(scenario, &both).map(|played| played.places)
}

#[test]
fn whatever_happens_no_rule_is_broken_and_every_place_is_reached() {
    let swarm = swarm(COUNT);
    let all = |name: &'static str| {
        swarm.run(
            |seed| scenario(seed, &shape(name)),
            |it| match name {
                "keeper" => checked(&keeper(), it),
                _ => checked(&chaos(), it),
            },
        )
    };
    let all = &all;
    let [keeper, chaos] = std::thread::scope(|scope| {
        ["keeper", "chaos"].map(|name| scope.spawn(move || all(name))).map(|thread| thread.join().expect("failures are told, not panicked"))
    });
    let [mut places, more] = [keeper, chaos].map(|came| came.unwrap_or_else(|found| panic!("{found}")));
    places.add(&more);
    println!("{places}");
    // A swarm of another size or another seed is somebody's search, and may miss some.
    if (swarm.first, swarm.count) == (0, COUNT) {
        assert_eq!(places.missing(), [""; 0], "nobody came there:\n{places}");
    }
}

#[test]
fn what_is_made_is_what_a_file_can_say() {
    for seed in 0..COUNT {
        let made = scenario(seed, &shape("keeper"));
        let read = Scenario::parse(&made.to_toml(), Format::Toml).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(read, made, "seed {seed}");
        assert_eq!(scenario(seed, &shape("keeper")), made, "the same every time");
        assert!(made.steps().expect("steps").len() <= 3000, "seed {seed} is played in no time");
    }
}

/// What is found of a planted fault: few events, written so that it can be played again, and failing still.
#[track_caller]
fn found(name: &str, entries: usize, check: impl Fn(&Scenario) -> Result<Places, Failure>) -> (Box<Found>, String) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("swarm-planted").join(name);
    let swarm = Swarm { first: 0, count: 200, folder, command: "cargo test", simulates: true };
    let found = swarm.run(|seed| scenario(seed, &shape("keeper")), &check).expect_err("it is found");
    let told = found.to_string();
    println!("{told}");
    let file = found.file.as_ref().expect("it is written");
    let text = std::fs::read_to_string(file).expect("it is there");
    assert!(told.contains(&text) && told.contains(&format!("pilothouse simulate {}", file.display())), "{told}");
    assert!(told.contains(&format!("PILOTHOUSE_SWARM_SEED={} PILOTHOUSE_SWARM=1 ", found.seed)), "{told}");
    let read = Scenario::parse(&text, Format::Toml).expect("it can be read");
    assert_eq!(read, found.scenario);
    assert!(check(&read).is_err_and(|again| again.is_like(&found.failure)), "it fails as it is told");
    assert!(found.events.0 > found.events.1 && found.events.1 <= entries, "{told}");
    assert!(read.steps().expect("steps").len() <= entries + 2, "{told}");
    assert!(read.general.is_empty() && read.start.is_none() && read.title.is_empty(), "what does not matter is gone: {told}");
    (found, told)
}

#[test]
fn an_engine_whose_two_runs_differ_is_found_and_shrunk() {
    let calls = Cell::new(0_u64);
    let forgetful = Acts("keeper", |cycle: &mut Cycle, memory: &[u8]| {
        calls.set(calls.get() + 1);
        let called = calls.get().to_be_bytes();
        Ok(verdict(if cycle.state().brake_released.is_some() { &called } else { memory }))
    });
    let (found, _) = found("differs", 2, |it| checked(&forgetful, it));
    assert!(matches!(&found.failure, Failure::Differs(at) if at.starts_with("record ")), "{found}");
    assert!(found.scenario.events.iter().any(|entry| entry.release_brake == Some(true)), "{found}");
}

/// A host that loses the records in which somebody is found to be missing: its journal does not tell what it holds in memory.
fn loses_records(scenario: &Scenario) -> Result<Places, Failure> {
    let engine = keeper();
    let lost = |record: &Record| {
        let missing =
            |event: &Event| matches!(event, Event::Judged(it) if matches!(it.verdict, Judgement::Health { health: Health::Missing, .. }));
        record.events.iter().any(missing)
    };
    let mut simulation = Simulation::begin(scenario, &engine, &judge)?;
    let absent = DomainState::absent(simulation.state().key.clone(), simulation.state().slot);
    for step in scenario.steps()? {
        simulation.step(&step).map_err(|error| Failure::Invalid(error.to_string()))?;
        let mut folded = absent.clone();
        for (sequence, bytes) in simulation.journal() {
            let record = Record::from_bytes(bytes).expect("it can be read");
            if !lost(&record) {
                folded.apply(sequence, &record);
            }
        }
        if !folded.instances().eq(simulation.state().instances()) {
            let seen = format!("{:?}", folded.counts());
            return Err(Failure::Broken(Violation { rule: Rule::FoldIsState, seen }));
        }
    }
    Ok(Places::default())
}

#[test]
fn a_host_that_loses_a_record_is_found_and_shrunk() {
    let (found, _) = found("loses", 5, loses_records);
    assert!(matches!(&found.failure, Failure::Broken(violation) if violation.rule == Rule::FoldIsState), "{found}");
}

#[test]
fn a_panic_is_found_and_shrunk() {
    let touchy = Acts("keeper", |cycle: &mut Cycle, memory: &[u8]| {
        assert!(!cycle.state().instances().any(|it| it.health == Health::ProcessError), "an engine that can't bear errors");
        keeps(cycle, memory)
    });
    let (found, told) = found("panics", 3, |it| play(it, &touchy, &judge).map(|played| played.places));
    assert!(matches!(&found.failure, Failure::Panicked(message) if message.contains("can't bear errors")), "{told}");
}

/// Two engines that should agree and do not, in one case only.
#[test]
fn two_engines_that_disagree_are_found_and_shrunk() {
    let other = Acts("keeper", |cycle: &mut Cycle, memory: &[u8]| {
        let paused = cycle.state().paused;
        keeps(cycle, memory).map(|it| if paused { verdict(b"I was paused") } else { it })
    });
    let both = |it: &Scenario| -> Result<Played, Failure> {
        let one = play(it, &keeper(), &judge)?;
        play(it, &other, &judge).and_then(|two| one.agrees(&two).map(|()| one))
    };
    let (found, told) = found("disagrees", 2, |it| both(it).map(|played| played.places));
    assert!(matches!(&found.failure, Failure::Differs(_)), "{told}");
}
