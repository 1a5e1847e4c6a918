//! The newest decisions, a line each.

use pilothouse_core::explain::{DecisionLine, DecisionList, LineKind};
use pilothouse_core::time::Timestamp;

use crate::output::happening::status_word;
use crate::output::{clean, count, length, moment, table};

/// A heading that says which, and a line for each, newest first.
pub(super) fn text(list: &DecisionList, now: Timestamp) -> String {
    let name = &list.domain.name;
    if list.decisions.is_empty() {
        return format!("No decision of domain {name} is on record yet\n");
    }
    let decisions = count(list.decisions.len(), "decision");
    let all = if list.is_all { "All of the" } else { "The newest" };
    let rows: Vec<_> = list.decisions.iter().map(|line| row(line, now)).collect();
    let table = table(["WHEN", "AGO", "RECORD", "STATUS", "WHAT", "REASON"], &rows);
    format!("{all} {decisions} of domain {name} on record, newest first\n\n{table}")
}

fn row(line: &DecisionLine, now: Timestamp) -> [String; 6] {
    let (status, reason) = match &line.what {
        LineKind::Decided { status, reason, .. } => (status_word(*status).to_owned(), clean(reason)),
        LineKind::Failed { message, .. } => ("-".to_owned(), clean(message)),
    };
    [moment(line.at), length(now.since(line.at)), format!("#{}", line.sequence), status, did(&line.what), reason]
}

/// What came of it, in a few words: `launched 1, terminated 2`.
pub(super) fn did(what: &LineKind) -> String {
    let (launched, terminated, held_back, dropped, dry_run) = match what {
        LineKind::Decided { launched, terminated, held_back, dropped, dry_run, .. } => (launched, terminated, held_back, dropped, dry_run),
        LineKind::Failed { in_a_row, .. } => return format!("ENGINE FAILED, {in_a_row} in a row"),
    };
    let mut did = Vec::new();
    for (n, what) in [(launched, "launched"), (terminated, "terminated"), (dropped, "dropped")] {
        if *n > 0 {
            did.push(format!("{what} {n}"));
        }
    }
    did.extend(held_back.iter().map(|held| clean(held)));
    let did = if did.is_empty() { "asked for nothing".to_owned() } else { did.join(", ") };
    if *dry_run { format!("{did}, in a dry run") } else { did }
}
