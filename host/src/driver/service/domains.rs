//! Operations on domains.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pilothouse_core::command::{ApiError, Command, What};
use pilothouse_core::config::{ConfigProblem, DomainConfig};
use pilothouse_core::explain::Ask;
use pilothouse_core::name::{DomainKey, Name};
use pilothouse_core::record::{EngineInForce, Subscriber};
use serde_json::{Value, json};

use super::{bytes, name, why};
use crate::api::{
    AddDomain, DiffDomain, DryRun, ListDomains, OnDomain, ReconfigureDomain, RemoveDomain, SubscribeDomain, UnsubscribeDomain,
};
use crate::driver::engines;
use crate::driver::host::Domains;
use crate::driver::router::{Changed, Handle, Question};
use crate::store::Journal;

/// How long one domain may take to say how it is, for a list of all.
const LIST_EACH: Duration = Duration::from_secs(1);

impl<J: Journal> Domains<J> {
    pub(super) async fn add_domain(self: &Arc<Self>, user: Name, request: AddDomain) -> Result<Bytes, ApiError> {
        let AddDomain { domain, definition, config, subscriber_name, subscriber_op, request_id } = request;
        let domain = name("/domain", &domain)?;
        let config = if config.is_null() { Value::Object(Default::default()) } else { config };
        let config = self.made_from(definition.as_deref(), config).await?;
        let subscriber = match (subscriber_name, subscriber_op) {
            (None, None) => None,
            (Some(name), Some(operation)) => Some(subscriber(&name, &operation)?),
            (Some(_), None) => return Err(ApiError::invalid("/subscriber_op", "expected with subscriber_name")),
            (None, Some(_)) => return Err(ApiError::invalid("/subscriber_name", "expected with subscriber_op")),
        };
        let config = DomainConfig::from_json(config).map_err(|problems| ApiError::Invalid { problems })?;
        let engine = self.check(&config).await?;
        let key = DomainKey { owner: user.clone(), name: domain };
        let handle = self.open(&key).await?;
        bytes(&handle.command(Command { by: user, request: request_id, what: What::Add { config, engine, subscriber } }).await?)
    }

    pub(super) async fn list_domains(&self, user: Name, ListDomains {}: ListDomains) -> Result<Bytes, ApiError> {
        self.all_are_here(&user)?;
        let (mut domains, mut unanswered) = (Vec::new(), Vec::new());
        for handle in self.shared.router.domains_of(&user) {
            match tokio::time::timeout(LIST_EACH, handle.ask(Question::Summary)).await {
                Ok(Ok(line)) => domains.push(line),
                Ok(Err(ApiError::NotFound { .. })) => {}
                Ok(Err(_)) | Err(_) => unanswered.push(handle.key.name),
            }
        }
        bytes(&json!({ "domains": domains, "unanswered": unanswered }))
    }

    /// A list of what is here is a list of all, unless some domain is on its way.
    pub(super) fn all_are_here(&self, user: &Name) -> Result<(), ApiError> {
        if self.is_in_transit(|key| key.owner == *user) {
            return Err(ApiError::Unavailable { message: "a domain is changing hands; try again".to_owned() });
        }
        Ok(())
    }

    pub(super) async fn describe_domain(&self, user: Name, request: OnDomain) -> Result<Bytes, ApiError> {
        bytes(&self.find(&user, &request.domain)?.ask(Question::Describe).await?)
    }

    pub(super) async fn diff_domain(&self, _user: Name, _request: DiffDomain) -> Result<Bytes, ApiError> {
        Err(ApiError::Unavailable { message: "unfinished".to_owned() })
    }

    pub(super) async fn reconfigure_domain(&self, user: Name, request: ReconfigureDomain) -> Result<Bytes, ApiError> {
        let ReconfigureDomain { domain, config: changes, request_id } = request;
        bytes(&self.reconfigured(user, &domain, changes, request_id).await?)
    }

    pub(super) async fn remove_domain(&self, user: Name, request: RemoveDomain) -> Result<Bytes, ApiError> {
        let RemoveDomain { domain, abandon, request_id } = request;
        self.on_domain(user, OnDomain { domain, request_id }, What::Remove { abandon }).await
    }

    pub(super) async fn dry_run_domain(&self, user: Name, request: DryRun) -> Result<Bytes, ApiError> {
        let DryRun { domain, on, request_id } = request;
        self.on_domain(user, OnDomain { domain, request_id }, What::DryRun(on)).await
    }

    pub(super) async fn subscribe_domain(&self, user: Name, request: SubscribeDomain) -> Result<Bytes, ApiError> {
        let SubscribeDomain { domain, subscriber_name, subscriber_op, request_id } = request;
        let subscriber = subscriber(&subscriber_name, &subscriber_op)?;
        self.on_domain(user, OnDomain { domain, request_id }, What::Subscribe(subscriber)).await
    }

    pub(super) async fn unsubscribe_domain(&self, user: Name, request: UnsubscribeDomain) -> Result<Bytes, ApiError> {
        let UnsubscribeDomain { domain, subscriber_name, subscriber_op, request_id } = request;
        let operation = subscriber_op.map(|operation| name("/subscriber_op", &operation)).transpose()?;
        let what = What::Unsubscribe { name: name("/subscriber_name", &subscriber_name)?, operation };
        self.on_domain(user, OnDomain { domain, request_id }, what).await
    }

    pub(super) async fn tell_why(&self, user: Name, ask: Ask) -> Result<Bytes, ApiError> {
        let handle = self.find(&user, &ask.domain)?;
        if ask.at.is_none() && ask.last.is_none() {
            return bytes(&handle.ask(Question::Why(ask.instance)).await?);
        }
        let newest = self.load(&handle.key).await.map_err(|message| ApiError::Unavailable { message })?;
        bytes(&why::explain_past(&self.shared.journal, &newest, &ask).await?)
    }

    pub(super) async fn on_domain(&self, user: Name, on: OnDomain, what: What) -> Result<Bytes, ApiError> {
        let OnDomain { domain, request_id } = on;
        let answer = match self.find(&user, &domain) {
            Ok(handle) => handle.command(Command { by: user, request: request_id, what }).await?,
            // A repetition may come when what it asked for is done and the domain gone.
            Err(ApiError::NotFound { what }) => match request_id {
                Some(request) => self.answered(&user, &domain, &request).await.ok_or(ApiError::NotFound { what })?,
                None => return Err(ApiError::NotFound { what }),
            },
            Err(error) => return Err(error),
        };
        bytes(&answer)
    }

    /// What was answered to a request on a domain that nobody looks after any more.
    async fn answered(&self, user: &Name, domain: &str, request: &str) -> Option<Value> {
        let key = DomainKey { owner: user.clone(), name: domain.parse().ok()? };
        self.load(&key).await.ok()?.answer_to(request).cloned()
    }

    async fn reconfigured(&self, user: Name, domain: &str, changes: Value, request: Option<String>) -> Result<Value, ApiError> {
        let handle = self.find(&user, domain)?;
        // A repetition is not judged again: what it changed then may not be possible now.
        if let Some(id) = &request
            && let Ok(answer) = handle.ask(Question::Answered(id.clone())).await
            && !answer.is_null()
        {
            return Ok(answer);
        }
        loop {
            let answer = handle.ask(Question::Changed(changes.clone())).await?;
            let Changed { config, from_revision } =
                serde_json::from_value(answer).map_err(|error| ApiError::Unavailable { message: error.to_string() })?;
            let config = DomainConfig::from_json(config).map_err(|problems| ApiError::Invalid { problems })?;
            let engine = self.check(&config).await?;
            let what = What::Reconfigure { config, engine, from_revision };
            match handle.command(Command { by: user.clone(), request: request.clone(), what }).await {
                // Somebody else changed it between the question and the command: fold the changes into theirs.
                Err(ApiError::Conflict { .. }) if self.is_newer(&handle, from_revision).await => {}
                answer => return answer,
            }
        }
    }

    async fn is_newer(&self, handle: &Handle, revision: u64) -> bool {
        let answer = handle.ask(Question::Changed(Value::Object(Default::default()))).await;
        let changed = answer.ok().and_then(|answer| serde_json::from_value::<Changed>(answer).ok());
        changed.is_some_and(|changed| changed.from_revision > revision)
    }

    /// Another user's domain is not found, like one that is not there.
    pub(super) fn find(&self, user: &Name, domain: &str) -> Result<Handle, ApiError> {
        let key = DomainKey { owner: user.clone(), name: name("/domain", domain)? };
        self.shared.router.domain(&key).ok_or_else(|| {
            if self.is_in_transit(|other| *other == key) {
                ApiError::Unavailable { message: format!("domain {} is changing hands; try again", key.name) }
            } else {
                ApiError::NotFound { what: format!("domain {}", key.name) }
            }
        })
    }

    /// The engine of a configuration, which has checked its section.
    pub(super) async fn check(&self, config: &DomainConfig) -> Result<EngineInForce, ApiError> {
        let engine = self.shared.engines.resolve(&config.general.engine)?;
        let (checking, conf) = (engine.clone(), config.engine_conf.clone());
        let busy = |message: String| ApiError::Unavailable { message };
        let pending = self.shared.runner.run(move || engines::check(&checking, &conf)).map_err(|error| busy(error.to_string()))?;
        let problems: Vec<ConfigProblem> = tokio::time::timeout(self.shared.engine_time_out, pending)
            .await
            .map_err(|_| busy("the engine does not answer in time".to_owned()))?
            .map_err(|error| busy(error.to_string()))?;
        if problems.is_empty() { Ok(engines::in_force(&engine)) } else { Err(ApiError::Invalid { problems }) }
    }
}

fn subscriber(subscriber_name: &str, operation: &str) -> Result<Subscriber, ApiError> {
    Ok(Subscriber { name: name("/subscriber_name", subscriber_name)?, operation: name("/subscriber_op", operation)? })
}
