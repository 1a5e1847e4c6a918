//! The connection: made for ever, with back-off, and watched.

use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::{Client, ClientError, ConnectErrorKind, ConnectOptions, Event};
use pilothouse_core::subject::is_publishable;
use tokio::sync::mpsc;

use super::refusals::Refusals;
use crate::auth::credentials;

/// The longest pause between two attempts to reconnect: long enough not to press a server that starts, short enough that nobody waits.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(2);

/// How often the server is asked whether it is still there. Two unanswered questions end the connection.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// That the server does not believe our credentials is said at most so often.
const SHUT_OUT_EVERY: Duration = Duration::from_secs(30);

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
    /// The credentials can't be read, or are none.
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
    let (warned, shut_out, forbidden) = (std::sync::Mutex::new(None::<Instant>), std::sync::Mutex::new(None), std::sync::Mutex::new(None));
    let is_due = |last: &std::sync::Mutex<Option<Instant>>, every: Duration| {
        let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() >= every);
        if due {
            *last = Some(Instant::now());
        }
        due
    };
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
                if is_due(&warned, Duration::from_secs(1)) {
                    tracing::warn!(subscription, "messages dropped: they came faster than they were taken");
                }
                Some(LinkEvent::SlowConsumer)
            }
            Event::ServerError(error) => {
                let said = error.to_string();
                if !said.to_lowercase().contains("permissions violation") {
                    tracing::warn!(%error, "the NATS server complains");
                } else if is_due(&forbidden, SHUT_OUT_EVERY) {
                    // One of these comes for every message as well.
                    tracing::error!(%error, "the NATS server forbids this: look at --nats-creds, they may be those of another role");
                }
                Some(LinkEvent::Complaint(said))
            }
            // Said by the client at every attempt, and by nobody else: the server only says good-bye.
            Event::ClientError(ClientError::Other(error)) if error == ConnectErrorKind::AuthorizationViolation.to_string() => {
                if is_due(&shut_out, SHUT_OUT_EVERY) {
                    tracing::error!("the NATS server does not let us in: look at --nats-creds; trying again for ever");
                }
                None
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

/// Connects once, or says why not: for commands that a person waits for. What the server refuses is gathered, so that nobody waits for
/// an answer that can't come.
///
/// # Errors
/// When no server answers within five seconds, or it doesn't believe the credentials.
pub async fn connect(args: &NatsArgs, name: &str) -> Result<(Client, Refusals), ConnectError> {
    let refusals = Refusals::default();
    let heard = refusals.clone();
    let options = options(args, name).await?.connection_timeout(Duration::from_secs(5)).event_callback(move |event| {
        if let Event::ServerError(error) = event {
            heard.note(&error.to_string());
        }
        std::future::ready(())
    });
    Ok((connect_with(args, options).await?, refusals))
}

/// Who a credentials file is for: the name in its token. Nothing when the token names nobody.
///
/// # Errors
/// When the file can't be read.
pub async fn name_in(creds: &Path) -> Result<Option<String>, ConnectError> {
    Ok(credentials::name_in(&read(creds).await?))
}

async fn read(creds: &Path) -> Result<String, ConnectError> {
    let unreadable = |source| ConnectError::Credentials { path: creds.display().to_string(), source };
    tokio::fs::read_to_string(creds).await.map_err(unreadable)
}

async fn options(args: &NatsArgs, name: &str) -> Result<ConnectOptions, ConnectError> {
    let options = match &args.creds {
        None => ConnectOptions::new(),
        Some(path) => {
            let text = read(path).await?;
            let options = ConnectOptions::with_credentials(&text)
                .map_err(|source| ConnectError::Credentials { path: path.display().to_string(), source })?;
            // Where the server keeps others from hearing the answers. Any name will do that is a token.
            match credentials::name_in(&text).filter(|name| is_publishable(name) && !name.contains('.')) {
                Some(name) => options.custom_inbox_prefix(format!("_INBOX.{name}")),
                None => options,
            }
        }
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
        .map_err(|source| ConnectError::Address { url: shown(&args.url), source })?;
    // Of several, they are servers of one cluster: whoever is a user of one is a user of all.
    let named = addresses.iter().find_map(|address| Some((address.username()?, address.password().unwrap_or_default())));
    let options = match named {
        Some((user, password)) => options.user_and_password(user.to_owned(), password.to_owned()),
        None => options,
    };
    options.connect(addresses).await.map_err(|source| ConnectError::Server { url: shown(&args.url), source })
}

/// Addresses as they may be told: without passwords.
fn shown(urls: &str) -> String {
    let one = |url: &str| match url.rsplit_once('@') {
        Some((before, server)) => {
            format!("{}{server}", before.split_inclusive("://").next().filter(|it| it.ends_with("://")).unwrap_or_default())
        }
        None => url.to_owned(),
    };
    urls.split(',').map(|url| one(url.trim())).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_without_who_connects_to_them() {
        assert_eq!(shown("nats://ann:secret@one:4222, two:4222,bob:p@ss@three"), "nats://one:4222,two:4222,three");
    }
}
