//! A user who asks for operations, in JSON.

use anyhow::{Context, Result, bail};
use pilothouse::api::{ApiClient, CallError, ERROR_HEADER, Operation};
use pilothouse_core::command::ApiError;
use pilothouse_tests::rig::{Rig, SOON};
use pilothouse_tests::wait::eventually_some;
use serde_json::{Value, json};

/// A user.
#[derive(Clone, Debug)]
pub(crate) struct User {
    api: ApiClient,
}

impl User {
    /// A user of a system, on the connection of its caller.
    pub(crate) fn of(rig: &Rig, name: &str) -> Self {
        let api = ApiClient::new(rig.api.nats().clone(), rig.api.subjects().clone(), name.parse::<pilothouse_core::name::Name>().ok());
        Self { api }
    }

    /// A user on a connection of their own.
    pub(crate) async fn apart(rig: &Rig, name: &str) -> Result<Self> {
        let client = rig.nats.client().await?;
        let name: pilothouse_core::name::Name = name.parse()?;
        Ok(Self { api: ApiClient::new(client, rig.api.subjects().clone(), name) })
    }

    /// The answer, or the error as it was told.
    pub(crate) async fn call(&self, operation: Operation, request: Value) -> Result<Result<Value, ApiError>> {
        match self.api.call(operation, &request).await {
            Ok(answer) => Ok(Ok(answer)),
            Err(CallError::Api(error)) => Ok(Err(error)),
            Err(error) => Err(error).with_context(|| format!("{operation:?} {request}")),
        }
    }

    /// The answer.
    pub(crate) async fn ask(&self, operation: Operation, request: Value) -> Result<Value> {
        self.call(operation, request.clone()).await?.with_context(|| format!("{operation:?} {request}"))
    }

    /// The error.
    pub(crate) async fn refused(&self, operation: Operation, request: Value) -> Result<ApiError> {
        match self.call(operation, request.clone()).await? {
            Err(error) => Ok(error),
            Ok(answer) => bail!("{operation:?} {request} was answered with {answer}"),
        }
    }

    /// The error to a request that need not be JSON.
    pub(crate) async fn refused_bytes(&self, operation: Operation, body: &[u8]) -> Result<ApiError> {
        let user = self.api.user().map_or("_", |name| name.as_str());
        let subject = self.api.subjects().api(user, operation.name());
        let answer = self.api.nats().request(subject, body.to_vec().into()).await?;
        let error = answer.headers.as_ref().and_then(|headers| headers.get(ERROR_HEADER));
        let shown = || String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        let error = error.with_context(|| format!("{operation:?} {} was answered with {:?}", shown(), answer.payload))?;
        Ok(serde_json::from_str(error.as_str())?)
    }

    /// All about a domain.
    pub(crate) async fn describe(&self, domain: &str) -> Result<Value> {
        self.ask(Operation::DomainDescribe, json!({"domain": domain})).await
    }

    /// The names of the user's domains.
    pub(crate) async fn domains(&self) -> Result<Vec<String>> {
        names(&self.ask(Operation::DomainList, json!({})).await?["domains"])
    }

    /// Waits until a domain is as it should be, and tells all about it.
    pub(crate) async fn sees(&self, domain: &str, what: &str, mut is: impl FnMut(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let seen = eventually_some(what, SOON, async || {
            last = self.describe(domain).await.unwrap_or_default();
            is(&last).then(|| last.clone())
        });
        seen.await.with_context(|| format!("{last:#}"))
    }

    /// Waits until a domain is gone.
    pub(crate) async fn sees_it_go(&self, domain: &str) -> Result<()> {
        let mut last = None;
        let gone = eventually_some("the domain goes", SOON, async || {
            let answer = self.call(Operation::DomainDescribe, json!({"domain": domain})).await.ok()?;
            let is_gone = matches!(&answer, Err(ApiError::NotFound { .. }));
            last = Some(answer);
            is_gone.then_some(())
        });
        gone.await.with_context(|| format!("{last:#?}"))
    }
}

/// The names in a list.
pub(crate) fn names(list: &Value) -> Result<Vec<String>> {
    let name = |it: &Value| it["name"].as_str().map(str::to_owned).context("a name");
    list.as_array().context("a list")?.iter().map(name).collect()
}

/// The instances of a description that are in one of these states.
pub(crate) fn in_state(described: &Value, states: &[&str]) -> Vec<String> {
    let all = described["instances"].as_array().map(Vec::as_slice).unwrap_or_default();
    let fits = |it: &&Value| it["state"].as_str().is_some_and(|state| states.contains(&state));
    all.iter().filter(fits).filter_map(|it| it["instance_id"].as_str().map(str::to_owned)).collect()
}
