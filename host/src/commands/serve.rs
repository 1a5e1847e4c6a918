//! `pilothouse serve`: runs a host.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use pilothouse_core::name::Name;
use pilothouse_core::time::Millis;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::compile;
use crate::driver::{Host, HostOptions};
use crate::failure::Failure;
use crate::hostfile::{EngineCeilings, HostFile};
use crate::nats::client::{self, NatsArgs};

/// Runs a host
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  pilothouse serve --nats nats://127.0.0.1:4222
  pilothouse serve --name ship-1 --replicas 3 --cache /var/cache/pilothouse
  pilothouse serve --config host.toml
  pilothouse serve --engines-dir build               for those who write engines: what is saved there as *.wasm decides at once
  pilothouse serve --nats-creds host.creds --agent-signer agents.signer --secrets /etc/pilothouse/secrets

A configuration file says who callers are that name nobody, and which definitions and domains are there from the beginning:
  default_user = \"ann\"
  [initial_definitions.worker.general]
  engine = \"simplest\"
  [initial_domains.web]
  definition = \"worker\"
  config.engine_conf.preserve_n = 3
and which Prometheus servers domains may have asked, by the names that they call them by:
  [prometheus.main]
  url = \"https://prometheus.example:9090\"
  bearer_token_file = \"prometheus.token\"
and what this host allows any engine, and all of them together:
  [engine_limits]
  memory_bytes = 134217728
  memory_together_bytes = 1073741824

Several hosts may run on one NATS server: one looks after the domains, the others stand by and forward requests to it.
SIGTERM and Ctrl-C end it in order; instances go on running.")]
pub struct ServeArgs {
    #[command(flatten)]
    nats: NatsArgs,
    /// Prefix of all subjects, streams and buckets
    #[arg(long, env = "PILOTHOUSE_PREFIX", default_value = "ph", value_name = "NAME")]
    prefix: Name,
    /// Name of this host, unique among all; a host that comes back under its name takes over from itself at once [default: random]
    #[arg(long, env = "PILOTHOUSE_HOST", value_name = "NAME")]
    name: Option<Name>,
    /// Seconds after which others take over from a host that they don't hear of
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    lease: u64,
    /// Servers that keep a copy of the journal; one is safe only on a server with `sync_interval: always`
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=5))]
    replicas: u8,
    /// Folder for compiled engines, so that the next start compiles nothing
    #[arg(long, env = "PILOTHOUSE_CACHE", value_name = "DIR")]
    cache: Option<PathBuf>,
    /// A component to offer beside the engines that are built in; may be repeated
    #[arg(long = "engine", value_name = "FILE")]
    engines: Vec<PathBuf>,
    /// A folder of components to offer as well, each as soon as it is saved: for those who write engines
    #[arg(long, value_name = "DIR")]
    engines_dir: Option<PathBuf>,
    /// What to put there from the beginning, and who callers are that name nobody: TOML or JSON
    #[arg(long, env = "PILOTHOUSE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The user that callers are who name none; without it they are refused
    #[arg(long, env = "PILOTHOUSE_DEFAULT_USER", value_name = "NAME")]
    default_user: Option<Name>,
    /// The file `agents.signer` of `pilothouse auth`: every instance is given credentials of its own with it
    #[arg(long, env = "PILOTHOUSE_AGENT_SIGNER", value_name = "FILE")]
    agent_signer: Option<PathBuf>,
    /// Directory of secrets, one directory an owner: a variable `secret:NAME` becomes what is in DIR/OWNER/NAME
    #[arg(long, env = "PILOTHOUSE_SECRETS", value_name = "DIR")]
    secrets: Option<PathBuf>,
    /// Days for which the journal keeps what it does not need for going on
    #[arg(long, default_value_t = 7, value_name = "DAYS")]
    history_days: u32,
    /// Threads for engines: as many of their calls run at the same time [default: two a core, at least four]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=996))]
    engine_threads: Option<u64>,
}

/// Runs a host until it is told to stop.
///
/// # Errors
/// When it can't be started, or must not go on.
pub async fn run(args: ServeArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let file = match &args.config {
        Some(path) => read(path)?,
        None => HostFile::default(),
    };
    if let Some(dir) = args.engines_dir.as_ref().filter(|dir| !dir.is_dir()) {
        return Err(Failure::Invalid(format!("--engines-dir {}: there is no such folder", dir.display())).into());
    }
    let name = match args.name {
        Some(name) => name,
        None => format!("host-{:08x}", rand::random::<u32>()).parse().context("a random name")?,
    };
    let (events, received) = mpsc::unbounded_channel();
    let client = client::stay_connected(&args.nats, &format!("pilothouse host {name}"), events).await?;
    let options = HostOptions {
        name,
        prefix: args.prefix,
        lease: Duration::from_secs(args.lease),
        replicas: usize::from(args.replicas),
        cache: args.cache,
        history_retention: Millis::from_secs(u64::from(args.history_days) * 24 * 3600),
        limits: EngineCeilings { threads: args.engine_threads.or(file.engine_limits.threads), ..file.engine_limits.clone() },
        compiler: compile::this_program(),
        engines: args.engines,
        engines_dir: args.engines_dir,
        agent_signer: args.agent_signer,
        secrets: args.secrets,
        default_user: args.default_user.or_else(|| file.default_user.clone()),
        file,
    };
    match Host::start(client, received, options, shutdown).await {
        Ok(host) => Ok(host.run().await?),
        Err(crate::driver::StartError::Stopped) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Reads and judges a configuration file.
fn read(path: &Path) -> anyhow::Result<HostFile> {
    let whole = super::domain::config::read(path)?;
    let wrong = |problems| Failure::Problems { what: path.display().to_string(), problems };
    let mut file = HostFile::judge(whole).map_err(wrong)?;
    let problems = file.find_files(path.parent().unwrap_or_else(|| Path::new("")));
    if problems.is_empty() { Ok(file) } else { Err(wrong(problems).into()) }
}
