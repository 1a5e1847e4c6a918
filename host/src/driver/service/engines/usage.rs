//! Which domains need which component, as they say themselves.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use pilothouse_core::command::ApiError;
use pilothouse_core::name::DomainKey;
use pilothouse_core::state::{DomainState, Life};

use super::unavailable;
use crate::driver::host::Domains;
use crate::driver::registry::{self, Entry, copy_component, discard_component};
use crate::driver::router::Handle;
use crate::store::Journal;

/// How long one domain may take to say what it holds.
const EACH: Duration = Duration::from_secs(2);

/// Domains that are asked at the same time.
const ASKED_AT_ONCE: usize = 64;

/// What all domains of this host hold, as far as they say so.
pub(super) struct Told {
    /// Those that are there.
    pub(super) states: Vec<Arc<DomainState>>,
    /// Those that can't be asked at the moment.
    pub(super) silent: Vec<DomainKey>,
}

impl<J: Journal> Domains<J> {
    /// Asks every domain what it holds. They answer between two records, so none of them is in the middle of a swap.
    pub(super) async fn told_by_all(&self) -> Told {
        let asked = self.shared.router.all().into_iter().map(state_in_time);
        let mut told = Told { states: Vec::new(), silent: self.away.all() };
        let mut answers = futures::stream::iter(asked).buffered(ASKED_AT_ONCE);
        while let Some((key, answer)) = answers.next().await {
            match answer {
                Some(state) if matches!(state.life, Life::Active | Life::Removing) => told.states.push(state),
                Some(_) => {}
                None => told.silent.push(key),
            }
        }
        told
    }

    /// The domains that need a component.
    ///
    /// # Errors
    /// `unavailable` unless all domains say.
    pub(super) async fn who_needs(&self, digest: &str) -> Result<Vec<DomainKey>, ApiError> {
        if !self.ready() {
            return Err(unavailable("no host looks after the domains at the moment; try again"));
        }
        let Told { states, silent } = self.told_by_all().await;
        if let Some(one) = silent.first() {
            return Err(unavailable(format!("domain {one} can't be asked at the moment whether it needs it; try again")));
        }
        // Those that it began to look after, or lost, meanwhile.
        if !self.ready() || !self.away.all().is_empty() {
            return Err(unavailable("domains are changing hands; try again"));
        }
        Ok(states.iter().filter(|state| needs(state, digest)).map(|state| state.key.clone()).collect())
    }

    /// The hosts that have a component without any registry.
    ///
    /// # Errors
    /// `unavailable` when they can't be asked.
    pub(super) async fn who_owns(&self, digest: &str) -> Result<BTreeSet<String>, ApiError> {
        let hosts = registry::ask(&self.shared.nats, &self.shared.subjects, vec![digest.to_owned()]).await.map_err(unavailable)?;
        Ok(hosts.into_iter().filter(|host| host.own.contains(digest)).map(|host| host.host.to_string()).collect())
    }

    /// Takes a component out of the store that nobody needs. One of which that is not certain stays: too much is in nobody's way. Not for
    /// who has seen to it already that nobody chooses an engine.
    pub(in crate::driver) async fn discard_unneeded(&self, digest: &str) {
        match self.discarded(digest).await {
            Ok(true) => tracing::debug!(digest, "a component that nobody needs is gone from the store"),
            Ok(false) => {}
            Err(error) => tracing::debug!(digest, %error, "a component stays in the store"),
        }
    }

    /// The same, and whether it is gone.
    pub(super) async fn discarded(&self, digest: &str) -> Result<bool, ApiError> {
        let (store, limit) = (&self.shared.engine_store, self.shared.engines.sandbox().limits().component_bytes);
        // These first, because they take long: nobody should wait for them who chooses an engine, and between the last question and the
        // deletion there should be as little time as can be.
        let copy = copy_component(store, digest, limit).await.map_err(unavailable)?;
        if !self.who_owns(digest).await?.is_empty() {
            return Ok(false);
        }
        // Nobody chooses it meanwhile.
        let _nobody_chooses = self.places.nobody_chooses().await?;
        let needed = || async { Ok(self.is_named(digest).await? || !self.who_needs(digest).await?.is_empty()) }.boxed();
        let gone = discard_component(store, digest, copy.as_deref(), needed, unavailable).await?;
        if gone {
            // Nobody should come by it here who would find it nowhere else.
            self.shared.engines.forget(digest);
        }
        Ok(gone)
    }

    /// Whether a version of the registry, or a pin, has these bytes. Of an entry that can't be read nobody knows.
    async fn is_named(&self, digest: &str) -> Result<bool, ApiError> {
        let listed = self.shared.registry.all().await?;
        if let Some(name) = listed.unreadable.keys().next() {
            return Err(unavailable(format!("what the registry says of engine {name} can't be read")));
        }
        Ok(listed.entries.values().flat_map(Entry::digests).any(|named| named == digest))
    }
}

/// Whether a domain is decided by a component, may go back to it, or has it run beside.
pub(super) fn needs(state: &DomainState, digest: &str) -> bool {
    let lineage = state.lineage.as_deref();
    let before = lineage.and_then(|lineage| lineage.before.as_ref());
    let shadow = state.shadow().map(|shadow| &shadow.engine);
    [Some(&state.engine), before, shadow].into_iter().flatten().any(|engine| engine.digest == digest)
}

async fn state_in_time(handle: Handle) -> (DomainKey, Option<Arc<DomainState>>) {
    let state = tokio::time::timeout(EACH, handle.state()).await;
    (handle.key, state.ok().and_then(Result::ok))
}
