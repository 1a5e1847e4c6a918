//! What the engines that ship promise, held against random lives of a domain.
//!
//! Every life is played by dice that look at the domain: launches fail, agents fall silent, guards hold back, people interfere, hosts
//! die, and much of it happens while the engine decides. Then everything works again, and the domain has to settle. An account of
//! its own watches every step and never asks the engine what it meant. Where a boundary lies, the dice look for it: a run
//! that was not there proves nothing, and fails.

mod account;
mod edges;
mod kind;
mod life;
mod quiet;
mod readings;
mod recommended;
mod size;
mod watch;

use std::cell::RefCell;
use std::path::Path;

use pilothouse_sim::Scenario;
use pilothouse_sim::swarm::{Failure, Places, Swarm, caught};

use edges::Edges;
use kind::{Kind, OfNpreserving, OfSensor, OfSimplest};
use watch::Watched;

/// Plays a scenario, and the quiet time after it.
fn check<K: Kind>(scenario: &Scenario, edges: &mut Edges) -> Result<(), Failure> {
    caught(|| {
        let engine = K::engine();
        let mut watched = Watched::<K>::begin(scenario, &engine, edges)?;
        for step in scenario.steps()? {
            watched.step(&step)?;
        }
        quiet::settles(&mut watched)
    })
}

fn promises_are_kept<K: Kind>() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("policies");
    let swarm = Swarm::of(K::LIVES, folder, "cargo test -p pilothouse-tests --test policies").expect("a good environment");
    let swarm = Swarm { simulates: true, ..swarm };
    let edges = RefCell::new(Edges::default());
    let checked = |scenario: &Scenario| check::<K>(scenario, &mut edges.borrow_mut()).map(|()| Places::default());
    swarm.run(life::scenario::<K>, checked).unwrap_or_else(|found| panic!("{found}"));
    let edges = edges.into_inner();
    println!("{edges}");
    // A run of another size or another seed is somebody's search, and may miss some.
    if (swarm.first, swarm.count) == (0, K::LIVES) {
        let missing: Vec<&str> = K::EDGES.iter().copied().filter(|edge| edges.count(edge) == 0).collect();
        assert_eq!(missing, [""; 0], "nobody came there:\n{edges}");
    }
}

#[test]
fn simplest_keeps_its_number_and_never_launches_above_it() {
    promises_are_kept::<OfSimplest>();
}

#[test]
fn npreserving_keeps_its_number_and_never_doubles_a_label() {
    promises_are_kept::<OfNpreserving>();
}

#[test]
fn sensor_stays_in_its_bounds_rests_after_scaling_and_never_shrinks_for_want_of_readings() {
    promises_are_kept::<OfSensor>();
}
