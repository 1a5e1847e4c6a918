//! What is the same for every policy: who gets which value, who goes first, and when people should look.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Launch, Plan, SITE_FAILURES, Surplus, Template};
use crate::config::{Count, json};
use crate::testing::{Decision, FakeDomain, check_schema, instance};
use crate::{
    About, Control, Domain, Engine, Error, Health, Instance, InstanceId, InstanceState, Refusal, Status, Survey, UniqueValues, Uniques,
    Verdict, Victims,
};

/// So many, each with a value of its own if there are values.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sharer {}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({ "n": 2, "unique_key": "port", "unique_values": [80, "443"] }))]
#[schemars(example = json!({ "n": 2, "unique_key": "port", "unique_values": "80, 443" }))]
struct Config {
    /// So many.
    n: Count,
    /// The variable.
    unique_key: Option<String>,
    /// Its values.
    #[serde(default)]
    unique_values: UniqueValues,
    /// Who goes first.
    #[serde(default)]
    retirable_nodes: Vec<InstanceId>,
    /// Why it can't be done.
    #[schemars(example = &"there is no such place")]
    sorry: Option<String>,
}

impl Engine for Sharer {
    type Config = Config;

    const ABOUT: About = About { name: "sharer", version: "1.0.0", documentation: "Shares values out." };

    fn decide(&mut self, domain: &Domain<'_>, config: &Config, control: &Control<'_>) -> Result<Verdict, Error> {
        let (survey, wanted) = (Survey::of(domain), config.n.get());
        let mut plan = Plan::of(&survey, wanted);
        plan.failed.clone_from(&config.sorry);
        let (missing, surplus) = (survey.missing(wanted), survey.surplus(wanted));
        if missing > 0 {
            plan.launches.push(Launch { count: missing, ..Launch::default() });
            plan.uniques = Uniques::of(config.unique_key.as_deref(), &config.unique_values);
        } else if surplus > 0 {
            let surplus = Surplus::of(surplus, Victims::Newest);
            plan.surplus = Some(Surplus { first: config.retirable_nodes.clone(), ..surplus });
        }
        let template = Template { deployable_type: "worker", site: "local", allocation: "small" };
        Ok(plan.carry_out(domain, control, &template).verdict())
    }
}

type Fake = FakeDomain<Sharer>;

fn ports(n: u32, values: serde_json::Value) -> Fake {
    Fake::new(json!({ "n": n, "unique_key": "port", "unique_values": values }))
}

/// Runs and is well, with this port.
fn running(id: &str, port: &str) -> Instance {
    Instance { extra_vars: vec![("port".to_owned(), port.to_owned())], ..instance(id, InstanceState::Running, Health::Ok) }
}

#[track_caller]
fn check(decision: &Decision, requests: &[&str], status: Status, reason: &str) {
    assert_eq!(decision.requests(), requests);
    assert_eq!((decision.status, decision.reason.as_str()), (status, reason));
}

#[test]
fn the_schema_says_what_the_values_are() {
    check_schema::<Sharer>();
}

#[test]
fn values_are_a_list_or_a_text_with_commas() {
    let read = |values: serde_json::Value| serde_json::from_value::<UniqueValues>(values).map(|values| values.as_slice().to_vec());
    for values in [json!(["a", "b"]), json!("a,b"), json!(" a , b "), json!(["a", " b "]), json!("a,,b,"), json!(["", "a", "b"])] {
        assert_eq!(read(values.clone()).unwrap(), ["a", "b"], "{values}");
    }
    assert_eq!(read(json!([1, -2, 3.0, "0"])).unwrap(), ["1", "-2", "3", "0"]);
    for values in [json!([]), json!(""), json!("  "), json!(" , "), json!(null)] {
        assert_eq!(read(values.clone()).unwrap(), [""; 0], "{values}");
    }
    for (values, told) in [
        (json!(["a", "b", "a"]), "the value \"a\" is there twice"),
        (json!("a, b, a"), "the value \"a\" is there twice"),
        (json!([1, "1"]), "the value \"1\" is there twice"),
        (json!([1.5]), "expected a text or a whole number"),
        (json!([["a"]]), "expected a text or a whole number"),
        (json!(true), "expected a list of values"),
        (json!({ "a": 1 }), "expected a list of values"),
    ] {
        let error = read(values.clone()).unwrap_err().to_string();
        assert!(error.contains(told), "{values}: {error}");
    }
}

#[test]
fn each_launch_gets_the_next_value_that_nobody_has() {
    let mut domain = ports(3, json!("1, 2, 3, 4"));
    domain.insert(running("x", "2"));
    check(&domain.decide(), &["launch 1 port=1", "launch 1 port=3"], Status::Pending, "1 of 3 healthy: launching 2");
}

#[test]
fn without_a_key_or_without_values_all_are_alike() {
    for config in [json!({ "n": 2, "unique_key": "port" }), json!({ "n": 2, "unique_values": [1] }), json!({ "n": 2, "unique_key": "" })] {
        assert_eq!(Fake::new(config).decide().requests(), ["launch 2"]);
    }
}

#[test]
fn a_value_is_free_again_when_its_holder_has_ended_or_is_on_its_way_out() {
    for state in [InstanceState::Terminating, InstanceState::Terminated, InstanceState::Failed, InstanceState::Rejected] {
        let mut domain = ports(1, json!([7]));
        domain.insert(Instance { state, health: Health::Unknown, ..running("x", "7") });
        assert_eq!(domain.decide().requests(), ["launch 1 port=7"], "{state:?}");
    }
}

#[test]
fn the_value_of_one_that_ends_in_the_same_decision_goes_to_its_replacement_and_only_with_its_end() {
    let mut domain = ports(2, json!([1, 2, 3]));
    domain.insert(running("x", "1")).insert(running("y", "2")).health("x", Health::Missing);
    let reason = "1 of 2 healthy: terminating 1 (missing); launching 1";
    check(&domain.decide(), &["destroy x (missing)", "launch 1 port=1 for x"], Status::Pending, reason);
}

#[test]
fn a_replacement_gets_the_value_of_the_one_that_goes_although_an_earlier_one_is_free() {
    let mut domain = ports(3, json!(["z", "a", "b", "c"]));
    domain.insert(running("x", "a")).insert(running("y", "b")).health("y", Health::Missing);
    assert_eq!(domain.decide().requests(), ["destroy y (missing)", "launch 1 port=b for y", "launch 1 port=z"]);
}

#[test]
fn while_its_end_is_held_back_its_value_goes_to_nobody() {
    let mut domain = ports(2, json!([1, 2, 3]));
    domain.insert(running("x", "1")).insert(running("y", "2")).health("x", Health::Missing).hold("x");
    assert_eq!(domain.decide().requests(), ["destroy x (missing)", "launch 1 port=3"], "there is another");

    let mut domain = ports(2, json!([1, 2]));
    domain.insert(running("x", "1")).insert(running("y", "2")).health("x", Health::Missing).hold("x");
    let reason = "1 of 2 healthy: not terminating 1 (missing): the brake is on: the test holds them; \
                  1 to launch when a unique value is free";
    check(&domain.decide(), &["destroy x (missing)"], Status::Pending, reason);
    assert_eq!(domain.grant_all().decide().requests(), ["destroy x (missing)", "launch 1 port=1 for x"]);
}

#[test]
fn a_value_that_two_have_is_given_to_nobody_until_both_are_on_their_way_out() {
    let mut domain = ports(2, json!([1, 2]));
    domain.insert(running("x", "1")).insert(running("y", "1")).health("x", Health::Missing).health("y", Health::Missing);
    assert_eq!(domain.decide().requests(), ["destroy x y (missing)", "launch 1 port=2"]);
    assert_eq!(domain.decide().requests(), ["launch 1 port=1"]);
}

#[test]
fn when_no_value_is_left_nobody_is_launched_and_people_should_look() {
    let mut domain = ports(4, json!([1, 2]));
    let decision = domain.decide();
    let reason = "0 of 4 healthy: no unique value is left for 2; launching 2";
    check(&decision, &["launch 1 port=1", "launch 1 port=2"], Status::Failed, reason);
    assert_eq!(decision.figure("unique-values-free"), Some(2.0));
    check(&domain.decide(), &[], Status::Failed, "2 of 4 healthy: no unique value is left for 2");
}

#[test]
fn an_instance_with_a_value_that_is_no_longer_listed_keeps_its_place() {
    let mut domain = ports(2, json!([1]));
    domain.insert(running("x", "9")).insert(running("y", "1"));
    check(&domain.decide(), &[], Status::Stable, "2 of 2 healthy");
}

#[test]
fn those_to_retire_go_before_all_others_in_the_order_in_which_they_are_named() {
    let named = ["b", "nobody", "gone", "kept", "a", "a"];
    let mut domain = Fake::new(json!({ "n": 3, "retirable_nodes": named }));
    for id in ["a", "b", "c", "d", "kept"] {
        domain.running(id);
    }
    domain.insert(instance("gone", InstanceState::Failed, Health::Unknown)).protect("kept", true);
    assert_eq!(domain.decide().requests(), ["destroy b a (2 more than wanted)"]);

    let mut domain = Fake::new(json!({ "n": 1, "retirable_nodes": ["a"] }));
    domain.running("a").running("b").running("c");
    assert_eq!(domain.decide().requests(), ["destroy a c (2 more than wanted)"], "and then the newest");
}

#[test]
fn those_to_retire_are_not_ended_for_that_alone() {
    let mut domain = Fake::new(json!({ "n": 2, "retirable_nodes": ["a"] }));
    check(&domain.running("a").running("b").decide(), &[], Status::Stable, "2 of 2 healthy");
}

#[test]
fn what_passes_by_itself_is_waited_for() {
    let wait = Duration::from_secs(2);
    for refusal in [
        Refusal::Paused,
        Refusal::Budget(wait),
        Refusal::Brake("too many".to_owned()),
        Refusal::Blind("since noon".to_owned()),
        Refusal::BackingOff(wait),
        Refusal::Other("a new guard".to_owned()),
    ] {
        let mut domain = Fake::new(json!({ "n": 1 }));
        assert_eq!(domain.refuse(refusal.clone()).decide().status, Status::Pending, "{refusal}");
    }
}

#[test]
fn launches_over_a_limit_and_nonsense_are_for_people_to_look_at() {
    for refusal in [Refusal::Quota("max_instances is 3".to_owned()), Refusal::Invalid("site: no such name".to_owned())] {
        let mut domain = Fake::new(json!({ "n": 1 }));
        let decision = domain.refuse_launches(refusal.clone()).decide();
        check(&decision, &["launch 1"], Status::Failed, &format!("0 of 1 healthy: not launching 1: {refusal}"));
    }
}

#[test]
fn a_limit_under_which_room_is_being_made_is_waited_for() {
    let full = || Refusal::Quota("max_instances is 2".to_owned());
    let mut domain = Fake::new(json!({ "n": 2 }));
    domain.running("a").running("b").health("b", Health::Missing).refuse_launches(full());
    assert_eq!(domain.decide().status, Status::Pending, "one goes in this decision");
    assert_eq!(domain.decide().status, Status::Pending, "and is on its way out");
    domain.report("b", InstanceState::Terminated);
    assert_eq!(domain.decide().status, Status::Failed, "nobody makes room any more");

    let mut domain = Fake::new(json!({ "n": 2 }));
    domain.running("a").running("b").health("b", Health::Missing).hold("b").refuse_launches(full());
    assert_eq!(domain.decide().status, Status::Pending, "who is held back goes later");

    let mut domain = Fake::new(json!({ "n": 4 }));
    domain.running("a").running("b").health("b", Health::Missing).refuse_launches(full());
    assert_eq!(domain.decide().status, Status::Failed, "three are missing, and room is made for one");

    let mut domain = Fake::new(json!({ "n": 1 }));
    domain.insert(instance("z", InstanceState::Terminated, Health::Zombie)).refuse_launches(full());
    assert_eq!(domain.decide().status, Status::Failed, "a zombie is not counted, so its end makes no room");
}

#[test]
fn a_site_where_launches_go_on_failing_is_for_people_to_look_at() {
    let mut domain = Fake::new(json!({ "n": 2 }));
    domain.running("a").site("local", SITE_FAILURES - 1, None);
    let decision = domain.decide();
    check(&decision, &["launch 1"], Status::Pending, "1 of 2 healthy: launching 1");
    assert_eq!(decision.figure("site-failures"), Some(f64::from(SITE_FAILURES - 1)));

    domain.report("new-0", InstanceState::Rejected);
    let decision = domain.decide();
    check(&decision, &["launch 1"], Status::Failed, "1 of 2 healthy: launching 1; 5 launches at local have failed since one last ran");
    assert_eq!(decision.figure("site-failures"), Some(5.0));
    let reason = "2 of 2 healthy: 5 launches at local have failed since one last ran";
    check(&domain.decide(), &[], Status::Failed, reason);

    domain.report("new-1", InstanceState::Running).all_well();
    let decision = domain.decide();
    check(&decision, &[], Status::Stable, "2 of 2 healthy");
    assert_eq!(decision.figure("site-failures"), None);
}

#[test]
fn a_site_that_fails_harms_nobody_who_has_enough() {
    let mut domain = Fake::new(json!({ "n": 1 }));
    check(&domain.running("a").site("local", 50, None).decide(), &[], Status::Stable, "1 of 1 healthy");
    let mut domain = Fake::new(json!({ "n": 1 }));
    assert_eq!(domain.site("elsewhere", 50, None).decide().status, Status::Pending, "nobody is launched there");
}

#[test]
fn a_policy_that_knows_that_it_cannot_be_kept_says_so() {
    let mut domain = Fake::new(json!({ "n": 1, "sorry": "there is no such place" }));
    check(&domain.running("a").decide(), &[], Status::Failed, "1 of 1 healthy: there is no such place");
}
