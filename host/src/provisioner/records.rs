//! The data directory: a record for each instance, a working directory for each, and a lock so that nobody else uses it.
//!
//! ```text
//! provisioner.lock          held while a provisioner runs
//! records/<id>.json         written whole or not at all, and on disk before what it tells of is done
//! instances/<id>/           working directory: spec and credentials while it lives, logs of the agent and of its workers
//! ```

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pilothouse_core::id::InstanceId;

use super::record::Record;

const LOCK: &str = "provisioner.lock";
const RECORDS: &str = "records";
const INSTANCES: &str = "instances";
const SUFFIX: &str = "json";
/// In the working directory of an instance: what its agent is told.
pub(super) const SPEC_FILE: &str = "spec.json";
/// In the working directory of an instance: what its agent proves with who it is, if the launch said so.
pub(super) const CREDS_FILE: &str = "agent.creds";
/// While a file is being written; what is left of one that was not finished.
const UNFINISHED: &str = "unfinished";

/// Files may hold what a launch was given as variables: for the owner's eyes only.
const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_DIR: u32 = 0o700;

/// The data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordsError {
    #[error("{doing} {path}")]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("another provisioner uses {path}: stop it, or give this one a data directory of its own")]
    Locked { path: PathBuf },
    #[error("the record {path} can't be understood; move it away to go on without that instance")]
    Shape { path: PathBuf, source: serde_json::Error },
    #[error("the record {path} has layout {found}; this program knows {}", Record::VERSION)]
    Version { path: PathBuf, found: u64 },
}

/// The data directory of one provisioner, held by it alone.
#[derive(Debug)]
pub(super) struct Records {
    root: PathBuf,
    _alone: File,
}

impl Records {
    /// Makes the directory if there is none, and takes it.
    pub(super) fn open(root: &Path) -> Result<Self, RecordsError> {
        let root = std::path::absolute(root).map_err(at("finding", root))?;
        for dir in [&root, &root.join(RECORDS), &root.join(INSTANCES)] {
            DirBuilder::new().recursive(true).mode(PRIVATE_DIR).create(dir).map_err(at("making", dir))?;
        }
        let path = root.join(LOCK);
        let file = File::options().create(true).append(true).mode(PRIVATE_FILE).open(&path).map_err(at("opening", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { root, _alone: file }),
            Err(TryLockError::WouldBlock) => Err(RecordsError::Locked { path: root }),
            Err(TryLockError::Error(source)) => Err(at("locking", &path)(source)),
        }
    }

    /// Every record, in no order. What was left unfinished is removed, and what was made for the agent of an instance of which no record
    /// was written any more.
    pub(super) fn load(&self) -> Result<Vec<Record>, RecordsError> {
        let dir = self.root.join(RECORDS);
        let mut records = Vec::new();
        for entry in fs::read_dir(&dir).map_err(at("listing", &dir))? {
            let path = entry.map_err(at("listing", &dir))?.path();
            match path.extension().and_then(|suffix| suffix.to_str()) {
                Some(SUFFIX) => records.push(read(&path)?),
                Some(UNFINISHED) => fs::remove_file(&path).map_err(at("removing", &path))?,
                _ => tracing::warn!(file = %path.display(), "is no record; left alone"),
            }
        }
        self.strip_unrecorded(&records)?;
        Ok(records)
    }

    /// A crash between the two leaves a working directory without a record. Logs stay, if there are any: somebody may have moved its record
    /// away.
    fn strip_unrecorded(&self, records: &[Record]) -> Result<(), RecordsError> {
        let known: BTreeSet<&InstanceId> = records.iter().map(|record| &record.node_id).collect();
        let dir = self.root.join(INSTANCES);
        for entry in fs::read_dir(&dir).map_err(at("listing", &dir))? {
            let path = entry.map_err(at("listing", &dir))?.path();
            if !path.is_dir() {
                continue;
            }
            let id = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<InstanceId>().ok());
            let Some(id) = id.filter(|id| !known.contains(id)) else { continue };
            self.strip(&id)?;
            // Only if nothing else is in it.
            let _ = fs::remove_dir(&path);
        }
        Ok(())
    }

    /// Writes a record. When this returns it is on disk.
    pub(super) fn write(&self, record: &Record) -> Result<(), RecordsError> {
        let path = self.path(&record.node_id);
        let json = serde_json::to_vec(record).map_err(|source| RecordsError::Shape { path: path.clone(), source })?;
        write_whole(&path, &json)
    }

    /// Forgets an instance: its working directory, then its record.
    pub(super) fn remove(&self, id: &InstanceId) -> Result<(), RecordsError> {
        let gone =
            |result: io::Result<()>| if result.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) { Ok(()) } else { result };
        let dir = self.directory(id);
        gone(fs::remove_dir_all(&dir)).map_err(at("removing", &dir))?;
        let path = self.path(id);
        gone(fs::remove_file(&path)).map_err(at("removing", &path))
    }

    /// The working directory of an instance.
    pub(super) fn directory(&self, id: &InstanceId) -> PathBuf {
        self.root.join(INSTANCES).join(id.as_str())
    }

    /// Makes the working directory of an instance, with a file in it.
    pub(super) fn furnish(&self, id: &InstanceId, name: &str, content: &[u8]) -> Result<(), RecordsError> {
        let dir = self.directory(id);
        DirBuilder::new().recursive(true).mode(PRIVATE_DIR).create(&dir).map_err(at("making", &dir))?;
        write_whole(&dir.join(name), content)
    }

    /// Removes from the working directory of an instance what was for its agent alone: credentials, and variables that may hold secrets.
    pub(super) fn strip(&self, id: &InstanceId) -> Result<(), RecordsError> {
        for name in [CREDS_FILE, SPEC_FILE] {
            let path = self.directory(id).join(name);
            for path in [path.with_extension(UNFINISHED), path] {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at("removing", &path)(error)),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Ids are letters, digits, `_` and `-`, so that they are file names.
    fn path(&self, id: &InstanceId) -> PathBuf {
        self.root.join(RECORDS).join(format!("{id}.{SUFFIX}"))
    }
}

fn read(path: &Path) -> Result<Record, RecordsError> {
    #[derive(serde::Deserialize)]
    struct Layout {
        version: u64,
    }
    let json = fs::read(path).map_err(at("reading", path))?;
    let shape = |source| RecordsError::Shape { path: path.to_owned(), source };
    // The layout first: of another one nothing else need be as it is here.
    let layout: Layout = serde_json::from_slice(&json).map_err(shape)?;
    if layout.version != u64::from(Record::VERSION) {
        return Err(RecordsError::Version { path: path.to_owned(), found: layout.version });
    }
    serde_json::from_slice(&json).map_err(shape)
}

/// A crash leaves the old file or the new one, never a part.
fn write_whole(path: &Path, content: &[u8]) -> Result<(), RecordsError> {
    let unfinished = path.with_extension(UNFINISHED);
    let written = File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(PRIVATE_FILE)
        .open(&unfinished)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&unfinished, path))
        .and_then(|()| File::open(path.parent().unwrap_or(path))?.sync_all());
    written.map_err(at("writing", path))
}

fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RecordsError {
    let path = path.to_owned();
    move |source| RecordsError::Io { doing, path, source }
}

#[cfg(test)]
mod tests {
    use pilothouse_core::instance::State;

    use super::*;
    use crate::provisioner::record::tests::{NOW, record};
    use crate::provisioner::rules::Promise;

    fn some() -> Record {
        record(State::Running, Promise { epoch: 1, sequence: 2, not_after: NOW })
    }

    #[test]
    fn what_was_written_is_there_again_and_what_was_not_finished_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let records = Records::open(dir.path()).expect("opened");
        records.write(&some()).expect("written");
        records.furnish(&some().node_id, "spec.json", b"{}").expect("furnished");
        fs::write(dir.path().join("records/i2.unfinished"), "{\"ver").expect("written");
        drop(records);
        let records = Records::open(dir.path()).expect("opened again");
        assert_eq!(records.load().expect("loaded"), [some()]);
        records.remove(&some().node_id).expect("removed");
        records.remove(&some().node_id).expect("removed already");
        assert_eq!(records.load().expect("loaded"), []);
        assert!(!records.directory(&some().node_id).exists());
    }

    #[test]
    fn what_was_for_the_agent_of_an_instance_without_a_record_does_not_stay() {
        let dir = tempfile::tempdir().expect("a directory");
        let records = Records::open(dir.path()).expect("opened");
        records.write(&some()).expect("written");
        let (known, crashed, moved) =
            (some().node_id, "i-crashed".parse().expect("an id"), "i-moved".parse::<InstanceId>().expect("an id"));
        for id in [&known, &crashed, &moved] {
            records.furnish(id, CREDS_FILE, b"secret").expect("furnished");
            records.furnish(id, SPEC_FILE, b"{}").expect("furnished");
        }
        fs::write(records.directory(&crashed).join("agent.unfinished"), "secret").expect("written");
        fs::write(records.directory(&moved).join("agent.log"), "it runs").expect("written");
        assert_eq!(records.load().expect("loaded"), [some()]);
        assert!(!records.directory(&crashed).exists());
        let left: Vec<_> = fs::read_dir(records.directory(&moved)).expect("it is there").flatten().map(|it| it.file_name()).collect();
        assert_eq!(left, ["agent.log"]);
        assert!([CREDS_FILE, SPEC_FILE].iter().all(|name| records.directory(&known).join(name).exists()));
    }

    #[test]
    fn a_directory_has_one_provisioner() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = Records::open(dir.path()).expect("opened");
        assert!(matches!(Records::open(dir.path()), Err(RecordsError::Locked { .. })));
        drop(first);
        assert!(Records::open(dir.path()).is_ok());
    }

    #[test]
    fn a_record_that_can_not_be_understood_is_named_and_not_passed_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let records = Records::open(dir.path()).expect("opened");
        fs::write(dir.path().join("records/i1.json"), "{}").expect("written");
        assert!(records.load().expect_err("no record").to_string().contains("records/i1.json"));
        fs::write(dir.path().join("records/i1.json"), r#"{"version": 7, "what": "else"}"#).expect("written");
        assert!(matches!(records.load(), Err(RecordsError::Version { found: 7, .. })));
    }
}
