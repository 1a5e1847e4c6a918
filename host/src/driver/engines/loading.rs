//! How this host comes by an engine: out of the store, or from bytes that somebody has, for everybody who wants it at once.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::object_store::ObjectStore;
use bytes::Bytes;
use pilothouse_engine_host::{LoadError, LoadedEngine};
use tokio::sync::Semaphore;

use super::attempts::{Attempts, Manner, doubled};
use super::{Engines, Loaded};
use crate::driver::registry::{ComponentError, get_component};

/// Components that are compiled at the same time. That takes memory and all that processors have to spare; and one of several minutes
/// should not have all others wait. What was compiled before waits for nobody.
const COMPILES: usize = 2;

/// Components that are fetched, or wait to be loaded, at the same time: each is in memory meanwhile.
const FETCHES: usize = 8;

/// How long it is told that the store does not answer before it is asked again.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// The engine of a digest can't be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// The store does not answer, has no such component, not what its name says, or one that is too large.
    #[error(transparent)]
    Component(#[from] ComponentError),
    /// The store's copy does not load.
    #[error("engine {digest} from the store")]
    Load {
        /// Which.
        digest: String,
        /// Why not.
        source: LoadError,
    },
}

impl FetchError {
    /// Whether it tells of this host or of the store rather than of the component, so that another attempt may end otherwise.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Component(error) => error.may_pass(),
            Self::Load { source, .. } => source.may_pass(),
        }
    }

    /// How long to wait after so many failures in a row. What tells of the store costs little to find out, and may be over at any moment.
    fn pause(&self, failures: u32) -> Duration {
        match self {
            Self::Component(ComponentError::Missing { .. }) => Duration::ZERO,
            Self::Component(ComponentError::Store(_)) => STORE_PAUSE,
            _ => doubled(failures),
        }
    }
}

/// What is being loaded, and what failed a moment ago.
#[derive(Clone)]
pub(super) struct Loading {
    loads: Attempts<Loaded, LoadError>,
    fetches: Attempts<LoadedEngine, FetchError>,
    compile_places: Arc<Semaphore>,
    fetch_places: Arc<Semaphore>,
}

impl Default for Loading {
    fn default() -> Self {
        let crashed = |why| FetchError::Component(ComponentError::Store(why));
        Self {
            loads: Attempts::new(Manner { pause: |_, failures| doubled(failures), crashed: LoadError::Compile }),
            fetches: Attempts::new(Manner { pause: FetchError::pause, crashed }),
            compile_places: Arc::new(Semaphore::new(COMPILES)),
            fetch_places: Arc::new(Semaphore::new(FETCHES)),
        }
    }
}

impl Engines {
    /// Loads a component, which has this digest, for everybody who wants that at once; nobody else waits for it. It is not kept. What failed
    /// is not tried again for some seconds, and then for longer and longer, up to five minutes.
    ///
    /// # Errors
    /// Why it can't serve as an engine.
    pub async fn load(&self, digest: &str, component: Bytes) -> Result<Loaded, LoadError> {
        let (sandbox, places) = (self.sandbox.clone(), Arc::clone(&self.loading.compile_places));
        let compiles = !sandbox.has_compiled(digest);
        let load = || async move {
            let place = if compiles { Some(places.acquire_owned().await) } else { None };
            let place = place.transpose().map_err(|closed| LoadError::Compile(closed.to_string()))?;
            let load = move || {
                // The place goes with the job, which keeps its thread even if nobody waits for it any more.
                let _place = place;
                Loaded::load(&sandbox, &component)
            };
            tokio::task::spawn_blocking(load).await.unwrap_or_else(|error| Err(LoadError::Compile(error.to_string())))
        };
        self.loading.loads.of(digest, load).await
    }

    /// Fetches the engine of a digest from the store, [loads](Self::load) and keeps it, unless it is loaded. It goes on when nobody waits for
    /// it any more.
    ///
    /// # Errors
    /// When it is not there, is something else, or does not load.
    pub async fn fetch(&self, store: &ObjectStore, digest: &str) -> Result<LoadedEngine, FetchError> {
        if let Some(engine) = self.get(digest) {
            return Ok(engine);
        }
        let (this, store, wanted) = (self.clone(), store.clone(), digest.to_owned());
        self.loading.fetches.of(digest, || async move { this.fetched(&store, &wanted).await }).await
    }

    async fn fetched(&self, store: &ObjectStore, digest: &str) -> Result<LoadedEngine, FetchError> {
        let _place = self.loading.fetch_places.acquire().await.map_err(|closed| ComponentError::Store(closed.to_string()))?;
        // Somebody may have been faster.
        if let Some(engine) = self.get(digest) {
            return Ok(engine);
        }
        let component = get_component(store, digest, self.sandbox.limits().component_bytes).await?;
        let loaded = self.load(digest, component.into()).await;
        Ok(self.keep(loaded.map_err(|source| FetchError::Load { digest: digest.to_owned(), source })?))
    }

    /// Has a component tried anew that could not be fetched: another one was put into its place.
    pub(in crate::driver) fn fetch_anew(&self, digest: &str) {
        self.loading.fetches.forgive(digest);
    }
}
