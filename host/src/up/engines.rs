//! Engines that the file brings: loaded before anything is started, so that whatever is wrong with one is told at once.
//!
//! Each is copied into the directory, under its digest. The host is given the copy: when it is started again it finds the very component
//! that the domains were told of, whatever somebody has built over it since. What was compiled here is in the cache, for the host to take.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use pilothouse_core::config::ConfigProblem;
use pilothouse_core::name::Name;
use pilothouse_core::record::EngineInForce;
use pilothouse_engine_host::{LoadedEngine, Sandbox, SandboxConfig};
use semver::{Version, VersionReq};

use super::file::UpFile;
use super::folder::Folder;
use super::say;
use crate::driver::engines::in_force;
use crate::failure::Failure;

/// From so many bytes on, a component takes seconds to compile.
const LARGE: usize = 1 << 20;

/// An engine that the file brings.
#[derive(Clone, Debug)]
pub(super) struct Brought {
    /// The copy that the host is given.
    pub(super) component: PathBuf,
    identity: EngineInForce,
    version: Version,
}

impl Brought {
    /// Loads all that the file names.
    ///
    /// # Errors
    /// Every component that can't be read, can't serve as an engine, or calls itself something else.
    pub(super) async fn all(file: &UpFile, folder: &Folder) -> anyhow::Result<Vec<Self>> {
        if file.engines.is_empty() {
            return Ok(Vec::new());
        }
        let (wanted, cache, copies) = (file.engines.clone(), folder.cache(), folder.engines());
        let load = move || {
            let sandbox = Sandbox::new(SandboxConfig { concurrent_calls: 1, cache: Some(cache), ..SandboxConfig::default() })?;
            let (mut brought, mut problems) = (Vec::new(), Vec::new());
            for (name, path) in &wanted {
                match read(&sandbox, name, path) {
                    Ok((engine, bytes)) => brought.push(Self::keep(&engine, &bytes, &copies)?),
                    Err(problem) => problems.push(ConfigProblem::new(format!("/engine/{name}"), problem)),
                }
            }
            if problems.is_empty() { Ok(brought) } else { Err(Failure::Problems { what: "engines".to_owned(), problems }.into()) }
        };
        tokio::task::spawn_blocking(load).await.context("loading the engines")?
    }

    fn keep(engine: &LoadedEngine, bytes: &[u8], copies: &Path) -> anyhow::Result<Self> {
        let component = copies.join(format!("{}.wasm", engine.digest()));
        let new = component.with_extension("new");
        fs::write(&new, bytes).and_then(|()| fs::rename(&new, &component)).with_context(|| format!("writing {}", component.display()))?;
        Ok(Self { component, identity: in_force(engine), version: engine.description().version.clone() })
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

fn read(sandbox: &Sandbox, name: &Name, path: &Path) -> Result<(LoadedEngine, Vec<u8>), String> {
    let shown = path.display();
    let bytes = fs::read(path).map_err(|error| format!("{shown}: {error}"))?;
    if bytes.len() > LARGE {
        say(&format!("loading engine {name}; a large one takes seconds the first time"));
    }
    let engine = sandbox.load(&bytes).map_err(|error| format!("{shown}: {error}; `pilothouse engine check {shown}` tells more"))?;
    let own = &engine.description().name;
    if own != name {
        return Err(format!("{shown} is an engine of another name: write [engine.{own}]"));
    }
    Ok((engine, bytes))
}
