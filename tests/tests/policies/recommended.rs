//! What readings recommend, reckoned once more and in other words: bounds, windows and cooldowns come after it.

use pilothouse_core::time::{Millis, Timestamp};
use serde_json::{Map, Value};

use crate::account::Looked;
use crate::kind::number;
use crate::size::seconds;

/// What the readings come to.
pub(crate) struct Evidence {
    /// One figure of all, if there is any reading that counts.
    pub(crate) value: Option<f64>,
    /// Some healthy instances have none, and some have one.
    pub(crate) some_absent: bool,
}

/// A reading that counts, and whether it is an old one that stands in.
type Sample = Option<(f64, bool)>;

/// Everybody's sample; those of the healthy instances, or the one of the domain.
fn samples(conf: &Map<String, Value>, looked: &Looked, throughout: bool) -> Vec<Sample> {
    let function = conf.get("sample_function").and_then(Value::as_str).unwrap_or("Average");
    let before = |length: Millis| Timestamp::from_millis(looked.now.as_millis().saturating_sub(length.get()));
    let since = before(seconds(conf, "sample_period").unwrap_or(Millis::from_secs(90)));
    let oldest = seconds(conf, "absent_data_max_age").filter(|_| is(conf, "absent_data", "last-known")).map(before);
    let sample = |of| {
        if throughout && !looked.readings.go_through(of, since, looked.now) {
            return None;
        }
        let fresh = looked.readings.statistic(of, function, since).map(|value| (value, false));
        let stale = || looked.readings.newest(of).filter(|(at, _)| oldest.is_some_and(|oldest| *at >= oldest));
        fresh.or_else(|| stale().map(|(_, value)| (value, true)))
    };
    if is(conf, "scope", "domain") {
        return vec![sample(None)];
    }
    let healthy = looked.state.instances().filter(|it| it.state.is_valid() && !it.is_unhealthy());
    healthy.map(|it| sample(Some(&it.id))).collect()
}

fn is(conf: &Map<String, Value>, key: &str, value: &str) -> bool {
    conf.get(key).and_then(Value::as_str) == Some(value)
}

/// What the readings come to.
pub(crate) fn evidence(conf: &Map<String, Value>, looked: &Looked) -> Evidence {
    let samples = samples(conf, looked, false);
    let values: Vec<f64> = samples.iter().flatten().map(|(value, _)| *value).collect();
    let value = (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
    Evidence { value, some_absent: value.is_some() && values.len() < samples.len() }
}

/// What is recommended.
#[derive(Debug)]
pub(crate) struct Recommended {
    /// How many instances.
    pub(crate) size: u32,
    /// Not by readings, but because there are none.
    pub(crate) for_want: bool,
    /// Off the target, and near enough.
    pub(crate) within_tolerance: bool,
    /// A reading that is older than the period stands in.
    pub(crate) by_stale: bool,
    /// What is read would do with fewer, but not what was read throughout the period.
    pub(crate) for_want_of_a_whole_period: bool,
}

/// What the readings recommend for a domain of this size. What adds up its readings is believed on the way down only of those that were heard
/// at both ends of the period.
pub(crate) fn recommended(conf: &Map<String, Value>, looked: &Looked, from: u32) -> Recommended {
    let all = by(conf, looked, from, &samples(conf, looked, false));
    let there = if conf.get("target_value").is_some_and(Value::is_number) { from.max(looked.taken()) } else { from };
    let adds_up = is(conf, "sample_function", "Sum") || is(conf, "sample_function", "SampleCount");
    if !adds_up || crate::size::bounded(conf, all.size) >= there {
        return all;
    }
    let heard = samples(conf, looked, true);
    if heard.iter().all(Option::is_none) {
        return Recommended { size: from, for_want_of_a_whole_period: true, ..all };
    }
    let careful = by(conf, looked, from, &heard);
    let size = if heard.contains(&None) { careful.size.min(there) } else { careful.size };
    Recommended { size, for_want_of_a_whole_period: careful.size > all.size, ..careful }
}

fn by(conf: &Map<String, Value>, looked: &Looked, from: u32, samples: &[Sample]) -> Recommended {
    let by_stale = samples.iter().flatten().any(|(_, is_stale)| *is_stale);
    let of = |size| Recommended { size, for_want: false, within_tolerance: false, by_stale, for_want_of_a_whole_period: false };
    let steps = |key| number(conf, key).unwrap_or_default() as u32;
    let values: Vec<f64> = samples.iter().flatten().map(|(value, _)| *value).collect();
    let read = values.len() as u32;
    let of_domain = is(conf, "scope", "domain");
    let silent = if of_domain { 0 } else { samples.len() as u32 - read };
    let Some(value) = (read > 0).then(|| values.iter().sum::<f64>() / f64::from(read)) else {
        let grows = is(conf, "absent_data", "up");
        return Recommended { for_want: grows, ..of(if grows { from.saturating_add(steps("scale_up_n_vms")) } else { from }) };
    };
    let Some(target) = number(conf, "target_value") else {
        let over = number(conf, "scale_up_threshold").is_some_and(|up| value > up);
        let under = number(conf, "scale_down_threshold").is_some_and(|down| value < down);
        return of(match (over, under) {
            (true, _) => from.saturating_add(steps("scale_up_n_vms")),
            // The silent stay, and one that is read.
            (false, true) if silent > 0 => from.saturating_sub(steps("scale_down_n_vms")).max(from.min(silent + 1)),
            (false, true) => from.saturating_sub(steps("scale_down_n_vms")),
            (false, false) => from,
        });
    };
    // Whoever is ill and kept by an operator holds a place and does no work.
    let kept = looked.state.instances().filter(|it| it.state.is_valid() && it.is_unhealthy() && it.protected).count() as u32;
    let there = from.max(looked.taken());
    let working = there.saturating_sub(kept);
    let (sum, share, at_work) = match of_domain {
        // Nobody does it: any work at all is too much, and none is right.
        true if working == 0 => (value, if value > 0.0 { f64::INFINITY } else { target }, 0),
        true => (value, value / f64::from(working), working),
        false => (value * f64::from(read), value, read),
    };
    let off = (share / target - 1.0).abs();
    if off <= number(conf, "target_tolerance").unwrap_or(0.1) + 1e-9 {
        // Who should go, and has as much to do as the others, stays.
        return Recommended { within_tolerance: off > 1e-9, ..of(from.max(there.min(kept + at_work))) };
    }
    let needed = kept + (sum / target * (1.0 - 1e-9)).ceil().max(0.0) as u32;
    // Places of which nothing is known are not idle, but nobody beyond the wanted size stays for that.
    let unknown = silent.max(from.saturating_sub(kept + at_work));
    of(if share > target { needed.max(from) } else { from.min(needed + unknown).max(there.min(needed)) })
}
