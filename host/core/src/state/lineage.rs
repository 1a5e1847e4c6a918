//! The engine of a domain in the fold of its journal: what a fault leads to, and what a swap leaves behind.

use super::{DomainState, Life};
use crate::config::DomainConfig;
use crate::engine::{Compared, EngineHeld, HoldReason, Lineage, Reference, Rejected, Shadow, SwapReason, Swapped};
use crate::record::{EngineInForce, Event, Faulted};
use crate::time::Timestamp;

impl DomainState {
    /// What follows from a fault: nothing most of the time, the version before after as many as the configuration says, or that the engine is
    /// held. A fault of an engine that is not in force any more has no consequences.
    pub(crate) fn after_fault(&self, faulted: &Faulted, hold: Option<HoldReason>) -> Option<Event> {
        if faulted.engine.digest != self.engine.digest || self.life != Life::Active {
            return None;
        }
        let held = |why| Some(Event::Held(EngineHeld { engine: self.engine.clone(), why }));
        if let Some(why) = hold {
            return held(why);
        }
        let faults = self.fault.as_ref().map_or(0, |open| open.counted) + u32::from(faulted.kind.counts());
        if !faulted.kind.counts() || faults < u32::from(self.config.general.roll_back_after) {
            return None;
        }
        let kind = faulted.kind;
        match self.back() {
            Some((engine, reference)) => {
                let (engine, reference) = (engine.clone(), reference.map(str::to_owned));
                Some(Event::Swapped(Swapped { engine, why: SwapReason::RolledBack { kind, faults }, reference }))
            }
            None => held(HoldReason::Failed { kind, faults }),
        }
    }

    /// The version to go back to: the one before that worked, if the configuration still wants it. If what it asks for was changed by a
    /// promotion, and by nobody since, then what it asked for before counts as well, and comes back with that version: a person who writes
    /// another reference wants that one, and a promotion only looked well.
    fn back(&self) -> Option<(&EngineInForce, Option<&str>)> {
        let lineage = self.lineage.as_deref()?;
        let before = lineage.before.as_ref().filter(|before| before.digest != self.engine.digest)?;
        let fits = |reference: &str| reference.parse::<Reference>().is_ok_and(|reference| reference.fits(before));
        if fits(&self.config.general.engine) {
            return Some((before, None));
        }
        let reference = lineage.reference_before.as_deref().filter(|reference| fits(reference))?;
        Some((before, Some(reference)))
    }

    /// Whether what is remembered was written by a version that the domain went back from to the one in force: by a newer one, whoever
    /// went back, or by one that failed, as long as nothing was taken up since.
    pub(crate) fn remembers_what_it_went_back_from(&self) -> bool {
        let (of, engine) = (&self.memory_of, &self.engine);
        let parsed = |it: &EngineInForce| it.version.parse::<semver::Version>().ok();
        let is_newer = parsed(of).zip(parsed(engine)).is_some_and(|(of, in_force)| of > in_force);
        // What has nothing to show and nothing to go back to was gone back to.
        let has_failed = self.lineage.as_ref().is_some_and(|lineage| {
            lineage.since == 0 && lineage.before.is_none() && lineage.rejected.iter().any(|it| it.engine.digest == of.digest)
        });
        of.name == engine.name && of.digest != engine.digest && (is_newer || has_failed)
    }

    /// Whether the engine in force has decided anything: since it came into force, or ever, if what is remembered is of it.
    pub(crate) fn has_worked(&self) -> bool {
        let remembers = self.memory.is_some() && self.memory_of == self.engine;
        remembers || self.decision.sequence > self.lineage.as_ref().map_or(0, |lineage| lineage.since)
    }

    /// Another version comes into force by itself.
    pub(super) fn swapped(&mut self, sequence: u64, at: Timestamp, swapped: &Swapped) {
        let worked = self.has_worked();
        let old = std::mem::replace(&mut self.engine, swapped.engine.clone());
        let fault = self.fault.take();
        let lineage = self.lineage.get_or_insert_default();
        match &swapped.why {
            SwapReason::RolledBack { .. } => {
                let why = fault.map_or_else(String::new, |open| open.message);
                lineage.before = None;
                lineage.reject(Rejected { engine: old, at, why });
            }
            _ => {
                if worked {
                    lineage.before = Some(old);
                }
                lineage.rejected.retain(|it| it.engine.digest != swapped.engine.digest);
            }
        }
        // What a domain goes back to has shown before that it works.
        lineage.since = if matches!(swapped.why, SwapReason::RolledBack { .. }) { 0 } else { sequence };
        lineage.held = None;
        // What ran beside decides now, or is to be compared with something else from now on.
        let promoted = matches!(swapped.why, SwapReason::Promoted { .. });
        if promoted || lineage.shadow.as_ref().is_some_and(|shadow| shadow.engine.digest == swapped.engine.digest) {
            lineage.shadow = None;
        }
        let asked_for = swapped.reference.as_ref().map(|reference| std::mem::replace(&mut self.config.general.engine, reference.clone()));
        // What was asked for before belongs to the version before. A promotion that never decided leaves both to what is taken up for it.
        if asked_for.is_some() || worked || lineage.before.is_none() {
            lineage.reference_before = asked_for;
        }
        self.config_revision += 1;
    }

    /// Somebody changed the configuration, and with it perhaps the engine. Called before the new configuration is in force.
    pub(super) fn chosen(&mut self, sequence: u64, config: &DomainConfig, engine: &EngineInForce) {
        let another = self.engine.digest != engine.digest;
        let worked = self.has_worked();
        if let Some(open) = &mut self.fault {
            // With another configuration everybody begins anew.
            open.counted = 0;
        }
        if self.lineage.is_none() && !another {
            return;
        }
        let asks_for_another = config.general.engine != self.config.general.engine;
        let lineage = self.lineage.get_or_insert_default();
        lineage.held = None;
        if asks_for_another {
            lineage.rejected.clear();
            lineage.reference_before = None;
        }
        if another {
            let same_name = self.engine.name == engine.name;
            // What another engine was configured with this one can't be.
            if worked || !same_name {
                lineage.before = same_name.then(|| self.engine.clone());
                lineage.reference_before = None;
            }
            lineage.since = sequence;
            lineage.rejected.retain(|it| it.engine.digest != engine.digest);
            lineage.shadow.take_if(|shadow| shadow.engine.digest == engine.digest || !same_name);
        }
        self.drop_empty_lineage();
    }

    pub(super) fn shadowed(&mut self, shadow: Option<&Shadow>) {
        self.lineage.get_or_insert_default().shadow = shadow.cloned();
        self.drop_empty_lineage();
    }

    pub(super) fn retried(&mut self) {
        if let Some(lineage) = &mut self.lineage {
            lineage.held = None;
            lineage.rejected.clear();
        }
        if let Some(open) = &mut self.fault {
            open.counted = 0;
        }
        self.drop_empty_lineage();
    }

    pub(super) fn compared(&mut self, compared: &Compared) {
        let shadow = self.lineage.as_mut().and_then(|lineage| lineage.shadow.as_mut());
        if let Some(shadow) = shadow.filter(|shadow| shadow.engine == compared.engine) {
            shadow.tally = compared.tally.clone();
        }
    }

    /// Most domains have none, and there are many domains.
    fn drop_empty_lineage(&mut self) {
        self.lineage.take_if(|lineage| **lineage == Lineage { since: 0, ..Lineage::default() });
    }
}
