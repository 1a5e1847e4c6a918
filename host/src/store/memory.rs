//! The journal in memory: the same promises without a server, and faults on demand.
//!
//! Appends go through the very same protocol as on a server; only what carries the messages differs. So a test can lose an
//! acknowledgement at will and see what the host makes of it. Handles made with [`MemoryJournal::another_writer`] share the records and
//! nothing else, like two hosts.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use pilothouse_core::name::{DomainKey, Slot};
use pilothouse_core::time::Timestamp;

use super::health::Health;
use super::in_flight::InFlight;
use super::settle::{Body, Message, Reply, Wire, settle};
use super::{Append, Appended, Entry, Foreign, Journal, JournalError, Loaded, MAX_RECORD, Scope, Tip};

/// A journal in memory. Clones are one writer.
#[derive(Clone, Debug)]
pub struct MemoryJournal {
    store: Arc<Mutex<Store>>,
    writer: Arc<Writer>,
}

/// What a writer has for itself.
#[derive(Debug)]
struct Writer {
    number: u64,
    appends: AtomicU64,
    in_flight: InFlight,
    health: Health,
    faults: Mutex<VecDeque<Fault>>,
}

/// What all writers see.
#[derive(Debug)]
struct Store {
    slots: u16,
    writers: u64,
    sequence: u64,
    capacity: usize,
    used: usize,
    domains: BTreeMap<DomainKey, Vec<Entry>>,
}

/// What befalls one message on its way to the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is stored, and the acknowledgement is lost.
    AckLost,
    /// It is lost, and so nothing is acknowledged.
    MessageLost,
    /// It is refused as if it did not follow the newest record, because another message has not gone through yet, and never will.
    RefusedForNow,
    /// There is no room.
    Full,
    /// Another writer's record is stored just before it arrives.
    Overtaken(Bytes),
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self::new(Slot::DEFAULT_COUNT)
    }
}

impl MemoryJournal {
    /// An empty journal for domains in so many slots.
    pub fn new(slots: u16) -> Self {
        let store = Store { slots, writers: 0, sequence: 0, capacity: usize::MAX, used: 0, domains: BTreeMap::new() };
        Self::on(Arc::new(Mutex::new(store)))
    }

    /// Another writer of the same journal, as another host would be.
    pub fn another_writer(&self) -> Self {
        Self::on(Arc::clone(&self.store))
    }

    /// Limits the room for all records together, in bytes.
    pub fn set_capacity(&self, bytes: usize) {
        self.store().capacity = bytes;
    }

    /// Lets faults befall the next messages of this writer, one each, in this order. A repetition is a message too.
    pub fn inject(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults().extend(faults);
    }

    fn on(store: Arc<Mutex<Store>>) -> Self {
        let number = {
            let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
            store.writers += 1;
            store.writers
        };
        let writer = Writer {
            number,
            appends: AtomicU64::new(0),
            in_flight: InFlight::default(),
            health: Health::default(),
            faults: Mutex::new(VecDeque::new()),
        };
        Self { store, writer: Arc::new(writer) }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self) -> MutexGuard<'_, VecDeque<Fault>> {
        self.writer.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for MemoryJournal {
    async fn append(&self, key: &DomainKey, append: Append) -> Result<Appended, JournalError> {
        if append.bytes.len() > MAX_RECORD {
            return Err(JournalError::TooLarge { key: key.clone(), size: append.bytes.len() });
        }
        let _turn = self.writer.in_flight.enter(key)?;
        let n = self.writer.appends.fetch_add(1, Ordering::Relaxed);
        let id = format!("{key}/{}/{n}", self.writer.number);
        let message = Message { id, after: append.after, is_snapshot: append.is_snapshot, body: Body::Inline(append.bytes) };
        settle(self, &self.writer.health, key, &message).await
    }

    async fn last(&self, key: &DomainKey) -> Result<Option<Entry>, JournalError> {
        Ok(self.store().records(key).last().cloned())
    }

    async fn load(&self, scope: &Scope) -> Result<Loaded, JournalError> {
        let store = self.store();
        let within = |key: &DomainKey| match scope {
            Scope::Domain(one) => one == key,
            Scope::Slot(slot) => *slot == key.slot(store.slots),
            Scope::All => true,
        };
        let tail = |entries: &[Entry]| {
            let from = entries.iter().rposition(Entry::is_snapshot).unwrap_or_default();
            entries[from..].to_vec()
        };
        let domains = store.domains.iter().filter(|(key, _)| within(key)).map(|(key, entries)| (key.clone(), tail(entries))).collect();
        Ok(Loaded { domains, damaged: BTreeMap::new() })
    }

    async fn history(&self, key: &DomainKey, before: Option<u64>, limit: usize) -> Result<Vec<Entry>, JournalError> {
        let store = self.store();
        let entries = store.records(key);
        let end = match before {
            None => entries.len(),
            Some(before) => entries.iter().position(|entry| entry.sequence == before).unwrap_or_default(),
        };
        Ok(entries[..end].iter().rev().take(limit).cloned().collect())
    }

    async fn purge_below(&self, key: &DomainKey, sequence: u64) -> Result<u64, JournalError> {
        let mut store = self.store();
        let store = &mut *store;
        let Some(entries) = store.domains.get_mut(key) else { return Ok(0) };
        let newest = entries.iter().last().map_or(0, |entry| entry.snapshot);
        if sequence > newest {
            return Err(JournalError::PurgeTooFar { key: key.clone(), sequence, newest });
        }
        let gone = entries.iter().take_while(|entry| entry.sequence < sequence).count();
        store.used -= entries.drain(..gone).map(|entry| entry.bytes.len()).sum::<usize>();
        Ok(gone as u64)
    }

    fn health(&self) -> &Health {
        &self.writer.health
    }
}

impl Wire for MemoryJournal {
    fn publish(&self, key: &DomainKey, message: &Message) -> impl Future<Output = Reply> + Send {
        let fault = self.faults().pop_front();
        let mut store = self.store();
        let reply = match fault {
            None => store.take(key, message),
            Some(Fault::AckLost) => {
                store.take(key, message);
                Reply::Unknown("the acknowledgement is lost".to_owned())
            }
            Some(Fault::MessageLost) => Reply::Unknown("the message is lost".to_owned()),
            Some(Fault::RefusedForNow) => Reply::WrongLast,
            Some(Fault::Full) => Reply::Full("maximum bytes exceeded".to_owned()),
            Some(Fault::Overtaken(bytes)) => {
                store.overtake(key, bytes);
                store.take(key, message)
            }
        };
        std::future::ready(reply)
    }

    fn first_after(&self, key: &DomainKey, sequence: u64) -> impl Future<Output = Result<Option<Foreign>, String>> + Send {
        let store = self.store();
        let next = store.records(key).iter().find(|entry| entry.sequence > sequence);
        std::future::ready(Ok(next.map(|entry| Foreign { sequence: entry.sequence, id: entry.id.clone() })))
    }
}

impl Store {
    fn records(&self, key: &DomainKey) -> &[Entry] {
        self.domains.get(key).map_or(&[], Vec::as_slice)
    }

    fn tip(&self, key: &DomainKey) -> Tip {
        self.records(key).last().map(Entry::tip).unwrap_or_default()
    }

    fn take(&mut self, key: &DomainKey, message: &Message) -> Reply {
        let Body::Inline(bytes) = &message.body else { return Reply::Refused("there is no object store in memory".to_owned()) };
        if message.after.sequence != self.tip(key).sequence {
            return Reply::WrongLast;
        }
        if self.used.saturating_add(bytes.len()) > self.capacity {
            return Reply::Full("maximum bytes exceeded".to_owned());
        }
        self.sequence += 1;
        self.used += bytes.len();
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let entry = Entry {
            sequence: self.sequence,
            id: message.id.clone(),
            time: Timestamp::from_millis(since_epoch.as_millis() as u64),
            snapshot: message.after.advanced(self.sequence, message.is_snapshot).snapshot,
            bytes: bytes.clone(),
        };
        self.domains.entry(key.clone()).or_default().push(entry);
        Reply::Stored(self.sequence)
    }

    /// Stores a record as another writer would that has seen everything.
    fn overtake(&mut self, key: &DomainKey, bytes: Bytes) {
        let id = format!("{key}/overtaking/{}", self.sequence + 1);
        self.take(key, &Message { id, after: self.tip(key), is_snapshot: false, body: Body::Inline(bytes) });
    }
}
