//! `pilothouse brake …`: whether a domain believes that so many turned unhealthy.

use pilothouse_core::name::Name;
use pilothouse_core::time::Timestamp;

use super::caller::{CallerArgs, request_id};
use super::domain::change;
use crate::api::{BrakeDescription, OnDomain, Operation};
use crate::output::{clean, count, length, moment_ago};

/// What to do with a brake, and how to reach the hosts.
#[derive(Debug, clap::Args)]
pub(crate) struct BrakeArgs {
    #[command(subcommand)]
    command: BrakeCommand,
    #[command(flatten)]
    pub(crate) client: CallerArgs,
}

#[derive(Debug, clap::Subcommand)]
enum BrakeCommand {
    /// Tells whether a domain's brake is on, and when it would be
    #[command(after_help = "\
Examples:
  pilothouse brake show web
  pilothouse brake show web --output json | jq .on

The brake is on while so many instances turned unhealthy at once that the host does not believe it. Terminations wait then.")]
    Show {
        /// The domain
        #[arg(value_name = "DOMAIN")]
        domain: Name,
    },
    /// Says that the instances that turned unhealthy really are, so that they may be replaced
    #[command(after_help = "\
Examples:
  pilothouse brake show web
  pilothouse brake release web

What turns unhealthy later is judged anew. `--set general.brake={\"enabled\":false}` in a reconfigure switches the brake off.")]
    Release {
        /// The domain
        #[arg(value_name = "DOMAIN")]
        domain: Name,
    },
}

/// Carries out the command and shows the answer.
pub(crate) async fn run(args: BrakeArgs) -> anyhow::Result<()> {
    let BrakeArgs { command, client } = args;
    match command {
        BrakeCommand::Show { domain } => {
            let request = OnDomain { domain: domain.to_string(), request_id: None };
            let brake: BrakeDescription = client.connect().await?.call(Operation::BrakeShow, &request).await?;
            let now = crate::clock::now();
            Ok(client.output.print(&brake, |it| text(it, now))?)
        }
        BrakeCommand::Release { domain } => {
            let request = OnDomain { domain: domain.to_string(), request_id: request_id() };
            change(&client, Operation::BrakeRelease, &request, |_| format!("domain {domain} believes what turned unhealthy so far")).await
        }
    }
}

fn text(brake: &BrakeDescription, now: Timestamp) -> String {
    let BrakeDescription { domain, on, reason, unhealthy, valid, released, dripped, config } = brake;
    let is = match (on, config.enabled) {
        (true, _) => "ON",
        (false, true) => "off",
        (false, false) => "off; its configuration never lets it be on",
    };
    let mut text = format!("The brake of domain {domain} is {is}\n");
    let mut line = |name: &str, value: String| text += &format!("  {name:<9}  {value}\n");
    if let Some(reason) = reason {
        line("why", clean(reason));
    }
    line("unhealthy", format!("{unhealthy} of {}", count(*valid as usize, "instance")));
    if config.enabled {
        let (floor, share, window) = (config.floor, config.share * 100.0, length(config.window));
        line("is on", format!("when at least {floor}, and at least {share:.0} %, turned unhealthy within {window}"));
        let (after, every) = (length(config.drip_after), length(config.drip_every));
        line("then", format!("terminations wait; after {after} they go one at a time, every {every}"));
    }
    for (name, at) in [("released", released), ("let go", dripped)] {
        if let Some(at) = at {
            line(name, moment_ago(*at, now));
        }
    }
    if *on {
        line("to do", format!("if they really are broken: pilothouse brake release {domain}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use pilothouse_core::config::BrakeConfig;

    use super::*;

    #[test]
    fn a_brake_that_is_on_says_why_and_what_to_do() {
        let brake = BrakeDescription {
            domain: "web".parse().expect("a name"),
            on: true,
            reason: Some("6 of 8 turned unhealthy within 3 s".to_owned()),
            unhealthy: 6,
            valid: 8,
            released: None,
            dripped: Some(Timestamp::from_secs(1_795_241_128)),
            config: BrakeConfig::default(),
        };
        let told = text(&brake, Timestamp::from_secs(1_795_241_138));
        for part in [
            "The brake of domain web is ON\n  why        6 of 8 turned unhealthy within 3 s\n  unhealthy  6 of 8 instances\n",
            "  let go     2026-11-21 06:05:28Z (10 s ago)\n  to do      if they really are broken: pilothouse brake release web\n",
        ] {
            assert!(told.contains(part), "{part:?} is not in:\n{told}");
        }
        let config = BrakeConfig { enabled: false, ..brake.config.clone() };
        let off = text(&BrakeDescription { on: false, reason: None, dripped: None, unhealthy: 0, config, ..brake }, Timestamp::ZERO);
        let expected = "The brake of domain web is off; its configuration never lets it be on\n  unhealthy  0 of 8 instances\n";
        assert_eq!(off, expected);
    }
}
