//! As many instances as their readings ask for: how a domain stands and what was read → what has to come and what has to go.
//!
//! The wanted size is remembered. What was read moves it, between the minimum and the maximum; everything else (who is replaced, who is
//! launched anew) only follows it. So a cooldown can hold the size without holding up a replacement.
//!
//! The order: the bounds of today · a recommendation from what was read, or from its absence · the bounds · on the way down the highest
//! recommendation of the window · the cooldown of that direction. What is left is wanted.

mod scaling;
#[cfg(test)]
mod tests;

use std::time::Duration;

use pilothouse_engine::{Done, Launch, Plan, Surplus, Survey, Timestamp, Uniques};

use crate::Sensor;
use crate::config::{AbsentData, Config, Scope};
use crate::cooldown::{self, Direction};
use crate::reading::{Figure, Reading};
use crate::recommendation;
use crate::window::Window;

pub use scaling::Scaling;
use scaling::Told;

/// A plan, and what is to be remembered.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// What has to come and what has to go.
    pub plan: Plan,
    /// How the wanted size moves if the plan is granted.
    pub scaling: Scaling,
    /// What is remembered if of the move nothing is granted.
    pub memory: Sensor,
}

/// The memory of an engine that takes over so many instances: their number, as far as the bounds allow, is the wanted size.
#[must_use]
pub fn adopt(config: &Config, valid: u32) -> Sensor {
    Sensor { target: Some(config.bounded(valid)), ..Sensor::default() }
}

/// The sensor whose readings [`plan`] needs, if it needs any: not while nothing could come of them, unless they have to be remembered.
#[must_use]
pub fn metric_to_read<'a>(config: &'a Config, memory: &Sensor, survey: &Survey, now: Timestamp) -> Option<&'a str> {
    let somebody = config.scope == Scope::Domain || survey.healthy > 0;
    // The rest of a shrink goes on in a cooldown, and may be needed again.
    let shrinking = config.target_value.is_some() && memory.target.is_some_and(|target| survey.taken() > target);
    let needed = shrinking || !config.stabilisation_window.duration().is_zero() || resting(config, memory, now).is_none();
    config.metric.as_deref().filter(|_| somebody && needed && directions(config).next().is_some())
}

/// The directions in which the size can move.
fn directions(config: &Config) -> impl Iterator<Item = Direction> {
    let up = config.scale_up_threshold.is_some() || config.absent_data == AbsentData::Up;
    let down = config.scale_down_threshold.is_some();
    let either = config.target_value.is_some();
    [(Direction::Up, up || either), (Direction::Down, down || either)].into_iter().filter(|(_, can)| *can).map(|(direction, _)| direction)
}

/// How long it is until the first of the directions may be taken again. Nothing: one may be taken now, or there is none.
fn resting(config: &Config, memory: &Sensor, now: Timestamp) -> Option<Duration> {
    let left = directions(config).map(|direction| cooldown::left(config, memory.scaled_at, direction, now).unwrap_or_default());
    left.min().filter(|left| !left.is_zero())
}

/// Whether the domain would shrink by a figure.
#[must_use]
pub fn points_down(config: &Config, survey: &Survey, memory: &Sensor, figure: &Figure) -> bool {
    let places = scaling::places(survey, config.bounded(memory.target.unwrap_or(survey.valid)));
    let from = if config.target_value.is_some() { places.there } else { places.wanted };
    config.bounded(recommendation::recommend(config, "", figure, places).size) < from
}

/// What has to come and what has to go.
#[must_use]
pub fn plan(config: &Config, survey: &Survey, memory: &Sensor, now: Timestamp, reading: Option<Reading>) -> Wish {
    let before = memory.target.unwrap_or(survey.valid);
    let from = config.bounded(before);
    let mut told = Told::of(config);
    if memory.target.is_some_and(|target| target != from) {
        told.words.push(format!("the bounds move the size from {before} to {from}"));
    }
    let mut memory = Sensor { target: Some(from), ..memory.clone() };
    if config.stabilisation_window.duration().is_zero() {
        memory.window = Window::default();
    }
    let scaling = match reading {
        Some(reading) => scaling::move_size(config, survey, &mut memory, from, now, reading, &mut told),
        None => {
            // Who did not look has not found silence.
            memory.silence = None;
            told.nothing_read(config, from, resting(config, &memory, now));
            Scaling { from, to: from }
        }
    };
    Wish { plan: finish(config, survey, scaling.to, told), scaling, memory }
}

fn finish(config: &Config, survey: &Survey, target: u32, told: Told) -> Plan {
    let mut plan = Plan::of(survey, target);
    let (missing, surplus) = (survey.missing(target), survey.surplus(target));
    if missing > 0 {
        plan.launches.push(Launch { count: missing, ..Launch::default() });
        plan.uniques = config.unique_values.as_ref().and_then(|values| Uniques::of(config.unique_key.as_deref(), values));
    } else if surplus > 0 {
        let first = config.retirable_nodes.clone();
        plan.surplus = Some(Surplus { first, ..Surplus::of(surplus, config.victims) });
    }
    for words in told.words {
        plan.seen = format!("{}, {words}", plan.seen);
    }
    plan.figures.extend(told.figures);
    plan
}

/// The memory after a plan was carried out. A change of size of which the host granted nothing has not happened: it starts no
/// cooldown, and the next readings are asked again. One for which nobody had to come or go moves the size, and starts none either.
#[must_use]
pub fn remember(memory: Sensor, scaling: Scaling, survey: &Survey, done: &Done, now: Timestamp) -> Sensor {
    let Scaling { from, to } = scaling;
    let (asked, granted) = match Direction::of(from, to) {
        // What was missing before counts as replacement.
        Some(Direction::Up) => (survey.missing(to), done.launched_count() > survey.missing(from) as usize),
        Some(Direction::Down) => {
            let unhealthy = survey.unhealthy_ids();
            let removed = done.destroyed.iter().filter(|id| !unhealthy.contains(id.as_str())).count();
            (survey.surplus(to), removed > survey.surplus(from) as usize)
        }
        None => return memory,
    };
    match granted {
        true => Sensor { target: Some(to), scaled_at: Some(now), silence: None, ..memory },
        false if asked == 0 => Sensor { target: Some(to), silence: None, ..memory },
        false => memory,
    }
}
