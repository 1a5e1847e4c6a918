//! Sensors that are pulled from Prometheus: a real server that scrapes a real process, and servers that answer in every wrong way.

mod domains;
mod guide;
mod secrets;
mod trouble;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pilothouse::api::{DomainDescription, HostFigures, PullDescription};
use pilothouse_tests::processes::Program;
use pilothouse_tests::prometheus::{Exporter, Prometheus};
use pilothouse_tests::rig::{Rig, SOON};
use pilothouse_tests::wait::eventually_some;
use serde_json::{Value, json};

/// The program that has `serve`, `agent` and `provisioner local` as its first arguments.
const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");

/// A system whose host knows these sources, by name and with the keys of their sections.
fn host(rig: &Rig, name: &str, sources: &[(&str, Value)]) -> Result<Program> {
    host_with(rig, name, sources, &[])
}

/// The same, with an environment of its own.
fn host_with(rig: &Rig, name: &str, sources: &[(&str, Value)], environment: &[(&str, &str)]) -> Result<Program> {
    let sources: BTreeMap<_, _> = sources.iter().cloned().collect();
    let path = rig.path(&format!("{name}.json"));
    fs::write(&path, json!({ "prometheus": sources }).to_string())?;
    let path = path.display().to_string();
    rig.host_with(name, &[&[("PILOTHOUSE_CONFIG", path.as_str())], environment].concat())
}

/// An answer of one series without labels: a value of now.
fn answer(value: f64) -> String {
    let at = pilothouse::clock::now().as_secs_f64();
    json!({"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [at, value.to_string()]}]}}).to_string()
}

/// A configuration that decides briskly, with an engine and with what is pulled.
fn config(engine: &str, engine_conf: Value, sensors: Value) -> Value {
    json!({
        "general": { "engine": engine, "decide_interval": 0.2 },
        "health": { "boot_timeout": 30, "missing_timeout": 4, "really_missing_timeout": 1, "zombie_seconds": 10 },
        "engine_conf": engine_conf,
        "sensors": sensors,
    })
}

/// A domain that has no instances, and pulls.
fn pulling(sensors: Value) -> Value {
    config("simplest", json!({ "preserve_n": 0, "force_site": "local", "epuworker_type": "worker" }), sensors)
}

/// Waits until what the host says of `web` is as it should be.
async fn sees(rig: &Rig, what: &str, mut is_so: impl FnMut(&DomainDescription) -> bool) -> Result<DomainDescription> {
    let seen = eventually_some(what, SOON, async || rig.describe().await.ok().filter(|described| is_so(described))).await;
    match seen {
        Ok(described) => Ok(described),
        Err(error) => {
            let described = rig.describe().await.map(|it| format!("{:#?}\n{:#?}", it.pulled, it.sensor_data)).unwrap_or_default();
            Err(error).with_context(|| format!("{described}\n{}", rig.logs()))
        }
    }
}

/// How asking for a series goes.
fn pull<'d>(described: &'d DomainDescription, metric: &str) -> Result<&'d PullDescription> {
    described.pulled.get(metric).with_context(|| format!("{metric} is pulled: {:?}", described.pulled.keys()))
}

/// What a command of the user tells people.
fn text(rig: &Rig, arguments: &[&str]) -> Result<String> {
    let mut command = rig.ledger.command(PROGRAM);
    let output = command.args(arguments).args(["--nats", &rig.nats.url(), "--user", "default"]).output()?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The figures of so many hosts, as soon as they answer. One that is just being started does not.
async fn figures(rig: &Rig, hosts: usize) -> Result<BTreeMap<String, HostFigures>> {
    use futures::StreamExt as _;
    let inbox = rig.api.nats().new_inbox();
    let mut answers = rig.api.nats().subscribe(inbox.clone()).await?;
    rig.api.nats().publish_with_reply("$SRV.STATS.pilothouse", inbox, "".into()).await?;
    let mut all = BTreeMap::new();
    while all.len() < hosts {
        let answer =
            tokio::time::timeout(Duration::from_secs(1), answers.next()).await.context("every host answers")?.context("an answer")?;
        let stats: Value = serde_json::from_slice(&answer.payload)?;
        let figures: HostFigures = serde_json::from_value(stats["endpoints"][0]["data"].clone())?;
        all.insert(figures.host.to_string(), figures);
    }
    Ok(all)
}

/// A system with one host, one site, and a Prometheus server by the name `main`.
struct Whole {
    rig: Rig,
    exporter: Exporter,
    prometheus: Prometheus,
    _host: Program,
    _site: Program,
}

impl Whole {
    async fn start() -> Result<Self> {
        let exporter = Exporter::start().await?;
        let (rig, prometheus) = tokio::try_join!(Rig::new(PROGRAM), Prometheus::scraping(&exporter))?;
        let host = host(&rig, "one", &[("main", json!({ "url": prometheus.url() }))])?;
        let site = rig.site("local").await?;
        Ok(Self { rig, exporter, prometheus, _host: host, _site: site })
    }
}
