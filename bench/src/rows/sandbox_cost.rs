//! What the sandbox costs next to the native policy, step by step.
//!
//! Everything runs by turns in one run, and each step is a difference between two of them, round by round. What crosses the border is
//! measured with an engine that asks for and hands back the same as `simplest`, and does nothing else; what counting fuel costs, with code of
//! `simplest` that asks the host for nothing, once with and once without it.

use std::hint::black_box;

use anyhow::{Context, Result, anyhow, ensure};
use pilothouse_core::cycle::{Called, Cycle, Engine, Reconfigured, Verdict};
use pilothouse_core::record::EngineInForce;
use pilothouse_engine_simplest::Simplest;
use pilothouse_native::Native;

use crate::Settings;
use crate::bare::{Bare, Bounds};
use crate::decision::Decide;
use crate::fixture;
use crate::guests;
use crate::measure::{Subject, by_turns};
use crate::report::{Figure, Outcome, Unit};

const SIZES: [usize; 2] = [10, 1000];

pub(crate) fn measure(settings: &Settings) -> Result<Outcome> {
    let (sandbox, engine) = fixture::simplest()?;
    let component = fixture::component("simplest")?;
    let made = |bare: wasmtime::Result<Bare>| bare.map_err(|error| anyhow!("making a reference: {error:#}"));
    let conf = fixture::config(10)["engine_conf"].to_string();
    let judging = |bounds| made(Bare::judging(&component, bounds, conf.clone()));
    let (plain, metered) = (judging(Bounds::None)?, judging(Bounds::Fuel)?);
    let burned = metered.fuel().map_err(|error| anyhow!("judging a configuration: {error:#}"))?;
    let (started, empty) = (made(Bare::started(&component, Bounds::All))?, made(Bare::engine(&component, Bounds::All))?);

    let (mut figures, mut notes) = (Vec::new(), Vec::new());
    for instances in SIZES {
        let state = || fixture::state(0, instances, instances, &engine.identity());
        let (inside, outside) =
            (Decide::new(engine.clone(), state()), Decide::new(Native::<Simplest>::in_place_of(engine.identity()), state()));
        let said = inside.once().0.said.context("it decides")?;
        let memory = said.memory.clone().or_else(|| inside.state.memory.clone()).unwrap_or_default();
        ensure!(said.launches.is_empty() && said.terminations.is_empty(), "nothing is to be done: {said:?}");
        let glass = sandbox.load(&guests::mirror(memory.len(), said.reason.len(), &said.figures)?).context("loading a mirror")?;
        let verdict = Verdict {
            memory: memory.clone(),
            status: said.status,
            reason: said.reason.clone(),
            figures: said.figures.clone(),
            wake: said.wake,
        };
        let idle = Decide::new(Idle { identity: engine.identity(), verdict }, state());
        let mirror = Decide::new(glass.clone(), fixture::state(0, instances, instances, &glass.identity()));
        let answer = mirror.once().0.said.context("the mirror decides")?;
        ensure!((answer.reason.len(), answer.figures.len()) == (said.reason.len(), said.figures.len()), "{answer:?} is like {said:?}");
        let quiet = [inside.once().1, outside.once().1, mirror.once().1, idle.once().1].iter().all(Option::is_none);
        ensure!(
            quiet && idle.once().0.said.is_some() && outside.once().0.said.is_some(),
            "all of them decide, and have nothing new to say"
        );

        let bare = |bare: &Bare| bare.call().expect("the reference runs");
        let subjects: Vec<Subject<'_>> = vec![
            Box::new(|| drop(black_box(inside.once()))),
            Box::new(|| drop(black_box(outside.once()))),
            Box::new(|| started.store().expect("a store can be had")),
            Box::new(|| bare(&started)),
            Box::new(|| bare(&empty)),
            Box::new(|| engine.retire(&[]).expect("it retires")),
            Box::new(|| drop(black_box(mirror.once()))),
            Box::new(|| glass.retire(&[]).expect("it retires")),
            Box::new(|| drop(black_box(idle.once()))),
            Box::new(|| bare(&plain)),
            Box::new(|| bare(&metered)),
        ];
        let samples = by_turns(settings.effort(), subjects);
        let [whole, natively, store, instance, call, place, mirrored, glass_empty, idle, plain, metered] = &samples[..] else {
            anyhow::bail!("as many samples as subjects");
        };
        let cost = whole.minus(natively);
        let metering = metered.minus(plain).scaled(said.fuel as f64 / burned as f64);
        let parts = [
            ("a store with its bounds, and its end", store.clone()),
            ("an instance in it, wiped at the end", instance.minus(store)),
            ("an export found and called", call.minus(instance)),
            ("a place, the meter, what came back judged", place.minus(call)),
            ("across the border: configuration, counts, memory, verdict", mirrored.minus(glass_empty).minus(idle)),
            ("counting fuel", metering),
        ];
        let rest = parts.iter().fold(cost.clone(), |rest, (_, part)| rest.minus(part));
        let of = format!("{instances} instances");
        figures.push(Figure::new(format!("{of}: in the sandbox"), Unit::Seconds, whole).beside("natively", whole, natively));
        figures.push(Figure::new(format!("{of}: what the sandbox costs"), Unit::Seconds, &cost));
        let rest = ("the rest: the guest's own code, slower than the native one", rest);
        for (what, part) in parts.into_iter().chain([rest]) {
            figures.push(Figure::new(format!("  {what}"), Unit::Seconds, &part).beside("the cost", &part, &cost));
        }
        notes.push(format!(
            "{of}: {} units of fuel, {} for the code that fuel is measured with; {} bytes of memory, a reason of {} and {} figures cross",
            said.fuel,
            burned,
            memory.len(),
            said.reason.len(),
            said.figures.len()
        ));
    }
    Ok(Outcome { figures, notes })
}

/// Says the same as another engine, without asking anything and without any sandbox: what the decision cycle costs by itself.
struct Idle {
    identity: EngineInForce,
    verdict: Verdict,
}

impl Engine for Idle {
    fn identity(&self) -> EngineInForce {
        self.identity.clone()
    }

    fn initialize(&self, cycle: Cycle) -> Called<Vec<u8>> {
        Called { cycle, fuel: 0, result: Ok(self.verdict.memory.clone()) }
    }

    fn reconfigure(&self, cycle: Cycle, _: &[u8]) -> Called<Reconfigured> {
        Called { cycle, fuel: 0, result: Ok(Reconfigured::NotSupported) }
    }

    fn decide(&self, cycle: Cycle, _: &[u8]) -> Called<Verdict> {
        Called { cycle, fuel: 0, result: Ok(self.verdict.clone()) }
    }
}
