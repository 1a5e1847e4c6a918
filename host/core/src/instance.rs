//! One instance: the states it passes through, what the monitor thinks of it, and the record the journal keeps.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use litemap::LiteMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::id::{InstanceId, LaunchId};
use crate::problem::ErrorLog;
use crate::time::Timestamp;

/// The life of an instance, in order. It never goes backwards; steps may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum State {
    /// Promised by a decision, not yet acknowledged by a provisioner.
    Requesting,
    /// Acknowledged by a provisioner.
    Requested,
    /// The provisioner met an error and tries again by itself.
    ErrorRetrying,
    /// Accepted by the site.
    Pending,
    /// Started at the site, not yet ready.
    Started,
    /// Ready.
    Running,
    /// Started, but it did not become ready.
    RunningFailed,
    /// Its termination is promised, or under way.
    Terminating,
    /// Gone, as asked.
    Terminated,
    /// Gone, or never there, and not as asked.
    Failed,
    /// Refused by the provisioner or the site.
    Rejected,
}

impl State {
    /// Every state, in order.
    pub const ALL: [Self; 11] = [
        Self::Requesting,
        Self::Requested,
        Self::ErrorRetrying,
        Self::Pending,
        Self::Started,
        Self::Running,
        Self::RunningFailed,
        Self::Terminating,
        Self::Terminated,
        Self::Failed,
        Self::Rejected,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requesting => "REQUESTING",
            Self::Requested => "REQUESTED",
            Self::ErrorRetrying => "ERROR_RETRYING",
            Self::Pending => "PENDING",
            Self::Started => "STARTED",
            Self::Running => "RUNNING",
            Self::RunningFailed => "RUNNING_FAILED",
            Self::Terminating => "TERMINATING",
            Self::Terminated => "TERMINATED",
            Self::Failed => "FAILED",
            Self::Rejected => "REJECTED",
        }
    }

    /// The digits that older publishers write before the name: `600-RUNNING`.
    const fn digits(self) -> &'static str {
        match self {
            Self::Requesting => "100",
            Self::Requested => "200",
            Self::ErrorRetrying => "300",
            Self::Pending => "400",
            Self::Started => "500",
            Self::Running => "600",
            Self::RunningFailed => "650",
            Self::Terminating => "700",
            Self::Terminated => "800",
            Self::Failed => "900",
            Self::Rejected => "950",
        }
    }

    /// Nothing more will come: terminated, failed or rejected.
    pub const fn is_gone(self) -> bool {
        matches!(self, Self::Terminated | Self::Failed | Self::Rejected)
    }

    /// Counts towards what a domain has: neither gone nor on its way out.
    pub fn is_valid(self) -> bool {
        self < Self::Terminating
    }

    /// On its way to running.
    pub fn is_starting(self) -> bool {
        self < Self::Running
    }
}

/// What the health monitor thinks of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Health {
    /// Not heard from yet, or not monitored, or gone.
    #[default]
    Unknown,
    /// It says that all is well.
    Ok,
    /// The process monitor on the instance reports an error of its own.
    MonitorError,
    /// At least one process on the instance failed.
    ProcessError,
    /// Silent for longer than the missing window, and being asked for a sign of life.
    OutOfContact,
    /// Silent, and it did not answer.
    Missing,
    /// Should be gone, but is still heard from.
    Zombie,
}

impl Health {
    /// Every health.
    pub const ALL: [Self; 7] =
        [Self::Unknown, Self::Ok, Self::MonitorError, Self::ProcessError, Self::OutOfContact, Self::Missing, Self::Zombie];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Ok => "OK",
            Self::MonitorError => "MONITOR_ERROR",
            Self::ProcessError => "PROCESS_ERROR",
            Self::OutOfContact => "OUT_OF_CONTACT",
            Self::Missing => "MISSING",
            Self::Zombie => "ZOMBIE",
        }
    }

    /// OK, unknown, or out of contact while the question is open.
    pub const fn is_healthy(self) -> bool {
        matches!(self, Self::Unknown | Self::Ok | Self::OutOfContact)
    }

    /// A verdict that rests on hearing nothing.
    pub const fn is_silence(self) -> bool {
        matches!(self, Self::OutOfContact | Self::Missing)
    }
}

/// A word that is none of the known ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {word:?} is not known; expected one of {expected}")]
pub struct UnknownWord {
    what: &'static str,
    word: String,
    expected: String,
}

impl UnknownWord {
    fn new(what: &'static str, word: &str, expected: impl Iterator<Item = &'static str>) -> Self {
        Self { what, word: word.chars().take(80).collect(), expected: expected.collect::<Vec<_>>().join(", ") }
    }
}

impl FromStr for State {
    type Err = UnknownWord;

    /// The name, or the name behind its own digits.
    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|state| {
                word == state.name() || word.strip_prefix(state.digits()).and_then(|rest| rest.strip_prefix('-')) == Some(state.name())
            })
            .ok_or_else(|| UnknownWord::new("state", word, Self::ALL.into_iter().map(Self::name)))
    }
}

impl FromStr for Health {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|health| word == health.name())
            .ok_or_else(|| UnknownWord::new("health", word, Self::ALL.into_iter().map(Self::name)))
    }
}

macro_rules! word {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = UnknownWord;
            fn try_from(word: String) -> Result<Self, UnknownWord> {
                word.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.name().to_owned()
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}
word!(State);
word!(Health);

/// Words, as they are written; what is read may have its digits in front.
macro_rules! schema_of_words {
    ($type:ident) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "enum": Self::ALL.map(Self::name).as_slice()})
            }
        }
    };
}
schema_of_words!(State);
schema_of_words!(Health);

/// Names and values, each name once, in the order in which they were given.
pub type Vars = Vec<(String, String)>;

/// The length of variables, names and values together.
pub(crate) fn bytes(vars: &Vars) -> usize {
    vars.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// The same as the journal writes it, in JSON: a quote takes two bytes there, and a control character six.
pub(crate) fn bytes_written(vars: &Vars) -> usize {
    let written = |byte: u8| match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    vars.iter().flat_map(|(name, value)| name.bytes().chain(value.bytes())).map(written).sum()
}

/// What a provisioner told of an instance, by name. Few of them for each of very many instances: a sorted list takes a tenth of a tree.
pub type Attributes = LiteMap<String, String>;

/// What the journal knows of one instance. The fold of the records that name it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Unique for ever.
    pub id: InstanceId,
    /// The launch it belongs to.
    pub launch: LaunchId,
    /// The how-manieth launch of its domain it was, from 0. What people say: `web/0`.
    pub ordinal: u64,
    /// What to start. The provisioner knows what that means.
    pub deployable_type: String,
    /// Where.
    pub site: String,
    /// How large, in the site's words.
    pub allocation: String,
    /// Variables of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_vars: Vars,
    /// When its launch was decided.
    pub launched_at: Timestamp,
    /// How far it has come.
    pub state: State,
    /// When it reached `state`.
    pub state_since: Timestamp,
    /// What the monitor thinks of it.
    #[serde(default)]
    pub health: Health,
    /// When it reached `health`.
    pub health_since: Timestamp,
    /// What went wrong on it, until it reports that all is well.
    #[serde(default, skip_serializing_if = "ErrorLog::is_empty")]
    pub errors: ErrorLog,
    /// What its provisioner told of it, the latest value of each.
    #[serde(default, skip_serializing_if = "LiteMap::is_empty")]
    pub attributes: Attributes,
    /// Orders reports of equal state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_counter: Option<u64>,
    /// The journal sequence that promised its launch or, later, its termination. Requests to provisioners carry it.
    pub promised_at: u64,
    /// Why its termination was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<String>,
    /// It is held for gone, but something says it lives: its termination is asked for again until that is settled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undead: bool,
    /// Its launch made no progress for a whole launch time-out; at the second one it is terminated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stalled: bool,
    /// No engine and no operator may end it before that is taken back. Only of one that counts: whatever leaves is protected no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
    /// It was unhealthy when its end was promised, or when it ended: since when. The brake goes on counting it for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unhealthy_at_end: Option<Timestamp>,
}

impl Instance {
    /// A record as a launch makes it: requesting, of no type and at no site yet, promised by record `sequence`.
    pub fn requesting(id: InstanceId, launch: LaunchId, ordinal: u64, at: Timestamp, sequence: u64) -> Self {
        Self {
            id,
            launch,
            ordinal,
            deployable_type: String::new(),
            site: String::new(),
            allocation: String::new(),
            extra_vars: Vec::new(),
            launched_at: at,
            state: State::Requesting,
            state_since: at,
            health: Health::Unknown,
            health_since: at,
            errors: ErrorLog::default(),
            attributes: Attributes::default(),
            update_counter: None,
            promised_at: sequence,
            end_reason: None,
            undead: false,
            stalled: false,
            protected: false,
            unhealthy_at_end: None,
        }
    }

    /// Whether the host advises to replace it: it did not become ready; or its health is bad and it is not gone; or it is a zombie.
    pub fn is_unhealthy(&self) -> bool {
        self.state == State::RunningFailed || (!self.health.is_healthy() && (!self.state.is_gone() || self.health == Health::Zombie))
    }

    /// Whether it runs and is not unhealthy, and yet has not said that it is well: not heard from yet, or being asked.
    pub fn is_unconfirmed(&self) -> bool {
        self.state == State::Running && self.health != Health::Ok && !self.is_unhealthy()
    }

    /// Since when it is unhealthy, if it is.
    pub fn unhealthy_since(&self) -> Option<Timestamp> {
        match (self.is_unhealthy(), self.health.is_healthy()) {
            (false, _) => None,
            (true, false) => Some(self.health_since),
            (true, true) => Some(self.state_since),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_with_and_without_their_digits_and_written_without() {
        for state in State::ALL {
            assert_eq!(state.name().parse(), Ok(state));
            assert_eq!(format!("{}-{}", state.digits(), state.name()).parse(), Ok(state));
            assert_eq!(state.to_string(), state.name());
        }
    }

    #[test]
    fn a_state_with_foreign_digits_or_of_another_name_is_unknown() {
        for bad in ["", "garbage", "600-PENDING", "600", "RUNNING ", "running", "600-", "-RUNNING"] {
            assert!(bad.parse::<State>().is_err(), "{bad:?}");
        }
        let error = "WEIRD".parse::<Health>().expect_err("no such health");
        assert!(error.to_string().contains("OUT_OF_CONTACT"), "the error names what was expected: {error}");
    }

    #[test]
    fn the_order_of_states_is_the_order_of_life() {
        assert!(State::ALL.is_sorted());
        assert!(State::RunningFailed.is_valid() && !State::Terminating.is_valid() && !State::Rejected.is_valid());
    }
}
