//! The engines that this host can run: those embedded in the binary, those that it is given as files, those of a folder that it watches, those
//! of the registry, and any that the cluster's store holds under a digest in force.
//!
//! A domain is decided by a digest, not by a name. Every host puts its own engines into the store when it starts, so that a host of
//! another build, or one without the files, can go on with a domain as it is.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Instant, SystemTime};

use async_nats::jetstream;
use async_nats::jetstream::object_store::{self, ObjectStore};
use pilothouse_core::command::ApiError;
use pilothouse_core::config::ConfigProblem;
use pilothouse_core::cycle::{Fault, FaultKind};
use pilothouse_core::engine::{Candidate, Limits, Origin, Reference, newest};
use pilothouse_core::name::Name;
use pilothouse_core::record::EngineInForce;
use pilothouse_engine_host::{LoadError, LoadedEngine, Sandbox};
use semver::Version;
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::bucket;
use super::folder::Files;
use super::registry::{ComponentError, Entry, get_component, put_component};
pub(crate) use super::schema::validator;
pub use super::schema::{check_schema, judge_schema};
use crate::api::{EngineFile, EngineState};

/// The engines that the binary brings.
const EMBEDDED: [&[u8]; 3] = [
    include_bytes!(concat!(env!("PILOTHOUSE_ENGINES_DIR"), "/simplest.wasm")),
    include_bytes!(concat!(env!("PILOTHOUSE_ENGINES_DIR"), "/npreserving.wasm")),
    include_bytes!(concat!(env!("PILOTHOUSE_ENGINES_DIR"), "/sensor.wasm")),
];

/// The engines of one host.
#[derive(Clone)]
pub struct Engines {
    sandbox: Sandbox,
    own: Arc<Vec<Own>>,
    /// Those of the folder that is watched, if one is.
    folder: Arc<RwLock<Files>>,
    by_digest: Arc<RwLock<BTreeMap<String, Loaded>>>,
    /// Limits of engines of their own. Whoever wants both has `by_digest` first.
    limits: Arc<RwLock<BTreeMap<Name, Limits>>>,
    /// One fetch at a time: a thousand domains of one engine need it once.
    fetching: Arc<tokio::sync::Mutex<()>>,
    /// Counts how often domains had a reason to look which engine they should have.
    looks: Arc<watch::Sender<u64>>,
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
    /// The store's copy does not load.
    #[error("engine {digest} from the store")]
    Stored {
        /// Which.
        digest: String,
        /// Why not.
        source: LoadError,
    },
    /// The store has no such component, or not what its name says, or one that is too large.
    #[error(transparent)]
    Component(ComponentError),
}

impl From<ComponentError> for EngineError {
    fn from(error: ComponentError) -> Self {
        match error {
            ComponentError::Store(problem) => Self::Store(problem),
            error => Self::Component(error),
        }
    }
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
        let by_digest = own.iter().map(|it| (it.loaded.engine.digest().to_owned(), it.loaded.clone())).collect();
        Ok(Self {
            sandbox,
            own: Arc::new(own),
            folder: Arc::default(),
            by_digest: Arc::new(RwLock::new(by_digest)),
            limits: Arc::default(),
            fetching: Arc::default(),
            looks: Arc::default(),
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
        self.by_digest
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(loaded.engine.digest().to_owned())
            .or_insert_with(|| self.limited(loaded.clone()));
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

    /// What a domain may take up by itself under a name: what this host has, and of the registry what is ready here. A pinned version is
    /// among them whether it is ready or not, so that nobody is given another one in its place meanwhile: the caller waits until
    /// [`get`](Self::get) has it.
    pub fn candidates(&self, name: &Name, entry: Option<&Entry>) -> Vec<Candidate> {
        let mut all = self.all_candidates(name, entry);
        all.retain(|candidate| candidate.pinned || candidate.origin != Origin::Registry || self.get(&candidate.engine.digest).is_some());
        all
    }

    /// Everything that there is under a name, ready or not: for who asks for it. What is not ready has to be [fetched](Self::fetch).
    pub fn all_candidates(&self, name: &Name, entry: Option<&Entry>) -> Vec<Candidate> {
        let pinned = entry.and_then(|entry| entry.pinned.as_ref()).map(|pinned| &pinned.version);
        let candidate = |version: &Version, digest: &str, origin| Candidate {
            engine: EngineInForce { name: name.to_string(), version: version.to_string(), digest: digest.to_owned() },
            version: version.clone(),
            origin,
            pinned: pinned == Some(version),
        };
        let own = self.own().filter(|(engine, _)| engine.description().name == *name);
        let own = own.map(|(engine, origin)| candidate(&engine.description().version, engine.digest(), origin));
        let pushed = entry.into_iter().flat_map(|entry| &entry.versions);
        let mut all: Vec<Candidate> =
            own.chain(pushed.map(|(version, pushed)| candidate(version, &pushed.digest, Origin::Registry))).collect();
        // One that came with another build: a pin holds on every host, or on none.
        let away = entry.and_then(|entry| entry.pinned.as_ref()).filter(|_| !all.iter().any(|candidate| candidate.pinned));
        all.extend(away.map(|pinned| candidate(&pinned.version, &pinned.digest, Origin::Registry)));
        all
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
        self.by_digest.read().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    /// The engine of a digest, if it is loaded.
    pub fn get(&self, digest: &str) -> Option<LoadedEngine> {
        self.by_digest.read().unwrap_or_else(PoisonError::into_inner).get(digest).map(|loaded| loaded.engine.clone())
    }

    /// That the engine of a digest is ready, and what it took; nothing when it is not.
    pub fn state(&self, digest: &str) -> Option<EngineState> {
        let all = self.by_digest.read().unwrap_or_else(PoisonError::into_inner);
        all.get(digest).map(|loaded| EngineState::Ready { compile_ms: loaded.compile_ms, from_cache: loaded.from_cache })
    }

    /// Keeps an engine under its digest.
    pub fn keep(&self, loaded: Loaded) {
        let digest = loaded.engine.digest().to_owned();
        let mut by_digest = self.by_digest.write().unwrap_or_else(PoisonError::into_inner);
        by_digest.insert(digest, self.limited(loaded));
        drop(by_digest);
        self.look_again();
    }

    /// Has engines run within limits of their own from the next call on, by their names; all others within those of this host.
    pub fn limit(&self, limits: BTreeMap<Name, Limits>) {
        let mut by_digest = self.by_digest.write().unwrap_or_else(PoisonError::into_inner);
        let mut before = self.limits.write().unwrap_or_else(PoisonError::into_inner);
        for loaded in by_digest.values_mut() {
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
            self.by_digest.write().unwrap_or_else(PoisonError::into_inner).remove(digest);
        }
    }

    /// Puts the engines of this host into the store, where they are not there yet.
    ///
    /// # Errors
    /// When the store can't be used.
    pub async fn publish(&self, store: &ObjectStore) -> Result<(), EngineError> {
        for own in self.own.iter() {
            put_component(store, &own.component).await?;
        }
        Ok(())
    }

    /// Fetches the engine of a digest from the store and loads it. Compiles it if need be: not for a thread that serves anything.
    ///
    /// # Errors
    /// When it is not there, is something else, or does not load.
    pub async fn fetch(&self, store: &ObjectStore, digest: &str) -> Result<LoadedEngine, EngineError> {
        let _one = self.fetching.lock().await;
        if let Some(engine) = self.get(digest) {
            return Ok(engine);
        }
        let bytes = get_component(store, digest, self.sandbox.limits().component_bytes).await?;
        let sandbox = self.sandbox.clone();
        let loaded = tokio::task::spawn_blocking(move || Loaded::load(&sandbox, &bytes)).await;
        let loaded = loaded.map_err(|error| EngineError::Store(error.to_string()))?;
        let loaded = loaded.map_err(|source| EngineError::Stored { digest: digest.to_owned(), source })?;
        let engine = loaded.engine.clone();
        self.keep(loaded);
        Ok(engine)
    }
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
