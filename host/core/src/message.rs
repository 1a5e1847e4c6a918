//! What travels over NATS, and how it is read: strictly, and without ever panicking.
//!
//! Every message that comes from outside is parsed here into a value that the core can trust, or refused with a [`Malformed`] that says
//! what kind of fault it was and why. Field names are those that agents of this field already speak.

mod heartbeat;
mod notice;
mod provisioner;
mod sensor;
mod state;

pub use heartbeat::{Heartbeat, Verdict};
pub use notice::{Notice, NoticeProperties};
pub use provisioner::{
    Credentials, Dump, DumpAnswer, Inventory, InventoryAnswer, Known, Provision, Receipt, Refused, Terminate, ToDump, ToStart, ToStop,
};
pub use sensor::Reading;
pub use state::StateReport;

use serde::Deserialize;

use crate::time::{Millis, Timestamp};

/// The largest message of the data plane, in bytes. A heartbeat with eight failed processes stays far below.
pub const MAX_DATA_BYTES: usize = 64 * 1024;

/// How far a time inside a message may lie from the host's own before the message is refused. Wide: clocks of agents drift, and only
/// nonsense should be stopped.
pub const MAX_CLOCK_DISTANCE: Millis = Millis::from_secs(24 * 60 * 60);

/// Why a message was refused. Counted by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MalformedKind {
    /// Not JSON, or of another shape: a field is missing, unknown, or of another type.
    Json,
    /// Longer than a message of this kind may be.
    TooLarge,
    /// The id inside is not the id of the subject.
    ForeignId,
    /// A state or health that is not known.
    UnknownWord,
    /// A time too far from now.
    Time,
    /// A value out of its range.
    Value,
    /// Well formed, but nobody here knows the instance.
    UnknownInstance,
    /// Well formed, but nobody here knows the domain.
    UnknownDomain,
}

impl MalformedKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Json,
        Self::TooLarge,
        Self::ForeignId,
        Self::UnknownWord,
        Self::Time,
        Self::Value,
        Self::UnknownInstance,
        Self::UnknownDomain,
    ];

    /// What is wrong with such a message, for people.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Json => "Not JSON, or of another shape: a field is missing, unknown, or of another type.",
            Self::TooLarge => "Longer than a message of this kind may be.",
            Self::ForeignId => "The id inside is not the id of the subject.",
            Self::UnknownWord => "A state or health that is not known.",
            Self::Time => "A time too far from now.",
            Self::Value => "A value out of its range.",
            Self::UnknownInstance => "Well formed, but nobody here knows the instance.",
            Self::UnknownDomain => "Well formed, but nobody here knows the domain.",
        }
    }

    /// The name in metrics and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::TooLarge => "too_large",
            Self::ForeignId => "foreign_id",
            Self::UnknownWord => "unknown_word",
            Self::Time => "time",
            Self::Value => "value",
            Self::UnknownInstance => "unknown_instance",
            Self::UnknownDomain => "unknown_domain",
        }
    }
}

/// A message that can't be used, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Malformed {
    /// What sort of fault.
    pub kind: MalformedKind,
    /// In words.
    pub reason: String,
}

impl Malformed {
    /// A fault of a kind, in words.
    pub fn new(kind: MalformedKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }
}

/// Reads JSON of a bounded size.
fn read<'de, T: Deserialize<'de>>(payload: &'de [u8], limit: usize) -> Result<T, Malformed> {
    if payload.len() > limit {
        return Err(Malformed::new(MalformedKind::TooLarge, format!("{} bytes, at most {limit} are taken", payload.len())));
    }
    // Fields have names: a bare list of values in the right order would be taken, too.
    if payload.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(Malformed::new(MalformedKind::Json, "expected a JSON object"));
    }
    serde_json::from_slice(payload).map_err(|error| Malformed::new(MalformedKind::Json, error.to_string()))
}

/// The id inside must be the id of the subject: with NATS permissions an agent can then speak for itself alone.
fn same_id(inside: &str, subject_id: &str) -> Result<(), Malformed> {
    if inside == subject_id {
        return Ok(());
    }
    let inside: String = inside.chars().take(80).collect();
    Err(Malformed::new(MalformedKind::ForeignId, format!("node_id {inside:?} on the subject of {subject_id:?}")))
}

/// A time inside a message, in seconds, near enough to `now`.
fn near(field: &str, secs: f64, now: Timestamp) -> Result<Timestamp, Malformed> {
    let time = Timestamp::from_secs_f64(secs)
        .ok_or_else(|| Malformed::new(MalformedKind::Time, format!("{field} {secs} is no time in seconds since 1970")))?;
    if time.since(now) > MAX_CLOCK_DISTANCE || now.since(time) > MAX_CLOCK_DISTANCE {
        return Err(Malformed::new(MalformedKind::Time, format!("{field} {secs} is more than {MAX_CLOCK_DISTANCE} away from now")));
    }
    Ok(time)
}
