//! Why a domain, or one of its instances, did what it did: told from its journal.
//!
//! Every reason is written down already: a decision record holds what the engine saw and said, what it asked for, and what each guard
//! ruled. This module finds the records that matter and puts them in order. It judges nothing, and it does not render: words such as
//! *two minutes ago* belong to whoever reads the story to a person.
//!
//! The host that owns a domain calls it with the state and the newest records of the journal; `pilothouse why` shows the result.

mod domain;
mod instance;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use domain::{ChangeTold, DecisionTold, DomainStory, explain_domain};
pub use instance::{Ending, InstanceNow, InstanceStory, Start, Step, StepKind, explain_instance};

use crate::id::InstanceId;
use crate::record::{Change, Event, Record};
use crate::state::DomainState;

/// The answer to *why*.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum Explanation {
    /// Of a domain as a whole.
    Domain(Box<DomainStory>),
    /// Of one of its instances.
    Instance(Box<InstanceStory>),
}

/// The ordinal of every instance that these records launched, found by counting back from the newest: records of instances that were
/// reaped don't tell it any more.
///
/// Empty when the records don't reach up to the state, because then there is nothing to count back from.
fn ordinals(state: &DomainState, records: &[(u64, Record)]) -> BTreeMap<InstanceId, u64> {
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
            _ if begins(event) => break,
            _ => {}
        }
    }
    known
}

/// Whether what came before this event was another domain of the same name.
fn begins(event: &Event) -> bool {
    match event {
        Event::Removed => true,
        Event::Configured(configured) => matches!(configured.change, Change::Added { .. }),
        _ => false,
    }
}
