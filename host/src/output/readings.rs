//! Readings of sensors as a table, and how fetching them goes.

use std::collections::BTreeMap;

use pilothouse_core::sensor::{Sample, Statistic};
use pilothouse_core::time::{Millis, Timestamp};

use super::{clean, length, moment_ago, table};
use crate::api::{PullDescription, SensorAnswer, SensorData};

/// A line for each series: the newest reading, what those of its window come to, and what its engine made of it. Nothing when there are
/// none.
pub(crate) fn text(readings: &BTreeMap<String, SensorData>, now: Timestamp) -> String {
    if readings.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = readings.iter().map(|(name, data)| row(name, data, now)).collect();
    table(["SENSOR", "NEWEST", "AGE", "OVER", "AVERAGE", "MINIMUM", "MAXIMUM", "READINGS", "ITS ENGINE READS"], &rows)
}

fn row(name: &str, data: &SensorData, now: Timestamp) -> [String; 9] {
    let figure = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
    let (newest, age) = match data.newest {
        Sample::Value(value) => {
            let age = data.series.last().map(|(at, _)| now.since(Timestamp::ZERO + secs(*at)));
            (number(value), age.map_or_else(|| "-".to_owned(), length))
        }
        Sample::Stale(value, age) => (format!("{} (stale)", number(value)), length(age)),
        Sample::Absent => ("absent".to_owned(), "-".to_owned()),
    };
    [
        clean(name),
        newest,
        age,
        length(secs(data.window)),
        figure(data.average),
        figure(data.minimum),
        figure(data.maximum),
        data.sample_count.to_string(),
        data.asked.iter().map(answer).collect::<Vec<_>>().join("; "),
    ]
}

/// What an engine would be told: `average over 1 min: 0.5`.
fn answer(it: &SensorAnswer) -> String {
    let sample = match it.sample {
        Sample::Value(value) => number(value),
        Sample::Stale(value, age) => format!("stale, the last was {} before {}", number(value), length(age)),
        Sample::Absent => "absent".to_owned(),
    };
    format!("{} over {}: {sample}", statistic(it.statistic), length(secs(it.window)))
}

fn statistic(statistic: Statistic) -> String {
    let name = serde_json::to_value(statistic).ok();
    name.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().replace('_', " ")
}

fn secs(secs: f64) -> Millis {
    Millis::new((secs * 1e3) as u64)
}

/// What is pulled from Prometheus: a line for each series, and what is wrong with it below. Nothing when there is none.
pub(crate) fn pulled(pulled: &BTreeMap<String, PullDescription>, now: Timestamp) -> String {
    if pulled.is_empty() {
        return String::new();
    }
    let row = |(name, it): (&String, &PullDescription)| {
        let last = it.last_success.map_or_else(|| "never".to_owned(), |at| format!("{} ago", length(now.since(at))));
        [clean(name), it.source.to_string(), length(secs(it.interval)), last, it.readings.to_string(), clean(&it.query)]
    };
    let rows: Vec<_> = pulled.iter().map(row).collect();
    let mut text = table(["SENSOR", "SOURCE", "EVERY", "ANSWERED", "READINGS", "QUERY"], &rows);
    for (name, it) in pulled {
        let mut tell = |what: String| text += &format!("{}: {what}\n", clean(name));
        if let Some(failure) = &it.failure {
            let times = if failure.in_a_row == 1 { String::new() } else { format!(", {} in a row", failure.in_a_row) };
            tell(format!("failed {}{times}: {}", moment_ago(failure.at, now), clean(&failure.message)));
        }
        if let Some(warning) = &it.warning {
            tell(format!("the server warns: {}", clean(warning)));
        }
        for (n, what) in [
            (it.unmatched, "whose label fits no instance"),
            (it.ambiguous, "whose label fits more than one instance"),
            (it.without_number, "without a number"),
        ] {
            if n > 0 {
                tell(format!("{n} series {what}"));
            }
        }
    }
    text
}

/// With three digits behind the point at most, and none that say nothing: `0.5`, `12`, `3.142`.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::api::PullFailure;

    #[test]
    fn a_series_is_told_by_its_newest_reading_and_what_it_comes_to() {
        let now = Timestamp::from_millis(1_012_500);
        let asked = |statistic, sample| SensorAnswer { statistic, window: 60.0, sample };
        let data = SensorData {
            window: 60.0,
            newest: Sample::Value(2.0),
            series: vec![(1_000.0, 0.25), (1_010.5, 2.0)],
            average: Some(1.0 / 3.0),
            minimum: Some(-100.0),
            maximum: Some(2.0),
            sum: Some(2.25),
            sample_count: 2,
            asked: vec![asked(Statistic::Average, Sample::Value(1.0 / 3.0)), asked(Statistic::SampleCount, Sample::Value(2.0))],
        };
        let stale = Sample::Stale(7.0, Millis::from_secs(400));
        let old = SensorData { window: 300.0, newest: stale, asked: vec![asked(Statistic::P90, stale)], ..SensorData::default() };
        let never = SensorData { window: 60.0, asked: vec![asked(Statistic::Last, Sample::Absent)], ..SensorData::default() };
        let readings = [("queue".to_owned(), data), ("old".to_owned(), old), ("never".to_owned(), never)].into();
        assert_eq!(
            text(&readings, now),
            "SENSOR  NEWEST     AGE      OVER   AVERAGE  MINIMUM  MAXIMUM  READINGS  ITS ENGINE READS\n\
             never   absent     -        1 min  -        -        -        0         last over 1 min: absent\n\
             old     7 (stale)  6.7 min  5 min  -        -        -        0         p90 over 1 min: stale, the last was 7 before 6.7 min\n\
             queue   2          2 s      1 min  0.333    -100     2        2         average over 1 min: 0.333; sample count over 1 min: 2\n"
        );
        assert_eq!(text(&BTreeMap::new(), Timestamp::ZERO), "");
    }

    /// One that was answered at this moment, with one reading.
    pub(crate) fn pull(query: &str, answered: Timestamp) -> PullDescription {
        PullDescription {
            source: "main".parse().expect("a name"),
            query: query.to_owned(),
            interval: 15.0,
            last_success: Some(answered),
            readings: 1,
            unmatched: 0,
            ambiguous: 0,
            without_number: 0,
            warning: None,
            failure: None,
        }
    }

    #[test]
    fn what_is_pulled_is_told_with_what_is_wrong_with_it() {
        let now = Timestamp::from_secs(1_060);
        let good = pull("sum(queue)\nby (a)", Timestamp::from_secs(1_050));
        let failure = PullFailure { message: "the server can't be reached".to_owned(), at: Timestamp::from_secs(1_055), in_a_row: 3 };
        let bad = PullDescription { last_success: None, readings: 0, unmatched: 2, failure: Some(failure), ..good.clone() };
        let good = PullDescription { warning: Some("the answer is partial".to_owned()), ..good };
        assert_eq!(
            pulled(&[("queue".to_owned(), good), ("load".to_owned(), bad)].into(), now),
            "SENSOR  SOURCE  EVERY  ANSWERED  READINGS  QUERY\n\
             load    main    15 s   never     0         sum(queue) by (a)\n\
             queue   main    15 s   10 s ago  1         sum(queue) by (a)\n\
             load: failed 1970-01-01 00:17:35Z (5 s ago), 3 in a row: the server can't be reached\n\
             load: 2 series whose label fits no instance\n\
             queue: the server warns: the answer is partial\n"
        );
        assert_eq!(pulled(&BTreeMap::new(), now), "");
    }
}
