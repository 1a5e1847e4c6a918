//! The domain that an engine looks at.

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::host::DomainSource;
use crate::instance::{Columns, Filter, Instance, InstanceId, Vars};
use crate::sensor::{Sample, Scope, Statistic};
use crate::time::Timestamp;
use crate::{Problem, config};

pub use crate::bindings::pilothouse::engine::state::{Cause, Counts};

/// Inside a component there is one source, so that calls are direct and what an engine does not ask for is not even imported.
#[cfg(target_arch = "wasm32")]
type Source<'a> = &'a crate::bindings::pilothouse::engine::state::Domain;
#[cfg(not(target_arch = "wasm32"))]
type Source<'a> = &'a dyn DomainSource;

/// The domain as it stands at the beginning of a call. It does not change during the call: what the call itself asks for is seen by the
/// next one. Asking is cheap; what is not asked for is not copied.
#[derive(Clone, Copy)]
pub struct Domain<'a>(Source<'a>);

/// How launches at a site have been going.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteReport {
    /// Where.
    pub site: String,
    /// Valid instances there.
    pub instances: u32,
    /// Launches that failed or were rejected since the last one that reached running.
    pub failures: u32,
    /// Launches there wait until then.
    pub backing_off_until: Option<Timestamp>,
}

impl<'a> Domain<'a> {
    /// The domain that this source speaks for. Inside a component the only source is the host's handle.
    #[must_use]
    #[cfg(not(target_arch = "wasm32"))]
    pub fn new(source: &'a dyn DomainSource) -> Self {
        Self(source)
    }

    #[cfg(target_arch = "wasm32")]
    pub(crate) fn new(source: Source<'a>) -> Self {
        Self(source)
    }

    /// Who owns the domain.
    #[must_use]
    pub fn owner(&self) -> String {
        DomainSource::owner(self.0)
    }

    /// What its owner calls it.
    #[must_use]
    pub fn name(&self) -> String {
        DomainSource::name(self.0)
    }

    /// The moment of this call. The same for the whole call.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        DomainSource::now(self.0)
    }

    /// The next number of this call's random stream. The seed is recorded with the decision, so a replay draws the same numbers.
    #[must_use]
    pub fn random(&self) -> u64 {
        DomainSource::random(self.0)
    }

    /// Why the engine is asked now.
    #[must_use]
    pub fn cause(&self) -> Cause {
        DomainSource::cause(self.0)
    }

    /// The engine's configuration as it is written: JSON. An engine is given it as its own type, too.
    #[must_use]
    pub fn config_text(&self) -> String {
        DomainSource::config(self.0)
    }

    /// The engine's configuration as another type than its own.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn config_as<C: DeserializeOwned>(&self) -> Result<C, Problem> {
        config::parse(&self.config_text())
    }

    /// Grows with every change of the configuration.
    #[must_use]
    pub fn config_revision(&self) -> u64 {
        DomainSource::config_revision(self.0)
    }

    /// What every launch is given besides variables of its own. Secrets show as references.
    #[must_use]
    pub fn provisioner_vars(&self) -> Vars {
        DomainSource::provisioner_vars(self.0)
    }

    /// How many instances there are of each kind. Costs the same for ten instances and for ten thousand.
    #[must_use]
    pub fn counts(&self) -> Counts {
        DomainSource::counts(self.0)
    }

    /// The instances that are meant, oldest launch first, at most `limit`.
    #[must_use]
    pub fn instances(&self, filter: &Filter, limit: Option<u32>) -> Vec<Instance> {
        DomainSource::instances(self.0, filter, limit)
    }

    /// Those that the host advises to replace: running-failed; of an unhealthy health and not gone; zombies. Oldest launch first,
    /// at most `limit`.
    #[must_use]
    pub fn unhealthy(&self, limit: Option<u32>) -> Vec<Instance> {
        DomainSource::unhealthy(self.0, limit)
    }

    /// Nothing when the domain has no such instance.
    #[must_use]
    pub fn instance(&self, id: &str) -> Option<Instance> {
        DomainSource::instance(self.0, id)
    }

    /// The instance of a row of [`Domain::columns`].
    #[must_use]
    pub fn instance_at(&self, row: u32) -> Option<Instance> {
        DomainSource::instance_at(self.0, row)
    }

    /// The instances that are meant as columns.
    #[must_use]
    pub fn columns(&self, filter: &Filter) -> Columns {
        DomainSource::columns(self.0, filter)
    }

    /// One report for each site that the domain has launched at.
    #[must_use]
    pub fn sites(&self) -> Vec<SiteReport> {
        DomainSource::sites(self.0)
    }

    /// Instances whose state or health changed since the last decision that was committed. Oldest launch first, at most `limit`.
    #[must_use]
    pub fn changed(&self, limit: Option<u32>) -> Vec<Instance> {
        DomainSource::changed(self.0, limit)
    }

    /// A statistic over the readings of the last `window`. [`Statistic::SampleCount`] of an empty window is absent, not zero.
    #[must_use]
    pub fn sensor(&self, metric: &str, scope: &Scope, statistic: Statistic, window: Duration) -> Sample {
        DomainSource::sensor(self.0, metric, scope, statistic, window)
    }

    /// The same statistic for every valid instance; those without readings are there, as absent. Oldest launch first.
    #[must_use]
    pub fn sensor_of_all(&self, metric: &str, statistic: Statistic, window: Duration) -> Vec<(InstanceId, Sample)> {
        DomainSource::sensor_of_all(self.0, metric, statistic, window)
    }

    /// The readings of the last `window`, oldest first; the newest `limit` of them.
    #[must_use]
    pub fn series(&self, metric: &str, scope: &Scope, window: Duration, limit: u32) -> Vec<(Timestamp, f64)> {
        DomainSource::series(self.0, metric, scope, window, limit)
    }

    /// Whether health is monitored in this domain. When not, every health is unknown.
    #[must_use]
    pub fn health_monitored(&self) -> bool {
        DomainSource::health_monitored(self.0)
    }
}

impl fmt::Debug for Domain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Domain").field("owner", &self.owner()).field("name", &self.name()).finish_non_exhaustive()
    }
}
