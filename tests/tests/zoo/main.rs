//! Engines that misbehave in every way that we could think of, each on a real host, beside domains that behave.
//!
//! Whatever an engine does, this holds: its fault is told for what it is; nothing of what it asked for in that call happens, and its memory is
//! as it was; the neighbours are asked as often and as punctually as without it; and the host is as well as it was. [`keeper::visit`] looks
//! after the last two in every test.

mod answers;
mod beast;
mod damaged;
mod endless;
mod faults;
mod greedy;
mod handles;
mod keeper;
mod neighbours;
mod other_calls;
mod refused;
mod requests;
mod traps;
mod wasi;
