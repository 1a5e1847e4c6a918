//! What people are told of the readings.

use std::collections::{BTreeMap, VecDeque};

use super::{Asked, Question, Sample, Scope, Sensors, Series, Statistic, sampled, values};
use crate::time::{Millis, Timestamp};

/// What is known of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    /// How far back it is told: as far as the engine last looked, or [`Described::WINDOW`] when it did not.
    pub window: Millis,
    /// The newest reading.
    pub newest: Sample,
    /// The newest readings in the window, oldest first.
    pub series: Vec<(Timestamp, f64)>,
    /// Of all in the window, as the others below; nothing when there is none.
    pub average: Option<f64>,
    /// The smallest.
    pub minimum: Option<f64>,
    /// The largest.
    pub maximum: Option<f64>,
    /// The sum.
    pub sum: Option<f64>,
    /// How many there are.
    pub sample_count: u64,
    /// What the engine last asked for, and what it would be told now.
    pub answers: Vec<Answer>,
}

/// What an engine would be told now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// What is made of the readings.
    pub statistic: Statistic,
    /// Of how long.
    pub window: Millis,
    /// The answer.
    pub sample: Sample,
}

impl Described {
    /// How old a reading may be, when no engine asked.
    pub const WINDOW: Millis = Millis::from_secs(300);
    /// The most readings of a series.
    pub const READINGS: usize = 60;
    /// What a series takes of a [`Room`] beside its readings and answers.
    pub const UNITS: usize = 10;
    /// What an answer takes of a [`Room`].
    pub const ANSWER_UNITS: usize = 3;
}

/// What may still be told of series: an answer must fit a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Readings, or as much as one takes: some 40 bytes.
    pub units: usize,
    /// Series for which there was none.
    pub left_out: usize,
}

impl Room {
    /// Room for so many readings.
    pub const fn new(units: usize) -> Self {
        Self { units, left_out: 0 }
    }
}

impl Sensors {
    /// What is known of the series of an instance, or of the domain as a whole, by their names: of those with readings, and of those that
    /// the engine asked for in vain. `room` bounds what is told in all: every series takes [`Described::UNITS`], one for each reading and
    /// [`Described::ANSWER_UNITS`] for each answer; what does not fit is left out and counted.
    pub fn described(&self, scope: &Scope, asked: &Asked, now: Timestamp, room: &mut Room) -> BTreeMap<String, Described> {
        let nothing = VecDeque::new();
        let in_vain = asked.in_scope(scope).keys().map(|metric| (metric, &nothing));
        let all: BTreeMap<&String, &Series> = in_vain.chain(self.of(scope).into_iter().flatten()).collect();
        let mut told = BTreeMap::new();
        for (metric, series) in all {
            let outline = Outline::of(series, asked.in_scope(scope).get(metric).map_or(&[], Vec::as_slice), now);
            // Nothing is computed for those without room: there may be thousands of them.
            match room.units.checked_sub(outline.units()) {
                Some(left) => {
                    room.units = left;
                    told.insert(metric.clone(), outline.described(now));
                }
                None => room.left_out += 1,
            }
        }
        told
    }
}

/// What is to be told of a series.
struct Outline<'s> {
    series: &'s Series,
    questions: &'s [Question],
    window: Millis,
    /// The place of the first reading that is told.
    from: usize,
}

impl<'s> Outline<'s> {
    fn of(series: &'s Series, questions: &'s [Question], now: Timestamp) -> Self {
        let window = questions.iter().map(|question| question.window).max().unwrap_or(Described::WINDOW);
        let from = series.partition_point(|(time, _)| now.since(*time) > window).max(series.len().saturating_sub(Described::READINGS));
        Self { series, questions, window, from }
    }

    /// What it takes of a [`Room`].
    fn units(&self) -> usize {
        let answers = self.questions.iter().filter(|question| question.statistic.is_some()).count();
        Described::UNITS + self.series.len() - self.from + Described::ANSWER_UNITS * answers
    }

    fn described(&self, now: Timestamp) -> Described {
        let Self { series, questions, window, from } = *self;
        let all = values(series, now, window);
        let of = |statistic: Statistic| statistic.of(all.clone());
        let answer = |statistic, window| Answer { statistic, window, sample: sampled(series, statistic, now, window) };
        Described {
            window,
            newest: sampled(series, Statistic::Last, now, window),
            series: series.range(from..).copied().collect(),
            average: of(Statistic::Average),
            minimum: of(Statistic::Minimum),
            maximum: of(Statistic::Maximum),
            sum: of(Statistic::Sum),
            sample_count: all.len() as u64,
            answers: questions.iter().filter_map(|question| Some(answer(question.statistic?, question.window))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cycle::Observation;
    use crate::message::Reading;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    /// A series of the domain as a whole with a reading of its own time every second, and one that ended at second 1.
    fn sensors() -> Sensors {
        let mut sensors = Sensors::default();
        let readings = (0..400).map(|time| ("q", time)).chain([("old", 1)]);
        for (metric, time) in readings {
            let reading = Reading { metric: metric.into(), time: at(time), value: time as f64 };
            sensors.take(Scope::Domain, reading).expect("few series");
        }
        sensors
    }

    fn asked(questions: &[(&str, Option<Statistic>, u64)]) -> Asked {
        let observation = |(metric, statistic, window): &(&str, _, _)| Observation {
            metric: (*metric).to_owned(),
            scope: Scope::Domain,
            statistic: *statistic,
            window: Millis::from_secs(*window),
            sample: Sample::Absent,
        };
        Asked::of(&questions.iter().map(observation).collect::<Vec<_>>())
    }

    #[test]
    fn a_series_nobody_asked_for_is_told_over_five_minutes() {
        let mut room = Room::new(200);
        let told = sensors().described(&Scope::Domain, &Asked::default(), at(400), &mut room);
        let q = &told["q"];
        assert_eq!((q.window, q.newest), (Described::WINDOW, Sample::Value(399.0)));
        assert_eq!((q.series.len(), q.series[0], q.series[59]), (Described::READINGS, (at(340), 340.0), (at(399), 399.0)));
        assert_eq!((q.sample_count, q.minimum, q.maximum), (300, Some(100.0), Some(399.0)), "of all in the window, not of the newest only");
        assert_eq!((q.average, q.sum, &q.answers[..]), (Some(249.5), Some(74_850.0), &[][..]));
        let old = &told["old"];
        assert_eq!(old.newest, Sample::Stale(1.0, Millis::from_secs(399)));
        assert_eq!((old.series.len(), old.average, old.sum, old.sample_count), (0, None, None, 0), "nothing is never zero");
        assert_eq!(room, Room { units: 200 - 60 - 2 * Described::UNITS, left_out: 0 });
    }

    #[test]
    fn what_the_engine_asked_for_is_told_as_it_would_be_told_now() {
        let asked = asked(&[
            ("q", Some(Statistic::P90), 9),
            ("q", Some(Statistic::Sum), 4),
            ("q", None, 20),
            ("old", Some(Statistic::Average), 60),
            ("never", Some(Statistic::Last), 60),
        ]);
        let mut room = Room::new(200);
        let told = sensors().described(&Scope::Domain, &asked, at(400), &mut room);
        let answer = |statistic, window, sample| Answer { statistic, window: Millis::from_secs(window), sample };
        let q = &told["q"];
        assert_eq!((q.window, q.sample_count), (Millis::from_secs(20), 20), "as far back as the engine looked");
        let expected = [answer(Statistic::P90, 9, Sample::Value(399.0)), answer(Statistic::Sum, 4, Sample::Value(1590.0))];
        assert_eq!(q.answers, expected);
        assert_eq!(told["old"].answers, [answer(Statistic::Average, 60, Sample::Stale(1.0, Millis::from_secs(399)))]);
        let never = &told["never"];
        assert_eq!((never.newest, &never.answers[..]), (Sample::Absent, &[answer(Statistic::Last, 60, Sample::Absent)][..]));
        assert_eq!(room.units, 200 - 20 - 3 * Described::UNITS - 4 * Described::ANSWER_UNITS);
        let instance = Scope::Instance("i1".parse().expect("an id"));
        assert!(sensors().described(&instance, &asked, at(400), &mut room).is_empty(), "it was asked of the domain");
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_counted() {
        let mut room = Room::new(69);
        let told = sensors().described(&Scope::Domain, &Asked::default(), at(400), &mut room);
        assert_eq!(told.into_keys().collect::<Vec<_>>(), ["old"]);
        assert_eq!(room, Room { units: 59, left_out: 1 });
    }
}
