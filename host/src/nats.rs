//! Everything that speaks NATS.

pub mod client;
pub mod outlet;
pub mod refusals;
