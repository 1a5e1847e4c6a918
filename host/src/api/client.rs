//! A caller of the API.

use std::time::{Duration, Instant};

use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use pilothouse_core::command::ApiError;
use pilothouse_core::name::Name;
use pilothouse_core::subject::Subjects;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ERROR_HEADER, NOBODY, Operation};

/// How long an answer is waited for in all. A host that waits for its journal may take a few seconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// The pause after an answer that says *not now*.
const PAUSE: Duration = Duration::from_millis(200);

/// How long one host is waited for, before the request is sent again: perhaps to another one.
const ATTEMPT: Duration = Duration::from_millis(2500);

/// Less is not worth another attempt.
const SHORTEST: Duration = Duration::from_secs(1);

/// How long there may be no host at all: one that is just being started again is back by then.
const ALONE: Duration = Duration::from_secs(3);

/// Calls operations as one user.
#[derive(Clone, Debug)]
pub struct ApiClient {
    client: Client,
    subjects: Subjects,
    user: Option<Name>,
}

/// A call that brought no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// A host answered with an error.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Nobody answers.
    #[error("no host answers on {subject}: is `pilothouse serve` running on this NATS server?")]
    NoHost {
        /// Where.
        subject: String,
    },
    /// A host took the request and did not answer in time. It may still carry it out.
    #[error("no answer on {subject} within {} s; the request may still be carried out", PATIENCE.as_secs())]
    TimedOut {
        /// Where.
        subject: String,
    },
    /// The connection failed.
    #[error("request on {subject}")]
    Link {
        /// Where.
        subject: String,
        /// How.
        source: async_nats::RequestError,
    },
    /// The answer makes no sense.
    #[error("the answer on {subject} can't be read")]
    Answer {
        /// Where.
        subject: String,
        /// Why not.
        source: serde_json::Error,
    },
}

impl ApiClient {
    /// A caller; one who names no user is the hosts' default user.
    pub fn new(client: Client, subjects: Subjects, user: impl Into<Option<Name>>) -> Self {
        Self { client, subjects, user: user.into() }
    }

    /// The connection that it uses.
    pub fn nats(&self) -> &Client {
        &self.client
    }

    /// The subjects that it uses.
    pub fn subjects(&self) -> &Subjects {
        &self.subjects
    }

    /// Who calls, if that was said.
    pub fn user(&self) -> Option<&Name> {
        self.user.as_ref()
    }

    /// Where an operation is asked for.
    pub fn subject(&self, operation: Operation) -> String {
        self.subjects.api(self.user.as_ref().map_or(NOBODY, Name::as_str), operation.name())
    }

    /// Calls an operation. A request that is not answered in time, or not now, is sent again for up to 15 s, or 3 s while there is no host;
    /// with one id, so that it is carried out once.
    ///
    /// # Errors
    /// What the host answered, or why there is no answer.
    pub async fn call<T: DeserializeOwned>(&self, operation: Operation, request: &impl Serialize) -> Result<T, CallError> {
        let subject = self.subject(operation);
        let unreadable = |source| CallError::Answer { subject: subject.clone(), source };
        let mut body = serde_json::to_value(request).map_err(unreadable)?;
        if operation.changes() {
            identify(&mut body);
        }
        let body = Bytes::from(body.to_string());
        let (begun, mut patience) = (Instant::now(), Patience::default());
        // An attempt that is not answered goes on beside the next one: work that takes longer is not begun anew for nothing.
        let (mut under_way, mut next, mut told) = (FuturesUnordered::new(), Some(Duration::ZERO), None);
        loop {
            let passed = begun.elapsed();
            if next.is_some_and(|next| next <= passed) {
                let left = PATIENCE.saturating_sub(passed);
                under_way.push(ask(&self.client, &subject, HeaderMap::new(), body.clone(), left));
                next = Some(passed + ATTEMPT).filter(|next| *next + SHORTEST <= PATIENCE);
            }
            let until_next = async {
                match next {
                    Some(next) => tokio::time::sleep(next.saturating_sub(begun.elapsed())).await,
                    None => std::future::pending().await,
                }
            };
            let ended = tokio::select! {
                Some(ended) = under_way.next() => ended,
                () = until_next => continue,
            };
            match ended {
                Ok(answer) => return serde_json::from_slice(&answer).map_err(unreadable),
                Err(error) => match patience.pause_after(&error, begun.elapsed()) {
                    Some(pause) => {
                        let soon = begun.elapsed() + pause;
                        next = Some(next.map_or(soon, |next| next.min(soon)));
                        told = Some(error);
                    }
                    // What a host told says more than that nothing was told at last.
                    None => return Err(told.filter(|_| matches!(error, CallError::TimedOut { .. })).unwrap_or(error)),
                },
            }
        }
    }
}

/// For how long a request is sent again.
#[derive(Debug, Default)]
struct Patience {
    /// How long there was no host.
    alone: Duration,
}

impl Patience {
    /// How long to wait before a request that failed like this is sent again, when `passed` since it was first sent; nothing to give up.
    fn pause_after(&mut self, error: &CallError, passed: Duration) -> Option<Duration> {
        if passed + SHORTEST >= PATIENCE {
            return None;
        }
        match error {
            CallError::NoHost { .. } if self.alone < ALONE => {
                self.alone += PAUSE;
                Some(PAUSE)
            }
            CallError::TimedOut { .. } => Some(Duration::ZERO),
            // A domain that changes hands is soon in others.
            CallError::Api(ApiError::Unavailable { .. }) => Some(PAUSE),
            _ => None,
        }
    }
}

/// Gives a request an id of its own, if it has none.
pub(crate) fn identify(request: &mut Value) {
    if let Value::Object(fields) = request {
        fields.entry("request_id").or_insert_with(|| format!("{:032x}", rand::random::<u128>()).into());
    }
}

/// One request, and its answer or the error that its service headers tell.
pub(crate) async fn ask(client: &Client, subject: &str, headers: HeaderMap, body: Bytes, patience: Duration) -> Result<Bytes, CallError> {
    use async_nats::RequestErrorKind as Kind;
    let request = async_nats::Request::new().headers(headers).payload(body).timeout(Some(patience));
    let message = client.send_request(subject.to_owned(), request).await.map_err(|source| match source.kind() {
        Kind::NoResponders => CallError::NoHost { subject: subject.to_owned() },
        Kind::TimedOut => CallError::TimedOut { subject: subject.to_owned() },
        _ => CallError::Link { subject: subject.to_owned(), source },
    })?;
    let header = |name: &str| message.headers.as_ref().and_then(|headers| headers.get(name)).map(|value| value.as_str());
    if header(NATS_SERVICE_ERROR_CODE).is_none() {
        return Ok(message.payload);
    }
    let typed = header(ERROR_HEADER).and_then(|json| serde_json::from_str(json).ok());
    let untyped = || ApiError::Unavailable { message: header(NATS_SERVICE_ERROR).unwrap_or("an error without a text").to_owned() };
    Err(CallError::Api(typed.unwrap_or_else(untyped)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_host() -> CallError {
        CallError::NoHost { subject: "a.b".to_owned() }
    }

    fn not_now() -> CallError {
        CallError::Api(ApiError::Unavailable { message: "changing hands".to_owned() })
    }

    /// How long a caller waits whose every attempt takes `attempt` and ends in `error`.
    fn waits(error: impl Fn() -> CallError, attempt: Duration) -> Duration {
        let (mut patience, mut passed) = (Patience::default(), Duration::ZERO);
        loop {
            passed += attempt.min(PATIENCE.saturating_sub(passed));
            match patience.pause_after(&error(), passed) {
                Some(pause) => passed += pause,
                None => return passed,
            }
        }
    }

    #[test]
    fn nobody_waits_for_longer_than_said() {
        let quick = Duration::from_millis(1);
        let a_little_less = |most: Duration| most - SHORTEST - PAUSE..=most + Duration::from_millis(100);
        assert!(a_little_less(ALONE).contains(&waits(no_host, quick)), "{:?}", waits(no_host, quick));
        assert!(a_little_less(PATIENCE).contains(&waits(not_now, quick)), "{:?}", waits(not_now, quick));
        assert_eq!(waits(|| CallError::TimedOut { subject: "a.b".to_owned() }, ATTEMPT), PATIENCE);
        let refused = || CallError::Api(ApiError::Conflict { message: "there already".to_owned() });
        assert_eq!(waits(refused, quick), quick, "an answer is an answer");
    }

    #[test]
    fn a_host_that_goes_away_in_the_middle_is_waited_for() {
        let mut patience = Patience::default();
        let late = Duration::from_secs(8);
        assert_eq!(patience.pause_after(&not_now(), late), Some(PAUSE));
        assert_eq!(patience.pause_after(&no_host(), late), Some(PAUSE), "it may just be started again");
    }
}
