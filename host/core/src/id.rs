//! Identifiers that the host mints, and those that other systems hand in.
//!
//! Each is held in many places (the record of its instance, the index, the router, whatever is under way), so copies share one text.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::Slot;
use crate::seed::Random;

/// The alphabet of minted ids: no letters that are taken for digits.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Characters after the slot: 16 of 5 bits. Two of a billion ids of a slot coincide with a chance of 1 in 2 million.
const RANDOM_CHARS: usize = 16;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "Cow<'_, str>", into = "String")]
        #[schemars(!try_from, !into, transparent)]
        pub struct $name(#[schemars(with = "String", regex(pattern = "^[A-Za-z0-9_-]{1,63}$"))] Arc<str>);

        impl $name {
            /// A fresh id that embeds the slot of its domain, drawn from `random`.
            pub fn mint(slot: Slot, random: &mut Random) -> Self {
                let mut text = format!(concat!($prefix, "{:03x}-"), slot.0);
                let mut bits = u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
                for _ in 0..RANDOM_CHARS {
                    text.push(char::from(ALPHABET[(bits & 31) as usize]));
                    bits >>= 5;
                }
                Self(text.into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                if is_token(text) { Ok(Self(text.into())) } else { Err(BadId { what: $what, text: text.chars().take(80).collect() }) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(text: String) -> Result<Self, BadId> {
                text.parse()
            }
        }

        impl TryFrom<Cow<'_, str>> for $name {
            type Error = BadId;
            fn try_from(text: Cow<'_, str>) -> Result<Self, BadId> {
                text.parse()
            }
        }

        /// So that maps by id can be asked without making one.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id_type!(
    /// One instance, unique for ever. Up to 63 letters, digits, `_` and `-`: a token of a NATS subject.
    InstanceId, "i", "instance id"
);
id_type!(
    /// One launch request; its instances share it.
    LaunchId, "l", "launch id"
);

impl InstanceId {
    /// The slot that a minted id embeds; nothing for an id from elsewhere.
    pub fn slot(&self) -> Option<Slot> {
        let (head, _) = self.0.strip_prefix('i')?.split_once('-')?;
        u16::from_str_radix(head, 16).ok().map(Slot)
    }
}

/// A text that is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an {what}: use 1 to 63 letters, digits, `_` or `-`")]
pub struct BadId {
    what: &'static str,
    text: String,
}

fn is_token(text: &str) -> bool {
    (1..=63).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::{Seed, Stream};

    #[test]
    fn a_minted_id_embeds_its_slot_and_parses_again() {
        let mut random = Seed([7; 16]).stream(Stream::Ids);
        let id = InstanceId::mint(Slot(0x2a), &mut random);
        assert_eq!(id.slot(), Some(Slot(0x2a)));
        assert_eq!(id.as_str().parse::<InstanceId>().as_ref(), Ok(&id));
        assert_ne!(InstanceId::mint(Slot(0x2a), &mut random), id);
    }

    #[test]
    fn ids_that_could_break_a_subject_are_refused() {
        for bad in ["", "a.b", "*", ">", "a b", &"x".repeat(64)] {
            assert!(bad.parse::<InstanceId>().is_err(), "{bad}");
        }
        assert_eq!("n1".parse::<InstanceId>().expect("foreign ids are fine").slot(), None);
    }
}
