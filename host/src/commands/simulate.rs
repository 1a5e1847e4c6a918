//! `pilothouse simulate`: a scenario on an explicit timeline, in virtual time, with the real core and the real component.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use pilothouse_core::command::ApiError;
use pilothouse_core::config::ConfigProblem;
use pilothouse_engine_host::{LoadedEngine, Sandbox, SandboxConfig};
use pilothouse_sim::{Available, Failed, Format as Written, Invalid, Line, Plot, Scenario, Transcript, scenario};

use crate::driver::engines::{self, Engines};
use crate::failure::Failure;
use crate::output::{self, Format};

/// The largest scenario that is read.
const MAX_BYTES: u64 = 8 << 20;

/// Which scenario, and with which engine.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pilothouse simulate examples/scenarios/a_worker_dies.toml
  pilothouse simulate scenario.toml --engine ./my-engine.wasm
  pilothouse simulate scenario.toml --plot scenario.svg
  pilothouse simulate scenario.toml --output json | jq 'select(.type == \"tick\") | .instances'
  pilothouse simulate --schema > scenario.schema.json

A scenario in a few lines:
  engine = \"simplest\"
  engine_conf = { preserve_n = 2 }
  events = [
    { at = 0, tick = \"decide\" },
    { at = 3, report = { of = [0, 1], state = \"RUNNING\", generate_address = true } },
    { at = 9, heartbeat = { of = 0, state = \"MONITOR_ERROR\", error = \"disk full\" } },
    { at = 10, tick = \"decide\" },
  ]

Times are seconds. Nothing happens that is not written: the engine is asked, health is judged and records are reaped by the ticks
`decide`, `health` and `reap`. Requests leave at ticks. Instances are called by launch order (0, 1, ...), by id, or as
{ state = \"RUNNING\", health = \"OK\", nth = 0 }. The schema has every key.

With `--output json`, one object a line: `scenario` first, a `tick` for each tick, and `end`.")]
pub(crate) struct SimulateArgs {
    /// TOML or JSON; `-` is standard input
    #[arg(value_name = "SCENARIO", required_unless_present = "schema")]
    scenario: Option<PathBuf>,
    /// Runs this engine instead of the one that the scenario names: one that is built in, or a component
    #[arg(long, value_name = "NAME|FILE")]
    engine: Option<String>,
    /// Draws all chance from this instead of from the scenario's seed
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Also draws what happened into this file, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Prints the JSON Schema of scenarios and does nothing else
    #[arg(long)]
    schema: bool,
    /// How the answer is printed
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
}

/// Reads, runs, and prints as it goes.
pub(crate) fn run(args: &SimulateArgs) -> anyhow::Result<()> {
    let path = match &args.scenario {
        Some(path) if !args.schema => path,
        _ => return Ok(output::print(&serde_json::to_string_pretty(&scenario::schema())?)?),
    };
    let mut scenario = read(path)?;
    if let Some(seed) = args.seed {
        scenario.seed = seed;
    }
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let engine = match &args.engine {
        Some(engine) => load(engine, Path::new(""), ("--engine", ""))?,
        None => load(&scenario.engine, folder, (&path.display().to_string(), "/engine"))?,
    };
    let (mut failed, mut transcript, mut plot) = (None, Transcript::default(), Plot::default());
    let mut loaded = vec![engine];
    for other in scenario.other_engines().iter().filter(|name| *name != loaded[0].description().name.as_str()).collect::<Vec<_>>() {
        loaded.push(load(other, folder, (&path.display().to_string(), "/events"))?);
    }
    let judges: Vec<_> =
        loaded.iter().map(|engine| |conf: &serde_json::Map<String, serde_json::Value>| engines::check(engine, conf)).collect();
    let all: Vec<Available<'_>> = loaded.iter().zip(&judges).map(|(engine, judge)| Available { engine, judge }).collect();
    let told = pilothouse_sim::run_among(&scenario, &all, |line| {
        if args.plot.is_some() {
            plot.add(&line);
        }
        if failed.is_none() {
            failed = show(&line, args.output, &mut transcript).err();
        }
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    if let Some(file) = &args.plot {
        std::fs::write(file, plot.svg()).map_err(|error| Failure::Invalid(format!("{}: {error}", file.display())))?;
    }
    told.map_err(|error| match error {
        Failed::Invalid(invalid) => of_invalid(path, invalid),
        Failed::Broken { .. } => anyhow!(error).context("this is a fault of pilothouse, not of the scenario"),
    })
}

fn show(line: &Line, format: Format, transcript: &mut Transcript) -> io::Result<()> {
    match format {
        Format::Json if matches!(line, Line::Event { .. }) => Ok(()),
        Format::Json => output::print(&serde_json::to_string(line).map_err(io::Error::other)?),
        Format::Text => {
            let mut stdout = io::stdout().lock();
            // A line can hold what an instance said of itself.
            let clean: Vec<String> = transcript.text(line).split('\n').map(output::clean).collect();
            stdout.write_all(clean.join("\n").as_bytes())?;
            stdout.flush()
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Scenario> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().take(MAX_BYTES).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text))
    };
    read.map_err(|error| Failure::Invalid(format!("{}: {error}", path.display())))?;
    let is_json = path.extension().map_or_else(|| text.trim_start().starts_with('{'), |extension| extension == "json");
    Scenario::parse(&text, if is_json { Written::Json } else { Written::Toml }).map_err(|invalid| of_invalid(path, invalid))
}

fn of_invalid(path: &Path, invalid: Invalid) -> anyhow::Error {
    Failure::Problems { what: path.display().to_string(), problems: invalid.problems }.into()
}

/// One that is built in, or a component in a file, seen from a folder. It is named in `what`, `at` some place.
fn load(engine: &str, folder: &Path, (what, at): (&str, &str)) -> anyhow::Result<LoadedEngine> {
    let sandbox = Sandbox::new(SandboxConfig { concurrent_calls: 1, cache: cache(), ..SandboxConfig::default() })?;
    let unfit = |message: String| Failure::Problems { what: what.to_owned(), problems: vec![ConfigProblem::new(at, message)] };
    if !engine.ends_with(".wasm") && !engine.contains('/') {
        return Engines::embedded(sandbox)?.resolve(engine).map_err(|error| match error {
            ApiError::Invalid { problems } => {
                unfit(problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; ")).into()
            }
            other => unfit(other.to_string()).into(),
        });
    }
    let file = folder.join(engine);
    let name = file.display();
    let bytes = std::fs::read(&file).map_err(|error| unfit(format!("{name}: {error}")))?;
    Ok(sandbox.load(&bytes).map_err(|error| unfit(format!("{name}: {error}; `pilothouse engine check {name}` says what to do")))?)
}

/// Where compiled engines of this user are kept.
fn cache() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")))?;
    Some(base.join("pilothouse/engines"))
}
