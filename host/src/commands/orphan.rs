//! `pilothouse orphans`: what provisioners run and no domain knows, and the reverse.

use pilothouse_core::id::InstanceId;

use super::caller::{CallerArgs, request_id};
use crate::api::{ChooseOrphans, ListOrphans, Operation, Orphans, OrphansDone};
use crate::failure::Failure;
use crate::output::{clean, count, table};

/// Which orphans, and what to do with them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pilothouse orphans
  pilothouse orphans --check
  pilothouse orphans --adopt
  pilothouse orphans --terminate --instance i02a-4g8s7d1m9q0z3x5c
  pilothouse orphans --terminate --site north

Orphans come of domains that were abandoned and of journals that were restored from a backup. One that is adopted belongs to the domain
that it was started for, as if that had launched it; its engine decides what becomes of it. What is missing needs nothing: domains ask
for the state of everything every five minutes, and learn it then.

Asked are the sites that some domain has on record. What an abandoned domain left at a site that no other domain uses is found only if the
site is named.")]
pub(crate) struct OrphansArgs {
    /// Take them into the domains that they were started for
    #[arg(long, conflicts_with = "terminate")]
    adopt: bool,
    /// End them; names --site, --instance or --all
    #[arg(long)]
    terminate: bool,
    /// Only this site, also one where no domain has anything on record; may be repeated
    #[arg(long = "site", value_name = "SITE")]
    sites: Vec<String>,
    /// Only this instance; may be repeated
    #[arg(long = "instance", value_name = "ID")]
    instances: Vec<InstanceId>,
    /// End every one of them, at every site on record
    #[arg(long, requires = "terminate")]
    all: bool,
    /// Fail with exit code 7 when there are orphans, or a site does not answer, or there is no site to ask
    #[arg(long, conflicts_with_all = ["adopt", "terminate"])]
    check: bool,
    #[command(flatten)]
    pub(crate) client: CallerArgs,
}

/// Carries out the command and shows the answer.
pub(crate) async fn run(args: OrphansArgs) -> anyhow::Result<()> {
    let OrphansArgs { adopt, terminate, sites, instances, all, check, client } = args;
    if terminate && sites.is_empty() && instances.is_empty() && !all {
        let text = "--terminate ends what it is told to: name --instance or --site, or say --all";
        return Err(Failure::Invalid(text.to_owned()).into());
    }
    if !adopt && !terminate && !instances.is_empty() {
        return Err(Failure::Invalid("--instance goes with --adopt or --terminate".to_owned()).into());
    }
    let caller = client.connect().await?;
    if !adopt && !terminate {
        let orphans: Orphans = caller.call(Operation::OrphanList, &ListOrphans { sites }).await?;
        client.output.print(&orphans, list_text)?;
        if check && !(orphans.unknown.is_empty() && orphans.unanswered.is_empty()) {
            let found = [count(orphans.unknown.len() + orphans.left_out, "orphan"), count(orphans.unanswered.len(), "silent site")];
            return Err(Failure::Checks(found.join(", ")).into());
        }
        if check && orphans.sites.is_empty() {
            return Err(Failure::Checks("no site was asked".to_owned()).into());
        }
        return Ok(());
    }
    let (operation, what) = if adopt { (Operation::OrphanAdopt, "adopted") } else { (Operation::OrphanTerminate, "asked to end") };
    let request = ChooseOrphans { all: all || (sites.is_empty() && instances.is_empty()), sites, instances, request_id: request_id() };
    let done: OrphansDone = caller.call(operation, &request).await?;
    client.output.print(&done, |done| done_text(done, what))?;
    match done.failed.len() {
        0 => Ok(()),
        failed => Err(Failure::Conflict(format!("{} not {what}", count(failed, "instance"))).into()),
    }
}

fn list_text(orphans: &Orphans) -> String {
    let mut text = String::new();
    if !orphans.unknown.is_empty() {
        let rows: Vec<_> = orphans
            .unknown
            .iter()
            .map(|orphan| {
                let known = &orphan.known;
                let adoptable = if orphan.adoptable { "yes" } else { "no" };
                [
                    known.node_id.to_string(),
                    orphan.site.to_string(),
                    known.state.to_string(),
                    known.domain.to_string(),
                    adoptable.to_owned(),
                    clean(&known.deployable_type),
                ]
            })
            .collect();
        text += "Run by provisioners, and known to no domain:\n";
        text += &table(["INSTANCE", "SITE", "STATE", "STARTED FOR", "ADOPTABLE", "TYPE"], &rows);
    }
    if !orphans.missing.is_empty() {
        let rows: Vec<_> = orphans
            .missing
            .iter()
            .map(|it| {
                let label = format!("{}/{}", it.domain, it.ordinal);
                [it.instance_id.to_string(), it.site.to_string(), it.state.to_string(), label]
            })
            .collect();
        text += "Known to domains, and not run by their provisioner:\n";
        text += &table(["INSTANCE", "SITE", "STATE", "IS"], &rows);
    }
    if orphans.sites.is_empty() {
        text = "no site was asked: no domain has any on record; name them with --site\n".to_owned();
    } else if text.is_empty() {
        text = format!("no orphans at {}\n", count(orphans.sites.len().saturating_sub(orphans.unanswered.len()), "site"));
    }
    if orphans.left_out > 0 {
        text += &format!("and {} more\n", orphans.left_out);
    }
    text + &silent(&orphans.unanswered)
}

fn done_text(done: &OrphansDone, what: &str) -> String {
    let mut text = format!("{} {what}\n", count(done.done.len(), "instance"));
    for failed in &done.failed {
        text += &format!("{}: {}\n", failed.instance_id, clean(&failed.reason));
    }
    if done.left_out > 0 {
        text += &format!("{} more are left: say it again\n", done.left_out);
    }
    text + &silent(&done.unanswered)
}

fn silent(sites: &[pilothouse_core::name::Name]) -> String {
    sites.iter().map(|site| format!("no provisioner answers at site {site}\n")).collect()
}

#[cfg(test)]
mod tests {
    use pilothouse_core::instance::State;
    use pilothouse_core::message::Known;
    use pilothouse_core::name::DomainKey;

    use super::*;
    use crate::api::{Missing, NotDone, Orphan};

    fn orphans() -> Orphans {
        let domain = DomainKey { owner: "ann".parse().expect("a name"), name: "web".parse().expect("a name") };
        let known = Known {
            node_id: "i02a-x".parse().expect("an id"),
            domain: domain.clone(),
            launch_id: "l1".parse().expect("an id"),
            deployable_type: "worker".to_owned(),
            allocation: "small".to_owned(),
            extra_vars: Default::default(),
            state: State::Running,
            epoch: 3,
            sequence: 17,
        };
        let site = || "north".parse().expect("a name");
        let missing = Missing { site: site(), domain, instance_id: "i02a-y".parse().expect("an id"), ordinal: 4, state: State::Started };
        Orphans {
            unknown: vec![Orphan { site: site(), known, adoptable: true }],
            missing: vec![missing],
            sites: vec![site(), "south".parse().expect("a name")],
            unanswered: vec!["south".parse().expect("a name")],
            left_out: 0,
        }
    }

    #[test]
    fn what_is_unknown_and_what_is_missing_are_two_tables() {
        assert_eq!(
            list_text(&orphans()),
            "Run by provisioners, and known to no domain:\n\
             INSTANCE  SITE   STATE    STARTED FOR  ADOPTABLE  TYPE\n\
             i02a-x    north  RUNNING  ann/web      yes        worker\n\
             Known to domains, and not run by their provisioner:\n\
             INSTANCE  SITE   STATE    IS\n\
             i02a-y    north  STARTED  ann/web/4\n\
             no provisioner answers at site south\n"
        );
        assert_eq!(list_text(&Orphans { sites: vec!["a".parse().expect("a name")], ..Orphans::default() }), "no orphans at 1 site\n");
        assert!(list_text(&Orphans::default()).starts_with("no site was asked"), "which is not the same");
    }

    #[test]
    fn what_could_not_be_done_is_named_with_its_reason() {
        let failed = vec![NotDone { instance_id: "i1".parse().expect("an id"), reason: "stale_epoch: late\nr".to_owned() }];
        let done = OrphansDone { done: vec!["i2".parse().expect("an id")], failed, ..OrphansDone::default() };
        assert_eq!(done_text(&done, "adopted"), "1 instance adopted\ni1: stale_epoch: late r\n");
    }
}
