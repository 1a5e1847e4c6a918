//! What one engine may hand back and ask for.

use super::limits;

/// Bounds of one engine, at most the [`limits`] of all. What is over one is a [`FaultKind::Output`](super::FaultKind::Output), an invalid
/// request, or a dropped line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Of the memory, in bytes.
    pub memory_bytes: usize,
    /// Requests of one decision, launches and terminations together.
    pub requests: usize,
    /// Log lines of one cycle.
    pub log_lines: usize,
    /// Of a log line, in bytes.
    pub log_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { memory_bytes: limits::MEMORY_BYTES, requests: limits::REQUESTS, log_lines: limits::LOG_LINES, log_bytes: limits::LOG_BYTES }
    }
}
