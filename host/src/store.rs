//! The journal, at the level of bytes: one append-only sequence of records for each domain, and the fence around it.
//!
//! [`Journal`] is the promise; [`JetStreamJournal`] keeps it on a NATS server, [`MemoryJournal`] keeps the same one in memory, with faults on
//! demand. What a record means is the core's business, when to write one is the driver's; here it is bytes with a sequence.
//!
//! # The fence
//!
//! Every append names the sequence that it expects to follow, so a writer that has not seen the newest record of a domain cannot add to
//! it: of two writers one wins, and the other learns who came first. Sequences count over all domains together; those of one domain
//! ascend with gaps. A domain that was never written expects 0, and because a purge always leaves the newest record, 0 stays wrong for
//! ever afterwards, also for a writer that never wrote and for a name that was removed and added again.
//!
//! # Snapshots
//!
//! A record may be a snapshot, and every other record names the newest one before it. That name is true because of the fence: whoever gets
//! an append accepted has seen everything before it. So a load needs only the newest record to know where to begin. Both numbers together
//! are a [`Tip`], which a load or an append hands out and the next append builds on.
//!
//! # What is not here
//!
//! No batching, no ownership, no retention policy: they are decided above. Nothing gives up on an append whose outcome is unknown; it is
//! repeated until it is settled, which [`Health`] shows, and whoever awaits it applies nothing meanwhile.

mod error;
mod health;
mod in_flight;
mod jetstream;
mod memory;
mod settle;

use std::collections::BTreeMap;
use std::future::Future;

use bytes::Bytes;
use pilothouse_core::name::{DomainKey, Slot};
use pilothouse_core::time::Timestamp;

pub use self::error::{JournalError, OpenError};
pub use self::health::{Counts, Health};
pub(crate) use self::jetstream::is_absent;
pub use self::jetstream::{JetStreamJournal, JournalOptions};
pub use self::memory::{Fault, MemoryJournal};

/// The largest record. One that is larger is a fault of the writer: a snapshot of ten thousand instances takes a tenth of it.
pub const MAX_RECORD: usize = 64 << 20;

/// A journal of many domains. Cheap to clone; clones are one writer.
pub trait Journal: Clone + Send + Sync + 'static {
    /// Adds a record, and returns when it is known what became of it, however long that takes.
    ///
    /// There is one append at a time in a domain. Dropping the future leaves the outcome open, and so does an error: load the domain
    /// again before the next append, and expect to be fenced by this one once if it arrives late.
    fn append(&self, key: &DomainKey, append: Append) -> impl Future<Output = Result<Appended, JournalError>> + Send;

    /// The newest record of a domain, as the leader of the journal knows it.
    fn last(&self, key: &DomainKey) -> impl Future<Output = Result<Option<Entry>, JournalError>> + Send;

    /// For each domain in `scope` that was ever written, removed ones included, the records from its newest snapshot on.
    ///
    /// All that was committed before the call is in it. What is committed meanwhile may be missing; an append that builds on it is then fenced.
    fn load(&self, scope: &Scope) -> impl Future<Output = Result<Loaded, JournalError>> + Send;

    /// Up to `limit` records of a domain, newest first: those before the record `before`, or the newest ones.
    ///
    /// Ends early where older records were purged.
    fn history(&self, key: &DomainKey, before: Option<u64>, limit: usize) -> impl Future<Output = Result<Vec<Entry>, JournalError>> + Send;

    /// Removes the records of a domain strictly below `sequence`, and says how many there were.
    ///
    /// The newest snapshot and what follows it always stay: a `sequence` beyond it is refused.
    fn purge_below(&self, key: &DomainKey, sequence: u64) -> impl Future<Output = Result<u64, JournalError>> + Send;

    /// How this writer has been faring.
    fn health(&self) -> &Health;
}

/// A record to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The end of the domain's journal, as the writer knows it. It gets in only there.
    pub after: Tip,
    /// Whether it says by itself all that the records before it said.
    pub is_snapshot: bool,
    /// The record.
    pub bytes: Bytes,
}

/// The end of a domain's journal. The default is that of a domain that was never written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tip {
    /// The sequence of the newest record; 0 before the first.
    pub sequence: u64,
    /// The sequence of the newest snapshot; 0 before the first.
    pub snapshot: u64,
}

impl Tip {
    /// The tip when a record has been added at `sequence`.
    fn advanced(self, sequence: u64, is_snapshot: bool) -> Self {
        Self { sequence, snapshot: if is_snapshot { sequence } else { self.snapshot } }
    }
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is in the journal, once.
    Committed {
        /// What the next append builds on.
        tip: Tip,
    },
    /// Somebody else's record is where this one would be. This writer no longer owns the domain, and forgets it.
    Fenced {
        /// The first record that this writer did not know.
        by: Foreign,
    },
    /// The journal has no room. Nothing was written; the same append may be tried again once there is room.
    Full {
        /// In the server's words.
        reason: String,
    },
}

/// A record that another writer wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Its sequence.
    pub sequence: u64,
    /// Its message id.
    pub id: String,
}

/// A record of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub sequence: u64,
    /// The sequence of the newest snapshot, which may be this record; 0 before the first.
    pub snapshot: u64,
    /// The message id that its writer minted: unique for ever, the same for all repetitions of one append.
    pub id: String,
    /// When it was stored, by the clock of the journal.
    pub time: Timestamp,
    /// The record.
    pub bytes: Bytes,
}

impl Entry {
    /// The end of the journal, if this is the newest record.
    pub fn tip(&self) -> Tip {
        Tip { sequence: self.sequence, snapshot: self.snapshot }
    }

    /// Whether it says by itself all that the records before it said.
    pub fn is_snapshot(&self) -> bool {
        self.snapshot == self.sequence
    }
}

/// Which domains to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One.
    Domain(DomainKey),
    /// Those of one slot.
    Slot(Slot),
    /// Every one.
    All,
}

/// What a load found.
#[derive(Debug, Default)]
pub struct Loaded {
    /// For each domain its newest snapshot, if it has one, and what follows: oldest first, never empty.
    pub domains: BTreeMap<DomainKey, Vec<Entry>>,
    /// Domains whose records don't fit together, or could not all be read. They keep to themselves: the others are fine.
    pub damaged: BTreeMap<DomainKey, JournalError>,
}

impl Loaded {
    /// Takes out the records of one domain: none when it was never written.
    ///
    /// # Errors
    /// When they don't fit together, or could not all be read.
    pub fn take(&mut self, key: &DomainKey) -> Result<Vec<Entry>, JournalError> {
        match self.damaged.remove(key) {
            Some(damage) => Err(damage),
            None => Ok(self.domains.remove(key).unwrap_or_default()),
        }
    }
}
