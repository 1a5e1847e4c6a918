//! Engine calls of one domain: begun here, run on the engine threads, ended by their result or by the outer time-out.

use std::sync::Arc;

use pilothouse_core::cycle::{Engine as _, Fault, FaultKind, Ran};
use pilothouse_core::seed::Seed;
use pilothouse_core::time::Timestamp;
use tokio_util::task::AbortOnDropHandle;

use super::{End, Task};
use crate::store::Journal;

/// What came of running an engine.
pub(super) enum Outcome {
    /// It came back, well or not.
    Ran(Box<Ran>),
    /// It did not come back, or could not be run.
    Failed(Fault),
}

/// A decision under way.
pub(super) type Deciding = AbortOnDropHandle<Outcome>;

/// The result of the decision under way; never, when there is none.
pub(super) async fn result(deciding: &mut Option<Deciding>) -> Outcome {
    match deciding {
        Some(running) => {
            let outcome = running.await;
            *deciding = None;
            outcome.unwrap_or_else(|error| Outcome::Failed(Fault::new(FaultKind::Abandoned, error.to_string())))
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
                self.deciding = None;
            }
        }
    }

    /// Begins a decision, if one is due.
    pub(super) async fn begin_decision(&mut self) -> Result<(), End> {
        let seed = Seed(rand::random());
        let Some(cycle) = self.domain.begin(self.shared.clock.now(), seed) else { return Ok(()) };
        let shared = Arc::clone(&self.shared);
        let digest = self.domain.state().engine.digest.clone();
        self.deciding = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let engine = match shared.engines.get(&digest) {
                Some(engine) => engine,
                None => match shared.engines.fetch(&shared.engine_store, &digest).await {
                    Ok(engine) => engine,
                    Err(error) => return Outcome::Failed(Fault::new(FaultKind::Load, format!("{:#}", anyhow::Error::new(error)))),
                },
            };
            let pending = match shared.runner.run(move || cycle.run(&engine)) {
                Ok(pending) => pending,
                Err(busy) => return Outcome::Failed(Fault::new(FaultKind::Deadline, busy.to_string())),
            };
            match tokio::time::timeout(shared.engine_time_out, pending).await {
                Ok(Ok(ran)) => Outcome::Ran(Box::new(ran)),
                Ok(Err(lost)) => Outcome::Failed(Fault::new(FaultKind::Abandoned, lost.to_string())),
                Err(_) => {
                    let text = format!("no answer within {} s, waiting for a thread included", shared.engine_time_out.as_secs_f64());
                    Outcome::Failed(Fault::new(FaultKind::Abandoned, text))
                }
            }
        })));
        Ok(())
    }

    /// Tells the engine that its domain goes, and ends the domain. A fault of the engine stops nothing.
    pub(super) async fn remove(&mut self) -> Result<(), End> {
        let state = Arc::clone(self.domain.state());
        if let (Some(memory), Some(engine)) = (state.memory.clone(), self.shared.engines.get(&state.engine.digest))
            && let Ok(pending) = self.shared.runner.run(move || engine.retire(&memory))
        {
            match tokio::time::timeout(self.shared.engine_time_out, pending).await {
                Ok(Ok(Ok(()))) => {}
                other => tracing::warn!(domain = %state.key, ?other, "the engine failed to retire"),
            }
        }
        let record = self.domain.removed(self.shared.clock.now());
        self.commit(record).await?;
        Err(End::Gone)
    }
}
