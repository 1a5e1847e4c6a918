//! Making a backup.

use std::collections::BTreeSet;
use std::io::Write;

use async_nats::jetstream::object_store::{GetErrorKind, ObjectStore};
use pilothouse_core::name::DomainKey;
use pilothouse_core::state::{DomainState, Life};
use pilothouse_core::time::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;

use super::file::{MAX_COMPONENT, Writer};
use super::line::{Definition, Engine, Line, Registered, Trailer, hex};
use super::progress::Progress;
use super::server::{Server, ServerError};
use crate::driver::definitions::Kept;
use crate::driver::fold;
use crate::driver::registry::{Entry, Listed};
use crate::store::{Journal as _, JournalError, Scope};

/// What a backup holds.
#[derive(Debug, Serialize)]
pub(crate) struct Made {
    /// When it was begun, in milliseconds since the Unix epoch.
    pub(crate) at: Timestamp,
    /// The domains that are in it.
    pub(crate) domains: Vec<DomainKey>,
    /// How many definitions.
    pub(crate) definitions: usize,
    /// How many components.
    pub(crate) engines: usize,
    /// Of how many engines the registry says something.
    pub(crate) registry: usize,
    /// How large it is.
    pub(crate) bytes: u64,
    /// SHA-256 of its content, as its last line says.
    pub(crate) sha256: String,
    /// What should be in it and is not.
    pub(crate) left_out: Vec<LeftOut>,
}

/// Something that is not in a backup.
#[derive(Debug, Serialize)]
pub(crate) struct LeftOut {
    /// What.
    pub(crate) what: String,
    /// Why.
    pub(crate) reason: String,
}

/// A backup that was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MakeError {
    /// The server can't be read.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The file can't be written.
    #[error("writing the backup")]
    Write(#[from] std::io::Error),
}

/// Reads everything there is and writes it to `out`. What can't be read for itself is left out, and told.
///
/// # Errors
/// When there is no journal, it does not answer, or `out` takes no more.
pub(crate) async fn make<W: Write>(server: &Server, out: W, at: Timestamp) -> Result<(W, Made), MakeError> {
    let journal = server.journal().await?.ok_or_else(|| ServerError::NoJournal { prefix: server.prefix().to_owned() })?;
    let mut progress = Progress::new();
    progress.say(|| "reading the journal".to_owned());
    let mut writer = Writer::begin(out, at, server.prefix())?;
    let mut left_out: Vec<LeftOut> = Vec::new();

    if let Some(definitions) = server.definitions(None).await? {
        for (name, entry) in definitions.all().await.map_err(ServerError::from)? {
            match entry.kept {
                Kept::Definition(written) => writer.add(&Line::Definition(Definition { name, written }))?,
                Kept::Unreadable(reason) => left_out.push(LeftOut { what: format!("definition {name}"), reason }),
                Kept::Nothing => {}
            }
        }
    }

    let mut loaded = journal.load(&Scope::All).await.map_err(ServerError::from)?;
    for (key, damage) in std::mem::take(&mut loaded.damaged) {
        match damage {
            JournalError::Damaged { .. } => left_out.push(LeftOut { what: format!("domain {key}"), reason: damage.to_string() }),
            // Only not now: a backup without it would look whole.
            other => return Err(ServerError::from(other).into()),
        }
    }
    let mut states = Vec::new();
    for (key, entries) in loaded.domains {
        match fold(DomainState::absent(key.clone(), key.slot(journal.slots())), &entries) {
            Ok(state) if matches!(state.life, Life::Active | Life::Removing) => states.push(state),
            Ok(_) => {}
            Err(error) => left_out.push(LeftOut { what: format!("domain {key}"), reason: error.to_string() }),
        }
    }

    let registered = match server.registry(None).await? {
        Some(registry) => registry.all().await.map_err(ServerError::from)?,
        None => Listed::default(),
    };
    for (name, reason) in registered.unreadable {
        left_out.push(LeftOut { what: format!("what the registry says of engine {name}"), reason });
    }
    let named = registered.entries.values().flat_map(Entry::digests);
    let used = states.iter().flat_map(used_by).chain(named).filter(|digest| !digest.is_empty());
    let used: BTreeSet<String> = used.cloned().collect();
    let store = server.engines(None).await?;
    for digest in used {
        progress.say(|| format!("engine {digest}"));
        match component(store.as_ref(), &digest).await? {
            Ok(component) => writer.add(&Line::Engine(Engine { digest, component }))?,
            Err(reason) => left_out.push(LeftOut { what: format!("engine {digest}"), reason }),
        }
    }

    for (name, entry) in registered.entries {
        let entry = entry.write().and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()));
        match entry {
            Ok(entry) => writer.add(&Line::Registry(Registered { name, entry }))?,
            Err(reason) => left_out.push(LeftOut { what: format!("what the registry says of engine {name}"), reason }),
        }
    }

    let (count, mut domains) = (states.len(), Vec::new());
    for state in states {
        progress.say(|| format!("domain {} of {count}", domains.len() + 1));
        domains.push(state.key.clone());
        writer.add(&Line::Domain(Box::new(state)))?;
    }
    let (out, trailer, bytes) = writer.end()?;
    let Trailer { definitions, engines, registry, sha256, .. } = trailer;
    let made = Made { at, domains, definitions, engines, registry, bytes, sha256, left_out };
    Ok((out, made))
}

/// The components that a domain needs: what decides it, whose memory it has, what it may go back to, and what runs beside.
pub(super) fn used_by(state: &DomainState) -> impl Iterator<Item = &String> {
    let before = state.lineage.as_ref().and_then(|lineage| lineage.before.as_ref());
    let beside = state.shadow().map(|shadow| &shadow.engine);
    let others = before.into_iter().chain(beside).map(|engine| &engine.digest);
    [&state.engine.digest, &state.memory_of.digest].into_iter().chain(others)
}

/// A component as the store has it; or why it can't be backed up, although the store answers.
async fn component(store: Option<&ObjectStore>, digest: &str) -> Result<Result<Vec<u8>, String>, ServerError> {
    let Some(store) = store else { return Ok(Err("there is no store of engines".to_owned())) };
    let failed = |reason: String| ServerError::Component { digest: digest.to_owned(), reason };
    let mut object = match store.get(digest).await {
        Ok(object) => object,
        Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(Err("it is not in the store".to_owned())),
        Err(error) => return Err(failed(error.to_string())),
    };
    // Before anything of it is read: one that fits into no line would be the end of the whole backup.
    if object.info.size > MAX_COMPONENT {
        return Ok(Err(format!("it has {} bytes; at most {MAX_COMPONENT} fit into a backup", object.info.size)));
    }
    let mut bytes = Vec::new();
    object.read_to_end(&mut bytes).await.map_err(|error| failed(error.to_string()))?;
    if hex(&Sha256::digest(&bytes)) != digest {
        return Ok(Err("the store holds something else under its name".to_owned()));
    }
    Ok(Ok(bytes))
}
