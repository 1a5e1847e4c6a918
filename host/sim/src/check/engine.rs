//! What records tell of the engine of a domain: which is in force since when, and whether it may be asked.

use std::collections::VecDeque;

use pilothouse_core::engine::SwapReason;
use pilothouse_core::record::{Change, EngineInForce, Event, Record};

use super::rule::{Rule, Violation, broken};

/// Versions that are remembered, each with its beginning: a decision under way began under one of the last few.
const REMEMBERED: usize = 64;

/// The engine in force, and those before it.
#[derive(Debug, Default)]
pub(super) struct InForce {
    /// By the sequence from which on each was in force, oldest first.
    since: VecDeque<(u64, EngineInForce)>,
    /// Nobody may ask it.
    held: bool,
}

impl InForce {
    fn now(&self) -> Option<&EngineInForce> {
        self.since.back().map(|(_, engine)| engine)
    }

    /// What was in force when the journal ended with this sequence.
    fn at(&self, sequence: u64) -> Option<&EngineInForce> {
        self.since.iter().rev().find(|(since, _)| *since <= sequence).map(|(_, engine)| engine)
    }

    fn comes(&mut self, sequence: u64, engine: &EngineInForce) {
        if self.now() != Some(engine) {
            self.since.push_back((sequence, engine.clone()));
        }
        if self.since.len() > REMEMBERED {
            self.since.pop_front();
        }
        self.held = false;
    }

    /// A decision begins.
    pub(super) fn begins(&self) -> Result<(), Violation> {
        match self.now().filter(|_| self.held) {
            Some(engine) => broken(Rule::HeldIsHeld, format!("{} {} was asked, and it is held", engine.name, engine.version)),
            None => Ok(()),
        }
    }

    /// A record was committed, while an engine was being asked or not.
    pub(super) fn committed(&mut self, sequence: u64, record: &Record, asked: bool) -> Result<(), Violation> {
        for (nth, event) in record.events.iter().enumerate() {
            // What a fault leads to stands behind it.
            let fault = nth.checked_sub(1).and_then(|before| match &record.events[before] {
                Event::Faulted(fault) => Some(fault),
                _ => None,
            });
            match event {
                Event::Configured(configured) => match &configured.change {
                    Change::Added { engine, .. } => {
                        self.since.clear();
                        self.comes(sequence, engine);
                    }
                    Change::Reconfigured { engine, .. } => self.comes(sequence, engine),
                    Change::Retried => self.held = false,
                    _ => {}
                },
                Event::Restored(restored) => {
                    self.since.clear();
                    self.comes(sequence, &restored.state.engine);
                    self.held = restored.state.held().is_some();
                }
                Event::Decided(decision) => {
                    let in_force = self.at(decision.based_on);
                    if in_force.is_some_and(|engine| *engine != decision.engine) {
                        let (name, version, based_on) = (&decision.engine.name, &decision.engine.version, decision.based_on);
                        let seen =
                            format!("record {sequence} tells of a decision of {name} {version}, which was not in force at {based_on}");
                        return broken(Rule::DecidedInForce, seen);
                    }
                }
                Event::Swapped(swapped) => {
                    let EngineInForce { name, version, .. } = &swapped.engine;
                    if fault.is_some() != matches!(swapped.why, SwapReason::RolledBack { .. }) {
                        let seen = format!("record {sequence} puts {name} {version} into force, and a fault is or is not why");
                        return broken(Rule::DecidedInForce, seen);
                    }
                    if asked {
                        let seen = format!("record {sequence} puts {name} {version} into force while the one before is asked");
                        return broken(Rule::DecidedInForce, seen);
                    }
                    if fault.is_some_and(|fault| Some(&fault.engine) != self.now()) {
                        let seen = format!("record {sequence} puts {name} {version} into force for a fault of one that was not");
                        return broken(Rule::DecidedInForce, seen);
                    }
                    if Some(&swapped.engine) == self.now() {
                        return broken(
                            Rule::DecidedInForce,
                            format!("record {sequence} puts {name} {version} into force, which is in force"),
                        );
                    }
                    self.comes(sequence, &swapped.engine);
                }
                Event::Held(held) => {
                    let EngineInForce { name, version, .. } = &held.engine;
                    if fault.is_none() || Some(&held.engine) != self.now() {
                        let seen = format!("record {sequence} holds {name} {version}, and no fault of the engine in force leads to it");
                        return broken(Rule::HeldIsHeld, seen);
                    }
                    self.held = true;
                }
                Event::Removed => *self = Self::default(),
                _ => {}
            }
        }
        Ok(())
    }
}
