//! Who calls: the arguments that all commands of a client share, and the call itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use pilothouse_core::command::ApiError;
use pilothouse_core::name::Name;
use pilothouse_core::subject::Subjects;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::hint;
use crate::api::{ApiClient, CallError, Operation};
use crate::failure::Failure;
use crate::nats::client::{NatsArgs, connect, name_in};
use crate::nats::refusals::Refusals;
use crate::output::Format;
use crate::up::URL_FILE;

/// The server of a machine where nobody said anything else.
const DEFAULT_URL: &str = "nats://127.0.0.1:4222";

/// How long somebody who mistyped a name waits for a hint: it is only a help.
const HINT: Duration = Duration::from_secs(2);

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
    /// The user whose domains are meant; the NATS server decides whether you may speak for them [default: the name in the credentials,
    /// else the hosts' default user]
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
        let (client, refusals) = connect(&nats, "pilothouse command").await?;
        let user = match (&self.user, &self.creds) {
            (Some(user), _) => Some(user.clone()),
            // Credentials of a user are made out to their name. Others may be made out to what is no name.
            (None, Some(creds)) => name_in(creds).await?.and_then(|name| name.parse().ok()),
            (None, None) => None,
        };
        Ok(Caller { api: ApiClient::new(client, Subjects::new(&self.prefix), user), refusals })
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
    refusals: Refusals,
}

impl Caller {
    /// The connection.
    pub(crate) fn nats(&self) -> &async_nats::Client {
        self.api.nats()
    }

    /// The subjects that it uses.
    pub(crate) fn subjects(&self) -> &Subjects {
        self.api.subjects()
    }

    /// Who calls, if that was said.
    pub(crate) fn user(&self) -> Option<&Name> {
        self.api.user()
    }

    /// Where events of the user's domains are published; those of all domains when no user was named.
    pub(crate) fn events_subject(&self) -> String {
        self.api.subjects().events_of(self.api.user().map_or("*", Name::as_str))
    }

    /// Returns when the NATS server has refused a subject to this caller, with the error that says so. Never, if it doesn't.
    pub(crate) async fn refused(&self, subject: &str) -> CallError {
        self.refusals.of(subject).await;
        let message = format!("the NATS server does not let you use {subject}: look at --user, and at what your credentials are for");
        CallError::Api(ApiError::NotPermitted { message })
    }

    /// Calls an operation. What is not found is answered with what was perhaps meant.
    pub(crate) async fn call<T: DeserializeOwned>(&self, operation: Operation, request: &impl Serialize) -> anyhow::Result<T> {
        match self.try_call(operation, request).await {
            Err(CallError::Api(ApiError::NotFound { what })) => {
                let hint = tokio::time::timeout(HINT, hint::for_missing(&self.api, &what)).await.ok().flatten();
                let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
                Err(Failure::NotFound(format!("{what} not found{hint}")).into())
            }
            answered => Ok(answered?),
        }
    }

    /// Calls an operation; at once an error when the NATS server doesn't let this caller.
    pub(crate) async fn try_call<T: DeserializeOwned>(&self, operation: Operation, request: &impl Serialize) -> Result<T, CallError> {
        let subject = self.api.subject(operation);
        tokio::select! {
            refused = self.refused(&subject) => Err(refused),
            answered = self.api.call(operation, request) => answered,
        }
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
