//! What is derived from the instances and kept beside them, so that no question costs a walk over all of them.

use std::collections::{BTreeMap, BTreeSet};

use litemap::LiteMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::InstanceId;
use crate::instance::{Instance, State};

/// How many instances there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// On record, the gone ones too.
    pub total: u32,
    /// Neither gone nor on their way out.
    pub valid: u32,
    /// Of the valid ones, those on their way to running.
    pub starting: u32,
    /// Running.
    pub running: u32,
    /// Those that the host advises to replace.
    pub unhealthy: u32,
    /// Launches that no provisioner has acknowledged.
    pub launching: u32,
    /// Terminations that no provisioner has confirmed.
    pub terminating: u32,
}

/// Instances at one site.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct AtSite {
    pub(super) total: u32,
    pub(super) valid: u32,
}

/// The ordinals of ids. Every heartbeat is looked up, so what is compared on the way is a number: the end of the id, which in those that
/// hosts mint is chance. Only there the whole id is compared, and no id is copied.
#[derive(Clone, Debug, Default, PartialEq)]
struct Ordinals(BTreeMap<u64, SameEnd>);

/// Ids with one end: of minted ones a single one, as good as always.
#[derive(Clone, Debug, PartialEq)]
enum SameEnd {
    One(InstanceId, u64),
    #[allow(clippy::box_collection, reason = "it is as good as never there, and must not make room for itself where one id is")]
    More(Box<BTreeMap<InstanceId, u64>>),
}

impl Ordinals {
    fn end(id: &InstanceId) -> u64 {
        id.as_str().bytes().rev().take(8).fold(0, |end, byte| end << 8 | u64::from(byte))
    }

    fn get(&self, id: &InstanceId) -> Option<u64> {
        match self.0.get(&Self::end(id))? {
            SameEnd::One(known, ordinal) => (known == id).then_some(*ordinal),
            SameEnd::More(more) => more.get(id).copied(),
        }
    }

    fn insert(&mut self, id: &InstanceId, ordinal: u64) {
        let end = Self::end(id);
        let Some(there) = self.0.get_mut(&end) else {
            self.0.insert(end, SameEnd::One(id.clone(), ordinal));
            return;
        };
        match there {
            SameEnd::One(known, known_ordinal) if known == id => *known_ordinal = ordinal,
            SameEnd::One(known, known_ordinal) => {
                let both = BTreeMap::from([(known.clone(), *known_ordinal), (id.clone(), ordinal)]);
                *there = SameEnd::More(Box::new(both));
            }
            SameEnd::More(more) => _ = more.insert(id.clone(), ordinal),
        }
    }

    fn remove(&mut self, id: &InstanceId) {
        let end = Self::end(id);
        match self.0.get_mut(&end) {
            Some(SameEnd::One(known, _)) if known == id => _ = self.0.remove(&end),
            Some(there @ SameEnd::More(_)) => {
                let SameEnd::More(more) = there else { return };
                more.remove(id);
                // One alone is always told in one way, so that two indices of the same instances are equal.
                if let (1, Some((last, ordinal))) = (more.len(), more.iter().next()) {
                    *there = SameEnd::One(last.clone(), *ordinal);
                }
            }
            _ => {}
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Index {
    ordinals: Ordinals,
    pub(super) unhealthy: BTreeSet<u64>,
    pub(super) promised: BTreeSet<u64>,
    pub(super) gone: BTreeSet<u64>,
    pub(super) let_go: BTreeSet<u64>,
    pub(super) sites: LiteMap<String, AtSite>,
    by_state: [u32; State::ALL.len()],
}

impl Index {
    /// The ordinal of an id.
    pub(super) fn ordinal(&self, id: &InstanceId) -> Option<u64> {
        self.ordinals.get(id)
    }

    pub(super) fn add(&mut self, instance: &Instance) {
        let ordinal = instance.ordinal;
        self.ordinals.insert(&instance.id, ordinal);
        self.by_state[instance.state as usize] += 1;
        if instance.is_unhealthy() {
            self.unhealthy.insert(ordinal);
        }
        if is_promised(instance) {
            self.promised.insert(ordinal);
        }
        if instance.state.is_gone() {
            self.gone.insert(ordinal);
        }
        if instance.unhealthy_at_end.is_some() {
            self.let_go.insert(ordinal);
        }
        if self.sites.is_empty() {
            // Most domains use one site for ever.
            self.sites = LiteMap::with_capacity(1);
        }
        if !self.sites.contains_key(&instance.site) {
            self.sites.insert(instance.site.clone(), AtSite::default());
        }
        if let Some(site) = self.sites.get_mut(&instance.site) {
            site.total += 1;
            site.valid += u32::from(instance.state.is_valid());
        }
    }

    pub(super) fn remove(&mut self, instance: &Instance) {
        let ordinal = instance.ordinal;
        self.ordinals.remove(&instance.id);
        self.by_state[instance.state as usize] -= 1;
        self.unhealthy.remove(&ordinal);
        self.promised.remove(&ordinal);
        if self.promised.is_empty() {
            // An empty tree that was once full keeps its last leaf, and most domains are owed nothing most of the time.
            self.promised = BTreeSet::new();
        }
        self.gone.remove(&ordinal);
        self.let_go.remove(&ordinal);
        if let Some(site) = self.sites.get_mut(&instance.site) {
            site.total -= 1;
            site.valid -= u32::from(instance.state.is_valid());
            // A site without any is not there, as if the index were made anew.
            if site.total == 0 {
                self.sites.remove(&instance.site);
            }
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let of = |state: State| self.by_state[state as usize];
        let sum = |fits: fn(State) -> bool| State::ALL.into_iter().filter(|state| fits(*state)).map(of).sum();
        Counts {
            total: self.by_state.iter().sum(),
            valid: sum(State::is_valid),
            starting: sum(State::is_starting),
            running: of(State::Running),
            unhealthy: self.unhealthy.len() as u32,
            launching: of(State::Requesting),
            terminating: of(State::Terminating),
        }
    }
}

/// Whether something is still owed to a provisioner for this instance.
fn is_promised(instance: &Instance) -> bool {
    matches!(instance.state, State::Requesting | State::Terminating)
        || instance.undead
        || (instance.stalled && instance.state.is_starting())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_with_the_same_end_are_told_apart_and_forgotten_one_by_one() {
        let id = |text: &str| text.parse::<InstanceId>().expect("an id");
        let ids = [id("a-12345678"), id("b-12345678"), id("c-12345678"), id("12345678"), id("8")];
        let mut ordinals = Ordinals::default();
        for (ordinal, id) in ids.iter().enumerate() {
            ordinals.insert(id, ordinal as u64);
        }
        for (ordinal, it) in ids.iter().enumerate() {
            assert_eq!(ordinals.get(it), Some(ordinal as u64));
        }
        assert_eq!(ordinals.get(&id("d-12345678")), None);
        for gone in &ids[1..4] {
            ordinals.remove(gone);
            assert_eq!(ordinals.get(gone), None);
        }
        ordinals.remove(&id("x-12345678"));
        let mut afresh = Ordinals::default();
        afresh.insert(&ids[4], 4);
        afresh.insert(&ids[0], 0);
        assert_eq!(ordinals, afresh, "nothing remains of those that are gone");
    }
}
