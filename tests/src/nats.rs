//! Real nats-servers: one, or a cluster of three, on the loopback interface, with JetStream in a directory that goes away with them.
//!
//! A server keeps its ports and its store over [`kill`](NatsServer::kill) and [`restart`](NatsServer::restart). It writes every message
//! to disk before it acknowledges it (`sync_interval: always`), so that what a test learns by killing it is about the client.

mod cluster;

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tempfile::TempDir;

pub use self::cluster::NatsCluster;
use crate::wait::{eventually, eventually_some};

/// Names the program, where it is neither in the target folder nor on the PATH.
pub const SERVER_ENV: &str = "PILOTHOUSE_NATS_SERVER";

/// A server that is not ready by then will not be: it takes a tenth of a second on an idle machine, seconds on a crowded one.
const READY: Duration = Duration::from_secs(30);

/// How often other ports are tried, when somebody took the chosen ones between the look and the start.
const PORT_ATTEMPTS: usize = 5;

/// What differs from a plain server.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    /// Lines for the `jetstream` block of the configuration, such as `max_file_store: 16MB`.
    pub jetstream: String,
    /// Lines for the top level of the configuration, such as `max_payload: 64KB`.
    pub config: String,
    /// Whether every message is flushed to disk before it is acknowledged.
    pub sync_always: bool,
}

impl SetUp {
    async fn connect(&self, url: &str) -> Result<async_nats::Client> {
        let options = match self {
            Self::Open => async_nats::ConnectOptions::new(),
            Self::Guarded { creds, .. } => {
                let name = pilothouse::nats::client::name_in(creds).await?.unwrap_or_default();
                async_nats::ConnectOptions::with_credentials_file(creds).await?.custom_inbox_prefix(format!("_INBOX.{name}"))
            }
        };
        Ok(options.connection_timeout(Duration::from_secs(1)).connect(url).await?)
    }
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self { jetstream: String::new(), config: String::new(), sync_always: true }
    }
}

/// One nats-server, with JetStream on disk.
#[derive(Debug)]
pub struct NatsServer {
    /// Nothing while it is down.
    process: Option<Child>,
    port: u16,
    /// Configuration, log and store; removed at the end.
    dir: TempDir,
    set_up: SetUp,
}

/// Where what a server is told comes from.
#[derive(Debug)]
enum SetUp {
    /// Written for it, and anybody may do anything.
    Open,
    /// Written by others; clients show these credentials.
    Guarded { config: PathBuf, creds: PathBuf },
}

impl NatsServer {
    /// Starts a plain server and waits until JetStream answers.
    ///
    /// # Errors
    /// When there is no such program, or it does not start.
    pub async fn start() -> Result<Self> {
        Self::start_with(&NatsOptions::default()).await
    }

    /// Starts a server that differs from a plain one.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(options: &NatsOptions) -> Result<Self> {
        let mut attempt = 1;
        loop {
            let mut server = Self::prepare("single", free_port()?, options, "")?;
            server.launch()?;
            match server.ready().await {
                Ok(()) => return Ok(server),
                Err(_) if attempt < PORT_ATTEMPTS && server.port_was_taken() => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts a server with a configuration that others wrote, on a port of its own. Its clients show `creds`, unless they
    /// connect by themselves.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_guarded(config: &Path, creds: &Path) -> Result<Self> {
        let mut server = Self::prepare("guarded", free_port()?, &NatsOptions::default(), "")?;
        server.set_up = SetUp::Guarded { config: config.to_owned(), creds: creds.to_owned() };
        server.launch()?;
        server.ready().await?;
        Ok(server)
    }

    /// Has it read its configuration again, and returns when it did.
    ///
    /// # Errors
    /// When it does not, or refuses what it finds.
    pub async fn reload(&self) -> Result<()> {
        let count = |text: &str| self.log().matches(text).count();
        let before = count("Reloaded server configuration");
        self.signal(Signal::SIGHUP)?;
        let reloaded = eventually("nats-server has reloaded", READY, async || count("Reloaded server configuration") > before).await;
        reloaded.with_context(|| self.log_tail())
    }

    /// The address for clients. It stays the same over restarts.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port for clients.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// A connection of its own, for what a test does beside the thing it tests.
    ///
    /// # Errors
    /// When the server is down.
    pub async fn client(&self) -> Result<async_nats::Client> {
        self.set_up.connect(&self.url()).await.with_context(|| format!("connecting to {}", self.url()))
    }

    /// Ends it with SIGKILL, as a crash would, and returns when it is gone. Nothing happens when it is down already.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Both fail only for a process that has ended and been waited for, which is what is wanted.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Ends it with SIGTERM, as an operator would, and returns when it is gone.
    ///
    /// # Errors
    /// When it is still there after half a minute; it is killed then.
    pub async fn stop(&mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        let Some(process) = &mut self.process else { return Ok(()) };
        let gone = eventually("nats-server ends after SIGTERM", READY, async || !matches!(process.try_wait(), Ok(None))).await;
        self.kill();
        gone
    }

    /// Sends it a signal: SIGSTOP and SIGCONT make a server that hangs and recovers. Nothing happens when it is down.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let Some(pid) = self.pid() else { return Ok(()) };
        nix::sys::signal::kill(Pid::from_raw(i32::try_from(pid)?), signal).with_context(|| format!("{signal} to nats-server {pid}"))
    }

    /// Starts it again on the same port and store, after [`kill`](Self::kill) or [`stop`](Self::stop); kills it first when it still runs.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn restart(&mut self) -> Result<()> {
        self.relaunch()?;
        self.ready().await
    }

    /// Its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Starts it again on the same port with an empty store, as after the loss of its disk.
    ///
    /// # Errors
    /// When the store can't be removed, or it does not become ready.
    pub async fn restart_empty(&mut self) -> Result<()> {
        self.kill();
        fs::remove_dir_all(self.dir.path().join("store")).context("removing the store of nats-server")?;
        self.restart().await
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn prepare(name: &str, port: u16, options: &NatsOptions, more: &str) -> Result<Self> {
        let dir = TempDir::with_prefix("pilothouse-nats-").context("making a directory for nats-server")?;
        let store = dir.path().join("store");
        let sync = if options.sync_always { "sync_interval: always" } else { "" };
        let config = format!(
            "server_name: {name}\nlisten: \"127.0.0.1:{port}\"\njetstream {{\n store_dir: {store:?}\n {sync}\n {}\n}}\n{}\n{more}\n",
            options.jetstream, options.config
        );
        fs::write(dir.path().join("nats.conf"), config).context("writing the configuration of nats-server")?;
        Ok(Self { process: None, port, dir, set_up: SetUp::Open })
    }

    fn launch(&mut self) -> Result<()> {
        let program = program()?;
        let path = |name: &str| self.dir.path().join(name);
        let log = fs::File::options().create(true).append(true).open(path("log")).context("opening the log of nats-server")?;
        let mut command = Command::new(&program);
        match &self.set_up {
            SetUp::Open => command.arg("--config").arg(path("nats.conf")),
            SetUp::Guarded { config, .. } => {
                let port = self.port.to_string();
                command.arg("--config").arg(config).args(["--addr", "127.0.0.1", "--port", &port])
            }
        };
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        self.process = Some(process);
        Ok(())
    }

    fn relaunch(&mut self) -> Result<()> {
        self.kill();
        self.launch()
    }

    /// Waits until JetStream answers. In a cluster that needs a majority.
    async fn ready(&mut self) -> Result<()> {
        let url = self.url();
        let process = self.process.as_mut().context("nats-server was not started")?;
        let ready = eventually_some("nats-server is ready", READY, async || {
            if !matches!(process.try_wait(), Ok(None)) {
                return Some(false);
            }
            let client = self.set_up.connect(&url).await.ok()?;
            let mut jetstream = async_nats::jetstream::new(client);
            jetstream.set_timeout(Duration::from_secs(1));
            jetstream.query_account().await.ok().map(|_| true)
        })
        .await;
        ensure!(matches!(ready, Ok(true)), "nats-server at {url} does not get ready; its log ends with:\n{}", self.log_tail());
        Ok(())
    }

    fn port_was_taken(&self) -> bool {
        self.log_tail().contains("address already in use")
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The program: named by the environment, set up in the target folder, or on the PATH.
pub fn program() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(SERVER_ENV) {
        let named = PathBuf::from(named);
        ensure!(named.is_file(), "{SERVER_ENV} names {}, where no file is", named.display());
        return Ok(named);
    }
    // A test runs from somewhere below the target folder, wherever that is.
    let exe = std::env::current_exe().context("finding the target folder")?;
    let in_target = exe.ancestors().map(|dir| dir.join("venv/bin/nats-server"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join("nats-server"));
    match in_target.chain(on_path).find(|file| file.is_file()) {
        Some(found) => Ok(found),
        None => {
            bail!("no nats-server, neither in venv/bin of the target folder nor on the PATH: run `cargo xtask setup`, or set {SERVER_ENV}")
        }
    }
}

/// A port that nobody listens on.
///
/// It lies below those that the system hands out for outgoing connections, so that it is still free when a killed server wants it back.
pub(crate) fn free_port() -> Result<u16> {
    const PORTS: std::ops::Range<u32> = 20_000..32_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = PORTS.end - PORTS.start;
    // Test programs that run beside this one begin elsewhere.
    let begin = std::process::id().wrapping_mul(97);
    for _ in PORTS {
        let offset = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % count;
        let port = u16::try_from(PORTS.start + offset)?;
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(_) => return Ok(port),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error).context("looking for a free port"),
        }
    }
    bail!("every port of {PORTS:?} is taken")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_keeps_its_address_and_its_store_over_a_stop_and_a_kill() -> Result<()> {
        let mut server = NatsServer::start().await?;
        let url = server.url();
        let bucket = async |server: &NatsServer| anyhow::Ok(async_nats::jetstream::new(server.client().await?));
        let config = async_nats::jetstream::kv::Config { bucket: "kept".to_owned(), ..Default::default() };
        bucket(&server).await?.create_key_value(config).await?.put("key", "value".into()).await?;
        server.stop().await?;
        ensure!(server.client().await.is_err());
        server.restart().await?;
        server.kill();
        server.restart().await?;
        let kept = bucket(&server).await?.get_key_value("kept").await?.get("key").await?;
        ensure!(kept.is_some_and(|value| value == "value") && server.url() == url);
        Ok(())
    }

    #[tokio::test]
    async fn a_dropped_server_leaves_nothing() -> Result<()> {
        let server = NatsServer::start().await?;
        let (pid, dir) = (server.pid().context("it runs")?, server.dir.path().to_owned());
        ensure!(dir.exists());
        drop(server);
        ensure!(!dir.exists());
        ensure!(nix::sys::signal::kill(Pid::from_raw(i32::try_from(pid)?), None).is_err());
        Ok(())
    }
}
