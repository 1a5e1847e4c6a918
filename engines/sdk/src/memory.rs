//! How a memory is written: nothing for the default value, else one byte with the version and then JSON.
//!
//! Most policies remember nothing most of the time. An empty memory saves the first heap allocation in a fresh guest, which is a large
//! part of what handing a memory over costs.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

/// The bytes of a memory.
///
/// # Errors
/// When the value has no JSON form (a map whose keys are no strings).
pub(crate) fn encode<M: Serialize + Default + PartialEq>(version: u8, memory: &M) -> Result<Vec<u8>, Error> {
    if *memory == M::default() {
        return Ok(Vec::new());
    }
    let mut bytes = vec![version];
    serde_json::to_writer(&mut bytes, memory).map_err(|error| Error::Memory(format!("can't be written: {error}")))?;
    Ok(bytes)
}

/// The memory in these bytes.
///
/// # Errors
/// When another version wrote them, or they are damaged.
pub(crate) fn decode<M: DeserializeOwned + Default>(version: u8, bytes: &[u8]) -> Result<M, Error> {
    match bytes.split_first() {
        None => Ok(M::default()),
        Some((&found, json)) if found == version => {
            serde_json::from_slice(json).map_err(|error| Error::Memory(format!("version {version}, damaged: {error}")))
        }
        Some((&found, _)) => Err(Error::Memory(format!("version {found}; this engine reads version {version}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Memory = BTreeMap<String, u64>;

    #[test]
    fn the_default_memory_costs_nothing() {
        assert_eq!(encode(1, &Memory::new()).unwrap(), b"");
        assert_eq!(decode::<Memory>(1, b"").unwrap(), Memory::new());
    }

    #[test]
    fn what_was_written_is_read() {
        let memory = Memory::from([("a".to_owned(), 1)]);
        let bytes = encode(7, &memory).unwrap();
        assert_eq!(bytes, b"\x07{\"a\":1}");
        assert_eq!(decode::<Memory>(7, &bytes).unwrap(), memory);
    }

    #[test]
    fn a_memory_of_another_version_is_refused_with_both_versions() {
        let Err(Error::Memory(text)) = decode::<Memory>(2, b"\x01{}") else { panic!("read") };
        assert_eq!(text, "version 1; this engine reads version 2");
    }

    #[test]
    fn a_damaged_memory_is_refused() {
        assert!(matches!(decode::<Memory>(1, b"\x01{\"a\":"), Err(Error::Memory(_))));
        assert!(matches!(decode::<Memory>(1, b"garbage"), Err(Error::Memory(_))));
    }
}
