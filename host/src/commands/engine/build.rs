//! `pilothouse engine build`: makes a component of a project, with the tools of its language.

mod folder;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use pilothouse_engine_build::{BuildError, Built, Language, Tools, build, build_anyway, build_if_changed, provide};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{Format, clean};

pub(super) use self::folder::{component_name, typed};

/// Makes a component of a project in Rust, Python or JavaScript
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pilothouse engine build
  pilothouse engine build my-engine --out my-engine.wasm
  pilothouse engine build --install-tools           once, for a project in Python or JavaScript

Rust needs cargo and the target wasm32-unknown-unknown, Python componentize-py, JavaScript Node and componentize-js. What is missing is
told with how to get it; nothing is installed unless `--install-tools` is given.

A project in Python or JavaScript is built again when one of its files, or the version of a package that it has installed, is another.
What else may matter, such as a package that was changed in its place, is not looked at: `--force` builds it anyway.")]
pub(super) struct BuildArgs {
    /// The project
    #[arg(value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
    /// The component [default: FOLDER/NAME.wasm, with the name of the folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// First install what is missing: the target into the Rust toolchain, or packages into the project's folder
    #[arg(long)]
    install_tools: bool,
    /// Build even where nothing seems to have changed. For Rust that is up to cargo, which looks every time
    #[arg(long)]
    force: bool,
}

/// What was made.
#[derive(Debug, Serialize)]
struct Made {
    file: PathBuf,
    language: String,
    bytes: usize,
    /// Interfaces of the contract.
    imports: Vec<String>,
    /// Whether it had to be built. If not, nothing had changed.
    fresh: bool,
}

/// Builds it and says what it is.
pub(super) async fn run(args: BuildArgs, output: Format) -> anyhow::Result<()> {
    let BuildArgs { folder, out, install_tools, force } = args;
    let made = tokio::task::spawn_blocking(move || make(&folder, out, install_tools, force)).await.context("building")??;
    output.print(&made, text)?;
    Ok(())
}

fn make(folder: &Path, out: Option<PathBuf>, install_tools: bool, force: bool) -> anyhow::Result<Made> {
    let language = Language::of(folder).map_err(|error| Failure::Invalid(error.to_string()))?;
    let file = match out {
        Some(file) => file,
        None => in_folder(folder)?,
    };
    if install_tools {
        provide(language, folder, &mut |what| eprintln!("pilothouse: {what}")).map_err(advised)?;
    }
    let note = if language == Language::Rust { "; the first time takes a minute" } else { "" };
    eprintln!("pilothouse: building the {language} engine in {}{note}", folder.display());
    let tools = Tools::default();
    let Built { component, fresh } = match language {
        // Cargo knows better than we do what changed.
        Language::Rust => {
            let component = build(folder, &tools).map_err(advised)?;
            let fresh = std::fs::read(&file).ok().as_deref() != Some(component.bytes());
            if fresh {
                write(&file, component.bytes())?;
            }
            Built { component, fresh }
        }
        Language::Python | Language::JavaScript if force => build_anyway(folder, &tools, &file).map_err(advised)?,
        Language::Python | Language::JavaScript => build_if_changed(folder, &tools, &file).map_err(advised)?,
    };
    let imports = component.imports().to_vec();
    Ok(Made { file, language: language.to_string(), bytes: component.bytes().len(), imports, fresh })
}

/// Whole or not at all: somebody may be reading the old one.
fn write(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let new = file.with_extension("wasm.new");
    std::fs::write(&new, bytes).and_then(|()| std::fs::rename(&new, file)).with_context(|| format!("writing {}", file.display()))
}

fn in_folder(folder: &Path) -> anyhow::Result<PathBuf> {
    let name = component_name(folder).context("the root of the file system is no project")?;
    let file = format!("{name}.wasm");
    // As it was written, so that what is told can be typed.
    Ok(if folder == Path::new(".") { file.into() } else { folder.join(file) })
}

/// A tool that is missing can be brought.
fn advised(error: BuildError) -> anyhow::Error {
    match error {
        BuildError::MissingTool { .. } => {
            Failure::Unavailable(format!("{error}; or let `pilothouse engine build --install-tools` do it")).into()
        }
        error => error.into(),
    }
}

fn text(made: &Made) -> String {
    let file = clean(&made.file.display().to_string());
    let size = super::check::size(made.bytes);
    let note = if made.fresh { "" } else { ", nothing has changed" };
    format!("{file}: {size}, imports {}{note}\n\n  pilothouse engine check {}\n", made.imports.join(", "), typed(&made.file))
}
