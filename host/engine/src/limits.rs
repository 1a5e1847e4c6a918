//! What an engine may use up, and the limiter that holds it to memory and tables.

use std::time::Duration;

use wasmtime::ResourceLimiter;

/// How often the clock that cuts calls short ticks. Deadlines are as exact as that; a hundred wake-ups a second cost nothing to speak of.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// The most that one guest call to the host, or one return, may hand over, in bytes as the host holds them. A decision that names twenty
/// thousand instances needs one MiB. It keeps a guest from making the host copy the same text a million times.
pub const HANDOVER_BYTES: usize = 4 << 20;

/// What each engine call may use up. The same for every engine of a [`Sandbox`](crate::Sandbox).
///
/// Fuel is the limit that is meant to be met: it counts the same everywhere, so that a decision which fails on one host fails on all.
/// Deadline and time-out are for machines that are slower than fuel assumes; they must lie well above what the fuel takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineLimits {
    /// Units of fuel for a call: about one for each instruction, and one for each byte that crosses the border. Over it: a fuel fault.
    ///
    /// The default of 1 000 000 000 is a third of a second to a second of work. The engines that ship with the host use a few ten
    /// thousand on small domains, and interpreters that were compiled to components a few million.
    pub fuel: u64,
    /// How long a call may run by the clock on the wall, to 10 ms. Over it: a deadline fault, which does not speak against the engine.
    ///
    /// The default of 3 s is several times what the fuel takes on a machine that is busy with other things.
    pub deadline: Duration,
    /// How long whoever waits for a call should wait before it gives the call up. Not enforced here, since a blocking call can't
    /// give itself up: see [`Runner`](crate::Runner). The default of 10 s leaves time for queueing behind calls that run into their deadline.
    pub time_out: Duration,
    /// Bytes of linear memory of a call, all its memories together, up to 4 GiB. A guest that grows beyond is told no; if it traps for
    /// that, it is a memory fault.
    ///
    /// The default of 64 MiB is a dozen times what a Python engine uses. Every call that runs at the same time may use as much.
    pub memory_bytes: usize,
    /// Elements of all tables of a call together. The default of 65 536 is enough for the functions of an interpreter.
    pub table_elements: usize,
    /// Bytes of stack for a guest's calls; deeper recursion traps. The calling thread needs as much and 256 KiB more. The default is 512 KiB.
    pub stack_bytes: usize,
    /// Bytes of a component. Over it, it is not even looked at. The default of 64 MiB is three times the size of a Python engine.
    pub component_bytes: usize,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self {
            fuel: 1_000_000_000,
            deadline: Duration::from_secs(3),
            time_out: Duration::from_secs(10),
            memory_bytes: 64 << 20,
            table_elements: 65_536,
            stack_bytes: 512 << 10,
            component_bytes: 64 << 20,
        }
    }
}

impl EngineLimits {
    /// What is wrong with them, if anything.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        if self.fuel == 0 {
            Some("fuel: expected at least 1")
        } else if self.deadline < TICK {
            Some("deadline: expected at least 10 ms")
        } else if self.time_out < self.deadline {
            Some("time_out: expected at least the deadline")
        } else if !(65_536..=4 << 30).contains(&self.memory_bytes) {
            Some("memory_bytes: expected 64 KiB to 4 GiB")
        } else if !(1..=10_000_000).contains(&self.table_elements) {
            Some("table_elements: expected 1 to 10000000")
        } else if !(64 << 10..=1 << 20).contains(&self.stack_bytes) {
            Some("stack_bytes: expected 64 KiB to 1 MiB")
        } else {
            None
        }
    }

    /// The deadline in ticks of the clock. One more than it takes, because the first may come at once.
    pub(crate) fn ticks(&self) -> u64 {
        u64::try_from(self.deadline.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u64::MAX - 1) + 1
    }
}

/// Counts what a call holds, says no beyond the limit, and remembers that it did: a guest that was refused memory usually ends in a
/// trap, and only this tells why.
#[derive(Debug)]
pub(crate) struct Held {
    memory_room: usize,
    table_room: usize,
    refused: Option<String>,
}

impl Held {
    pub(crate) fn new(limits: &EngineLimits) -> Self {
        Self { memory_room: limits.memory_bytes, table_room: limits.table_elements, refused: None }
    }

    /// What was refused, in words.
    pub(crate) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }
}

impl ResourceLimiter for Held {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let Some(room) = self.memory_room.checked_sub(more) else {
            self.refused = Some(format!("wanted {more} bytes of memory more when {} were left", self.memory_room));
            return Ok(false);
        };
        self.memory_room = room;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused.get_or_insert_with(|| format!("wanted more memory: {error}"));
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let Some(room) = self.table_room.checked_sub(more) else {
            self.refused = Some(format!("wanted {more} table elements more when {} were left", self.table_room));
            return Ok(false);
        };
        self.table_room = room;
        Ok(true)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused.get_or_insert_with(|| format!("wanted a larger table: {error}"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limiter_says_no_beyond_its_limit_and_goes_on_after_that() {
        let mut held = Held::new(&EngineLimits { memory_bytes: 100, ..EngineLimits::default() });
        let mut grow = |current, desired| held.memory_growing(current, desired, None).expect("an answer");
        assert!(grow(0, 60), "one memory");
        assert!(!grow(0, 60), "a second one, counted together with the first");
        assert!(grow(0, 40), "what fits, fits");
        assert_eq!(held.refused(), Some("wanted 60 bytes of memory more when 40 were left"));
    }

    #[test]
    fn the_default_limits_make_sense() {
        assert_eq!(EngineLimits::default().problem(), None);
    }

    #[test]
    fn a_deadline_is_never_early() {
        let ticks = |millis| EngineLimits { deadline: Duration::from_millis(millis), ..EngineLimits::default() }.ticks();
        assert_eq!((ticks(10), ticks(11), ticks(3000)), (2, 3, 301));
    }
}
