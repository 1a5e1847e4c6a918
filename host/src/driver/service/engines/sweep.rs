//! Components that somebody put into the store and nobody made a version of: a push that was given up, or a host that died before it was rid of
//! what it had tried.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::object_store::ObjectInfo;
use futures::TryStreamExt;
use pilothouse_core::command::ApiError;
use pilothouse_core::time::Timestamp;

use super::push::digest_of;
use super::unavailable;
use super::usage::needs;
use crate::driver::host::Domains;
use crate::driver::registry;
use crate::store::Journal;

/// How old a component must be that is taken for left over. Whoever pushes one has it entered long before.
const LEFT: Duration = Duration::from_secs(3600);

/// Components that are looked at in one sweep: all hosts are asked for them at once.
const MAX_SWEPT: usize = 100;

/// How long the store may take to say what is in it.
const LIST: Duration = Duration::from_secs(60);

impl<J: Journal> Domains<J> {
    /// Has the store rid of what was left over, off the way of whoever calls this, as far as this host looks after the domains and knows that
    /// nobody needs it.
    pub(in crate::driver) fn sweep_components(self: &Arc<Self>) {
        let this = Arc::clone(self);
        // Nobody waits for it, and what was begun is not broken off: a component may have to be put back.
        tokio::spawn(async move {
            if let Err(error) = this.swept().await {
                tracing::debug!(%error, "the engine store is not looked through");
            }
        });
    }

    async fn swept(&self) -> Result<(), ApiError> {
        let mut left = self.left_over().await?;
        if left.is_empty() {
            return Ok(());
        }
        let hosts = registry::ask(&self.shared.nats, &self.shared.subjects, left.clone()).await.map_err(unavailable)?;
        left.retain(|digest| hosts.iter().all(|host| !host.own.contains(digest)));
        for digest in left {
            // Nobody chooses it meanwhile.
            let _nobody_chooses = self.places.nobody_chooses().await?;
            if self.discarded_unless_needed(&digest).await? {
                tracing::info!(digest, "a component was left over in the store, and is gone");
            }
        }
        Ok(())
    }

    /// The digests of old components that no version and no domain names, as far as that is seen at a glance.
    async fn left_over(&self) -> Result<Vec<String>, ApiError> {
        let store = &self.shared.engine_store;
        let listed = async { store.list().await.map_err(unavailable)?.try_collect::<Vec<_>>().await.map_err(unavailable) };
        let objects = tokio::time::timeout(LIST, listed).await.map_err(unavailable)??;
        let known = self.shared.registry.known();
        let named: BTreeSet<&str> = known.values().flat_map(|entry| entry.versions.values()).map(|pushed| pushed.digest.as_str()).collect();
        let now = self.shared.clock.now();
        let old = objects.into_iter().filter(|object| is_old(object, now) && digest_of(&object.name).as_ref() == Ok(&object.name));
        let mut left: Vec<String> = old.map(|object| object.name).filter(|digest| !named.contains(digest.as_str())).collect();
        if !left.is_empty() {
            let told = self.told_by_all().await;
            left.retain(|digest| !told.states.iter().any(|state| needs(state, digest)));
        }
        left.truncate(MAX_SWEPT);
        Ok(left)
    }
}

fn is_old(object: &ObjectInfo, now: Timestamp) -> bool {
    let put = object.modified.and_then(|at| u64::try_from(at.unix_timestamp()).ok());
    put.is_some_and(|put| now.since(Timestamp::from_secs(put)).to_std() >= LEFT)
}
