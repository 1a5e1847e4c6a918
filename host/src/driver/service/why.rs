//! *Why*, answered from the journal: how much of it is read, and of which moment the story is.
//!
//! A question about now is asked of the domain's task, which knows what the host sees. What was is in the journal and nowhere else, so a
//! question about the past needs no task.
//!
//! Records are read piece by piece, and made sense of on threads that serve nobody: it takes a while.

use std::sync::Arc;

use pilothouse_core::command::ApiError;
use pilothouse_core::explain::{Ask, Explanation, Hold, Later, ShadowTold, View, explain_domain, explain_instance, list_decisions};
use pilothouse_core::guard::Eyes;
use pilothouse_core::name::DomainKey;
use pilothouse_core::record::{Event, Record};
use pilothouse_core::state::{DomainState, Life};
use pilothouse_core::time::Timestamp;
use serde_json::Value;

use super::{json, unavailable};
use crate::output::moment;
use crate::store::{Entry, Journal};

/// How many records are looked through for an answer about now. Twice what lies between two snapshots.
const NEWEST: usize = 1000;

/// How many records are read in search of a moment of the past: a busy domain writes as many in some hours.
pub(super) const MAX_RECORDS: usize = 20_000;

/// How many bytes of records are read for one answer; a record more, for one must be read to know its size. In memory they take several
/// times as much. Twenty thousand records of a domain of a thousand instances have half of that.
const MAX_BYTES: usize = 64 << 20;

/// How many records are read at once.
const PIECE: usize = 500;

/// What a host knows of a domain that is not on record.
#[derive(Default)]
pub(in crate::driver) struct Beside {
    /// What it sees.
    pub(in crate::driver) eyes: Eyes,
    /// When the engine was last asked.
    pub(in crate::driver) asked: Option<Timestamp>,
    /// What holds every domain of this host back, if anything does.
    pub(in crate::driver) hold: Option<Hold>,
    /// What keeps its engine from being asked as often as it wants to be, if anything does.
    pub(in crate::driver) waits: Option<Hold>,
    /// A newer version that is not taken up, if there is one.
    pub(in crate::driver) not_taken_up: Option<Hold>,
    /// What runs beside the engine, if anything does, and how it has compared up to now.
    pub(in crate::driver) shadow: Option<ShadowTold>,
}

/// Explains a domain, or one of its instances, as they stand now.
///
/// # Errors
/// `not_found` when nobody knows the instance; `unavailable` when the journal can't be read.
pub(in crate::driver) async fn explain_now(
    journal: &impl Journal,
    state: Arc<DomainState>,
    beside: Beside,
    now: Timestamp,
    instance: Option<String>,
) -> Result<Value, ApiError> {
    let Beside { eyes, asked, hold, waits, not_taken_up, shadow } = beside;
    if matches!(state.life, Life::Absent | Life::Removed) {
        return Err(ApiError::NotFound { what: format!("domain {}", state.key.name) });
    }
    let mut back = Back::new(journal, &state.key, NEWEST);
    let mut records = Vec::new();
    while let Some(piece) = back.piece().await? {
        records.extend(piece);
    }
    let tell = move || {
        records.reverse();
        // What was committed since the state was looked at belongs to the next answer.
        records.retain(|(sequence, _)| *sequence <= state.sequence);
        let view = View { state: &state, records: &records, now: now.max(state.now), eyes: Some(&eyes), asked, later: None };
        let Some(which) = instance else {
            let mut explanation = explain_domain(&view);
            if let (Explanation::Domain(story), Life::Active) = (&mut explanation, state.life) {
                story.holds.splice(0..0, hold);
                story.holds.extend(waits.into_iter().chain(not_taken_up));
                story.shadow = shadow.map(|known| known.with_words_of(story.shadow.take()));
            }
            return json(&explanation);
        };
        json(&explain_instance(&view, &which).ok_or_else(|| unknown_instance(&state, &which))?)
    };
    aside(tell).await?
}

/// Explains a domain as it stood at a moment, or lists its newest decisions. `newest` is its state as it is now.
///
/// # Errors
/// `invalid` when the question makes no sense, or the moment lies before all that is looked through; `not_found` when there was no such
/// domain then; `unavailable` when the journal can't be read.
pub(super) async fn explain_past(journal: &impl Journal, newest: DomainState, ask: Ask) -> Result<Value, ApiError> {
    if ask.instance.is_some() {
        return Err(ApiError::invalid("/instance", "the story of an instance is told whole: neither at nor last goes with it"));
    }
    let most = ask.last.unwrap_or(1);
    if !(1..=Ask::MAX_LAST).contains(&most) {
        return Err(ApiError::invalid("/last", format!("expected 1 to {}, got {most}", Ask::MAX_LAST)));
    }
    let at = ask.at.unwrap_or(Timestamp::from_millis(u64::MAX));
    let mut back = Back::new(journal, &newest.key, MAX_RECORDS);
    let mut records = Vec::new();
    while let Some(piece) = back.piece().await? {
        records.extend(piece);
        if enough(&records, at, most as usize) {
            break;
        }
    }
    let is_all = back.is_all;
    aside(move || {
        records.reverse();
        records.retain(|(sequence, _)| *sequence <= newest.sequence);
        tell_past(&newest, &ask, most as usize, &records, is_all)
    })
    .await?
}

/// Tells of a moment, or of the newest decisions, what the newest records say, in the order of the journal.
fn tell_past(newest: &DomainState, ask: &Ask, most: usize, records: &[(u64, Record)], is_all: bool) -> Result<Value, ApiError> {
    let Some(at) = ask.at else {
        let view = View { state: newest, records, now: newest.now, eyes: None, asked: None, later: None };
        return json(&list_decisions(&view, most).into_explanation());
    };
    let (before, after) = records.split_at(records.partition_point(|(_, record)| record.at <= at));
    let state = fold(newest, before, is_all).ok_or_else(|| too_early(newest, records, is_all))?;
    if matches!(state.life, Life::Absent | Life::Removed) {
        return Err(ApiError::NotFound { what: format!("domain {} as of {}", newest.key.name, moment(at)) });
    }
    let later = Some(Later { state: newest, records: after });
    let view = View { state: &state, records: before, now: at, eyes: None, asked: None, later };
    match ask.last {
        Some(_) => json(&list_decisions(&view, most).into_explanation()),
        None => json(&explain_domain(&view)),
    }
}

/// Whether records, newest first, reach back far enough to tell of a moment: to a snapshot before it, and over so many decisions.
fn enough(records: &[(u64, Record)], at: Timestamp, decisions: usize) -> bool {
    let before = || records.iter().filter(|(_, record)| record.at <= at);
    let found = before().flat_map(|(_, record)| &record.events).filter(|event| matches!(event, Event::Decided(_) | Event::Faulted(_)));
    // One more than is told shows whether there are more.
    before().any(|(_, record)| record.is_snapshot()) && found.take(decisions + 1).count() > decisions
}

/// The journal of a domain, read back from its newest record as far as one answer looks.
pub(super) struct Back<'a, J> {
    journal: &'a J,
    key: &'a DomainKey,
    /// The oldest record that was read.
    before: Option<u64>,
    records_left: usize,
    bytes_left: usize,
    /// Whether nothing lies before what was read.
    pub(super) is_all: bool,
}

impl<'a, J: Journal> Back<'a, J> {
    /// All of a journal that an answer about the past looks through.
    pub(super) fn far(journal: &'a J, key: &'a DomainKey) -> Self {
        Self::new(journal, key, MAX_RECORDS)
    }

    fn new(journal: &'a J, key: &'a DomainKey, records: usize) -> Self {
        Self { journal, key, before: None, records_left: records, bytes_left: MAX_BYTES, is_all: false }
    }

    /// The records before those that were read, newest first; nothing when there are none, or enough was read.
    pub(super) async fn piece(&mut self) -> Result<Option<Vec<(u64, Record)>>, ApiError> {
        let limit = PIECE.min(self.records_left);
        if self.is_all || limit == 0 || self.bytes_left == 0 {
            return Ok(None);
        }
        let mut entries =
            self.journal.history(self.key, self.before, limit).await.map_err(|error| unavailable(format!("the journal: {error}")))?;
        self.is_all = entries.len() < limit;
        let fit = entries.iter().take_while(|entry| {
            let fits = self.bytes_left > 0;
            self.bytes_left = self.bytes_left.saturating_sub(entry.bytes.len());
            fits
        });
        let fit = fit.count();
        if fit < entries.len() {
            (self.is_all, self.bytes_left) = (false, 0);
            entries.truncate(fit);
        }
        let Some(oldest) = entries.last() else { return Ok(None) };
        (self.before, self.records_left) = (Some(oldest.sequence), self.records_left - entries.len());
        let read = |entry: Entry| Ok((entry.sequence, Record::from_bytes(&entry.bytes).map_err(unavailable)?));
        aside(move || entries.into_iter().map(read).collect::<Result<_, _>>()).await?.map(Some)
    }
}

/// Does what takes a while on a thread that serves nobody.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(unavailable)
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

#[cfg(test)]
mod tests;
