//! A folder of engines that is watched, for those who write them: a file that is saved decides a moment later.
//!
//! The folder is looked at a few times a second instead of being subscribed to: that works on every file system, and misses nothing that
//! happened between two notices. A file counts when two looks have found it the same ([`looks`]), so that one which is being written is
//! left alone. It is read and compiled off the threads that serve anything, put into the store, so that other hosts can go on with a domain
//! as it is, and then offered ([`files`]); domains take it up between two decisions. What can't serve is told with its reason, once for each time
//! that it was saved, and changes nothing.

mod files;
mod looks;

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::object_store::ObjectStore;
use bytes::Bytes;
use pilothouse_engine_host::LoadError;
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

pub(super) use self::files::Files;
use self::looks::{Looks, Seen};
use super::engines::{Engines, Loaded};
use super::host::Domains;
use super::registry::{digest_of, put_known};
use crate::store::Journal;

/// Between two looks. What is saved is read after two of them, so within a quarter of a second: compiling it takes most of the second within
/// which it should decide.
const LOOK: Duration = Duration::from_millis(125);

/// Before a file is tried again that could not be loaded for reasons that lie elsewhere.
const AGAIN: Duration = Duration::from_secs(5);

/// How long the start of a host waits for what is in the folder already. The rest is offered when it is ready, like what is saved later.
const BEGIN: Duration = Duration::from_secs(10);

/// Files that are read and loaded at the same time: each is in memory meanwhile.
const LOADS: usize = 2;

/// How many engines stay loaded of those that files held before: a domain may be about to decide by one, or go back to it.
const BEFORE: usize = 4;

/// How long nothing must have been saved before the store is rid of what nobody needs any more. Nobody who saves should wait for that.
const QUIET: Duration = Duration::from_secs(5);

/// A folder that is watched.
pub(super) struct Folder {
    dir: PathBuf,
    engines: Engines,
    store: ObjectStore,
    looks: Looks,
    work: JoinSet<(PathBuf, SystemTime, Fate)>,
    places: Arc<Semaphore>,
    before: VecDeque<String>,
    /// Engines of before that are loaded no more.
    given_up: Vec<String>,
    /// When something was offered last.
    offered_at: Instant,
    /// Puts the store in order. It is not broken off: a component may have to be put back.
    tidying: Option<JoinHandle<()>>,
    /// Held from putting a component into the store until it is offered, and while the store is put in order: what is about to be offered
    /// must not be taken for something that nobody needs.
    turn: Arc<Mutex<()>>,
    /// Why the folder could not be looked at last.
    unreadable: Option<String>,
}

/// How a file fared.
enum Fate {
    /// It is in the store, and stays there for as long as the guard is held.
    Loaded(Loaded, OwnedMutexGuard<()>),
    Refused(String),
    NotNow(String),
    /// It was written to while it was read.
    Changing,
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Folder").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Folder {
    /// A folder, before the first look.
    pub(super) fn new(dir: PathBuf, engines: Engines, store: ObjectStore) -> Self {
        Self {
            dir,
            engines,
            store,
            looks: Looks::default(),
            work: JoinSet::new(),
            places: Arc::new(Semaphore::new(LOADS)),
            before: VecDeque::new(),
            given_up: Vec::new(),
            offered_at: Instant::now(),
            tidying: None,
            turn: Arc::default(),
            unreadable: None,
        }
    }

    /// Offers what is there already, before anybody can ask for it; as far as that is done soon.
    pub(super) async fn begin(&mut self) {
        let end = Instant::now() + BEGIN;
        let seen = async {
            self.look().await;
            tokio::time::sleep(LOOK).await;
            self.look().await;
        };
        let is_seen = tokio::time::timeout_at(end, seen).await.is_ok();
        let mut work = std::mem::take(&mut self.work);
        let is_whole = is_seen && drained(&mut work, end, |done| self.end(done)).await;
        self.work = work;
        if !is_whole {
            tracing::warn!(dir = %self.dir.display(), "the folder of engines takes long to be loaded: this host starts without the rest of it");
        }
    }

    /// Follows the folder until it is told to stop.
    pub(super) async fn run<J: Journal>(mut self, domains: Arc<Domains<J>>, stop: CancellationToken) {
        // A file system that does not answer holds up neither the end nor what was read before.
        tokio::select! {
            () = self.follow(&domains) => {}
            () = stop.cancelled() => {}
        }
    }

    async fn follow<J: Journal>(&mut self, domains: &Arc<Domains<J>>) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    self.look().await;
                    self.tidy(domains);
                }
                Some(done) = self.work.join_next() => self.end(done),
            }
        }
    }

    async fn look(&mut self) {
        let dir = self.dir.clone();
        let found = tokio::task::spawn_blocking(move || looks::look(&dir)).await;
        match found.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(found) => {
                if self.unreadable.take().is_some() {
                    tracing::info!(dir = %self.dir.display(), "the folder of engines can be read again");
                }
                for (path, seen) in self.looks.take(found, Instant::now()) {
                    self.deal_with(path, seen);
                }
            }
            Err(error) => {
                let why = error.to_string();
                if self.unreadable.as_ref() != Some(&why) {
                    tracing::error!(dir = %self.dir.display(), why, "the folder of engines can't be read; nothing changes");
                    self.unreadable = Some(why);
                }
            }
        }
    }

    /// Deals with a file that is not as it was; nothing when it is gone.
    fn deal_with(&mut self, path: PathBuf, seen: Option<Seen>) {
        match seen {
            Some(Seen::File(stamp)) => {
                let (engines, store) = (self.engines.clone(), self.store.clone());
                let (places, turn) = (Arc::clone(&self.places), Arc::clone(&self.turn));
                self.work.spawn(async move {
                    let fate = load(&path, engines, &store, &places, turn).await;
                    (path, stamp.modified, fate)
                });
            }
            Some(Seen::Odd { why, modified }) => {
                self.refuse(&path, modified, &why);
                self.looks.done(&path);
            }
            None => {
                if let Some(before) = self.engines.withdraw(&path) {
                    let (name, version) = (&before.description().name, &before.description().version);
                    tracing::info!(file = %path.display(), engine = %name, %version, "its file is gone: its engine is offered no more, and goes on where it decides");
                    self.give_up(before.digest().to_owned());
                }
                self.looks.done(&path);
            }
        }
    }

    fn end(&mut self, done: Result<(PathBuf, SystemTime, Fate), JoinError>) {
        // What could fail within has been seen to there; an error comes only when the runtime goes down.
        let Ok((path, saved, fate)) = done else { return };
        match fate {
            Fate::Loaded(loaded, _until_offered) => {
                self.looks.done(&path);
                self.offer(&path, saved, loaded);
            }
            Fate::Refused(reason) => {
                self.looks.done(&path);
                self.refuse(&path, saved, &reason);
            }
            Fate::NotNow(reason) => {
                tracing::warn!(file = %path.display(), reason, "a file of the folder of engines can't be loaded now: it is tried again");
                self.looks.again(&path, Instant::now() + AGAIN);
            }
            Fate::Changing => self.looks.again(&path, Instant::now()),
        }
    }

    fn offer(&mut self, path: &Path, saved: SystemTime, loaded: Loaded) {
        let description = loaded.engine().description().clone();
        let (name, version, digest) = (&description.name, &description.version, loaded.engine().digest().to_owned());
        let before = self.engines.offer(path, saved, loaded);
        self.offered_at = Instant::now();
        tracing::info!(file = %path.display(), engine = %name, %version, digest, "an engine of the folder is ready");
        let rivals = self.engines.files().into_iter().filter(|file| {
            file.refused.is_some() && file.engine.as_ref().is_some_and(|it| it.name == name.as_str() && it.version == version.to_string())
        });
        for file in rivals {
            tracing::warn!(file = file.file, reason = file.refused, "a file of the folder of engines is not offered");
        }
        if let Some(before) = before {
            self.give_up(before.digest().to_owned());
        }
    }

    fn refuse(&self, path: &Path, saved: SystemTime, reason: &str) {
        self.engines.refuse(path, saved, reason);
        tracing::error!(file = %path.display(), reason, "a file of the folder of engines can't be used; nothing changes");
    }

    /// Gives up an engine that a file held before; the last of them a little later.
    fn give_up(&mut self, digest: String) {
        self.before.retain(|it| *it != digest);
        self.before.push_back(digest);
        while self.before.len() > BEFORE {
            // What the registry names stays loaded, whatever becomes of a file.
            let oldest = self.before.pop_front().filter(|digest| self.engines.ready().get(digest).is_none());
            if let Some(digest) = oldest {
                self.engines.forget(&digest);
                self.given_up.push(digest);
            }
        }
    }

    /// Takes out of the store what files held before, and nobody needs: who tries something all day would fill it.
    fn tidy<J: Journal>(&mut self, domains: &Arc<Domains<J>>) {
        let is_at_it = self.tidying.as_ref().is_some_and(|tidying| !tidying.is_finished());
        if self.given_up.is_empty() || is_at_it || !self.work.is_empty() || self.offered_at.elapsed() < QUIET {
            return;
        }
        let (digests, domains, turn) = (std::mem::take(&mut self.given_up), Arc::clone(domains), Arc::clone(&self.turn));
        self.tidying = Some(tokio::spawn(async move {
            let _turn = turn.lock().await;
            for digest in digests {
                domains.discard_unneeded(&digest).await;
            }
        }));
    }
}

/// Takes what comes of work as it comes, until nothing is left of it or it is late. Whether nothing is left.
async fn drained<T: 'static>(work: &mut JoinSet<T>, end: Instant, mut take: impl FnMut(Result<T, JoinError>)) -> bool {
    loop {
        match tokio::time::timeout_at(end, work.join_next()).await {
            Ok(Some(done)) => take(done),
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// Reads a file, loads it and puts it into the store.
async fn load(path: &Path, engines: Engines, store: &ObjectStore, places: &Semaphore, turn: Arc<Mutex<()>>) -> Fate {
    let Ok(_place) = places.acquire().await else { return Fate::Changing };
    let (file, limit) = (path.to_owned(), engines.sandbox().limits().component_bytes);
    let read =
        tokio::task::spawn_blocking(move || read(&file, limit).map(|component| (digest_of(&component), Bytes::from(component)))).await;
    let (digest, component) = match read {
        Ok(Ok(read)) => read,
        Ok(Err(fate)) => return fate,
        Err(_) => return Fate::Refused("reading it failed within this host, which is a fault of the host".to_owned()),
    };
    // Somebody who tries this and that comes by the same bytes again.
    let loaded = match engines.loaded(&digest) {
        Some(loaded) => loaded,
        None => match engines.load(&digest, component.clone()).await {
            Ok(loaded) => loaded,
            // That tells of the machine.
            Err(error) if error.may_pass() => return Fate::NotNow(error.to_string()),
            Err(error) => return Fate::Refused(error.to_string()),
        },
    };
    let turn = turn.lock_owned().await;
    match put_known(store, &digest, &component).await {
        Ok(()) => Fate::Loaded(loaded, turn),
        Err(error) => Fate::NotNow(error.to_string()),
    }
}

/// The bytes of a file, unless they are too many or were changed meanwhile.
fn read(path: &Path, limit: usize) -> Result<Vec<u8>, Fate> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Fate::Changing,
        _ => Fate::Refused(format!("it can't be read: {error}")),
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let before = file.metadata().map_err(unreadable)?;
    let length = usize::try_from(before.len()).unwrap_or(usize::MAX);
    if length > limit {
        return Err(Fate::Refused(LoadError::TooLarge { bytes: length, limit }.to_string()));
    }
    let mut bytes = Vec::with_capacity(length);
    // One byte more shows that it has grown.
    (&mut file).take(before.len() + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let after = file.metadata().map_err(unreadable)?;
    if bytes.len() != length || looks::Stamp::of(&before) != looks::Stamp::of(&after) {
        return Err(Fate::Changing);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_takes_long_holds_up_no_start_and_is_done_later() {
        let (mut work, mut done) = (JoinSet::new(), Vec::new());
        let (slow, late) = tokio::sync::oneshot::channel();
        work.spawn(async { "soon" });
        work.spawn(async { late.await.unwrap_or("lost") });
        let in_a_moment = || Instant::now() + Duration::from_millis(100);
        assert!(!drained(&mut work, in_a_moment(), |it| done.extend(it.ok())).await);
        assert_eq!(done, ["soon"]);
        assert_eq!(slow.send("late"), Ok(()));
        assert!(drained(&mut work, Instant::now() + BEGIN, |it| done.extend(it.ok())).await);
        assert_eq!(done, ["soon", "late"]);
    }
}
