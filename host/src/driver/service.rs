//! What users ask, as a service of the NATS micro protocol.
//!
//! Any host may receive a request; the owner of the domains answers it. The others forward it to the owner, with the id of the request, so
//! that it is carried out once however often it is sent.

pub(super) mod brake;
mod choice;
mod definitions;
mod diff;
mod domains;
mod engines;
mod fitting;
mod history;
pub(super) mod hosts;
pub(super) mod instances;
mod journal;
pub(super) mod orphans;
mod places;
mod shadow;
pub(super) mod why;
#[cfg(test)]
mod writer;

use std::sync::Arc;
use std::time::Duration;

use async_nats::service::error::Error as ServiceError;
use async_nats::service::{Service, ServiceExt};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use futures::StreamExt;
use pilothouse_core::command::{ApiError, What};
use pilothouse_core::config::ConfigProblem;
use pilothouse_core::message::{Malformed, MalformedKind};
use pilothouse_core::name::Name;
use pilothouse_core::pointer::pointer;
use pilothouse_core::state::DomainState;
use pilothouse_core::subject::is_publishable;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub(super) use self::places::Places;
use self::places::Room;
use super::host::Domains;
use super::ownership::Owner;
use crate::api::{self, CallError, ERROR_HEADER, Operation, ServedBy};
use crate::store::Journal;

/// The user of a forwarded request.
const USER_HEADER: &str = "Pilothouse-User";

/// What the subjects for answers begin with, whichever client makes them.
const INBOXES: &str = "_INBOX.";

/// How long a forwarded request may take.
const FORWARD: Duration = Duration::from_secs(15);

/// Problems that one answer names: enough to work with, few enough for its headers.
const MAX_PROBLEMS: usize = 20;

/// The longest text of an error, in characters: what is wrong with a value repeats it, however long it is.
const MAX_TEXT: usize = 1000;

/// The largest request, in bytes.
const MAX_REQUEST: usize = 256 * 1024;

/// The largest list in an answer, in bytes: with what stands around it, well below the 1 MiB that servers pass on unless told otherwise.
const MAX_ANSWER: usize = 896 * 1024;

/// How long one request may take, a forwarded one included. Whoever asked has given up by then, and a domain whose journal stands still
/// must not keep the places of those who ask for others. What was begun may still be carried out, once for each id of a request.
const SERVE: Duration = Duration::from_secs(18);

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
            move |_endpoint, _stats| serde_json::to_value(shared.figures()).unwrap_or_default()
        })
        .start("pilothouse", env!("CARGO_PKG_VERSION"))
        .await?;
    let (users, hosts) = (&domains.places.users, &domains.places.hosts);
    for operation in Operation::ALL.iter().copied() {
        serve_users(&service, operation, Arc::clone(&domains), Arc::clone(users), stop).await?;
        serve_hosts(client, operation, Arc::clone(&domains), Arc::clone(hosts), stop).await?;
    }
    Ok(service)
}

async fn serve_users<J: Journal>(
    service: &Service,
    operation: Operation,
    domains: Arc<Domains<J>>,
    room: Arc<Room>,
    stop: &CancellationToken,
) -> Result<(), async_nats::Error> {
    let subjects = domains.shared.subjects.clone();
    let name = operation.name().replace('.', "-");
    let metadata = crate::reference::endpoint_metadata(operation);
    let mut endpoint = service.endpoint_builder().name(name).metadata(metadata).add(subjects.api("*", operation.name())).await?;
    let stop = stop.clone();
    tokio::spawn(async move {
        loop {
            let request = tokio::select! {
                request = endpoint.next() => match request { Some(request) => request, None => break },
                () = stop.cancelled() => break,
            };
            if let Err(malformed) = check_reply(request.message.reply.as_deref()) {
                domains.shared.ledger.note(&request.message.subject, &malformed);
                continue;
            }
            let user = subjects.api_user(&request.message.subject).unwrap_or_default().to_owned();
            let (domains, place) = (Arc::clone(&domains), room.place(&user));
            tokio::spawn(async move {
                let served = match place {
                    Ok(_place) => in_time(domains.serve(operation, &user, request.message.payload.clone())).await,
                    Err(error) => Err(error),
                };
                let sent = match served.and_then(|answer| domains.sendable(answer)) {
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
    room: Arc<Room>,
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
            let (client, domains, place) = (client.clone(), Arc::clone(&domains), room.place(&user));
            tokio::spawn(async move {
                let served = match place {
                    Ok(_place) => in_time(domains.serve_here(operation, &user, &request.payload)).await,
                    Err(error) => Err(error),
                };
                let sent = match served.and_then(|answer| domains.sendable(answer)) {
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

/// Whether a request may be answered where it says. Servers don't judge a reply subject by what its sender may publish, but by what the host
/// may, which is everything: so that nobody has a host speak in their place, answers go to inboxes alone. Nor is anything else done for such
/// a request.
fn check_reply(reply: Option<&str>) -> Result<(), Malformed> {
    match reply {
        Some(reply) if !reply.starts_with(INBOXES) || !is_publishable(reply) => {
            let reply: String = reply.chars().take(80).collect();
            Err(Malformed::new(MalformedKind::Value, format!("answers go to subjects that begin with {INBOXES}, not to {reply:?}")))
        }
        _ => Ok(()),
    }
}

/// As much of a request as is done within [`SERVE`].
pub(super) async fn in_time(serving: impl Future<Output = Result<Bytes, ApiError>>) -> Result<Bytes, ApiError> {
    let late = || ApiError::Unavailable { message: format!("not done within {} s; it may still be carried out", SERVE.as_secs()) };
    tokio::time::timeout(SERVE, serving).await.unwrap_or_else(|_| Err(late()))
}

/// An error that fits its headers, whatever of the request it repeats.
fn in_brief(error: &ApiError) -> ApiError {
    let cut = |text: &str| match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text.to_owned(),
    };
    match error {
        ApiError::Invalid { problems } => {
            let mut few: Vec<_> =
                problems.iter().take(MAX_PROBLEMS).map(|problem| ConfigProblem::new(cut(&problem.at), cut(&problem.message))).collect();
            if problems.len() > MAX_PROBLEMS {
                few.push(ConfigProblem::new("", format!("and {} more", problems.len() - MAX_PROBLEMS)));
            }
            ApiError::Invalid { problems: few }
        }
        ApiError::NotFound { what } => ApiError::NotFound { what: cut(what) },
        ApiError::Conflict { message } => ApiError::Conflict { message: cut(message) },
        ApiError::NotPermitted { message } => ApiError::NotPermitted { message: cut(message) },
        ApiError::Unavailable { message } => ApiError::Unavailable { message: cut(message) },
    }
}

fn error_head(error: &ApiError) -> (ServiceError, HeaderMap) {
    let error = &in_brief(error);
    // Header values are one line.
    let status: String = format!("{}: {error}", error.kind()).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut headers = HeaderMap::new();
    if let Ok(json) = serde_json::to_string(error) {
        headers.insert(ERROR_HEADER, json.as_str());
    }
    (ServiceError { code: api::error_code(error), status }, headers)
}

fn too_large(length: usize) -> ApiError {
    ApiError::invalid("", format!("a request of {length} bytes; at most {MAX_REQUEST} are taken"))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    if body.len() > MAX_REQUEST {
        return Err(too_large(body.len()));
    }
    let body = if body.is_empty() { b"{}" } else { body };
    if body.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(ApiError::invalid("", "expected a JSON object"));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let request = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let at = pointer(error.path());
        ApiError::invalid(at, error.into_inner().to_string())
    })?;
    json.end().map_err(|error| ApiError::invalid("", error.to_string()))?;
    Ok(request)
}

/// The journal and the definitions carry the id of a request.
fn check_request_id(id: Option<&str>) -> Result<(), ApiError> {
    if id.is_some_and(|id| id.len() > DomainState::MAX_REQUEST_ID_BYTES) {
        return Err(ApiError::invalid("/request_id", format!("expected at most {} bytes", DomainState::MAX_REQUEST_ID_BYTES)));
    }
    Ok(())
}

fn name(at: &str, text: &str) -> Result<Name, ApiError> {
    text.parse().map_err(|error| ApiError::invalid(at, format!("{error}")))
}

/// An answer as it leaves.
fn bytes(value: &impl serde::Serialize) -> Result<Bytes, ApiError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(unavailable)
}

/// An answer as it goes from one part of a host to another.
pub(super) fn json(value: &impl serde::Serialize) -> Result<Value, ApiError> {
    serde_json::to_value(value).map_err(unavailable)
}

/// For whatever may be otherwise the next time.
fn unavailable(error: impl std::fmt::Display) -> ApiError {
    ApiError::Unavailable { message: error.to_string() }
}

impl<J: Journal> Domains<J> {
    /// Answers here, or lets the owner answer. `user` is the token of the subject.
    pub(super) async fn serve(self: &Arc<Self>, operation: Operation, user: &str, body: Bytes) -> Result<Bytes, ApiError> {
        let user = self.caller(user)?;
        if body.len() > MAX_REQUEST {
            return Err(too_large(body.len()));
        }
        match (operation.served_by(), self.shared.ownership.owner()) {
            (ServedBy::Owner, Owner::Other { host, process }) => self.forward(operation, user.as_str(), body, &host, process).await,
            (ServedBy::Owner, Owner::Me | Owner::Unknown) => self.serve_here(operation, user.as_str(), &body).await,
            (ServedBy::Any, _) => self.serve_anywhere(operation, user, &body).await,
        }
    }

    /// An answer that the server passes on: who waits for one that it does not waits in vain.
    fn sendable(&self, answer: Bytes) -> Result<Bytes, ApiError> {
        let most = self.shared.nats.server_info().max_payload;
        if answer.len() <= most {
            return Ok(answer);
        }
        Err(ApiError::invalid("", format!("the answer has {} bytes, and the server passes on at most {most}: ask for less", answer.len())))
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
            Op::EnginePush => self.push_engine(user, parse(body)?).await,
            Op::EngineList | Op::EngineShow => match self.told_by_owner(operation, &user, body).await {
                Some(told) => told,
                None => self.tell_engines(operation, user, body).await,
            },
            Op::EngineLimit => self.limit_engine(user, parse(body)?).await,
            Op::HostList => self.list_hosts(parse(body)?).await,
            Op::HostDisable => self.switch_host(user, parse(body)?, false).await,
            Op::HostEnable => self.switch_host(user, parse(body)?, true).await,
            _ => self.serve_here(operation, user.as_str(), body).await,
        }
    }

    async fn tell_engines(&self, operation: Operation, user: Name, body: &[u8]) -> Result<Bytes, ApiError> {
        match operation {
            Operation::EngineList => self.list_engines(parse(body)?).await,
            _ => self.show_engine(user, parse(body)?).await,
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
            Op::DomainSchedule => self.tell_schedule(user, parse(body)?).await,
            Op::DomainDiff => self.diff_domain(user, parse(body)?).await,
            Op::DomainReconfigure => self.reconfigure_domain(user, parse(body)?).await,
            Op::DomainRemove => self.remove_domain(user, parse(body)?).await,
            Op::DomainPause => self.on_domain(user, parse(body)?, What::Pause(true)).await,
            Op::DomainResume => self.on_domain(user, parse(body)?, What::Pause(false)).await,
            Op::DomainDryRun => self.dry_run_domain(user, parse(body)?).await,
            Op::DomainShadow => self.shadow_domain(user, parse(body)?).await,
            Op::DomainRetry => self.on_domain(user, parse(body)?, What::Retry).await,
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
            Op::EngineRemove => self.remove_engine(user, parse(body)?).await,
            Op::EnginePin => self.pin_engine(user, parse(body)?).await,
            Op::EngineUnpin => self.unpin_engine(user, parse(body)?).await,
            Op::EngineRollBack => self.roll_back_engine(user, parse(body)?).await,
            Op::EngineFaults => self.tell_faults(&user, parse(body)?),
            // What another host would refuse, or can't tell of domains, it leaves to this one.
            Op::EnginePush => self.push_engine(user, parse(body)?).await,
            Op::EngineList | Op::EngineShow => self.tell_engines(operation, user, body).await,
            Op::DefinitionAdd
            | Op::DefinitionUpdate
            | Op::DefinitionList
            | Op::DefinitionDescribe
            | Op::DefinitionRemove
            | Op::EngineLimit
            | Op::HostList
            | Op::HostDisable
            | Op::HostEnable => Err(ApiError::Unavailable { message: "served by every host, and forwarded by none".to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use pilothouse_core::explain::Ask;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::api::{
        AddDomain, AskEngineFaults, AskSchedule, ChooseOrphans, DiffDomain, DryRun, EngineVersionRef, HistoryOf, KillInstance, LimitEngine,
        ListDefinitions, ListDomains, ListEngines, ListHosts, ListInstances, ListOrphans, OnDefinition, OnDomain, OnHost, OnInstance,
        PinEngine, PushEngine, ReconfigureDomain, ReloadJournal, RemoveDomain, RemoveEngine, RollBackEngine, ShadowDomain, SubscribeDomain,
        UnpinEngine, UnsubscribeDomain, WriteDefinition,
    };

    /// What every operation says to a body that is not its request.
    fn refusals(body: &[u8]) -> Vec<ApiError> {
        let all = [
            parse::<AddDomain>(body).err(),
            parse::<Ask>(body).err(),
            parse::<AskSchedule>(body).err(),
            parse::<ChooseOrphans>(body).err(),
            parse::<DiffDomain>(body).err(),
            parse::<DryRun>(body).err(),
            parse::<HistoryOf>(body).err(),
            parse::<KillInstance>(body).err(),
            parse::<ListDefinitions>(body).err(),
            parse::<ListDomains>(body).err(),
            parse::<ListHosts>(body).err(),
            parse::<ListInstances>(body).err(),
            parse::<ListOrphans>(body).err(),
            parse::<OnDefinition>(body).err(),
            parse::<OnDomain>(body).err(),
            parse::<OnHost>(body).err(),
            parse::<OnInstance>(body).err(),
            parse::<AskEngineFaults>(body).err(),
            parse::<EngineVersionRef>(body).err(),
            parse::<LimitEngine>(body).err(),
            parse::<ListEngines>(body).err(),
            parse::<PinEngine>(body).err(),
            parse::<PushEngine>(body).err(),
            parse::<RemoveEngine>(body).err(),
            parse::<RollBackEngine>(body).err(),
            parse::<UnpinEngine>(body).err(),
            parse::<ReconfigureDomain>(body).err(),
            parse::<ReloadJournal>(body).err(),
            parse::<RemoveDomain>(body).err(),
            parse::<ShadowDomain>(body).err(),
            parse::<SubscribeDomain>(body).err(),
            parse::<UnsubscribeDomain>(body).err(),
            parse::<WriteDefinition>(body).err(),
        ];
        all.into_iter().flatten().collect()
    }

    proptest! {
        #[test]
        fn no_request_panics_and_no_answer_breaks_a_header(body in prop::collection::vec(any::<u8>(), 0..256), field in ".*", value in ".*") {
            let named = json!({"domain": value, "request_id": value, field: value}).to_string();
            for body in [&body[..], named.as_bytes()] {
                for refused in refusals(body).into_iter().chain(name("/domain", &value).err()) {
                    prop_assert_eq!(refused.kind(), "invalid");
                    let (head, headers) = error_head(&refused);
                    prop_assert!(!head.status.contains(['\r', '\n']));
                    let told = headers.get(ERROR_HEADER).expect("the error as JSON");
                    prop_assert_eq!(serde_json::from_str::<ApiError>(told.as_str()).expect("it can be read"), refused);
                }
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_request_is_told_with_its_key() {
        let at = |body: Value| match parse::<HistoryOf>(body.to_string().as_bytes()) {
            Err(ApiError::Invalid { problems }) => problems[0].at.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(at(json!({"domain": 3})), "/domain");
        assert_eq!(at(json!({"domain": "web", "limit": "all"})), "/limit");
        assert_eq!(at(json!({"domain": "web", "a/b": 1})), "/a~1b");
        assert_eq!(at(json!({})), "");
        let refused = parse::<ChooseOrphans>(br#"{"instances": ["ok", "a.b"]}"#).expect_err("no id");
        assert!(matches!(&refused, ApiError::Invalid { problems } if problems[0].at == "/instances/1"), "{refused}");
        assert!(parse::<OnDomain>(br#"{"domain": "web"} and more"#).is_err());
    }

    #[test]
    fn an_error_fits_its_headers_however_much_it_repeats() {
        let problems = (0..50).map(|n| ConfigProblem::new(format!("/{n}"), "ä".repeat(200_000))).collect();
        let (head, headers) = error_head(&ApiError::Invalid { problems });
        let told = headers.get(ERROR_HEADER).expect("the error as JSON").as_str();
        assert!(head.status.len() + told.len() < 128 * 1024, "{} and {}", head.status.len(), told.len());
        let Ok(ApiError::Invalid { problems }) = serde_json::from_str(told) else { panic!("{told}") };
        assert_eq!((problems.len(), problems[19].at.as_str(), problems[20].message.as_str()), (21, "/19", "and 30 more"));
        let (head, _) = error_head(&ApiError::NotFound { what: "x".repeat(1 << 20) });
        assert!(head.status.len() < 2000);
    }

    #[test]
    fn answers_go_to_inboxes_and_nowhere_else() {
        for good in [None, Some("_INBOX.x"), Some("_INBOX.ann.x.y")] {
            assert_eq!(check_reply(good), Ok(()), "{good:?}");
        }
        let forbidden = [
            "$JS.API.STREAM.DELETE.ph-journal",
            "ph.v1.api.ann.orphan.terminate",
            "_INBOX",
            "_INBOX.",
            "_INBOXES.x",
            "_INBOX.>",
            "_INBOX.a b",
        ];
        for bad in forbidden {
            assert!(check_reply(Some(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_request_of_an_operation_is_among_those_that_are_tried() {
        let mut generator = schemars::SchemaGenerator::default();
        let types: BTreeSet<String> =
            Operation::ALL.iter().map(|operation| operation.schemas(&mut generator).0.to_value().to_string()).collect();
        // No operation takes this, so that each of them refuses it.
        assert_eq!(refusals(br#"{"no such field": 1}"#).len(), types.len(), "{types:?}");
    }
}
