//! What users ask, as a service of the NATS micro protocol.
//!
//! Any host may receive a request; the owner of the domains answers it. The others forward it to the owner, with the id of the request, so
//! that it is carried out once however often it is sent.

mod definitions;
mod domains;
mod history;
mod hosts;
mod instances;
mod journal;
mod orphans;
pub(super) mod why;

use std::sync::Arc;
use std::time::Duration;

use async_nats::service::error::Error as ServiceError;
use async_nats::service::{Service, ServiceExt};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use futures::StreamExt;
use pilothouse_core::command::{ApiError, What};
use pilothouse_core::config::ConfigProblem;
use pilothouse_core::name::Name;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::host::Domains;
use super::ownership::Owner;
use crate::api::{self, CallError, ERROR_HEADER, Operation, ServedBy};
use crate::store::Journal;

/// The user of a forwarded request.
const USER_HEADER: &str = "Pilothouse-User";

/// How long a forwarded request may take.
const FORWARD: Duration = Duration::from_secs(15);

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
    for operation in Operation::ALL.iter().copied() {
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
    /// Answers here, or lets the owner answer. `user` is the token of the subject.
    async fn serve(self: &Arc<Self>, operation: Operation, user: &str, body: Bytes) -> Result<Bytes, ApiError> {
        let user = self.caller(user)?;
        match (operation.served_by(), self.shared.ownership.owner()) {
            (ServedBy::Owner, Owner::Other { host, process }) => self.forward(operation, user.as_str(), body, &host, process).await,
            (ServedBy::Owner, Owner::Me | Owner::Unknown) => self.serve_here(operation, user.as_str(), &body).await,
            (ServedBy::Any, _) => self.serve_anywhere(operation, user, &body).await,
        }
    }

    /// Who calls: the user that the subject names, or the default user for those who name none.
    fn caller(&self, token: &str) -> Result<Name, ApiError> {
        if token != api::NOBODY {
            return name("user", token);
        }
        self.default_user.clone().ok_or_else(|| {
            let message = "no user named, and this host has no default user: name one, or start hosts with --default-user".to_owned();
            ApiError::NotPermitted { message }
        })
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

    /// Answers what needs no domain.
    async fn serve_anywhere(self: &Arc<Self>, operation: Operation, user: Name, body: &[u8]) -> Result<Bytes, ApiError> {
        use Operation as Op;
        match operation {
            Op::DefinitionAdd | Op::DefinitionUpdate => self.write_definition(operation, user, parse(body)?).await,
            Op::DefinitionList => self.list_definitions(parse(body)?).await,
            Op::DefinitionDescribe => self.describe_definition(parse(body)?).await,
            Op::DefinitionRemove => self.remove_definition(parse(body)?).await,
            Op::HostList => self.list_hosts(parse(body)?).await,
            Op::HostDisable => self.switch_host(user, parse(body)?, false).await,
            Op::HostEnable => self.switch_host(user, parse(body)?, true).await,
            _ => self.serve_here(operation, user.as_str(), body).await,
        }
    }

    /// Answers as the owner.
    async fn serve_here(self: &Arc<Self>, operation: Operation, user: &str, body: &[u8]) -> Result<Bytes, ApiError> {
        use Operation as Op;
        let user = name("user", user)?;
        if !self.ready() {
            let message = "no host looks after the domains at the moment; try again".to_owned();
            return Err(ApiError::Unavailable { message });
        }
        match operation {
            Op::DomainAdd => self.add_domain(user, parse(body)?).await,
            Op::DomainList => self.list_domains(user, parse(body)?).await,
            Op::DomainDescribe => self.describe_domain(user, parse(body)?).await,
            Op::DomainDiff => self.diff_domain(user, parse(body)?).await,
            Op::DomainReconfigure => self.reconfigure_domain(user, parse(body)?).await,
            Op::DomainRemove => self.remove_domain(user, parse(body)?).await,
            Op::DomainPause => self.on_domain(user, parse(body)?, What::Pause(true)).await,
            Op::DomainResume => self.on_domain(user, parse(body)?, What::Pause(false)).await,
            Op::DomainDryRun => self.dry_run_domain(user, parse(body)?).await,
            Op::DomainSubscribe => self.subscribe_domain(user, parse(body)?).await,
            Op::DomainUnsubscribe => self.unsubscribe_domain(user, parse(body)?).await,
            Op::DomainHistory => self.tell_history(user, parse(body)?).await,
            Op::Why => self.tell_why(user, parse(body)?).await,
            Op::BrakeShow => self.show_brake(user, parse(body)?).await,
            Op::BrakeRelease => self.on_domain(user, parse(body)?, What::ReleaseBrake).await,
            Op::InstanceList => self.list_instances(user, parse(body)?).await,
            Op::InstanceDescribe => self.describe_instance(user, parse(body)?).await,
            Op::InstanceKill => self.kill_instance(user, parse(body)?).await,
            Op::InstanceProtect => self.protect_instance(user, parse(body)?, true).await,
            Op::InstanceUnprotect => self.protect_instance(user, parse(body)?, false).await,
            Op::OrphanList => self.list_orphans(parse(body)?).await,
            Op::OrphanAdopt => self.adopt_orphans(user, parse(body)?).await,
            Op::OrphanTerminate => self.terminate_orphans(user, parse(body)?).await,
            Op::JournalReload => self.reload_journal(parse(body)?).await,
            Op::DefinitionAdd
            | Op::DefinitionUpdate
            | Op::DefinitionList
            | Op::DefinitionDescribe
            | Op::DefinitionRemove
            | Op::HostList
            | Op::HostDisable
            | Op::HostEnable => Err(ApiError::Unavailable { message: "served by every host, and forwarded by none".to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use pilothouse_core::explain::Ask;
    use proptest::prelude::*;

    use super::*;
    use crate::api::{AddDomain, DryRun, ListDomains, OnDomain, ReconfigureDomain};

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
