//! `pilothouse instance …`: single instances, by their id or by the number in their domain.

mod show;

use pilothouse_core::instance::Health;
use pilothouse_core::name::Name;
use pilothouse_core::time::Timestamp;

use super::caller::{CallerArgs, request_id};
use super::domain::change;
use crate::api::{Done, InstanceDescription, InstanceList, InstanceOf, KillInstance, ListInstances, OnInstance, Operation};
use crate::output::{clean, count, length, table};

/// What to do with instances, and how to reach the hosts.
#[derive(Debug, clap::Args)]
pub(crate) struct InstanceArgs {
    #[command(subcommand)]
    command: InstanceCommand,
    #[command(flatten)]
    pub(crate) client: CallerArgs,
}

#[derive(Debug, clap::Subcommand)]
enum InstanceCommand {
    /// Lists the instances of one of your domains, or of all
    #[command(after_help = "\
Examples:
  pilothouse instance list
  pilothouse instance list web --all
  pilothouse instance list --output json | jq -r '.instances[] | select(.health == \"OK\") | .instance_id'

With --output json the gone ones are always there.")]
    List {
        /// Only of this domain
        #[arg(value_name = "DOMAIN")]
        domain: Option<Name>,
        /// The gone ones too, until their records go
        #[arg(long)]
        all: bool,
    },
    /// Tells all about one instance
    #[command(after_help = "\
Examples:
  pilothouse instance show web/0
  pilothouse instance show i0e9-8emys7prta7hay9n

`pilothouse why web 0` tells the reasons for what it did.")]
    Show(OneInstance),
    /// Ends one instance; its engine will probably replace it
    #[command(after_help = "\
Examples:
  pilothouse instance kill web/0
  pilothouse instance kill web/0 --reason 'its disk makes noises'

No pause, dry run, brake or budget holds it back: it is your decision. A protected instance has to be unprotected first.")]
    Kill {
        #[command(flatten)]
        instance: OneInstance,
        /// Why: `pilothouse why` tells it
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Keeps an instance from being ended by its engine or by people
    #[command(after_help = "\
Examples:
  pilothouse instance protect web/0
  pilothouse instance unprotect web/0

It still ends when its provisioner says so, and its host still ends a launch that stalls twice. A domain with protected instances can't
be removed, other than with --abandon, which leaves them running.")]
    Protect(OneInstance),
    /// Takes the protection of an instance back
    #[command(after_help = "\
Examples:
  pilothouse instance unprotect web/0")]
    Unprotect(OneInstance),
}

#[derive(Debug, clap::Args)]
struct OneInstance {
    /// Its id, or DOMAIN/NUMBER
    #[arg(value_name = "INSTANCE")]
    instance: String,
}

/// Carries out the command and shows the answer.
pub(crate) async fn run(args: InstanceArgs) -> anyhow::Result<()> {
    let InstanceArgs { command, client } = args;
    match command {
        InstanceCommand::List { domain, all } => {
            let request = ListInstances { domain: domain.map(|it| it.to_string()) };
            let instances: InstanceList = client.connect().await?.call(Operation::InstanceList, &request).await?;
            let now = crate::clock::now();
            Ok(client.output.print(&instances, |it| list(it, all, now))?)
        }
        InstanceCommand::Show(OneInstance { instance }) => {
            let request = OnInstance { instance, request_id: None };
            let shown: InstanceOf = client.connect().await?.call(Operation::InstanceDescribe, &request).await?;
            let now = crate::clock::now();
            Ok(client.output.print(&shown, |it| show::text(it, now))?)
        }
        InstanceCommand::Kill { instance: OneInstance { instance }, reason } => {
            let request = KillInstance { instance, reason, request_id: request_id() };
            change(&client, Operation::InstanceKill, &request, |done| format!("{} is being ended", named(done))).await
        }
        InstanceCommand::Protect(OneInstance { instance }) => {
            let request = OnInstance { instance, request_id: request_id() };
            change(&client, Operation::InstanceProtect, &request, |done| format!("{} is protected", named(done))).await
        }
        InstanceCommand::Unprotect(OneInstance { instance }) => {
            let request = OnInstance { instance, request_id: request_id() };
            change(&client, Operation::InstanceUnprotect, &request, |done| format!("{} is no longer protected", named(done))).await
        }
    }
}

/// `web/0`, as the answer to a command names it.
fn named(done: &Done) -> String {
    clean(&format!("{}/{}", done["domain"].as_str().unwrap_or_default(), done["ordinal"]))
}

/// The headings of instances in a table.
pub(super) const HEADINGS: [&str; 8] = ["INSTANCE", "STATE", "SINCE", "HEALTH", "SITE", "TYPE", "ID", "NOTE"];

/// An instance in a table.
pub(super) fn row(domain: &Name, instance: &InstanceDescription, now: Timestamp) -> [String; 8] {
    let problem = || instance.errors.first().map(|problem| problem.line());
    let mut notes: Vec<String> = instance.end_reason.clone().or_else(problem).into_iter().collect();
    if instance.protected && !instance.state.is_gone() {
        notes.insert(0, "protected".to_owned());
    }
    [
        format!("{domain}/{}", instance.ordinal),
        instance.state.to_string(),
        length(now.since(instance.state_time)),
        health(instance.health),
        clean(&instance.site),
        clean(&instance.deployable_type),
        instance.instance_id.to_string(),
        clean(&notes.join("; ")),
    ]
}

fn health(health: Health) -> String {
    if health == Health::Unknown { "-".to_owned() } else { health.to_string() }
}

fn list(list: &InstanceList, all: bool, now: Timestamp) -> String {
    let shown = |it: &&InstanceOf| all || !it.instance.state.is_gone();
    let rows: Vec<_> = list.instances.iter().filter(shown).map(|it| row(&it.domain, &it.instance, now)).collect();
    let hidden = list.instances.len() - rows.len();
    let mut text = if rows.is_empty() { "no instances\n".to_owned() } else { table(HEADINGS, &rows) };
    if hidden > 0 {
        text += &format!("and {} gone; --all shows them\n", count(hidden, "instance"));
    }
    if list.left_out > 0 {
        text += &format!("and {} that did not fit; name a DOMAIN to see less at once\n", count(list.left_out, "instance"));
    }
    text.extend(list.unanswered.iter().map(|name| format!("those of {name}: it does not answer at the moment\n")));
    text
}

#[cfg(test)]
pub(super) mod tests {
    use pilothouse_core::instance::State;

    use super::*;

    pub(in crate::commands) fn instance(ordinal: u64, state: State) -> InstanceDescription {
        InstanceDescription {
            instance_id: format!("i001-{ordinal}").parse().expect("an id"),
            ordinal,
            launch_id: "l001-x".parse().expect("an id"),
            state,
            state_time: Timestamp::from_secs(1_000 + ordinal),
            health: Health::Unknown,
            deployable_type: "worker".to_owned(),
            site: "local".to_owned(),
            allocation: "small".to_owned(),
            attributes: Default::default(),
            errors: vec![],
            end_reason: None,
            protected: false,
            sensor_data: Default::default(),
        }
    }

    pub(super) fn of(domain: &str, instance: InstanceDescription) -> InstanceOf {
        InstanceOf { owner: "ann".parse().expect("a name"), domain: domain.parse().expect("a name"), instance }
    }

    #[test]
    fn instances_are_listed_with_what_is_to_be_known_of_them() {
        let protected = InstanceDescription { protected: true, health: Health::Ok, ..instance(2, State::Running) };
        let told = InstanceList {
            instances: vec![of("jobs", instance(7, State::Failed)), of("web", protected)],
            unanswered: vec!["slow".parse().expect("a name")],
            left_out: 3,
        };
        let now = Timestamp::from_secs(1_010);
        assert_eq!(
            list(&told, false, now),
            "INSTANCE  STATE    SINCE  HEALTH  SITE   TYPE    ID      NOTE\n\
             web/2     RUNNING  8 s    OK      local  worker  i001-2  protected\n\
             and 1 instance gone; --all shows them\n\
             and 3 instances that did not fit; name a DOMAIN to see less at once\n\
             those of slow: it does not answer at the moment\n"
        );
        assert!(list(&told, true, now).contains("jobs/7    FAILED   3 s    -"), "{}", list(&told, true, now));
        assert_eq!(list(&InstanceList::default(), false, now), "no instances\n");
    }
}
