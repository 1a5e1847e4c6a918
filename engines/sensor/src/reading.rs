//! What was read: one figure of many instances, or of the domain as a whole, and who is behind it.

use std::time::Duration;

use pilothouse_engine::{Domain, InstanceId, Sample, Scope, Statistic, Survey};

use crate::config::{self, Config, MOST_READINGS};

/// What the readings come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reading {
    /// There is something to compare.
    Figure(Figure),
    /// So many have readings, but none of them all those of the period: nothing can be said of a figure that adds them up but that it is not less.
    Partial(u32),
    /// Nobody has a reading that counts.
    Nothing,
}

/// A figure to compare.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// The average over the instances that have a reading; of a domain, its reading.
    pub value: f64,
    /// How many have a reading: healthy instances, or the domain.
    pub samples: u32,
    /// How many healthy instances have none. They are left out, never taken for zero.
    pub without: u32,
    /// Of those, the ones that have readings, but not throughout the period, or more than are kept. Only asked for where the figure would shrink
    /// the domain.
    pub partly: u32,
    /// Of the samples, those that are the last that was heard, from before the period.
    pub last_known: u32,
    /// How old the oldest of those is.
    pub oldest: Duration,
}

/// Reads the sensor that the configuration follows.
#[must_use]
pub fn read(domain: &Domain<'_>, config: &Config, metric: &str, survey: &Survey) -> Reading {
    let (statistic, period) = (config.sample_function.statistic(), config.sample_period.duration());
    match config.scope {
        config::Scope::Instance => of_instances(config, survey, domain.sensor_of_all(metric, statistic, period)),
        config::Scope::Domain => of_domain(config, domain.sensor(metric, &Scope::Domain, statistic, period)),
    }
}

/// The readings of the unhealthy do not count. Both lists have the oldest launch first, so one walk along both is enough.
fn of_instances(config: &Config, survey: &Survey, readings: Vec<(InstanceId, Sample)>) -> Reading {
    let mut unhealthy = survey.unhealthy.iter().filter(|instance| instance.is_valid()).map(|instance| &instance.id).peekable();
    let mut tally = Tally::default();
    for (id, sample) in readings {
        if unhealthy.next_if(|unhealthy| **unhealthy == id).is_none() {
            tally.add(config, sample);
        }
    }
    tally.reading()
}

fn of_domain(config: &Config, sample: Sample) -> Reading {
    let mut tally = Tally::default();
    tally.add(config, sample);
    tally.reading()
}

/// Reads it once more, for a figure that adds up its readings and is small: only whose readings go through the whole period has one. A sum over
/// a period of which nothing was heard for a while, at its beginning or at its end, is small for want of readings; so is one of as many as a
/// host keeps, for there may have been more.
#[must_use]
pub fn throughout(domain: &Domain<'_>, config: &Config, metric: &str, survey: &Survey, figure: &Figure) -> Reading {
    let (statistic, period) = (config.sample_function.statistic(), config.sample_period.duration());
    let windows = [period, period * 3 / 4, period / 4];
    let reading = match config.scope {
        config::Scope::Instance => {
            let [whole, later, newest] = windows.map(|window| domain.sensor_of_all(metric, Statistic::SampleCount, window));
            let counts = whole.into_iter().zip(later).zip(newest);
            let covered = counts.map(|(((_, whole), (_, later)), (_, newest))| covers([whole, later, newest]));
            let all = domain.sensor_of_all(metric, statistic, period).into_iter().zip(covered);
            of_instances(config, survey, all.map(|((id, sample), covered)| (id, if covered { sample } else { Sample::Absent })).collect())
        }
        config::Scope::Domain => {
            let counts = windows.map(|window| domain.sensor(metric, &Scope::Domain, Statistic::SampleCount, window));
            if covers(counts) { Reading::Figure(*figure) } else { Reading::Nothing }
        }
    };
    match reading {
        Reading::Figure(covered) => Reading::Figure(Figure { partly: figure.samples.saturating_sub(covered.samples), ..covered }),
        _ => Reading::Partial(figure.samples),
    }
}

/// Whether there is a reading in the oldest quarter of the period and one in the newest, and all are still kept: by how many there are in the
/// period, in its last three quarters and in its last.
fn covers(counts: [Sample; 3]) -> bool {
    let [whole, later, newest] = counts.map(|count| count.value().unwrap_or_default());
    whole > later && newest > 0.0 && whole < f64::from(MOST_READINGS)
}

#[derive(Default)]
struct Tally {
    sum: f64,
    samples: u32,
    without: u32,
    last_known: u32,
    oldest: Duration,
}

impl Tally {
    fn add(&mut self, config: &Config, sample: Sample) {
        let (value, age) = match sample {
            Sample::Value(value) if value.is_finite() => (value, None),
            Sample::Stale { last, age } if last.is_finite() && config.last_known_for().is_some_and(|longest| age <= longest) => {
                (last, Some(age))
            }
            Sample::Value(_) | Sample::Stale { .. } | Sample::Absent => {
                self.without += 1;
                return;
            }
        };
        // Readings may be as large as numbers go, and their sum may not be larger.
        self.sum = (self.sum + value).clamp(f64::MIN, f64::MAX);
        self.samples += 1;
        if let Some(age) = age {
            self.last_known += 1;
            self.oldest = self.oldest.max(age);
        }
    }

    fn reading(self) -> Reading {
        let Self { sum, samples, without, last_known, oldest } = self;
        match samples {
            0 => Reading::Nothing,
            _ => Reading::Figure(Figure { value: sum / f64::from(samples), samples, without, partly: 0, last_known, oldest }),
        }
    }
}
