//! The Pilothouse host.
pub mod agent;
pub mod api;
pub mod clock;
pub mod commands;
pub mod driver;
pub mod nats;
pub mod process;
pub mod provisioner;
pub mod store;
