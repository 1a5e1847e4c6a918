//! A domain on an explicit timeline, in virtual time.
//!
//! A [`Scenario`] is a file: a configuration, an engine, and a list of what happens when. A [`Simulation`] carries it out with the same core
//! that a host runs: the same fold, the same monitor, the same guards, the same decision cycle. Only what lies around the core is played:
//! provisioners and agents do what the file says, and nothing that the file does not say. Loops do not run by themselves: the engine is
//! asked, health is judged and records are reaped when a *tick* of the timeline says so.
//!
//! What comes out is a transcript, as text for people and as a JSON object for each tick, and it is the same every time: all chance comes
//! from the scenario's seed. After every step the [`Checker`] holds what has happened against what must always be true.
//!
//! The engine is whatever implements [`pilothouse_core::cycle::Engine`]: a component in its sandbox, or the same policy run natively. This
//! crate knows neither.

pub mod check;
pub mod event;
pub mod messages;
mod plot;
pub mod scenario;
pub mod simulation;
pub mod swarm;
pub mod tick;
pub mod timeline;
mod transcript;

pub use check::{Checker, Rule, Violation};
pub use plot::Plot;
pub use scenario::{Format, Invalid, Scenario};
pub use simulation::{Available, Failed, Judge, Simulation, run, run_among};
pub use tick::Line;
pub use transcript::Transcript;
