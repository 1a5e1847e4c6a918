//! The newest decisions, a line each.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Explanation, View};
use crate::cycle::{Cause, Status};
use crate::name::DomainKey;
use crate::record::{Decision, Event};
use crate::time::Timestamp;

/// How much of a text is told in a line, in characters: the decision itself has all of it.
const TEXT: usize = 240;

/// How many requests that were held back are told in a line.
const HELD_BACK: usize = 8;

/// The newest decisions of a domain, and calls of its engine that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DecisionList {
    /// Of which domain.
    pub domain: DomainKey,
    /// The moment up to which they are listed.
    pub told_at: Timestamp,
    /// Newest first.
    pub decisions: Vec<DecisionLine>,
    /// Before the last line nothing more is on record that was looked through.
    pub is_all: bool,
}

/// A line about a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DecisionLine {
    /// Its journal sequence.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// What was decided.
    #[serde(flatten)]
    pub what: LineKind,
}

/// What was decided, or why nothing was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum LineKind {
    /// The engine decided.
    Decided {
        /// Why it was asked.
        cause: Cause,
        /// What it said of the domain.
        status: Status,
        /// In its words.
        reason: String,
        /// Launches that were promised.
        launched: usize,
        /// Terminations that were promised.
        terminated: usize,
        /// What was held back, and by which guard.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        held_back: Vec<String>,
        /// Terminations that no longer held when the engine had decided.
        #[serde(default, skip_serializing_if = "is_zero")]
        dropped: usize,
        /// It was only recorded.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        dry_run: bool,
    },
    /// The engine failed.
    Failed {
        /// In words, with the kind.
        message: String,
        /// How many in a row, this one included.
        in_a_row: u32,
    },
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// Lists the newest `most` decisions of a view.
pub fn list_decisions(view: &View<'_>, most: usize) -> DecisionList {
    let mut lines = view.events_back().filter_map(|(sequence, record, event)| {
        let what = match event {
            Event::Decided(decision) => LineKind::of(decision),
            Event::Faulted(faulted) => LineKind::Failed {
                message: shortened(&format!("{} in {}: {}", faulted.kind.name(), faulted.call, faulted.message)),
                in_a_row: faulted.in_a_row,
            },
            _ => return None,
        };
        Some(DecisionLine { sequence, at: record.at, what })
    });
    let decisions = lines.by_ref().take(most).collect();
    DecisionList { domain: view.state.key.clone(), told_at: view.now, decisions, is_all: lines.next().is_none() }
}

impl DecisionList {
    /// As the answer to *why*.
    pub fn into_explanation(self) -> Explanation {
        Explanation::Decisions(Box::new(self))
    }
}

impl LineKind {
    pub(super) fn of(decision: &Decision) -> Self {
        Self::Decided {
            cause: decision.cause,
            status: decision.status,
            reason: shortened(&decision.reason),
            launched: decision.launches.iter().map(|launch| launch.instances.len()).sum(),
            terminated: decision.terminations.iter().map(|it| it.accepted.len()).sum(),
            held_back: decision.held_back().into_iter().take(HELD_BACK).collect(),
            dropped: decision.terminations.iter().map(|it| it.dropped.len()).sum(),
            dry_run: decision.dry_run,
        }
    }
}

/// The beginning of a text, if it is long: what is told of many must fit one answer.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
