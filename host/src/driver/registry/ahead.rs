//! Compiles what the registry names before anybody needs it: one component after the other, what was pushed last first.
//!
//! Compiling takes all that a processor has, for milliseconds or for seconds. It is done in a process of its own at low priority, which the
//! sandbox sees to: neither a decision nor an answer waits for it. A domain that needs a component before its turn has come fetches it by
//! itself ([`Engines::fetch`]), and it is the same attempt then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::object_store::ObjectStore;
use futures::FutureExt;
use futures::future::BoxFuture;
use pilothouse_core::engine::Limits;
use pilothouse_core::name::Name;
use pilothouse_core::time::Timestamp;
use pilothouse_engine_host::LoadedEngine;
use semver::Version;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{ComponentError, Entries};
use crate::api::EngineState;
use crate::driver::engines::{Engines, FetchError};

/// Versions of one engine that are compiled ahead of use, the newest ones: each takes memory on every host. One that is pinned
/// comes on top.
const MAX_AHEAD: usize = 16;

/// How long one component is waited for before the next one has its turn. Its attempt goes on meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long others have their turns before such a one is waited for again.
const OTHERS: Duration = Duration::from_secs(60);

/// How long others have their turns at least before one is tried again that could not be had.
const AGAIN: Duration = Duration::from_secs(5);

/// Compiles ahead of use.
pub struct Ahead {
    entries: watch::Receiver<Arc<Entries>>,
    store: ObjectStore,
    engines: Engines,
    /// What domains miss.
    wants: watch::Receiver<BTreeSet<String>>,
    /// Whatever else there is to look at, such as an engine that somebody else had loaded.
    looks: watch::Receiver<u64>,
    /// The digests that the registry names.
    named: BTreeSet<String>,
    /// What could not be had.
    later: BTreeMap<String, Later>,
}

/// When to look again after a component that could not be had.
#[derive(Clone, Copy, Debug)]
struct Later {
    at: Instant,
    /// How often it could not be had, in a row.
    failures: u32,
}

impl std::fmt::Debug for Ahead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ahead").field("named", &self.named).field("later", &self.later).finish_non_exhaustive()
    }
}

/// A component that the registry names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    name: Name,
    version: Version,
    digest: String,
    at: Timestamp,
    /// Whether it is compiled before anybody asks for it.
    ahead: bool,
}

/// How a component fared.
enum Fate {
    Loaded,
    Refused(String),
    NotNow(FetchError),
    /// It is still under way.
    Slow,
}

/// The one component that is being loaded.
type Work = BoxFuture<'static, (Named, Fate)>;

impl Ahead {
    /// Begins with what the registry says of limits: before anybody asks an engine for anything.
    pub fn new(entries: watch::Receiver<Arc<Entries>>, store: ObjectStore, engines: Engines) -> Self {
        engines.limit(own_limits(&entries.borrow()));
        let (wants, looks) = (engines.wants(), engines.looks());
        Self { entries, store, engines, wants, looks, named: BTreeSet::new(), later: BTreeMap::new() }
    }

    /// Keeps this host ready for what the registry names, until it is told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut work: Option<Work> = None;
        let mut all = self.look();
        loop {
            self.catch_up(&all);
            // Whoever is busy looks for what is due when it is not busy any more.
            let mut next = None;
            if work.is_none() {
                match first(&all, &self.later, Instant::now(), |digest| self.is_missing(digest)) {
                    Ok(named) => work = Some(self.begin(named.clone())),
                    Err(later) => next = later,
                }
            }
            tokio::select! {
                changed = self.entries.changed() => match changed {
                    Ok(()) => all = self.look(),
                    Err(_) => return,
                },
                Ok(()) = self.wants.changed() => all = self.look(),
                Ok(()) = self.looks.changed() => {}
                (named, fate) = done(&mut work) => {
                    work = None;
                    self.end(&named, fate);
                }
                () = due(next) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Notes what there is, and forgets what there is no more.
    fn look(&mut self) -> Vec<Named> {
        let entries = Arc::clone(&self.entries.borrow_and_update());
        let mut all = named(&entries);
        let wanted = self.wants.borrow_and_update().clone();
        all.iter_mut().filter(|named| wanted.contains(&named.digest)).for_each(|named| named.ahead = true);
        let digests: BTreeSet<String> = all.iter().map(|named| named.digest.clone()).collect();
        self.engines.ready().keep(&digests);
        self.engines.want_only(&digests);
        self.later.retain(|digest, _| digests.contains(digest));
        self.named.difference(&digests).for_each(|gone| self.engines.forget(gone));
        self.named = digests;
        for named in &all {
            let state = match (self.engines.get(&named.digest), self.engines.state(&named.digest)) {
                (Some(engine), _) => self.state_of(&engine, named),
                (None, Some(EngineState::Refused { .. } | EngineState::Compiling)) => continue,
                (None, Some(EngineState::Waiting { reason })) if named.ahead => EngineState::Waiting { reason },
                (None, _) if named.ahead => EngineState::Waiting { reason: None },
                (None, _) => EngineState::OnDemand,
            };
            self.engines.ready().set(&named.digest, state);
        }
        self.engines.limit(own_limits(&entries));
        // Pins count as well.
        self.engines.look_again();
        all
    }

    /// How it is with an engine that is loaded, as the version that the registry calls it.
    fn state_of(&self, engine: &LoadedEngine, named: &Named) -> EngineState {
        match misnamed(engine, named) {
            Some(reason) => EngineState::Refused { reason },
            None => self.engines.loaded_state(engine.digest()).unwrap_or(EngineState::Waiting { reason: None }),
        }
    }

    fn is_missing(&self, digest: &str) -> bool {
        self.engines.get(digest).is_none() && !self.engines.ready().is_refused(digest)
    }

    fn begin(&self, named: Named) -> Work {
        self.engines.ready().set(&named.digest, EngineState::Compiling);
        let (engines, store) = (self.engines.clone(), self.store.clone());
        async move {
            let fate = match tokio::time::timeout(PATIENCE, engines.fetch(&store, &named.digest)).await {
                Ok(Ok(engine)) => misnamed(&engine, &named).map_or(Fate::Loaded, Fate::Refused),
                Ok(Err(error)) if error.may_pass() => Fate::NotNow(error),
                Ok(Err(error)) => Fate::Refused(format!("{:#}", anyhow::Error::new(error))),
                Err(_) => Fate::Slow,
            };
            (named, fate)
        }
        .boxed()
    }

    fn end(&mut self, named: &Named, fate: Fate) {
        let Named { name, version, digest, .. } = named;
        let ready = self.engines.ready().clone();
        if !self.named.contains(digest) {
            self.engines.forget(digest);
            return ready.keep(&self.named);
        }
        let failures = self.later.remove(digest).map_or(0, |later| later.failures);
        match fate {
            Fate::Loaded => {
                tracing::info!(engine = %name, %version, digest, "a version of the registry is ready");
                if let Some(state) = self.engines.loaded_state(digest) {
                    ready.set(digest, state);
                }
            }
            Fate::Refused(reason) => {
                tracing::warn!(engine = %name, %version, digest, reason, "a version of the registry can't serve on this host");
                ready.set(digest, EngineState::Refused { reason });
                self.engines.forget(digest);
                // It may be what a domain should take up.
                self.engines.look_again();
            }
            Fate::NotNow(error) => {
                let failures = failures.saturating_add(1);
                let pause = error.pause(failures).max(AGAIN);
                // A store that does not answer, or a host without room, has none of the others either.
                let is_alone = matches!(&error, FetchError::Component(error) if !matches!(error, ComponentError::Store(_)));
                let reason = format!("{:#}", anyhow::Error::new(error));
                // What is tried every few seconds is told less and less often.
                if failures.is_power_of_two() {
                    let told = "a version of the registry can't be had: it is tried again";
                    tracing::warn!(engine = %name, %version, digest, reason, ?pause, "{told}");
                }
                ready.set(digest, EngineState::Waiting { reason: Some(reason) });
                self.later.insert(digest.clone(), Later { at: Instant::now() + pause, failures });
                if is_alone && self.wants.borrow().contains(digest) {
                    // Whoever wants it may have an older one meanwhile.
                    self.engines.look_again();
                }
            }
            Fate::Slow => {
                tracing::info!(engine = %name, %version, digest, "a version of the registry takes long to be loaded: others come before it");
                self.later.insert(digest.clone(), Later { at: Instant::now() + OTHERS, failures });
            }
        }
    }

    /// Notes what was had meanwhile by somebody else, or by an attempt that was waited for no longer.
    fn catch_up(&mut self, all: &[Named]) {
        for named in all {
            if let Some(engine) = self.engines.get(&named.digest).filter(|_| self.later.contains_key(&named.digest)) {
                self.later.remove(&named.digest);
                self.engines.ready().set(&named.digest, self.state_of(&engine, named));
            }
        }
    }
}

/// What is to be loaded now, of what is missing; or else when something is, if it ever is.
fn first<'n>(
    all: &'n [Named],
    later: &BTreeMap<String, Later>,
    now: Instant,
    is_missing: impl Fn(&str) -> bool,
) -> Result<&'n Named, Option<Instant>> {
    let mut next: Option<Instant> = None;
    for named in all.iter().filter(|named| named.ahead && is_missing(&named.digest)) {
        match later.get(&named.digest) {
            Some(later) if later.at > now => next = Some(next.map_or(later.at, |next| next.min(later.at))),
            _ => return Ok(named),
        }
    }
    Err(next)
}

/// What is wrong with the name that the registry has for an engine; mostly nothing.
fn misnamed(engine: &LoadedEngine, named: &Named) -> Option<String> {
    let (name, version) = (&engine.description().name, &engine.description().version);
    let is_so = *name == named.name && *version == named.version;
    (!is_so).then(|| format!("it says that it is {name}@{version}, not {}@{}", named.name, named.version))
}

/// Waits for the work that is under way; for ever without any.
async fn done(work: &mut Option<Work>) -> (Named, Fate) {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

/// Waits for a moment; for ever without any.
async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The components that the registry names, what was pushed last first.
fn named(entries: &Entries) -> Vec<Named> {
    let mut all = Vec::new();
    for (name, entry) in entries {
        let mut own: Vec<Named> = entry
            .versions
            .iter()
            .map(|(version, pushed)| Named {
                name: name.clone(),
                version: version.clone(),
                digest: pushed.digest.clone(),
                at: pushed.at,
                ahead: entry.pinned.as_ref().is_some_and(|pinned| pinned.version == *version),
            })
            .collect();
        // One that came with another build: this host needs it all the same.
        let away = entry.pinned.as_ref().filter(|pinned| !entry.versions.contains_key(&pinned.version) && !pinned.digest.is_empty());
        own.extend(away.map(|pinned| Named {
            name: name.clone(),
            version: pinned.version.clone(),
            digest: pinned.digest.clone(),
            at: pinned.at,
            ahead: true,
        }));
        own.sort_by(|a, b| (b.at, &b.version).cmp(&(a.at, &a.version)));
        own.iter_mut().take(MAX_AHEAD).for_each(|named| named.ahead = true);
        all.append(&mut own);
    }
    all.sort_by(|a, b| (b.at, &b.version).cmp(&(a.at, &a.version)));
    all
}

/// What engines may use up, of those for which that was said.
fn own_limits(entries: &Entries) -> BTreeMap<Name, Limits> {
    let said = entries.iter().filter(|(_, entry)| entry.limits != Limits::default());
    said.map(|(name, entry)| (name.clone(), entry.limits)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::registry::{Entry, What, Wish};

    fn pushed(versions: &[(&str, u64)]) -> Entry {
        versions.iter().fold(Entry::default(), |entry, (version, at)| {
            let version: Version = version.parse().expect("a version");
            let what = What::Push { digest: format!("d{version}"), version, bytes: 1, about: String::new() };
            change(&entry, what, *at)
        })
    }

    fn change(entry: &Entry, what: What, at: u64) -> Entry {
        let wish = Wish { what, by: "ann".parse().expect("a name"), at: Timestamp::from_secs(at), built_in: BTreeMap::new() };
        entry.change(&"keep".parse().expect("a name"), &wish).expect("it comes true").0
    }

    fn of_keep(entry: &Entry) -> Vec<Named> {
        named(&[("keep".parse().expect("a name"), entry.clone())].into())
    }

    fn order(entries: &[(&str, Entry)]) -> Vec<String> {
        let entries: Entries = entries.iter().map(|(name, entry)| (name.parse().expect("a name"), entry.clone())).collect();
        named(&entries).iter().filter(|named| named.ahead).map(|named| format!("{}@{}", named.name, named.version)).collect()
    }

    #[test]
    fn what_was_pushed_last_is_compiled_first_whichever_engine_it_is() {
        let entries = [("keep", pushed(&[("1.0.0", 5), ("2.0.0", 1)])), ("watch", pushed(&[("0.1.0", 3), ("0.2.0", 9)]))];
        assert_eq!(order(&entries), ["watch@0.2.0", "keep@1.0.0", "watch@0.1.0", "keep@2.0.0"]);
    }

    #[test]
    fn only_so_many_are_compiled_ahead_and_what_is_pinned_is_among_them() {
        let versions: Vec<String> = (0..40).map(|n| format!("1.{n}.0")).collect();
        let all: Vec<(&str, u64)> = versions.iter().zip(0..).map(|(version, at)| (version.as_str(), at)).collect();
        let entry = pushed(&all);
        assert_eq!(order(&[("keep", entry.clone())]).len(), MAX_AHEAD);
        let pinned = change(&entry, What::Pin { version: "1.2.0".parse().expect("a version"), reason: None }, 99);
        let ahead = order(&[("keep", pinned)]);
        assert_eq!(
            (ahead.len(), ahead.first().map(String::as_str), ahead.last().map(String::as_str)),
            (17, Some("keep@1.39.0"), Some("keep@1.2.0"))
        );
    }

    #[test]
    fn what_could_not_be_had_and_is_loaded_on_demand_by_now_is_not_waited_for() {
        let versions: Vec<String> = (0..=MAX_AHEAD).map(|n| format!("1.{n}.0")).collect();
        let all: Vec<(&str, u64)> = versions.iter().zip(0..).map(|(version, at)| (version.as_str(), at)).collect();
        let (entry, now) = (pushed(&all), Instant::now());
        let at = |seconds| Later { at: now + Duration::from_secs(seconds), failures: 1 };
        let later: BTreeMap<_, _> =
            [("d1.0.0", at(0)), ("d1.1.0", at(60)), ("d1.2.0", at(30))].map(|(digest, at)| (digest.to_owned(), at)).into();
        let is_missing = |digest: &str| later.contains_key(digest);
        let soonest = Some(now + Duration::from_secs(30));
        assert_eq!(first(&of_keep(&entry), &later, now, is_missing), Err(soonest), "the oldest, which is due, is one too many");
        assert_eq!(first(&of_keep(&Entry::default()), &later, now, is_missing), Err(None));
        let pinned = of_keep(&change(&entry, What::Pin { version: "1.0.0".parse().expect("a version"), reason: None }, 99));
        assert!(first(&pinned, &later, now, is_missing).is_ok_and(|named| named.digest == "d1.0.0"));
        assert!(first(&pinned, &later, now, |_| true).is_ok_and(|named| named.digest == "d1.16.0"), "what was never tried, and is newer");
    }
}
