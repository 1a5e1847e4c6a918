//! How a memory is written: one byte with the version and then postcard, and nothing for the default value of version 1.
//!
//! Most policies remember nothing most of the time. An empty memory saves allocations in a fresh guest, which are a large part of what
//! handing a memory over costs. From version 2 on the default value is written as any other, because the bytes have to say whose default
//! it is: no bytes always mean that of version 1.

use serde::de::DeserializeOwned;

use crate::{Engine, Error};

/// The most that a memory may take up: the host keeps it in its journal.
pub const MEMORY_BYTES: usize = 64 * 1024;

/// Whose default value no bytes are.
const FIRST_VERSION: u8 = 1;

/// Reads bytes that an older version of an engine has written, as the type that they were: for [`Engine::migrate`]. Nothing when they
/// are no such thing.
#[must_use]
pub fn read_memory<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    read(bytes).ok()
}

/// The bytes of a memory.
///
/// # Errors
/// When the value has no such form, or takes up too much.
pub(crate) fn encode<E: Engine>(memory: &E) -> Result<Vec<u8>, Error> {
    if E::MEMORY_VERSION == FIRST_VERSION && *memory == E::default() {
        return Ok(Vec::new());
    }
    let bytes = postcard::to_extend(memory, vec![E::MEMORY_VERSION])
        .map_err(|error| unwritten(format!("{error}; it may hold a type that only self-describing formats know")))?;
    if bytes.len() > MEMORY_BYTES {
        return Err(unwritten(format!("{} bytes; expected at most {MEMORY_BYTES}", bytes.len())));
    }
    Ok(bytes)
}

/// [`Error::Memory`] says of a memory that it can't be *read*, which sends people looking at the wrong end.
fn unwritten(why: String) -> Error {
    Error::Other(format!("the memory can't be written: {why}"))
}

/// The memory in these bytes.
///
/// # Errors
/// When a version wrote them that can't be read, or they are damaged.
pub(crate) fn decode<E: Engine>(bytes: &[u8]) -> Result<E, Error> {
    let ours = E::MEMORY_VERSION;
    match bytes.split_first() {
        None if ours == FIRST_VERSION => Ok(E::default()),
        None => Ok(E::migrate(FIRST_VERSION, &[]).unwrap_or_default()),
        Some((&version, bytes)) if version == ours => {
            read(bytes).map_err(|problem| Error::Memory(format!("version {version}, damaged: {problem}")))
        }
        Some((&version, bytes)) => {
            E::migrate(version, bytes).ok_or_else(|| Error::Memory(format!("version {version}; this engine reads version {ours}")))
        }
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} bytes too many", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;
    use serde::de::{Deserialize, Deserializer};

    use super::*;
    use crate::{About, Control, Domain, Verdict};

    /// Any memory, of any version, that reads what version 1 wrote: a list of names.
    #[derive(Debug, Default, PartialEq, Serialize)]
    struct Of<const VERSION: u8>(BTreeMap<String, u64>);

    impl<'de, const VERSION: u8> Deserialize<'de> for Of<VERSION> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            BTreeMap::deserialize(deserializer).map(Self)
        }
    }

    impl<const VERSION: u8> Engine for Of<VERSION> {
        type Config = ();

        const ABOUT: About = About { name: "any", version: "1.0.0", documentation: "" };

        const MEMORY_VERSION: u8 = VERSION;

        fn migrate(version: u8, bytes: &[u8]) -> Option<Self> {
            if VERSION == 3 && version == 1 && bytes.is_empty() {
                // What version 1 began with, and version 3 does not.
                return Some(Self([("first".to_owned(), 1)].into()));
            }
            let names: Vec<String> = if version == 1 { read_memory(bytes)? } else { return None };
            Some(Self(names.into_iter().map(|name| (name, 0)).collect()))
        }

        fn decide(&mut self, _: &Domain<'_>, (): &(), _: &Control<'_>) -> Result<Verdict, Error> {
            Ok(Verdict::stable(""))
        }
    }

    fn told<const VERSION: u8>(bytes: &[u8]) -> String {
        match decode::<Of<VERSION>>(bytes) {
            Err(Error::Memory(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_default_memory_of_version_1_costs_nothing() {
        assert_eq!(encode(&Of::<1>::default()).unwrap(), b"");
        assert_eq!(decode::<Of<1>>(b"").unwrap(), Of::default());
    }

    #[test]
    fn the_default_memory_of_a_later_version_says_its_version() {
        let bytes = encode(&Of::<2>::default()).unwrap();
        assert_eq!(bytes, b"\x02\x00");
        assert_eq!(decode::<Of<2>>(&bytes).unwrap(), Of::default());
        assert_eq!(told::<3>(&bytes), "version 2; this engine reads version 3", "and is not taken for the default of another");
    }

    #[test]
    fn no_bytes_are_the_default_of_version_1_whoever_reads_them() {
        assert_eq!(decode::<Of<3>>(b"").unwrap().0, [("first".to_owned(), 1)].into());
        assert_eq!(decode::<Of<2>>(b"").unwrap(), Of::default(), "an engine that has no answer begins with its own");
    }

    #[test]
    fn what_was_written_is_read_to_the_last_digit() {
        let memory = Of::<7>([("a".to_owned(), u64::MAX), ("b".to_owned(), (1 << 53) + 1)].into());
        let bytes = encode(&memory).unwrap();
        assert_eq!(bytes[..4], *b"\x07\x02\x01a");
        assert_eq!(decode::<Of<7>>(&bytes).unwrap(), memory);
    }

    #[test]
    fn a_memory_of_another_version_is_refused_with_both_versions_unless_it_can_be_read() {
        assert_eq!(told::<2>(b"\x03\x00"), "version 3; this engine reads version 2");
        assert_eq!(told::<2>(b"\x01\xff"), "version 1; this engine reads version 2");
        assert_eq!(decode::<Of<2>>(b"\x01\x02\x01a\x01b").unwrap().0.len(), 2);
    }

    #[test]
    fn a_damaged_memory_is_refused() {
        let good = encode(&Of::<2>([("name".to_owned(), 300)].into())).unwrap();
        for length in 1..good.len() {
            assert!(told::<2>(&good[..length]).starts_with("version 2, damaged"), "{length} bytes");
        }
        assert_eq!(told::<2>(&[&good[..], b"\0\0"].concat()), "version 2, damaged: 2 bytes too many");
        assert!(told::<2>(b"\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01").starts_with("version 2, damaged"), "a length beyond all bounds");
        assert!(told::<2>(b"\x02\x01\x02\xff\xfe\x00").starts_with("version 2, damaged"), "no text");
    }

    #[test]
    fn a_memory_over_the_limit_is_an_error_and_one_at_the_limit_is_none() {
        // A version, a count, a name of three bytes' length, and a number.
        let name = |length: usize| Of::<2>([("x".repeat(length), 0)].into());
        let most = MEMORY_BYTES - 6;
        assert_eq!(encode(&name(most)).unwrap().len(), MEMORY_BYTES);
        let told = "the memory can't be written: 65537 bytes; expected at most 65536";
        assert_eq!(encode(&name(most + 1)), Err(Error::Other(told.to_owned())));
    }
}
