//! What runs beside the engine in force: asked after it, on what it saw, when nothing waits for the answer.

use std::sync::Arc;

use pilothouse_core::cycle::Ran;
use pilothouse_core::engine::{Reference, ShadowCycle};
use pilothouse_core::record::{Decision, Event};
use pilothouse_core::time::{Millis, Timestamp};
use tokio_util::task::AbortOnDropHandle;

use super::decide::timed;
use super::{End, Task};
use crate::store::Journal;

/// A shadow that is being asked, with what the engine in force had decided.
pub(super) struct Beside {
    decided: Decision,
    /// Whether that stands as it was decided.
    carried_out: bool,
    running: AbortOnDropHandle<Asked>,
}

/// What a shadow wanted, and how long it had a thread; or how its call failed.
pub(super) type Asked = Result<(Box<Ran>, Millis), String>;

/// What the shadow wanted, or how its call failed; never, while none is asked.
pub(super) async fn result(beside: &mut Option<Box<Beside>>) -> Asked {
    match beside {
        Some(it) => (&mut it.running).await.unwrap_or_else(|error| Err(error.to_string())),
        None => std::future::pending().await,
    }
}

impl<J: Journal> Task<J> {
    /// Asks what runs beside, on a cycle that the engine in force has just decided. One that still thinks about an earlier one is left alone:
    /// this one is then not compared.
    pub(super) fn ask_beside(&mut self, cycle: ShadowCycle, decided: Decision, carried_out: bool) {
        let shadow = self.domain.state().shadow().filter(|shadow| self.beside.is_none() && cycle.is_for(shadow));
        let Some(shadow) = shadow else { return };
        let (shared, digest) = (Arc::clone(&self.shared), shadow.engine.digest.clone());
        shared.decisions.shadowed();
        let habit = self.habit_beside.clone();
        let running = AbortOnDropHandle::new(tokio::spawn(async move {
            let engine = shared.engine_in_time(&digest).await.map_err(|fault| fault.to_string())?;
            let called = shared.call(engine, Some(&habit), move |engine| timed(|| Box::new(cycle.run(engine)))).await;
            called.map(|(_, took, ran)| (ran, took)).map_err(|fault| fault.to_string())
        }));
        self.beside = Some(Box::new(Beside { decided, carried_out, running }));
    }

    /// Takes what the shadow wanted.
    pub(super) async fn compare(&mut self, ran: Asked) -> Result<(), End> {
        let Some(beside) = self.beside.take() else { return Ok(()) };
        let Beside { decided, carried_out, .. } = *beside;
        let now: Timestamp = self.shared.clock.now();
        let record = match ran {
            Ok((ran, took)) => {
                self.domain.shadow_called_for(took, now);
                self.domain.compare(*ran, &decided, carried_out, now)
            }
            Err(words) => self.domain.shadow_failed(words, now),
        };
        let Some(mut record) = record else { return Ok(()) };
        if self.is_pinned_elsewhere() {
            // An operator wants another version for everybody: what runs beside goes on running beside.
            record.events.retain(|event| !matches!(event, Event::Swapped(_)));
        }
        if record.events.is_empty() { Ok(()) } else { self.commit(record).await }
    }

    /// Whether a version is pinned that the configuration follows, and it is not what runs beside.
    fn is_pinned_elsewhere(&self) -> bool {
        let state = self.domain.state();
        let Ok(reference) = state.config.general.engine.parse::<Reference>() else { return false };
        let Some(Ok(name)) = reference.name().map(str::parse) else { return false };
        let known = self.shared.registry.known();
        let pinned = self.shared.engines.all_candidates(&name, known.get(&name)).into_iter().filter(|candidate| candidate.pinned);
        let mut elsewhere = pinned.filter(|candidate| reference.fits(&candidate.engine));
        elsewhere.any(|candidate| state.shadow().is_none_or(|shadow| shadow.engine.digest != candidate.engine.digest))
    }
}
