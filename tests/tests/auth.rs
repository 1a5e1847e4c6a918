//! Who may say what, on a real server that was set up by `pilothouse auth init`. Every refusal is the server's own.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_nats::{Client, ConnectOptions, Event};
use futures::{StreamExt, TryStreamExt};
use nix::sys::signal::Signal;
use pilothouse::auth::AgentSigner;
use pilothouse_core::time::Timestamp;
use pilothouse_tests::nats::NatsServer;
use pilothouse_tests::processes::{Ledger, Program};
use pilothouse_tests::rig::{Rig, SOON, WEB, keep};
use pilothouse_tests::wait::{eventually, eventually_some};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");

/// Published by nobody's leave: the server complains of it after everything that was said before.
const NOBODYS: &str = "nobody.may.say.this";

/// A set-up on disk.
struct SetUp {
    dir: TempDir,
    ledger: Ledger,
}

impl SetUp {
    fn new() -> Result<Self> {
        let set_up = Self { dir: TempDir::with_prefix("pilothouse-auth-")?, ledger: Ledger::new()? };
        let store = set_up.dir.path().join("jetstream");
        set_up.run(&["init", set_up.at("").to_str().context("a path")?, "--store", store.to_str().context("a path")?])?;
        Ok(set_up)
    }

    fn at(&self, file: &str) -> PathBuf {
        if file.is_empty() { self.dir.path().join("auth") } else { self.dir.path().join("auth").join(file) }
    }

    fn creds(&self, name: &str) -> PathBuf {
        self.at(&format!("creds/{name}.creds"))
    }

    async fn server(&self) -> Result<NatsServer> {
        NatsServer::start_guarded(&self.at("server/nats.conf"), &self.creds("operator-operator")).await
    }

    /// `pilothouse auth`.
    fn run(&self, args: &[&str]) -> Result<()> {
        let output = self.ledger.command(PROGRAM).arg("auth").args(args).output()?;
        ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn add(&self, role: &str, name: &str, more: &[&str]) -> Result<()> {
        let dir = self.at("");
        self.run(&[&["add", dir.to_str().context("a path")?, "--role", role, name], more].concat())
    }

    /// Credentials of an agent, as a host makes them.
    fn agent(&self, id: &str) -> Result<String> {
        let signer = AgentSigner::read(&self.at("agents.signer"))?;
        Ok(signer.credentials_of(&id.parse()?, Timestamp::from_secs(1_700_000_000))?.reveal().to_owned())
    }
}

/// Somebody who is connected, and hears what the server complains of.
struct Somebody {
    client: Client,
    complaints: UnboundedReceiver<String>,
}

impl Somebody {
    async fn from_file(server: &NatsServer, creds: &Path) -> Result<Self> {
        Self::new(server, &fs::read_to_string(creds)?, creds.file_stem().and_then(|stem| stem.to_str()).context("a name")?).await
    }

    /// `file` is the name of a credentials file, ROLE-NAME.
    async fn new(server: &NatsServer, creds: &str, file: &str) -> Result<Self> {
        let (told, complaints) = unbounded_channel();
        let name = file.split_once('-').context("a role and a name")?.1;
        let options = ConnectOptions::with_credentials(creds)?.custom_inbox_prefix(format!("_INBOX.{name}")).event_callback(move |event| {
            if let Event::ServerError(error) = event {
                let _ = told.send(error.to_string());
            }
            std::future::ready(())
        });
        Ok(Self { client: options.connect(server.url()).await?, complaints })
    }

    /// What the server complains of when all of this is published.
    async fn refused(&mut self, subjects: &[&str]) -> Result<BTreeSet<String>> {
        for subject in subjects {
            self.client.publish((*subject).to_owned(), "{}".into()).await?;
        }
        self.complaints().await
    }

    /// What the server complains of when all of this is listened to.
    async fn unheard(&mut self, subjects: &[&str]) -> Result<BTreeSet<String>> {
        let mut subscriptions = Vec::new();
        for subject in subjects {
            subscriptions.push(self.client.subscribe((*subject).to_owned()).await?);
        }
        self.complaints().await
    }

    /// Everything until now: the server complains in order, and so of this last.
    async fn complaints(&mut self) -> Result<BTreeSet<String>> {
        self.client.publish(NOBODYS, "".into()).await?;
        let mut subjects = BTreeSet::new();
        loop {
            let complaint = tokio::time::timeout(SOON, self.complaints.recv()).await.context("no complaint")?.context("no connection")?;
            let subject = complaint.split('"').nth(1).with_context(|| complaint.clone())?.to_owned();
            if subject == NOBODYS {
                return Ok(subjects);
            }
            subjects.insert(subject);
        }
    }
}

fn all(subjects: &[&str]) -> BTreeSet<String> {
    subjects.iter().map(|subject| (*subject).to_owned()).collect()
}

#[tokio::test]
async fn a_user_speaks_and_hears_in_its_own_name_alone() -> Result<()> {
    let set_up = SetUp::new()?;
    set_up.add("user", "ann", &[])?;
    let server = set_up.server().await?;
    let mut ann = Somebody::from_file(&server, &set_up.creds("user-ann")).await?;
    let allowed = [
        "ph.v1.api.ann.domain.add",
        "ph.v1.api.ann.why",
        "ph.v1.api.ann.engine.list",
        "ph.v1.api.ann.engine.show",
        "ph.v1.domain-sensor.7.ann.web",
    ];
    assert_eq!(ann.refused(&allowed).await?, all(&[]));
    let forbidden = [
        "ph.v1.api.ann.engine.push",
        "ph.v1.api.ann.engine.remove",
        "ph.v1.api.ann.engine.pin",
        "ph.v1.api.ann.engine.unpin",
        "ph.v1.api.ann.engine.roll-back",
        "ph.v1.api.ann.engine.limit",
        "ph.v1.api.ann.engine.faults",
        "ph.v1.host.all.engines",
        "$JS.API.STREAM.INFO.OBJ_PH_ENGINES",
        "$O.PH_ENGINES.M.x",
        "$KV.PH_REGISTRY.guest",
        "ph.v1.api.bob.domain.add",
        "ph.v1.api._.domain.list",
        "ph.v1.api.ann.definition.add",
        "ph.v1.api.ann.host.disable",
        "ph.v1.api.ann.orphan.terminate",
        "ph.v1.domain-sensor.7.bob.web",
        "ph.v1.heartbeat.7.i1",
        "ph.v1.state.7.i1",
        "ph.v1.provisioner.local.terminate",
        "ph.v1.host.0000000000000001.domain.add",
        "ph.v1.journal.7.ann.web",
        "_INBOX.operator.x",
        "$JS.API.STREAM.LIST",
        "$JS.API.STREAM.DELETE.ph-journal",
        "$KV.PH_LEASE.owner",
        "$SRV.PING",
        "$SRV.INFO.pilothouse",
        "$SRV.STATS",
    ];
    assert_eq!(ann.refused(&forbidden).await?, all(&forbidden));
    assert_eq!(ann.unheard(&["_INBOX.ann.x.*", "ph.v1.events.*.ann.*", "ph.v1.subscriber.ann.>"]).await?, all(&[]));
    let unheard = [
        "_INBOX.>",
        "_INBOX.bob.>",
        "_INBOX.*.x",
        "ph.v1.events.*.bob.*",
        "ph.v1.events.*.*.*",
        "ph.v1.subscriber.>",
        "ph.v1.provisioner.local.*",
        "ph.v1.api.>",
        "ph.v1.journal.>",
        ">",
    ];
    assert_eq!(ann.unheard(&unheard).await?, all(&unheard));
    Ok(())
}

#[tokio::test]
async fn an_agent_speaks_for_its_own_instance_alone_also_before_others_are_there() -> Result<()> {
    let set_up = SetUp::new()?;
    let server = set_up.server().await?;
    let (mut a, mut host) = (
        Somebody::new(&server, &set_up.agent("i-a")?, "agent-i-a").await?,
        Somebody::from_file(&server, &set_up.creds("host-host")).await?,
    );
    assert_eq!(a.refused(&["ph.v1.heartbeat.7.i-a", "ph.v1.sensor.7.i-a"]).await?, all(&[]));
    let forbidden = [
        "ph.v1.heartbeat.7.i-b",
        "ph.v1.heartbeat.7.not-yet-there",
        "ph.v1.sensor.7.i-b",
        "ph.v1.state.7.i-a",
        "ph.v1.probe.7.i-b",
        "ph.v1.api.i-a.domain.list",
        "_INBOX.host.x",
        "$JS.API.INFO",
    ];
    assert_eq!(a.refused(&forbidden).await?, all(&forbidden));
    let unheard = ["ph.v1.probe.7.i-b", "ph.v1.probe.>", "ph.v1.heartbeat.>", "ph.v1.events.>", "_INBOX.>", "_INBOX.host.>"];
    assert_eq!(a.unheard(&unheard).await?, all(&unheard));

    // It answers those who ask it, once, and so it can be asked.
    let mut probes = a.client.subscribe("ph.v1.probe.7.i-a").await?;
    assert_eq!(a.complaints().await?, all(&[]), "and the server knows that it listens");
    let answering = a.client.clone();
    let answered = tokio::spawn(async move {
        let reply = probes.next().await.and_then(|probe| probe.reply).context("a probe with a reply")?;
        for text in ["well", "once too often"] {
            answering.publish(reply.clone(), text.into()).await?;
        }
        anyhow::Ok(reply.to_string())
    });
    let answer = host.client.request("ph.v1.probe.7.i-a", "".into()).await?;
    assert_eq!(&answer.payload[..], b"well");
    assert_eq!(a.complaints().await?, BTreeSet::from([answered.await??]));
    assert_eq!(host.complaints().await?, all(&[]));
    Ok(())
}

#[tokio::test]
async fn a_provisioner_serves_its_own_site_alone() -> Result<()> {
    let set_up = SetUp::new()?;
    set_up.add("provisioner", "north-1", &["--site", "North"])?;
    let server = set_up.server().await?;
    let mut north = Somebody::from_file(&server, &set_up.creds("provisioner-north-1")).await?;
    assert_eq!(north.refused(&["ph.v1.state.7.i1"]).await?, all(&[]));
    assert_eq!(north.unheard(&["ph.v1.provisioner.North.*"]).await?, all(&[]));
    let forbidden =
        ["ph.v1.heartbeat.7.i1", "ph.v1.api.north-1.domain.list", "ph.v1.provisioner.North.provision", "$JS.API.INFO", "_INBOX.host.x"];
    assert_eq!(north.refused(&forbidden).await?, all(&forbidden));
    let unheard = ["ph.v1.provisioner.south.*", "ph.v1.provisioner.local.provision", "ph.v1.provisioner.>", "_INBOX.>", "ph.v1.state.>"];
    assert_eq!(north.unheard(&unheard).await?, all(&unheard));
    Ok(())
}

#[tokio::test]
async fn an_operator_asks_in_anybodys_name_and_is_no_host() -> Result<()> {
    let set_up = SetUp::new()?;
    let server = set_up.server().await?;
    let mut operator = Somebody::from_file(&server, &set_up.creds("operator-operator")).await?;
    let allowed = [
        "ph.v1.api.bob.domain.list",
        "ph.v1.api._.host.list",
        "ph.v1.api.operator.engine.push",
        "$O.PH_ENGINES.C.x",
        "$SRV.STATS.pilothouse",
        "$JS.API.STREAM.NAMES",
        "$KV.PH_DEFINITIONS.x",
    ];
    assert_eq!(operator.refused(&allowed).await?, all(&[]));
    let forbidden = ["ph.v1.provisioner.local.provision", "ph.v1.state.7.i1", "ph.v1.host.0000000000000001.domain.add", "_INBOX.ann.x"];
    assert_eq!(operator.refused(&forbidden).await?, all(&forbidden));
    assert_eq!(operator.unheard(&["ph.v1.events.*.*.*", "ph.v1.subscriber.*.>"]).await?, all(&[]));
    assert_eq!(operator.unheard(&["_INBOX.ann.>", "ph.v1.provisioner.>"]).await?, all(&["_INBOX.ann.>", "ph.v1.provisioner.>"]));
    Ok(())
}

#[tokio::test]
async fn who_has_no_credentials_or_made_them_up_is_not_let_in() -> Result<()> {
    let (set_up, other) = (SetUp::new()?, SetUp::new()?);
    let server = set_up.server().await?;
    ensure!(async_nats::connect(server.url()).await.is_err(), "without credentials");
    ensure!(Somebody::from_file(&server, &other.creds("operator-operator")).await.is_err(), "of another set-up");
    // The signer of agents makes agents, whatever else is claimed of its account.
    let made_up = other.agent("i-a")?;
    ensure!(Somebody::new(&server, &made_up, "agent-i-a").await.is_err(), "signed by a stranger");
    // Somebody's token without their key.
    let (ann, mine) = (fs::read_to_string(set_up.creds("user-default"))?, fs::read_to_string(set_up.creds("host-host"))?);
    let seed = |text: &str| text.lines().find(|line| line.starts_with("SU")).map(str::to_owned).context("a seed");
    let stolen = ann.replace(&seed(&ann)?, &seed(&mine)?);
    ensure!(Somebody::new(&server, &stolen, "user-default").await.is_err(), "a token without its key");
    Ok(())
}

#[tokio::test]
async fn who_is_revoked_or_has_credentials_that_were_replaced_is_out_after_a_reload() -> Result<()> {
    let set_up = SetUp::new()?;
    set_up.add("user", "ann", &[])?;
    set_up.add("user", "bob", &[])?;
    let server = set_up.server().await?;
    let (ann_file, bob_file) = (set_up.creds("user-ann"), set_up.creds("user-bob"));
    let ann_text = fs::read_to_string(&ann_file)?;
    let ann = Somebody::from_file(&server, &ann_file).await?;
    let mut bob = Somebody::from_file(&server, &bob_file).await?;
    let dir = set_up.at("");
    set_up.run(&["revoke", dir.to_str().context("a path")?, "user", "ann"])?;
    ensure!(!ann_file.exists());
    server.reload().await?;
    let is_out = |somebody: &Somebody| somebody.client.connection_state() != async_nats::connection::State::Connected;
    eventually("ann is put out", SOON, async || is_out(&ann)).await?;
    ensure!(Somebody::new(&server, &ann_text, "user-ann").await.is_err(), "and does not come back");
    assert_eq!(bob.refused(&["ph.v1.api.bob.domain.list"]).await?, all(&[]), "bob does not notice");

    // A host that is out says so, instead of waiting in silence.
    let mut command = set_up.ledger.command(PROGRAM);
    command.args(["serve", "--nats", &server.url(), "--nats-creds"]).arg(set_up.dir.path().join("stranger.creds"));
    fs::write(set_up.dir.path().join("stranger.creds"), SetUp::new()?.agent("i-a")?)?;
    let stranger = Program::start(command, &set_up.dir.path().join("stranger.log"))?;
    eventually("the stranger says so", SOON, async || stranger.said().contains("does not let us in")).await?;

    // The name can be given again, and is another's then.
    set_up.add("user", "ann", &[])?;
    drop(Somebody::from_file(&server, &ann_file).await?);

    let bob_text = fs::read_to_string(&bob_file)?;
    set_up.run(&["renew", dir.to_str().context("a path")?, "--role", "user"])?;
    server.reload().await?;
    eventually("bob is put out", SOON, async || is_out(&bob)).await?;
    ensure!(Somebody::new(&server, &bob_text, "user-bob").await.is_err(), "the old credentials");
    drop(Somebody::from_file(&server, &bob_file).await?);
    Ok(())
}

/// A host, a provisioner and a secret of the owner `default`.
struct System {
    set_up: SetUp,
    rig: Rig,
    secret: String,
    host: Program,
    site: Program,
}

impl System {
    async fn start() -> Result<Self> {
        let set_up = SetUp::new()?;
        let rig = Rig::on(set_up.server().await?, PROGRAM).await?;
        let secret = format!("hunter2-{}", std::process::id());
        fs::create_dir_all(rig.path("secrets/default"))?;
        fs::write(rig.path("secrets/default/token"), format!("{secret}\n"))?;
        let mut command = rig.host_command("ship-1", &rig.nats.url());
        command.arg("--nats-creds").arg(set_up.creds("host-host")).arg("--agent-signer").arg(set_up.at("agents.signer"));
        command.arg("--secrets").arg(rig.path("secrets"));
        // Everything that might tell a secret is to be heard.
        command.env("PILOTHOUSE_LOG", "debug");
        let host = rig.start("ship-1", command)?;
        let site = Self::site(&set_up, &rig)?;
        Ok(Self { set_up, rig, secret, host, site })
    }

    fn site(set_up: &SetUp, rig: &Rig) -> Result<Program> {
        let mut command = rig.ledger.command(PROGRAM);
        command.args(["provisioner", "local", "--grace", "0.3", "--site", "local", "--nats", &rig.nats.url()]);
        command.arg("--data").arg(rig.path("local")).arg("--deployables").arg(rig.path("deployables.toml"));
        command.arg("--nats-creds").arg(set_up.creds("provisioner-local")).env("PILOTHOUSE_LOG", "debug");
        rig.start("site-local", command)
    }

    /// A command of the user `default`, or of whoever the credentials are for.
    async fn command(&self, creds: &str, args: &[&str]) -> Result<Output> {
        let mut command = self.rig.ledger.command(PROGRAM);
        command.args(args).args(["--nats", &self.rig.nats.url()]).arg("--nats-creds").arg(self.set_up.creds(creds));
        Ok(tokio::task::spawn_blocking(move || command.output()).await??)
    }

    fn config(&self, count: u32) -> Value {
        let mut config = keep(count, "local");
        config["general"]["provisioner_vars"] = json!({"TOKEN": "secret:token", "PLAIN": "in-the-open"});
        config
    }

    /// What a worker of an instance was started with.
    fn environment(&self, id: &str) -> Result<Vec<u8>> {
        let worker = self.rig.ledger.workers_of(id).pop().context("a worker")?;
        Ok(fs::read(format!("/proc/{}/environ", worker.pid))?)
    }

    /// Every file below the folder of the provisioner with that name.
    fn files(&self, name: &str) -> Vec<PathBuf> {
        let instances = fs::read_dir(self.rig.path("local/instances")).into_iter().flatten().flatten();
        instances.map(|entry| entry.path().join(name)).filter(|path| path.exists()).collect()
    }

    /// The secret, and what agents prove with who they are.
    fn secrets(&self) -> Result<Vec<String>> {
        let mut secrets = vec![self.secret.clone()];
        for file in self.files("agent.creds") {
            let text = fs::read_to_string(file)?;
            secrets.extend(text.lines().filter(|line| line.starts_with("SU") || line.starts_with("ey")).map(str::to_owned));
        }
        Ok(secrets)
    }

    /// Everything that JetStream holds: every message of every stream, as it is.
    async fn stored(&self) -> Result<Vec<u8>> {
        let jetstream = async_nats::jetstream::new(self.rig.api.nats().clone());
        let mut names = jetstream.stream_names();
        let mut everything = Vec::new();
        while let Some(name) = names.next().await {
            let mut stream = jetstream.get_stream(name?).await?;
            let state = stream.info().await?.state.clone();
            for sequence in state.first_sequence..=state.last_sequence {
                // Some were replaced by newer ones.
                let Ok(message) = stream.get_raw_message(sequence).await else { continue };
                everything.extend_from_slice(message.subject.as_bytes());
                everything.extend_from_slice(format!("{:?}", message.headers).as_bytes());
                everything.extend_from_slice(&message.payload);
            }
        }
        Ok(everything)
    }

    /// Everything that was logged, and what provisioners keep of instances.
    fn logged(&self) -> Result<Vec<u8>> {
        let mut all = self.rig.nats.log().into_bytes();
        let in_dir = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        let logs = in_dir(self.rig.path("")).filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        for path in logs.chain(in_dir(self.rig.path("local/records"))).chain(self.files("agent.log")) {
            all.extend(fs::read(path)?);
        }
        Ok(all)
    }
}

fn holds(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn a_launch_brings_credentials_and_secrets_to_its_agents_and_nowhere_else() -> Result<()> {
    let system = System::start().await?;
    system.rig.add_web(system.config(2)).await?;
    let instances = system.rig.settles_at(2).await?;

    for instance in &instances {
        let id = instance.instance_id.as_str();
        let environment = system.environment(id)?;
        ensure!(holds(&environment, &format!("PILOTHOUSE_VAR_TOKEN={}", system.secret)) && !holds(&environment, "agent.creds"));
        for file in ["agent.creds", "spec.json"] {
            let path = system.rig.path("local/instances").join(id).join(file);
            assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600, "{}", path.display());
        }
    }
    let secrets = system.secrets()?;
    assert_eq!(secrets.len(), 1 + 2 * 2);

    let mut shown = Vec::new();
    for args in [&["domain", "describe", WEB][..], &["why", WEB], &["why", WEB, instances[0].instance_id.as_str()], &["domain", "list"]] {
        for output in ["text", "json"] {
            let output = system.command("user-default", &[args, &["--output", output]].concat()).await?;
            ensure!(output.status.success(), "{args:?}: {}", told(&output));
            shown.extend(told(&output).into_bytes());
        }
    }
    ensure!(holds(&shown, "secret:token"), "the reference is shown");
    let stored = system.stored().await?;
    ensure!(holds(&stored, "secret:token") && holds(&stored, "in-the-open"), "the journal was read");
    let logged = system.logged()?;
    ensure!(holds(&logged, instances[0].instance_id.as_str()), "the logs were read");
    for secret in &secrets {
        let short: String = secret.chars().take(8).collect();
        for (what, text) in [("an answer", &shown), ("the journal", &stored), ("a log", &logged)] {
            ensure!(!holds(text, secret), "{what} holds {short}…");
        }
    }

    // Whoever is started again finds what they need.
    let System { set_up, rig, site, .. } = &system;
    site.signal(Signal::SIGKILL)?;
    let _site = System::site(set_up, rig)?;
    let agent = rig.ledger.agent_of(instances[0].instance_id.as_str()).context("an agent")?;
    agent.signal(Signal::SIGKILL)?;
    eventually("the killed one is replaced", SOON, async || {
        rig.valid().await.is_ok_and(|valid| valid.len() == 2 && valid.iter().all(|it| it.instance_id != instances[0].instance_id))
    })
    .await?;
    rig.settles_at(2).await?;

    // What was for agents alone goes with them.
    rig.api.call::<Value>(pilothouse::api::Operation::DomainRemove, &json!({"domain": WEB})).await?;
    eventually("nothing runs", SOON, async || rig.ledger.alive().is_empty()).await?;
    eventually("nothing secret is left", SOON, async || system.files("agent.creds").is_empty() && system.files("spec.json").is_empty())
        .await?;
    ensure!(!system.files("agent.log").is_empty(), "the logs stay");
    Ok(())
}

#[tokio::test]
async fn the_agents_of_a_launch_hold_credentials_that_are_good_for_one_instance() -> Result<()> {
    let system = System::start().await?;
    system.rig.add_web(system.config(1)).await?;
    let instances = system.rig.settles_at(1).await?;
    let id = instances[0].instance_id.as_str();
    let creds = system.rig.path("local/instances").join(id).join("agent.creds");
    let mut thief = Somebody::new(&system.rig.nats, &fs::read_to_string(creds)?, &format!("agent-{id}")).await?;
    let forbidden = ["ph.v1.heartbeat.1.another", "ph.v1.api.default.domain.remove", "ph.v1.state.1.another"];
    assert_eq!(thief.refused(&forbidden).await?, all(&forbidden));
    assert_eq!(thief.refused(&[&format!("ph.v1.heartbeat.1.{id}")]).await?, all(&[]));
    Ok(())
}

#[tokio::test]
async fn no_user_has_a_host_speak_in_its_place() -> Result<()> {
    let system = System::start().await?;
    let System { set_up, rig, host, .. } = &system;
    set_up.add("user", "ann", &[])?;
    rig.add_web(keep(0, "local")).await?;
    let operator = rig.api.nats();
    let jetstream = async_nats::jetstream::new(operator.clone());
    let journal = jetstream.get_stream("ph-journal").await?;
    let of_web = journal.info_with_subjects("ph.v1.journal.*.default.web").await?.try_next().await?.context("the journal of web")?.0;
    let lease = async || anyhow::Ok(jetstream.get_key_value("PH_LEASE").await?.get("owner").await?.context("a lease")?);

    let mut ann = Somebody::from_file(&rig.nats, &set_up.creds("user-ann")).await?;
    let listener = Somebody::from_file(&rig.nats, &set_up.creds("host-host")).await?.client;
    let elsewhere = ["ph.v1.api.ann.orphan.terminate", "ph.v1.api.default.domain.remove", of_web.as_str()];
    let mut heard = futures::stream::SelectAll::new();
    for subject in elsewhere {
        heard.push(listener.subscribe(subject.to_owned()).await?);
    }
    listener.flush().await?;

    let mut asked = 0;
    for reply in elsewhere.into_iter().chain(["$JS.API.STREAM.DELETE.ph-journal", "$JS.API.STREAM.PURGE.ph-journal", "$KV.PH_LEASE.owner"])
    {
        for (operation, body) in [("domain.describe", json!({"domain": "nope"})), ("domain.list", json!({}))] {
            let subject = format!("ph.v1.api.ann.{operation}");
            ann.client.publish_with_reply(subject, reply.to_owned(), body.to_string().into()).await?;
            asked += 1;
        }
    }
    assert_eq!(ann.complaints().await?, all(&[]), "the server does not mind");
    let statistics = async || {
        let answer = operator.request("$SRV.STATS.pilothouse", "".into()).await?;
        let statistics: Value = serde_json::from_slice(&answer.payload)?;
        anyhow::Ok(statistics["endpoints"][0]["data"]["refused_messages"]["value"].as_u64().context("a count")?)
    };
    eventually("the host refuses them all", SOON, async || statistics().await.is_ok_and(|refused| refused == asked)).await?;
    ensure!(host.said().contains("answers go to subjects that begin with _INBOX."), "and says so");

    // Whatever the host has said until now was heard before this answer.
    let answer = ann.client.request("ph.v1.api.ann.domain.list", "{}".into()).await?;
    ensure!(answer.status.is_none(), "{answer:?}");
    let marker = listener.subscribe("ph.v1.api.ann.marker").await?;
    heard.push(marker);
    listener.publish("ph.v1.api.ann.marker", "".into()).await?;
    let first = tokio::time::timeout(SOON, heard.next()).await?.context("a message")?;
    assert_eq!(first.subject.as_str(), "ph.v1.api.ann.marker", "a host spoke for ann");
    ensure!(journal.get_info().await?.state.messages > 0, "the journal is there");
    let holder: Value = serde_json::from_slice(&lease().await?)?;
    assert_eq!(holder["host"], json!("ship-1"), "and the lease");
    rig.reconfigure(keep(1, "local")).await?;
    rig.settles_at(1).await?;

    // Nor does she by having the way of a message told.
    for dest in elsewhere.into_iter().chain(["$JS.API.STREAM.PURGE.ph-journal"]) {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Trace-Dest", dest);
        ann.client.publish_with_headers("ph.v1.api.ann.domain.list", headers, "{}".into()).await?;
    }
    let refused: Vec<&str> = elsewhere.into_iter().chain(["$JS.API.STREAM.PURGE.ph-journal"]).collect();
    assert_eq!(ann.complaints().await?, all(&refused), "which the server judges by what she may publish");
    Ok(())
}

#[tokio::test]
async fn a_secret_that_is_missing_keeps_a_launch_back_until_it_is_there() -> Result<()> {
    let system = System::start().await?;
    let rig = &system.rig;
    let mut nowhere = system.config(1);
    nowhere["general"]["provisioner_vars"]["OTHER"] = json!("secret:nothing");
    let path = rig.path("nowhere.json");
    fs::write(&path, nowhere.to_string())?;
    let path = path.to_str().context("a path")?;
    let refused = eventually_some("a host answers", SOON, async || {
        let output = system.command("user-default", &["domain", "add", WEB, path, "--output", "json"]).await.ok()?;
        (output.status.code() != Some(5)).then_some(output)
    });
    let refused = refused.await?;
    ensure!(refused.status.code() == Some(2) && told(&refused).contains("/general/provisioner_vars/OTHER"), "{}", told(&refused));

    rig.add_web(system.config(1)).await?;
    let first = rig.settles_at(1).await?;
    let (there, away) = (rig.path("secrets/default/token"), rig.path("secrets/default/away"));
    fs::rename(&there, &away)?;
    rig.ledger.agent_of(first[0].instance_id.as_str()).context("an agent")?.signal(Signal::SIGKILL)?;
    eventually("the host says so", SOON, async || {
        system.host.said().lines().any(|line| line.contains("launch not sent") && line.contains("default/web") && line.contains("token"))
    })
    .await?;
    ensure!(rig.valid().await?.iter().all(|instance| instance.instance_id != first[0].instance_id), "another one is promised");
    assert_eq!(rig.ledger.starts().len(), 1, "and was not started");
    fs::rename(&away, &there)?;
    let second = rig.settles_at(1).await?;
    let environment = system.environment(second[0].instance_id.as_str())?;
    ensure!(holds(&environment, &format!("PILOTHOUSE_VAR_TOKEN={}", system.secret)), "with its secret");
    assert_eq!(rig.ledger.starts().len(), 2, "and none was started without");
    Ok(())
}

#[tokio::test]
async fn the_command_line_says_at_once_what_is_not_permitted() -> Result<()> {
    let system = System::start().await?;
    system.set_up.add("user", "ann", &[])?;
    eventually("a host answers", SOON, async || {
        system.command("user-ann", &["domain", "list"]).await.is_ok_and(|output| output.status.success())
    })
    .await?;
    for (args, subject) in [
        (&["domain", "list", "--user", "default"][..], "ph.v1.api.default.domain.list"),
        (&["host", "list"], "ph.v1.api.ann.host.list"),
        (&["events", "--user", "default"], "ph.v1.events.*.default.*"),
    ] {
        let begun = Instant::now();
        let output = system.command("user-ann", args).await?;
        let text = told(&output);
        ensure!(output.status.code() == Some(6) && text.contains(subject), "{args:?}: {:?}: {text}", output.status);
        ensure!(begun.elapsed() < Duration::from_secs(4), "{args:?} took {:?}", begun.elapsed());
    }
    let output = system.command("operator-operator", &["host", "list"]).await?;
    ensure!(output.status.success() && told(&output).contains("ship-1"), "{}", told(&output));
    let without = system.rig.ledger.command(PROGRAM).args(["domain", "list", "--nats", &system.rig.nats.url()]).output()?;
    ensure!(without.status.code() == Some(6), "without credentials: {:?}: {}", without.status, told(&without));
    let nobody = system.set_up.at("server/nats.conf");
    let output = system
        .rig
        .ledger
        .command(PROGRAM)
        .args(["domain", "list", "--nats", &system.rig.nats.url(), "--nats-creds"])
        .arg(nobody)
        .output()?;
    ensure!(output.status.code() == Some(2) && told(&output).contains("nats.conf"), "{}", told(&output));
    Ok(())
}

#[tokio::test]
async fn operators_push_engines_and_users_see_them() -> Result<()> {
    let system = System::start().await?;
    let file = system.rig.path("quiet.wasm");
    fs::write(&file, pilothouse_tests::guest::guest("quiet"))?;
    let path = file.to_str().context("a path")?;
    let listed = async || system.command("user-default", &["engine", "list"]).await.is_ok_and(|output| output.status.success());
    eventually("a host answers", SOON, listed).await.with_context(|| system.rig.logs())?;

    for args in [
        &["engine", "push", path][..],
        &["engine", "pull", path],
        &["engine", "export", "simplest@0.1.0", "-"],
        &["engine", "remove", "guest@1.0.0"],
        &["engine", "pin", "simplest@0.1.0"],
        &["engine", "unpin", "simplest"],
        &["engine", "rollback", "simplest"],
        &["engine", "limits", "simplest", "--set", "fuel=5"],
        &["engine", "faults"],
    ] {
        let refused = system.command("user-default", args).await?;
        ensure!(refused.status.code() == Some(6), "{args:?}: {}", told(&refused));
    }
    let pushed = system.command("operator-operator", &["engine", "push", path]).await?;
    ensure!(pushed.status.success() && told(&pushed).contains("engine guest@1.0.0"), "{}", told(&pushed));
    for args in [&["engine", "list"][..], &["engine", "show", "guest"], &["engine", "limits", "guest"]] {
        let shown = system.command("user-default", args).await?;
        ensure!(shown.status.success() && (args[1] == "limits" || told(&shown).contains("guest")), "{args:?}: {}", told(&shown));
    }
    let exported = system.command("operator-operator", &["engine", "export", "guest@1.0.0", "-"]).await?;
    ensure!(exported.stdout == fs::read(&file)?, "{}", String::from_utf8_lossy(&exported.stderr));
    let removed = system.command("operator-operator", &["engine", "remove", "guest@1.0.0"]).await?;
    ensure!(removed.status.success(), "{}", told(&removed));
    Ok(())
}
