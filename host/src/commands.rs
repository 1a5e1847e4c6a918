//! What the command line offers, one module each.

pub mod serve;
