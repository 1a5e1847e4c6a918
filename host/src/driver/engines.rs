//! The engines that this host can run: those embedded in the binary, those that it is given as files, those of a folder that it watches, those
//! of the registry, and any that the cluster's store holds under a digest in force.
//!
//! A domain is decided by a digest, not by a name. Every host puts its own engines into the store when it starts, so that a host of
//! another build, or one without the files, can go on with a domain as it is.

mod attempts;
mod loading;
mod offer;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant, SystemTime};

use async_nats::jetstream;
use async_nats::jetstream::object_store::{self, ObjectStore};
use pilothouse_core::command::ApiError;
use pilothouse_core::config::ConfigProblem;
use pilothouse_core::cycle::{Fault, FaultKind};
use pilothouse_core::engine::{Limits, Origin, Reference, newest};
use pilothouse_core::name::Name;
use pilothouse_core::record::EngineInForce;
use pilothouse_engine_host::{LoadError, LoadedEngine, Sandbox};
use semver::Version;
use serde_json::{Map, Value};
use tokio::sync::watch;

pub use self::loading::FetchError;
use self::loading::Loading;
use self::offer::Found;
use super::bucket;
use super::folder::Files;
use super::registry::{ComponentError, Ready, put_known};
pub(crate) use super::schema::validator;
pub use super::schema::{check_schema, judge_schema};
use crate::api::{EngineFile, EngineState};

/// The engines that the binary brings.
const EMBEDDED: [&[u8]; 3] = [
    include_bytes!(concat!(env!("PILOTHOUSE_ENGINES_DIR"), "/simplest.wasm")),
    include_bytes!(concat!(env!("PILOTHOUSE_ENGINES_DIR"), "/npreserving.wasm")),
    include_bytes!(concat!(env!("PILOTHOUSE_ENGINES_DIR"), "/sensor.wasm")),
];

/// How many engines stay loaded that nobody names, whether they are used or not: domains ask for them by their digests.
const MAX_UNNAMED: usize = 32;

/// How long one of more than those must not have been used before it goes.
const UNUSED: Duration = Duration::from_secs(600);

/// The engines of one host.
#[derive(Clone)]
pub struct Engines {
    sandbox: Sandbox,
    own: Arc<Vec<Own>>,
    /// Those of the folder that is watched, if one is.
    folder: Arc<RwLock<Files>>,
    by_digest: Arc<RwLock<BTreeMap<String, Held>>>,
    /// Limits of engines of their own. Whoever wants both has `by_digest` first.
    limits: Arc<RwLock<BTreeMap<Name, Limits>>>,
    loading: Loading,
    /// How far this host is with what the registry names.
    ready: Ready,
    /// Counts how often domains had a reason to look which engine they should have.
    looks: Arc<watch::Sender<u64>>,
    /// What they found at the newest look.
    found: Arc<Mutex<Found>>,
    /// Versions of the registry that domains miss: they would take them up, or are decided by them.
    wants: Arc<watch::Sender<BTreeSet<String>>>,
}

/// An engine that is held, and when it was used last.
struct Held {
    loaded: Loaded,
    /// In seconds since [`begun`].
    used: AtomicU64,
}

/// An engine that this host has without any registry.
struct Own {
    loaded: Loaded,
    component: Cow<'static, [u8]>,
    origin: Origin,
}

/// An engine that is ready, and what it took.
#[derive(Clone)]
pub struct Loaded {
    engine: LoadedEngine,
    compile_ms: u64,
    from_cache: bool,
}

/// An engine can't be had.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// An embedded engine does not load: this binary is broken.
    #[error("an engine embedded in this binary")]
    Embedded(#[source] LoadError),
    /// A file can't be read.
    #[error("engine {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file does not load.
    #[error("engine {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: LoadError,
    },
    /// Two components call themselves the same, and nobody could tell which of them is meant.
    #[error("there are two engines {reference}: give one of them another name or version")]
    Twice {
        /// As a domain would ask for them.
        reference: String,
    },
    /// The store can't be used.
    #[error("the engine store: {0}")]
    Store(String),
}

impl Loaded {
    /// Loads a component, and judges its schema. Compiles it if need be: not for a thread that serves anything.
    ///
    /// # Errors
    /// Why it can't serve as an engine.
    pub fn load(sandbox: &Sandbox, component: &[u8]) -> Result<Self, LoadError> {
        let (begun, compiled) = (Instant::now(), sandbox.compiled());
        let engine = sandbox.load(component)?;
        judge_schema(&engine.description().config_schema).map_err(|problem| LoadError::Description { field: "config-schema", problem })?;
        // When another one was compiled at the same time this may be told wrong; it is for people only.
        let from_cache = sandbox.compiled() == compiled;
        Ok(Self { engine, compile_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX), from_cache })
    }

    /// The engine.
    pub fn engine(&self) -> &LoadedEngine {
        &self.engine
    }
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("engine", &reference_of(&self.engine)).field("compile_ms", &self.compile_ms).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Engines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engines").field("sandbox", &self.sandbox).finish_non_exhaustive()
    }
}

impl Engines {
    /// Loads the embedded engines: compiles them, or takes them from the sandbox's cache.
    ///
    /// # Errors
    /// When one does not load.
    pub fn embedded(sandbox: Sandbox) -> Result<Self, EngineError> {
        Self::with_files(sandbox, &[])
    }

    /// The same, and the components in these files.
    ///
    /// # Errors
    /// When one can't be read or does not load, or two of different content have one name and version.
    pub fn with_files(sandbox: Sandbox, files: &[PathBuf]) -> Result<Self, EngineError> {
        let mut own = Vec::new();
        for component in EMBEDDED {
            let loaded = Loaded::load(&sandbox, component).map_err(EngineError::Embedded)?;
            own.push(Own { loaded, component: Cow::Borrowed(component), origin: Origin::BuiltIn });
        }
        for path in files {
            own.push(Own::read(&sandbox, path)?);
        }
        if let Some(reference) = ambiguous(&own) {
            return Err(EngineError::Twice { reference });
        }
        let by_digest = own.iter().map(|it| (it.loaded.engine.digest().to_owned(), Held::new(it.loaded.clone()))).collect();
        Ok(Self {
            sandbox,
            own: Arc::new(own),
            folder: Arc::default(),
            by_digest: Arc::new(RwLock::new(by_digest)),
            limits: Arc::default(),
            loading: Loading::default(),
            ready: Ready::default(),
            looks: Arc::default(),
            found: Arc::default(),
            wants: Arc::default(),
        })
    }

    /// What engines are loaded into.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Tells whenever there may be another engine for a domain: one was loaded, or the registry says something else.
    pub fn looks(&self) -> watch::Receiver<u64> {
        self.looks.subscribe()
    }

    /// Has all domains look which engine they should have.
    pub fn look_again(&self) {
        self.looks.send_modify(|looks| *looks += 1);
    }

    /// The engines of the binary, under a name: version and digest.
    pub fn built_in(&self, name: &Name) -> BTreeMap<Version, String> {
        let own = self.own.iter().filter(|own| own.origin == Origin::BuiltIn).map(|own| &own.loaded.engine);
        let named = own.filter(|engine| engine.description().name == *name);
        named.map(|engine| (engine.description().version.clone(), engine.digest().to_owned())).collect()
    }

    /// The engines that this host has without any registry, in no order.
    pub fn own(&self) -> impl Iterator<Item = (LoadedEngine, Origin)> {
        let own = self.own.iter().map(|own| (own.loaded.engine.clone(), own.origin));
        let folder = self.folder().offered().into_iter().map(|engine| (engine, Origin::Folder));
        own.chain(folder)
    }

    /// Which of these components this host has without any registry.
    pub fn own_among(&self, digests: &[String]) -> BTreeSet<String> {
        let own: BTreeSet<String> = self.own().map(|(engine, _)| engine.digest().to_owned()).collect();
        let folder = self.folder();
        digests.iter().filter(|digest| own.contains(*digest) || folder.holds(digest)).cloned().collect()
    }

    /// The files of the folder that this host watches.
    pub fn files(&self) -> Vec<EngineFile> {
        self.folder().told()
    }

    /// Offers what is in a file of the folder, in place of what was in it before: returns that, if it is another. It must be in the store.
    pub(super) fn offer(&self, path: &Path, saved: SystemTime, loaded: Loaded) -> Option<LoadedEngine> {
        // Before anybody is told of it.
        let mut by_digest = self.held_mut();
        by_digest.entry(loaded.engine.digest().to_owned()).or_insert_with(|| Held::new(self.limited(loaded.clone())));
        drop(by_digest);
        let before = self.folder.write().unwrap_or_else(PoisonError::into_inner).offer(path, saved, loaded.engine);
        self.look_again();
        before
    }

    /// Notes that a file of the folder can't be used as it is now. What it offered before is offered still.
    pub(super) fn refuse(&self, path: &Path, saved: SystemTime, reason: &str) {
        self.folder.write().unwrap_or_else(PoisonError::into_inner).refuse(path, saved, reason);
    }

    /// Offers nothing of a file of the folder any more: returns what it offered.
    pub(super) fn withdraw(&self, path: &Path) -> Option<LoadedEngine> {
        let before = self.folder.write().unwrap_or_else(PoisonError::into_inner).withdraw(path);
        // Of two files with one version the other counts from now on.
        self.look_again();
        before
    }

    fn folder(&self) -> RwLockReadGuard<'_, Files> {
        self.folder.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine that a reference means among those that this host has by itself: for whoever has no registry.
    ///
    /// # Errors
    /// `invalid`, with what there is instead.
    pub fn resolve(&self, reference: &str) -> Result<LoadedEngine, ApiError> {
        let invalid = |message: String| ApiError::invalid("/general/engine", message);
        let wanted: Reference = reference.parse().map_err(|error| invalid(format!("{error}")))?;
        let digest = match &wanted {
            Reference::Digest(digest) => Some(digest.clone()),
            Reference::Versions { name, .. } => {
                let candidates = name.parse().map_or_else(|_| Vec::new(), |name| self.all_candidates(&name, None));
                newest(&wanted, &candidates).map(|candidate| candidate.engine.digest.clone())
            }
        };
        digest.and_then(|digest| self.get(&digest)).ok_or_else(|| {
            let known = self.own().map(|(engine, _)| reference_of(&engine)).collect::<Vec<_>>().join(", ");
            invalid(format!("no engine {reference:?}; there are {known}"))
        })
    }

    /// The engine of a digest with what it took, if it is loaded.
    pub(super) fn loaded(&self, digest: &str) -> Option<Loaded> {
        self.held().get(digest).map(|held| held.used().clone())
    }

    /// The engine of a digest, if it is loaded.
    pub fn get(&self, digest: &str) -> Option<LoadedEngine> {
        self.held().get(digest).map(|held| held.used().engine.clone())
    }

    /// How far this host is with the engine of a digest, and what it took or why it can't serve here; nothing for one that is neither loaded
    /// nor named by the registry.
    pub fn state(&self, digest: &str) -> Option<EngineState> {
        // One that was loaded for who asked for these very bytes may go by another name in the registry.
        match self.ready.get(digest) {
            Some(refused @ EngineState::Refused { .. }) => Some(refused),
            named => self.loaded_state(digest).or(named),
        }
    }

    /// That the engine of a digest is loaded, and what it took; nothing when it is not.
    pub(super) fn loaded_state(&self, digest: &str) -> Option<EngineState> {
        let state = |held: &Held| EngineState::Ready { compile_ms: held.loaded.compile_ms, from_cache: held.loaded.from_cache };
        self.held().get(digest).map(state)
    }

    /// How far this host is with what the registry names.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Keeps an engine under its digest, and returns it as it runs here. Of those that nobody names, what was used least recently goes when
    /// they become many.
    pub fn keep(&self, loaded: Loaded) -> LoadedEngine {
        let digest = loaded.engine.digest().to_owned();
        let mut by_digest = self.held_mut();
        let limited = self.limited(loaded);
        let engine = limited.engine.clone();
        by_digest.insert(digest, Held::new(limited));
        for digest in idle(self.unnamed_among(&by_digest), begun().elapsed().as_secs()) {
            by_digest.remove(&digest);
        }
        drop(by_digest);
        self.look_again();
        engine
    }

    /// When those were used last that are neither this host's own nor named by folder or registry.
    fn unnamed_among(&self, by_digest: &BTreeMap<String, Held>) -> Vec<(u64, String)> {
        let own: BTreeSet<String> = self.own().map(|(engine, _)| engine.digest().to_owned()).collect();
        let folder = self.folder();
        let is_named = |digest: &String| own.contains(digest) || folder.holds(digest) || self.ready.get(digest).is_some();
        let unnamed = by_digest.iter().filter(|(digest, _)| !is_named(digest));
        unnamed.map(|(digest, held)| (held.used.load(Ordering::Relaxed), digest.clone())).collect()
    }

    fn held(&self) -> RwLockReadGuard<'_, BTreeMap<String, Held>> {
        self.by_digest.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn held_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Held>> {
        self.by_digest.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has engines run within limits of their own from the next call on, by their names; all others within those of this host.
    pub fn limit(&self, limits: BTreeMap<Name, Limits>) {
        let mut by_digest = self.held_mut();
        let mut before = self.limits.write().unwrap_or_else(PoisonError::into_inner);
        for Held { loaded, .. } in by_digest.values_mut() {
            let of = |limits: &BTreeMap<Name, Limits>| limits.get(&loaded.engine.description().name).copied().unwrap_or_default();
            let now = of(&limits);
            if now != of(&before) {
                loaded.engine = loaded.engine.with_limits(&now);
            }
        }
        *before = limits;
    }

    /// The same within the limits of that engine.
    fn limited(&self, loaded: Loaded) -> Loaded {
        let limits = self.limits.read().unwrap_or_else(PoisonError::into_inner);
        match limits.get(&loaded.engine.description().name) {
            Some(own) => Loaded { engine: loaded.engine.with_limits(own), ..loaded },
            None => loaded,
        }
    }

    /// Gives up the engine of a digest, unless this host has it without any registry. Whoever holds it goes on with it.
    pub fn forget(&self, digest: &str) {
        if self.own().all(|(engine, _)| engine.digest() != digest) && !self.folder().holds(digest) {
            self.held_mut().remove(digest);
        }
    }

    /// Puts the engines of this host into the store, where they are not there yet.
    ///
    /// # Errors
    /// When the store can't be used.
    pub async fn publish(&self, store: &ObjectStore) -> Result<(), EngineError> {
        for own in self.own.iter() {
            put_known(store, own.loaded.engine.digest(), &own.component).await.map_err(|error| match error {
                ComponentError::Store(problem) => EngineError::Store(problem),
                error => EngineError::Store(error.to_string()),
            })?;
        }
        Ok(())
    }
}

impl Held {
    fn new(loaded: Loaded) -> Self {
        Self { loaded, used: AtomicU64::new(begun().elapsed().as_secs()) }
    }

    fn used(&self) -> &Loaded {
        self.used.store(begun().elapsed().as_secs(), Ordering::Relaxed);
        &self.loaded
    }
}

/// A moment since which time is counted.
fn begun() -> Instant {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    *BEGUN.get_or_init(Instant::now)
}

/// Those that go of the engines that nobody names, by when they were used last and when it is now, in seconds: those used longest ago, until
/// only so many are left, and none that was used within the last minutes. A domain that comes to need one fetches it again.
fn idle(mut unnamed: Vec<(u64, String)>, now: u64) -> Vec<String> {
    unnamed.sort();
    let too_many = unnamed.len().saturating_sub(MAX_UNNAMED);
    let oldest = unnamed.into_iter().take(too_many);
    oldest.filter(|(used, _)| now.saturating_sub(*used) >= UNUSED.as_secs()).map(|(_, digest)| digest).collect()
}

impl Own {
    fn read(sandbox: &Sandbox, path: &Path) -> Result<Self, EngineError> {
        let component = std::fs::read(path).map_err(|source| EngineError::Read { path: path.to_owned(), source })?;
        let loaded = Loaded::load(sandbox, &component).map_err(|source| EngineError::File { path: path.to_owned(), source })?;
        Ok(Self { loaded, component: Cow::Owned(component), origin: Origin::File })
    }
}

/// What a domain would ask for and get either of two.
fn ambiguous(own: &[Own]) -> Option<String> {
    let mut digests = BTreeMap::new();
    own.iter().map(|own| &own.loaded.engine).find_map(|engine| {
        let reference = reference_of(engine);
        let other = digests.insert(reference.clone(), engine.digest());
        other.is_some_and(|other| other != engine.digest()).then_some(reference)
    })
}

fn reference_of(engine: &LoadedEngine) -> String {
    format!("{}@{}", engine.description().name, engine.description().version)
}

/// Opens the store of engines, and makes it when it is not there.
///
/// # Errors
/// When JetStream does not answer.
pub async fn open_store(jetstream: &jetstream::Context, bucket: &str, replicas: usize) -> Result<ObjectStore, EngineError> {
    let config = object_store::Config {
        bucket: bucket.to_owned(),
        description: Some("decision engines by digest".to_owned()),
        num_replicas: replicas,
        ..Default::default()
    };
    let found = jetstream.get_object_store(bucket).await;
    let opened = bucket::there_or_made(bucket, found, || jetstream.create_object_store(config)).await;
    opened.map_err(|error| EngineError::Store(error.to_string()))
}

/// Which engine this is, as the journal knows it.
pub fn in_force(engine: &LoadedEngine) -> EngineInForce {
    EngineInForce {
        name: engine.description().name.to_string(),
        version: engine.description().version.to_string(),
        digest: engine.digest().to_owned(),
    }
}

/// Judges an engine's section of a configuration: first by the engine's schema, then by the engine itself. Calls the engine: not for a
/// thread that serves anything.
pub fn check(engine: &LoadedEngine, conf: &Map<String, Value>) -> Vec<ConfigProblem> {
    judge(engine, conf).unwrap_or_else(|fault| vec![failed_to_check(&fault)])
}

/// The same, where a host without room, or one that is slow, is told apart from an engine that fails.
///
/// # Errors
/// A fault that does not speak against the engine.
pub fn judge(engine: &LoadedEngine, conf: &Map<String, Value>) -> Result<Vec<ConfigProblem>, Fault> {
    let problems = check_schema(&engine.description().config_schema, conf);
    if !problems.is_empty() {
        return Ok(problems);
    }
    let in_section = |problem: ConfigProblem| ConfigProblem::new(format!("/engine_conf{}", problem.at), problem.message);
    match engine.check_config(&Value::Object(conf.clone()).to_string()) {
        Ok(problems) => Ok(problems.into_iter().map(in_section).collect()),
        Err(fault) if fault.kind.counts() || fault.kind == FaultKind::Returned => Ok(vec![failed_to_check(&fault)]),
        Err(fault) => Err(fault),
    }
}

fn failed_to_check(fault: &Fault) -> ConfigProblem {
    ConfigProblem::new("/general/engine", format!("the engine failed to check its configuration: {fault}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_engines_that_nobody_names_those_go_that_were_used_longest_ago() {
        let used = |times: &[u64]| times.iter().map(|used| (*used, format!("at {used}"))).collect::<Vec<_>>();
        let now = 10_000;
        let few: Vec<u64> = (0..MAX_UNNAMED as u64).collect();
        assert!(idle(used(&few), now).is_empty(), "so many stay, however long ago");
        let more: Vec<u64> = (0..MAX_UNNAMED as u64 + 2).rev().collect();
        assert_eq!(idle(used(&more), now), ["at 0", "at 1"]);
        let busy: Vec<u64> = (0..MAX_UNNAMED as u64 + 5).map(|n| now - n).collect();
        assert!(idle(used(&busy), now).is_empty(), "all of them are in use");
    }
}
