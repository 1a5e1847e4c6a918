//! Why an instance was started, what it went through, and why it ended.

use serde::{Deserialize, Serialize};

use super::{Explanation, begins, ordinals};
use crate::cycle::Cause;
use crate::guard::Ruling;
use crate::id::{InstanceId, LaunchId};
use crate::instance::{Health, Instance, State};
use crate::name::DomainKey;
use crate::record::{DecidedTermination, Decision, EngineInForce, Event, Judgement, Record};
use crate::state::DomainState;
use crate::time::Timestamp;

/// How many steps of a life are told, the newest: an instance whose health comes and goes makes one every few seconds.
const STEPS: usize = 200;

/// The story of one instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceStory {
    /// Of which domain.
    pub domain: DomainKey,
    /// Which.
    pub instance_id: InstanceId,
    /// The how-manieth of its domain, where that is still known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordinal: Option<u64>,
    /// Why it was started. Nothing when that is no longer among the records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Start>,
    /// What it went through, oldest first.
    pub history: Vec<Step>,
    /// Steps before those that are left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: usize,
    /// Why it ended, or is about to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ending>,
    /// How it stands. Nothing when its record is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<InstanceNow>,
}

/// The decision that launched it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The journal sequence of the decision.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// Which engine decided.
    pub engine: EngineInForce,
    /// Why it was asked.
    pub cause: Cause,
    /// What it said of the domain.
    pub reason: String,
    /// The launch.
    pub launch: LaunchId,
    /// How many it asked for.
    pub asked: u32,
    /// How many were granted.
    pub granted: u32,
    /// What each guard said, in order.
    pub rulings: Vec<Ruling>,
}

/// One step of its life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The journal sequence of the record.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub what: StepKind,
}

/// What happened to an instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum StepKind {
    /// Its provisioner reported a state.
    State {
        /// Which.
        state: State,
        /// Why, in the provisioner's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The monitor came to another verdict, or learned more of what is wrong.
    Health {
        /// The verdict.
        health: Health,
        /// What its agent tells is wrong.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        problems: Vec<String>,
    },
    /// Its launch made no progress for a whole launch time-out and was asked for again.
    Stalled,
    /// The engine asked for its end, and it had to wait.
    EndDeferred {
        /// Why the engine asked.
        reason: String,
        /// Who made it wait, and why.
        held_by: String,
    },
    /// The engine asked for its end, and that no longer held when it had decided.
    EndDropped {
        /// Why the engine asked.
        reason: String,
        /// Why it no longer held.
        because: String,
    },
    /// Its end was promised.
    EndPromised {
        /// Why.
        reason: String,
    },
    /// Its end was asked for once more.
    EndAskedAgain,
    /// It was held for gone and something said that it lives (true), or that was settled (false).
    Undead {
        /// Which of the two.
        lives: bool,
    },
    /// Its record was let go.
    Reaped,
}

/// Why it ended, or is about to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Ending {
    /// An engine decided so.
    Engine {
        /// The journal sequence of the decision.
        sequence: u64,
        /// When.
        at: Timestamp,
        /// Which engine.
        engine: EngineInForce,
        /// What it said of the instance.
        reason: String,
        /// What it said of the domain.
        decision: String,
        /// It went although the brake was on.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        dripped: bool,
        /// What each guard said, in order.
        rulings: Vec<Ruling>,
    },
    /// The host decided so.
    Host {
        /// The journal sequence of the verdict.
        sequence: u64,
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
    },
    /// Nobody asked for it: its provisioner reported that it is gone.
    Itself {
        /// The journal sequence of the report.
        sequence: u64,
        /// When.
        at: Timestamp,
        /// How it ended.
        state: State,
        /// Why, in the provisioner's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// How an instance stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceNow {
    /// How far it has come.
    pub state: State,
    /// When it reached that.
    pub state_since: Timestamp,
    /// What the monitor thinks of it.
    pub health: Health,
    /// When it came to that.
    pub health_since: Timestamp,
    /// What was started.
    pub deployable_type: String,
    /// Where.
    pub site: String,
    /// How large.
    pub allocation: String,
    /// What is wrong with it, newest first, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// Tells the story of one instance from the newest `records`, which come in the order of the journal.
///
/// `which` is an id, an ordinal (`0`), or what people say (`web/0`). Nothing when neither the state nor the records know it.
pub fn explain_instance(state: &DomainState, which: &str, records: &[(u64, Record)]) -> Option<Explanation> {
    // What came before belongs to another domain of the same name.
    let begin = records.iter().rposition(|(_, record)| record.events.iter().any(begins)).unwrap_or(0);
    let records = &records[begin..];
    let launched = ordinals(state, records);
    let number = which.strip_prefix(state.key.name.as_str()).and_then(|rest| rest.strip_prefix('/')).unwrap_or(which);
    let of_number = |number: u64| {
        let on_record = state.instance_at(number).map(|instance| instance.id.clone());
        on_record.or_else(|| launched.iter().find_map(|(id, ordinal)| (*ordinal == number).then(|| id.clone())))
    };
    let known = |id: &InstanceId| state.instance(id).is_some() || launched.contains_key(id) || is_launched_by(id, records);
    let id = which.parse().ok().filter(known).or_else(|| of_number(number.parse().ok()?))?;

    let now = state.instance(&id);
    let mut story = InstanceStory {
        domain: state.key.clone(),
        ordinal: now.map(|instance| instance.ordinal).or_else(|| launched.get(&id).copied()),
        instance_id: id,
        started: None,
        history: Vec::new(),
        left_out: 0,
        ended: None,
        now: now.map(|instance| InstanceNow::of(instance)),
    };
    for (sequence, record) in records {
        for event in &record.events {
            story.take(*sequence, record.at, event);
        }
    }
    story.left_out = story.history.len().saturating_sub(STEPS);
    story.history.drain(..story.left_out);
    Some(Explanation::Instance(Box::new(story)))
}

fn is_launched_by(id: &InstanceId, records: &[(u64, Record)]) -> bool {
    records.iter().flat_map(|(_, record)| &record.events).any(|event| match event {
        Event::Decided(decision) => !decision.dry_run && decision.launches.iter().any(|launch| launch.instances.contains(id)),
        _ => false,
    })
}

impl InstanceNow {
    fn of(instance: &Instance) -> Self {
        Self {
            state: instance.state,
            state_since: instance.state_since,
            health: instance.health,
            health_since: instance.health_since,
            deployable_type: instance.deployable_type.clone(),
            site: instance.site.clone(),
            allocation: instance.allocation.clone(),
            problems: instance.errors.list.iter().map(|problem| problem.line()).collect(),
        }
    }
}

impl InstanceStory {
    fn take(&mut self, sequence: u64, at: Timestamp, event: &Event) {
        match event {
            Event::Decided(decision) if !decision.dry_run => self.decided(sequence, at, decision),
            Event::Reported(reported) if reported.id == self.instance_id => {
                if let Some(state) = reported.state {
                    self.step(sequence, at, StepKind::State { state, reason: reported.reason.clone() });
                    if state.is_gone() && self.ended.is_none() {
                        self.ended = Some(Ending::Itself { sequence, at, state, reason: reported.reason.clone() });
                    }
                }
                if let Some(lives) = reported.undead {
                    self.step(sequence, at, StepKind::Undead { lives });
                }
            }
            Event::Judged(judged) if judged.id == self.instance_id => self.judged(sequence, at, &judged.verdict),
            _ => {}
        }
    }

    fn judged(&mut self, sequence: u64, at: Timestamp, verdict: &Judgement) {
        let what = match verdict {
            Judgement::Health { health, problems, .. } => {
                StepKind::Health { health: *health, problems: problems.iter().map(|problem| problem.line()).collect() }
            }
            Judgement::Stalled => StepKind::Stalled,
            Judgement::Ended { reason } => {
                self.ended.get_or_insert_with(|| Ending::Host { sequence, at, reason: reason.clone() });
                StepKind::EndPromised { reason: reason.clone() }
            }
            Judgement::Reaped => StepKind::Reaped,
        };
        self.step(sequence, at, what);
    }

    fn decided(&mut self, sequence: u64, at: Timestamp, decision: &Decision) {
        if let Some(launch) = decision.launches.iter().find(|launch| launch.instances.contains(&self.instance_id)) {
            self.started = Some(Start {
                sequence,
                at,
                engine: decision.engine.clone(),
                cause: decision.cause,
                reason: decision.reason.clone(),
                launch: launch.launch.clone(),
                asked: launch.asked,
                granted: u32::try_from(launch.instances.len()).unwrap_or(u32::MAX),
                rulings: launch.rulings.clone(),
            });
        }
        for termination in &decision.terminations {
            self.termination(sequence, at, decision, termination);
        }
    }

    fn termination(&mut self, sequence: u64, at: Timestamp, decision: &Decision, termination: &DecidedTermination) {
        let (id, reason) = (&self.instance_id, || termination.reason.clone());
        let what = if termination.accepted.contains(id) {
            self.ended.get_or_insert_with(|| Ending::Engine {
                sequence,
                at,
                engine: decision.engine.clone(),
                reason: reason(),
                decision: decision.reason.clone(),
                dripped: termination.dripped,
                rulings: termination.rulings.clone(),
            });
            StepKind::EndPromised { reason: reason() }
        } else if let Some((_, because)) = termination.dropped.iter().find(|(dropped, _)| dropped == id) {
            StepKind::EndDropped { reason: reason(), because: because.clone() }
        } else if termination.deferred.contains(id) {
            StepKind::EndDeferred { reason: reason(), held_by: held_by(termination) }
        } else if termination.again.contains(id) {
            StepKind::EndAskedAgain
        } else {
            return;
        };
        self.step(sequence, at, what);
    }

    fn step(&mut self, sequence: u64, at: Timestamp, what: StepKind) {
        self.history.push(Step { sequence, at, what });
    }
}

/// The guards that held some of them, with their reasons.
fn held_by(termination: &DecidedTermination) -> String {
    let notes = termination.rulings.iter().filter_map(|ruling| Some(format!("{}: {}", ruling.guard.name(), ruling.note.as_ref()?)));
    notes.collect::<Vec<_>>().join("; ")
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}
