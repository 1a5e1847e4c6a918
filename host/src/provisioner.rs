//! The local provisioner: carries out launches and terminations as processes of this machine.
//!
//! For every instance it starts one agent in a process group and a working directory of its own, watches over it, and reports how far
//! the instance has come. It decides nothing: hosts ask, and what they may ask is judged by a few rules that make late,
//! repeated and contradictory requests harmless.
//!
//! Its promises:
//! - what it is about to do is on disk before it does it, so that it can be killed at any moment and started again: it finds its agents,
//!   by process id *and* start time, and neither loses nor doubles one;
//! - an instance is reported gone only when none of its processes is left;
//! - what was ended, or was to be ended before it was ever begun, is not begun afterwards.
//!
//! It deliberately does not start an instance again that failed, does not know what a heartbeat says, and isolates nothing: workers are
//! plain processes of its own user. A site has one provisioner; a second one with another data directory would not know the instances
//! of the first and call them gone.
//!
//! ```text
//! service ── one request at a time ──▶ site ── judged by rules ──▶ instance ── record on disk, report ──▶ NATS
//!                                        └── one task each ──▶ life: start, watch, end, clear
//! ```

mod deployables;
mod instance;
mod life;
mod means;
mod record;
mod records;
mod rules;
mod service;
mod site;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pilothouse_core::name::Name;
use pilothouse_core::subject::Subjects;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

pub(crate) use self::deployables::Deployables;
use self::means::Means;
use self::records::{Records, RecordsError};
use self::service::Service;
use self::site::Site;
use crate::agent::Spec;
use crate::malformed::Ledger;
use crate::nats::client::{NatsArgs, stay_connected};
use crate::nats::outlet::Outlet;

/// How long a data directory may be taken by another before that is an error: a process is started in milliseconds, on a crowded machine
/// in tenths of a second.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Between two attempts to take it.
const LOCK_LOOK: Duration = Duration::from_millis(20);

/// How to run a local provisioner.
#[derive(Clone, Debug, clap::Args)]
pub struct LocalProvisionerArgs {
    /// Where the NATS server is
    #[command(flatten)]
    pub nats: NatsArgs,
    /// First token of all subjects
    #[arg(long, env = "PILOTHOUSE_PREFIX", value_name = "NAME", default_value = Subjects::DEFAULT_PREFIX)]
    pub prefix: Name,
    /// The site to serve; hosts name it in their requests
    #[arg(long, value_name = "NAME", default_value = "local")]
    pub site: Name,
    /// Where instances and what is known of them are kept
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// What can be started: a TOML file with a table `[deployable.NAME]` for each type
    #[arg(long, value_name = "FILE")]
    pub deployables: PathBuf,
    /// Program to run as `PROGRAM agent SPEC` [default: this one]
    #[arg(long, value_name = "PROGRAM")]
    pub agent_binary: Option<PathBuf>,
    /// The most instances that live at once; more are rejected
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    pub max_instances: u32,
    /// Seconds that workers have to stop by themselves before they are killed
    #[arg(long = "grace", value_name = "SECONDS", default_value_t = Spec::DEFAULT_GRACE_SECONDS)]
    pub grace_seconds: f64,
    /// End all instances when the provisioner is stopped; otherwise they go on and are found again
    #[arg(long)]
    pub stop_instances_on_exit: bool,
}

/// Runs a local provisioner until `shutdown` is cancelled.
///
/// # Errors
/// When the deployable types or the records can't be used, another provisioner has the data directory, or NATS can't be reached by the
/// address given. Nothing was started or ended then.
pub async fn run(args: LocalProvisionerArgs, shutdown: CancellationToken) -> Result<()> {
    let (least, most) = Spec::GRACE_RANGE;
    ensure!((least..=most).contains(&args.grace_seconds), "--grace {}: expected {least} to {most} seconds", args.grace_seconds);
    let grace = Duration::from_secs_f64(args.grace_seconds);
    let deployables = Deployables::read(&args.deployables)?;
    let records = take(&args.data).await?;
    let known = records.load()?;
    let agent_binary = match args.agent_binary {
        Some(path) => std::path::absolute(&path).with_context(|| format!("--agent-binary {}", path.display()))?,
        None => std::env::current_exe().context("finding this program; name it with --agent-binary")?,
    };
    // Agents run in directories of their own.
    let creds = args.nats.creds.map(std::path::absolute).transpose().context("--nats-creds")?;
    let nats = NatsArgs { creds, ..args.nats };

    let (events, link) = mpsc::unbounded_channel();
    let client = stay_connected(&nats, &format!("provisioner of {}", args.site), events).await?;
    let subject = Subjects::new(&args.prefix).provisioner(args.site.as_str(), "*");
    let queue = format!("provisioner-{}", args.site);
    let requests = client.queue_subscribe(subject, queue).await.context("listening for requests")?;

    tracing::info!(site = %args.site, known = known.len(), "the provisioner is up");
    let means = Means::new(records, Outlet::new(client), agent_binary, nats, grace);
    let site = Site::new(args.site, deployables, means, args.max_instances, known);
    Service { site, requests, link, ledger: Ledger::default() }.run(shutdown, args.stop_instances_on_exit).await;
    Ok(())
}

/// Takes the data directory, with some patience: a child that a killed provisioner was just starting holds its lock until it runs.
///
/// So whoever has the lock knows that everything that was started is there to be found.
async fn take(data: &Path) -> Result<Records, RecordsError> {
    let end = Instant::now() + LOCK_PATIENCE;
    let mut outcome = Records::open(data);
    if matches!(outcome, Err(RecordsError::Locked { .. })) {
        tracing::info!("another provisioner has the data directory; waiting a moment");
    }
    while matches!(outcome, Err(RecordsError::Locked { .. })) && Instant::now() < end {
        sleep(LOCK_LOOK).await;
        outcome = Records::open(data);
    }
    outcome
}
