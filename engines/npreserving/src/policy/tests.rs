//! Who is launched, who goes, and who holds what.

use std::time::Duration;

use pilothouse_engine::config::{self, json};
use pilothouse_engine::testing::{Decision, FakeDomain, instance};
use pilothouse_engine::{Cause, Health, InstanceState, Refusal, SITE_FAILURES, Status};

use super::*;
use crate::Npreserving;

type Fake = FakeDomain<Npreserving>;

/// Where instances are launched unless the configuration says otherwise.
const SITE: &str = "ec2-east";

/// N, of which some are unique, each with its label as a variable.
fn keep(preserve_n: u32, labels: &[&str]) -> config::Value {
    let uniques: BTreeMap<&str, _> = labels.iter().map(|label| (*label, json!({ "name": label }))).collect();
    json!({ "preserve_n": preserve_n, "unique_instances": uniques })
}

fn running(id: &str, label: Option<&str>) -> Instance {
    let extra_vars = label.iter().map(|label| ("name".to_owned(), (*label).to_owned())).collect();
    Instance { extra_vars, ..instance(id, InstanceState::Running, Health::Ok) }
}

/// A domain with these instances, whose engine remembers these holders.
fn domain(config: config::Value, holders: &[(&str, &str)], instances: &[Instance]) -> Fake {
    let mut domain = Fake::new(config);
    for instance in instances {
        domain.insert(instance.clone());
    }
    domain.remember(&Npreserving { bound: bound(holders), devmode_failed: false });
    domain
}

fn bound(pairs: &[(&str, &str)]) -> Bound {
    pairs.iter().map(|(label, id)| ((*label).to_owned(), (*id).to_owned())).collect()
}

#[test]
fn unique_instances_are_launched_first_each_with_its_variables() {
    let mut domain = Fake::new(keep(3, &["a", "b"]));
    let decision = domain.decide();
    assert_eq!(decision.requests(), ["launch 1 name=a", "launch 1 name=b", "launch 1"]);
    assert_eq!(domain.memory().bound, bound(&[("a", "new-0"), ("b", "new-1")]));
    assert_eq!(decision.reason, "0 of 3 healthy, 0 of 2 labels held: launching 3");
}

#[test]
fn stable_is_when_every_label_is_held_and_the_number_is_right() {
    let mut domain = domain(keep(2, &["a"]), &[("a", "x")], &[running("x", Some("a")), running("y", None)]);
    assert_eq!(domain.decide().status, Status::Stable);
    assert_eq!(domain.memory().bound, bound(&[("a", "x")]));
}

#[test]
fn an_unhealthy_holder_is_replaced_with_the_same_variables() {
    let mut domain = domain(keep(2, &["a"]), &[("a", "x")], &[running("x", Some("a")), running("y", None)]);
    domain.health("x", Health::Missing);
    assert_eq!(domain.decide().requests(), ["destroy x (missing)", "launch 1 name=a for x"]);
    assert_eq!(domain.memory().bound, bound(&[("a", "new-0")]));
}

#[test]
fn a_holder_that_the_host_does_not_let_go_keeps_its_label() {
    let hold: fn(&mut Fake) -> &mut Fake = |domain| domain.hold("x");
    let refuse: fn(&mut Fake) -> &mut Fake = |domain| domain.refuse_terminations(Refusal::Paused);
    for rule in [hold, refuse] {
        let mut domain = domain(keep(2, &["a"]), &[("a", "x")], &[running("x", Some("a")), running("y", None)]);
        domain.health("x", Health::Missing);
        let decision = rule(&mut domain).decide();
        assert_eq!(decision.requests(), ["destroy x (missing)"]);
        assert_eq!((decision.status, domain.memory().bound), (Status::Pending, bound(&[("a", "x")])));
    }
}

#[test]
fn a_holder_that_is_unhealthy_and_protected_keeps_its_label() {
    let mut domain = domain(keep(2, &["a"]), &[("a", "x")], &[running("x", Some("a")), running("y", None)]);
    domain.health("x", Health::Missing).protect("x", true);
    let decision = domain.decide();
    assert_eq!((decision.requests().len(), decision.status), (0, Status::Pending));
    assert_eq!(decision.reason, "1 of 2 healthy, 1 unhealthy and protected, 1 of 1 labels held");
    domain.protect("x", false);
    assert_eq!(domain.decide().requests(), ["destroy x (missing)", "launch 1 name=a for x"]);
}

#[test]
fn a_protected_holder_of_a_label_that_is_no_longer_wanted_takes_a_place_until_it_may_go() {
    let mut domain = domain(keep(2, &[]), &[("a", "x")], &[running("x", Some("a")), running("y", None)]);
    let told = "2 of 2 healthy, 1 protected with a label that is no longer wanted";
    for _ in 0..2 {
        let decision = domain.protect("x", true).decide();
        assert_eq!((decision.requests().len(), decision.status, &*decision.reason), (0, Status::Pending, told));
        assert_eq!(domain.memory().bound, bound(&[("a", "x")]));
    }
    domain.protect("x", false);
    assert_eq!(domain.decide().requests(), ["destroy x (the label a is no longer wanted)", "launch 1 for x"]);

    let mut none = self::domain(keep(0, &[]), &[("a", "x")], &[running("x", Some("a"))]);
    let told = "1 of 0 healthy, 1 protected with a label that is no longer wanted: 1 more than wanted, but protected";
    assert_eq!(none.protect("x", true).decide().reason, told);
}

#[test]
fn a_new_label_does_not_come_beside_a_protected_holder_unless_a_generic_one_makes_room() {
    let old = running("x", Some("a"));
    let mut full = domain(keep(1, &["b"]), &[("a", "x")], std::slice::from_ref(&old));
    let decision = full.protect("x", true).decide();
    assert_eq!((decision.requests().len(), decision.status), (0, Status::Pending));
    let told = "1 of 1 healthy, 0 of 1 labels held, 1 protected with a label that is no longer wanted, \
                1 waiting for holders of labels that are no longer wanted";
    assert_eq!(decision.reason, told);
    assert_eq!(full.protect("x", false).decide().requests(), ["destroy x (the label a is no longer wanted)", "launch 1 name=b for x"]);

    let mut roomy = domain(keep(2, &["b"]), &[("a", "x")], &[old, running("y", None)]);
    assert_eq!(roomy.protect("x", true).decide().requests(), ["destroy y (it makes room for a label)", "launch 1 name=b for y"]);
}

#[test]
fn a_label_that_is_renamed_while_its_holder_is_protected_waits_and_displaces_nobody() {
    let renamed = json!({ "preserve_n": 2, "unique_instances": { "b": { "name": "a" } } });
    let mut domain = domain(renamed, &[("a", "x")], &[running("x", Some("a")), running("y", None)]);
    let decision = domain.protect("x", true).decide();
    assert_eq!((decision.requests().len(), decision.status), (0, Status::Pending));
    domain.protect("x", false);
    assert_eq!(domain.decide().requests(), ["destroy x (the label a is no longer wanted)", "launch 1 name=a for x"]);
}

#[test]
fn whoever_comes_in_the_place_of_holders_comes_only_with_their_ends() {
    let labels = ["a", "b", "c"];
    let holders = [("a", "x"), ("b", "y"), ("c", "z")];
    let there = [running("x", Some("a")), running("y", Some("b")), running("z", Some("c"))];
    for new in [keep(3, &[]), keep(3, &["d", "e", "f"]), keep(3, &["d"])] {
        let mut domain = domain(keep(3, &labels), &holders, &there);
        domain.hold("x").hold("z").reconfigure(new.clone()).unwrap();
        let launched: Vec<_> = domain.decide().requests().into_iter().filter(|request| request.starts_with("launch")).collect();
        assert!(launched.len() == 1 && launched[0].ends_with(" for y"), "{launched:?}");
        assert_eq!(domain.memory().bound.get("a").map(String::as_str), Some("x"));
        assert!(
            domain.decide().requests().iter().all(|request| !request.starts_with("launch")),
            "the next decision launches nobody either"
        );
        domain.grant_all();
        assert_eq!(domain.decide().launched().len(), 2, "{new}");
    }
}

#[test]
fn of_holders_that_go_the_first_are_not_replaced_when_fewer_are_wanted() {
    let there = [running("x", Some("a")), running("y", Some("b")), running("z", Some("c"))];
    let mut domain = domain(keep(2, &["d"]), &[("a", "x"), ("b", "y"), ("c", "z")], &there);
    let requests = domain.decide().requests();
    assert_eq!(requests[3..], ["launch 1 name=d for y", "launch 1 for z"]);
}

#[test]
fn a_place_that_is_free_already_is_taken_at_once() {
    let mut domain = domain(keep(3, &["b"]), &[("a", "x")], &[running("x", Some("a"))]);
    let requests = ["destroy x (the label a is no longer wanted)", "launch 1 name=b", "launch 1", "launch 1 for x"];
    assert_eq!(domain.decide().requests(), requests);
}

#[test]
fn a_holder_that_is_unhealthy_and_protected_displaces_nobody_healthy() {
    let instances = [running("x", Some("a")), running("y", None), running("z", None)];
    let mut domain = domain(keep(2, &["a"]), &[("a", "x")], &instances);
    domain.health("x", Health::Missing).protect("x", true);
    assert_eq!(domain.decide().requests(), [""; 0]);
    domain.reconfigure(keep(1, &["a"])).unwrap();
    assert_eq!(domain.decide().requests(), ["destroy z (1 more than wanted)"]);
}

#[test]
fn labels_with_equal_variables_that_are_renamed_take_one_holder_each() {
    let both = |labels: [&str; 2]| {
        let uniques: BTreeMap<&str, _> = labels.iter().map(|label| (*label, json!({ "name": "w" }))).collect();
        json!({ "preserve_n": 2, "unique_instances": uniques })
    };
    let there = [running("x", Some("w")), running("y", Some("w"))];
    let mut domain = domain(both(["c", "d"]), &[("a", "x"), ("b", "y")], &there);
    domain.hold("y");
    let ends = ["destroy x (the label a is no longer wanted)", "destroy y (the label b is no longer wanted)"];
    assert_eq!(domain.decide().requests(), [ends[0], ends[1], "launch 1 name=w for x"]);
    assert_eq!(domain.decide().requests(), [ends[1]]);
    assert_eq!(domain.grant_all().decide().requests(), [ends[1], "launch 1 name=w for y"]);
}

#[test]
fn no_more_labels_are_launched_than_the_memory_has_room_for() {
    use crate::config::{BOUND, LABEL_BYTES, LABELS};
    let label = |letter: char, nth: usize| format!("{letter}{nth:0>width$}", width = LABEL_BYTES - 1);
    let id = |nth: usize| format!("i0a6-{nth:0>16}");
    let labels: Vec<String> = (0..LABELS).map(|nth| label('z', nth)).collect();
    let config = keep(1000, &labels.iter().map(String::as_str).collect::<Vec<_>>());
    let mut domain = Fake::new(config);
    // All but one of what the memory holds stay although they should go.
    let gone: Bound = (0..BOUND - 1).map(|nth| (label('a', nth), id(nth))).collect();
    for id in gone.values() {
        domain.insert(running(id, Some("old"))).hold(id);
    }
    domain.remember(&Npreserving { bound: gone, devmode_failed: false });
    let decision = domain.decide();
    assert_eq!(decision.status, Status::Pending);
    assert!(decision.reason.contains(", 255 waiting for holders of labels that are no longer wanted"), "{}", decision.reason);
    assert_eq!((domain.memory().bound.len(), domain.memory_bytes().len() < pilothouse_engine::MEMORY_BYTES), (BOUND, true));
    let there = decision.launched().len() + BOUND - 1;
    assert_eq!(there, 1000 - 255, "and their places are left free");
    assert!(domain.decide().launched().is_empty());
    domain.insert(running("found", Some(&labels[LABELS - 1])));
    domain.decide();
    assert_eq!(domain.memory().bound.len(), BOUND, "and nobody who is found is remembered either");
}

#[test]
fn a_holder_that_is_gone_or_unknown_is_launched_anew() {
    for instances in [vec![], vec![Instance { state: InstanceState::Failed, ..running("x", Some("a")) }]] {
        let mut domain = domain(keep(1, &["a"]), &[("a", "x")], &instances);
        assert_eq!(domain.decide().requests(), ["launch 1 name=a"]);
        assert_eq!(domain.memory().bound, bound(&[("a", "new-0")]));
    }
}

#[test]
fn a_label_whose_launch_is_refused_stays_free() {
    let mut domain = Fake::new(keep(1, &["a"]));
    domain.refuse_launches(Refusal::Paused);
    let reason = domain.decide().reason;
    assert_eq!(reason, "0 of 1 healthy, 0 of 1 labels held: not launching 1: the domain is paused");
    assert_eq!(domain.memory(), Npreserving::default());
}

#[test]
fn only_generic_instances_are_surplus() {
    let instances = [running("y", None), running("z", None), running("x", Some("a"))];
    let mut domain = domain(keep(2, &["a"]), &[("a", "x")], &instances);
    assert_eq!(domain.decide().requests(), ["destroy z (1 more than wanted)"], "the newest is unique");
}

#[test]
fn a_new_label_gets_an_instance_of_its_own_and_a_generic_one_makes_room() {
    let mut domain = domain(keep(2, &[]), &[], &[running("y", None), running("z", None)]);
    domain.decide();
    domain.reconfigure(keep(2, &["a"])).unwrap();
    assert_eq!(domain.decide().requests(), ["destroy z (it makes room for a label)", "launch 1 name=a for z"]);
}

/// Three generic instances, of which two have to make room.
fn two_new_labels() -> Fake {
    domain(keep(3, &["a", "b"]), &[], &[running("x", None), running("y", None), running("z", None)])
}

const ROOM_FOR_TWO: [&str; 3] = ["destroy z y (it makes room for a label)", "launch 1 name=a for z", "launch 1 name=b for y"];

#[test]
fn whoever_makes_room_for_a_label_goes_only_for_one_that_comes() {
    assert_eq!(two_new_labels().decide().requests(), ROOM_FOR_TWO);

    let mut domain = two_new_labels();
    let decision = domain.limit_launches(1).decide();
    assert_eq!(decision.requests(), ["destroy z (it makes room for a label)", "launch 1 name=a for z"]);
    assert!(decision.reason.starts_with("3 of 3 healthy, 0 of 2 labels held, 1 waiting for a place: "), "{}", decision.reason);

    let mut domain = two_new_labels();
    let decision = domain.limit_terminations(1).decide();
    assert_eq!(decision.requests(), [ROOM_FOR_TWO[0], ROOM_FOR_TWO[1]]);
    assert_eq!(domain.memory().bound, bound(&[("a", "new-0")]));

    let mut domain = two_new_labels();
    domain.protect("z", true).protect("y", true).protect("x", true);
    let decision = domain.decide();
    assert_eq!((decision.requests().len(), decision.status), (0, Status::Pending));
    assert_eq!(decision.reason, "3 of 3 healthy, 0 of 2 labels held, 2 waiting for a place");
    assert_eq!(domain.protect("y", false).decide().requests(), ["destroy y (it makes room for a label)", "launch 1 name=a for y"]);
}

#[test]
fn nobody_makes_room_while_the_site_rests_and_one_at_a_time_while_it_fails() {
    let minute = Duration::from_secs(60);
    let mut domain = two_new_labels();
    let decision = domain.site(SITE, 1, Some(minute)).decide();
    assert_eq!((decision.requests().len(), decision.status), (0, Status::Pending));
    assert_eq!(domain.site(SITE, SITE_FAILURES, Some(minute)).decide().status, Status::Failed, "people should look");
    let decision = domain.site(SITE, 1, None).decide();
    assert_eq!(decision.requests(), ["destroy z (it makes room for a label)", "launch 1 name=a for z"]);
    assert_eq!(domain.decide().requests().len(), 0, "one is on its way");
    assert_eq!(domain.site(SITE, 0, None).decide().requests(), ["destroy y (it makes room for a label)", "launch 1 name=b for y"]);

    let mut free = self::domain(keep(2, &["a", "b"]), &[], &[running("x", None)]);
    assert_eq!(free.site(SITE, 1, None).decide().requests(), ["launch 1 name=a"], "the place that is free is tried first");
}

#[test]
fn what_is_wanted_for_free_places_is_not_taken_by_those_for_whom_somebody_goes() {
    let mut domain = domain(keep(3, &["a", "b"]), &[], &[running("x", None), running("y", None)]);
    assert_eq!(domain.limit_launches(1).decide().requests(), ["launch 1 name=a"]);
    assert_eq!(domain.limit_launches(2).decide().requests(), ["destroy y (it makes room for a label)", "launch 1 name=b for y"]);
}

#[test]
fn a_holder_of_a_label_that_left_stays_until_whoever_comes_in_its_place_can_be_launched() {
    for new in [keep(2, &["c"]), keep(2, &[])] {
        let there = [running("x", Some("a")), running("y", Some("b"))];
        let mut domain = domain(new, &[("a", "x"), ("b", "y")], &there);
        let decision = domain.site(SITE, 1, Some(Duration::from_secs(60))).decide();
        assert_eq!((decision.requests().len(), decision.status), (0, Status::Pending));
        assert!(decision.reason.ends_with(", 2 staying until somebody can come in their place"), "{}", decision.reason);
        assert_eq!(domain.memory().bound, bound(&[("a", "x"), ("b", "y")]));
        assert_eq!(domain.site(SITE, 0, None).decide().requests().len(), 4);
    }
    let mut fewer = domain(keep(0, &[]), &[("a", "x")], &[running("x", Some("a"))]);
    let requests = fewer.site(SITE, 1, Some(Duration::from_secs(60))).decide().requests();
    assert_eq!(requests, ["destroy x (the label a is no longer wanted)"], "nobody comes in its place");
}

#[test]
fn a_holder_that_is_ill_goes_before_its_label_takes_the_place_of_another() {
    let there = [running("x", Some("a")), running("y", None), running("z", None)];
    let mut domain = domain(keep(2, &["a"]), &[("a", "x")], &there);
    domain.health("x", Health::Missing);
    assert_eq!(domain.decide().requests(), ["destroy x (missing)"]);
    assert_eq!(domain.decide().requests(), ["destroy z (it makes room for a label)", "launch 1 name=a for z"]);
}

#[test]
fn whoever_goes_anyway_makes_room_for_no_label() {
    let mut domain = domain(keep(2, &["a"]), &[], &[running("x", None), running("y", None), running("z", None)]);
    domain.health("z", Health::Missing);
    let requests = ["destroy z (missing)", "destroy y (it makes room for a label)", "launch 1 name=a for y"];
    assert_eq!(domain.decide().requests(), requests);
}

#[test]
fn who_is_found_later_with_the_variables_of_a_label_that_nobody_holds_holds_it() {
    let mut domain = domain(keep(2, &["a"]), &[("a", "x")], &[running("y", None), running("z", Some("a")), running("w", Some("a"))]);
    let decision = domain.decide();
    assert_eq!(decision.requests(), ["destroy w (1 more than wanted)"]);
    assert_eq!(domain.memory().bound, bound(&[("a", "z")]), "the oldest of two");
}

#[test]
fn who_holds_another_label_is_not_found_for_one_with_its_variables() {
    let same = json!({ "preserve_n": 2, "unique_instances": { "a": { "name": "other" }, "b": { "name": "a" } } });
    let mut domain = domain(same, &[("a", "x")], &[running("x", Some("a"))]);
    assert_eq!(domain.decide().requests(), ["launch 1 name=a"]);
    assert_eq!(domain.memory().bound, bound(&[("a", "x"), ("b", "new-0")]));
}

#[test]
fn a_label_that_takes_over_the_variables_of_one_that_leaves_waits_for_both_holders() {
    let taken_over = json!({ "preserve_n": 2, "unique_instances": { "b": { "name": "a" } } });
    let mut domain = domain(taken_over, &[("a", "x"), ("b", "y")], &[running("x", Some("a")), running("y", Some("b"))]);
    domain.health("y", Health::Missing).hold("x");
    let ends = ["destroy y (missing)", "destroy x (the label a is no longer wanted)"];
    assert_eq!(domain.decide().requests(), ends);
    assert_eq!(domain.decide().requests()[..1], ends[1..], "y is gone, and x still there");
    let requests = domain.grant_all().decide().requests();
    assert_eq!(requests[..2], [ends[1], "launch 1 name=a for x"]);
}

#[test]
fn a_label_that_is_no_longer_wanted_takes_its_holder_along() {
    let mut domain = domain(keep(2, &["a"]), &[("a", "x")], &[running("x", Some("a")), running("y", None)]);
    domain.reconfigure(keep(2, &[])).unwrap();
    assert_eq!(domain.decide().requests(), ["destroy x (the label a is no longer wanted)", "launch 1 for x"]);
    assert_eq!(domain.memory().bound, bound(&[("a", "x")]), "the host may yet find that it stays");
    assert_eq!((domain.decide().requests().len(), domain.memory().bound), (0, bound(&[])));
}

#[test]
fn it_is_asked_again_until_the_host_lets_it_go() {
    let mut domain = domain(keep(0, &[]), &[("a", "x")], &[running("x", Some("a"))]);
    domain.hold("x");
    for _ in 0..2 {
        assert_eq!(domain.decide().requests(), ["destroy x (the label a is no longer wanted)"]);
        assert_eq!(domain.memory().bound, bound(&[("a", "x")]));
    }
    domain.grant_all().decide();
    assert_eq!((domain.decide().requests().len(), domain.memory().bound), (0, bound(&[])));
}

#[test]
fn new_variables_for_a_label_replace_nobody_and_are_for_the_next() {
    let config = json!({ "preserve_n": 1, "unique_instances": { "a": { "name": "other" } } });
    let mut domain = domain(config, &[("a", "x")], &[running("x", Some("a"))]);
    let decision = domain.decide();
    assert_eq!((decision.requests().len(), decision.status), (0, Status::Stable));
    domain.health("x", Health::Missing);
    assert_eq!(domain.decide().requests(), ["destroy x (missing)", "launch 1 name=other for x"]);
}

#[test]
fn running_instances_are_adopted_by_their_variables_each_label_once() {
    let mut domain = Fake::new(keep(3, &["a", "b"]));
    for instance in [running("w", None), running("x", Some("b")), running("y", Some("b")), running("z", Some("c"))] {
        domain.insert(instance);
    }
    domain.initialize().unwrap();
    assert_eq!(domain.memory().bound, bound(&[("b", "x")]));
}

#[test]
fn variables_match_in_any_order_and_only_all_of_them() {
    let adopted = |vars: &[(&str, &str)]| {
        let extra_vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut domain = Fake::new(json!({ "preserve_n": 1, "unique_instances": { "a": { "p": "1", "q": "2" } } }));
        domain.insert(Instance { extra_vars, ..running("x", None) }).initialize().unwrap();
        domain.memory().bound.contains_key("a")
    };
    assert!(adopted(&[("q", "2"), ("p", "1")]));
    assert!(!adopted(&[("p", "1")]));
    assert!(!adopted(&[("p", "1"), ("q", "2"), ("r", "3")]));
}

#[test]
fn more_labels_than_instances_are_refused_with_the_key() {
    assert_eq!(Fake::problems(&keep(2, &["a", "b"])), []);
    let problems = Fake::problems(&keep(1, &["a", "b"]));
    assert_eq!(problems[0].at, "/unique_instances");
    assert!(problems[0].message.contains("preserve_n = 1"), "{}", problems[0].message);
}

#[test]
fn exactly_as_many_labels_as_instances_leave_no_generic_ones() {
    let mut domain = domain(keep(2, &["a", "b"]), &[("a", "x"), ("b", "y")], &[running("x", Some("a")), running("y", Some("b"))]);
    assert_eq!(domain.decide().status, Status::Stable);
    domain.insert(running("z", None));
    assert_eq!(domain.decide().requests(), ["destroy z (1 more than wanted)"]);
    domain.health("x", Health::Missing).health("y", Health::Missing);
    assert_eq!(domain.decide().requests(), ["destroy x y (missing)", "launch 1 name=a for x", "launch 1 name=b for y"]);
}

#[test]
fn a_label_that_is_renamed_is_launched_when_its_old_holder_goes_and_not_before() {
    let renamed = json!({ "preserve_n": 1, "unique_instances": { "b": { "name": "a" } } });
    let mut domain = domain(renamed, &[("a", "x")], &[running("x", Some("a"))]);
    domain.hold("x");
    assert_eq!(domain.decide().requests(), ["destroy x (the label a is no longer wanted)"]);
    assert_eq!(domain.memory().bound, bound(&[("a", "x")]));
    domain.grant_all();
    assert_eq!(domain.decide().requests(), ["destroy x (the label a is no longer wanted)", "launch 1 name=a for x"]);
    assert_eq!(domain.memory().bound, bound(&[("a", "x"), ("b", "new-0")]));
    domain.decide();
    assert_eq!(domain.memory().bound, bound(&[("b", "new-0")]));
}

#[test]
fn a_label_that_goes_and_comes_back_between_two_decisions_keeps_its_holder() {
    let mut domain = domain(keep(1, &["a"]), &[("a", "x")], &[running("x", Some("a"))]);
    domain.reconfigure(keep(1, &[])).unwrap();
    domain.reconfigure(keep(1, &["a"])).unwrap();
    assert_eq!((domain.decide().requests().len(), domain.memory().bound), (0, bound(&[("a", "x")])));
}

#[test]
fn a_label_whose_holder_is_gone_already_leaves_without_a_word() {
    let ended = Instance { state: InstanceState::Terminated, ..running("x", Some("a")) };
    let mut domain = domain(keep(0, &[]), &[("a", "x"), ("b", "never-there")], &[ended]);
    let decision = domain.decide();
    assert_eq!((decision.requests().len(), decision.status, domain.memory().bound), (0, Status::Stable, bound(&[])));
}

#[test]
fn who_takes_over_holds_the_label_even_when_it_is_ill_and_is_replaced_with_it() {
    let mut domain = Fake::new(keep(1, &["a"]));
    domain.insert(running("x", Some("a"))).health("x", Health::ProcessError);
    assert_eq!(domain.decide().requests(), ["destroy x (process error)", "launch 1 name=a for x"]);
}

#[test]
fn who_takes_over_adopts_nobody_who_is_on_its_way_out() {
    let mut domain = Fake::new(keep(1, &["a"]));
    domain.insert(Instance { state: InstanceState::Terminating, ..running("x", Some("a")) });
    assert_eq!(domain.decide().requests(), ["launch 1 name=a"]);
}

#[test]
fn its_variables_and_its_pulse_are_those_of_the_domain_unless_it_has_some_and_again_when_it_has_none() {
    let own = json!({ "preserve_n": 1, "provisioner_vars": { "zone": "b" }, "pulse": 5 });
    let mut domain = Fake::new(own.clone());
    domain.provisioner_vars(vec![("zone".to_owned(), "a".to_owned()), ("role".to_owned(), "web".to_owned())]);
    domain.initialize().unwrap();
    let zone = |zone: &str| vec![("zone".to_owned(), zone.to_owned())];
    assert_eq!((domain.set_vars(), domain.pulse()), (Some(zone("b")), Some(Duration::from_secs(5))));

    let other = json!({ "preserve_n": 1, "provisioner_vars": { "zone": "c" } });
    domain.reconfigure(other).unwrap();
    assert_eq!((domain.set_vars(), domain.pulse()), (Some(zone("c")), None));
    domain.reconfigure(json!({ "preserve_n": 1 })).unwrap();
    assert_eq!((domain.set_vars(), domain.pulse()), (None, None));
    domain.reconfigure(json!({ "preserve_n": 1, "provisioner_vars": {} })).unwrap();
    assert_eq!(domain.set_vars(), Some(Vec::new()), "none at all is something else than nothing said");
    domain.reconfigure(own).unwrap();
    domain.decide();
    assert_eq!(domain.set_vars(), Some(zone("b")), "a decision changes nothing of it");
}

mod devmode {
    use super::*;

    fn devmode(preserve_n: u32, labels: &[&str], on: bool) -> config::Value {
        let mut config = keep(preserve_n, labels);
        config["devmode_no_failure_compensation"] = json!(on);
        config
    }

    #[track_caller]
    fn check(decision: &Decision, requests: &[&str], status: Status, reason: &str) {
        assert_eq!(decision.requests(), requests);
        assert_eq!((decision.status, decision.reason.as_str()), (status, reason));
    }

    #[test]
    fn it_is_stable_as_long_as_nothing_fails() {
        let mut domain = domain(devmode(1, &[], true), &[], &[running("x", None)]);
        check(&domain.decide(), &[], Status::Stable, "1 of 1 healthy");
    }

    #[test]
    fn the_unhealthy_are_left_alone_and_hold_their_places_until_it_is_off() {
        let instances = [running("x", Some("a")), running("y", None), running("z", None)];
        let mut domain = domain(devmode(3, &["a"], true), &[("a", "x")], &instances);
        domain.health("x", Health::Missing).health("y", Health::ProcessError).error("y", "disk full");
        let reason = "1 of 3 healthy, 1 of 1 labels held: something failed in devmode: 2 unhealthy";
        check(&domain.decide(), &[], Status::Failed, reason);
        domain.reconfigure(devmode(3, &["a"], false)).unwrap();
        let requests = ["destroy x (missing)", "destroy y (process error: disk full)", "launch 1 name=a for x", "launch 1"];
        assert_eq!(domain.decide().requests(), requests);
    }

    #[test]
    fn what_has_ended_is_launched_anew_unique_or_not_and_told() {
        let ended = |instance| Instance { state: InstanceState::Failed, health: Health::Unknown, ..instance };
        let instances = [ended(running("x", Some("a"))), ended(running("y", None))];
        let mut domain = domain(devmode(2, &["a"], true), &[("a", "x")], &instances);
        let reason = "0 of 2 healthy, 0 of 1 labels held: launching 2; something failed in devmode: 2 ended";
        check(&domain.decide(), &["launch 1 name=a", "launch 1"], Status::Failed, reason);
    }

    #[test]
    fn the_holder_of_a_label_that_has_gone_stays_until_it_is_off() {
        let mut domain = domain(devmode(1, &[], true), &[("a", "x")], &[running("x", Some("a")), running("y", None)]);
        let reason = "2 of 1 healthy: something failed in devmode: 1 with a label that is no longer wanted";
        check(&domain.decide(), &[], Status::Failed, reason);
        assert_eq!(domain.memory().bound, bound(&[("a", "x")]));
        domain.reconfigure(devmode(1, &[], false)).unwrap();
        assert_eq!(domain.decide().requests(), ["destroy x (the label a is no longer wanted)"]);
    }

    #[test]
    fn too_many_go_as_ever() {
        let mut domain = domain(devmode(1, &[], true), &[], &[running("x", None), running("y", None)]);
        assert_eq!(domain.decide().requests(), ["destroy y (1 more than wanted)"]);
    }

    #[test]
    fn it_stays_failed_until_it_is_off() {
        let mut domain = domain(devmode(1, &[], true), &[], &[running("x", None)]);
        domain.health("x", Health::Missing).decide();
        domain.health("x", Health::Ok);
        let reason = "1 of 1 healthy: something failed in devmode: nobody any more";
        check(&domain.decide(), &[], Status::Failed, reason);
        domain.reconfigure(devmode(1, &[], false)).unwrap();
        check(&domain.decide(), &[], Status::Stable, "1 of 1 healthy");
        domain.reconfigure(devmode(1, &[], true)).unwrap();
        check(&domain.decide(), &[], Status::Stable, "1 of 1 healthy");
    }
}

#[test]
fn what_the_version_before_remembered_is_read() {
    let config = keep(2, &["a"]);
    let mut one = domain(config.clone(), &[], &[running("x", Some("other")), running("y", None)]);
    // Version 1, one holder: the label `a`, the instance `x`.
    one.remember_bytes(*b"\x01\x01\x01a\x01x").cause(Cause::Swapped);
    assert_eq!(one.decide().status, Status::Stable, "and by its id, not by its variables");
    assert_eq!(one.memory().bound, bound(&[("a", "x")]));

    let mut none = domain(config, &[], &[]);
    assert_eq!(none.remember_bytes(*b"").decide().requests(), ["launch 1 name=a", "launch 1"]);
    assert!(none.remember_bytes(*b"\x01\x07").try_decide().is_err());
    assert!(none.remember_bytes(*b"\x03\x00\x00").try_decide().is_err());
}

#[test]
fn the_longest_labels_of_a_whole_configuration_and_as_many_that_leave_it_fit_into_the_memory() {
    use crate::config::{LABEL_BYTES, LABELS};
    let named = |letter: char| -> Vec<String> { (0..LABELS).map(|n| format!("{letter}{n:0>width$}", width = LABEL_BYTES - 1)).collect() };
    // As long as the ids that hosts mint.
    let id = |nth: usize| format!("i0a6-{nth:0>16}");
    let all: Vec<String> = named('a').into_iter().chain(named('b')).collect();
    let bound: Bound = all.iter().enumerate().map(|(nth, label)| (label.clone(), id(nth))).collect();
    let mut domain = Fake::new(json!({}));
    domain.remember(&Npreserving { bound, devmode_failed: true });
    assert!(domain.memory_bytes().len() < pilothouse_engine::MEMORY_BYTES);
}
