//! What people ask of a domain: judged against its state, answered with a value, recorded if it changes something.
//!
//! Every command is idempotent in what it leads to, and one that carries a request id is answered the same when it comes again. That it is
//! taken is recorded then, also when nothing changes.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::config::{ConfigProblem, DomainConfig};
use crate::engine::Shadow;
use crate::instance::{Instance, State};
use crate::name::Name;
use crate::record::{Adopted, Change, Configured, EngineInForce, Event, Record, Scheduled, Subscriber, Wish};
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
        /// Whom to tell of its instances from the beginning.
        subscriber: Option<Subscriber>,
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
    /// Its end: instances first, unless it is abandoned.
    Remove {
        /// Don't wait for the end of its instances: nobody will confirm it any more.
        abandon: bool,
    },
    /// Engines may ask for nothing, or may again.
    Pause(bool),
    /// What engines ask for is only recorded, or carried out again.
    DryRun(bool),
    /// Another engine is to run beside, or none any more.
    Shadow(Option<Shadow>),
    /// An engine that is held, and versions that the domain went back from, get another chance; one whose calls fail is asked at once.
    Retry,
    /// Whatever turned unhealthy up to now is to be believed.
    ReleaseBrake,
    /// Tell somebody of its instances.
    Subscribe(Subscriber),
    /// Tell them no more.
    Unsubscribe {
        /// Whom.
        name: Name,
        /// Only this of their operations.
        operation: Option<Name>,
    },
    /// The end of one instance, without engine and guards.
    Kill {
        /// Its id, or its number in the domain.
        instance: String,
        /// Why.
        reason: String,
    },
    /// Keep one instance from being ended, or no more.
    Protect {
        /// Its id, or its number in the domain.
        instance: String,
        /// On or off.
        on: bool,
    },
    /// Take in an instance that a provisioner runs.
    Adopt(Adopted),
}

impl What {
    /// Stands for what is asked for, as whoever asked wrote it. A new configuration is told by that it is one: it was made from what was
    /// asked for and from what was there, which is something else when the same request comes again.
    fn digest(&self) -> String {
        let told = match self {
            Self::Add { .. } => json!("add"),
            Self::Reconfigure { .. } => json!(RECONFIGURE),
            Self::Remove { abandon } => json!(["remove", abandon]),
            Self::Pause(on) => json!(["pause", on]),
            Self::DryRun(on) => json!(["dry_run", on]),
            Self::Shadow(shadow) => json!(["shadow", shadow.as_ref().map(|it| (&it.reference, it.promote_after))]),
            Self::Retry => json!("retry"),
            Self::ReleaseBrake => json!("release_brake"),
            Self::Subscribe(subscriber) => json!(["subscribe", subscriber]),
            Self::Unsubscribe { name, operation } => json!(["unsubscribe", name, operation]),
            Self::Kill { instance, reason } => json!(["kill", instance, reason]),
            Self::Protect { instance, on } => json!(["protect", instance, on]),
            Self::Adopt(adopted) => json!(["adopt", adopted.id]),
        };
        digest_of(&told)
    }
}

fn digest_of(told: &Value) -> String {
    let hash = Sha256::digest(told.to_string());
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
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
    /// The most subscribers of a domain: each is told of every instance, and every snapshot carries them.
    pub const MAX_SUBSCRIBERS: usize = 64;
    /// The longest reason for ending an instance, in bytes.
    pub const MAX_REASON_BYTES: usize = 1024;

    /// Judges a command.
    ///
    /// # Errors
    /// `invalid` with too long a request id, `not_found` without a domain, `conflict` when it is there already or being removed, or when
    /// something else was asked for under the same request id.
    pub fn command(&self, command: Command, now: Timestamp) -> Result<Commanded, ApiError> {
        if command.request.as_ref().is_some_and(|request| request.len() > Self::MAX_REQUEST_ID_BYTES) {
            return Err(ApiError::invalid("/request_id", format!("expected at most {} bytes", Self::MAX_REQUEST_ID_BYTES)));
        }
        let wish = command.request.map(|id| Wish { id, digest: Some(command.what.digest()) });
        if let Some(answer) = wish.as_ref().map_or(Ok(None), |wish| self.answer_to_wish(wish))? {
            return Ok(Commanded { record: None, answer: answer.clone() });
        }
        let adds = matches!(command.what, What::Add { .. });
        let not_found = || ApiError::NotFound { what: format!("domain {}", self.key.name) };
        let conflict = |message: &str| Err(ApiError::Conflict { message: format!("domain {} {message}", self.key.name) });
        match (self.life, adds) {
            (Life::Absent | Life::Removed, false) => return Err(not_found()),
            (Life::Active, true) => return conflict("is there already"),
            (Life::Removing, true) => return conflict("is still being removed"),
            (Life::Removing, false) if !matches!(command.what, What::Remove { .. }) => return conflict("is being removed"),
            (Life::Absent | Life::Removed, true) | (Life::Active | Life::Removing, false) => {}
        }
        let name = &self.key.name;
        let (mut subscribed, mut scheduled) = (None, None);
        let (change, answer) = match command.what {
            What::Add { config, engine, subscriber } => {
                subscribed = subscriber;
                scheduled = schedule(&config, &[], now.max(self.now));
                let revision = 1 + u64::from(scheduled.is_some());
                let answer = json!({"domain": name, "config_revision": revision, "engine": engine});
                (Some(Change::Added { config, engine }), answer)
            }
            What::Reconfigure { from_revision, .. } if from_revision != self.config_revision => {
                return conflict("was reconfigured by somebody else meanwhile");
            }
            What::Reconfigure { config, engine, .. } => {
                let changes = config != self.config || engine != self.engine;
                scheduled = schedule(&config, &self.windows, now.max(self.now)).filter(|_| changes);
                let revision = self.config_revision + u64::from(changes) + u64::from(scheduled.is_some());
                let answer = json!({"domain": name, "config_revision": revision, "engine": engine});
                (changes.then_some(Change::Reconfigured { config, engine }), answer)
            }
            What::Remove { abandon } => self.remove(abandon)?,
            What::Pause(paused) => ((paused != self.paused).then_some(Change::Paused(paused)), json!({"domain": name, "paused": paused})),
            What::DryRun(dry_run) => {
                ((dry_run != self.dry_run).then_some(Change::DryRun(dry_run)), json!({"domain": name, "dry_run": dry_run}))
            }
            What::Shadow(shadow) => self.take_shadow(shadow)?,
            What::Retry => self.retry(),
            What::ReleaseBrake => (Some(Change::BrakeReleased), json!({"domain": name, "brake": "released"})),
            What::Subscribe(subscriber) => self.subscribe(subscriber)?,
            What::Unsubscribe { name: subscriber, operation } => self.unsubscribe(subscriber, operation),
            What::Kill { instance, reason } => self.kill(&instance, reason)?,
            What::Protect { instance, on } => self.protect(&instance, on)?,
            What::Adopt(adopted) => self.adopt_command(adopted)?,
        };
        let record = change.or_else(|| wish.is_some().then_some(Change::Nothing)).map(|change| {
            let (by, at) = (command.by.clone(), now.max(self.now));
            let configured = Configured { by: command.by, request: wish, answer: answer.clone(), change };
            let also =
                subscribed.map(|subscriber| Configured { by, request: None, answer: Value::Null, change: Change::Subscribed(subscriber) });
            let configured = [Some(configured), also].into_iter().flatten().map(Event::Configured);
            Record::new(at, self.epoch, configured.chain(scheduled).collect())
        });
        Ok(Commanded { record, answer })
    }

    /// What was answered to a wish, if it is a repetition.
    fn answer_to_wish(&self, wish: &Wish) -> Result<Option<&Value>, ApiError> {
        let Some((earlier, answer)) = self.answered(&wish.id) else { return Ok(None) };
        if earlier.digest.is_some() && earlier != wish {
            let message = format!("something else was asked for as request {:?}: every request needs an id of its own", earlier.id);
            return Err(ApiError::Conflict { message });
        }
        Ok(Some(answer))
    }

    /// What was answered to a reconfiguration, if it is a repetition: it need not be judged again.
    ///
    /// # Errors
    /// `conflict` when something else was asked for under that id.
    pub fn answer_to_reconfigure(&self, request: &str) -> Result<Option<&Value>, ApiError> {
        self.answer_to_wish(&Wish { id: request.to_owned(), digest: Some(digest_of(&json!(RECONFIGURE))) })
    }

    /// The instance that people mean: by its id, or by its number in the domain, which may follow the name of the domain and a `/`. An id
    /// from elsewhere may look like a number, and is meant then.
    pub fn instance_called(&self, text: &str) -> Option<&Arc<Instance>> {
        let number = text.strip_prefix(self.key.name.as_str()).and_then(|rest| rest.strip_prefix('/'));
        let by_id = || text.parse().ok().and_then(|id| self.instance(&id));
        let by_number = |number: &str| self.instance_at(number.parse().ok()?);
        number.map_or_else(|| by_id().or_else(|| by_number(text)), by_number)
    }

    fn instance_or_not_found(&self, text: &str) -> Result<&Instance, ApiError> {
        let what = || format!("instance {:?}", text.chars().take(80).collect::<String>());
        self.instance_called(text).map(|it| &**it).ok_or_else(|| ApiError::NotFound { what: what() })
    }

    fn remove(&self, abandon: bool) -> Result<(Option<Change>, Value), ApiError> {
        let answer = json!({"domain": self.key.name, "removing": true, "abandoned": abandon || self.abandoned});
        let change = match (abandon, self.life) {
            (true, _) => (!self.abandoned).then_some(Change::Abandoned),
            (false, Life::Removing) => None,
            (false, _) => {
                let protected = self.instances().filter(|it| it.protected);
                let named: Vec<_> = protected.take(MAX_NAMED).map(|it| format!("{}/{}", self.key.name, it.ordinal)).collect();
                if !named.is_empty() {
                    let message = format!("{} protected: take that back first, or abandon the domain", are(&named));
                    return Err(ApiError::Conflict { message });
                }
                Some(Change::Removing)
            }
        };
        Ok((change, answer))
    }

    fn take_shadow(&self, shadow: Option<Shadow>) -> Result<(Option<Change>, Value), ApiError> {
        let answer = json!({"domain": self.key.name, "shadow": shadow.as_ref().map(|it| &it.engine)});
        let same = |it: &Shadow| shadow.as_ref().is_some_and(|new| (&new.engine, new.promote_after) == (&it.engine, it.promote_after));
        match (&shadow, self.shadow()) {
            (Some(new), _) if new.engine.digest == self.engine.digest => {
                let EngineInForce { name, version, .. } = &new.engine;
                Err(ApiError::Conflict { message: format!("{name} {version} decides domain {} already", self.key.name) })
            }
            (None, None) => Ok((None, answer)),
            (_, Some(old)) if same(old) => Ok((None, answer)),
            _ => Ok((Some(Change::Shadowed(shadow.map(Box::new))), answer)),
        }
    }

    fn retry(&self) -> (Option<Change>, Value) {
        // One whose calls fail is asked at once instead of after a pause that has grown.
        let needed = self.fault.is_some() || self.lineage.as_ref().is_some_and(|it| it.held.is_some() || !it.rejected.is_empty());
        (needed.then_some(Change::Retried), json!({"domain": self.key.name, "engine": self.engine}))
    }

    fn subscribe(&self, subscriber: Subscriber) -> Result<(Option<Change>, Value), ApiError> {
        let answer = json!({"domain": self.key.name, "subscriber": subscriber});
        let is_new = !self.subscribers.contains(&subscriber);
        if is_new && self.subscribers.len() >= Self::MAX_SUBSCRIBERS {
            let message = format!("domain {} has {} subscribers, and no more are kept", self.key.name, Self::MAX_SUBSCRIBERS);
            return Err(ApiError::Conflict { message });
        }
        Ok((is_new.then_some(Change::Subscribed(subscriber)), answer))
    }

    fn unsubscribe(&self, name: Name, operation: Option<Name>) -> (Option<Change>, Value) {
        let gone =
            self.subscribers.iter().filter(|it| it.name == name && operation.as_ref().is_none_or(|only| it.operation == *only)).count();
        let answer = json!({"domain": self.key.name, "unsubscribed": gone});
        ((gone > 0).then_some(Change::Unsubscribed { name, operation }), answer)
    }

    fn kill(&self, instance: &str, reason: String) -> Result<(Option<Change>, Value), ApiError> {
        if reason.len() > Self::MAX_REASON_BYTES {
            return Err(ApiError::invalid("/reason", format!("expected at most {} bytes", Self::MAX_REASON_BYTES)));
        }
        if reason.trim().is_empty() {
            return Err(ApiError::invalid("/reason", "expected some words"));
        }
        let instance = self.instance_or_not_found(instance)?;
        let conflict = |what: &str| Err(ApiError::Conflict { message: format!("{}/{} {what}", self.key.name, instance.ordinal) });
        if instance.state.is_gone() {
            return conflict(&format!("is gone already: {}", instance.state));
        }
        if instance.protected {
            return conflict("is protected: take that back first");
        }
        let answer = json!({"domain": self.key.name, "instance_id": instance.id, "ordinal": instance.ordinal, "state": State::Terminating});
        let change = instance.state.is_valid().then(|| Change::Killed { id: instance.id.clone(), reason });
        Ok((change, answer))
    }

    fn protect(&self, instance: &str, on: bool) -> Result<(Option<Change>, Value), ApiError> {
        let instance = self.instance_or_not_found(instance)?;
        if on && !instance.state.is_valid() {
            let message = format!("{}/{} is {}: too late to protect it", self.key.name, instance.ordinal, instance.state);
            return Err(ApiError::Conflict { message });
        }
        let answer = json!({"domain": self.key.name, "instance_id": instance.id, "ordinal": instance.ordinal, "protected": on});
        Ok(((instance.protected != on).then(|| Change::Protected { id: instance.id.clone(), on }), answer))
    }

    fn adopt_command(&self, adopted: Adopted) -> Result<(Option<Change>, Value), ApiError> {
        let answer = json!({"domain": self.key.name, "instance_id": adopted.id});
        if self.instance(&adopted.id).is_some() {
            return Ok((None, answer));
        }
        if !adopted.state.is_valid() {
            return Err(ApiError::Conflict { message: format!("{} is {}: nothing is left to take in", adopted.id, adopted.state) });
        }
        if self.alive() >= self.config.general.max_instances {
            let message = format!("domain {} has {} instances, as many as general.max_instances allows", self.key.name, self.alive());
            return Err(ApiError::Conflict { message });
        }
        Ok((Some(Change::Adopted(Box::new(adopted))), answer))
    }
}

/// What goes with a new configuration, if other windows are on from then than before.
fn schedule(config: &DomainConfig, before: &[Name], at: Timestamp) -> Option<Event> {
    let windows = config.windows_on(at);
    (windows != before).then_some(Event::Scheduled(Scheduled { windows }))
}

/// What stands for every reconfiguration: what it changes is folded into what is there, so that a repetition may lead to something else.
const RECONFIGURE: &str = "reconfigure";

/// How many instances one message names.
const MAX_NAMED: usize = 5;

fn are(named: &[String]) -> String {
    format!("{} {}", named.join(", "), if named.len() == 1 { "is" } else { "are" })
}
