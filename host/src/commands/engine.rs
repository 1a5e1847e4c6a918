//! `pilothouse engine`: for those who write engines, and for those who run them.
//!
//! New projects, building and checking work without a host and without NATS. All else is said to the hosts.

mod build;
pub(super) mod check;
mod component;
mod export;
mod faults;
mod limits;
mod list;
mod new;
mod pin;
mod pull;
mod push;
mod remove;
mod show;
mod sum;

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
    Push(push::PushArgs),
    Pull(pull::PullArgs),
    List(list::ListArgs),
    Show(show::ShowArgs),
    Export(export::ExportArgs),
    Remove(remove::RemoveArgs),
    Pin(pin::PinArgs),
    Unpin(pin::UnpinArgs),
    Rollback(pin::RollbackArgs),
    Limits(limits::LimitsArgs),
    Faults(faults::FaultsArgs),
}

/// Carries out the command.
pub(crate) async fn run(args: EngineArgs) -> anyhow::Result<()> {
    let EngineArgs { command, output } = args;
    match command {
        EngineCommand::New(args) => new::run(args, output),
        EngineCommand::Build(args) => build::run(args, output).await,
        EngineCommand::Check(args) => check::run(args, output).await,
        EngineCommand::Push(args) => push::run(args).await,
        EngineCommand::Pull(args) => pull::run(args).await,
        EngineCommand::List(args) => list::run(args).await,
        EngineCommand::Show(args) => show::run(args).await,
        EngineCommand::Export(args) => export::run(args).await,
        EngineCommand::Remove(args) => remove::run(args).await,
        EngineCommand::Pin(args) => pin::pin(args).await,
        EngineCommand::Unpin(args) => pin::unpin(args).await,
        EngineCommand::Rollback(args) => pin::rollback(args).await,
        EngineCommand::Limits(args) => limits::run(args).await,
        EngineCommand::Faults(args) => faults::run(args).await,
    }
}
