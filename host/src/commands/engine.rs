//! `pilothouse engine`: for those who write engines. Everything here works without a host and without NATS.

mod build;
pub(super) mod check;
mod new;

use crate::output::Format;

/// What to do with an engine.
#[derive(Debug, clap::Args)]
pub(crate) struct EngineArgs {
    #[command(subcommand)]
    command: EngineCommand,
    /// How to answer
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub(crate) output: Format,
}

#[derive(Debug, clap::Subcommand)]
enum EngineCommand {
    New(new::NewArgs),
    Build(build::BuildArgs),
    Check(check::CheckArgs),
}

/// Carries out the command.
pub(crate) async fn run(args: EngineArgs) -> anyhow::Result<()> {
    let EngineArgs { command, output } = args;
    match command {
        EngineCommand::New(args) => new::run(args, output),
        EngineCommand::Build(args) => build::run(args, output).await,
        EngineCommand::Check(args) => check::run(args, output).await,
    }
}
