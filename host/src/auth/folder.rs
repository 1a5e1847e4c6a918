//! The directory in which an operator keeps keys, credentials and the configuration of the server.
//!
//! ```text
//! nats.conf        for the server: written once, then yours to change
//! auth.conf        for the server: who may say what; written anew with every change
//! agents.signer    for hosts: `pilothouse serve --agent-signer`
//! creds/           for clients, a file each: ROLE-NAME.creds
//! keys/            for nobody: what vouches for all of it. Neither servers nor hosts need them
//! register.json    who was given what
//! ```
//!
//! A command that is interrupted leaves everything as it was, or as it shall be but for the server's configuration, which comes last:
//! `pilothouse auth renew` writes it.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nkeys::{KeyPair, KeyPairType};
use pilothouse_core::name::Name;
use pilothouse_core::subject::Subjects;
use pilothouse_core::time::Timestamp;

use super::register::{Client, Register};
use super::role::Role;
use super::signer::SignerFile;
use super::token::{self, RoleKey, SignError};
use super::{credentials, server};

/// What `nats.conf` includes.
pub(super) const AUTH_CONF: &str = "auth.conf";
/// The configuration of the server.
pub(crate) const NATS_CONF: &str = "nats.conf";
/// For hosts.
pub(crate) const SIGNER: &str = "agents.signer";
const REGISTER: &str = "register.json";
const CREDS: &str = "creds";
const KEYS: &str = "keys";
const OPERATOR: &str = "operator-root";
const ACCOUNT: &str = "account";
const SYSTEM: &str = "system-account";

const PRIVATE_FILE: u32 = 0o600;
/// A server of another user must be able to read what is meant for it; there is nothing secret in it.
const PUBLIC_FILE: u32 = 0o644;
const PRIVATE_DIR: u32 = 0o700;

/// An open directory, held alone until it is dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: PathBuf,
    register: Register,
    _alone: File,
}

/// Something can't be done with a directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// The disk is in the way.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// It is there, and not what is asked for.
    #[error("{0}")]
    Conflict(String),
    /// It is not there.
    #[error("{0}")]
    NotFound(String),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// A file can't be understood.
    #[error("{} is not as `pilothouse auth` writes it: {reason}", path.display())]
    Shape {
        /// Which.
        path: PathBuf,
        /// What is wrong. Never what is secret in it.
        reason: String,
    },
    /// A key is not whole.
    #[error(transparent)]
    Sign(#[from] SignError),
}

type Result<T> = std::result::Result<T, FolderError>;

impl Folder {
    /// Makes a set-up, with the first client of each role; or opens the one that is there. Says whether it was made.
    ///
    /// # Errors
    /// When something else is there.
    pub(crate) fn init(dir: &Path, name: &Name, prefix: &Name, now: Timestamp) -> Result<(Self, bool)> {
        let dir = std::path::absolute(dir).map_err(at("finding", dir))?;
        if dir.join(REGISTER).exists() {
            let there = Self::open(&dir)?;
            let Register { name: its_name, prefix: its_prefix, .. } = &there.register;
            if (its_name, its_prefix) != (name, prefix) {
                let text = format!("{} holds {its_name} with the prefix {its_prefix} already: name another directory", dir.display());
                return Err(FolderError::Conflict(text));
            }
            return Ok((there, false));
        }
        let is_empty = !dir.exists() || fs::read_dir(&dir).map_err(at("listing", &dir))?.next().is_none();
        if !is_empty {
            let text = format!("{} is not empty, and nothing that `pilothouse auth init` made: name another directory", dir.display());
            return Err(FolderError::Conflict(text));
        }
        // Made beside it, so that it is there whole or not at all.
        let parent = dir.parent().ok_or_else(|| FolderError::Invalid(format!("{} is no place for a directory", dir.display())))?;
        fs::create_dir_all(parent).map_err(at("making", parent))?;
        let mut unfinished = tempfile::Builder::new();
        unfinished.prefix(".pilothouse-auth-").permissions(fs::Permissions::from_mode(PRIVATE_DIR));
        let unfinished = unfinished.tempdir_in(parent).map_err(at("making a directory in", parent))?;
        Self::make(unfinished.path(), &dir, name, prefix, now)?;
        fs::rename(unfinished.path(), &dir).map_err(at("making", &dir))?;
        // It has gone from where it was made; nothing is left to be removed there.
        let _ = unfinished.keep();
        Ok((Self::open(&dir)?, true))
    }

    fn make(dir: &Path, destination: &Path, name: &Name, prefix: &Name, now: Timestamp) -> Result<()> {
        let made = |path: &Path| DirBuilder::new().recursive(true).mode(PRIVATE_DIR).create(path).map_err(at("making", path));
        made(dir)?;
        made(&dir.join(CREDS))?;
        made(&dir.join(KEYS))?;
        let seconds = now.as_millis() / 1000;
        let operator = KeyPair::new_operator();
        let (account, system_account) = (KeyPair::new_account(), KeyPair::new_account());
        for (name, key) in [(OPERATOR, &operator), (ACCOUNT, &account), (SYSTEM, &system_account)] {
            write_key(dir, name, key)?;
        }
        let register = Register {
            version: Register::VERSION,
            name: name.clone(),
            prefix: prefix.clone(),
            account: account.public_key(),
            system_account: system_account.public_key(),
            operator_token: token::operator(&operator, name.as_str(), &system_account.public_key(), seconds)?,
            system_token: token::system_account(&operator, &system_account.public_key(), seconds)?,
            role_keys: Default::default(),
            clients: Vec::new(),
        };
        let alone = lock(dir)?;
        let mut folder = Self { dir: dir.to_owned(), register, _alone: alone };
        for role in Role::ALL {
            folder.make_role_key(role)?;
        }
        for (role, name, site) in [
            (Role::User, "default", None),
            (Role::Operator, "operator", None),
            (Role::Provisioner, "local", Some("local")),
            (Role::Host, "host", None),
        ] {
            let named = |text: &str| text.parse::<Name>().map_err(|error| FolderError::Invalid(error.to_string()));
            folder.enlist(role, named(name)?, site.map(named).transpose()?, now)?;
        }
        write(&dir.join(NATS_CONF), server::nats_conf(&destination.join("jetstream")).as_bytes(), PUBLIC_FILE)?;
        folder.save(now)
    }

    /// Opens a set-up.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(REGISTER);
        if !path.exists() {
            let text = format!("nothing was set up in {}: `pilothouse auth init` does", dir.display());
            return Err(FolderError::NotFound(text));
        }
        let alone = lock(dir)?;
        let json = fs::read(&path).map_err(at("reading", &path))?;
        let register: Register =
            serde_json::from_slice(&json).map_err(|error| FolderError::Shape { path: path.clone(), reason: error.to_string() })?;
        if register.version != Register::VERSION {
            return Err(FolderError::Shape {
                path,
                reason: format!("layout {}; this program knows {}", register.version, Register::VERSION),
            });
        }
        Ok(Self { dir: dir.to_owned(), register, _alone: alone })
    }

    /// Who was given what.
    pub(crate) fn register(&self) -> &Register {
        &self.register
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A file of it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The credentials file of a client.
    pub(crate) fn creds_of(&self, client: &Client) -> PathBuf {
        self.dir.join(CREDS).join(client.file_name())
    }

    /// Gives somebody credentials. The server need not be told.
    ///
    /// # Errors
    /// When the name is taken: answers come to an inbox under it, so it must be one client's alone.
    pub(crate) fn add(&mut self, role: Role, name: Name, site: Option<Name>, now: Timestamp) -> Result<Client> {
        match (role, &site) {
            (Role::Agent, _) => return Err(FolderError::Invalid("hosts make the credentials of agents".to_owned())),
            (Role::Provisioner, None) => return Err(FolderError::Invalid("a provisioner needs its site: --site NAME".to_owned())),
            (Role::Provisioner, Some(_)) | (_, None) => {}
            (_, Some(_)) => return Err(FolderError::Invalid(format!("only a provisioner has a site, and {role} is none"))),
        }
        if let Some(taken) = self.register.active().find(|client| client.name == name) {
            return Err(FolderError::Conflict(format!("{name} is there already, as {}: {}", taken.role, self.creds_of(taken).display())));
        }
        let client = self.enlist(role, name, site, now)?;
        self.write_register()?;
        Ok(client)
    }

    /// Puts somebody out. It takes effect when the server has read its configuration again.
    ///
    /// # Errors
    /// When there is nobody of that name in that role, or nobody any more.
    pub(crate) fn revoke(&mut self, role: Role, name: &Name, now: Timestamp) -> Result<Client> {
        let client =
            self.register.clients.iter_mut().find(|client| client.role == role && client.name == *name && client.revoked.is_none());
        let Some(client) = client else { return Err(FolderError::NotFound(format!("there is no {role} {name}, or not any more"))) };
        client.revoked = Some(now);
        let client = client.clone();
        self.save(now)?;
        remove(&self.creds_of(&client))?;
        Ok(client)
    }

    /// Writes the configuration of the server anew, with what roles may do as this program knows it. With a role, its signing key is replaced
    /// and all its clients get other credentials: those they have are worthless when the server has read its configuration again.
    ///
    /// # Errors
    /// When the disk is in the way.
    pub(crate) fn renew(&mut self, role: Option<Role>, now: Timestamp) -> Result<Vec<Client>> {
        let mut renewed = Vec::new();
        if let Some(role) = role {
            self.make_role_key(role)?;
            let (of_role, others) = std::mem::take(&mut self.register.clients).into_iter().partition(|client| client.role == role);
            self.register.clients = others;
            let of_role: Vec<Client> = of_role;
            // Those who were out stay out by the key that is gone.
            for Client { name, site, .. } in of_role.into_iter().filter(|client| client.revoked.is_none()) {
                renewed.push(self.enlist(role, name, site, now)?);
            }
        }
        self.save(now)?;
        Ok(renewed)
    }

    /// Gives credentials, without looking who is there.
    fn enlist(&mut self, role: Role, name: Name, site: Option<Name>, now: Timestamp) -> Result<Client> {
        let (signer, key) = (self.key(role.name())?, KeyPair::new_user());
        let client = Client { role, name, site, key: key.public_key(), since: now, revoked: None };
        let tags = client.tags();
        let token = token::user(&signer, &self.register.account, &client.key, client.name.as_str(), &tags, now.as_millis() / 1000)?;
        let text = credentials::write(&token, &key)?;
        write(&self.creds_of(&client), text.reveal().as_bytes(), PRIVATE_FILE)?;
        self.register.clients.push(client.clone());
        Ok(client)
    }

    fn make_role_key(&mut self, role: Role) -> Result<()> {
        let key = KeyPair::new_account();
        write_key(&self.dir, role.name(), &key)?;
        if role == Role::Agent {
            let signer = SignerFile { account: self.register.account.clone(), seed: key.seed().map_err(SignError::from)? };
            let path = self.path(SIGNER);
            let json = serde_json::to_vec(&signer).map_err(|error| FolderError::Shape { path: path.clone(), reason: error.to_string() })?;
            write(&path, &json, PRIVATE_FILE)?;
        }
        self.register.role_keys.insert(role, key.public_key());
        Ok(())
    }

    /// Writes down who was given what, and then what the server must know.
    fn save(&self, now: Timestamp) -> Result<()> {
        self.write_register()?;
        let Register { name, prefix, account, role_keys, .. } = &self.register;
        let subjects = Subjects::new(prefix);
        let role_key = |(role, key): (&Role, &String)| RoleKey { role: *role, key: key.clone(), permissions: role.permissions(&subjects) };
        let roles: Vec<_> = role_keys.iter().map(role_key).collect();
        let revoked = self.register.revoked_keys();
        let token = token::account(&self.key(OPERATOR)?, account, name.as_str(), &roles, &revoked, now.as_millis() / 1000)?;
        write(&self.path(AUTH_CONF), server::auth_conf(&self.register, &token).as_bytes(), PUBLIC_FILE)
    }

    fn write_register(&self) -> Result<()> {
        let path = self.path(REGISTER);
        let json = serde_json::to_vec_pretty(&self.register)
            .map_err(|error| FolderError::Shape { path: path.clone(), reason: error.to_string() })?;
        write(&path, &json, PRIVATE_FILE)
    }

    fn key(&self, name: &str) -> Result<KeyPair> {
        let path = key_path(&self.dir, name);
        let seed = fs::read_to_string(&path).map_err(at("reading", &path))?;
        let key = KeyPair::from_seed(seed.trim()).ok();
        let wanted = if name == OPERATOR { KeyPairType::Operator } else { KeyPairType::Account };
        key.filter(|key| key.key_pair_type() == wanted)
            .ok_or_else(|| FolderError::Shape { path, reason: "it is no seed of the right kind".to_owned() })
    }
}

fn key_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(KEYS).join(format!("{name}.seed"))
}

fn write_key(dir: &Path, name: &str, key: &KeyPair) -> Result<()> {
    let seed = key.seed().map_err(SignError::from)?;
    write(&key_path(dir, name), format!("{seed}\n").as_bytes(), PRIVATE_FILE)
}

/// Two commands at once would lose what one of them gave out.
fn lock(dir: &Path) -> Result<File> {
    let file = File::open(dir).map_err(at("opening", dir))?;
    file.lock().map_err(at("locking", dir))?;
    Ok(file)
}

/// A crash leaves the old file or the new one. It has its mode before it has its name.
fn write(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let dir = path.parent().unwrap_or(path);
    let written = tempfile::NamedTempFile::new_in(dir).and_then(|mut file| {
        file.write_all(content)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        File::open(dir)?.sync_all()
    });
    written.map_err(at("writing", path))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("removing", path)(error)),
        _ => Ok(()),
    }
}

fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io { doing, path, source }
}

#[cfg(test)]
mod tests;
