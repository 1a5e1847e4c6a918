//! Sighted time: the time during which this host could have heard an instance.
//!
//! A blind watcher is not a dead fleet. Health timers therefore run on sighted time: they pause while the link is down, the process was
//! stopped, or messages were dropped, and go on where they were. They are never reset.

use crate::guard::Eyes;
use crate::time::{Millis, Timestamp};

/// A moment in sighted milliseconds since the watching began. What lies before the beginning is negative and counts as seen.
pub(crate) type Sighted = i64;

/// What this host could see since it began to watch a domain.
#[derive(Clone, Debug)]
pub struct Sight {
    began: Timestamp,
    lost: u64,
    blind_since: Option<(Timestamp, String)>,
    seeing_since: Timestamp,
}

impl Sight {
    /// Begins to watch, with open eyes.
    pub fn begin(now: Timestamp) -> Self {
        Self { began: now, lost: 0, blind_since: None, seeing_since: now }
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
        self.lost = self.lost.saturating_add(length.get());
        self.seeing_since = now;
        Some(length)
    }

    /// Nothing could be seen for `length` up to now, as was found out only now.
    pub fn gap(&mut self, length: Millis, now: Timestamp) {
        match &self.blind_since {
            // Not seeing while not seeing is no further loss, but it must not count as seen either when it began earlier.
            Some((since, _)) => self.lost = self.lost.saturating_add(length.get().saturating_sub(now.since(*since).get())),
            None => self.lost = self.lost.saturating_add(length.get()),
        }
        self.seeing_since = now;
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
        open_until.as_millis() as i64 - self.began.as_millis() as i64 - self.lost as i64
    }

    /// When a moment of the past was, if all was seen since, or if it lies before the beginning.
    pub(crate) fn past(&self, then: Timestamp, now: Timestamp) -> Sighted {
        if then < self.began { -(self.began.since(then).get() as i64) } else { (self.at(now) - now.since(then).get() as i64).max(0) }
    }

    /// When the sighted moment will be reached, if nothing comes between; nothing while blind.
    pub(crate) fn when(&self, moment: Sighted, now: Timestamp) -> Option<Timestamp> {
        if self.is_blind() {
            return None;
        }
        Some(now + Millis::new((moment - self.at(now)).max(0) as u64))
    }
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
    fn a_gap_while_blind_counts_once() {
        let mut sight = Sight::begin(at(0));
        sight.lose(at(10), "link down");
        sight.gap(Millis::from_secs(15), at(20));
        sight.regain(at(30));
        assert_eq!(sight.at(at(30)), 5_000, "blind from 5 to 30");
    }
}
