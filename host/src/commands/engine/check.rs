//! `pilothouse engine check`: says what a component is, and whether a host can rely on it.

mod config;
mod text;
mod unfit;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use pilothouse_core::cycle::FaultKind;
use pilothouse_engine_host::{EngineLimits, LoadError};
use serde_json::{Map, Value};

use crate::conformance::{ExamineError, Kit, Report};
use crate::failure::Failure;
use crate::output::Format;

pub(in crate::commands) use self::text::keys;
pub(super) use self::text::size;

/// The time between two lines on what is going on. Who waits for less is not helped by lines that fly by.
const SILENCE: Duration = Duration::from_secs(3);

/// From so many bytes on, a component takes seconds to compile.
const LARGE: usize = 1 << 20;

/// Says what a component is, and tries whether a host can rely on it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pilothouse engine check my-engine.wasm
  pilothouse engine check my-engine.wasm --config '{\"preserve_n\": 3}'
  pilothouse engine check my-engine.wasm --output json | jq '.checks[] | select(.outcome != \"passed\")'

It runs the engine as a host would, in the same sandbox with the same limits, over domains of up to ten thousand instances. No host and
no NATS are needed. Exit code 0 when nothing failed, 7 when a check failed, 2 when the file is no engine at all.")]
pub(super) struct CheckArgs {
    /// The component
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The engine's section of a configuration: JSON, or a file of JSON or TOML [default: what its schema gives as an example]
    #[arg(long, value_name = "FILE|JSON")]
    config: Option<String>,
    /// Leave out compiling it a second time, which takes seconds for an engine in Python or JavaScript
    #[arg(long)]
    quick: bool,
}

/// Examines the component and shows what came of it.
pub(super) async fn run(args: CheckArgs, output: Format) -> anyhow::Result<()> {
    let CheckArgs { file, config, quick } = args;
    let config = config.map(|config| config::read(&config)).transpose()?;
    let name = file.display().to_string();
    let component = std::fs::read(&file).map_err(|error| Failure::Invalid(format!("{name}: {error}")))?;
    let examined = tokio::task::spawn_blocking(move || examine(&component, config, quick)).await.context("examining the component")?;
    let report = examined.map_err(|error| not_examined(&file, error))?;
    output.print(&report, |report| text::report(&name, report))?;
    match report.failed {
        0 => Ok(()),
        failed => Err(Failure::Checks(format!("{name}: {failed} of {} checks failed", report.checks.len())).into()),
    }
}

fn examine(component: &[u8], config: Option<Map<String, Value>>, quick: bool) -> Result<Report, ExamineError> {
    if component.len() > LARGE {
        let times = if quick { "" } else { " twice" };
        eprintln!("pilothouse: compiling {}{times}; this takes a while", size(component.len()));
    }
    let last = Cell::new(Instant::now());
    let progress = |what: &str| {
        if last.get().elapsed() > SILENCE {
            eprintln!("pilothouse: {what}");
            last.set(Instant::now());
        }
    };
    Kit { config, limits: EngineLimits::default(), quick, progress: &progress }.examine(component)
}

/// Why there is no report. That a component does not even say who it is, is a failed check; that a file is none, a wrong file.
fn not_examined(file: &Path, error: ExamineError) -> anyhow::Error {
    let name = file.display();
    match error {
        ExamineError::Load(LoadError::Describe(fault)) if matches!(fault.kind, FaultKind::Load | FaultKind::Crowded) => {
            anyhow::anyhow!("{name}: it could not be started here: {fault}")
        }
        ExamineError::Load(error @ (LoadError::Describe(_) | LoadError::Description { .. })) => {
            Failure::Checks(format!("{name}: {error}")).into()
        }
        ExamineError::Load(error) => Failure::Invalid(format!("{name}: {}", unfit::told(&error))).into(),
        ExamineError::Config(problems) => Failure::Problems { what: "--config".to_owned(), problems }.into(),
        error => anyhow::Error::from(error).context(name.to_string()),
    }
}
