//! Why a domain, or one of its instances, did what it did: told from its journal.
//!
//! Every reason is written down already: a decision record holds what the engine saw and said, what it asked for, and what each guard
//! ruled. This module finds the records that matter and puts them in order. It decides nothing, and it does not render: words such as
//! *two minutes ago* belong to whoever reads the story to a person.
//!
//! The host that owns a domain makes a [`View`] of the state and the newest records of the journal, of the present or of a moment of the past;
//! `pilothouse why` shows what is told of it.
//!
//! | a question about | is answered with |
//! |---|---|
//! | a domain, now or at a moment | [`DomainStory`]: what holds it back, its decisions, what came of them, and what became of its engine |
//! | its newest decisions | [`DecisionList`]: a line each |
//! | an instance | [`InstanceStory`]: why it was started, what it went through, on what evidence it ended |

mod ask;
mod domain;
mod engine;
mod evidence;
mod hold;
mod instance;
mod list;
mod mention;
#[cfg(test)]
mod tests;
mod view;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use ask::Ask;
pub use domain::{ChangeTold, DecisionTold, DomainStory, ScheduleTold, UnhealthyTold, explain_domain};
pub use engine::{FaultTold, HeldTold, ShadowTold, rolled_back};
pub use evidence::{Evidence, Window};
pub use hold::{Held, Hold, Requested};
pub use instance::{Ending, InstanceNow, InstanceStory, Protection, Start, Step, StepKind, Unhealthy, explain_instance};
pub use list::{DecisionLine, DecisionList, LineKind, list_decisions};
pub use mention::Mention;
pub use view::{Later, View};

/// The answer to *why*.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum Explanation {
    /// Of a domain as a whole.
    Domain(Box<DomainStory>),
    /// Of its newest decisions, a line each.
    Decisions(Box<DecisionList>),
    /// Of one of its instances.
    Instance(Box<InstanceStory>),
}
