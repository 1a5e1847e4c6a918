//! What the server refused to a connection.
//!
//! A server that does not let a message through says so on the side: whoever sent it waits in vain for an answer. This connects the two.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

/// How many subjects are remembered: far more than a command uses.
const MOST: usize = 1000;

/// The subjects that were refused on one connection. Copies share them.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    subjects: Arc<watch::Sender<BTreeSet<String>>>,
}

impl Refusals {
    /// Takes note of what the server complained of, if it is that something is not permitted.
    pub fn note(&self, complaint: &str) {
        let Some(subject) = refused(complaint) else {
            tracing::warn!(complaint, "the NATS server complains");
            return;
        };
        self.subjects.send_if_modified(|subjects| subjects.len() < MOST && subjects.insert(subject.to_owned()));
    }

    /// Returns when the server has refused this subject: to be published on, or to be heard. Never, if it doesn't.
    pub async fn of(&self, subject: &str) {
        let mut subjects = self.subjects.subscribe();
        // Fails only when nobody can note anything any more, and this holds one who can.
        let _ = subjects.wait_for(|subjects| subjects.contains(subject)).await;
    }
}

/// The subject in the complaint of a server: `Permissions Violation for Publish to "a.b"`, or for a subscription; perhaps with a queue.
fn refused(complaint: &str) -> Option<&str> {
    let (_, violation) = split_ignoring_case(complaint, "permissions violation for ")?;
    let (_, rest) = violation.split_once('"')?;
    rest.split('"').next()
}

fn split_ignoring_case<'t>(text: &'t str, at: &str) -> Option<(&'t str, &'t str)> {
    let found = text.to_ascii_lowercase().find(at)?;
    Some((&text[..found], &text[found + at.len()..]))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_complaint_panics(text in ".*") {
            let _ = refused(&text);
            let _ = refused(&format!("Permissions Violation for {text}"));
        }
    }

    #[test]
    fn the_subject_is_found_in_the_complaint() {
        assert_eq!(refused("nats: Permissions Violation for Publish to \"ph.v1.api.bob.why\""), Some("ph.v1.api.bob.why"));
        assert_eq!(refused("permissions violation for subscription to \"a.>\" using queue \"q\""), Some("a.>"));
        assert_eq!(refused("Authorization Violation"), None);
    }

    #[test]
    fn what_was_refused_before_anybody_asked_is_known_and_nothing_else() {
        let refusals = Refusals::default();
        refusals.note("Permissions Violation for Publish to \"a\"");
        assert!(refusals.of("a").now_or_never().is_some());
        assert!(refusals.of("b").now_or_never().is_none());
    }
}
