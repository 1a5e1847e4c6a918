//! What a change of a configuration would change, told before anybody does it.

use std::collections::BTreeSet;

use pilothouse_core::config::{ConfigProblem, DomainConfig, folded};
use pilothouse_core::pointer::escaped;
use serde_json::Value;

use crate::api::ConfigChange;

/// A configuration with changes folded in, held against what it was.
pub(super) struct Difference {
    /// Every value that would be another one.
    pub(super) changes: Vec<ConfigChange>,
    /// The result, and what the host finds wrong with it; its engine has not judged yet.
    pub(super) result: (DomainConfig, Vec<ConfigProblem>),
}

/// Folds changes into a configuration, as a reconfiguration would.
pub(super) fn difference(old: &DomainConfig, changes: &Value) -> Difference {
    let whole = old.to_json();
    if !changes.is_object() {
        return Difference { changes: Vec::new(), result: old.changed(changes) };
    }
    let result = old.changed(changes);
    // One that can be read is told as it would be kept: 5 is the same pause as 5.0.
    let new = if result.1.is_empty() { result.0.to_json() } else { folded(whole.clone(), changes) };
    Difference { changes: changed(&whole, &new), result }
}

/// Every value that differs, one level deep in each section: that is what a change replaces whole.
fn changed(old: &Value, new: &Value) -> Vec<ConfigChange> {
    let mut all = Vec::new();
    for section in keys(old, new) {
        let at = format!("/{}", escaped(section));
        match (old.get(section), new.get(section)) {
            (Some(old), Some(new)) if old.is_object() && new.is_object() => {
                let inside = |key: &str| change(format!("{at}/{}", escaped(key)), old.get(key), new.get(key));
                all.extend(keys(old, new).into_iter().filter_map(inside));
            }
            (old, new) => all.extend(change(at, old, new)),
        }
    }
    all
}

fn change(at: String, from: Option<&Value>, to: Option<&Value>) -> Option<ConfigChange> {
    (from != to).then(|| ConfigChange { at, from: from.cloned(), to: to.cloned() })
}

fn keys<'v>(old: &'v Value, new: &'v Value) -> BTreeSet<&'v str> {
    [old, new].into_iter().filter_map(Value::as_object).flat_map(|it| it.keys().map(String::as_str)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn old() -> DomainConfig {
        DomainConfig::from_json(json!({"general": {"decide_interval": 5}, "engine_conf": {"preserve_n": 3, "a/b": {"x": 1, "y": 2}}}))
            .expect("good")
    }

    fn told(changes: Value) -> Vec<(String, Option<Value>, Option<Value>)> {
        difference(&old(), &changes).changes.into_iter().map(|it| (it.at, it.from, it.to)).collect()
    }

    #[test]
    fn every_value_that_would_be_another_one_is_told_by_its_key() {
        let changes = json!({"engine_conf": {"preserve_n": 4, "site": "b"}, "health": {"boot_timeout": 9}});
        let expected = vec![
            ("/engine_conf/preserve_n".to_owned(), Some(json!(3)), Some(json!(4))),
            ("/engine_conf/site".to_owned(), None, Some(json!("b"))),
            ("/health/boot_timeout".to_owned(), Some(json!(300)), Some(json!(9))),
        ];
        assert_eq!(told(changes), expected);
    }

    #[test]
    fn what_would_stay_the_same_is_not_told() {
        for same in
            [json!({}), json!({"general": {}}), json!({"general": {"decide_interval": 5.0}}), json!({"engine_conf": {"preserve_n": 3}})]
        {
            let difference = difference(&old(), &same);
            assert_eq!((difference.changes, difference.result), (vec![], (old(), vec![])), "{same}");
        }
    }

    #[test]
    fn a_nested_value_is_told_whole_since_it_is_replaced_whole() {
        let expected = vec![("/engine_conf/a~1b".to_owned(), Some(json!({"x": 1, "y": 2})), Some(json!({"x": 9})))];
        assert_eq!(told(json!({"engine_conf": {"a/b": {"x": 9}}})), expected);
    }

    #[test]
    fn a_change_that_would_be_refused_is_told_with_what_is_wrong() {
        let wrong = difference(&old(), &json!({"general": {"decide_interval": "soon"}, "colour": 3, "engine_conf": {"preserve_n": 4}}));
        let at: Vec<_> = wrong.changes.iter().map(|it| it.at.as_str()).collect();
        assert_eq!(at, ["/colour", "/engine_conf/preserve_n", "/general/decide_interval"]);
        let problems = wrong.result.1;
        assert_eq!(problems.iter().map(|it| it.at.as_str()).collect::<Vec<_>>(), ["/general/decide_interval", "/colour"]);
        assert_eq!(difference(&old(), &json!([])).result.1.len(), 1);
    }

    proptest! {
        #[test]
        fn changes_put_into_the_old_one_by_one_give_the_new(n in 0..9_i64, site in "[a-z]{0,3}", pause in 1..9_u32, floor in 1..9_u32) {
            let changes = json!({"engine_conf": {"n": n, "preserve_n": n, "site": site}, "general": {"decide_interval": pause, "brake": {"floor": floor}}});
            let difference = difference(&old(), &changes);
            let mut whole = old().to_json();
            for change in &difference.changes {
                let (section, key) = change.at[1..].split_once('/').expect("a section and a key");
                prop_assert_eq!(whole[section].get(key), change.from.as_ref());
                whole[section][key] = change.to.clone().expect("no change takes a key away");
            }
            prop_assert_eq!(whole, difference.result.0.to_json());
        }
    }
}
