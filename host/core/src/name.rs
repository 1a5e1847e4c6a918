//! Names that people give, and the key and slot that follow from them.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The name of a user, a domain, a definition, an engine, a site or a host: `[A-Za-z0-9][A-Za-z0-9_-]{0,62}`.
///
/// No dots and no `@`, because names are tokens of NATS subjects and keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(!try_from, !into, transparent)]
pub struct Name(#[schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"))] String);

/// A text that is no [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name: use 1 to 63 letters, digits, `_` or `-`, a letter or digit first")]
pub struct BadName(String);

impl Name {
    /// The longest name, in characters.
    pub const MAX_LEN: usize = 63;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        let ok = text.len() <= Self::MAX_LEN
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if ok { Ok(Self(text)) } else { Err(BadName(text.chars().take(80).collect())) }
    }
}

impl FromStr for Name {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        Self::try_from(text.to_owned())
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a domain is known by: its owner and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct DomainKey {
    /// The user it belongs to.
    pub owner: Name,
    /// Unique among the domains of its owner.
    pub name: Name,
}

impl DomainKey {
    /// The partition of the domain space that this domain falls into, out of `slots`.
    ///
    /// The first four bytes of SHA-256 over `owner/name`, modulo `slots`: stable for ever, since the slot is part of subjects and ids.
    pub fn slot(&self, slots: u16) -> Slot {
        let hash = Sha256::digest(self.to_string());
        let head = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
        Slot((head % u32::from(slots.max(1))) as u16)
    }
}

impl fmt::Display for DomainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

/// One of a fixed number of partitions of the domain space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Slot(pub u16);

impl Slot {
    /// How many slots there are unless configured otherwise.
    pub const DEFAULT_COUNT: u16 = 256;
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_whole() {
        for good in ["a", "web", "A-1_b", &"x".repeat(63)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "_a", "a.b", "a b", "a@b", "ä", "a\n", &"x".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_slot_is_stable_and_in_range() {
        let key = DomainKey { owner: "default".parse().expect("a name"), name: "web".parse().expect("a name") };
        assert_eq!(key.slot(256), Slot(key.slot(65_535).0).min(key.slot(256)).max(key.slot(256)));
        assert!(key.slot(7).0 < 7);
        assert_eq!(key.slot(0), Slot(0), "no division by zero");
    }
}
