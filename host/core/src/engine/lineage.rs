//! How a domain came to the engine that decides it, and what it goes back to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shadow::Shadow;
use crate::cycle::FaultKind;
use crate::name::Name;
use crate::record::EngineInForce;
use crate::time::{Millis, Timestamp};

/// Why another version is in force, although nobody changed the domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SwapReason {
    /// A newer one appeared that the configuration takes up.
    Followed,
    /// An operator wants this version.
    Pinned,
    /// Its file was saved anew.
    Reloaded,
    /// The one before failed so often, last like this, and this one had worked.
    RolledBack {
        /// How it failed last.
        kind: FaultKind,
        /// How often in a row, of those faults that speak against a version.
        faults: u32,
    },
    /// It ran beside and wanted the same for so long.
    Promoted {
        /// How long.
        quiet: Millis,
        /// Who had asked for that.
        by: Name,
    },
}

/// Another version is in force from then on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Swapped {
    /// Which.
    pub engine: EngineInForce,
    /// Why.
    pub why: SwapReason,
    /// What the configuration asks for from now on, where what it asked for before does not fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

impl Swapped {
    /// For people, of the domain.
    pub fn in_words(&self) -> String {
        let EngineInForce { name, version, .. } = &self.engine;
        match &self.why {
            SwapReason::Followed => format!("decided by {name} {version} from now on, which is newer"),
            SwapReason::Pinned => format!("decided by {name} {version} from now on, which was pinned"),
            SwapReason::Reloaded => format!("decided by {name} {version} from now on, as it was saved anew"),
            SwapReason::RolledBack { kind, faults } => {
                format!("ROLLED BACK to {name} {version}: the version before failed {}, last with {}", in_a_row(*faults), kind.name())
            }
            SwapReason::Promoted { quiet, by } => {
                format!("decided by {name} {version} from now on: as a shadow it wanted the same for {quiet}, and {by} had asked for that")
            }
        }
    }
}

/// An engine that is not asked any more, until somebody changes something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EngineHeld {
    /// Which.
    pub engine: EngineInForce,
    /// Why.
    pub why: HoldReason,
}

/// Why an engine is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// It failed so often, and there is nothing to go back to.
    Failed {
        /// How it failed last.
        kind: FaultKind,
        /// How often in a row, of those faults that speak against a version.
        faults: u32,
    },
    /// It does not understand the memory of the version before, and the configuration wants nobody to begin anew.
    MemoryRefused {
        /// In its words.
        message: String,
    },
}

impl EngineHeld {
    /// For people, of the domain.
    pub fn in_words(&self) -> String {
        let EngineInForce { name, version, .. } = &self.engine;
        match &self.why {
            HoldReason::Failed { kind, faults } => format!(
                "HELD: {name} {version} failed {}, last with {}, and there is no version to go back to",
                in_a_row(*faults),
                kind.name()
            ),
            HoldReason::MemoryRefused { message } => {
                format!("HELD: {name} {version} does not understand the memory of the version before: {message}")
            }
        }
    }
}

/// `3 times in a row`.
fn in_a_row(faults: u32) -> String {
    if faults == 1 { "once".to_owned() } else { format!("{faults} times in a row") }
}

/// A version that a domain went back from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rejected {
    /// Which.
    pub engine: EngineInForce,
    /// When.
    pub at: Timestamp,
    /// Why, in words.
    pub why: String,
}

/// What there is to know of a domain's engine beside which it is. Nothing of all this for a domain to which nothing happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Lineage {
    /// The journal sequence after which the engine in force has had to show that it works.
    pub since: u64,
    /// The version before that worked: what counted faults lead back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<EngineInForce>,
    /// What the configuration asked for before the newest swap, where that changed it: going back from a promotion brings it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_before: Option<String>,
    /// Versions that it went back from, oldest first: they are not taken up again by themselves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Rejected>,
    /// The engine is not asked any more, since then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<(Timestamp, EngineHeld)>,
    /// What runs beside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
}

impl Lineage {
    /// How many versions are remembered that a domain went back from.
    const MAX_REJECTED: usize = 16;

    /// How much of the words is kept, in characters: they are in every snapshot.
    const MAX_WORDS: usize = 500;

    /// Remembers a version that it went back from.
    pub(crate) fn reject(&mut self, mut rejected: Rejected) {
        if let Some((end, _)) = rejected.why.char_indices().nth(Self::MAX_WORDS) {
            rejected.why.truncate(end);
        }
        self.rejected.retain(|it| it.engine.digest != rejected.engine.digest);
        self.rejected.push(rejected);
        let too_many = self.rejected.len().saturating_sub(Self::MAX_REJECTED);
        self.rejected.drain(..too_many);
    }
}
