//! Between the types of the SDK and those of the core.

use std::time::Duration;

use pilothouse_core::cycle::{self, Cause, Level};
use pilothouse_core::guard;
use pilothouse_core::instance::{self, Health, State};
use pilothouse_core::sensor;
use pilothouse_core::time::Millis;
use pilothouse_engine as sdk;

pub(super) fn cause(cause: Cause) -> sdk::Cause {
    match cause {
        Cause::Pulse => sdk::Cause::Pulse,
        Cause::Wake => sdk::Cause::Wake,
        Cause::Changed => sdk::Cause::Changed,
        Cause::Configured => sdk::Cause::Configured,
        Cause::Swapped => sdk::Cause::Swapped,
        Cause::TakenOver => sdk::Cause::TakenOver,
        Cause::Asked => sdk::Cause::Asked,
    }
}

pub(super) fn level(level: sdk::Level) -> Level {
    match level {
        sdk::Level::Error => Level::Error,
        sdk::Level::Warn => Level::Warn,
        sdk::Level::Info => Level::Info,
        sdk::Level::Debug => Level::Debug,
        sdk::Level::Trace => Level::Trace,
    }
}

pub(super) fn state(state: State) -> sdk::InstanceState {
    match state {
        State::Requesting => sdk::InstanceState::Requesting,
        State::Requested => sdk::InstanceState::Requested,
        State::ErrorRetrying => sdk::InstanceState::ErrorRetrying,
        State::Pending => sdk::InstanceState::Pending,
        State::Started => sdk::InstanceState::Started,
        State::Running => sdk::InstanceState::Running,
        State::RunningFailed => sdk::InstanceState::RunningFailed,
        State::Terminating => sdk::InstanceState::Terminating,
        State::Terminated => sdk::InstanceState::Terminated,
        State::Failed => sdk::InstanceState::Failed,
        State::Rejected => sdk::InstanceState::Rejected,
    }
}

pub(super) fn health(health: Health) -> sdk::Health {
    match health {
        Health::Unknown => sdk::Health::Unknown,
        Health::Ok => sdk::Health::Ok,
        Health::MonitorError => sdk::Health::MonitorError,
        Health::ProcessError => sdk::Health::ProcessError,
        Health::OutOfContact => sdk::Health::OutOfContact,
        Health::Missing => sdk::Health::Missing,
        Health::Zombie => sdk::Health::Zombie,
    }
}

/// Nothing when only states or healths are named that no instance is ever in.
pub(super) fn filter(filter: &sdk::Filter) -> Option<cycle::Filter> {
    let states: Vec<State> = State::ALL.into_iter().filter(|known| filter.states.contains(&state(*known))).collect();
    let healths: Vec<Health> = Health::ALL.into_iter().filter(|known| filter.healths.contains(&health(*known))).collect();
    let none_left = |asked: usize, known: usize| asked > 0 && known == 0;
    (!none_left(filter.states.len(), states.len()) && !none_left(filter.healths.len(), healths.len())).then(|| cycle::Filter {
        states,
        healths,
        site: filter.site.clone(),
        valid: filter.valid,
    })
}

pub(super) fn moment(moment: pilothouse_core::time::Timestamp) -> sdk::Timestamp {
    sdk::Timestamp::from_millis(moment.as_millis())
}

/// What the interface carries is whole milliseconds.
pub(super) fn millis(length: Duration) -> Millis {
    Millis::new(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
}

pub(super) fn instance(it: &instance::Instance) -> sdk::Instance {
    sdk::Instance {
        id: it.id.as_str().to_owned(),
        launch: it.launch.as_str().to_owned(),
        deployable_type: it.deployable_type.clone(),
        site: it.site.clone(),
        allocation: it.allocation.clone(),
        state: state(it.state),
        state_since: moment(it.state_since),
        health: health(it.health),
        errors: it.errors.list.iter().map(pilothouse_core::problem::Problem::line).collect(),
        extra_vars: it.extra_vars.clone(),
        attributes: it.attributes.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        protected: it.protected,
    }
}

pub(super) fn scope(scope: &sdk::Scope) -> Option<sensor::Scope> {
    match scope {
        sdk::Scope::Domain => Some(sensor::Scope::Domain),
        sdk::Scope::Instance(id) => id.parse().ok().map(sensor::Scope::Instance),
    }
}

pub(super) fn statistic(statistic: sdk::Statistic) -> sensor::Statistic {
    match statistic {
        sdk::Statistic::Last => sensor::Statistic::Last,
        sdk::Statistic::Average => sensor::Statistic::Average,
        sdk::Statistic::Sum => sensor::Statistic::Sum,
        sdk::Statistic::Minimum => sensor::Statistic::Minimum,
        sdk::Statistic::Maximum => sensor::Statistic::Maximum,
        sdk::Statistic::SampleCount => sensor::Statistic::SampleCount,
        sdk::Statistic::P50 => sensor::Statistic::P50,
        sdk::Statistic::P90 => sensor::Statistic::P90,
        sdk::Statistic::P95 => sensor::Statistic::P95,
        sdk::Statistic::P99 => sensor::Statistic::P99,
    }
}

pub(super) fn sample(sample: sensor::Sample) -> sdk::Sample {
    match sample {
        sensor::Sample::Value(value) => sdk::Sample::Value(value),
        sensor::Sample::Stale(last, age) => sdk::Sample::Stale { last, age: age.to_std() },
        sensor::Sample::Absent => sdk::Sample::Absent,
    }
}

pub(super) fn refusal(refusal: guard::Refusal) -> sdk::Refusal {
    match refusal {
        guard::Refusal::Paused => sdk::Refusal::Paused,
        refusal @ guard::Refusal::Protected => sdk::Refusal::Other(refusal.to_string()),
        guard::Refusal::Blind(text) => sdk::Refusal::Blind(text),
        guard::Refusal::Brake(text) => sdk::Refusal::Brake(text),
        guard::Refusal::Budget(wait) => sdk::Refusal::Budget(wait.to_std()),
        guard::Refusal::Quota(text) => sdk::Refusal::Quota(text),
        guard::Refusal::BackingOff(wait) => sdk::Refusal::BackingOff(wait.to_std()),
        guard::Refusal::Invalid(text) => sdk::Refusal::Invalid(text),
    }
}

pub(super) fn destroyed(destroyed: cycle::Destroyed) -> sdk::Destroyed {
    sdk::Destroyed {
        accepted: destroyed.accepted.into_iter().map(Into::into).collect(),
        deferred: destroyed.deferred.into_iter().map(Into::into).collect(),
    }
}

pub(super) fn settings(settings: &sdk::Settings) -> cycle::Settings {
    cycle::Settings { pulse: settings.pulse.map(millis), provisioner_vars: settings.provisioner_vars.clone() }
}

pub(super) fn verdict(decided: sdk::host::Decided) -> cycle::Verdict {
    cycle::Verdict {
        memory: decided.memory,
        status: match decided.status {
            sdk::Status::Pending => cycle::Status::Pending,
            sdk::Status::Stable => cycle::Status::Stable,
            sdk::Status::Failed => cycle::Status::Failed,
        },
        reason: decided.reason,
        figures: decided.figures,
        wake: decided.wake.map(|wake| match wake {
            sdk::Wake::After(length) => cycle::Wake::After(millis(length)),
            sdk::Wake::OnChange => cycle::Wake::OnChange,
        }),
    }
}
