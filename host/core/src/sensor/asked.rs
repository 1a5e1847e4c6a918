//! What an engine last asked of the sensors: people who look at a domain see the same figures as its engine.

use std::collections::BTreeMap;

use super::{Scope, Statistic};
use crate::cycle::Observation;
use crate::time::Millis;

/// What an engine asked of the sensors in one decision. Bounded, whatever the engine asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    of_domain: BTreeMap<String, Vec<Question>>,
    of_instances: BTreeMap<String, Vec<Question>>,
}

/// One thing that was asked of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// What was to be made of the readings; nothing when it was the series itself.
    pub statistic: Option<Statistic>,
    /// Of how long.
    pub window: Millis,
}

impl Asked {
    /// The most series of instances, and of the domain, that are kept.
    pub const MAX_SERIES: usize = 64;
    /// The most questions about one series.
    pub const MAX_QUESTIONS: usize = 8;

    /// Nothing: what most engines ask.
    pub fn none() -> &'static Self {
        static NONE: Asked = Asked { of_domain: BTreeMap::new(), of_instances: BTreeMap::new() };
        &NONE
    }

    /// What these observations asked for. The same of many instances is kept once.
    pub fn of(observed: &[Observation]) -> Self {
        let mut asked = Self::default();
        for Observation { metric, scope, statistic, window, .. } in observed {
            let all = match scope {
                Scope::Domain => &mut asked.of_domain,
                Scope::Instance(_) => &mut asked.of_instances,
            };
            let question = Question { statistic: *statistic, window: *window };
            if let Some(questions) = all.get_mut(metric) {
                if questions.len() < Self::MAX_QUESTIONS && !questions.contains(&question) {
                    questions.push(question);
                }
            } else if all.len() < Self::MAX_SERIES {
                all.insert(metric.clone(), vec![question]);
            }
        }
        asked
    }

    /// The series that were asked for in a scope, each with its questions in the order in which they were asked.
    pub fn in_scope(&self, scope: &Scope) -> &BTreeMap<String, Vec<Question>> {
        match scope {
            Scope::Domain => &self.of_domain,
            Scope::Instance(_) => &self.of_instances,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::Sample;

    fn observation(metric: &str, scope: &Scope, window: u64) -> Observation {
        let (metric, scope) = (metric.to_owned(), scope.clone());
        Observation { metric, scope, statistic: Some(Statistic::Average), window: Millis::from_secs(window), sample: Sample::Absent }
    }

    #[test]
    fn the_same_of_many_instances_is_one_question() {
        let instance = |n: u32| Scope::Instance(format!("i{n}").parse().expect("an id"));
        let mut observed: Vec<_> = (0..100).map(|n| observation("load", &instance(n), 60)).collect();
        observed.push(observation("load", &Scope::Domain, 90));
        let asked = Asked::of(&observed);
        let question = |window| Question { statistic: Some(Statistic::Average), window: Millis::from_secs(window) };
        assert_eq!(asked.in_scope(&instance(7))["load"], [question(60)]);
        assert_eq!(asked.in_scope(&Scope::Domain)["load"], [question(90)]);
    }

    #[test]
    fn no_engine_makes_it_grow_without_bounds() {
        let observed: Vec<_> = (0..1000).map(|n| observation(&format!("m{}", n % 100), &Scope::Domain, n)).collect();
        let asked = Asked::of(&observed);
        let all = asked.in_scope(&Scope::Domain);
        assert_eq!(all.len(), Asked::MAX_SERIES);
        assert!(all.values().all(|questions| questions.len() == Asked::MAX_QUESTIONS), "{all:?}");
    }
}
