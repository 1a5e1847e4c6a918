//! The questions and requests of an engine of the SDK, answered by the host's cycle as the sandbox would.

use std::cell::RefCell;
use std::time::Duration;

use pilothouse_core::cycle::{self, Cycle};
use pilothouse_core::message::Reading;
use pilothouse_core::sensor::Sensors;
use pilothouse_engine::host::{ControlSource, DomainSource, SetupSource};
use pilothouse_engine::{
    Cause, Columns, Counts, Destroyed, Filter, Instance, InstanceId, LaunchRequest, Launched, RateBudget, Refusal, Sample, Scope, Settings,
    SiteReport, Statistic, Timestamp, Vars,
};

use super::convert;

/// A cycle that is lent to a call.
pub(super) struct Source(pub(super) RefCell<Cycle>);

fn can_be_a_metric(metric: &str) -> bool {
    (1..=Reading::MAX_METRIC_BYTES).contains(&metric.len())
}

impl DomainSource for Source {
    fn owner(&self) -> String {
        self.0.borrow().state().key.owner.as_str().to_owned()
    }

    fn name(&self) -> String {
        self.0.borrow().state().key.name.as_str().to_owned()
    }

    fn now(&self) -> Timestamp {
        convert::moment(self.0.borrow().now())
    }

    fn random(&self) -> u64 {
        self.0.borrow_mut().random()
    }

    fn cause(&self) -> Cause {
        convert::cause(self.0.borrow().cause())
    }

    fn config(&self) -> String {
        serde_json::Value::Object(self.0.borrow().state().engine_conf().into_owned()).to_string()
    }

    fn config_revision(&self) -> u64 {
        self.0.borrow().state().config_revision
    }

    fn provisioner_vars(&self) -> Vars {
        self.0.borrow().base_vars().clone()
    }

    fn counts(&self) -> Counts {
        let pilothouse_core::state::Counts { total, valid, starting, running, unhealthy, launching, terminating, unconfirmed } =
            self.0.borrow().state().counts();
        Counts { total, valid, starting, running, unhealthy, launching, terminating, unconfirmed }
    }

    fn instances(&self, filter: &Filter, limit: Option<u32>) -> Vec<Instance> {
        let limit = limit.map_or(usize::MAX, |limit| limit as usize);
        let Some(filter) = convert::filter(filter) else { return Vec::new() };
        self.0.borrow().instances(&filter).take(limit).map(|it| convert::instance(it)).collect()
    }

    fn unhealthy(&self, limit: Option<u32>) -> Vec<Instance> {
        let limit = limit.map_or(usize::MAX, |limit| limit as usize);
        self.0.borrow().state().unhealthy().take(limit).map(|it| convert::instance(it)).collect()
    }

    fn instance(&self, id: &str) -> Option<Instance> {
        self.0.borrow().state().instance(&id.parse().ok()?).map(|it| convert::instance(it))
    }

    fn instance_at(&self, row: u32) -> Option<Instance> {
        self.0.borrow().state().instance_at(u64::from(row)).map(|it| convert::instance(it))
    }

    fn columns(&self, filter: &Filter) -> Columns {
        let mut columns = Columns { rows: Vec::new(), states: Vec::new(), healths: Vec::new(), state_since: Vec::new() };
        let Some(filter) = convert::filter(filter) else { return columns };
        for it in self.0.borrow().instances(&filter) {
            columns.rows.push(u32::try_from(it.ordinal).unwrap_or(u32::MAX));
            columns.states.push(convert::state(it.state));
            columns.healths.push(convert::health(it.health));
            columns.state_since.push(convert::moment(it.state_since));
        }
        columns
    }

    fn sites(&self) -> Vec<SiteReport> {
        let cycle = self.0.borrow();
        let state = cycle.state();
        let report = |(site, record): (&String, &pilothouse_core::state::SiteRecord)| SiteReport {
            site: site.clone(),
            instances: state.valid_at(site),
            failures: record.failures,
            backing_off_until: record.backing_off_until.map(convert::moment),
        };
        state.sites.iter().map(report).collect()
    }

    fn changed(&self, limit: Option<u32>) -> Vec<Instance> {
        let limit = limit.map_or(usize::MAX, |limit| limit as usize);
        self.0.borrow().changed().take(limit).map(|it| convert::instance(it)).collect()
    }

    fn sensor(&self, metric: &str, scope: &Scope, statistic: Statistic, window: Duration) -> Sample {
        match convert::scope(scope) {
            Some(scope) if can_be_a_metric(metric) => {
                let sample = self.0.borrow_mut().sensor(metric, scope, convert::statistic(statistic), convert::millis(window));
                convert::sample(sample)
            }
            _ => Sample::Absent,
        }
    }

    fn sensor_of_all(&self, metric: &str, statistic: Statistic, window: Duration) -> Vec<(InstanceId, Sample)> {
        if !can_be_a_metric(metric) {
            let cycle = self.0.borrow();
            let valid = cycle.state().instances().filter(|it| it.state.is_valid());
            return valid.map(|it| (it.id.as_str().to_owned(), Sample::Absent)).collect();
        }
        let samples = self.0.borrow_mut().sensor_of_all(metric, convert::statistic(statistic), convert::millis(window));
        samples.into_iter().map(|(it, sample)| (it.id.as_str().to_owned(), convert::sample(sample))).collect()
    }

    fn series(&self, metric: &str, scope: &Scope, window: Duration, limit: u32) -> Vec<(Timestamp, f64)> {
        let limit = (limit as usize).min(Sensors::MAX_READINGS);
        match convert::scope(scope) {
            Some(scope) if can_be_a_metric(metric) => {
                let readings = self.0.borrow_mut().series(metric, scope, convert::millis(window), limit);
                readings.into_iter().map(|(time, value)| (convert::moment(time), value)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn health_monitored(&self) -> bool {
        self.0.borrow().state().config.health.monitor_health
    }
}

impl ControlSource for Source {
    fn launch(&self, request: LaunchRequest) -> Result<Launched, Refusal> {
        let LaunchRequest { deployable_type, site, allocation, count, extra_vars, replaces, options } = request;
        let request = cycle::LaunchRequest { deployable_type, site, allocation, count, extra_vars, replaces, options };
        let answer = self.0.borrow_mut().launch(request);
        let launched = |it: cycle::Launched| Launched {
            launch: it.launch.into(),
            instances: it.instances.into_iter().map(Into::into).collect(),
            deferred: it.deferred,
        };
        answer.map(launched).map_err(convert::refusal)
    }

    fn destroy_instances(&self, ids: &[InstanceId], reason: &str) -> Result<Destroyed, Refusal> {
        self.0.borrow_mut().destroy(ids, reason.to_owned()).map(convert::destroyed).map_err(convert::refusal)
    }

    fn destroy_launch(&self, launch: &str, reason: &str) -> Result<Destroyed, Refusal> {
        self.0.borrow_mut().destroy_launch(launch, reason.to_owned()).map(convert::destroyed).map_err(convert::refusal)
    }

    fn budget(&self) -> RateBudget {
        let (launches, terminations, full_at) = self.0.borrow().budget();
        RateBudget { launches, terminations, full_at: convert::moment(full_at) }
    }

    fn configure(&self, settings: &Settings) -> Result<(), Refusal> {
        self.0.borrow_mut().configure(convert::settings(settings)).map_err(convert::refusal)
    }
}

impl SetupSource for Source {
    fn configure(&self, settings: &Settings) -> Result<(), Refusal> {
        self.0.borrow_mut().configure(convert::settings(settings)).map_err(convert::refusal)
    }
}
