//! Measures what the host promises, each figure beside its reference in the same run: what `cargo xtask bench` runs.
//!
//! A row measures one promise on the real parts: components in the sandbox, domains of the core, a nats-server, the host. What it is
//! held against does the same work without what the host adds, by turns with it. `docs/performance.md` says what the figures were.

mod bare;
mod chronicle;
mod decision;
mod fixture;
mod followed;
mod guests;
mod host;
mod machine;
mod measure;
mod nats;
mod registry;
mod report;
mod rows;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::machine::Machine;
use crate::measure::Effort;
use crate::report::{Report, Row};

#[derive(Clone, Debug, Parser)]
#[command(
    name = "cargo xtask bench",
    about = "Measures what the host promises, each figure beside its reference",
    after_help = "Examples:
  cargo xtask bench                            every row: about ten minutes
  cargo xtask bench --quick                    the same, with a tenth of the rounds
  cargo xtask bench --filter decide            rows with `decide` in their name
  cargo xtask bench --filter memory --full     a million instances instead of a hundred thousand
  cargo xtask bench --output json > now.json
  cargo xtask bench --list
  perf record target/release/pilothouse-bench --profile decide --calls 100000

Figures are medians, with what a tenth of the rounds lies below and above; ratios are medians of the ratios of each round."
)]
struct Args {
    /// Rows whose name has this in it; several times for several
    #[arg(long, value_name = "NAME")]
    filter: Vec<String>,
    /// A tenth of the rounds: to see that it works, not to compare
    #[arg(long)]
    quick: bool,
    /// Sizes as they are promised, where the usual ones are smaller
    #[arg(long)]
    full: bool,
    /// Does what one row measures, so many times and without any reference, for a profiler to look at
    #[arg(long, value_name = "NAME", conflicts_with_all = ["filter", "list"])]
    profile: Option<String>,
    /// How many times
    #[arg(long, value_name = "N", default_value_t = 20_000, requires = "profile")]
    calls: u32,
    /// Makes so many domains, and says what they take: the process that the row `memory` measures
    #[arg(long, hide = true, value_name = "N")]
    hold_domains: Option<usize>,
    /// Says what rows there are, and measures nothing
    #[arg(long)]
    list: bool,
    /// How to say it
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// A tenth of the rounds.
    pub(crate) quick: bool,
    /// Sizes as they are promised.
    pub(crate) full: bool,
}

impl Settings {
    /// For what takes microseconds.
    pub(crate) fn effort(&self) -> Effort {
        Effort { rounds: self.rounds(100), slice: Duration::from_millis(4) }
    }

    /// So many rounds, or a tenth of them, but at least two: one is no measurement.
    pub(crate) fn rounds(&self, rounds: usize) -> usize {
        if self.quick { (rounds / 10).max(2) } else { rounds }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let settings = Settings { quick: args.quick, full: args.full };
    let wanted: Vec<_> =
        rows::ALL.iter().filter(|row| args.filter.is_empty() || args.filter.iter().any(|part| row.name.contains(part.as_str()))).collect();
    if wanted.is_empty() {
        let names: Vec<_> = rows::ALL.iter().map(|row| row.name).collect();
        eprintln!("bench: no row has that in its name; there are {}", names.join(", "));
        return ExitCode::FAILURE;
    }
    if args.list {
        for row in wanted {
            say(&format!("{:<20} {}\n", row.name, row.about));
        }
        return ExitCode::SUCCESS;
    }
    if let Some(domains) = args.hold_domains {
        return ended(rows::memory::hold(domains));
    }
    if let Some(name) = args.profile {
        return profile(&name, args.calls);
    }
    let machine = Machine::look();
    let mut report = Report { warnings: machine.warnings(), machine, rows: Vec::new() };
    if args.output == Output::Text {
        // Row by row, since all of it takes minutes.
        say(&report.to_text());
    }
    for spec in wanted {
        let measured = (spec.measure)(&settings);
        let failed = measured.as_ref().err().map(|error| format!("{error:#}"));
        let row = Row { name: spec.name, about: spec.about, outcome: measured.unwrap_or_default(), failed };
        if args.output == Output::Text {
            say(&row.to_text());
        }
        report.rows.push(row);
    }
    if args.output == Output::Json {
        match serde_json::to_string_pretty(&report) {
            Ok(json) => say(&format!("{json}\n")),
            Err(error) => {
                eprintln!("bench: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    // A target that is missed is a figure; a row that could not be measured is a failure.
    if report.rows.iter().any(|row| row.failed.is_some()) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Says something as soon as it is known. A reader who has seen enough is no error.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Does what one row measures.
fn profile(name: &str, calls: u32) -> ExitCode {
    let found = rows::ALL.iter().find(|row| row.name == name).and_then(|row| row.profile);
    let Some(subject) = found else {
        let names: Vec<_> = rows::ALL.iter().filter(|row| row.profile.is_some()).map(|row| row.name).collect();
        eprintln!("bench: {name:?} has no profile; there are {}", names.join(", "));
        return ExitCode::FAILURE;
    };
    ended(subject(calls).map(|seconds| println!("{name}: {calls} calls, {:.3} µs each", seconds * 1e6 / f64::from(calls))))
}

fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
