//! Exactly N instances: how a domain stands → what has to come and what has to go.
//!
//! Pure: it sees a [`Survey`] and gives a [`Plan`]. Unhealthy instances don't count, so their replacements are asked for at once. If
//! the host defers their end, the replacements are there already when it asks again, and nothing is launched twice.

use pilothouse_engine::config::{self, defaults};
use pilothouse_engine::{Launch, Plan, Surplus, Survey, Victims};
use serde::Deserialize;

/// What the engine is told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How many instances to keep.
    #[serde(deserialize_with = "config::count")]
    pub preserve_n: u32,
    /// Where to launch.
    #[serde(default = "defaults::site")]
    pub force_site: String,
    /// What to launch.
    #[serde(default = "defaults::deployable_type")]
    pub epuworker_type: String,
    /// In which size.
    #[serde(default = "defaults::allocation")]
    pub epuworker_allocation: String,
    /// Who goes first when there are too many.
    #[serde(default)]
    pub victims: Victims,
}

/// What has to come and what has to go.
#[must_use]
pub fn plan(config: &Config, survey: &Survey) -> Plan {
    let target = config.preserve_n;
    let mut plan = Plan::of(survey, target);
    if survey.healthy < target {
        plan.launches.push(Launch { count: target - survey.healthy, ..Launch::default() });
    } else if survey.healthy > target {
        plan.surplus = Some(Surplus::of(survey.healthy - target, config.victims));
    }
    plan
}

#[cfg(test)]
mod tests {
    use pilothouse_engine::testing::{Recorder, check_schema, counts, instance};
    use pilothouse_engine::{Counts, Engine, Health, Instance, InstanceState, Refusal, Status, Template, Verdict};

    use super::*;

    const TEMPLATE: Template<'_> = Template { deployable_type: "web", site: "local", allocation: "small" };

    fn keep(preserve_n: u32) -> Config {
        config::parse(&format!("{{\"preserve_n\":{preserve_n}}}")).unwrap()
    }

    /// `starting` instances on their way, `running` that run, the unhealthy among both.
    fn seen(starting: u32, running: u32, unhealthy: Vec<Instance>) -> Survey {
        Survey::new(Counts { valid: starting + running, starting, running, unhealthy: 1, ..counts() }, unhealthy)
    }

    fn missing(id: &str) -> Instance {
        instance(id, InstanceState::Running, Health::Missing)
    }

    fn decide(preserve_n: u32, survey: &Survey, hands: &Recorder) -> Verdict<()> {
        plan(&keep(preserve_n), survey).carry_out(hands, &TEMPLATE).verdict(())
    }

    #[track_caller]
    fn check(preserve_n: u32, survey: &Survey, hands: &Recorder, asked: &[&str], status: Status, reason: &str) {
        let verdict = decide(preserve_n, survey, hands);
        assert_eq!(*hands.asked.borrow(), asked);
        assert_eq!((verdict.status, verdict.reason.as_str()), (status, reason));
    }

    #[test]
    fn what_is_missing_is_launched() {
        check(3, &seen(0, 0, vec![]), &Recorder::default(), &["launch 3"], Status::Pending, "0 of 3 healthy: launching 3");
        check(3, &seen(0, 2, vec![]), &Recorder::default(), &["launch 1"], Status::Pending, "2 of 3 healthy: launching 1");
    }

    #[test]
    fn what_is_on_its_way_is_not_launched_again() {
        check(3, &seen(1, 2, vec![]), &Recorder::default(), &[], Status::Pending, "3 of 3 healthy");
    }

    #[test]
    fn stable_is_when_all_run_and_nothing_is_asked() {
        check(3, &seen(0, 3, vec![]), &Recorder::default(), &[], Status::Stable, "3 of 3 healthy");
        check(0, &seen(0, 0, vec![]), &Recorder::default(), &[], Status::Stable, "0 of 0 healthy");
    }

    #[test]
    fn a_running_instance_that_has_not_said_that_it_is_well_is_waited_for() {
        let survey = Survey { unconfirmed: true, ..seen(0, 3, vec![]) };
        check(3, &survey, &Recorder::default(), &[], Status::Pending, "3 of 3 healthy");
    }

    #[test]
    fn an_unhealthy_instance_is_replaced_in_one_decision() {
        let mut sick = instance("b", InstanceState::Running, Health::ProcessError);
        sick.errors = vec!["web exited with 1".to_owned()];
        check(
            3,
            &seen(0, 3, vec![sick]),
            &Recorder::default(),
            &["destroy b (process error: web exited with 1)", "launch 1"],
            Status::Pending,
            "2 of 3 healthy: terminating 1 (process error: web exited with 1); launching 1",
        );
    }

    #[test]
    fn the_same_trouble_is_one_request() {
        let ill = vec![missing("a"), instance("b", InstanceState::RunningFailed, Health::Unknown), missing("c")];
        let hands = Recorder::default();
        decide(3, &seen(0, 3, ill), &hands);
        assert_eq!(*hands.asked.borrow(), ["destroy a c (missing)", "destroy b (did not become ready)", "launch 3"]);
    }

    #[test]
    fn a_replacement_that_is_there_already_is_not_launched_again_while_the_termination_is_held_back() {
        let hands = Recorder { defer: ["a".to_owned()].into(), ..Recorder::default() };
        let reason = "3 of 3 healthy: 1 held back from terminating (missing)";
        check(3, &seen(1, 3, vec![missing("a")]), &hands, &["destroy a (missing)"], Status::Pending, reason);
    }

    #[test]
    fn one_that_is_on_its_way_out_is_neither_counted_nor_asked_again() {
        let leaving = instance("x", InstanceState::Terminating, Health::Missing);
        check(3, &seen(0, 3, vec![leaving]), &Recorder::default(), &[], Status::Stable, "3 of 3 healthy");
    }

    #[test]
    fn a_zombie_is_asked_to_go_again() {
        let zombie = instance("z", InstanceState::Terminated, Health::Zombie);
        check(
            3,
            &seen(0, 3, vec![zombie]),
            &Recorder::default(),
            &["destroy z (zombie)"],
            Status::Pending,
            "3 of 3 healthy: terminating 1 (zombie)",
        );
    }

    #[test]
    fn too_many_are_reduced_to_the_number() {
        let hands = Recorder { candidates: ["d", "c", "b", "a"].map(str::to_owned).to_vec(), ..Recorder::default() };
        let reason = "4 of 2 healthy: terminating 2 (2 more than wanted)";
        check(2, &seen(0, 4, vec![]), &hands, &["destroy d c (2 more than wanted)"], Status::Pending, reason);
    }

    #[test]
    fn an_unhealthy_instance_does_not_take_the_place_of_a_surplus_one() {
        let hands = Recorder { candidates: ["a", "b", "c"].map(str::to_owned).to_vec(), ..Recorder::default() };
        decide(1, &seen(0, 3, vec![missing("a")]), &hands);
        assert_eq!(*hands.asked.borrow(), ["destroy a (missing)", "destroy b (1 more than wanted)"]);
    }

    #[test]
    fn a_refusal_is_told_and_is_no_error() {
        let hands = Recorder { refuse_launches: Some(Refusal::BackingOff(12_300)), ..Recorder::default() };
        let reason = "0 of 3 healthy: not launching 3: launches at the site keep failing, 13 s to wait";
        check(3, &seen(0, 0, vec![]), &hands, &["launch 3"], Status::Pending, reason);

        let hands = Recorder { refuse_terminations: Some(Refusal::Paused), refuse_launches: Some(Refusal::Paused), ..Recorder::default() };
        let reason = "0 of 1 healthy: not terminating 1 (missing): the domain is paused; not launching 1: the domain is paused";
        check(1, &seen(0, 1, vec![missing("a")]), &hands, &["destroy a (missing)", "launch 1"], Status::Pending, reason);
    }

    #[test]
    fn what_is_granted_in_part_is_told_in_part() {
        let hands = Recorder { most_launches: Some(2), ..Recorder::default() };
        check(5, &seen(0, 0, vec![]), &hands, &["launch 5"], Status::Pending, "0 of 5 healthy: launching 2; 3 more to launch later");
    }

    #[test]
    fn no_more_is_asked_in_one_decision_than_the_host_takes() {
        let reason = "0 of 2500 healthy: launching 1000; 1500 more to launch later";
        check(2500, &seen(0, 0, vec![]), &Recorder::default(), &["launch 1000"], Status::Pending, reason);
    }

    #[test]
    fn the_figures_explain_the_reason() {
        let verdict = decide(3, &seen(1, 2, vec![missing("a")]), &Recorder::default());
        let figures: Vec<String> = verdict.figures.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(figures, ["target=3", "valid=3", "healthy=2", "running=1", "starting=1", "unhealthy=1", "launched=1", "terminated=1"]);
    }

    #[test]
    fn the_defaults_are_the_predecessors() {
        let config = keep(1);
        assert_eq!(
            (&*config.force_site, &*config.epuworker_type, &*config.epuworker_allocation),
            ("ec2-east", "epu_work_consumer", "small")
        );
        assert_eq!(config.victims, Victims::Newest);
    }

    #[test]
    fn the_schema_says_what_the_configuration_is() {
        check_schema::<Config>(crate::Simplest::ABOUT.config_schema);
    }
}
