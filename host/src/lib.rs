//! The Pilothouse host.
pub mod agent;
pub mod api;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod driver;
mod failpoint;
mod failure;
mod malformed;
pub mod nats;
mod output;
pub mod process;
pub mod provisioner;
pub mod store;
mod up;
