//! The Pilothouse host.
pub mod agent;
pub mod clock;
pub mod nats;
pub mod process;
pub mod provisioner;
pub mod store;
