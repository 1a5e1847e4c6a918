//! Everything that speaks NATS.

pub mod client;
