//! How a domain stands with its engine: that it is held, that it went back, and what runs beside.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::View;
use crate::cycle::FaultKind;
use crate::engine::{EngineHeld, Reference, Rejected, Shadow, Shadowing};
use crate::record::{Event, Faulted};
use crate::state::DomainState;
use crate::time::Timestamp;

/// A call of an engine that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FaultTold {
    /// Its journal sequence.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// Which call.
    pub call: String,
    /// What sort of fault.
    pub kind: FaultKind,
    /// In words.
    pub message: String,
    /// Where in the engine, innermost first; nothing where that is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backtrace: Vec<String>,
    /// Units of fuel that the call had used up.
    pub fuel: u64,
    /// What the engine logged until it failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

impl FaultTold {
    fn of(sequence: u64, at: Timestamp, faulted: &Faulted) -> Self {
        let Faulted { call, kind, message, backtrace, fuel, log, .. } = faulted.clone();
        Self { sequence, at, call, kind, message, backtrace, fuel, log }
    }
}

/// The newest call that failed, of the component of a digest; nothing when that is no longer on record.
pub(super) fn newest_fault(view: &View<'_>, digest: &str) -> Option<FaultTold> {
    view.events_back().find_map(|(sequence, record, event)| match event {
        Event::Faulted(faulted) if faulted.engine.digest == digest => Some(FaultTold::of(sequence, record.at, faulted)),
        _ => None,
    })
}

/// That an engine is not asked any more, until somebody changes something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldTold {
    /// Since when.
    pub since: Timestamp,
    /// Which, and why.
    #[serde(flatten)]
    pub held: EngineHeld,
    /// The same in words.
    pub words: String,
}

impl HeldTold {
    /// That the engine of a domain is held, if it is.
    pub fn of(state: &DomainState) -> Option<Self> {
        let (since, held) = state.held()?;
        Some(Self { since: *since, held: held.clone(), words: held.in_words() })
    }
}

/// What runs beside an engine, and how it compares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShadowTold {
    /// Which, since when, who asked for it, and how it has compared: as far as the host knows that, else as far as it is on record.
    #[serde(flatten)]
    pub shadow: Shadow,
    /// How it said the domain is when it differed last; nothing when that is no longer on record, or it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// Since when it has not differed. Nothing where nobody knows: of the past.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_since: Option<Timestamp>,
    /// When it comes into force, if it does not differ before and is compared at least once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_at: Option<Timestamp>,
}

impl ShadowTold {
    /// What runs beside the engine of a domain, if anything does. `shadowing` is what the domain's host knows of it, beside what is on record.
    pub fn of(state: &DomainState, shadowing: Option<&Shadowing>) -> Option<Self> {
        let mut shadow = state.shadow()?.clone();
        let shadowing = shadowing.filter(|it| it.is_of(&shadow));
        if let Some(known) = shadowing {
            shadow.tally = known.tally().clone();
        }
        let quiet_since = shadowing.map(Shadowing::quiet_since);
        let promoted_at = quiet_since.zip(shadow.promote_after).map(|(since, after)| since + after);
        Some(Self { shadow, said: None, quiet_since, promoted_at })
    }

    /// As the records up to a moment tell it.
    pub(super) fn on_record(view: &View<'_>) -> Option<Self> {
        let told = Self::of(view.state, None)?;
        let differs = view.events_back().find_map(|(_, record, event)| match event {
            // From before its time: the same version may have run beside earlier.
            Event::Compared(compared) if compared.engine == told.shadow.engine && record.at >= told.shadow.since => {
                compared.requested.clone()
            }
            _ => None,
        });
        Some(Self { said: differs.map(|it| it.reason), ..told })
    }

    /// The same, with the words that the records hold.
    #[must_use]
    pub fn with_words_of(self, on_record: Option<Self>) -> Self {
        Self { said: on_record.and_then(|it| it.said), ..self }
    }
}

/// The version that a domain went back from and would have otherwise: the newest of those, as long as nothing newer is in force.
pub fn rolled_back(state: &DomainState) -> Option<&Rejected> {
    let lineage = state.lineage.as_ref()?;
    // What a promotion had changed in the configuration came back with the version before.
    let asked_for = [Some(&state.config.general.engine), lineage.reference_before.as_ref()];
    let asked_for: Vec<Reference> = asked_for.into_iter().flatten().filter_map(|it| it.parse().ok()).collect();
    let in_force: semver::Version = state.engine.version.parse().ok()?;
    let newest = lineage.rejected.iter().rfind(|it| asked_for.iter().any(|reference| reference.fits(&it.engine)))?;
    let version: semver::Version = newest.engine.version.parse().ok()?;
    (newest.engine.name == state.engine.name && version >= in_force).then_some(newest)
}

/// What a configuration would have to ask for to have a version that the domain went back from: nothing where it does, else what it did
/// while that was promoted.
pub(super) fn reference_of(state: &DomainState, rejected: &Rejected) -> Option<String> {
    let fits = |reference: &str| reference.parse::<Reference>().is_ok_and(|reference| reference.fits(&rejected.engine));
    if fits(&state.config.general.engine) { None } else { state.lineage.as_ref()?.reference_before.clone() }
}
