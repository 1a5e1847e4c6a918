//! What a figure recommends: by thresholds a step from the size there is, by a target the size at which every instance would have its
//! share. Neither bounds, nor windows, nor cooldowns are known here.

use crate::config::{Config, Scope};
use crate::reading::Figure;

/// How much of a figure is taken for rounding: three instances at 0.3 of 0.1 each are nine, not ten.
const ROUNDING: f64 = 1e-9;

/// A size, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Recommendation {
    /// How many instances there should be.
    pub size: u32,
    /// What was read and compared.
    pub words: String,
    /// The same as figures.
    pub figures: Vec<(&'static str, f64)>,
}

/// The places of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// How many are wanted so far.
    pub wanted: u32,
    /// How many there are, if that is more: what is left of a shrink that was granted in part does its share of the work.
    pub there: u32,
    /// Of those, the ones held by instances that are unhealthy and protected. They do no work.
    pub kept: u32,
}

/// What a figure recommends.
#[must_use]
pub fn recommend(config: &Config, metric: &str, figure: &Figure, places: Places) -> Recommendation {
    let mut figures = vec![("samples", f64::from(figure.samples))];
    if config.scope == Scope::Instance && figure.without > 0 {
        figures.push(("without-reading", f64::from(figure.without)));
    }
    if figure.partly > 0 {
        figures.push(("partly-read", f64::from(figure.partly)));
    }
    if figure.last_known > 0 {
        figures.push(("last-known", f64::from(figure.last_known)));
    }
    figures.push((if config.scope == Scope::Instance { "average" } else { "value" }, figure.value));
    let (mut size, compared) = match config.target_value {
        Some(target) => track(config, target, figure, places, &mut figures),
        None => step(config, figure, places.wanted, &mut figures),
    };
    if figure.partly > 0 {
        // It was read this way because all that was read points down: the direction is not turned round.
        size = size.min(places.there);
    }
    Recommendation { size, words: format!("{}, {compared}", read(config, metric, figure)), figures }
}

/// What was read.
fn read(config: &Config, metric: &str, figure: &Figure) -> String {
    let Figure { value, samples, without, partly, last_known, oldest } = figure;
    let value = read_as(*value);
    let age = oldest.as_secs();
    match config.scope {
        Scope::Domain if *last_known > 0 => format!("{metric} was {value} {age} s ago"),
        Scope::Domain => format!("{metric} is {value}"),
        Scope::Instance => {
            let mut words = format!("{metric} is {value} over {}", instances(*samples));
            if *last_known > 0 {
                words += &format!(", {last_known} of them by what was read up to {age} s ago");
            }
            if *without > 0 {
                words += &format!(", {without} without a reading");
            }
            if *partly > 0 {
                words += &format!(" throughout {} s", config.sample_period);
            }
            words
        }
    }
}

/// So many, in words.
fn instances(count: u32) -> String {
    if count == 1 { "1 instance".to_owned() } else { format!("{count} instances") }
}

/// A figure that was read, with three decimals; from a million on in scientific form.
fn read_as(value: f64) -> String {
    if value.abs() < 1e6 { format!("{value:.3}") } else { format!("{value:.3e}") }
}

/// A figure that was configured, as it is; in scientific form where that would be long.
fn configured_as(value: f64) -> String {
    if value == 0.0 || (1e-6..1e6).contains(&value.abs()) { value.to_string() } else { format!("{value:e}") }
}

/// By thresholds. Whoever is silent is not argued away: on the way down they and one that is read stay. Up is asked first; equal to a threshold does nothing.
fn step(config: &Config, figure: &Figure, from: u32, figures: &mut Vec<(&'static str, f64)>) -> (u32, String) {
    let value = figure.value;
    let (up, down) = (config.scale_up_threshold, config.scale_down_threshold);
    figures.extend(up.map(|up| ("scale-up-threshold", up)));
    figures.extend(down.map(|down| ("scale-down-threshold", down)));
    let disabled = |key: &str, by: u32| if by == 0 { format!(", but {key} is 0") } else { String::new() };
    match (up, down) {
        (Some(up), _) if value > up => {
            let by = config.scale_up_n_vms.get();
            (from.saturating_add(by), format!("above {}{}", configured_as(up), disabled("scale_up_n_vms", by)))
        }
        (_, Some(down)) if value < down => {
            let by = config.scale_down_n_vms.get();
            let nobody = if from == 0 { ", and nobody is there" } else { "" };
            let words = format!("below {}{}{nobody}", configured_as(down), disabled("scale_down_n_vms", by));
            let stepped = from.saturating_sub(by);
            let silent = if config.scope == Scope::Instance { figure.without } else { 0 };
            let least = if silent > 0 { silent.saturating_add(1).min(from) } else { 0 };
            match stepped < least {
                true if least == from => (from, format!("{words}, but the silent are not taken to be idle")),
                true => (least, format!("{words}, as far as the silent allow")),
                false => (stepped, words),
            }
        }
        (Some(up), Some(down)) => (from, format!("neither above {} nor below {}", configured_as(up), configured_as(down))),
        (Some(up), None) => (from, format!("not above {}", configured_as(up))),
        (None, Some(down)) => (from, format!("not below {}", configured_as(down))),
        (None, None) => (from, "compared with nothing".to_owned()),
    }
}

/// By a target. A place without a reading, be it that nobody holds it who is well, never turns the direction round: on the way up it is counted
/// as one that will take its share, on the way down as one that has just as much to do as it should. Who is there beyond the wanted size stays
/// as far as what is read needs it.
fn track(config: &Config, target: f64, figure: &Figure, places: Places, figures: &mut Vec<(&'static str, f64)>) -> (u32, String) {
    let Places { wanted, there, kept } = places;
    let working = there.saturating_sub(kept);
    let (sum, ratio, read, whose) = match config.scope {
        Scope::Instance => (figure.value * f64::from(figure.samples), figure.value / target, figure.samples, String::new()),
        Scope::Domain if working == 0 => {
            let ratio = if figure.value > 0.0 { f64::INFINITY } else { 1.0 };
            (figure.value, ratio, 0, " for each, and nobody is there".to_owned())
        }
        Scope::Domain => (figure.value, figure.value / f64::from(working) / target, working, format!(" for each of {working}")),
    };
    let unread = wanted.saturating_sub(kept).saturating_sub(read).max(if config.scope == Scope::Instance { figure.without } else { 0 });
    let needed = whole(sum / target).saturating_add(kept);
    let within = (ratio - 1.0).abs() <= config.tolerance() + ROUNDING;
    let size = match ratio > 1.0 {
        _ if within => read.saturating_add(kept).min(there).max(wanted),
        true => needed.max(wanted),
        false => needed.saturating_add(unread).min(wanted).max(needed.min(there)),
    };
    figures.push(("target-value", target));
    figures.push(("needed", f64::from(size)));
    let ratio = ratio.clamp(f64::MIN, f64::MAX);
    let target = configured_as(target);
    if working == 0 && config.scope == Scope::Domain {
        return (size, format!("the target is {target}{whose}"));
    }
    figures.push(("ratio", ratio));
    let why_not = match ratio > 1.0 {
        _ if within => format!(", within {}", config.tolerance()),
        _ if size != wanted => String::new(),
        true => format!(", for which {wanted} are enough"),
        false => format!(", for which {wanted} are needed"),
    };
    (size, format!("{} times the target {target}{whose}{why_not}", read_as(ratio)))
}

/// So many instances are needed: rounded up, from none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast to u32 stops at its bounds, as it should here")]
fn whole(needed: f64) -> u32 {
    (needed * (1.0 - ROUNDING)).ceil().max(0.0) as u32
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pilothouse_engine::config::{Value, json, parse};

    use super::*;

    fn figure(value: f64, samples: u32, without: u32) -> Figure {
        Figure { value, samples, without, partly: 0, last_known: 0, oldest: Duration::ZERO }
    }

    fn size(config: Value, figure: Figure, from: u32, kept: u32) -> u32 {
        let mut all = json!({ "metric": "load", "maximum_vms": 100 });
        all.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        recommend(&parse(&all.to_string()).unwrap(), "load", &figure, Places { wanted: from, there: from, kept }).size
    }

    #[test]
    fn a_target_recommends_the_size_at_which_everybody_has_its_share() {
        let tracks = |value, samples| size(json!({ "target_value": 4 }), figure(value, samples, 0), samples, 0);
        assert_eq!(tracks(8.0, 2), 4);
        assert_eq!(tracks(5.0, 4), 5);
        assert_eq!(tracks(5.1, 4), 6, "rounded up");
        assert_eq!(tracks(2.0, 4), 2);
        assert_eq!(tracks(0.0, 4), 0);
        assert_eq!(tracks(-3.0, 4), 0);
        assert_eq!(tracks(f64::MAX, 4), u32::MAX);
    }

    #[test]
    fn what_is_a_hair_over_a_whole_number_is_that_number() {
        assert_eq!(size(json!({ "target_value": 0.1 }), figure(0.1 + 0.2, 3, 0), 3, 0), 9);
    }

    #[test]
    fn as_far_from_the_target_as_the_tolerance_nothing_is_recommended() {
        let tracks =
            |value, tolerance: f64| size(json!({ "target_value": 10, "target_tolerance": tolerance }), figure(value, 20, 0), 20, 0);
        for (value, tolerance, wanted) in
            [(11.0, 0.1, 20), (11.01, 0.1, 23), (9.0, 0.1, 20), (8.99, 0.1, 18), (10.0, 0.0, 20), (10.01, 0.0, 21)]
        {
            assert_eq!(tracks(value, tolerance), wanted, "{value} within {tolerance}");
        }
    }

    #[test]
    fn who_has_no_reading_slows_a_target_down_and_never_turns_it_round() {
        let tracks = |value, samples, without| size(json!({ "target_value": 4 }), figure(value, samples, without), samples + without, 0);
        assert_eq!(tracks(8.0, 2, 2), 4, "two that were just launched will take their share");
        assert_eq!(tracks(8.0, 2, 1), 4);
        assert_eq!(tracks(8.0, 2, 8), 10, "there are enough, if all of them work: not fewer either");
        assert_eq!(tracks(2.0, 2, 2), 3, "one of the two that are read, none of those that are not");
        assert_eq!(tracks(0.0, 1, 3), 3);
    }

    #[test]
    fn a_place_that_is_kept_does_no_work() {
        assert_eq!(size(json!({ "target_value": 4 }), figure(8.0, 3, 0), 4, 1), 7);
        assert_eq!(size(json!({ "target_value": 4 }), figure(4.0, 3, 0), 4, 1), 4);
        assert_eq!(size(json!({ "target_value": 4, "scope": "domain" }), figure(24.0, 1, 0), 4, 1), 7);
    }

    #[test]
    fn a_target_for_the_domain_is_a_share_for_each() {
        let tracks = |value, from| size(json!({ "target_value": 10, "scope": "domain" }), figure(value, 1, 0), from, 0);
        assert_eq!(tracks(25.0, 0), 3, "from nothing");
        assert_eq!(tracks(0.0, 0), 0);
        assert_eq!(tracks(0.0, 5), 0, "to nothing");
        assert_eq!(tracks(33.0, 3), 3, "within a tenth");
        assert_eq!(tracks(33.1, 3), 4);
        assert_eq!(tracks(27.0, 3), 3);
        assert_eq!(tracks(19.0, 3), 2);
    }

    #[test]
    fn thresholds_recommend_a_step_and_equal_to_one_nothing() {
        let thresholds = json!({ "scale_up_threshold": 4, "scale_up_n_vms": 2, "scale_down_threshold": 1, "scale_down_n_vms": 3 });
        for (value, wanted) in [(4.1, 7), (4.0, 5), (1.0, 5), (0.9, 2), (f64::MAX, 7), (f64::MIN, 2)] {
            assert_eq!(size(thresholds.clone(), figure(value, 5, 0), 5, 0), wanted, "{value}");
        }
        assert_eq!(size(thresholds, figure(0.0, 2, 0), 2, 0), 0, "not fewer than none");
    }
}
