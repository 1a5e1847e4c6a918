//! The policy on a fake domain. What it does on a host is in the scenarios.

use pilothouse_engine::testing::{FakeDomain, check_schema_with, instance};
use pilothouse_engine::{Health, Instance, InstanceState, Refusal, Status, config};

use super::*;

/// A domain that keeps so many, with these keys besides.
fn keeping(preserve_n: u32, more: &config::Value) -> FakeDomain<Needy> {
    let mut config = json!({ "preserve_n": preserve_n, "deployable_type": "db", "iaas_site": "here" });
    config.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    FakeDomain::new(config)
}

/// One that runs and is well, with a value.
fn with_value(id: &str, value: &str) -> Instance {
    let extra_vars = vec![("rack".to_owned(), value.to_owned())];
    Instance { extra_vars, ..instance(id, InstanceState::Running, Health::Ok) }
}

fn racks() -> config::Value {
    json!({ "unique_key": "rack", "unique_values": ["a", "b", "c"] })
}

#[test]
fn what_is_missing_is_launched_and_then_all_is_stable() {
    let mut domain = keeping(2, &json!({}));
    assert_eq!(domain.decide().requests(), ["launch 2"]);
    domain.report_all(InstanceState::Running).all_well();
    let decision = domain.decide();
    assert_eq!((decision.status, decision.requests().len(), &*decision.reason), (Status::Stable, 0, "2 of 2 healthy"));
}

#[test]
fn each_gets_the_next_free_value_and_without_one_nobody_is_launched() {
    let mut domain = keeping(4, &racks());
    domain.insert(with_value("x", "b"));
    let decision = domain.decide();
    assert_eq!(decision.requests(), ["launch 1 rack=a", "launch 1 rack=c"]);
    assert_eq!((decision.status, &*decision.reason), (Status::Failed, "1 of 4 healthy: no unique value is left for 1; launching 2"));
}

#[test]
fn a_value_is_free_when_the_end_of_its_holder_is_granted_and_not_before() {
    let mut domain = keeping(1, &json!({ "unique_key": "rack", "unique_values": "a" }));
    domain.insert(with_value("x", "a")).health("x", Health::Missing).hold("x");
    let decision = domain.decide();
    assert_eq!(decision.requests(), ["destroy x (missing)"]);
    assert!(decision.reason.ends_with("; 1 to launch when a unique value is free"), "{}", decision.reason);
    assert_eq!(domain.grant_all().decide().requests(), ["destroy x (missing)", "launch 1 rack=a for x"]);
}

#[test]
fn an_empty_key_or_no_values_make_them_all_alike() {
    for more in [json!({ "unique_key": "", "unique_values": "a" }), json!({ "unique_key": "rack", "unique_values": " , " })] {
        assert_eq!(keeping(2, &more).decide().requests(), ["launch 2"], "{more}");
    }
}

#[test]
fn the_retirable_go_first_and_only_when_there_are_too_many() {
    let mut domain = keeping(3, &json!({ "retirable_nodes": ["nobody", "y"] }));
    domain.running("x").running("y").running("z");
    assert!(domain.decide().requests().is_empty());
    let fewer = json!({ "preserve_n": 1, "deployable_type": "db", "iaas_site": "here", "retirable_nodes": ["nobody", "y"] });
    domain.reconfigure(fewer).expect("it remembers nothing");
    assert_eq!(domain.decide().requests(), ["destroy y z (2 more than wanted)"]);
}

#[test]
fn a_refusal_is_an_answer() {
    let mut domain = keeping(1, &racks());
    let decision = domain.refuse(Refusal::Paused).decide();
    assert_eq!((decision.status, &*decision.reason), (Status::Pending, "0 of 1 healthy: not launching 1: the domain is paused"));
}

#[test]
fn the_schema_says_what_the_configuration_is() {
    check_schema_with::<Needy>(|schema, config| {
        jsonschema::draft202012::meta::validate(schema).expect("it is a schema");
        jsonschema::draft202012::is_valid(schema, config)
    });
}
