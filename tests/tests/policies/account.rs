//! What an account of its own makes of every step, for every engine alike: numbers, identities, configurations.

use std::collections::{BTreeMap, BTreeSet};

use pilothouse_core::id::InstanceId;
use pilothouse_core::instance::Instance;
use pilothouse_core::record::{Decision, Event as Recorded, Record};
use pilothouse_core::state::DomainState;
use pilothouse_core::time::Timestamp;
use pilothouse_sim::Line;
use pilothouse_sim::event::{Event, Of, Reading};
use pilothouse_sim::swarm::Failure;
use pilothouse_sim::tick::{Said, TickKind};

use crate::edges::Edges;
use crate::kind::{Kind, Own};
use crate::readings::Readings;

/// A step and what came of it.
pub(crate) struct Seen<'a> {
    pub(crate) now: Timestamp,
    pub(crate) event: &'a Event,
    pub(crate) before: &'a DomainState,
    pub(crate) lines: &'a [Line],
    pub(crate) records: &'a [Record],
    pub(crate) after: &'a DomainState,
}

/// What an engine looks at while it decides.
pub(crate) struct Looked {
    pub(crate) state: DomainState,
    pub(crate) now: Timestamp,
    pub(crate) readings: Readings,
}

impl Looked {
    /// The valid instances that the host advises to replace, but for those that an operator keeps.
    pub(crate) fn ill(&self) -> BTreeSet<&InstanceId> {
        self.state.instances().filter(|it| is_ill(it)).map(|it| &it.id).collect()
    }

    /// How many places are taken by those that are well.
    pub(crate) fn well(&self) -> u32 {
        self.state.instances().filter(|it| it.state.is_valid() && !it.is_unhealthy()).count() as u32
    }

    /// How many places are taken: the valid ones without those that are to be replaced.
    pub(crate) fn taken(&self) -> u32 {
        self.state.counts().valid - self.ill().len() as u32
    }
}

fn is_ill(instance: &Instance) -> bool {
    instance.state.is_valid() && instance.is_unhealthy() && !instance.protected
}

/// What came of asking an engine.
pub(crate) struct Decided<'a> {
    pub(crate) looked: &'a Looked,
    pub(crate) said: &'a Said,
    /// Nothing when the decision was quiet.
    pub(crate) decision: Option<&'a Decision>,
    /// Launches that guards held back.
    pub(crate) held_back: u32,
}

/// What was seen of a domain.
pub(crate) struct Account<K: Kind> {
    readings: Readings,
    /// What an engine that takes its time looks at.
    asked: Option<Looked>,
    /// What is reckoned for this engine alone.
    pub(crate) own: K::Own,
}

impl<K: Kind> Default for Account<K> {
    fn default() -> Self {
        Self { readings: Readings::default(), asked: None, own: K::Own::default() }
    }
}

/// A promise that was not kept.
pub(crate) fn unkept(promise: &'static str, seen: impl Into<String>) -> Failure {
    Failure::Unkept { promise, seen: seen.into() }
}

impl<K: Kind> Account<K> {
    /// Looks at a step.
    ///
    /// # Errors
    /// The promise that it breaks.
    pub(crate) fn look(&mut self, seen: &Seen<'_>, edges: &mut Edges) -> Result<(), Failure> {
        let conf = seen.after.engine_conf();
        if !K::is_good(&conf) {
            return Err(unkept("a configuration that contradicts itself is refused", format!("{conf:?} is in force")));
        }
        doubled::<K>(seen.after)?;
        match seen.event {
            Event::Reading(reading) => self.read(reading, seen),
            Event::Ask => drop(self.asked.get_or_insert_with(|| looked(&self.readings, seen))),
            Event::Restart => {
                edges.reach("a restart while an engine decides", self.asked.is_some());
                edges.reach("a restart in a cooldown", self.own.rests_until().is_some_and(|until| until > seen.now));
                (self.asked, self.readings) = (None, Readings::default());
            }
            Event::Reconfigure(_) => {
                let refused = |word: &str| seen.lines.iter().any(|line| matches!(line, Line::Event { what, .. } if what.contains(word)));
                edges.reach("a configuration that contradicts itself is refused", refused("refused: /engine_conf"));
                edges.reach("another configuration in a cooldown", self.own.rests_until().is_some_and(|until| until > seen.now));
            }
            Event::Tick(TickKind::Decide) => {
                let looked = self.asked.take().unwrap_or_else(|| looked(&self.readings, seen));
                self.decided(&looked, seen, edges)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn read(&mut self, reading: &Reading, seen: &Seen<'_>) {
        let of: Vec<Option<InstanceId>> = match &reading.of {
            None => vec![None],
            Some(Of::Each(all)) => all.iter().filter_map(|nth| seen.before.instance_at(*nth)).map(|it| Some(it.id.clone())).collect(),
            // The dice name nobody in another way.
            Some(_) => Vec::new(),
        };
        for of in of {
            reading.value.into_iter().for_each(|value| self.readings.put(of.clone(), seen.now, value));
        }
    }

    fn decided(&mut self, looked: &Looked, seen: &Seen<'_>, edges: &mut Edges) -> Result<(), Failure> {
        let Some(Line::Tick(tick)) = seen.lines.first() else { return Ok(()) };
        if let Some(fault) = tick.faults.first() {
            return Err(unkept("the engine does not fail", fault));
        }
        let Some(said) = &tick.engine else { return Ok(()) };
        let decision = seen.records.iter().flat_map(|record| &record.events).find_map(|event| match event {
            Recorded::Decided(decision) => Some(&**decision),
            _ => None,
        });
        let (counts, ill) = (looked.state.counts(), looked.ill());
        edges.reach("no instances", counts.valid == 0);
        edges.reach("all unhealthy", counts.valid > 0 && ill.len() == counts.valid as usize);
        edges.reach("N or maximum = 0", K::most(&looked.state.engine_conf()) == 0);
        if let Some(decision) = decision {
            kept_to_its_number::<K>(looked, decision, seen.after)?;
            let dropped = |word: &str| decision.terminations.iter().flat_map(|it| &it.dropped).any(|(_, why)| why.contains(word));
            edges.reach("a victim recovers while the engine decides", dropped("recovered"));
            edges.reach("a victim is protected while the engine decides", dropped("protected"));
            edges.reach("a victim is held back", decision.terminations.iter().any(|it| !it.deferred.is_empty()));
            let fell =
                |launch: &pilothouse_core::record::DecidedLaunch| launch.refused.as_ref().is_some_and(|it| it.contains("is not replaced"));
            edges.reach("a launch falls with the end of whom it replaces", decision.launches.iter().any(fell));
            edges.reach("a launch in the place of another", decision.launches.iter().any(|it| it.replaces.is_some()));
        }
        let held_back = tick.refusals.iter().filter(|it| it.request == "launch").map(|it| it.held_back).sum();
        self.own.decided(&Decided { looked, said, decision, held_back }, edges)
    }
}

fn looked(readings: &Readings, seen: &Seen<'_>) -> Looked {
    Looked { state: seen.before.clone(), now: seen.now, readings: readings.clone() }
}

/// No two valid instances have one identity. One that is on its way out is not valid.
fn doubled<K: Kind>(state: &DomainState) -> Result<(), Failure> {
    let mut holders = BTreeMap::new();
    for instance in state.instances().filter(|it| it.state.is_valid()) {
        let Some(identity) = K::identity(instance) else { continue };
        if let Some(other) = holders.insert(identity.clone(), instance.ordinal) {
            let seen = format!("#{other} and #{} both are {identity}", instance.ordinal);
            return Err(unkept("nobody who is unique is there twice", seen));
        }
    }
    Ok(())
}

/// A decision that launches brings a domain to its number and not above it, but for those whom guards, people or events kept from going.
fn kept_to_its_number<K: Kind>(looked: &Looked, decision: &Decision, after: &DomainState) -> Result<(), Failure> {
    let launched: usize = decision.launches.iter().map(|it| it.instances.len()).sum();
    if launched == 0 || decision.dry_run || K::leaves_alone(&looked.state.engine_conf()) {
        return Ok(());
    }
    let kept = decision.terminations.iter().flat_map(|it| it.deferred.iter().chain(it.dropped.iter().map(|(id, _)| id)));
    let kept: BTreeSet<&InstanceId> = kept.chain(looked.ill()).collect();
    // Whoever fell ill or was protected since the engine looked: it could not ask for their end, or not know that it would be in vain.
    let stays = |it: &Instance| it.state.is_valid() && (kept.contains(&it.id) || is_ill(it) || K::spares(it));
    let (valid, stay) = (after.counts().valid, after.instances().filter(|it| stays(it)).count() as u32);
    let most = K::most(&looked.state.engine_conf());
    if valid > most + stay {
        let seen =
            format!("{valid} are valid after {launched} were launched, {stay} of them kept from going, and {most} are wanted at most");
        return Err(unkept("no launch leads above the number", seen));
    }
    Ok(())
}
