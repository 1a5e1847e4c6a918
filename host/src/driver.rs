//! Drives the core: brings it time and inputs, appends what it says to the journal, and does what follows.
//!
//! One task for each domain that this host owns ([`task`]), fed through a bounded mailbox. Around them: who owns the domains ([`lease`]),
//! what the host can see ([`watch`]), what comes in from NATS and where it goes ([`intake`], [`router`]), what is fetched from Prometheus ([`pull`]), requests to provisioners and their
//! answers ([`send`]), the engines ([`engines`]), and what users ask ([`service`]). [`host`] puts it together.
//!
//! Nothing is decided here. What may happen is the core's business; that it happens in the right order is the driver's: judge, append,
//! fold, and only then act.

mod away;
mod bucket;
mod clock;
pub(crate) mod definitions;
pub mod engines;
mod equip;
mod host;
mod hosts;
mod intake;
mod lease;
mod ownership;
mod pull;
mod router;
mod schema;
mod send;
mod service;
mod startup;
mod task;
mod watch;

pub use bucket::BucketError;
pub use host::{Host, HostFailed, HostOptions, StartError};
pub use pull::SourcesError;
pub(crate) use task::fold;
