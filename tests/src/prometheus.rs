//! A real Prometheus server, what it scrapes, and servers that only pretend to be one.

mod impostor;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

pub use self::impostor::{Impostor, Manner};
use crate::nats::free_port;
use crate::wait::eventually;

/// Names the program, where it is neither in the target folder nor on the PATH.
pub const PROMETHEUS_ENV: &str = "PILOTHOUSE_PROMETHEUS";

/// A server that is not ready by then will not be.
const READY: Duration = Duration::from_secs(60);

/// One Prometheus server, which scrapes one exporter four times a second. It keeps its port and its data over [`stop`](Self::stop) and
/// [`start_again`](Self::start_again).
#[derive(Debug)]
pub struct Prometheus {
    /// Nothing while it is down.
    process: Option<Child>,
    port: u16,
    dir: TempDir,
}

impl Prometheus {
    /// Starts a server that scrapes an exporter, and waits until it answers.
    ///
    /// # Errors
    /// When there is no such program, or it does not start.
    pub async fn scraping(exporter: &Exporter) -> Result<Self> {
        let dir = TempDir::with_prefix("pilothouse-prometheus-")?;
        let config = format!(
            "global:\n  scrape_interval: 250ms\n  scrape_timeout: 250ms\n\
             scrape_configs:\n  - job_name: workers\n    static_configs:\n      - targets: ['{}']\n",
            exporter.address
        );
        fs::write(dir.path().join("prometheus.yml"), config)?;
        let mut server = Self { process: None, port: free_port()?, dir };
        server.start_again().await?;
        Ok(server)
    }

    /// The base of its HTTP API.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends it at once.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it again, and waits until it answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn start_again(&mut self) -> Result<()> {
        self.stop();
        let log = fs::File::options().create(true).append(true).open(self.dir.path().join("log"))?;
        let mut command = Command::new(program()?);
        command.arg(format!("--config.file={}", self.dir.path().join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", self.dir.path().join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{}", self.port));
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().context("starting Prometheus")?;
        self.process = Some(process);
        let ready = eventually("Prometheus is ready", READY, async || {
            get(SocketAddr::from(([127, 0, 0, 1], self.port)), "/-/ready").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
        });
        ready.await.with_context(|| fs::read_to_string(self.dir.path().join("log")).unwrap_or_default())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// The program: named by the environment, set up in the target folder, or on the PATH.
///
/// # Errors
/// When there is none.
fn program() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(PROMETHEUS_ENV) {
        let named = PathBuf::from(named);
        ensure!(named.is_file(), "{PROMETHEUS_ENV} names {}, where no file is", named.display());
        return Ok(named);
    }
    let exe = std::env::current_exe().context("finding the target folder")?;
    let in_target = exe.ancestors().map(|dir| dir.join("prometheus/usr/bin/prometheus"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join("prometheus"));
    match in_target.chain(on_path).find(|file| file.is_file()) {
        Some(found) => Ok(found),
        None => bail!("no Prometheus, neither in the target folder nor on the PATH: run `cargo xtask setup`, or set {PROMETHEUS_ENV}"),
    }
}

/// A process that exports figures for Prometheus: this one. What it exports is what the test says.
#[derive(Clone, Debug)]
pub struct Exporter {
    address: SocketAddr,
    figures: Arc<Mutex<BTreeMap<String, f64>>>,
    _serving: Arc<AbortOnDropHandle<()>>,
}

impl Exporter {
    /// One that exports nothing yet.
    ///
    /// # Errors
    /// When there is no port for it.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let figures = Arc::<Mutex<BTreeMap<String, f64>>>::default();
        let shown = Arc::clone(&figures);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut text = String::new();
                for (series, value) in &*shown.lock().unwrap_or_else(PoisonError::into_inner) {
                    // Writing to a `String` never fails.
                    let _ = writeln!(text, "{series} {value}");
                }
                // Whoever does not read it does without.
                let _ = answer(stream, &text).await;
            }
        });
        Ok(Self { address, figures, _serving: Arc::new(AbortOnDropHandle::new(serving)) })
    }

    /// From now on a series, such as `load{node="a"}`, has this value. NaN and infinities are exported as such.
    pub fn set(&self, series: &str, value: f64) {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner).insert(series.to_owned(), value);
    }

    /// From now on there are these series and no others.
    pub fn set_all(&self, series: impl IntoIterator<Item = (String, f64)>) {
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = series.into_iter().collect();
    }
}

/// Answers one request with a text, once its head was read.
async fn answer(mut stream: TcpStream, text: &str) -> Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 16 * 1024 {
        head.push(stream.read_u8().await?);
    }
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(text.as_bytes()).await?;
    Ok(stream.shutdown().await?)
}
