//! What a provisioner takes on and what it refuses. Pure: what is known, what is asked and the time in, a verdict out.
//!
//! Two hosts may hold a domain for a moment, and requests come late, twice and in any order. What is promised of an instance is ordered by
//! its epoch, and within one epoch by its sequence; the highest that was seen is remembered and nothing older is carried out; the same
//! again is carried out once. What has ended stays ended, also what was ended before it was ever begun.
//!
//! A higher epoch starts a count of its own. Sequences are places in a journal, and a journal that was restored from a backup, perhaps on
//! another server, counts from somewhere else: its hosts come with an epoch that nobody has seen, and are believed by that.

use pilothouse_core::id::InstanceId;
use pilothouse_core::instance::State;
use pilothouse_core::message::{MAX_CLOCK_DISTANCE, Refused};
use pilothouse_core::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

use super::record::Record;

/// How long an instance that is gone is remembered: a day covers every host that comes back from an outage with old requests, and every
/// operator who asks in the morning what happened at night.
const REMEMBERED: Millis = Millis::from_secs(24 * 60 * 60);

/// How much longer than its last request may be begun, for clocks that differ.
const MARGIN: Millis = Millis::from_secs(60 * 60);

/// What one request promises of one instance. One is newer than another by its epoch first, then by its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Promise {
    /// Grows whenever a host takes the domain, and when the domain is restored from a backup.
    pub(super) epoch: u64,
    /// The journal sequence of the promise. Says nothing about those of other epochs.
    pub(super) sequence: u64,
    /// It must not be begun after this moment.
    pub(super) not_after: Timestamp,
}

impl Promise {
    /// What promises are ordered by.
    const fn order(&self) -> (u64, u64) {
        (self.epoch, self.sequence)
    }

    /// Takes in another one that is not older.
    fn raised_to(&mut self, other: &Self) {
        (self.epoch, self.sequence) = self.order().max(other.order());
        self.not_after = self.not_after.max(other.not_after);
    }
}

/// Why something is not taken on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    StaleEpoch { seen: u64, given: u64 },
    StaleSequence { seen: u64, given: u64 },
    TooLate { by: Millis },
    Terminated,
    Invalid(String),
    Unavailable(String),
}

impl Refusal {
    /// The word on the wire.
    const fn kind(&self) -> &'static str {
        match self {
            Self::StaleEpoch { .. } => "stale_epoch",
            Self::StaleSequence { .. } => "stale_sequence",
            Self::TooLate { .. } => "too_late",
            Self::Terminated => "terminated",
            Self::Invalid(_) => "invalid",
            Self::Unavailable(_) => "unavailable",
        }
    }

    fn reason(self) -> String {
        match self {
            Self::StaleEpoch { seen, given } => format!("epoch {given}, but {seen} was seen: another host took the domain"),
            Self::StaleSequence { seen, given } => format!("sequence {given}, but {seen} was seen for this instance"),
            Self::TooLate { by } => format!("it was not to be begun any more since {by}"),
            Self::Terminated => "its termination was asked for; it is not started again".to_owned(),
            Self::Invalid(reason) | Self::Unavailable(reason) => reason,
        }
    }

    /// For the answer.
    pub(super) fn of(self, node_id: InstanceId) -> Refused {
        Refused { node_id, kind: self.kind().to_owned(), reason: self.reason() }
    }
}

/// A request to provision that is taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provisioning {
    /// Never heard of: begin.
    New,
    /// Begun before, whatever became of it: tell.
    Again,
}

/// A request to terminate that is taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Termination {
    /// Never heard of: remember, so that it is never begun.
    NeverSeen,
    /// It lives: end it.
    End,
    /// It is gone, or on its way: tell.
    Again,
}

/// Judges a request to provision, and raises what was seen if it is taken on.
pub(super) fn provision(known: Option<&mut Record>, asked: &Promise, now: Timestamp) -> Result<Provisioning, Refusal> {
    in_time(asked, now)?;
    let Some(record) = known else { return Ok(Provisioning::New) };
    of_this_epoch(record, asked)?;
    if matches!(record.state, State::Terminating | State::Terminated) {
        return Err(Refusal::Terminated);
    }
    in_sequence(record, asked)?;
    record.promise.raised_to(asked);
    Ok(Provisioning::Again)
}

/// Judges a request to terminate; if it is taken on, raises what was seen and marks a living instance as TERMINATING.
pub(super) fn terminate(known: Option<&mut Record>, asked: &Promise, now: Timestamp) -> Result<Termination, Refusal> {
    in_time(asked, now)?;
    let Some(record) = known else { return Ok(Termination::NeverSeen) };
    of_this_epoch(record, asked)?;
    in_sequence(record, asked)?;
    record.promise.raised_to(asked);
    let ends = record.advance(State::Terminating, None, now);
    Ok(if ends { Termination::End } else { Termination::Again })
}

/// Whether an instance that is gone may be forgotten. Afterwards it counts as never seen.
pub(super) fn may_forget(record: &Record, now: Timestamp) -> bool {
    record.state.is_gone() && now > record.changed_at + REMEMBERED && now > record.promise.not_after + MARGIN
}

fn in_time(asked: &Promise, now: Timestamp) -> Result<(), Refusal> {
    if now > asked.not_after {
        return Err(Refusal::TooLate { by: now.since(asked.not_after) });
    }
    // It says how long the instance is remembered, so it must not be for ever.
    if asked.not_after.since(now) > MAX_CLOCK_DISTANCE {
        return Err(Refusal::Invalid(format!("not_after lies more than {MAX_CLOCK_DISTANCE} ahead")));
    }
    Ok(())
}

fn of_this_epoch(record: &Record, asked: &Promise) -> Result<(), Refusal> {
    let (seen, given) = (record.promise.epoch, asked.epoch);
    if given < seen { Err(Refusal::StaleEpoch { seen, given }) } else { Ok(()) }
}

fn in_sequence(record: &Record, asked: &Promise) -> Result<(), Refusal> {
    // Of a higher epoch any sequence will do: it is a place in a journal that may be another one.
    let (seen, given) = (record.promise.sequence, asked.sequence);
    if asked.epoch == record.promise.epoch && given < seen { Err(Refusal::StaleSequence { seen, given }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::provisioner::record::tests::{NOW, record};

    const LATER: Timestamp = Timestamp::from_secs(1_700_000_060);

    fn promise(epoch: u64, sequence: u64) -> Promise {
        Promise { epoch, sequence, not_after: LATER }
    }

    #[test]
    fn an_older_epoch_or_an_older_sequence_of_the_same_epoch_is_refused_whatever_the_state() {
        for state in State::ALL {
            let mut known = record(state, promise(3, 10));
            assert_eq!(provision(Some(&mut known), &promise(2, 11), NOW), Err(Refusal::StaleEpoch { seen: 3, given: 2 }));
            assert_eq!(terminate(Some(&mut known), &promise(2, 11), NOW), Err(Refusal::StaleEpoch { seen: 3, given: 2 }));
            assert_eq!(terminate(Some(&mut known), &promise(3, 9), NOW), Err(Refusal::StaleSequence { seen: 10, given: 9 }));
            assert!(provision(Some(&mut known), &promise(3, 9), NOW).is_err());
            assert_eq!(known, record(state, promise(3, 10)), "what is refused changes nothing");
        }
    }

    #[test]
    fn a_higher_epoch_starts_a_count_of_its_own() {
        let mut known = record(State::Running, promise(3, 1000));
        assert_eq!(provision(Some(&mut known), &promise(4, 2), NOW), Ok(Provisioning::Again), "a journal that was restored");
        assert_eq!(known.promise.order(), (4, 2));
        assert_eq!(terminate(Some(&mut known), &promise(3, 2000), NOW), Err(Refusal::StaleEpoch { seen: 4, given: 3 }));
        assert_eq!(terminate(Some(&mut known), &promise(4, 1), NOW), Err(Refusal::StaleSequence { seen: 2, given: 1 }));
        assert_eq!(terminate(Some(&mut known), &promise(4, 3), NOW), Ok(Termination::End));
    }

    #[test]
    fn the_same_again_is_taken_and_begins_nothing() {
        for state in [State::Requested, State::Pending, State::Started, State::Running, State::Failed, State::Rejected] {
            let mut known = record(state, promise(3, 10));
            assert_eq!(provision(Some(&mut known), &promise(3, 10), NOW), Ok(Provisioning::Again));
            assert_eq!(known.state, state);
            assert_eq!(provision(Some(&mut known), &promise(5, 10), NOW), Ok(Provisioning::Again), "by the host that took over");
            assert_eq!(known.promise.epoch, 5);
        }
    }

    #[test]
    fn what_is_past_its_moment_is_refused_also_for_the_unknown() {
        let late = LATER + Millis::new(1);
        let refused = Refusal::TooLate { by: Millis::new(1) };
        assert_eq!(provision(None, &promise(1, 1), late), Err(refused.clone()));
        assert_eq!(terminate(None, &promise(1, 1), late), Err(refused.clone()));
        assert_eq!(terminate(Some(&mut record(State::Running, promise(1, 1))), &promise(1, 2), late), Err(refused));
        assert_eq!(provision(None, &promise(1, 1), LATER), Ok(Provisioning::New), "the moment itself is in time");
    }

    #[test]
    fn what_was_ended_is_not_begun_again_also_when_it_was_never_seen() {
        for state in [State::Terminating, State::Terminated] {
            let mut known = record(state, promise(3, 10));
            assert_eq!(provision(Some(&mut known), &promise(3, 10), NOW), Err(Refusal::Terminated));
            assert_eq!(provision(Some(&mut known), &promise(9, 99), NOW), Err(Refusal::Terminated));
            assert_eq!(terminate(Some(&mut known), &promise(3, 10), NOW), Ok(Termination::Again));
        }
        assert_eq!(terminate(None, &promise(3, 10), NOW), Ok(Termination::NeverSeen));
    }

    #[test]
    fn a_termination_marks_what_lives_and_leaves_what_is_gone() {
        let mut known = record(State::Running, promise(3, 10));
        assert_eq!(terminate(Some(&mut known), &promise(3, 11), NOW), Ok(Termination::End));
        assert_eq!((known.state, known.promise.sequence), (State::Terminating, 11));
        let mut failed = record(State::Failed, promise(3, 10));
        assert_eq!(terminate(Some(&mut failed), &promise(3, 11), NOW), Ok(Termination::Again));
        assert_eq!(failed.state, State::Failed);
    }

    #[test]
    fn what_is_gone_is_remembered_for_a_day_and_longer_than_its_last_request() {
        let mut gone = record(State::Terminated, promise(1, 1));
        assert!(!may_forget(&gone, NOW + REMEMBERED));
        assert!(may_forget(&gone, NOW + REMEMBERED + Millis::new(1)));
        gone.promise.not_after = NOW + REMEMBERED;
        assert!(!may_forget(&gone, NOW + REMEMBERED + MARGIN));
        assert!(!may_forget(&record(State::Running, promise(1, 1)), NOW + REMEMBERED + REMEMBERED), "what lives is never forgotten");
    }

    proptest! {
        /// Requests of any age in any order: what is taken on is never older than what was seen, what was seen only grows, and an instance
        /// whose end was taken on never counts as to be begun.
        #[test]
        fn no_order_of_requests_begins_what_was_ended(asked in prop::collection::vec((any::<bool>(), 0_u64..4, 0_u64..4), 1..20)) {
            let mut known: Option<Record> = None;
            let mut ended = false;
            for (ends, epoch, sequence) in asked {
                let asked = promise(epoch, sequence);
                let before = known.clone();
                if ends {
                    match terminate(known.as_mut(), &asked, NOW) {
                        Ok(Termination::NeverSeen) => known = Some(record(State::Terminated, asked)),
                        Ok(Termination::End | Termination::Again) => {}
                        Err(_) => { prop_assert_eq!(&before, &known); continue }
                    }
                    ended = true;
                } else {
                    match provision(known.as_mut(), &asked, NOW) {
                        Ok(Provisioning::New) => { prop_assert!(!ended); known = Some(record(State::Requested, asked)) }
                        Ok(Provisioning::Again) => prop_assert!(!ended),
                        Err(_) => { prop_assert_eq!(&before, &known); continue }
                    }
                }
                if let (Some(before), Some(after)) = (before, &known) {
                    prop_assert!(after.promise.order() >= before.promise.order());
                    let taken = after.promise != before.promise;
                    prop_assert!(!taken || after.promise.order() == asked.order(), "{:?} for {:?}", after.promise, asked);
                    prop_assert!(asked.order() >= before.promise.order(), "{asked:?} was taken on after {before:?}");
                }
            }
        }
    }
}
