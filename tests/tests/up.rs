//! `pilothouse up` on real parts: one command, real processes, and whatever is killed comes back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pilothouse::api::DomainList;
use pilothouse::process::ProcessId;
use pilothouse_core::cycle::Status;
use pilothouse_core::explain::Explanation;
use pilothouse_tests::processes::{Ledger, Living, Program};
use pilothouse_tests::wait::{eventually, eventually_some};
use pilothouse_tests::{guest, nats};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");

/// What takes a second on an idle machine.
const SOON: Duration = Duration::from_secs(60);

/// The children of `pilothouse up`.
const CHILDREN: [&str; 3] = ["host", "provisioner", "nats"];

/// A file and a directory for `pilothouse up`, and the processes that come of it.
struct Fixture {
    ledger: Ledger,
    dir: TempDir,
}

impl Fixture {
    /// A domain `web` that keeps `count` workers.
    fn new(count: u32) -> Result<Self> {
        let ledger = Ledger::new()?;
        let argv = ledger.worker("exec sleep 1000");
        Self::with(ledger, count, &argv)
    }

    fn with(ledger: Ledger, count: u32, argv: &[String]) -> Result<Self> {
        let this = Self { ledger, dir: TempDir::with_prefix("pilothouse-up-")? };
        let argv = serde_json::to_string(argv)?;
        let file = format!(
            "[domain.web.general]\ndecide_interval = 0.2\n\
             [domain.web.engine_conf]\npreserve_n = {count}\nforce_site = 'local'\nepuworker_type = 'worker'\n\
             [deployable.worker]\nheartbeat_seconds = 0.5\n[[deployable.worker.commands]]\nname = 'main'\nargv = {argv}\n"
        );
        std::fs::write(this.file(), file)?;
        Ok(this)
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("up.toml")
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The program with arguments, on the directory.
    fn command(&self, args: &[&str]) -> Result<Command> {
        let mut command = self.ledger.command(PROGRAM);
        command.env(nats::SERVER_ENV, nats::program()?).args(args).arg("--data").arg(self.data());
        Ok(command)
    }

    /// Starts `pilothouse up`; what it says goes into a file of that name.
    fn up(&self, log: &str, more: &[&str]) -> Result<Program> {
        let mut command = self.command(&["up"])?;
        command.arg(self.file()).args(more);
        Program::start(command, &self.dir.path().join(log))
    }

    fn ask(&self, args: &[&str]) -> Result<Output> {
        Ok(self.command(args)?.output()?)
    }

    /// The agents that live, and nothing when some instance has none.
    fn agents(&self) -> BTreeMap<String, Living> {
        let agents = self.ledger.alive().into_iter();
        agents.filter_map(|(id, processes)| Some((id, processes.into_iter().find(|process| process.is_agent)?))).collect()
    }

    /// Waits until the domain is stable with `count` instances, as the hosts see it and as the ledger does.
    async fn settles_at(&self, count: usize) -> Result<BTreeMap<String, Living>> {
        let what = format!("{count} instances, and the domain is stable");
        let settled = eventually_some(&what, SOON, async || {
            let output = self.ask(&["domain", "list", "--output", "json"]).ok()?;
            let list: DomainList = serde_json::from_slice(&output.stdout).ok()?;
            let web = list.domains.first()?;
            let is_settled = web.status == Status::Stable && web.counts.running as usize == count && web.counts.valid as usize == count;
            let agents = self.agents();
            (is_settled && agents.len() == count && self.ledger.alive().len() == count).then_some(agents)
        });
        settled.await.with_context(|| self.everything())
    }

    /// Who a child is.
    fn child(&self, name: &str) -> Option<ProcessId> {
        serde_json::from_slice(&std::fs::read(self.data().join(format!("run/{name}.json"))).ok()?).ok()
    }

    fn children(&self) -> Result<Vec<ProcessId>> {
        CHILDREN.into_iter().map(|name| self.child(name).with_context(|| format!("{name} runs"))).collect()
    }

    /// What everybody said, for a test that failed.
    fn everything(&self) -> String {
        let logs = [self.dir.path().to_owned(), self.data().join("logs")];
        let files = logs.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten().map(|entry| entry.path());
        let logs = files.filter(|path| path.extension().is_some_and(|it| it == "log"));
        logs.map(|path| format!("--- {}\n{}", path.display(), std::fs::read_to_string(&path).unwrap_or_default())).collect()
    }
}

async fn says(up: &Program, what: &str) -> Result<()> {
    eventually(&format!("it says {what:?}"), SOON, async || up.said().contains(what)).await.with_context(|| up.said())
}

fn crash(process: &ProcessId) -> Result<()> {
    kill(Pid::from_raw(process.pid.try_into()?), Signal::SIGKILL).with_context(|| format!("killing {process}"))
}

async fn interrupted(mut up: Program) -> Result<()> {
    up.signal(Signal::SIGINT)?;
    let status = up.ended().await?;
    ensure!(status.success(), "{status}\n{}", up.said());
    Ok(())
}

#[tokio::test]
async fn three_workers_come_up_and_one_that_is_killed_is_replaced() -> Result<()> {
    let fixture = Fixture::new(3)?;
    let up = fixture.up("up.log", &[])?;
    let before = fixture.settles_at(3).await?;
    for n in 0..3 {
        says(&up, &format!("web/{n} RUNNING OK\n")).await?;
    }
    says(&up, "all is as it should be: 3 instances running").await?;

    let (victim, agent) = before.first_key_value().context("there are three")?;
    agent.signal(Signal::SIGKILL)?;
    eventually("the victim is gone", SOON, async || fixture.ledger.of(victim).is_empty()).await?;
    let after = fixture.settles_at(3).await?;
    ensure!(!after.contains_key(victim) && before.iter().filter(|it| after.get(it.0) == Some(it.1)).count() == 2, "{before:?} {after:?}");
    says(&up, "web/3 RUNNING OK\n").await?;
    ensure!(fixture.ledger.starts().values().all(|starts| *starts == 1), "{:?}", fixture.ledger.starts());

    let why = fixture.ask(&["why", "web", victim, "--output", "json"])?;
    let Explanation::Instance(story) = serde_json::from_slice(&why.stdout)? else { bail!("{why:?}") };
    ensure!(story.started.is_some() && story.ended.is_some(), "{story:?}");
    let why = fixture.ask(&["why", "web"])?;
    let told = String::from_utf8_lossy(&why.stdout);
    ensure!(told.contains("launch 1 of worker at local") && told.contains("every guard let it pass"), "{told}");
    Ok(())
}

#[tokio::test]
async fn each_child_that_is_killed_comes_back_and_the_instances_stay() -> Result<()> {
    let fixture = Fixture::new(2)?;
    let up = fixture.up("up.log", &[])?;
    let before = fixture.settles_at(2).await?;
    for name in CHILDREN {
        let old = fixture.child(name).with_context(|| format!("{name} runs"))?;
        crash(&old)?;
        says(&up, &format!("{name} was killed by signal 9; it is started again in")).await?;
        says(&up, &format!("{name} is started again")).await?;
        let is_new = async || fixture.child(name).is_some_and(|new| new != old && new.is_alive());
        eventually(&format!("{name} is another process"), SOON, is_new).await?;
        ensure!(fixture.settles_at(2).await? == before, "the same instances after {name} was killed:\n{}", up.said());
    }
    // Everything goes on: a change reaches the host, and a launch the provisioner.
    let changed = fixture.ask(&["domain", "reconfigure", "web", "--set", "engine_conf.preserve_n=3"])?;
    ensure!(changed.status.success(), "{changed:?}");
    let after = fixture.settles_at(3).await?;
    ensure!(before.iter().all(|(id, agent)| after.get(id) == Some(agent)), "{before:?} {after:?}");
    ensure!(fixture.ledger.starts().values().all(|starts| *starts == 1), "{:?}", fixture.ledger.starts());
    Ok(())
}

#[tokio::test]
async fn what_is_interrupted_stops_everything_and_goes_on_when_it_is_started_again() -> Result<()> {
    let fixture = Fixture::new(2)?;
    let up = fixture.up("up.log", &[])?;
    let before = fixture.settles_at(2).await?;
    let children = fixture.children()?;
    interrupted(up).await?;
    ensure!(fixture.ledger.alive().is_empty(), "{:?}", fixture.ledger.alive());
    ensure!(children.iter().all(|child| !child.is_alive()), "{children:?}");

    let up = fixture.up("again.log", &[])?;
    for n in 0..2 {
        says(&up, &format!("web/{n} TERMINATED")).await?;
    }
    let after = fixture.settles_at(2).await?;
    ensure!(before.keys().all(|id| !after.contains_key(id)), "launched anew: {before:?} {after:?}");
    says(&up, "web/3 RUNNING OK\n").await?;
    interrupted(up).await
}

#[tokio::test]
async fn what_is_interrupted_while_its_provisioner_is_down_stops_the_workers_all_the_same() -> Result<()> {
    let fixture = Fixture::new(2)?;
    let up = fixture.up("up.log", &[])?;
    fixture.settles_at(2).await?;
    crash(&fixture.child("provisioner").context("it runs")?)?;
    says(&up, "provisioner was killed").await?;
    interrupted(up).await?;
    ensure!(fixture.ledger.alive().is_empty(), "{:?}", fixture.ledger.alive());
    Ok(())
}

#[tokio::test]
async fn what_is_killed_leaves_its_instances_running_and_takes_them_up_again() -> Result<()> {
    let fixture = Fixture::new(2)?;
    let up = fixture.up("up.log", &[])?;
    let before = fixture.settles_at(2).await?;
    let children = fixture.children()?;
    up.crash().await?;
    ensure!(children.iter().all(ProcessId::is_alive), "the children go on by themselves");

    let up = fixture.up("again.log", &[])?;
    says(&up, "all is as it should be").await?;
    ensure!(children.iter().all(|child| !child.is_alive()), "the new one has ended them:\n{}", up.said());
    ensure!(fixture.settles_at(2).await? == before, "the same instances");
    ensure!(fixture.ledger.starts().values().all(|starts| *starts == 1), "{:?}", fixture.ledger.starts());
    interrupted(up).await
}

#[tokio::test]
async fn with_a_time_it_ends_by_itself_and_fails_when_a_domain_was_never_stable() -> Result<()> {
    let up_and_ended = async |fixture: &Fixture, span: &str| -> Result<(Option<i32>, String)> {
        let mut up = fixture.up("up.log", &["--for", span])?;
        let status = up.ended().await?;
        ensure!(fixture.ledger.alive().is_empty(), "{:?}", fixture.ledger.alive());
        Ok((status.code(), up.said()))
    };
    // Long enough for a crowded machine.
    let (code, said) = up_and_ended(&Fixture::new(1)?, "20s").await?;
    ensure!(code == Some(0), "{said}");
    let broken = Fixture::with(Ledger::new()?, 1, &["/no/such/program".to_owned()])?;
    let (code, said) = up_and_ended(&broken, "5s").await?;
    ensure!(code == Some(1) && said.contains("not stable in time: web"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_directory_has_one_at_a_time() -> Result<()> {
    let fixture = Fixture::new(1)?;
    let up = fixture.up("up.log", &[])?;
    fixture.settles_at(1).await?;
    let mut second = fixture.up("second.log", &[])?;
    let status = second.ended().await?;
    ensure!(status.code() == Some(4), "{status}\n{}", second.said());
    ensure!(second.said().contains(&format!("another `pilothouse up` (process {}) runs in ", up.pid())), "{}", second.said());
    fixture.settles_at(1).await?;
    Ok(())
}

#[tokio::test]
async fn a_file_that_changed_changes_the_domain_and_one_that_is_wrong_for_its_engine_is_refused() -> Result<()> {
    let fixture = Fixture::new(1)?;
    let up = fixture.up("up.log", &[])?;
    fixture.settles_at(1).await?;
    interrupted(up).await?;

    change(&fixture.file(), "preserve_n = 1", "preserve_n = 2")?;
    let up = fixture.up("changed.log", &[])?;
    says(&up, "its configuration is changed").await?;
    fixture.settles_at(2).await?;
    interrupted(up).await?;

    change(&fixture.file(), "preserve_n = 2", "preserve_m = 2")?;
    let mut up = fixture.up("wrong.log", &[])?;
    let status = up.ended().await?;
    ensure!(status.code() == Some(2) && up.said().contains("preserve_m"), "{status}\n{}", up.said());
    ensure!(fixture.ledger.alive().is_empty(), "{:?}", fixture.ledger.alive());
    Ok(())
}

fn change(file: &Path, from: &str, to: &str) -> Result<()> {
    Ok(std::fs::write(file, std::fs::read_to_string(file)?.replace(from, to))?)
}

/// A file with a domain that is decided by a component of one's own. The component is yet to come.
fn with_own_engine() -> Result<Fixture> {
    let fixture = Fixture::new(1)?;
    let own = "[engine.guest]\nfile = 'guest.wasm'\n[domain.web.general]\nengine = 'guest@1'\n";
    let (general, keys) = ("[domain.web.general]\n", "preserve_n = 1\nforce_site = 'local'\nepuworker_type = 'worker'\n");
    change(&fixture.file(), general, own)?;
    change(&fixture.file(), keys, "")?;
    Ok(fixture)
}

fn put(fixture: &Fixture, component: &[u8]) -> Result<()> {
    Ok(std::fs::write(fixture.dir.path().join("guest.wasm"), component)?)
}

#[tokio::test]
async fn an_engine_of_ones_own_decides_and_goes_on_until_it_is_built_anew() -> Result<()> {
    let fixture = with_own_engine()?;
    let digest = async || {
        let output = fixture.ask(&["domain", "describe", "web", "--output", "json"]).ok()?;
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        told["engine"]["digest"].as_str().map(str::to_owned)
    };
    put(&fixture, &guest::guest("quiet"))?;
    let up = fixture.up("up.log", &[])?;
    says(&up, "web: added, decided by guest 1.0.0").await?;
    let first = eventually_some("it is described", SOON, digest).await?;

    // What somebody builds meanwhile is nothing to this one, also when its host is started again.
    put(&fixture, b"half a build")?;
    crash(&fixture.child("host").context("it runs")?)?;
    says(&up, "host is started again").await?;
    says(&up, "web: taken by host local (epoch 2)").await?;
    ensure!(eventually_some("it is described", SOON, digest).await? == first, "{}", up.said());
    interrupted(up).await?;

    put(&fixture, &guest::guest("ask"))?;
    let up = fixture.up("again.log", &[])?;
    says(&up, "web is here already; another guest 1.0.0 decides from now on").await?;
    says(&up, "web: launching 3").await?;
    ensure!(eventually_some("it is described", SOON, digest).await? != first, "{}", up.said());
    interrupted(up).await?;

    let up = fixture.up("once_more.log", &[])?;
    says(&up, "web is here already, as the file wants it").await?;
    interrupted(up).await
}

#[tokio::test]
async fn an_engine_that_can_not_serve_is_told_before_anything_is_started() -> Result<()> {
    let fixture = with_own_engine()?;
    let refused = async |log: &str, says: &str| -> Result<()> {
        let mut up = fixture.up(log, &[])?;
        let status = up.ended().await?;
        ensure!(status.code() == Some(2) && up.said().contains(says), "{status}\n{}", up.said());
        ensure!(fixture.children().is_err(), "nothing runs");
        Ok(())
    };
    refused("missing.log", "/engine/guest: ").await?;
    put(&fixture, b"text")?;
    refused("text.log", "it is no WebAssembly component; `pilothouse engine check ").await?;
    put(&fixture, &guest::shipped("simplest"))?;
    refused("other.log", "is an engine of another name: write [engine.simplest]").await
}

/// The same guest, told apart by its documentation.
fn another_guest() -> Vec<u8> {
    guest::Guest::new("ask").with("docs\\00", "dox!\\00").component()
}

#[tokio::test]
async fn a_component_that_is_watched_decides_as_soon_as_it_is_saved() -> Result<()> {
    let fixture = with_own_engine()?;
    put(&fixture, &guest::guest("quiet"))?;
    // In the folder of the file, as people do it.
    let mut command = fixture.command(&["up", "up.toml", "--watch"])?;
    command.current_dir(fixture.dir.path());
    let up = Program::start(command, &fixture.dir.path().join("up.log"))?;
    says(&up, "watch   guest.wasm\n").await?;
    says(&up, "web: added, decided by guest 1.0.0").await?;
    says(&up, "web: pending").await?;
    put(&fixture, &guest::guest("ask"))?;
    says(&up, "web: decided by guest 1.0.0 from now on, as it was saved anew").await?;
    says(&up, "engine guest 1.0.0 saved anew: 1 domain\n").await?;
    says(&up, "web: launching 3").await?;

    put(&fixture, b"text")?;
    let broken = "engine file guest.wasm can't be used: it is no WebAssembly component; nothing changes\n";
    says(&up, broken).await?;
    put(&fixture, &another_guest())?;
    eventually("it follows again", SOON, async || up.said().matches("saved anew: 1 domain\n").count() == 2)
        .await
        .with_context(|| up.said())?;
    ensure!(up.said().matches(broken).count() == 1, "{}", up.said());
    interrupted(up).await
}

#[tokio::test]
async fn what_is_watched_and_broken_at_the_next_start_leaves_its_domain_to_what_decided_it() -> Result<()> {
    let fixture = with_own_engine()?;
    let engine = async || {
        let output = fixture.ask(&["domain", "describe", "web", "--output", "json"]).ok()?;
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        (told["asked"]["decisions"].as_u64()? > 0).then(|| told["engine"]["digest"].as_str().map(str::to_owned))?
    };
    put(&fixture, b"text")?;
    let mut up = fixture.up("never.log", &["--watch"])?;
    let status = up.ended().await?;
    ensure!(status.code() == Some(2) && up.said().contains("/engine/guest: "), "there is nothing to go on with: {}", up.said());

    put(&fixture, &guest::guest("quiet"))?;
    let up = fixture.up("up.log", &["--watch"])?;
    let first = eventually_some("it decides", SOON, engine).await.with_context(|| up.said())?;
    // Saved while it runs: known to the host alone.
    put(&fixture, &another_guest())?;
    says(&up, "engine guest 1.0.0 saved anew: 1 domain\n").await?;
    let second = eventually_some("it decides", SOON, engine).await?;
    ensure!(first != second);
    interrupted(up).await?;

    for (log, broken) in [("broken.log", true), ("missing.log", false)] {
        if broken {
            put(&fixture, b"text")?
        } else {
            std::fs::remove_file(fixture.dir.path().join("guest.wasm"))?
        }
        let up = fixture.up(log, &["--watch"])?;
        says(&up, "can't be used: ").await?;
        says(&up, "web is here already, as the file wants it").await?;
        ensure!(eventually_some("it decides", SOON, engine).await? == second, "{}", up.said());
        ensure!(up.said().matches("nothing changes").count() == 1, "{}", up.said());
        interrupted(up).await?;
    }

    put(&fixture, &guest::guest("quiet"))?;
    let up = fixture.up("mended.log", &["--watch"])?;
    let decided_by_first = async || engine().await.is_some_and(|digest| digest == first);
    eventually("what was saved meanwhile decides", SOON, decided_by_first).await.with_context(|| up.said())?;
    interrupted(up).await
}
