//! Readings, and statistics that never make a number out of nothing. The same as a host's, to the last digit.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{Sample, Scope, Statistic, Timestamp};

/// How long a reading is kept.
const KEPT: Duration = Duration::from_secs(3600);

/// The most readings of a series that are kept; the oldest go first.
const MOST: usize = 720;

type Series = Vec<(Timestamp, f64)>;

#[derive(Debug, Clone, Default)]
pub(super) struct Readings {
    /// By metric, and the instance or, for the domain as a whole, nothing.
    series: BTreeMap<(String, Option<String>), Series>,
}

impl Readings {
    pub(super) fn take(&mut self, scope: &Scope, metric: &str, at: Timestamp, value: f64) {
        let series = self.series.entry(key(scope, metric)).or_default();
        let place = series.partition_point(|(time, _)| *time <= at);
        series.insert(place, (at, value));
        if series.len() > MOST {
            series.remove(0);
        }
    }

    /// The readings of the last `window`, oldest first; the newest `limit` of them. A reading of just that age is inside.
    pub(super) fn series(&self, metric: &str, scope: &Scope, now: Timestamp, window: Duration, limit: usize) -> Series {
        let inside: Series = self.kept(metric, scope, now).filter(|(time, _)| now.since(*time) <= window).collect();
        inside[inside.len().saturating_sub(limit)..].to_vec()
    }

    pub(super) fn sample(&self, metric: &str, scope: &Scope, statistic: Statistic, now: Timestamp, window: Duration) -> Sample {
        let inside = self.series(metric, scope, now, window, usize::MAX).into_iter().map(|(_, value)| value).collect();
        match (figure(statistic, inside), self.kept(metric, scope, now).last()) {
            (Some(value), _) => Sample::Value(value),
            (None, Some((time, last))) => Sample::Stale { last, age: now.since(time) },
            (None, None) => Sample::Absent,
        }
    }

    fn kept(&self, metric: &str, scope: &Scope, now: Timestamp) -> impl Iterator<Item = (Timestamp, f64)> {
        let series = self.series.get(&key(scope, metric)).map(Vec::as_slice).unwrap_or_default();
        series.iter().copied().filter(move |(time, _)| now.since(*time) <= KEPT)
    }
}

fn key(scope: &Scope, metric: &str) -> (String, Option<String>) {
    let of = match scope {
        Scope::Domain => None,
        Scope::Instance(id) => Some(id.clone()),
    };
    (metric.to_owned(), of)
}

/// Over these values, oldest first. Nothing of nothing.
fn figure(statistic: Statistic, mut values: Vec<f64>) -> Option<f64> {
    let last = *values.last()?;
    let count = values.len() as f64;
    let mut rank = |share: f64| {
        values.sort_by(f64::total_cmp);
        values[((share * count).ceil() as usize).clamp(1, values.len()) - 1]
    };
    let figure = match statistic {
        Statistic::P50 => rank(0.5),
        Statistic::P90 => rank(0.9),
        Statistic::P95 => rank(0.95),
        Statistic::P99 => rank(0.99),
        Statistic::Last => last,
        Statistic::Average => values.iter().sum::<f64>() / count,
        Statistic::Sum => values.iter().sum(),
        Statistic::Minimum => values.iter().copied().fold(f64::INFINITY, f64::min),
        Statistic::Maximum => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Statistic::SampleCount => count,
    };
    Some(figure.clamp(f64::MIN, f64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn readings(of: &[(u64, f64)]) -> Readings {
        let mut readings = Readings::default();
        for (time, value) in of {
            readings.take(&Scope::Domain, "q", at(*time), *value);
        }
        readings
    }

    #[test]
    fn nothing_is_never_zero() {
        let readings = readings(&[(100, 7.0)]);
        let sample =
            |metric, statistic, now, window| readings.sample(metric, &Scope::Domain, statistic, at(now), Duration::from_secs(window));
        assert_eq!(sample("other", Statistic::Sum, 100, 60), Sample::Absent);
        assert_eq!(sample("q", Statistic::SampleCount, 161, 60), Sample::Stale { last: 7.0, age: Duration::from_secs(61) });
        assert_eq!(sample("q", Statistic::Sum, 160, 60), Sample::Value(7.0), "the edge of the window is inside");
        assert_eq!(sample("q", Statistic::Last, 100 + 3601, 60), Sample::Absent, "too long ago to be kept");
        let of_one = readings.sample("q", &Scope::instance("a"), Statistic::Last, at(100), Duration::from_secs(60));
        assert_eq!(of_one, Sample::Absent, "the domain's readings are no instance's");
    }

    #[test]
    fn statistics_are_over_the_window_only() {
        let readings = readings(&[(1, 100.0), (50, 3.0), (60, 1.0), (55, 2.0)]);
        for (statistic, value) in [
            (Statistic::Last, 1.0),
            (Statistic::Average, 2.0),
            (Statistic::Sum, 6.0),
            (Statistic::Minimum, 1.0),
            (Statistic::Maximum, 3.0),
            (Statistic::SampleCount, 3.0),
            (Statistic::P50, 2.0),
            (Statistic::P90, 3.0),
            (Statistic::P99, 3.0),
        ] {
            let sample = readings.sample("q", &Scope::Domain, statistic, at(60), Duration::from_secs(20));
            assert_eq!(sample, Sample::Value(value), "{statistic:?}");
        }
        let newest = readings.series("q", &Scope::Domain, at(60), Duration::from_secs(20), 2);
        assert_eq!(newest, [(at(55), 2.0), (at(60), 1.0)], "the newest two, oldest first");
    }
}
