//! The pure core of Pilothouse: everything that must be right about keeping instances alive, as plain values and functions.
//!
//! Nothing in this crate knows what time it is, draws a random number of its own, opens a file or a socket, or starts a thread. Moments and
//! seeds come in as arguments; what should happen goes out as data. The host, the tests and the simulator drive the same code.
//!
//! What there is, from the outside in:
//!
//! - [`domain::Domain`] is what a driver holds for each domain: it takes inputs, says what to append to the journal, and once that is
//!   committed, what to do.
//! - [`state::DomainState`] is the fold of a domain's journal of [`record::Record`]s. It changes in one place only.
//! - [`monitor`] judges health, on sighted time; [`cycle`] lets an engine decide; [`guard`] is the one choke point of what engines want;
//!   [`promise`] says what provisioners must still be asked for.
//! - [`message`] and [`subject`] are what travels and where; [`config`] is how a domain is configured, and [`mod@pointer`] where in it something
//!   is wrong.
//! - [`engine`] says which engine decides, what a domain takes up by itself, and what it goes back to.

mod by_id;
pub mod command;
pub mod config;
pub mod cycle;
pub mod domain;
pub mod engine;
pub mod explain;
pub mod guard;
pub mod id;
pub mod instance;
pub mod intake;
pub mod message;
pub mod monitor;
pub mod name;
pub mod pointer;
pub mod problem;
pub mod promise;
pub mod record;
pub mod schedule;
pub mod seed;
pub mod sensor;
pub mod sight;
pub mod state;
pub mod subject;
pub mod time;
