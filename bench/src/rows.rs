//! The rows: one module for each promise.

mod commit;
mod decide;
mod engines;
mod heartbeats;
mod hostile;
pub(crate) mod memory;
mod push;
mod sandbox_cost;
mod save;
mod second_start;
mod start;
mod swap;
mod throughput;
mod tick;

use anyhow::Result;

use crate::Settings;
use crate::report::Outcome;

/// A row that can be measured.
pub(crate) struct Spec {
    /// What `--filter` finds.
    pub(crate) name: &'static str,
    /// What it shows.
    pub(crate) about: &'static str,
    /// Measures it. Fails when something is missing that it needs, and says what.
    pub(crate) measure: fn(&Settings) -> Result<Outcome>,
    /// Does what is measured, so many times, and says how many seconds it took: for a profiler.
    pub(crate) profile: Option<fn(u32) -> Result<f64>>,
}

/// All of them, in the order in which they are measured.
pub(crate) const ALL: [Spec; 17] = [
    Spec {
        name: "decide",
        about: "one sandboxed decision of `simplest` over 10 instances",
        measure: decide::small,
        profile: Some(decide::profile_small),
    },
    Spec {
        name: "decide-large",
        about: "the same over 10 000 instances, nothing to do",
        measure: decide::large,
        profile: Some(decide::profile_large),
    },
    Spec {
        name: "engines-simplest",
        about: "decisions of `simplest`: sandboxed, bare and natively",
        measure: engines::simplest,
        profile: Some(engines::profile_simplest),
    },
    Spec {
        name: "engines-npreserving",
        about: "decisions of `npreserving` with unique instances: sandboxed, bare and natively",
        measure: engines::npreserving,
        profile: Some(engines::profile_npreserving),
    },
    Spec {
        name: "engines-sensor",
        about: "decisions of `sensor` with readings of every instance: sandboxed, bare and natively",
        measure: engines::sensor,
        profile: Some(engines::profile_sensor),
    },
    Spec {
        name: "throughput",
        about: "decisions a second of 1000 domains with 10 instances each, on all cores",
        measure: throughput::measure,
        profile: None,
    },
    Spec { name: "tick", about: "a look at the health of 100 000 quiet instances", measure: tick::measure, profile: Some(tick::profile) },
    Spec {
        name: "heartbeats",
        about: "heartbeats a second from a nats-server: parsed, routed, recorded",
        measure: heartbeats::measure,
        profile: None,
    },
    Spec { name: "commit", about: "decisions committed a second, 64 domains at once", measure: commit::measure, profile: None },
    Spec { name: "memory", about: "what domains with 10 instances each hold in memory", measure: memory::measure, profile: None },
    Spec { name: "start", about: "the start of a host with its compile cache warm", measure: start::measure, profile: None },
    Spec {
        name: "second-start",
        about: "a start with everything in the cache, a pushed engine in Python among it",
        measure: second_start::measure,
        profile: None,
    },
    Spec {
        name: "sandbox-cost",
        about: "what the sandbox costs next to the native policy, step by step",
        measure: sandbox_cost::measure,
        profile: None,
    },
    Spec { name: "push", about: "from the push of a version to the first decision that it made", measure: push::measure, profile: None },
    Spec {
        name: "save",
        about: "from the save of a component into a watched folder to the first decision that it made",
        measure: save::measure,
        profile: None,
    },
    Spec { name: "swap", about: "versions swapped under 1000 domains that decide every second", measure: swap::measure, profile: None },
    Spec {
        name: "hostile",
        about: "how late 1000 domains are decided beside one whose engine is hostile",
        measure: hostile::measure,
        profile: None,
    },
];
