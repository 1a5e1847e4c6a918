//! What the tests on real parts share: servers that are started, killed and restarted, and waiting by condition.
//!
//! Nothing here is a test, and nothing here ships. A test owns what it starts: dropping it ends the processes and removes the files.

pub mod command;
pub mod domain;
pub mod guest;
pub mod nats;
pub mod play;
pub mod processes;
pub mod prometheus;
pub mod rig;
pub mod tape;
pub mod wait;

pub use pilothouse_native as native;
