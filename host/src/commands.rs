//! What can be asked on the command line, a file for each.
//!
//! A command is a client: it says something over NATS and shows the answer. The services (`serve`, `agent`, `provisioner`) only have
//! their arguments here, or with their code.

pub(crate) mod auth;
pub(crate) mod brake;
pub(crate) mod caller;
pub(crate) mod compile;
pub(crate) mod completions;
pub(crate) mod definition;
pub(crate) mod domain;
pub(crate) mod engine;
pub(crate) mod events;
mod hint;
pub(crate) mod history;
pub(crate) mod host;
pub(crate) mod instance;
pub(crate) mod journal;
mod moment;
pub(crate) mod orphan;
pub mod serve;
pub(crate) mod simulate;
pub(crate) mod why;
