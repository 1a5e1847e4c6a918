//! A nats-server for one row: on the loopback interface, with JetStream in a folder that goes away with it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use async_nats::Client;
use tempfile::TempDir;

/// Names the program, where it is neither in the target folder nor on the PATH.
const VARIABLE: &str = "PILOTHOUSE_NATS_SERVER";

/// A server that is not ready by then will not be.
const READY: Duration = Duration::from_secs(20);

/// When a server writes what it acknowledges to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    /// Before it acknowledges: `sync_interval: always`, which one server alone needs.
    Always,
    /// Now and then, as three servers may.
    Lazily,
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct NatsServer {
    process: Child,
    port: u16,
    _dir: TempDir,
}

impl NatsServer {
    /// Starts one and waits until JetStream answers.
    pub(crate) async fn start(sync: Sync) -> Result<Self> {
        let program = program()?;
        let dir = TempDir::with_prefix("pilothouse-bench-")?;
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).context("looking for a free port")?.port();
        let (store, config) = (dir.path().join("store"), dir.path().join("nats.conf"));
        let sync = if sync == Sync::Always { "sync_interval: always" } else { "" };
        let text = format!("listen: \"127.0.0.1:{port}\"\njetstream {{\n store_dir: {store:?}\n {sync}\n}}\n");
        fs::write(&config, text).context("writing the configuration of nats-server")?;
        let process = Command::new(&program)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let server = Self { process, port, _dir: dir };
        server.ready().await.with_context(|| format!("{} does not get ready", program.display()))?;
        Ok(server)
    }

    /// The address for clients.
    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port for clients.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A connection.
    pub(crate) async fn client(&self) -> Result<Client> {
        async_nats::connect(self.url()).await.with_context(|| format!("connecting to {}", self.url()))
    }

    async fn ready(&self) -> Result<()> {
        let until = Instant::now() + READY;
        loop {
            let answer = async {
                let jetstream = async_nats::jetstream::new(self.client().await?);
                jetstream.query_account().await.context("asking JetStream")
            };
            match answer.await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The program: named by the environment, set up in the target folder, or on the PATH.
fn program() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE).map(PathBuf::from) {
        ensure!(named.is_file(), "{VARIABLE} names {}, where no file is", named.display());
        return Ok(named);
    }
    let exe = std::env::current_exe().context("finding the target folder")?;
    let in_target = exe.ancestors().map(|folder| folder.join("venv/bin/nats-server"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = std::env::split_paths(&path).map(|folder| folder.join("nats-server")).collect();
    match in_target.chain(on_path).find(|file| Path::is_file(file)) {
        Some(found) => Ok(found),
        None => bail!("no nats-server, neither in the target folder nor on the PATH: run `cargo xtask setup`, or set {VARIABLE}"),
    }
}
