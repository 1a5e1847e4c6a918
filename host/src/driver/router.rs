//! Which domain a message is for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use pilothouse_core::command::{ApiError, Command};
use pilothouse_core::config::DomainConfig;
use pilothouse_core::engine::Rejected;
use pilothouse_core::id::InstanceId;
use pilothouse_core::intake::Input;
use pilothouse_core::message::Reading;
use pilothouse_core::name::{DomainKey, Name};
use pilothouse_core::record::EngineInForce;
use pilothouse_core::sensor::Scope;
use pilothouse_core::state::{DomainState, Life};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::pull::Batch;

/// Messages that may wait for one domain. Enough for a fleet of ten thousand that reports at once to be behind for a moment.
pub(crate) const MAILBOX: usize = 16_384;

/// Something for a domain's task.
#[derive(Debug)]
pub(crate) enum Mail {
    /// For an instance.
    Input(Input),
    /// A reading.
    Reading(Scope, Reading),
    /// All readings of one answer.
    Readings(Batch),
    /// No provisioner answered when the state of everything was asked for.
    DumpUnanswered,
    /// A command, and who waits for the answer.
    Command(Box<Command>, oneshot::Sender<Result<Value, ApiError>>),
    /// A question, and who waits for the answer.
    Ask(Question, oneshot::Sender<Result<Value, ApiError>>),
    /// Why; of an instance, or of the domain as a whole.
    Why(Option<String>, oneshot::Sender<Result<Value, ApiError>>),
    /// Who wants to know what it holds.
    State(oneshot::Sender<Arc<DomainState>>),
    /// Who wants to know that the journal still ends where this task thinks: it answers that, or why it can't tell, or ends.
    Confirm(oneshot::Sender<Result<(), String>>),
}

impl Mail {
    /// Whether somebody waits for an answer.
    pub(crate) fn is_awaited(&self) -> bool {
        match self {
            Self::Command(..) | Self::Ask(..) | Self::Why(..) | Self::State(_) | Self::Confirm(_) => true,
            Self::Input(_) | Self::Reading(..) | Self::Readings(_) | Self::DumpUnanswered => false,
        }
    }
}

/// What can be asked of a domain.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    /// A line about it.
    Summary,
    /// All about it.
    Describe,
    /// What was answered to the request of an id; null when it is not among the newest.
    Reconfigured(String),
    /// How it is configured: [`Configuration`].
    Configuration,
    /// All about one instance, by its id or number.
    Instance(String),
    /// How its brake is.
    Brake,
}

/// The answer to [`Question::Configuration`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Configuration {
    /// The configuration in force.
    pub(crate) config: DomainConfig,
    /// The windows of its schedule that are on.
    #[serde(default)]
    pub(crate) windows: Vec<Name>,
    /// Where the domain is in its life.
    #[serde(default)]
    pub(crate) life: Life,
    /// Grows with every change of it.
    pub(crate) revision: u64,
    /// The engine in force.
    pub(crate) engine: EngineInForce,
    /// Versions that it went back from.
    #[serde(default)]
    pub(crate) rejected: Vec<Rejected>,
}

/// The way to one domain's task.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) key: DomainKey,
    mail: mpsc::Sender<Mail>,
    /// Messages that found the mailbox full.
    overflow: Arc<AtomicU64>,
    /// Whoever changes the configuration waits for this: it is read, judged by an engine, and written, and nobody should do that in vain.
    pub(crate) reconfiguring: Arc<tokio::sync::Mutex<()>>,
}

impl Handle {
    pub(crate) fn new(key: DomainKey) -> (Self, mpsc::Receiver<Mail>) {
        let (mail, receiver) = mpsc::channel(MAILBOX);
        (Self { key, mail, overflow: Arc::default(), reconfiguring: Arc::default() }, receiver)
    }

    /// Delivers what may be lost in the worst case. The domain learns that something was.
    pub(crate) fn offer(&self, mail: Mail) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.mail.try_send(mail) {
            self.overflow.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Delivers what somebody waits for.
    pub(crate) async fn deliver(&self, mail: Mail) -> Result<(), ApiError> {
        self.mail.send(mail).await.map_err(|_| gone(&self.key))
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&self, question: Question) -> Result<Value, ApiError> {
        self.ask_by(|answer| Mail::Ask(question, answer)).await?
    }

    /// Asks why; of an instance, or of the domain as a whole.
    pub(crate) async fn why(&self, instance: Option<String>) -> Result<Value, ApiError> {
        self.ask_by(|answer| Mail::Why(instance, answer)).await?
    }

    /// What the domain holds. To be dropped soon: while it is held, the domain's next record costs a copy.
    pub(crate) async fn state(&self) -> Result<Arc<DomainState>, ApiError> {
        self.ask_by(Mail::State).await
    }

    /// Has the task see whether the journal still ends where it thinks; when it does not, the task ends. Why it can't tell, if it can't.
    pub(crate) async fn confirm(&self) -> Result<Result<(), String>, ApiError> {
        self.ask_by(Mail::Confirm).await
    }

    /// Commands, and waits for the answer.
    pub(crate) async fn command(&self, command: Command) -> Result<Value, ApiError> {
        self.ask_by(|answer| Mail::Command(Box::new(command), answer)).await?
    }

    async fn ask_by<T>(&self, mail: impl FnOnce(oneshot::Sender<T>) -> Mail) -> Result<T, ApiError> {
        let (answer, waiting) = oneshot::channel();
        self.deliver(mail(answer)).await?;
        waiting.await.map_err(|_| gone(&self.key))
    }

    /// How many messages were lost since this was last asked.
    pub(crate) fn take_overflow(&self) -> u64 {
        self.overflow.swap(0, Ordering::Relaxed)
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.overflow, &other.overflow)
    }
}

fn gone(key: &DomainKey) -> ApiError {
    ApiError::Unavailable { message: format!("domain {} is changing hands; try again", key.name) }
}

/// The domains of this host, and which instance belongs to which.
#[derive(Debug, Default)]
pub(crate) struct Router {
    domains: RwLock<HashMap<DomainKey, Handle>>,
    instances: RwLock<HashMap<InstanceId, Handle>>,
}

impl Router {
    pub(crate) fn domain(&self, key: &DomainKey) -> Option<Handle> {
        self.domains.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// The domains of one owner, in the order of their names.
    pub(crate) fn domains_of(&self, owner: &Name) -> Vec<Handle> {
        let domains = self.domains.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<_> = domains.values().filter(|handle| handle.key.owner == *owner).cloned().collect();
        found.sort_by(|a, b| a.key.cmp(&b.key));
        found
    }

    /// Every domain, in the order of keys.
    pub(crate) fn all(&self) -> Vec<Handle> {
        let domains = self.domains.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = domains.values().cloned().collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    }

    pub(crate) fn len(&self) -> usize {
        self.domains.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) fn instance(&self, id: &InstanceId) -> Option<Handle> {
        self.instances.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Delivers what may be lost in the worst case to the domain of an instance, if there is one. The way of every heartbeat: nothing is
    /// copied but what is delivered.
    pub(crate) fn offer(&self, id: &str, mail: impl FnOnce(InstanceId) -> Mail) -> bool {
        let instances = self.instances.read().unwrap_or_else(PoisonError::into_inner);
        let found = instances.get_key_value(id);
        if let Some((id, handle)) = found {
            handle.offer(mail(id.clone()));
        }
        found.is_some()
    }

    pub(crate) fn add(&self, handle: &Handle) {
        self.domains.write().unwrap_or_else(PoisonError::into_inner).insert(handle.key.clone(), handle.clone());
    }

    /// Takes a domain and all its instances out, unless another task has taken its place.
    pub(crate) fn remove(&self, handle: &Handle) {
        let mut domains = self.domains.write().unwrap_or_else(PoisonError::into_inner);
        if domains.get(&handle.key).is_some_and(|there| there.is(handle)) {
            domains.remove(&handle.key);
        }
        drop(domains);
        self.instances.write().unwrap_or_else(PoisonError::into_inner).retain(|_, there| !there.is(handle));
    }

    pub(crate) fn add_instances<'i>(&self, ids: impl Iterator<Item = &'i InstanceId>, handle: &Handle) {
        let mut instances = self.instances.write().unwrap_or_else(PoisonError::into_inner);
        instances.extend(ids.map(|id| (id.clone(), handle.clone())));
    }

    pub(crate) fn remove_instances<'i>(&self, ids: impl Iterator<Item = &'i InstanceId>) {
        let mut instances = self.instances.write().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            instances.remove(id);
        }
    }
}
