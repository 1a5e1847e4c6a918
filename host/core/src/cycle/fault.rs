//! How an engine call can fail.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An engine call that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", kind.name())]
pub struct Fault {
    /// What sort.
    pub kind: FaultKind,
    /// In words.
    pub message: String,
    /// Where in the engine, innermost first; nothing where that is not known.
    pub backtrace: Vec<String>,
}

/// The sorts of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// It trapped: a panic, an overflow of the stack, an access outside its memory.
    Trap,
    /// It used up its fuel.
    Fuel,
    /// It wanted more memory, or larger tables, than it may have.
    Memory,
    /// It ran for too long by the clock on the wall, on a machine that was busy with other things.
    Deadline,
    /// It ran for too long, and had the processor all that time: its instructions are slower than its fuel tells.
    Processor,
    /// No answer came in time, waiting for a place and a thread included, or the host lost the call: it was abandoned.
    Abandoned,
    /// What it returned is over a limit or makes no sense.
    Output,
    /// It returned an error.
    Returned,
    /// The component could not be had, loaded or started here.
    Load,
    /// The host had no room for the call: engines together use all the memory or all the threads that they may.
    Crowded,
}

impl FaultKind {
    /// The name in records, metrics and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Fuel => "fuel",
            Self::Memory => "memory",
            Self::Deadline => "deadline",
            Self::Processor => "processor",
            Self::Abandoned => "abandoned",
            Self::Output => "output",
            Self::Returned => "returned",
            Self::Load => "load",
            Self::Crowded => "crowded",
        }
    }

    /// Whether it speaks against this version of the engine. A busy or crowded machine, a store that does not answer, and an error that the
    /// engine means, do not.
    pub const fn counts(self) -> bool {
        matches!(self, Self::Trap | Self::Fuel | Self::Memory | Self::Processor | Self::Output)
    }
}

impl Fault {
    /// A fault of a kind, in words.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), backtrace: Vec::new() }
    }
}
