//! The readings that were given, kept apart from the host's, and what is made of them.

use std::collections::BTreeMap;

use pilothouse_core::id::InstanceId;
use pilothouse_core::time::Timestamp;

/// Of one metric, by instance; the domain's own have no instance.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readings(BTreeMap<Option<InstanceId>, Vec<(Timestamp, f64)>>);

impl Readings {
    /// One arrived.
    pub(crate) fn put(&mut self, of: Option<InstanceId>, at: Timestamp, value: f64) {
        self.0.entry(of).or_default().push((at, value));
    }

    /// The statistic over those from `since` on, if there is one.
    pub(crate) fn statistic(&self, of: Option<&InstanceId>, function: &str, since: Timestamp) -> Option<f64> {
        let all = self.0.get(&of.cloned())?;
        let values: Vec<f64> = all.iter().filter(|(at, _)| *at >= since).map(|(_, value)| *value).collect();
        if values.is_empty() {
            return None;
        }
        Some(match function {
            "Average" => values.iter().sum::<f64>() / values.len() as f64,
            "Sum" => values.iter().sum(),
            "Maximum" => values.iter().copied().fold(f64::MIN, f64::max),
            "Minimum" => values.iter().copied().fold(f64::MAX, f64::min),
            "SampleCount" => values.len() as f64,
            "Last" => values[values.len() - 1],
            other => panic!("{other} is not reckoned here"),
        })
    }

    /// Whether one was taken in the first quarter of the time from `since` to `now`, and one in the last.
    pub(crate) fn go_through(&self, of: Option<&InstanceId>, since: Timestamp, now: Timestamp) -> bool {
        let quarters =
            |at: Timestamp| 4.0 * (at.as_millis() - since.as_millis()) as f64 / (now.as_millis() - since.as_millis()).max(1) as f64;
        let all = self.0.get(&of.cloned()).map(Vec::as_slice).unwrap_or_default();
        let within: Vec<f64> = all.iter().filter(|(at, _)| *at >= since).map(|(at, _)| quarters(*at)).collect();
        within.iter().any(|at| *at < 1.0) && within.iter().any(|at| *at >= 3.0)
    }

    /// The newest, and when it was taken.
    pub(crate) fn newest(&self, of: Option<&InstanceId>) -> Option<(Timestamp, f64)> {
        self.0.get(&of.cloned())?.last().copied()
    }
}
