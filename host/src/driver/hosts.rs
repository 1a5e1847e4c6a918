//! Which hosts are disabled: their engines are asked nothing until they are enabled again.
//!
//! A bucket has one key for each disabled host, its name, and says who disabled it and when. So whichever host is asked can disable any
//! other, also one that is away, and a host that is started again is still disabled. Every host watches its own key.
//!
//! Being disabled concerns decisions and nothing else. Reports, commands, health, promised work and removals go on, unless a host that
//! decides takes the domains over ([`super::lease`]).

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::kv::{Operation, Store};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use bytes::Bytes;
use futures::StreamExt;
use pilothouse_core::name::Name;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::bucket::{self, BucketError};
use crate::api::Disabled;

/// The header that says what became of a key.
const OPERATION: &str = "KV-Operation";

/// Before a watch that ended is begun again.
const AGAIN: Duration = Duration::from_millis(500);

/// Which hosts are disabled, and whether this one is.
#[derive(Debug)]
pub(crate) struct Hosts {
    store: Store,
    host: Name,
    /// Who disabled this host, if anybody did.
    disabled: watch::Sender<Option<Disabled>>,
}

impl Hosts {
    /// Opens the bucket and reads how this host is: before it does anything else.
    ///
    /// # Errors
    /// When JetStream does not answer, or the key of this host can't be read.
    pub(crate) async fn open(jetstream: &jetstream::Context, bucket: &str, replicas: usize, host: &Name) -> Result<Self, BucketError> {
        let store = bucket::open(jetstream, bucket, "hosts whose engines are not asked", replicas).await?;
        let hosts = Self { store, host: host.clone(), disabled: watch::Sender::new(None) };
        let (_, disabled) = hosts.newest().await.map_err(|reason| BucketError { bucket: bucket.to_owned(), reason })?;
        hosts.note(disabled);
        Ok(hosts)
    }

    /// Whether this host is disabled, and changes of that.
    pub(crate) fn own(&self) -> watch::Receiver<Option<Disabled>> {
        self.disabled.subscribe()
    }

    /// Follows the key of this host until it is told to stop.
    pub(crate) async fn follow(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                why = self.listen() => tracing::debug!(?why, "watching again whether this host is disabled"),
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn listen(&self) -> Result<(), String> {
        let (known, disabled) = self.newest().await?;
        self.note(disabled);
        // It begins with the newest entry, so that nothing is missed between the two. A server that lags behind may begin with an older one
        // than what is known, and goes on to the newest.
        let mut entries = self.store.watch_with_history(self.host.as_str()).await.map_err(|error| error.to_string())?;
        while let Some(entry) = entries.next().await {
            let entry = entry.map_err(|error| error.to_string())?;
            if entry.revision > known {
                self.note(read(&self.host, (entry.operation == Operation::Put).then_some(&entry.value)));
            }
        }
        Ok(())
    }

    fn note(&self, disabled: Option<Disabled>) {
        self.disabled.send_if_modified(|is| {
            let changes = *is != disabled;
            if changes {
                match &disabled {
                    Some(by) => tracing::warn!(by = %by.by, "this host is disabled: its engines are not asked"),
                    None => tracing::info!("this host is enabled again: its engines are asked"),
                }
                *is = disabled;
            }
            changes
        });
    }

    /// The revision of this host's key, as the leader of the bucket knows it, and what it says.
    async fn newest(&self) -> Result<(u64, Option<Disabled>), String> {
        let subject = format!("$KV.{}.{}", self.store.name, self.host);
        match self.store.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => {
                // Any mark but that of a write says that the key is gone.
                let is_put = message.headers.get(OPERATION).is_none_or(|operation| operation.as_str() == "PUT");
                Ok((message.sequence, read(&self.host, is_put.then_some(&message.payload))))
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok((0, None)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Every host that is disabled, whether it is there or not.
    pub(crate) async fn all_disabled(&self) -> Result<Vec<Name>, String> {
        let mut keys = self.store.keys().await.map_err(|error| error.to_string())?;
        let mut all = Vec::new();
        while let Some(key) = keys.next().await {
            // A key that is no name belongs to no host.
            all.extend(key.map_err(|error| error.to_string())?.parse::<Name>());
        }
        Ok(all)
    }

    /// Disables a host. One that is disabled stays as it is, with who did it first.
    pub(crate) async fn disable(&self, host: &Name, disabled: &Disabled) -> Result<(), String> {
        let value = serde_json::to_vec(disabled).map_err(|error| error.to_string())?;
        let created = self.store.create(host.as_str(), value.into()).await;
        match created {
            Err(error) if error.kind() == jetstream::kv::CreateErrorKind::AlreadyExists => Ok(()),
            created => created.map(drop).map_err(|error| error.to_string()),
        }
    }

    /// Enables a host, whether it was disabled or not.
    pub(crate) async fn enable(&self, host: &Name) -> Result<(), String> {
        self.store.delete(host.as_str()).await.map_err(|error| error.to_string())
    }
}

/// What the value of a key says. Nonsense disables nobody: nobody could say who did it.
fn read(host: &Name, value: Option<&Bytes>) -> Option<Disabled> {
    let read = serde_json::from_slice(value?);
    read.inspect_err(|error| tracing::warn!(%error, %host, "nonsense about who disabled a host: ignored")).ok()
}
