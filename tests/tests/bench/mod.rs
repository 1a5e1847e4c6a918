//! One site and what it needs: a server, a provisioner, an ear for its reports, and a ledger of what really runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::{Client, Message};
use futures::StreamExt;
use pilothouse_core::instance::State;
use pilothouse_core::message::{Dump, DumpAnswer, Provision, Receipt, StateReport, Terminate, ToDump, ToStart, ToStop};
use pilothouse_core::name::DomainKey;
use pilothouse_core::time::{Millis, Timestamp};
use pilothouse_tests::nats::NatsServer;
use pilothouse_tests::processes::{Ledger, Program};
use pilothouse_tests::wait::{eventually, eventually_some};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

/// The program that has `agent` and `provisioner local` as its first arguments.
const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");

/// Far more than anything here takes, for crowded machines.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A provisioner that runs.
pub(crate) type Site = Program;

/// What was heard, in order.
type Heard = Arc<Mutex<Vec<Message>>>;

pub(crate) struct Bench {
    pub(crate) nats: NatsServer,
    pub(crate) ledger: Ledger,
    dir: TempDir,
    client: Client,
    states: Heard,
    heartbeats: Heard,
}

impl Bench {
    pub(crate) async fn new() -> Result<Self> {
        let nats = NatsServer::start().await?;
        let (ledger, dir) = (Ledger::new()?, TempDir::new()?);
        let client = nats.client().await?;
        let (states, heartbeats) = (listen(&client, "t.state.*").await?, listen(&client, "t.heartbeat.*").await?);
        let kinds = [
            ("worker", "exec sleep 100000"),
            ("stubborn", "trap '' TERM; exec sleep 100000"),
            ("runaway", "setsid sh -c \"trap '' TERM; exec sleep 100000\" & exec sleep 100000"),
        ];
        // A list of strings is the same in JSON and in TOML.
        let table =
            |(kind, then)| format!("[deployable.{kind}]\ncommands = [{{ name = \"main\", argv = {} }}]\n", json!(ledger.worker(then)));
        let deployables: String = kinds.into_iter().map(table).collect();
        fs::write(dir.path().join("deployables.toml"), deployables)?;
        Ok(Self { nats, ledger, dir, client, states, heartbeats })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn id(&self, name: &str) -> String {
        self.ledger.id(name)
    }

    /// Starts a provisioner, and does not wait for it.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Result<Site> {
        Program::start(self.command(arguments), &self.path("provisioner.log"))
    }

    /// Starts a provisioner that answers, and dies when it comes to a point.
    pub(crate) async fn start_to_die_at(&self, point: &str, mark: &Path) -> Result<Site> {
        let mut command = self.command(&[]);
        command.env("PILOTHOUSE_FAILPOINT", point).env("PILOTHOUSE_FAILPOINT_MARK", mark);
        self.answers(Program::start(command, &self.path("provisioner.log"))?).await
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.ledger.command(PROGRAM);
        command.args(["provisioner", "local", "--prefix", "t", "--nats", &self.nats.url()]);
        if !arguments.contains(&"--grace") {
            command.args(["--grace", "0.3"]);
        }
        command.arg("--data").arg(self.path("data")).arg("--deployables").arg(self.path("deployables.toml")).args(arguments);
        command
    }

    /// Starts a provisioner that answers.
    pub(crate) async fn start(&self) -> Result<Site> {
        self.start_with(&[]).await
    }

    pub(crate) async fn start_with(&self, arguments: &[&str]) -> Result<Site> {
        self.answers(self.spawn(arguments)?).await
    }

    async fn answers(&self, site: Site) -> Result<Site> {
        eventually("the provisioner answers", SOON, async || self.dump(&[]).await.is_ok()).await.with_context(|| site.said())?;
        Ok(site)
    }

    /// What is on disk of an instance.
    pub(crate) fn record(&self, id: &str) -> Result<Value> {
        let json = fs::read(self.path(&format!("data/records/{id}.json"))).context("reading the record")?;
        Ok(serde_json::from_slice(&json)?)
    }

    /// Changes what is on disk of an instance.
    pub(crate) fn edit(&self, id: &str, change: impl FnOnce(&mut Value)) -> Result<()> {
        let mut record = self.record(id)?;
        change(&mut record);
        fs::write(self.path(&format!("data/records/{id}.json")), record.to_string()).context("writing the record")
    }

    pub(crate) fn provision_request(&self, ids: &[&str], kind: &str, epoch: u64, sequence: u64) -> Provision {
        let instance = |id: &&str| ToStart {
            node_id: id.parse().expect("an id"),
            ordinal: 0,
            sequence,
            state_subject: format!("t.state.{id}"),
            heartbeat_subject: format!("t.heartbeat.{id}"),
            sensor_subject: format!("t.sensor.{id}"),
            probe_subject: format!("t.probe.{id}"),
            credentials: None,
        };
        Provision {
            domain: domain(),
            launch_id: "l1".parse().expect("an id"),
            deployable_type: kind.to_owned(),
            site: "local".to_owned(),
            allocation: "small".to_owned(),
            vars: [("heartbeat_seconds".to_owned(), "0.2".to_owned())].into(),
            extra_vars: Default::default(),
            epoch,
            not_after: in_a_minute(),
            instances: ids.iter().map(instance).collect(),
        }
    }

    pub(crate) async fn provision(&self, id: &str, epoch: u64, sequence: u64) -> Result<Receipt> {
        self.ask("provision", self.provision_request(&[id], "worker", epoch, sequence).to_json()).await
    }

    /// As [`provision`](Self::provision), and nobody waits for an answer.
    pub(crate) async fn send_provision(&self, id: &str, epoch: u64, sequence: u64) -> Result<()> {
        let request = self.provision_request(&[id], "worker", epoch, sequence);
        Ok(self.client.publish("t.v1.provisioner.local.provision", request.to_json().into()).await?)
    }

    /// Starts an instance of a kind and waits until its workers do what they are there for.
    pub(crate) async fn provision_a(&self, kind: &str, id: &str) -> Result<()> {
        let receipt = self.ask("provision", self.provision_request(&[id], kind, 1, 5).to_json()).await?;
        ensure!(receipt.refused.is_empty(), "{receipt:?}");
        self.reaches(id, State::Running).await?;
        self.runs(id).await
    }

    pub(crate) async fn late_provision(&self, id: &str, epoch: u64, sequence: u64) -> Result<Receipt> {
        let request = Provision { not_after: a_minute_ago(), ..self.provision_request(&[id], "worker", epoch, sequence) };
        self.ask("provision", request.to_json()).await
    }

    pub(crate) async fn terminate(&self, id: &str, epoch: u64, sequence: u64) -> Result<Receipt> {
        self.terminate_until(id, epoch, sequence, in_a_minute()).await
    }

    pub(crate) async fn late_terminate(&self, id: &str, epoch: u64, sequence: u64) -> Result<Receipt> {
        self.terminate_until(id, epoch, sequence, a_minute_ago()).await
    }

    async fn terminate_until(&self, id: &str, epoch: u64, sequence: u64, not_after: Timestamp) -> Result<Receipt> {
        let instances = vec![ToStop { node_id: id.parse()?, sequence, state_subject: format!("t.state.{id}") }];
        self.ask("terminate", Terminate { domain: domain(), epoch, not_after, instances }.to_json()).await
    }

    pub(crate) async fn dump(&self, ids: &[&str]) -> Result<DumpAnswer> {
        let instance = |id: &&str| Ok(ToDump { node_id: id.parse()?, state_subject: format!("t.state.{id}") });
        let instances = ids.iter().map(instance).collect::<Result<_>>()?;
        let answer = self.answer("dump", Dump { domain: domain(), epoch: 1, instances }.to_json()).await?;
        Ok(DumpAnswer::parse(&answer.payload)?)
    }

    pub(crate) async fn ask(&self, operation: &str, payload: Vec<u8>) -> Result<Receipt> {
        Ok(Receipt::parse(&self.answer(operation, payload).await?.payload)?)
    }

    /// As [`ask`](Self::ask), with what the service says of an error.
    pub(crate) async fn ask_raw(&self, operation: &str, payload: Vec<u8>) -> Result<(Receipt, Option<String>)> {
        let answer = self.answer(operation, payload).await?;
        let error = answer.headers.as_ref().and_then(|headers| headers.get("Nats-Service-Error")).map(ToString::to_string);
        Ok((Receipt::parse(&answer.payload)?, error))
    }

    pub(crate) async fn answer(&self, operation: &str, payload: Vec<u8>) -> Result<Message> {
        let subject = format!("t.v1.provisioner.local.{operation}");
        timeout(SOON, self.client.request(subject, payload.into())).await.context("no answer in time")?.context("no answer")
    }

    /// Every report of an instance so far, judged as a host does.
    pub(crate) fn reports(&self, id: &str) -> Vec<StateReport> {
        let subject = format!("t.state.{id}");
        let heard = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = heard.iter().filter(|message| *message.subject == *subject);
        ours.map(|message| StateReport::parse(id, &message.payload, pilothouse::clock::now()).expect("a host understands it")).collect()
    }

    /// The states that were reported of an instance, each as often as it was.
    pub(crate) fn states(&self, id: &str) -> Vec<State> {
        self.reports(id).iter().map(|report| report.state).collect()
    }

    pub(crate) fn last(&self, id: &str) -> Option<State> {
        self.states(id).pop()
    }

    pub(crate) fn forget_reports(&self) {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Waits until an instance is reported in a state; gives that report.
    pub(crate) async fn reaches(&self, id: &str, state: State) -> Result<StateReport> {
        let what = format!("{id} is {state}");
        let found = eventually_some(&what, SOON, async || self.reports(id).into_iter().find(|report| report.state == state)).await;
        found.with_context(|| format!("{:?}\n{}", self.reports(id), fs::read_to_string(self.path("provisioner.log")).unwrap_or_default()))
    }

    /// Waits until all processes of an instance are there.
    pub(crate) async fn runs(&self, id: &str) -> Result<()> {
        eventually(&format!("the worker of {id} has started"), SOON, async || {
            let workers = self.ledger.workers_of(id);
            let is_runaway = id.contains("runaway");
            self.ledger.starts().contains_key(id) && !workers.is_empty() && (!is_runaway || workers.len() >= 2)
        })
        .await
    }

    /// Waits until the agent of an instance says something.
    pub(crate) async fn hears(&self, id: &str, word: &str) -> Result<()> {
        let subject = format!("t.heartbeat.{id}");
        eventually(&format!("{id} says {word}"), SOON, async || {
            let heard = self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner);
            heard.iter().any(|m| *m.subject == *subject && String::from_utf8_lossy(&m.payload).contains(&format!("\"{word}\"")))
        })
        .await
    }
}

pub(crate) fn domain() -> DomainKey {
    DomainKey { owner: "ann".parse().expect("a name"), name: "web".parse().expect("a name") }
}

fn in_a_minute() -> Timestamp {
    pilothouse::clock::now() + Millis::from_secs(60)
}

fn a_minute_ago() -> Timestamp {
    pilothouse::clock::now() - Millis::from_secs(60)
}

async fn listen(client: &Client, subject: &'static str) -> Result<Heard> {
    let mut subscriber = client.subscribe(subject).await?;
    client.flush().await?;
    let heard = Heard::default();
    let ear = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Some(message) = subscriber.next().await {
            ear.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        }
    });
    Ok(heard)
}
