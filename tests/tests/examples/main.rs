//! The example engines in Python and JavaScript: built as `cargo xtask example` builds them, and run in the sandbox under the limits that
//! every engine has, over the real decision cycle.
//!
//! They are one policy in two languages, so each test asks the same of both.

mod build;
mod contract;
mod engine;
mod policy;
