//! Restoring a backup.
//!
//! It can be cut off at any moment and done again: a domain is restored by one append or not at all, and one that this very backup was
//! restored into is left as it is.

use std::collections::BTreeSet;
use std::io::{BufReader, Read, Seek};

use async_nats::jetstream::object_store::{InfoErrorKind, ObjectStore};
use pilothouse_core::command::ApiError;
use pilothouse_core::name::{DomainKey, Name};
use pilothouse_core::record::{Event, Record, Restored};
use pilothouse_core::state::{DomainState, Life};
use pilothouse_core::time::Timestamp;
use serde::Serialize;

use super::file::{Contents, FileError, Reader, verify};
use super::line::{Definition, Engine, Line, Registered};
use super::progress::Progress;
use super::server::{Server, ServerError};
use crate::clock;
use crate::driver::definitions::{Definitions, Kept, Wish};
use crate::driver::fold;
use crate::driver::registry::{Entry, PutBack, Registry, put_known};
use crate::failpoint;
use crate::store::{self, Append, Appended, JetStreamJournal, Journal as _, JournalError, Scope};

/// How often a domain is tried whose host is faster with an append.
const ATTEMPTS: usize = 20;

/// How to restore.
#[derive(Debug)]
pub(crate) struct Restore {
    /// Only these domains, and nothing else but the components that they need; everything when there are none.
    pub(crate) only: BTreeSet<DomainKey>,
    /// What is there gives way to what is in the backup.
    pub(crate) replace: bool,
    /// Domains are not paused: their engines act at once on what the backup says.
    pub(crate) active: bool,
    /// Only say what would be done.
    pub(crate) dry_run: bool,
    /// How many servers keep a copy of what has to be made.
    pub(crate) replicas: usize,
    /// Who restores.
    pub(crate) by: Name,
}

/// What became of a backup.
#[derive(Debug, Serialize)]
pub(crate) struct RestoreReport {
    /// When the backup was made, in milliseconds since the Unix epoch.
    pub(crate) backup_at: Timestamp,
    /// Nothing was changed.
    pub(crate) dry_run: bool,
    /// What became of each thing, in the order of the file.
    pub(crate) things: Vec<Thing>,
}

/// Something of a backup, and what became of it.
#[derive(Debug, Serialize)]
pub(crate) struct Thing {
    /// `definition`, `engine` (a component), `registry` (what is said of the versions of an engine) or `domain`.
    pub(crate) kind: &'static str,
    /// Its name, its digest, or its owner and name.
    pub(crate) name: String,
    /// What became of it.
    pub(crate) outcome: Outcome,
    /// Why, if it was not restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The epoch from which on a domain is believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) epoch: Option<u64>,
    /// It is a domain, and paused now, or would be.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) paused: bool,
}

/// What became of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// It was not there, and is now.
    Restored,
    /// Another was there, and is void now.
    Replaced,
    /// It was there, the same.
    Unchanged,
    /// Another is there, and was left alone.
    Conflict,
}

impl Outcome {
    /// For people.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Restored => "restored",
            Self::Replaced => "replaced",
            Self::Unchanged => "unchanged",
            Self::Conflict => "conflict",
        }
    }
}

/// A backup that was not restored, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    /// The file is not what it should be. Nothing was restored.
    #[error(transparent)]
    File(#[from] FileError),
    /// A domain was asked for that is not in the backup. Nothing was restored.
    #[error("domain {0} is not in this backup")]
    NotInBackup(DomainKey),
    /// The server failed. What was restored before is restored; do it again.
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl From<JournalError> for RestoreError {
    fn from(error: JournalError) -> Self {
        Self::Server(error.into())
    }
}

/// Where things are restored into. Of a dry run, what is there already.
struct Target {
    journal: Option<JetStreamJournal>,
    definitions: Option<Definitions>,
    engines: Option<ObjectStore>,
    registry: Option<Registry>,
}

/// Reads a backup to its end, and then restores what is in it.
///
/// # Errors
/// When the file is not whole or lacks a domain that was asked for: nothing was changed then. When the server fails midway.
pub(crate) async fn restore<F: Read + Seek>(server: &Server, mut file: F, how: &Restore) -> Result<RestoreReport, RestoreError> {
    let contents = verify(BufReader::new(&mut file))?;
    if let Some(missing) = how.only.iter().find(|key| !contents.domains.contains_key(key)) {
        return Err(RestoreError::NotInBackup((*missing).clone()));
    }
    let target = if how.dry_run {
        Target {
            journal: server.journal().await?,
            definitions: server.definitions(None).await?,
            engines: server.engines(None).await?,
            registry: server.registry(None).await?,
        }
    } else {
        let replicas = Some(how.replicas);
        Target {
            journal: Some(server.journal_or_new(how.replicas).await?),
            definitions: server.definitions(replicas).await?,
            engines: server.engines(replicas).await?,
            registry: server.registry(replicas).await?,
        }
    };
    file.rewind().map_err(FileError::from)?;
    let mut progress = Progress::new();
    let mut report = RestoreReport { backup_at: contents.header.at, dry_run: how.dry_run, things: Vec::new() };
    let (mut reader, _) = Reader::begin(BufReader::new(file))?;
    while let Some(line) = reader.next()? {
        if !is_wanted(&line, &contents, how) {
            continue;
        }
        let thing = match line {
            Line::Definition(definition) => restore_definition(target.definitions.as_ref(), definition, how).await?,
            Line::Engine(engine) => restore_engine(target.engines.as_ref(), engine, how).await?,
            Line::Registry(registered) => restore_registered(&target, registered, &contents, how).await?,
            Line::Domain(state) => restore_domain(target.journal.as_ref(), *state, contents.header.at, how).await?,
            Line::Header(_) | Line::End(_) => continue,
        };
        progress.say(|| format!("{} {}: {}", thing.kind, thing.name, thing.outcome.word()));
        report.things.push(thing);
    }
    Ok(report)
}

fn is_wanted(line: &Line, contents: &Contents, how: &Restore) -> bool {
    how.only.is_empty()
        || match line {
            Line::Domain(state) => how.only.contains(&state.key),
            Line::Engine(engine) => {
                contents.domains.iter().any(|(key, digests)| how.only.contains(key) && digests.contains(&engine.digest))
            }
            // What is said of an engine concerns all domains.
            Line::Definition(_) | Line::Registry(_) | Line::Header(_) | Line::End(_) => false,
        }
}

async fn restore_definition(there: Option<&Definitions>, definition: Definition, how: &Restore) -> Result<Thing, RestoreError> {
    let Definition { name, written } = definition;
    let thing = |outcome, reason| Thing { kind: "definition", name: name.to_string(), outcome, reason, epoch: None, paused: false };
    let kept = match there {
        Some(definitions) => definitions.entry(&name).await.map_err(ServerError::from)?.kept,
        None => Kept::Nothing,
    };
    let (wish, outcome) = match kept {
        Kept::Nothing => (Wish::Add(written), Outcome::Restored),
        Kept::Definition(is) if is.definition == written.definition => return Ok(thing(Outcome::Unchanged, None)),
        _ if how.replace => (Wish::Update(written), Outcome::Replaced),
        _ => return Ok(thing(Outcome::Conflict, Some("another definition of that name is there".to_owned()))),
    };
    if let (Some(definitions), false) = (there, how.dry_run) {
        match definitions.change(&name, &wish, None).await {
            Ok(_) => {}
            // Somebody was faster.
            Err(ApiError::Conflict { message }) => return Ok(thing(Outcome::Conflict, Some(message))),
            Err(error) => return Err(ServerError::from(error).into()),
        }
    }
    Ok(thing(outcome, None))
}

async fn restore_engine(there: Option<&ObjectStore>, engine: Engine, how: &Restore) -> Result<Thing, RestoreError> {
    let Engine { digest, component } = engine;
    let failed = |reason: String| ServerError::Component { digest: digest.clone(), reason };
    let thing = |outcome| Thing { kind: "engine", name: digest.clone(), outcome, reason: None, epoch: None, paused: false };
    if is_in(there, &digest).await? {
        return Ok(thing(Outcome::Unchanged));
    }
    if let (Some(store), false) = (there, how.dry_run) {
        put_known(store, &digest, &component).await.map_err(|error| failed(error.to_string()))?;
    }
    Ok(thing(Outcome::Restored))
}

/// Restores what the registry said of an engine. A version whose component is nowhere, because the backup was made without it, is left out,
/// and so is the pin on it: no host could load it.
async fn restore_registered(target: &Target, registered: Registered, contents: &Contents, how: &Restore) -> Result<Thing, RestoreError> {
    let Registered { name, entry } = registered;
    let thing = |outcome, reason| Thing { kind: "registry", name: name.to_string(), outcome, reason, epoch: None, paused: false };
    let text = serde_json::to_vec(&entry).map_err(std::io::Error::from).map_err(FileError::from)?;
    let mut entry = match Entry::read(&text) {
        Ok(entry) => entry,
        // A newer host wrote it.
        Err(why) => return Ok(thing(Outcome::Conflict, Some(why))),
    };
    let mut without = Vec::new();
    for (version, pushed) in std::mem::take(&mut entry.versions) {
        let comes_with_it = how.dry_run && contents.engines.contains(&pushed.digest);
        if comes_with_it || is_in(target.engines.as_ref(), &pushed.digest).await? {
            entry.versions.insert(version, pushed);
        } else {
            without.push(version);
        }
    }
    // One that is no version of the backup came with the hosts.
    let unpinned = entry.pinned.take_if(|pinned| without.contains(&pinned.version));
    let put_back = match &target.registry {
        Some(registry) => registry.put_back(&name, &entry, how.replace, how.dry_run).await.map_err(ServerError::from)?,
        None => PutBack::Added,
    };
    failpoint::reach("after-restore", "registry");
    if !how.dry_run && matches!(put_back, PutBack::Added | PutBack::Merged) {
        // Somebody may have found that no version names it, before one did.
        for digest in entry.versions.values().map(|pushed| &pushed.digest) {
            if !is_in(target.engines.as_ref(), digest).await? {
                let reason = "it was taken out of the store meanwhile; restore the backup once more".to_owned();
                return Err(ServerError::Component { digest: digest.clone(), reason }.into());
            }
        }
    }
    let left_out = (!without.is_empty()).then(|| {
        let versions = without.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let pin = unpinned.map(|pinned| format!("; nor is {} pinned", pinned.version)).unwrap_or_default();
        format!("without {versions}: the component is nowhere{pin}")
    });
    Ok(match put_back {
        PutBack::Added => thing(Outcome::Restored, left_out),
        PutBack::Merged => thing(Outcome::Replaced, left_out),
        PutBack::Unchanged => thing(Outcome::Unchanged, left_out),
        PutBack::LeftAlone(why) => thing(Outcome::Conflict, Some(why)),
    })
}

/// Whether the store has a component.
async fn is_in(store: Option<&ObjectStore>, digest: &str) -> Result<bool, ServerError> {
    let Some(store) = store else { return Ok(false) };
    match store.info(digest).await {
        Ok(there) => Ok(!there.deleted),
        Err(error) if error.kind() == InfoErrorKind::NotFound => Ok(false),
        Err(error) => Err(ServerError::Component { digest: digest.to_owned(), reason: error.to_string() }),
    }
}

async fn restore_domain(
    journal: Option<&JetStreamJournal>,
    mut state: DomainState,
    backup_at: Timestamp,
    how: &Restore,
) -> Result<Thing, RestoreError> {
    let key = state.key.clone();
    let paused = !how.active || state.paused;
    let thing = |outcome, reason, epoch| {
        let paused = paused && matches!(outcome, Outcome::Restored | Outcome::Replaced);
        Thing { kind: "domain", name: key.to_string(), outcome, reason, epoch, paused }
    };
    let Some(journal) = journal else { return Ok(thing(Outcome::Restored, None, None)) };
    // It may have been made where there were more slots.
    state.slot = key.slot(journal.slots());
    for _ in 0..ATTEMPTS {
        let mut damage = None;
        let entries = match journal.load(&Scope::Domain(key.clone())).await?.take(&key) {
            Ok(entries) => entries,
            // No host looks after it. What it says is lost already, and made void only if that is said.
            Err(found @ JournalError::Damaged { .. }) if !how.replace => {
                return Ok(thing(Outcome::Conflict, Some(found.to_string()), None));
            }
            Err(found @ JournalError::Damaged { .. }) => {
                damage = Some(found);
                Vec::new()
            }
            Err(error) => return Err(error.into()),
        };
        let earlier = entries.first().and_then(|entry| restored_by(&entry.bytes));
        if earlier.is_some_and(|earlier| earlier.backup_at == backup_at && earlier.state == state) {
            if how.replace && !how.dry_run {
                // If it was damaged: perhaps the run before was cut off before it had done that.
                journal.purge_below(&key, entries[0].sequence).await?;
            }
            return Ok(thing(Outcome::Unchanged, Some("this backup was restored into it before".to_owned()), None));
        }
        let before = match fold(DomainState::absent(key.clone(), state.slot), &entries) {
            Ok(before) => before,
            // Perhaps a later version wrote it, and goes on with it.
            Err(error) => return Ok(thing(Outcome::Conflict, Some(error.to_string()), None)),
        };
        let is_there = damage.is_some() || matches!(before.life, Life::Active | Life::Removing);
        if is_there && !how.replace {
            return Ok(thing(Outcome::Conflict, Some("a domain of that name is there".to_owned()), None));
        }
        let outcome = if is_there { Outcome::Replaced } else { Outcome::Restored };
        let restored = Restored { by: how.by.clone(), backup_at, state: state.clone(), paused: !how.active };
        let record = record(restored, &before, clock::now());
        let thing = thing(outcome, damage.as_ref().map(ToString::to_string), Some(record.epoch));
        if how.dry_run {
            return Ok(thing);
        }
        let after = match damage {
            Some(_) => journal.tip(&key).await?,
            None => entries.last().map(store::Entry::tip).unwrap_or_default(),
        };
        match journal.append(&key, Append { after, is_snapshot: true, bytes: record.to_bytes().into() }).await? {
            Appended::Committed { tip } => {
                failpoint::reach("after-restore", "domain");
                if damage.is_some() {
                    // A message that no journal wrote damages the domain for as long as it is there.
                    journal.purge_below(&key, tip.sequence).await?;
                }
                return Ok(thing);
            }
            // Its host was faster, or somebody who adds a domain of that name: another look.
            Appended::Fenced { .. } => {}
            Appended::Full { reason } => return Err(ServerError::Full(reason).into()),
        }
    }
    Ok(thing(Outcome::Conflict, Some(format!("its host was faster {ATTEMPTS} times: disable it first, or stop it")), None))
}

/// The restore that a record tells of.
fn restored_by(record: &[u8]) -> Option<Restored> {
    let record = Record::from_bytes(record).ok()?;
    record.events.into_iter().find_map(|event| if let Event::Restored(restored) = event { Some(*restored) } else { None })
}

/// What to append. Its epoch is higher than every one that this journal or the backed-up one came to, and than any that a journal which was
/// lost can have come to in between: a domain is not taken a thousand times a second.
fn record(restored: Restored, before: &DomainState, now: Timestamp) -> Record {
    let epoch = now.as_millis().max(before.epoch.max(restored.state.epoch).saturating_add(1));
    let at = now.max(before.now).max(restored.state.now);
    Record::new(at, epoch, vec![Event::Restored(Box::new(restored))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_of_a_restore_is_above_every_one_before_and_its_moment_never_goes_back() {
        let key = DomainKey { owner: "ann".parse().expect("a name"), name: "web".parse().expect("a name") };
        let state = |epoch, now| {
            let mut state = DomainState::absent(key.clone(), key.slot(256));
            (state.epoch, state.now) = (epoch, Timestamp::from_secs(now));
            state
        };
        let by: Name = "ann".parse().expect("a name");
        let now = Timestamp::from_secs(1_700_000_000);
        let of = |backed_up: DomainState, before: DomainState| {
            let restored = Restored { by: by.clone(), backup_at: Timestamp::ZERO, state: backed_up, paused: true };
            let record = record(restored, &before, now);
            (record.epoch, record.at)
        };
        assert_eq!(of(state(5, 10), state(0, 0)), (now.as_millis(), now));
        let late = now.as_millis() + 7;
        assert_eq!(of(state(5, 10), state(late, 10)).0, late + 1, "restored twice within a moment");
        assert_eq!(of(state(late, 10), state(3, 10)).0, late + 1, "a backup of what was restored");
        assert_eq!(of(state(5, 1_800_000_000), state(0, 0)).1, Timestamp::from_secs(1_800_000_000), "by a clock that was ahead");
    }
}
