//! Sighted time: the time during which this host could have heard an instance.
//!
//! A blind watcher is not a dead fleet. Health timers therefore run on sighted time: they pause while the link is down, the process was
//! stopped, or messages were dropped, and go on where they were. They are never reset.

use std::collections::VecDeque;

use crate::guard::Eyes;
use crate::time::{Millis, Timestamp};

/// A moment in sighted milliseconds since the watching began. What lies before the beginning is negative and counts as seen.
pub(crate) type Sighted = i64;

/// How many gaps are remembered one by one. What lies before them is reckoned as if the older ones had been at the very beginning, which
/// concerns only records that were on their way into the journal during all of the remembered ones.
const MAX_GAPS: usize = 32;

/// What this host could see since it began to watch a domain.
#[derive(Clone, Debug)]
pub struct Sight {
    began: Timestamp,
    /// Milliseconds of all gaps that are over.
    lost: u64,
    /// The newest gaps that are over, oldest first: when each began, and how long it was.
    gaps: VecDeque<(Timestamp, u64)>,
    blind_since: Option<(Timestamp, String)>,
    seeing_since: Timestamp,
}

impl Sight {
    /// Begins to watch, with open eyes.
    pub fn begin(now: Timestamp) -> Self {
        Self { began: now, lost: 0, gaps: VecDeque::new(), blind_since: None, seeing_since: now }
    }

    /// From now on nothing can be seen. The first reason stays.
    pub fn lose(&mut self, now: Timestamp, why: &str) {
        if self.blind_since.is_none() {
            self.blind_since = Some((now, why.to_owned()));
        }
    }

    /// From now on everything can be seen again. Returns how long nothing could, if anything was lost.
    pub fn regain(&mut self, now: Timestamp) -> Option<Millis> {
        let (since, _) = self.blind_since.take()?;
        let length = now.since(since);
        self.lose_all(since, length.get());
        self.seeing_since = now;
        Some(length)
    }

    /// Nothing could be seen for `length` up to now, as was found out only now.
    pub fn gap(&mut self, length: Millis, now: Timestamp) {
        // Not seeing while not seeing is no further loss, but it must not count as seen either when it began earlier.
        let known = self.blind_since.as_ref().map_or(0, |(since, _)| now.since(*since).get());
        self.lose_all(now - length, length.get().saturating_sub(known));
        self.seeing_since = now;
    }

    fn lose_all(&mut self, since: Timestamp, length: u64) {
        self.lost = self.lost.saturating_add(length);
        self.gaps.push_back((since, length));
        if self.gaps.len() > MAX_GAPS {
            self.gaps.pop_front();
        }
    }

    /// What the guards want to know.
    pub fn eyes(&self) -> Eyes {
        Eyes { blind_since: self.blind_since.clone(), seeing_since: self.seeing_since }
    }

    /// Whether nothing can be seen now.
    pub fn is_blind(&self) -> bool {
        self.blind_since.is_some()
    }

    pub(crate) fn at(&self, now: Timestamp) -> Sighted {
        let open_until = self.blind_since.as_ref().map_or(now, |(since, _)| (*since).min(now));
        signed(open_until.as_millis()).saturating_sub(signed(self.began.as_millis())).saturating_sub(signed(self.lost))
    }

    /// When a moment of the past was. What lies before the beginning counts as seen.
    pub(crate) fn past(&self, then: Timestamp, now: Timestamp) -> Sighted {
        if then < self.began {
            return -signed(self.began.since(then).get());
        }
        let lost_since = |(since, length): &(Timestamp, u64)| (*since + Millis::new(*length)).since(then.max(*since)).get().min(*length);
        let lost_since = self.gaps.iter().map(lost_since).fold(0, u64::saturating_add);
        self.at(then.min(now)).saturating_add(signed(lost_since)).clamp(0, self.at(now).max(0))
    }

    /// When the sighted moment will be reached, if nothing comes between; nothing while blind.
    pub(crate) fn when(&self, moment: Sighted, now: Timestamp) -> Option<Timestamp> {
        if self.is_blind() {
            return None;
        }
        Some(now + Millis::new(moment.saturating_sub(self.at(now)).max(0).unsigned_abs()))
    }
}

/// What does not fit means *for ever*.
pub(crate) fn signed(millis: u64) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn sighted_time_pauses_and_is_never_reset() {
        let mut sight = Sight::begin(at(100));
        assert_eq!(sight.at(at(110)), 10_000);
        sight.lose(at(110), "link down");
        sight.lose(at(115), "another reason");
        assert_eq!(sight.at(at(150)), 10_000);
        assert_eq!(sight.when(11_000, at(150)), None);
        assert_eq!(sight.regain(at(150)), Some(Millis::from_secs(40)));
        assert_eq!(sight.at(at(151)), 11_000);
        sight.gap(Millis::from_secs(1), at(152));
        assert_eq!(sight.at(at(152)), 11_000, "the last second was not seen");
        assert_eq!(sight.when(13_000, at(152)), Some(at(154)));
        assert_eq!(sight.past(at(90), at(152)), -10_000);
    }

    #[test]
    fn a_moment_of_the_past_is_found_across_gaps() {
        let mut sight = Sight::begin(at(100));
        sight.lose(at(110), "link down");
        sight.regain(at(150));
        sight.gap(Millis::from_secs(10), at(170));
        for (then, sighted) in
            [(90, -10), (100, 0), (105, 5), (110, 10), (130, 10), (150, 10), (155, 15), (160, 20), (165, 20), (170, 20), (175, 25)]
        {
            assert_eq!(sight.past(at(then), at(180)), sighted * 1000, "at {then}");
        }
        sight.lose(at(180), "link down");
        assert_eq!(sight.past(at(175), at(300)), 25_000);
        assert_eq!(sight.past(at(250), at(300)), 30_000);
    }

    #[test]
    fn absurd_moments_are_no_moments_but_do_not_overflow() {
        let mut sight = Sight::begin(at(100));
        assert_eq!(sight.when(Sighted::MIN, at(200)), Some(at(200)));
        assert_eq!(sight.when(Sighted::MAX, at(200)), Some(at(100) + Millis::new(i64::MAX as u64)));
        sight.gap(Millis::new(u64::MAX), at(200));
        sight.gap(Millis::new(u64::MAX), at(200));
        assert!(sight.at(at(300)) < 0 && sight.past(at(150), at(300)) == 0);
    }

    #[test]
    fn a_gap_while_blind_counts_once() {
        let mut sight = Sight::begin(at(0));
        sight.lose(at(10), "link down");
        sight.gap(Millis::from_secs(15), at(20));
        sight.regain(at(30));
        assert_eq!(sight.at(at(30)), 5_000, "blind from 5 to 30");
    }
}
