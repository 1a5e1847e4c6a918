//! Inside a component: the host's handles as sources, and the exports.
//!
//! Values are moved, not copied: lists of records with the same layout stay where they are.

use std::marker::PhantomData;
use std::time::Duration;

use super::{ControlSource, Decided, DomainSource, SetupSource};
use crate::bindings::exports::pilothouse::engine::engine as exported;
use crate::bindings::pilothouse::engine::{control as wire_control, state, types};
use crate::time::millis;
use crate::{
    Cause, Columns, Control, Counts, Destroyed, Domain, Engine, Error, Filter, Instance, InstanceId, LaunchRequest, Launched, Problem,
    RateBudget, Refusal, Sample, Scope, Settings, Setup, SiteReport, Statistic, Timestamp, Vars, Wake,
};

/// The component that an engine becomes.
#[derive(Debug)]
pub struct Glue<E>(PhantomData<E>);

impl<E: Engine> exported::Guest for Glue<E> {
    fn describe() -> exported::Description {
        let super::Description { name, version, documentation, config_schema } = super::describe::<E>();
        exported::Description { name, version, documentation, config_schema }
    }

    fn check_config(text: String) -> Vec<Problem> {
        super::check_config::<E>(&text)
    }

    fn initialize(domain: &state::Domain, setup: &wire_control::Setup) -> Result<Vec<u8>, Error> {
        super::initialize::<E>(&Domain::new(domain), &Setup::new(setup))
    }

    fn reconfigure(memory: Vec<u8>, domain: &state::Domain, setup: &wire_control::Setup) -> Result<Vec<u8>, Error> {
        super::reconfigure::<E>(&memory, &Domain::new(domain), &Setup::new(setup))
    }

    fn decide(memory: Vec<u8>, domain: &state::Domain, control: &wire_control::Control) -> Result<exported::Verdict, Error> {
        let Decided { memory, status, reason, figures, wake } = super::decide::<E>(&memory, &Domain::new(domain), &Control::new(control))?;
        let wake = wake.map(|wake| match wake {
            Wake::After(length) => exported::Wake::After(millis(length)),
            Wake::OnChange => exported::Wake::OnChange,
        });
        Ok(exported::Verdict { memory, status, reason, figures, wake, options: Vec::new() })
    }

    fn retire(memory: Vec<u8>) {
        super::retire::<E>(&memory);
    }
}

impl DomainSource for state::Domain {
    fn owner(&self) -> String {
        self.owner()
    }

    fn name(&self) -> String {
        self.name()
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now())
    }

    fn random(&self) -> u64 {
        self.random()
    }

    fn cause(&self) -> Cause {
        self.cause()
    }

    fn config(&self) -> String {
        self.config()
    }

    fn config_revision(&self) -> u64 {
        self.config_revision()
    }

    fn provisioner_vars(&self) -> Vars {
        self.provisioner_vars()
    }

    fn counts(&self) -> Counts {
        self.counts()
    }

    fn instances(&self, filter: &Filter, limit: Option<u32>) -> Vec<Instance> {
        instances(self.instances(filter, limit))
    }

    fn unhealthy(&self, limit: Option<u32>) -> Vec<Instance> {
        instances(self.unhealthy(limit))
    }

    fn instance(&self, id: &str) -> Option<Instance> {
        self.instance(id).map(instance)
    }

    fn instance_at(&self, row: u32) -> Option<Instance> {
        self.instance_at(row).map(instance)
    }

    fn columns(&self, filter: &Filter) -> Columns {
        let state::Columns { rows, states, healths, state_since } = self.columns(filter);
        Columns { rows, states, healths, state_since: state_since.into_iter().map(Timestamp::from_millis).collect() }
    }

    fn sites(&self) -> Vec<SiteReport> {
        let report = |state::SiteReport { site, instances, failures, backing_off_until }| SiteReport {
            site,
            instances,
            failures,
            backing_off_until: backing_off_until.map(Timestamp::from_millis),
        };
        self.sites().into_iter().map(report).collect()
    }

    fn changed(&self, limit: Option<u32>) -> Vec<Instance> {
        instances(self.changed(limit))
    }

    fn sensor(&self, metric: &str, scope: &Scope, statistic: Statistic, window: Duration) -> Sample {
        sample(self.sensor(metric, scope, statistic, millis(window)))
    }

    fn sensor_of_all(&self, metric: &str, statistic: Statistic, window: Duration) -> Vec<(InstanceId, Sample)> {
        self.sensor_of_all(metric, statistic, millis(window)).into_iter().map(|(id, read)| (id, sample(read))).collect()
    }

    fn series(&self, metric: &str, scope: &Scope, window: Duration, limit: u32) -> Vec<(Timestamp, f64)> {
        let reading = |(time, value)| (Timestamp::from_millis(time), value);
        self.series(metric, scope, millis(window), limit).into_iter().map(reading).collect()
    }

    fn health_monitored(&self) -> bool {
        self.health_monitored()
    }
}

impl ControlSource for wire_control::Control {
    fn launch(&self, request: LaunchRequest) -> Result<Launched, Refusal> {
        let LaunchRequest { deployable_type, site, allocation, count, extra_vars, replaces, options } = request;
        let request = wire_control::LaunchRequest { deployable_type, site, allocation, count, extra_vars, replaces, options };
        let wire_control::Launched { launch, instances, deferred } = self.launch(&request).map_err(refusal)?;
        Ok(Launched { launch, instances, deferred })
    }

    fn destroy_instances(&self, ids: &[InstanceId], reason: &str) -> Result<Destroyed, Refusal> {
        self.destroy_instances(ids, reason).map(destroyed).map_err(refusal)
    }

    fn destroy_launch(&self, launch: &str, reason: &str) -> Result<Destroyed, Refusal> {
        self.destroy_launch(launch, reason).map(destroyed).map_err(refusal)
    }

    fn budget(&self) -> RateBudget {
        let wire_control::RateBudget { launches, terminations, full_at } = self.budget();
        RateBudget { launches, terminations, full_at: Timestamp::from_millis(full_at) }
    }

    fn configure(&self, wanted: &Settings) -> Result<(), Refusal> {
        self.configure(&settings(wanted)).map_err(refusal)
    }
}

impl SetupSource for wire_control::Setup {
    fn configure(&self, wanted: &Settings) -> Result<(), Refusal> {
        self.configure(&settings(wanted)).map_err(refusal)
    }
}

fn instances(found: Vec<types::Instance>) -> Vec<Instance> {
    found.into_iter().map(instance).collect()
}

fn instance(found: types::Instance) -> Instance {
    Instance {
        id: found.id,
        launch: found.launch,
        deployable_type: found.deployable_type,
        site: found.site,
        allocation: found.allocation,
        state: found.state,
        state_since: Timestamp::from_millis(found.state_since),
        health: found.health,
        errors: found.errors,
        extra_vars: found.extra_vars,
        attributes: found.attributes,
        protected: found.protected,
    }
}

fn sample(read: types::Sample) -> Sample {
    match read {
        types::Sample::Value(value) => Sample::Value(value),
        types::Sample::Stale((last, age)) => Sample::Stale { last, age: Duration::from_millis(age) },
        types::Sample::Absent => Sample::Absent,
    }
}

fn destroyed(granted: wire_control::Destroyed) -> Destroyed {
    Destroyed { accepted: granted.accepted, deferred: granted.deferred }
}

fn settings(wanted: &Settings) -> wire_control::Settings {
    wire_control::Settings { pulse: wanted.pulse.map(millis), provisioner_vars: wanted.provisioner_vars.clone() }
}

fn refusal(refused: wire_control::Refusal) -> Refusal {
    use wire_control::Refusal as From;
    match refused {
        From::Paused => Refusal::Paused,
        From::Blind(text) => Refusal::Blind(text),
        From::Brake(text) => Refusal::Brake(text),
        From::Budget(wait) => Refusal::Budget(Duration::from_millis(wait)),
        From::Quota(text) => Refusal::Quota(text),
        From::BackingOff(wait) => Refusal::BackingOff(Duration::from_millis(wait)),
        From::Invalid(text) => Refusal::Invalid(text),
        From::Other(text) => Refusal::Other(text),
    }
}
