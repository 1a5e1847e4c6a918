//! Who calls: the arguments that all commands of a client share, and the call itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use pilothouse_core::command::ApiError;
use pilothouse_core::name::Name;
use pilothouse_core::subject::Subjects;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::{ApiClient, CallError, Operation};
use crate::failure::Failure;
use crate::nats::client::{NatsArgs, connect};
use crate::output::Format;
use crate::up::URL_FILE;

/// The server of a machine where nobody said anything else.
const DEFAULT_URL: &str = "nats://127.0.0.1:4222";

/// Before a request is sent again when no host was there: a host that is just being started again is back by then.
const SECOND_ATTEMPT: Duration = Duration::from_secs(2);

/// How to reach the hosts, as whom, and how to show what they answer.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct CallerArgs {
    /// URL of the NATS server; several, separated by commas, for a cluster [env: PILOTHOUSE_NATS] [default: nats://127.0.0.1:4222]
    #[arg(long, global = true, value_name = "URL")]
    nats: Option<String>,
    /// Use the NATS server of the `pilothouse up` that runs in this directory [env: PILOTHOUSE_DATA]
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "nats")]
    data: Option<PathBuf>,
    /// Credentials file for the NATS server
    #[arg(long = "nats-creds", global = true, env = "PILOTHOUSE_NATS_CREDS", value_name = "FILE")]
    creds: Option<PathBuf>,
    /// First token of all subjects
    #[arg(long, global = true, env = "PILOTHOUSE_PREFIX", value_name = "NAME", default_value = Subjects::DEFAULT_PREFIX)]
    prefix: Name,
    /// The user whose domains are meant; the NATS server decides whether you may speak for them [default: the hosts' default user]
    #[arg(long, global = true, env = "PILOTHOUSE_USER", value_name = "NAME")]
    user: Option<Name>,
    /// How to answer
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub(crate) output: Format,
}

/// Where the address of the server comes from.
#[derive(Debug, PartialEq, Eq)]
enum Source<'a> {
    Url(&'a str),
    /// The file in the directory of a `pilothouse up`.
    Data(&'a Path),
}

impl CallerArgs {
    /// Connects.
    pub(crate) async fn connect(&self) -> anyhow::Result<Caller> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (env_nats, env_data) = (variable("PILOTHOUSE_NATS"), variable("PILOTHOUSE_DATA"));
        let url = match self.source(env_nats.as_deref(), env_data.as_deref()) {
            Source::Url(url) => url.to_owned(),
            Source::Data(data) => url_of(data)?,
        };
        let nats = NatsArgs { url, creds: self.creds.clone() };
        let client = connect(&nats, "pilothouse command").await?;
        Ok(Caller { api: ApiClient::new(client, Subjects::new(&self.prefix), self.user.clone()) })
    }

    /// What was said on the command line wins over the environment, and an address over a directory.
    fn source<'a>(&'a self, env_nats: Option<&'a str>, env_data: Option<&'a str>) -> Source<'a> {
        match (&self.nats, &self.data, env_nats, env_data) {
            (Some(url), ..) => Source::Url(url),
            (None, Some(data), ..) => Source::Data(data),
            (None, None, Some(url), _) => Source::Url(url),
            (None, None, None, Some(data)) => Source::Data(Path::new(data)),
            (None, None, None, None) => Source::Url(DEFAULT_URL),
        }
    }
}

fn url_of(data: &Path) -> anyhow::Result<String> {
    match std::fs::read_to_string(data.join(URL_FILE)) {
        Ok(url) => Ok(url.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Failure::Unavailable(format!("no `pilothouse up` has run in {}", data.display())).into())
        }
        Err(error) => Err(error).with_context(|| format!("reading {}", data.join(URL_FILE).display())),
    }
}

/// A connected caller.
#[derive(Debug)]
pub(crate) struct Caller {
    api: ApiClient,
}

impl Caller {
    /// The connection.
    pub(crate) fn nats(&self) -> &async_nats::Client {
        self.api.nats()
    }

    /// Where events of the user's domains are published; those of all domains when no user was named.
    pub(crate) fn events_subject(&self) -> String {
        self.api.subjects().events_of(self.api.user().map_or("*", Name::as_str))
    }

    /// Calls an operation, and once more when no host was there or none answered in time. A request that changes something carries an
    /// id, so that it is carried out once also when both arrive.
    pub(crate) async fn call<T: DeserializeOwned>(&self, operation: Operation, request: &impl Serialize) -> Result<T, CallError> {
        match self.api.call(operation, request).await {
            Err(CallError::NoHost { .. }) => tokio::time::sleep(SECOND_ATTEMPT).await,
            Err(CallError::TimedOut { .. }) => {}
            Err(CallError::Api(ApiError::Unavailable { message })) => {
                tracing::debug!(message, "asking again");
                tokio::time::sleep(SECOND_ATTEMPT).await;
            }
            answered => return answered,
        }
        self.api.call(operation, request).await
    }
}

/// A fresh id for a request, so that a repetition is told from another wish.
pub(crate) fn request_id() -> Option<String> {
    Some(format!("{:032x}", rand::random::<u128>()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        caller: CallerArgs,
    }

    fn parse(args: &[&str]) -> CallerArgs {
        Cli::try_parse_from([&["x"], args].concat()).expect("valid").caller
    }

    #[test]
    fn the_command_line_wins_over_the_environment() {
        let (env_nats, env_data) = (Some("nats://env"), Some("env-dir"));
        assert_eq!(parse(&["--nats", "nats://arg"]).source(env_nats, env_data), Source::Url("nats://arg"));
        assert_eq!(parse(&["--data", "arg-dir"]).source(env_nats, env_data), Source::Data(Path::new("arg-dir")));
        assert_eq!(parse(&[]).source(env_nats, env_data), Source::Url("nats://env"));
        assert_eq!(parse(&[]).source(None, env_data), Source::Data(Path::new("env-dir")));
        assert_eq!(parse(&[]).source(None, None), Source::Url(DEFAULT_URL));
        assert!(Cli::try_parse_from(["x", "--nats", "a", "--data", "b"]).is_err(), "one of the two");
    }

    #[test]
    fn request_ids_differ() {
        assert_ne!(request_id(), request_id());
    }
}
