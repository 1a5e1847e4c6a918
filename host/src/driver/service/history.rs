//! What happened in a domain, by time: the journal, folded again and told as it was told then.
//!
//! The journal is read back from its newest record, in pieces that each begin with a snapshot: a snapshot says all that was before it, so
//! that a piece can be told by itself. This takes neither the domain's task nor its time, and a domain that is gone is told of as well.

use bytes::Bytes;
use pilothouse_core::command::ApiError;
use pilothouse_core::domain::{Happened, Happening, Told};
use pilothouse_core::id::InstanceId;
use pilothouse_core::name::{DomainKey, Name, Slot};
use pilothouse_core::record::{Change, Event, Record};
use pilothouse_core::state::{DomainState, Life};
use pilothouse_core::time::Timestamp;

use super::fitting::fitting;
use super::why::{Back, aside};
use super::{MAX_ANSWER, bytes, name};
use crate::api::{History, HistoryOf};
use crate::driver::host::Domains;
use crate::output::moment;
use crate::store::Journal;

/// How much is told unless said otherwise.
const LIMIT: u32 = 100;

/// How much is told at most.
const MAX_LIMIT: u32 = 1000;

impl<J: Journal> Domains<J> {
    pub(super) async fn tell_history(&self, user: Name, request: HistoryOf) -> Result<Bytes, ApiError> {
        let key = DomainKey { owner: user, name: name("/domain", &request.domain)? };
        let asked = Asked::parse(&request)?;
        let _place = self.places.reading().await?;
        bytes(&tell(&self.shared.journal, &key, asked).await?)
    }
}

/// What is asked for, judged.
struct Asked {
    instance: Option<Who>,
    since: Timestamp,
    until: Timestamp,
    limit: usize,
}

/// The instance that is asked for.
enum Who {
    Id(InstanceId),
    Ordinal(u64),
}

impl Asked {
    fn parse(request: &HistoryOf) -> Result<Self, ApiError> {
        let limit = request.limit.unwrap_or(LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(ApiError::invalid("/limit", format!("expected 1 to {MAX_LIMIT}, got {limit}")));
        }
        let (since, until) = (request.since.unwrap_or(Timestamp::ZERO), request.until.unwrap_or(Timestamp::from_millis(u64::MAX)));
        if since > until {
            return Err(ApiError::invalid("/since", "expected a moment that is not after until"));
        }
        let instance = request.instance.as_deref().map(|text| Who::parse(text, &request.domain)).transpose()?;
        Ok(Self { instance, since, until, limit: limit as usize })
    }
}

impl Who {
    fn parse(text: &str, domain: &str) -> Result<Self, ApiError> {
        let number = text.strip_prefix(domain).and_then(|rest| rest.strip_prefix('/'));
        match (number.unwrap_or(text).parse(), number) {
            (Ok(ordinal), _) => Ok(Self::Ordinal(ordinal)),
            (Err(_), None) => text.parse().map(Self::Id).map_err(|error| ApiError::invalid("/instance", format!("{error}"))),
            (Err(_), Some(_)) => Err(ApiError::invalid("/instance", format!("expected an instance id, or {domain}/NUMBER"))),
        }
    }

    fn is(&self, id: &InstanceId, ordinal: u64) -> bool {
        match self {
            Self::Id(wanted) => wanted == id,
            Self::Ordinal(wanted) => *wanted == ordinal,
        }
    }

    /// Leaves only what concerns this instance, of what was told of a record.
    fn pick(&self, told: &mut Vec<Happening>, record: &Record, state: &DomainState) {
        let is_meant = |id: &InstanceId| match self {
            Self::Id(wanted) => wanted == id,
            Self::Ordinal(ordinal) => state.instance_at(*ordinal).is_some_and(|instance| instance.id == *id),
        };
        let changes: Vec<_> = record
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Configured(configured) if instance_of(&configured.change).is_some_and(is_meant) => {
                    Some(configured.change.in_words())
                }
                _ => None,
            })
            .collect();
        told.retain(|happening| match &happening.what {
            Happened::Instance { node_id, ordinal, .. } => self.is(node_id, *ordinal),
            Happened::Configured { change, .. } => changes.contains(change),
            _ => false,
        });
    }
}

/// The one instance that a change is about.
fn instance_of(change: &Change) -> Option<&InstanceId> {
    match change {
        Change::Killed { id, .. } | Change::Protected { id, .. } => Some(id),
        Change::Adopted(adopted) => Some(&adopted.id),
        _ => None,
    }
}

/// Tells what happened.
///
/// # Errors
/// `not_found` when there never was such a domain, `invalid` when the time asked for lies before all that is looked through, `unavailable`
/// when the journal can't be read.
async fn tell(journal: &impl Journal, key: &DomainKey, asked: Asked) -> Result<History, ApiError> {
    let mut search = Search { key: key.clone(), asked, pending: Vec::new(), happenings: Vec::new(), is_known: false, oldest: None };
    let mut back = Back::far(journal, key);
    while !search.is_enough()
        && let Some(piece) = back.piece().await?
    {
        search = aside(move || search.after(piece)).await?;
    }
    let is_all = back.is_all;
    aside(move || {
        if is_all && !search.is_enough() {
            // The first record of all follows on nothing.
            search.fold();
        }
        search.end(is_all)
    })
    .await?
}

/// A search back through the journal.
struct Search {
    key: DomainKey,
    asked: Asked,
    /// Records that were read and whose snapshot was not yet, newest first.
    pending: Vec<(u64, Record)>,
    /// What was found, in order.
    happenings: Vec<Happening>,
    /// Whether there was ever such a domain.
    is_known: bool,
    /// The moment of the oldest record that was folded.
    oldest: Option<Timestamp>,
}

impl Search {
    /// Looks at the records before those that were looked at, newest first, as far as it takes.
    fn after(mut self, piece: Vec<(u64, Record)>) -> Self {
        for (sequence, record) in piece {
            let begins = record.is_snapshot();
            self.pending.push((sequence, record));
            if begins {
                self.fold();
                if self.is_enough() {
                    break;
                }
            }
        }
        self
    }

    /// Tells the records that were read, which begin with a snapshot or with the first of all, and puts that before what was found.
    fn fold(&mut self) {
        let Asked { instance, since, until, .. } = &self.asked;
        // Which slot it is in, nothing that happened depends on.
        let mut state = DomainState::absent(self.key.clone(), Slot(0));
        let mut found = Vec::new();
        self.oldest = self.pending.last().map(|(_, record)| record.at).or(self.oldest);
        for (sequence, record) in self.pending.drain(..).rev() {
            let was_there = !matches!(state.life, Life::Absent | Life::Removed);
            let mut told = Told::by_folding(&mut state, sequence, &record).happenings;
            self.is_known |= state.life != Life::Absent;
            if !(*since..=*until).contains(&record.at) {
                continue;
            }
            if let Some(who) = instance {
                who.pick(&mut told, &record, &state);
            }
            // A host takes a name in order to add a domain; until that is there nothing happened.
            told.retain(|happening| was_there || !matches!(happening.what, Happened::Taken { .. }));
            found.append(&mut told);
        }
        found.append(&mut self.happenings);
        self.happenings = found;
    }

    /// Whether nothing that lies further back is asked for.
    fn is_enough(&self) -> bool {
        self.happenings.len() > self.asked.limit || self.oldest.is_some_and(|oldest| oldest < self.asked.since)
    }

    fn end(self, is_all: bool) -> Result<History, ApiError> {
        let Self { key, asked, happenings, is_known, oldest, .. } = self;
        if is_all && !is_known {
            return Err(ApiError::NotFound { what: format!("domain {}", key.name) });
        }
        let is_whole = is_all || oldest.is_some_and(|oldest| oldest < asked.since);
        if !is_whole && happenings.is_empty() && oldest.is_none_or(|oldest| oldest > asked.until) {
            let oldest = oldest.map_or_else(|| "later".to_owned(), |oldest| format!("at {}", moment(oldest)));
            return Err(ApiError::invalid(
                "/until",
                format!("the newest records that are looked through begin {oldest}: ask for a later moment"),
            ));
        }
        let all = happenings.len();
        // The newest count most.
        let newest: Vec<_> = happenings.into_iter().rev().take(asked.limit).collect();
        let (mut happenings, _) = fitting(newest, MAX_ANSWER, |_| 0);
        happenings.reverse();
        let more = !is_whole || happenings.len() < all;
        Ok(History { domain: key.name.clone(), happenings, more })
    }
}

#[cfg(test)]
mod tests;
