//! JSON pointers: how what is wrong with a configuration or a request says where.

use serde_path_to_error::{Path, Segment};

/// Where in a value reading it failed, as a JSON pointer; empty for the whole.
pub fn pointer(path: &Path) -> String {
    let step = |segment: &Segment| match segment {
        Segment::Map { key } | Segment::Enum { variant: key } => format!("/{}", escaped(key)),
        Segment::Seq { index } => format!("/{index}"),
        Segment::Unknown => String::new(),
    };
    path.iter().map(step).collect()
}

/// A key as it stands in a JSON pointer.
pub fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn at(value: Value) -> String {
        let read = serde_path_to_error::deserialize::<_, BTreeMap<String, BTreeMap<String, Vec<u8>>>>(value);
        pointer(read.expect_err("it can't be read").path())
    }

    #[test]
    fn a_key_with_any_character_is_one_step() {
        assert_eq!(at(json!({"a.b": {"c/d": [1, "x"]}})), "/a.b/c~1d/1");
        assert_eq!(at(json!({"~": {"[0]": 3}})), "/~0/[0]");
        assert_eq!(at(json!([])), "");
    }

    proptest! {
        #[test]
        fn the_pointer_leads_to_what_is_wrong(outer in ".*", inner in ".*") {
            let whole = json!({ outer: { inner: [1, "wrong"] } });
            prop_assert_eq!(whole.pointer(&at(whole.clone())), Some(&json!("wrong")));
        }
    }
}
