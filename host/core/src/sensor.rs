//! Sensor readings: bounded windows, and statistics that never make a number out of nothing.

use std::collections::{BTreeMap, VecDeque};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::InstanceId;
use crate::message::Reading;
use crate::time::{Millis, Timestamp};

/// Whose readings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Of the domain as a whole.
    Domain,
    /// Of one instance.
    Instance(InstanceId),
}

/// What is made of the readings in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    /// The newest.
    Last,
    /// The arithmetic mean.
    Average,
    /// The sum.
    Sum,
    /// The smallest.
    Minimum,
    /// The largest.
    Maximum,
    /// How many there are.
    SampleCount,
    /// The median (nearest rank).
    P50,
    /// The 90th percentile (nearest rank).
    P90,
    /// The 99th percentile (nearest rank).
    P99,
}

/// A value, or the honest absence of one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sample {
    /// From readings inside the window.
    Value(f64),
    /// Nothing inside the window; the last reading before it, and its age.
    Stale(f64, Millis),
    /// Nothing at all.
    Absent,
}

/// The readings of one domain. Not in the journal: a host that takes a domain starts without.
#[derive(Clone, Debug, Default)]
pub struct Sensors {
    series: BTreeMap<(Scope, String), VecDeque<(Timestamp, f64)>>,
    /// When it was last looked for series that nobody writes any more.
    swept: Option<Timestamp>,
}

/// A reading was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {} series in one domain", Sensors::MAX_SERIES)]
pub struct TooManySeries;

impl Sensors {
    /// The most series of a domain: a publisher that makes up names must not fill the memory.
    pub const MAX_SERIES: usize = 20_000;
    /// The most readings of a series; the oldest go first.
    pub const MAX_READINGS: usize = 720;
    /// How long a reading is kept.
    pub const MAX_AGE: Millis = Millis::from_secs(3600);

    /// Takes a reading in, in the order of their times.
    ///
    /// # Errors
    /// When the domain has too many series already.
    pub fn take(&mut self, scope: Scope, reading: Reading) -> Result<(), TooManySeries> {
        let key = (scope, reading.metric);
        if self.series.len() >= Self::MAX_SERIES && !self.series.contains_key(&key) {
            self.sweep(reading.time);
            if self.series.len() >= Self::MAX_SERIES {
                return Err(TooManySeries);
            }
        }
        let series = self.series.entry(key).or_default();
        // Nearly always at the end; a reading that was late finds its place.
        let at = series.iter().rposition(|(time, _)| *time <= reading.time).map_or(0, |before| before + 1);
        series.insert(at, (reading.time, reading.value));
        let newest = series.back().map_or(reading.time, |(time, _)| *time);
        while series.len() > Self::MAX_READINGS || series.front().is_some_and(|(time, _)| newest.since(*time) > Self::MAX_AGE) {
            series.pop_front();
        }
        Ok(())
    }

    /// Drops the series whose newest reading is too old; now and then only, for it looks at all of them.
    fn sweep(&mut self, now: Timestamp) {
        const EVERY: Millis = Millis::from_secs(60);
        if self.swept.is_none_or(|last| now.since(last) >= EVERY) {
            self.swept = Some(now);
            self.series.retain(|_, series| series.back().is_some_and(|(time, _)| now.since(*time) <= Self::MAX_AGE));
        }
    }

    /// Forgets an instance that is gone.
    pub fn forget(&mut self, id: &InstanceId) {
        let keys: Vec<_> = self.keys(id).cloned().collect();
        for key in keys {
            self.series.remove(&key);
        }
    }

    /// Whether there are readings of an instance.
    pub fn knows(&self, id: &InstanceId) -> bool {
        self.keys(id).next().is_some()
    }

    fn keys(&self, id: &InstanceId) -> impl Iterator<Item = &(Scope, String)> {
        let scope = Scope::Instance(id.clone());
        let from = (scope.clone(), String::new());
        self.series.range(from..).map(|(key, _)| key).take_while(move |(of, _)| *of == scope)
    }

    /// The readings of the last `window`, oldest first; the newest `limit` of them.
    pub fn series(&self, metric: &str, scope: &Scope, now: Timestamp, window: Millis, limit: usize) -> Vec<(Timestamp, f64)> {
        let Some(series) = self.find(metric, scope) else { return Vec::new() };
        let from = series.partition_point(|(time, _)| now.since(*time) > window);
        series.range(from.max(series.len().saturating_sub(limit))..).copied().collect()
    }

    /// A statistic over the readings of the last `window`.
    pub fn sample(&self, metric: &str, scope: &Scope, statistic: Statistic, now: Timestamp, window: Millis) -> Sample {
        let Some(series) = self.find(metric, scope) else { return Sample::Absent };
        let from = series.partition_point(|(time, _)| now.since(*time) > window);
        let values: Vec<f64> = series.range(from..).map(|(_, value)| *value).collect();
        match (statistic.of(values), series.back()) {
            (Some(value), _) => Sample::Value(value),
            (None, Some((time, value))) if now.since(*time) <= Self::MAX_AGE => Sample::Stale(*value, now.since(*time)),
            (None, _) => Sample::Absent,
        }
    }

    /// What is known of the series of an instance, or of the domain as a whole, by their names. `room` bounds what is told in all: every
    /// series takes [`Described::UNITS`] and one for each reading; what does not fit is left out and counted.
    pub fn described(&self, scope: &Scope, now: Timestamp, room: &mut Room) -> BTreeMap<String, Described> {
        let mut told = BTreeMap::new();
        for ((_, metric), series) in self.series.range((scope.clone(), String::new())..).take_while(|((of, _), _)| of == scope) {
            let from = series.partition_point(|(time, _)| now.since(*time) > Described::WINDOW);
            let values: Vec<f64> = series.range(from..).map(|(_, value)| *value).collect();
            let newest = from.max(series.len().saturating_sub(Described::READINGS));
            let Some(left) = room.units.checked_sub(Described::UNITS + (series.len() - newest)) else {
                room.left_out += 1;
                continue;
            };
            room.units = left;
            let of = |statistic: Statistic| statistic.of(values.clone());
            let described = Described {
                series: series.range(newest..).copied().collect(),
                average: of(Statistic::Average),
                minimum: of(Statistic::Minimum),
                maximum: of(Statistic::Maximum),
                sum: of(Statistic::Sum),
                sample_count: values.len() as u64,
            };
            told.insert(metric.clone(), described);
        }
        told
    }

    fn find(&self, metric: &str, scope: &Scope) -> Option<&VecDeque<(Timestamp, f64)>> {
        self.series.get(&(scope.clone(), metric.to_owned()))
    }
}

/// What is known of one series: its readings of the last five minutes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Described {
    /// The newest of them, oldest first.
    pub series: Vec<(Timestamp, f64)>,
    /// Of all of them, as the others below; nothing when there is none.
    pub average: Option<f64>,
    /// The smallest.
    pub minimum: Option<f64>,
    /// The largest.
    pub maximum: Option<f64>,
    /// The sum.
    pub sum: Option<f64>,
    /// How many there are.
    pub sample_count: u64,
}

impl Described {
    /// How old a reading may be.
    pub const WINDOW: Millis = Millis::from_secs(300);
    /// The most readings of a series.
    pub const READINGS: usize = 60;
    /// What a series takes of a [`Room`] beside its readings.
    pub const UNITS: usize = 10;
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

impl Statistic {
    /// Over these values, oldest first. Nothing of nothing.
    fn of(self, mut values: Vec<f64>) -> Option<f64> {
        let last = *values.last()?;
        let count = values.len();
        let rank = |values: &mut Vec<f64>, share: f64| {
            values.sort_by(f64::total_cmp);
            values[((share * count as f64).ceil() as usize).clamp(1, count) - 1]
        };
        let figure = match self {
            Self::Last => last,
            Self::Average => values.iter().sum::<f64>() / count as f64,
            Self::Sum => values.iter().sum(),
            Self::Minimum => values.iter().copied().fold(f64::INFINITY, f64::min),
            Self::Maximum => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Self::SampleCount => count as f64,
            Self::P50 => rank(&mut values, 0.5),
            Self::P90 => rank(&mut values, 0.9),
            Self::P99 => rank(&mut values, 0.99),
        };
        // A sum of finite numbers may not be finite; JSON has no word for that, and a decision record must be readable.
        Some(figure.clamp(f64::MIN, f64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn sensors(readings: &[(u64, f64)]) -> Sensors {
        let mut sensors = Sensors::default();
        for (time, value) in readings {
            sensors.take(Scope::Domain, Reading { metric: "q".into(), time: at(*time), value: *value }).expect("few series");
        }
        sensors
    }

    #[test]
    fn nothing_is_never_zero() {
        let sensors = sensors(&[(100, 7.0)]);
        let sample = |metric, statistic, now, window| sensors.sample(metric, &Scope::Domain, statistic, at(now), Millis::from_secs(window));
        assert_eq!(sample("other", Statistic::Sum, 100, 60), Sample::Absent);
        assert_eq!(sample("q", Statistic::SampleCount, 161, 60), Sample::Stale(7.0, Millis::from_secs(61)));
        assert_eq!(sample("q", Statistic::Sum, 160, 60), Sample::Value(7.0), "the edge of the window is inside");
        assert_eq!(sample("q", Statistic::Last, 100 + 3601, 60), Sample::Absent);
    }

    #[test]
    fn statistics_are_over_the_window_only() {
        let sensors = sensors(&[(1, 100.0), (50, 3.0), (60, 1.0), (55, 2.0)]);
        let sample = |statistic| sensors.sample("q", &Scope::Domain, statistic, at(60), Millis::from_secs(20));
        for (statistic, value) in [
            (Statistic::Last, 1.0),
            (Statistic::Average, 2.0),
            (Statistic::Sum, 6.0),
            (Statistic::Minimum, 1.0),
            (Statistic::Maximum, 3.0),
            (Statistic::SampleCount, 3.0),
            (Statistic::P50, 2.0),
            (Statistic::P99, 3.0),
        ] {
            assert_eq!(sample(statistic), Sample::Value(value), "{statistic:?}");
        }
        let times: Vec<_> =
            sensors.series("q", &Scope::Domain, at(60), Millis::from_secs(20), 2).into_iter().map(|(time, _)| time).collect();
        assert_eq!(times, [at(55), at(60)], "the newest two, oldest first");
    }

    #[test]
    fn a_sum_beyond_all_numbers_is_the_largest() {
        let sensors = sensors(&[(1, f64::MAX), (2, f64::MAX), (3, -1.0)]);
        for (statistic, value) in [(Statistic::Sum, f64::MAX), (Statistic::Average, f64::MAX), (Statistic::Minimum, -1.0)] {
            assert_eq!(sensors.sample("q", &Scope::Domain, statistic, at(3), Millis::from_secs(9)), Sample::Value(value));
        }
    }

    #[test]
    fn series_that_nobody_writes_any_more_make_room() {
        let reading = |name: String, secs| Reading { metric: name, time: at(secs), value: 0.0 };
        let mut sensors = Sensors::default();
        for i in 0..Sensors::MAX_SERIES {
            sensors.take(Scope::Domain, reading(format!("m{i}"), 100)).expect("not too many");
        }
        sensors.take(Scope::Domain, reading("m0".into(), 200)).expect("known");
        assert_eq!(sensors.take(Scope::Domain, reading("new".into(), 3700)), Err(TooManySeries), "all are young enough");
        assert_eq!(sensors.take(Scope::Domain, reading("new".into(), 3800)), Ok(()));
        assert_eq!(sensors.series.len(), 2, "the new one, and the one that is still written");
    }

    #[test]
    fn series_are_described_as_far_as_there_is_room() {
        let mut sensors = sensors(&(0..400).map(|time| (time, time as f64)).collect::<Vec<_>>());
        sensors.take(Scope::Domain, Reading { metric: "old".into(), time: at(1), value: 1.0 }).expect("few series");
        let mut room = Room::new(200);
        let told = sensors.described(&Scope::Domain, at(400), &mut room);
        let q = &told["q"];
        assert_eq!((q.series.len(), q.series[0], q.series[59]), (Described::READINGS, (at(340), 340.0), (at(399), 399.0)));
        assert_eq!((q.sample_count, q.minimum, q.maximum), (300, Some(100.0), Some(399.0)), "of all in the window, not of the newest only");
        assert_eq!((q.average, q.sum), (Some(249.5), Some(74_850.0)));
        assert_eq!(told["old"], Described::default(), "nothing is never zero");
        assert_eq!(room, Room { units: 200 - 60 - 2 * Described::UNITS, left_out: 0 });
        let mut room = Room::new(69);
        assert_eq!(sensors.described(&Scope::Domain, at(400), &mut room).into_keys().collect::<Vec<_>>(), ["old"]);
        assert_eq!(room.left_out, 1);
        assert!(sensors.described(&Scope::Instance("i1".parse().expect("an id")), at(400), &mut room).is_empty());
    }

    #[test]
    fn a_series_is_bounded() {
        let mut sensors = Sensors::default();
        for time in 0..5000 {
            sensors.take(Scope::Domain, Reading { metric: "q".into(), time: at(time), value: 0.0 }).expect("one series");
        }
        assert_eq!(sensors.series("q", &Scope::Domain, at(5000), Sensors::MAX_AGE, usize::MAX).len(), Sensors::MAX_READINGS);
    }
}
