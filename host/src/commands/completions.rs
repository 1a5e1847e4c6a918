//! `pilothouse completions`: a script that lets a shell complete our commands.

use clap::Command;
use clap_complete::Shell;

use crate::output;

/// For which shell.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(args: CompletionsArgs, cli: &mut Command) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, cli, "pilothouse", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(())
}
