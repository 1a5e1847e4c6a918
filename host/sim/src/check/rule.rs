//! The rules, and what it means that one is broken.

use std::fmt;

/// A rule that must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// No instance is launched twice for one promise.
    LaunchedOnce,
    /// Nobody is terminated, and no record dropped, without a recorded reason.
    EndedForAReason,
    /// The state of an instance never goes back.
    NeverBackwards,
    /// There are never two decisions at once.
    OneDecisionAtATime,
    /// The fold of the journal, read from its bytes, is the state in memory.
    FoldIsState,
    /// No decision brings a domain above its maximum.
    MaximumRespected,
    /// A domain that is paused, in dry run or being removed does nothing at its engine's word.
    StoppedMeansStopped,
    /// No engine and no operator ends an instance that an operator protects.
    ProtectedStay,
    /// What is launched in the place of an instance never stands beside it.
    ReplacedLeave,
    /// A version of an engine comes into force between two decisions, or with the fault that leads to it; and decides only while it is in
    /// force.
    DecidedInForce,
    /// An engine that is held is not asked.
    HeldIsHeld,
    /// Every subscriber is told once that an instance runs, failed or ended, and of nothing else.
    ToldOnce,
    /// Records follow one another in sequence, epoch and time, and requests carry the newest epoch.
    InOrder,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 13] = [
        Self::LaunchedOnce,
        Self::EndedForAReason,
        Self::NeverBackwards,
        Self::OneDecisionAtATime,
        Self::FoldIsState,
        Self::MaximumRespected,
        Self::StoppedMeansStopped,
        Self::ProtectedStay,
        Self::ReplacedLeave,
        Self::DecidedInForce,
        Self::HeldIsHeld,
        Self::ToldOnce,
        Self::InOrder,
    ];

    /// What must hold, in words.
    pub const fn says(self) -> &'static str {
        match self {
            Self::LaunchedOnce => "no instance is launched twice for one promise",
            Self::EndedForAReason => "nobody is terminated, and no record dropped, without a recorded reason",
            Self::NeverBackwards => "the state of an instance never goes back",
            Self::OneDecisionAtATime => "there are never two decisions at once",
            Self::FoldIsState => "the fold of the journal is the state in memory",
            Self::MaximumRespected => "no decision brings a domain above its maximum",
            Self::StoppedMeansStopped => "a domain that is paused, in dry run or being removed does nothing at its engine's word",
            Self::ProtectedStay => "no engine and no operator ends an instance that an operator protects",
            Self::ReplacedLeave => "what is launched in the place of an instance never stands beside it",
            Self::DecidedInForce => "versions of an engine are swapped between two decisions, and only what is in force decides",
            Self::HeldIsHeld => "an engine that is held is not asked",
            Self::ToldOnce => "every subscriber is told once that an instance runs, failed or ended, and of nothing else",
            Self::InOrder => "records follow one another in sequence, epoch and time, and requests carry the newest epoch",
        }
    }
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broken: {}: {}", self.rule.says(), self.seen)
    }
}

impl std::error::Error for Violation {}

pub(super) fn broken<T>(rule: Rule, seen: String) -> Result<T, Violation> {
    Err(Violation { rule, seen })
}
