//! What runs beside the engine in force: asked after it, on what it saw, when nothing waits for the answer.

use std::sync::Arc;

use pilothouse_core::cycle::Ran;
use pilothouse_core::engine::ShadowCycle;
use pilothouse_core::record::Decision;
use pilothouse_core::time::Timestamp;
use tokio_util::task::AbortOnDropHandle;

use super::{End, Task};
use crate::store::Journal;

/// A shadow that is being asked, with what the engine in force had decided.
pub(super) struct Beside {
    decided: Decision,
    /// Whether that stands as it was decided.
    carried_out: bool,
    running: AbortOnDropHandle<Result<Box<Ran>, String>>,
}

/// What the shadow wanted, or how its call failed; never, while none is asked.
pub(super) async fn result(beside: &mut Option<Beside>) -> Result<Box<Ran>, String> {
    match beside {
        Some(it) => (&mut it.running).await.unwrap_or_else(|error| Err(error.to_string())),
        None => std::future::pending().await,
    }
}

impl<J: Journal> Task<J> {
    /// Asks what runs beside, on a cycle that the engine in force has just decided. One that still thinks about an earlier one is left alone:
    /// this one is then not compared.
    pub(super) fn ask_beside(&mut self, cycle: ShadowCycle, decided: Decision, carried_out: bool) {
        let Some(shadow) = self.domain.state().shadow().filter(|_| self.beside.is_none()) else { return };
        let (shared, digest) = (Arc::clone(&self.shared), shadow.engine.digest.clone());
        shared.decisions.shadowed();
        let running = AbortOnDropHandle::new(tokio::spawn(async move {
            let engine = shared.engine(&digest).await.map_err(|error| format!("{:#}", anyhow::Error::new(error)))?;
            shared.call(engine, move |engine| Box::new(cycle.run(engine))).await.map_err(|fault| fault.to_string())
        }));
        self.beside = Some(Beside { decided, carried_out, running });
    }

    /// Takes what the shadow wanted.
    pub(super) async fn compare(&mut self, ran: Result<Box<Ran>, String>) -> Result<(), End> {
        let Some(Beside { decided, carried_out, .. }) = self.beside.take() else { return Ok(()) };
        let now: Timestamp = self.shared.clock.now();
        let record = match ran {
            Ok(ran) => self.domain.compare(*ran, &decided, carried_out, now),
            Err(words) => self.domain.shadow_failed(words, now),
        };
        match record {
            Some(record) => self.commit(record).await,
            None => Ok(()),
        }
    }
}
