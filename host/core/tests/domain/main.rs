//! The domain as a driver sees it: decisions, promises, commands, and what holds whatever happens.

#[path = "../support/mod.rs"]
mod support;

mod asking;
mod clock;
mod commands;
mod counts;
mod cycle;
mod dry_run;
mod inputs;
mod limits;
mod meanwhile;
mod memories;
mod orders;
mod pace;
mod promises;
mod properties;
mod random_json;
mod records;
mod replaces;
mod restored;
mod schedule;
mod settings;
mod shadows;
mod subscribers;
mod swaps;
