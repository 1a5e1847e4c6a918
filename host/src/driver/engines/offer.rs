//! Which versions there are under a name, as every domain asks that follows it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use pilothouse_core::engine::{Candidate, Origin};
use pilothouse_core::name::Name;
use pilothouse_core::record::EngineInForce;
use semver::Version;
use tokio::sync::watch;

use super::Engines;
use crate::api::EngineState;
use crate::driver::registry::{Entries, Entry};

/// What was found out for one domain, for all others with the same question.
#[derive(Default)]
pub(super) struct Found {
    /// Of which look it is: whatever changes the answer counts as one.
    look: u64,
    /// By which knowledge of the registry.
    known: Arc<Entries>,
    by_name: BTreeMap<Name, Arc<[Candidate]>>,
}

impl Engines {
    /// What a domain may take up by itself under a name: what this host has, and of what the registry names that which is ready here, or would
    /// be if somebody [wanted](Self::wanted) it. A pinned version is among them however it is with it, so that nobody is given another one in
    /// its place: the caller waits until [`get`](Self::get) has it.
    pub fn candidates(&self, name: &Name, known: &Arc<Entries>) -> Arc<[Candidate]> {
        // Before anything is looked at: what changes meanwhile is another look.
        let look = *self.looks.borrow();
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.look != look || !Arc::ptr_eq(&found.known, known) {
            *found = Found { look, known: Arc::clone(known), by_name: BTreeMap::new() };
        }
        if let Some(candidates) = found.by_name.get(name) {
            return Arc::clone(candidates);
        }
        let mut all = self.all_candidates(name, known.get(name));
        all.retain(|candidate| candidate.pinned || candidate.origin != Origin::Registry || self.can_be_had(&candidate.engine.digest));
        let all: Arc<[Candidate]> = all.into();
        found.by_name.insert(name.clone(), Arc::clone(&all));
        all
    }

    /// Whether a version of the registry is ready here, or is once somebody wants it. One that is on its way is looked at when it is ready:
    /// until then there is what there was. Unless somebody wants it already: if an older one stood in for it meanwhile that has to be loaded
    /// as well, that would be wanted next, and then the one before that, down to the oldest.
    fn can_be_had(&self, digest: &str) -> bool {
        match self.state(digest) {
            Some(EngineState::Ready { .. } | EngineState::OnDemand) => true,
            Some(EngineState::Compiling | EngineState::Waiting { reason: None }) => self.wants.borrow().contains(digest),
            _ => false,
        }
    }

    /// Everything that there is under a name, ready or not: for who asks for it. What is not ready has to be [fetched](Self::fetch).
    pub fn all_candidates(&self, name: &Name, entry: Option<&Entry>) -> Vec<Candidate> {
        let pinned = entry.and_then(|entry| entry.pinned.as_ref()).map(|pinned| &pinned.version);
        let candidate = |version: &Version, digest: &str, origin| Candidate {
            engine: EngineInForce { name: name.to_string(), version: version.to_string(), digest: digest.to_owned() },
            version: version.clone(),
            origin,
            pinned: pinned == Some(version),
        };
        let own = self.own().filter(|(engine, _)| engine.description().name == *name);
        let own = own.map(|(engine, origin)| candidate(&engine.description().version, engine.digest(), origin));
        let pushed = entry.into_iter().flat_map(|entry| &entry.versions);
        let mut all: Vec<Candidate> =
            own.chain(pushed.map(|(version, pushed)| candidate(version, &pushed.digest, Origin::Registry))).collect();
        // One that came with another build: a pin holds on every host, or on none.
        let away = entry.and_then(|entry| entry.pinned.as_ref()).filter(|_| !all.iter().any(|candidate| candidate.pinned));
        all.extend(away.map(|pinned| candidate(&pinned.version, &pinned.digest, Origin::Registry)));
        all
    }

    /// Has a version of the registry loaded that a domain would take up, or that decides one. Whoever looks at all versions is told when it
    /// is there. Nothing of what the registry does not name, or not any more.
    pub fn wanted(&self, digest: &str) {
        if self.ready.get(digest).is_some() {
            self.wants.send_if_modified(|wants| !wants.contains(digest) && wants.insert(digest.to_owned()));
        }
    }

    /// What domains miss, and changes of it.
    pub(in crate::driver) fn wants(&self) -> watch::Receiver<BTreeSet<String>> {
        self.wants.subscribe()
    }

    /// Forgets that versions were wanted which are there by now, or which the registry does not name any more.
    pub(in crate::driver) fn want_only(&self, named: &BTreeSet<String>) {
        self.wants.send_if_modified(|wants| {
            wants.retain(|digest| named.contains(digest) && self.loaded_state(digest).is_none());
            false
        });
    }
}
