//! What the host does for a guest is paid with the guest's fuel: each question, each thing looked at, each byte that crosses the border.
//!
//! Instructions are counted inside the sandbox, work of the host here; what a call used is their sum. The sandbox can't be told of the
//! host's part while the guest runs, so a guest that is over the sum only, and not over either part, is cut when it returns. Whether a call
//! succeeds is exact, and how long a bad one may go on is at most twice the budget.

use wasmtime::Trap;

use crate::bindings::exports::pilothouse::engine::engine::{Description, Failure, Problem, Verdict};
use crate::bindings::pilothouse::engine::control::{Destroyed, LaunchRequest, Launched, Refusal, Settings};
use crate::bindings::pilothouse::engine::state::{Columns, Filter, Scope, SiteReport};
use crate::bindings::pilothouse::engine::types::{Health, Instance, InstanceState, Sample};

/// For crossing the border once: about what saving and restoring registers costs.
pub(crate) const CROSSING: u64 = 100;
/// For each instance or site that is looked at, whether it is handed over or not.
pub(crate) const PER_ROW: u64 = 20;
/// For each series of readings that is looked at: up to 720 readings, for percentiles sorted.
pub(crate) const PER_SERIES: u64 = 2_000;
/// For each request that the guards rule on.
pub(crate) const PER_REQUEST: u64 = 2_000;

/// The host's part of a call's fuel.
#[derive(Debug)]
pub(crate) struct Meter {
    used: u64,
    most: u64,
}

impl Meter {
    pub(crate) fn new(most: u64) -> Self {
        Self { used: 0, most }
    }

    /// Charges for work. An error, the guest is over its budget, ends the call.
    pub(crate) fn charge(&mut self, fuel: u64) -> Result<(), Trap> {
        self.used = self.used.saturating_add(fuel);
        if self.used > self.most { Err(Trap::OutOfFuel) } else { Ok(()) }
    }

    /// What was charged so far.
    pub(crate) fn used(&self) -> u64 {
        self.used
    }
}

/// How many bytes a value is worth when it crosses the border: its text, and eight for each number or pointer in it.
pub(crate) trait Weigh {
    /// In bytes.
    fn weight(&self) -> u64;
}

macro_rules! weighs {
    ($($type:ty: $bytes:literal),* $(,)?) => { $(impl Weigh for $type {
        fn weight(&self) -> u64 { $bytes }
    })* };
    ($type:ident { $($field:ident),* }) => { impl Weigh for $type {
        fn weight(&self) -> u64 { 0 $(+ self.$field.weight())* }
    } };
}

weighs!((): 0, bool: 1, u8: 1, u32: 4, u64: 8, f64: 8, InstanceState: 1, Health: 1);
weighs!(Instance { id, launch, deployable_type, site, allocation, state, state_since, health, errors, extra_vars, attributes, protected });
weighs!(Columns { rows, states, healths, state_since });
weighs!(SiteReport { site, instances, failures, backing_off_until });
weighs!(Filter { states, healths, site, valid });
weighs!(LaunchRequest { deployable_type, site, allocation, count, extra_vars, replaces, options });
weighs!(Launched { launch, instances, deferred });
weighs!(Destroyed { accepted, deferred });
weighs!(Settings { pulse, provisioner_vars });
weighs!(Problem { at, message });
weighs!(Description { name, version, documentation, config_schema });

impl Weigh for str {
    fn weight(&self) -> u64 {
        8 + self.len() as u64
    }
}

impl Weigh for String {
    fn weight(&self) -> u64 {
        self.as_str().weight()
    }
}

impl<T: Weigh> Weigh for [T] {
    fn weight(&self) -> u64 {
        8 + self.iter().map(Weigh::weight).sum::<u64>()
    }
}

impl<T: Weigh> Weigh for Vec<T> {
    fn weight(&self) -> u64 {
        self.as_slice().weight()
    }
}

impl<T: Weigh> Weigh for Option<T> {
    fn weight(&self) -> u64 {
        1 + self.as_ref().map_or(0, Weigh::weight)
    }
}

impl<T: Weigh, E: Weigh> Weigh for Result<T, E> {
    fn weight(&self) -> u64 {
        match self {
            Ok(value) => 1 + value.weight(),
            Err(error) => 1 + error.weight(),
        }
    }
}

impl<A: Weigh> Weigh for (A,) {
    fn weight(&self) -> u64 {
        self.0.weight()
    }
}

impl<A: Weigh, B: Weigh> Weigh for (A, B) {
    fn weight(&self) -> u64 {
        self.0.weight() + self.1.weight()
    }
}

impl Weigh for Sample {
    fn weight(&self) -> u64 {
        17
    }
}

impl Weigh for Scope {
    fn weight(&self) -> u64 {
        match self {
            Self::Domain => 1,
            Self::Instance(id) => 1 + id.weight(),
        }
    }
}

impl Weigh for Refusal {
    fn weight(&self) -> u64 {
        match self {
            Self::Paused | Self::Budget(_) | Self::BackingOff(_) => 9,
            Self::Blind(text) | Self::Brake(text) | Self::Quota(text) | Self::Invalid(text) | Self::Other(text) => 1 + text.weight(),
        }
    }
}

impl Weigh for Verdict {
    fn weight(&self) -> u64 {
        // Status and wake-up are numbers.
        self.memory.weight() + self.reason.weight() + self.figures.weight() + self.options.weight() + 24
    }
}

impl Weigh for Failure {
    fn weight(&self) -> u64 {
        match self {
            Self::Config(problems) => 1 + problems.weight(),
            Self::Memory(text) | Self::Other(text) => 1 + text.weight(),
            Self::NotSupported => 1,
        }
    }
}
