//! What people ask of a domain: judged against its state, answered with a value, recorded if it changes something.
//!
//! Every command is idempotent in what it leads to, and one that carries a request id is answered the same when it comes again.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::{ConfigProblem, DomainConfig};
use crate::name::Name;
use crate::record::{Change, Configured, EngineInForce, Event, Record};
use crate::state::{DomainState, Life};
use crate::time::Timestamp;

/// A command, with who asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Who. The key of the domain holds its owner; they are the same.
    pub by: Name,
    /// Tells a repetition from a second wish.
    pub request: Option<String>,
    /// What.
    pub what: What,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A new domain.
    Add {
        /// Its configuration.
        config: DomainConfig,
        /// The component that the configuration's engine resolves to.
        engine: EngineInForce,
    },
    /// Another configuration.
    Reconfigure {
        /// The new one, whole.
        config: DomainConfig,
        /// The component that the configuration's engine resolves to.
        engine: EngineInForce,
        /// The revision that the new one was made from; a conflict when there is another by now.
        from_revision: u64,
    },
    /// Its end: instances first.
    Remove,
    /// Engines may ask for nothing, or may again.
    Pause(bool),
    /// What engines ask for is only recorded, or carried out again.
    DryRun(bool),
    /// Whatever turned unhealthy up to now is to be believed.
    ReleaseBrake,
}

/// A command that was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Commanded {
    /// What to append, if anything changes.
    pub record: Option<Record>,
    /// What to answer when that is committed.
    pub answer: Value,
}

/// Why a request was not carried out. Kinds are stable: programs branch on them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", rename_all = "snake_case")]
pub enum ApiError {
    /// There is none, or it is somebody else's.
    #[error("{what} not found")]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// It is there already, or in the way.
    #[error("{message}")]
    Conflict {
        /// Why.
        message: String,
    },
    /// The request makes no sense.
    #[error("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid {
        /// Everything that is wrong with it.
        problems: Vec<ConfigProblem>,
    },
    /// Not for this caller.
    #[error("{message}")]
    NotPermitted {
        /// Why.
        message: String,
    },
    /// Not now; try again.
    #[error("{message}")]
    Unavailable {
        /// Why.
        message: String,
    },
}

impl ApiError {
    /// The stable name of its kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::Conflict { .. } => "conflict",
            Self::Invalid { .. } => "invalid",
            Self::NotPermitted { .. } => "not_permitted",
            Self::Unavailable { .. } => "unavailable",
        }
    }

    /// One problem with a key of the request.
    pub fn invalid(at: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { problems: vec![ConfigProblem::new(at, message)] }
    }
}

impl DomainState {
    /// The longest id of a request, in bytes: the journal carries it, and every snapshot the newest of them.
    pub const MAX_REQUEST_ID_BYTES: usize = 128;

    /// Judges a command.
    ///
    /// # Errors
    /// `invalid` with too long a request id, `not_found` without a domain, `conflict` when it is there already or being removed.
    pub fn command(&self, command: Command, now: Timestamp) -> Result<Commanded, ApiError> {
        if command.request.as_ref().is_some_and(|request| request.len() > Self::MAX_REQUEST_ID_BYTES) {
            return Err(ApiError::invalid("/request_id", format!("expected at most {} bytes", Self::MAX_REQUEST_ID_BYTES)));
        }
        if let Some(answer) = command.request.as_deref().and_then(|request| self.answer_to(request)) {
            return Ok(Commanded { record: None, answer: answer.clone() });
        }
        let adds = matches!(command.what, What::Add { .. });
        let not_found = || ApiError::NotFound { what: format!("domain {}", self.key.name) };
        let conflict = |message: &str| Err(ApiError::Conflict { message: format!("domain {} {message}", self.key.name) });
        match (self.life, adds) {
            (Life::Absent | Life::Removed, false) => return Err(not_found()),
            (Life::Active, true) => return conflict("is there already"),
            (Life::Removing, true) => return conflict("is still being removed"),
            (Life::Removing, false) if command.what == What::Remove => {
                return Ok(Commanded { record: None, answer: json!({"domain": self.key.name, "removing": true}) });
            }
            (Life::Removing, false) => return conflict("is being removed"),
            (Life::Absent | Life::Removed, true) | (Life::Active, false) => {}
        }
        let name = &self.key.name;
        let (change, answer) = match command.what {
            What::Add { config, engine } => {
                let answer = json!({"domain": name, "config_revision": 1, "engine": engine});
                (Some(Change::Added { config, engine }), answer)
            }
            What::Reconfigure { from_revision, .. } if from_revision != self.config_revision => {
                return conflict("was reconfigured by somebody else meanwhile");
            }
            What::Reconfigure { config, engine, .. } => {
                let changes = config != self.config || engine != self.engine;
                let revision = self.config_revision + u64::from(changes);
                let answer = json!({"domain": name, "config_revision": revision, "engine": engine});
                (changes.then_some(Change::Reconfigured { config, engine }), answer)
            }
            What::Remove => (Some(Change::Removing), json!({"domain": name, "removing": true})),
            What::Pause(paused) => ((paused != self.paused).then_some(Change::Paused(paused)), json!({"domain": name, "paused": paused})),
            What::DryRun(dry_run) => {
                ((dry_run != self.dry_run).then_some(Change::DryRun(dry_run)), json!({"domain": name, "dry_run": dry_run}))
            }
            What::ReleaseBrake => (Some(Change::BrakeReleased), json!({"domain": name, "brake": "released"})),
        };
        let record = change.map(|change| {
            let configured = Configured { by: command.by, request: command.request, answer: answer.clone(), change };
            Record::new(now.max(self.now), self.epoch, vec![Event::Configured(configured)])
        });
        Ok(Commanded { record, answer })
    }
}
