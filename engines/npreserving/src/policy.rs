//! N instances, some of them unique: how a domain stands and who holds which label → what has to come and what has to go.
//!
//! A unique instance has a label and variables of its own. Who holds a label is remembered by instance id, never guessed from the
//! variables, so that a label can get new variables without anybody being replaced. There is never a second holder by our own doing: a
//! holder that the host won't let go keeps its label, and its replacement waits.

use std::collections::{BTreeMap, BTreeSet};

use pilothouse_engine::config::{self, defaults};
use pilothouse_engine::{Done, Instance, InstanceId, Launch, Plan, Problem, Surplus, Survey, Termination, Victims, is_valid};
use serde::{Deserialize, Serialize};

/// What the engine is told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How many instances to keep, the unique ones among them.
    #[serde(default, deserialize_with = "config::count")]
    pub preserve_n: u32,
    /// Label → the variables of the instance that holds it.
    #[serde(default)]
    pub unique_instances: BTreeMap<String, BTreeMap<String, String>>,
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

/// Who holds which label.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Label → instance. A label stays here after it has left the configuration, until its holder has gone.
    pub bound: BTreeMap<String, InstanceId>,
}

/// How the holder of a label is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// It counts.
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

impl Memory {
    /// Looks at every holder.
    #[must_use]
    pub fn holders(&self, find: impl Fn(&str) -> Option<Instance>, survey: &Survey) -> Holders {
        let ill: BTreeSet<&str> = survey.unhealthy.iter().map(|instance| instance.id.as_str()).collect();
        let look = |id: &InstanceId| match find(id) {
            Some(instance) if !is_valid(instance.state) => Holding::Gone,
            Some(_) if ill.contains(id.as_str()) => Holding::Ill,
            Some(_) => Holding::Well,
            None => Holding::Gone,
        };
        self.bound.iter().map(|(label, id)| (label.clone(), (id.clone(), look(id)))).collect()
    }
}

/// What does not go together.
#[must_use]
pub fn check(config: &Config) -> Vec<Problem> {
    let uniques = config.unique_instances.len();
    if uniques > config.preserve_n as usize {
        let message =
            format!("{uniques} unique instances do not fit into preserve_n = {}: at most as many labels as instances", config.preserve_n);
        return vec![config::problem("unique_instances", message)];
    }
    Vec::new()
}

/// Who of the instances that are already there holds a label: the first that was launched with exactly its variables.
#[must_use]
pub fn adopt(config: &Config, instances: &[Instance]) -> Memory {
    let mut memory = Memory::default();
    for instance in instances.iter().filter(|instance| !instance.extra_vars.is_empty()) {
        let vars: BTreeMap<&str, &str> = instance.extra_vars.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let label = config.unique_instances.iter().find(|(label, wanted)| {
            !memory.bound.contains_key(*label)
                && wanted.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(vars.iter().map(|(name, value)| (*name, *value)))
        });
        if let Some((label, _)) = label {
            memory.bound.insert(label.clone(), instance.id.clone());
        }
    }
    memory
}

/// What has to come and what has to go.
#[must_use]
pub fn plan(config: &Config, survey: &Survey, holders: &Holders) -> Wish {
    let mut plan = Plan::of(survey, config.preserve_n);
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
    let generic = survey.healthy.saturating_sub(narrow(well));
    let wanted = config.preserve_n.saturating_sub(narrow(uniques));
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
pub fn remember(config: &Config, holders: Holders, labels: &[String], done: &Done) -> Memory {
    let gone = |label: &str, id: &InstanceId, holding| {
        holding == Holding::Gone || done.destroyed.contains(id) && !config.unique_instances.contains_key(label)
    };
    let mut bound: BTreeMap<String, InstanceId> =
        holders.into_iter().filter(|(label, (id, holding))| !gone(label, id, *holding)).map(|(label, (id, _))| (label, id)).collect();
    for (label, launched) in labels.iter().zip(&done.launched) {
        if let Some(id) = launched.first() {
            bound.insert(label.clone(), id.clone());
        }
    }
    Memory { bound }
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use pilothouse_engine::testing::{Recorder, check_schema, counts, instance};
    use pilothouse_engine::{Counts, Engine, Health, InstanceState, Refusal, Status, Template, Verdict};

    use super::*;

    const TEMPLATE: Template<'_> = Template { deployable_type: "db", site: "local", allocation: "small" };

    /// N, of which some labels, each with a port of its own.
    fn keep(preserve_n: u32, labels: &[&str]) -> Config {
        let unique_instances = labels.iter().map(|&label| (label.to_owned(), [("name".to_owned(), label.to_owned())].into())).collect();
        Config { unique_instances, ..config::parse(&format!("{{\"preserve_n\":{preserve_n}}}")).unwrap() }
    }

    fn running(id: &str, label: Option<&str>) -> Instance {
        let extra_vars = label.iter().map(|label| ("name".to_owned(), (*label).to_owned())).collect();
        Instance { extra_vars, ..instance(id, InstanceState::Running, Health::Ok) }
    }

    fn bound(pairs: &[(&str, &str)]) -> Memory {
        Memory { bound: pairs.iter().map(|(label, id)| ((*label).to_owned(), (*id).to_owned())).collect() }
    }

    /// One decision over running instances, of which those with a bad health are listed as unhealthy.
    fn decide(config: &Config, memory: &Memory, instances: &[Instance], hands: &Recorder) -> Verdict<Memory> {
        let valid = u32::try_from(instances.iter().filter(|instance| is_valid(instance.state)).count()).unwrap();
        let unhealthy: Vec<Instance> = instances.iter().filter(|instance| instance.health == Health::Missing).cloned().collect();
        let survey = Survey::new(Counts { valid, running: valid, ..counts() }, unhealthy);
        let holders = memory.holders(|id| instances.iter().find(|instance| instance.id == id).cloned(), &survey);
        let wish = plan(config, &survey, &holders);
        let done = wish.plan.carry_out(hands, &TEMPLATE);
        let memory = remember(config, holders, &wish.labels, &done);
        done.verdict(memory)
    }

    #[test]
    fn unique_instances_are_launched_first_each_with_its_variables() {
        let hands = Recorder::default();
        let verdict = decide(&keep(3, &["a", "b"]), &Memory::default(), &[], &hands);
        assert_eq!(*hands.asked.borrow(), ["launch 1 name=a", "launch 1 name=b", "launch 1"]);
        assert_eq!(verdict.memory, bound(&[("a", "new-0"), ("b", "new-1")]));
        assert_eq!(verdict.reason, "0 of 3 healthy, 0 of 2 labels held: launching 3");
    }

    #[test]
    fn stable_is_when_every_label_is_held_and_the_number_is_right() {
        let instances = [running("x", Some("a")), running("y", None)];
        let verdict = decide(&keep(2, &["a"]), &bound(&[("a", "x")]), &instances, &Recorder::default());
        assert_eq!((verdict.status, verdict.memory), (Status::Stable, bound(&[("a", "x")])));
    }

    #[test]
    fn an_unhealthy_holder_is_replaced_with_the_same_variables() {
        let instances = [Instance { health: Health::Missing, ..running("x", Some("a")) }, running("y", None)];
        let hands = Recorder::default();
        let verdict = decide(&keep(2, &["a"]), &bound(&[("a", "x")]), &instances, &hands);
        assert_eq!(*hands.asked.borrow(), ["destroy x (missing)", "launch 1 name=a"]);
        assert_eq!(verdict.memory, bound(&[("a", "new-0")]));
    }

    #[test]
    fn a_holder_that_the_host_does_not_let_go_keeps_its_label() {
        let instances = [Instance { health: Health::Missing, ..running("x", Some("a")) }, running("y", None)];
        for hands in [
            Recorder { defer: ["x".to_owned()].into(), ..Recorder::default() },
            Recorder { refuse_terminations: Some(Refusal::Brake("2 of 2".to_owned())), ..Recorder::default() },
        ] {
            let verdict = decide(&keep(2, &["a"]), &bound(&[("a", "x")]), &instances, &hands);
            assert_eq!(*hands.asked.borrow(), ["destroy x (missing)"]);
            assert_eq!((verdict.status, verdict.memory), (Status::Pending, bound(&[("a", "x")])));
        }
    }

    #[test]
    fn a_holder_that_is_gone_or_unknown_is_launched_anew() {
        for instances in [vec![], vec![Instance { state: InstanceState::Failed, ..running("x", Some("a")) }]] {
            let hands = Recorder::default();
            let verdict = decide(&keep(1, &["a"]), &bound(&[("a", "x")]), &instances, &hands);
            assert_eq!(*hands.asked.borrow(), ["launch 1 name=a"]);
            assert_eq!(verdict.memory, bound(&[("a", "new-0")]));
        }
    }

    #[test]
    fn a_label_whose_launch_is_refused_stays_free() {
        let hands = Recorder { refuse_launches: Some(Refusal::Paused), ..Recorder::default() };
        let verdict = decide(&keep(1, &["a"]), &Memory::default(), &[], &hands);
        assert_eq!(verdict.memory, Memory::default());
        assert_eq!(verdict.reason, "0 of 1 healthy, 0 of 1 labels held: not launching 1: the domain is paused");
    }

    #[test]
    fn only_generic_instances_are_surplus() {
        let instances = [running("x", Some("a")), running("y", None), running("z", None)];
        let hands = Recorder { candidates: ["x", "z", "y"].map(str::to_owned).to_vec(), ..Recorder::default() };
        decide(&keep(2, &["a"]), &bound(&[("a", "x")]), &instances, &hands);
        assert_eq!(*hands.asked.borrow(), ["destroy z (1 more than wanted)"]);
    }

    #[test]
    fn a_new_label_gets_an_instance_of_its_own_and_a_generic_one_makes_room() {
        let instances = [running("y", None), running("z", None)];
        let hands = Recorder { candidates: vec!["z".to_owned()], ..Recorder::default() };
        decide(&keep(2, &["a"]), &Memory::default(), &instances, &hands);
        assert_eq!(*hands.asked.borrow(), ["destroy z (1 more than wanted)", "launch 1 name=a"]);
    }

    #[test]
    fn a_label_that_is_no_longer_wanted_takes_its_holder_along() {
        let instances = [running("x", Some("a")), running("y", None)];
        let hands = Recorder::default();
        let verdict = decide(&keep(2, &[]), &bound(&[("a", "x")]), &instances, &hands);
        assert_eq!(*hands.asked.borrow(), ["destroy x (the label a is no longer wanted)", "launch 1"]);
        assert_eq!(verdict.memory, Memory::default());
    }

    #[test]
    fn it_is_asked_again_until_the_host_lets_it_go() {
        let instances = [running("x", Some("a"))];
        let hands = Recorder { defer: ["x".to_owned()].into(), ..Recorder::default() };
        let verdict = decide(&keep(0, &[]), &bound(&[("a", "x")]), &instances, &hands);
        assert_eq!(verdict.memory, bound(&[("a", "x")]));
    }

    #[test]
    fn new_variables_for_a_label_replace_nobody() {
        let mut config = keep(1, &["a"]);
        config.unique_instances.insert("a".to_owned(), [("name".to_owned(), "other".to_owned())].into());
        let hands = Recorder::default();
        let verdict = decide(&config, &bound(&[("a", "x")]), &[running("x", Some("a"))], &hands);
        assert_eq!((hands.asked.borrow().len(), verdict.status), (0, Status::Stable));
    }

    #[test]
    fn running_instances_are_adopted_by_their_variables_each_label_once() {
        let instances = [running("w", None), running("x", Some("b")), running("y", Some("b")), running("z", Some("c"))];
        assert_eq!(adopt(&keep(3, &["a", "b"]), &instances), bound(&[("b", "x")]));
    }

    #[test]
    fn variables_match_in_any_order_and_only_all_of_them() {
        let mut config = keep(1, &[]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        config.unique_instances.insert("a".to_owned(), [pair("p", "1"), pair("q", "2")].into());
        let with = |vars: &[(String, String)]| Instance { extra_vars: vars.to_vec(), ..running("x", None) };
        assert_eq!(adopt(&config, &[with(&[pair("q", "2"), pair("p", "1")])]), bound(&[("a", "x")]));
        assert_eq!(adopt(&config, &[with(&[pair("p", "1")])]), Memory::default());
        assert_eq!(adopt(&config, &[with(&[pair("p", "1"), pair("q", "2"), pair("r", "3")])]), Memory::default());
    }

    #[test]
    fn more_labels_than_instances_are_refused_with_the_key() {
        assert_eq!(check(&keep(2, &["a", "b"])), []);
        let problems = check(&keep(1, &["a", "b"]));
        assert_eq!(problems[0].at, "/unique_instances");
        assert!(problems[0].message.contains("preserve_n = 1"), "{}", problems[0].message);
    }

    #[test]
    fn the_schema_says_what_the_configuration_is() {
        check_schema::<Config>(crate::Npreserving::ABOUT.config_schema);
    }
}
