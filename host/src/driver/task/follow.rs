//! Which version decides a domain: what its configuration follows is taken up between two decisions, after the version has judged the
//! configuration.

use std::sync::Arc;
use std::time::Instant;

use pilothouse_core::config::ConfigProblem;
use pilothouse_core::engine::{Candidate, Reference, SwapReason, follow};
use pilothouse_core::explain::Hold;
use pilothouse_core::name::Name;
use pilothouse_core::state::Life;
use pilothouse_core::time::{Millis, Timestamp};
use pilothouse_engine_host::LoadedEngine;
use tokio_util::task::AbortOnDropHandle;

use super::turn::Turn;
use super::{End, Task};
use crate::api::EngineState;
use crate::driver::engines::{in_force, judge};
use crate::driver::judging::judge_until;
use crate::driver::shared::Shared;
use crate::store::Journal;

/// After how long a version is judged again that could not be judged; twice as long after every further time.
const AGAIN: Millis = Millis::from_secs(2);

/// No longer than that, though.
const AGAIN_AT_LAST: Millis = Millis::from_secs(60);

/// So many versions are remembered that would not take the configuration: the newest of them.
const MAX_REFUSED: usize = 32;

/// How a domain keeps up with the versions that there are.
pub(super) struct Following {
    /// What was looked at last.
    looked_at: Option<LookedAt>,
    /// A version that is being judged.
    judging: Option<(LoadedEngine, SwapReason, AbortOnDropHandle<Judged>)>,
    /// A version that may come into force.
    next: Option<(LoadedEngine, SwapReason)>,
    /// The versions that would not take the configuration, and why not.
    refused: Vec<Refused>,
    /// Nothing is judged before then.
    not_before: Option<Timestamp>,
    /// How often in a row one could not be judged.
    failures: u32,
}

/// What it depends on which version a domain takes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LookedAt {
    /// Counts the changes of the versions that there are.
    versions: u64,
    /// Of the configuration.
    revision: u64,
    /// Versions that the domain went back from.
    rejected: usize,
    /// Whether something runs beside.
    shadow: bool,
}

/// A version that can't be taken up as the domain is configured.
#[derive(Clone, Debug)]
struct Refused {
    digest: String,
    revision: u64,
    /// In words.
    why: String,
}

/// What a version says of a configuration; an error when it could not say.
type Judged = Result<Vec<ConfigProblem>, String>;

impl Following {
    pub(super) fn new() -> Self {
        Self { looked_at: None, judging: None, next: None, refused: Vec::new(), not_before: None, failures: 0 }
    }

    /// What the version of a digest said to this revision of the configuration, if it would not take it.
    fn refused(&self, digest: &str, revision: u64) -> Option<&Refused> {
        self.refused.iter().find(|it| it.digest == digest && it.revision == revision)
    }

    /// When to look again, even if nothing happens.
    pub(super) fn next_look(&self) -> Option<Timestamp> {
        self.not_before
    }
}

/// How long a version is left alone that could not be judged, after so many times before.
fn pause_after(failures: u32) -> Millis {
    Millis::new(AGAIN.get() << failures.min(5)).min(AGAIN_AT_LAST)
}

/// What came of judging a version; never, while none is judged.
pub(super) async fn judged(following: &mut Following) -> Judged {
    match &mut following.judging {
        Some((.., judging)) => judging.await.unwrap_or_else(|error| Err(error.to_string())),
        None => std::future::pending().await,
    }
}

impl<J: Journal> Task<J> {
    /// Looks whether there is a version to take up, and takes it up when it is this one's turn: never while a decision is under way.
    pub(super) async fn follow(&mut self, now: Timestamp) -> Result<(), End> {
        let versions = *self.versions.borrow_and_update();
        let again = self.following.not_before.take_if(|at| *at <= now).is_some();
        let state = self.domain.state();
        if self.idle || state.life != Life::Active {
            self.following.not_before = None;
            self.turn = Turn::None;
            return Ok(());
        }
        let rejected = state.lineage.as_ref().map_or(0, |lineage| lineage.rejected.len());
        let looks_at = LookedAt { versions, revision: state.config_revision, rejected, shadow: state.shadow().is_some() };
        if again || self.following.looked_at != Some(looks_at) {
            self.following.looked_at = Some(looks_at);
            self.look_for_a_version();
        }
        self.turn.look(self.following.next.is_some(), self.domain.decides(), now);
        if self.domain.is_deciding() {
            return Ok(());
        }
        let Some((engine, why)) = &self.following.next else { return Ok(()) };
        let Some(record) = self.domain.swap(&in_force(engine), why.clone(), now) else {
            self.following.next = None;
            return Ok(());
        };
        if self.turn.is_mine(&self.shared.swapping, now) {
            self.following.next = None;
            self.commit(record).await?;
            self.turn.swapped();
        }
        Ok(())
    }

    fn look_for_a_version(&mut self) {
        let state = self.domain.state();
        (self.following.next, self.following.judging) = (None, None);
        self.following.refused.retain(|it| it.revision == state.config_revision);
        let Some((engine, why)) = self.followed() else { return };
        if self.following.refused(engine.digest(), state.config_revision).is_some() {
            return;
        }
        if why == SwapReason::Followed && state.shadow().is_some() {
            // Whoever has something run beside wants to see first.
            return;
        }
        let (shared, config, asked, now) = (Arc::clone(&self.shared), state.config.clone(), engine.clone(), self.shared.clock.now());
        // Versions of one engine may be configured differently: what was good for the one before need not be for this one.
        let judging = tokio::spawn(async move {
            let turn = Arc::clone(&shared.judging).acquire_owned().await.map_err(|error| error.to_string())?;
            // The last call that begins in time must end in time, too.
            let deadline = Instant::now() + shared.engine_time_out / 2;
            let whole = move |engine: &LoadedEngine| {
                // The turn goes with the job, which keeps its thread even if nobody waits for it any more.
                let _turn = turn;
                judge_until(deadline, &config, now, |conf| judge(engine, conf))
            };
            let judged = shared.call(asked, whole).await.and_then(|judged| judged).map_err(|fault| fault.to_string())?;
            if judged.is_whole || !judged.problems.is_empty() {
                Ok(judged.problems)
            } else {
                // A busy machine, perhaps: nothing is known of the version.
                Err("the sets of windows of its schedule take the engine too long to check".to_owned())
            }
        });
        self.following.judging = Some((engine, why, AbortOnDropHandle::new(judging)));
    }

    /// The version that the domain should take up, if it is ready on this host. The newest one that would not take the configuration does
    /// not stand before an older one that may; a pinned one does: an operator wants that one and no other.
    fn followed(&self) -> Option<(LoadedEngine, SwapReason)> {
        let (reference, name) = self.reference()?;
        let Shared { engines, registry, .. } = &*self.shared;
        let (candidates, revision) = (engines.candidates(&name, &registry.known()), self.domain.state().config_revision);
        let is_open = |it: &&Candidate| it.pinned || self.following.refused(&it.engine.digest, revision).is_none();
        let open: Vec<Candidate> = candidates.iter().filter(is_open).cloned().collect();
        let (candidate, why) = self.follow_among(&reference, &open)?;
        let Some(engine) = engines.get(&candidate.engine.digest) else {
            // It is looked at again when it is ready.
            engines.wanted(&candidate.engine.digest);
            return None;
        };
        Some((engine, why))
    }

    /// What the configuration follows, if it follows anything, and the name of it.
    fn reference(&self) -> Option<(Reference, Name)> {
        let reference = self.domain.state().config.general.engine.parse::<Reference>().ok()?;
        let name = reference.name()?.parse().ok()?;
        Some((reference, name))
    }

    fn follow_among<'c>(&self, reference: &Reference, candidates: &'c [Candidate]) -> Option<(&'c Candidate, SwapReason)> {
        let state = self.domain.state();
        let rejected = state.lineage.as_ref().map_or(&[][..], |lineage| &lineage.rejected);
        follow(reference, &state.engine, rejected, candidates)
    }

    /// The version that the domain would have, if it were not for this host, which can't use it, or for the configuration, which it would not
    /// take.
    pub(super) fn not_taken_up(&self) -> Option<Hold> {
        let (reference, name) = self.reference()?;
        let Shared { engines, registry, .. } = &*self.shared;
        let known = registry.known();
        let all = engines.all_candidates(&name, known.get(&name));
        if let Some((candidate, _)) = self.follow_among(&reference, &all)
            && let Some(EngineState::Refused { reason }) = engines.state(&candidate.engine.digest)
        {
            return Some(Hold::VersionUnusable { engine: candidate.engine.clone(), why: reason });
        }
        let (candidates, revision) = (engines.candidates(&name, &known), self.domain.state().config_revision);
        let (candidate, _) = self.follow_among(&reference, &candidates)?;
        let refused = self.following.refused(&candidate.engine.digest, revision)?;
        Some(Hold::VersionRefused { engine: candidate.engine.clone(), why: refused.why.clone() })
    }

    /// Takes what a version said of the configuration.
    pub(super) fn end_judging(&mut self, judged: Judged, now: Timestamp) {
        let Some((engine, why, _)) = self.following.judging.take() else { return };
        if judged.is_ok() {
            self.following.failures = 0;
        }
        match judged {
            Ok(problems) if problems.is_empty() => self.following.next = Some((engine, why)),
            Ok(problems) => {
                let why: Vec<String> = problems.iter().take(5).map(ToString::to_string).collect();
                let (domain, version, why) = (&self.handle.key, &engine.description().version, why.join("; "));
                tracing::warn!(%domain, engine = %engine.description().name, %version, why, "a version is not taken up: it would not take the configuration");
                let (digest, revision) = (engine.digest().to_owned(), self.domain.state().config_revision);
                self.following.refused.push(Refused { digest, revision, why });
                let too_many = self.following.refused.len().saturating_sub(MAX_REFUSED);
                self.following.refused.drain(..too_many);
                // There may be an older one that takes it.
                self.following.looked_at = None;
            }
            Err(error) => {
                tracing::debug!(domain = %self.handle.key, error, "a version could not be judged and is judged again");
                self.following.not_before = Some(now + pause_after(self.following.failures));
                self.following.failures += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_can_not_be_judged_is_tried_ever_less_often() {
        let pauses: Vec<u64> = (0..8).map(|failures| pause_after(failures).get() / 1000).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(pause_after(u32::MAX), AGAIN_AT_LAST);
    }
}
