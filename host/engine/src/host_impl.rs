//! What a guest can call: the domain, control, setup and the log, over the [`Cycle`] that the call was given.
//!
//! The cycle belongs to the store for as long as the call runs, so that nothing that happens to the guest can lose it. The handles that a
//! guest holds carry nothing: there is one domain in a call, and whoever could get hold of a handle at all has got it from the host.
//!
//! Each function has one shape: [`Call::ask`] charges for what comes in and what will be looked at, the cycle answers, and [`Call::give`]
//! charges for what goes out. No function panics; the only errors are an exhausted budget and a handle that can't be.

use std::sync::Arc;

use pilothouse_core::cycle::{self, Cycle};
use pilothouse_core::message::Reading;
use pilothouse_core::sensor::Sensors;
use pilothouse_core::time::Millis;
use wasmtime::component::Resource;
use wasmtime::error::format_err;

use crate::bindings::pilothouse::engine::control::{
    self, Destroyed, HostControl, HostSetup, LaunchRequest, Launched, RateBudget, Refusal, Settings,
};
use crate::bindings::pilothouse::engine::log;
use crate::bindings::pilothouse::engine::state::{self, Cause, Columns, Counts, Filter, HostDomain, Scope, SiteReport, Statistic};
use crate::bindings::pilothouse::engine::types::{self, Instance, Sample};
use crate::convert;
use crate::deadline::Deadline;
use crate::fault::one_line;
use crate::held::Held;
use crate::meter::{CROSSING, Meter, PER_REQUEST, PER_ROW, PER_SERIES, Weigh};
use crate::wasi::Wasi;

use handles::{ControlHandle, DomainHandle, SetupHandle};

/// The types of handles. The generated code exports them again and so wants them public, which they are to nobody else.
#[allow(unreachable_pub, reason = "re-exported by generated code")]
pub(crate) mod handles {
    /// What stands for the domain in a guest's table of handles.
    #[derive(Debug)]
    pub struct DomainHandle;
    /// What stands for the right to launch and terminate.
    #[derive(Debug)]
    pub struct ControlHandle;
    /// What stands for the right to set up.
    #[derive(Debug)]
    pub struct SetupHandle;
}

/// The data of a store: one call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) cycle: Option<Cycle>,
    pub(crate) held: Held,
    pub(crate) meter: Meter,
    /// Whose lines are logged when there is no cycle to keep them.
    pub(crate) engine: Arc<str>,
    /// How many of them may still come, and how long each may be, in bytes.
    pub(crate) lines_left: usize,
    pub(crate) line_bytes: usize,
    pub(crate) deadline: Deadline,
    /// Made when the guest first asks for anything of it.
    pub(crate) wasi: Option<Box<Wasi>>,
}

type Answer<T> = wasmtime::Result<T>;

impl Call {
    /// Charges for a question, what is handed over with it and the work it takes.
    fn ask(&mut self, handed: u64, work: u64) -> Answer<&mut Cycle> {
        self.meter.charge(CROSSING.saturating_add(handed).saturating_add(work))?;
        self.cycle.as_mut().ok_or_else(|| format_err!("the domain was asked in a call that has none"))
    }

    /// Charges for a question like [`Call::ask`], and leaves the answer to be charged for bit by bit, while it is made.
    fn ask_by_and_by(&mut self, handed: u64, work: u64) -> Answer<(&Cycle, &mut Meter)> {
        self.ask(handed, work)?;
        let cycle = self.cycle.as_ref().ok_or_else(|| format_err!("the domain was asked in a call that has none"))?;
        Ok((cycle, &mut self.meter))
    }

    /// Charges for an answer.
    fn give<T: Weigh>(&mut self, answer: T) -> Answer<T> {
        self.meter.charge(answer.weight())?;
        Ok(answer)
    }

    /// How many instances are on record, as a price for looking at each of them.
    fn every_row(&self) -> u64 {
        let rows = self.cycle.as_ref().map_or(0, |cycle| cycle.state().counts().total);
        u64::from(rows) * PER_ROW
    }
}

impl types::Host for Call {}
impl state::Host for Call {}
impl control::Host for Call {}

impl HostDomain for Call {
    fn owner(&mut self, _: Resource<DomainHandle>) -> Answer<String> {
        let owner = self.ask(0, 0)?.state().key.owner.as_str().to_owned();
        self.give(owner)
    }

    fn name(&mut self, _: Resource<DomainHandle>) -> Answer<String> {
        let name = self.ask(0, 0)?.state().key.name.as_str().to_owned();
        self.give(name)
    }

    fn now(&mut self, _: Resource<DomainHandle>) -> Answer<u64> {
        Ok(self.ask(0, 0)?.now().as_millis())
    }

    fn random(&mut self, _: Resource<DomainHandle>) -> Answer<u64> {
        Ok(self.ask(0, 0)?.random())
    }

    fn cause(&mut self, _: Resource<DomainHandle>) -> Answer<Cause> {
        Ok(convert::cause(self.ask(0, 0)?.cause()))
    }

    fn config(&mut self, _: Resource<DomainHandle>) -> Answer<String> {
        let config = serde_json::to_string(&self.ask(0, 0)?.state().engine_conf())?;
        self.give(config)
    }

    fn config_revision(&mut self, _: Resource<DomainHandle>) -> Answer<u64> {
        Ok(self.ask(0, 0)?.state().config_revision)
    }

    fn provisioner_vars(&mut self, _: Resource<DomainHandle>) -> Answer<Vec<(String, String)>> {
        let vars = self.ask(0, 0)?.base_vars().clone();
        self.give(vars)
    }

    fn counts(&mut self, _: Resource<DomainHandle>) -> Answer<Counts> {
        let pilothouse_core::state::Counts { total, valid, starting, running, unhealthy, launching, terminating, unconfirmed } =
            self.ask(0, 0)?.state().counts();
        Ok(Counts { total, valid, starting, running, unhealthy, launching, terminating, unconfirmed })
    }

    fn instances(&mut self, _: Resource<DomainHandle>, filter: Filter, limit: Option<u32>) -> Answer<Vec<Instance>> {
        let rows = self.every_row();
        let (cycle, meter) = self.ask_by_and_by(filter.weight(), rows)?;
        let filter = convert::filter(filter);
        gather(meter, filter.iter().flat_map(|filter| cycle.instances(filter)), limit)
    }

    fn unhealthy(&mut self, _: Resource<DomainHandle>, limit: Option<u32>) -> Answer<Vec<Instance>> {
        let (cycle, meter) = self.ask_by_and_by(0, 0)?;
        gather(meter, cycle.state().unhealthy(), limit)
    }

    fn instance(&mut self, _: Resource<DomainHandle>, id: String) -> Answer<Option<Instance>> {
        let cycle = self.ask(id.weight(), PER_ROW)?;
        let found = id.parse().ok().and_then(|id| cycle.state().instance(&id)).map(|it| convert::instance(it));
        self.give(found)
    }

    fn instance_at(&mut self, _: Resource<DomainHandle>, row: u32) -> Answer<Option<Instance>> {
        let found = self.ask(0, PER_ROW)?.state().instance_at(u64::from(row)).map(|it| convert::instance(it));
        self.give(found)
    }

    fn columns(&mut self, _: Resource<DomainHandle>, filter: Filter) -> Answer<Columns> {
        let rows = self.every_row();
        let cycle = self.ask(filter.weight(), rows)?;
        let mut columns = Columns { rows: Vec::new(), states: Vec::new(), healths: Vec::new(), state_since: Vec::new() };
        if let Some(filter) = convert::filter(filter) {
            for instance in cycle.instances(&filter) {
                columns.rows.push(convert::row(instance.ordinal));
                columns.states.push(convert::instance_state(instance.state));
                columns.healths.push(convert::health(instance.health));
                columns.state_since.push(instance.state_since.as_millis());
            }
        }
        self.give(columns)
    }

    fn sites(&mut self, _: Resource<DomainHandle>) -> Answer<Vec<SiteReport>> {
        let state = self.ask(0, 0)?.state();
        let report = |(site, record): (&String, &pilothouse_core::state::SiteRecord)| SiteReport {
            site: site.clone(),
            instances: state.valid_at(site),
            failures: record.failures,
            backing_off_until: record.backing_off_until.map(pilothouse_core::time::Timestamp::as_millis),
        };
        let sites = state.sites.iter().map(report).collect();
        self.give(sites)
    }

    fn changed(&mut self, _: Resource<DomainHandle>, limit: Option<u32>) -> Answer<Vec<Instance>> {
        let (cycle, meter) = self.ask_by_and_by(0, 0)?;
        gather(meter, cycle.changed(), limit)
    }

    fn sensor(&mut self, _: Resource<DomainHandle>, metric: String, scope: Scope, statistic: Statistic, window: u64) -> Answer<Sample> {
        let cycle = self.ask(metric.weight() + scope.weight(), PER_SERIES)?;
        let sample = match convert::scope(scope) {
            Some(scope) if can_be_a_metric(&metric) => cycle.sensor(&metric, scope, convert::statistic(statistic), Millis::new(window)),
            _ => return Ok(Sample::Absent),
        };
        self.give(convert::sample(sample))
    }

    fn sensor_of_all(
        &mut self,
        _: Resource<DomainHandle>,
        metric: String,
        statistic: Statistic,
        window: u64,
    ) -> Answer<Vec<(String, Sample)>> {
        let valid = self.cycle.as_ref().map_or(0, |cycle| u64::from(cycle.state().counts().valid));
        let rows = self.every_row();
        let cycle = self.ask(metric.weight(), rows.saturating_add(valid * PER_SERIES))?;
        let samples = if can_be_a_metric(&metric) {
            let samples = cycle.sensor_of_all(&metric, convert::statistic(statistic), Millis::new(window));
            samples.into_iter().map(|(instance, sample)| (instance.id.as_str().to_owned(), convert::sample(sample))).collect()
        } else {
            let valid = cycle.state().instances().filter(|instance| instance.state.is_valid());
            valid.map(|instance| (instance.id.as_str().to_owned(), Sample::Absent)).collect()
        };
        self.give(samples)
    }

    fn series(&mut self, _: Resource<DomainHandle>, metric: String, scope: Scope, window: u64, limit: u32) -> Answer<Vec<(u64, f64)>> {
        let cycle = self.ask(metric.weight() + scope.weight(), PER_SERIES)?;
        let limit = (limit as usize).min(Sensors::MAX_READINGS);
        let readings = match convert::scope(scope) {
            Some(scope) if can_be_a_metric(&metric) => cycle.series(&metric, scope, Millis::new(window), limit),
            _ => Vec::new(),
        };
        self.give(readings.into_iter().map(|(time, value)| (time.as_millis(), value)).collect())
    }

    fn health_monitored(&mut self, _: Resource<DomainHandle>) -> Answer<bool> {
        Ok(self.ask(0, 0)?.state().config.health.monitor_health)
    }

    fn drop(&mut self, _: Resource<DomainHandle>) -> Answer<()> {
        Ok(())
    }
}

impl HostControl for Call {
    fn launch(&mut self, _: Resource<ControlHandle>, request: LaunchRequest) -> Answer<Result<Launched, Refusal>> {
        let cycle = self.ask(request.weight(), PER_REQUEST)?;
        let answer = cycle.launch(convert::launch_request(request)).map(convert::launched).map_err(convert::refusal);
        self.give(answer)
    }

    fn destroy_instances(&mut self, _: Resource<ControlHandle>, ids: Vec<String>, reason: String) -> Answer<Result<Destroyed, Refusal>> {
        let work = PER_REQUEST.saturating_add(PER_ROW.saturating_mul(ids.len() as u64));
        let cycle = self.ask(ids.weight() + reason.weight(), work)?;
        let answer = cycle.destroy(&ids, reason).map(convert::destroyed).map_err(convert::refusal);
        self.give(answer)
    }

    fn destroy_launch(&mut self, _: Resource<ControlHandle>, launch: String, reason: String) -> Answer<Result<Destroyed, Refusal>> {
        let work = PER_REQUEST.saturating_add(self.every_row());
        let cycle = self.ask(launch.weight() + reason.weight(), work)?;
        let answer = cycle.destroy_launch(&launch, reason).map(convert::destroyed).map_err(convert::refusal);
        self.give(answer)
    }

    fn budget(&mut self, _: Resource<ControlHandle>) -> Answer<RateBudget> {
        let (launches, terminations, full_at) = self.ask(0, 0)?.budget();
        Ok(RateBudget { launches, terminations, full_at: full_at.as_millis() })
    }

    fn configure(&mut self, _: Resource<ControlHandle>, settings: Settings) -> Answer<Result<(), Refusal>> {
        self.set(settings)
    }

    fn drop(&mut self, _: Resource<ControlHandle>) -> Answer<()> {
        Ok(())
    }
}

impl HostSetup for Call {
    fn configure(&mut self, _: Resource<SetupHandle>, settings: Settings) -> Answer<Result<(), Refusal>> {
        self.set(settings)
    }

    fn drop(&mut self, _: Resource<SetupHandle>) -> Answer<()> {
        Ok(())
    }
}

impl Call {
    fn set(&mut self, settings: Settings) -> Answer<Result<(), Refusal>> {
        let answer = self.ask(settings.weight(), 0)?.configure(convert::settings(settings)).map_err(convert::refusal);
        self.give(answer)
    }
}

impl log::Host for Call {
    fn log(&mut self, level: log::Level, message: String) -> Answer<()> {
        self.meter.charge(CROSSING + message.weight())?;
        self.line(convert::level(level), message);
        Ok(())
    }
}

impl Call {
    /// Takes a line for the log: into the decision record, or to the log of the host when there will be none.
    pub(crate) fn line(&mut self, level: cycle::Level, mut message: String) {
        match &mut self.cycle {
            Some(cycle) => cycle.log(level, message),
            None if self.lines_left > 0 => {
                self.lines_left -= 1;
                message.truncate(message.floor_char_boundary(self.line_bytes));
                trace(level, &self.engine, &one_line(&message));
            }
            None => {}
        }
    }
}

/// A line that no decision record will hold.
fn trace(level: cycle::Level, engine: &str, message: &str) {
    match level {
        cycle::Level::Error => tracing::error!(engine, "{message}"),
        cycle::Level::Warn => tracing::warn!(engine, "{message}"),
        cycle::Level::Info => tracing::info!(engine, "{message}"),
        cycle::Level::Debug => tracing::debug!(engine, "{message}"),
        cycle::Level::Trace => tracing::trace!(engine, "{message}"),
    }
}

/// Hands over the first so many instances, each charged for before the next one is looked at: who has no fuel left is not given a copy of all
/// of them first. It comes to the [weight](Weigh) of the whole list.
fn gather<'c>(
    meter: &mut Meter,
    found: impl Iterator<Item = &'c Arc<pilothouse_core::instance::Instance>>,
    limit: Option<u32>,
) -> Answer<Vec<Instance>> {
    let mut all = Vec::new();
    meter.charge(all.weight())?;
    for instance in found.take(limit.map_or(usize::MAX, |limit| limit as usize)) {
        let instance = convert::instance(instance);
        meter.charge(instance.weight())?;
        all.push(instance);
    }
    Ok(all)
}

/// Whether there can be readings of that name. What can't have any is not worth a line in the decision record, which would hold the name.
fn can_be_a_metric(metric: &str) -> bool {
    (1..=Reading::MAX_METRIC_BYTES).contains(&metric.len())
}

#[cfg(test)]
mod tests {
    use pilothouse_core::instance;

    use super::*;

    #[test]
    fn a_list_costs_its_weight_and_is_not_made_further_than_that_is_paid() {
        let (id, launch) = ("web-1".parse().expect("an id"), "web-1".parse().expect("an id"));
        let one = Arc::new(instance::Instance::requesting(id, launch, 0, pilothouse_core::time::Timestamp::from_secs(1), 1));
        let many = 1000;
        let give = |fuel, limit| {
            let (mut meter, mut looked) = (Meter::new(fuel), 0);
            let given = gather(&mut meter, std::iter::repeat_n(&one, many).inspect(|_| looked += 1), limit);
            (given, meter.used(), looked)
        };
        let (all, paid, _) = give(u64::MAX, None);
        let all = all.expect("there is fuel for all");
        assert_eq!((all.len(), paid), (many, all.weight()));
        assert_eq!(give(u64::MAX, Some(3)).0.expect("there is fuel for three").len(), 3);
        let (given, _, looked) = give(paid / 2, None);
        assert!(given.is_err() && looked <= many / 2 + 1, "{looked}");
    }
}
