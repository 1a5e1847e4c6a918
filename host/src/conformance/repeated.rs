//! Deciding again and again, while what was asked for happens: instances come, fall ill, go, and are forgotten. A memory that holds on to
//! all of them grows until no decision succeeds any more, long after the engine was tested.

use pilothouse_core::cycle::limits;
use pilothouse_core::instance::{Health, Instance, State};
use pilothouse_core::record::{Event, Judged, Judgement, Reported};
use pilothouse_core::time::Millis;
use pilothouse_engine_host::{EngineLimits, LoadedEngine};

use super::bench::Bench;
use super::report::{Check, Report};
use super::script::{Script, decide};

/// Instances that are there at the beginning, from another engine.
const INSTANCES: usize = 10;
/// The most that there may be. An engine that wants thousands shows nothing more here, and takes long.
const MAX_INSTANCES: u32 = 60;
/// Decisions, at first.
const ROUNDS: usize = 120;
/// Decisions at most: a memory that still grows then, grows for ever.
const MAX_ROUNDS: usize = ROUNDS * 16;
/// Between two decisions: long enough for every rate budget to be full again.
const PAUSE: Millis = Millis::from_secs(300);
/// Every so manieth decision one of the running is missed.
const MISSED_EVERY: usize = 3;

/// Looks at a memory that the engine keeps over many decisions. Returns the last one.
pub(super) fn check(script: &Script, engine: &LoadedEngine, limits: &EngineLimits, report: &mut Report) -> Vec<u8> {
    let mut check = Check::new("decide again and again: a bounded memory");
    let mut world = World { bench: script.empty().with_instances(INSTANCES), round: 0 };
    world.bench.state.config.general.max_instances = MAX_INSTANCES;
    let mut sizes = Vec::new();
    let mut rounds = ROUNDS;
    while sizes.len() < rounds {
        let bench = script.with_readings(world.bench.clone());
        let step = decide("decide", engine, bench.cycle(sizes.len() as u64), &bench.state);
        let judged = step.judge(limits);
        check.cost = check.cost.clone().worst(judged.cost);
        if let Some(fault) = &step.call.fault {
            check.fail(format!("decision {}: {}", sizes.len() + 1, super::told(fault, limits)));
            break;
        }
        sizes.push(step.memory.as_ref().map_or(0, Vec::len));
        world.bench.apply(step.decision.map(|decision| Event::Decided(Box::new(decision))).into_iter().collect());
        world.goes_on();
        if sizes.len() == rounds && growth(&sizes).is_some() && rounds < MAX_ROUNDS {
            rounds *= 2;
        }
    }
    match growth(&sizes) {
        Some((before, after)) if sizes.len() >= MAX_ROUNDS => check.fail(format!(
            "its memory grew from {before} to {after} bytes over {} decisions, and still grows; at {} bytes its decisions fail",
            sizes.len(),
            limits::MEMORY_BYTES,
        )),
        _ => check.note(format!("{} decisions, a memory of {} bytes at most", sizes.len(), sizes.iter().max().unwrap_or(&0))),
    }
    report.push(check);
    world.bench.state.memory.unwrap_or_default()
}

/// The largest of the first half and of the second, if it grows by more than what a few counters take that get a digit more.
fn growth(sizes: &[usize]) -> Option<(usize, usize)> {
    let (first, second) = sizes.split_at(sizes.len() / 2);
    let (before, after) = (*first.iter().max()?, *second.iter().max()?);
    (after > before + (before / 20).max(16)).then_some((before, after))
}

/// What happens to the instances between two decisions.
struct World {
    bench: Bench,
    round: usize,
}

impl World {
    fn goes_on(&mut self) {
        self.round += 1;
        self.bench.now = self.bench.now + PAUSE;
        let missed = if self.round.is_multiple_of(MISSED_EVERY) { self.running().next().map(|it| it.id.clone()) } else { None };
        let events = self.bench.state.instances().flat_map(|it| next(it)).collect();
        self.bench.apply(events);
        if let Some(id) = missed {
            self.bench.apply(vec![Event::Judged(Judged { id, verdict: health(Health::Missing) })]);
        }
    }

    fn running(&self) -> impl Iterator<Item = &Instance> {
        self.bench.state.instances().map(|it| &**it).filter(|it| it.state == State::Running && it.health == Health::Ok)
    }
}

/// What is told of an instance next: it becomes ready and well, or it goes as asked, or it is forgotten.
fn next(instance: &Instance) -> Vec<Event> {
    let reported = |state| {
        let (id, attributes) = (instance.id.clone(), Default::default());
        Event::Reported(Reported { id, state: Some(state), update_counter: None, attributes, reason: None, undead: Some(false) })
    };
    let judged = |verdict| Event::Judged(Judged { id: instance.id.clone(), verdict });
    match instance.state {
        state if state.is_starting() => vec![reported(State::Running), judged(health(Health::Ok))],
        State::Terminating => vec![reported(State::Terminated)],
        state if state.is_gone() => vec![judged(Judgement::Reaped)],
        _ => Vec::new(),
    }
}

fn health(health: Health) -> Judgement {
    Judgement::Health { health, well: false, problems: Vec::new(), error_time: None, heartbeats: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_that_reaches_its_size_or_counts_does_not_grow() {
        assert_eq!(growth(&[]), None);
        assert_eq!(growth(&[8; 100]), None);
        assert_eq!(growth(&[vec![8; 50], vec![24; 50]].concat()), None, "a few counters with a digit more");
        assert_eq!(growth(&[vec![1000; 50], vec![1040; 50]].concat()), None);
    }

    #[test]
    fn a_memory_that_holds_on_to_what_is_gone_grows() {
        let sizes: Vec<usize> = (0..120).map(|round| round * 3).collect();
        assert_eq!(growth(&sizes), Some((177, 357)));
    }
}
