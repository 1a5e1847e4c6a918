//! What records and requests tell of one instance.

use std::collections::BTreeMap;
use std::fmt;

use pilothouse_core::id::{InstanceId, LaunchId};
use pilothouse_core::instance::{Health, Instance, State, Vars};
use pilothouse_core::message::{Provision, ToStart, ToStop};
use pilothouse_core::promise::RETRY_AFTER;
use pilothouse_core::record::{Adopted, DecidedLaunch, Judged, Judgement, Reported};
use pilothouse_core::time::Timestamp;

use super::rule::{Rule, Violation, broken};

/// One instance, as the records tell it: kept apart from the state, and by other means.
#[derive(Debug)]
pub(super) struct Account {
    launch: LaunchId,
    deployable_type: String,
    site: String,
    allocation: String,
    extra_vars: Vars,
    /// The record that promised its launch or, later, its end.
    promised_at: u64,
    pub(super) state: State,
    health: Health,
    stalled: bool,
    /// Held for gone and heard all the same: its end may be asked for again.
    pub(super) undead: bool,
    /// An operator keeps it.
    pub(super) protected: bool,
    /// What subscribers were to be told last.
    told: Option<State>,
    /// What memory held last.
    pub(super) stood: State,
    /// When its launch and its end were last asked for by the host that now runs.
    asked: Option<Timestamp>,
    asked_to_end: Option<Timestamp>,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |is: bool, word: &'static str| if is { word } else { "" };
        let (stalled, undead) = (word(self.stalled, ", stalled"), word(self.undead, ", undead"));
        let protected = word(self.protected, ", protected");
        write!(f, "{} {}{stalled}{undead}{protected} (promised at {})", self.state, self.health, self.promised_at)
    }
}

impl Account {
    pub(super) fn promised(launch: &DecidedLaunch, sequence: u64) -> Self {
        Self {
            launch: launch.launch.clone(),
            deployable_type: launch.deployable_type.clone(),
            site: launch.site.clone(),
            allocation: launch.allocation.clone(),
            extra_vars: launch.extra_vars.clone(),
            promised_at: sequence,
            state: State::Requesting,
            health: Health::Unknown,
            stalled: false,
            undead: false,
            protected: false,
            told: None,
            stood: State::Requesting,
            asked: None,
            asked_to_end: None,
        }
    }

    pub(super) fn given(instance: &Instance) -> Self {
        Self {
            launch: instance.launch.clone(),
            deployable_type: instance.deployable_type.clone(),
            site: instance.site.clone(),
            allocation: instance.allocation.clone(),
            extra_vars: instance.extra_vars.clone(),
            promised_at: instance.promised_at,
            state: instance.state,
            health: instance.health,
            stalled: instance.stalled,
            undead: instance.undead,
            protected: instance.protected,
            told: worth_telling(instance.state),
            stood: instance.state,
            asked: None,
            asked_to_end: None,
        }
    }

    /// One that its provisioner ran and that was taken in by record `sequence`.
    pub(super) fn adopted(adopted: &Adopted, sequence: u64) -> Self {
        Self {
            launch: adopted.launch.clone(),
            deployable_type: adopted.deployable_type.clone(),
            site: adopted.site.clone(),
            allocation: adopted.allocation.clone(),
            extra_vars: adopted.extra_vars.clone(),
            promised_at: sequence,
            state: adopted.state,
            health: Health::Unknown,
            stalled: false,
            undead: false,
            protected: false,
            told: None,
            stood: adopted.state,
            asked: None,
            asked_to_end: None,
        }
    }

    /// One that a backup holds, restored by record `sequence`: what is owed for it is promised by that record now.
    pub(super) fn restored(instance: &Instance, sequence: u64) -> Self {
        let mut account = Self::given(instance);
        let is_owed = matches!(account.state, State::Requesting | State::Terminating) || account.undead;
        if is_owed || (account.stalled && account.state.is_starting()) {
            account.promised_at = sequence;
        }
        account
    }

    /// What there is to tell that was not told yet.
    pub(super) fn news(&mut self) -> Option<State> {
        let now = worth_telling(self.state);
        let before = std::mem::replace(&mut self.told, now);
        now.filter(|_| now != before)
    }

    /// Whether this is what the state holds of it.
    pub(super) fn tells_of(&self, instance: &Instance) -> bool {
        (self.state, self.health, self.stalled, self.undead, self.protected, self.promised_at)
            == (instance.state, instance.health, instance.stalled, instance.undead, instance.protected, instance.promised_at)
            && (&self.launch, &self.site) == (&instance.launch, &instance.site)
    }

    fn move_to(&mut self, state: State) {
        self.state = state;
        if state >= State::Terminating {
            self.health = Health::Unknown;
            self.protected = false;
        }
        self.undead &= !state.is_gone();
    }

    pub(super) fn reported(&mut self, reported: &Reported) -> Result<(), Violation> {
        if let Some(state) = reported.state {
            if state <= self.state {
                return broken(Rule::NeverBackwards, format!("{} is reported to be {state} after {}", reported.id, self.state));
            }
            self.move_to(state);
            self.stalled = false;
        }
        if reported.undead == Some(true) && !self.state.is_gone() {
            return broken(Rule::EndedForAReason, format!("{} is held for undead and is {self}", reported.id));
        }
        self.undead = reported.undead.unwrap_or(self.undead);
        Ok(())
    }

    pub(super) fn judged(&mut self, sequence: u64, judged: &Judged) -> Result<(), Violation> {
        let id = &judged.id;
        match &judged.verdict {
            Judgement::Health { health, .. } => self.health = *health,
            Judgement::Stalled if self.state.is_starting() && !self.stalled => self.stalled = true,
            Judgement::Stalled => {
                return broken(Rule::LaunchedOnce, format!("the launch of {id} is to be asked for again, and it is {self}"));
            }
            Judgement::Ended { reason } if self.state.is_gone() => {
                if !self.rises() {
                    return broken(Rule::EndedForAReason, format!("the end of {id} was promised once more, and it is {self}"));
                }
                self.end_again(id, reason)?;
            }
            Judgement::Ended { reason } => self.end(sequence, id, reason)?,
            // It leaves the records: only who is gone and silent may.
            Judgement::Reaped if self.state.is_gone() && !self.undead && self.health != Health::Zombie => {}
            Judgement::Reaped => return broken(Rule::EndedForAReason, format!("the record of {id} was dropped, and it is {self}")),
        }
        Ok(())
    }

    fn rises(&self) -> bool {
        self.state.is_gone() && self.health == Health::Zombie && !self.undead
    }

    /// Its end is promised at the word of an engine or an operator.
    pub(super) fn end_as_asked(&mut self, sequence: u64, id: &InstanceId, reason: &str) -> Result<(), Violation> {
        if self.protected {
            return broken(Rule::ProtectedStay, format!("the end of {id} was promised by record {sequence}, and it is {self}"));
        }
        self.end(sequence, id, reason)
    }

    /// Its end is promised.
    pub(super) fn end(&mut self, sequence: u64, id: &InstanceId, reason: &str) -> Result<(), Violation> {
        has_words(id, reason)?;
        if !self.state.is_valid() {
            return broken(Rule::EndedForAReason, format!("the end of {id} was promised, and it is {self}"));
        }
        self.move_to(State::Terminating);
        (self.promised_at, self.asked_to_end) = (sequence, None);
        Ok(())
    }

    /// Its end was promised before; if it is heard all the same, it is asked for again.
    pub(super) fn end_again(&mut self, id: &InstanceId, reason: &str) -> Result<(), Violation> {
        if self.rises() {
            has_words(id, reason)?;
            self.undead = true;
        }
        Ok(())
    }

    /// Its launch is asked for.
    pub(super) fn asked_for(&mut self, ask: &Provision, it: &ToStart, now: Timestamp) -> Result<(), Violation> {
        let id = &it.node_id;
        let wrong = |seen: String| broken(Rule::LaunchedOnce, seen);
        if !(self.state == State::Requesting || (self.state.is_starting() && self.stalled)) {
            return wrong(format!("{id} was asked for, and it is {self}"));
        }
        if (&self.launch, self.promised_at) != (&ask.launch_id, it.sequence) {
            let (launch, sequence) = (&self.launch, self.promised_at);
            return wrong(format!(
                "{id} was promised as part of {launch} at {sequence} and asked for as part of {} at {}",
                ask.launch_id, it.sequence
            ));
        }
        let decided = (&self.deployable_type, &self.site, &self.allocation) == (&ask.deployable_type, &ask.site, &ask.allocation);
        let own = self.extra_vars.iter().cloned().collect::<BTreeMap<_, _>>() == ask.extra_vars;
        if !decided || !own || self.extra_vars.iter().any(|(name, value)| ask.vars.get(name) != Some(value)) {
            return wrong(format!("{id} was asked for as something else than was decided"));
        }
        if self.asked.replace(now).is_some_and(|last| now.since(last) < RETRY_AFTER) {
            return wrong(format!("{id} was asked for twice within {RETRY_AFTER}"));
        }
        Ok(())
    }

    /// Its end is asked for.
    pub(super) fn asked_to_end(&mut self, site: &str, it: &ToStop, now: Timestamp) -> Result<(), Violation> {
        let id = &it.node_id;
        let wrong = |seen: String| broken(Rule::EndedForAReason, seen);
        if self.state != State::Terminating && !self.undead {
            return wrong(format!("the end of {id} was asked for, and it is {self}"));
        }
        if (self.site.as_str(), self.promised_at) != (site, it.sequence) {
            let (known, sequence) = (&self.site, self.promised_at);
            return wrong(format!("the end of {id} was promised for {known} at {sequence} and asked of {site} at {}", it.sequence));
        }
        if self.asked_to_end.replace(now).is_some_and(|last| now.since(last) < RETRY_AFTER) {
            return wrong(format!("the end of {id} was asked for twice within {RETRY_AFTER}"));
        }
        Ok(())
    }

    pub(super) fn restarted(&mut self) {
        (self.asked, self.asked_to_end) = (None, None);
    }
}

/// What subscribers are told of an instance in this state.
const fn worth_telling(state: State) -> Option<State> {
    match state {
        State::Running | State::Terminated | State::Failed => Some(state),
        State::Rejected => Some(State::Failed),
        _ => None,
    }
}

fn has_words(id: &InstanceId, reason: &str) -> Result<(), Violation> {
    if reason.trim().is_empty() {
        return broken(Rule::EndedForAReason, format!("the end of {id} was promised without a word"));
    }
    Ok(())
}
