//! How this host comes by an engine: out of the store, or from bytes that somebody has, for everybody who wants it at once.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::object_store::ObjectStore;
use bytes::Bytes;
use pilothouse_engine_host::{LoadError, LoadedEngine};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::attempts::{Attempts, Manner, doubled};
use super::{Engines, Loaded};
use crate::driver::registry::{ComponentError, get_component};

/// Components that are compiled at the same time. That takes memory and all that processors have to spare; and one of several minutes
/// should not have all others wait. What was compiled before waits for nobody.
const COMPILES: usize = 2;

/// Components that are fetched, or wait to be loaded, at the same time: each is in memory meanwhile. And as many again of those that were
/// compiled before, which don't stand behind those that wait to be compiled.
const FETCHES: usize = 8;

/// How long it is told that the store does not answer before it is asked again.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// How long it is told that a component can't serve before it is tried again: the same bytes will hardly fare otherwise, and it may have
/// taken minutes to find out.
const REFUSED_PAUSE: Duration = Duration::from_secs(300);

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
    pub(in crate::driver) fn pause(&self, failures: u32) -> Duration {
        match self {
            Self::Component(ComponentError::Missing { .. }) => Duration::ZERO,
            Self::Component(ComponentError::Store(_)) => STORE_PAUSE,
            error => pause(error.may_pass(), failures),
        }
    }
}

/// How long to wait after so many failures in a row to load a component.
fn pause(may_pass: bool, failures: u32) -> Duration {
    if may_pass { doubled(failures) } else { REFUSED_PAUSE }
}

/// What is being loaded, and what failed a moment ago.
#[derive(Clone)]
pub(super) struct Loading {
    loads: Attempts<Loaded, LoadError>,
    fetches: Attempts<LoadedEngine, FetchError>,
    compile_places: Arc<Semaphore>,
    fetch_places: Arc<Semaphore>,
    /// For components that were compiled before.
    compiled_places: Arc<Semaphore>,
}

impl Default for Loading {
    fn default() -> Self {
        let crashed = |why| FetchError::Component(ComponentError::Store(why));
        Self {
            loads: Attempts::new(Manner { pause: |error, failures| pause(error.may_pass(), failures), crashed: LoadError::Compile }),
            fetches: Attempts::new(Manner { pause: FetchError::pause, crashed }),
            compile_places: Arc::new(Semaphore::new(COMPILES)),
            fetch_places: Arc::new(Semaphore::new(FETCHES)),
            compiled_places: Arc::new(Semaphore::new(FETCHES)),
        }
    }
}

impl Loading {
    /// A place to fetch a component, to be kept until it is loaded.
    async fn fetch_place(&self, was_compiled: bool) -> Result<OwnedSemaphorePermit, FetchError> {
        let places = if was_compiled { &self.compiled_places } else { &self.fetch_places };
        let place = Arc::clone(places).acquire_owned().await;
        place.map_err(|closed| FetchError::Component(ComponentError::Store(closed.to_string())))
    }
}

impl Engines {
    /// Loads a component, which has this digest, for everybody who wants that at once; nobody else waits for it. It is not kept. What failed
    /// is not tried again for some seconds, and then for longer and longer, up to five minutes; what can't serve, for five minutes at once.
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
        let _place = self.loading.fetch_place(self.sandbox.has_compiled(digest)).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_compiled_before_does_not_stand_behind_what_waits_to_be_compiled() {
        let loading = Loading::default();
        let mut waiting = Vec::new();
        for _ in 0..FETCHES {
            waiting.push(loading.fetch_place(false).await.expect("a place"));
        }
        assert!(futures::poll!(Box::pin(loading.fetch_place(false))).is_pending(), "these are all in memory");
        assert!(futures::poll!(Box::pin(loading.fetch_place(true))).is_ready());
    }

    #[test]
    fn what_can_t_serve_is_not_compiled_again_for_minutes_and_the_store_is_asked_soon() {
        let failed = |source: LoadError| FetchError::Load { digest: "aa".to_owned(), source };
        let of = |error: FetchError| [1, 2, 9].map(|failures| error.pause(failures).as_secs());
        assert_eq!(of(failed(LoadError::Malformed("it is damaged".to_owned()))), [300; 3]);
        assert_eq!(of(failed(LoadError::Compile("no memory".to_owned()))), [5, 10, 300]);
        assert_eq!(of(ComponentError::Store("no answer".to_owned()).into()), [5; 3]);
        assert_eq!(of(ComponentError::Missing { digest: "aa".to_owned() }.into()), [0; 3]);
    }
}
