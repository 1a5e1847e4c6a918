//! A host: puts the parts together, takes the domains when the lease is its own, and lets go of them when it is not.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::{Client, jetstream};
use pilothouse_core::command::ApiError;
use pilothouse_core::name::{DomainKey, Name};
use pilothouse_core::state::{DomainState, Life};
use pilothouse_core::subject::Subjects;
use pilothouse_core::time::Millis;
use pilothouse_engine_host::{Compiler, Runner, RunnerConfig, Sandbox, SandboxConfig};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::away::Away;
use super::bucket::BucketError;
use super::clock::Clock;
use super::decisions::Decisions;
use super::definitions::Definitions;
use super::engines::{self, Engines};
use super::equip::Equipment;
use super::folder::Folder;
use super::hosts::Hosts;
use super::intake::Intake;
use super::lease::Lease;
use super::ownership::{Owner, Ownership};
use super::pull::{Sources, SourcesError};
use super::registry::{self, Ahead, Registry};
use super::router::{Handle, Router};
use super::send::Sender;
use super::service;
use super::shared::Shared;
use super::startup;
use super::task::{End, Task, fold};
use super::watch::Watch;
use crate::hostfile::{EngineCeilings, HostFile};
use crate::malformed::Ledger;
use crate::nats::client::LinkEvent;
use crate::store::{JetStreamJournal, Journal, JournalOptions, Loaded, Scope};

/// How long to wait before something that failed for reasons outside is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// After how long a domain whose task ended is loaded again: longer than a lease takes to be seen by everybody, so that two hosts don't take
/// a domain from each other in turn.
const SETTLED: Duration = Duration::from_secs(2);

/// After how long a domain that could not be read is tried again. The journal may be on its way back, or somebody mend it by a restore.
const UNREADABLE: Duration = Duration::from_secs(15);

/// How long a domain's task may take to find out whether its records are still the newest.
const CONFIRM: Duration = Duration::from_secs(5);

/// Versions that domains would take up are judged by so many at the same time.
const JUDGED_AT_ONCE: usize = 2;

/// How many domains may at a time be on their way from one version to the first decision of another. A thousand that did it at once would
/// want three appends each before one disk, and keep all others waiting.
const SWAPPED_AT_ONCE: usize = 16;

/// How a host is run.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// The name of this host, unique among all.
    pub name: Name,
    /// The prefix of all subjects, streams and buckets.
    pub prefix: Name,
    /// How long others wait before they take over from a host that they don't hear of.
    pub lease: Duration,
    /// How many servers keep a copy of journal, lease and engines.
    pub replicas: usize,
    /// Where compiled engines are kept.
    pub cache: Option<PathBuf>,
    /// How long the journal keeps what is not needed for going on.
    pub history_retention: Millis,
    /// What this host allows any engine, and all of them together. It holds instead of what the file says of that.
    pub limits: EngineCeilings,
    /// What compiles components in a process of its own; without one they are compiled in this one.
    pub compiler: Option<Compiler>,
    /// Components to offer beside the embedded engines.
    pub engines: Vec<PathBuf>,
    /// A folder of components to offer as well, and to follow as they are saved anew.
    pub engines_dir: Option<PathBuf>,
    /// Who callers are that name no user; without one they are refused.
    pub default_user: Option<Name>,
    /// The file with the key that credentials of agents are signed with; without one agents get those of their provisioner.
    pub agent_signer: Option<PathBuf>,
    /// The directory with the secrets that variables refer to, one directory an owner.
    pub secrets: Option<PathBuf>,
    /// What is to be there from the beginning.
    pub file: HostFile,
}

/// A host could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Engines can't be run.
    #[error("the sandbox for engines")]
    Sandbox(#[from] pilothouse_engine_host::SandboxError),
    /// An engine that this host should offer does not load.
    #[error(transparent)]
    Engines(#[from] engines::EngineError),
    /// No threads for engines.
    #[error("threads for engines")]
    Threads(#[from] std::io::Error),
    /// The journal can't be used.
    #[error("the journal")]
    Journal(#[from] crate::store::OpenError),
    /// A bucket can't be used.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// Agents can't be given credentials.
    #[error(transparent)]
    Signer(#[from] crate::auth::SignerError),
    /// Prometheus servers can't be asked.
    #[error(transparent)]
    Sources(#[from] SourcesError),
    /// A subscription was refused.
    #[error("a subscription")]
    Subscribe(#[from] async_nats::SubscribeError),
    /// The service could not be started.
    #[error("the service: {0}")]
    Service(async_nats::Error),
    /// It was told to stop before it had started.
    #[error("stopped before it had started")]
    Stopped,
}

/// A host that runs.
pub struct Host {
    domains: Arc<Domains<JetStreamJournal>>,
    service: async_nats::service::Service,
    parts: TaskTracker,
    failed: mpsc::UnboundedReceiver<String>,
    stop: CancellationToken,
}

/// A host that must not go on.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct HostFailed(String);

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("name", &self.domains.shared.host).finish_non_exhaustive()
    }
}

impl Host {
    /// Starts a host on a connection that is made for ever. Waits until there is a journal.
    ///
    /// # Errors
    /// When something is wrong that waiting does not mend.
    pub async fn start(
        client: Client,
        events: mpsc::UnboundedReceiver<LinkEvent>,
        options: HostOptions,
        stop: CancellationToken,
    ) -> Result<Self, StartError> {
        // It may have to stop by itself, and must not stop anything else with it.
        let stop = stop.child_token();
        let clock = Clock::start();
        let subjects = Subjects::new(&options.prefix);
        let sandbox = SandboxConfig { cache: options.cache.clone(), compiler: options.compiler.clone(), ..options.limits.sandbox() };
        let engine_time_out = sandbox.limits.time_out;
        let files = options.engines.clone();
        let engines = tokio::task::spawn_blocking(move || Engines::with_files(Sandbox::new(sandbox)?, &files).map_err(StartError::from))
            .await
            .map_err(|_| StartError::Stopped)??;
        let runner = Runner::new(RunnerConfig { threads: options.limits.threads(), ..RunnerConfig::default() })?;

        let sources = Arc::new(Sources::new(&options.file.prometheus)?);
        let equipment = Equipment::new(options.agent_signer.clone(), options.secrets.clone())?;
        let (in_doubt, doubted) = watch::channel(None);
        let (fatal, failed) = mpsc::unbounded_channel();
        let process = rand::random();
        let echo = subjects.host(process, "echo");
        let watch = Watch::start(client.clone(), echo, clock, events, doubted, stop.clone());

        let upper = options.prefix.as_str().to_uppercase();
        let jetstream = jetstream::new(client.clone());
        let journal_options = JournalOptions { replicas: options.replicas, ..JournalOptions::default() };
        let journal =
            until_there(&stop, "the journal", || JetStreamJournal::open(client.clone(), subjects.clone(), &journal_options)).await?;
        let bucket = format!("{upper}_ENGINES");
        let engine_store = until_there(&stop, "the engine store", || engines::open_store(&jetstream, &bucket, options.replicas)).await?;
        // Before they are in the store: what this host has must not be taken for something that nobody needs.
        registry::attend(&client, &subjects, &options.name, &engines, &stop).await?;
        until_there(&stop, "the engine store", || engines.publish(&engine_store)).await?;
        let bucket = format!("{upper}_REGISTRY");
        let registry = until_there(&stop, "the registry", || Registry::open(&client, &jetstream, &bucket, options.replicas)).await?;
        let registry = Arc::new(registry);
        let ahead = Ahead::new(registry.entries(), engine_store.clone(), engines.clone());
        let mut folder = options.engines_dir.clone().map(|dir| Folder::new(dir, engines.clone(), engine_store.clone()));
        if let Some(folder) = &mut folder {
            tokio::select! {
                () = folder.begin() => {}
                () = stop.cancelled() => return Err(StartError::Stopped),
            }
        }

        let bucket = format!("{upper}_DEFINITIONS");
        let definitions = until_there(&stop, "the definitions", || Definitions::open(&jetstream, &bucket, options.replicas)).await?;
        let bucket = format!("{upper}_HOSTS");
        let hosts =
            until_there(&stop, "the list of disabled hosts", || Hosts::open(&jetstream, &bucket, options.replicas, &options.name)).await?;
        let hosts = Arc::new(hosts);

        let (register, ownership) = Ownership::new(clock);
        let router = Arc::new(Router::default());
        let ledger = Arc::new(Ledger::default());
        let sender =
            Sender::start(client.clone(), subjects.clone(), Arc::clone(&router), Arc::clone(&ledger), clock, Arc::clone(&equipment), &stop)
                .await?;
        let intake = Intake {
            subjects: subjects.clone(),
            router: Arc::clone(&router),
            ledger: Arc::clone(&ledger),
            ownership: ownership.clone(),
            clock,
        };
        intake.start(&client, &stop).await?;
        let shared = Arc::new(Shared {
            host: options.name.clone(),
            process,
            journal,
            nats: client.clone(),
            subjects,
            clock,
            watch,
            ownership: ownership.clone(),
            router,
            ledger,
            sender,
            equipment,
            engines,
            registry: Arc::clone(&registry),
            engine_store,
            definitions,
            hosts: Arc::clone(&hosts),
            sources,
            runner,
            judging: Arc::new(tokio::sync::Semaphore::new(JUDGED_AT_ONCE)),
            swapping: Arc::new(tokio::sync::Semaphore::new(SWAPPED_AT_ONCE)),
            decisions: Decisions::default(),
            engine_time_out,
            history_retention: options.history_retention,
        });
        let domains = Arc::new(Domains {
            slots: journal_options.slots,
            default_user: options.default_user.clone(),
            places: service::Places::default(),
            shared,
            tasks: TaskTracker::new(),
            tenure: Mutex::new(None),
            loaded: AtomicBool::new(false),
            away: Away::default(),
        });
        let parts = TaskTracker::new();
        let lease = Lease {
            jetstream,
            bucket: format!("{upper}_LEASE"),
            replicas: options.replicas,
            host: options.name,
            process,
            ttl: options.lease,
            clock,
            register,
            hosts: Arc::clone(&hosts),
            in_doubt,
            fatal,
        };
        // The lease outlives the domains, so that nobody else begins while this host still ends.
        let (domains_ended, stop_lease) = (CancellationToken::new(), CancellationToken::new());
        let (ended, stop_it) = (domains_ended.clone(), stop_lease.clone());
        parts.spawn(lease.run(stop_lease));
        parts.spawn(async move {
            ended.cancelled().await;
            stop_it.cancel();
        });
        let switched = stop.clone();
        parts.spawn(async move { hosts.follow(switched).await });
        let (followed, compiling) = (stop.clone(), stop.clone());
        parts.spawn(async move { registry.follow(followed).await });
        parts.spawn(ahead.run(compiling));
        if let Some(folder) = folder {
            parts.spawn(folder.run(Arc::clone(&domains), stop.clone()));
        }
        let (keeper, keeper_stop) = (Arc::clone(&domains), stop.clone());
        parts.spawn(async move {
            keeper.follow(ownership, keeper_stop).await;
            domains_ended.cancel();
        });
        service::hosts::attend(&client, Arc::clone(&domains), &stop).await?;
        let service = service::start(&client, Arc::clone(&domains), &stop).await.map_err(StartError::Service)?;
        let (content, content_stop) = (startup::apply(Arc::clone(&domains), options.file), stop.clone());
        parts.spawn(async move {
            tokio::select! {
                () = content => {}
                () = content_stop.cancelled() => {}
            }
        });
        parts.close();
        Ok(Self { domains, service, parts, failed, stop })
    }

    /// Runs until it is told to stop, then ends in order: service, domains, lease.
    ///
    /// # Errors
    /// When it ended because it must not go on: started again, it may.
    pub async fn run(mut self) -> Result<(), HostFailed> {
        let failed = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            failed = self.failed.recv() => Some(failed.unwrap_or_else(|| "nobody keeps the lease any more".to_owned())),
        };
        self.stop.cancel();
        if let Err(error) = self.service.stop().await {
            tracing::debug!(%error, "service not stopped in order");
        }
        self.parts.wait().await;
        // What was published last must leave this process.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.domains.shared.nats.flush()).await;
        failed.map_or(Ok(()), |why| Err(HostFailed(why)))
    }
}

/// Tries again for as long as it takes.
async fn until_there<T, E, F>(stop: &CancellationToken, what: &str, mut attempt: impl FnMut() -> F) -> Result<T, StartError>
where
    F: Future<Output = Result<T, E>>,
    E: Lasting + std::error::Error + Send + Sync + 'static,
    StartError: From<E>,
{
    let mut said = false;
    loop {
        let error = tokio::select! {
            attempted = attempt() => match attempted {
                Ok(there) => return Ok(there),
                Err(error) => error,
            },
            () = stop.cancelled() => return Err(StartError::Stopped),
        };
        if error.is_lasting() {
            return Err(error.into());
        }
        if !std::mem::replace(&mut said, true) {
            tracing::warn!("waiting for {what}: {:#}", anyhow::Error::new(error));
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            () = stop.cancelled() => return Err(StartError::Stopped),
        }
    }
}

/// Whether waiting does not mend an error.
trait Lasting {
    fn is_lasting(&self) -> bool;
}

impl Lasting for crate::store::OpenError {
    fn is_lasting(&self) -> bool {
        matches!(self, Self::Unsafe { .. })
    }
}

impl Lasting for BucketError {
    fn is_lasting(&self) -> bool {
        false
    }
}

impl Lasting for engines::EngineError {
    fn is_lasting(&self) -> bool {
        !matches!(self, Self::Store(_))
    }
}

/// The domains of a host.
pub(crate) struct Domains<J> {
    pub(crate) shared: Arc<Shared<J>>,
    slots: u16,
    pub(crate) default_user: Option<Name>,
    /// What requests may take at the same time.
    pub(super) places: service::Places,
    tasks: TaskTracker,
    /// Ends all tasks of the time for which this host has been the owner. Never held while the journal is read: one domain that can't be
    /// read would hold up all the others.
    tenure: Mutex<Option<CancellationToken>>,
    loaded: AtomicBool,
    pub(crate) away: Away,
}

impl<J: Journal> Domains<J> {
    /// Whether this host is the owner and has taken everything there is.
    pub(crate) fn ready(&self) -> bool {
        self.shared.ownership.is_mine() && self.loaded.load(Ordering::Acquire)
    }

    /// Takes the domains when they are this host's, and lets go of them when they are not.
    async fn follow(self: &Arc<Self>, ownership: Ownership, stop: CancellationToken) {
        let mut owner = ownership.changes();
        loop {
            let mine = *owner.borrow_and_update() == Owner::Me;
            let held = self.tenure().is_some();
            match (mine, held) {
                (true, false) => {
                    let tenure = stop.child_token();
                    *self.tenure() = Some(tenure.clone());
                    tokio::select! {
                        () = self.take_all(&tenure) => {}
                        _ = owner.changed() => {
                            self.let_go().await;
                            continue;
                        }
                        () = stop.cancelled() => {}
                    }
                }
                (false, true) => self.let_go().await,
                _ => {}
            }
            tokio::select! {
                changed = owner.changed() => if changed.is_err() { break },
                () = stop.cancelled() => break,
            }
        }
        self.let_go().await;
    }

    async fn let_go(&self) {
        self.loaded.store(false, Ordering::Release);
        if let Some(tenure) = self.tenure().take() {
            tenure.cancel();
        }
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
        // Only now: a task that ended just so may have been fenced.
        self.away.clear();
    }

    /// Loads every domain that is there and takes it. One that can't be read is tried again by itself, so that the others don't wait for it.
    async fn take_all(self: &Arc<Self>, tenure: &CancellationToken) {
        let loaded = loop {
            match self.shared.journal.load(&Scope::All).await {
                Ok(loaded) => break loaded,
                Err(error) => {
                    tracing::warn!("loading the journal: {:#}", anyhow::Error::new(error));
                    tokio::time::sleep(AGAIN).await;
                }
            }
        };
        let (states, unreadable) = folded(loaded, self.slots);
        for (key, reason) in unreadable {
            self.leave(&key, &reason);
            self.load_again(key, UNREADABLE, tenure);
        }
        let domains = states.into_iter().filter_map(|state| self.take(state, tenure)).count();
        tracing::info!(domains, "looking after the domains");
        self.loaded.store(true, Ordering::Release);
        self.tasks.spawn(Arc::clone(self).keep_sweeping(tenure.clone()));
    }

    /// The way to a domain, whether it is there or not: to add it, somebody must look after its name.
    pub(crate) async fn open(self: &Arc<Self>, key: &DomainKey) -> Result<Handle, ApiError> {
        let unavailable = |message: String| ApiError::Unavailable { message };
        if let Some(handle) = self.shared.router.domain(key) {
            return Ok(handle);
        }
        let over = || unavailable("this host looks after nothing any more; try again".to_owned());
        let tenure = self.tenure().clone().ok_or_else(over)?;
        let state = self.load(key).await.map_err(unavailable)?;
        // Should it have changed since it was loaded, its first append is fenced.
        self.take(state, &tenure).ok_or_else(over)
    }

    pub(crate) async fn load(&self, key: &DomainKey) -> Result<DomainState, String> {
        let mut loaded = self.shared.journal.load(&Scope::Domain(key.clone())).await.map_err(|error| error.to_string())?;
        let entries = loaded.take(key).map_err(|error| error.to_string())?;
        fold(DomainState::absent(key.clone(), key.slot(self.slots)), &entries).map_err(|error| error.to_string())
    }

    /// How many slots there are.
    pub(crate) fn slots(&self) -> u16 {
        self.slots
    }

    /// Takes domains that were put into the journal behind this host's back: those that nobody looks after, and those whose task holds what a
    /// restore made void. Says which.
    pub(crate) async fn take_restored(self: &Arc<Self>) -> Result<Vec<DomainKey>, String> {
        let over = || "this host looks after nothing any more; try again".to_owned();
        let tenure = self.tenure().clone().ok_or_else(over)?;
        let loaded = self.shared.journal.load(&Scope::All).await.map_err(|error| error.to_string())?;
        let (states, unreadable) = folded(loaded, self.slots);
        for (key, reason) in unreadable {
            if self.shared.router.domain(&key).is_none() && self.away.error(&key).is_none() {
                self.leave(&key, &reason);
                self.load_again(key, UNREADABLE, &tenure);
            }
        }
        let mut taken = Vec::new();
        for state in states {
            let key = state.key.clone();
            match self.shared.router.domain(&key) {
                // Nobody has taken it since it was restored, so its task does not know of that yet. It finds out, and the domain is
                // loaded again.
                Some(handle) if state.host.is_none() => {
                    // When the task is gone already, it has found out by itself.
                    match tokio::time::timeout(CONFIRM, handle.confirm()).await {
                        Ok(Ok(Err(reason))) => return Err(format!("domain {key}: {reason}; try again")),
                        Ok(_) => {}
                        Err(_) => return Err(format!("domain {key} does not answer; try again")),
                    }
                    taken.push(key);
                }
                Some(_) => {}
                // Its task found out by itself just before, and it is on its way back.
                None if self.away.is_in_transit(&key) => taken.extend(state.host.is_none().then_some(key)),
                // Should it have changed since it was loaded, its first append is fenced and it is loaded again.
                None => {
                    self.take(state, &tenure).ok_or_else(over)?;
                    taken.push(key);
                }
            }
        }
        Ok(taken)
    }

    /// Loads a domain again that nobody looks after, after a pause, for as long as it takes.
    fn load_again(self: &Arc<Self>, key: DomainKey, pause: Duration, tenure: &CancellationToken) {
        let (this, tenure) = (Arc::clone(self), tenure.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = this.until_loaded(&key, pause, &tenure) => {}
                () = tenure.cancelled() => {}
            }
        });
    }

    async fn until_loaded(self: &Arc<Self>, key: &DomainKey, pause: Duration, tenure: &CancellationToken) {
        tokio::time::sleep(pause).await;
        loop {
            // Somebody else may have asked for it and found it readable.
            if self.shared.router.domain(key).is_some() {
                return;
            }
            if !self.shared.ownership.is_mine() {
                // Perhaps only a renewal that is late.
                tokio::time::sleep(SETTLED).await;
                continue;
            }
            match self.load(key).await {
                Ok(state) if is_kept(&state) => {
                    self.take(state, tenure);
                    return;
                }
                Ok(_) => return self.away.settled(key),
                Err(reason) => self.leave(key, &reason),
            }
            tokio::time::sleep(UNREADABLE).await;
        }
    }

    /// Leaves a domain alone that can't be read.
    fn leave(&self, key: &DomainKey, reason: &str) {
        // Nobody begins to look after it meanwhile; if somebody has by now, it can be read.
        let _held = self.tenure();
        if self.shared.router.domain(key).is_some() {
            return;
        }
        if self.away.unreadable(key, reason) {
            tracing::error!(domain = %key, reason, "domain left alone; it is tried again now and then");
        }
    }

    /// Gives a task to a domain that was loaded in a tenure, unless it has one by now; nothing when that tenure is over.
    fn take(self: &Arc<Self>, state: DomainState, tenure: &CancellationToken) -> Option<Handle> {
        // No tenure ends, and no other task begins, while this is held.
        let _held = self.tenure();
        if tenure.is_cancelled() {
            return None;
        }
        Some(self.shared.router.domain(&state.key).unwrap_or_else(|| self.spawn(state, tenure)))
    }

    fn spawn(self: &Arc<Self>, state: DomainState, tenure: &CancellationToken) -> Handle {
        let (handle, mail) = Handle::new(state.key.clone());
        self.shared.router.add(&handle);
        // Before anybody is told that this host has the domains: who asks for one of their instances must not be told that there is none.
        self.shared.router.add_instances(state.instances().map(|instance| &instance.id), &handle);
        self.away.settled(&state.key);
        let (this, given, tenure) = (Arc::clone(self), handle.clone(), tenure.clone());
        self.tasks.spawn(async move {
            let key = given.key.clone();
            // In a task of its own: should it panic, the domain is loaded again.
            let task = tokio::spawn(Task::run(Arc::clone(&this.shared), state, given.clone(), mail, tenure.clone()));
            let end = task.await.unwrap_or_else(|panic| End::Crashed(panic.to_string()));
            match &end {
                End::Stopped | End::Gone => {}
                // The lease says whose it is by now; if it still says this host, the other one was mistaken.
                End::Fenced => this.away.in_transit(&key),
                End::Lost(error) => {
                    tracing::warn!(domain = %key, %error, "loading the domain again");
                    this.away.in_transit(&key);
                }
                End::Crashed(error) => {
                    tracing::error!(domain = %key, error, "the domain's task crashed: loading the domain again");
                    this.away.in_transit(&key);
                }
            }
            this.shared.router.remove(&given);
            if !matches!(end, End::Stopped | End::Gone) {
                this.load_again(key, SETTLED, &tenure);
            }
        });
        handle
    }

    fn tenure(&self) -> MutexGuard<'_, Option<CancellationToken>> {
        self.tenure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether somebody must look after a domain.
fn is_kept(state: &DomainState) -> bool {
    matches!(state.life, Life::Active | Life::Removing)
}

/// The domains of a load that somebody must look after, and those that can't be read, with the reason.
fn folded(loaded: Loaded, slots: u16) -> (Vec<DomainState>, Vec<(DomainKey, String)>) {
    let mut unreadable: Vec<_> = loaded.damaged.into_iter().map(|(key, damage)| (key, damage.to_string())).collect();
    let mut states = Vec::with_capacity(loaded.domains.len());
    for (key, entries) in loaded.domains {
        match fold(DomainState::absent(key.clone(), key.slot(slots)), &entries) {
            Ok(state) if is_kept(&state) => states.push(state),
            Ok(_) => {}
            Err(error) => unreadable.push((key, error.to_string())),
        }
    }
    (states, unreadable)
}
