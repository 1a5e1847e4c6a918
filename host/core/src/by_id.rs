//! A map from the ids of instances.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::id::InstanceId;

/// What is known of instances by their ids. Every heartbeat and every reading is looked up, so what is compared on the way is a number:
/// the end of the id, which in those that hosts mint is chance. Only there the whole id is compared, and no id is copied.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ById<T>(BTreeMap<u64, SameEnd<T>>);

/// Ids with one end: of minted ones a single one, as good as always.
#[derive(Clone, Debug, PartialEq)]
enum SameEnd<T> {
    One(InstanceId, T),
    #[allow(clippy::box_collection, reason = "it is as good as never there, and must not make room for itself where one id is")]
    More(Box<BTreeMap<InstanceId, T>>),
}

impl<T> Default for ById<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> ById<T> {
    pub(crate) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    fn end(id: &InstanceId) -> u64 {
        id.as_str().bytes().rev().take(8).fold(0, |end, byte| end << 8 | u64::from(byte))
    }

    pub(crate) fn get(&self, id: &InstanceId) -> Option<&T> {
        match self.0.get(&Self::end(id))? {
            SameEnd::One(known, value) => (known == id).then_some(value),
            SameEnd::More(more) => more.get(id),
        }
    }

    /// What is known of an id, as from now on something is.
    pub(crate) fn get_or_insert(&mut self, id: &InstanceId, make: impl Fn() -> T) -> &mut T {
        let there = match self.0.entry(Self::end(id)) {
            Entry::Vacant(free) => free.insert(SameEnd::One(id.clone(), make())),
            Entry::Occupied(taken) => {
                let there = taken.into_mut();
                if matches!(there, SameEnd::One(known, _) if known != id)
                    && let SameEnd::One(known, value) = std::mem::replace(there, SameEnd::More(Box::default()))
                    && let SameEnd::More(more) = there
                {
                    more.insert(known, value);
                }
                there
            }
        };
        match there {
            SameEnd::One(_, value) => value,
            SameEnd::More(more) => more.entry(id.clone()).or_insert_with(make),
        }
    }

    pub(crate) fn remove(&mut self, id: &InstanceId) -> Option<T> {
        let Entry::Occupied(mut there) = self.0.entry(Self::end(id)) else { return None };
        match there.get_mut() {
            SameEnd::One(known, _) if known != id => None,
            SameEnd::One(..) => match there.remove() {
                SameEnd::One(_, value) => Some(value),
                SameEnd::More(_) => None,
            },
            SameEnd::More(more) => {
                let removed = more.remove(id);
                // One alone is always told in one way, so that two maps of the same are equal.
                if more.len() == 1
                    && let Some((last, value)) = more.pop_first()
                {
                    there.insert(SameEnd::One(last, value));
                }
                removed
            }
        }
    }

    /// Every id, and what is known of it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&InstanceId, &T)> {
        self.0.values().flat_map(|there| {
            let (one, more) = match there {
                SameEnd::One(id, value) => (Some((id, value)), None),
                SameEnd::More(more) => (None, Some(more.iter())),
            };
            one.into_iter().chain(more.into_iter().flatten())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_with_the_same_end_are_told_apart_and_forgotten_one_by_one() {
        let id = |text: &str| text.parse::<InstanceId>().expect("an id");
        let ids = [id("a-12345678"), id("b-12345678"), id("c-12345678"), id("12345678"), id("8")];
        let mut numbers = ById::default();
        for (number, id) in ids.iter().enumerate() {
            assert_eq!(*numbers.get_or_insert(id, || number), number);
        }
        for (number, it) in ids.iter().enumerate() {
            assert_eq!(numbers.get(it), Some(&number));
            assert_eq!(*numbers.get_or_insert(it, || 99), number, "what is there stays");
        }
        assert_eq!(numbers.get(&id("d-12345678")), None);
        let mut all: Vec<_> = numbers.iter().map(|(id, number)| (*number, id.clone())).collect();
        all.sort();
        assert_eq!(all, ids.iter().cloned().enumerate().collect::<Vec<_>>());
        for gone in &ids[1..4] {
            assert!(numbers.remove(gone).is_some());
            assert_eq!(numbers.get(gone), None);
        }
        assert_eq!(numbers.remove(&id("x-12345678")), None);
        let mut afresh = ById::default();
        afresh.get_or_insert(&ids[4], || 4);
        afresh.get_or_insert(&ids[0], || 0);
        assert_eq!(numbers, afresh, "nothing remains of those that are gone");
    }
}
