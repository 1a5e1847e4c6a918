//! As many instances as their readings ask for: how a domain stands and what was read → what has to come and what has to go.
//!
//! The wanted size is remembered. A threshold moves it, a step at a time, between the minimum and the maximum; everything else (who
//! is replaced, who is launched anew) only follows it. So a cooldown can hold the size without holding up a replacement.
//!
//! An instance without a reading is left out, never taken for zero; with no reading at all the size is held.

use pilothouse_engine::{Done, Duration, InstanceId, Launch, Plan, Sample, Surplus, Survey, Timestamp};
use serde::{Deserialize, Serialize};

use crate::config::Config;

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

#[cfg(test)]
mod tests {
    use pilothouse_engine::testing::{Recorder, counts, instance};
    use pilothouse_engine::{Counts, Health, Instance, InstanceState, Refusal, Status, Template, Verdict, config};

    use super::*;

    const TEMPLATE: Template<'_> = Template { deployable_type: "web", site: "local", allocation: "small" };
    const NOW: Timestamp = 1_000_000_000;

    /// Grows by two above 4, shrinks by one below 1, between two and six, with a minute of rest.
    fn scaled() -> Config {
        config::parse(
            r#"{"metric":"load","scale_up_threshold":4,"scale_up_n_vms":2,"scale_down_threshold":1,"scale_down_n_vms":1,
                "minimum_vms":2,"maximum_vms":6,"cooldown_period":60}"#,
        )
        .unwrap()
    }

    fn size(target: u32) -> Memory {
        Memory { target: Some(target), scaled_at: None }
    }

    fn running(count: u32, unhealthy: Vec<Instance>) -> Survey {
        Survey::new(Counts { valid: count, running: count, ..counts() }, unhealthy)
    }

    fn read(samples: &[Sample]) -> Vec<(InstanceId, Sample)> {
        samples.iter().enumerate().map(|(n, sample)| (format!("i{n}"), *sample)).collect()
    }

    fn loads(loads: &[f64]) -> Vec<(InstanceId, Sample)> {
        read(&loads.iter().map(|load| Sample::Value(*load)).collect::<Vec<_>>())
    }

    fn hands() -> Recorder {
        Recorder { candidates: ["i5", "i4", "i3", "i2", "i1", "i0"].map(str::to_owned).to_vec(), ..Recorder::default() }
    }

    fn decide(config: &Config, survey: &Survey, memory: Memory, readings: &[(InstanceId, Sample)], hands: &Recorder) -> Verdict<Memory> {
        let readings = metric_to_read(config, &memory, survey, NOW).map(|_| readings);
        let wish = plan(config, survey, &memory, NOW, readings);
        let done = wish.plan.carry_out(hands, &TEMPLATE);
        let memory = remember(memory, wish.scaling, survey, &done, NOW);
        done.verdict(memory)
    }

    /// Three run with these readings: what is asked, and the memory after it.
    #[track_caller]
    fn three(readings: &[(InstanceId, Sample)], asked: &[&str], after: Memory) {
        let hands = hands();
        let verdict = decide(&scaled(), &running(3, vec![]), size(3), readings, &hands);
        assert_eq!(*hands.asked.borrow(), asked);
        assert_eq!(verdict.memory, after);
    }

    fn scaled_to(target: u32) -> Memory {
        Memory { target: Some(target), scaled_at: Some(NOW) }
    }

    #[test]
    fn above_the_threshold_the_size_grows_by_its_step() {
        three(&loads(&[4.0, 4.0, 4.1]), &["launch 2"], scaled_to(5));
    }

    #[test]
    fn below_the_threshold_the_size_shrinks_by_its_step() {
        three(&loads(&[1.0, 1.0, 0.9]), &["destroy i5 (1 more than wanted)"], scaled_to(2));
    }

    #[test]
    fn equal_to_a_threshold_nothing_happens() {
        three(&loads(&[4.0, 4.0, 4.0]), &[], size(3));
        three(&loads(&[1.0, 1.0, 1.0]), &[], size(3));
    }

    #[test]
    fn an_instance_without_a_reading_is_left_out() {
        three(&read(&[Sample::Value(4.5), Sample::Absent, Sample::Stale((0.0, 99))]), &["launch 2"], scaled_to(5));
        three(&read(&[Sample::Value(1.5), Sample::Absent, Sample::Absent]), &[], size(3));
    }

    #[test]
    fn without_any_reading_the_size_is_held() {
        three(&read(&[Sample::Absent, Sample::Stale((0.0, 99)), Sample::Value(f64::NAN)]), &[], size(3));
        three(&[], &[], size(3));
    }

    #[test]
    fn the_readings_of_the_unhealthy_do_not_count() {
        let survey = running(3, vec![instance("i0", InstanceState::Running, Health::Missing)]);
        let hands = hands();
        let verdict = decide(&scaled(), &survey, size(3), &loads(&[100.0, 2.0, 2.0]), &hands);
        assert_eq!(*hands.asked.borrow(), ["destroy i0 (missing)", "launch 1"]);
        assert_eq!(verdict.memory, size(3));
    }

    #[test]
    fn the_bounds_hold_and_what_they_stop_starts_no_cooldown() {
        let hands = hands();
        let verdict = decide(&scaled(), &running(5, vec![]), size(5), &loads(&[9.0; 5]), &hands);
        assert_eq!((hands.asked.borrow().as_slice(), verdict.memory), (["launch 1".to_owned()].as_slice(), scaled_to(6)));

        for (at, load, bound) in [(6, 9.0, "maximum"), (2, 0.0, "minimum")] {
            let verdict = decide(&scaled(), &running(at, vec![]), size(at), &loads(&[load; 6]), &Recorder::default());
            assert_eq!((verdict.status, verdict.memory), (Status::Stable, size(at)));
            assert!(verdict.reason.ends_with(&format!("but the size is at its {bound}")), "{}", verdict.reason);
        }
    }

    #[test]
    fn a_step_of_zero_disables_its_direction() {
        let config = Config { scale_up_n_vms: 0, ..scaled() };
        let verdict = decide(&config, &running(3, vec![]), size(3), &loads(&[9.0; 3]), &Recorder::default());
        assert_eq!((verdict.status, verdict.memory), (Status::Stable, size(3)));
    }

    #[test]
    fn a_cooldown_holds_the_size_until_it_is_over_to_the_millisecond() {
        let cooling = |since| Memory { target: Some(3), scaled_at: Some(NOW - since) };
        for (since, asked) in [(59_999, 0), (60_000, 1)] {
            let hands = hands();
            decide(&scaled(), &running(3, vec![]), cooling(since), &loads(&[9.0; 3]), &hands);
            assert_eq!(hands.asked.borrow().len(), asked, "{since}");
        }
    }

    #[test]
    fn a_cooldown_holds_up_neither_replacement_nor_the_bounds() {
        let memory = Memory { target: Some(4), scaled_at: Some(NOW - 1000) };
        let survey = running(4, vec![instance("i1", InstanceState::Running, Health::Missing)]);
        let first = hands();
        let verdict = decide(&scaled(), &survey, memory, &[], &first);
        assert_eq!(*first.asked.borrow(), ["destroy i1 (missing)", "launch 1"]);
        assert_eq!(verdict.memory, memory);
        assert!(verdict.reason.starts_with("3 of 4 healthy, the size is held for 59 s more"), "{}", verdict.reason);

        let config = Config { minimum_vms: 5, ..scaled() };
        let second = hands();
        let verdict = decide(&config, &running(4, vec![]), memory, &[], &second);
        assert_eq!(*second.asked.borrow(), ["launch 1"]);
        assert_eq!(verdict.memory, Memory { target: Some(5), ..memory });
    }

    #[test]
    fn an_instance_that_is_lost_is_replaced_above_the_minimum_too() {
        let hands = hands();
        decide(&scaled(), &running(3, vec![]), size(4), &loads(&[2.0; 3]), &hands);
        assert_eq!(*hands.asked.borrow(), ["launch 1"]);
    }

    #[test]
    fn a_change_that_is_refused_has_not_happened() {
        let refused = Recorder { refuse_launches: Some(Refusal::Paused), ..hands() };
        assert_eq!(decide(&scaled(), &running(3, vec![]), size(3), &loads(&[9.0; 3]), &refused).memory, size(3));
        let held_back = Recorder { defer: ["i5".to_owned()].into(), ..hands() };
        assert_eq!(decide(&scaled(), &running(3, vec![]), size(3), &loads(&[0.0; 3]), &held_back).memory, size(3));
    }

    #[test]
    fn a_change_that_is_granted_in_part_has_happened_and_the_rest_follows() {
        let hands = Recorder { most_launches: Some(1), ..hands() };
        assert_eq!(decide(&scaled(), &running(3, vec![]), size(3), &loads(&[9.0; 3]), &hands).memory, scaled_to(5));
    }

    #[test]
    fn a_grant_that_only_covers_what_was_missing_is_no_change_of_size() {
        let hands = Recorder { most_launches: Some(1), ..hands() };
        let verdict = decide(&scaled(), &running(3, vec![]), size(4), &loads(&[9.0; 3]), &hands);
        assert_eq!(*hands.asked.borrow(), ["launch 3"]);
        assert_eq!(verdict.memory, size(4));
    }

    #[test]
    fn an_empty_domain_is_filled_to_the_minimum_without_a_cooldown() {
        let hands = hands();
        let verdict = decide(&scaled(), &running(0, vec![]), adopt(&scaled(), 0), &[], &hands);
        assert_eq!((hands.asked.borrow().as_slice(), verdict.memory), (["launch 2".to_owned()].as_slice(), size(2)));
    }

    #[test]
    fn what_is_already_there_is_adopted_within_the_bounds() {
        assert_eq!(adopt(&scaled(), 4), size(4));
        assert_eq!(adopt(&scaled(), 9), size(6));
    }

    #[test]
    fn without_a_metric_nothing_is_read_and_the_size_stays() {
        let config: Config = config::parse(r#"{"minimum_vms":1,"maximum_vms":"5"}"#).unwrap();
        assert_eq!(metric_to_read(&config, &size(3), &running(3, vec![]), NOW), None);
        assert_eq!(decide(&config, &running(3, vec![]), size(3), &[], &Recorder::default()).status, Status::Stable);
    }

    #[test]
    fn the_reason_tells_what_was_compared() {
        let verdict = decide(&scaled(), &running(3, vec![]), size(3), &loads(&[5.0, 6.0, 4.0]), &hands());
        assert_eq!(verdict.reason, "3 of 5 healthy, load is 5.000 over 3 instances, above 4: from 3 to 5: launching 2");
        assert!(verdict.figures.contains(&("average", 5.0)) && verdict.figures.contains(&("samples", 3.0)));
    }
}
