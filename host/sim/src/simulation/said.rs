//! What an engine said, as a transcript tells it.

use pilothouse_core::guard::{Guard, Ruling};
use pilothouse_core::record::Decision;

use crate::tick::{Refusal, Said};

pub(super) fn told(said: Decision, recorded: bool) -> Said {
    Said {
        cause: said.cause,
        status: said.status,
        reason: said.reason,
        figures: said.figures.into_iter().collect(),
        wake: said.wake,
        prepared: said.prepared,
        recorded,
        dry_run: said.dry_run,
        settings: said.settings,
        log: said.log,
    }
}

/// What each guard held back, in the order of requests and guards.
pub(super) fn held_back(said: &Decision) -> Vec<Refusal> {
    let mut all = Vec::new();
    let mut add = |request: &'static str, asked: u32, rulings: &[Ruling]| {
        let mut before = asked;
        for ruling in rulings {
            if ruling.passed < before {
                let because = ruling.note.clone().unwrap_or_default();
                all.push(Refusal { request, guard: ruling.guard.name(), held_back: before - ruling.passed, because });
            }
            before = ruling.passed;
        }
        if said.dry_run && before > 0 {
            let (guard, because) = (Guard::DryRun.name(), "recorded only".to_owned());
            all.push(Refusal { request, guard, held_back: before, because });
        }
    };
    for launch in &said.launches {
        add("launch", launch.asked, &launch.rulings);
    }
    for termination in &said.terminations {
        let passed = termination.rulings.last().map_or(0, |last| last.passed);
        add("terminate", passed + termination.deferred.len() as u32, &termination.rulings);
    }
    all
}
