//! What can happen on a timeline.

use std::collections::BTreeMap;
use std::fmt;

use pilothouse_core::id::{InstanceId, LaunchId};
use pilothouse_core::instance::{Health, State};
use pilothouse_core::name::Name;
use pilothouse_core::record::{Adopted, Subscriber};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::tick::TickKind;

/// Which instance is meant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected whom: a launch order such as 0, a list of them, an id, or { state = \"RUNNING\", health = \"OK\", nth = 0 }"
)]
pub enum Of {
    /// By launch order, from 0.
    Nth(u64),
    /// By an id, known to the domain or foreign to it.
    Id(String),
    /// Several, each by launch order.
    Each(Vec<u64>),
    /// The n-th (from 0, in launch order) of those with a state and, if it is given, a health.
    Matching(Matching),
}

/// Instances with a state and a health.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Matching {
    /// `RUNNING`, `PENDING` and so on.
    pub state: String,
    /// `OK`, `MISSING` and so on; any, when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// Which of them, from 0.
    #[serde(default)]
    pub nth: usize,
}

impl Of {
    /// What is wrong with it, if something is: a word that no state or health has.
    pub(crate) fn problem(&self) -> Option<String> {
        let Self::Matching(Matching { state, health, .. }) = self else { return None };
        let state = state.parse::<State>().map_err(|error| error.to_string()).err();
        state.or_else(|| health.as_ref()?.parse::<Health>().map_err(|error| error.to_string()).err())
    }
}

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nth(nth) => write!(f, "#{nth}"),
            Self::Id(id) => f.write_str(id),
            Self::Each(all) => {
                for (at, nth) in all.iter().enumerate() {
                    write!(f, "{}#{nth}", if at == 0 { "" } else { " " })?;
                }
                Ok(())
            }
            Self::Matching(Matching { state, health, nth }) => {
                write!(f, "number {nth} of those that are {state}")?;
                health.as_ref().map_or(Ok(()), |health| write!(f, " and {health}"))
            }
        }
    }
}

/// A provisioner tells how far an instance has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Which instance.
    pub of: Of,
    /// `PENDING`, `RUNNING`, `TERMINATED` and so on.
    pub state: String,
    /// Makes up a host name and an address and sends them as `hostname` and `public_ip`, the same ones every time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub generate_address: bool,
    /// Whatever else the message carries: `public_ip`, `update_counter`, `reason`.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

/// An agent tells how its instance is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Beat {
    /// Which instance.
    pub of: Of,
    /// `OK`, `MONITOR_ERROR` or `PROCESS_ERROR`.
    pub state: String,
    /// What the monitor on the instance found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When that came up, in seconds of the timeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_time: Option<f64>,
    /// The processes that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_processes: Option<Vec<Value>>,
}

/// Sensor readings arrive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// The series.
    pub metric: String,
    /// Of which instance; of the domain as a whole, when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Of>,
    /// One reading, taken now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Readings with the second of the timeline at which each was taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<(f64, f64)>,
}

/// Whether a request reaches its provisioner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Works {
    /// It does.
    #[default]
    Works,
    /// It is lost, as if there were nobody.
    Fails,
}

/// A provisioner starts or stops failing. What is left out stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provisioner {
    /// Requests to launch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provision: Option<Works>,
    /// Requests to terminate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminate: Option<Works>,
}

/// What agents do when they are asked for a sign of life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentDoes {
    /// They get the question and say nothing.
    #[default]
    Ignores,
    /// They answer at once that all is well.
    Answers,
    /// There is nobody who could be asked, and the host is told so.
    Absent,
}

/// Somebody who wants to be told no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unsubscribe {
    /// Who.
    pub name: Name,
    /// Only this of their operations; all of them, when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Name>,
}

/// An operator ends an instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kill {
    /// Which.
    pub of: Of,
    /// Why, in words.
    #[serde(default = "Kill::no_reason")]
    pub reason: String,
}

impl Kill {
    fn no_reason() -> String {
        "an operator asked for it".to_owned()
    }
}

/// An operator takes in an instance that runs at a site and belongs to no domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Adopt {
    /// Where it runs.
    pub site: String,
    /// What it was started as.
    #[serde(default = "Adopt::worker")]
    pub deployable_type: String,
    /// In which size.
    #[serde(default = "Adopt::small")]
    pub allocation: String,
    /// The variables of its own that it was launched with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_vars: BTreeMap<String, String>,
}

impl Adopt {
    fn worker() -> String {
        "epu_work_consumer".to_owned()
    }

    fn small() -> String {
        "small".to_owned()
    }

    /// The instance, under this id.
    pub(crate) fn instance(&self, id: InstanceId, launch: LaunchId) -> Adopted {
        Adopted {
            id,
            launch,
            deployable_type: self.deployable_type.clone(),
            site: self.site.clone(),
            allocation: self.allocation.clone(),
            state: State::Running,
            attributes: BTreeMap::new(),
            extra_vars: self.extra_vars.clone().into_iter().collect(),
        }
    }
}

/// Another version of the engine comes into force by itself. It is the same component under another version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Swap {
    /// Which.
    pub version: String,
    /// Why.
    #[serde(default, skip_serializing_if = "is_followed")]
    pub why: SwapWhy,
}

/// Why another version comes into force by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SwapWhy {
    /// It is newer, and the configuration follows it. It waits while a shadow runs.
    #[default]
    Followed,
    /// An operator wants it.
    Pinned,
    /// Its file was saved anew.
    Reloaded,
}

fn is_followed(why: &SwapWhy) -> bool {
    *why == SwapWhy::Followed
}

/// Calls of an engine fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fail {
    /// How.
    pub kind: FailKind,
    /// How many, one after the other.
    #[serde(default = "Fail::once", skip_serializing_if = "Fail::is_once")]
    pub times: u32,
    /// Only calls of this version, be it in force or run beside. Left out, of whichever is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl Fail {
    fn once() -> u32 {
        1
    }

    fn is_once(times: &u32) -> bool {
        *times == 1
    }
}

/// How a call fails: a sort of fault, or that the memory is not one that this version understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailKind {
    /// It traps.
    Trap,
    /// It uses up its fuel.
    Fuel,
    /// It wants more memory than it may have.
    Memory,
    /// It runs for too long by the clock on the wall.
    Deadline,
    /// It runs for too long, and has the processor all that time.
    Processor,
    /// It does not even end when it is told to.
    Abandoned,
    /// What it returns makes no sense.
    Output,
    /// It returns an error.
    Returned,
    /// It can't be had, loaded or started.
    Load,
    /// The host has no room for the call.
    Crowded,
    /// The next call that hands it a memory for another configuration or version: it does not understand that.
    MemoryRefused,
}

/// Another engine runs beside. Nothing that it asks for is carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Beside {
    /// Its name: the engine's own, when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Its version: that of the component, when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// After so many seconds without a difference it comes into force; never, when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promote_after: Option<f64>,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A loop of the host runs once.
    Tick(TickKind),
    /// The engine is asked and takes its time: whatever happens before the next tick `decide` it does not see.
    Ask,
    /// A provisioner reports.
    Report(Report),
    /// An agent's heartbeat.
    Heartbeat(Beat),
    /// Sensor readings.
    Reading(Reading),
    /// A provisioner was asked for an instance and does not know it.
    Unknown(Of),
    /// The domain is reconfigured: sections, folded in key by key.
    Reconfigure(Value),
    /// Provisioners start or stop failing.
    Provisioner(Provisioner),
    /// Agents answer or do not.
    Agent(AgentDoes),
    /// The host dies and comes back: the journal survives, its memory does not.
    Restart,
    /// The journal gets a snapshot, and a restart reads from there.
    Snapshot,
    /// The domain is removed.
    Remove,
    /// The host can't see any more; why.
    Blind(String),
    /// The host sees again.
    See,
    /// The host finds that it saw nothing for so many seconds up to now.
    Missed(f64),
    /// The domain is paused, or goes on.
    Pause(bool),
    /// Dry run is switched on or off.
    DryRun(bool),
    /// An operator believes what turned unhealthy.
    ReleaseBrake,
    /// Somebody wants to be told of instances.
    Subscribe(Subscriber),
    /// Somebody wants that no more.
    Unsubscribe(Unsubscribe),
    /// An operator ends an instance.
    Kill(Kill),
    /// An operator keeps an instance from being ended, or does so no more.
    Protect(Of, bool),
    /// An operator takes in an instance.
    Adopt(Adopt),
    /// The domain is removed, and nobody waits for its instances.
    Abandon,
    /// Another version of the engine comes into force.
    Swap(Swap),
    /// Calls of an engine fail from now on.
    Fail(Fail),
    /// An operator gives an engine that is held, and versions that the domain went back from, another chance.
    Retry,
    /// Another engine runs beside.
    Shadow(Beside),
    /// None does any more.
    Unshadow,
}
