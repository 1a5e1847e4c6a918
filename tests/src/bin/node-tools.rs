//! What runs on a node, as a program of its own: the agent and the local provisioner.

use clap::Parser;
use pilothouse::{agent, commands::serve, process, provisioner};

#[derive(Debug, Parser)]
enum NodeTools {
    /// Run an agent
    Agent(agent::AgentArgs),
    /// Run a provisioner
    #[command(subcommand)]
    Provisioner(Site),
    /// Run a host
    Serve(serve::ServeArgs),
}

#[derive(Debug, clap::Subcommand)]
enum Site {
    /// Run instances as processes of this machine
    Local(provisioner::LocalProvisionerArgs),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let shutdown = process::asked_to_stop()?;
    match NodeTools::parse() {
        NodeTools::Agent(args) => agent::run(args, shutdown).await,
        NodeTools::Serve(args) => serve::run(args, shutdown).await,
        NodeTools::Provisioner(Site::Local(args)) => provisioner::run(args, shutdown).await,
    }
}
