//! Components that somebody put into the store and nobody made a version of: a push that was given up, or a host that died before it was rid of
//! what it had tried.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::object_store::ObjectInfo;
use futures::TryStreamExt;
use pilothouse_core::command::ApiError;
use pilothouse_core::time::Timestamp;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::push::digest_of;
use super::unavailable;
use super::usage::needs;
use crate::driver::host::Domains;
use crate::driver::registry::{self, Entry};
use crate::store::Journal;

/// How old a component must be that is taken for left over. Whoever pushes one has it entered long before.
const LEFT: Duration = Duration::from_secs(3600);

/// Components that are looked at in one sweep: all hosts are asked for them at once.
const MAX_SWEPT: usize = 100;

/// How long the store may take to say what is in it.
const LIST: Duration = Duration::from_secs(60);

/// Between two sweeps of the host that looks after the domains.
const EVERY: Duration = Duration::from_secs(3600);

impl<J: Journal> Domains<J> {
    /// Has the store rid of what was left over, at once and every hour, until a tenure is over.
    pub(in crate::driver) async fn keep_sweeping(self: Arc<Self>, tenure: CancellationToken) {
        every(EVERY, &tenure, || self.sweep_components()).await;
    }

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
        // What others took for left over while nobody knew of this host.
        if let Err(error) = self.shared.engines.publish(&self.shared.engine_store).await {
            tracing::debug!(%error, "the engines of this host are not put into the store");
        }
        let mut left = self.left_over().await?;
        if left.is_empty() {
            return Ok(());
        }
        let hosts = registry::ask(&self.shared.nats, &self.shared.subjects, left.clone()).await.map_err(unavailable)?;
        left.retain(|digest| hosts.iter().all(|host| !host.own.contains(digest)));
        for digest in left {
            // Each is asked for anew: this may take minutes, and a host may have come meanwhile.
            match self.discarded(&digest).await {
                Ok(true) => tracing::info!(digest, "a component was left over in the store, and is gone"),
                Ok(false) => {}
                Err(error) => tracing::debug!(digest, %error, "a component stays in the store"),
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
        let named: BTreeSet<&String> = known.values().flat_map(Entry::digests).collect();
        let now = self.shared.clock.now();
        let old = objects.into_iter().filter(|object| is_old(object, now) && digest_of(&object.name).as_ref() == Ok(&object.name));
        let mut left: Vec<String> = old.map(|object| object.name).filter(|digest| !named.contains(digest)).collect();
        if !left.is_empty() {
            let told = self.told_by_all().await;
            left.retain(|digest| !told.states.iter().any(|state| needs(state, digest)));
        }
        left.truncate(MAX_SWEPT);
        Ok(left)
    }
}

/// Does something at once, and again after each pause, until a tenure is over.
async fn every(pause: Duration, tenure: &CancellationToken, mut work: impl FnMut()) {
    let mut ticks = tokio::time::interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = tenure.cancelled() => return,
            _ = ticks.tick() => work(),
        }
    }
}

fn is_old(object: &ObjectInfo, now: Timestamp) -> bool {
    let put = object.modified.and_then(|at| u64::try_from(at.unix_timestamp()).ok());
    put.is_some_and(|put| now.since(Timestamp::from_secs(put)).to_std() >= LEFT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_done_now_and_then_is_done_at_once_and_until_the_tenure_is_over() {
        let (tenure, mut done) = (CancellationToken::new(), 0);
        every(Duration::from_millis(1), &tenure, || {
            done += 1;
            if done == 3 {
                tenure.cancel();
            }
        })
        .await;
        assert_eq!(done, 3);
        every(EVERY, &tenure, || done += 1).await;
        assert_eq!(done, 3, "it is over");
    }
}
