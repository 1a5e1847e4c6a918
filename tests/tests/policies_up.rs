//! The engine `npreserving` under `pilothouse up`: identities, their variables, and what is left alone, on real processes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use pilothouse_tests::nats;
use pilothouse_tests::processes::{Ledger, Program};
use pilothouse_tests::wait::{eventually, eventually_some};
use procfs::process::Process;
use serde_json::{Value, json};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");

/// What takes a second on an idle machine.
const SOON: Duration = Duration::from_secs(60);

/// A domain `web` under `pilothouse up`, and the processes that come of it.
struct Up {
    ledger: Ledger,
    dir: TempDir,
    program: Option<Program>,
}

impl Up {
    fn new(engine_conf: &str) -> Result<Self> {
        let (ledger, dir) = (Ledger::new()?, TempDir::with_prefix("pilothouse-policies-")?);
        let argv = json!(ledger.worker("exec sleep 1000"));
        let file = format!(
            "[domain.web.general]\nengine = 'npreserving'\ndecide_interval = 0.2\nprovisioner_vars = {{ zone = 'of the domain', keeper = 'ann' }}\n\
             [domain.web.engine_conf]\nforce_site = 'local'\nepuworker_type = 'worker'\n{engine_conf}\n\
             [deployable.worker]\nheartbeat_seconds = 0.3\n[[deployable.worker.commands]]\nname = 'main'\nargv = {argv}\n"
        );
        std::fs::write(dir.path().join("up.toml"), file)?;
        let mut up = Self { ledger, dir, program: None };
        let mut command = up.command(&["up"])?;
        command.arg(up.dir.path().join("up.toml"));
        up.program = Some(Program::start(command, &up.dir.path().join("up.log"))?);
        Ok(up)
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn command(&self, args: &[&str]) -> Result<std::process::Command> {
        let mut command = self.ledger.command(PROGRAM);
        command.env(nats::SERVER_ENV, nats::program()?).args(args).arg("--data").arg(self.data());
        Ok(command)
    }

    fn said(&self) -> String {
        self.program.as_ref().map(Program::said).unwrap_or_default()
    }

    fn describe(&self) -> Option<Value> {
        let output = self.command(&["domain", "describe", "web", "--output", "json"]).ok()?.output().ok()?;
        serde_json::from_slice(&output.stdout).ok()
    }

    fn reconfigure(&self, set: &[&str]) -> Result<()> {
        let mut arguments = vec!["domain", "reconfigure", "web"];
        arguments.extend(set.iter().flat_map(|it| ["--set", it]));
        let output = self.command(&arguments)?.output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    }

    /// The variables of every worker that lives, by instance.
    fn variables(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let of = |pid: u32| {
            let environment = Process::new(pid.try_into().ok()?).ok()?.environ().ok()?;
            let variable = |(name, value): (&std::ffi::OsString, &std::ffi::OsString)| {
                Some((name.to_str()?.strip_prefix("PILOTHOUSE_VAR_")?.to_owned(), value.to_str()?.to_owned()))
            };
            Some(environment.iter().filter_map(variable).collect())
        };
        self.ledger.alive().into_keys().filter_map(|id| Some((id.clone(), of(self.ledger.workers_of(&id).first()?.pid)?))).collect()
    }

    /// Waits until the domain is as it says (`stable`, `failed`), and its workers have these values of `name`, in order; `-` is none.
    async fn stands(&self, status: &str, name: &str, wanted: &[&str]) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
        let stands = async || {
            let (described, variables) = (self.describe()?, self.variables());
            let mut values: Vec<&str> = variables.values().map(|it| it.get(name).map_or("-", String::as_str)).collect();
            values.sort_unstable();
            (described["status"] == status && values == wanted && self.ledger.alive().len() == wanted.len()).then_some(variables)
        };
        let what = format!("{status}, with workers whose {name} is {wanted:?}");
        eventually_some(&what, SOON, stands)
            .await
            .with_context(|| format!("{:?}\n{:#?}\n{}", self.variables(), self.describe(), self.said()))
    }
}

fn holder<'a>(all: &'a BTreeMap<String, BTreeMap<String, String>>, name: &str, value: &str) -> Result<&'a String> {
    all.iter()
        .find(|(_, it)| it.get(name).is_some_and(|it| it == value))
        .map(|(id, _)| id)
        .with_context(|| format!("{name}={value} in {all:?}"))
}

#[tokio::test]
async fn a_holder_that_is_killed_comes_again_with_its_variables_and_labels_change_by_name() -> Result<()> {
    let up = Up::new("preserve_n = 3\nunique_instances = { primary = { role = 'a', port = '1' }, second = { role = 'b' } }")?;
    let before = up.stands("stable", "role", &["-", "a", "b"]).await?;
    let primary = holder(&before, "role", "a")?;
    ensure!(before[primary]["port"] == "1" && before[primary]["keeper"] == "ann", "its own variables over those of the domain: {before:?}");

    up.ledger.agent_of(primary).context("its agent runs")?.signal(Signal::SIGKILL)?;
    eventually("the holder is gone", SOON, async || up.ledger.of(primary).is_empty()).await?;
    let after = up.stands("stable", "role", &["-", "a", "b"]).await?;
    let again = holder(&after, "role", "a")?;
    ensure!(again != primary && after[again]["port"] == "1", "another one, with the same variables: {before:?} {after:?}");
    ensure!(after.keys().filter(|id| before.contains_key(*id)).count() == 2, "nobody else is touched: {before:?} {after:?}");

    // Another value for a label that stays: nobody goes. A label that goes takes its holder along, one that comes brings one.
    up.reconfigure(&["engine_conf.unique_instances={\"primary\": {\"role\": \"c\"}, \"third\": {\"role\": \"d\"}}"])?;
    let changed = up.stands("stable", "role", &["-", "a", "d"]).await?;
    ensure!(changed.contains_key(again) && !changed.contains_key(holder(&after, "role", "b")?), "{after:?} {changed:?}");
    // The new value is for the next.
    up.ledger.agent_of(again).context("its agent runs")?.signal(Signal::SIGKILL)?;
    up.stands("stable", "role", &["-", "c", "d"]).await?;
    ensure!(up.ledger.starts().values().all(|starts| *starts == 1), "nobody is started twice: {:?}", up.ledger.starts());
    Ok(())
}

#[tokio::test]
async fn variables_for_every_launch_are_those_of_the_engine_while_it_has_some() -> Result<()> {
    let up = Up::new("preserve_n = 1\nprovisioner_vars = { zone = 'of the engine' }")?;
    let first = up.stands("stable", "zone", &["of the engine"]).await?;
    ensure!(first.values().all(|it| !it.contains_key("keeper")), "in the place of those of the domain: {first:?}");
    up.reconfigure(&["engine_conf.provisioner_vars={\"zone\": \"another\"}", "engine_conf.preserve_n=2"])?;
    up.stands("stable", "zone", &["another", "of the engine"]).await?;
    // Those of the domain again.
    up.reconfigure(&["engine_conf.provisioner_vars=null", "engine_conf.preserve_n=3"])?;
    let all = up.stands("stable", "zone", &["another", "of the domain", "of the engine"]).await?;
    ensure!(all[holder(&all, "zone", "of the domain")?]["keeper"] == "ann", "{all:?}");
    Ok(())
}

#[tokio::test]
async fn devmode_leaves_alone_who_is_unhealthy_until_it_is_switched_off() -> Result<()> {
    let up = Up::new("preserve_n = 2\nunique_instances = { primary = { role = 'a' } }\ndevmode_no_failure_compensation = ' True '")?;
    let before = up.stands("stable", "role", &["-", "a"]).await?;
    let primary = holder(&before, "role", "a")?;
    // Its agent lives on and tells of it.
    up.ledger.workers_of(primary).first().context("its worker runs")?.signal(Signal::SIGKILL)?;
    let is_left = async || {
        let described = up.describe()?;
        let told = described["reason"].as_str()?.to_owned();
        (described["status"] == "failed" && told.contains("devmode")).then_some(told)
    };
    eventually_some("devmode says so", SOON, is_left).await.with_context(|| up.said())?;
    ensure!(up.ledger.agent_of(primary).is_some(), "people can look at it");
    ensure!(up.ledger.starts().len() == 2, "nobody is launched for it: {:?}", up.ledger.starts());

    up.reconfigure(&["engine_conf.devmode_no_failure_compensation=false"])?;
    let after = up.stands("stable", "role", &["-", "a"]).await?;
    ensure!(!after.contains_key(primary) && up.ledger.starts().len() == 3, "{before:?} {after:?}");
    Ok(())
}
