//! Places for calls of one component: who finds none free waits, in order, without holding a thread.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A place for one call of a component, see [`LoadedEngine::place`](crate::LoadedEngine::place). It is free again when this is dropped: keep
/// it for as long as the call runs.
#[must_use = "the place is free again when this is dropped"]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

/// The places of one component.
#[derive(Clone)]
pub(crate) struct Seats(Arc<Semaphore>);

impl Seats {
    pub(crate) fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS))))
    }

    pub(crate) fn free(&self) -> usize {
        self.0.available_permits()
    }

    pub(crate) async fn take(&self) -> Place {
        let permit = Arc::clone(&self.0).acquire_owned().await;
        Place { _permit: permit.expect("nobody closes it") }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}
