//! The Pilothouse host: everything around the pure core that touches the world.
//!
//! - [`driver`] brings the core time and inputs, appends what it says to the [`store`], and does what follows.
//! - [`api`] is what users ask over NATS; [`commands`] and [`cli`] ask it from a terminal.
//! - [`conformance`] tries components, for their authors: whether a host can rely on them.
//! - [`agent`], [`provisioner`] and [`process`] are the other side: instances as processes of one machine.
//!
//! What may happen is decided in `pilothouse-core`, and engines are run by `pilothouse-engine-host`. `ARCHITECTURE.md` has the map.

pub mod agent;
pub mod api;
pub mod auth;
mod backup;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod conformance;
pub mod driver;
mod failpoint;
mod failure;
pub mod hostfile;
mod malformed;
pub mod nats;
mod output;
pub mod process;
pub mod prometheus;
pub mod provisioner;
pub mod reference;
mod secrets;
pub mod store;
mod up;
