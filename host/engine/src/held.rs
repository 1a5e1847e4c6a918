//! What calls hold while they run: the limiter that keeps one call to its memory and tables, and all of them together to theirs.

use std::io;
use std::mem::size_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wasmtime::ResourceLimiter;

use crate::limits::EngineLimits;

/// Of a table: an element is a pointer.
const ELEMENT_BYTES: usize = size_of::<usize>();

/// What all calls hold together, and may.
#[derive(Debug)]
pub(crate) struct Together {
    used: AtomicUsize,
    most: usize,
}

/// The host has no room for a call. This ends it, rather than being told to the guest: what a guest does about less memory must depend on
/// its own limits alone, or its decisions would depend on what other engines do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoRoom {
    #[error("wanted {more} bytes of memory more when engines together hold {used} of the {most} that they may on this host")]
    Together { more: usize, used: usize, most: usize },
    #[error("this machine has no more memory: {0}")]
    Machine(String),
}

impl Together {
    pub(crate) fn new(most: usize) -> Self {
        Self { used: AtomicUsize::new(0), most }
    }

    /// Bytes that running calls hold.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes that they may.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    fn draw(&self, more: usize) -> Result<(), NoRoom> {
        let most = self.most;
        // The count alone is shared; nothing else is read by what it says.
        let drawn =
            self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| used.checked_add(more).filter(|used| *used <= most));
        drawn.map(drop).map_err(|used| NoRoom::Together { more, used, most })
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Counts what a call holds, says no beyond its limits, and remembers that it did: a guest that was refused memory usually ends in a
/// trap, and only this tells why. What was drawn from the common budget is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    memory_room: usize,
    table_room: usize,
    refused: Option<String>,
    together: Arc<Together>,
    drawn: usize,
}

impl Held {
    pub(crate) fn new(limits: &EngineLimits, together: Arc<Together>) -> Self {
        Self { memory_room: limits.memory_bytes, table_room: limits.table_elements, refused: None, together, drawn: 0 }
    }

    /// What was refused, in words.
    pub(crate) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    fn draw(&mut self, bytes: usize) -> Result<(), NoRoom> {
        self.together.draw(bytes)?;
        self.drawn += bytes;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.together.give_back(self.drawn);
    }
}

impl ResourceLimiter for Held {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        if maximum.is_some_and(|maximum| desired > maximum) {
            // It would fail, and nothing be held. Whether the guest says so itself, or the host has no larger ones, is not told here.
            self.refused = Some(format!("wanted {more} bytes of memory more than that memory can have"));
            return Ok(false);
        }
        let Some(room) = self.memory_room.checked_sub(more) else {
            self.refused = Some(format!("wanted {more} bytes of memory more when {} were left", self.memory_room));
            return Ok(false);
        };
        self.draw(more)?;
        self.memory_room = room;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        if error.is::<io::Error>() {
            return Err(NoRoom::Machine(error.to_string()).into());
        }
        self.refused.get_or_insert_with(|| format!("wanted more memory: {error}"));
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        if maximum.is_some_and(|maximum| desired > maximum) {
            self.refused = Some(format!("wanted {more} table elements more than that table can have"));
            return Ok(false);
        }
        let Some(room) = self.table_room.checked_sub(more) else {
            self.refused = Some(format!("wanted {more} table elements more when {} were left", self.table_room));
            return Ok(false);
        };
        self.draw(more.saturating_mul(ELEMENT_BYTES))?;
        self.table_room = room;
        Ok(true)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        if error.is::<io::Error>() {
            return Err(NoRoom::Machine(error.to_string()).into());
        }
        self.refused.get_or_insert_with(|| format!("wanted a larger table: {error}"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(memory_bytes: usize, together: &Arc<Together>) -> Held {
        Held::new(&EngineLimits { memory_bytes, ..EngineLimits::default() }, Arc::clone(together))
    }

    #[test]
    fn a_limiter_says_no_beyond_its_limit_and_goes_on_after_that() {
        let mut held = held(100, &Arc::new(Together::new(1000)));
        let mut grow = |current, desired| held.memory_growing(current, desired, Some(500)).expect("an answer");
        assert!(grow(0, 60), "one memory");
        assert!(!grow(0, 60), "a second one, counted together with the first");
        assert!(grow(0, 40), "what fits, fits");
        assert_eq!(held.refused(), Some("wanted 60 bytes of memory more when 40 were left"));
    }

    #[test]
    fn what_calls_hold_together_is_bounded_and_given_back_with_the_last_of_them() {
        let together = Arc::new(Together::new(100));
        let (mut one, mut other) = (held(80, &together), held(80, &together));
        assert!(one.memory_growing(0, 60, None).expect("there is room"));
        assert!(other.memory_growing(0, 40, None).expect("to the byte"));
        let error = other.memory_growing(40, 41, None).expect_err("nothing is left");
        assert!(error.is::<NoRoom>(), "{error}");
        assert_eq!(other.refused(), None, "it is not its own limit");
        assert!(!other.memory_growing(40, 200, None).expect("an answer"), "its own limit is judged first: that does not depend on others");
        assert_eq!(together.used(), 100);
        drop(one);
        assert_eq!(together.used(), 40);
        assert!(other.table_growing(0, 5, None).expect("there is room again"));
        assert_eq!(together.used(), 80, "tables count as well");
        drop(other);
        assert_eq!(together.used(), 0);
    }

    #[test]
    fn what_fails_by_the_guests_own_word_takes_nothing() {
        let together = Arc::new(Together::new(100));
        let mut held = held(80, &together);
        assert!(!held.memory_growing(0, 20, Some(10)).expect("an answer"));
        assert!(!held.table_growing(0, 2, Some(1)).expect("an answer"));
        assert_eq!((together.used(), held.memory_room, held.table_room), (0, 80, 65_536));
    }
}
