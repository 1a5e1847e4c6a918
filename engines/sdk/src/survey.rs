//! What a policy needs to know of a domain, gathered as cheaply as the domain allows.

use std::collections::BTreeSet;

use crate::instance::{Health, Instance, InstanceState, is_starting, is_valid};
use crate::{Counts, Domain};

/// How a domain stands. *Healthy* are the valid instances that the host does not advise to replace.
#[derive(Debug, Clone, PartialEq)]
pub struct Survey {
    /// Valid instances, the unhealthy ones among them too.
    pub valid: u32,
    /// Valid and healthy, whether running yet or not.
    pub healthy: u32,
    /// Healthy and running.
    pub running: u32,
    /// Healthy and on their way to running.
    pub starting: u32,
    /// Whether a running instance, though not unhealthy, has not said that it is well: not heard from yet, or just being asked.
    pub unconfirmed: bool,
    /// On their way out: terminations that are not confirmed yet.
    pub terminating: u32,
    /// Of the unhealthy ones that are valid, those that an operator protects: they hold their places, and nobody is launched for them.
    pub kept: u32,
    /// What the host advises to replace, oldest launch first.
    pub unhealthy: Vec<Instance>,
}

impl Survey {
    /// Asks the domain. Costs the same for ten instances and for ten thousand while all of them are well.
    #[must_use]
    pub fn of(domain: &Domain<'_>) -> Self {
        let counts = domain.counts();
        let unhealthy = if counts.unhealthy == 0 { Vec::new() } else { domain.unhealthy(None) };
        Self::new(counts, unhealthy)
    }

    /// From plain values: what [`Survey::of`] does once it has them.
    #[must_use]
    pub fn new(counts: Counts, unhealthy: Vec<Instance>) -> Self {
        let among = |of: fn(InstanceState) -> bool| {
            u32::try_from(unhealthy.iter().filter(|instance| of(instance.state)).count()).unwrap_or(u32::MAX)
        };
        let kept = unhealthy.iter().filter(|instance| instance.protected && instance.is_valid()).count();
        Self {
            valid: counts.valid,
            healthy: counts.valid.saturating_sub(among(is_valid)),
            running: counts.running.saturating_sub(among(|state| state == InstanceState::Running)),
            starting: counts.starting.saturating_sub(among(is_starting)),
            unconfirmed: counts.unconfirmed > 0,
            terminating: counts.terminating,
            kept: u32::try_from(kept).unwrap_or(u32::MAX),
            unhealthy,
        }
    }

    /// How many places are taken: by the healthy, and by those that an operator keeps although they are not.
    #[must_use]
    pub fn taken(&self) -> u32 {
        self.healthy.saturating_add(self.kept)
    }

    /// How many have to be launched for `target`. Whom an operator keeps although it is not well holds its place: nobody is launched for it.
    #[must_use]
    pub fn missing(&self, target: u32) -> u32 {
        target.saturating_sub(self.taken())
    }

    /// How many have to go for `target`. Whom an operator keeps although it is not well takes the place of nobody who is: as long as it
    /// stays there may be more than `target`, but never fewer that are well because of it.
    #[must_use]
    pub fn surplus(&self, target: u32) -> u32 {
        self.healthy.saturating_sub(target)
    }

    /// Whether exactly `target` instances run, all of them well.
    #[must_use]
    pub fn is_settled_at(&self, target: u32) -> bool {
        self.healthy == target && self.running == target && !self.unconfirmed
    }

    /// The ids of those that the host advises to replace. For looking up many: a walk over all of them for each would take the square.
    #[must_use]
    pub fn unhealthy_ids(&self) -> BTreeSet<&str> {
        self.unhealthy.iter().map(|instance| instance.id.as_str()).collect()
    }

    /// Of what the host advises to replace, those for which asking makes a difference. One that is on its way out already is the host's
    /// to finish; a zombie is asked to go again; and what an operator protects stays.
    pub fn to_replace(&self) -> impl Iterator<Item = &Instance> {
        let asked = self.unhealthy.iter().filter(|instance| !instance.protected);
        asked.filter(|instance| instance.state != InstanceState::Terminating || instance.health == Health::Zombie)
    }
}

/// Why an instance has to go: its health or state, and its last error.
pub(crate) fn trouble(instance: &Instance) -> String {
    let what = match instance.health {
        Health::MonitorError => "monitor error",
        Health::ProcessError => "process error",
        Health::Missing => "missing",
        Health::Zombie => "zombie",
        Health::Unknown | Health::Ok | Health::OutOfContact | Health::Other => match instance.state {
            InstanceState::RunningFailed => "did not become ready",
            _ => "unhealthy",
        },
    };
    match instance.errors.first() {
        Some(error) => format!("{what}: {error}"),
        None => what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{counts, instance};

    #[test]
    fn unhealthy_instances_are_taken_off_where_they_were_counted() {
        let unhealthy = vec![
            instance("a", InstanceState::Running, Health::Missing),
            instance("b", InstanceState::RunningFailed, Health::Unknown),
            instance("c", InstanceState::Started, Health::ProcessError),
            instance("d", InstanceState::Terminated, Health::Zombie),
            instance("e", InstanceState::Terminating, Health::Missing),
        ];
        let survey = Survey::new(Counts { valid: 6, running: 3, starting: 2, unhealthy: 5, ..counts() }, unhealthy);
        assert_eq!((survey.valid, survey.healthy, survey.running, survey.starting), (6, 3, 2, 1));
    }

    #[test]
    fn what_is_on_its_way_out_is_not_asked_again_unless_it_is_a_zombie() {
        let unhealthy = vec![
            instance("a", InstanceState::Terminating, Health::Missing),
            instance("b", InstanceState::Terminating, Health::Zombie),
            instance("c", InstanceState::Failed, Health::Zombie),
            instance("d", InstanceState::Running, Health::Missing),
        ];
        let survey = Survey::new(Counts { valid: 1, running: 1, unhealthy: 4, ..counts() }, unhealthy);
        assert_eq!(survey.to_replace().map(|instance| instance.id.as_str()).collect::<Vec<_>>(), ["b", "c", "d"]);
    }

    #[test]
    fn the_unhealthy_that_are_protected_hold_their_places_and_are_not_to_be_replaced() {
        let protected = |id, state, health| Instance { protected: true, ..instance(id, state, health) };
        let unhealthy = vec![
            protected("a", InstanceState::Running, Health::Missing),
            instance("b", InstanceState::Running, Health::Missing),
            protected("c", InstanceState::RunningFailed, Health::Unknown),
        ];
        let survey = Survey::new(Counts { valid: 4, running: 3, unhealthy: 3, ..counts() }, unhealthy);
        assert_eq!((survey.healthy, survey.kept, survey.taken()), (1, 2, 3));
        assert_eq!(survey.to_replace().map(|instance| instance.id.as_str()).collect::<Vec<_>>(), ["b"]);
        assert!(!survey.is_settled_at(3), "people should look");
        assert_eq!([0, 1, 2, 3, 4].map(|target| survey.missing(target)), [0, 0, 0, 0, 1]);
        assert_eq!([0, 1, 2, 3, 4].map(|target| survey.surplus(target)), [1, 0, 0, 0, 0]);
    }

    #[test]
    fn settled_is_that_many_running_and_well() {
        let survey = Survey::new(Counts { valid: 2, running: 2, ..counts() }, Vec::new());
        assert!(survey.is_settled_at(2));
        assert!(!survey.is_settled_at(3));
        assert!(!Survey { unconfirmed: true, ..survey.clone() }.is_settled_at(2));
        assert!(!Survey { running: 1, starting: 1, ..survey }.is_settled_at(2));
    }

    #[test]
    fn trouble_is_told_with_the_last_error() {
        let mut sick = instance("a", InstanceState::Running, Health::ProcessError);
        assert_eq!(trouble(&sick), "process error");
        sick.errors = vec!["web exited with 1".to_owned(), "older".to_owned()];
        assert_eq!(trouble(&sick), "process error: web exited with 1");
        assert_eq!(trouble(&instance("b", InstanceState::RunningFailed, Health::Unknown)), "did not become ready");
    }
}
