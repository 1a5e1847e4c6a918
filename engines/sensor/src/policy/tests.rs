//! The policy on a fake domain. Here thresholds and what everything else has in common.

mod absent_data;
mod bounds;
mod cooldowns;
mod memory;
mod sums;
mod targets;
mod who;
mod windows;

use pilothouse_engine::config::{Value, json};
use pilothouse_engine::testing::{BEGIN as NOW, Decision, FakeDomain};
use pilothouse_engine::{Cause, Health, Refusal, Scope, Status};

use super::*;
use crate::silence::Silence;

const SECOND: Duration = Duration::from_secs(1);

/// Grows by two above 4, shrinks by one below 1, between two and six, with a minute of rest.
fn scaled(changes: Value) -> Value {
    let mut config = json!({
        "metric": "load", "scale_up_threshold": 4, "scale_up_n_vms": 2, "scale_down_threshold": 1, "scale_down_n_vms": 1,
        "minimum_vms": 2, "maximum_vms": 6, "cooldown_period": 60,
    });
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    config
}

fn size(target: u32) -> Sensor {
    Sensor { target: Some(target), ..Sensor::default() }
}

fn scaled_to(target: u32) -> Sensor {
    Sensor { target: Some(target), scaled_at: Some(NOW), ..Sensor::default() }
}

/// So many run, `i0`, `i1` and so on, where that is the wanted size.
fn running(count: u32, config: Value) -> FakeDomain<Sensor> {
    let mut domain = FakeDomain::new(config);
    for n in 0..count {
        domain.running(&format!("i{n}"));
    }
    domain.remember(&size(count));
    domain
}

fn loads(domain: &mut FakeDomain<Sensor>, loads: &[f64]) {
    for (n, load) in loads.iter().enumerate() {
        domain.read(&format!("i{n}"), "load", *load);
    }
}

/// So many run with these readings: the decision, and the memory after it.
fn decided(loaded: &[f64], rule: impl FnOnce(&mut FakeDomain<Sensor>) -> &mut FakeDomain<Sensor>) -> (Decision, Sensor) {
    let mut domain = running(u32::try_from(loaded.len()).unwrap(), scaled(json!({})));
    loads(&mut domain, loaded);
    rule(&mut domain);
    let decision = domain.decide();
    (decision, domain.memory())
}

#[track_caller]
fn check(loads: &[f64], requests: &[&str], after: Sensor) {
    let (decision, memory) = decided(loads, |domain| domain);
    assert_eq!(decision.requests(), requests);
    assert_eq!(memory, after);
}

#[test]
fn above_the_threshold_the_size_grows_by_its_step() {
    check(&[4.0, 4.0, 4.1], &["launch 2"], scaled_to(5));
}

#[test]
fn below_the_threshold_the_size_shrinks_by_its_step() {
    check(&[1.0, 1.0, 0.9], &["destroy i2 (1 more than wanted)"], scaled_to(2));
}

#[test]
fn what_is_protected_is_neither_replaced_nor_chosen() {
    let (decision, memory) = decided(&[2.0; 3], |domain| domain.health("i0", Health::Missing).protect("i0", true));
    assert_eq!((decision.requests().len(), memory), (0, size(3)));
    let (decision, memory) = decided(&[0.5; 3], |domain| domain.protect("i2", true));
    assert_eq!((decision.requests(), memory), (vec!["destroy i1 (1 more than wanted)".to_owned()], scaled_to(2)));
    let (decision, memory) = decided(&[0.5; 3], |domain| domain.protect("i0", true).protect("i1", true).protect("i2", true));
    assert_eq!((decision.requests().len(), memory), (0, size(3)), "a change of size of which nothing was granted has not happened");
}

#[test]
fn equal_to_a_threshold_nothing_happens() {
    check(&[4.0, 4.0, 4.0], &[], size(3));
    check(&[1.0, 1.0, 1.0], &[], size(3));
}

#[test]
fn readings_count_as_far_back_as_the_period_goes() {
    for (age, requests) in [(90, 1), (91, 0)] {
        let mut domain = running(3, scaled(json!({})));
        domain.read_at(&Scope::instance("i0"), "load", NOW - age * SECOND, 9.0);
        assert_eq!(domain.decide().requests().len(), requests, "{age}");
    }
}

#[test]
fn what_is_made_of_an_instances_readings_is_configured() {
    for (function, average) in [("Average", 3.0), ("Maximum", 5.0), ("SampleCount", 2.0), ("Last", 5.0), ("P95", 5.0)] {
        let mut domain = running(2, scaled(json!({ "sample_function": function })));
        domain.read("i0", "load", 1.0).advance(SECOND).read("i0", "load", 5.0);
        assert_eq!(domain.decide().figure("average"), Some(average), "{function}");
    }
}

#[test]
fn a_reading_that_is_no_number_does_not_count() {
    check(&[4.5, f64::NAN, 4.5], &["launch 2"], scaled_to(5));
    check(&[f64::NAN, f64::NAN, f64::NAN], &[], size(3));
}

#[test]
fn the_readings_of_the_unhealthy_do_not_count() {
    let (decision, memory) = decided(&[100.0, 2.0, 2.0], |domain| domain.health("i0", Health::Missing));
    assert_eq!(decision.requests(), ["destroy i0 (missing)", "launch 1"]);
    assert_eq!(memory, size(3));
}

#[test]
fn a_step_of_zero_disables_its_direction() {
    let mut domain = running(3, scaled(json!({ "scale_up_n_vms": 0 })));
    loads(&mut domain, &[9.0; 3]);
    assert_eq!(domain.decide().status, Status::Stable);
    assert_eq!(domain.memory(), size(3));
}

#[test]
fn an_instance_that_is_lost_is_replaced_above_the_minimum_too() {
    let (decision, _) = decided(&[2.0; 3], |domain| domain.remember(&size(4)));
    assert_eq!(decision.requests(), ["launch 1"]);
}

#[test]
fn a_change_that_is_refused_has_not_happened() {
    let (_, memory) = decided(&[9.0; 3], |domain| domain.refuse_launches(Refusal::Paused));
    assert_eq!(memory, size(3));
    let (decision, memory) = decided(&[0.0; 3], |domain| domain.hold("i2"));
    assert_eq!((decision.requests().len(), memory), (1, size(3)));
}

#[test]
fn a_change_that_is_granted_in_part_has_happened_and_the_rest_follows() {
    let mut domain = running(3, scaled(json!({})));
    loads(&mut domain, &[9.0; 3]);
    domain.limit_launches(1).decide();
    assert_eq!(domain.memory(), scaled_to(5));
    assert_eq!(domain.decide().requests(), ["launch 1"]);
}

#[test]
fn a_grant_that_only_covers_what_was_missing_is_no_change_of_size() {
    let (decision, memory) = decided(&[9.0; 3], |domain| domain.remember(&size(4)).limit_launches(1));
    assert_eq!(decision.requests(), ["launch 3"]);
    assert_eq!(memory, size(4));
}

#[test]
fn a_change_for_which_nobody_comes_or_goes_moves_the_size_and_starts_no_cooldown() {
    let (decision, memory) = decided(&[9.0; 4], |domain| domain.remember(&size(2)));
    assert_eq!((decision.requests().len(), memory), (0, size(4)));
    let (decision, memory) = decided(&[0.0; 3], |domain| domain.remember(&size(5)));
    assert_eq!((decision.requests(), memory), (vec!["launch 1".to_owned()], size(4)), "one fewer is missing, and nobody goes");
}

#[test]
fn a_step_down_leaves_the_silent_and_one_more() {
    for (read, requests, after) in [(1, 0, size(4)), (2, 1, scaled_to(3)), (3, 1, scaled_to(2)), (4, 1, scaled_to(2))] {
        let mut domain = running(4, scaled(json!({ "scale_down_n_vms": 2 })));
        loads(&mut domain, &vec![0.5; read]);
        let decision = domain.decide();
        assert_eq!((decision.requests().len(), domain.memory()), (requests, after), "{read}: {}", decision.reason);
    }
}

#[test]
fn without_a_metric_nothing_is_read_and_the_size_stays() {
    let mut domain = running(3, json!({ "minimum_vms": 1, "maximum_vms": "5" }));
    loads(&mut domain, &[9.0; 3]);
    let decision = domain.decide();
    assert_eq!((decision.status, decision.figure("samples")), (Status::Stable, None));
}

#[test]
fn the_reason_tells_what_was_compared() {
    let (decision, _) = decided(&[5.0, 6.0, 4.0], |domain| domain);
    assert_eq!(decision.reason, "3 of 5 healthy, load is 5.000 over 3 instances, above 4: from 3 to 5: launching 2");
    assert_eq!((decision.figure("average"), decision.figure("samples")), (Some(5.0), Some(3.0)));
}
