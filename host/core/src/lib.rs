//! The pure core of Pilothouse.
pub mod id;
pub mod instance;
pub mod message;
pub mod name;
pub mod problem;
pub mod seed;
pub mod subject;
pub mod time;
