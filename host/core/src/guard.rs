//! The one choke point: every launch and termination that an engine asks for passes these guards, in this order.
//!
//! | guard | launches | terminations |
//! |---|---|---|
//! | pause | refused | refused |
//! | dry run | recorded only | recorded only |
//! | protection | allowed | those of protected instances deferred |
//! | blind | allowed | those for silence deferred; confirmed failures go |
//! | brake | up to a surge that replaces the unhealthy | deferred, then one by one, or an operator's word |
//! | budget | granted in part | granted in part |
//! | quota | granted in part; none at a site that backs off | — |
//!
//! Promised work that is sent again, removal of a domain and an operator's kill pass none of them: they were judged when they were
//! promised, or a person answers for them.

mod brake;
mod budget;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use brake::Brake;
use brake::Braked;
pub use budget::RateBudget;

use crate::instance::Instance;
use crate::state::DomainState;
use crate::time::{Millis, Timestamp};

/// A guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// An operator paused the domain.
    Pause,
    /// An operator wants to see only.
    DryRun,
    /// An operator keeps single instances.
    Protection,
    /// The host's own eyes.
    Blind,
    /// Too much at once.
    Brake,
    /// So many a minute.
    Budget,
    /// So many in all, and sites whose launches fail.
    Quota,
}

impl Guard {
    /// All, in the order in which they are asked.
    pub const ORDER: [Self; 7] = [Self::Pause, Self::DryRun, Self::Protection, Self::Blind, Self::Brake, Self::Budget, Self::Quota];

    /// The name in records and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::DryRun => "dry run",
            Self::Protection => "protection",
            Self::Blind => "blind",
            Self::Brake => "brake",
            Self::Budget => "budget",
            Self::Quota => "quota",
        }
    }
}

/// What one guard said to one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ruling {
    /// Which guard.
    pub guard: Guard,
    /// How many it let pass, of those that the guards before it had let pass.
    pub passed: u32,
    /// Why not all; or what is special.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Why nothing of a request was granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The domain is paused.
    #[error("the domain is paused")]
    Paused,
    /// All that was asked for are protected.
    #[error("protected by an operator")]
    Protected,
    /// The host could not see.
    #[error("{0}")]
    Blind(String),
    /// Too much went wrong at once.
    #[error("{0}")]
    Brake(String),
    /// Used up; some is free after so long.
    #[error("the rate budget is used up for {0}")]
    Budget(Millis),
    /// A limit.
    #[error("{0}")]
    Quota(String),
    /// The site's launches fail; the next may go after so long.
    #[error("launches at the site keep failing; the next may go in {0}")]
    BackingOff(Millis),
    /// Nonsense in the request.
    #[error("{0}")]
    Invalid(String),
}

/// What the host can see, for the guard that asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Eyes {
    /// Since when it can't see, and why; nothing while it sees.
    pub blind_since: Option<(Timestamp, String)>,
    /// Since when it has seen without interruption.
    pub seeing_since: Timestamp,
}

/// What the guards look at.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The domain.
    pub state: &'a DomainState,
    /// What the host can see.
    pub eyes: &'a Eyes,
    /// The moment of the decision.
    pub now: Timestamp,
    /// Launches that this decision was granted before.
    pub launched: u32,
    /// Terminations that this decision was granted before.
    pub terminated: u32,
}

/// What came of a request to launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchRuling {
    /// How many may go.
    pub granted: u32,
    /// Why none, if none.
    pub refusal: Option<Refusal>,
    /// What each guard said.
    pub rulings: Vec<Ruling>,
}

/// What came of a request to terminate.
#[derive(Clone, Debug, PartialEq)]
pub struct TerminationRuling<'i> {
    /// Those that may go.
    pub granted: Vec<&'i Instance>,
    /// Those that must wait.
    pub deferred: Vec<&'i Instance>,
    /// Why none, if none.
    pub refusal: Option<Refusal>,
    /// What each guard said.
    pub rulings: Vec<Ruling>,
    /// One goes although the brake is on.
    pub dripped: bool,
}

impl Scene<'_> {
    /// Asks every guard about `asked` launches at a site.
    pub fn rule_on_launch(&self, site: &str, asked: u32) -> LaunchRuling {
        let mut granted = asked;
        let mut refusal = None;
        let mut rulings = Vec::with_capacity(Guard::ORDER.len());
        for guard in Guard::ORDER {
            let (passed, because) = self.launches_past(guard, site, granted);
            let note = match (&because, guard) {
                (Some(because), _) => Some(because.to_string()),
                (None, Guard::DryRun) if self.state.dry_run => Some("recorded only".to_owned()),
                (None, _) => None,
            };
            if passed == 0 && granted > 0 {
                refusal = because;
            }
            granted = passed.min(granted);
            rulings.push(Ruling { guard, passed: granted, note });
        }
        LaunchRuling { granted, refusal, rulings }
    }

    /// Asks every guard about terminating these instances, none of which is on its way out yet.
    pub fn rule_on_termination<'i>(&self, asked: Vec<&'i Instance>) -> TerminationRuling<'i> {
        let mut granted = asked;
        let mut deferred = Vec::new();
        let mut refusal = None;
        let mut dripped = false;
        let mut rulings = Vec::with_capacity(Guard::ORDER.len());
        for guard in Guard::ORDER {
            let before = granted.len();
            let Braked { passed, held, because, dripped: drips } = self.terminations_past(guard, granted);
            let note = match (&because, guard) {
                (Some(because), _) => Some(because.to_string()),
                (None, Guard::DryRun) if self.state.dry_run => Some("recorded only".to_owned()),
                (None, _) => None,
            };
            if passed.is_empty() && before > 0 {
                refusal = because;
            }
            rulings.push(Ruling { guard, passed: passed.len() as u32, note });
            dripped |= drips;
            granted = passed;
            deferred.extend(held);
        }
        TerminationRuling { dripped: dripped && !granted.is_empty(), granted, deferred, refusal, rulings }
    }

    /// How many of `asked` launches a guard lets pass, and why not all.
    fn launches_past(&self, guard: Guard, site: &str, asked: u32) -> (u32, Option<Refusal>) {
        let up_to = |room: u32, because: &dyn Fn() -> Refusal| if asked > room { (room, Some(because())) } else { (asked, None) };
        match guard {
            Guard::Pause if self.state.paused => (0, Some(Refusal::Paused)),
            Guard::Brake => match Brake::on(self.state, self.now, Some(site)) {
                Some(brake) => up_to(brake.surge.saturating_sub(self.launched), &|| Refusal::Brake(brake.to_string())),
                None => (asked, None),
            },
            Guard::Budget => {
                let left_after = |taken: u32| self.state.budget.launches_left(&self.state.config.general, self.now, taken);
                let (left, _) = left_after(self.launched);
                up_to(left, &|| Refusal::Budget(left_after(self.launched.saturating_add(left)).1))
            }
            Guard::Quota => {
                let believed = self.state.config.general.back_off.enabled;
                let backing_off = self.state.sites.get(site).and_then(|record| record.backing_off_until).filter(|_| believed);
                if let Some(until) = backing_off.filter(|until| *until > self.now) {
                    return (0, Some(Refusal::BackingOff(until.since(self.now))));
                }
                let most = self.state.config.general.max_instances;
                let room = most.saturating_sub(self.state.alive()).saturating_sub(self.launched);
                up_to(room, &|| Refusal::Quota(format!("max_instances is {most} and {} are there", self.state.alive() + self.launched)))
            }
            Guard::Pause | Guard::DryRun | Guard::Protection | Guard::Blind => (asked, None),
        }
    }

    /// Which of `asked` a guard lets pass, which must wait, and why.
    fn terminations_past<'i>(&self, guard: Guard, asked: Vec<&'i Instance>) -> Braked<'i> {
        let all = |passed| Braked { passed, held: Vec::new(), because: None, dripped: false };
        match guard {
            Guard::Pause if self.state.paused => Braked { passed: Vec::new(), held: asked, because: Some(Refusal::Paused), dripped: false },
            Guard::Protection => {
                let (held, passed): (Vec<_>, Vec<_>) = asked.into_iter().partition(|instance| instance.protected);
                let because = (!held.is_empty()).then_some(Refusal::Protected);
                Braked { passed, held, because, dripped: false }
            }
            Guard::Blind => {
                let Some(why) = self.cannot_believe_silence() else { return all(asked) };
                let (held, passed): (Vec<_>, Vec<_>) = asked.into_iter().partition(|instance| instance.health.is_silence());
                let because = (!held.is_empty()).then_some(Refusal::Blind(why));
                Braked { passed, held, because, dripped: false }
            }
            Guard::Brake => brake::terminations(self, asked),
            Guard::Budget => {
                let left_after = |taken: u32| self.state.budget.terminations_left(&self.state.config.general, self.now, taken);
                let (left, _) = left_after(self.terminated);
                let mut passed = asked;
                let held = passed.split_off((left as usize).min(passed.len()));
                let because = (!held.is_empty()).then(|| Refusal::Budget(left_after(self.terminated.saturating_add(left)).1));
                Braked { passed, held, because, dripped: false }
            }
            Guard::Pause | Guard::DryRun | Guard::Quota => all(asked),
        }
    }

    /// Why silence can't be believed now: the host does not see, or has not seen for a whole missing window since.
    fn cannot_believe_silence(&self) -> Option<String> {
        if !self.state.config.general.own_eyes {
            return None;
        }
        if let Some((since, why)) = &self.eyes.blind_since {
            return Some(format!("{why} for {}: silence proves nothing", self.now.since(*since)));
        }
        let seen = self.now.since(self.eyes.seeing_since);
        let needed = self.state.config.health.missing_timeout;
        (seen <= needed).then(|| format!("this host has seen for only {seen} of the {needed} that it takes to believe in silence"))
    }
}

#[cfg(test)]
mod tests;
