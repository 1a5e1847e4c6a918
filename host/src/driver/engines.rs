//! The engines that this host can run: those embedded in the binary, those that it is given as files, and any that the cluster's store
//! holds under a digest in force.
//!
//! A domain is decided by a digest, not by a name. Every host puts its own engines into the store when it starts, so that a host of
//! another build, or one without the files, can go on with a domain as it is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::object_store::{self, ObjectStore};
use pilothouse_core::command::ApiError;
use pilothouse_core::config::ConfigProblem;
use pilothouse_core::record::EngineInForce;
use pilothouse_engine_host::{LoadError, LoadedEngine, Sandbox};
use semver::{Version, VersionReq};
use serde_json::{Map, Value};
use tokio::io::AsyncReadExt;

use super::bucket;
pub use super::schema::check_schema;

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
    by_digest: Arc<RwLock<BTreeMap<String, LoadedEngine>>>,
    /// One fetch at a time: a thousand domains of one engine need it once.
    fetching: Arc<tokio::sync::Mutex<()>>,
}

/// An engine that this host can be asked for by its name.
struct Own {
    engine: LoadedEngine,
    component: Cow<'static, [u8]>,
}

/// How long fetching an engine may take. A server that goes away midway would have it wait for ever.
const FETCH: Duration = Duration::from_secs(30);

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
    /// The store's copy is not what its name says.
    #[error("the store holds something else under the name of engine {digest}")]
    Forged {
        /// Which.
        digest: String,
    },
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
            let engine = sandbox.load(component).map_err(EngineError::Embedded)?;
            own.push(Own { engine, component: Cow::Borrowed(component) });
        }
        for path in files {
            own.push(Own::read(&sandbox, path)?);
        }
        if let Some(reference) = ambiguous(&own) {
            return Err(EngineError::Twice { reference });
        }
        let by_digest = own.iter().map(|it| (it.engine.digest().to_owned(), it.engine.clone())).collect();
        Ok(Self { sandbox, own: Arc::new(own), by_digest: Arc::new(RwLock::new(by_digest)), fetching: Arc::default() })
    }

    /// The engine that a configuration names: `NAME`, or `NAME@VERSION` with as much of a version as should hold.
    ///
    /// # Errors
    /// `invalid`, with what there is instead.
    pub fn resolve(&self, reference: &str) -> Result<LoadedEngine, ApiError> {
        let wanted = Wanted::parse(reference)?;
        let own = || self.own.iter().map(|own| &own.engine);
        let fitting = own().filter(|engine| wanted.is(engine.description().name.as_str(), &engine.description().version));
        let newest = fitting.max_by_key(|engine| &engine.description().version);
        newest.cloned().ok_or_else(|| {
            let known = own().map(reference_of).collect::<Vec<_>>().join(", ");
            ApiError::invalid("/general/engine", format!("no engine {reference:?}; there are {known}"))
        })
    }

    /// The same for a domain that an engine decides already. That one stays, if the configuration still names it and this host has nothing
    /// as new: a domain that came from a host with other files goes on as it was, whatever else is changed.
    ///
    /// # Errors
    /// `invalid`, with what there is instead; `unavailable` when the engine should stay and can't be had.
    pub(crate) async fn resolve_again(
        &self,
        store: &ObjectStore,
        reference: &str,
        in_force: &EngineInForce,
    ) -> Result<LoadedEngine, ApiError> {
        let wanted = Wanted::parse(reference)?;
        let own = self.resolve(reference);
        if !wanted.stays(in_force, own.as_ref().ok().map(|own| &own.description().version)) {
            return own;
        }
        match self.get(&in_force.digest) {
            Some(engine) => Ok(engine),
            None => self.fetch(store, &in_force.digest).await.map_err(|error| {
                let EngineInForce { name, version, .. } = in_force;
                ApiError::Unavailable { message: format!("engine {name}@{version}, which decides: {:#}", anyhow::Error::new(error)) }
            }),
        }
    }

    /// The engine of a digest, if it is loaded.
    pub fn get(&self, digest: &str) -> Option<LoadedEngine> {
        self.by_digest.read().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    /// Puts the engines of this host into the store, where they are not there yet.
    ///
    /// # Errors
    /// When the store can't be used.
    pub async fn publish(&self, store: &ObjectStore) -> Result<(), EngineError> {
        for Own { engine, component } in self.own.iter() {
            if store.info(engine.digest()).await.is_err() {
                let mut bytes = &**component;
                store.put(engine.digest(), &mut bytes).await.map_err(|error| EngineError::Store(error.to_string()))?;
            }
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
        let read = async {
            let mut object = store.get(digest).await.map_err(|error| EngineError::Store(error.to_string()))?;
            let mut bytes = Vec::new();
            object.read_to_end(&mut bytes).await.map_err(|error| EngineError::Store(error.to_string()))?;
            Ok(bytes)
        };
        let bytes = tokio::time::timeout(FETCH, read).await.map_err(|_| EngineError::Store("no answer in time".to_owned()))??;
        let (sandbox, owned) = (self.sandbox.clone(), digest.to_owned());
        let loaded =
            tokio::task::spawn_blocking(move || sandbox.load(&bytes)).await.map_err(|error| EngineError::Store(error.to_string()))?;
        let engine = loaded.map_err(|source| EngineError::Stored { digest: owned.clone(), source })?;
        if engine.digest() != digest {
            return Err(EngineError::Forged { digest: owned });
        }
        self.by_digest.write().unwrap_or_else(PoisonError::into_inner).insert(owned, engine.clone());
        Ok(engine)
    }
}

/// What a configuration says of its engine.
struct Wanted<'t> {
    name: &'t str,
    version: VersionReq,
}

impl<'t> Wanted<'t> {
    fn parse(reference: &'t str) -> Result<Self, ApiError> {
        let (name, version) = reference.split_once('@').unwrap_or((reference, "*"));
        let invalid = |error| ApiError::invalid("/general/engine", format!("{version:?} is no version: {error}"));
        Ok(Self { name, version: VersionReq::parse(version).map_err(invalid)? })
    }

    fn is(&self, name: &str, version: &Version) -> bool {
        self.name == name && self.version.matches(version)
    }

    /// Whether the engine in force is what is wanted, and newer than the newest that there is here. One of the same version is taken from
    /// here: it was built anew, and whoever offers it means it.
    fn stays(&self, in_force: &EngineInForce, newest_here: Option<&Version>) -> bool {
        let Ok(version) = in_force.version.parse() else { return false };
        self.is(&in_force.name, &version) && newest_here.is_none_or(|here| *here < version)
    }
}

impl Own {
    fn read(sandbox: &Sandbox, path: &Path) -> Result<Self, EngineError> {
        let component = std::fs::read(path).map_err(|source| EngineError::Read { path: path.to_owned(), source })?;
        let engine = sandbox.load(&component).map_err(|source| EngineError::File { path: path.to_owned(), source })?;
        Ok(Self { engine, component: Cow::Owned(component) })
    }
}

/// What a domain would ask for and get either of two.
fn ambiguous(own: &[Own]) -> Option<String> {
    let mut digests = BTreeMap::new();
    own.iter().map(|own| &own.engine).find_map(|engine| {
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
    let problems = check_schema(&engine.description().config_schema, conf);
    if !problems.is_empty() {
        return problems;
    }
    match engine.check_config(&Value::Object(conf.clone()).to_string()) {
        Ok(problems) => {
            problems.into_iter().map(|problem| ConfigProblem::new(format!("/engine_conf{}", problem.at), problem.message)).collect()
        }
        Err(fault) => vec![ConfigProblem::new("/general/engine", format!("the engine failed to check its configuration: {fault}"))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_decides_stays_unless_it_is_not_wanted_or_there_is_one_as_new() {
        let in_force = EngineInForce { name: "watch".to_owned(), version: "0.2.1".to_owned(), digest: "aa".to_owned() };
        let stays = |reference: &str, here: Option<&str>| {
            let here = here.map(|version| version.parse().expect("a version"));
            Wanted::parse(reference).expect("a reference").stays(&in_force, here.as_ref())
        };
        for reference in ["watch", "watch@0.2", "watch@=0.2.1"] {
            assert!(stays(reference, None), "{reference}, and this host has none");
            assert!(stays(reference, Some("0.2.0")), "{reference}, and this host has an older one");
            assert!(!stays(reference, Some("0.2.1")), "{reference}, and this host has one built anew");
        }
        assert!(!stays("watch", Some("0.3.0")), "this host has a newer one");
        for other in ["simplest", "watch@0.3", "watch@=0.2.0"] {
            assert!(!stays(other, None) && !stays(other, Some("0.2.0")), "{other} is another one");
        }
    }
}
