//! Who comes and who goes: values of their own, and those that may retire.

use super::*;

fn with_ports(changes: Value) -> Value {
    let mut config = scaled(json!({ "unique_key": "port", "unique_values": ["8001", "8002", "8003"] }));
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    config
}

#[test]
fn every_instance_gets_a_value_of_its_own_in_the_configured_order() {
    let mut domain = FakeDomain::<Sensor>::new(with_ports(json!({ "minimum_vms": 3 })));
    assert_eq!(domain.decide().requests(), ["launch 1 port=8001", "launch 1 port=8002", "launch 1 port=8003"]);
}

#[test]
fn the_value_of_one_that_is_replaced_goes_to_its_replacement() {
    let mut domain = FakeDomain::<Sensor>::new(with_ports(json!({ "minimum_vms": 2 })));
    let launched = domain.decide().launched();
    domain.report_all(pilothouse_engine::InstanceState::Running).all_well().health(&launched[0], Health::Missing);
    let decision = domain.decide();
    assert_eq!(decision.requests()[1], format!("launch 1 port=8001 for {}", launched[0]));
}

#[test]
fn when_no_value_is_left_nobody_is_launched_and_people_should_look() {
    let mut domain = FakeDomain::<Sensor>::new(with_ports(json!({ "minimum_vms": 3, "maximum_vms": 6 })));
    let launched = domain.decide().launched();
    domain.report_all(pilothouse_engine::InstanceState::Running).all_well();
    for id in &launched {
        domain.read(id, "load", 9.0);
    }
    let decision = domain.decide();
    assert_eq!((decision.status, decision.requests().len()), (Status::Failed, 0));
    assert!(decision.reason.contains("no unique value is left for 2"), "{}", decision.reason);
    assert_eq!(domain.memory(), size(3), "nothing has happened, and no cooldown began");
}

#[test]
fn those_that_may_retire_go_first_in_their_order() {
    let mut domain = running(5, scaled(json!({ "retirable_nodes": ["i9", "i1", "i0"], "scale_down_n_vms": 3 })));
    loads(&mut domain, &[0.0; 5]);
    assert_eq!(domain.decide().requests(), ["destroy i1 i0 i4 (3 more than wanted)"]);
}

#[test]
fn those_that_may_retire_stay_while_they_are_needed() {
    let mut domain = running(3, scaled(json!({ "retirable_nodes": ["i1"] })));
    loads(&mut domain, &[2.0; 3]);
    assert_eq!(domain.decide().requests(), [""; 0]);
}
