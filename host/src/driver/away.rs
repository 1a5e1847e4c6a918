//! Domains that are this host's to look after, and that no task looks after at the moment.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pilothouse_core::command::ApiError;
use pilothouse_core::name::{DomainKey, Name};

/// The domains that are away. Without it they would be taken for domains that are not there.
///
/// A domain comes here before it goes from the router, and goes from here after it came to the router: whoever looks here, then there, and
/// then here again finds it, whichever way it is going.
#[derive(Debug, Default)]
pub(crate) struct Away(Mutex<BTreeMap<DomainKey, Why>>);

/// Why a domain is away.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    /// Another host took it, or it is loaded again.
    InTransit,
    /// What the journal says of it can't be read, for this reason.
    Unreadable(String),
}

impl Away {
    /// A domain whose task ended.
    pub(crate) fn in_transit(&self, key: &DomainKey) {
        self.map().insert(key.clone(), Why::InTransit);
    }

    /// A domain that can't be read. Says whether that is news.
    pub(crate) fn unreadable(&self, key: &DomainKey, reason: &str) -> bool {
        let why = Why::Unreadable(reason.to_owned());
        self.map().insert(key.clone(), why.clone()) != Some(why)
    }

    /// A domain that a task looks after, or that turns out not to be there.
    pub(crate) fn settled(&self, key: &DomainKey) {
        self.map().remove(key);
    }

    /// Nothing is this host's to look after any more.
    pub(crate) fn clear(&self) {
        self.map().clear();
    }

    /// Whether a domain may be another host's by now.
    pub(crate) fn is_in_transit(&self, key: &DomainKey) -> bool {
        self.map().get(key) == Some(&Why::InTransit)
    }

    /// What to tell those who want something of a domain, if it is away.
    pub(crate) fn error(&self, key: &DomainKey) -> Option<ApiError> {
        self.map().get(key).map(|why| ApiError::Unavailable {
            message: match why {
                Why::InTransit => format!("domain {} is changing hands; try again", key.name),
                Why::Unreadable(reason) => format!("domain {} can't be read: {reason}", key.name),
            },
        })
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<DomainKey> {
        self.map().keys().cloned().collect()
    }

    /// Those of one owner, in the order of their names.
    pub(crate) fn of(&self, owner: &Name) -> Vec<Name> {
        self.map().keys().filter(|key| key.owner == *owner).map(|key| key.name.clone()).collect()
    }

    fn map(&self) -> MutexGuard<'_, BTreeMap<DomainKey, Why>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> DomainKey {
        let (owner, name) = text.split_once('/').expect("a key");
        DomainKey { owner: owner.parse().expect("a name"), name: name.parse().expect("a name") }
    }

    #[test]
    fn who_asks_for_a_domain_that_is_away_learns_why() {
        let (away, moving, broken) = (Away::default(), key("ann/moving"), key("ann/broken"));
        away.in_transit(&moving);
        assert!(away.unreadable(&broken, "record 7 is missing") && !away.unreadable(&broken, "record 7 is missing"));
        assert!(away.unreadable(&broken, "record 8 is missing"), "another reason is news");
        let told = |key: &DomainKey| away.error(key).map(|error| error.to_string());
        assert!(told(&moving).is_some_and(|text| text.contains("domain moving is changing hands; try again")), "{:?}", told(&moving));
        assert!(told(&broken).is_some_and(|text| text.contains("can't be read: record 8 is missing")), "{:?}", told(&broken));
        assert_eq!(told(&key("bob/moving")), None, "another user's is not told of");
        assert!(away.is_in_transit(&moving) && !away.is_in_transit(&broken));
        away.settled(&moving);
        assert_eq!(told(&moving), None);
    }

    #[test]
    fn a_list_names_what_is_away_to_its_owner_alone() {
        let away = Away::default();
        away.unreadable(&key("ann/web"), "damaged");
        away.in_transit(&key("ann/db"));
        away.in_transit(&key("bob/db"));
        let of = |owner: &str| away.of(&owner.parse().expect("a name")).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!((of("ann"), of("bob"), of("eve")), (vec!["db".to_owned(), "web".to_owned()], vec!["db".to_owned()], vec![]));
        away.clear();
        assert!(of("ann").is_empty());
    }
}
