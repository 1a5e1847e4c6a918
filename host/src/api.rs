//! What users ask of a host over NATS, and what it answers.
//!
//! Operations are requests to `PREFIX.v1.api.USER.OPERATION` with a JSON body. The user is part of the subject, so that the permissions of
//! the NATS server decide who may speak for whom. Answers are JSON; an error carries the service headers of the NATS micro protocol, and
//! beside them the [`ApiError`] as JSON in [`ERROR_HEADER`].

mod brake;
mod client;
mod definition;
mod domain;
mod engine;
mod figures;
mod host;
mod instance;
mod journal;
mod operation;
mod orphan;
mod sensor;

use pilothouse_core::command::ApiError;
use pilothouse_core::explain::Ask;
pub use pilothouse_core::explain::Explanation;
use serde_json::Value;

pub use brake::BrakeDescription;
pub use client::{ApiClient, CallError};
pub(crate) use client::{ask, identify};
pub use definition::{DefinitionDescription, DefinitionList, DefinitionSummary, ListDefinitions, OnDefinition, WriteDefinition};
pub use domain::{
    AddDomain, AskSchedule, Asked, ConfigChange, DiffDomain, DomainDescription, DomainDiff, DomainList, DomainSchedule, DomainSubjects,
    DomainSummary, DryRun, History, HistoryOf, ListDomains, OnDomain, ReconfigureDomain, RemoveDomain, ShadowDomain, SubscribeDomain,
    UnsubscribeDomain,
};
pub use engine::{
    AskEngineFaults, AskEngines, EngineChanged, EngineDescription, EngineDomain, EngineFault, EngineFaults, EngineFile, EngineFileOnHost,
    EngineLimitsInForce, EngineList, EngineOnHost, EnginePinned, EngineShadow, EngineSource, EngineState, EngineSummary, EngineVersion,
    EngineVersionRef, HostEngines, LimitEngine, LimitsOfAll, ListEngines, PinEngine, PushEngine, RemoveEngine, RollBackEngine, UnpinEngine,
};
pub use figures::{DecisionFigures, HostFigures, JournalFigures, PullFigures};
pub use host::{Disabled, HostDescription, HostList, HostSwitched, ListHosts, OnHost};
pub use instance::{InstanceDescription, InstanceList, InstanceOf, KillInstance, ListInstances, OnInstance};
pub use journal::{ReloadJournal, Reloaded};
pub use operation::{Audience, Operation, ServedBy};
pub use orphan::{ChooseOrphans, ListOrphans, Missing, NotDone, Orphan, Orphans, OrphansDone};
pub use sensor::{PullDescription, PullFailure, SensorAnswer, SensorData};

/// The header that carries an error as JSON: the micro protocol has only a code and a text.
pub const ERROR_HEADER: &str = "Pilothouse-Error";

/// The user token of a caller who names no user: served as the default user of the hosts, if they have one. No name begins like it.
pub const NOBODY: &str = "_";

/// The answer to a command: what now holds. It says at least of what.
pub type Done = Value;

/// The code of an error in the service headers: that of HTTP which people know.
pub const fn error_code(error: &ApiError) -> usize {
    match error {
        ApiError::NotFound { .. } => 404,
        ApiError::Conflict { .. } => 409,
        ApiError::Invalid { .. } => 422,
        ApiError::NotPermitted { .. } => 403,
        ApiError::Unavailable { .. } => 503,
    }
}
