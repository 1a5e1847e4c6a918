//! Time stands still within a decision, so what is not ready at once never will be.

use pilothouse_core::time::Timestamp;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::bindings::sync::io::poll;

use super::{Answer, Ended};
use crate::host_impl::Call;

/// A pollable that is ready.
pub(super) const READY: u32 = 1;
/// A pollable that never will be.
const NEVER: u32 = 0;

const NANOS_PER_MILLI: u64 = 1_000_000;

impl Call {
    /// The moment of the decision; the beginning of time in a call that belongs to none.
    fn moment(&self) -> u64 {
        self.cycle.as_ref().map_or(0, |cycle| Timestamp::as_millis(cycle.now()))
    }
}

impl wall_clock::Host for Call {
    fn now(&mut self) -> Answer<wall_clock::Datetime> {
        self.crossed(0)?;
        let now = self.moment();
        Ok(wall_clock::Datetime { seconds: now / 1000, nanoseconds: (now % 1000) as u32 * NANOS_PER_MILLI as u32 })
    }

    fn resolution(&mut self) -> Answer<wall_clock::Datetime> {
        self.crossed(0)?;
        Ok(wall_clock::Datetime { seconds: 0, nanoseconds: NANOS_PER_MILLI as u32 })
    }
}

impl monotonic_clock::Host for Call {
    fn now(&mut self) -> Answer<u64> {
        self.crossed(0)?;
        Ok(self.moment().saturating_mul(NANOS_PER_MILLI))
    }

    fn resolution(&mut self) -> Answer<u64> {
        self.crossed(0)?;
        Ok(NANOS_PER_MILLI)
    }

    fn subscribe_instant(&mut self, when: u64) -> Answer<Resource<DynPollable>> {
        let past = when <= self.moment().saturating_mul(NANOS_PER_MILLI);
        self.hand_out(if past { READY } else { NEVER })
    }

    fn subscribe_duration(&mut self, duration: u64) -> Answer<Resource<DynPollable>> {
        self.hand_out(if duration == 0 { READY } else { NEVER })
    }
}

impl poll::Host for Call {
    fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> Answer<Vec<u32>> {
        self.crossed(8 * pollables.len() as u64)?;
        if pollables.is_empty() {
            return Err(Ended::WaitsForNothing.into());
        }
        let ready: Vec<u32> = (0..).zip(&pollables).filter(|(_, pollable)| pollable.rep() == READY).map(|(at, _)| at).collect();
        if ready.is_empty() {
            return Err(Ended::Waits.into());
        }
        self.answer(ready)
    }
}

impl poll::HostPollable for Call {
    fn ready(&mut self, pollable: Resource<DynPollable>) -> Answer<bool> {
        self.crossed(0)?;
        Ok(pollable.rep() == READY)
    }

    fn block(&mut self, pollable: Resource<DynPollable>) -> Answer<()> {
        self.crossed(0)?;
        if pollable.rep() == READY { Ok(()) } else { Err(Ended::Waits.into()) }
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> Answer<()> {
        self.take_back(pollable)
    }
}
