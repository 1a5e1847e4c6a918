//! One decision, and where its time goes.

use std::hint::black_box;

use anyhow::{Result, anyhow, ensure};
use pilothouse_core::cycle::Engine;
use pilothouse_core::record::Record;
use pilothouse_engine_host::LoadedEngine;

use crate::Settings;
use crate::bare::{Bare, Bounds};
use crate::decision::Decide;
use crate::fixture::{self, NOW};
use crate::measure::{Subject, by_turns, repeat};
use crate::report::{Figure, Outcome, Target, Unit};

fn decide(engine: &LoadedEngine, instances: usize, preserve_n: usize) -> Decide<LoadedEngine> {
    Decide::new(engine.clone(), fixture::state(0, instances, preserve_n, &engine.identity()))
}

/// Ten instances.
pub(crate) fn small(settings: &Settings) -> Result<Outcome> {
    let (_sandbox, engine) = fixture::simplest()?;
    let component = fixture::component("simplest")?;
    let quiet = decide(&engine, 10, 10);
    let acts = decide(&engine, 10, 11);
    let (said, bytes) = quiet.once();
    ensure!(said.said.is_some() && bytes.is_none(), "a decision that changes nothing is not recorded: {said:?}");
    let (said, bytes) = acts.once();
    let launched: usize = said.said.iter().flat_map(|decision| &decision.launches).map(|launch| launch.instances.len()).sum();
    ensure!(launched == 1 && bytes.is_some(), "one is launched: {said:?}");

    let made = |bare: wasmtime::Result<Bare>| bare.map_err(|error| anyhow!("making a reference: {error:#}"));
    let empty = |bounds| made(Bare::engine(&component, bounds));
    let (free, fuel) = (empty(Bounds::None)?, empty(Bounds::Fuel)?);
    let (clock, all) = (empty(Bounds::FuelAndClock)?, empty(Bounds::All)?);
    let (started, minimal) = (made(Bare::started(&component, Bounds::None))?, made(Bare::minimal(Bounds::None))?);
    let bare = |bare: &Bare| bare.call().expect("the reference runs");
    let record = Record::new(NOW, acts.state.epoch, acts.once().0.event.into_iter().collect());
    let all_subjects: Vec<(&str, Subject<'_>)> = vec![
        ("a decision with nothing to do", Box::new(|| drop(black_box(quiet.once())))),
        ("one that launches: guards, ids, record as bytes", Box::new(|| drop(black_box(acts.once())))),
        ("bare wasmtime: the engine, an empty call", Box::new(|| bare(&free))),
        ("  only started, not called", Box::new(|| bare(&started))),
        ("  with fuel", Box::new(|| bare(&fuel))),
        ("  with fuel and clock", Box::new(|| bare(&clock))),
        ("  with fuel, clock, and limits", Box::new(|| bare(&all))),
        ("the sandbox: the engine, an empty call", Box::new(|| engine.retire(&[]).expect("it retires"))),
        ("bare wasmtime: the smallest component, an empty call", Box::new(|| bare(&minimal))),
        ("without wasm: a cycle begun", Box::new(|| drop(black_box(quiet.begin())))),
        ("without wasm: a record as bytes", Box::new(|| drop(black_box(record.to_bytes())))),
    ];
    let (names, subjects): (Vec<_>, Vec<_>) = all_subjects.into_iter().unzip();
    let samples = by_turns(settings.effort(), subjects);
    let against = |which: usize| {
        let figure = Figure::new(names[which], Unit::Seconds, &samples[which]);
        figure.beside("bare empty call", &samples[which], &samples[2])
    };
    let mut figures: Vec<Figure> = (0..2).map(|which| against(which).target(Target::RatioAtMost(1.5))).collect();
    figures.extend((2..names.len()).map(against));
    let notes = vec![
        "bare: a store, an instance of the same component, its export that has nothing to do, and their end; in the sandbox's pool, nothing \
         bounded, imports that are never called"
            .to_owned(),
        format!("over the smallest component there is, a decision is {:.1} x", samples[0].over(&samples[8]).median()),
    ];
    Ok(Outcome { figures, notes })
}

/// Ten thousand.
pub(crate) fn large(settings: &Settings) -> Result<Outcome> {
    let (_sandbox, engine) = fixture::simplest()?;
    let (small, large) = (decide(&engine, 10, 10), decide(&engine, 10_000, 10_000));
    ensure!(large.once().1.is_none(), "nothing is to be done");
    let subjects: Vec<Subject<'_>> = vec![Box::new(|| drop(black_box(large.once()))), Box::new(|| drop(black_box(small.once())))];
    let samples = by_turns(settings.effort(), subjects);
    let figure = Figure::new("10 000 instances, nothing to do", Unit::Seconds, &samples[0]);
    let figure = figure.beside("the same over 10", &samples[0], &samples[1]).target(Target::AtMost(200e-6));
    Ok(Outcome { figures: vec![figure], notes: Vec::new() })
}

/// For a profiler.
pub(crate) fn profile_small(calls: u32) -> Result<f64> {
    profile(10, calls)
}

/// For a profiler.
pub(crate) fn profile_large(calls: u32) -> Result<f64> {
    profile(10_000, calls)
}

fn profile(instances: usize, calls: u32) -> Result<f64> {
    let (_sandbox, engine) = fixture::simplest()?;
    let quiet = decide(&engine, instances, instances);
    Ok(repeat(calls, || drop(black_box(quiet.once()))))
}
