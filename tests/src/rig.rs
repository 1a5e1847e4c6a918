//! A whole system for one test: a nats-server, provisioners, hosts, a caller of the API, and a ledger of what really runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use pilothouse::api::{AddDomain, ApiClient, DomainDescription, InstanceDescription, OnDomain, Operation, ReconfigureDomain};
use pilothouse_core::domain::Happening;
use pilothouse_core::instance::{Health, State};
use pilothouse_core::name::Name;
use pilothouse_core::subject::Subjects;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::nats::NatsServer;
use crate::processes::{Ledger, Program};
use crate::wait::{eventually, eventually_some};

/// Far more than anything here takes, for crowded machines.
pub const SOON: Duration = Duration::from_secs(60);

/// The domain that most tests are about.
pub const WEB: &str = "web";

/// A whole system. Everything in it ends when it is dropped.
#[derive(Debug)]
pub struct Rig {
    /// The server.
    pub nats: NatsServer,
    /// What really runs.
    pub ledger: Ledger,
    /// The caller.
    pub api: ApiClient,
    pub(crate) program: PathBuf,
    dir: TempDir,
    happened: Arc<Mutex<Vec<Happening>>>,
}

impl Rig {
    /// A server and a caller. `program` has `serve`, `agent` and `provisioner local` as its first arguments.
    ///
    /// # Errors
    /// When the server does not start.
    pub async fn new(program: &str) -> Result<Self> {
        Self::on(NatsServer::start().await?, program).await
    }

    /// As [`Rig::new`], on a server that was started already and takes callers without credentials.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn on(nats: NatsServer, program: &str) -> Result<Self> {
        let (ledger, dir) = (Ledger::new()?, TempDir::with_prefix("pilothouse-rig-")?);
        let client = nats.client().await?;
        let subjects = Subjects::new(&Subjects::DEFAULT_PREFIX.parse()?);
        let mut events = client.subscribe(subjects.events_of("*")).await?;
        let happened = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&happened);
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if let Ok(happening) = serde_json::from_slice(&event.payload) {
                    heard.lock().unwrap_or_else(PoisonError::into_inner).push(happening);
                }
            }
        });
        client.flush().await?;
        let table = format!(
            "[deployable.worker]\nheartbeat_seconds = 0.3\ncommands = [{{ name = \"main\", argv = {} }}]\n",
            json!(ledger.worker("exec sleep 100000"))
        );
        fs::write(dir.path().join("deployables.toml"), table)?;
        let api = ApiClient::new(client, subjects, "default".parse::<Name>()?);
        Ok(Self { nats, ledger, api, program: program.into(), dir, happened })
    }

    /// A path in the folder of this system.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts a host, and does not wait for it. Hosts of one name are one host, started again.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn host(&self, name: &str) -> Result<Program> {
        self.host_with(name, &[])
    }

    /// As [`Rig::host`], with an environment of its own.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn host_with(&self, name: &str, environment: &[(&str, &str)]) -> Result<Program> {
        let mut command = self.host_command(name, &self.nats.url());
        command.envs(environment.iter().copied());
        self.start(name, command)
    }

    /// The command line of a host on a server, to be given more arguments and started with [`Rig::start`].
    pub fn host_command(&self, name: &str, url: &str) -> Command {
        let mut command = self.ledger.command(&self.program);
        command.args(["serve", "--name", name, "--lease", "3", "--nats", url]);
        // Compiled once for all tests: what an engine is does not differ.
        command.arg("--cache").arg(std::env::temp_dir().join("pilothouse-test-cache"));
        command
    }

    /// Starts a program that logs under a name, and does not wait for it.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(&self, name: &str, command: Command) -> Result<Program> {
        Program::start(command, &self.path(&format!("{name}.log")))
    }

    /// Starts a provisioner for a site, and waits until it answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn site(&self, name: &str) -> Result<Program> {
        let mut command = self.ledger.command(&self.program);
        command.args(["provisioner", "local", "--grace", "0.3", "--site", name, "--nats", &self.nats.url()]);
        command.arg("--data").arg(self.path(name)).arg("--deployables").arg(self.path("deployables.toml"));
        let site = Program::start(command, &self.path(&format!("site-{name}.log")))?;
        let subject = self.api.subjects().provisioner(name, "dump");
        let dump = json!({"domain": {"owner": "default", "name": WEB}, "epoch": 0, "instances": []}).to_string();
        let answers = async || self.api.nats().request(subject.clone(), dump.clone().into()).await.is_ok();
        eventually("the provisioner answers", SOON, answers).await.with_context(|| site.said())?;
        Ok(site)
    }

    /// Adds the domain `web`, as soon as a host answers.
    ///
    /// # Errors
    /// When none does, or it refuses.
    pub async fn add_web(&self, config: Value) -> Result<()> {
        self.add(WEB, config).await
    }

    /// Adds a domain, as soon as a host answers.
    ///
    /// # Errors
    /// When none does, or it refuses.
    pub async fn add(&self, domain: &str, config: Value) -> Result<()> {
        // One id for all attempts: whatever the first of them did, it is done once.
        let request = AddDomain { domain: domain.to_owned(), config, request_id: Some(format!("add-{domain}")), ..AddDomain::default() };
        let mut last = None;
        let added = eventually("the domain is added", SOON, async || match self.api.call::<Value>(Operation::DomainAdd, &request).await {
            Ok(_) => true,
            Err(error) => {
                last = Some(error.to_string());
                false
            }
        });
        added.await.with_context(|| last.unwrap_or_default())
    }

    /// Changes the configuration of `web`.
    ///
    /// # Errors
    /// When the host refuses.
    pub async fn reconfigure(&self, config: Value) -> Result<Value> {
        let request = ReconfigureDomain { domain: WEB.to_owned(), config, request_id: None };
        Ok(self.api.call(Operation::DomainReconfigure, &request).await?)
    }

    /// What the host says of `web`.
    ///
    /// # Errors
    /// When it says nothing.
    pub async fn describe(&self) -> Result<DomainDescription> {
        let request = OnDomain { domain: WEB.to_owned(), request_id: None };
        Ok(self.api.call(Operation::DomainDescribe, &request).await?)
    }

    /// The instances of `web` that are neither gone nor on their way out.
    ///
    /// # Errors
    /// When the host says nothing.
    pub async fn valid(&self) -> Result<Vec<InstanceDescription>> {
        let described = self.describe().await?;
        Ok(described.instances.into_iter().filter(|instance| instance.state.is_valid()).collect())
    }

    /// Waits until `web` has exactly so many instances running and well, and no process runs that does not belong to them.
    ///
    /// # Errors
    /// When that does not come to pass.
    pub async fn settles_at(&self, count: usize) -> Result<Vec<InstanceDescription>> {
        let what = format!("{WEB} settles at {count}");
        let settled = eventually_some(&what, SOON, async || {
            let instances = self.describe().await.ok()?.instances;
            let alive: Vec<_> = instances.into_iter().filter(|instance| !instance.state.is_gone()).collect();
            let well = alive.iter().all(|it| it.state == State::Running && it.health == Health::Ok);
            let running = self.ledger.alive();
            let each_runs = alive.iter().all(|it| running.contains_key(it.instance_id.as_str()));
            (well && alive.len() == count && running.len() == count && each_runs).then_some(alive)
        });
        match settled.await {
            Ok(instances) => Ok(instances),
            Err(error) => {
                let shown = self.describe().await.map(|described| format!("{described:#?}")).unwrap_or_else(|error| error.to_string());
                bail!("{error:#}\n{shown}\nrunning: {:#?}\n{}", self.ledger.alive(), self.logs())
            }
        }
    }

    /// Everything that was told to those who watch, in order.
    pub fn happened(&self) -> Vec<Happening> {
        self.happened.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The end of every log, for messages.
    pub fn logs(&self) -> String {
        let mut all = String::new();
        let logs = fs::read_dir(self.dir.path()).into_iter().flatten().flatten().map(|entry| entry.path());
        for log in logs.filter(|path| path.extension().is_some_and(|extension| extension == "log")) {
            all += &format!("--- {}\n{}\n", log.display(), tail(&log));
        }
        all
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// A configuration of `simplest` for tests: brisk, at a site.
pub fn keep(count: u32, site: &str) -> Value {
    json!({
        "general": { "engine": "simplest", "decide_interval": 0.2 },
        "health": { "boot_timeout": 30, "missing_timeout": 4, "really_missing_timeout": 1, "zombie_seconds": 10 },
        "engine_conf": { "preserve_n": count, "force_site": site, "epuworker_type": "worker" },
    })
}
