//! A domain's turn to take up another version. Each takes one from the Swapped record to the end of the decision after it: three appends and a
//! call, and a thousand domains that follow the same version would else want all of that in the same moment, and again in the same moment
//! with every pulse from then on.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures::FutureExt;
use pilothouse_core::time::{Millis, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long one is kept at most, whatever becomes of the decision: others wait for it.
const AT_MOST: Millis = Millis::from_secs(5);

/// How a domain stands with its turn.
#[derive(Default)]
pub(super) enum Turn {
    /// It wants none.
    #[default]
    None,
    /// Others are before it. It goes on deciding meanwhile, with the version in force.
    Waiting(Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send + Sync>>),
    /// It is its turn.
    Mine {
        /// For whoever waits.
        _permit: OwnedSemaphorePermit,
        /// When it is over in any case.
        until: Timestamp,
        /// The other version is in force.
        has_swapped: bool,
    },
}

impl Turn {
    /// Whether it is the domain's turn to swap, now that no decision is under way. If not, it waits for it from now on: [`Turn::come`].
    pub(super) fn is_mine(&mut self, turns: &Arc<Semaphore>, now: Timestamp) -> bool {
        match self {
            Self::Mine { has_swapped, .. } => return !*has_swapped,
            // It may have come while a decision was under way; and a domain that always has one would never be told otherwise.
            Self::Waiting(waiting) => match waiting.as_mut().now_or_never() {
                Some(Some(permit)) => {
                    *self = Self::mine(permit, now);
                    return true;
                }
                Some(None) => {}
                None => return false,
            },
            Self::None => {}
        }
        let (is_mine, turn) = match Arc::clone(turns).try_acquire_owned() {
            Ok(permit) => (true, Self::mine(permit, now)),
            Err(_) => {
                let turns = Arc::clone(turns);
                (false, Self::Waiting(Box::pin(async move { turns.acquire_owned().await.ok() })))
            }
        };
        *self = turn;
        is_mine
    }

    fn mine(permit: OwnedSemaphorePermit, now: Timestamp) -> Self {
        Self::Mine { _permit: permit, until: now + AT_MOST, has_swapped: false }
    }

    /// When it is the domain's turn; never, when it does not wait for one. Never either while a decision is under way: the version in force
    /// would use up the time that the turn lasts.
    pub(super) async fn come(&mut self, is_deciding: bool, now: impl Fn() -> Timestamp) {
        let Self::Waiting(waiting) = self else { return std::future::pending().await };
        if is_deciding {
            return std::future::pending().await;
        }
        match waiting.await {
            Some(permit) => *self = Self::mine(permit, now()),
            None => *self = Self::None,
        }
    }

    /// The other version is in force: the turn lasts until it has decided.
    pub(super) fn swapped(&mut self) {
        if let Self::Mine { has_swapped, .. } = self {
            *has_swapped = true;
        }
    }

    /// A decision has ended, and is on record if it is worth that.
    pub(super) fn decided(&mut self) {
        if matches!(self, Self::Mine { has_swapped: true, .. }) {
            *self = Self::None;
        }
    }

    /// Gives it to others when it has lasted long enough, or there is nothing to wait for: `wants`, a version that is to be taken up;
    /// `decides`, an engine that is asked.
    pub(super) fn look(&mut self, wants: bool, decides: bool, now: Timestamp) {
        let goes_on = match self {
            Self::None => true,
            Self::Waiting(_) => wants,
            Self::Mine { until, has_swapped, .. } => now < *until && if *has_swapped { decides } else { wants },
        };
        if !goes_on {
            *self = Self::None;
        }
    }

    /// When to look again, even if nothing happens.
    pub(super) fn next_look(&self) -> Option<Timestamp> {
        if let Self::Mine { until, .. } = self { Some(*until) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1000);

    fn come(turn: &mut Turn) -> bool {
        turn.come(false, || NOW).now_or_never().is_some()
    }

    #[test]
    fn a_turn_lasts_until_the_decision_after_the_swap_and_then_the_next_one_has_it() {
        let turns = Arc::new(Semaphore::new(1));
        let [mut first, mut second, mut third] = [Turn::default(), Turn::default(), Turn::default()];
        assert!(first.is_mine(&turns, NOW) && !second.is_mine(&turns, NOW) && !third.is_mine(&turns, NOW));
        assert!(!come(&mut second) && !come(&mut third) && !come(&mut first), "nobody's turn comes before that is over");
        first.decided();
        assert!(first.is_mine(&turns, NOW), "the decision under way is not the one after the swap");
        first.swapped();
        first.look(false, true, NOW);
        assert!(!come(&mut second), "it is still to decide");
        first.decided();
        assert!(come(&mut second) && !come(&mut third), "in the order in which they asked");
        assert!(second.is_mine(&turns, NOW));
        drop(second);
        assert!(come(&mut third), "a domain that goes gives its turn away");
    }

    #[test]
    fn a_turn_that_comes_while_a_decision_is_under_way_begins_when_that_has_ended() {
        let turns = Arc::new(Semaphore::new(1));
        let [mut first, mut second] = [Turn::default(), Turn::default()];
        assert!(first.is_mine(&turns, NOW) && !second.is_mine(&turns, NOW));
        drop(first);
        assert!(second.come(true, || NOW).now_or_never().is_none() && second.next_look().is_none(), "it does not last yet");
        let later = NOW + Millis::from_secs(3);
        assert!(second.is_mine(&turns, later), "whoever is about to decide again need not wait to be told");
        assert_eq!(second.next_look(), Some(later + AT_MOST));
    }

    #[test]
    fn nobody_keeps_a_turn_for_nothing() {
        let turns = Arc::new(Semaphore::new(1));
        let later = NOW + AT_MOST;
        let has = |turn: &mut Turn| {
            *turn = Turn::None;
            assert!(turn.is_mine(&turns, NOW));
        };
        let mut turn = Turn::default();
        has(&mut turn);
        assert_eq!(turn.next_look(), Some(later));
        turn.look(true, true, later);
        assert_eq!((turns.available_permits(), turn.next_look()), (1, None), "it has lasted long enough");
        has(&mut turn);
        turn.look(false, true, NOW);
        assert_eq!(turns.available_permits(), 1, "there is nothing to take up any more");
        has(&mut turn);
        turn.swapped();
        turn.look(false, true, NOW);
        assert_eq!(turns.available_permits(), 0);
        turn.look(false, false, NOW);
        assert_eq!(turns.available_permits(), 1, "it does not decide any more");
        has(&mut turn);
        let mut waits = Turn::default();
        assert!(!waits.is_mine(&turns, NOW));
        waits.look(false, true, NOW);
        drop(turn);
        assert_eq!(turns.available_permits(), 1, "who wants none any more waits for none");
    }
}
