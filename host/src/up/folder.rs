//! The directory of a `pilothouse up`: where everything is, and the lock that keeps two apart.
//!
//! ```text
//! up.lock           held while one runs here; its process id
//! nats-port         the port of the server, the same at every start
//! nats-url          where clients connect
//! nats.conf         for the server
//! nats/             what JetStream keeps
//! host.json         for the host
//! deployables.toml  for the provisioner
//! provisioner/      its instances
//! cache/            compiled engines
//! engines/          components that the file named, by digest; NAME.json says which one an engine was last
//! watched/          links to the files of components, for a host that follows them
//! run/NAME.json     who a child is, while it runs
//! logs/NAME.log     what a child says
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};

use crate::failure::Failure;
use crate::process::ProcessId;

/// The file with the URL of the server. Clients read it.
pub(crate) const URL_FILE: &str = "nats-url";

/// Where a free port is looked for. Below those that the system hands out for outgoing connections, so that it is free the next time too.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A log that is longer than this when its child is started is put aside, in place of the one that was put aside before.
const LONG_LOG: u64 = 16 << 20;

/// The directory, as long as it is ours. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    root: PathBuf,
    logs: PathBuf,
    /// Given back when the last clone goes.
    _lock: Arc<File>,
}

impl Folder {
    /// Makes the directory if need be, and takes it for this process.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let make = |path: &Path| fs::create_dir_all(path).with_context(|| format!("making the directory {}", path.display()));
        make(path)?;
        let root = path.canonicalize().with_context(|| format!("finding {}", path.display()))?;
        let lock = lock(&root)?;
        for part in ["nats", "provisioner", "cache", "engines", "watched", "run", "logs"] {
            make(&root.join(part))?;
        }
        Ok(Self { logs: root.join("logs"), root, _lock: Arc::new(lock) })
    }

    /// Writes what the children and the clients are told.
    pub(super) fn prepare(&self, nats_config: &str, host: &str, deployables: &str, url: &str) -> anyhow::Result<()> {
        for (name, text) in
            [("nats.conf", nats_config), ("host.json", host), ("deployables.toml", deployables), (URL_FILE, &format!("{url}\n"))]
        {
            self.write(name, text).with_context(|| format!("writing {}", self.root.join(name).display()))?;
        }
        Ok(())
    }

    /// The port of the server: the one that is asked for, else the one of last time, else a free one.
    pub(super) fn port(&self, asked: Option<u16>) -> anyhow::Result<u16> {
        let path = self.root.join("nats-port");
        let remembered = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        let port = match asked.or(remembered) {
            Some(port) if is_free(port) => port,
            Some(port) => {
                let text = format!("port {port} is taken by another program; end that, or name another port with --port");
                return Err(Failure::Conflict(text).into());
            }
            None => free_port()?,
        };
        self.write("nats-port", &format!("{port}\n")).with_context(|| format!("writing {}", path.display()))?;
        Ok(port)
    }

    /// Where it is.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the logs are.
    pub(super) fn logs(&self) -> &Path {
        &self.logs
    }

    /// The configuration of the server.
    pub(super) fn nats_config(&self) -> PathBuf {
        self.root.join("nats.conf")
    }

    /// The configuration of the host.
    pub(super) fn host_config(&self) -> PathBuf {
        self.root.join("host.json")
    }

    /// What JetStream keeps.
    pub(super) fn nats_store(&self) -> PathBuf {
        self.root.join("nats")
    }

    /// What the provisioner keeps.
    pub(super) fn provisioner(&self) -> PathBuf {
        self.root.join("provisioner")
    }

    /// What the provisioner can start.
    pub(super) fn deployables(&self) -> PathBuf {
        self.root.join("deployables.toml")
    }

    /// Compiled engines.
    pub(super) fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Components that the file named.
    pub(super) fn engines(&self) -> PathBuf {
        self.root.join("engines")
    }

    /// Links to the components that the file names, for a host that follows them.
    pub(super) fn watched(&self) -> PathBuf {
        self.root.join("watched")
    }

    /// The log of a child.
    pub(super) fn log(&self, child: &str) -> PathBuf {
        self.logs.join(format!("{child}.log"))
    }

    /// Opens the log of a child to be added to.
    pub(super) fn open_log(&self, child: &str) -> io::Result<File> {
        let path = self.log(child);
        if fs::metadata(&path).is_ok_and(|log| log.len() > LONG_LOG) {
            fs::rename(&path, path.with_extension("log.old"))?;
        }
        File::options().create(true).append(true).open(path)
    }

    /// Records who a child is.
    pub(super) fn remember(&self, child: &str, process: &ProcessId) -> io::Result<()> {
        self.write(&format!("run/{child}.json"), &serde_json::to_string(process)?)
    }

    /// A child has ended.
    pub(super) fn forget(&self, child: &str) {
        // A record of a process that is gone does no harm.
        let _ = fs::remove_file(self.root.join(format!("run/{child}.json")));
    }

    /// The children that are on record.
    pub(super) fn remembered(&self) -> io::Result<Vec<(String, ProcessId)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.root.join("run"))? {
            let path = entry?.path();
            if path.extension().is_none_or(|it| it != "json") {
                continue;
            }
            let Some(child) = path.file_stem().and_then(|it| it.to_str()) else { continue };
            // What can't be read says nothing about anybody.
            if let Ok(process) = serde_json::from_slice(&fs::read(&path)?) {
                found.push((child.to_owned(), process));
            }
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(found)
    }

    /// Writes a file whole: nobody ever sees a part of it.
    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let path = self.root.join(name);
        let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(&self.root))?;
        file.write_all(text.as_bytes())?;
        file.persist(path)?;
        Ok(())
    }
}

fn lock(root: &Path) -> anyhow::Result<File> {
    let path = root.join("up.lock");
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let by = fs::read_to_string(&path).unwrap_or_default();
            let text = format!("another `pilothouse up` (process {}) runs in {}", by.trim(), root.display());
            return Err(Failure::Conflict(text).into());
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("locking {}", path.display())),
    }
    file.set_len(0)
        .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()))
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(file)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

fn free_port() -> anyhow::Result<u16> {
    let count = PORTS.end - PORTS.start;
    // Those who look at the same time begin elsewhere.
    let begin: u16 = rand::random_range(0..count);
    for offset in 0..count {
        let port = PORTS.start + (begin + offset) % count;
        if is_free(port) {
            return Ok(port);
        }
    }
    bail!("every port of {PORTS:?} is taken; name one with --port")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_on_one_directory_are_told_apart() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = Folder::open(&dir.path().join("data")).expect("taken");
        let error = Folder::open(&dir.path().join("data")).expect_err("taken already");
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        assert!(Folder::open(&dir.path().join("data")).is_ok(), "given back");
    }

    #[test]
    fn a_port_is_chosen_once_and_a_taken_one_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = Folder::open(dir.path()).expect("taken");
        let port = folder.port(None).expect("a port");
        assert_eq!(folder.port(None).expect("the same"), port);
        let _taken = TcpListener::bind(("127.0.0.1", port)).expect("free");
        assert!(folder.port(None).expect_err("taken").to_string().contains(&port.to_string()));
    }

    #[test]
    fn a_child_is_remembered_until_it_is_forgotten() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = Folder::open(dir.path()).expect("taken");
        let process = ProcessId::of(std::process::id()).expect("we run");
        folder.remember("host", &process).expect("written");
        fs::write(folder.root().join("run/nats.json"), "half a rec").expect("written");
        assert_eq!(folder.remembered().expect("read"), [("host".to_owned(), process)]);
        folder.forget("host");
        folder.forget("host");
        assert_eq!(folder.remembered().expect("read"), []);
    }
}
