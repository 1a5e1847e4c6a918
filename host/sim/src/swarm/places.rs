//! Where scenarios came: a swarm that never launches proves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use pilothouse_core::engine::{HoldReason, SwapReason};
use pilothouse_core::instance::{Health, State};
use pilothouse_core::record::{Change, Decision, Event, Judged, Judgement, Prepared, Record, Reported};
use pilothouse_core::state::{DomainState, Life};

use crate::event::Event as Step;
use crate::tick::{Line, Tick, TickKind};

/// How often something happened, by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    counts: BTreeMap<&'static str, u64>,
    /// Instances whose launch was asked for, to know one that is asked for again.
    asked: BTreeSet<u64>,
    /// The engine that decides, to know when another one does.
    engine: Option<String>,
}

impl Places {
    /// Everything that is worth getting to.
    pub const ALL: [&'static str; 69] = [
        "launches",
        "launches granted in part",
        "launches asked for again",
        "launches that stalled",
        "launches given up",
        "launches that failed",
        "terminations",
        "requests to terminate",
        "requests that were lost",
        "requests for the state",
        "dry runs",
        "drips",
        "held by pause",
        "held by protection",
        "held by blind",
        "held by brake: launches",
        "held by brake: terminations",
        "held by budget: launches",
        "held by budget: terminations",
        "held by quota",
        "held by back-off",
        "faults",
        "quiet decisions",
        "engines initialized",
        "engines reconfigured",
        "out of contact",
        "missing",
        "asked for a sign of life",
        "monitor errors",
        "process errors",
        "recovered",
        "zombies",
        "undead",
        "undead settled",
        "told of an end by a provisioner",
        "reaped",
        "pauses",
        "reconfigurations",
        "reconfigurations refused",
        "maximum lowered below what is there",
        "brakes released",
        "restarts",
        "restarts with promised work",
        "restarts in a removal",
        "restarts from a snapshot",
        "restarts with zombies",
        "removals",
        "removals completed",
        "abandoned with instances",
        "killed",
        "kills refused",
        "protected",
        "protected no more",
        "subscribed",
        "unsubscribed",
        "subscribers told",
        "messages refused",
        "references to nobody",
        "versions swapped",
        "versions swapped while another is asked",
        "rolled back",
        "engines held",
        "held for their memory",
        "asked while held",
        "given another chance",
        "replaced by another engine",
        "shadows",
        "shadows that differ",
        "shadows that come into force",
    ];

    /// How often something happened.
    pub fn count(&self, place: &str) -> u64 {
        self.counts.get(place).copied().unwrap_or(0)
    }

    /// Where nobody came.
    pub fn missing(&self) -> Vec<&'static str> {
        Self::ALL.into_iter().filter(|place| self.count(place) == 0).collect()
    }

    /// Takes in where another scenario came.
    pub fn add(&mut self, other: &Self) {
        for (place, count) in &other.counts {
            *self.counts.entry(place).or_default() += count;
        }
    }

    fn came(&mut self, place: &'static str) {
        debug_assert!(Self::ALL.contains(&place), "{place}");
        *self.counts.entry(place).or_default() += 1;
    }

    fn came_if(&mut self, is_so: bool, place: &'static str) {
        if is_so {
            self.came(place);
        }
    }

    /// A step is carried out over this state.
    pub(super) fn before(&mut self, step: &Step, state: &DomainState) {
        self.came_if(*step == Step::Abandon && state.alive() > 0 && state.life == Life::Active, "abandoned with instances");
        self.came_if(matches!(step, Step::Tick(TickKind::Decide)) && state.held().is_some(), "asked while held");
        if *step == Step::Restart {
            self.came("restarts");
            self.came_if(state.promised().next().is_some(), "restarts with promised work");
            self.came_if(state.life == Life::Removing, "restarts in a removal");
            self.came_if(state.snapshot > 0, "restarts from a snapshot");
            self.came_if(state.instances().any(|it| it.health == Health::Zombie), "restarts with zombies");
        }
    }

    /// A step was carried out, and this is what it showed.
    pub(super) fn after(&mut self, step: &Step, lines: &[Line], state: &DomainState) {
        for line in lines {
            match line {
                Line::Tick(tick) => self.tick(tick),
                Line::Event { what, .. } if what.starts_with("refused: ") => self.came(match step {
                    Step::Reconfigure(_) => "reconfigurations refused",
                    Step::Kill(_) => "kills refused",
                    Step::Swap(_) if what.ends_with("being asked") => "versions swapped while another is asked",
                    _ => "messages refused",
                }),
                Line::Event { what, .. } => self.came_if(what.contains("(nobody is)"), "references to nobody"),
                Line::Scenario { .. } | Line::End(_) => {}
            }
        }
        if matches!(step, Step::Reconfigure(_)) {
            self.came_if(state.alive() > state.config.general.max_instances, "maximum lowered below what is there");
        }
    }

    fn tick(&mut self, tick: &Tick) {
        for refusal in &tick.refusals {
            self.came(match (refusal.guard, refusal.request) {
                ("pause", _) => "held by pause",
                ("protection", _) => "held by protection",
                ("blind", _) => "held by blind",
                ("brake", "launch") => "held by brake: launches",
                ("brake", _) => "held by brake: terminations",
                ("budget", "launch") => "held by budget: launches",
                ("budget", _) => "held by budget: terminations",
                _ if refusal.because.contains("keep failing") => "held by back-off",
                _ => "held by quota",
            });
        }
        for message in &tick.provisions.new {
            let again = message.instances.iter().filter(|nth| !self.asked.insert(**nth)).count();
            self.came_if(again > 0, "launches asked for again");
        }
        self.came_if(!tick.terminations.new.is_empty(), "requests to terminate");
        self.came_if(tick.provisions.new.iter().chain(&tick.terminations.new).any(|it| it.lost), "requests that were lost");
        self.came_if(!tick.dumps.new.is_empty(), "requests for the state");
        self.came_if(!tick.probes.new.is_empty(), "asked for a sign of life");
        self.came_if(tick.notifications.new.iter().any(|told| !told.to.is_empty()), "subscribers told");
        self.came_if(tick.engine.as_ref().is_some_and(|said| !said.recorded), "quiet decisions");
    }

    /// The journal says so.
    pub(super) fn recorded(&mut self, record: &Record) {
        for event in &record.events {
            match event {
                Event::Decided(decision) => self.decided(decision),
                Event::Faulted(_) => self.came("faults"),
                Event::Reported(reported) => self.reported(reported),
                Event::Judged(judged) => self.judged(judged),
                Event::Configured(configured) => match configured.change {
                    Change::Reconfigured { ref engine, .. } => {
                        self.came("reconfigurations");
                        self.came_if(self.engine.as_ref().is_some_and(|before| *before != engine.name), "replaced by another engine");
                        self.engine = Some(engine.name.clone());
                    }
                    Change::Added { ref engine, .. } => self.engine = Some(engine.name.clone()),
                    Change::Paused(true) => self.came("pauses"),
                    Change::BrakeReleased => self.came("brakes released"),
                    Change::Removing => self.came("removals"),
                    Change::Killed { .. } => self.came("killed"),
                    Change::Protected { on: true, .. } => self.came("protected"),
                    Change::Protected { on: false, .. } => self.came("protected no more"),
                    Change::Subscribed(_) => self.came("subscribed"),
                    Change::Unsubscribed { .. } => self.came("unsubscribed"),
                    Change::Retried => self.came("given another chance"),
                    Change::Shadowed(Some(_)) => self.came("shadows"),
                    _ => {}
                },
                Event::Removed => self.came("removals completed"),
                Event::Scheduled(_) => self.came("windows of the schedule"),
                Event::Swapped(swapped) => self.came(match swapped.why {
                    SwapReason::RolledBack { .. } => "rolled back",
                    SwapReason::Promoted { .. } => "shadows that come into force",
                    _ => "versions swapped",
                }),
                Event::Held(held) => self.came(match held.why {
                    HoldReason::Failed { .. } => "engines held",
                    HoldReason::MemoryRefused { .. } => "held for their memory",
                }),
                Event::Compared(compared) => self.came_if(compared.tally.differed > 0, "shadows that differ"),
                Event::Took { .. } | Event::Snapshot(_) | Event::Restored(_) => {}
            }
        }
    }

    fn decided(&mut self, decision: &Decision) {
        match decision.prepared {
            Some(Prepared::Initialized) => self.came("engines initialized"),
            Some(Prepared::Reconfigured) => self.came("engines reconfigured"),
            Some(Prepared::Refused) | None => {}
        }
        if decision.dry_run {
            self.came("dry runs");
            return;
        }
        for launch in decision.launches.iter().filter(|launch| !launch.instances.is_empty()) {
            self.came("launches");
            self.came_if(launch.instances.len() < launch.asked as usize, "launches granted in part");
        }
        for termination in &decision.terminations {
            self.came_if(!termination.accepted.is_empty(), "terminations");
            self.came_if(termination.dripped, "drips");
        }
    }

    fn reported(&mut self, reported: &Reported) {
        match reported.state {
            Some(State::Failed | State::Rejected) => self.came("launches that failed"),
            Some(State::Terminating) => self.came("told of an end by a provisioner"),
            _ => {}
        }
        match reported.undead {
            Some(true) => self.came("undead"),
            Some(false) => self.came("undead settled"),
            None => {}
        }
    }

    fn judged(&mut self, judged: &Judged) {
        match &judged.verdict {
            Judgement::Health { health, .. } => match health {
                Health::OutOfContact => self.came("out of contact"),
                Health::Missing => self.came("missing"),
                Health::MonitorError => self.came("monitor errors"),
                Health::ProcessError => self.came("process errors"),
                Health::Ok => self.came("recovered"),
                Health::Zombie => self.came("zombies"),
                Health::Unknown => {}
            },
            Judgement::Stalled => self.came("launches that stalled"),
            Judgement::Ended { reason } => self.came_if(reason.contains("launch time-out"), "launches given up"),
            Judgement::Reaped => self.came("reaped"),
        }
    }
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Self::ALL.into_iter().try_for_each(|place| writeln!(f, "{:>8}  {place}", self.count(place)))
    }
}
