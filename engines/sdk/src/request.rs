//! What an engine asks of the host, and what it is answered.

use std::fmt;
use std::time::Duration;

use crate::instance::{InstanceId, LaunchId, Vars};
use crate::time::{Timestamp, seconds_to_wait};

/// The most instances that one decision may ask for; what is wanted beyond that is asked for next time.
pub const LAUNCHES_PER_DECISION: u32 = 1000;

/// The most variables of one request.
pub const VARS: usize = 128;

/// The most that they may take up, names and values together.
pub const VARS_BYTES: usize = 16 * 1024;

/// Instances that are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchRequest {
    /// What to start: 1 to 256 bytes without control characters.
    pub deployable_type: String,
    /// Where: 1 to 63 letters, digits, `_` or `-`, a letter or digit first.
    pub site: String,
    /// In which size: at most 256 bytes without control characters.
    pub allocation: String,
    /// How many: at least 1, and at most [`LAUNCHES_PER_DECISION`] in one decision.
    pub count: u32,
    /// Given to each instance over the domain's own variables: at most [`VARS`] and [`VARS_BYTES`], each name once.
    pub extra_vars: Vars,
    /// Only together with the end of this instance: gone, on its way out, or accepted for termination earlier in the same decision.
    /// Otherwise the request is [`Refusal::Invalid`], as it is for more than one instance, and when an earlier launch of the decision
    /// replaces the same one. If that termination is dropped before it is committed, so is this launch.
    pub replaces: Option<InstanceId>,
    /// For what later versions of the host may offer; unknown names are [`Refusal::Invalid`].
    pub options: Vars,
}

impl LaunchRequest {
    /// One instance.
    pub fn new(deployable_type: impl Into<String>, site: impl Into<String>, allocation: impl Into<String>) -> Self {
        Self {
            deployable_type: deployable_type.into(),
            site: site.into(),
            allocation: allocation.into(),
            count: 1,
            extra_vars: Vec::new(),
            replaces: None,
            options: Vec::new(),
        }
    }

    /// So many instances. Zero is an invalid request.
    #[must_use]
    pub fn count(mut self, count: u32) -> Self {
        self.count = count;
        self
    }

    /// With a variable of their own.
    #[must_use]
    pub fn extra_var(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.extra_vars.push((name.into(), value.into()));
        self
    }

    /// In the place of this instance, and only if it really goes.
    #[must_use]
    pub fn replacing(mut self, id: impl Into<InstanceId>) -> Self {
        self.replaces = Some(id.into());
        self
    }
}

/// What was granted of a launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launched {
    /// The launch.
    pub launch: LaunchId,
    /// Its instances.
    pub instances: Vec<InstanceId>,
    /// How many must wait. Ask again next time if they are still wanted.
    pub deferred: u32,
}

/// What was granted of a termination.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Destroyed {
    /// As they were named, each once.
    pub accepted: Vec<InstanceId>,
    /// Held back. Ask again next time if they still should go.
    pub deferred: Vec<InstanceId>,
}

/// What is left of the rate budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateBudget {
    /// So many launches.
    pub launches: u32,
    /// So many terminations.
    pub terminations: u32,
    /// When it is full again.
    pub full_at: Timestamp,
}

/// What the engine wants of the host. Nothing: unchanged. It lasts until the next `initialize` or `reconfigure`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// The pause between the end of one decision and the start of the next. The host keeps it between 100 ms and a day.
    pub pulse: Option<Duration>,
    /// Replaces the variables that every launch gets: at most [`VARS`] and [`VARS_BYTES`], each name once.
    pub provisioner_vars: Option<Vars>,
}

/// Why nothing of a request was granted.
///
/// A refusal is an answer and no fault: a good engine says so in its reason and asks again next time, if it still wants to. So it does
/// not turn into an [`Error`](crate::Error) by itself; a `?` on a request does not compile. Its `Display` goes on after a colon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The domain is paused.
    Paused,
    /// The host could not see well enough to believe in the silence of these instances. The text says since when.
    Blind(String),
    /// The brake is on: too much went wrong at once to be believed. The text says what was seen.
    Brake(String),
    /// The rate budget is used up; after so long some will be free.
    Budget(Duration),
    /// A limit of the domain, its owner or the site.
    Quota(String),
    /// Launches at the site keep failing; the next may go after so long.
    BackingOff(Duration),
    /// Nonsense in the request. The text names the field.
    Invalid(String),
    /// What this version has no name for.
    Other(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused => f.write_str("the domain is paused"),
            Self::Blind(text) => write!(f, "the host can't see well enough: {text}"),
            Self::Brake(text) => write!(f, "the brake is on: {text}"),
            Self::Budget(wait) => write!(f, "the rate budget is used up, {} s to wait", seconds_to_wait(*wait)),
            Self::Quota(text) => write!(f, "over a limit: {text}"),
            Self::BackingOff(wait) => write!(f, "launches at the site keep failing, {} s to wait", seconds_to_wait(*wait)),
            Self::Invalid(text) => write!(f, "the host can't use the request: {text}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    /// Two implementations fit a type that can be made from a refusal, and one any other: then the compiler knows which is meant.
    trait NotFromRefusal<Which> {
        fn is_checked() {}
    }
    impl<T> NotFromRefusal<()> for T {}
    impl<T: From<Refusal>> NotFromRefusal<u8> for T {}

    #[test]
    fn a_refusal_does_not_become_an_error_by_itself() {
        <Error as NotFromRefusal<_>>::is_checked();
    }

    #[test]
    fn who_has_to_wait_is_told_whole_seconds_and_never_too_few() {
        let told = Refusal::BackingOff(Duration::from_millis(12_300)).to_string();
        assert_eq!(told, "launches at the site keep failing, 13 s to wait");
        assert_eq!(Refusal::Budget(Duration::from_millis(1)).to_string(), "the rate budget is used up, 1 s to wait");
    }
}
