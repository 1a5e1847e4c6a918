//! The directory in which an operator keeps keys, credentials and the configuration of the server.
//!
//! ```text
//! server/               for the server, which may be another user: all that it needs, and nothing secret
//! server/nats.conf      written once, then yours to change
//! server/auth.conf      who may say what; written anew with every change
//! agents.signer         for hosts: `pilothouse serve --agent-signer`
//! creds/                for clients, a file each: ROLE-NAME.creds
//! keys/                 for nobody: what vouches for all of it. Neither servers nor hosts need them
//! register.json         who was given what, and with which keys
//! ```
//!
//! What is secret of a new key is written under the name of that key, then the register, which names it: that is the switch. Everything
//! else follows from the register and is written last. So a command that is interrupted before the switch changed nothing, and one that is
//! interrupted after it is finished by whichever opens the directory next.

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
const NATS_CONF: &str = "nats.conf";
/// For hosts.
const SIGNER: &str = "agents.signer";
const REGISTER: &str = "register.json";
const SERVER: &str = "server";
const CREDS: &str = "creds";
const KEYS: &str = "keys";
const OPERATOR: &str = "operator-root";
const ACCOUNT: &str = "account";
const SYSTEM: &str = "system-account";

const PRIVATE_FILE: u32 = 0o600;
/// A server of another user must be able to read what is meant for it; there is nothing secret in it.
const PUBLIC_FILE: u32 = 0o644;
const PRIVATE_DIR: u32 = 0o700;
const PUBLIC_DIR: u32 = 0o755;

/// An open directory, held alone until it is dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: PathBuf,
    register: Register,
    /// Whether opening it finished what another command had begun.
    caught_up: bool,
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
    pub(crate) fn init(dir: &Path, store: &Path, name: &Name, prefix: &Name, now: Timestamp) -> Result<(Self, bool)> {
        let dir = std::path::absolute(dir).map_err(at("finding", dir))?;
        let store = std::path::absolute(store).map_err(at("finding", store))?;
        if dir.join(REGISTER).exists() {
            let there = Self::open(&dir, now)?;
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
        Self::make(unfinished.path(), &store, name, prefix, now)?;
        fs::rename(unfinished.path(), &dir).map_err(at("making", &dir))?;
        // It has gone from where it was made; nothing is left to be removed there.
        let _ = unfinished.keep();
        Ok((Self::open(&dir, now)?, true))
    }

    fn make(dir: &Path, store: &Path, name: &Name, prefix: &Name, now: Timestamp) -> Result<()> {
        for private in [CREDS, KEYS].map(|name| dir.join(name)) {
            DirBuilder::new().mode(PRIVATE_DIR).create(&private).map_err(at("making", &private))?;
        }
        let server = dir.join(SERVER);
        fs::create_dir(&server).map_err(at("making", &server))?;
        for public in [dir, &server] {
            // Whatever the mask of whoever runs this.
            fs::set_permissions(public, fs::Permissions::from_mode(PUBLIC_DIR)).map_err(at("opening", public))?;
        }
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
            unfinished: true,
            clients: Vec::new(),
        };
        let alone = lock(dir)?;
        let mut folder = Self { dir: dir.to_owned(), register, caught_up: false, _alone: alone };
        for role in Role::ALL {
            folder.make_role_key(role)?;
        }
        let mut keys = Vec::new();
        for (role, name, site) in [
            (Role::User, "default", None),
            (Role::Operator, "operator", None),
            (Role::Provisioner, "local", Some("local")),
            (Role::Host, "host", None),
        ] {
            let named = |text: &str| text.parse::<Name>().map_err(|error| FolderError::Invalid(error.to_string()));
            keys.push(folder.enlist(role, named(name)?, site.map(named).transpose()?, now));
        }
        write(&server.join(NATS_CONF), server::nats_conf(store).as_bytes(), PUBLIC_FILE)?;
        folder.save(keys, now)
    }

    /// Opens a set-up, and finishes what was begun there and interrupted.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn open(dir: &Path, now: Timestamp) -> Result<Self> {
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
        let mut folder = Self { dir: dir.to_owned(), register, caught_up: false, _alone: alone };
        if folder.register.unfinished || folder.register.clients.iter().any(|client| client.unfinished) {
            folder.catch_up(now)?;
        }
        Ok(folder)
    }

    /// Gives those whose credentials did not reach the disk others: the secret half of their keys is lost. Then all that follows.
    fn catch_up(&mut self, now: Timestamp) -> Result<()> {
        let mut keys = Vec::new();
        for index in 0..self.register.clients.len() {
            let client = &self.register.clients[index];
            let signed_by = self.register.role_keys.get(&client.role);
            let there = fs::read_to_string(self.creds_of(client)).ok().and_then(|text| credentials::keys_in(&text));
            let is_written = there.is_some_and(|(key, signer)| key == client.key && Some(&signer) == signed_by);
            let client = &mut self.register.clients[index];
            if client.unfinished && is_written {
                client.unfinished = false;
            } else if client.unfinished {
                let key = KeyPair::new_user();
                client.key = key.public_key();
                keys.push(key);
            }
        }
        self.save(keys, now)?;
        self.caught_up = true;
        Ok(())
    }

    /// Who was given what.
    pub(crate) fn register(&self) -> &Register {
        &self.register
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether opening it finished what another command had begun, so that servers have to read their configuration again.
    pub(crate) fn caught_up(&self) -> bool {
        self.caught_up
    }

    /// For hosts.
    pub(crate) fn signer(&self) -> PathBuf {
        self.dir.join(SIGNER)
    }

    /// The configuration of the server.
    pub(crate) fn nats_conf(&self) -> PathBuf {
        self.dir.join(SERVER).join(NATS_CONF)
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
        let key = self.enlist(role, name.clone(), site, now);
        self.write_register()?;
        self.write_creds(vec![key], now)?;
        self.write_register()?;
        let added = self.register.active().find(|client| client.name == name);
        added.cloned().ok_or_else(|| FolderError::NotFound(format!("{name} is gone at once")))
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
        client.unfinished = false;
        let client = client.clone();
        self.save(Vec::new(), now)?;
        Ok(client)
    }

    /// Writes the configuration of the server anew, with what roles may do as this program knows it. With a role, its signing key is replaced
    /// and all its clients get other credentials: those they have are worthless when the server has read its configuration again.
    ///
    /// # Errors
    /// When the disk is in the way.
    pub(crate) fn renew(&mut self, role: Option<Role>, now: Timestamp) -> Result<Vec<Client>> {
        let mut keys = Vec::new();
        if let Some(role) = role {
            self.make_role_key(role)?;
            let (of_role, others) = std::mem::take(&mut self.register.clients).into_iter().partition(|client| client.role == role);
            self.register.clients = others;
            let of_role: Vec<Client> = of_role;
            // Those who were out stay out by the key that is gone.
            for Client { name, site, .. } in of_role.into_iter().filter(|client| client.revoked.is_none()) {
                keys.push(self.enlist(role, name, site, now));
            }
        }
        self.save(keys, now)?;
        Ok(self.register.active().filter(|client| Some(client.role) == role).cloned().collect())
    }

    /// Puts somebody into the register, without looking who is there. The key is for its credentials.
    fn enlist(&mut self, role: Role, name: Name, site: Option<Name>, now: Timestamp) -> KeyPair {
        let key = KeyPair::new_user();
        self.register.clients.push(Client { role, name, site, key: key.public_key(), since: now, unfinished: true, revoked: None });
        key
    }

    /// A new signing key, known to the register in memory alone.
    fn make_role_key(&mut self, role: Role) -> Result<()> {
        let key = KeyPair::new_account();
        write_key(&self.dir, &role_key_name(role, &key.public_key()), &key)?;
        self.register.role_keys.insert(role, key.public_key());
        Ok(())
    }

    /// Writes down who was given what, which is the switch, and then what follows from it. `keys` are those of clients without credentials.
    fn save(&mut self, keys: Vec<KeyPair>, now: Timestamp) -> Result<()> {
        self.register.unfinished = true;
        self.write_register()?;
        self.write_signer()?;
        self.write_creds(keys, now)?;
        self.write_auth_conf(now)?;
        self.remove_what_is_over()?;
        self.register.unfinished = false;
        self.write_register()
    }

    fn write_signer(&self) -> Result<()> {
        let key = self.role_key(Role::Agent)?;
        let signer = SignerFile { account: self.register.account.clone(), seed: key.seed().map_err(SignError::from)? };
        let path = self.signer();
        let json = serde_json::to_vec(&signer).map_err(|error| FolderError::Shape { path: path.clone(), reason: error.to_string() })?;
        write(&path, &json, PRIVATE_FILE)
    }

    /// The credentials of those who have none yet and whose key is here.
    fn write_creds(&mut self, keys: Vec<KeyPair>, now: Timestamp) -> Result<()> {
        for key in keys {
            let of_key = |client: &Client| client.unfinished && client.key == key.public_key();
            let Some(index) = self.register.clients.iter().position(of_key) else { continue };
            let client = &self.register.clients[index];
            let signer = self.role_key(client.role)?;
            let tags = client.tags();
            let token = token::user(&signer, &self.register.account, &client.key, client.name.as_str(), &tags, now.as_millis() / 1000)?;
            let text = credentials::write(&token, &key)?;
            write(&self.creds_of(client), text.reveal().as_bytes(), PRIVATE_FILE)?;
            self.register.clients[index].unfinished = false;
        }
        Ok(())
    }

    fn write_auth_conf(&self, now: Timestamp) -> Result<()> {
        let Register { name, prefix, account, role_keys, .. } = &self.register;
        let subjects = Subjects::new(prefix);
        let role_key = |(role, key): (&Role, &String)| RoleKey { role: *role, key: key.clone(), permissions: role.permissions(&subjects) };
        let roles: Vec<_> = role_keys.iter().map(role_key).collect();
        let revoked = self.register.revoked_keys();
        let token = token::account(&self.key(OPERATOR)?, account, name.as_str(), &roles, &revoked, now.as_millis() / 1000)?;
        write(&self.dir.join(SERVER).join(AUTH_CONF), server::auth_conf(&self.register, &token).as_bytes(), PUBLIC_FILE)
    }

    /// The credentials of those who are out, and signing keys that were replaced.
    fn remove_what_is_over(&self) -> Result<()> {
        let is_there = |file: &str| self.register.active().any(|client| client.file_name() == file);
        for client in self.register.clients.iter().filter(|client| !is_there(&client.file_name())) {
            remove(&self.creds_of(client))?;
        }
        let role_keys: Vec<_> = self.register.role_keys.iter().map(|(role, key)| role_key_name(*role, key)).collect();
        let keys = self.dir.join(KEYS);
        for entry in fs::read_dir(&keys).map_err(at("listing", &keys))? {
            let path = entry.map_err(at("listing", &keys))?.path();
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            let is_of_role = Role::ALL.into_iter().any(|role| name.starts_with(&role_key_name(role, "A")));
            if is_of_role && !role_keys.iter().any(|key| key == name) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    fn write_register(&self) -> Result<()> {
        let path = self.dir.join(REGISTER);
        let json = serde_json::to_vec_pretty(&self.register)
            .map_err(|error| FolderError::Shape { path: path.clone(), reason: error.to_string() })?;
        write(&path, &json, PRIVATE_FILE)
    }

    /// The signing key of a role that the register names.
    fn role_key(&self, role: Role) -> Result<KeyPair> {
        self.key(&role_key_name(role, self.register.role_keys.get(&role).map_or("", String::as_str)))
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

/// What the file of a signing key is called, but for its ending.
fn role_key_name(role: Role, public_key: &str) -> String {
    format!("{role}-{public_key}")
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
