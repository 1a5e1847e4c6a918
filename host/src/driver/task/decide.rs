//! Engine calls of one domain: begun here, run on the engine threads, ended by their result or by the outer time-out.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use pilothouse_core::cycle::{Cause, Engine as _, Fault, FaultKind, Ran};
use pilothouse_core::seed::Seed;
use pilothouse_core::time::{Millis, Timestamp};
use pilothouse_engine_host::LoadedEngine;
use tokio_util::task::AbortOnDropHandle;

use super::{End, Task};
use crate::driver::shared::Shared;
use crate::store::Journal;

/// How long fetching and compiling the engine of a domain that goes may take. The domain stands still meanwhile.
const RETIRE_LOAD: Duration = Duration::from_secs(10);

/// What came of running an engine.
pub(super) enum Outcome {
    /// It came back, well or not.
    Ran(Box<Ran>, Timing),
    /// It did not come back, or could not be run. It had a thread for so long, as far as anybody has waited for it.
    Failed(Fault, Millis),
}

/// What is known of the time of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// It began so long after it was due.
    pub(super) late: Duration,
    /// It had a thread for so long.
    pub(super) took: Millis,
}

/// A decision under way.
pub(super) type Deciding = AbortOnDropHandle<Outcome>;

/// The result of the decision under way; never, when there is none.
pub(super) async fn result(deciding: &mut Option<Deciding>) -> Outcome {
    match deciding {
        Some(running) => {
            let outcome = running.await;
            *deciding = None;
            outcome.unwrap_or_else(|error| Outcome::Failed(Fault::new(FaultKind::Abandoned, error.to_string()), Millis::ZERO))
        }
        None => std::future::pending().await,
    }
}

impl<J: Journal> Task<J> {
    /// Lets the domain know when this host was disabled, or enabled again. A decision under way is given up: nobody waits for its result.
    pub(super) fn heed_disabling(&mut self, now: Timestamp) {
        let disabled = self.disabled.borrow_and_update().is_some();
        if std::mem::replace(&mut self.idle, disabled) != disabled {
            self.domain.set_asking(!disabled, now);
            if disabled {
                (self.deciding, self.twin, self.beside) = (None, None, None);
            }
        }
    }

    /// Has the engine asked at once that could not be had when it was asked last, if it can by now, and has it looked for if not: its domain
    /// waits longer and longer after every time.
    fn heed_loading(&mut self) {
        if !self.misses_engine || self.domain.is_deciding() {
            return;
        }
        let (engines, digest) = (&self.shared.engines, &self.domain.state().engine.digest);
        if engines.get(digest).is_some() {
            self.misses_engine = false;
            self.domain.ask(Cause::Asked, self.shared.clock.now());
        } else {
            // An old version of the registry is looked for only as long as somebody wants it.
            engines.wanted(digest);
        }
    }

    /// Begins a decision, if one is due.
    pub(super) async fn begin_decision(&mut self) -> Result<(), End> {
        self.heed_loading();
        let seed = Seed(rand::random());
        let due = self.domain.due();
        let Some(cycle) = self.domain.begin(self.shared.clock.now(), seed) else { return Ok(()) };
        self.twin = self.domain.shadow_cycle(&cycle).map(Box::new);
        let due = due.map(|due| self.shared.clock.at_or_before(due));
        let shared = Arc::clone(&self.shared);
        let digest = self.domain.state().engine.digest.clone();
        let habit = self.habit.clone();
        self.deciding = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let engine = match shared.engine_in_time(&digest).await {
                Ok(engine) => engine,
                Err(fault) => return Outcome::Failed(fault, Millis::ZERO),
            };
            // When it got its thread, for the case that it does not come back in time to tell.
            let begun = Arc::new(OnceLock::new());
            let begins = Arc::clone(&begun);
            let job = move |engine: &LoadedEngine| {
                begins.get_or_init(Instant::now);
                timed(|| cycle.run(engine))
            };
            match shared.call(engine, Some(&habit), job).await {
                Ok((began, took, ran)) => {
                    let late = due.map_or(Duration::ZERO, |due| began.saturating_duration_since(due));
                    Outcome::Ran(Box::new(ran), Timing { late, took })
                }
                Err(fault) => Outcome::Failed(fault, begun.get().map_or(Millis::ZERO, |begun| millis_since(*begun))),
            }
        })));
        Ok(())
    }

    /// Tells the engine that its domain goes, and ends the domain. A fault of the engine stops nothing.
    pub(super) async fn remove(&mut self) -> Result<(), End> {
        let state = Arc::clone(self.domain.state());
        if let Some(memory) = state.memory.clone() {
            let retired = tokio::select! {
                retired = retire(&self.shared, &state.engine.digest, memory) => retired,
                // Whoever looks after the domain next removes it, and tells the engine once more.
                () = self.stop.cancelled() => return Err(End::Stopped),
            };
            if let Err(error) = retired {
                tracing::warn!(domain = %state.key, error, "the engine failed to retire");
            }
        }
        let record = self.domain.removed(self.shared.clock.now());
        self.commit(record).await?;
        Err(End::Gone)
    }
}

/// Does something, and tells when it began and how long it took.
pub(super) fn timed<T>(work: impl FnOnce() -> T) -> (Instant, Millis, T) {
    let began = Instant::now();
    let done = work();
    (began, millis_since(began), done)
}

fn millis_since(began: Instant) -> Millis {
    Millis::new(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX))
}

/// Has the engine of a digest retire.
async fn retire<J: Journal>(shared: &Shared<J>, digest: &str, memory: Vec<u8>) -> Result<(), String> {
    let late = |_| "not done in time".to_owned();
    let engine = tokio::time::timeout(RETIRE_LOAD, shared.engine(digest)).await.map_err(late)?;
    let engine = engine.map_err(|error| format!("{:#}", anyhow::Error::new(error)))?;
    let retired = shared.call(engine, None, move |engine| engine.retire(&memory)).await.and_then(|retired| retired);
    retired.map_err(|fault| fault.to_string())
}
