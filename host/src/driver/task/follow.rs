//! Which version decides a domain: what its configuration follows is taken up between two decisions, after the version has judged the
//! configuration.

use std::sync::Arc;
use std::time::Instant;

use pilothouse_core::config::ConfigProblem;
use pilothouse_core::engine::{Candidate, Reference, SwapReason, follow};
use pilothouse_core::explain::Hold;
use pilothouse_core::name::Name;
use pilothouse_core::record::EngineInForce;
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

/// How often in a row a version can't be judged before operators of this host are told: a busy machine may explain one or two.
const TOLD_FROM: u32 = 3;

/// How a domain keeps up with the versions that there are.
#[derive(Default)]
pub(super) struct Following {
    /// What was looked at last.
    looked_at: Option<LookedAt>,
    /// A version that is being judged.
    judging: Option<(Choice, AbortOnDropHandle<Judged>)>,
    /// A version that may come into force.
    next: Option<Choice>,
    /// The versions that would not take the configuration, and why not: of those that there are.
    refused: Vec<Refused>,
    /// The version to take up could not be judged when that was tried last.
    unjudged: Option<Unjudged>,
}

/// A version to take up.
struct Choice {
    engine: LoadedEngine,
    why: SwapReason,
    /// Of the configuration that it has to take.
    revision: u64,
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

/// A version of which it is not known whether it would take the configuration.
#[derive(Clone, Debug)]
struct Unjudged {
    digest: String,
    revision: u64,
    /// Why it could not say, the last time.
    why: String,
    /// How often it could not, in a row.
    failures: u32,
    /// It is not judged again before then.
    again_at: Timestamp,
}

/// What a version says of a configuration; an error when it could not say.
type Judged = Result<Vec<ConfigProblem>, String>;

impl Choice {
    /// Whether it is the same, so that what was found out of the one holds for the other.
    fn is(&self, other: &Self) -> bool {
        (self.engine.digest(), &self.why, self.revision) == (other.engine.digest(), &other.why, other.revision)
    }
}

impl Unjudged {
    fn is_of(&self, digest: &str, revision: u64) -> bool {
        self.digest == digest && self.revision == revision
    }
}

impl Following {
    /// What the version of a digest said to this revision of the configuration, if it would not take it.
    fn refused(&self, digest: &str, revision: u64) -> Option<&Refused> {
        self.refused.iter().find(|it| it.digest == digest && it.revision == revision)
    }

    /// When to look again, even if nothing happens.
    pub(super) fn next_look(&self) -> Option<Timestamp> {
        self.unjudged.as_ref().filter(|_| self.judging.is_none()).map(|it| it.again_at)
    }

    /// Gives up what is about another choice. What holds for this one stays, whatever else has changed: the place among those who wait for
    /// their turn depends on it.
    fn keep_to(&mut self, choice: Option<&Choice>) {
        let is_same = |it: &Choice| choice.is_some_and(|choice| choice.is(it));
        self.next.take_if(|it| !is_same(it));
        self.judging.take_if(|(it, _)| !is_same(it));
        self.unjudged.take_if(|it| !choice.is_some_and(|choice| it.is_of(choice.engine.digest(), choice.revision)));
    }
}

/// How long a version is left alone that could not be judged, after so many times before.
fn pause_after(failures: u32) -> Millis {
    Millis::new(AGAIN.get() << failures.min(5)).min(AGAIN_AT_LAST)
}

/// What came of judging a version; never, while none is judged.
pub(super) async fn judged(following: &mut Following) -> Judged {
    match &mut following.judging {
        Some((_, judging)) => judging.await.unwrap_or_else(|error| Err(error.to_string())),
        None => std::future::pending().await,
    }
}

impl<J: Journal> Task<J> {
    /// Looks whether there is a version to take up, and takes it up when it is this one's turn: never while a decision is under way.
    pub(super) async fn follow(&mut self, now: Timestamp) -> Result<(), End> {
        let versions = *self.versions.borrow_and_update();
        let state = self.domain.state();
        if self.idle || state.life != Life::Active {
            // It looks anew when it is asked again.
            (self.following.looked_at, self.following.unjudged) = (None, None);
            self.turn = Turn::None;
            return Ok(());
        }
        let rejected = state.lineage.as_ref().map_or(0, |lineage| lineage.rejected.len());
        let looks_at = LookedAt { versions, revision: state.config_revision, rejected, shadow: state.shadow().is_some() };
        let again = self.following.next_look().is_some_and(|at| at <= now);
        if again || self.following.looked_at != Some(looks_at) {
            self.following.looked_at = Some(looks_at);
            self.look_for_a_version(now);
        }
        self.turn.look(self.following.next.is_some(), self.domain.decides(), now);
        if self.domain.is_deciding() {
            return Ok(());
        }
        let Some(Choice { engine, why, .. }) = &self.following.next else { return Ok(()) };
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

    fn look_for_a_version(&mut self, now: Timestamp) {
        self.forget_what_is_gone();
        let choice = self.choice();
        self.following.keep_to(choice.as_ref());
        let Following { judging, next, unjudged, .. } = &self.following;
        let Some(choice) = choice else { return };
        if next.is_some() || judging.is_some() || unjudged.as_ref().is_some_and(|it| now < it.again_at) {
            return;
        }
        let (shared, config, asked) = (Arc::clone(&self.shared), self.domain.state().config.clone(), choice.engine.clone());
        // Versions of one engine may be configured differently: what was good for the one before need not be for this one.
        let judging = tokio::spawn(async move {
            let turn = Arc::clone(&shared.judging).acquire_owned().await.map_err(|error| error.to_string())?;
            let half = shared.engine_time_out / 2;
            let whole = move |engine: &LoadedEngine| {
                // The turn goes with the job, which keeps its thread even if nobody waits for it any more.
                let _turn = turn;
                // The last call that begins in time must end in time, too. How long it took to get a thread says nothing of the version.
                judge_until(Instant::now() + half, &config, now, |conf| judge(engine, conf))
            };
            let judged = shared.call(asked, None, whole).await.and_then(|judged| judged).map_err(|fault| fault.to_string())?;
            if judged.is_whole || !judged.problems.is_empty() {
                Ok(judged.problems)
            } else {
                // A busy machine, perhaps: nothing is known of the version.
                Err("the sets of windows of its schedule take the engine too long to check".to_owned())
            }
        });
        self.following.judging = Some((choice, AbortOnDropHandle::new(judging)));
    }

    /// Remembers refusals only of versions that there are, and of the configuration as it is. Not only of so many: one that was forgotten
    /// would be the newest again, and be judged again, without end.
    fn forget_what_is_gone(&mut self) {
        let Shared { engines, registry, .. } = &*self.shared;
        let candidates = self.reference().map(|(_, name)| engines.candidates(&name, &registry.known()));
        let (candidates, revision) = (candidates.as_deref().unwrap_or_default(), self.domain.state().config_revision);
        let is_there = |it: &Refused| candidates.iter().any(|candidate| candidate.engine.digest == it.digest);
        self.following.refused.retain(|it| it.revision == revision && is_there(it));
    }

    /// What there is to take up now, as far as it is not known that the configuration stands in its way.
    fn choice(&self) -> Option<Choice> {
        let (engine, why) = self.followed()?;
        let state = self.domain.state();
        let revision = state.config_revision;
        // Whoever has something run beside wants to see first.
        let waits = why == SwapReason::Followed && state.shadow().is_some();
        (!waits && self.following.refused(engine.digest(), revision).is_none()).then_some(Choice { engine, why, revision })
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
        // Bytes that call themselves something else than the registry does are loaded for a moment before that is found out.
        (in_force(&engine) == candidate.engine).then_some((engine, why))
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

    /// The version that the domain would have, if it were not for this host, which can't use it or could not have it judged, or for the
    /// configuration, which it would not take.
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
        let engine = candidate.engine.clone();
        if let Some(refused) = self.following.refused(&engine.digest, revision) {
            return Some(Hold::VersionRefused { engine, why: refused.why.clone() });
        }
        let unjudged = self.following.unjudged.as_ref().filter(|it| it.is_of(&engine.digest, revision))?;
        let why = format!("whether it takes the configuration could not be found out so far, and is tried again: {}", unjudged.why);
        Some(Hold::VersionUnusable { engine, why })
    }

    /// Takes what a version said of the configuration.
    pub(super) fn end_judging(&mut self, judged: Judged, now: Timestamp) {
        let Some((choice, _)) = self.following.judging.take() else { return };
        let (domain, revision) = (&self.handle.key, choice.revision);
        let EngineInForce { name: engine, version, digest } = in_force(&choice.engine);
        let before = self.following.unjudged.take().filter(|it| it.is_of(&digest, revision));
        match judged {
            Ok(problems) if problems.is_empty() => self.following.next = Some(choice),
            Ok(problems) => {
                let why: Vec<String> = problems.iter().take(5).map(ToString::to_string).collect();
                let why = why.join("; ");
                tracing::warn!(%domain, engine, version, why, "a version is not taken up: it would not take the configuration");
                self.following.refused.push(Refused { digest, revision, why });
                // There may be an older one that takes it.
                self.following.looked_at = None;
            }
            Err(why) => {
                let failures = before.map_or(0, |it| it.failures);
                let again_at = now + pause_after(failures);
                let failures = failures.saturating_add(1);
                if failures >= TOLD_FROM {
                    tracing::warn!(%domain, engine, version, why, failures, "a version is not taken up: it could not be judged, and is judged again");
                } else {
                    tracing::debug!(%domain, engine, version, why, failures, "a version could not be judged and is judged again");
                }
                self.following.unjudged = Some(Unjudged { digest, revision, why, failures, again_at });
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
