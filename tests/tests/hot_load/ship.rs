//! A whole system with one host, engines in several versions, and what is asked of them.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use async_nats::jetstream;
use futures::TryStreamExt;
use pilothouse::api::{DecisionFigures, DomainDescription, HostFigures, Operation};
use pilothouse_core::domain::{Happened, Happening};
use pilothouse_tests::command::Answer;
use pilothouse_tests::guest::Guest;
use pilothouse_tests::processes::Program;
use pilothouse_tests::rig::{Rig, SOON};
use pilothouse_tests::wait::{eventually, eventually_some};
use serde_json::{Value, json};

use crate::PROGRAM;

const CONFIG: &str = r#"(import "pilothouse:engine/state@0.1.0" "[method]domain.config" (func $config (param i32 i32)))"#;

/// A whole system.
pub(crate) struct Ship {
    pub(crate) rig: Rig,
    /// Of the host.
    config: PathBuf,
    host: Option<Program>,
}

impl Ship {
    /// With a host that has nothing but its own engines.
    pub(crate) async fn new() -> Result<Self> {
        Self::limited("").await
    }

    /// The same, with these lines of what it allows any engine.
    pub(crate) async fn limited(limits: &str) -> Result<Self> {
        let rig = Rig::new(PROGRAM).await?;
        let config = rig.path("ship.toml");
        std::fs::write(&config, format!("[engine_limits]\n{limits}\n"))?;
        let mut ship = Self { rig, config, host: None };
        ship.start()?;
        eventually("a host answers", SOON, async || ship.rig.api.call::<Value>(Operation::HostList, &json!({})).await.is_ok()).await?;
        Ok(ship)
    }

    fn start(&mut self) -> Result<()> {
        let mut command = self.rig.host_command("ship", &self.rig.nats.url());
        command.arg("--config").arg(&self.config);
        self.host = Some(self.rig.start("ship", command)?);
        Ok(())
    }

    /// The host is started again.
    pub(crate) fn restart(&mut self) -> Result<()> {
        drop(self.host.take());
        self.start()
    }

    /// The server is lost with everything on it, and the host with it. Another server is there under its address.
    pub(crate) async fn lose_everything(&mut self) -> Result<()> {
        drop(self.host.take());
        self.rig.nats.restart_empty().await
    }

    /// Writes a component to a file.
    pub(crate) fn file(&self, name: &str, component: &[u8]) -> Result<PathBuf> {
        let path = self.rig.path(name);
        std::fs::write(&path, component)?;
        Ok(path)
    }

    /// Pushes a component, which must be taken. What the command says of it, as JSON.
    pub(crate) fn push(&self, guest: &Guest) -> Result<Value> {
        let answer = self.try_push(&guest.component())?;
        ensure!(answer.code == 0, "{answer:?}\n{}", self.rig.logs());
        answer.json()
    }

    /// The same of one that may be refused.
    pub(crate) fn try_push(&self, component: &[u8]) -> Result<Answer> {
        let file = self.file("pushed.wasm", component)?;
        self.rig.run(&["engine", "push", file.to_str().context("a path")?])
    }

    /// Runs `pilothouse engine …`, which must succeed. Its answer as JSON.
    pub(crate) fn engine(&self, arguments: &[&str]) -> Result<Value> {
        let answer = self.rig.run(&[&["engine"], arguments].concat())?;
        ensure!(answer.code == 0, "{arguments:?}: {answer:?}\n{}", self.rig.logs());
        answer.json()
    }

    /// How far the host is with a version that was pushed.
    pub(crate) fn ready(&self, engine: &str, version: &str) -> Result<Value> {
        let shown = self.engine(&["show", engine])?;
        let versions = shown["versions"].as_array().context("versions")?;
        let pushed = versions.iter().find(|it| it["version"] == version).with_context(|| format!("{version} in {shown:#}"))?;
        Ok(pushed["ready"][0]["state"].clone())
    }

    /// Runs `pilothouse engine …`, which must fail: how it exited, and why.
    pub(crate) fn fails(&self, arguments: &[&str]) -> Result<(i32, String)> {
        let answer = self.rig.run(&[&["engine"], arguments].concat())?;
        ensure!(answer.code != 0, "{arguments:?} should fail: {answer:?}");
        Ok((answer.code, answer.err))
    }

    /// What it says for people.
    pub(crate) fn told(&self, arguments: &[&str]) -> Result<String> {
        let output =
            self.rig.ledger.command(PROGRAM).args(arguments).args(["--nats", &self.rig.nats.url(), "--user", "default"]).output()?;
        ensure!(output.status.success(), "{arguments:?}: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Adds a domain that is decided five times a second.
    pub(crate) async fn add(&self, domain: &str, engine: &str) -> Result<()> {
        self.rig.add(domain, brisk(engine)).await
    }

    pub(crate) async fn describe(&self, domain: &str) -> Result<DomainDescription> {
        Ok(self.rig.api.call(Operation::DomainDescribe, &json!({"domain": domain})).await?)
    }

    /// Waits until the description of a domain says this.
    pub(crate) async fn sees(&self, domain: &str, what: &str, is_so: impl Fn(&DomainDescription) -> bool) -> Result<DomainDescription> {
        let seen = eventually_some(what, SOON, async || self.describe(domain).await.ok().filter(|it| is_so(it))).await;
        match seen {
            Ok(described) => Ok(described),
            Err(error) => Err(error.context(format!("{:#?}\n{}", self.describe(domain).await, self.rig.logs()))),
        }
    }

    /// Waits until a domain is decided by a version.
    pub(crate) async fn decided_by(&self, domain: &str, version: &str) -> Result<DomainDescription> {
        self.sees(domain, &format!("{domain} is decided by {version}"), |it| it.summary.engine.version == version).await
    }

    /// The version that a domain has now.
    pub(crate) async fn version(&self, domain: &str) -> Result<String> {
        Ok(self.describe(domain).await?.summary.engine.version)
    }

    /// The swaps of a domain so far, in order: the version, and why.
    pub(crate) fn swaps(&self, domain: &str) -> Vec<(String, String)> {
        let swap = |it: Happening| match it.what {
            Happened::Swapped { engine, why, .. } if it.domain.name.as_str() == domain => Some((engine.version, why)),
            _ => None,
        };
        self.rig.happened().into_iter().filter_map(swap).collect()
    }

    /// The failed calls of a domain's engine so far, in order, as those who watch were told: how, and the how-manieth in a row.
    pub(crate) fn failed(&self, domain: &str) -> Vec<(String, u32)> {
        let fault = |it: Happening| match it.what {
            Happened::Faulted { message, in_a_row } if it.domain.name.as_str() == domain => Some((message, in_a_row)),
            _ => None,
        };
        self.rig.happened().into_iter().filter_map(fault).collect()
    }

    /// How asking engines has been going, as the host tells whoever asks for its statistics.
    pub(crate) async fn figures(&self) -> Result<DecisionFigures> {
        let answer = self.rig.api.nats().request("$SRV.STATS.pilothouse", "".into()).await?;
        let statistics: Value = serde_json::from_slice(&answer.payload)?;
        let figures: HostFigures = serde_json::from_value(statistics["endpoints"][0]["data"].clone())?;
        Ok(figures.decisions)
    }

    /// The components in the store, by digest.
    pub(crate) async fn stored(&self) -> Result<Vec<String>> {
        let store = jetstream::new(self.rig.nats.client().await?).get_object_store("PH_ENGINES").await?;
        Ok(store.list().await?.map_ok(|object| object.name).try_collect().await?)
    }

    /// Has the store say something else of a component, without touching it.
    pub(crate) async fn alter(&self, digest: &str, key: &str, value: Value) -> Result<()> {
        let jetstream = jetstream::new(self.rig.nats.client().await?);
        let mut info = serde_json::to_value(jetstream.get_object_store("PH_ENGINES").await?.info(digest).await?)?;
        info[key] = value;
        let stream = jetstream.get_stream("OBJ_PH_ENGINES").await?;
        let mut subjects = stream.info_with_subjects("$O.PH_ENGINES.M.>").await?;
        while let Some((subject, _)) = subjects.try_next().await? {
            let message = stream.get_last_raw_message_by_subject(&subject).await?;
            if serde_json::from_slice::<Value>(&message.payload)?["name"] == json!(digest) {
                let rollup = async_nats::HeaderMap::from_iter([("Nats-Rollup".parse()?, "sub".parse()?)]);
                jetstream.publish_with_headers(subject, rollup, info.to_string().into()).await?.await?;
                return Ok(());
            }
        }
        anyhow::bail!("the store has no {digest}")
    }
}

/// A configuration of an engine that takes any.
pub(crate) fn brisk(engine: &str) -> Value {
    json!({"general": {"engine": engine, "decide_interval": 0.2}, "health": {"monitor_health": false}})
}

/// An engine that wants nothing.
pub(crate) fn content(version: &str) -> Guest {
    called(Guest::new("quiet"), version)
}

/// One that takes no configuration without an `x`.
pub(crate) fn demanding(version: &str) -> Guest {
    let schema = r#"{\22required\22:[\22x\22]}"#;
    let demanding = content(version).with("docs\\00\\00\\00\\00{}", &format!("docs\\00\\00\\00\\00{schema}"));
    demanding.with("\\58\\00\\00\\00\\02\\00", "\\58\\00\\00\\00\\12\\00")
}

/// One that traps in every decision.
pub(crate) fn never(version: &str) -> Guest {
    content(version).with("(call $done (local.get $domain) (local.get $control)))", "unreachable)")
}

/// One that remembers how often it was initialised, reconfigured and asked, as three digits, and tells them.
pub(crate) fn tally(version: &str) -> Guest {
    let guest = Guest::new("tally")
        .with("  ;; more imports", CONFIG)
        .with("  ;; its first memory", "(call $count (i32.const 4096) (i32.const 0))")
        .with(
            "  ;; its next memory",
            "(memory.copy (i32.const 4096) (local.get 0) (i32.const 3)) (call $count (i32.const 4096) (i32.const 1))",
        )
        .with("(i32.store8 (i32.const 1024) (i32.const 1)) (i32.store8 (i32.const 1028) (i32.const 2))", "");
    called(guest, version)
}

/// How often an engine of [`tally`] was initialised, reconfigured and asked.
pub(crate) fn tallied(described: &DomainDescription) -> Option<[u8; 3]> {
    let digits: [u8; 3] = described.summary.reason.as_bytes().get(..3)?.try_into().ok()?;
    Some(digits.map(|digit| digit.wrapping_sub(b'0')))
}

/// The guest under another version.
pub(crate) fn called(guest: Guest, version: &str) -> Guest {
    assert_eq!(version.len(), "1.0.0".len(), "it is written over another");
    guest.with("1.0.0\\00", &format!("{version}\\00"))
}
