//! The example engines in Python and JavaScript: built as `cargo xtask example` builds them, and run in the sandbox under the limits that
//! every engine has, over the real decision cycle.
//!
//! They are one policy in two languages, so each test asks the same of both. The others, among them those in Rust, have scenarios: [`played`].

mod build;
mod contract;
mod engine;
mod played;
mod policy;
mod wasi;
