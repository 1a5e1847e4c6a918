//! As many instances as their readings ask for: how a domain stands and what was read → what has to come and what has to go.
//!
//! The wanted size is remembered. A threshold moves it, a step at a time, between the minimum and the maximum; everything else (who
//! is replaced, who is launched anew) only follows it. So a cooldown can hold the size without holding up a replacement.
//!
//! An instance without a reading is left out, never taken for zero; with no reading at all the size is held.

use std::time::Duration;

use pilothouse_engine::{Done, InstanceId, Launch, Plan, Sample, Surplus, Survey, Timestamp};

use crate::Sensor;
use crate::config::Config;

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
pub fn adopt(config: &Config, valid: u32) -> Sensor {
    Sensor { target: Some(bounded(config, valid)), scaled_at: None }
}

/// The sensor whose readings [`plan`] needs, if it needs any.
#[must_use]
pub fn metric_to_read<'a>(config: &'a Config, memory: &Sensor, survey: &Survey, now: Timestamp) -> Option<&'a str> {
    let may_scale = config.scale_up_threshold.is_some() || config.scale_down_threshold.is_some();
    config.metric.as_deref().filter(|_| may_scale && survey.healthy > 0 && cooling(config, memory, now).is_none())
}

/// What has to come and what has to go.
#[must_use]
pub fn plan(config: &Config, survey: &Survey, memory: &Sensor, now: Timestamp, readings: Option<&[(InstanceId, Sample)]>) -> Wish {
    let from = bounded(config, memory.target.unwrap_or(survey.valid));
    let mut to = from;
    let mut figures = vec![("minimum", f64::from(config.minimum_vms.get())), ("maximum", f64::from(config.maximum_vms.get()))];
    let metric = config.metric.as_deref().unwrap_or_default();
    let mut note = None;
    if let Some(left) = cooling(config, memory, now) {
        figures.push(("cooldown-left", left.as_secs_f64()));
        note = Some(format!("the size is held for {} s more", left.as_millis().div_ceil(1000)));
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
    let taken = survey.taken();
    if taken < scaling.to {
        plan.launches.push(Launch { count: scaling.to - taken, ..Launch::default() });
    } else if taken > scaling.to {
        plan.surplus = Some(Surplus::of(taken - scaling.to, config.victims));
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
pub fn remember(memory: Sensor, scaling: Scaling, survey: &Survey, done: &Done, now: Timestamp) -> Sensor {
    let Scaling { from, to } = scaling;
    let taken = survey.taken();
    let granted = if to > from {
        // What was missing before counts as replacement.
        taken >= to || done.launched_count() > from.saturating_sub(taken) as usize
    } else if to < from {
        let unhealthy = survey.unhealthy_ids();
        let removed = done.destroyed.iter().filter(|id| !unhealthy.contains(id.as_str())).count();
        taken <= to || removed > taken.saturating_sub(from) as usize
    } else {
        false
    };
    if granted { Sensor { target: Some(to), scaled_at: Some(now) } } else { Sensor { target: Some(from), ..memory } }
}

/// How much of the cooldown is left, if any.
fn cooling(config: &Config, memory: &Sensor, now: Timestamp) -> Option<Duration> {
    let until = memory.scaled_at? + config.cooldown_period.duration();
    (now < until).then(|| now.until(until))
}

/// The readings of healthy instances that have any.
fn values(readings: &[(InstanceId, Sample)], survey: &Survey) -> Vec<f64> {
    let unhealthy = survey.unhealthy_ids();
    let healthy = readings.iter().filter(|(id, _)| !unhealthy.contains(id.as_str()));
    healthy.filter_map(|(_, sample)| sample.value().filter(|value| value.is_finite())).collect()
}

fn average(values: &[f64]) -> Option<f64> {
    if values.is_empty() { None } else { Some(values.iter().sum::<f64>() / values.len() as f64) }
}

/// By how much the size should change, and why.
fn step(config: &Config, average: f64) -> (i64, String) {
    if let Some(up) = config.scale_up_threshold
        && average > up
    {
        return (i64::from(config.scale_up_n_vms.get()), format!(", above {up}"));
    }
    if let Some(down) = config.scale_down_threshold
        && average < down
    {
        return (-i64::from(config.scale_down_n_vms.get()), format!(", below {down}"));
    }
    (0, String::new())
}

/// Within the bounds. A configuration whose minimum is over its maximum was refused.
fn bounded(config: &Config, size: u32) -> u32 {
    size.min(config.maximum_vms.get()).max(config.minimum_vms.get())
}

#[cfg(test)]
mod tests {
    use pilothouse_engine::config::{Value, json};
    use pilothouse_engine::testing::{BEGIN as NOW, Decision, FakeDomain};
    use pilothouse_engine::{Health, Refusal, Scope, Status};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Grows by two above 4, shrinks by one below 1, between two and six, with a minute of rest.
    fn scaled(changes: Value) -> Value {
        let mut config = json!({
            "metric": "load", "scale_up_threshold": 4, "scale_up_n_vms": 2, "scale_down_threshold": 1, "scale_down_n_vms": 1,
            "minimum_vms": 2, "maximum_vms": 6, "cooldown_period": 60,
        });
        config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        config
    }

    fn size(target: u32) -> Sensor {
        Sensor { target: Some(target), scaled_at: None }
    }

    fn scaled_to(target: u32) -> Sensor {
        Sensor { target: Some(target), scaled_at: Some(NOW) }
    }

    /// So many run, `i0`, `i1` and so on, where that is the wanted size.
    fn running(count: u32, config: Value) -> FakeDomain<Sensor> {
        let mut domain = FakeDomain::new(config);
        for n in 0..count {
            domain.running(&format!("i{n}"));
        }
        domain.remember(&size(count));
        domain
    }

    fn loads(domain: &mut FakeDomain<Sensor>, loads: &[f64]) {
        for (n, load) in loads.iter().enumerate() {
            domain.read(&format!("i{n}"), "load", *load);
        }
    }

    /// So many run with these readings: the decision, and the memory after it.
    fn decided(loaded: &[f64], rule: impl FnOnce(&mut FakeDomain<Sensor>) -> &mut FakeDomain<Sensor>) -> (Decision, Sensor) {
        let mut domain = running(u32::try_from(loaded.len()).unwrap(), scaled(json!({})));
        loads(&mut domain, loaded);
        rule(&mut domain);
        let decision = domain.decide();
        (decision, domain.memory())
    }

    #[track_caller]
    fn check(loads: &[f64], requests: &[&str], after: Sensor) {
        let (decision, memory) = decided(loads, |domain| domain);
        assert_eq!(decision.requests(), requests);
        assert_eq!(memory, after);
    }

    #[test]
    fn above_the_threshold_the_size_grows_by_its_step() {
        check(&[4.0, 4.0, 4.1], &["launch 2"], scaled_to(5));
    }

    #[test]
    fn below_the_threshold_the_size_shrinks_by_its_step() {
        check(&[1.0, 1.0, 0.9], &["destroy i2 (1 more than wanted)"], scaled_to(2));
    }

    #[test]
    fn what_is_protected_is_neither_replaced_nor_chosen() {
        let (decision, memory) = decided(&[2.0; 3], |domain| domain.health("i0", Health::Missing).protect("i0", true));
        assert_eq!((decision.requests().len(), memory), (0, size(3)));
        let (decision, memory) = decided(&[0.5; 3], |domain| domain.protect("i2", true));
        assert_eq!((decision.requests(), memory), (vec!["destroy i1 (1 more than wanted)".to_owned()], scaled_to(2)));
        let (decision, memory) = decided(&[0.5; 3], |domain| domain.protect("i0", true).protect("i1", true).protect("i2", true));
        assert_eq!((decision.requests().len(), memory), (0, size(3)), "a change of size of which nothing was granted has not happened");
    }

    #[test]
    fn equal_to_a_threshold_nothing_happens() {
        check(&[4.0, 4.0, 4.0], &[], size(3));
        check(&[1.0, 1.0, 1.0], &[], size(3));
    }

    #[test]
    fn an_instance_without_a_reading_is_left_out() {
        for (load, requests, after) in [(4.5, &["launch 2"][..], scaled_to(5)), (1.5, &[], size(3))] {
            let mut domain = running(3, scaled(json!({})));
            domain.read_at(&Scope::instance("i2"), "load", NOW - 91 * SECOND, 0.0);
            loads(&mut domain, &[load]);
            assert_eq!(domain.decide().requests(), requests);
            assert_eq!(domain.memory(), after);
        }
    }

    #[test]
    fn without_any_reading_the_size_is_held() {
        let mut domain = running(3, scaled(json!({})));
        domain.read("i0", "other", 99.0).read_at(&Scope::instance("i1"), "load", NOW - 91 * SECOND, 99.0);
        let decision = domain.decide();
        assert_eq!((decision.requests().len(), domain.memory()), (0, size(3)));
        assert_eq!(decision.reason, "3 of 3 healthy, no readings of load: the size is held");
    }

    #[test]
    fn readings_count_as_far_back_as_the_period_goes() {
        for (age, requests) in [(90, 1), (91, 0)] {
            let mut domain = running(3, scaled(json!({})));
            domain.read_at(&Scope::instance("i0"), "load", NOW - age * SECOND, 9.0);
            assert_eq!(domain.decide().requests().len(), requests, "{age}");
        }
    }

    #[test]
    fn what_is_made_of_an_instances_readings_is_configured() {
        for (function, average) in [("Average", 3.0), ("Maximum", 5.0), ("SampleCount", 2.0), ("Last", 5.0)] {
            let mut domain = running(2, scaled(json!({ "sample_function": function })));
            domain.read("i0", "load", 1.0).advance(SECOND).read("i0", "load", 5.0);
            assert_eq!(domain.decide().figure("average"), Some(average), "{function}");
        }
    }

    #[test]
    fn a_reading_that_is_no_number_does_not_count() {
        check(&[4.5, f64::NAN, 4.5], &["launch 2"], scaled_to(5));
        check(&[f64::NAN, f64::NAN, f64::NAN], &[], size(3));
    }

    #[test]
    fn the_readings_of_the_unhealthy_do_not_count() {
        let (decision, memory) = decided(&[100.0, 2.0, 2.0], |domain| domain.health("i0", Health::Missing));
        assert_eq!(decision.requests(), ["destroy i0 (missing)", "launch 1"]);
        assert_eq!(memory, size(3));
    }

    #[test]
    fn the_bounds_hold_and_what_they_stop_starts_no_cooldown() {
        check(&[9.0; 5], &["launch 1"], scaled_to(6));
        for (at, load, bound) in [(6, 9.0, "maximum"), (2, 0.0, "minimum")] {
            let (decision, memory) = decided(&vec![load; at as usize], |domain| domain);
            assert_eq!((decision.status, memory), (Status::Stable, size(at)));
            assert!(decision.reason.ends_with(&format!("but the size is at its {bound}")), "{}", decision.reason);
        }
    }

    #[test]
    fn a_step_of_zero_disables_its_direction() {
        let mut domain = running(3, scaled(json!({ "scale_up_n_vms": 0 })));
        loads(&mut domain, &[9.0; 3]);
        assert_eq!(domain.decide().status, Status::Stable);
        assert_eq!(domain.memory(), size(3));
    }

    #[test]
    fn a_cooldown_holds_the_size_until_it_is_over_to_the_millisecond() {
        for (since, requests) in [(59_999, 0), (60_000, 1)] {
            let mut domain = running(3, scaled(json!({})));
            loads(&mut domain, &[9.0; 3]);
            domain.remember(&Sensor { scaled_at: Some(NOW - Duration::from_millis(since)), ..size(3) });
            assert_eq!(domain.decide().requests().len(), requests, "{since}");
        }
    }

    #[test]
    fn a_cooldown_holds_up_neither_replacement_nor_the_bounds() {
        let memory = Sensor { scaled_at: Some(NOW - SECOND), ..size(4) };
        let mut domain = running(4, scaled(json!({})));
        domain.remember(&memory).health("i1", Health::Missing);
        let decision = domain.decide();
        assert_eq!(decision.requests(), ["destroy i1 (missing)", "launch 1"]);
        assert_eq!(domain.memory(), memory);
        assert!(decision.reason.starts_with("3 of 4 healthy, the size is held for 59 s more"), "{}", decision.reason);

        let mut domain = running(4, scaled(json!({ "minimum_vms": 5 })));
        assert_eq!(domain.remember(&memory).decide().requests(), ["launch 1"]);
        assert_eq!(domain.memory(), Sensor { target: Some(5), ..memory });
    }

    #[test]
    fn an_instance_that_is_lost_is_replaced_above_the_minimum_too() {
        let (decision, _) = decided(&[2.0; 3], |domain| domain.remember(&size(4)));
        assert_eq!(decision.requests(), ["launch 1"]);
    }

    #[test]
    fn a_change_that_is_refused_has_not_happened() {
        let (_, memory) = decided(&[9.0; 3], |domain| domain.refuse_launches(Refusal::Paused));
        assert_eq!(memory, size(3));
        let (decision, memory) = decided(&[0.0; 3], |domain| domain.hold("i2"));
        assert_eq!((decision.requests().len(), memory), (1, size(3)));
    }

    #[test]
    fn a_change_that_is_granted_in_part_has_happened_and_the_rest_follows() {
        let mut domain = running(3, scaled(json!({})));
        loads(&mut domain, &[9.0; 3]);
        domain.limit_launches(1).decide();
        assert_eq!(domain.memory(), scaled_to(5));
        assert_eq!(domain.decide().requests(), ["launch 1"]);
    }

    #[test]
    fn a_grant_that_only_covers_what_was_missing_is_no_change_of_size() {
        let (decision, memory) = decided(&[9.0; 3], |domain| domain.remember(&size(4)).limit_launches(1));
        assert_eq!(decision.requests(), ["launch 3"]);
        assert_eq!(memory, size(4));
    }

    #[test]
    fn an_empty_domain_is_filled_to_the_minimum_without_a_cooldown() {
        let mut domain = FakeDomain::<Sensor>::new(scaled(json!({})));
        assert_eq!(domain.decide().requests(), ["launch 2"]);
        assert_eq!(domain.memory(), size(2));
    }

    #[test]
    fn what_is_already_there_is_adopted_within_the_bounds() {
        for (there, adopted) in [(4, 4), (9, 6)] {
            let mut domain = running(there, scaled(json!({})));
            domain.initialize().unwrap();
            assert_eq!(domain.memory(), size(adopted));
        }
    }

    #[test]
    fn without_a_metric_nothing_is_read_and_the_size_stays() {
        let mut domain = running(3, json!({ "minimum_vms": 1, "maximum_vms": "5" }));
        loads(&mut domain, &[9.0; 3]);
        let decision = domain.decide();
        assert_eq!((decision.status, decision.figure("samples")), (Status::Stable, None));
    }

    #[test]
    fn the_reason_tells_what_was_compared() {
        let (decision, _) = decided(&[5.0, 6.0, 4.0], |domain| domain);
        assert_eq!(decision.reason, "3 of 5 healthy, load is 5.000 over 3 instances, above 4: from 3 to 5: launching 2");
        assert_eq!((decision.figure("average"), decision.figure("samples")), (Some(5.0), Some(3.0)));
    }

    #[test]
    fn what_is_remembered_takes_a_few_bytes() {
        let mut domain = running(3, scaled(json!({})));
        loads(&mut domain, &[9.0; 3]);
        domain.decide();
        assert_eq!(domain.memory_bytes().len(), 10);
    }
}
