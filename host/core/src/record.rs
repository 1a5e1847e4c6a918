//! What the journal holds: records of events, written once and folded into the state.
//!
//! One command of the host is one record, and one record is one message. The first byte of trust is the version: a record of a later
//! version than this code knows is an error, never a guess.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::DomainConfig;
use crate::cycle::{Cause, FaultKind, Observation, Settings, Status, Wake};
use crate::engine::{Compared, EngineHeld, Shadow, Swapped};
use crate::guard::Ruling;
use crate::id::{InstanceId, LaunchId};
use crate::instance::{Health, Instance, State, Vars};
use crate::name::Name;
use crate::problem::Problem;
use crate::seed::Seed;
use crate::state::{Counts, DomainState};
use crate::time::Timestamp;

/// The version of the format that is written. This version and the one before are read.
pub const FORMAT: u16 = 2;

/// One message of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The version of the format.
    pub v: u16,
    /// The moment it speaks of: never before that of the record before.
    pub at: Timestamp,
    /// How often the domain had been taken when it was written.
    pub epoch: u64,
    /// What happened, in order.
    pub events: Vec<Event>,
}

/// Something that happened to a domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "events live only from their making to their fold, a thousand of them at most")]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A host took the domain: from now on only its appends count.
    Took {
        /// Which.
        host: Name,
    },
    /// Somebody changed the domain.
    Configured(Configured),
    /// A provisioner told something.
    Reported(Reported),
    /// The host came to a verdict of its own.
    Judged(Judged),
    /// An engine decided.
    Decided(Box<Decision>),
    /// An engine call failed. Nothing else came of it.
    Faulted(Faulted),
    /// Another version of the engine is in force, although nobody changed the domain.
    Swapped(Swapped),
    /// The engine is not asked any more.
    Held(EngineHeld),
    /// How the engine that runs beside compares.
    Compared(Box<Compared>),
    /// Windows of the schedule began or ended.
    Scheduled(Scheduled),
    /// Everything before, folded.
    Snapshot(Box<DomainState>),
    /// From a backup: whatever was before is void. Its epoch is above every one that a provisioner can have seen, and so is that of
    /// whoever takes the domain next.
    Restored(Box<Restored>),
    /// The domain is gone.
    Removed,
}

/// A change that somebody asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Configured {
    /// Who asked.
    pub by: Name,
    /// The request, if it has an id: so that a repetition is recognised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Wish>,
    /// What was answered.
    pub answer: Value,
    /// What changed.
    pub change: Change,
}

/// The windows of the schedule that are on from then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    /// Their names, in the order of the schedule.
    pub windows: Vec<Name>,
}

/// A request that has an id: what tells its repetition from another request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WrittenWish")]
pub struct Wish {
    /// The id, as whoever asked made it up.
    pub id: String,
    /// Stands for what was asked for: another one under the same id is another wish. Nothing in records of before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// A request as records hold it: those of before digests were kept hold the id alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenWish {
    Id(String),
    Whole {
        id: String,
        #[serde(default)]
        digest: Option<String>,
    },
}

impl From<WrittenWish> for Wish {
    fn from(written: WrittenWish) -> Self {
        match written {
            WrittenWish::Id(id) => Self { id, digest: None },
            WrittenWish::Whole { id, digest } => Self { id, digest },
        }
    }
}

/// What somebody changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The domain was added.
    Added {
        /// Its configuration, whole.
        config: DomainConfig,
        /// The engine in force.
        engine: EngineInForce,
    },
    /// Its configuration was changed.
    Reconfigured {
        /// The new one, whole.
        config: DomainConfig,
        /// The engine in force.
        engine: EngineInForce,
    },
    /// Engines may ask for nothing, or may again.
    Paused(bool),
    /// What engines ask for is only recorded, or carried out again.
    DryRun(bool),
    /// Another engine runs beside, or none any more.
    Shadowed(Option<Box<Shadow>>),
    /// An engine that was held, and versions that the domain went back from, get another chance; one whose calls fail is asked at once.
    Retried,
    /// Whatever turned unhealthy up to now is believed.
    BrakeReleased,
    /// The domain is to go: first its instances, then itself.
    Removing,
    /// Nobody will confirm the end of its instances any more: the domain goes without them.
    Abandoned,
    /// Somebody wants to be told of its instances.
    Subscribed(Subscriber),
    /// Somebody wants that no more.
    Unsubscribed {
        /// Their name.
        name: Name,
        /// Only this of their operations; all of them when there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operation: Option<Name>,
    },
    /// The end of an instance is promised, whatever its engine and the guards think.
    Killed {
        /// Which.
        id: InstanceId,
        /// Why, in the words of whoever asked.
        reason: String,
    },
    /// Nobody but its host may end an instance, or anybody may again.
    Protected {
        /// Which.
        id: InstanceId,
        /// On or off.
        on: bool,
    },
    /// An instance that its provisioner runs, and of which nothing was on record, belongs to the domain from now on.
    Adopted(Box<Adopted>),
    /// It was so already. On record only for its request: if that comes again when it is so no more, it is still answered and not carried
    /// out.
    Nothing,
}

impl Change {
    /// For people.
    pub fn in_words(&self) -> String {
        match self {
            Self::Added { engine, .. } => format!("added, decided by {} {}", engine.name, engine.version),
            Self::Reconfigured { engine, .. } => format!("reconfigured, decided by {} {}", engine.name, engine.version),
            Self::Paused(true) => "paused".to_owned(),
            Self::Paused(false) => "resumed".to_owned(),
            Self::DryRun(true) => "dry run switched on".to_owned(),
            Self::DryRun(false) => "dry run switched off".to_owned(),
            Self::Shadowed(Some(shadow)) => format!("{} {} runs beside, as a shadow", shadow.engine.name, shadow.engine.version),
            Self::Shadowed(None) => "no shadow runs beside any more".to_owned(),
            Self::Retried => "its engine gets another chance".to_owned(),
            Self::BrakeReleased => "brake released".to_owned(),
            Self::Removing => "being removed".to_owned(),
            Self::Abandoned => "abandoned".to_owned(),
            Self::Subscribed(subscriber) => format!("{} is told of its instances, as {}", subscriber.name, subscriber.operation),
            Self::Unsubscribed { name, operation: None } => format!("{name} is told of its instances no more"),
            Self::Unsubscribed { name, operation: Some(operation) } => {
                format!("{name} is told of its instances no more as {operation}")
            }
            Self::Killed { id, reason } => format!("end of {id} asked for ({reason})"),
            Self::Protected { id, on: true } => format!("{id} protected"),
            Self::Protected { id, on: false } => format!("{id} protected no more"),
            Self::Nothing => "asked for what was so already".to_owned(),
            Self::Adopted(adopted) => format!("{} adopted, {} at {}", adopted.id, adopted.state, adopted.site),
        }
    }
}

/// Whom to tell when an instance runs, fails or ends, and on which subject.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Subscriber {
    /// Who.
    pub name: Name,
    /// What of theirs is called: the last token of the subject.
    pub operation: Name,
}

/// An instance as its provisioner told of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adopted {
    /// Its id.
    pub id: InstanceId,
    /// The launch that it was part of.
    pub launch: LaunchId,
    /// What was started.
    pub deployable_type: String,
    /// Where.
    pub site: String,
    /// How large.
    pub allocation: String,
    /// How far it has come.
    pub state: State,
    /// What its provisioner tells of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// The variables of its launch, over the domain's own: engines know their instances by them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_vars: Vars,
}

/// A domain as a backup holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restored {
    /// Who restored it.
    pub by: Name,
    /// When the backup was made.
    pub backup_at: Timestamp,
    /// All that the journal said then.
    pub state: DomainState,
    /// It is paused from now on, whatever it was then: nothing is launched or ended until somebody has seen what goes on since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

/// A component, pinned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EngineInForce {
    /// As its description says.
    pub name: String,
    /// As its description says.
    pub version: String,
    /// SHA-256 of the component, in hexadecimal.
    pub digest: String,
}

/// What a provisioner told of one instance, as far as it changes anything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reported {
    /// Which.
    pub id: InstanceId,
    /// Its state, if that moved on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// The counter of the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_counter: Option<u64>,
    /// Attributes that are new or have changed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// Why, in the provisioner's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// It lives although it is held for gone (true), or is settled after all (false).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undead: Option<bool>,
}

/// A verdict of the host on one instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Which.
    pub id: InstanceId,
    /// What was found.
    pub verdict: Judgement,
}

/// What the host found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// Its health changed, or more is known of its errors.
    Health {
        /// The health from now on.
        health: Health,
        /// Whether the errors known so far are settled.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        well: bool,
        /// What its agent tells is wrong.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        problems: Vec<Problem>,
        /// When that came up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error_time: Option<Timestamp>,
        /// Error heartbeats that this one stands for.
        #[serde(default, skip_serializing_if = "is_zero")]
        heartbeats: u64,
    },
    /// Its launch makes no progress and is asked for again.
    Stalled,
    /// Its termination is promised; if it is held for gone and heard all the same, once more.
    Ended {
        /// Why.
        reason: String,
    },
    /// It is gone for long: its record goes too.
    Reaped,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// An engine's decision: at once the promise of what will be done, the explanation, and the recording.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Decision {
    /// The journal sequence that the engine looked at.
    pub based_on: u64,
    /// How many instances of each kind the engine looked at. Nothing in records of before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saw: Option<Counts>,
    /// All chance in it follows from this.
    pub seed: Seed,
    /// Why it was made now.
    pub cause: Cause,
    /// Which engine.
    pub engine: EngineInForce,
    /// Which configuration.
    pub config_revision: u64,
    /// Whether the engine was prepared in the same cycle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared: Option<Prepared>,
    /// What the engine says of the domain.
    pub status: Status,
    /// In the engine's words.
    pub reason: String,
    /// The engine's figures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<(String, f64)>,
    /// When the engine wants to be asked next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake: Option<Wake>,
    /// The engine's memory from now on, if it changed.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "memory_as_text")]
    #[schemars(with = "Option<String>")]
    pub memory: Option<Vec<u8>>,
    /// What it wants of the host.
    #[serde(default, skip_serializing_if = "Settings::is_empty")]
    pub settings: Settings,
    /// What it asked to launch, and what became of that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub launches: Vec<DecidedLaunch>,
    /// What it asked to terminate, and what became of that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub terminations: Vec<DecidedTermination>,
    /// Requests were only recorded, and the memory of the call thrown away.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The sensors that it read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed: Vec<Observation>,
    /// Lines that it logged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
    /// What the calls used up.
    pub fuel: u64,
}

/// How an engine was made ready for its decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Prepared {
    /// It got its first memory.
    Initialized,
    /// It took up a new configuration.
    Reconfigured,
    /// It would not take up the new configuration, and goes on with the memory from before.
    Refused,
}

/// A launch that an engine asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DecidedLaunch {
    /// Its id.
    pub launch: LaunchId,
    /// What to start.
    pub deployable_type: String,
    /// Where.
    pub site: String,
    /// How large.
    pub allocation: String,
    /// Variables over the domain's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_vars: Vars,
    /// Only together with the end of this instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<InstanceId>,
    /// How many were asked for.
    pub asked: u32,
    /// Those that are promised.
    pub instances: Vec<InstanceId>,
    /// Why none was, if none was: what the engine was told, or what had changed when it had decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What each guard said, in order.
    pub rulings: Vec<Ruling>,
}

/// A termination that an engine asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DecidedTermination {
    /// Why, in the engine's words.
    pub reason: String,
    /// Those whose end is promised.
    pub accepted: Vec<InstanceId>,
    /// Those that were on their way out already, or gone and still heard from: asked to go again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub again: Vec<InstanceId>,
    /// Those that must wait.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deferred: Vec<InstanceId>,
    /// Those for which it no longer held when the engine had decided, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<(InstanceId, String)>,
    /// Why none was accepted, if none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// One of them goes although the brake is on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dripped: bool,
    /// What each guard said, in order.
    pub rulings: Vec<Ruling>,
}

/// An engine call that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faulted {
    /// Which engine.
    pub engine: EngineInForce,
    /// Which call.
    pub call: String,
    /// What sort of fault.
    pub kind: FaultKind,
    /// In words.
    pub message: String,
    /// Where in the engine, innermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backtrace: Vec<String>,
    /// How many in a row, this one included.
    pub in_a_row: u32,
    /// What the call had used up.
    pub fuel: u64,
    /// What the engine logged until it failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

/// A journal message that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not a record.
    #[error("journal record: {0}")]
    Json(#[from] serde_json::Error),
    /// Written by a later version.
    #[error("journal record of format {found}; this version reads up to {FORMAT}: update this host")]
    Format {
        /// Of the record.
        found: u16,
    },
}

impl Record {
    /// A record of some events.
    pub fn new(at: Timestamp, epoch: u64, events: Vec<Event>) -> Self {
        Self { v: FORMAT, at, epoch, events }
    }

    /// Reads a journal message.
    ///
    /// # Errors
    /// When it is no record, or of a later format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Head {
            v: u16,
        }
        let Head { v } = serde_json::from_slice(bytes)?;
        if v > FORMAT {
            return Err(RecordError::Format { found: v });
        }
        Ok(serde_json::from_slice(bytes)?)
    }

    /// Writes a journal message.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record has only string keys")
    }

    /// Whether this record holds everything that came before.
    pub fn is_snapshot(&self) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Snapshot(_) | Event::Restored(_)))
    }
}

/// An instance as a launch makes it.
impl DecidedLaunch {
    pub(crate) fn instance(&self, id: &InstanceId, ordinal: u64, at: Timestamp, sequence: u64) -> Instance {
        Instance {
            deployable_type: self.deployable_type.clone(),
            site: self.site.clone(),
            allocation: self.allocation.clone(),
            extra_vars: self.extra_vars.clone(),
            ..Instance::requesting(id.clone(), self.launch.clone(), ordinal, at, sequence)
        }
    }
}

/// Bytes as base64.
pub(crate) mod memory_as_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(memory: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        match memory {
            None => serializer.serialize_none(),
            Some(bytes) => serializer.serialize_str(&STANDARD.encode(bytes)),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| STANDARD.decode(text).map_err(serde::de::Error::custom)).transpose()
    }
}
