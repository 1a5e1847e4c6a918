//! Sensor readings: bounded windows, and statistics that never make a number out of nothing.

mod asked;
mod described;

use std::collections::VecDeque;
use std::sync::Arc;

pub use asked::{Asked, Question};
pub use described::{Answer, Described, Room};
use litemap::LiteMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::by_id::ById;
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
    /// The 95th percentile (nearest rank).
    P95,
    /// The 99th percentile (nearest rank).
    P99,
}

/// A value, or the honest absence of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sample {
    /// From readings inside the window.
    Value(f64),
    /// Nothing inside the window; the last reading before it, and its age.
    Stale(f64, Millis),
    /// Nothing at all.
    #[default]
    Absent,
}

/// The readings of one domain. Not in the journal: a host that takes a domain starts without.
///
/// A decision keeps them as they are while readings come in. So copies share the readings, and an instance's are copied when it has new
/// ones: otherwise the first reading during a decision would copy those of all others.
#[derive(Clone, Debug, Default)]
pub struct Sensors {
    of_domain: Option<Arc<Named>>,
    of_instances: ById<Arc<Named>>,
    /// Series in all of them.
    count: usize,
    /// When it was last looked for series that nobody writes any more.
    swept: Option<Timestamp>,
}

/// A reading was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {} series in one domain", Sensors::MAX_SERIES)]
pub struct TooManySeries;

impl Sensors {
    /// No readings: those of most domains.
    pub fn none() -> &'static Self {
        static NONE: Sensors = Sensors { of_domain: None, of_instances: ById::new(), count: 0, swept: None };
        &NONE
    }

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
        if self.count >= Self::MAX_SERIES && self.find(&reading.metric, &scope).is_none() {
            self.sweep(reading.time);
            if self.count >= Self::MAX_SERIES {
                return Err(TooManySeries);
            }
        }
        let named = Arc::make_mut(match &scope {
            Scope::Domain => self.of_domain.get_or_insert_default(),
            Scope::Instance(id) => self.of_instances.get_or_insert(id, Arc::default),
        });
        let known = named.len();
        let series = named.entry(reading.metric).or_default();
        // Nearly always at the end; a reading that was late finds its place.
        let at = series.iter().rposition(|(time, _)| *time <= reading.time).map_or(0, |before| before + 1);
        series.insert(at, (reading.time, reading.value));
        let newest = series.back().map_or(reading.time, |(time, _)| *time);
        while series.len() > Self::MAX_READINGS || series.front().is_some_and(|(time, _)| newest.since(*time) > Self::MAX_AGE) {
            series.pop_front();
        }
        self.count += named.len() - known;
        Ok(())
    }

    /// Drops the series whose newest reading is too old; now and then only, for it looks at all of them.
    fn sweep(&mut self, now: Timestamp) {
        const EVERY: Millis = Millis::from_secs(60);
        if self.swept.is_some_and(|last| now.since(last) < EVERY) {
            return;
        }
        self.swept = Some(now);
        let is_written = |series: &Series| series.back().is_some_and(|(time, _)| now.since(*time) <= Self::MAX_AGE);
        let still = |named: &Named| -> Arc<Named> {
            let written = named.iter().filter(|(_, series)| is_written(series));
            Arc::new(written.map(|(metric, series)| (metric.clone(), series.clone())).collect())
        };
        let before = std::mem::take(self);
        self.swept = before.swept;
        self.of_domain = before.of_domain.as_deref().map(still).filter(|named| !named.is_empty());
        self.count = self.of_domain.as_ref().map_or(0, |named| named.len());
        for (id, named) in before.of_instances.iter() {
            let named = if named.values().all(is_written) { Arc::clone(named) } else { still(named) };
            if !named.is_empty() {
                self.count += named.len();
                self.of_instances.get_or_insert(id, || Arc::clone(&named));
            }
        }
    }

    /// Forgets an instance that is gone.
    pub fn forget(&mut self, id: &InstanceId) {
        self.count -= self.of_instances.remove(id).map_or(0, |named| named.len());
    }

    /// Forgets a series, of the domain as a whole and of every instance.
    pub fn forget_metric(&mut self, metric: &str) {
        if let Some(named) = self.of_domain.as_mut().filter(|named| named.contains_key(metric)) {
            Arc::make_mut(named).remove(metric);
            self.count -= 1;
        }
        let ids: Vec<_> = self.of_instances.iter().filter(|(_, named)| named.contains_key(metric)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            let named = Arc::make_mut(self.of_instances.get_or_insert(&id, Arc::default));
            named.remove(metric);
            self.count -= 1;
            if named.is_empty() {
                self.of_instances.remove(&id);
            }
        }
    }

    /// Whether there are readings of an instance.
    pub fn knows(&self, id: &InstanceId) -> bool {
        self.of_instances.get(id).is_some()
    }

    /// The readings of the last `window`, oldest first; the newest `limit` of them.
    pub fn series(&self, metric: &str, scope: &Scope, now: Timestamp, window: Millis, limit: usize) -> Vec<(Timestamp, f64)> {
        let Some(series) = self.find(metric, scope) else { return Vec::new() };
        let from = series.partition_point(|(time, _)| now.since(*time) > window);
        series.range(from.max(series.len().saturating_sub(limit))..).copied().collect()
    }

    /// A statistic over the readings of the last `window`.
    pub fn sample(&self, metric: &str, scope: &Scope, statistic: Statistic, now: Timestamp, window: Millis) -> Sample {
        self.find(metric, scope).map_or(Sample::Absent, |series| sampled(series, statistic, now, window))
    }

    fn find(&self, metric: &str, scope: &Scope) -> Option<&Series> {
        self.of(scope)?.get(metric)
    }

    /// All series of a scope.
    fn of(&self, scope: &Scope) -> Option<&Named> {
        match scope {
            Scope::Domain => self.of_domain.as_deref(),
            Scope::Instance(id) => self.of_instances.get(id).map(|named| &**named),
        }
    }
}

/// The series of one instance, or of the domain as a whole, by their names: most have one or two.
type Named = LiteMap<String, Series>;

/// The readings of one series, oldest first.
type Series = VecDeque<(Timestamp, f64)>;

/// The values of the last `window`, oldest first.
fn values(series: &Series, now: Timestamp, window: Millis) -> impl ExactSizeIterator<Item = f64> + DoubleEndedIterator + Clone {
    let from = series.partition_point(|(time, _)| now.since(*time) > window);
    series.range(from..).map(|(_, value)| *value)
}

fn sampled(series: &Series, statistic: Statistic, now: Timestamp, window: Millis) -> Sample {
    match (statistic.of(values(series, now, window)), series.back()) {
        (Some(value), _) => Sample::Value(value),
        (None, Some((time, value))) if now.since(*time) <= Sensors::MAX_AGE => Sample::Stale(*value, now.since(*time)),
        (None, _) => Sample::Absent,
    }
}

impl Statistic {
    /// Over these values, oldest first. Nothing of nothing. Only percentiles copy them.
    fn of(self, values: impl ExactSizeIterator<Item = f64> + DoubleEndedIterator + Clone) -> Option<f64> {
        let (last, count) = (values.clone().next_back()?, values.len());
        let rank = |share: f64| {
            let mut sorted: Vec<f64> = values.clone().collect();
            sorted.sort_by(f64::total_cmp);
            sorted[((share * count as f64).ceil() as usize).clamp(1, count) - 1]
        };
        let figure = match self {
            Self::Last => last,
            Self::SampleCount => count as f64,
            Self::P50 => rank(0.5),
            Self::P90 => rank(0.9),
            Self::P95 => rank(0.95),
            Self::P99 => rank(0.99),
            Self::Average => values.sum::<f64>() / count as f64,
            Self::Sum => values.sum(),
            Self::Minimum => values.fold(f64::INFINITY, f64::min),
            Self::Maximum => values.fold(f64::NEG_INFINITY, f64::max),
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
        assert_eq!(
            (sensors.count, sensors.of(&Scope::Domain).map(LiteMap::len)),
            (2, Some(2)),
            "the new one, and the one that is still written"
        );
    }

    #[test]
    fn a_copy_stays_as_it_is_and_only_who_has_new_readings_is_copied() {
        let id = |n: u32| format!("i{n}").parse::<InstanceId>().expect("an id");
        let reading = |secs| Reading { metric: "q".into(), time: at(secs), value: secs as f64 };
        let mut sensors = Sensors::default();
        for n in 0..3 {
            sensors.take(Scope::Instance(id(n)), reading(10)).expect("few series");
        }
        let before = sensors.clone();
        sensors.take(Scope::Instance(id(1)), reading(20)).expect("few series");
        let newest = |sensors: &Sensors| sensors.sample("q", &Scope::Instance(id(1)), Statistic::Last, at(20), Millis::from_secs(60));
        assert_eq!((newest(&before), newest(&sensors)), (Sample::Value(10.0), Sample::Value(20.0)));
        let shared = |n: u32| {
            before.of_instances.get(&id(n)).zip(sensors.of_instances.get(&id(n))).is_some_and(|(one, other)| Arc::ptr_eq(one, other))
        };
        assert_eq!([shared(0), shared(1), shared(2)], [true, false, true]);
    }

    #[test]
    fn what_is_forgotten_and_what_is_swept_make_room() {
        let id = |n: u32| format!("i{n}").parse::<InstanceId>().expect("an id");
        let reading = |metric: &str, secs| Reading { metric: metric.into(), time: at(secs), value: 0.0 };
        let mut sensors = Sensors::default();
        for (n, metric, secs) in [(1, "old", 100), (1, "new", 4000), (2, "old", 100), (3, "new", 4000), (3, "other", 4000)] {
            sensors.take(Scope::Instance(id(n)), reading(metric, secs)).expect("few series");
        }
        sensors.take(Scope::Domain, reading("old", 100)).expect("few series");
        assert_eq!(sensors.count, 6);
        sensors.sweep(at(4000));
        assert_eq!((sensors.count, sensors.knows(&id(1)), sensors.knows(&id(2)), sensors.knows(&id(3))), (3, true, false, true));
        sensors.forget(&id(3));
        sensors.forget(&id(2));
        assert_eq!((sensors.count, sensors.knows(&id(3))), (1, false));
    }

    #[test]
    fn a_series_is_forgotten_wherever_it_is_and_the_others_stay() {
        let id = |n: u32| format!("i{n}").parse::<InstanceId>().expect("an id");
        let mut sensors = Sensors::default();
        for (scope, metric) in [
            (Scope::Domain, "q"),
            (Scope::Domain, "other"),
            (Scope::Instance(id(1)), "q"),
            (Scope::Instance(id(2)), "q"),
            (Scope::Instance(id(2)), "other"),
        ] {
            sensors.take(scope, Reading { metric: metric.into(), time: at(10), value: 1.0 }).expect("few series");
        }
        let before = sensors.clone();
        sensors.forget_metric("q");
        sensors.forget_metric("nobody wrote it");
        let known = |sensors: &Sensors, scope, metric| sensors.find(metric, &scope).is_some();
        assert!(!known(&sensors, Scope::Domain, "q") && known(&sensors, Scope::Domain, "other"));
        assert!(!known(&sensors, Scope::Instance(id(2)), "q") && known(&sensors, Scope::Instance(id(2)), "other"));
        assert_eq!((sensors.count, sensors.knows(&id(1))), (2, false));
        assert!(known(&before, Scope::Instance(id(1)), "q") && before.count == 5, "a copy stays as it is");
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
