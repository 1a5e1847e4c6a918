//! How what was read moves the size.

use std::time::Duration;

use pilothouse_engine::{Survey, Timestamp};

use crate::Sensor;
use crate::config::{AbsentData, Config, Scope};
use crate::cooldown::{self, Direction};
use crate::reading::Reading;
use crate::recommendation::{self, Places, Recommendation};
use crate::silence::Silence;

/// The wanted size before and after looking at the readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scaling {
    /// Within the bounds of today's configuration.
    pub from: u32,
    /// The same, unless what was read has moved it.
    pub to: u32,
}

/// What is told of a decision besides what every policy tells.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Told {
    /// One after the other, with commas between them.
    pub(super) words: Vec<String>,
    /// In the order in which they should be read.
    pub(super) figures: Vec<(&'static str, f64)>,
}

impl Told {
    pub(super) fn of(config: &Config) -> Self {
        let bound = |count: pilothouse_engine::config::Count| f64::from(count.get());
        Self { words: Vec::new(), figures: vec![("minimum", bound(config.minimum_vms)), ("maximum", bound(config.maximum_vms))] }
    }

    /// Why nothing was read, if something might have been.
    pub(super) fn nothing_read(&mut self, config: &Config, from: u32, resting: Option<Duration>) {
        let Some(metric) = &config.metric else { return };
        if let Some(left) = resting {
            self.figures.push(("cooldown-left", left.as_secs_f64()));
            self.words.push(format!("the size is held for {} more", cooldown::in_words(left)));
        } else if from == 0 && config.scope == Scope::Instance {
            self.words.push(format!("nobody is there whose {metric} could be read"));
        }
    }
}

/// The places of a domain of which so many are wanted.
pub(super) fn places(survey: &Survey, wanted: u32) -> Places {
    Places { wanted, there: wanted.max(survey.taken()), kept: survey.kept }
}

/// How the wanted size moves after something was read, or nothing.
pub(super) fn move_size(
    config: &Config,
    survey: &Survey,
    memory: &mut Sensor,
    from: u32,
    now: Timestamp,
    reading: Reading,
    told: &mut Told,
) -> Scaling {
    let places = places(survey, from);
    let metric = config.metric.as_deref().unwrap_or_default();
    let recommended = match reading {
        Reading::Figure(figure) => {
            memory.silence = None;
            recommendation::recommend(config, metric, &figure, places)
        }
        Reading::Partial(count) => {
            memory.silence = None;
            let why = format!("do not go back {} s, or ended, or are more than a host keeps", config.sample_period);
            let words = format!("the readings of {metric} {why}: the size is held");
            Recommendation { size: from, words, figures: vec![("samples", 0.0), ("partly-read", f64::from(count))] }
        }
        Reading::Nothing => without_data(config, survey, memory, from, now),
    };
    let Recommendation { size, mut words, figures } = recommended;
    told.figures.extend(figures);
    let wanted = config.bounded(size);
    let remembered = from;
    // Who should go and is needed again stays, and need not wait for that.
    let tracked = config.target_value.is_some() && matches!(reading, Reading::Figure(_));
    let from = if tracked { from.max(wanted.min(config.bounded(places.there))) } else { from };
    memory.target = Some(from);
    let (to, why) = held_back(config, memory, from, wanted, now, told);
    words += &match why {
        Some(why) => why,
        None if to != remembered => format!(": from {remembered} to {to}"),
        None if size > from => ", but the size is at its maximum".to_owned(),
        None if size < from => ", but the size is at its minimum".to_owned(),
        None => String::new(),
    };
    told.words.push(words);
    Scaling { from, to }
}

/// What the window and the cooldown leave of a wanted size, and what held it back.
fn held_back(config: &Config, memory: &mut Sensor, from: u32, wanted: u32, now: Timestamp, told: &mut Told) -> (u32, Option<String>) {
    let length = config.stabilisation_window.duration();
    let mut to = wanted;
    if !length.is_zero() {
        memory.window.take(wanted, now, length);
        if wanted < from {
            // What is not known may have been as much as there is now.
            to = memory.window.highest(now, length).unwrap_or(from).clamp(wanted, from);
        }
        told.figures.extend([("recommended", f64::from(wanted)), ("stabilised", f64::from(to))]);
        if to == from && wanted < from {
            let left = cooldown::in_words(memory.window.until_lower_than(from, now, length).unwrap_or(length));
            let why = format!(
                ", {wanted} would do, but the highest of the last {} s counts, {from} for {left} more",
                config.stabilisation_window
            );
            return (from, Some(why));
        }
    }
    let left = Direction::of(from, to).and_then(|direction| cooldown::left(config, memory.scaled_at, direction, now));
    if let Some(left) = left {
        told.figures.push(("cooldown-left", left.as_secs_f64()));
        return (from, Some(format!(", but the size is held for {} more", cooldown::in_words(left))));
    }
    let stabilised = (to > wanted)
        .then(|| format!(", {wanted} would do, but the highest of the last {} s counts: from {from} to {to}", config.stabilisation_window));
    (to, stabilised)
}

/// Nobody has a reading: the size is held, or grows when that has lasted.
fn without_data(config: &Config, survey: &Survey, memory: &mut Sensor, from: u32, now: Timestamp) -> Recommendation {
    let metric = config.metric.as_deref().unwrap_or_default();
    let figures = vec![("samples", 0.0)];
    let expected = config.scope == Scope::Domain || survey.running > 0;
    if config.absent_data != AbsentData::Up || !expected {
        memory.silence = None;
        return Recommendation { size: from, words: format!("no readings of {metric}: the size is held"), figures };
    }
    let period = config.sample_period.duration();
    let silence = Silence::found(memory.silence, now, period);
    memory.silence = Some(silence);
    let until = silence.since + period;
    if now < until {
        let left = cooldown::in_words(now.until(until));
        let words = format!("no readings of {metric}: the size is held, and grows if that lasts {left} more");
        return Recommendation { size: from, words, figures };
    }
    let size = from.saturating_add(config.scale_up_n_vms.get());
    Recommendation { size, words: format!("no readings of {metric} for {} or more", cooldown::in_words(period)), figures }
}
