//! The registry: which versions of which engines were pushed, as a bucket keeps them, and what this host has made of them.
//!
//! Components are objects by digest; the registry says which digest is which version. One key an engine, changed by compare-and-set on its
//! revision, by whichever host is asked. Every host follows all keys and has them in memory, because domains look at them between two
//! decisions; and compiles what is new before anybody needs it ([`Ahead`]). How far it is with each it answers when all hosts are asked
//! ([`Ready`]).
//!
//! A component is put into the store before a version names it, and taken out after none does. Whoever looks in between finds an object too
//! many, never one too few.

mod ahead;
mod component;
mod entry;
mod put_back;
mod ready;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream;
use async_nats::jetstream::kv::{Operation, Store};
use async_nats::jetstream::object_store::ObjectStore;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use pilothouse_core::command::ApiError;
use pilothouse_core::name::Name;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::ahead::Ahead;
pub use self::component::{
    ComponentError, copy_component, delete_component, digest_of, discard_component, get_component, put_component, put_known,
};
pub use self::entry::{Entry, Gone, MAX_ABOUT_BYTES, MAX_GONE, MAX_VERSION_BYTES, MAX_VERSIONS, Pinned, Pushed, What, Wish, not_found};
pub use self::put_back::PutBack;
pub use self::ready::{AskError, Ready, ask, attend};
use super::bucket::{self, BucketError, OPERATION};
use crate::api::EngineChanged;
use crate::failpoint;

/// Every engine of the registry that can be read.
pub type Entries = BTreeMap<Name, Entry>;

/// All keys of a bucket.
const EVERY_KEY: &str = ">";

/// How often a change that others are faster with is tried. Those of one host take turns, so only other hosts can be.
const ATTEMPTS: u32 = 20;

/// How long a change waits for its turn.
const TURN: Duration = Duration::from_secs(5);

/// Engines that are read at the same time.
const READS: usize = 16;

/// Before a watch that ended is begun again.
const AGAIN: Duration = Duration::from_millis(500);

/// How often it is looked whether the link was lost meanwhile. A change that came in between is late by no more.
const LOOK: Duration = Duration::from_millis(250);

/// The registry.
#[derive(Debug)]
pub struct Registry {
    client: Client,
    jetstream: jetstream::Context,
    store: Store,
    /// Changes of this host, one after the other: they would only get in each other's way.
    turn: tokio::sync::Mutex<()>,
    /// The newest revision that is known of every key.
    revisions: Mutex<BTreeMap<Name, u64>>,
    entries: watch::Sender<Arc<Entries>>,
}

/// What the bucket says of all engines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listed {
    /// Those that can be read.
    pub entries: Entries,
    /// Those that can't, and why not.
    pub unreadable: BTreeMap<Name, String>,
}

/// What is kept under a key.
enum Kept {
    Nothing,
    Entry(Box<Entry>),
    Unreadable(String),
}

impl Kept {
    fn read(is_there: bool, value: &[u8]) -> Self {
        if !is_there {
            return Self::Nothing;
        }
        Entry::read(value).map_or_else(Self::Unreadable, |entry| Self::Entry(Box::new(entry)))
    }
}

fn unavailable(error: impl std::fmt::Display) -> ApiError {
    ApiError::Unavailable { message: format!("the registry of engines: {error}; try again") }
}

impl Registry {
    /// Opens the bucket, makes it when it is not there, and reads what it says: before this host does anything else.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn open(client: &Client, jetstream: &jetstream::Context, bucket: &str, replicas: usize) -> Result<Self, BucketError> {
        let store = bucket::open(jetstream, bucket, "the versions of decision engines", replicas).await?;
        let registry = Self {
            client: client.clone(),
            jetstream: jetstream.clone(),
            store,
            turn: tokio::sync::Mutex::default(),
            revisions: Mutex::default(),
            entries: watch::Sender::default(),
        };
        let listed = registry.list().await.map_err(|reason| BucketError { bucket: bucket.to_owned(), reason })?;
        registry.note_all(listed);
        Ok(registry)
    }

    /// What this host knows, and changes of it. All of it follows the bucket, within a second while the link is up.
    pub fn entries(&self) -> watch::Receiver<Arc<Entries>> {
        self.entries.subscribe()
    }

    /// What this host knows now.
    pub fn known(&self) -> Arc<Entries> {
        Arc::clone(&self.entries.borrow())
    }

    /// What the bucket says of one engine: nothing when nobody ever said anything.
    ///
    /// # Errors
    /// `conflict` when it can't be read, `unavailable` when JetStream does not answer.
    pub async fn get(&self, name: &Name) -> Result<Option<Entry>, ApiError> {
        Ok(self.read(name).await?.1)
    }

    /// What the bucket says of all engines.
    ///
    /// # Errors
    /// `unavailable` when JetStream does not answer.
    pub async fn all(&self) -> Result<Listed, ApiError> {
        let mut listed = Listed::default();
        for (name, _, kept) in self.list().await.map_err(unavailable)? {
            match kept {
                Kept::Nothing => {}
                Kept::Entry(entry) => drop(listed.entries.insert(name, *entry)),
                Kept::Unreadable(why) => drop(listed.unreadable.insert(name, why)),
            }
        }
        Ok(listed)
    }

    /// Makes a wish come true, once for each id of a request. This host knows it when it has.
    ///
    /// # Errors
    /// As [`Entry::change`] and [`Entry::answer_to`]; `conflict` when what is there can't be read; `unavailable` when JetStream does not
    /// answer: then it may have come true.
    pub async fn change(&self, name: &Name, wish: &Wish, request: Option<&str>) -> Result<EngineChanged, ApiError> {
        let _turn = tokio::time::timeout(TURN, self.turn.lock()).await.map_err(|_| unavailable("too many changes at once"))?;
        for _ in 0..ATTEMPTS {
            let (revision, entry) = self.read(name).await?;
            let entry = entry.unwrap_or_default();
            if let Some(answer) = entry.answer_to(request, &wish.what)? {
                return Ok(answer.clone());
            }
            let (next, changed) = entry.change(name, wish)?;
            let next = match request {
                Some(request) => next.with_answer(request, &wish.what, &changed),
                None if !changed.changed => return Ok(changed),
                None => next,
            };
            failpoint::reach("before-append", wish.what.failpoint());
            if let Some(revision) = self.put(name, revision, &next).await? {
                failpoint::reach("after-append", wish.what.failpoint());
                self.note(name, revision, Kept::Entry(Box::new(next)));
                return Ok(changed);
            }
        }
        Err(unavailable(format!("{name} is being changed by too many at once")))
    }

    /// Has a component in the store, and a version that names it: `wish` is the push, with its digest. It is looked for once more when the
    /// version is there, in case that somebody [discarded](discard_component) it meanwhile.
    ///
    /// # Errors
    /// As [`change`](Self::change); `unavailable` when the store does not take it.
    pub async fn push(
        &self,
        store: &ObjectStore,
        component: &[u8],
        name: &Name,
        wish: &Wish,
        request: Option<&str>,
    ) -> Result<EngineChanged, ApiError> {
        let What::Push { digest, .. } = &wish.what else { return self.change(name, wish, request).await };
        put_known(store, digest, component).await.map_err(unavailable)?;
        let changed = self.change(name, wish, request).await?;
        put_known(store, digest, component).await.map_err(unavailable)?;
        Ok(changed)
    }

    /// Follows all keys until it is told to stop.
    pub async fn follow(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                why = self.listen() => tracing::debug!(?why, "following the registry of engines again"),
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn listen(&self) -> Result<(), String> {
        let statistics = self.client.statistics();
        let connects = || statistics.connects.load(Ordering::Relaxed);
        let link = connects();
        // The watch is there before the list is made, so that nothing is missed between the two. It begins with the newest of every key,
        // and what is older than the list is left out.
        let mut changes = self.store.watch_with_history(EVERY_KEY).await.map_err(|error| error.to_string())?;
        self.note_all(self.list().await?);
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                change = changes.next() => {
                    let Some(change) = change else { return Ok(()) };
                    let change = change.map_err(|error| error.to_string())?;
                    // A key that is no name was not written by a host, and no engine can be called like it.
                    if let Ok(name) = change.key.parse::<Name>() {
                        self.note(&name, change.revision, Kept::read(change.operation == Operation::Put, &change.value));
                    }
                }
                _ = look.tick() => if connects() != link {
                    return Err("the link was lost meanwhile".to_owned());
                },
            }
        }
    }

    fn note(&self, name: &Name, revision: u64, kept: Kept) {
        let mut revisions = self.revisions();
        let known = revisions.entry(name.clone()).or_default();
        if revision <= *known {
            return;
        }
        *known = revision;
        self.entries.send_if_modified(|entries| match kept {
            Kept::Nothing => entries.contains_key(name) && Arc::make_mut(entries).remove(name).is_some(),
            Kept::Entry(entry) if entries.get(name) == Some(&*entry) => false,
            Kept::Entry(entry) => {
                Arc::make_mut(entries).insert(name.clone(), *entry);
                true
            }
            Kept::Unreadable(why) => {
                warn_of(name, &why);
                false
            }
        });
    }

    /// Forgets what was known. Only an engine that can't be read now stays as it was: domains go on with it.
    fn note_all(&self, listed: Vec<(Name, u64, Kept)>) {
        let mut revisions = self.revisions();
        *revisions = listed.iter().map(|(name, revision, _)| (name.clone(), *revision)).collect();
        self.entries.send_if_modified(|entries| {
            let mut next = Entries::new();
            for (name, _, kept) in listed {
                match kept {
                    Kept::Nothing => {}
                    Kept::Entry(entry) => drop(next.insert(name, *entry)),
                    Kept::Unreadable(why) => {
                        warn_of(&name, &why);
                        next.extend(entries.get(&name).map(|entry| (name, entry.clone())));
                    }
                }
            }
            let differs = **entries != next;
            if differs {
                *entries = Arc::new(next);
            }
            differs
        });
    }

    fn revisions(&self) -> MutexGuard<'_, BTreeMap<Name, u64>> {
        self.revisions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The revision of an engine's key, 0 when there never was one, and what it says.
    async fn read(&self, name: &Name) -> Result<(u64, Option<Entry>), ApiError> {
        let (revision, kept) = self.newest(name).await.map_err(unavailable)?;
        match kept {
            Kept::Nothing => Ok((revision, None)),
            Kept::Entry(entry) => Ok((revision, Some(*entry))),
            Kept::Unreadable(why) => {
                Err(ApiError::Conflict { message: format!("what the registry says of engine {name} can't be read: {why}") })
            }
        }
    }

    /// The same, as the leader of the bucket knows it.
    async fn newest(&self, name: &Name) -> Result<(u64, Kept), String> {
        match self.store.stream.get_last_raw_message_by_subject(&bucket::subject(&self.store, name.as_str())).await {
            Ok(message) => {
                // Any mark but that of a write says that the key is gone.
                let is_put = message.headers.get(OPERATION).is_none_or(|operation| operation.as_str() == "PUT");
                Ok((message.sequence, Kept::read(is_put, &message.payload)))
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok((0, Kept::Nothing)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Every key that is a name, with its revision and what it says.
    async fn list(&self) -> Result<Vec<(Name, u64, Kept)>, String> {
        let subjects = self.store.stream.info_with_subjects(bucket::subject(&self.store, "*")).await.map_err(|error| error.to_string())?;
        let written: Vec<(String, usize)> = subjects.try_collect().await.map_err(|error| error.to_string())?;
        let prefix = bucket::subject(&self.store, "");
        let names = written.iter().filter_map(|(subject, _)| subject.strip_prefix(&prefix)?.parse::<Name>().ok());
        let reads: Vec<BoxFuture<'_, _>> = names.map(|name| self.named(name).boxed()).collect();
        futures::stream::iter(reads).buffered(READS).try_collect().await
    }

    async fn named(&self, name: Name) -> Result<(Name, u64, Kept), String> {
        self.newest(&name).await.map(|(revision, kept)| (name, revision, kept))
    }

    /// Writes if the key is still at `revision`. The new revision, or nothing when somebody was faster.
    async fn put(&self, name: &Name, revision: u64, entry: &Entry) -> Result<Option<u64>, ApiError> {
        let value = entry.write().map_err(unavailable)?;
        bucket::put(&self.jetstream, &self.store, name.as_str(), revision, value, None).await.map_err(unavailable)
    }
}

fn warn_of(name: &Name, why: &str) {
    tracing::warn!(engine = %name, why, "the registry says something of an engine that can't be read: it stays as it was");
}
