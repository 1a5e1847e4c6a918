//! The stabilisation window: shrinking is slower than growing.

use super::*;

/// Grows and shrinks to as many as the domain reads, once the window of a minute says so.
fn stabilised(changes: Value) -> FakeDomain<Sensor> {
    let mut config = json!({ "metric": "wanted", "scope": "domain", "target_value": 1, "target_tolerance": 0, "maximum_vms": 9, "stabilisation_window": 60 });
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    running(6, config)
}

/// The wanted size after each of these readings, so many seconds after the beginning.
fn sizes(domain: &mut FakeDomain<Sensor>, wanted: &[(u32, f64)]) -> Vec<u32> {
    let size = |(at, value): &(u32, f64)| {
        domain.advance((NOW + *at * SECOND).since(domain.now()));
        domain.read_domain("wanted", *value).decide();
        domain.memory().target.unwrap()
    };
    wanted.iter().map(size).collect()
}

const LAST: &str = "sample_function";

#[test]
fn on_the_way_down_the_highest_recommendation_of_the_window_wins() {
    let mut domain = stabilised(json!({ LAST: "Last" }));
    let wanted = [(0, 6.0), (10, 3.0), (30, 5.0), (40, 2.0), (69, 2.0), (70, 2.0), (99, 2.0), (100, 2.0)];
    assert_eq!(sizes(&mut domain, &wanted), [6, 6, 6, 6, 6, 5, 5, 2]);
}

#[test]
fn growing_does_not_wait() {
    let mut domain = stabilised(json!({ LAST: "Last" }));
    assert_eq!(sizes(&mut domain, &[(0, 2.0), (10, 7.0), (20, 2.0), (79, 2.0), (80, 2.0)]), [6, 7, 7, 7, 2]);
}

#[test]
fn what_was_recommended_before_the_engine_was_there_is_taken_for_what_is() {
    let mut domain = stabilised(json!({ LAST: "Last" }));
    assert_eq!(sizes(&mut domain, &[(0, 2.0), (59, 2.0), (60, 2.0)]), [6, 6, 2]);
}

#[test]
fn recommendations_in_a_cooldown_are_remembered() {
    let mut domain = stabilised(json!({ LAST: "Last", "cooldown_period": 60 }));
    domain.remember(&Sensor { scaled_at: Some(NOW), ..size(6) });
    assert_eq!(sizes(&mut domain, &[(0, 2.0), (30, 2.0), (60, 2.0)]), [6, 6, 2], "both end at the same moment");
}

#[test]
fn a_hold_for_want_of_data_is_a_recommendation_of_what_is_there() {
    let mut domain = stabilised(json!({ LAST: "Last", "sample_period": 5 }));
    assert_eq!(sizes(&mut domain, &[(0, 2.0)]), [6]);
    domain.advance(30 * SECOND).decide();
    assert_eq!(sizes(&mut domain, &[(60, 2.0), (119, 2.0), (120, 2.0)]), [6, 6, 2]);
}

#[test]
fn the_reason_tells_what_would_do_and_how_long_more_is_kept() {
    let mut domain = stabilised(json!({ LAST: "Last" }));
    sizes(&mut domain, &[(0, 6.0), (10, 3.0), (20, 2.0)]);
    let decision = domain.decide();
    assert!(decision.reason.ends_with(", 2 would do, but the highest of the last 60 s counts, 6 for 50 s more"), "{}", decision.reason);
    assert_eq!((decision.figure("recommended"), decision.figure("stabilised")), (Some(2.0), Some(6.0)));
    domain.advance(50 * SECOND);
    let decision = domain.decide();
    assert!(decision.reason.contains(", 2 would do, but the highest of the last 60 s counts: from 6 to 3"), "{}", decision.reason);
}

#[test]
fn bounds_do_not_wait_for_the_window() {
    let mut domain = stabilised(json!({ LAST: "Last", "maximum_vms": 4 }));
    assert_eq!(sizes(&mut domain, &[(0, 6.0)]), [4]);
}

#[test]
fn a_window_that_is_no_longer_wanted_is_forgotten() {
    let mut domain = stabilised(json!({ LAST: "Last" }));
    sizes(&mut domain, &[(0, 6.0), (10, 3.0)]);
    assert_eq!(domain.memory().window.len(), 2);
    let without = json!({ "metric": "wanted", "scope": "domain", "target_value": 1, "maximum_vms": 9 });
    domain.reconfigure(without).unwrap();
    domain.advance(SECOND).decide();
    assert_eq!((domain.memory().window.len(), domain.memory().target), (0, Some(5)));
}
