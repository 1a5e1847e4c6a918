//! What an engine can ask of its domain.

use std::sync::Arc;

use super::{Cycle, Observation, limits};
use crate::instance::{Health, Instance, State, Vars};
use crate::sensor::{Sample, Scope, Statistic};
use crate::state::DomainState;
use crate::time::{Millis, Timestamp};

/// Which instances are meant. Empty lists restrict nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// In one of these states.
    pub states: Vec<State>,
    /// Of one of these healths.
    pub healths: Vec<Health>,
    /// At this site.
    pub site: Option<String>,
    /// Only those that count.
    pub valid: bool,
}

impl Filter {
    /// Whether an instance is meant.
    pub fn fits(&self, instance: &Instance) -> bool {
        (self.states.is_empty() || self.states.contains(&instance.state))
            && (self.healths.is_empty() || self.healths.contains(&instance.health))
            && self.site.as_ref().is_none_or(|site| *site == instance.site)
            && (!self.valid || instance.state.is_valid())
    }
}

impl Cycle {
    /// The domain as it stands at the beginning of the cycle.
    pub fn state(&self) -> &DomainState {
        &self.state
    }

    /// What every launch is given, before its own variables. Being initialised or reconfigured an engine begins with those of the domain's
    /// configuration, and what it sets then is in force when it decides.
    pub fn base_vars(&self) -> &Vars {
        self.base_vars.as_ref().unwrap_or_else(|| self.state.base_vars())
    }

    /// The instances that are meant, oldest launch first.
    pub fn instances<'c>(&'c self, filter: &'c Filter) -> impl Iterator<Item = &'c Arc<Instance>> {
        self.state.instances().filter(|instance| filter.fits(instance))
    }

    /// Those whose state or health changed since the last decision that was committed, oldest launch first.
    pub fn changed(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.state.changed.keys().filter_map(|ordinal| self.state.instance_at(*ordinal))
    }

    /// A statistic over readings of the last `window`; remembered for the decision record.
    pub fn sensor(&mut self, metric: &str, scope: Scope, statistic: Statistic, window: Millis) -> Sample {
        let sample = self.sensors.sample(metric, &scope, statistic, self.now, window);
        self.observe(|| Observation { metric: metric.to_owned(), scope, statistic: Some(statistic), window, sample });
        sample
    }

    /// The same statistic for every valid instance, oldest launch first.
    pub fn sensor_of_all(&mut self, metric: &str, statistic: Statistic, window: Millis) -> Vec<(Arc<Instance>, Sample)> {
        let state = Arc::clone(&self.state);
        let valid = state.instances().filter(|instance| instance.state.is_valid());
        valid.map(|instance| (Arc::clone(instance), self.sensor(metric, Scope::Instance(instance.id.clone()), statistic, window))).collect()
    }

    /// The readings of the last `window`, oldest first; the newest `limit` of them.
    pub fn series(&mut self, metric: &str, scope: Scope, window: Millis, limit: usize) -> Vec<(Timestamp, f64)> {
        let series = self.sensors.series(metric, &scope, self.now, window, limit);
        let sample = self.sensors.sample(metric, &scope, Statistic::Last, self.now, window);
        self.observe(|| Observation { metric: metric.to_owned(), scope, statistic: None, window, sample });
        series
    }

    fn observe(&mut self, observation: impl FnOnce() -> Observation) {
        if self.observed.len() < limits::OBSERVATIONS {
            self.observed.push(observation());
        }
    }
}
