//! `pilothouse host …`: which hosts there are, and whether they decide.

use clap::Subcommand;
use pilothouse_core::name::Name;
use pilothouse_core::time::Timestamp;

use super::caller::{CallerArgs, request_id};
use crate::api::{HostDescription, HostList, HostSwitched, ListHosts, OnHost, Operation};
use crate::output::{clean, moment_ago, table};

/// What to do with hosts, and how to reach them.
#[derive(Debug, clap::Args)]
pub(crate) struct HostArgs {
    #[command(subcommand)]
    command: HostCommand,
    #[command(flatten)]
    pub(crate) client: CallerArgs,
}

#[derive(Debug, Subcommand)]
enum HostCommand {
    /// Lists the hosts that answer
    #[command(after_help = "\
Examples:
  pilothouse host list
  pilothouse host list --output json | jq -r '.hosts[] | select(.owner) | .host'")]
    List,
    /// Has a host ask engines nothing until it is enabled again
    #[command(after_help = "\
Examples:
  pilothouse host disable ship-1

Another host takes the domains over, if there is one that decides. If there is none, the host goes on without deciding: reports, commands
and what was promised are seen to, and nothing new is launched or ended by an engine. It stays disabled when it is started again.")]
    Disable(OneHost),
    /// Has a host ask engines again, at once
    #[command(after_help = "\
Examples:
  pilothouse host enable ship-1

What was changed meanwhile is honoured at once. A host that has taken the domains over keeps them.")]
    Enable(OneHost),
}

#[derive(Debug, clap::Args)]
struct OneHost {
    /// The host, as `pilothouse host list` names it
    #[arg(value_name = "NAME")]
    name: Name,
}

/// Carries out the command and shows the answer.
pub(crate) async fn run(args: HostArgs) -> anyhow::Result<()> {
    let HostArgs { command, client } = args;
    let (operation, name) = match command {
        HostCommand::List => {
            let list: HostList = client.connect().await?.call(Operation::HostList, &ListHosts {}).await?;
            let now = crate::clock::now();
            client.output.print(&list, |list| list_text(list, now))?;
            return Ok(());
        }
        HostCommand::Disable(OneHost { name }) => (Operation::HostDisable, name),
        HostCommand::Enable(OneHost { name }) => (Operation::HostEnable, name),
    };
    let request = OnHost { host: name.to_string(), request_id: request_id() };
    let switched: HostSwitched = client.connect().await?.call(operation, &request).await?;
    client.output.print(&switched, switched_text)?;
    Ok(())
}

fn list_text(list: &HostList, now: Timestamp) -> String {
    let away = |name: &Name| format!("{name} is disabled and does not answer; it will be disabled when it comes back\n");
    let away: String = list.disabled_and_away.iter().map(away).collect();
    if list.hosts.is_empty() && away.is_empty() {
        return "no hosts".to_owned();
    }
    let rows: Vec<_> = list.hosts.iter().map(|host| row(host, now)).collect();
    table(["NAME", "VERSION", "DOMAINS", "DECIDES"], &rows) + &away
}

fn row(host: &HostDescription, now: Timestamp) -> [String; 4] {
    let domains = if host.owner { host.domains.to_string() } else { "stands by".to_owned() };
    let decides = match &host.disabled {
        Some(disabled) => format!("no: disabled by {} since {}", disabled.by, moment_ago(disabled.at, now)),
        None => "yes".to_owned(),
    };
    [host.host.to_string(), clean(&host.version), domains, decides]
}

fn switched_text(switched: &HostSwitched) -> String {
    let HostSwitched { host, enabled, noted } = switched;
    let what = if *enabled { "enabled: its engines are asked" } else { "disabled: its engines are not asked" };
    let when = if *noted { "" } else { "; it does not answer now, and will see it when it comes back" };
    format!("host {host} is {what}{when}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Disabled;

    fn host(name: &str) -> HostDescription {
        HostDescription { host: name.parse().expect("a name"), version: "0.1.0".to_owned(), owner: false, domains: 0, disabled: None }
    }

    #[test]
    fn a_table_of_hosts_says_who_looks_after_the_domains_and_who_decides() {
        let at = Timestamp::from_secs(1_795_241_128);
        let disabled = Some(Disabled { by: "ann".parse().expect("a name"), at });
        let hosts = vec![HostDescription { disabled, ..host("ship-1") }, HostDescription { owner: true, domains: 12, ..host("ship-2") }];
        let list = HostList { hosts, disabled_and_away: vec!["ship-3".parse().expect("a name")] };
        assert_eq!(
            list_text(&list, Timestamp::from_secs(1_795_241_140)),
            "NAME    VERSION  DOMAINS    DECIDES\n\
             ship-1  0.1.0    stands by  no: disabled by ann since 2026-11-21 06:05:28Z (12 s ago)\n\
             ship-2  0.1.0    12         yes\n\
             ship-3 is disabled and does not answer; it will be disabled when it comes back\n"
        );
        assert_eq!(list_text(&HostList::default(), at), "no hosts");
    }

    #[test]
    fn the_answer_to_a_switch_says_whether_the_host_knows() {
        let switched = |enabled, noted| switched_text(&HostSwitched { host: "ship-1".parse().expect("a name"), enabled, noted });
        assert_eq!(switched(true, true), "host ship-1 is enabled: its engines are asked");
        assert_eq!(
            switched(false, false),
            "host ship-1 is disabled: its engines are not asked; it does not answer now, and will see it when it comes back"
        );
    }
}
