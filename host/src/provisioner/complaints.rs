//! Malformed requests: every one is counted, few are logged.

use std::collections::BTreeMap;
use std::time::Duration;

use pilothouse_core::message::Malformed;
use tokio::time::Instant;

/// Between two lines in the log. Whoever sends nonsense sends it often.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// How many malformed requests there were, by kind.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    counts: BTreeMap<&'static str, u64>,
    unlogged: u64,
    logged: Option<Instant>,
}

impl Complaints {
    /// Counts one, and logs it unless another was logged a moment ago.
    pub(super) fn note(&mut self, subject: &str, malformed: &Malformed) {
        let count = self.counts.entry(malformed.kind.name()).or_default();
        *count += 1;
        if self.logged.is_some_and(|logged| logged.elapsed() < LOG_EVERY) {
            self.unlogged += 1;
            return;
        }
        tracing::warn!(
            subject,
            kind = malformed.kind.name(),
            reason = malformed.reason,
            of_this_kind = *count,
            not_logged = self.unlogged,
            "malformed request"
        );
        self.unlogged = 0;
        self.logged = Some(Instant::now());
    }
}
