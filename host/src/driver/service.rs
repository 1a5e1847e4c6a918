//! What users ask, as a service of the NATS micro protocol.
//!
//! Any host may receive a request; the owner of the domains answers it. The others forward it to the owner, with the id of the request, so
//! that it is carried out once however often it is sent.

pub(super) mod why;

use std::sync::Arc;
use std::time::Duration;

use async_nats::service::error::Error as ServiceError;
use async_nats::service::{Service, ServiceExt};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use futures::StreamExt;
use pilothouse_core::command::{ApiError, Command, What};
use pilothouse_core::config::{ConfigProblem, DomainConfig};
use pilothouse_core::explain::Ask;
use pilothouse_core::name::{DomainKey, Name};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::engines;
use super::host::Domains;
use super::ownership::Owner;
use super::router::{Changed, Question};
use crate::api::{self, AddDomain, CallError, DryRun, ERROR_HEADER, ListDomains, OnDomain, Operation, ReconfigureDomain};
use crate::store::Journal;

/// The user of a forwarded request.
const USER_HEADER: &str = "Pilothouse-User";

/// How long a forwarded request may take.
const FORWARD: Duration = Duration::from_secs(15);

/// How long one domain may take to say how it is, for a list of all.
const LIST_EACH: Duration = Duration::from_secs(1);

/// Problems that one answer names: enough to work with, few enough for its headers.
const MAX_PROBLEMS: usize = 20;

/// The largest request, in bytes.
const MAX_REQUEST: usize = 256 * 1024;

/// Serves every operation, to users and to other hosts.
pub(crate) async fn start<J: Journal>(
    client: &Client,
    domains: Arc<Domains<J>>,
    stop: &CancellationToken,
) -> Result<Service, async_nats::Error> {
    let service = client
        .service_builder()
        .description("Hosts decision engines and keeps what they decide alive")
        .stats_handler({
            let shared = Arc::clone(&domains.shared);
            move |_endpoint, _stats| shared.figures()
        })
        .start("pilothouse", env!("CARGO_PKG_VERSION"))
        .await?;
    for operation in Operation::ALL {
        serve_users(&service, operation, Arc::clone(&domains), stop).await?;
        serve_hosts(client, operation, Arc::clone(&domains), stop).await?;
    }
    Ok(service)
}

async fn serve_users<J: Journal>(
    service: &Service,
    operation: Operation,
    domains: Arc<Domains<J>>,
    stop: &CancellationToken,
) -> Result<(), async_nats::Error> {
    let subjects = domains.shared.subjects.clone();
    let name = operation.name().replace('.', "-");
    let mut endpoint = service.endpoint_builder().name(name).add(subjects.api("*", operation.name())).await?;
    let stop = stop.clone();
    tokio::spawn(async move {
        loop {
            let request = tokio::select! {
                request = endpoint.next() => match request { Some(request) => request, None => break },
                () = stop.cancelled() => break,
            };
            let user = subjects.api_user(&request.message.subject).unwrap_or_default().to_owned();
            let domains = Arc::clone(&domains);
            tokio::spawn(async move {
                let sent = match domains.serve(operation, &user, request.message.payload.clone()).await {
                    Ok(answer) => request.respond(Ok(answer)).await,
                    Err(error) => {
                        let (head, headers) = error_head(&error);
                        request.respond_with_headers(Err(head), headers).await
                    }
                };
                if let Err(error) = sent {
                    tracing::debug!(%error, "nobody waits for an answer");
                }
            });
        }
    });
    Ok(())
}

async fn serve_hosts<J: Journal>(
    client: &Client,
    operation: Operation,
    domains: Arc<Domains<J>>,
    stop: &CancellationToken,
) -> Result<(), async_nats::Error> {
    let shared = &domains.shared;
    let mut requests = client.subscribe(shared.subjects.host(shared.process, operation.name())).await?;
    let (client, stop) = (client.clone(), stop.clone());
    tokio::spawn(async move {
        loop {
            let request = tokio::select! {
                request = requests.next() => match request { Some(request) => request, None => break },
                () = stop.cancelled() => break,
            };
            let Some(reply) = request.reply else { continue };
            let user = request.headers.as_ref().and_then(|headers| headers.get(USER_HEADER)).map(ToString::to_string).unwrap_or_default();
            let (client, domains) = (client.clone(), Arc::clone(&domains));
            tokio::spawn(async move {
                let sent = match domains.serve_here(operation, &user, &request.payload).await {
                    Ok(answer) => client.publish(reply, answer).await,
                    Err(error) => {
                        let (head, mut headers) = error_head(&error);
                        headers.insert(async_nats::service::NATS_SERVICE_ERROR, head.status.as_str());
                        headers.insert(async_nats::service::NATS_SERVICE_ERROR_CODE, head.code.to_string().as_str());
                        client.publish_with_headers(reply, headers, Bytes::new()).await
                    }
                };
                if let Err(error) = sent {
                    tracing::debug!(%error, "nobody waits for an answer");
                }
            });
        }
    });
    Ok(())
}

fn error_head(error: &ApiError) -> (ServiceError, HeaderMap) {
    let error = &match error {
        ApiError::Invalid { problems } if problems.len() > MAX_PROBLEMS => {
            let mut few: Vec<_> = problems[..MAX_PROBLEMS].to_vec();
            few.push(ConfigProblem::new("", format!("and {} more", problems.len() - MAX_PROBLEMS)));
            ApiError::Invalid { problems: few }
        }
        error => error.clone(),
    };
    // Header values are one line.
    let status: String = format!("{}: {error}", error.kind()).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut headers = HeaderMap::new();
    if let Ok(json) = serde_json::to_string(error) {
        headers.insert(ERROR_HEADER, json.as_str());
    }
    (ServiceError { code: api::error_code(error), status }, headers)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    if body.len() > MAX_REQUEST {
        return Err(ApiError::invalid("", format!("a request of {} bytes; at most {MAX_REQUEST} are taken", body.len())));
    }
    let body = if body.is_empty() { b"{}" } else { body };
    if body.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(ApiError::invalid("", "expected a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| ApiError::invalid("", error.to_string()))
}

fn name(at: &str, text: &str) -> Result<Name, ApiError> {
    text.parse().map_err(|error| ApiError::invalid(at, format!("{error}")))
}

fn bytes(value: &impl serde::Serialize) -> Result<Bytes, ApiError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| ApiError::Unavailable { message: error.to_string() })
}

impl<J: Journal> Domains<J> {
    /// Answers here, or lets the owner answer.
    async fn serve(self: &Arc<Self>, operation: Operation, user: &str, body: Bytes) -> Result<Bytes, ApiError> {
        match self.shared.ownership.owner() {
            Owner::Other { host, process } => self.forward(operation, user, body, &host, process).await,
            Owner::Me | Owner::Unknown => self.serve_here(operation, user, &body).await,
        }
    }

    async fn forward(&self, operation: Operation, user: &str, body: Bytes, owner: &Name, process: u64) -> Result<Bytes, ApiError> {
        let subject = self.shared.subjects.host(process, operation.name());
        let mut headers = HeaderMap::new();
        headers.insert(USER_HEADER, user);
        // What is forwarded may arrive twice. What can't be read is the owner's to complain about.
        let body = match serde_json::from_slice::<Value>(&body) {
            Ok(mut request) if operation.changes() => {
                api::identify(&mut request);
                request.to_string().into()
            }
            _ => body,
        };
        match api::ask(&self.shared.nats, &subject, headers, body, FORWARD).await {
            Ok(answer) => Ok(answer),
            Err(CallError::Api(error)) => Err(error),
            Err(_) => {
                Err(ApiError::Unavailable { message: format!("host {owner} looks after the domains and does not answer; try again") })
            }
        }
    }

    /// Answers as the owner.
    async fn serve_here(self: &Arc<Self>, operation: Operation, user: &str, body: &[u8]) -> Result<Bytes, ApiError> {
        let user = name("user", user)?;
        if !self.ready() {
            let message = "no host looks after the domains at the moment; try again".to_owned();
            return Err(ApiError::Unavailable { message });
        }
        let answer = match operation {
            Operation::DomainAdd => {
                let AddDomain { domain, config, request_id } = parse(body)?;
                let domain = name("/domain", &domain)?;
                let config = if config.is_null() { Value::Object(Default::default()) } else { config };
                let config = DomainConfig::from_json(config).map_err(|problems| ApiError::Invalid { problems })?;
                let engine = self.check(&config).await?;
                let key = DomainKey { owner: user.clone(), name: domain };
                let handle = self.open(&key).await?;
                handle.command(Command { by: user, request: request_id, what: What::Add { config, engine } }).await?
            }
            Operation::DomainReconfigure => {
                let ReconfigureDomain { domain, config: changes, request_id } = parse(body)?;
                self.reconfigure(user, &domain, changes, request_id).await?
            }
            Operation::DomainList => {
                let ListDomains {} = parse(body)?;
                if self.is_in_transit(|key| key.owner == user) {
                    return Err(ApiError::Unavailable { message: "a domain is changing hands; try again".to_owned() });
                }
                let (mut domains, mut unanswered) = (Vec::new(), Vec::new());
                for handle in self.shared.router.domains_of(&user) {
                    match tokio::time::timeout(LIST_EACH, handle.ask(Question::Summary)).await {
                        Ok(Ok(line)) => domains.push(line),
                        Ok(Err(ApiError::NotFound { .. })) => {}
                        Ok(Err(_)) | Err(_) => unanswered.push(handle.key.name),
                    }
                }
                serde_json::json!({ "domains": domains, "unanswered": unanswered })
            }
            Operation::DomainDescribe => {
                let OnDomain { domain, .. } = parse(body)?;
                self.find(&user, &domain)?.ask(Question::Describe).await?
            }
            Operation::Why => {
                let ask: Ask = parse(body)?;
                let handle = self.find(&user, &ask.domain)?;
                if ask.at.is_none() && ask.last.is_none() {
                    handle.ask(Question::Why(ask.instance)).await?
                } else {
                    let newest = self.load(&handle.key).await.map_err(|message| ApiError::Unavailable { message })?;
                    why::explain_past(&self.shared.journal, &newest, &ask).await?
                }
            }
            Operation::DomainDryRun => {
                let DryRun { domain, on, request_id } = parse(body)?;
                self.find(&user, &domain)?.command(Command { by: user, request: request_id, what: What::DryRun(on) }).await?
            }
            Operation::DomainRemove => self.simple(user, body, What::Remove).await?,
            Operation::DomainPause => self.simple(user, body, What::Pause(true)).await?,
            Operation::DomainResume => self.simple(user, body, What::Pause(false)).await?,
            Operation::DomainReleaseBrake => self.simple(user, body, What::ReleaseBrake).await?,
        };
        bytes(&answer)
    }

    async fn simple(&self, user: Name, body: &[u8], what: What) -> Result<Value, ApiError> {
        let OnDomain { domain, request_id } = parse(body)?;
        match self.find(&user, &domain) {
            Ok(handle) => handle.command(Command { by: user, request: request_id, what }).await,
            // A repetition may come when what it asked for is done and the domain gone.
            Err(ApiError::NotFound { what }) => match request_id {
                Some(request) => self.answered(&user, &domain, &request).await.ok_or(ApiError::NotFound { what }),
                None => Err(ApiError::NotFound { what }),
            },
            Err(error) => Err(error),
        }
    }

    /// What was answered to a request on a domain that nobody looks after any more.
    async fn answered(&self, user: &Name, domain: &str, request: &str) -> Option<Value> {
        let key = DomainKey { owner: user.clone(), name: domain.parse().ok()? };
        self.load(&key).await.ok()?.answer_to(request).cloned()
    }

    async fn reconfigure(&self, user: Name, domain: &str, changes: Value, request: Option<String>) -> Result<Value, ApiError> {
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

    async fn is_newer(&self, handle: &super::router::Handle, revision: u64) -> bool {
        let answer = handle.ask(Question::Changed(Value::Object(Default::default()))).await;
        let changed = answer.ok().and_then(|answer| serde_json::from_value::<Changed>(answer).ok());
        changed.is_some_and(|changed| changed.from_revision > revision)
    }

    /// Another user's domain is not found, like one that is not there.
    fn find(&self, user: &Name, domain: &str) -> Result<super::router::Handle, ApiError> {
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
    async fn check(&self, config: &DomainConfig) -> Result<pilothouse_core::record::EngineInForce, ApiError> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_request_panics_and_no_answer_breaks_a_header(body in prop::collection::vec(any::<u8>(), 0..256), field in ".*", value in ".*") {
            let json = serde_json::json!({"domain": value, "request_id": value, field: value}).to_string();
            for body in [&body[..], json.as_bytes()] {
                for refused in [
                    parse::<AddDomain>(body).err(),
                    parse::<ReconfigureDomain>(body).err(),
                    parse::<OnDomain>(body).err(),
                    parse::<DryRun>(body).err(),
                    parse::<Ask>(body).err(),
                    parse::<ListDomains>(body).err(),
                    name("/domain", &value).err(),
                ].into_iter().flatten() {
                    prop_assert_eq!(refused.kind(), "invalid");
                    let (head, headers) = error_head(&refused);
                    prop_assert!(!head.status.contains(['\r', '\n']));
                    let told = headers.get(ERROR_HEADER).expect("the error as JSON");
                    prop_assert_eq!(serde_json::from_str::<ApiError>(told.as_str()).expect("it can be read"), refused);
                }
            }
        }
    }
}
