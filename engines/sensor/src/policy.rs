//! As many instances as their readings ask for: how a domain stands and what was read → what has to come and what has to go.
//!
//! The wanted size is remembered. A threshold moves it, a step at a time, between the minimum and the maximum; everything else (who
//! is replaced, who is launched anew) only follows it. So a cooldown can hold the size without holding up a replacement.
//!
//! An instance without a reading is left out, never taken for zero; with no reading at all the size is held.

use pilothouse_engine::{
    Done, Duration, InstanceId, Launch, Plan, Problem, Sample, Statistic, Surplus, Survey, Timestamp, Victims, config,
};
use serde::{Deserialize, Serialize};

/// What the engine is told.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The sensor to follow. Without one the size stays between the bounds.
    #[serde(default)]
    pub metric: Option<String>,
    /// What is made of each instance's readings before they are averaged over the instances.
    #[serde(default)]
    pub sample_function: SampleFunction,
    /// How far back readings count, in milliseconds (seconds in the configuration).
    #[serde(default = "default_period", deserialize_with = "config::seconds")]
    pub sample_period: Duration,
    /// How long after an action the size is held, in milliseconds (seconds in the configuration).
    #[serde(default, deserialize_with = "config::seconds")]
    pub cooldown_period: Duration,
    /// Above it the size grows. Equal to it nothing happens.
    #[serde(default)]
    pub scale_up_threshold: Option<f64>,
    /// By how many; 0 never grows.
    #[serde(default, deserialize_with = "config::count")]
    pub scale_up_n_vms: u32,
    /// Below it the size shrinks. Equal to it nothing happens.
    #[serde(default)]
    pub scale_down_threshold: Option<f64>,
    /// By how many; 0 never shrinks.
    #[serde(default, deserialize_with = "config::count")]
    pub scale_down_n_vms: u32,
    /// Never fewer than that.
    #[serde(default, deserialize_with = "config::count")]
    pub minimum_vms: u32,
    /// Never more than that.
    #[serde(deserialize_with = "config::count")]
    pub maximum_vms: u32,
    /// What to launch.
    #[serde(default = "default_type")]
    pub deployable_type: String,
    /// Where to launch.
    #[serde(default = "default_site")]
    pub iaas_site: String,
    /// In which size.
    #[serde(default = "default_allocation")]
    pub iaas_allocation: String,
    /// Who goes first when there are too many.
    #[serde(default)]
    pub victims: Victims,
}

fn default_period() -> Duration {
    90_000
}

fn default_type() -> String {
    "epu_work_consumer".to_owned()
}

fn default_site() -> String {
    "ec2-east".to_owned()
}

fn default_allocation() -> String {
    "small".to_owned()
}

/// A statistic over the readings of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[expect(missing_docs, reason = "each is what it is called")]
pub enum SampleFunction {
    #[default]
    Average,
    Sum,
    Minimum,
    Maximum,
    SampleCount,
    Last,
    P50,
    P90,
    P99,
}

impl SampleFunction {
    /// What the host calls it.
    #[must_use]
    pub fn statistic(self) -> Statistic {
        match self {
            Self::Average => Statistic::Average,
            Self::Sum => Statistic::Sum,
            Self::Minimum => Statistic::Minimum,
            Self::Maximum => Statistic::Maximum,
            Self::SampleCount => Statistic::SampleCount,
            Self::Last => Statistic::Last,
            Self::P50 => Statistic::P50,
            Self::P90 => Statistic::P90,
            Self::P99 => Statistic::P99,
        }
    }
}

/// What must outlive a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// The wanted size. Nothing yet: what is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<u32>,
    /// When the size was last changed by a threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaled_at: Option<Timestamp>,
}

/// The wanted size before and after looking at the readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scaling {
    /// Within the bounds of today's configuration.
    pub from: u32,
    /// The same, unless a threshold was crossed.
    pub to: u32,
}

/// A plan, and how the wanted size moves if it is granted.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// What has to come and what has to go.
    pub plan: Plan,
    /// How the wanted size moves.
    pub scaling: Scaling,
}

/// What does not go together.
#[must_use]
pub fn check(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    if config.minimum_vms > config.maximum_vms {
        let message = format!("minimum_vms = {} is over maximum_vms = {}", config.minimum_vms, config.maximum_vms);
        problems.push(config::problem("minimum_vms", message));
    }
    if let (Some(up), Some(down)) = (config.scale_up_threshold, config.scale_down_threshold)
        && down > up
    {
        let message = format!("expected at most scale_up_threshold = {up}, or every reading between the two would do both");
        problems.push(config::problem("scale_down_threshold", message));
    }
    if config.metric.is_none() {
        for (key, threshold) in [("scale_up_threshold", config.scale_up_threshold), ("scale_down_threshold", config.scale_down_threshold)] {
            if threshold.is_some() {
                problems.push(config::problem(key, "expected a metric beside it"));
            }
        }
    }
    problems
}

/// The memory of an engine that takes over so many instances: their number, as far as the bounds allow, is the wanted size.
#[must_use]
pub fn adopt(config: &Config, valid: u32) -> Memory {
    Memory { target: Some(bounded(config, valid)), scaled_at: None }
}

/// The sensor whose readings [`plan`] needs, if it needs any.
#[must_use]
pub fn metric_to_read<'a>(config: &'a Config, memory: &Memory, survey: &Survey, now: Timestamp) -> Option<&'a str> {
    let may_scale = config.scale_up_threshold.is_some() || config.scale_down_threshold.is_some();
    config.metric.as_deref().filter(|_| may_scale && survey.healthy > 0 && cooling(config, memory, now).is_none())
}

/// What has to come and what has to go.
#[must_use]
pub fn plan(config: &Config, survey: &Survey, memory: &Memory, now: Timestamp, readings: Option<&[(InstanceId, Sample)]>) -> Wish {
    let from = bounded(config, memory.target.unwrap_or(survey.valid));
    let mut to = from;
    let mut figures = vec![("minimum", f64::from(config.minimum_vms)), ("maximum", f64::from(config.maximum_vms))];
    let metric = config.metric.as_deref().unwrap_or_default();
    let mut note = None;
    if let Some(left) = cooling(config, memory, now) {
        figures.push(("cooldown-left", left as f64 / 1000.0));
        note = Some(format!("the size is held for {} s more", left.div_ceil(1000)));
    } else if let Some(readings) = readings {
        let values = values(readings, survey);
        figures.push(("samples", values.len() as f64));
        let Some(average) = average(&values) else {
            return finish(config, survey, Scaling { from, to }, figures, Some(format!("no readings of {metric}: the size is held")));
        };
        figures.push(("average", average));
        figures.extend(config.scale_up_threshold.map(|up| ("scale-up-threshold", up)));
        figures.extend(config.scale_down_threshold.map(|down| ("scale-down-threshold", down)));
        let (step, words) = step(config, average);
        to = bounded(config, u32::try_from((i64::from(from) + step).max(0)).unwrap_or(u32::MAX));
        let size = match to == from {
            true if step > 0 => ", but the size is at its maximum".to_owned(),
            true if step < 0 => ", but the size is at its minimum".to_owned(),
            true => String::new(),
            false => format!(": from {from} to {to}"),
        };
        note = Some(format!("{metric} is {average:.3} over {} instances{words}{size}", values.len()));
    }
    finish(config, survey, Scaling { from, to }, figures, note)
}

fn finish(config: &Config, survey: &Survey, scaling: Scaling, figures: Vec<(&'static str, f64)>, note: Option<String>) -> Wish {
    let mut plan = Plan::of(survey, scaling.to);
    if survey.healthy < scaling.to {
        plan.launches.push(Launch { count: scaling.to - survey.healthy, ..Launch::default() });
    } else if survey.healthy > scaling.to {
        plan.surplus = Some(Surplus::of(survey.healthy - scaling.to, config.victims));
    }
    if let Some(note) = note {
        plan.seen = format!("{}, {note}", plan.seen);
    }
    plan.figures.extend(figures);
    Wish { plan, scaling }
}

/// The memory after a plan was carried out. A change of size of which the host granted nothing has not happened: it starts no
/// cooldown, and the next readings are asked again.
#[must_use]
pub fn remember(memory: Memory, scaling: Scaling, survey: &Survey, done: &Done, now: Timestamp) -> Memory {
    let Scaling { from, to } = scaling;
    let healthy = survey.healthy;
    let granted = if to > from {
        // What was missing before counts as replacement.
        healthy >= to || done.launched_count() > from.saturating_sub(healthy) as usize
    } else if to < from {
        let replaced = |id: &&InstanceId| survey.unhealthy.iter().any(|instance| instance.id == **id);
        let removed = done.destroyed.iter().filter(|id| !replaced(id)).count();
        healthy <= to || removed > healthy.saturating_sub(from) as usize
    } else {
        false
    };
    if granted { Memory { target: Some(to), scaled_at: Some(now) } } else { Memory { target: Some(from), ..memory } }
}

/// How much of the cooldown is left, if any.
fn cooling(config: &Config, memory: &Memory, now: Timestamp) -> Option<Duration> {
    let until = memory.scaled_at?.saturating_add(config.cooldown_period);
    (now < until).then(|| until - now)
}

/// The readings of healthy instances that have any.
fn values(readings: &[(InstanceId, Sample)], survey: &Survey) -> Vec<f64> {
    readings
        .iter()
        .filter(|(id, _)| survey.unhealthy.iter().all(|instance| instance.id != *id))
        .filter_map(|(_, sample)| match sample {
            Sample::Value(value) if value.is_finite() => Some(*value),
            Sample::Value(_) | Sample::Stale(_) | Sample::Absent => None,
        })
        .collect()
}

fn average(values: &[f64]) -> Option<f64> {
    if values.is_empty() { None } else { Some(values.iter().sum::<f64>() / values.len() as f64) }
}

/// By how much the size should change, and why.
fn step(config: &Config, average: f64) -> (i64, String) {
    if let Some(up) = config.scale_up_threshold
        && average > up
    {
        return (i64::from(config.scale_up_n_vms), format!(", above {up}"));
    }
    if let Some(down) = config.scale_down_threshold
        && average < down
    {
        return (-i64::from(config.scale_down_n_vms), format!(", below {down}"));
    }
    (0, String::new())
}

/// Within the bounds. A configuration whose minimum is over its maximum was refused.
fn bounded(config: &Config, size: u32) -> u32 {
    size.min(config.maximum_vms).max(config.minimum_vms)
}
