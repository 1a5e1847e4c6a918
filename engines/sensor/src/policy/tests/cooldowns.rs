//! Cooldowns: what they hold, what they do not, and what begins them.

use super::*;

#[test]
fn a_cooldown_holds_the_size_until_it_is_over_to_the_millisecond() {
    for (since, requests) in [(59_999, 0), (60_000, 1)] {
        let mut domain = running(3, scaled(json!({})));
        loads(&mut domain, &[9.0; 3]);
        domain.remember(&Sensor { scaled_at: Some(NOW - Duration::from_millis(since)), ..size(3) });
        assert_eq!(domain.decide().requests().len(), requests, "{since}");
    }
}

#[test]
fn a_cooldown_holds_up_neither_replacement_nor_the_bounds() {
    let memory = Sensor { scaled_at: Some(NOW - SECOND), ..size(4) };
    let mut domain = running(4, scaled(json!({})));
    domain.remember(&memory).health("i1", Health::Missing);
    let decision = domain.decide();
    assert_eq!(decision.requests(), ["destroy i1 (missing)", "launch 1"]);
    assert_eq!(domain.memory(), memory);
    assert!(decision.reason.starts_with("3 of 4 healthy, the size is held for 59 s more"), "{}", decision.reason);

    let mut domain = running(4, scaled(json!({ "minimum_vms": 5 })));
    assert_eq!(domain.remember(&memory).decide().requests(), ["launch 1"]);
    assert_eq!(domain.memory(), Sensor { target: Some(5), ..memory });
}

#[test]
fn each_direction_may_have_a_cooldown_of_its_own() {
    for (key, since, load, requests) in [
        ("scale_up_cooldown", 9_999, 9.0, 0),
        ("scale_up_cooldown", 10_000, 9.0, 1),
        ("scale_up_cooldown", 59_999, 0.0, 0),
        ("scale_up_cooldown", 60_000, 0.0, 1),
        ("scale_down_cooldown", 9_999, 0.0, 0),
        ("scale_down_cooldown", 10_000, 0.0, 1),
        ("scale_down_cooldown", 59_999, 9.0, 0),
        ("scale_down_cooldown", 60_000, 9.0, 1),
    ] {
        let mut domain = running(4, scaled(json!({ key: 10 })));
        loads(&mut domain, &[load; 4]);
        domain.remember(&Sensor { scaled_at: Some(NOW - Duration::from_millis(since)), ..size(4) });
        assert_eq!(domain.decide().requests().len(), requests, "{key} {since} {load}");
    }
}

#[test]
fn a_cooldown_of_zero_of_its_own_is_none() {
    let mut domain = running(4, scaled(json!({ "scale_up_cooldown": 0 })));
    loads(&mut domain, &[9.0; 4]);
    domain.remember(&Sensor { scaled_at: Some(NOW), ..size(4) });
    assert_eq!(domain.decide().requests(), ["launch 2"]);
}

#[test]
fn while_one_direction_rests_the_reason_tells_what_was_compared_and_how_long_it_rests() {
    let mut domain = running(4, scaled(json!({ "scale_up_cooldown": 10 })));
    loads(&mut domain, &[0.0; 4]);
    domain.remember(&Sensor { scaled_at: Some(NOW - 20 * SECOND), ..size(4) });
    let decision = domain.decide();
    assert_eq!(decision.reason, "4 of 4 healthy, load is 0.000 over 4 instances, below 1, but the size is held for 40 s more");
    assert_eq!(decision.figure("cooldown-left"), Some(40.0));
}

#[test]
fn while_both_directions_rest_nothing_is_read_and_the_first_end_is_told() {
    let mut domain = running(4, scaled(json!({ "scale_up_cooldown": 30 })));
    loads(&mut domain, &[9.0; 4]);
    domain.remember(&Sensor { scaled_at: Some(NOW - 20 * SECOND), ..size(4) });
    let decision = domain.decide();
    assert_eq!((decision.reason.as_str(), decision.figure("samples")), ("4 of 4 healthy, the size is held for 10 s more", None));
}
