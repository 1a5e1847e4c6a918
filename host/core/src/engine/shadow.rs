//! A shadow: another version that runs beside the engine in force, sees what that sees, and of which nothing is carried out.
//!
//! What a shadow asks for is compared with what the engine in force asks for in the same cycle: the same state, moment and chance, so that
//! whoever wants the same is given the same ids. Its memory is its own and belongs to the host on which it runs; another host begins anew. After a
//! call in which it asked for something else the memory is as before: the world does not change as the shadow believes. If it asked for the
//! very same, and that is carried out, the world does, and the memory is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cycle::{Cycle, Engine, Failed, Ran, Remembered, Status};
use crate::id::InstanceId;
use crate::instance::Vars;
use crate::name::Name;
use crate::record::{Decision, EngineInForce, Prepared};
use crate::state::DomainState;
use crate::time::{Millis, Timestamp};

/// How often tallies are recorded when nothing new is found: what is lost with a host is at most as much.
const TALLY_EVERY: Millis = Millis::from_secs(600);

/// How long another difference in the same place is not told again: one that is in other words every time would else be a record for each
/// decision, where a quiet decision is none.
const FLAPS: Millis = Millis::from_secs(60);

/// Ids of terminations that a comparison names.
const MAX_IDS: usize = 50;

/// Launches that a comparison names.
const MAX_LAUNCHES: usize = 20;

/// Failures in a row after which a shadow is not asked every time any more.
const PATIENCE: u32 = 2;

/// After so many more it is left alone no longer than before: for 63 decisions.
const LONGEST_REST: u32 = 6;

/// The longest reason that a comparison repeats, in characters.
const MAX_REASON: usize = 500;

/// What runs beside, and how it compares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shadow {
    /// Which.
    pub engine: EngineInForce,
    /// As whoever asked for it wrote it.
    pub reference: String,
    /// Who asked for it.
    pub by: Name,
    /// Since when.
    pub since: Timestamp,
    /// After so long without a difference it comes into force; never, when there is nothing here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promote_after: Option<Millis>,
    /// How it has compared so far, as far as that is on record.
    #[serde(default)]
    pub tally: Tally,
}

/// How often a shadow was compared, and how often it differed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tally {
    /// Decisions that were compared.
    pub compared: u64,
    /// Of these, those in which it wanted something else.
    pub differed: u64,
    /// Calls of it that failed.
    pub failed: u64,
    /// The newest difference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Difference>,
}

/// A decision in which a shadow wanted something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// When.
    pub at: Timestamp,
    /// In what.
    pub places: Vec<Where>,
    /// For people.
    pub words: String,
}

/// In what two decisions differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Where {
    /// What is to be launched.
    Launches,
    /// Who is to end.
    Terminations,
    /// How the domain is.
    Status,
    /// The shadow failed.
    Failed,
}

/// What a shadow asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Requested {
    /// What it would have launched, the first of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub launches: Vec<RequestedLaunch>,
    /// Whom it would have ended, the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub terminations: Vec<InstanceId>,
    /// What it says of the domain.
    pub status: Status,
    /// In its words.
    pub reason: String,
}

/// A launch that a shadow asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestedLaunch {
    /// What to start.
    pub deployable_type: String,
    /// Where.
    pub site: String,
    /// How many.
    pub count: u32,
}

/// How a shadow compared: on record when it differs anew, and now and then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Compared {
    /// Which.
    pub engine: EngineInForce,
    /// The journal sequence that both looked at.
    pub based_on: u64,
    /// From the beginning up to now.
    pub tally: Tally,
    /// What it asked for, where that was something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested: Option<Requested>,
}

/// A cycle for a shadow, and what it remembers.
#[derive(Debug)]
pub struct ShadowCycle {
    engine: EngineInForce,
    began: Timestamp,
    cycle: Cycle,
    remembered: Remembered,
}

impl ShadowCycle {
    /// Whether it is for this shadow, and not for one that ran beside before.
    pub fn is_for(&self, shadow: &Shadow) -> bool {
        (&self.engine, self.began) == (&shadow.engine, shadow.since)
    }

    /// Runs the shadow.
    pub fn run(self, engine: &impl Engine) -> Ran {
        self.cycle.run_with(engine, self.remembered)
    }
}

/// A shadow on this host: what it remembers, and what is not on record yet.
#[derive(Clone, Debug)]
pub struct Shadowing {
    engine: EngineInForce,
    began: Timestamp,
    remembered: Remembered,
    tally: Tally,
    /// Since when it has not differed, as far as this host knows.
    quiet_since: Timestamp,
    /// It wanted the same when it was last compared on this host.
    agrees: bool,
    recorded_at: Timestamp,
    /// The newest difference on record.
    told: Option<Difference>,
    /// When a difference was last recorded, in each [`Where`].
    told_at: [Option<Timestamp>; 4],
    /// Failures in a row.
    failures: u32,
    /// Decisions in which it is left alone.
    rest: u32,
    /// It is left alone until then, because its newest call took long.
    rests_until: Timestamp,
}

impl Shadowing {
    /// Begins with what is on record. What it remembers begins anew.
    pub fn begin(shadow: &Shadow, now: Timestamp) -> Self {
        Self {
            engine: shadow.engine.clone(),
            began: shadow.since,
            remembered: Remembered::default(),
            tally: shadow.tally.clone(),
            quiet_since: now,
            agrees: false,
            recorded_at: now,
            told: shadow.tally.last.clone(),
            told_at: [None; 4],
            failures: 0,
            rest: 0,
            rests_until: Timestamp::ZERO,
        }
    }

    /// Whether this is the one that the record speaks of.
    pub fn is_of(&self, shadow: &Shadow) -> bool {
        (&self.engine, self.began) == (&shadow.engine, shadow.since)
    }

    /// How it has compared so far, what is not on record yet included.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Since when it has not differed, as far as this host knows.
    pub fn quiet_since(&self) -> Timestamp {
        self.quiet_since
    }

    /// A cycle in which it sees what the engine in force saw.
    pub fn cycle(&self, twin: Cycle) -> ShadowCycle {
        ShadowCycle { engine: self.engine.clone(), began: self.began, cycle: twin, remembered: self.remembered.clone() }
    }

    /// Whether it is to be left alone this time: one that fails is asked ever less often.
    pub(crate) fn rests(&mut self, now: Timestamp) -> bool {
        let rests = self.rest > 0;
        self.rest = self.rest.saturating_sub(1);
        rests || now < self.rests_until
    }

    /// It is left alone until then.
    pub(crate) fn rest_until(&mut self, until: Timestamp) {
        self.rests_until = until;
    }

    fn count_failure(&mut self) {
        self.tally.failed += 1;
        self.failures += 1;
        let beyond = self.failures.saturating_sub(PATIENCE).min(LONGEST_REST);
        self.rest = (1 << beyond) - 1;
    }

    /// Takes what it wanted and compares it with what the engine in force decided on the same. `carried_out`: that is on record as it was
    /// decided. Returns what is worth a record.
    pub fn compare(&mut self, ran: Ran, decided: &Decision, carried_out: bool, newest: &DomainState, now: Timestamp) -> Option<Compared> {
        let seen = Arc::clone(ran.cycle.shared_state());
        let (engine, memory) = match &ran.outcome {
            Ok(shadow) => (shadow.engine.clone(), Some(shadow.verdict.memory.clone())),
            Err(Failed { engine, .. }) => (engine.clone(), None),
        };
        // What was asked before either was swapped says nothing of the two that are to be compared.
        if engine != self.engine || decided.engine != newest.engine {
            return None;
        }
        let failed = ran.outcome.as_ref().err().map(|failed| format!("{} failed: {}", failed.call, failed.fault));
        // Held against what the engine in force saw: what has happened since is the same for both.
        let said = ran.finish(&seen, now).said;
        let (places, words, requested) = match (&said, failed) {
            (Some(said), _) => {
                let (places, words) = difference(said, decided);
                (places, words, Some(requested(said)))
            }
            (None, failed) => (vec![Where::Failed], failed.unwrap_or_else(|| "its call failed".to_owned()), None),
        };
        if let (Some(said), Some(memory)) = (&said, memory) {
            let asked = !said.launches.is_empty() || !said.terminations.is_empty();
            let same = carried_out && said.launches == decided.launches && asks_to_end(said).eq(asks_to_end(decided));
            let revision = if said.prepared.is_some() { seen.config_revision } else { self.remembered.revision };
            if !asked || same {
                self.remembered = Remembered { memory: Some(memory), name: engine.name, revision, gone_back: false };
            }
        } else {
            self.count_failure();
        }
        if said.is_some() {
            (self.failures, self.rest) = (0, 0);
        }
        self.tally.compared += u64::from(said.is_some());
        let differs = !places.is_empty();
        if !differs && !std::mem::replace(&mut self.agrees, true) {
            // Up to now it differed, or was not asked anything.
            self.quiet_since = now;
        }
        self.tally.differed += u64::from(differs && said.is_some());
        let is_new = differs && self.note(places, words, now);
        if !is_new && now.since(self.recorded_at) < TALLY_EVERY {
            return None;
        }
        self.recorded_at = now;
        Some(self.on_record(if is_new { requested } else { None }, decided.based_on))
    }

    /// Its call did not come back, or could not be made.
    pub fn failed(&mut self, words: String, newest: &DomainState, now: Timestamp) -> Option<Compared> {
        self.count_failure();
        let is_new = self.note(vec![Where::Failed], words, now);
        (is_new || now.since(self.recorded_at) >= TALLY_EVERY).then(|| {
            self.recorded_at = now;
            self.on_record(None, newest.sequence)
        })
    }

    /// Takes a difference down. Returns whether it is worth a record: it is another one than the last on record, and is about something that
    /// none was about for a while.
    fn note(&mut self, places: Vec<Where>, words: String, now: Timestamp) -> bool {
        // Some are in its own words.
        let words: String = words.chars().take(MAX_REASON).collect();
        let is_another = self.told.as_ref().is_none_or(|told| (&told.places, &told.words) != (&places, &words));
        let was_told = |place: &Where| self.told_at[*place as usize].is_some_and(|at| now.since(at) < FLAPS);
        let is_new = is_another && !places.iter().all(was_told);
        let difference = Difference { at: now, places, words };
        if is_new {
            for place in &difference.places {
                self.told_at[*place as usize] = Some(now);
            }
            self.told = Some(difference.clone());
        }
        self.tally.last = Some(difference);
        (self.agrees, self.quiet_since) = (false, now);
        is_new
    }

    /// What is known by now.
    pub fn on_record(&self, requested: Option<Requested>, based_on: u64) -> Compared {
        Compared { engine: self.engine.clone(), based_on, tally: self.tally.clone(), requested }
    }
}

fn requested(said: &Decision) -> Requested {
    let launch = |it: &crate::record::DecidedLaunch| RequestedLaunch {
        deployable_type: it.deployable_type.clone(),
        site: it.site.clone(),
        count: it.asked,
    };
    Requested {
        launches: said.launches.iter().take(MAX_LAUNCHES).map(launch).collect(),
        terminations: victims(said).into_iter().take(MAX_IDS).cloned().collect(),
        status: said.status,
        reason: said.reason.chars().take(MAX_REASON).collect(),
    }
}

/// What a decision asked to end, in whatever words, and what the guards said: what no longer held when it was committed included.
fn asks_to_end(said: &Decision) -> impl Iterator<Item = (BTreeSet<&InstanceId>, &[InstanceId])> {
    said.terminations.iter().map(|it| {
        let granted = it.accepted.iter().chain(&it.again).chain(it.dropped.iter().map(|(id, _)| id)).collect();
        (granted, it.deferred.as_slice())
    })
}

/// Whom a decision wanted to end, whatever the guards said.
fn victims(said: &Decision) -> BTreeSet<&InstanceId> {
    let mut all = BTreeSet::new();
    for it in &said.terminations {
        all.extend(it.accepted.iter().chain(&it.again).chain(&it.deferred).chain(it.dropped.iter().map(|(id, _)| id)));
    }
    all
}

type Kind<'d> = (&'d str, &'d str, &'d str, &'d Vars, &'d Option<InstanceId>);

/// How many of each kind a decision wanted to launch, whatever the guards said.
fn launches(said: &Decision) -> BTreeMap<Kind<'_>, u32> {
    let mut all = BTreeMap::new();
    for it in &said.launches {
        *all.entry((it.deployable_type.as_str(), it.site.as_str(), it.allocation.as_str(), &it.extra_vars, &it.replaces)).or_default() +=
            it.asked;
    }
    all
}

/// In what two decisions on the same state differ.
fn difference(shadow: &Decision, decided: &Decision) -> (Vec<Where>, String) {
    let (mut places, mut words) = (Vec::new(), Vec::new());
    let count = |said: &Decision| said.launches.iter().map(|it| it.asked).sum::<u32>();
    if launches(shadow) != launches(decided) {
        places.push(Where::Launches);
        let (mine, theirs) = (count(shadow), count(decided));
        let others = if mine == theirs { " of another kind" } else { "" };
        words.push(format!("it would launch {mine}{others}, the engine in force {theirs}"));
    }
    let (mine, theirs) = (victims(shadow), victims(decided));
    if mine != theirs {
        places.push(Where::Terminations);
        let others = if mine.len() == theirs.len() { " others" } else { "" };
        words.push(format!("it would end {}{others}, the engine in force {}", mine.len(), theirs.len()));
    }
    if shadow.prepared == Some(Prepared::Refused) {
        places.push(Where::Failed);
        words.push("it would not take up the configuration".to_owned());
    }
    if shadow.status != decided.status {
        places.push(Where::Status);
        let name = |status: Status| serde_json::to_value(status).ok().and_then(|it| it.as_str().map(str::to_owned)).unwrap_or_default();
        words.push(format!("it calls the domain {}, the engine in force {}", name(shadow.status), name(decided.status)));
    }
    (places, words.join("; "))
}
