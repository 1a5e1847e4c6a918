//! Which version decides a domain: what its configuration follows is taken up between two decisions, after the version has judged the
//! configuration.

use std::sync::Arc;
use std::time::Instant;

use pilothouse_core::config::ConfigProblem;
use pilothouse_core::engine::{Reference, Rejected, SwapReason, follow};
use pilothouse_core::schedule;
use pilothouse_core::state::Life;
use pilothouse_core::time::{Millis, Timestamp};
use pilothouse_engine_host::LoadedEngine;
use tokio_util::task::AbortOnDropHandle;

use super::{End, Task};
use crate::driver::engines::{in_force, judge};
use crate::driver::shared::Shared;
use crate::store::Journal;

/// After how long a version is judged again that could not be judged.
const AGAIN: Millis = Millis::from_secs(2);

/// How a domain keeps up with the versions that there are.
pub(super) struct Following {
    /// What was looked at last.
    looked_at: Option<LookedAt>,
    /// A version that is being judged.
    judging: Option<(LoadedEngine, SwapReason, AbortOnDropHandle<Judged>)>,
    /// A version that may come into force.
    next: Option<(LoadedEngine, SwapReason)>,
    /// The version that would not take the configuration, and why not.
    refused: Option<Refused>,
    /// Nothing is judged before then.
    not_before: Option<Timestamp>,
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
pub(super) struct Refused {
    pub(super) digest: String,
    revision: u64,
    /// In words.
    pub(super) why: String,
}

/// What a version says of a configuration; an error when it could not say.
type Judged = Result<Vec<ConfigProblem>, String>;

impl Following {
    pub(super) fn new() -> Self {
        Self { looked_at: None, judging: None, next: None, refused: None, not_before: None }
    }

    /// The version that is not taken up, if there is one, and why.
    pub(super) fn refused(&self) -> Option<&Refused> {
        self.refused.as_ref()
    }

    /// When to look again, even if nothing happens.
    pub(super) fn next_look(&self) -> Option<Timestamp> {
        self.not_before
    }
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
            return Ok(());
        }
        let rejected = state.lineage.as_ref().map_or(0, |lineage| lineage.rejected.len());
        let looks_at = LookedAt { versions, revision: state.config_revision, rejected, shadow: state.shadow().is_some() };
        if again || self.following.looked_at != Some(looks_at) {
            self.following.looked_at = Some(looks_at);
            self.look_for_a_version();
        }
        if self.domain.is_deciding() {
            return Ok(());
        }
        let Some((engine, why)) = self.following.next.take() else { return Ok(()) };
        if let Some(record) = self.domain.swap(&in_force(&engine), why, now) {
            self.commit(record).await?;
        }
        Ok(())
    }

    fn look_for_a_version(&mut self) {
        let state = self.domain.state();
        (self.following.next, self.following.judging) = (None, None);
        let Ok(reference) = state.config.general.engine.parse::<Reference>() else { return };
        let rejected = state.lineage.as_ref().map_or(&[][..], |lineage| &lineage.rejected);
        let Some((engine, why)) = self.followed(&reference, rejected) else {
            self.following.refused = None;
            return;
        };
        if self.following.refused.as_ref().is_some_and(|it| it.digest == engine.digest() && it.revision == state.config_revision) {
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
            let deadline = Instant::now() + shared.engine_time_out / 2;
            let whole = move |engine: &LoadedEngine| {
                // The turn goes with the job, which keeps its thread even if nobody waits for it any more.
                let _turn = turn;
                let mut gave_up = None;
                let problems = schedule::check(&config, now, |conf| {
                    if gave_up.is_none() && Instant::now() >= deadline {
                        gave_up = Some("the sets of windows of its schedule take the engine too long to check".to_owned());
                    }
                    if gave_up.is_some() {
                        return Vec::new();
                    }
                    judge(engine, conf).unwrap_or_else(|fault| {
                        gave_up = Some(fault.to_string());
                        Vec::new()
                    })
                });
                gave_up.map_or(Ok(problems), Err)
            };
            shared.call(asked, whole).await.map_err(|fault| fault.to_string())?
        });
        self.following.judging = Some((engine, why, AbortOnDropHandle::new(judging)));
    }

    /// The version that the domain should take up, if it is ready on this host.
    fn followed(&self, reference: &Reference, rejected: &[Rejected]) -> Option<(LoadedEngine, SwapReason)> {
        let Shared { engines, registry, .. } = &*self.shared;
        let name = reference.name()?.parse().ok()?;
        let known = registry.known();
        let candidates = engines.candidates(&name, known.get(&name));
        let (candidate, why) = follow(reference, &self.domain.state().engine, rejected, &candidates)?;
        // One that is not ready yet is looked at again when it is.
        Some((engines.get(&candidate.engine.digest)?, why))
    }

    /// Takes what a version said of the configuration.
    pub(super) fn end_judging(&mut self, judged: Judged, now: Timestamp) {
        let Some((engine, why, _)) = self.following.judging.take() else { return };
        match judged {
            Ok(problems) if problems.is_empty() => {
                self.following.refused = None;
                self.following.next = Some((engine, why));
            }
            Ok(problems) => {
                let why: Vec<String> = problems.iter().take(5).map(ToString::to_string).collect();
                let (domain, version, why) = (&self.handle.key, &engine.description().version, why.join("; "));
                tracing::warn!(%domain, engine = %engine.description().name, %version, why, "a version is not taken up: it would not take the configuration");
                let (digest, revision) = (engine.digest().to_owned(), self.domain.state().config_revision);
                self.following.refused = Some(Refused { digest, revision, why });
            }
            Err(error) => {
                tracing::debug!(domain = %self.handle.key, error, "a version could not be judged and is judged again");
                self.following.not_before = Some(now + AGAIN);
            }
        }
    }
}
