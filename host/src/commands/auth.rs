//! `pilothouse auth`: sets a NATS server up that judges by itself who may say what. Speaks to nobody; all of it is files.

use std::path::PathBuf;

use anyhow::Context as _;
use pilothouse_core::name::Name;
use pilothouse_core::subject::Subjects;
use serde::Serialize;

use crate::auth::Role;
use crate::auth::folder::{Folder, FolderError};
use crate::auth::register::Client;
use crate::clock;
use crate::failure::Failure;
use crate::output::{self, Format};

/// Which of them, and how to answer.
#[derive(Debug, clap::Args)]
pub(crate) struct AuthArgs {
    #[command(subcommand)]
    verb: Verb,
    /// How to answer
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub(crate) output: Format,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Makes keys, the configuration of a nats-server, and the first credentials
    #[command(after_help = "\
Examples:
  pilothouse auth init /etc/pilothouse/auth
  pilothouse auth init ~/auth --store ~/jetstream
  nats-server --config /etc/pilothouse/auth/server/nats.conf
  pilothouse serve --nats-creds /etc/pilothouse/auth/creds/host-host.creds --agent-signer /etc/pilothouse/auth/agents.signer

Run again it changes nothing and tells what is there.")]
    Init(InitArgs),
    /// Gives somebody credentials
    #[command(after_help = "\
Examples:
  pilothouse auth add /etc/pilothouse/auth --role user ann
  pilothouse auth add /etc/pilothouse/auth --role provisioner north-1 --site north

The server need not be told.")]
    Add(AddArgs),
    /// Lists who was given credentials, and who is out
    #[command(after_help = "\
Examples:
  pilothouse auth list /etc/pilothouse/auth
  pilothouse auth list /etc/pilothouse/auth --output json")]
    List(ListArgs),
    /// Puts somebody out
    #[command(after_help = "\
Examples:
  pilothouse auth revoke /etc/pilothouse/auth user ann
  nats-server --signal reload

It takes effect when every server has the new auth.conf and has read it.")]
    Revoke(RevokeArgs),
    /// Writes the server's configuration anew, and other credentials for everybody in a role if one is named
    #[command(after_help = "\
Examples:
  pilothouse auth renew /etc/pilothouse/auth                 after an upgrade: what roles may do, as this version knows it
  pilothouse auth renew /etc/pilothouse/auth --role user     all users get other credentials
  nats-server --signal reload")]
    Renew(RenewArgs),
}

#[derive(Debug, clap::Args)]
struct InitArgs {
    /// Where to put it; made if it is not there
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Where the server keeps what it stores: written into its configuration, and made by the server
    #[arg(long, value_name = "DIR", default_value = "/var/lib/nats")]
    store: PathBuf,
    /// First token of all subjects
    #[arg(long, env = "PILOTHOUSE_PREFIX", value_name = "NAME", default_value = Subjects::DEFAULT_PREFIX)]
    prefix: Name,
    /// What the operator and the account are called
    #[arg(long, value_name = "NAME", default_value = "pilothouse")]
    name: Name,
}

#[derive(Debug, clap::Args)]
struct AddArgs {
    /// Where `auth init` put it
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Who it is; a user's name is that of the owner of its domains
    #[arg(value_name = "NAME")]
    name: Name,
    /// What it may do
    #[arg(long, value_enum, value_name = "ROLE")]
    role: Role,
    /// The site of a provisioner
    #[arg(long, value_name = "NAME")]
    site: Option<Name>,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Where `auth init` put it
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

#[derive(Debug, clap::Args)]
struct RevokeArgs {
    /// Where `auth init` put it
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// What it may do
    #[arg(value_enum, value_name = "ROLE")]
    role: Role,
    /// Who it is
    #[arg(value_name = "NAME")]
    name: Name,
}

#[derive(Debug, clap::Args)]
struct RenewArgs {
    /// Where `auth init` put it
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Whose credentials to replace: `agent` for the key that hosts sign with
    #[arg(long, value_name = "ROLE", value_parser = role)]
    role: Option<Role>,
}

/// What to do after a change that servers must know of.
const RELOAD: &str = "It takes effect when every server has the new auth.conf and has read it: nats-server --signal reload\n";

/// What is there, or was done.
#[derive(Debug, Serialize)]
struct Told {
    /// Where.
    directory: PathBuf,
    /// What the operator and the account are called.
    name: Name,
    /// The prefix of all subjects.
    prefix: Name,
    /// Whether something was changed.
    changed: bool,
    /// Whether servers have to read their configuration again for it to take effect.
    reload: bool,
    /// Those that it is about.
    clients: Vec<TheClient>,
    /// For servers.
    nats_conf: PathBuf,
    /// For hosts.
    agent_signer: PathBuf,
}

#[derive(Debug, Serialize)]
struct TheClient {
    #[serde(flatten)]
    client: Client,
    /// Its credentials; nothing when it is out.
    file: Option<PathBuf>,
}

/// The role of agents too, which clap does not offer where credentials are given.
fn role(text: &str) -> Result<Role, String> {
    let known = Role::ALL.map(Role::name).join(", ");
    Role::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| format!("expected one of {known}"))
}

/// Does it, and tells what is there now.
pub(crate) fn run(args: AuthArgs) -> anyhow::Result<()> {
    let AuthArgs { verb, output } = args;
    let now = clock::now();
    match verb {
        Verb::Init(InitArgs { dir, store, prefix, name }) => {
            let (folder, made) = Folder::init(&dir, &store, &name, &prefix, now).map_err(failure).context("setting up")?;
            let told = tell(&folder, folder.register().clients.clone(), made, false);
            output.print(&told, |told| {
                let done = if made { "made" } else { "there already, and left as it is:" };
                format!("{done} {}\n\n{}\n{}", told.directory.display(), table(&told.clients), next_steps(told))
            })?;
        }
        Verb::Add(AddArgs { dir, name, role, site }) => {
            let mut folder = Folder::open(&dir, now).map_err(failure)?;
            let added = folder.add(role, name, site, now).map_err(failure).context("giving credentials")?;
            let told = tell(&folder, vec![added], true, false);
            output.print(&told, |told| format!("{}{}", table(&told.clients), if told.reload { RELOAD } else { "" }))?;
        }
        Verb::List(ListArgs { dir }) => {
            let folder = Folder::open(&dir, now).map_err(failure)?;
            let told = tell(&folder, folder.register().clients.clone(), false, false);
            output.print(&told, |told| format!("{}{}", table(&told.clients), if told.reload { RELOAD } else { "" }))?;
        }
        Verb::Revoke(RevokeArgs { dir, role, name }) => {
            let mut folder = Folder::open(&dir, now).map_err(failure)?;
            let out = folder.revoke(role, &name, now).map_err(failure).context("putting out")?;
            let told = tell(&folder, vec![out], true, true);
            output.print(&told, |told| format!("{}{RELOAD}", table(&told.clients)))?;
        }
        Verb::Renew(RenewArgs { dir, role }) => {
            let mut folder = Folder::open(&dir, now).map_err(failure)?;
            let renewed = folder.renew(role, now).map_err(failure).context("renewing")?;
            let told = tell(&folder, renewed, true, true);
            output.print(&told, |told| {
                let clients = if told.clients.is_empty() { String::new() } else { table(&told.clients) };
                let signer = if role == Some(Role::Agent) { signer_renewed(told) } else { String::new() };
                format!("{clients}{signer}{RELOAD}")
            })?;
        }
    }
    Ok(())
}

fn tell(folder: &Folder, clients: Vec<Client>, changed: bool, reload: bool) -> Told {
    let with_file = |client: Client| TheClient { file: client.revoked.is_none().then(|| folder.creds_of(&client)), client };
    let register = folder.register();
    Told {
        directory: folder.dir().to_owned(),
        name: register.name.clone(),
        prefix: register.prefix.clone(),
        changed: changed || folder.caught_up(),
        reload: reload || folder.caught_up(),
        clients: clients.into_iter().map(with_file).collect(),
        nats_conf: folder.nats_conf(),
        agent_signer: folder.signer(),
    }
}

fn table(clients: &[TheClient]) -> String {
    let row = |TheClient { client, file }: &TheClient| {
        let site = client.site.as_ref().map_or("-", Name::as_str).to_owned();
        let state = client.revoked.map_or_else(|| "-".to_owned(), output::moment);
        let file = file.as_ref().map_or_else(|| "-".to_owned(), |file| file.display().to_string());
        [client.role.to_string(), client.name.to_string(), site, output::moment(client.since), state, file]
    };
    output::table(["ROLE", "NAME", "SITE", "SINCE", "OUT SINCE", "CREDENTIALS"], &clients.iter().map(row).collect::<Vec<_>>())
}

fn next_steps(told: &Told) -> String {
    format!(
        "The server:  nats-server --config {}\nA host:      pilothouse serve --nats-creds FILE --agent-signer {}\n\
         The keys in {} vouch for all of it: keep them off servers and hosts.\n",
        told.nats_conf.display(),
        told.agent_signer.display(),
        told.directory.join("keys").display()
    )
}

fn signer_renewed(told: &Told) -> String {
    format!(
        "Give hosts the new {} and start them again: agents that run are heard no more once the server has it.\n",
        told.agent_signer.display()
    )
}

fn failure(error: FolderError) -> anyhow::Error {
    match error {
        FolderError::Conflict(message) => Failure::Conflict(message).into(),
        FolderError::NotFound(message) => Failure::NotFound(message).into(),
        FolderError::Invalid(message) => Failure::Invalid(message).into(),
        error => error.into(),
    }
}
