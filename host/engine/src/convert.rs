//! Between the contract's types and those of the core. What the contract has no name for becomes its `other`.

use pilothouse_core::config::ConfigProblem;
use pilothouse_core::cycle::{self, Cause};
use pilothouse_core::guard;
use pilothouse_core::instance;
use pilothouse_core::sensor;
use pilothouse_core::time::Millis;

use crate::bindings::exports::pilothouse::engine::engine as guest;
use crate::bindings::pilothouse::engine::{control, log, state, types};

pub(crate) fn cause(cause: Cause) -> state::Cause {
    match cause {
        Cause::Pulse => state::Cause::Pulse,
        Cause::Wake => state::Cause::Wake,
        Cause::Changed => state::Cause::Changed,
        Cause::Configured => state::Cause::Configured,
        Cause::Swapped => state::Cause::Swapped,
        Cause::TakenOver => state::Cause::TakenOver,
        Cause::Asked => state::Cause::Asked,
    }
}

pub(crate) fn instance_state(state: instance::State) -> types::InstanceState {
    use types::InstanceState as To;
    match state {
        instance::State::Requesting => To::Requesting,
        instance::State::Requested => To::Requested,
        instance::State::ErrorRetrying => To::ErrorRetrying,
        instance::State::Pending => To::Pending,
        instance::State::Started => To::Started,
        instance::State::Running => To::Running,
        instance::State::RunningFailed => To::RunningFailed,
        instance::State::Terminating => To::Terminating,
        instance::State::Terminated => To::Terminated,
        instance::State::Failed => To::Failed,
        instance::State::Rejected => To::Rejected,
    }
}

/// Nothing for a state that no instance of this host is ever in.
fn state_from(state: types::InstanceState) -> Option<instance::State> {
    instance::State::ALL.into_iter().find(|known| instance_state(*known) == state)
}

pub(crate) fn health(health: instance::Health) -> types::Health {
    use types::Health as To;
    match health {
        instance::Health::Unknown => To::Unknown,
        instance::Health::Ok => To::Ok,
        instance::Health::MonitorError => To::MonitorError,
        instance::Health::ProcessError => To::ProcessError,
        instance::Health::OutOfContact => To::OutOfContact,
        instance::Health::Missing => To::Missing,
        instance::Health::Zombie => To::Zombie,
    }
}

fn health_from(health: types::Health) -> Option<instance::Health> {
    use instance::Health as To;
    To::ALL.into_iter().find(|known| self::health(*known) == health)
}

/// Nothing when the filter names only states or healths that no instance of this host is ever in: then no instance is meant, whereas a
/// list that is empty from the beginning restricts nothing.
pub(crate) fn filter(filter: state::Filter) -> Option<cycle::Filter> {
    let states: Vec<_> = filter.states.iter().filter_map(|state| state_from(*state)).collect();
    let healths: Vec<_> = filter.healths.iter().filter_map(|health| health_from(*health)).collect();
    let none_left = |asked: usize, known: usize| asked > 0 && known == 0;
    if none_left(filter.states.len(), states.len()) || none_left(filter.healths.len(), healths.len()) {
        return None;
    }
    Some(cycle::Filter { states, healths, site: filter.site, valid: filter.valid })
}

pub(crate) fn instance(instance: &instance::Instance) -> types::Instance {
    types::Instance {
        id: instance.id.as_str().to_owned(),
        launch: instance.launch.as_str().to_owned(),
        deployable_type: instance.deployable_type.clone(),
        site: instance.site.clone(),
        allocation: instance.allocation.clone(),
        state: instance_state(instance.state),
        state_since: instance.state_since.as_millis(),
        health: health(instance.health),
        errors: instance.errors.list.iter().map(pilothouse_core::problem::Problem::line).collect(),
        extra_vars: instance.extra_vars.clone(),
        attributes: instance.attributes.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        protected: instance.protected,
    }
}

/// What an engine calls an instance in `columns` and `instance-at`. Its ordinal; a domain that launches one a second gets through them
/// in 136 years, and the ones after share a row that is never found.
pub(crate) fn row(ordinal: u64) -> u32 {
    u32::try_from(ordinal).unwrap_or(u32::MAX)
}

/// Nothing when the text is no id, and so no instance's.
pub(crate) fn scope(scope: state::Scope) -> Option<sensor::Scope> {
    match scope {
        state::Scope::Domain => Some(sensor::Scope::Domain),
        state::Scope::Instance(id) => id.parse().ok().map(sensor::Scope::Instance),
    }
}

pub(crate) fn statistic(statistic: state::Statistic) -> sensor::Statistic {
    use sensor::Statistic as To;
    match statistic {
        state::Statistic::Last => To::Last,
        state::Statistic::Average => To::Average,
        state::Statistic::Sum => To::Sum,
        state::Statistic::Minimum => To::Minimum,
        state::Statistic::Maximum => To::Maximum,
        state::Statistic::SampleCount => To::SampleCount,
        state::Statistic::P50 => To::P50,
        state::Statistic::P90 => To::P90,
        state::Statistic::P95 => To::P95,
        state::Statistic::P99 => To::P99,
    }
}

pub(crate) fn sample(sample: sensor::Sample) -> types::Sample {
    match sample {
        sensor::Sample::Value(value) => types::Sample::Value(value),
        sensor::Sample::Stale(value, age) => types::Sample::Stale((value, age.get())),
        sensor::Sample::Absent => types::Sample::Absent,
    }
}

pub(crate) fn refusal(refusal: guard::Refusal) -> control::Refusal {
    use control::Refusal as To;
    match refusal {
        guard::Refusal::Paused => To::Paused,
        refusal @ guard::Refusal::Protected => To::Other(refusal.to_string()),
        guard::Refusal::Blind(text) => To::Blind(text),
        guard::Refusal::Brake(text) => To::Brake(text),
        guard::Refusal::Budget(wait) => To::Budget(wait.get()),
        guard::Refusal::Quota(text) => To::Quota(text),
        guard::Refusal::BackingOff(wait) => To::BackingOff(wait.get()),
        guard::Refusal::Invalid(text) => To::Invalid(text),
    }
}

pub(crate) fn launch_request(request: control::LaunchRequest) -> cycle::LaunchRequest {
    cycle::LaunchRequest {
        deployable_type: request.deployable_type,
        site: request.site,
        allocation: request.allocation,
        count: request.count,
        extra_vars: request.extra_vars,
        replaces: request.replaces,
        options: request.options,
    }
}

pub(crate) fn launched(launched: cycle::Launched) -> control::Launched {
    control::Launched {
        launch: launched.launch.into(),
        instances: launched.instances.into_iter().map(Into::into).collect(),
        deferred: launched.deferred,
    }
}

pub(crate) fn destroyed(destroyed: cycle::Destroyed) -> control::Destroyed {
    control::Destroyed {
        accepted: destroyed.accepted.into_iter().map(Into::into).collect(),
        deferred: destroyed.deferred.into_iter().map(Into::into).collect(),
    }
}

pub(crate) fn settings(settings: control::Settings) -> cycle::Settings {
    cycle::Settings { pulse: settings.pulse.map(Millis::new), provisioner_vars: settings.provisioner_vars }
}

pub(crate) fn level(level: log::Level) -> cycle::Level {
    match level {
        log::Level::Error => cycle::Level::Error,
        log::Level::Warn => cycle::Level::Warn,
        log::Level::Info => cycle::Level::Info,
        log::Level::Debug => cycle::Level::Debug,
        log::Level::Trace => cycle::Level::Trace,
    }
}

pub(crate) fn status(status: guest::Status) -> cycle::Status {
    match status {
        guest::Status::Pending => cycle::Status::Pending,
        guest::Status::Stable => cycle::Status::Stable,
        guest::Status::Failed => cycle::Status::Failed,
    }
}

pub(crate) fn wake(wake: guest::Wake) -> cycle::Wake {
    match wake {
        guest::Wake::After(length) => cycle::Wake::After(Millis::new(length)),
        guest::Wake::OnChange => cycle::Wake::OnChange,
    }
}

pub(crate) fn problem(problem: guest::Problem) -> ConfigProblem {
    ConfigProblem { at: problem.at, message: problem.message }
}
