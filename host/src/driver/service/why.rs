//! *Why*, answered from the journal: how much of it is read, and of which moment the story is.
//!
//! A question about now is asked of the domain's task, which knows what the host sees. What was is in the journal and nowhere else, so a
//! question about the past needs no task.

use pilothouse_core::command::ApiError;
use pilothouse_core::explain::{Ask, Explanation, Hold, Later, View, explain_domain, explain_instance, list_decisions};
use pilothouse_core::guard::Eyes;
use pilothouse_core::name::DomainKey;
use pilothouse_core::record::{Event, Record};
use pilothouse_core::state::{DomainState, Life};
use pilothouse_core::time::Timestamp;
use serde_json::Value;

use crate::output::moment;
use crate::store::{Entry, Journal};

/// How many records are looked through for an answer about now, and at once for one about the past. Twice what lies between two
/// snapshots, so that two pages reach from a moment back to the state that it is folded from.
pub(super) const PAGE: usize = 1000;

/// How many pages are read in search of a moment of the past: twenty thousand records, which a busy domain writes in some hours.
pub(super) const MAX_PAGES: usize = 20;

/// Explains a domain, or one of its instances, as they stand now. `hold` is what holds every domain of this host back, if anything does:
/// it is not on record.
///
/// # Errors
/// `not_found` when nobody knows the instance; `unavailable` when the journal can't be read.
pub(in crate::driver) async fn explain_now(
    journal: &impl Journal,
    state: &DomainState,
    eyes: &Eyes,
    asked: Option<Timestamp>,
    now: Timestamp,
    hold: Option<Hold>,
    instance: Option<String>,
) -> Result<Value, ApiError> {
    if matches!(state.life, Life::Absent | Life::Removed) {
        return Err(ApiError::NotFound { what: format!("domain {}", state.key.name) });
    }
    let mut records = page(journal, &state.key, None).await?;
    records.reverse();
    // What was committed since the state was looked at belongs to the next answer.
    records.retain(|(sequence, _)| *sequence <= state.sequence);
    let view = View { state, records: &records, now: now.max(state.now), eyes: Some(eyes), asked, later: None };
    let Some(which) = instance else {
        let mut explanation = explain_domain(&view);
        if let (Explanation::Domain(story), Life::Active) = (&mut explanation, state.life) {
            story.holds.splice(0..0, hold);
        }
        return json(&explanation);
    };
    json(&explain_instance(&view, &which).ok_or_else(|| unknown_instance(state, &which))?)
}

/// Explains a domain as it stood at a moment, or lists its newest decisions. `newest` is its state as it is now.
///
/// # Errors
/// `invalid` when the question makes no sense, or the moment lies before all that is looked through; `not_found` when there was no such
/// domain then; `unavailable` when the journal can't be read.
pub(super) async fn explain_past(journal: &impl Journal, newest: &DomainState, ask: &Ask) -> Result<Value, ApiError> {
    if ask.instance.is_some() {
        return Err(ApiError::invalid("/instance", "the story of an instance is told whole: neither at nor last goes with it"));
    }
    let most = ask.last.unwrap_or(1);
    if !(1..=Ask::MAX_LAST).contains(&most) {
        return Err(ApiError::invalid("/last", format!("expected 1 to {}, got {most}", Ask::MAX_LAST)));
    }
    let at = ask.at.unwrap_or(Timestamp::from_millis(u64::MAX));
    let (records, is_all) = read_back(journal, newest, |records| enough(records, at, most as usize)).await?;
    let until = records.partition_point(|(_, record)| record.at <= at);
    let (before, after) = records.split_at(until);
    let Some(at) = ask.at else {
        let view = View { state: newest, records: before, now: newest.now, eyes: None, asked: None, later: None };
        return json(&list_decisions(&view, most as usize).into_explanation());
    };
    let state = fold(newest, before, is_all).ok_or_else(|| too_early(newest, &records, is_all))?;
    if matches!(state.life, Life::Absent | Life::Removed) {
        return Err(ApiError::NotFound { what: format!("domain {} as of {}", newest.key.name, moment(at)) });
    }
    let later = Some(Later { state: newest, records: after });
    let view = View { state: &state, records: before, now: at, eyes: None, asked: None, later };
    match ask.last {
        Some(_) => json(&list_decisions(&view, most as usize).into_explanation()),
        None => json(&explain_domain(&view)),
    }
}

/// Reads the journal back from its newest record until it is enough, in the order of the journal. Says whether nothing lies before.
async fn read_back(
    journal: &impl Journal,
    state: &DomainState,
    enough: impl Fn(&[(u64, Record)]) -> bool,
) -> Result<(Vec<(u64, Record)>, bool), ApiError> {
    let mut records = Vec::new();
    let mut is_all = false;
    for _ in 0..MAX_PAGES {
        let read = page(journal, &state.key, records.last().map(|(sequence, _)| *sequence)).await?;
        is_all = read.len() < PAGE;
        records.extend(read);
        if is_all || enough(&records) {
            break;
        }
    }
    records.reverse();
    records.retain(|(sequence, _)| *sequence <= state.sequence);
    Ok((records, is_all))
}

/// Whether records, newest first, reach back far enough to tell of a moment: to a snapshot before it, and over so many decisions.
fn enough(records: &[(u64, Record)], at: Timestamp, decisions: usize) -> bool {
    let before = || records.iter().filter(|(_, record)| record.at <= at);
    let found = before().flat_map(|(_, record)| &record.events).filter(|event| matches!(event, Event::Decided(_) | Event::Faulted(_)));
    // One more than is told shows whether there are more.
    before().any(|(_, record)| record.is_snapshot()) && found.take(decisions + 1).count() > decisions
}

/// The newest records before one, newest first.
pub(super) async fn page(journal: &impl Journal, key: &DomainKey, before: Option<u64>) -> Result<Vec<(u64, Record)>, ApiError> {
    let unavailable = |message: String| ApiError::Unavailable { message };
    let entries = journal.history(key, before, PAGE).await.map_err(|error| unavailable(format!("the journal: {error}")))?;
    let read = |entry: Entry| Ok((entry.sequence, Record::from_bytes(&entry.bytes).map_err(|error| unavailable(error.to_string()))?));
    entries.into_iter().map(read).collect()
}

/// The state at the end of some records: from the newest snapshot among them on, or from the beginning when they are all there are.
fn fold(newest: &DomainState, records: &[(u64, Record)], is_all: bool) -> Option<DomainState> {
    let snapshot = records.iter().rposition(|(_, record)| record.is_snapshot());
    let begin = snapshot.or_else(|| (is_all && !records.is_empty()).then_some(0))?;
    let mut state = DomainState::absent(newest.key.clone(), newest.slot);
    for (sequence, record) in &records[begin..] {
        state.apply(*sequence, record);
    }
    Some(state)
}

fn too_early(newest: &DomainState, records: &[(u64, Record)], is_all: bool) -> ApiError {
    let oldest = records.first().map_or(newest.now, |(_, record)| record.at);
    let why = if is_all { "the journal begins" } else { "the newest records that are looked through begin" };
    ApiError::invalid("/at", format!("{why} at {}: ask for a later moment", moment(oldest)))
}

/// Who asks for an instance that is not there should learn which are.
fn unknown_instance(state: &DomainState, which: &str) -> ApiError {
    let name = &state.key.name;
    let which: String = which.chars().take(80).collect();
    let number = which.strip_prefix(&format!("{name}/")).unwrap_or(&which).parse::<u64>();
    let hint = match (state.next_ordinal, number) {
        (0, _) => "which has launched none so far".to_owned(),
        (next, Ok(number)) if number < next => "whose record of it is too old".to_owned(),
        (next, _) => format!("which has launched {name}/0 to {name}/{} so far", next - 1),
    };
    ApiError::NotFound { what: format!("instance {which} of domain {name}, {hint}:") }
}

fn json(value: &impl serde::Serialize) -> Result<Value, ApiError> {
    serde_json::to_value(value).map_err(|error| ApiError::Unavailable { message: error.to_string() })
}

#[cfg(test)]
mod tests;
