//! Readings of sensors as a table.

use std::collections::BTreeMap;

use pilothouse_core::time::{Millis, Timestamp};

use super::{clean, length, table};
use crate::api::SensorData;

/// A line for each series: the newest reading and what the last five minutes come to. Nothing when there are none.
pub(crate) fn text(readings: &BTreeMap<String, SensorData>, now: Timestamp) -> String {
    if readings.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = readings.iter().map(|(name, data)| row(name, data, now)).collect();
    table(["SENSOR", "NEWEST", "AGE", "AVERAGE", "MINIMUM", "MAXIMUM", "READINGS"], &rows)
}

fn row(name: &str, data: &SensorData, now: Timestamp) -> [String; 7] {
    let figure = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
    let newest = data.series.last();
    let age = newest.map_or_else(|| "-".to_owned(), |(at, _)| length(now.since(Timestamp::ZERO + Millis::new((at * 1e3) as u64))));
    [
        clean(name),
        figure(newest.map(|(_, value)| *value)),
        age,
        figure(data.average),
        figure(data.minimum),
        figure(data.maximum),
        data.sample_count.to_string(),
    ]
}

/// With three digits behind the point at most, and none that say nothing: `0.5`, `12`, `3.142`.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_told_by_its_newest_reading_and_what_it_comes_to() {
        let data = SensorData {
            series: vec![(1_000.0, 0.25), (1_010.5, 2.0)],
            average: Some(1.0 / 3.0),
            minimum: Some(-100.0),
            maximum: Some(2.0),
            sum: Some(2.25),
            sample_count: 2,
        };
        let readings = [("queue".to_owned(), data), ("silent".to_owned(), SensorData::default())].into();
        assert_eq!(
            text(&readings, Timestamp::from_millis(1_012_500)),
            "SENSOR  NEWEST  AGE  AVERAGE  MINIMUM  MAXIMUM  READINGS\n\
             queue   2       2 s  0.333    -100     2        2\n\
             silent  -       -    -        -        -        0\n"
        );
        assert_eq!(text(&BTreeMap::new(), Timestamp::ZERO), "");
    }
}
