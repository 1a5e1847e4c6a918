//! The agent: keeps the workers of one instance going and says how they are.
//!
//! It is told everything in one file ([`Spec`]): who it is, on which subjects it speaks, and which commands to start. It starts them,
//! publishes a heartbeat at once, at every change and at every interval, and answers a probe at once. A worker that ended, in whatever
//! way, is a failed process: its exit code, the moment and the end of its standard error are reported for as long as the agent lives.
//!
//! It deliberately does *not* start a worker again: an engine decides what becomes of an instance that is not well, and usually
//! replaces it whole. It keeps nothing on disk but logs, and it never ends its workers because NATS is away: it goes on, connects for
//! ever, and speaks again as soon as it can. What it could not say meanwhile is not kept: only the newest state counts.
//!
//! Whoever starts an instance drives it: the local provisioner, or a person on a machine of their own. It stops its workers when it is
//! asked to stop, and ends when all of them are gone.

mod crew;
mod log;
mod report;
mod spec;
mod voice;
mod worker;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

pub use self::spec::{Command, Spec, SpecError};

use self::crew::Crew;
use self::voice::Voice;
use crate::nats::client::{NatsArgs, stay_connected};
use crate::process::sweep;

/// Written into the working directory when every command was started or found impossible to start.
pub const READY_FILE: &str = "agent.ready";

/// Held while an agent runs, so that a working directory never has two. Its presence tells that an agent was begun here.
pub const LOCK_FILE: &str = "agent.lock";

/// Heartbeats that nobody waited for keep this distance, whatever happens: twenty probes in a moment are answered with twenty heartbeats
/// but published as one.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// How to run an agent.
#[derive(Clone, Debug, clap::Args)]
pub struct AgentArgs {
    /// What to run and where to speak, as JSON
    #[arg(value_name = "SPEC")]
    pub spec: PathBuf,
    /// Working directory of the commands; their logs are written here [default: the current one]
    #[arg(long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub directory: PathBuf,
    /// Where the NATS server is
    #[command(flatten)]
    pub nats: NatsArgs,
}

/// Runs an agent until `shutdown` is cancelled; then its workers are stopped first.
///
/// # Errors
/// When the spec can't be used, another agent runs in the directory, or NATS can't be reached by the address given. Nothing was started
/// then.
pub async fn run(args: AgentArgs, shutdown: CancellationToken) -> Result<()> {
    let spec = Spec::read(&args.spec)?;
    let _alone = lock(&args.directory)?;
    let (events, mut link) = mpsc::unbounded_channel();
    let client = stay_connected(&args.nats, &format!("agent of {}", spec.node_id), events).await?;
    let mut probes = client.subscribe(spec.probe_subject.clone()).await.context("listening for probes")?;
    let mut voice = Voice::new(client, &spec);

    let mut crew = Crew::start(&spec, &args.directory);
    let ready = args.directory.join(READY_FILE);
    std::fs::write(&ready, b"").with_context(|| format!("writing {}", ready.display()))?;
    tracing::info!(node_id = %spec.node_id, workers = crew.running(), "the agent is up");

    let mut interval = tokio::time::interval(spec.heartbeat());
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // When a heartbeat is due that is not the regular one.
    let mut due: Option<Instant> = None;
    loop {
        let soon = due.unwrap_or_else(|| Instant::now() + spec.heartbeat());
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(event) = link.recv() => if !voice.take(&event) { continue },
            index = crew.next_end() => crew.take_end(index, crate::clock::now()),
            Some(probe) = probes.next() => voice.answer(probe, &crew).await,
            _ = interval.tick() => {
                crew.trim_logs();
                voice.publish(&crew).await;
                voice.measure(&crew).await;
                due = None;
                continue;
            }
            () = tokio::time::sleep_until(soon), if due.is_some() => {
                voice.publish(&crew).await;
                due = None;
                continue;
            }
        }
        // Something changed, or somebody asked.
        due = due.or_else(|| Some(voice.next_after(SHORTEST_PAUSE)));
    }

    tracing::info!("stopping {} workers", crew.running());
    crew.stop(spec.grace()).await;
    let left = sweep::sweep(spec.node_id.as_str(), None).await.context("ending what the workers left behind")?;
    if !left.is_empty() {
        tracing::warn!(processes = left.len(), "killed what the workers left behind");
    }
    Ok(())
}

fn lock(directory: &Path) -> Result<File> {
    let path = directory.join(LOCK_FILE);
    let file = File::options().create(true).append(true).open(&path).with_context(|| format!("opening {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("another agent runs in {}", directory.display()),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}
