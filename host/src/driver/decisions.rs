//! How asking engines has been going on this host: what was decided, how late, and the newest faults. All of it begins with the process; the
//! journal has the rest.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use pilothouse_core::engine::{HoldReason, SwapReason};
use pilothouse_core::name::DomainKey;
use pilothouse_core::record::{Event, Record};
use pilothouse_core::time::Timestamp;

use crate::api::{DecisionFigures, EngineFault};

/// How many faults are remembered: the newest.
const FAULTS: usize = 1000;

/// The longest lateness that is told apart, in microseconds.
const LATEST: u64 = 600_000_000;

/// The decisions of one host.
pub(crate) struct Decisions(Mutex<Counts>);

struct Counts {
    figures: DecisionFigures,
    lateness: Histogram<u64>,
    faults: VecDeque<EngineFault>,
}

impl std::fmt::Debug for Decisions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decisions").finish_non_exhaustive()
    }
}

impl Counts {
    /// Notes what the newest fault of a domain led to, if it is of the same record.
    fn led_to(&mut self, domain: &DomainKey, at: Timestamp, what: String) {
        let newest = self.faults.back_mut().filter(|it| (&it.owner, &it.domain, it.at) == (&domain.owner, &domain.name, at));
        if let Some(fault) = newest {
            fault.led_to = Some(what);
        }
    }
}

impl Default for Decisions {
    fn default() -> Self {
        let lateness = Histogram::new_with_bounds(1, LATEST, 2).expect("bounds and digits that a histogram can have");
        Self(Mutex::new(Counts { figures: DecisionFigures::default(), lateness, faults: VecDeque::new() }))
    }
}

impl Decisions {
    /// An engine was asked, so long after it should have been.
    pub(crate) fn began(&self, late: Duration) {
        let mut counts = self.counts();
        counts.figures.asked += 1;
        counts.lateness.saturating_record(u64::try_from(late.as_micros()).unwrap_or(LATEST).max(1));
    }

    /// A shadow was asked.
    pub(crate) fn shadowed(&self) {
        self.counts().figures.shadows += 1;
    }

    /// What a committed record says of engines.
    pub(crate) fn recorded(&self, domain: &DomainKey, record: &Record) {
        for event in &record.events {
            match event {
                Event::Faulted(it) => {
                    let mut counts = self.counts();
                    *counts.figures.faults.entry(it.kind.name().to_owned()).or_default() += 1;
                    if counts.faults.len() == FAULTS {
                        counts.faults.pop_front();
                    }
                    counts.faults.push_back(EngineFault {
                        owner: domain.owner.clone(),
                        domain: domain.name.clone(),
                        at: record.at,
                        engine: it.engine.clone(),
                        call: it.call.clone(),
                        kind: it.kind,
                        message: it.message.clone(),
                        backtrace: it.backtrace.clone(),
                        fuel: it.fuel,
                        counted: it.kind.counts(),
                        led_to: None,
                    });
                }
                Event::Swapped(swapped) => {
                    let is_back = matches!(swapped.why, SwapReason::RolledBack { .. });
                    let mut counts = self.counts();
                    counts.figures.swaps += 1;
                    counts.figures.rolled_back += u64::from(is_back);
                    if is_back {
                        counts.led_to(domain, record.at, format!("back to {}", swapped.engine.version));
                    }
                }
                Event::Held(held) => {
                    let mut counts = self.counts();
                    counts.figures.held += 1;
                    if matches!(held.why, HoldReason::Failed { .. }) {
                        counts.led_to(domain, record.at, "held".to_owned());
                    }
                }
                _ => {}
            }
        }
    }

    /// The newest faults, newest first.
    pub(crate) fn faults(&self) -> Vec<EngineFault> {
        self.counts().faults.iter().rev().cloned().collect()
    }

    /// The figures.
    pub(crate) fn figures(&self) -> DecisionFigures {
        let counts = self.counts();
        let at = |share: f64| counts.lateness.value_at_quantile(share) as f64 / 1e3;
        let lateness: BTreeMap<String, f64> = if counts.lateness.is_empty() {
            BTreeMap::new()
        } else {
            [("p50", at(0.5)), ("p99", at(0.99)), ("max", at(1.0))].map(|(name, value)| (name.to_owned(), value)).into()
        };
        DecisionFigures { lateness_ms: lateness, ..counts.figures.clone() }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
