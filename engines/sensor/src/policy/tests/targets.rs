//! Target tracking, and the readings of the domain as a whole.

use super::*;

fn tracked(changes: Value) -> Value {
    let mut config = json!({ "metric": "load", "target_value": 4, "minimum_vms": 1, "maximum_vms": 10 });
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    config
}

#[test]
fn the_size_follows_the_target_both_ways() {
    for (load, requests, target, words) in [
        (8.0, vec!["launch 4"], 8, "load is 8.000 over 4 instances, 2.000 times the target 4: from 4 to 8: launching 4"),
        (4.4, vec![], 4, "load is 4.400 over 4 instances, 1.100 times the target 4, within 0.1"),
        (
            2.0,
            vec!["destroy i3 i2 (2 more than wanted)"],
            2,
            "load is 2.000 over 4 instances, 0.500 times the target 4: from 4 to 2: terminating 2 (2 more than wanted)",
        ),
    ] {
        let mut domain = running(4, tracked(json!({})));
        loads(&mut domain, &[load; 4]);
        let decision = domain.decide();
        assert_eq!((decision.requests(), domain.memory().target), (requests.into_iter().map(str::to_owned).collect(), Some(target)));
        assert!(decision.reason.ends_with(words), "{}", decision.reason);
    }
}

#[test]
fn what_was_just_launched_is_not_launched_again() {
    let mut domain = running(2, tracked(json!({})));
    loads(&mut domain, &[8.0; 2]);
    assert_eq!(domain.decide().requests(), ["launch 2"]);
    for state in [pilothouse_engine::InstanceState::Pending, pilothouse_engine::InstanceState::Running] {
        domain.report_all(state).advance(SECOND);
        let decision = domain.decide();
        assert_eq!(decision.requests().len(), 0);
        assert!(
            decision.reason.contains("over 2 instances, 2 without a reading, 2.000 times the target 4, for which 4 are enough"),
            "{}",
            decision.reason
        );
    }
}

#[test]
fn places_of_the_ill_and_places_that_are_empty_are_not_taken_to_be_idle() {
    let config = || tracked(json!({}));
    let mut domain = running(10, config());
    loads(&mut domain, &[3.5; 10]);
    for n in 0..5 {
        domain.health(&format!("i{n}"), Health::Missing).hold(format!("i{n}"));
    }
    assert_eq!(domain.decide().requests().last().unwrap(), "launch 5");
    assert_eq!(domain.memory(), size(10));
    domain.all_well();
    assert_eq!(domain.decide().requests().last().unwrap(), "destroy new-4 new-3 new-2 new-1 new-0 (5 more than wanted)");
    assert_eq!(domain.memory(), size(10), "whoever is there for those that were ill is not needed");
    let mut domain = running(2, config());
    loads(&mut domain, &[1.0; 2]);
    domain.remember(&size(6)).decide();
    assert_eq!(domain.memory(), size(5), "one for the two, and four of which nothing is known");
}

/// Four of six are left of a shrink to two, with this load.
fn shrinking(load: f64, changes: Value) -> (Decision, Sensor) {
    let mut domain = running(4, tracked(changes));
    loads(&mut domain, &[load; 4]);
    domain.remember(&scaled_to(2));
    (domain.decide(), domain.memory())
}

#[test]
fn the_rest_of_a_shrink_is_called_off_as_far_as_it_is_needed_again_even_in_a_cooldown() {
    for changes in [json!({}), json!({ "cooldown_period": 60 })] {
        for (load, target, requests) in [(2.0, 2, 1), (3.0, 3, 1), (4.0, 4, 0)] {
            let (decision, memory) = shrinking(load, changes.clone());
            assert_eq!((decision.requests().len(), memory), (requests, scaled_to(target)), "{load}");
        }
    }
    let (decision, memory) = shrinking(5.0, json!({ "cooldown_period": 60 }));
    assert_eq!((decision.requests().len(), memory), (0, scaled_to(4)), "growing waits for the cooldown, staying does not");
    let (decision, memory) = shrinking(4.0, json!({ "maximum_vms": 3 }));
    assert_eq!((decision.requests().len(), memory), (1, scaled_to(3)), "within the bounds");
}

#[test]
fn numbers_as_large_as_they_go_are_reckoned_with_and_told_briefly() {
    for (target, load, wanted) in [(5e-324, 1.7e308, 10), (5e-324, -1.7e308, 1), (4.0, f64::MAX, 10), (f64::MAX, f64::MIN, 1)] {
        let mut domain = running(3, tracked(json!({ "target_value": target })));
        loads(&mut domain, &[load; 3]);
        let decision = domain.decide();
        assert_eq!(domain.memory().target, Some(wanted));
        for figure in ["average", "ratio", "target-value", "needed"] {
            assert!(decision.figure(figure).is_some_and(f64::is_finite), "{figure} of {load} for {target}");
        }
        assert!(decision.reason.len() < 200, "{}", decision.reason);
    }
}

#[test]
fn a_domain_of_none_grows_by_what_is_read_of_the_domain() {
    let mut domain = running(0, tracked(json!({ "scope": "domain", "minimum_vms": 0 })));
    assert_eq!(domain.decide().reason, "0 of 0 healthy, no readings of load: the size is held");
    let decision = domain.read_domain("load", 10.0).decide();
    assert_eq!(decision.requests(), ["launch 3"]);
    assert_eq!(decision.reason, "0 of 3 healthy, load is 10.000, the target is 4 for each, and nobody is there: from 0 to 3: launching 3");
}

#[test]
fn a_domain_whose_reading_is_nothing_shrinks_to_nothing() {
    let mut domain = running(3, tracked(json!({ "scope": "domain", "minimum_vms": 0 })));
    let decision = domain.read_domain("load", 0.0).decide();
    assert_eq!((decision.requests(), domain.memory().target), (vec!["destroy i2 i1 i0 (3 more than wanted)".to_owned()], Some(0)));
}

#[test]
fn a_reading_of_the_domain_is_compared_with_thresholds_as_it_is() {
    for (value, requests) in [(4.1, vec!["launch 2"]), (4.0, vec![]), (1.0, vec![]), (0.9, vec!["destroy i2 (1 more than wanted)"])] {
        let mut domain = running(3, scaled(json!({ "scope": "domain" })));
        loads(&mut domain, &[100.0; 3]);
        assert_eq!(domain.read_domain("load", value).decide().requests(), requests, "{value}");
    }
}

#[test]
fn the_readings_of_instances_are_not_those_of_the_domain() {
    let mut domain = running(3, scaled(json!({ "scope": "domain" })));
    loads(&mut domain, &[9.0; 3]);
    assert_eq!(domain.decide().reason, "3 of 3 healthy, no readings of load: the size is held");
}
