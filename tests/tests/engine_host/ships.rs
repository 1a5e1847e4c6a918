//! The engines that ship.

use pilothouse_core::cycle::Engine;
use pilothouse_core::record::Prepared;
use serde_json::json;

use crate::domain::{self, decide, domain, run};
use crate::guest::shipped;
use crate::sandbox;

#[test]
fn the_engines_that_ship_load_and_say_who_they_are() {
    let sandbox = sandbox();
    for name in ["simplest", "npreserving", "sensor"] {
        let engine = sandbox.load(&shipped(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let description = engine.description();
        assert_eq!(description.name.as_str(), name);
        assert!(!description.documentation.is_empty() && description.config_schema.contains_key("properties"), "{name}");
        assert_eq!(engine.digest().len(), 64);
        assert_eq!(engine.identity().digest, engine.digest());
        assert_eq!(engine.identity().version, description.version.to_string());
    }
}

#[test]
fn simplest_launches_what_is_missing_and_then_wants_nothing_more() {
    let engine = sandbox().load(&shipped("simplest")).expect("it loads");
    let mut state = domain(json!({"preserve_n": 3}));
    let first = decide(&mut state, &engine);
    assert_eq!(first.prepared, Some(Prepared::Initialized));
    assert_eq!((first.launches.len(), first.launches[0].instances.len()), (1, 3));
    assert_eq!(state.counts().valid, 3);
    let second = decide(&mut state, &engine);
    assert!(second.launches.is_empty() && second.terminations.is_empty(), "{second:?}");
}

#[test]
fn a_decision_is_the_same_to_the_byte_wherever_it_is_made() {
    let decided = |bytes: &[u8]| {
        let engine = sandbox().load(bytes).expect("it loads");
        let finished = run(&domain(json!({"preserve_n": 3})), &engine).finish(&domain(json!({"preserve_n": 3})), domain::NOW);
        serde_json::to_vec(&finished.event).expect("a record is JSON")
    };
    let bytes = shipped("simplest");
    assert_eq!(decided(&bytes), decided(&bytes), "ids, reasons, figures and fuel");
}

#[test]
fn a_configuration_that_the_engine_does_not_want_is_told_with_its_key() {
    let engine = sandbox().load(&shipped("simplest")).expect("it loads");
    assert_eq!(engine.check_config(r#"{"preserve_n": 3}"#), Ok(vec![]));
    let problems = engine.check_config(r#"{"preserve_n": "many"}"#).expect("the call succeeds");
    assert!(problems.iter().any(|problem| problem.at.contains("preserve_n")), "{problems:?}");
    engine.retire(b"anything").expect("a memory that can't be read stops nothing");
}
