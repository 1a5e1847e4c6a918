//! The way out for messages that are worth something now and nothing later.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use bytes::Bytes;

use super::client::LinkEvent;

/// How long a message may wait for room on the way out. What is older is not worth sending.
const PATIENCE: Duration = Duration::from_secs(1);

/// Publishes while there is a link and drops what is to be said while there is none.
///
/// The client itself would keep messages and send them when the link is back: old heartbeats all at once, and until then a sender that
/// hangs as soon as its buffer is full. Who speaks through an outlet says the newest again when the link is up.
#[derive(Debug)]
pub struct Outlet {
    client: Client,
    up: AtomicBool,
}

impl Outlet {
    /// An outlet over a connection.
    pub fn new(client: Client) -> Self {
        Self { client, up: AtomicBool::new(false) }
    }

    /// Takes note of what happened to the link; says whether it came up, and the newest should be said again.
    pub fn take(&self, event: &LinkEvent) -> bool {
        match event {
            LinkEvent::Up => self.up.store(true, Ordering::Relaxed),
            LinkEvent::Down => self.up.store(false, Ordering::Relaxed),
            LinkEvent::SlowConsumer | LinkEvent::Complaint(_) => {}
        }
        *event == LinkEvent::Up
    }

    /// Whether what is said now goes out.
    pub fn is_up(&self) -> bool {
        // The client tells of a new link just before it says that it has one, and it may fail to tell at all.
        self.up.load(Ordering::Relaxed) || self.client.connection_state() == State::Connected
    }

    /// Publishes, and says whether it did. Publishing is not arriving.
    pub async fn send(&self, subject: &str, payload: impl Into<Bytes>) -> bool {
        if !self.is_up() {
            return false;
        }
        match tokio::time::timeout(PATIENCE, self.client.publish(subject.to_owned(), payload.into())).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(subject, %error, "could not publish");
                false
            }
            Err(_) => {
                tracing::warn!(subject, "could not publish: no room on the way out");
                false
            }
        }
    }

    /// The connection, for what is not said but asked and answered.
    pub fn client(&self) -> &Client {
        &self.client
    }
}
