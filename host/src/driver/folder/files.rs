//! The files of a folder, as the engines of a host know them: what each offers, and what is wrong with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pilothouse_core::name::Name;
use pilothouse_core::time::Timestamp;
use pilothouse_engine_host::LoadedEngine;
use semver::Version;

use crate::api::EngineFile;
use crate::driver::engines::in_force;

/// The longest reason that is told, in bytes.
const MAX_REASON_BYTES: usize = 500;

/// The files of a folder.
#[derive(Default)]
pub(crate) struct Files(BTreeMap<PathBuf, File>);

struct File {
    /// What it offers, and when that was saved.
    offered: Option<(SystemTime, LoadedEngine)>,
    /// When what can't be used was saved, and why it can't.
    refused: Option<(SystemTime, String)>,
}

impl Files {
    /// Notes what a file offers. Returns what it offered before, if that is another engine.
    pub(crate) fn offer(&mut self, path: &Path, saved: SystemTime, engine: LoadedEngine) -> Option<LoadedEngine> {
        let digest = engine.digest().to_owned();
        let before = self.0.insert(path.to_owned(), File { offered: Some((saved, engine)), refused: None });
        before.and_then(|file| file.offered).map(|(_, engine)| engine).filter(|before| before.digest() != digest)
    }

    /// Notes that a file can't be used as it is. What it offered before is offered still.
    pub(crate) fn refuse(&mut self, path: &Path, saved: SystemTime, reason: &str) {
        let reason = reason[..reason.floor_char_boundary(MAX_REASON_BYTES)].to_owned();
        let file = self.0.entry(path.to_owned()).or_insert(File { offered: None, refused: None });
        file.refused = Some((saved, reason));
    }

    /// Forgets a file. Returns what it offered.
    pub(crate) fn withdraw(&mut self, path: &Path) -> Option<LoadedEngine> {
        self.0.remove(path).and_then(|file| file.offered).map(|(_, engine)| engine)
    }

    /// The engines that are offered: one of each name and version.
    pub(crate) fn offered(&self) -> Vec<LoadedEngine> {
        self.counting().into_values().map(|(_, _, engine)| engine.clone()).collect()
    }

    /// Whether a file has a component, also one that does not count.
    pub(crate) fn holds(&self, digest: &str) -> bool {
        self.0.values().filter_map(|file| file.offered.as_ref()).any(|(_, engine)| engine.digest() == digest)
    }

    /// All files, in the order of their paths.
    pub(crate) fn told(&self) -> Vec<EngineFile> {
        let counting = self.counting();
        let told = |(path, file): (&PathBuf, &File)| {
            let rival = file.offered.as_ref().and_then(|(_, engine)| {
                let (_, winner, _) = counting.get(&called(engine)).filter(|(_, winner, _)| *winner != path.as_path())?;
                let (name, version) = called(engine);
                Some(format!("{name}@{version} is in {} as well, which was saved later: that one counts", winner.display()))
            });
            let saved_good = || file.offered.as_ref().map(|(saved, _)| *saved);
            let saved = file.refused.as_ref().map(|(saved, _)| *saved).or_else(saved_good);
            EngineFile {
                file: path.display().to_string(),
                engine: file.offered.as_ref().map(|(_, engine)| in_force(engine)),
                saved: moment(saved.unwrap_or(SystemTime::UNIX_EPOCH)),
                refused: file.refused.as_ref().map(|(_, reason)| reason.clone()).or(rival),
            }
        };
        self.0.iter().map(told).collect()
    }

    /// By name and version: of two files that call themselves the same, the one that was saved later counts.
    fn counting(&self) -> BTreeMap<(&Name, &Version), (SystemTime, &Path, &LoadedEngine)> {
        let mut counting = BTreeMap::new();
        for (path, file) in &self.0 {
            let Some((saved, engine)) = &file.offered else { continue };
            let best = counting.entry(called(engine)).or_insert((*saved, path.as_path(), engine));
            if best.0 < *saved {
                *best = (*saved, path.as_path(), engine);
            }
        }
        counting
    }
}

fn called(engine: &LoadedEngine) -> (&Name, &Version) {
    (&engine.description().name, &engine.description().version)
}

fn moment(at: SystemTime) -> Timestamp {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
