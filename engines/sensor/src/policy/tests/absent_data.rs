//! What is done where readings are missing.

use super::*;

#[test]
fn an_instance_without_a_reading_is_left_out() {
    for (load, requests, after) in [(4.5, &["launch 2"][..], scaled_to(5)), (1.5, &[], size(3))] {
        let mut domain = running(3, scaled(json!({})));
        domain.read_at(&Scope::instance("i2"), "load", NOW - 91 * SECOND, 0.0);
        loads(&mut domain, &[load]);
        assert_eq!(domain.decide().requests(), requests);
        assert_eq!(domain.memory(), after);
    }
}

#[test]
fn without_any_reading_the_size_is_held() {
    let mut domain = running(3, scaled(json!({})));
    domain.read("i0", "other", 99.0).read_at(&Scope::instance("i1"), "load", NOW - 91 * SECOND, 99.0);
    let decision = domain.decide();
    assert_eq!((decision.requests().len(), domain.memory()), (0, size(3)));
    assert_eq!(decision.reason, "3 of 3 healthy, no readings of load: the size is held");
}

#[test]
fn it_is_told_how_many_have_no_reading() {
    let mut domain = running(3, scaled(json!({})));
    loads(&mut domain, &[2.0]);
    let decision = domain.decide();
    assert_eq!(decision.reason, "3 of 3 healthy, load is 2.000 over 1 instance, 2 without a reading, neither above 4 nor below 1");
    assert_eq!(decision.figure("without-reading"), Some(2.0));
}

fn last_known(age: u64, changes: Value) -> (Decision, Sensor) {
    let mut config = scaled(json!({ "absent_data": "last-known", "absent_data_max_age": 300 }));
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let mut domain = running(3, config);
    let at = NOW - Duration::from_millis(age);
    domain.read_at(&Scope::instance("i0"), "load", at, 9.0).read_at(&Scope::Domain, "load", at, 9.0);
    (domain.decide(), domain.memory())
}

#[test]
fn the_last_known_reading_counts_up_to_its_age_and_is_told_with_it() {
    let (decision, memory) = last_known(300_000, json!({}));
    assert_eq!((decision.requests(), memory), (vec!["launch 2".to_owned()], scaled_to(5)));
    let words = "load is 9.000 over 1 instance, 1 of them by what was read up to 300 s ago, 2 without a reading, above 4";
    assert!(decision.reason.contains(words), "{}", decision.reason);
    let (decision, memory) = last_known(300_001, json!({}));
    assert_eq!((decision.requests().len(), memory), (0, size(3)));
    let (decision, _) = last_known(200_000, json!({ "absent_data": "hold", "absent_data_max_age": null }));
    assert_eq!(decision.requests().len(), 0, "by default nothing stands in");
}

#[test]
fn the_last_known_reading_of_the_domain_counts_too() {
    let (decision, memory) = last_known(200_000, json!({ "scope": "domain" }));
    assert_eq!(memory, scaled_to(5));
    assert!(decision.reason.contains("load was 9.000 200 s ago, above 4"), "{}", decision.reason);
}

/// Three that run, silent from the beginning, decided upon so many seconds after it.
fn silent(after: u32, changes: Value) -> (Decision, Sensor) {
    let mut config = scaled(json!({ "absent_data": "up" }));
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let mut domain = running(3, config);
    let first = domain.decide();
    assert_eq!(first.requests().len(), 0);
    assert!(first.reason.ends_with("no readings of load: the size is held, and grows if that lasts 90 s more"), "{}", first.reason);
    domain.advance(after * SECOND);
    (domain.decide(), domain.memory())
}

#[test]
fn silence_that_lasts_for_a_period_is_a_step_up_if_that_is_wanted() {
    for changes in
        [json!({}), json!({ "scope": "domain" }), json!({ "target_value": 5, "scale_up_threshold": null, "scale_down_threshold": null })]
    {
        let (decision, memory) = silent(89, changes.clone());
        let silence = Silence { since: NOW, seen: NOW + 89 * SECOND };
        assert_eq!((decision.requests().len(), memory), (0, Sensor { silence: Some(silence), ..size(3) }));
        let (decision, memory) = silent(90, changes);
        assert_eq!(decision.requests(), ["launch 2"]);
        assert_eq!(memory, Sensor { target: Some(5), scaled_at: Some(NOW + 90 * SECOND), ..Sensor::default() });
        assert!(decision.reason.contains("no readings of load for 90 s or more: from 3 to 5"), "{}", decision.reason);
    }
}

#[test]
fn silence_that_lasts_as_long_once_more_after_the_cooldown_grows_again_up_to_the_maximum() {
    let mut domain = running(3, scaled(json!({ "absent_data": "up" })));
    let mut targets = Vec::new();
    for _ in 0..30 {
        domain.decide();
        targets.push((domain.now().since(NOW).as_secs(), domain.memory().target.unwrap()));
        domain.report_all(pilothouse_engine::InstanceState::Running).all_well().advance(10 * SECOND);
    }
    targets.dedup_by_key(|(_, target)| *target);
    assert_eq!(targets, [(0, 3), (90, 5), (240, 6)]);
}

#[test]
fn a_reading_ends_the_silence() {
    let mut domain = running(3, scaled(json!({ "absent_data": "up", "sample_period": 60 })));
    domain.decide();
    domain.advance(59 * SECOND).read("i1", "load", 2.0).decide();
    assert_eq!(domain.memory(), size(3));
    let decision = domain.advance(61 * SECOND).decide();
    assert_eq!(decision.requests().len(), 0);
    assert!(decision.reason.ends_with("and grows if that lasts 60 s more"), "{}", decision.reason);
}

#[test]
fn what_was_silent_under_another_configuration_or_while_nobody_looked_does_not_count() {
    let anew = |rule: &dyn Fn(&mut FakeDomain<Sensor>)| {
        let mut domain = running(3, scaled(json!({ "absent_data": "up" })));
        domain.decide();
        assert_eq!(domain.memory().silence, Some(Silence::found(None, NOW, SECOND)));
        rule(&mut domain);
        domain.memory().silence.map(|silence| silence.since)
    };
    let config = scaled(json!({ "absent_data": "up", "metric": "queue" }));
    let other = |domain: &mut FakeDomain<Sensor>| {
        domain.advance(SECOND).reconfigure(config.clone()).unwrap();
        domain.decide();
    };
    assert_eq!(anew(&other), Some(NOW + SECOND));
    let resting = |domain: &mut FakeDomain<Sensor>| {
        domain.remember(&Sensor { silence: Some(Silence { since: NOW, seen: NOW }), ..scaled_to(3) }).decide();
    };
    assert_eq!(anew(&resting), None);
}

#[test]
fn silence_begins_anew_where_nobody_can_say_what_was_told_meanwhile() {
    let (decision, memory) = silent(91, json!({}));
    assert_eq!(decision.requests().len(), 0, "a period and a second without a look");
    assert_eq!(memory.silence.map(|silence| silence.since), Some(NOW + 91 * SECOND));
    let mut domain = running(3, scaled(json!({ "absent_data": "up" })));
    domain.decide();
    let taken_over = domain.advance(90 * SECOND).cause(Cause::TakenOver).decide();
    assert_eq!(taken_over.requests().len(), 0, "{}", taken_over.reason);
    let asked = domain.advance(89 * SECOND).cause(Cause::Pulse).decide();
    assert_eq!(asked.requests().len(), 0, "{}", asked.reason);
    assert_eq!(domain.advance(SECOND).decide().requests(), ["launch 2"]);
}

#[test]
fn where_nobody_runs_nobody_is_silent() {
    let mut domain = FakeDomain::<Sensor>::new(scaled(json!({ "absent_data": "up" })));
    domain.decide();
    let decision = domain.advance(1000 * SECOND).decide();
    assert_eq!((decision.requests().len(), domain.memory()), (0, size(2)));
    assert!(decision.reason.ends_with("no readings of load: the size is held"), "{}", decision.reason);
}

#[test]
fn those_that_come_anew_are_not_silent_because_those_before_them_were() {
    let mut domain = running(3, scaled(json!({ "absent_data": "up" })));
    domain.decide();
    for id in ["i0", "i1", "i2"] {
        domain.health(id, Health::Missing);
    }
    domain.advance(89 * SECOND).decide();
    assert_eq!(domain.memory(), size(3));
    domain.report_all(pilothouse_engine::InstanceState::Running).all_well().advance(SECOND);
    let decision = domain.decide();
    assert_eq!(decision.requests().len(), 0);
    assert!(decision.reason.ends_with("and grows if that lasts 90 s more"), "{}", decision.reason);
}
