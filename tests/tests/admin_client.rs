//! The admin client of `examples/admin-python`, run as its users run it: every verb, through a host that does not look after the domains.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use pilothouse::api::{DefinitionSummary, Operation, WriteDefinition};
use pilothouse_tests::nats::{NatsOptions, NatsServer};
use pilothouse_tests::processes::Program;
use pilothouse_tests::rig::{Rig, SOON, keep};
use pilothouse_tests::wait::{eventually, eventually_some};
use serde_json::Value;

/// The program that has `serve`, `agent` and `provisioner local` as its first arguments.
const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");

/// The owner of the domains connects as a user who gets nothing of what users of Pilothouse ask, so all of it reaches the other host.
const DEAF: &str = "authorization {
  users: [
    { user: deaf, password: deaf, permissions: { subscribe: { deny: [\"ph.v1.api.>\"] } } }
    { user: anyone, password: anyone }
  ]
}
no_auth_user: anyone";

/// Two hosts with a provisioner, and who asks them.
struct Fixture {
    rig: Rig,
    _hosts: [Program; 2],
    _site: Program,
}

impl Fixture {
    async fn new() -> Result<Self> {
        let nats = NatsServer::start_with(&NatsOptions { config: DEAF.to_owned(), ..NatsOptions::default() }).await?;
        let rig = Rig::on(nats, PROGRAM).await?;
        let owner = rig.start("owner", rig.host_command("owner", &format!("nats://deaf:deaf@127.0.0.1:{}", rig.nats.port())))?;
        eventually("there is an owner", SOON, async || {
            endpoints(&rig, "owner").await.is_ok_and(|all| all.first().is_some_and(|it| it["data"]["owner"] == true))
        })
        .await
        .with_context(|| owner.said())?;
        let standby = rig.host("standby")?;
        let site = rig.site("local").await?;
        Ok(Self { rig, _hosts: [owner, standby], _site: site })
    }

    /// The client, as the user whom the rig watches.
    fn ask(&self, args: &[&str]) -> Result<Ran> {
        self.ask_as(&["--user", "default"], args)
    }

    fn ask_as(&self, user: &[&str], args: &[&str]) -> Result<Ran> {
        let output = client(&self.rig.nats.url())?.args(user).args(args).output().context("running the client")?;
        Ok(Ran { args: args.join(" "), output })
    }
}

/// The client, in the virtual environment that `cargo xtask setup` makes.
fn client(nats: &str) -> Result<Command> {
    let test = std::env::current_exe()?;
    // A test is `target/debug/deps/admin_client-…`.
    let target = test.ancestors().nth(3).context("a test is three folders deep")?;
    let python = target.join("tools/admin-python/bin/python");
    ensure!(python.is_file(), "{} is not there: `cargo xtask setup` brings it", python.display());
    let mut command = Command::new(python);
    command.arg("-B").arg(example().join("admin.py")).args(["--nats", nats]);
    Ok(command)
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/admin-python")
}

/// What a host tells of each operation that it serves.
async fn endpoints(rig: &Rig, host: &str) -> Result<Vec<Value>> {
    let nats = rig.api.nats();
    let inbox = nats.new_inbox();
    let mut answers = nats.subscribe(inbox.clone()).await?;
    eventually_some("the host tells its statistics", SOON, async || {
        // Each time anew: a host that was not there heard nothing.
        nats.publish_with_reply("$SRV.STATS.pilothouse", inbox.clone(), "".into()).await.ok()?;
        let answer: Value = serde_json::from_slice(&answers.next().await?.payload).ok()?;
        let endpoints = answer["endpoints"].as_array()?.clone();
        (endpoints.first()?["data"]["host"] == host).then_some(endpoints)
    })
    .await
}

/// A client that has ended.
#[derive(Debug)]
struct Ran {
    args: String,
    output: Output,
}

impl Ran {
    /// It succeeded and printed this, among other things.
    fn says(&self, text: &str) -> Result<()> {
        let stdout = String::from_utf8_lossy(&self.output.stdout);
        ensure!(self.output.status.success() && stdout.contains(text), "{}: {text:?} is not in {stdout:?}: {self:?}", self.args);
        Ok(())
    }

    fn json(&self) -> Result<Value> {
        self.says("")?;
        serde_json::from_slice(&self.output.stdout).with_context(|| format!("{self:?}"))
    }

    /// It ended so, and said that on standard error and nothing else.
    fn fails(&self, code: i32, text: &str) -> Result<()> {
        let stderr = String::from_utf8_lossy(&self.output.stderr);
        ensure!(self.output.status.code() == Some(code) && stderr.contains(text), "{}: not {code} and {text:?}: {self:?}", self.args);
        ensure!(!stderr.contains("Traceback"), "{}: {stderr}", self.args);
        Ok(())
    }
}

#[tokio::test]
async fn every_verb_works_through_a_host_that_does_not_look_after_the_domains() -> Result<()> {
    let fixture = Fixture::new().await?;
    let rig = &fixture.rig;
    let workers = WriteDefinition { name: "workers".to_owned(), definition: keep(1, "local"), request_id: None };
    eventually("a host takes a definition", SOON, async || {
        rig.api.call::<DefinitionSummary>(Operation::DefinitionAdd, &workers).await.is_ok()
    })
    .await
    .with_context(|| rig.logs())?;
    fixture.ask(&["list"])?.says("")?;
    let mut listener = client(&rig.nats.url())?;
    listener.args(["--user", "default", "events", "web"]);
    let listener = Program::start(listener, &rig.path("events.log"))?;
    eventually("it listens", SOON, async || listener.said().contains("listening")).await.with_context(|| listener.said())?;

    let add = ["add", "web", "--definition", "workers", "--set", "engine_conf.preserve_n=2"];
    let added = fixture.ask(&add)?.json()?;
    ensure!(added["domain"] == "web" && added["config_revision"] == 1, "{added}");
    fixture.ask(&add)?.fails(4, "domain web is there already")?;
    fixture.ask(&["add", "other", "--definition", "nosuch"])?.fails(3, "nosuch")?;
    rig.settles_at(2).await?;
    eventually("it is stable", SOON, async || fixture.ask(&["list"]).is_ok_and(|ran| ran.says("2 of 2 running").is_ok())).await?;
    let described = fixture.ask(&["describe", "web"])?.json()?;
    ensure!(described["owner"] == "default" && described["config"]["engine_conf"]["force_site"] == "local", "{described}");
    for part in ["web/0 ", "web/1 ", "RUNNING ", " OK ", " local "] {
        fixture.ask(&["instances", "web"])?.says(part)?;
        fixture.ask(&["instances"])?.says(part)?;
    }

    let three = ["--set", "engine_conf.preserve_n=3"];
    fixture.ask(&[&["diff", "web"][..], &three].concat())?.says("- /engine_conf/preserve_n: 2\n+ /engine_conf/preserve_n: 3\n")?;
    for verb in ["diff", "reconfigure"] {
        for (wrong, key) in [("engine_conf.preserve_m=3", "/engine_conf/preserve_m"), ("health.boot_timout=3", "/health/boot_timout")] {
            fixture.ask(&[verb, "web", "--set", wrong])?.fails(2, key)?;
        }
    }
    std::fs::write(rig.path("changes.json"), r#"{"engine_conf": {"preserve_n": 1}}"#)?;
    let file = rig.path("changes.json").display().to_string();
    let changed = fixture.ask(&[&["reconfigure", "web", &file][..], &three].concat())?.json()?;
    ensure!(changed["config_revision"] == 2, "{changed}");
    rig.settles_at(3).await?;
    ensure!(fixture.ask(&["pause", "web"])?.json()?["paused"] == true);
    ensure!(fixture.ask(&["describe", "web"])?.json()?["paused"] == true);
    ensure!(fixture.ask(&["resume", "web"])?.json()?["paused"] == false);
    for event in ["\"event\": \"configured\"", "\"event\": \"decided\"", "\"state\": \"RUNNING\""] {
        eventually(event, SOON, async || listener.said().contains(event)).await.with_context(|| listener.said())?;
    }

    fixture.ask_as(&["--user", "somebody"], &["describe", "web"])?.fails(3, "domain web not found")?;
    fixture.ask_as(&["--user", "somebody"], &["remove", "web"])?.fails(3, "domain web not found")?;
    fixture.ask_as(&[], &["list"])?.fails(6, "no user named")?;
    fixture.ask(&["describe", "a.b"])?.fails(2, "a.b")?;
    ensure!(fixture.ask(&["remove", "web"])?.json()?["removing"] == true);
    eventually("it is gone", SOON, async || fixture.ask(&["describe", "web"]).is_ok_and(|ran| ran.fails(3, "not found").is_ok())).await?;
    ensure!(rig.ledger.alive().is_empty(), "{:?}", rig.ledger.alive());

    let heard = endpoints(rig, "owner").await?;
    ensure!(heard.iter().all(|it| it["num_requests"] == 0), "the owner heard a user: {heard:#?}");
    Ok(())
}

#[tokio::test]
async fn what_can_not_be_asked_is_told_without_a_trace_of_python() -> Result<()> {
    let run =
        |args: &[&str]| -> Result<Ran> { Ok(Ran { args: args.join(" "), output: client("nats://127.0.0.1:1")?.args(args).output()? }) };
    run(&["list"])?.fails(5, "nats://127.0.0.1:1")?;
    run(&["add", "web", "--set", "preserve_n=3"])?.fails(2, "SECTION.KEY=VALUE")?;
    run(&["frobnicate"])?.fails(2, "frobnicate")?;
    let nats = NatsServer::start().await?;
    let output = client(&nats.url())?.args(["add", "web", "missing.json"]).output()?;
    Ran { args: "add".to_owned(), output }.fails(2, "missing.json")
}
