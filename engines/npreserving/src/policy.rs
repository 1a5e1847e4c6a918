//! N instances, some of them unique: how a domain stands and who holds which label → what has to come and what has to go.
//!
//! A unique instance has a label and variables of its own. Who holds a label is remembered by instance id, never guessed from the
//! variables, so that a label can get new variables without anybody being replaced. There is never a second holder by our own doing: a
//! holder that the host won't let go keeps its label, and its replacement waits.

use std::collections::BTreeMap;

use pilothouse_engine::config::{self, Count, defaults, json};
use pilothouse_engine::{Done, Instance, InstanceId, Launch, Plan, Problem, Surplus, Survey, Termination, Victims};
use schemars::JsonSchema;
use serde::Deserialize;

/// What the engine is told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Configuration of the engine npreserving")]
#[schemars(example = json!({ "preserve_n": 3, "unique_instances": { "primary": { "role": "primary" } } }))]
#[schemars(example = json!({ "preserve_n": 3, "force_site": "local", "epuworker_type": "db" }))]
pub struct Config {
    /// How many instances to keep, the unique ones among them. A whole number, or one in a string.
    #[serde(default)]
    #[schemars(example = 3, example = &"3")]
    pub preserve_n: Count,
    /// Labels, each with the variables of the instance that holds it. At most preserve_n.
    #[serde(default)]
    #[schemars(example = json!({ "primary": { "role": "primary", "port": "5432" } }))]
    pub unique_instances: BTreeMap<String, BTreeMap<String, String>>,
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
    /// Who goes first when there are too many. Holders of labels are never chosen.
    #[serde(default)]
    pub victims: Victims,
}

/// Label → the instance that holds it. A label stays here after it has left the configuration, until its holder has gone.
pub type Bound = BTreeMap<String, InstanceId>;

/// How the holder of a label is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// It counts: it is well, or an operator keeps it as it is.
    Well,
    /// Still there, but the host advises to replace it.
    Ill,
    /// On its way out, gone, or not known any more.
    Gone,
}

/// Label → who holds it, and how that one is.
pub type Holders = BTreeMap<String, (InstanceId, Holding)>;

/// A plan, and what its launches are for.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// What has to come and what has to go. The launches for labels come first.
    pub plan: Plan,
    /// The labels of the first launches, in their order.
    pub labels: Vec<String>,
}

/// Looks at every holder.
#[must_use]
pub fn holders(bound: &Bound, find: impl Fn(&str) -> Option<Instance>, survey: &Survey) -> Holders {
    let ill = survey.unhealthy_ids();
    let look = |id: &InstanceId| match find(id) {
        Some(instance) if !instance.is_valid() => Holding::Gone,
        Some(instance) if ill.contains(id.as_str()) && !instance.protected => Holding::Ill,
        Some(_) => Holding::Well,
        None => Holding::Gone,
    };
    bound.iter().map(|(label, id)| (label.clone(), (id.clone(), look(id)))).collect()
}

/// What does not go together.
#[must_use]
pub fn check(config: &Config) -> Vec<Problem> {
    let uniques = config.unique_instances.len();
    if uniques > config.preserve_n.get() as usize {
        let message =
            format!("{uniques} unique instances do not fit into preserve_n = {}: at most as many labels as instances", config.preserve_n);
        return vec![config::problem("unique_instances", message)];
    }
    Vec::new()
}

/// Who of the instances that are already there holds a label: the first that was launched with exactly its variables.
#[must_use]
pub fn adopt(config: &Config, instances: &[Instance]) -> Bound {
    let mut bound = Bound::new();
    for instance in instances.iter().filter(|instance| !instance.extra_vars.is_empty()) {
        let vars: BTreeMap<&str, &str> = instance.extra_vars.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let label = config.unique_instances.iter().find(|(label, wanted)| {
            !bound.contains_key(*label)
                && wanted.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(vars.iter().map(|(name, value)| (*name, *value)))
        });
        if let Some((label, _)) = label {
            bound.insert(label.clone(), instance.id.clone());
        }
    }
    bound
}

/// What has to come and what has to go.
#[must_use]
pub fn plan(config: &Config, survey: &Survey, holders: &Holders) -> Wish {
    let mut plan = Plan::of(survey, config.preserve_n.get());
    let mut labels = Vec::new();
    for (label, vars) in &config.unique_instances {
        let after = match holders.get(label) {
            Some((_, Holding::Well)) => continue,
            Some((id, Holding::Ill)) => Some(id.clone()),
            Some((_, Holding::Gone)) | None => None,
        };
        let extra_vars = vars.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        plan.launches.push(Launch { count: 1, extra_vars, after });
        labels.push(label.clone());
    }
    for (label, (id, holding)) in holders {
        if *holding == Holding::Well && !config.unique_instances.contains_key(label) {
            plan.terminations.push(Termination { ids: vec![id.clone()], reason: format!("the label {label} is no longer wanted") });
        }
    }

    let well = holders.values().filter(|(_, holding)| *holding == Holding::Well).count();
    let uniques = config.unique_instances.len();
    let generic = survey.taken().saturating_sub(narrow(well));
    let wanted = config.preserve_n.get().saturating_sub(narrow(uniques));
    if generic < wanted {
        plan.launches.push(Launch { count: wanted - generic, ..Launch::default() });
    } else if generic > wanted {
        let spare = holders.values().map(|(id, _)| id.clone()).collect();
        plan.surplus = Some(Surplus { spare, ..Surplus::of(generic - wanted, config.victims) });
    }
    if uniques > 0 {
        plan.seen = format!("{}, {} of {uniques} labels held", plan.seen, uniques - labels.len());
        plan.figures.push(("labels", uniques as f64));
        plan.figures.push(("labels-held", (uniques - labels.len()) as f64));
    }
    Wish { plan, labels }
}

/// Who holds which label now. `labels` are those of the plan's first launches.
#[must_use]
pub fn remember(config: &Config, holders: Holders, labels: &[String], done: &Done) -> Bound {
    let gone = |label: &str, id: &InstanceId, holding| {
        holding == Holding::Gone || done.destroyed.contains(id) && !config.unique_instances.contains_key(label)
    };
    let mut bound: Bound =
        holders.into_iter().filter(|(label, (id, holding))| !gone(label, id, *holding)).map(|(label, (id, _))| (label, id)).collect();
    for (label, launched) in labels.iter().zip(&done.launched) {
        if let Some(id) = launched.first() {
            bound.insert(label.clone(), id.clone());
        }
    }
    bound
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use pilothouse_engine::testing::{FakeDomain, instance};
    use pilothouse_engine::{Health, InstanceState, Refusal, Status};

    use super::*;
    use crate::Npreserving;

    type Fake = FakeDomain<Npreserving>;

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
        domain.remember(&Npreserving { bound: bound(holders) });
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
        assert_eq!(domain.decide().requests(), ["destroy x (missing)", "launch 1 name=a"]);
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
        assert_eq!(domain.decide().requests(), ["destroy x (missing)", "launch 1 name=a"]);
    }

    #[test]
    fn a_protected_holder_of_a_label_that_is_no_longer_wanted_is_asked_for_in_vain() {
        let mut domain = domain(keep(0, &[]), &[("a", "x")], &[running("x", Some("a"))]);
        let reason = "1 of 0 healthy: not terminating 1 (the label a is no longer wanted): protected by an operator";
        assert_eq!(domain.protect("x", true).decide().reason, reason);
        assert_eq!(domain.memory().bound, bound(&[("a", "x")]));
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
        assert_eq!(domain.memory_bytes(), b"");
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
        assert_eq!(domain.decide().requests(), ["destroy z (1 more than wanted)", "launch 1 name=a"]);
    }

    #[test]
    fn a_label_that_is_no_longer_wanted_takes_its_holder_along() {
        let mut domain = domain(keep(2, &["a"]), &[("a", "x")], &[running("x", Some("a")), running("y", None)]);
        domain.reconfigure(keep(2, &[])).unwrap();
        assert_eq!(domain.decide().requests(), ["destroy x (the label a is no longer wanted)", "launch 1"]);
        assert_eq!(domain.memory().bound, bound(&[]));
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
        assert_eq!(domain.memory().bound, bound(&[]));
    }

    #[test]
    fn new_variables_for_a_label_replace_nobody_and_are_for_the_next() {
        let config = json!({ "preserve_n": 1, "unique_instances": { "a": { "name": "other" } } });
        let mut domain = domain(config, &[("a", "x")], &[running("x", Some("a"))]);
        let decision = domain.decide();
        assert_eq!((decision.requests().len(), decision.status), (0, Status::Stable));
        domain.health("x", Health::Missing);
        assert_eq!(domain.decide().requests(), ["destroy x (missing)", "launch 1 name=other"]);
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
}
