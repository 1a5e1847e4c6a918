//! `pilothouse domain …`: adding, changing and showing domains.

pub(super) mod config;
mod describe;
mod list;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use pilothouse_core::command::ApiError;
use pilothouse_core::name::Name;
use pilothouse_core::state::Life;
use serde_json::Value;
use tokio::time::Instant;

use self::config::Setting;
use super::caller::{Caller, CallerArgs, request_id};
use crate::api::{AddDomain, CallError, DomainDescription, DomainList, Done, DryRun, ListDomains, OnDomain, Operation, ReconfigureDomain};
use crate::failure::Failure;
use crate::output::Format;
use crate::output::clean;

/// What to do with domains, and how to reach the hosts.
#[derive(Debug, clap::Args)]
pub(crate) struct DomainArgs {
    #[command(subcommand)]
    command: DomainCommand,
    #[command(flatten)]
    pub(crate) client: CallerArgs,
}

#[derive(Debug, Subcommand)]
enum DomainCommand {
    /// Adds a domain; its engine is asked at once
    #[command(after_help = "\
Examples:
  pilothouse domain add web web.toml
  pilothouse domain add web --engine simplest --set engine_conf.preserve_n=3
  jq .config saved.json | pilothouse domain add web -

A configuration has the sections general, health and engine_conf:
  [general]
  engine = \"simplest\"
  [engine_conf]
  preserve_n = 3")]
    Add {
        /// The name of the new domain
        #[arg(value_name = "NAME")]
        name: Name,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Lists your domains
    #[command(after_help = "\
Examples:
  pilothouse domain list
  pilothouse domain list --output json | jq -r '.domains[] | select(.status != \"stable\") | .name'")]
    List,
    /// Tells all about one domain
    #[command(after_help = "\
Examples:
  pilothouse domain describe web
  pilothouse domain describe web --output json | jq .config > saved.json")]
    Describe(OneDomain),
    /// Changes the configuration of a domain
    #[command(after_help = "\
Examples:
  pilothouse domain reconfigure web --set engine_conf.preserve_n=5
  pilothouse domain reconfigure web changes.toml

What is not named stays as it is. A value is replaced whole: `--set general.brake={\"enabled\":false}` sets the rest of the brake back.")]
    Reconfigure {
        /// The domain
        #[arg(value_name = "NAME")]
        name: Name,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Ends a domain: first its instances, then itself
    #[command(after_help = "\
Examples:
  pilothouse domain remove web
  pilothouse domain remove web --wait=60")]
    Remove {
        #[command(flatten)]
        domain: OneDomain,
        /// Return when it is gone, or fail after so many seconds
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "300")]
        wait: Option<u64>,
    },
    /// Keeps the engine of a domain from asking for anything
    #[command(after_help = "\
Examples:
  pilothouse domain pause web

What was promised before is still carried out. `pilothouse domain resume web` ends the pause.")]
    Pause(OneDomain),
    /// Lets the engine of a domain ask again
    #[command(after_help = "\
Examples:
  pilothouse domain resume web")]
    Resume(OneDomain),
    /// Has what the engine of a domain asks for recorded only, or carried out again
    #[command(after_help = "\
Examples:
  pilothouse domain dry-run web on
  pilothouse why web
  pilothouse domain dry-run web off")]
    DryRun {
        #[command(flatten)]
        domain: OneDomain,
        /// On or off
        #[arg(value_name = "on|off", value_enum)]
        switch: Switch,
    },
    /// Says that the instances that turned unhealthy really are, so that they may be replaced
    #[command(after_help = "\
Examples:
  pilothouse domain release-brake web

The brake is on while so many instances turned unhealthy at once that the host does not believe it; `pilothouse domain describe web` shows it.")]
    ReleaseBrake(OneDomain),
}

#[derive(Debug, clap::Args)]
struct OneDomain {
    /// The domain
    #[arg(value_name = "NAME")]
    name: Name,
}

#[derive(Debug, clap::Args)]
struct ConfigArgs {
    /// The configuration, as TOML or JSON; `-` reads it from standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The engine: NAME, or NAME@VERSION
    #[arg(long, value_name = "ENGINE")]
    engine: Option<String>,
    /// One value of the configuration, over that of the file; JSON, or a plain text. May be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    settings: Vec<Setting>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

impl ConfigArgs {
    fn read(self) -> anyhow::Result<Value> {
        let mut config = match &self.file {
            Some(path) => config::read(path)?,
            None => Value::Object(serde_json::Map::new()),
        };
        let engine = self.engine.map(Setting::engine);
        for setting in engine.into_iter().chain(self.settings) {
            setting.put_into(&mut config)?;
        }
        Ok(config)
    }
}

/// Carries out the command and shows the answer.
pub(crate) async fn run(args: DomainArgs) -> anyhow::Result<()> {
    let DomainArgs { command, client } = args;
    let output = client.output;
    match command {
        DomainCommand::Add { name, config } => {
            let config = config.read()?;
            let caller = client.connect().await?;
            let request = AddDomain { domain: name.to_string(), config, request_id: request_id(), ..AddDomain::default() };
            let done: Done = caller.call(Operation::DomainAdd, &request).await?;
            output.print(&done, |done| format!("domain {name} added{}", engine_of(done)))?;
        }
        DomainCommand::Reconfigure { name, config } => {
            let config = config.read()?;
            if config.as_object().is_some_and(serde_json::Map::is_empty) {
                return Err(Failure::Invalid("nothing to change: name a FILE, --engine or --set".to_owned()).into());
            }
            let caller = client.connect().await?;
            let request = ReconfigureDomain { domain: name.to_string(), config, request_id: request_id() };
            let done: Done = caller.call(Operation::DomainReconfigure, &request).await?;
            output.print(&done, |done| format!("domain {name} is at revision {}{}", done["config_revision"], engine_of(done)))?;
        }
        DomainCommand::List => {
            let caller = client.connect().await?;
            let list: DomainList = caller.call(Operation::DomainList, &ListDomains {}).await?;
            output.print(&list, list::text)?;
        }
        DomainCommand::Describe(OneDomain { name }) => {
            let caller = client.connect().await?;
            let description = describe(&caller, &name).await?;
            let now = crate::clock::now();
            output.print(&description, |it| describe::text(it, now))?;
        }
        DomainCommand::Remove { domain: OneDomain { name }, wait } => {
            let caller = client.connect().await?;
            remove(&caller, &name, wait.map(Duration::from_secs), output).await?;
        }
        DomainCommand::Pause(domain) => on(&client, domain, Operation::DomainPause, "is paused").await?,
        DomainCommand::Resume(domain) => on(&client, domain, Operation::DomainResume, "is no longer paused").await?,
        DomainCommand::ReleaseBrake(domain) => {
            on(&client, domain, Operation::BrakeRelease, "believes what turned unhealthy so far").await?;
        }
        DomainCommand::DryRun { domain: OneDomain { name }, switch } => {
            let caller = client.connect().await?;
            let on = switch == Switch::On;
            let request = DryRun { domain: name.to_string(), on, request_id: request_id() };
            let done: Done = caller.call(Operation::DomainDryRun, &request).await?;
            let what = if on { "runs dry: requests are only recorded" } else { "no longer runs dry" };
            output.print(&done, |_| format!("domain {name} {what}"))?;
        }
    }
    Ok(())
}

/// A command that names only a domain.
async fn on(client: &CallerArgs, OneDomain { name }: OneDomain, operation: Operation, outcome: &str) -> anyhow::Result<()> {
    let caller = client.connect().await?;
    let request = OnDomain { domain: name.to_string(), request_id: request_id() };
    let done: Done = caller.call(operation, &request).await?;
    client.output.print(&done, |_| format!("domain {name} {outcome}"))?;
    Ok(())
}

async fn describe(caller: &Caller, name: &Name) -> Result<DomainDescription, CallError> {
    caller.call(Operation::DomainDescribe, &OnDomain { domain: name.to_string(), request_id: None }).await
}

/// Asks for the end of a domain, and waits for it if that is wanted.
async fn remove(caller: &Caller, name: &Name, wait: Option<Duration>, output: Format) -> anyhow::Result<()> {
    /// Between two looks. Nobody watches the end of a domain closely.
    const LOOK: Duration = Duration::from_millis(300);
    let request = OnDomain { domain: name.to_string(), request_id: request_id() };
    let done: Done = caller.call(Operation::DomainRemove, &request).await?;
    let Some(wait) = wait else {
        output.print(&done, |_| format!("domain {name} is being removed"))?;
        return Ok(());
    };
    let end = Instant::now() + wait;
    loop {
        match describe(caller, name).await {
            Err(CallError::Api(ApiError::NotFound { .. })) => break,
            Ok(description) if description.summary.life == Life::Removed => break,
            Ok(description) if Instant::now() >= end => {
                let left = description.instances.iter().filter(|instance| !instance.state.is_gone()).count();
                let text = format!("domain {name} is still there after {} s, with {left} instances", wait.as_secs());
                return Err(Failure::Unavailable(text).into());
            }
            Ok(_) => tokio::time::sleep(LOOK).await,
            Err(error) => return Err(error.into()),
        }
    }
    output.print(&done, |_| format!("domain {name} is gone"))?;
    Ok(())
}

/// `, decided by simplest 0.1.0`, where the answer tells.
fn engine_of(done: &Done) -> String {
    let engine = &done["engine"];
    match (engine["name"].as_str(), engine["version"].as_str()) {
        (Some(name), Some(version)) => clean(&format!(", decided by {name} {version}")),
        _ => String::new(),
    }
}
