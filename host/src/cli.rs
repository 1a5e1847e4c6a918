//! The command line: what can be said, and what surrounds every command.
//!
//! Parsing, the runtime, logs, signals and exit codes are here; what a command does is in [`crate::commands`] and, for
//! `pilothouse up`, in `crate::up`. Logs go to standard error, data to standard output.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::agent::AgentArgs;
use crate::commands::serve::ServeArgs;
use crate::commands::{
    auth, brake, compile, completions, definition, domain, engine, events, history, host, instance, journal, orphan, serve, simulate, why,
};
use crate::failure;
use crate::output::Format;
use crate::provisioner::LocalProvisionerArgs;
use crate::up::UpArgs;
use crate::{agent, process, provisioner, up};

/// Keeps instances alive and rightly sized, as WebAssembly engines decide
#[derive(Debug, Parser)]
#[command(name = "pilothouse", version, propagate_version = true, after_help = GENERAL_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How logs are written to standard error
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    log_format: LogFormat,
}

const GENERAL_HELP: &str = "\
Examples:
  pilothouse up examples/quickstart/domain.toml     everything on this machine, in one command
  pilothouse domain list                            what there is
  pilothouse why web                                why it does what it does

Exit codes:
  0  done
  1  failed
  2  the command line, a file or a configuration is not valid
  3  not found
  4  conflict: it is there already, or in the way
  5  unavailable: no NATS server, no host, or not now
  6  not permitted
  7  checks failed: what was examined is not as it should be

Environment:
  PILOTHOUSE_LOG     what is logged, such as `debug` or `pilothouse=debug,info` (else RUST_LOG is read)
  PILOTHOUSE_NATS    URL of the NATS server
  PILOTHOUSE_DATA    directory of a `pilothouse up`, whose NATS server is then used";

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs everything that a file of domains needs on this machine: NATS, a host and a provisioner
    Up(UpArgs),
    Serve(ServeArgs),
    /// Runs the agent of one instance: keeps its commands going and says how they are
    #[command(after_help = "\
Examples:
  pilothouse agent spec.json --directory /var/lib/web-0 --nats nats://127.0.0.1:4222

The spec names the instance, the subjects to speak on, and the commands:
  {\"node_id\": \"web-0\", \"heartbeat_subject\": \"ph.v1.heartbeat.7.web-0\", \"sensor_subject\": \"ph.v1.sensor.7.web-0\",
   \"probe_subject\": \"ph.v1.probe.7.web-0\", \"commands\": [{\"name\": \"main\", \"argv\": [\"sleep\", \"1000\"]}]}

SIGTERM and Ctrl-C stop the commands first.")]
    Agent(AgentArgs),
    /// Carries out launches and terminations
    Provisioner(ProvisionerArgs),
    /// Adds, changes and shows domains
    Domain(domain::DomainArgs),
    /// Adds, changes and shows definitions: templates of configurations
    Definition(definition::DefinitionArgs),
    /// Shows instances, ends them, and keeps them from being ended
    Instance(instance::InstanceArgs),
    /// Shows and releases the brake that holds terminations back
    Brake(brake::BrakeArgs),
    /// For authors of engines: examines a component
    Engine(engine::EngineArgs),
    /// Lists hosts, and disables or enables them
    Host(host::HostArgs),
    /// Sets a NATS server up that judges who may say what, and gives credentials
    Auth(auth::AuthArgs),
    /// Compares what provisioners run with what the domains know
    Orphans(orphan::OrphansArgs),
    /// Backs up what hosts need for going on, and restores it
    Journal(journal::JournalArgs),
    /// Tells why a domain, or one of its instances, did what it did
    Why(why::WhyArgs),
    /// Prints what happens in your domains, as it happens
    Events(events::EventsArgs),
    /// Tells what happened in a domain, by time
    History(history::HistoryArgs),
    /// Runs a scenario on an explicit timeline, in virtual time, with the real engine and the real guards
    Simulate(simulate::SimulateArgs),
    /// Prints a completion script for a shell
    #[command(after_help = "\
Examples:
  pilothouse completions bash > ~/.local/share/bash-completion/completions/pilothouse
  pilothouse completions fish > ~/.config/fish/completions/pilothouse.fish")]
    Completions(completions::CompletionsArgs),
    /// Compiles the component on standard input for a host, which starts this by itself
    #[command(name = compile::NAME, hide = true, after_help = "\
Examples:
  pilothouse compile-component < engine.wasm > answer     begins with a byte: 0 for machine code, 1 for what is wrong")]
    Compile,
}

#[derive(Debug, clap::Args)]
struct ProvisionerArgs {
    #[command(subcommand)]
    kind: ProvisionerKind,
}

#[derive(Debug, Subcommand)]
enum ProvisionerKind {
    /// Runs instances as processes of this machine
    #[command(after_help = "\
Examples:
  pilothouse provisioner local --data /var/lib/pilothouse --deployables deployables.toml

The file of deployables says what can be started:
  [deployable.worker]
  commands = [{ name = \"main\", argv = [\"sleep\", \"1000\"] }]

SIGTERM and Ctrl-C end it. Its instances go on and are found again at the next start, unless --stop-instances-on-exit is given.")]
    Local(LocalProvisionerArgs),
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// A line for people
    Text,
    /// A JSON object a line
    Json,
}

/// Runs the program. What its arguments are comes from the environment, as for every program.
pub fn main() -> ExitCode {
    let Cli { command, log_format } = Cli::parse();
    start_logs(&command, log_format);
    if matches!(command, Command::Compile) {
        // Before there are any threads: it bounds its process.
        return compile::run();
    }
    let format = command.format();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure::report(&anyhow::Error::from(error).context("starting the runtime"), format),
    };
    let outcome = runtime.block_on(run(command));
    // Nothing that matters is left: whoever had to finish something was awaited.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error, format),
    }
}

/// The command line as a whole, for the reference.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up(args) => up::run(args, process::asked_to_stop()?).await,
        Command::Serve(args) => serve::run(args, process::asked_to_stop()?).await,
        Command::Agent(args) => agent::run(args, process::asked_to_stop()?).await,
        Command::Provisioner(ProvisionerArgs { kind: ProvisionerKind::Local(args) }) => {
            provisioner::run(args, process::asked_to_stop()?).await
        }
        Command::Domain(args) => domain::run(args).await,
        Command::Definition(args) => definition::run(args).await,
        Command::Instance(args) => instance::run(args).await,
        Command::Brake(args) => brake::run(args).await,
        Command::Engine(args) => engine::run(args).await,
        Command::Host(args) => host::run(args).await,
        Command::Auth(args) => auth::run(args),
        Command::Orphans(args) => orphan::run(args).await,
        Command::Journal(args) => journal::run(args).await,
        Command::Why(args) => why::run(args).await,
        Command::Events(args) => events::run(args).await,
        Command::History(args) => history::run(args).await,
        Command::Simulate(args) => simulate::run(&args),
        Command::Completions(args) => completions::run(args, &mut Cli::command()),
        Command::Compile => unreachable!("it was carried out before"),
    }
}

impl Command {
    /// How the command answers, and so how its failure is told.
    fn format(&self) -> Format {
        match self {
            Self::Domain(args) => args.client.output,
            Self::Definition(args) => args.client.output,
            Self::Instance(args) => args.client.output,
            Self::Brake(args) => args.client.output,
            Self::History(args) => args.client.output,
            Self::Engine(args) => args.output,
            Self::Auth(args) => args.output,
            Self::Orphans(args) => args.client.output,
            Self::Journal(args) => args.client.output,
            Self::Why(args) => args.client.output,
            Self::Host(args) => args.client.output,
            Self::Events(args) => args.client.output,
            Self::Simulate(args) => args.output,
            Self::Up(_) | Self::Serve(_) | Self::Agent(_) | Self::Provisioner(_) | Self::Completions(_) | Self::Compile => Format::Text,
        }
    }

    /// What is logged unless the environment says otherwise: services tell what they do, commands only what is wrong.
    fn default_filter(&self) -> &'static str {
        match self {
            Self::Serve(_) | Self::Agent(_) | Self::Provisioner(_) => "info,async_nats=warn",
            // An engine that is being examined complains of what it is handed, and should.
            Self::Engine(_) => "error",
            // It tells by itself what becomes of its children, and that is why a connection is lost.
            Self::Up(_) => "error,async_nats=off",
            _ => "warn,async_nats=error",
        }
    }
}

fn start_logs(command: &Command, format: LogFormat) {
    let wanted = ["PILOTHOUSE_LOG", "RUST_LOG"].into_iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let filter = EnvFilter::builder().parse_lossy(wanted.as_deref().unwrap_or_else(|| command.default_filter()));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let begun = match format {
        LogFormat::Text => logs.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => logs.json().try_init(),
    };
    if let Err(error) = begun {
        eprintln!("pilothouse: no logs: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_help_with_an_example() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(command.get_about().is_some(), "{path} says what it does");
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let is_group = command.has_subcommands() && !path.trim().eq("pilothouse");
            assert!(is_group || examples.contains("pilothouse"), "{path} has no example");
            command.get_subcommands().filter(|it| it.get_name() != "help").for_each(|it| check(it, &path));
        }
        check(&Cli::command(), "");
    }
}
