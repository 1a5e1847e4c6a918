//! Engines that the file brings: loaded before anything is started, so that whatever is wrong with one is told at once.
//!
//! Each is copied into the directory, under its digest. The host is given the copy: when it is started again it finds the very component
//! that the domains were told of, whatever somebody has built over it since. What was compiled here is in the cache, for the host to take.
//!
//! With `--watch` the host is given a folder of links to the files instead, and follows what is saved there. A file that can't be used then
//! stops nobody who has run with an earlier one: domains go on with what decides them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use pilothouse_core::config::ConfigProblem;
use pilothouse_core::name::Name;
use pilothouse_core::record::EngineInForce;
use pilothouse_engine_host::{LoadedEngine, Sandbox, SandboxConfig};
use semver::{Version, VersionReq};

use super::file::UpFile;
use super::folder::Folder;
use super::saved::{Saved, cannot_be_used};
use super::say;
use crate::driver::engines::in_force;
use crate::failure::Failure;

/// From so many bytes on, a component takes seconds to compile.
const LARGE: usize = 1 << 20;

/// What the host is given.
#[derive(Debug)]
pub(super) enum Offers {
    /// Copies of the components.
    Copies(Vec<Brought>),
    /// A folder of links to them; with what could not be used at the start, by the names of the engines.
    Followed(BTreeMap<Name, String>),
}

impl Offers {
    /// Loads all that the file names, so that what is wrong is known before anything is started.
    ///
    /// # Errors
    /// Every component that can't be read, can't serve as an engine, or calls itself something else. One that is followed may be so, if it
    /// once was not.
    pub(super) async fn of(file: &UpFile, folder: &Folder, watch: bool) -> anyhow::Result<Self> {
        if !watch {
            return Ok(Self::Copies(Brought::all(file, folder).await?));
        }
        let unusable = Brought::watched(file, folder).await?;
        for (name, reason) in &unusable {
            let path = file.engines.get(name).map_or_else(String::new, |path| path.display().to_string());
            say(&cannot_be_used(&path, reason));
        }
        Ok(Self::Followed(unusable))
    }

    /// Says which files are followed.
    pub(super) fn announce(&self, file: &UpFile) {
        if let Self::Followed(_) = self {
            file.engines.values().for_each(|path| say(&format!("watch   {}", path.display())));
            if file.engines.is_empty() {
                say("watch   nothing: the file names no [engine.NAME]");
            }
        }
    }

    /// What a domain that asks for the same as before is given anew.
    pub(super) fn brought(&self) -> &[Brought] {
        match self {
            Self::Copies(brought) => brought,
            // The host sees to it.
            Self::Followed(_) => &[],
        }
    }

    /// The arguments of the host.
    pub(super) fn arguments(&self, folder: &Folder) -> Vec<OsString> {
        match self {
            Self::Copies(brought) => brought.iter().flat_map(|it| ["--engine".into(), it.component.clone().into_os_string()]).collect(),
            Self::Followed(_) => vec!["--engines-dir".into(), folder.watched().into_os_string()],
        }
    }

    /// Tells in lines what becomes of the files that are followed; nothing when none are.
    pub(super) fn saved(&self, file: &UpFile, folder: &Folder) -> Option<Saved> {
        let Self::Followed(unusable) = self else { return None };
        let path = |name: &Name| link(folder, name).display().to_string();
        let names = file.engines.iter().map(|(name, file)| (path(name), file.display().to_string())).collect();
        Some(Saved::new(names, unusable.keys().map(path).collect()))
    }
}

/// An engine that the file brings.
#[derive(Clone, Debug)]
pub(super) struct Brought {
    /// The copy that the host is given.
    component: PathBuf,
    identity: EngineInForce,
    version: Version,
}

impl Brought {
    /// Loads all that the file names.
    ///
    /// # Errors
    /// Every component that can't be read, can't serve as an engine, or calls itself something else.
    async fn all(file: &UpFile, folder: &Folder) -> anyhow::Result<Vec<Self>> {
        let mut brought = Vec::new();
        let mut problems = BTreeMap::new();
        for (name, loaded) in load(file, folder).await? {
            match loaded {
                Ok(engine) => brought.push(engine),
                Err(problem) => drop(problems.insert(name, problem)),
            }
        }
        if problems.is_empty() { Ok(brought) } else { Err(failure(file, &problems)) }
    }

    /// Makes the links to all that the file names, for a host that follows what is saved there. Tells, by the names of the engines, what
    /// can't be used as it is now: their domains go on with what decides them.
    ///
    /// # Errors
    /// As [`all`](Self::all), when an engine can't be used that never could.
    async fn watched(file: &UpFile, folder: &Folder) -> anyhow::Result<BTreeMap<Name, String>> {
        link_all(file, folder).with_context(|| format!("making links in {}", folder.watched().display()))?;
        let loaded = load(file, folder).await?.into_iter();
        let problems: BTreeMap<_, _> = loaded.filter_map(|(name, loaded)| Some((name, loaded.err()?))).collect();
        let new = |name: &Name| !known(&folder.engines(), name).exists();
        if problems.keys().any(new) { Err(failure(file, &problems)) } else { Ok(problems) }
    }

    fn keep(engine: &LoadedEngine, bytes: &[u8], copies: &Path) -> anyhow::Result<Self> {
        let component = copies.join(format!("{}.wasm", engine.digest()));
        let new = component.with_extension("new");
        fs::write(&new, bytes).and_then(|()| fs::rename(&new, &component)).with_context(|| format!("writing {}", component.display()))?;
        let identity = in_force(engine);
        let known = known(copies, &engine.description().name);
        fs::write(&known, serde_json::to_string(&identity)?).with_context(|| format!("writing {}", known.display()))?;
        Ok(Self { component, identity, version: engine.description().version.clone() })
    }

    /// Whether a domain that asks for `reference` gets this one.
    pub(super) fn is_meant_by(&self, reference: &str) -> bool {
        let (name, version) = reference.split_once('@').unwrap_or((reference, "*"));
        name == self.identity.name && VersionReq::parse(version).is_ok_and(|wanted| wanted.matches(&self.version))
    }

    /// Which one it is, as the journal knows it.
    pub(super) fn identity(&self) -> &EngineInForce {
        &self.identity
    }
}

/// The link that a host follows to the component of an engine.
fn link(folder: &Folder, name: &Name) -> PathBuf {
    folder.watched().join(format!("{name}.wasm"))
}

fn link_all(file: &UpFile, folder: &Folder) -> io::Result<()> {
    for old in fs::read_dir(folder.watched())? {
        fs::remove_file(old?.path())?;
    }
    file.engines.iter().try_for_each(|(name, path)| symlink(std::path::absolute(path)?, link(folder, name)))
}

/// Which component an engine was last.
fn known(copies: &Path, name: &Name) -> PathBuf {
    copies.join(format!("{name}.json"))
}

fn failure(file: &UpFile, problems: &BTreeMap<Name, String>) -> anyhow::Error {
    let problem = |(name, problem): (&Name, &String)| {
        let path = file.engines.get(name).map_or_else(String::new, |path| format!("{}: ", path.display()));
        ConfigProblem::new(format!("/engine/{name}"), format!("{path}{problem}"))
    };
    Failure::Problems { what: "engines".to_owned(), problems: problems.iter().map(problem).collect() }.into()
}

/// What becomes of each component that the file names: a copy, or what is wrong with it.
async fn load(file: &UpFile, folder: &Folder) -> anyhow::Result<Vec<(Name, Result<Brought, String>)>> {
    if file.engines.is_empty() {
        return Ok(Vec::new());
    }
    let (wanted, cache, copies) = (file.engines.clone(), folder.cache(), folder.engines());
    let load = move || {
        let sandbox = Sandbox::new(SandboxConfig { concurrent_calls: 1, cache: Some(cache), ..SandboxConfig::default() })?;
        let one = |(name, path): (Name, PathBuf)| {
            let loaded = match read(&sandbox, &name, &path) {
                Ok((engine, bytes)) => Ok(Brought::keep(&engine, &bytes, &copies)?),
                Err(problem) => Err(problem),
            };
            Ok((name, loaded))
        };
        wanted.into_iter().map(one).collect()
    };
    tokio::task::spawn_blocking(load).await.context("loading the engines")?
}

fn read(sandbox: &Sandbox, name: &Name, path: &Path) -> Result<(LoadedEngine, Vec<u8>), String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    if bytes.len() > LARGE {
        say(&format!("loading engine {name}; a large one takes seconds the first time"));
    }
    let engine = sandbox.load(&bytes).map_err(|error| format!("{error}; `pilothouse engine check {}` tells more", path.display()))?;
    let own = &engine.description().name;
    if own != name {
        return Err(format!("it is an engine of another name: write [engine.{own}]"));
    }
    Ok((engine, bytes))
}
