//! Why an instance was started, what it went through, and why it ended.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::evidence::Windows;
use super::hold::asked_for;
use super::view::ordinals;
use super::{Evidence, Explanation, View};
use crate::cycle::Cause;
use crate::guard::Ruling;
use crate::id::{InstanceId, LaunchId};
use crate::instance::{Health, Instance, State};
use crate::name::{DomainKey, Name};
use crate::record::{Change, Configured, DecidedTermination, Decision, EngineInForce, Event, Judgement, Record};
use crate::state::Life;
use crate::time::Timestamp;

/// How many steps of a life are told, the newest: an instance whose health comes and goes makes one every few seconds.
const STEPS: usize = 200;

/// The story of one instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceStory {
    /// Of which domain.
    pub domain: DomainKey,
    /// Which.
    pub instance_id: InstanceId,
    /// The how-manieth of its domain, where that is still known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordinal: Option<u64>,
    /// The moment at which this is told.
    pub told_at: Timestamp,
    /// Why it was started. Nothing when that is no longer among the records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Start>,
    /// What it went through, oldest first.
    pub history: Vec<Step>,
    /// Steps before those that are left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: usize,
    /// What is wrong with it, if the host advises to replace it and it is not on its way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unhealthy: Option<Unhealthy>,
    /// Who keeps it, if somebody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected: Option<Protection>,
    /// Why it ended, or is about to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ending>,
    /// How it stands. Nothing when its record is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<InstanceNow>,
}

/// That somebody keeps an instance from being ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Protection {
    /// Who; nothing where that is no longer on record, as below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Name>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// What is, or was, wrong with an instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Unhealthy {
    /// The monitor's verdict. `UNKNOWN` when it started but did not become ready, which needs no monitor.
    pub health: Health,
    /// When it came to that.
    pub since: Timestamp,
    /// The journal sequence of the verdict.
    pub sequence: u64,
    /// What a verdict of silence rests on: the newest first, then the question before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// What its agent, or its provisioner, tells is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// The decision that launched it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Start {
    /// The journal sequence of the decision.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// Which engine decided.
    pub engine: EngineInForce,
    /// The engine in force by now, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force: Option<EngineInForce>,
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
    /// In the place of which instance, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<InstanceId>,
    /// What each guard said, in order.
    pub rulings: Vec<Ruling>,
}

/// One step of its life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum StepKind {
    /// Its launch was promised, by a decision of its engine.
    StartPromised {
        /// What the engine said of the domain.
        reason: String,
    },
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
        /// What a verdict of silence rests on, as far as the records tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<Evidence>,
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
        /// The host decided so, not the engine.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        by_host: bool,
    },
    /// Its end was asked for once more.
    EndAskedAgain,
    /// It was held for gone and something said that it lives (true), or that was settled (false).
    Undead {
        /// Which of the two.
        lives: bool,
    },
    /// Somebody asked for its end, past its engine and the guards.
    Killed {
        /// Who.
        by: Name,
        /// In their words.
        reason: String,
    },
    /// Somebody keeps it from being ended (true), or does so no more (false).
    Protected {
        /// Who.
        by: Name,
        /// Which of the two.
        on: bool,
    },
    /// Somebody took it in: its provisioner ran it, and nothing was on record.
    Adopted {
        /// Who.
        by: Name,
        /// How far it had come.
        state: State,
    },
    /// What is known of it is from a backup; what came before is void.
    Restored {
        /// Who restored it.
        by: Name,
        /// When the backup was made.
        backup_at: Timestamp,
        /// How far it had come by then.
        state: State,
    },
    /// Its record was let go.
    Reaped,
}

/// Why it ended, or is about to.
#[allow(clippy::large_enum_variant, reason = "a story has one")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
        /// The engine in force by now, where that is another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        in_force: Option<EngineInForce>,
        /// What it said of the instance.
        reason: String,
        /// What it said of the domain.
        decision: String,
        /// What was wrong with the instance by then, if anything was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unhealthy: Option<Unhealthy>,
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
        /// Who asked for the removal of the whole domain, if that is why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked_by: Option<Name>,
    },
    /// Somebody asked for it. No engine and no guard had a say.
    Person {
        /// The journal sequence of the request.
        sequence: u64,
        /// When.
        at: Timestamp,
        /// Who.
        asked_by: Name,
        /// In their words.
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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

/// Tells the story of one instance.
///
/// `which` is an id, an ordinal (`0`), or what people say (`web/0`). Nothing when neither the state nor the records know it.
pub fn explain_instance(view: &View<'_>, which: &str) -> Option<Explanation> {
    let (state, records) = (view.state, view.own_records());
    let launched = ordinals(state, records);
    let number = which.strip_prefix(state.key.name.as_str()).and_then(|rest| rest.strip_prefix('/')).unwrap_or(which);
    let of_number = |number: u64| {
        let on_record = state.instance_at(number).map(|instance| instance.id.clone());
        on_record.or_else(|| launched.iter().find_map(|(id, ordinal)| (*ordinal == number).then(|| id.clone())))
    };
    let known = |id: &InstanceId| state.instance(id).is_some() || launched.contains_key(id) || is_launched_by(id, records);
    let id = which.parse().ok().filter(known).or_else(|| of_number(number.parse().ok()?))?;

    let now = state.instance(&id);
    let story = InstanceStory {
        domain: state.key.clone(),
        ordinal: now.map(|instance| instance.ordinal).or_else(|| launched.get(&id).copied()),
        instance_id: id,
        told_at: view.now,
        started: None,
        history: Vec::new(),
        left_out: 0,
        unhealthy: None,
        protected: None,
        ended: None,
        now: now.map(|instance| InstanceNow::of(instance)),
    };
    let mut telling = Telling { story, windows: Windows::new(state, records), health: None, wrong: None, protection: None };
    for (sequence, record) in records {
        for event in &record.events {
            telling.take(*sequence, record.at, event);
        }
    }
    let Telling { mut story, wrong, protection, .. } = telling;
    story.protected = now.filter(|it| it.protected).map(|_| protection.unwrap_or_default());
    if let Some(Ending::Host { asked_by, .. }) = &mut story.ended
        && state.life == Life::Removing
    {
        *asked_by = asked_for(view, |change| matches!(change, Change::Removing | Change::Abandoned)).0;
    }
    let by_another = |engine: &EngineInForce| (*engine != state.engine).then(|| state.engine.clone());
    if let Some(started) = &mut story.started {
        started.in_force = by_another(&started.engine);
    }
    if let Some(Ending::Engine { engine, in_force, .. }) = &mut story.ended {
        *in_force = by_another(engine);
    }
    story.unhealthy = wrong.filter(|_| now.is_some_and(|it| it.is_unhealthy() && it.state.is_valid()));
    story.left_out = story.history.len().saturating_sub(STEPS);
    story.history.drain(..story.left_out);
    Some(Explanation::Instance(Box::new(story)))
}

fn is_launched_by(id: &InstanceId, records: &[(u64, Record)]) -> bool {
    records.iter().flat_map(|(_, record)| &record.events).any(|event| match event {
        Event::Decided(decision) => !decision.dry_run && decision.launches.iter().any(|launch| launch.instances.contains(id)),
        Event::Configured(Configured { change: Change::Adopted(adopted), .. }) => adopted.id == *id,
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

/// A story in the making, record by record.
struct Telling<'a> {
    story: InstanceStory,
    windows: Windows<'a>,
    /// The health so far, and since when; nothing before the first record that tells it.
    health: Option<(Health, Timestamp)>,
    /// What is wrong so far.
    wrong: Option<Unhealthy>,
    /// Who protected it last.
    protection: Option<Protection>,
}

impl Telling<'_> {
    fn take(&mut self, sequence: u64, at: Timestamp, event: &Event) {
        match event {
            Event::Decided(decision) if !decision.dry_run => self.decided(sequence, at, decision),
            Event::Reported(reported) if reported.id == self.story.instance_id => {
                if let Some(state) = reported.state {
                    self.reported(sequence, at, state, reported.reason.clone());
                }
                if let Some(lives) = reported.undead {
                    self.step(sequence, at, StepKind::Undead { lives });
                }
            }
            Event::Judged(judged) if judged.id == self.story.instance_id => self.judged(sequence, at, &judged.verdict),
            Event::Configured(configured) => self.configured(sequence, at, configured),
            Event::Restored(restored) => {
                if let Some(instance) = restored.state.instance(&self.story.instance_id) {
                    self.health = Some((instance.health, instance.health_since));
                    let (by, backup_at, state) = (restored.by.clone(), restored.backup_at, instance.state);
                    self.step(sequence, at, StepKind::Restored { by, backup_at, state });
                }
            }
            Event::Snapshot(snapshot) => {
                if let (None, Some(instance)) = (self.health, snapshot.instance(&self.story.instance_id)) {
                    self.health = Some((instance.health, instance.health_since));
                }
            }
            _ => {}
        }
    }

    fn configured(&mut self, sequence: u64, at: Timestamp, configured: &Configured) {
        let by = configured.by.clone();
        let what = match &configured.change {
            Change::Killed { id, reason } if *id == self.story.instance_id => {
                let ended = &mut self.story.ended;
                ended.get_or_insert_with(|| Ending::Person { sequence, at, asked_by: by.clone(), reason: reason.clone() });
                self.health = Some((Health::Unknown, at));
                StepKind::Killed { by, reason: reason.clone() }
            }
            Change::Protected { id, on } if *id == self.story.instance_id => {
                self.protection = on.then(|| Protection { by: Some(by.clone()), since: Some(at) });
                StepKind::Protected { by, on: *on }
            }
            Change::Adopted(adopted) if adopted.id == self.story.instance_id => {
                self.health = Some((Health::Unknown, at));
                StepKind::Adopted { by, state: adopted.state }
            }
            _ => return,
        };
        self.step(sequence, at, what);
    }

    fn reported(&mut self, sequence: u64, at: Timestamp, state: State, reason: Option<String>) {
        self.step(sequence, at, StepKind::State { state, reason: reason.clone() });
        if state == State::RunningFailed {
            let problems = reason.iter().cloned().collect();
            self.wrong = Some(Unhealthy { health: Health::Unknown, since: at, sequence, evidence: Vec::new(), problems });
        }
        if state >= State::Terminating {
            self.health = Some((Health::Unknown, at));
        }
        if state.is_gone() && self.story.ended.is_none() {
            self.story.ended = Some(Ending::Itself { sequence, at, state, reason });
        }
    }

    fn judged(&mut self, sequence: u64, at: Timestamp, verdict: &Judgement) {
        let what = match verdict {
            Judgement::Health { health, well, problems, .. } => {
                let problems: Vec<String> = problems.iter().map(|problem| problem.line()).collect();
                let evidence = self.windows.evidence(sequence, at, *health, self.health);
                self.is_of_health(sequence, at, *health, *well, &problems, evidence.clone());
                StepKind::Health { health: *health, problems, evidence }
            }
            Judgement::Stalled => StepKind::Stalled,
            Judgement::Ended { reason } => {
                let ended = &mut self.story.ended;
                ended.get_or_insert_with(|| Ending::Host { sequence, at, reason: reason.clone(), asked_by: None });
                self.health = Some((Health::Unknown, at));
                StepKind::EndPromised { reason: reason.clone(), by_host: true }
            }
            Judgement::Reaped => StepKind::Reaped,
        };
        self.step(sequence, at, what);
    }

    fn is_of_health(&mut self, sequence: u64, at: Timestamp, health: Health, well: bool, problems: &[String], evidence: Option<Evidence>) {
        let before = self.health.replace((health, at));
        if before.is_some_and(|(was, _)| was == health) {
            self.health = before;
        }
        if health.is_healthy() && health != Health::OutOfContact {
            // An instance that is not ready stays so, whatever its agent says.
            self.wrong.take_if(|wrong| (well || health == Health::Unknown) && wrong.health != Health::Unknown);
            return;
        }
        match &mut self.wrong {
            Some(wrong) if wrong.health == health => problems.iter().for_each(|new| {
                if !wrong.problems.contains(new) {
                    wrong.problems.push(new.clone());
                }
            }),
            wrong => {
                let asked = wrong.take().filter(|wrong| wrong.health == Health::OutOfContact);
                let before = asked.into_iter().flat_map(|asked| asked.evidence);
                let evidence = evidence.into_iter().chain(before).collect();
                *wrong = Some(Unhealthy { health, since: at, sequence, evidence, problems: problems.to_vec() });
            }
        }
    }

    fn decided(&mut self, sequence: u64, at: Timestamp, decision: &Decision) {
        if let Some(launch) = decision.launches.iter().find(|launch| launch.instances.contains(&self.story.instance_id)) {
            self.story.started = Some(Start {
                sequence,
                at,
                engine: decision.engine.clone(),
                in_force: None,
                cause: decision.cause,
                reason: decision.reason.clone(),
                launch: launch.launch.clone(),
                asked: launch.asked,
                granted: u32::try_from(launch.instances.len()).unwrap_or(u32::MAX),
                replaces: launch.replaces.clone(),
                rulings: launch.rulings.clone(),
            });
            self.health = Some((Health::Unknown, at));
            self.step(sequence, at, StepKind::StartPromised { reason: decision.reason.clone() });
        }
        for termination in &decision.terminations {
            self.termination(sequence, at, decision, termination);
        }
    }

    fn termination(&mut self, sequence: u64, at: Timestamp, decision: &Decision, termination: &DecidedTermination) {
        let (id, reason) = (&self.story.instance_id, || termination.reason.clone());
        let what = if termination.accepted.contains(id) {
            self.story.ended.get_or_insert_with(|| Ending::Engine {
                sequence,
                at,
                engine: decision.engine.clone(),
                in_force: None,
                reason: reason(),
                decision: decision.reason.clone(),
                // What came to light only after the engine had looked was not its reason.
                unhealthy: self.wrong.clone().filter(|wrong| wrong.health != Health::OutOfContact),
                dripped: termination.dripped,
                rulings: termination.rulings.clone(),
            });
            self.health = Some((Health::Unknown, at));
            StepKind::EndPromised { reason: reason(), by_host: false }
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
        self.story.history.push(Step { sequence, at, what });
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
