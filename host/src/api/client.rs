//! A caller of the API.

use std::time::{Duration, Instant};

use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
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
const ATTEMPT: Duration = Duration::from_secs(4);

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

    /// Calls an operation. A request that is not answered in time is sent again, with one id, so that it is carried out once.
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
        let give_up = Instant::now() + PATIENCE;
        loop {
            let answer = ask(&self.client, &subject, HeaderMap::new(), body.clone(), ATTEMPT).await;
            match answer {
                Err(CallError::TimedOut { .. }) if Instant::now() < give_up => {}
                // A domain that changes hands is soon in others.
                Err(CallError::Api(ApiError::Unavailable { .. })) if Instant::now() < give_up => tokio::time::sleep(PAUSE).await,
                answer => return serde_json::from_slice(&answer?).map_err(unreadable),
            }
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
