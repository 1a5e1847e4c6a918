//! Runs decision engines: WebAssembly components that are given a domain and say what to launch and what to terminate.
//!
//! A [`Sandbox`] compiles components and holds what they share: one compiler, one pool of memories, one clock that cuts calls short. What
//! it loads is a [`LoadedEngine`], which implements [`pilothouse_core::cycle::Engine`]: a call is handed a cycle, lets the guest ask and
//! request, and gives the cycle back together with what the guest returned or how it failed.
//!
//! What holds for every call:
//!
//! - It runs in a store of its own that is gone afterwards. A guest remembers nothing that the host did not hand it.
//! - It is a function of what it is given: no clock, no entropy, canonical NaNs, fuel that counts the same on every machine. WASI is served
//!   from the decision: its moment, its seed and its log, and nothing else.
//! - It is bounded: fuel, wall clock, memory, tables, stack, and what crosses the border in either direction ([`EngineLimits`]). All calls
//!   together are bounded in memory, those of one component in number.
//! - It can't hurt the host. Whatever goes wrong in it is a [`Fault`](pilothouse_core::cycle::Fault) with a kind; nothing panics.
//!
//! Calls are synchronous and may take as long as the limits let them: keep them off threads that serve anything else. [`Runner`] is a small
//! pool of threads for that, with answers that any async runtime can await.
//!
//! This crate decides nothing. What a guest's questions are answered and which requests are granted is the business of
//! [`Cycle`](pilothouse_core::cycle::Cycle); which engine is in force and what a fault leads to, that of the driver.

mod bindings;
mod cache;
mod call;
mod compiler;
mod convert;
mod deadline;
mod demands;
mod description;
mod fault;
mod held;
mod host_impl;
mod limits;
mod loader;
mod machine;
mod meter;
mod place;
mod runner;
mod sandbox;
mod wasi;

pub use call::LoadedEngine;
pub use compiler::{Compiler, compile_for_another};
pub use description::Description;
pub use limits::EngineLimits;
pub use loader::LoadError;
pub use place::Place;
pub use runner::{Busy, Habit, Lost, Pending, Runner, RunnerConfig};
pub use sandbox::{Sandbox, SandboxConfig, SandboxError};
/// The versions of engines.
pub use semver::Version;
