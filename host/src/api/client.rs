//! A caller of the API.

use std::time::Duration;

use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use pilothouse_core::command::ApiError;
use pilothouse_core::name::Name;
use pilothouse_core::subject::Subjects;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ERROR_HEADER, Operation};

/// How long an answer is waited for. A host that waits for its journal may take a few seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Calls operations as one user.
#[derive(Clone, Debug)]
pub struct ApiClient {
    client: Client,
    subjects: Subjects,
    user: Name,
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
    /// A caller.
    pub fn new(client: Client, subjects: Subjects, user: Name) -> Self {
        Self { client, subjects, user }
    }

    /// The connection that it uses.
    pub fn nats(&self) -> &Client {
        &self.client
    }

    /// The subjects that it uses.
    pub fn subjects(&self) -> &Subjects {
        &self.subjects
    }

    /// Who calls.
    pub fn user(&self) -> &Name {
        &self.user
    }

    /// Calls an operation.
    ///
    /// # Errors
    /// What the host answered, or why there is no answer.
    pub async fn call<T: DeserializeOwned>(&self, operation: Operation, request: &impl Serialize) -> Result<T, CallError> {
        let subject = self.subjects.api(self.user.as_str(), operation.name());
        let body = serde_json::to_vec(request).map_err(|source| CallError::Answer { subject: subject.clone(), source })?;
        let answer = ask(&self.client, &subject, HeaderMap::new(), body.into(), PATIENCE).await?;
        serde_json::from_slice(&answer).map_err(|source| CallError::Answer { subject, source })
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
