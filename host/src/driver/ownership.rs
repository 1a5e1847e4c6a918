//! Who looks after the domains.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pilothouse_core::name::Name;
use pilothouse_core::time::Timestamp;
use tokio::sync::watch;

use super::clock::Clock;

/// The owner of the domains, as this host knows it. All slots have one owner; the others stand by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Nobody, or nobody knows.
    Unknown,
    /// This host.
    Me,
    /// Another host.
    Other {
        /// Its name.
        host: Name,
        /// Which process of that name: where it takes what is forwarded.
        process: u64,
    },
}

/// A view of who is the owner. Being the owner has an end: a process that was stopped must not believe what it knew before.
#[derive(Clone, Debug)]
pub(crate) struct Ownership {
    owner: watch::Receiver<Owner>,
    until: Arc<AtomicU64>,
    clock: Clock,
}

/// The other side of an [`Ownership`].
#[derive(Debug)]
pub(crate) struct Register {
    owner: watch::Sender<Owner>,
    until: Arc<AtomicU64>,
}

impl Ownership {
    /// An ownership and who keeps it.
    pub(crate) fn new(clock: Clock) -> (Register, Self) {
        let (sender, owner) = watch::channel(Owner::Unknown);
        let until = Arc::new(AtomicU64::new(0));
        (Register { owner: sender, until: Arc::clone(&until) }, Self { owner, until, clock })
    }

    /// Whether this host looks after the domains, now.
    pub(crate) fn is_mine(&self) -> bool {
        self.is_mine_at(self.clock.now())
    }

    /// The same, for those who have just looked at the clock.
    pub(crate) fn is_mine_at(&self, now: Timestamp) -> bool {
        now.as_millis() < self.until.load(Ordering::Acquire) && *self.owner.borrow() == Owner::Me
    }

    /// The owner, as it was last known.
    pub(crate) fn owner(&self) -> Owner {
        self.owner.borrow().clone()
    }

    /// Tells of changes.
    pub(crate) fn changes(&self) -> watch::Receiver<Owner> {
        self.owner.clone()
    }
}

impl Register {
    /// This host is the owner until then.
    pub(crate) fn mine_until(&self, until: Timestamp) {
        self.until.store(until.as_millis(), Ordering::Release);
        self.set(Owner::Me);
    }

    /// Somebody else is, or nobody knows.
    pub(crate) fn set(&self, owner: Owner) {
        self.owner.send_if_modified(|is| {
            let changes = *is != owner;
            if changes {
                tracing::info!(owner = ?owner, "ownership of the domains");
                *is = owner;
            }
            changes
        });
    }
}
