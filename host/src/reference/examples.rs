//! Real messages, written by the same code that hosts, agents and provisioners write them with.

use pilothouse_core::cycle::Status;
use pilothouse_core::domain::{Happened, Happening};
use pilothouse_core::explain::Ask;
use pilothouse_core::id::{InstanceId, LaunchId};
use pilothouse_core::instance::{Health, State};
use pilothouse_core::message::{
    Dump, DumpAnswer, Heartbeat, Inventory, InventoryAnswer, Known, Notice, NoticeProperties, Provision, Reading, Receipt, Refused,
    StateReport, Terminate, ToDump, ToStart, ToStop, Verdict,
};
use pilothouse_core::name::{DomainKey, Name, Slot};
use pilothouse_core::problem::{FailedProcess, Problem};
use pilothouse_core::schedule::{KeyChange, Turn};
use pilothouse_core::subject::{DataKind, Subjects};
use pilothouse_core::time::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::api::{
    AddDomain, AskEngineFaults, AskSchedule, ChooseOrphans, DefinitionSummary, DiffDomain, DryRun, EngineVersionRef, HistoryOf,
    HostSwitched, KillInstance, LimitEngine, ListDomains, ListEngines, ListHosts, ListInstances, ListOrphans, OnDefinition, OnDomain,
    OnHost, OnInstance, Operation, PinEngine, PushEngine, ReconfigureDomain, ReloadJournal, RemoveDomain, RemoveEngine, RollBackEngine,
    ShadowDomain, SubscribeDomain, UnpinEngine, UnsubscribeDomain, WriteDefinition,
};

const NOW: Timestamp = Timestamp::from_millis(1_789_000_000_250);
const SLOT: Slot = Slot(42);
const COMPONENT: &str = "5df6e0e2761359d30a8275058e299fcc0381534545f55cf43e41983f5d4c9456";

/// A name or an id of the examples.
fn known<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a text of the examples")
}

fn node() -> InstanceId {
    known("i02a-7k3m9x2q5w8r1t4v")
}

fn other_node() -> InstanceId {
    known("i02a-0b6n4d8f2h5j9p1s")
}

fn launch() -> LaunchId {
    known("l02a-3c7e1g5m9q2t6w8z")
}

fn web() -> DomainKey {
    DomainKey { owner: known("ann"), name: known("web") }
}

fn subjects() -> Subjects {
    Subjects::new(&known::<Name>(Subjects::DEFAULT_PREFIX))
}

fn state_subject(id: &InstanceId) -> String {
    subjects().data(DataKind::State, SLOT, id)
}

/// What was written is JSON.
fn read(json: &[u8]) -> Value {
    serde_json::from_slice(json).expect("JSON that was just written")
}

fn written(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("a value with only string keys")
}

pub(super) fn heartbeats() -> Vec<Value> {
    let process = FailedProcess {
        name: "main".to_owned(),
        exitcode: Some(-9),
        stop_timestamp: Some(NOW.as_secs_f64()),
        stderr: Some("out of memory".to_owned()),
        more: [("restarts".to_owned(), json!(3))].into(),
    };
    let error = |health, problems| Verdict::Error { health, problems, time: Some(NOW) };
    let verdicts = [
        Verdict::Ok,
        error(Health::MonitorError, vec![Problem::Text("the monitor does not answer".to_owned())]),
        error(Health::ProcessError, vec![Problem::Process(process)]),
    ];
    verdicts.into_iter().map(|verdict| read(&Heartbeat { verdict }.to_json(node().as_str(), NOW))).collect()
}

pub(super) fn reports() -> Vec<Value> {
    let attributes = [("hostname", "vm-7"), ("public_ip", "192.0.2.7")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let running = StateReport { attributes: attributes.into(), update_counter: Some(3), ..StateReport::new(State::Running) };
    let failed = StateReport { reason: Some("no such image".to_owned()), ..StateReport::new(State::Failed) };
    [running, failed, StateReport::never_seen()].iter().map(|report| read(&report.to_json(node().as_str(), NOW))).collect()
}

pub(super) fn readings() -> Vec<Value> {
    let (of_instance, of_domain) = readings_apart();
    [of_instance, of_domain].concat()
}

/// Readings of an instance, and of a domain as a whole.
pub(super) fn readings_apart() -> (Vec<Value>, Vec<Value>) {
    let reading = |metric: &str, value| Reading { metric: metric.to_owned(), time: NOW, value };
    let of_instance = reading("load", 0.75).to_json(Some(node().as_str()));
    (vec![read(&of_instance)], vec![read(&reading("queue-length", 1200.0).to_json(None))])
}

pub(super) fn provisions() -> Vec<Value> {
    let (subjects, id) = (subjects(), node());
    let instance = ToStart {
        ordinal: 0,
        sequence: 17,
        state_subject: state_subject(&id),
        heartbeat_subject: subjects.data(DataKind::Heartbeat, SLOT, &id),
        sensor_subject: subjects.data(DataKind::Sensor, SLOT, &id),
        probe_subject: subjects.probe(SLOT, &id),
        credentials: None,
        node_id: id,
    };
    let request = Provision {
        domain: web(),
        launch_id: launch(),
        deployable_type: "worker".to_owned(),
        site: "local".to_owned(),
        allocation: "small".to_owned(),
        vars: [("log-level".to_owned(), "debug".to_owned()), ("shard".to_owned(), "7".to_owned())].into(),
        extra_vars: [("shard".to_owned(), "7".to_owned())].into(),
        epoch: 2,
        not_after: NOW,
        instances: vec![instance],
    };
    vec![read(&request.to_json())]
}

pub(super) fn terminations() -> Vec<Value> {
    let instance = ToStop { node_id: node(), sequence: 29, state_subject: state_subject(&node()) };
    vec![read(&Terminate { domain: web(), epoch: 2, not_after: NOW, instances: vec![instance] }.to_json())]
}

pub(super) fn receipts() -> Vec<Value> {
    let refused = Refused { node_id: other_node(), kind: "too_late".to_owned(), reason: "not begun in time".to_owned() };
    let some = Receipt { accepted: vec![node()], refused: vec![refused] };
    vec![read(&some.to_json()), read(&Receipt { accepted: vec![node()], refused: Vec::new() }.to_json())]
}

pub(super) fn dumps() -> Vec<Value> {
    let instances = [node(), other_node()].map(|id| ToDump { state_subject: state_subject(&id), node_id: id });
    vec![read(&Dump { domain: web(), epoch: 2, instances: instances.into() }.to_json())]
}

pub(super) fn dump_answers() -> Vec<Value> {
    vec![read(&DumpAnswer { known: vec![node()], unknown: vec![other_node()] }.to_json())]
}

pub(super) fn inventories() -> Vec<Value> {
    [None, Some(node())].map(|after| read(&Inventory { after }.to_json())).into()
}

pub(super) fn inventory_answers() -> Vec<Value> {
    let instance = Known {
        node_id: node(),
        domain: web(),
        launch_id: launch(),
        deployable_type: "worker".to_owned(),
        allocation: "small".to_owned(),
        extra_vars: [("shard".to_owned(), "7".to_owned())].into(),
        state: State::Running,
        epoch: 2,
        sequence: 17,
    };
    vec![read(&InventoryAnswer { instances: vec![instance], more: false }.to_json())]
}

pub(super) fn happenings() -> Vec<Value> {
    let all = [
        Happened::Taken { host: known("ship-1"), epoch: 2 },
        Happened::Instance {
            node_id: node(),
            ordinal: 0,
            state: State::Running,
            health: Health::ProcessError,
            reason: Some("process main: exit code 1".to_owned()),
        },
        Happened::Decided {
            status: Status::Pending,
            reason: "1 of 3 is there".to_owned(),
            launches: 2,
            terminations: 0,
            held_back: Vec::new(),
        },
        Happened::Scheduled(Turn {
            began: vec![known("day")],
            ended: Vec::new(),
            changes: vec![KeyChange { key: "preserve_n".to_owned(), from: Some(json!(3)), to: Some(json!(10)) }],
        }),
        Happened::Removed,
    ];
    all.into_iter().map(|what| written(&Happening { domain: web(), at: NOW, what })).collect()
}

pub(super) fn notices() -> Vec<Value> {
    let of =
        |state, hostname| written(&Notice { node_id: node(), state, domain_id: known("web"), properties: NoticeProperties { hostname } });
    vec![of(State::Running, Some("vm-7".to_owned())), of(State::Failed, None)]
}

/// A request for every operation.
pub(super) fn requests(operation: Operation) -> Vec<Value> {
    use Operation as Op;
    let request_id = Some("6f1c2a".to_owned());
    let (domain, instance, host, name) = ("web".to_owned(), "web/0".to_owned(), "ship-1".to_owned(), "workers".to_owned());
    let config = json!({"engine_conf": {"preserve_n": 4}});
    let (subscriber_name, subscriber_op) = ("panel".to_owned(), "changed".to_owned());
    let request = match operation {
        Op::DefinitionAdd | Op::DefinitionUpdate => written(&WriteDefinition {
            name,
            definition: json!({"general": {"engine": "npreserving"}, "engine_conf": {"preserve_n": 3}}),
            request_id,
        }),
        Op::DefinitionList => json!({}),
        Op::DefinitionDescribe => written(&OnDefinition { name, request_id: None }),
        Op::DefinitionRemove => written(&OnDefinition { name, request_id }),
        Op::DomainAdd => written(&AddDomain { domain, definition: Some(name), config, request_id, ..AddDomain::default() }),
        Op::DomainList => written(&ListDomains {}),
        Op::DomainDescribe | Op::BrakeShow => written(&OnDomain { domain, request_id: None }),
        Op::DomainSchedule => written(&AskSchedule { domain, next: Some(3) }),
        Op::DomainDiff => written(&DiffDomain { domain, config }),
        Op::DomainReconfigure => written(&ReconfigureDomain { domain, config, request_id }),
        Op::DomainRemove => written(&RemoveDomain { domain, request_id, ..RemoveDomain::default() }),
        Op::DomainPause | Op::DomainResume | Op::DomainRetry | Op::BrakeRelease => written(&OnDomain { domain, request_id }),
        Op::DomainDryRun => written(&DryRun { domain, on: true, request_id }),
        Op::DomainShadow => {
            written(&ShadowDomain { domain, engine: Some("npreserving@1.3".to_owned()), promote_after: Some(600.0), request_id })
        }
        Op::DomainSubscribe => written(&SubscribeDomain { domain, subscriber_name, subscriber_op, request_id }),
        Op::DomainUnsubscribe => written(&UnsubscribeDomain { domain, subscriber_name, subscriber_op: None, request_id }),
        Op::DomainHistory => written(&HistoryOf { domain, since: Some(NOW), limit: Some(20), ..HistoryOf::default() }),
        Op::Why => written(&Ask { domain, ..Ask::default() }),
        Op::InstanceList => written(&ListInstances { domain: Some(domain) }),
        Op::InstanceDescribe => written(&OnInstance { instance, request_id: None }),
        Op::InstanceKill => {
            written(&KillInstance { instance: node().to_string(), reason: Some("its disk is full".to_owned()), request_id })
        }
        Op::InstanceProtect | Op::InstanceUnprotect => written(&OnInstance { instance, request_id }),
        Op::HostList => written(&ListHosts {}),
        Op::HostDisable | Op::HostEnable => written(&OnHost { host, request_id }),
        Op::OrphanList => written(&ListOrphans { sites: vec!["local".to_owned()] }),
        Op::OrphanAdopt | Op::OrphanTerminate => {
            written(&ChooseOrphans { instances: vec![other_node()], request_id, ..ChooseOrphans::default() })
        }
        Op::EnginePush => {
            written(&PushEngine { digest: COMPONENT.to_owned(), bytes: 21_734, expect: Some("keep@1.2.0".to_owned()), request_id })
        }
        Op::EngineList => written(&ListEngines {}),
        Op::EngineShow => written(&EngineVersionRef { name: "keep".to_owned(), version: None }),
        Op::EngineRemove => written(&RemoveEngine { name: "keep".to_owned(), version: "1.1.0".to_owned(), request_id }),
        Op::EnginePin => written(&PinEngine {
            name: "keep".to_owned(),
            version: "1.1.0".to_owned(),
            reason: Some("1.2.0 is being looked at".to_owned()),
            request_id,
        }),
        Op::EngineUnpin => written(&UnpinEngine { name: "keep".to_owned(), request_id }),
        Op::EngineRollBack => {
            written(&RollBackEngine { name: "keep".to_owned(), to: None, reason: Some("1.2.0 launches too many".to_owned()), request_id })
        }
        Op::EngineLimit => written(&LimitEngine {
            name: "keep".to_owned(),
            limits: [("fuel".to_owned(), Some(50_000_000)), ("log_lines".to_owned(), None)].into(),
            request_id,
        }),
        Op::EngineFaults => written(&AskEngineFaults { name: Some("keep".to_owned()), limit: Some(20), ..AskEngineFaults::default() }),
        Op::JournalReload => written(&ReloadJournal { request_id }),
    };
    vec![request]
}

/// An answer, of the operations that answer the same in every system.
pub(super) fn answers(operation: Operation) -> Vec<Value> {
    use Operation as Op;
    match operation {
        Op::DefinitionAdd => {
            vec![written(&DefinitionSummary { name: known("workers"), engine: "npreserving".to_owned(), revision: 7 })]
        }
        Op::HostDisable => vec![written(&HostSwitched { host: known("ship-1"), enabled: false, noted: true })],
        _ => Vec::new(),
    }
}
