//! What a story is told from.

use std::collections::BTreeMap;

use crate::guard::Eyes;
use crate::id::InstanceId;
use crate::record::{Change, Configured, Event, Record};
use crate::state::DomainState;
use crate::time::Timestamp;

/// A domain at a moment, with what led up to it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The state at that moment.
    pub state: &'a DomainState,
    /// The newest records up to that state, in the order of the journal.
    pub records: &'a [(u64, Record)],
    /// The moment.
    pub now: Timestamp,
    /// What the host sees. Nothing for a moment of the past: that is not on record.
    pub eyes: Option<&'a Eyes>,
    /// When the engine was last asked, whether or not anything came of it. Nothing where nobody knows: after a change of hosts, and of
    /// the past.
    pub asked: Option<Timestamp>,
    /// What has come since. Nothing when the moment is now.
    pub later: Option<Later<'a>>,
}

/// What came after a moment of the past.
#[derive(Clone, Copy, Debug)]
pub struct Later<'a> {
    /// The state as it is now.
    pub state: &'a DomainState,
    /// The records since, in the order of the journal.
    pub records: &'a [(u64, Record)],
}

impl<'a> View<'a> {
    /// What is known by now, also when the moment is past.
    pub(super) fn known_by_now(&self) -> &'a DomainState {
        self.later.map_or(self.state, |later| later.state)
    }

    /// The records of this domain up to the moment: what came before belongs to another domain of the same name.
    pub(super) fn own_records(&self) -> &'a [(u64, Record)] {
        let begin = self.records.iter().rposition(|(_, record)| record.events.iter().any(begins)).unwrap_or(0);
        &self.records[begin..]
    }

    /// The records since the moment, as far as they are of the same domain.
    pub(super) fn records_since(&self) -> &'a [(u64, Record)] {
        let later = self.later.map_or(&[][..], |later| later.records);
        let end = later.iter().position(|(_, record)| record.events.iter().any(begins)).unwrap_or(later.len());
        &later[..end]
    }

    /// Every event of this domain up to the moment, newest first.
    pub(super) fn events_back(&self) -> impl Iterator<Item = (u64, &'a Record, &'a Event)> {
        self.own_records()
            .iter()
            .rev()
            .flat_map(|(sequence, record)| record.events.iter().rev().map(move |event| (*sequence, record, event)))
    }
}

/// The ordinal of every instance that these records launched or took in, found by counting back from the newest: records of instances that were
/// reaped don't tell it any more.
///
/// Empty when the records don't reach up to the state, because then there is nothing to count back from.
pub(super) fn ordinals(state: &DomainState, records: &[(u64, Record)]) -> BTreeMap<InstanceId, u64> {
    let mut known = BTreeMap::new();
    if records.last().is_none_or(|(sequence, _)| *sequence != state.sequence) {
        return known;
    }
    let mut next = state.next_ordinal;
    for event in records.iter().rev().flat_map(|(_, record)| record.events.iter().rev()) {
        match event {
            Event::Decided(decision) if !decision.dry_run => {
                for id in decision.launches.iter().rev().flat_map(|launch| launch.instances.iter().rev()) {
                    let Some(ordinal) = next.checked_sub(1) else { return known };
                    next = ordinal;
                    known.insert(id.clone(), ordinal);
                }
            }
            Event::Configured(Configured { change: Change::Adopted(adopted), .. }) => {
                let Some(ordinal) = next.checked_sub(1) else { return known };
                next = ordinal;
                known.insert(adopted.id.clone(), ordinal);
            }
            _ if begins(event) => break,
            _ => {}
        }
    }
    known
}

/// Whether what came before this event was another domain of the same name, or is void.
pub(super) fn begins(event: &Event) -> bool {
    match event {
        Event::Removed | Event::Restored(_) => true,
        Event::Configured(configured) => matches!(configured.change, Change::Added { .. }),
        _ => false,
    }
}
