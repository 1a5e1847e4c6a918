//! Engines: those that every host brings, and those that were pushed into the registry.

use std::collections::{BTreeMap, BTreeSet};

use pilothouse_core::cycle::FaultKind;
use pilothouse_core::engine::Limits;
use pilothouse_core::explain::ShadowTold;
use pilothouse_core::name::Name;
use pilothouse_core::record::EngineInForce;
use pilothouse_core::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Enters a component into the registry, under the name and version that it gives itself. Its bytes are in the engine store already, under
/// their digest: they are too large for a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PushEngine {
    /// SHA-256 of the component, in hexadecimal: the name of the object.
    pub digest: String,
    /// The length of the component.
    pub bytes: u64,
    /// What it must call itself, as `NAME@VERSION`: otherwise it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    /// Tells a repetition of this request from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Lists the engines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListEngines {}

/// Names an engine, or one of its versions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EngineVersionRef {
    /// Which engine.
    pub name: String,
    /// Which version of it, whole; without it, the one that domains get which ask for nothing but the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Has every domain whose configuration it fits decided by one version, whatever newer ones there are or will be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PinEngine {
    /// Which engine.
    pub name: String,
    /// Which version of it, whole.
    pub version: String,
    /// Why, for whoever sees it later. At most 1024 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Tells a repetition of this request from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Lets domains follow the versions of an engine again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnpinEngine {
    /// Which engine.
    pub name: String,
    /// Tells a repetition of this request from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Pins an engine to an older version than the one in effect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollBackEngine {
    /// Which engine.
    pub name: String,
    /// Which version, whole; without it, the newest release below the one in effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Why, for whoever sees it later. At most 1024 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Tells a repetition of this request from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Takes a version out of the registry. One that decides a domain, or is pinned, stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveEngine {
    /// Which engine.
    pub name: String,
    /// Which version of it, whole.
    pub version: String,
    /// Tells a repetition of this request from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Changes what all versions of an engine may use up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitEngine {
    /// Which engine.
    pub name: String,
    /// By the names of limits: what it is to be, or nothing for what the hosts have. A limit that is not named stays as it is.
    #[serde(default)]
    pub limits: BTreeMap<String, Option<u64>>,
    /// Tells a repetition of this request from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What holds for an engine after a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineChanged {
    /// Which engine.
    pub name: Name,
    /// The version that was pushed, removed or pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// SHA-256 of its component, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The version that is pinned now, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
    /// Limits of this engine of its own, now.
    #[serde(default)]
    pub limits: Limits,
    /// How many domains take another version up by that, as far as their engines take their configurations. Nothing where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domains: Option<u64>,
    /// Whether anything was otherwise before. To push what is there, for instance, changes nothing.
    pub changed: bool,
}

/// The engines that there are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineList {
    /// In the order of their names.
    pub engines: Vec<EngineSummary>,
    /// Names under which the registry has something that this host can't read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Name>,
    /// The files of folders that hosts watch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<EngineFileOnHost>,
    /// How many are not told of, because there are too many for one answer.
    #[serde(default)]
    pub left_out: usize,
}

/// A line about an engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineSummary {
    /// Its name.
    pub name: Name,
    /// The version that domains get which ask for nothing but the name: the pinned one, else the newest release. Nothing when there are
    /// only pre-releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_effect: Option<String>,
    /// SHA-256 of that version's component, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Whether a version is pinned.
    #[serde(default)]
    pub pinned: bool,
    /// How many versions there are.
    pub versions: usize,
    /// Where they are from.
    pub sources: Vec<EngineSource>,
    /// How the version in effect is on the hosts that answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ready: Vec<EngineOnHost>,
    /// How many domains it decides, whoever's they are; nothing when no host looks after the domains at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by: Option<u64>,
}

/// Where a host has an engine from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EngineSource {
    /// It came with the program.
    BuiltIn,
    /// A file that the host was started with.
    File,
    /// A file of a folder that the host watches.
    Folder,
    /// It was pushed, and all hosts have it.
    Pushed,
}

/// All about an engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineDescription {
    /// Its name.
    pub name: Name,
    /// Its versions, the newest first.
    pub versions: Vec<EngineVersion>,
    /// The version that domains get which ask for nothing but the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_effect: Option<String>,
    /// The version that is pinned, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<EnginePinned>,
    /// The files of folders that hosts watch which offer this engine, or did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<EngineFileOnHost>,
    /// What it may use up.
    pub limits: EngineLimitsInForce,
    /// Those of the caller's domains that it decides, in the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<EngineDomain>,
    /// Those of the caller's domains beside whose engine it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadows: Vec<EngineShadow>,
    /// How it failed in the caller's domains: the newest, first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<EngineFault>,
    /// What the version that was asked for, or the one in effect, says about itself and its configuration, as Markdown;
    /// nothing when that is too long for one answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documentation: Option<String>,
    /// The JSON Schema of the section `engine_conf` for that version; nothing when that is too long for one answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<Value>,
    /// How many versions and domains are not told of, because there are too many for one answer.
    #[serde(default)]
    pub left_out: usize,
}

/// A domain that an engine decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineDomain {
    /// Which domain.
    pub domain: Name,
    /// The version in force.
    pub engine: EngineInForce,
    /// What its configuration asks for.
    pub reference: String,
    /// It is not asked any more, until somebody changes something.
    #[serde(default)]
    pub held: bool,
    /// The version that the domain went back from and would have otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back_from: Option<String>,
}

/// A domain beside whose engine another one runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineShadow {
    /// Which domain.
    pub domain: Name,
    /// What runs beside, and how it compares.
    #[serde(flatten)]
    pub shadow: ShadowTold,
}

/// A version of an engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineVersion {
    /// Which.
    pub version: String,
    /// SHA-256 of the component, in hexadecimal.
    pub digest: String,
    /// The length of the component.
    pub bytes: u64,
    /// Where the host that answers has it from.
    pub sources: Vec<EngineSource>,
    /// In a line, what it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// Who pushed it, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Name>,
    /// When, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// How it is on the hosts that answered, in the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ready: Vec<EngineOnHost>,
    /// How many domains it decides, whoever's they are; nothing when no host looks after the domains at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by: Option<u64>,
}

/// Who pinned a version, when and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnginePinned {
    /// Which version.
    pub version: String,
    /// Who.
    pub by: Name,
    /// When, in milliseconds since the Unix epoch.
    pub at: Timestamp,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What an engine may use up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineLimitsInForce {
    /// What holds on the host that answers.
    pub effective: Limits,
    /// What was set for this engine; what is above the ceiling of a host is cut to it there.
    #[serde(default)]
    pub overrides: Limits,
    /// What was set and is cut on the host that answers, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<String>,
    /// What no engine has for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_all: Option<LimitsOfAll>,
}

/// Limits that are the same for every engine, or of all engines together, on the host that answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LimitsOfAll {
    /// Bytes of the stack of a call.
    pub stack_bytes: u64,
    /// Milliseconds after which an answer is not awaited any more, waiting for a place and a thread included.
    pub time_out_ms: u64,
    /// Bytes of a component.
    pub component_bytes: u64,
    /// Threads for calls that are short, of all engines together. At most twice as many more are at long ones.
    pub threads: u64,
    /// Bytes of memory of all calls that run at the same time, together.
    pub memory_together_bytes: u64,
}

/// How a version is on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EngineOnHost {
    /// Which host.
    pub host: Name,
    /// How it is there.
    #[serde(flatten)]
    pub state: EngineState,
}

/// How far a host is with a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum EngineState {
    /// The host knows of it, and it is not its turn yet; or it could not be had, and will be tried again.
    Waiting {
        /// Why it could not be had.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// It is being fetched and compiled.
    Compiling,
    /// A domain can be decided by it at once.
    Ready {
        /// How long loading took, in milliseconds.
        compile_ms: u64,
        /// Whether it had been compiled before.
        from_cache: bool,
    },
    /// It can't serve as an engine on this host.
    Refused {
        /// Why not.
        reason: String,
    },
    /// There are so many newer ones that it is not compiled ahead of use: it will be when a domain takes it.
    OnDemand,
}

/// Asks every host how versions are there. The digests of components, in hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AskEngines {
    /// Which.
    pub digests: Vec<String>,
}

/// How versions are on one host, by the digests of their components. One that the host has not heard of is not among them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostEngines {
    /// Which host.
    pub host: Name,
    /// How they are.
    pub engines: BTreeMap<String, EngineState>,
    /// Those of them that this host has without any registry.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub own: BTreeSet<String>,
    /// The files of the folder of engines that it watches, whatever is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<EngineFile>,
}

/// A file of a folder of engines that a host watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EngineFile {
    /// Its path on that host.
    pub file: String,
    /// The engine that it offers: of a file that can't be used as it is now, the one that it offered before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineInForce>,
    /// When it was saved, in milliseconds since the Unix epoch.
    pub saved: Timestamp,
    /// Why what is in it now is not offered, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// A file of a folder that one of the hosts watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EngineFileOnHost {
    /// Which host.
    pub host: Name,
    /// Which file, and what is in it.
    #[serde(flatten)]
    pub file: EngineFile,
}

/// Asks how engines failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AskEngineFaults {
    /// Of this engine only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of this domain only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// From this moment on, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The newest so many, at most 1000; 100 unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// How engines failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineFaults {
    /// The newest first.
    pub faults: Vec<EngineFault>,
    /// How many of each kind there are in all, those that are not told of included.
    pub counts: BTreeMap<String, u64>,
    /// There are older ones than those told of.
    pub more: bool,
}

/// A call of an engine that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineFault {
    /// Whose domain it was.
    pub owner: Name,
    /// Which domain it was asked for.
    pub domain: Name,
    /// When, in milliseconds since the Unix epoch.
    pub at: Timestamp,
    /// Which engine.
    pub engine: EngineInForce,
    /// In which call.
    #[serde(default)]
    pub call: String,
    /// How it failed.
    pub kind: FaultKind,
    /// In words.
    pub message: String,
    /// Where the guest was, the innermost function first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backtrace: Vec<String>,
    /// Units of fuel that the call had used up.
    #[serde(default)]
    pub fuel: u64,
    /// Whether it speaks against this version.
    pub counted: bool,
    /// What it led to, beside another attempt: that the domain went back to another version, or that its engine is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub led_to: Option<String>,
}
