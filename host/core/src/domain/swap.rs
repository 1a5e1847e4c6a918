//! Other versions of a domain's engine: those that come into force, and one that runs beside.

use super::Domain;
use crate::cycle::{Cycle, Ran};
use crate::engine::{ShadowCycle, Shadowing, SwapReason, Swapped};
use crate::record::{Decision, EngineInForce, Event, Record};
use crate::state::Life;
use crate::time::{Millis, Timestamp};

impl Domain {
    /// The record that puts another version into force, which the configuration follows. Nothing while an engine decides: a swap happens
    /// between two decisions. Nothing either while a newer version is to be followed and another one runs beside: whoever asked for that wants
    /// to see first.
    pub fn swap(&self, engine: &EngineInForce, why: SwapReason, now: Timestamp) -> Option<Record> {
        let waits = self.deciding || (why == SwapReason::Followed && self.state.shadow().is_some());
        if waits || self.state.life != Life::Active || self.state.engine.digest == engine.digest {
            return None;
        }
        let swapped = Swapped { engine: engine.clone(), why, reference: None };
        Some(Record::new(self.time(now).max(self.state.now), self.state.epoch, vec![Event::Swapped(swapped)]))
    }

    /// Whether a decision is under way.
    pub fn is_deciding(&self) -> bool {
        self.deciding
    }

    /// What runs beside, as far as this host knows.
    pub fn shadowing(&self) -> Option<&Shadowing> {
        self.shadowing.as_deref()
    }

    /// A cycle for what runs beside, in which it sees what `cycle` shows to the engine in force. Nothing when nothing runs
    /// beside, or what does has failed and is left alone for a while.
    pub fn shadow_cycle(&mut self, cycle: &Cycle) -> Option<ShadowCycle> {
        let shadowing = self.shadowing.as_mut()?;
        (!shadowing.rests(cycle.now())).then(|| shadowing.cycle(cycle.twin()))
    }

    /// A call of what runs beside that has just come back had a thread for so long: it is left alone as long, as engines in force are.
    pub fn shadow_called_for(&mut self, took: Millis, now: Timestamp) {
        let until = self.time(now) + took;
        if let Some(shadowing) = &mut self.shadowing {
            shadowing.rest_until(until);
        }
    }

    /// Takes what the shadow wanted in a cycle in which the engine in force decided as told. `carried_out`: nothing of that was taken back, and
    /// it is on record if it is worth that. Returns what to append; that may bring the shadow into force.
    pub fn compare(&mut self, ran: Ran, decided: &Decision, carried_out: bool, now: Timestamp) -> Option<Record> {
        let now = self.time(now).max(self.state.now);
        let (state, shadowing) = (&self.state, self.shadowing.as_mut()?);
        if state.life != Life::Active {
            return None;
        }
        let before = shadowing.tally().compared;
        let compared = shadowing.compare(ran, decided, carried_out, state, now);
        let was_compared = shadowing.tally().compared > before;
        let promoted = promoted(shadowing, state, now).filter(|_| was_compared && !self.deciding);
        // What it has shown is on record before it comes into force.
        let compared = compared.or_else(|| promoted.is_some().then(|| shadowing.on_record(None, decided.based_on)));
        let events: Vec<Event> =
            [compared.map(|it| Event::Compared(Box::new(it))), promoted.map(Event::Swapped)].into_iter().flatten().collect();
        (!events.is_empty()).then(|| Record::new(now, state.epoch, events))
    }

    /// The shadow's call did not come back, or could not be made.
    pub fn shadow_failed(&mut self, words: String, now: Timestamp) -> Option<Record> {
        let now = self.time(now).max(self.state.now);
        let compared = self.shadowing.as_mut()?.failed(words, &self.state, now)?;
        let active = self.state.life == Life::Active;
        active.then(|| Record::new(now, self.state.epoch, vec![Event::Compared(Box::new(compared))]))
    }

    /// Keeps what runs beside as the record says.
    pub(super) fn follow_shadow(&mut self, now: Timestamp) {
        let Some(shadow) = self.state.shadow() else {
            self.shadowing = None;
            return;
        };
        if self.shadowing.as_ref().is_none_or(|shadowing| !shadowing.is_of(shadow)) {
            self.shadowing = Some(Box::new(Shadowing::begin(shadow, now)));
        }
    }
}

/// What brings a shadow into force that has wanted the same for long enough.
fn promoted(shadowing: &Shadowing, state: &crate::state::DomainState, now: Timestamp) -> Option<Swapped> {
    let shadow = state.shadow()?;
    let quiet = now.since(shadowing.quiet_since());
    if quiet < shadow.promote_after? {
        return None;
    }
    let fits = state.config.general.engine.parse::<crate::engine::Reference>().is_ok_and(|reference| reference.fits(&shadow.engine));
    let why = SwapReason::Promoted { quiet, by: shadow.by.clone() };
    Some(Swapped { engine: shadow.engine.clone(), why, reference: (!fits).then(|| shadow.reference.clone()) })
}
