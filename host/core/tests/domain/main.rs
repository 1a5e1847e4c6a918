//! The domain as a driver sees it: decisions, promises, commands, and what holds whatever happens.

#[path = "../support/mod.rs"]
mod support;

mod clock;
mod commands;
mod cycle;
mod dry_run;
mod inputs;
mod limits;
mod meanwhile;
mod promises;
mod properties;
mod random_json;
mod records;
