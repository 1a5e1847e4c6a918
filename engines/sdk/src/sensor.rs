//! Readings, and the honest absence of them.

use std::time::Duration;

pub use crate::bindings::pilothouse::engine::state::{Scope, Statistic};

/// A reading, or the honest absence of one. Nothing is ever zero because it is unknown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sample {
    /// From readings inside the window that was asked for.
    Value(f64),
    /// Nothing inside the window.
    Stale {
        /// The last reading before the window.
        last: f64,
        /// How old it is.
        age: Duration,
    },
    /// Never heard of, or too long ago to be kept.
    Absent,
}

impl Sample {
    /// The value, if there is one inside the window.
    #[must_use]
    pub fn value(self) -> Option<f64> {
        match self {
            Self::Value(value) => Some(value),
            Self::Stale { .. } | Self::Absent => None,
        }
    }
}

impl Scope {
    /// The readings of this instance.
    #[must_use]
    pub fn instance(id: impl Into<String>) -> Self {
        Self::Instance(id.into())
    }
}
