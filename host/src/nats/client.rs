//! The connection: made for ever, with back-off, and watched.

use std::time::{Duration, Instant};

use async_nats::{Client, ConnectOptions, Event};
use tokio::sync::mpsc;

/// The longest pause between two attempts to reconnect: long enough not to press a server that starts, short enough that nobody waits.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(2);

/// How often the server is asked whether it is still there. Two unanswered questions end the connection.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// How to reach the server.
#[derive(Clone, Debug, clap::Args)]
pub struct NatsArgs {
    /// URL of the NATS server; several, separated by commas, for a cluster
    #[arg(long = "nats", env = "PILOTHOUSE_NATS", value_name = "URL", default_value = "nats://127.0.0.1:4222")]
    pub url: String,
    /// Credentials file for the NATS server
    #[arg(long = "nats-creds", env = "PILOTHOUSE_NATS_CREDS", value_name = "FILE")]
    pub creds: Option<std::path::PathBuf>,
}

/// What happened to a connection, for those who must know when they could not see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// Connected, for the first time or again.
    Up,
    /// The connection is lost; it is being made again.
    Down,
    /// Messages of a subscription were dropped, because they were not taken out fast enough.
    SlowConsumer,
    /// The server complained: a permission that is missing, for example.
    Complaint(String),
}

/// A connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is none.
    #[error("{url:?} is no NATS address; expected nats://HOST:PORT")]
    Address {
        /// What was given.
        url: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The credentials can't be read.
    #[error("credentials {path}")]
    Credentials {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// No server answers, or it refuses us.
    #[error("NATS server at {url}")]
    Server {
        /// Where.
        url: String,
        /// Why not.
        source: async_nats::ConnectError,
    },
}

/// Connects, and stays connected: attempts go on for ever, first and later ones alike.
///
/// Returns at once, also while no server answers. What happens to the link is told to `events`; when nobody listens any more it is
/// only logged.
///
/// # Errors
/// When the address is none or the credentials can't be read.
pub async fn stay_connected(args: &NatsArgs, name: &str, events: mpsc::UnboundedSender<LinkEvent>) -> Result<Client, ConnectError> {
    let options = options(args, name).await?.retry_on_initial_connect();
    connect_with(args, watched(options, events)).await
}

/// Has a connection tell what happens to it.
pub fn watched(options: ConnectOptions, events: mpsc::UnboundedSender<LinkEvent>) -> ConnectOptions {
    let warned = std::sync::Mutex::new(None::<Instant>);
    options.event_callback(move |event| {
        let told = match event {
            Event::Connected => {
                tracing::info!("connected to NATS");
                Some(LinkEvent::Up)
            }
            Event::Disconnected => {
                tracing::warn!("connection to NATS lost; trying again for ever");
                Some(LinkEvent::Down)
            }
            Event::SlowConsumer(subscription) => {
                // One of these comes for every message.
                let mut warned = warned.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if warned.is_none_or(|last| last.elapsed() >= Duration::from_secs(1)) {
                    *warned = Some(Instant::now());
                    tracing::warn!(subscription, "messages dropped: they came faster than they were taken");
                }
                Some(LinkEvent::SlowConsumer)
            }
            Event::ServerError(error) => {
                tracing::warn!(%error, "the NATS server complains");
                Some(LinkEvent::Complaint(error.to_string()))
            }
            other => {
                tracing::debug!(event = %other, "NATS");
                None
            }
        };
        if let Some(told) = told {
            // Nobody listening is no fault: short-lived commands don't.
            let _ = events.send(told);
        }
        std::future::ready(())
    })
}

/// Connects once, or says why not: for commands that a person waits for.
///
/// # Errors
/// When no server answers within five seconds.
pub async fn connect(args: &NatsArgs, name: &str) -> Result<Client, ConnectError> {
    let options = options(args, name).await?.connection_timeout(Duration::from_secs(5));
    connect_with(args, options).await
}

async fn options(args: &NatsArgs, name: &str) -> Result<ConnectOptions, ConnectError> {
    let options = match &args.creds {
        None => ConnectOptions::new(),
        Some(path) => ConnectOptions::with_credentials_file(path)
            .await
            .map_err(|source| ConnectError::Credentials { path: path.display().to_string(), source })?,
    };
    Ok(options.name(name).ping_interval(PING_INTERVAL).max_reconnects(None).reconnect_delay_callback(|attempt| {
        let doubled = Duration::from_millis(20).saturating_mul(1 << attempt.min(10));
        doubled.min(MAX_RECONNECT_DELAY)
    }))
}

async fn connect_with(args: &NatsArgs, options: ConnectOptions) -> Result<Client, ConnectError> {
    let addresses = args
        .url
        .split(',')
        .map(|url| url.trim().parse::<async_nats::ServerAddr>())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| ConnectError::Address { url: args.url.clone(), source })?;
    options.connect(addresses).await.map_err(|source| ConnectError::Server { url: args.url.clone(), source })
}
