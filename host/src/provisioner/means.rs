//! What it takes to carry something out: files, the way out, and the program to start.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use pilothouse_core::id::InstanceId;
use pilothouse_core::message::Credentials;
use tokio::sync::Semaphore;

use super::record::Record;
use super::records::{CREDS_FILE, Records, RecordsError, SPEC_FILE};
use crate::agent::Spec;
use crate::nats::client::NatsArgs;
use crate::nats::outlet::Outlet;
use crate::process::{Handle, sweep};

/// How many agents are started at once: enough to keep a machine busy, few enough that the first of a hundred is not slowed by the last.
const STARTS_AT_ONCE: usize = 8;

/// How many searches through `/proc` run at once.
const SWEEPS_AT_ONCE: usize = 4;

/// How much longer than its workers an agent has to end by itself: it kills those that do not stop, and sweeps.
const AGENTS_OWN_GRACE: Duration = Duration::from_secs(2);

/// In the working directory of an instance: what its agent says.
const AGENT_LOG: &str = "agent.log";

/// How much of that is told when it gives up, in bytes.
const LAST_WORDS: u64 = 500;

/// Everything an instance's life needs from outside, shared by all.
#[derive(Debug)]
pub(super) struct Means {
    pub(super) records: Arc<Records>,
    pub(super) outlet: Outlet,
    pub(super) agent_binary: PathBuf,
    pub(super) nats: NatsArgs,
    /// How long workers have to stop by themselves.
    pub(super) grace: Duration,
    pub(super) hostname: String,
    pub(super) starts: Semaphore,
    pub(super) sweeps: Semaphore,
}

impl Means {
    pub(super) fn new(records: Records, outlet: Outlet, agent_binary: PathBuf, nats: NatsArgs, grace: Duration) -> Self {
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| String::new(), |name| name.trim().to_owned());
        Self {
            records: Arc::new(records),
            outlet,
            agent_binary,
            nats,
            grace,
            hostname,
            starts: Semaphore::new(STARTS_AT_ONCE),
            sweeps: Semaphore::new(SWEEPS_AT_ONCE),
        }
    }

    /// How long an agent has to end by itself.
    pub(super) fn agents_grace(&self) -> Duration {
        self.grace + AGENTS_OWN_GRACE
    }

    /// Writes a record without holding up what else runs here.
    pub(super) async fn write(&self, record: Record) -> Result<(), RecordsError> {
        let records = Arc::clone(&self.records);
        self.on_disk(record.node_id.clone(), move || records.write(&record)).await
    }

    /// Makes the working directory of an instance, with what is for its agent alone.
    pub(super) async fn furnish(&self, spec: &Spec, credentials: Option<&Credentials>) -> Result<(), RecordsError> {
        let (records, id) = (Arc::clone(&self.records), spec.node_id.clone());
        let path = records.directory(&id).join(SPEC_FILE);
        let json = serde_json::to_vec_pretty(spec).map_err(|source| RecordsError::Shape { path, source })?;
        let credentials = credentials.cloned();
        let furnish = move || {
            if let Some(credentials) = credentials {
                records.furnish(&id, CREDS_FILE, credentials.reveal().as_bytes())?;
            }
            records.furnish(&id, SPEC_FILE, &json)
        };
        self.on_disk(spec.node_id.clone(), furnish).await
    }

    /// Removes what was for the agent of an instance alone, now that it is gone: credentials, and variables that may hold secrets. Logs stay.
    pub(super) async fn tidy(&self, id: &InstanceId) {
        let (records, of) = (Arc::clone(&self.records), id.clone());
        if let Err(error) = self.on_disk(id.clone(), move || records.strip(&of)).await {
            tracing::error!(instance = %id, error = &error as &dyn std::error::Error, "what was secret of it can't be removed");
        }
    }

    /// Forgets an instance.
    pub(super) async fn forget(&self, id: InstanceId) -> Result<(), RecordsError> {
        let records = Arc::clone(&self.records);
        self.on_disk(id.clone(), move || records.remove(&id)).await
    }

    /// Starts the agent of an instance in a process group of its own, so that it outlives this provisioner and can be ended as a whole.
    pub(super) fn start_agent(&self, id: &InstanceId, has_credentials: bool) -> anyhow::Result<Handle> {
        let dir = self.records.directory(id);
        let log = dir.join(AGENT_LOG);
        let open = || File::options().create(true).append(true).open(&log).with_context(|| format!("opening {}", log.display()));
        let mut command = Command::new(&self.agent_binary);
        command.arg("agent").arg(dir.join(SPEC_FILE)).arg("--directory").arg(&dir);
        command.env(sweep::INSTANCE_MARK, id.as_str()).env(sweep::AGENT_MARK, id.as_str());
        command.env("PILOTHOUSE_NATS", &self.nats.url);
        if let Some(creds) = credentials_for(dir.join(CREDS_FILE), has_credentials, self.nats.creds.as_deref())? {
            command.env("PILOTHOUSE_NATS_CREDS", creds);
        }
        command.current_dir(&dir).process_group(0).stdin(Stdio::null()).stdout(open()?).stderr(open()?);
        Handle::spawn(&mut command).with_context(|| format!("starting {}", self.agent_binary.display()))
    }

    /// The last line that the agent of an instance wrote.
    pub(super) fn last_words(&self, id: &InstanceId) -> Option<String> {
        let mut log = File::open(self.records.directory(id).join(AGENT_LOG)).ok()?;
        let end = log.seek(SeekFrom::End(0)).ok()?;
        log.seek(SeekFrom::Start(end.saturating_sub(LAST_WORDS))).ok()?;
        let mut bytes = Vec::new();
        log.take(LAST_WORDS).read_to_end(&mut bytes).ok()?;
        String::from_utf8_lossy(&bytes).lines().rfind(|line| !line.trim().is_empty()).map(|line| line.trim().to_owned())
    }

    /// What is told of every instance beside its state.
    pub(super) fn attributes(&self, id: &InstanceId) -> BTreeMap<String, String> {
        let directory = self.records.directory(id).display().to_string();
        BTreeMap::from([("hostname".to_owned(), self.hostname.clone()), ("directory".to_owned(), directory)])
    }

    async fn on_disk(&self, id: InstanceId, work: impl FnOnce() -> Result<(), RecordsError> + Send + 'static) -> Result<(), RecordsError> {
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
            let path = self.records.directory(&id);
            Err(RecordsError::Io { doing: "working on", path, source: std::io::Error::other(error) })
        })
    }
}

/// What an agent proves with who it is: what its launch brought, or where all share one server without roles what its provisioner has.
/// One whose launch brought credentials is not started without them: with those of its provisioner it would speak for others.
fn credentials_for(own: PathBuf, has_credentials: bool, provisioners: Option<&Path>) -> anyhow::Result<Option<PathBuf>> {
    if own.try_exists().with_context(|| format!("looking for {}", own.display()))? {
        return Ok(Some(own));
    }
    anyhow::ensure!(!has_credentials, "its credentials are gone: {}", own.display());
    Ok(provisioners.map(Path::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_never_gets_the_credentials_of_its_provisioner_in_the_place_of_its_own() {
        let dir = tempfile::tempdir().expect("a directory");
        let (own, provisioners) = (dir.path().join(CREDS_FILE), Path::new("/provisioner.creds"));
        let given = |has| credentials_for(own.clone(), has, Some(provisioners));
        assert_eq!(given(false).expect("shared"), Some(provisioners.to_owned()));
        assert!(given(true).expect_err("gone").to_string().contains(CREDS_FILE));
        std::fs::write(&own, "x").expect("written");
        assert_eq!(given(true).expect("its own"), Some(own.clone()));
    }
}
