//! Taking times so that they can be compared on a machine that does other things too.
//!
//! What is compared runs by turns, in slices of a few milliseconds, for many rounds: whatever disturbs the machine disturbs all of it. A
//! figure is the median of its rounds, and a ratio is the median of the ratios of each round, not the ratio of two medians.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How many rounds, and how long a slice of one is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) slice: Duration,
}

/// What came of one thing that was measured: one value for each round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        Self(values.into_iter().collect())
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The value that a share of all rounds stays below; not a number when there was no round.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        // Between two rounds the middle: with two rounds, the median is neither of them.
        let place = share.clamp(0.0, 1.0) * last as f64;
        let (below, above) = (place.floor() as usize, place.ceil() as usize);
        match (sorted.get(below), sorted.get(above)) {
            (Some(low), Some(high)) => low + (high - low) * (place - place.floor()),
            _ => f64::NAN,
        }
    }

    /// Round by round, this over that.
    pub(crate) fn over(&self, reference: &Self) -> Self {
        Self(self.0.iter().zip(&reference.0).map(|(this, that)| this / that).collect())
    }

    /// Round by round, this less that.
    pub(crate) fn minus(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(this, that)| this - that).collect())
    }

    /// Seconds of whole milliseconds that were cut off below: those that are the same are spread over their millisecond, so that a quantile
    /// lies within it.
    pub(crate) fn of_millis(values: impl IntoIterator<Item = u64>) -> Self {
        let mut counts = BTreeMap::<u64, u32>::new();
        values.into_iter().for_each(|value| *counts.entry(value).or_default() += 1);
        let spread =
            |(value, count): (u64, u32)| (0..count).map(move |place| (value as f64 + (f64::from(place) + 0.5) / f64::from(count)) / 1e3);
        Self(counts.into_iter().flat_map(spread).collect())
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Every value, times something.
    pub(crate) fn scaled(&self, factor: f64) -> Self {
        Self(self.0.iter().map(|value| value * factor).collect())
    }
}

/// Something that can be done again and again.
pub(crate) type Subject<'s> = Box<dyn FnMut() + 's>;

/// Seconds for one call of each subject, all of them by turns.
pub(crate) fn by_turns(effort: Effort, mut subjects: Vec<Subject<'_>>) -> Vec<Samples> {
    // As many calls as fill a slice. Finding that out warms up what is measured.
    let calls: Vec<u32> = subjects.iter_mut().map(|subject| calls_in(effort.slice, subject)).collect();
    let mut samples = vec![Samples::default(); subjects.len()];
    for round in 0..effort.rounds {
        for turn in 0..subjects.len() {
            // Each round begins with another one, so that nobody always comes after the same.
            let which = (round + turn) % subjects.len();
            let seconds = seconds_of(calls[which], &mut subjects[which]);
            samples[which].0.push(seconds / f64::from(calls[which]));
        }
    }
    samples
}

fn calls_in(slice: Duration, subject: &mut Subject<'_>) -> u32 {
    let mut calls = 1_u32;
    loop {
        // The better of two: one that was disturbed would make slices of a single call, which finds nothing warm.
        let seconds = seconds_of(calls, subject).min(seconds_of(calls, subject));
        if seconds >= slice.as_secs_f64() || calls >= 1 << 24 {
            return (f64::from(calls) * slice.as_secs_f64() / seconds.max(1e-9)).clamp(1.0, 1e8) as u32;
        }
        calls *= 2;
    }
}

fn seconds_of(calls: u32, subject: &mut Subject<'_>) -> f64 {
    repeat(calls, subject)
}

/// Seconds for so many calls, for a profiler.
pub(crate) fn repeat(calls: u32, mut subject: impl FnMut()) -> f64 {
    let began = Instant::now();
    for _ in 0..calls {
        subject();
    }
    began.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle_whatever_the_order() {
        assert_eq!(Samples::of([3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(Samples::of([4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert_eq!(Samples::of([7.0]).quantile(0.9), 7.0);
        assert!(Samples::default().median().is_nan());
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        // A machine that is ten times slower in one round is that for both.
        let (subject, reference) = (Samples::of([2.0, 20.0, 2.0]), Samples::of([1.0, 10.0, 1.0]));
        assert_eq!(subject.over(&reference).median(), 2.0);
        assert_eq!(subject.scaled(1e6).quantile(0.0), 2e6);
    }

    #[test]
    fn a_quantile_of_milliseconds_lies_within_one() {
        let samples = Samples::of_millis([2, 2, 2, 2, 7]);
        assert_eq!(samples.quantile(0.0), 0.002_125);
        assert!(samples.quantile(0.4) > 0.002_5 && samples.quantile(0.4) < 0.003, "{samples:?}");
        assert_eq!((samples.quantile(1.0), samples.len()), (0.007_5, 5));
        assert_eq!(Samples::of([3.0, 5.0]).minus(&Samples::of([1.0, 1.0])).median(), 3.0);
    }

    #[test]
    fn every_subject_gets_every_round() {
        let (mut slow, mut quick) = (0_u32, 0_u32);
        let effort = Effort { rounds: 3, slice: Duration::from_millis(1) };
        let wait = || std::thread::sleep(Duration::from_micros(200));
        let subjects: Vec<Subject<'_>> = vec![
            Box::new(|| {
                slow += 1;
                wait();
            }),
            Box::new(|| quick += 1),
        ];
        let samples = by_turns(effort, subjects);
        assert!(samples.iter().all(|samples| samples.0.len() == 3));
        assert!(samples[0].median() > samples[1].median(), "a wait takes longer than none");
        assert!(slow < quick);
    }
}
