//! Exactly N instances: how a domain stands → what has to come and what has to go.
//!
//! Pure: it sees a [`Survey`] and gives a [`Plan`]. Unhealthy instances don't count, so their replacements are asked for at once. If
//! the host defers their end, the replacements are there already when it asks again, and nothing is launched twice.

use pilothouse_engine::config::{Count, defaults, json};
use pilothouse_engine::{Launch, Plan, Surplus, Survey, Victims};
use schemars::JsonSchema;
use serde::Deserialize;

/// What the engine is told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Configuration of the engine simplest")]
#[schemars(example = json!({ "preserve_n": 3 }))]
#[schemars(example = json!({
    "preserve_n": 3, "force_site": "local", "epuworker_type": "web", "epuworker_allocation": "large", "victims": "random"
}))]
pub struct Config {
    /// How many instances to keep. A whole number, or one in a string.
    #[schemars(example = 0, example = 3, example = &"3")]
    pub preserve_n: Count,
    /// The site to launch at.
    #[serde(default = "defaults::site")]
    #[schemars(length(min = 1))]
    pub force_site: String,
    /// The deployable type to launch.
    #[serde(default = "defaults::deployable_type")]
    #[schemars(length(min = 1))]
    pub epuworker_type: String,
    /// The size to launch.
    #[serde(default = "defaults::allocation")]
    #[schemars(length(min = 1))]
    pub epuworker_allocation: String,
    /// Who goes first when there are too many.
    #[serde(default)]
    pub victims: Victims,
}

/// What has to come and what has to go.
#[must_use]
pub fn plan(config: &Config, survey: &Survey) -> Plan {
    let target = config.preserve_n.get();
    let mut plan = Plan::of(survey, target);
    let (missing, surplus) = (survey.missing(target), survey.surplus(target));
    if missing > 0 {
        plan.launches.push(Launch { count: missing, ..Launch::default() });
    } else if surplus > 0 {
        plan.surplus = Some(Surplus::of(surplus, config.victims));
    }
    plan
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pilothouse_engine::testing::{Decision, FakeDomain, instance};
    use pilothouse_engine::{Health, InstanceState, Refusal, Status};

    use super::*;
    use crate::Simplest;

    fn keep(preserve_n: u32) -> FakeDomain<Simplest> {
        FakeDomain::new(json!({ "preserve_n": preserve_n }))
    }

    /// Of `count`, as many are well and running: `a`, `b` and so on.
    fn kept(count: u32, running: u32) -> FakeDomain<Simplest> {
        let mut domain = keep(count);
        for letter in ('a'..).take(running as usize) {
            domain.running(&letter.to_string());
        }
        domain
    }

    #[track_caller]
    fn check(decision: &Decision, requests: &[&str], status: Status, reason: &str) {
        assert_eq!(decision.requests(), requests);
        assert_eq!((decision.status, decision.reason.as_str()), (status, reason));
    }

    #[test]
    fn what_is_missing_is_launched() {
        check(&keep(3).decide(), &["launch 3"], Status::Pending, "0 of 3 healthy: launching 3");
        check(&kept(3, 2).decide(), &["launch 1"], Status::Pending, "2 of 3 healthy: launching 1");
    }

    #[test]
    fn what_is_on_its_way_is_not_launched_again() {
        let mut domain = keep(3);
        domain.decide();
        check(&domain.decide(), &[], Status::Pending, "3 of 3 healthy");
        domain.report("new-1", InstanceState::Started).report("new-2", InstanceState::Running).health("new-2", Health::Ok);
        check(&domain.decide(), &[], Status::Pending, "3 of 3 healthy");
    }

    #[test]
    fn stable_is_when_all_run_and_nothing_is_asked() {
        check(&kept(3, 3).decide(), &[], Status::Stable, "3 of 3 healthy");
        check(&keep(0).decide(), &[], Status::Stable, "0 of 0 healthy");
    }

    #[test]
    fn a_running_instance_that_has_not_said_that_it_is_well_is_waited_for() {
        let mut domain = kept(3, 3);
        domain.health("b", Health::OutOfContact);
        check(&domain.decide(), &[], Status::Pending, "3 of 3 healthy");
        domain.monitor_health(false);
        check(&domain.decide(), &[], Status::Stable, "3 of 3 healthy");
    }

    #[test]
    fn an_unhealthy_instance_is_replaced_in_one_decision() {
        let mut domain = kept(3, 3);
        domain.health("b", Health::ProcessError).error("b", "web exited with 1");
        check(
            &domain.decide(),
            &["destroy b (process error: web exited with 1)", "launch 1"],
            Status::Pending,
            "2 of 3 healthy: terminating 1 (process error: web exited with 1); launching 1",
        );
    }

    #[test]
    fn the_same_trouble_is_one_request() {
        let mut domain = kept(3, 3);
        domain.health("a", Health::Missing).report("b", InstanceState::RunningFailed).health("c", Health::Missing);
        assert_eq!(domain.decide().requests(), ["destroy a c (missing)", "destroy b (did not become ready)", "launch 3"]);
    }

    #[test]
    fn a_replacement_that_is_there_already_is_not_launched_again_while_the_termination_is_held_back() {
        let mut domain = kept(4, 4);
        domain.health("a", Health::Missing).health("b", Health::Missing).hold("a");
        let reason = "2 of 4 healthy: terminating 1 (missing); 1 held back from terminating (missing); launching 2";
        check(&domain.decide(), &["destroy a b (missing)", "launch 2"], Status::Pending, reason);
        let reason = "4 of 4 healthy: not terminating 1 (missing): the brake is on: the test holds them";
        check(&domain.decide(), &["destroy a (missing)"], Status::Pending, reason);
    }

    #[test]
    fn when_one_recovers_that_was_held_back_the_surplus_goes() {
        let mut domain = kept(2, 2);
        domain.health("a", Health::Missing).hold("a").decide();
        domain.health("a", Health::Ok);
        assert_eq!(domain.decide().requests(), ["destroy new-0 (1 more than wanted)"]);
    }

    #[test]
    fn one_that_is_on_its_way_out_is_neither_counted_nor_asked_again() {
        let mut domain = kept(3, 3);
        domain.insert(instance("x", InstanceState::Terminating, Health::Missing));
        check(&domain.decide(), &[], Status::Stable, "3 of 3 healthy");
    }

    #[test]
    fn a_zombie_is_asked_to_go_again() {
        let mut domain = kept(3, 3);
        domain.insert(instance("z", InstanceState::Terminated, Health::Zombie));
        check(&domain.decide(), &["destroy z (zombie)"], Status::Pending, "3 of 3 healthy: terminating 1 (zombie)");
    }

    #[test]
    fn too_many_are_reduced_to_the_number() {
        let reason = "4 of 2 healthy: terminating 2 (2 more than wanted)";
        check(&kept(2, 4).decide(), &["destroy d c (2 more than wanted)"], Status::Pending, reason);
    }

    #[test]
    fn what_is_protected_stays_and_another_one_goes() {
        let mut domain = kept(2, 4);
        domain.protect("d", true);
        check(
            &domain.decide(),
            &["destroy c b (2 more than wanted)"],
            Status::Pending,
            "4 of 2 healthy: terminating 2 (2 more than wanted)",
        );
        let mut domain = kept(0, 3);
        domain.protect("a", true).protect("b", true);
        let reason = "3 of 0 healthy: terminating 1 (3 more than wanted); 2 more than wanted, but protected";
        check(&domain.decide(), &["destroy c (3 more than wanted)"], Status::Pending, reason);
        check(&domain.decide(), &[], Status::Pending, "2 of 0 healthy: 2 more than wanted, but protected");
        assert_eq!(domain.protect("a", false).decide().requests(), ["destroy a (2 more than wanted)"]);
    }

    #[test]
    fn what_is_unhealthy_and_protected_holds_its_place() {
        let mut domain = kept(3, 3);
        domain.health("b", Health::Missing).protect("b", true);
        check(&domain.decide(), &[], Status::Pending, "2 of 3 healthy, 1 unhealthy and protected");
        domain.protect("b", false);
        assert_eq!(domain.decide().requests(), ["destroy b (missing)", "launch 1"]);
    }

    #[test]
    fn what_is_unhealthy_and_protected_displaces_nobody_healthy() {
        let mut domain = kept(1, 3);
        domain.health("a", Health::Missing).protect("a", true);
        check(
            &domain.decide(),
            &["destroy c (1 more than wanted)"],
            Status::Pending,
            "2 of 1 healthy, 1 unhealthy and protected: terminating 1 (1 more than wanted)",
        );
        check(&domain.decide(), &[], Status::Stable, "1 of 1 healthy, 1 unhealthy and protected");
    }

    #[test]
    fn who_goes_may_be_left_to_chance() {
        let victims = |seed: u64| {
            let mut domain = FakeDomain::<Simplest>::new(json!({ "preserve_n": 4, "victims": "random" }));
            for id in ["a", "b", "c", "d", "e", "f", "g", "h"] {
                domain.running(id);
            }
            domain.seed(seed).decide().terminated()
        };
        assert_eq!(victims(1), victims(1));
        assert!((2..20).any(|seed| victims(seed) != victims(1)));
    }

    #[test]
    fn an_unhealthy_instance_does_not_take_the_place_of_a_surplus_one() {
        let mut domain = kept(1, 3);
        domain.health("c", Health::Missing);
        assert_eq!(domain.decide().requests(), ["destroy c (missing)", "destroy b (1 more than wanted)"]);
    }

    #[test]
    fn a_refusal_is_told_and_is_no_error() {
        let mut domain = keep(3);
        domain.refuse_launches(Refusal::BackingOff(Duration::from_millis(12_300)));
        let reason = "0 of 3 healthy: not launching 3: launches at the site keep failing, 13 s to wait";
        check(&domain.decide(), &["launch 3"], Status::Pending, reason);

        let mut domain = kept(1, 1);
        domain.health("a", Health::Missing).refuse(Refusal::Paused);
        let reason = "0 of 1 healthy: not terminating 1 (missing): the domain is paused; not launching 1: the domain is paused";
        check(&domain.decide(), &["destroy a (missing)", "launch 1"], Status::Pending, reason);
    }

    #[test]
    fn what_is_granted_in_part_is_told_in_part() {
        let mut domain = keep(5);
        domain.limit_launches(2);
        check(&domain.decide(), &["launch 5"], Status::Pending, "0 of 5 healthy: launching 2; 3 more to launch later");
        check(&domain.decide(), &["launch 3"], Status::Pending, "2 of 5 healthy: launching 2; 1 more to launch later");
    }

    #[test]
    fn a_reason_stays_readable_however_much_goes_wrong() {
        let mut domain = kept(100, 0);
        for n in 0..100 {
            let id = format!("i{n}");
            domain.running(&id).health(&id, Health::ProcessError).error(&id, &format!("{n} {}", "x".repeat(4000)));
        }
        let decision = domain.decide();
        assert_eq!(decision.terminated().len(), 100);
        let (first, last) = ("0 of 100 healthy: terminating 1 (process error: 0 xxx", "xxx…; and 90 more of that kind; launching 100");
        assert!(decision.reason.starts_with(first) && decision.reason.ends_with(last), "{}", decision.reason);
    }

    #[test]
    fn no_more_is_asked_in_one_decision_than_the_host_takes() {
        let reason = "0 of 2500 healthy: launching 1000; 1500 more to launch later";
        check(&keep(2500).decide(), &["launch 1000"], Status::Pending, reason);
    }

    #[test]
    fn the_figures_explain_the_reason() {
        let mut domain = kept(3, 2);
        domain.insert(instance("x", InstanceState::Pending, Health::Unknown)).health("a", Health::Missing);
        let figures: Vec<String> = domain.decide().figures.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(figures, ["target=3", "valid=3", "healthy=2", "running=1", "starting=1", "unhealthy=1", "launched=1", "terminated=1"]);
    }

    #[test]
    fn it_launches_what_it_is_told_and_where() {
        let mut domain = keep(1);
        domain.decide();
        let new = domain.instance("new-0");
        assert_eq!((&*new.site, &*new.deployable_type, &*new.allocation), ("ec2-east", "epu_work_consumer", "small"));

        let config = json!({ "preserve_n": "1", "force_site": "local", "epuworker_type": "web", "epuworker_allocation": "large" });
        let mut domain = FakeDomain::<Simplest>::new(config);
        domain.decide();
        let new = domain.instance("new-0");
        assert_eq!((&*new.site, &*new.deployable_type, &*new.allocation), ("local", "web", "large"));
    }

    #[test]
    fn nothing_is_remembered() {
        let mut domain = kept(3, 1);
        domain.decide();
        assert_eq!(domain.memory_bytes(), b"");
    }
}
