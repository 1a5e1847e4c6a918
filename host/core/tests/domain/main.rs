//! The domain as a driver sees it: decisions, promises, commands, and what holds whatever happens.

#[path = "../support/mod.rs"]
mod support;

mod asking;
mod clock;
mod commands;
mod cycle;
mod dry_run;
mod inputs;
mod limits;
mod meanwhile;
mod orders;
mod promises;
mod properties;
mod random_json;
mod records;
mod restored;
mod subscribers;
