//! The configuration that an engine is examined with, as it is given on the command line.

use std::path::Path;

use serde_json::{Map, Value};

use crate::commands::domain::config;
use crate::failure::Failure;

/// Reads JSON as it stands, or a file of JSON or TOML.
pub(super) fn read(given: &str) -> anyhow::Result<Map<String, Value>> {
    let value = if given.trim_start().starts_with('{') {
        serde_json::from_str(given).map_err(|error| Failure::Invalid(format!("--config: {error}")))?
    } else {
        config::read(Path::new(given))?
    };
    match value {
        Value::Object(config) => Ok(config),
        other => Err(Failure::Invalid(format!("--config: expected an object, got {other}")).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_taken_as_it_stands_and_anything_else_is_a_file() {
        assert_eq!(read(r#" {"n": 3}"#).expect("good")["n"], 3);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("conf.toml");
        std::fs::write(&path, "n = 4").expect("written");
        assert_eq!(read(path.to_str().expect("text")).expect("good")["n"], 4);
        assert!(read("{").is_err() && read("no-such-file.json").is_err());
    }
}
