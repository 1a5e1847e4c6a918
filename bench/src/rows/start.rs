//! From the start of the real program to the first decision that it committed.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures::StreamExt;
use pilothouse::store::{Append, Appended, JetStreamJournal, Journal, JournalOptions, Tip};
use pilothouse_core::config::DomainConfig;
use pilothouse_core::domain::{Happened, Happening};
use pilothouse_core::name::DomainKey;
use pilothouse_core::record::{Change, Configured, EngineInForce, Event, Record};
use pilothouse_core::subject::Subjects;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::Settings;
use crate::fixture::{self, NOW};
use crate::measure::Samples;
use crate::nats::{NatsServer, Sync};
use crate::report::{Figure, Outcome, Target, Unit};

/// Far more than a start takes.
const SOON: Duration = Duration::from_secs(30);

pub(crate) fn measure(settings: &Settings) -> Result<Outcome> {
    let program = program()?;
    let engine = fixture::embedded()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting a runtime")?;
    let (took, decided) = runtime.block_on(starts(settings, program, &engine))?;
    Ok(Outcome {
        figures: vec![
            Figure::new("to the first decision committed", Unit::Seconds, &decided).target(Target::AtMost(0.2)),
            Figure::new("to the first domain taken", Unit::Seconds, &took),
        ],
        notes: vec![
            "the program `pilothouse serve`, its compiled engines in the cache, on a nats-server with `sync_interval: always`; each start \
             finds a domain that nobody has decided for yet"
                .to_owned(),
        ],
    })
}

/// The program, built beside this one.
fn program() -> Result<PathBuf> {
    let program = std::env::current_exe().context("finding this program")?.with_file_name("pilothouse");
    ensure!(program.is_file(), "{} is not there: run `cargo xtask bench`, which builds it", program.display());
    Ok(program)
}

/// Seconds from each start to the first domain taken, and to its first decision.
async fn starts(settings: &Settings, program: PathBuf, engine: &EngineInForce) -> Result<(Samples, Samples)> {
    let server = NatsServer::start(Sync::Always).await?;
    let cache = TempDir::with_prefix("pilothouse-bench-")?;
    let subjects = Subjects::new(&Subjects::DEFAULT_PREFIX.parse()?);
    let client = server.client().await?;
    let journal = JetStreamJournal::open(client.clone(), subjects.clone(), &JournalOptions::default()).await?;
    let mut events = client.subscribe(subjects.events_of("*")).await?;
    client.flush().await?;
    let (mut taken, mut decided) = (Vec::new(), Vec::new());
    // The first start compiles the engines, and makes buckets and streams.
    for number in 0..=settings.rounds(20) {
        let key = fixture::key(number);
        add(&journal, &key, engine).await?;
        let mut command = Command::new(&program);
        command.args(["serve", "--name", "bench", "--nats", &server.url(), "--cache"]).arg(cache.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let began = Instant::now();
        let mut host = Running(command.spawn().with_context(|| format!("starting {}", program.display()))?);
        let mut first_taken = None;
        let wait = async {
            while let Some(event) = events.next().await {
                let happening: Happening = serde_json::from_slice(&event.payload)?;
                match happening.what {
                    Happened::Taken { .. } => _ = first_taken.get_or_insert_with(|| began.elapsed()),
                    Happened::Decided { .. } if happening.domain == key => return Ok(began.elapsed()),
                    _ => {}
                }
            }
            bail!("the connection is gone")
        };
        let first_decided = timeout(SOON, wait).await.context("no decision in time")??;
        if number > 0 {
            taken.push(first_taken.context("it is taken before it is decided")?.as_secs_f64());
            decided.push(first_decided.as_secs_f64());
        }
        host.end()?;
    }
    Ok((Samples::of(taken), Samples::of(decided)))
}

/// Adds a domain, without any host.
async fn add(journal: &JetStreamJournal, key: &DomainKey, engine: &EngineInForce) -> Result<()> {
    let Ok(config) = DomainConfig::from_json(fixture::config(1)) else { bail!("the configuration is good") };
    let change = Change::Added { config, engine: engine.clone() };
    let by = key.owner.clone();
    let event = Event::Configured(Configured { by, request: None, answer: Value::Null, change });
    let bytes = Bytes::from(Record::new(NOW, 0, vec![event]).to_bytes());
    let appended = journal.append(key, Append { after: Tip::default(), is_snapshot: false, bytes }).await?;
    ensure!(matches!(appended, Appended::Committed { .. }), "{appended:?}");
    Ok(())
}

/// A process that ends with this.
struct Running(Child);

impl Running {
    /// Ends it in order, so that the next one finds nothing of it in its way.
    fn end(&mut self) -> Result<()> {
        let pid = i32::try_from(self.0.id())?;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM)?;
        self.0.wait().context("waiting for the host to end")?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
