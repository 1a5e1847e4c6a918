//! The command line: help, exit codes, and what a caller sees of a host.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pilothouse_tests::nats::NatsServer;
use pilothouse_tests::processes::{Ledger, Program};
use pilothouse_tests::wait::eventually;
use serde_json::{Value, json};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");

/// What takes a second on an idle machine.
const SOON: Duration = Duration::from_secs(60);

/// A directory to work in, and the program.
struct Fixture {
    ledger: Ledger,
    dir: TempDir,
}

impl Fixture {
    fn new() -> Result<Self> {
        Ok(Self { ledger: Ledger::new()?, dir: TempDir::with_prefix("pilothouse-cli-")? })
    }

    fn run(&self, args: &[&str]) -> Result<Ran> {
        let output = self.ledger.command(PROGRAM).current_dir(self.dir.path()).args(args).output()?;
        Ok(Ran { args: args.join(" "), output })
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(std::fs::write(self.dir.path().join(name), text)?)
    }
}

/// A command that has ended.
#[derive(Debug)]
struct Ran {
    args: String,
    output: Output,
}

impl Ran {
    fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// It ended so, and said that on standard error.
    fn fails(&self, code: i32, says: &str) -> Result<()> {
        ensure!(self.output.status.code() == Some(code), "{}: expected exit code {code}: {self:?}", self.args);
        ensure!(self.stderr().contains(says), "{}: {says:?} is not in {:?}", self.args, self.stderr());
        ensure!(self.stdout().is_empty(), "{}: data beside a failure: {:?}", self.args, self.stdout());
        Ok(())
    }

    /// It succeeded and answered so.
    fn answers(&self, says: &str) -> Result<()> {
        ensure!(self.output.status.success(), "{}: {self:?}", self.args);
        ensure!(self.stdout().contains(says), "{}: {says:?} is not in {:?}", self.args, self.stdout());
        Ok(())
    }

    fn json(&self) -> Result<Value> {
        ensure!(self.output.status.success(), "{}: {self:?}", self.args);
        serde_json::from_slice(&self.output.stdout).with_context(|| format!("{}: {}", self.args, self.stdout()))
    }
}

#[test]
fn help_shows_examples_and_the_exit_codes() -> Result<()> {
    let fixture = Fixture::new()?;
    for command in [
        "up",
        "serve",
        "agent",
        "provisioner local",
        "domain add",
        "domain list",
        "domain describe",
        "domain reconfigure",
        "domain diff",
        "domain schedule",
        "domain remove",
        "domain pause",
        "domain resume",
        "domain dry-run",
        "domain shadow",
        "domain retry",
        "domain subscribe",
        "domain unsubscribe",
        "definition add",
        "definition list",
        "definition describe",
        "definition update",
        "definition remove",
        "instance list",
        "instance show",
        "instance kill",
        "instance protect",
        "instance unprotect",
        "brake show",
        "brake release",
        "history",
        "engine new",
        "engine build",
        "engine check",
        "engine push",
        "engine pull",
        "engine list",
        "engine show",
        "engine export",
        "engine remove",
        "engine pin",
        "engine unpin",
        "engine rollback",
        "engine limits",
        "engine faults",
        "why",
        "events",
        "completions",
    ] {
        let args: Vec<_> = command.split(' ').chain(["--help"]).collect();
        let help = fixture.run(&args)?;
        help.answers("Examples:")?;
        help.answers(&format!("\n  pilothouse {command}"))?;
    }
    fixture.run(&["--help"])?.answers("3  not found")
}

#[test]
fn completions_know_every_command() -> Result<()> {
    let fixture = Fixture::new()?;
    for shell in ["bash", "zsh", "fish"] {
        let script = fixture.run(&["completions", shell])?;
        for command in ["release", "provisioner", "reconfigure", "unprotect", "unsubscribe", "history"] {
            script.answers(command)?;
        }
    }
    fixture.run(&["completions", "cobol"])?.fails(2, "bash")
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_asked() -> Result<()> {
    let fixture = Fixture::new()?;
    fixture.write("broken.toml", "[engine_conf]\npreserve_n 3")?;
    fixture.write("up.toml", "[domain.web.health]\nboot_timout = 3\n[deployable.worker]\ncomands = []\n[colour]")?;
    fixture.write("empty.toml", "")?;
    for (args, says) in [
        (&["frobnicate"][..], "frobnicate"),
        (&["domain", "add", "a.b", "--engine", "simplest"], "a.b"),
        (&["domain", "add", "web", "missing.toml"], "missing.toml"),
        (&["domain", "add", "web", "broken.toml"], "line 2"),
        (&["domain", "add", "web", "--set", "preserve_n=3"], "SECTION.KEY"),
        (&["domain", "reconfigure", "web"], "nothing to change"),
        (&["domain", "dry-run", "web", "perhaps"], "perhaps"),
        (&["domain", "shadow", "web"], "--engine"),
        (&["domain", "shadow", "web", "--engine", "npreserving", "--promote-after", "0.2s"], "at least one second"),
        (&["domain", "diff", "web"], "nothing to change"),
        (&["domain", "add", "web", "--definition", "a.b"], "a.b"),
        (&["domain", "add", "web", "--subscriber", "desk"], "NAME:OPERATION"),
        (&["domain", "subscribe", "web", "desk"], "OPERATION"),
        (&["domain", "subscribe", "web", "a.b", "told"], "a.b"),
        (&["domain", "release-brake", "web"], "release-brake"),
        (&["definition", "add", "a.b", "--engine", "simplest"], "a.b"),
        (&["definition", "add", "pool", "missing.toml"], "missing.toml"),
        (&["definition", "update", "pool"], "nothing to change"),
        (&["instance", "show"], "INSTANCE"),
        (&["brake", "show", "a.b"], "a.b"),
        (&["engine", "push", "missing.wasm"], "missing.wasm"),
        (&["engine", "push", "empty.toml"], "no WebAssembly component"),
        (&["engine", "pull", "ftp://example.org/keep.wasm"], "expected http or https"),
        (&["engine", "pull", "missing.wasm", "--digest", "12"], "64 hexadecimal digits"),
        (&["engine", "pin", "keep"], "NAME@VERSION"),
        (&["engine", "remove", "keep"], "NAME@VERSION"),
        (&["engine", "limits", "keep", "--set", "fuel"], "LIMIT=NUMBER"),
        (&["engine", "faults", "--since", "soon"], "expected a time"),
        (&["history", "web", "--since", "soon"], "expected a time"),
        (&["history", "web", "--last", "0"], "--last"),
        (&["domain", "list", "--nats", "no address"], "no NATS address"),
        (&["domain", "list", "--user", "a.b"], "a.b"),
        (&["up", "missing.toml"], "missing.toml"),
        (&["up", "empty.toml"], "/domain"),
        (&["up", "up.toml"], "/domain/web/health/boot_timout"),
        (&["up", "up.toml"], "/deployable/worker/comands"),
        (&["up", "up.toml"], "/colour"),
        (&["up", "empty.toml", "--for", "20"], "20s"),
    ] {
        fixture.run(args)?.fails(2, says)?;
    }
    ensure!(!fixture.dir.path().join("pilothouse-data").exists(), "nothing was begun");
    Ok(())
}

#[tokio::test]
async fn nobody_there_is_told_apart_from_a_failure() -> Result<()> {
    let fixture = Fixture::new()?;
    fixture.run(&["domain", "list", "--nats", "nats://127.0.0.1:1"])?.fails(5, "nats://127.0.0.1:1")?;
    fixture.run(&["domain", "list", "--data", "nowhere"])?.fails(5, "nowhere")?;
    let server = NatsServer::start().await?;
    fixture.run(&["domain", "list", "--nats", &server.url()])?.fails(5, "no host answers")?;
    let json = fixture.run(&["domain", "list", "--nats", &server.url(), "--output", "json"])?;
    json.fails(5, "")?;
    ensure!(serde_json::from_str::<Value>(&json.stderr())?["error"] == "unavailable", "{json:?}");
    Ok(())
}

/// A host, and a caller who speaks to it.
struct Host {
    fixture: Fixture,
    nats: NatsServer,
    _serve: Program,
}

impl Host {
    async fn start() -> Result<Self> {
        let (fixture, nats) = (Fixture::new()?, NatsServer::start().await?);
        let mut serve = fixture.ledger.command(PROGRAM);
        serve.args(["serve", "--name", "ship", "--default-user", "default", "--nats", &nats.url()]);
        let log = fixture.dir.path().join("serve.log");
        let serve = Program::start(serve, &log)?;
        let host = Self { fixture, nats, _serve: serve };
        let answers = async || host.ask(&["domain", "list"]).is_ok_and(|ran| ran.output.status.success());
        eventually("the host answers", SOON, answers).await.with_context(|| log_of(&log))?;
        Ok(host)
    }

    fn ask(&self, args: &[&str]) -> Result<Ran> {
        self.fixture.run(&[args, &["--nats", &self.nats.url()]].concat())
    }

    fn json(&self, args: &[&str]) -> Result<Value> {
        self.ask(&[args, &["--output", "json"]].concat())?.json()
    }
}

fn log_of(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}

#[tokio::test]
async fn a_domain_is_added_shown_changed_and_removed() -> Result<()> {
    let host = Host::start().await?;
    host.ask(&["domain", "list"])?.answers("no domains")?;
    host.fixture.write("web.toml", "[general]\nengine = 'simplest'\n[engine_conf]\npreserve_n = 1")?;
    host.ask(&["domain", "add", "web", "web.toml", "--set", "engine_conf.preserve_n=0"])?
        .answers("domain web added, decided by simplest ")?;
    host.ask(&["domain", "add", "web", "web.toml"])?.fails(4, "is there already")?;
    let list = host.json(&["domain", "list"])?;
    ensure!(list["domains"][0]["name"] == "web" && list["domains"][0]["engine"]["name"] == "simplest", "{list}");
    eventually("it is stable", SOON, async || host.ask(&["domain", "list"]).is_ok_and(|ran| ran.stdout().contains("stable"))).await?;

    host.ask(&["domain", "reconfigure", "web", "--set", "general.decide_interval=2"])?.answers("domain web is at revision 2")?;
    let described = host.json(&["domain", "describe", "web"])?;
    ensure!(described["config"]["general"]["decide_interval"] == 2, "{described}");
    ensure!(described["config"]["engine_conf"] == json!({"preserve_n": 0}), "what was not named stays: {described}");
    host.ask(&["domain", "describe", "web"])?.answers("general.decide_interval = 2\n")?;

    for (args, key, value) in [(&["pause"][..], "paused", true), (&["resume"], "paused", false)] {
        let done = host.json(&["domain", args[0], "web"])?;
        ensure!(done["domain"] == "web" && done[key] == value, "{done}");
    }
    host.ask(&["domain", "dry-run", "web", "on"])?.answers("domain web runs dry")?;
    host.ask(&["domain", "list"])?.answers("stable, dry run")?;
    host.ask(&["domain", "dry-run", "web", "off"])?.answers("domain web no longer runs dry")?;
    host.ask(&["brake", "show", "web"])?.answers("The brake of domain web is off\n  unhealthy  0 of 0 instances\n")?;
    ensure!(host.json(&["brake", "show", "web"])?["on"] == false);
    host.ask(&["brake", "release", "web"])?.answers("domain web believes")?;
    host.ask(&["brake", "show", "web"])?.answers("  released   ")?;

    host.ask(&["why", "web"])?.answers("brake released by default")?;
    ensure!(host.json(&["why", "web"])?["about"] == "domain");
    host.ask(&["history", "web"])?.answers("web: brake released (asked by default)\n")?;
    host.ask(&["history", "web", "--until", "-1h"])?.answers("nothing happened in domain web then")?;
    let history = host.json(&["history", "web", "--since", "-1h", "--last", "1"])?;
    ensure!(history["more"] == true && history["happenings"].as_array().is_some_and(|all| all.len() == 1), "{history}");
    host.ask(&["why", "web", "7"])?.fails(3, "7")?;

    host.ask(&["domain", "remove", "--wait", "web"])?.answers("domain web is gone")?;
    host.ask(&["domain", "describe", "web"])?.fails(3, "domain web not found")
}

#[tokio::test]
async fn a_definition_is_added_shown_replaced_and_made_a_domain_of() -> Result<()> {
    let host = Host::start().await?;
    host.ask(&["definition", "list"])?.answers("no definitions")?;
    host.fixture.write("pool.toml", "[general]\nengine = 'simplest'\n[engine_conf]\nforce_site = 'here'")?;
    host.ask(&["definition", "add", "pool", "pool.toml"])?.answers("definition pool added")?;
    host.ask(&["definition", "add", "pool", "pool.toml"])?.fails(4, "pool")?;
    host.ask(&["definition", "update", "poool", "pool.toml"])?.fails(3, "definition poool not found; did you mean pool?")?;
    host.ask(&["definition", "list"])?.answers("pool  simplest")?;
    let described = host.json(&["definition", "describe", "pool"])?;
    ensure!(described["definition"]["engine_conf"] == json!({"force_site": "here"}), "as it was written: {described}");
    let text = host.ask(&["definition", "describe", "pool"])?;
    for part in ["definition pool, revision ", "  engine_conf.force_site = \"here\"\n", "  preserve_n ", "  # simplest\n"] {
        text.answers(part)?;
    }
    let zero = ["--set", "engine_conf.preserve_n=0"];
    host.ask(&[&["domain", "add", "web", "--definition", "pool", "--subscriber", "desk:told"][..], &zero].concat())?.answers("added")?;
    host.ask(&["domain", "describe", "web"])?.answers("told to    desk:told\n")?;
    ensure!(host.json(&["domain", "describe", "web"])?["config"]["engine_conf"] == json!({"force_site": "here", "preserve_n": 0}));

    host.ask(&["definition", "update", "pool", "--engine", "npreserving"])?.answers("definition pool replaced")?;
    let described = host.json(&["definition", "describe", "pool"])?;
    ensure!(described["definition"] == json!({"general": {"engine": "npreserving"}}), "whole: {described}");
    ensure!(host.json(&["domain", "describe", "web"])?["engine"]["name"] == "simplest", "the domain stays as it is");
    host.ask(&["definition", "remove", "pool"])?.answers("definition pool removed")?;
    host.ask(&["definition", "describe", "pool"])?.fails(3, "definition pool not found; there is no definition at all")?;
    host.ask(&["domain", "add", "more", "--definition", "pool"])?.fails(3, "definition pool not found")
}

#[tokio::test]
async fn a_difference_is_shown_and_subscribers_come_and_go() -> Result<()> {
    let host = Host::start().await?;
    host.ask(&["domain", "add", "web", "--engine", "simplest", "--set", "engine_conf.preserve_n=0"])?.answers("added")?;
    let diff = ["domain", "diff", "web", "--set"];
    let one = host.ask(&[&diff[..], &["engine_conf.preserve_n=1"]].concat())?;
    one.answers("- /engine_conf/preserve_n: 0\n+ /engine_conf/preserve_n: 1\n")?;
    host.ask(&[&diff[..], &["engine_conf.preserve_n=0"]].concat())?.answers("nothing would change")?;
    let refused = host.ask(&[&diff[..], &["engine_conf.preserve_m=1"]].concat())?;
    ensure!(refused.output.status.code() == Some(2) && refused.stdout().contains("! /engine_conf"), "{refused:?}");
    ensure!(refused.stderr().contains("would not take this: "), "{refused:?}");
    let json = host.ask(&[&diff[..], &["engine_conf.preserve_m=1", "--output", "json"]].concat())?;
    let told: Value = serde_json::from_str(&json.stdout())?;
    ensure!(json.output.status.code() == Some(2) && !told["problems"][0]["at"].is_null(), "{json:?}");
    ensure!(host.json(&["domain", "describe", "web"])?["config_revision"] == 1, "nothing was changed");

    host.ask(&["domain", "subscribe", "web", "desk", "told"])?.answers("desk is told")?;
    host.ask(&["domain", "subscribe", "web", "desk", "paged"])?.answers("desk is told")?;
    host.ask(&["domain", "describe", "web"])?.answers("told to    desk:paged, desk:told\n")?;
    host.ask(&["domain", "unsubscribe", "web", "desk", "told"])?.answers("desk is told no more")?;
    ensure!(host.json(&["domain", "describe", "web"])?["subscribers"] == json!([{"name": "desk", "operation": "paged"}]));
    host.ask(&["domain", "unsubscribe", "web", "somebody"])?.answers("had no such subscriber")?;
    host.ask(&["domain", "unsubscribe", "web", "desk"])?.answers("desk is told no more")?;
    ensure!(host.json(&["domain", "describe", "web"])?["subscribers"] == json!([]));
    host.ask(&["domain", "pause", "wbe"])?.fails(3, "domain wbe not found; did you mean web?")
}

/// Nobody provisions here, so the one instance stays where the promise left it.
#[tokio::test]
async fn an_instance_is_shown_protected_and_killed() -> Result<()> {
    let host = Host::start().await?;
    host.ask(&["instance", "list"])?.answers("no instances")?;
    let settings =
        ["--set", "engine_conf.preserve_n=1", "--set", "engine_conf.force_site=nowhere", "--set", "engine_conf.epuworker_type=worker"];
    host.ask(&[&["domain", "add", "web", "--engine", "simplest"][..], &settings].concat())?.answers("added")?;
    eventually("it is listed", SOON, async || host.ask(&["instance", "list"]).is_ok_and(|ran| ran.stdout().contains("web/0 "))).await?;
    let list = host.json(&["instance", "list", "web"])?;
    let id = list["instances"][0]["instance_id"].as_str().context("it has an id")?.to_owned();
    for named in ["web/0", &id] {
        host.ask(&["instance", "show", named])?.answers(&format!("instance    web/0 of default\nid          {id}\n"))?;
        ensure!(host.json(&["instance", "show", named])?["domain"] == "web");
    }
    host.ask(&["instance", "show", "web/7"])?.fails(3, "`pilothouse instance list` shows")?;
    host.ask(&["instance", "show", &id, "--user", "somebody"])?.fails(3, "not found")?;

    host.ask(&["instance", "protect", "web/0"])?.answers("web/0 is protected")?;
    host.ask(&["instance", "list"])?.answers("protected")?;
    host.ask(&["instance", "kill", &id])?.fails(4, "web/0 is protected")?;
    host.ask(&["domain", "remove", "web"])?.fails(4, "web/0 is protected")?;
    host.ask(&["instance", "unprotect", &id])?.answers("web/0 is no longer protected")?;
    host.ask(&["domain", "pause", "web"])?.answers("paused")?;
    host.ask(&["instance", "kill", "web/0", "--reason", "it makes noises"])?.answers("web/0 is being ended")?;
    host.ask(&["instance", "show", "web/0"])?.answers("it makes noises")?;
    host.ask(&["domain", "remove", "web", "--abandon", "--wait"])?.answers("domain web is gone")
}

#[tokio::test]
async fn exit_codes_say_what_sort_of_failure_it_was() -> Result<()> {
    let host = Host::start().await?;
    let add = &["domain", "add", "web", "--engine", "simplest", "--set", "engine_conf.preserve_n=0"];
    host.ask(&[&add[..], &["--set", "health.boot_timout=3"]].concat())?.fails(2, "boot_timout")?;
    host.ask(&[&add[..], &["--set", "engine_conf.preserve_m=3"]].concat())?.fails(2, "preserve_m")?;
    host.ask(&["domain", "add", "web", "--engine", "nosuch"])?.fails(2, "nosuch")?;
    let several =
        host.ask(&[&add[..], &["--set", "health.boot_timout=3", "--set", "general.max_instances=0", "--output", "json"]].concat())?;
    several.fails(2, "boot_timout")?;
    let error: Value = serde_json::from_str(&several.stderr())?;
    ensure!(error["error"] == "invalid" && error["problems"].as_array().is_some_and(|all| all.len() == 2), "{error}");
    for args in [
        &["domain", "describe", "web"][..],
        &["domain", "remove", "web"],
        &["domain", "pause", "web"],
        &["domain", "reconfigure", "web", "--engine", "simplest"],
        &["why", "web"],
    ] {
        host.ask(args)?.fails(3, "domain web not found")?;
    }
    host.ask(add)?.answers("added")?;
    host.ask(&["domain", "describe", "web", "--user", "somebody-else"])?.fails(3, "domain web not found")
}

#[tokio::test]
async fn events_are_printed_as_they_come() -> Result<()> {
    let host = Host::start().await?;
    let mut events = host.fixture.ledger.command(PROGRAM);
    events.args(["events", "--output", "json", "--nats", &host.nats.url()]);
    let events = Program::start(events, &host.fixture.dir.path().join("events.log"))?;
    let mut n = 0;
    // It says nothing before it listens, so something has to happen until it does.
    let heard = eventually("an event is printed", SOON, async || {
        n += 1;
        let name = format!("web{n}");
        let added = host.ask(&["domain", "add", &name, "--engine", "simplest", "--set", "engine_conf.preserve_n=0"]);
        added.is_ok() && events.said().contains("\"event\":\"configured\"")
    });
    heard.await?;
    let status = events.stop().await?;
    ensure!(status.success(), "{status}");
    Ok(())
}
