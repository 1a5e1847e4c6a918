//! `pilothouse domain …`: adding, changing and showing domains.

pub(super) mod config;
pub(super) mod describe;
mod diff;
mod list;
pub(super) mod schedule;
mod shadow;
mod subscriber;

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use pilothouse_core::command::ApiError;
use pilothouse_core::name::Name;
use pilothouse_core::state::Life;
use serde::Serialize;
use tokio::time::Instant;

use self::config::ConfigArgs;
use self::shadow::ShadowArgs;
use self::subscriber::SubscriberArg;
use super::caller::{Caller, CallerArgs, request_id};
use crate::api::{
    AddDomain, AskSchedule, CallError, DiffDomain, DomainDescription, DomainDiff, DomainList, DomainSchedule, Done, DryRun, ListDomains,
    OnDomain, Operation, ReconfigureDomain, RemoveDomain, SubscribeDomain, UnsubscribeDomain,
};
use crate::failure::Failure;
use crate::output::{clean, count};

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
  pilothouse domain add second --definition workers --set engine_conf.preserve_n=2
  pilothouse domain add web web.toml --subscriber desk:told
  jq .config saved.json | pilothouse domain add web -

A configuration has the sections general, health, engine_conf, schedule and sensors:
  [general]
  engine = \"simplest\"
  [engine_conf]
  preserve_n = 3
With --definition each key goes over that of the definition; `pilothouse definition list` shows what there is.")]
    Add {
        /// The name of the new domain
        #[arg(value_name = "NAME")]
        name: Name,
        #[command(flatten)]
        config: ConfigArgs,
        /// The definition that it is made from: a template of configurations
        #[arg(long, value_name = "NAME")]
        definition: Option<Name>,
        /// Whom to tell of its instances from the beginning; `pilothouse domain subscribe --help` says how
        #[arg(long, value_name = "NAME:OPERATION")]
        subscriber: Option<SubscriberArg>,
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
  pilothouse domain reconfigure web --set sensors.queue=null      no longer pulls that series

What is not named stays as it is. A value is replaced whole: `--set general.brake={\"enabled\":false}` sets the rest of the brake back.
`pilothouse domain diff` takes the same arguments and only shows what would change.")]
    Reconfigure {
        /// The domain
        #[arg(value_name = "NAME")]
        name: Name,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Shows what a reconfigure would change, and what is wrong with it
    #[command(after_help = "\
Examples:
  pilothouse domain diff web --set engine_conf.preserve_n=5
  pilothouse domain diff web changes.toml && pilothouse domain reconfigure web changes.toml

Nothing is changed. Exit code 0 when a reconfigure would be taken, 2 when it would be refused.")]
    Diff {
        /// The domain
        #[arg(value_name = "NAME")]
        name: Name,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Tells what the schedule of a domain says now, and what it will change
    #[command(after_help = "\
Examples:
  pilothouse domain schedule web
  pilothouse domain schedule web --next 20
  pilothouse domain schedule web --output json | jq '.next[0]'

A schedule is a list of windows in the configuration of a domain. Here ten instances instead of three on working days:
  [[schedule]]
  name = \"day\"
  time_zone = \"Europe/Vienna\"
  start = \"0 8 * * mon-fri\"
  end = \"0 18 * * mon-fri\"
  engine_conf = { preserve_n = 10 }")]
    Schedule {
        #[command(flatten)]
        domain: OneDomain,
        /// How many of the changes that are coming are shown, at most 100
        #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=100))]
        next: u32,
    },
    /// Ends a domain: first its instances, then itself
    #[command(after_help = "\
Examples:
  pilothouse domain remove web
  pilothouse domain remove web --wait=60
  pilothouse domain remove web --abandon

Instances that are protected keep a domain from being removed. With --abandon nobody waits for the end of the instances, protected or not:
the domain goes at once, and what goes on running belongs to no domain any more (`pilothouse orphans --site SITE` finds it). That is for when a
provisioner is gone for good, and nothing asks whether you mean it.")]
    Remove {
        #[command(flatten)]
        domain: OneDomain,
        /// Don't wait for the end of its instances: for when their provisioner is gone for good
        #[arg(long)]
        abandon: bool,
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
    /// Has another engine run beside that of a domain and compares them, or none any more
    Shadow(ShadowArgs),
    /// Gives an engine that is held, and versions that the domain went back from, another chance; one whose calls fail is asked at once
    #[command(after_help = "\
Examples:
  pilothouse why web
  pilothouse domain retry web

An engine is held when it failed too often (general.roll_back_after) and there is no version to go back to. It is asked again at once.
Versions that the domain was rolled back from are taken up again, as far as its configuration follows versions.")]
    Retry(OneDomain),
    /// Has somebody told when an instance of a domain runs, fails or ends
    #[command(after_help = "\
Examples:
  pilothouse domain subscribe web desk told
  nats sub ph.v1.subscriber.ann.desk.told

Each time a message goes to PREFIX.v1.subscriber.OWNER.SUBSCRIBER.OPERATION:
  {\"node_id\": \"i01-abc\", \"state\": \"RUNNING\", \"domain_id\": \"web\", \"properties\": {\"hostname\": \"10.0.0.7\"}}
As a rule that is once for each. A message may be lost, and may come again after a restore: `pilothouse domain describe` has the truth.
A domain may have several subscribers.")]
    Subscribe {
        #[command(flatten)]
        domain: OneDomain,
        /// Who is told: the last token but one of the subject
        #[arg(value_name = "SUBSCRIBER")]
        subscriber: Name,
        /// What of theirs is called: the last token of the subject
        #[arg(value_name = "OPERATION")]
        operation: Name,
    },
    /// Has a subscriber of a domain told no more
    #[command(after_help = "\
Examples:
  pilothouse domain unsubscribe web desk
  pilothouse domain unsubscribe web desk told

Without OPERATION every subscription of that subscriber ends.")]
    Unsubscribe {
        #[command(flatten)]
        domain: OneDomain,
        /// Who
        #[arg(value_name = "SUBSCRIBER")]
        subscriber: Name,
        /// Only this of their operations
        #[arg(value_name = "OPERATION")]
        operation: Option<Name>,
    },
}

#[derive(Debug, clap::Args)]
struct OneDomain {
    /// The domain
    #[arg(value_name = "NAME")]
    name: Name,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// Carries out the command and shows the answer.
pub(crate) async fn run(args: DomainArgs) -> anyhow::Result<()> {
    let DomainArgs { command, client } = args;
    let output = client.output;
    match command {
        DomainCommand::Add { name, config, definition, subscriber } => {
            let (subscriber_name, subscriber_op) = subscriber.map(|it| (it.name.to_string(), it.operation.to_string())).unzip();
            let (domain, definition) = (name.to_string(), definition.map(|it| it.to_string()));
            let config = config.read()?;
            let request = AddDomain { domain, definition, config, subscriber_name, subscriber_op, request_id: request_id() };
            change(&client, Operation::DomainAdd, &request, |done| format!("domain {name} added{}", engine_of(done))).await
        }
        DomainCommand::List => {
            let list: DomainList = client.connect().await?.call(Operation::DomainList, &ListDomains {}).await?;
            Ok(output.print(&list, list::text)?)
        }
        DomainCommand::Describe(domain) => {
            let request = OnDomain { domain: domain.name.to_string(), request_id: None };
            let description: DomainDescription = client.connect().await?.call(Operation::DomainDescribe, &request).await?;
            let now = crate::clock::now();
            Ok(output.print(&description, |it| describe::text(it, now))?)
        }
        DomainCommand::Reconfigure { name, config } => {
            let request = ReconfigureDomain { domain: name.to_string(), config: config.read_some()?, request_id: request_id() };
            let told = |done: &Done| format!("domain {name} is at revision {}{}", done["config_revision"], engine_of(done));
            change(&client, Operation::DomainReconfigure, &request, told).await
        }
        DomainCommand::Diff { name, config } => {
            let request = DiffDomain { domain: name.to_string(), config: config.read_some()? };
            let diff: DomainDiff = client.connect().await?.call(Operation::DomainDiff, &request).await?;
            output.print(&diff, diff::text)?;
            match diff.problems.len() {
                0 => Ok(()),
                n => Err(Failure::Invalid(format!("domain {name} would not take this: {}", count(n, "problem"))).into()),
            }
        }
        DomainCommand::Schedule { domain, next } => {
            let request = AskSchedule { domain: domain.name.to_string(), next: Some(next) };
            let schedule: DomainSchedule = client.connect().await?.call(Operation::DomainSchedule, &request).await?;
            let now = crate::clock::now();
            Ok(output.print(&schedule, |it| schedule::text(it, now))?)
        }
        DomainCommand::Remove { domain: OneDomain { name }, abandon, wait } => {
            let request = RemoveDomain { domain: name.to_string(), abandon, request_id: request_id() };
            let caller = client.connect().await?;
            let done: Done = caller.call(Operation::DomainRemove, &request).await?;
            match wait {
                Some(seconds) => gone(&caller, &name, Duration::from_secs(seconds)).await?,
                None => return Ok(output.print(&done, |_| format!("domain {name} is being removed"))?),
            }
            Ok(output.print(&done, |_| format!("domain {name} is gone"))?)
        }
        DomainCommand::Pause(domain) => on(&client, domain, Operation::DomainPause, "is paused").await,
        DomainCommand::Resume(domain) => on(&client, domain, Operation::DomainResume, "is no longer paused").await,
        DomainCommand::DryRun { domain: OneDomain { name }, switch } => {
            let on = switch == Switch::On;
            let request = DryRun { domain: name.to_string(), on, request_id: request_id() };
            let what = if on { "runs dry: requests are only recorded" } else { "no longer runs dry" };
            change(&client, Operation::DomainDryRun, &request, |_| format!("domain {name} {what}")).await
        }
        DomainCommand::Shadow(args) => args.run(&client).await,
        DomainCommand::Retry(domain) => on(&client, domain, Operation::DomainRetry, "gives its engine another chance").await,
        DomainCommand::Subscribe { domain: OneDomain { name }, subscriber, operation } => {
            let request = SubscribeDomain {
                domain: name.to_string(),
                subscriber_name: subscriber.to_string(),
                subscriber_op: operation.to_string(),
                request_id: request_id(),
            };
            let told = |_: &Done| format!("{subscriber} is told of the instances of domain {name}, as {operation}");
            change(&client, Operation::DomainSubscribe, &request, told).await
        }
        DomainCommand::Unsubscribe { domain: OneDomain { name }, subscriber, operation } => {
            let request = UnsubscribeDomain {
                domain: name.to_string(),
                subscriber_name: subscriber.to_string(),
                subscriber_op: operation.map(|it| it.to_string()),
                request_id: request_id(),
            };
            let told = |done: &Done| match done["unsubscribed"].as_u64() {
                Some(0) => format!("domain {name} had no such subscriber"),
                _ => format!("{subscriber} is told no more of the instances of domain {name}"),
            };
            change(&client, Operation::DomainUnsubscribe, &request, told).await
        }
    }
}

/// A request that changes something, and its answer as a line.
pub(super) async fn change(
    client: &CallerArgs,
    operation: Operation,
    request: &impl Serialize,
    told: impl FnOnce(&Done) -> String,
) -> anyhow::Result<()> {
    let done: Done = client.connect().await?.call(operation, request).await?;
    Ok(client.output.print(&done, told)?)
}

/// A command that names only a domain.
async fn on(client: &CallerArgs, OneDomain { name }: OneDomain, operation: Operation, outcome: &str) -> anyhow::Result<()> {
    let request = OnDomain { domain: name.to_string(), request_id: request_id() };
    change(client, operation, &request, |_| format!("domain {name} {outcome}")).await
}

/// Waits for the end of a domain.
async fn gone(caller: &Caller, name: &Name, wait: Duration) -> anyhow::Result<()> {
    /// Between two looks. Nobody watches the end of a domain closely.
    const LOOK: Duration = Duration::from_millis(300);
    let end = Instant::now() + wait;
    let request = OnDomain { domain: name.to_string(), request_id: None };
    loop {
        match caller.try_call::<DomainDescription>(Operation::DomainDescribe, &request).await {
            Err(CallError::Api(ApiError::NotFound { .. })) => return Ok(()),
            Ok(description) if description.summary.life == Life::Removed => return Ok(()),
            Ok(description) if Instant::now() >= end => {
                let left = description.instances.iter().filter(|instance| !instance.state.is_gone()).count();
                let left = count(left, "instance");
                return Err(Failure::Unavailable(format!("domain {name} is still there after {} s, with {left}", wait.as_secs())).into());
            }
            Ok(_) => tokio::time::sleep(LOOK).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// `, decided by simplest 0.1.0`, where the answer tells.
fn engine_of(done: &Done) -> String {
    let engine = &done["engine"];
    match (engine["name"].as_str(), engine["version"].as_str()) {
        (Some(name), Some(version)) => clean(&format!(", decided by {name} {version}")),
        _ => String::new(),
    }
}
