//! Figures that add up their readings: they are small for want of work, or for want of readings.

use super::*;

/// Three with a sum over a minute, read every ten seconds between these two, so many seconds ago.
fn summed(function: &str, from: u32, to: u32, changes: Value) -> (Decision, Sensor) {
    let mut config =
        scaled(json!({ "sample_function": function, "sample_period": 60, "scale_down_threshold": 30, "scale_up_threshold": 100 }));
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let mut domain = running(3, config);
    for age in (to..=from).rev().filter(|age| (from - age).is_multiple_of(10)) {
        for scope in [Scope::instance("i0"), Scope::instance("i1"), Scope::instance("i2"), Scope::Domain] {
            domain.read_at(&scope, "load", NOW - age * SECOND, 1.0);
        }
    }
    (domain.decide(), domain.memory())
}

#[test]
fn by_a_sum_nobody_goes_unless_there_are_readings_at_both_ends_of_the_period() {
    for function in ["Sum", "SampleCount"] {
        for changes in [
            json!({}),
            json!({ "scope": "domain" }),
            json!({ "target_value": 30, "scale_up_threshold": null, "scale_down_threshold": null }),
            json!({ "target_value": 30, "scale_up_threshold": null, "scale_down_threshold": null, "scope": "domain" }),
        ] {
            for (from, to, shrinks) in
                [(60, 0, true), (50, 10, true), (46, 6, true), (55, 15, true), (45, 0, false), (60, 16, false), (10, 0, false)]
            {
                let (decision, memory) = summed(function, from, to, changes.clone());
                assert_eq!(memory.target.unwrap() < 3, shrinks, "{function} {from} to {to}: {}", decision.reason);
            }
        }
    }
}

#[test]
fn by_a_sum_of_as_many_readings_as_are_kept_nobody_goes() {
    for function in ["Sum", "SampleCount"] {
        for scope in ["instance", "domain"] {
            for (count, shrinks) in [(719, true), (720, false), (800, false)] {
                let mut domain = running(
                    3,
                    scaled(json!({
                        "sample_function": function, "scope": scope, "scale_down_threshold": 750, "scale_up_threshold": 5000,
                    })),
                );
                for n in 0..count {
                    let at = NOW - 90 * SECOND * n / count;
                    for scope in [Scope::instance("i0"), Scope::instance("i1"), Scope::instance("i2"), Scope::Domain] {
                        domain.read_at(&scope, "load", at, 1.0);
                    }
                }
                let decision = domain.decide();
                assert_eq!(domain.memory().target == Some(2), shrinks, "{function} of the {scope}, {count}: {}", decision.reason);
            }
        }
    }
}

#[test]
fn a_sum_of_a_part_of_the_period_is_told_and_no_silence() {
    let (decision, memory) = summed("Sum", 20, 0, json!({ "absent_data": "up" }));
    assert_eq!(
        decision.reason,
        "3 of 3 healthy, the readings of load do not go back 60 s, or ended, or are more than a host keeps: the size is held"
    );
    assert_eq!((decision.figure("partly-read"), memory), (Some(3.0), size(3)));
}

#[test]
fn on_the_way_up_a_sum_of_a_part_of_the_period_counts() {
    let (decision, memory) = summed("Sum", 20, 0, json!({ "scale_up_threshold": 2, "scale_down_threshold": 1 }));
    assert_eq!((decision.requests(), memory), (vec!["launch 2".to_owned()], scaled_to(5)));
}

#[test]
fn whose_readings_do_not_go_through_the_period_counts_as_silent_on_the_way_down() {
    let mut domain = running(4, scaled(json!({ "sample_function": "Sum", "sample_period": 60, "scale_down_n_vms": 3, "minimum_vms": 0 })));
    for age in [60, 0] {
        for id in ["i0", "i1"] {
            domain.read_at(&Scope::instance(id), "load", NOW - age * SECOND, 0.1);
        }
    }
    domain.read("i2", "load", 0.1).read("i3", "load", 0.1);
    let decision = domain.decide();
    assert_eq!(domain.memory(), scaled_to(3));
    let words = "load is 0.200 over 2 instances, 2 without a reading throughout 60 s, below 1, as far as the silent allow: from 4 to 3";
    assert!(decision.reason.contains(words), "{}", decision.reason);
}
