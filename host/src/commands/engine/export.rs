//! `pilothouse engine export`: a component as a file, with its digest beside it.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use pilothouse_core::engine::Reference;
use serde::Serialize;

use super::check::size;
use super::component::{STANDARD, download, store, write};
use super::pin::whole;
use super::sum;
use crate::api::{EngineDescription, EngineVersionRef, Operation};
use crate::commands::caller::{Caller, CallerArgs};
use crate::failure::Failure;
use crate::output::clean;

/// Writes the component of a version into a file, and its digest beside it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pilothouse engine export keep@1.2.0
  pilothouse engine export keep@1.2.0 /srv/engines/keep.wasm
  pilothouse engine export sha256:5df6e0e2761359d30a8275058e299fcc0381534545f55cf43e41983f5d4c9456 - | wasm-tools print

FILE.sha256 is written beside it, as sha256sum writes it: `pilothouse engine pull` looks for it, and so does `sha256sum --check`.")]
pub(super) struct ExportArgs {
    /// The version, whole, or the digest of a component
    #[arg(value_name = "NAME@VERSION|DIGEST")]
    engine: String,
    /// Where to; `-` for standard output; otherwise NAME@VERSION.wasm
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    pub(super) client: CallerArgs,
}

/// What was written.
#[derive(Debug, Serialize)]
struct Exported {
    engine: String,
    digest: String,
    bytes: usize,
    file: PathBuf,
}

/// Fetches it and writes it.
pub(super) async fn run(args: ExportArgs) -> anyhow::Result<()> {
    let ExportArgs { engine, file, force, client } = args;
    let caller = client.connect().await?;
    let digest = digest_of(&caller, &engine).await?;
    let component = download(&store(&caller).await?, &digest).await?;
    let file = file.unwrap_or_else(|| PathBuf::from(format!("{}.wasm", engine.replace("sha256:", ""))));
    if file == Path::new(STANDARD) {
        let mut stdout = io::stdout().lock();
        return Ok(stdout.write_all(&component).and_then(|()| stdout.flush())?);
    }
    let beside = sum::beside(&file);
    if !force && beside.exists() {
        return Err(Failure::Conflict(format!("{} is there already: --force replaces it", beside.display())).into());
    }
    write(&file, &component, force)?;
    write(&beside, sum::line(&digest, &file).as_bytes(), force)?;
    let exported = Exported { engine, digest, bytes: component.len(), file };
    Ok(client.output.print(&exported, told)?)
}

/// The component that is meant.
async fn digest_of(caller: &Caller, engine: &str) -> anyhow::Result<String> {
    if let Ok(Reference::Digest(digest)) = engine.parse() {
        return Ok(digest);
    }
    let (name, version) = whole(engine)?;
    let request = EngineVersionRef { name, version: Some(version.clone()) };
    let shown: EngineDescription = caller.call(Operation::EngineShow, &request).await?;
    let mut of_version = shown.versions.into_iter().filter(|it| it.version == version).map(|it| it.digest);
    match (of_version.next(), of_version.next()) {
        (Some(digest), None) => Ok(digest),
        (Some(one), Some(other)) => {
            let both = format!("there are different components of {engine}, such as {one} and {other}: give a digest");
            Err(Failure::Conflict(clean(&both)).into())
        }
        (None, _) => Err(Failure::NotFound(format!("engine {engine} not found")).into()),
    }
}

fn told(exported: &Exported) -> String {
    let Exported { engine, digest, bytes, file } = exported;
    format!("engine {} ({digest:.12}, {}) is in {}", clean(engine), size(*bytes), file.display())
}
