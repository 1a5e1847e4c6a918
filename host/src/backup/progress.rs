//! How far a long work has come, for somebody who waits for it at a terminal.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Between two looks of a person.
const EVERY: Duration = Duration::from_millis(200);

/// One line on standard error that is written over and over; nothing where that is no terminal.
#[derive(Debug)]
pub(super) struct Progress {
    is_shown: bool,
    last: Option<Instant>,
    has_written: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { is_shown: std::io::stderr().is_terminal(), last: None, has_written: false }
    }

    /// Says what is being done, unless it said something just now.
    pub(super) fn say(&mut self, what: impl FnOnce() -> String) {
        if !self.is_shown || self.last.is_some_and(|last| last.elapsed() < EVERY) {
            return;
        }
        (self.last, self.has_written) = (Some(Instant::now()), true);
        // Nobody misses it.
        let _ = write!(std::io::stderr(), "\r\x1b[K{}", what());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.has_written {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
