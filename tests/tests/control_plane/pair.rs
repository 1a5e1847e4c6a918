//! Two hosts: one looks after the domains and hears no user, the other stands by and is asked everything.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use pilothouse::api::Operation;
use pilothouse_tests::nats::{NatsOptions, NatsServer};
use pilothouse_tests::processes::Program;
use pilothouse_tests::rig::{Rig, SOON};
use pilothouse_tests::wait::eventually;
use serde_json::{Value, json};

use crate::PROGRAM;
use crate::user::User;

/// The owner connects as a user of the server that gets nothing of what users of Pilothouse ask. So whatever is asked reaches the host that
/// stands by, by the server's own rules and not by luck.
const DEAF: &str = "authorization {
  users: [
    { user: deaf, password: deaf, permissions: { subscribe: { deny: [\"ph.v1.api.>\"] } } }
    { user: anyone, password: anyone }
  ]
}
no_auth_user: anyone";

/// Two hosts and a server.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) rig: Rig,
    _owner: Program,
    _standing_by: Program,
}

impl Pair {
    pub(crate) async fn new() -> Result<Self> {
        Self::offering(&[]).await
    }

    /// With more engines.
    pub(crate) async fn offering(engines: &[(&str, Vec<u8>)]) -> Result<Self> {
        let nats = NatsServer::start_with(&NatsOptions { config: DEAF.to_owned(), ..NatsOptions::default() }).await?;
        let rig = Rig::on(nats, PROGRAM).await?;
        let files = written(&rig, engines)?;
        let start = |name: &str, url: &str| {
            let mut command = rig.host_command(name, url);
            command.args(&files);
            rig.start(name, command)
        };
        let owner = start("owner", &format!("nats://deaf:deaf@127.0.0.1:{}", rig.nats.port()))?;
        eventually("there is an owner", SOON, async || is_owner(&rig, "owner").await).await.with_context(|| owner.said())?;
        let standing_by = start("standby", &rig.nats.url())?;
        let pair = Self { rig, _owner: owner, _standing_by: standing_by };
        let nobody = pair.user("nobody");
        eventually("users are served", SOON, async || {
            for operation in Operation::ALL.iter().copied() {
                // Whatever is wrong with this request, somebody says so.
                if nobody.refused_bytes(operation, b"[]").await.is_err() {
                    return false;
                }
            }
            nobody.domains().await.is_ok()
        })
        .await
        .with_context(|| pair.rig.logs())?;
        Ok(pair)
    }

    pub(crate) fn user(&self, name: &str) -> User {
        User::of(&self.rig, name)
    }

    /// That all of this went through the host that stands by, and that it still does.
    pub(crate) async fn was_asked_through_the_standby(&self) -> Result<()> {
        let inbox = self.rig.api.nats().new_inbox();
        let mut answers = self.rig.api.nats().subscribe(inbox.clone()).await?;
        self.rig.api.nats().publish_with_reply("$SRV.STATS.pilothouse", inbox, "".into()).await?;
        let mut requests = BTreeMap::new();
        // Every host answers.
        while requests.len() < 2 {
            let answer = tokio::time::timeout(SOON, answers.next()).await?.context("an answer")?;
            let told: Value = serde_json::from_slice(&answer.payload)?;
            let endpoints = told["endpoints"].as_array().context("endpoints")?;
            let asked: u64 = endpoints.iter().filter_map(|it| it["num_requests"].as_u64()).sum();
            // One that may listen nowhere tells of nowhere.
            let host = endpoints.first().and_then(|it| it["data"]["host"].as_str()).unwrap_or("owner");
            requests.insert(host.to_owned(), asked);
        }
        ensure!(requests["owner"] == 0 && requests["standby"] > 0, "{requests:?}");
        ensure!(is_owner(&self.rig, "owner").await, "it stands by");
        Ok(())
    }
}

/// The arguments that offer engines.
pub(crate) fn written(rig: &Rig, engines: &[(&str, Vec<u8>)]) -> Result<Vec<String>> {
    let mut arguments = Vec::new();
    for (name, component) in engines {
        let file = rig.path(&format!("{name}.wasm"));
        std::fs::write(&file, component)?;
        arguments.extend(["--engine".to_owned(), file.display().to_string()]);
    }
    Ok(arguments)
}

/// Whether the lease is a host's.
async fn is_owner(rig: &Rig, host: &str) -> bool {
    let look = async || {
        let bucket = async_nats::jetstream::new(rig.api.nats().clone()).get_key_value("PH_LEASE").await.ok()?;
        serde_json::from_slice::<Value>(&bucket.get("owner").await.ok()??).ok()
    };
    look().await.is_some_and(|lease| lease["host"] == host)
}

/// A definition for tests: brisk, and nobody's health is judged.
pub(crate) fn brisk(engine: &str) -> Value {
    json!({"general": {"engine": engine, "decide_interval": 0.2}, "health": {"monitor_health": false}})
}

/// What `simplest` is told, at the site that a test plays.
pub(crate) fn preserve(count: u32) -> Value {
    json!({"engine_conf": {"preserve_n": count, "force_site": "played", "epuworker_type": "worker"}})
}

/// One configuration over another, key by key within each section.
pub(crate) fn over(base: &Value, more: &Value) -> Value {
    let mut all = base.clone();
    for (section, keys) in more.as_object().into_iter().flatten() {
        for (key, value) in keys.as_object().into_iter().flatten() {
            all[section][key] = value.clone();
        }
    }
    all
}
