//! What can go wrong with a journal, other than the three outcomes of an append.

use pilothouse_core::name::DomainKey;

/// What a lower layer said.
pub(crate) type Source = Box<dyn std::error::Error + Send + Sync>;

/// An operation on the journal failed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The caller broke its promise of one append at a time.
    #[error("an append to the journal of {key} is in flight already")]
    Busy {
        /// The domain.
        key: DomainKey,
    },
    /// No record may be that large.
    #[error("a record of {size} bytes for {key} is larger than {} bytes", super::MAX_RECORD)]
    TooLarge {
        /// The domain.
        key: DomainKey,
        /// Of the record.
        size: usize,
    },
    /// The server refuses the append as such. Repeating it is useless.
    #[error("the journal refuses an append for {key}: {reason}")]
    Refused {
        /// The domain.
        key: DomainKey,
        /// In the server's words.
        reason: String,
    },
    /// The journal does not have what the writer relies on: it has lost its end, or was emptied by hand.
    #[error("the journal of {key} ends before record {expected}, which was read from it or acknowledged by it")]
    Lost {
        /// The domain.
        key: DomainKey,
        /// What the append expected to follow.
        expected: u64,
    },
    /// Nobody answers a reading.
    #[error("{doing}: the journal does not answer")]
    Unavailable {
        /// What was being done to what.
        doing: String,
        /// The last thing that was heard.
        source: Source,
    },
    /// Records that don't fit together.
    #[error("the journal of {key} is damaged at record {sequence}: {what}")]
    Damaged {
        /// The domain.
        key: DomainKey,
        /// The record.
        sequence: u64,
        /// How.
        what: String,
    },
    /// A purge that would leave a domain without what a load needs.
    #[error("refused to purge the journal of {key} below {sequence}: its newest snapshot is record {newest}")]
    PurgeTooFar {
        /// The domain.
        key: DomainKey,
        /// What was asked for.
        sequence: u64,
        /// Where the newest snapshot is; 0 when there is none.
        newest: u64,
    },
}

/// The journal can't be used at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A stream of that name is there, and would lose records or its fence.
    #[error("stream {stream} is not safe as a journal: `{field}` is {found}, and must be {needed}; change it with `nats stream edit`")]
    Unsafe {
        /// The stream.
        stream: String,
        /// The field of its configuration, as the server calls it.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it has to be.
        needed: String,
    },
    /// The stream can be neither found nor made.
    #[error("making stream {stream}")]
    Create {
        /// The stream.
        stream: String,
        /// Why not.
        source: Source,
    },
}
