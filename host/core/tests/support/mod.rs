//! What the tests of the core share: a domain on a bench, and engines made of closures.
//!
//! A [`Bench`] drives a real [`pilothouse_core::domain::Domain`] the way a host does, with a journal in memory. After every step a
//! [`pilothouse_sim::Checker`] holds what must always hold: the same one that watches scenarios.

#![allow(dead_code, reason = "every test binary uses its own part of this")]

mod bench;
mod native;

#[allow(unused_imports, reason = "as above")]
pub(crate) use bench::{Bench, config, instance, same};
#[allow(unused_imports, reason = "as above")]
pub(crate) use native::{Native, engine, launch, verdict};
