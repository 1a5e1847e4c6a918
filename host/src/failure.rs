//! How a command fails: one message with its chain of causes, and an exit code that programs can branch on.

use std::process::ExitCode;

use async_nats::ConnectErrorKind;
use pilothouse_core::command::ApiError;
use pilothouse_core::config::ConfigProblem;
use serde_json::{Value, json};

use crate::api::CallError;
use crate::nats::client::ConnectError;
use crate::output::{self, Format};

/// What sort of failure it is. The numbers are promised in the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Failed = 1,
    Invalid = 2,
    NotFound = 3,
    Conflict = 4,
    Unavailable = 5,
    NotPermitted = 6,
    Checks = 7,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::NotPermitted => "not_permitted",
            Self::Checks => "checks_failed",
        }
    }
}

/// A failure that a command finds by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What was given makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// What was given has problems.
    #[error("{what}: {}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Problems {
        /// What was given.
        what: String,
        /// Every one.
        problems: Vec<ConfigProblem>,
    },
    /// There is none.
    #[error("{0}")]
    NotFound(String),
    /// Somebody else is in the way.
    #[error("{0}")]
    Conflict(String),
    /// It did not come about in time.
    #[error("{0}")]
    Unavailable(String),
    /// What was examined is not as it should be.
    #[error("{0}")]
    Checks(String),
}

/// Tells a failure on standard error, in the format of the command, and says how to exit.
pub(crate) fn report(error: &anyhow::Error, format: Format) -> ExitCode {
    // Whoever reads our output had enough: that is not a failure to talk about.
    if error.chain().any(output::is_broken_pipe) {
        return ExitCode::SUCCESS;
    }
    let kind = kind(error);
    match format {
        Format::Text => eprintln!("pilothouse: {}", text(error)),
        Format::Json => eprintln!("{}", in_json(error, kind)),
    }
    ExitCode::from(kind as u8)
}

fn kind(error: &anyhow::Error) -> Kind {
    let of = |cause: &(dyn std::error::Error + 'static)| {
        let call = cause.downcast_ref().map(|error| match error {
            CallError::Api(error) => of_api(error),
            CallError::NoHost { .. } | CallError::TimedOut { .. } | CallError::Link { .. } => Kind::Unavailable,
            CallError::Answer { .. } => Kind::Failed,
        });
        let connect = || {
            cause.downcast_ref().map(|error| match error {
                ConnectError::Server { source, .. } if source.kind() == ConnectErrorKind::AuthorizationViolation => Kind::NotPermitted,
                ConnectError::Server { .. } => Kind::Unavailable,
                ConnectError::Address { .. } | ConnectError::Credentials { .. } => Kind::Invalid,
            })
        };
        let own = || {
            cause.downcast_ref().map(|error| match error {
                Failure::Invalid(_) | Failure::Problems { .. } => Kind::Invalid,
                Failure::NotFound(_) => Kind::NotFound,
                Failure::Conflict(_) => Kind::Conflict,
                Failure::Unavailable(_) => Kind::Unavailable,
                Failure::Checks(_) => Kind::Checks,
            })
        };
        call.or_else(connect).or_else(own)
    };
    error.chain().find_map(of).unwrap_or(Kind::Failed)
}

const fn of_api(error: &ApiError) -> Kind {
    match error {
        ApiError::NotFound { .. } => Kind::NotFound,
        ApiError::Conflict { .. } => Kind::Conflict,
        ApiError::Invalid { .. } => Kind::Invalid,
        ApiError::NotPermitted { .. } => Kind::NotPermitted,
        ApiError::Unavailable { .. } => Kind::Unavailable,
    }
}

/// The chain of causes; a configuration with several problems has each on a line of its own.
fn text(error: &anyhow::Error) -> String {
    match problems(error) {
        [] | [_] => output::clean(&format!("{error:#}")),
        several => {
            let lines = several.iter().map(|problem| format!("\n  {}", output::clean(&problem.to_string())));
            format!("not valid:{}", lines.collect::<String>())
        }
    }
}

fn in_json(error: &anyhow::Error, kind: Kind) -> Value {
    let mut value = json!({"error": kind.name(), "message": format!("{error:#}")});
    if kind == Kind::Invalid {
        value["problems"] = json!(problems(error));
    }
    value
}

fn problems(error: &anyhow::Error) -> &[ConfigProblem] {
    let found = error.chain().find_map(|cause| match (cause.downcast_ref(), cause.downcast_ref()) {
        (Some(CallError::Api(ApiError::Invalid { problems })), _) | (_, Some(Failure::Problems { problems, .. })) => Some(&**problems),
        _ => None,
    });
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    fn api(error: ApiError) -> anyhow::Error {
        Err::<(), _>(CallError::Api(error)).context("adding domain web").expect_err("an error")
    }

    #[test]
    fn the_kind_is_found_below_what_was_being_done() {
        let what = || "domain web".to_owned();
        assert_eq!(kind(&api(ApiError::NotFound { what: what() })), Kind::NotFound);
        assert_eq!(kind(&api(ApiError::Conflict { message: what() })), Kind::Conflict);
        assert_eq!(kind(&api(ApiError::Unavailable { message: what() })), Kind::Unavailable);
        assert_eq!(kind(&api(ApiError::NotPermitted { message: what() })), Kind::NotPermitted);
        assert_eq!(kind(&anyhow::Error::from(Failure::Invalid(what())).context("more")), Kind::Invalid);
        assert_eq!(kind(&anyhow::anyhow!("something else")), Kind::Failed);
    }

    #[test]
    fn several_problems_are_listed_and_one_is_a_line() {
        let one = ConfigProblem::new("/health/boot_timout", "unknown field");
        let two = vec![one.clone(), ConfigProblem::new("/colour", "unknown section")];
        let error = api(ApiError::Invalid { problems: two });
        assert_eq!(text(&error), "not valid:\n  /health/boot_timout: unknown field\n  /colour: unknown section");
        assert_eq!(in_json(&error, Kind::Invalid)["problems"][1]["at"], "/colour");
        assert_eq!(text(&api(ApiError::Invalid { problems: vec![one] })), "adding domain web: /health/boot_timout: unknown field");
    }
}
