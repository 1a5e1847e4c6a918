//! Drives the core: brings it time and inputs, appends what it says to the journal, and does what follows.
//!
//! One task for each domain that this host owns ([`task`]), fed through a bounded mailbox. Around them: who owns the domains ([`lease`]),
//! what the host can see ([`watch`]), what comes in from NATS and where it goes ([`intake`], [`router`]), what is fetched from Prometheus
//! ([`pull`]), requests to provisioners and their answers ([`send`]), the engines ([`engines`]), their versions ([`registry`]) and a
//! folder of them that is watched ([`folder`]), and what users ask ([`service`]). [`host`] puts it together.
//!
//! Nothing is decided here. What may happen is the core's business; that it happens in the right order is the driver's: judge, append,
//! fold, and only then act.

mod away;
mod bucket;
mod clock;
mod decisions;
pub(crate) mod definitions;
pub mod engines;
mod equip;
mod folder;
mod host;
mod hosts;
mod intake;
mod judging;
mod lease;
mod ownership;
mod pull;
pub mod registry;
mod router;
mod schema;
mod send;
mod service;
mod shared;
mod startup;
mod task;
mod watch;

pub use bucket::BucketError;
pub use host::{Host, HostFailed, HostOptions, StartError};
pub use pull::SourcesError;
pub(crate) use task::fold;
