//! `pilothouse journal …`: backups of everything that hosts need for going on, and their restoring.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use pilothouse_core::name::{DomainKey, Name};
use serde::Serialize;
use tempfile::NamedTempFile;

use super::caller::{Caller, CallerArgs, request_id};
use crate::api::{CallError, Operation, ReloadJournal, Reloaded};
use crate::backup::{FileError, Made, MakeError, Outcome, Restore, RestoreError, RestoreReport, Server, ServerError, make, restore};
use crate::clock;
use crate::failure::Failure;
use crate::output::{clean, count, moment, table};

/// Stands for standard output or input.
const STANDARD: &str = "-";

/// What to do with the journal, and how to reach the server.
#[derive(Debug, clap::Args)]
pub(crate) struct JournalArgs {
    #[command(subcommand)]
    command: JournalCommand,
    #[command(flatten)]
    pub(crate) client: CallerArgs,
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
    /// Writes everything that hosts need for going on into one file
    #[command(after_help = "\
Examples:
  pilothouse journal backup /var/backups/pilothouse-today.json
  pilothouse journal backup - | ssh vault 'cat > pilothouse.json'

In it are the state of every domain, the definitions, the versions, pins and limits of engines, and all components that these name; not the
history before, readings, secrets or credentials. It is read from the NATS server directly, while hosts run or without any: each domain is consistent in itself. A file of
that name is replaced, once the new one is whole.")]
    Backup {
        /// Where to; `-` for standard output
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Puts what a backup holds into the journal, on this server or on a new one
    #[command(after_help = "\
Examples:
  pilothouse journal restore /var/backups/pilothouse-today.json --dry-run
  pilothouse journal restore /var/backups/pilothouse-today.json
  pilothouse journal restore pilothouse-today.json --domain ann/web --replace

The whole file is examined before anything is changed. What is there already is left alone and reported as a conflict, unless --replace is
given. A version of an engine never changes its bytes, not even then. A restore that was cut off can be done again.

Domains are paused by it, so that no engine replaces what only seems to be lost. Afterwards `pilothouse orphans --adopt` takes in what was
launched since the backup, and `pilothouse domain resume` lets each domain go on. With --active they are as they were.")]
    Restore {
        /// Where from; `-` for standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Only this domain and the components that it needs, no definitions and no versions; may be repeated
        #[arg(long = "domain", value_name = "OWNER/NAME", value_parser = domain_key)]
        domains: Vec<DomainKey>,
        /// Replace domains and definitions that are there, domains whose records are damaged, too; merge versions of engines
        #[arg(long)]
        replace: bool,
        /// Don't pause the domains: what was launched since the backup is launched a second time
        #[arg(long)]
        active: bool,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
        /// Servers that keep a copy of what has to be made; it should be what hosts are told
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=5))]
        replicas: u8,
    },
}

fn domain_key(text: &str) -> Result<DomainKey, String> {
    let (owner, name) = text.split_once('/').ok_or("expected OWNER/NAME")?;
    let part = |text: &str| text.parse::<Name>().map_err(|error| error.to_string());
    Ok(DomainKey { owner: part(owner)?, name: part(name)? })
}

/// Carries out the command and shows what came of it.
pub(crate) async fn run(args: JournalArgs) -> anyhow::Result<()> {
    let JournalArgs { command, client } = args;
    match command {
        JournalCommand::Backup { file } => {
            let caller = client.connect().await?;
            let server = Server::new(caller.nats().clone(), caller.subjects().clone());
            let made = backup(&server, &file).await?;
            if file == Path::new(STANDARD) {
                // Standard output has the backup.
                eprintln!("{}", made_text(&made, &file));
            } else {
                client.output.print(&made, |made| made_text(made, &file))?;
            }
            if !made.left_out.is_empty() {
                return Err(Failure::Checks(format!("{} left out of the backup", count(made.left_out.len(), "thing"))).into());
            }
        }
        JournalCommand::Restore { file, domains, replace, active, dry_run, replicas } => {
            let input = open(&file)?;
            let caller = client.connect().await?;
            let by = caller.user().cloned().map_or_else(|| "operator".parse().context("a name"), Ok)?;
            let how = Restore { only: BTreeSet::from_iter(domains), replace, active, dry_run, replicas: usize::from(replicas), by };
            let server = Server::new(caller.nats().clone(), caller.subjects().clone());
            let report = restore(&server, input, &how).await.map_err(restore_failed)?;
            let hosts = if dry_run { Told::default() } else { tell_hosts(&caller, &report).await };
            let conflicts = report.things.iter().filter(|thing| thing.outcome == Outcome::Conflict).count();
            client.output.print(&RestoreAnswer { report, hosts }, restore_text)?;
            if conflicts > 0 {
                let advice = if replace { "" } else { "; --replace would replace what is there" };
                return Err(Failure::Conflict(format!("{} left alone{advice}", count(conflicts, "thing"))).into());
            }
        }
    }
    Ok(())
}

/// Makes a backup in a file of another name first, so that there is never half a one under this name.
async fn backup(server: &Server, path: &Path) -> anyhow::Result<Made> {
    let at = clock::now();
    if path == Path::new(STANDARD) {
        return Ok(make(server, BufWriter::new(io::stdout()), at).await.map_err(make_failed)?.1);
    }
    let writing = || format!("writing {}", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let unfinished = NamedTempFile::new_in(folder).with_context(writing)?;
    let (out, made) = make(server, BufWriter::new(unfinished), at).await.map_err(make_failed).with_context(writing)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error).with_context(writing)?;
    file.as_file().sync_all().with_context(writing)?;
    file.persist(path).map_err(|error| error.error).with_context(writing)?;
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(writing)?;
    Ok(made)
}

/// A file that can be read twice: what comes from a pipe is put into one first.
fn open(path: &Path) -> anyhow::Result<File> {
    if path != Path::new(STANDARD) {
        return File::open(path).map_err(|error| Failure::Invalid(format!("reading {}: {error}", path.display())).into());
    }
    let mut file = tempfile::tempfile().context("keeping what comes from standard input")?;
    io::copy(&mut io::stdin().lock(), &mut file).context("keeping what comes from standard input")?;
    file.flush().and_then(|()| io::Seek::rewind(&mut file)).context("keeping what comes from standard input")?;
    Ok(file)
}

fn make_failed(error: MakeError) -> anyhow::Error {
    match error {
        MakeError::Server(error) => server_failed(error),
        error @ MakeError::Write(_) => error.into(),
    }
}

fn restore_failed(error: RestoreError) -> anyhow::Error {
    match error {
        RestoreError::File(error @ FileError::Read(_)) => error.into(),
        RestoreError::File(error) => Failure::Invalid(format!("{error}; nothing was restored")).into(),
        error @ RestoreError::NotInBackup(_) => Failure::NotFound(error.to_string()).into(),
        RestoreError::Server(error) => server_failed(error),
    }
}

fn server_failed(error: ServerError) -> anyhow::Error {
    let text = format!("{:#}", anyhow::Error::new(error));
    if text.starts_with("no journal") { Failure::NotFound(text).into() } else { Failure::Unavailable(text).into() }
}

/// What hosts made of a restore.
#[derive(Debug, Default, Serialize)]
struct Told {
    /// The domains that a host looks after from now on; nothing when none was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    taken: Option<Vec<DomainKey>>,
    /// Why none was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Debug, Serialize)]
struct RestoreAnswer {
    #[serde(flatten)]
    report: RestoreReport,
    hosts: Told,
}

/// Has the owner of the domains look after those that were put into the journal behind its back. Nothing depends on it but time.
async fn tell_hosts(caller: &Caller, report: &RestoreReport) -> Told {
    let is_there = |outcome| outcome != Outcome::Conflict;
    if !report.things.iter().any(|thing| thing.kind == "domain" && is_there(thing.outcome)) {
        return Told::default();
    }
    match caller.try_call::<Reloaded>(Operation::JournalReload, &ReloadJournal { request_id: request_id() }).await {
        Ok(Reloaded { domains }) => Told { taken: Some(domains), note: None },
        Err(CallError::NoHost { .. }) => {
            Told { taken: None, note: Some("no host answers: domains are looked after as soon as one is started".to_owned()) }
        }
        Err(error) => {
            let note = format!("no host could be told ({error}): start hosts again, so that they look after what was restored");
            Told { taken: None, note: Some(note) }
        }
    }
}

fn made_text(made: &Made, file: &Path) -> String {
    let things = [count(made.domains.len(), "domain"), count(made.definitions, "definition"), count(made.engines, "component")].join(", ");
    let registry = format!("what is registered of {}", count(made.registry, "engine"));
    let left_out = made.left_out.iter().map(|it| clean(&format!("\nleft out: {}: {}", it.what, it.reason))).collect::<Vec<_>>();
    let left_out: String = left_out.iter().map(|line| format!("\n{line}")).collect();
    format!("{}: {things}, {registry}, {} bytes, as of {}{left_out}", file.display(), made.bytes, moment(made.at))
}

fn restore_text(answer: &RestoreAnswer) -> String {
    let RestoreAnswer { report, hosts } = answer;
    let would = if report.dry_run { "would be " } else { "" };
    let rows: Vec<_> = report
        .things
        .iter()
        .map(|thing| {
            let outcome = match thing.outcome {
                Outcome::Restored | Outcome::Replaced => format!("{would}{}", thing.outcome.word()),
                Outcome::Unchanged | Outcome::Conflict => thing.outcome.word().to_owned(),
            };
            let name = if thing.kind == "engine" { thing.name.chars().take(12).collect() } else { clean(&thing.name) };
            [thing.kind.to_owned(), name, outcome, thing.reason.as_deref().map(clean).unwrap_or_default()]
        })
        .collect();
    let mut text = format!("backup of {}\n", moment(report.backup_at)) + &table(["WHAT", "NAME", "OUTCOME", "REASON"], &rows);
    if let Some(taken) = &hosts.taken {
        text += &format!("{} looked after from now on\n", count(taken.len(), "domain"));
    }
    if let Some(note) = &hosts.note {
        text += &clean(note);
        text.push('\n');
    }
    let paused = report.things.iter().filter(|thing| thing.paused).count();
    if paused > 0 && !report.dry_run {
        text += &format!(
            "{} paused: take in what was launched since with `pilothouse orphans --adopt`, then let each go on with `pilothouse domain resume NAME --user OWNER`\n",
            count(paused, "domain")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_named_with_its_owner() {
        assert_eq!(domain_key("ann/web").map(|key| key.to_string()), Ok("ann/web".to_owned()));
        for bad in ["web", "ann/", "/web", "ann/web/1", "ann/w.b"] {
            assert!(domain_key(bad).is_err(), "{bad}");
        }
    }
}
