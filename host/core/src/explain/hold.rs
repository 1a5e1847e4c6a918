//! What holds a domain back: why it does not do, at a moment, what its engine would want or what was promised.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::engine::{newest_fault, reference_of, rolled_back};
use super::{FaultTold, View};
use crate::cycle::{FaultKind, Status};
use crate::engine::{EngineHeld, HoldReason, Rejected};
use crate::guard::{Brake, Guard, Ruling};
use crate::instance::{Instance, State};
use crate::name::Name;
use crate::promise::RETRY_AFTER;
use crate::record::{Change, Configured, Decision, EngineInForce, Event, Prepared};
use crate::state::{Life, OpenFault};
use crate::time::{Millis, Timestamp};

/// How long a launch may go unacknowledged before that is told: its request was sent again twice by then.
const UNACKNOWLEDGED: Millis = Millis::new(2 * RETRY_AFTER.get());

/// How long a termination may go unconfirmed before that is told: programs may take their time to stop.
const UNCONFIRMED: Millis = Millis::from_secs(60);

/// Something that holds a domain back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "hold", rename_all = "snake_case")]
pub enum Hold {
    /// It is being removed: its engine is not asked any more.
    Removing {
        /// Who asked for that; nothing where it is no longer on record, here and below.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Name>,
        /// Since when.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Timestamp>,
        /// Instances that are not confirmed to be gone.
        left: u32,
        /// Nobody waits for them any more.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        abandoned: bool,
    },
    /// Its host was disabled, and there is no other: no engine is asked. Not on record: the driver adds it to an answer about now.
    Disabled {
        /// The host.
        host: Name,
        /// Who disabled it.
        by: Name,
        /// Since when.
        since: Timestamp,
    },
    /// Its engine is not asked any more, until somebody changes something.
    EngineHeld {
        /// Since when.
        since: Timestamp,
        /// Which engine.
        engine: EngineInForce,
        /// Why.
        why: HoldReason,
        /// The newest call of it that failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<Box<FaultTold>>,
    },
    /// It went back from a version that it would have otherwise.
    RolledBack {
        /// When.
        since: Timestamp,
        /// From which version.
        from: EngineInForce,
        /// The version in force.
        to: EngineInForce,
        /// Why, in words.
        why: String,
        /// What the configuration asked for while that version was promoted, where that version does not fit the present one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
        /// The newest call of the rejected version that failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<Box<FaultTold>>,
    },
    /// A newer version is not taken up, because it would not take the configuration. Not on record: the driver adds it to an answer about
    /// now.
    VersionRefused {
        /// Which version.
        engine: EngineInForce,
        /// In its words.
        why: String,
    },
    /// A newer version is not taken up, because its host can't use it. Not on record: the driver adds it to an answer about now.
    VersionUnusable {
        /// Which version.
        engine: EngineInForce,
        /// Why not.
        why: String,
    },
    /// Calls of its engine fail, so nothing is decided.
    Failing {
        /// Since when.
        since: Timestamp,
        /// How many calls in a row.
        in_a_row: u32,
        /// What sort of fault it was last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<FaultKind>,
        /// In words, with its kind.
        message: String,
        /// Where in the engine it failed last, innermost first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        backtrace: Vec<String>,
        /// Units of fuel that its last call had used up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fuel: Option<u64>,
        /// What the engine logged last, before it failed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        log: Vec<String>,
    },
    /// A call of its engine takes so long that the next one waits. Not on record: the driver adds it to an answer about now.
    Rests {
        /// How long the newest call took.
        took: Millis,
        /// When the next may begin.
        until: Timestamp,
    },
    /// What its engine decides takes so much of the journal that the next decision waits. Not on record: the driver adds it to an answer
    /// about now.
    WritesTooMuch {
        /// What a domain may add to the journal in a minute.
        bytes_a_minute: u64,
        /// When the next decision may begin.
        until: Timestamp,
    },
    /// Its engine says that its policy can't be kept.
    GaveUp {
        /// In its words.
        reason: String,
    },
    /// Its engine may ask for nothing.
    Paused {
        /// Who paused it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Name>,
        /// Since when.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Timestamp>,
        /// What was refused for it.
        held: Held,
    },
    /// What its engine asks for is only recorded.
    DryRun {
        /// Who switched that on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Name>,
        /// Since when.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Timestamp>,
        /// What was only recorded.
        held: Held,
    },
    /// Its host can't see: silence proves nothing.
    Blind {
        /// Since when.
        since: Timestamp,
        /// Why.
        why: String,
        /// Terminations that wait for it.
        held: Held,
    },
    /// Too many turned unhealthy at once to be believed.
    Brake {
        /// Of one site; nothing for the domain as a whole.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        site: Option<String>,
        /// How many turned.
        unhealthy: u32,
        /// Of how many.
        of: u32,
        /// When the first of them did.
        since: Timestamp,
        /// When the last of them did.
        until: Timestamp,
        /// How many launches may still replace them.
        surge: u32,
        /// From when on terminations go one at a time.
        drips_from: Timestamp,
        /// The pause between two of those.
        drips_every: Millis,
        /// What waits for it.
        held: Held,
    },
    /// Launches at a site fail, so the next ones wait.
    BackingOff {
        /// Which site.
        site: String,
        /// How many launches failed in a row.
        failures: u32,
        /// When the next may go.
        until: Timestamp,
        /// Why the newest of them failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Launches that wait for it.
        held: Held,
    },
    /// Another guard held back what the newest decision on record asked for.
    Guard {
        /// Which.
        guard: Guard,
        /// In its words.
        note: String,
        /// What it held back.
        held: Held,
        /// The journal sequence of that decision.
        sequence: u64,
        /// When it was made.
        at: Timestamp,
    },
    /// A provisioner does not answer.
    Unanswered {
        /// Of which site.
        site: String,
        /// What it was asked for.
        requested: Requested,
        /// For how many instances.
        count: u32,
        /// Since when, the oldest of them.
        since: Timestamp,
    },
    /// Its engine would not take up the configuration, and goes on with what it knew.
    Refused {
        /// The revision.
        revision: u64,
        /// When it was offered.
        at: Timestamp,
    },
}

/// How much of what the newest decision on record asked for was held back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Held {
    /// Launches.
    pub launches: u32,
    /// Terminations.
    pub terminations: u32,
}

/// What a provisioner can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Requested {
    /// To start an instance.
    Launch,
    /// To end one.
    Termination,
}

/// All that holds a domain back, what matters most first.
pub(super) fn holds(view: &View<'_>) -> Vec<Hold> {
    let state = view.state;
    let mut holds = Vec::new();
    if state.life == Life::Removing {
        let (by, since) = asked_for(view, |change| matches!(change, Change::Removing | Change::Abandoned));
        holds.push(Hold::Removing { by, since, left: state.alive(), abandoned: state.abandoned });
    } else if state.life == Life::Active {
        by_engine_and_people(view, &mut holds);
        by_guards(view, &mut holds);
        holds.extend(refused(view));
        holds.extend(went_back(view));
    }
    unanswered(view, &mut holds);
    holds
}

fn by_engine_and_people(view: &View<'_>, holds: &mut Vec<Hold>) {
    let state = view.state;
    let held = newest_decision(view).map(|(.., decision)| held_by(decision)).unwrap_or_default();
    let held = |guard: Guard| held.get(&guard).map(|(held, _)| *held).unwrap_or_default();
    if let Some((since, EngineHeld { engine, why })) = state.held() {
        // Its fault is told with it: nobody asks it for another one.
        let fault = newest_fault(view, &engine.digest).map(Box::new);
        holds.push(Hold::EngineHeld { since: *since, engine: engine.clone(), why: why.clone(), fault });
    } else if let Some(OpenFault { message, in_a_row, since, .. }) = &state.fault {
        let newest = newest_fault(view, &state.engine.digest);
        let (kind, fuel) = newest.as_ref().map(|it| (it.kind, it.fuel)).unzip();
        let (backtrace, log) = newest.map(|it| (it.backtrace, it.log)).unwrap_or_default();
        holds.push(Hold::Failing { since: *since, in_a_row: *in_a_row, kind, message: message.clone(), backtrace, fuel, log });
    }
    if state.paused {
        let (by, since) = paused_by(view);
        holds.push(Hold::Paused { by, since, held: held(Guard::Pause) });
    }
    if state.dry_run {
        let (by, since) = asked_for(view, |change| matches!(change, Change::DryRun(_)));
        holds.push(Hold::DryRun { by, since, held: held(Guard::DryRun) });
    }
    if let Some((since, why)) = view.eyes.and_then(|eyes| eyes.blind_since.clone()) {
        holds.push(Hold::Blind { since, why, held: held(Guard::Blind) });
    }
    if state.decision.status == Status::Failed && state.fault.is_none() {
        holds.push(Hold::GaveUp { reason: state.decision.reason.clone() });
    }
}

fn by_guards(view: &View<'_>, holds: &mut Vec<Hold>) {
    let state = view.state;
    let newest = newest_decision(view);
    let mut held = newest.map(|(.., decision)| held_by(decision)).unwrap_or_default();
    for brake in brakes(view) {
        let config = &state.config.general.brake;
        let next = state.brake_dripped.map_or(Timestamp::ZERO, |last| last + config.drip_every);
        holds.push(Hold::Brake {
            site: brake.site,
            unhealthy: brake.unhealthy,
            of: brake.of,
            since: brake.since,
            until: brake.until,
            surge: brake.surge,
            drips_from: (brake.until + config.drip_after).max(next),
            drips_every: config.drip_every,
            held: held.remove(&Guard::Brake).map(|(held, _)| held).unwrap_or_default(),
        });
    }
    let waits = |(_, record): &(_, &crate::state::SiteRecord)| record.backing_off_until.filter(|until| *until > view.now);
    for (site, record) in &state.sites {
        if let Some(until) = waits(&(site, record)) {
            let reason = newest_failure(view, site);
            let held = newest.map(|(.., decision)| backed_off(decision, site)).unwrap_or_default();
            holds.push(Hold::BackingOff { site: site.clone(), failures: record.failures, until, reason, held });
        }
    }
    let backed_off: u32 = holds.iter().map(|hold| if let Hold::BackingOff { held, .. } = hold { held.launches } else { 0 }).sum();
    let is_blind = holds.iter().any(|hold| matches!(hold, Hold::Blind { .. }));
    let Some((sequence, at, _)) = newest else { return };
    for (guard, (held, note)) in held {
        let is_told = match guard {
            Guard::Pause | Guard::DryRun => true,
            Guard::Blind => is_blind,
            // The brake is off again.
            Guard::Brake => true,
            // The guard of the quota speaks for sites that back off, too.
            Guard::Quota => held.launches <= backed_off,
            Guard::Protection | Guard::Budget => false,
        };
        if !is_told {
            holds.push(Hold::Guard { guard, note, held, sequence, at });
        }
    }
}

/// The brakes that are on: that of the domain, else those of its sites.
fn brakes(view: &View<'_>) -> Vec<Brake> {
    if let Some(brake) = Brake::on(view.state, view.now, None) {
        return vec![brake];
    }
    let sites: BTreeSet<&str> = view.state.unhealthy().chain(view.state.let_go()).map(|instance| instance.site.as_str()).collect();
    sites.into_iter().filter_map(|site| Brake::on(view.state, view.now, Some(site))).collect()
}

fn newest_decision<'a>(view: &View<'a>) -> Option<(u64, Timestamp, &'a Decision)> {
    view.events_back().find_map(|(sequence, record, event)| match event {
        Event::Decided(decision) => Some((sequence, record.at, &**decision)),
        _ => None,
    })
}

/// What each guard held back of a decision, and why.
fn held_by(decision: &Decision) -> BTreeMap<Guard, (Held, String)> {
    let mut all: BTreeMap<Guard, (Held, String)> = BTreeMap::new();
    let mut walk = |rulings: &[Ruling], asked: u32, count: &dyn Fn(&mut Held, u32)| {
        let mut before = asked;
        for ruling in rulings {
            if ruling.passed < before {
                let (held, note) = all.entry(ruling.guard).or_default();
                count(held, before - ruling.passed);
                if let (true, Some(said)) = (note.is_empty(), &ruling.note) {
                    note.clone_from(said);
                }
            }
            before = ruling.passed;
        }
        if decision.dry_run && before > 0 {
            count(&mut all.entry(Guard::DryRun).or_default().0, before);
        }
    };
    for launch in &decision.launches {
        walk(&launch.rulings, launch.asked, &|held, n| held.launches += n);
    }
    for it in &decision.terminations {
        let asked = it.rulings.last().map_or(0, |last| last.passed) + it.deferred.len() as u32;
        walk(&it.rulings, asked, &|held, n| held.terminations += n);
    }
    all
}

/// Launches of a decision that wait because their site backs off.
fn backed_off(decision: &Decision, site: &str) -> Held {
    let here = decision.launches.iter().filter(|launch| launch.site == site && launch.instances.is_empty());
    let by_quota = here.filter(|launch| {
        let last_two = launch.rulings.iter().rev().map(|ruling| ruling.passed).take(2).collect::<Vec<_>>();
        matches!(last_two[..], [0, before] if before > 0)
    });
    Held { launches: by_quota.map(|launch| launch.asked).sum(), terminations: 0 }
}

/// Why the newest instance failed that was launched at a site and did not come to run.
fn newest_failure(view: &View<'_>, site: &str) -> Option<String> {
    let here = |instance: &&std::sync::Arc<Instance>| instance.site == site && matches!(instance.state, State::Failed | State::Rejected);
    view.state.gone().filter(here).max_by_key(|instance| instance.state_since)?.end_reason.clone()
}

/// Who asked for the newest change of a kind, and when.
pub(super) fn asked_for(view: &View<'_>, is_it: impl Fn(&Change) -> bool) -> (Option<Name>, Option<Timestamp>) {
    let found = view.events_back().find_map(|(_, record, event)| match event {
        Event::Configured(Configured { by, change, .. }) if is_it(change) => Some((by.clone(), record.at)),
        _ => None,
    });
    found.map_or((None, None), |(by, at)| (Some(by), Some(at)))
}

/// Who paused the domain, and when: with a restore, if that was later than anybody's word.
fn paused_by(view: &View<'_>) -> (Option<Name>, Option<Timestamp>) {
    let found = view.events_back().find_map(|(_, record, event)| match event {
        Event::Configured(Configured { by, change: Change::Paused(_), .. }) => Some((by, record.at)),
        Event::Restored(restored) if restored.paused => Some((&restored.by, record.at)),
        _ => None,
    });
    (found.map(|(by, _)| by.clone()), found.map(|(_, at)| at))
}

/// A configuration in force that the engine would not take up, if the newest that it was offered is one.
fn refused(view: &View<'_>) -> Option<Hold> {
    view.events_back()
        .find_map(|(_, record, event)| match event {
            Event::Decided(decision) => decision.prepared.filter(|_| !decision.dry_run).map(|prepared| (record.at, prepared, decision)),
            _ => None,
        })
        .filter(|(_, prepared, decision)| *prepared == Prepared::Refused && decision.config_revision == view.state.config_revision)
        .map(|(at, _, decision)| Hold::Refused { revision: decision.config_revision, at })
}

/// That a version is not in force which would be, had it not failed.
fn went_back(view: &View<'_>) -> Option<Hold> {
    let rejected = rolled_back(view.state)?;
    let (Rejected { engine, at, why }, reference) = (rejected.clone(), reference_of(view.state, rejected));
    let fault = newest_fault(view, &engine.digest).map(Box::new);
    Some(Hold::RolledBack { since: at, from: engine, to: view.state.engine.clone(), why, reference, fault })
}

/// What provisioners were asked for and did not answer for long.
fn unanswered(view: &View<'_>, holds: &mut Vec<Hold>) {
    let mut waiting: BTreeMap<(&str, Requested), (u32, Timestamp)> = BTreeMap::new();
    for instance in view.state.promised() {
        let (requested, patience) =
            if instance.state.is_starting() { (Requested::Launch, UNACKNOWLEDGED) } else { (Requested::Termination, UNCONFIRMED) };
        if view.now.since(instance.state_since) >= patience {
            let (count, since) = waiting.entry((&instance.site, requested)).or_insert((0, instance.state_since));
            *count += 1;
            *since = (*since).min(instance.state_since);
        }
    }
    for ((site, requested), (count, since)) in waiting {
        holds.push(Hold::Unanswered { site: site.to_owned(), requested, count, since });
    }
}
