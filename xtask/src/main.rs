//! Set-up and build recipes: what `cargo xtask …` runs.
//!
//! Each recipe sets up what it needs first and says in a line what it installs and where. Whatever it makes lies inside the target
//! folder, except the wasm target, which belongs to the toolchain. Nothing here is part of the product.

mod admin_client;
mod bench;
mod debian;
mod engines;
mod example;
mod frozen;
mod nats_server;
mod process;
mod prometheus;
mod recipes;
mod wasm_target;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    about = "Set-up and build recipes",
    after_help = "Examples:
  cargo xtask up                    run the quickstart: three workers, kept alive
  cargo xtask up --for 20s          the same, ending by itself
  cargo xtask test                  every test
  cargo xtask test -p pilothouse-core health
  cargo xtask engines               build the engines as components
  cargo xtask bench                 measure what the host promises, each figure beside its reference
  cargo xtask reference             write docs/reference and the schema of scenarios anew from the code
  cargo xtask example --list        the example engines; with a name, build one

Environment:
  CARGO_TARGET_DIR                  where everything that is built or installed goes
  PILOTHOUSE_NATS_SERVER            a nats-server to use instead of looking for one
  PILOTHOUSE_PROMETHEUS             a Prometheus server for the tests to use instead of looking for one
  PILOTHOUSE_XTASK_NO_RUSTUP=1      act as if rustup could not bring the wasm target"
)]
struct Cli {
    #[command(subcommand)]
    recipe: Recipe,
}

#[derive(Debug, Subcommand)]
enum Recipe {
    /// Sets up what is missing: the wasm target of the compiler, a nats-server, a Prometheus server for tests, what builds the example engines,
    /// and what the admin client needs
    Setup,
    /// Builds the engines as components, into the folder `engines` in the target folder
    #[command(after_help = "Example:\n  cargo xtask engines && ls target/engines")]
    Engines,
    /// Sets up what one of the example engines needs, and builds it into the folder `examples` in the target folder
    #[command(after_help = "Examples:\n  cargo xtask example --list\n  cargo xtask example python-steady")]
    Example {
        /// The folder in `examples`
        #[arg(required_unless_present = "list")]
        name: Option<String>,
        /// Lists the example engines, and builds none
        #[arg(long, conflicts_with = "name")]
        list: bool,
    },
    /// Builds the component that stands for all engines of a released contract: on the day of its freeze, and never again
    #[command(after_help = "wit/README.md has the steps.")]
    Frozen,
    /// Sets up, builds everything in release, and runs the quickstart in the foreground
    #[command(after_help = "Examples:\n  cargo xtask up\n  cargo xtask up --for 20s")]
    Up {
        /// Passed on to `pilothouse up`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Sets up, and runs every test of the workspace
    #[command(after_help = "Examples:\n  cargo xtask test\n  cargo xtask test -p pilothouse-tests recovery -- --nocapture")]
    Test {
        /// Passed on to `cargo test`. With a package named, only that package is tested
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Builds in release, and measures what the host promises, each figure beside its reference
    #[command(
        disable_help_flag = true,
        after_help = "Examples:\n  cargo xtask bench --help\n  cargo xtask bench --quick\n  cargo xtask bench --filter decide"
    )]
    Bench {
        /// Passed on to the harness; `--help` says what it takes
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Writes anew what is generated from the code: the reference in `docs/reference`, and the schema of scenarios
    #[command(after_help = "Example:\n  cargo xtask reference && git diff docs")]
    Reference,
    /// Builds the core for a wasm target, where there is no clock, no entropy and no thread to lean on
    WasmCore,
}

fn run(recipe: &Recipe) -> Result<()> {
    let workspace = Workspace::find()?;
    match recipe {
        Recipe::Setup => {
            recipes::setup(&workspace)?;
            example::provide_all_tools(&workspace)?;
            admin_client::provide(&workspace)?;
            prometheus::provide(&workspace).map(|_| ())
        }
        Recipe::Engines => engines::build(&workspace, &wasm_target::provide(&workspace)?),
        Recipe::Example { name: Some(name), .. } => example::build(&workspace, name),
        Recipe::Example { name: None, .. } => example::list(&workspace),
        Recipe::Frozen => frozen::build(&workspace, &wasm_target::provide(&workspace)?),
        Recipe::Bench { args } => bench::run(&workspace, args),
        Recipe::Reference => recipes::reference(&workspace),
        Recipe::Up { args } => recipes::up(&workspace, args),
        Recipe::Test { args } => recipes::test(&workspace, args),
        Recipe::WasmCore => recipes::wasm_core(&workspace),
    }
}

fn main() -> ExitCode {
    match run(&Cli::parse().recipe) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
