//! The host as it is run: the program `pilothouse serve`, on a nats-server of its own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use pilothouse::store::{Append, Appended, JetStreamJournal, Journal, Tip};
use pilothouse_core::config::DomainConfig;
use pilothouse_core::domain::{Happened, Happening};
use pilothouse_core::name::DomainKey;
use pilothouse_core::record::{Change, Configured, EngineInForce, Event, Record};
use pilothouse_core::subject::Subjects;
use pilothouse_core::time::Timestamp;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::fixture::NOW;
use crate::nats::NatsServer;

/// Far more than anything takes that is waited for.
const SOON: Duration = Duration::from_secs(60);

/// Domains that are written into a journal at the same time.
const AT_ONCE: usize = 64;

/// A host that runs until this is dropped.
pub(crate) struct Running {
    process: Child,
    /// When it was started.
    pub(crate) began: Instant,
}

/// The program, built beside this one.
pub(crate) fn program() -> Result<PathBuf> {
    let program = std::env::current_exe().context("finding this program")?.with_file_name("pilothouse");
    ensure!(program.is_file(), "{} is not there: run `cargo xtask bench`, which builds it", program.display());
    Ok(program)
}

impl Running {
    /// Starts a host with a folder for compiled engines, and with these components beside its own.
    pub(crate) fn start(program: &Path, server: &NatsServer, cache: &Path, engines: &[PathBuf]) -> Result<Self> {
        let more: Vec<&OsStr> = engines.iter().flat_map(|engine| [OsStr::new("--engine"), engine.as_os_str()]).collect();
        Self::start_with(program, server, cache, &more)
    }

    /// The same with these arguments more.
    pub(crate) fn start_with(program: &Path, server: &NatsServer, cache: &Path, more: &[&OsStr]) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["serve", "--name", "bench", "--nats", &server.url(), "--cache"]).arg(cache).args(more);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let began = Instant::now();
        Ok(Self { process: command.spawn().with_context(|| format!("starting {}", program.display()))?, began })
    }

    /// Ends it in order, so that the next one finds nothing of it in its way.
    pub(crate) fn end(&mut self) -> Result<()> {
        let pid = i32::try_from(self.process.id())?;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM)?;
        self.process.wait().context("waiting for the host to end")?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The subjects of a host that was told no others.
pub(crate) fn subjects() -> Result<Subjects> {
    Ok(Subjects::new(&Subjects::DEFAULT_PREFIX.parse()?))
}

/// What time it is: hosts on this machine say the same, to a millisecond.
pub(crate) fn wall() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(since.as_millis() as u64)
}

/// Writes that a domain was added, without any host.
pub(crate) async fn add(journal: &JetStreamJournal, key: &DomainKey, engine: &EngineInForce, config: Value) -> Result<()> {
    let Ok(config) = DomainConfig::from_json(config) else { bail!("the configuration is good") };
    let change = Change::Added { config, engine: engine.clone() };
    let by = key.owner.clone();
    let event = Event::Configured(Configured { by, request: None, answer: Value::Null, change });
    let bytes = Bytes::from(Record::new(NOW, 0, vec![event]).to_bytes());
    let appended = journal.append(key, Append { after: Tip::default(), is_snapshot: false, bytes }).await?;
    ensure!(matches!(appended, Appended::Committed { .. }), "{appended:?}");
    Ok(())
}

/// The same for many domains.
pub(crate) async fn add_all(journal: &JetStreamJournal, keys: &[DomainKey], engine: &EngineInForce, config: &Value) -> Result<()> {
    let mut tasks = JoinSet::new();
    for share in keys.chunks(keys.len().div_ceil(AT_ONCE).max(1)) {
        let (journal, share, engine, config) = (journal.clone(), share.to_vec(), engine.clone(), config.clone());
        tasks.spawn(async move {
            for key in share {
                add(&journal, &key, &engine, config.clone()).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.context("a task")??;
    }
    Ok(())
}

/// Hears what happens in all domains.
pub(crate) struct Watcher(Subscriber);

impl Watcher {
    /// From now on.
    pub(crate) async fn start(client: &Client) -> Result<Self> {
        let events = client.subscribe(subjects()?.events_of("*")).await?;
        client.flush().await?;
        Ok(Self(events))
    }

    /// What happens next.
    pub(crate) async fn next(&mut self) -> Result<Happening> {
        let event = timeout(SOON, self.0.next()).await.context("nothing happens")?.context("the connection is gone")?;
        Ok(serde_json::from_slice(&event.payload)?)
    }

    /// Waits until something was heard of so many domains, each time with what is wanted of one event.
    pub(crate) async fn until(&mut self, domains: usize, mut is: impl FnMut(&DomainKey, &Happened) -> bool) -> Result<()> {
        let mut heard = std::collections::BTreeSet::new();
        let all = async {
            while heard.len() < domains {
                let happening = self.next().await?;
                if is(&happening.domain, &happening.what) {
                    heard.insert(happening.domain);
                }
            }
            anyhow::Ok(())
        };
        let in_time = timeout(SOON, all).await;
        in_time.map_err(|_| anyhow::anyhow!("only {} of {domains} domains got there in time", heard.len()))?
    }
}
