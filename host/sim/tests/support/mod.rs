//! What the tests of this crate share: engines that are a few lines, and a tape of a true run.

#![allow(dead_code, reason = "every test binary uses its own part of this")]

mod engines;
mod tape;

#[allow(unused_imports, reason = "as above")]
pub(crate) use engines::{Acts, Under, chaos, keeper, keeps, verdict};
#[allow(unused_imports, reason = "as above")]
pub(crate) use tape::{Step, in_force, subscriber, tape, watch};
