//! What a decision engine for Pilothouse is written with.
//!
//! An engine is a component: a function from what a domain looks like to what should be launched and terminated. This crate replaces the
//! strings, bytes and handles of its interface by the engine's own types. It decides nothing by itself and keeps nothing between two calls.
//!
//! # An engine
//!
//! It is a struct, which is all that the engine remembers, and a [`Engine`] trait on it. This one keeps so many workers alive:
//!
//! ```
//! use pilothouse_engine::config::{Count, json};
//! use pilothouse_engine::{About, Control, Domain, Engine, Error, LAUNCHES_PER_DECISION, LaunchRequest, Survey, Verdict};
//! use schemars::JsonSchema;
//! use serde::{Deserialize, Serialize};
//!
//! /// What the engine is told.
//! #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! #[schemars(example = json!({ "workers": 2, "site": "local" }))]
//! pub struct Config {
//!     /// How many workers to keep.
//!     workers: Count,
//!     /// Where to launch them.
//!     site: String,
//! }
//!
//! /// Keeps so many workers alive.
//! #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
//! pub struct Keeper {
//!     /// Workers replaced so far.
//!     replaced: u64,
//! }
//!
//! impl Engine for Keeper {
//!     type Config = Config;
//!     const ABOUT: About = About { name: "keeper", version: "0.1.0", documentation: "Keeps so many workers alive." };
//!
//!     fn decide(&mut self, domain: &Domain<'_>, config: &Config, control: &Control<'_>) -> Result<Verdict, Error> {
//!         let (survey, wanted) = (Survey::of(domain), config.workers.get());
//!         let mut reason = format!("{} of {wanted} healthy", survey.healthy);
//!         for ill in survey.to_replace() {
//!             match control.destroy_instances(&[ill.id.clone()], "unhealthy") {
//!                 Ok(destroyed) => self.replaced += destroyed.accepted.len() as u64,
//!                 Err(refusal) => reason += &format!("; {} stays: {refusal}", ill.id),
//!             }
//!         }
//!         let missing = wanted.saturating_sub(survey.healthy).min(LAUNCHES_PER_DECISION);
//!         if missing > 0 {
//!             match control.launch(LaunchRequest::new("worker", &config.site, "small").count(missing)) {
//!                 Ok(launched) => reason += &format!("; launching {}", launched.instances.len()),
//!                 Err(refusal) => reason += &format!("; not launching {missing}: {refusal}"),
//!             }
//!         }
//!         let verdict = if survey.is_settled_at(wanted) { Verdict::stable(reason) } else { Verdict::pending(reason) };
//!         Ok(verdict.figure("wanted", wanted).figure("replaced", self.replaced))
//!     }
//! }
//!
//! pilothouse_engine::export!(Keeper);
//!
//! // Natively it is tested on a fake domain.
//! use pilothouse_engine::testing::{FakeDomain, check_schema};
//! use pilothouse_engine::{Health, InstanceState, Refusal, Status};
//!
//! let mut domain = FakeDomain::<Keeper>::new(json!({ "workers": 2, "site": "local" }));
//! assert_eq!(domain.decide().reason, "0 of 2 healthy; launching 2");
//! domain.report_all(InstanceState::Running).all_well();
//! assert_eq!(domain.decide().status, Status::Stable);
//!
//! domain.health("new-0", Health::Missing).refuse_launches(Refusal::Paused);
//! let decision = domain.decide();
//! assert_eq!(decision.requests(), ["destroy new-0 (unhealthy)", "launch 1"]);
//! assert_eq!(decision.reason, "1 of 2 healthy; not launching 1: the domain is paused");
//! assert_eq!(domain.memory(), Keeper { replaced: 1 });
//!
//! check_schema::<Keeper>();
//! ```
//!
//! The crate of an engine has `crate-type = ["cdylib", "rlib"]` and depends on this one, `serde` and `schemars`. Built for
//! `wasm32-unknown-unknown` it is a core module, from which a component is made.
//!
//! # What is here
//!
//! - [`Engine`], [`Domain`], [`Control`], [`Setup`], [`Verdict`]: what an engine is, what it sees, asks and answers.
//! - [`config`] and [`schema`]: how a configuration is read, and described to people.
//! - [`Survey`], [`victims`], [`uniques`], [`Plan`]: the rules that policies share, so that no engine writes them again: who counts as
//!   healthy, who goes first, who gets which value, how a plan becomes requests and a verdict.
//! - [`testing`]: a fake domain in virtual time, for plain `cargo test`.
//! - [`host`]: the other side, for those who run an engine natively on something else.
//!
//! # A refusal is an answer
//!
//! What the host does not grant it [refuses](Refusal), with a reason, and a good engine goes on with that. So a refusal is not turned into
//! an error of the engine, which would undo the whole decision, by a careless `?`:
//!
//! ```compile_fail,E0277
//! # use pilothouse_engine::{Control, Error, LaunchRequest};
//! fn ask(control: &Control<'_>) -> Result<(), Error> {
//!     control.launch(LaunchRequest::new("worker", "local", "small"))?;
//!     Ok(())
//! }
//! ```
//!
//! Who means it says it:
//!
//! ```
//! # use pilothouse_engine::{Control, Error, LaunchRequest};
//! fn ask(control: &Control<'_>) -> Result<(), Error> {
//!     control.launch(LaunchRequest::new("worker", "local", "small")).map_err(|refusal| Error::Other(refusal.to_string()))?;
//!     Ok(())
//! }
//! ```

#[allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    unnameable_types,
    unused_qualifications,
    clippy::use_self,
    clippy::allow_attributes_without_reason,
    reason = "generated by wit-bindgen"
)]
#[doc(hidden)]
pub mod bindings;
pub mod config;
mod control;
mod domain;
mod engine;
pub mod host;
mod instance;
mod memory;
mod plan;
mod request;
pub mod schema;
mod sensor;
mod survey;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod time;
pub mod uniques;
mod verdict;
pub mod victims;

pub use control::{Control, Setup};
pub use domain::{Cause, Counts, Domain, SiteReport};
pub use engine::{About, Engine, Error, Problem};
pub use host::{Level, log};
pub use instance::{Columns, Filter, Health, Instance, InstanceId, InstanceState, LaunchId, Vars, is_starting, is_unhealthy, is_valid};
pub use memory::{MEMORY_BYTES, read_memory};
pub use plan::{Done, Launch, Plan, SITE_FAILURES, Surplus, Template, Termination};
pub use request::{Destroyed, LAUNCHES_PER_DECISION, LaunchRequest, Launched, RateBudget, Refusal, Settings, VARS, VARS_BYTES};
pub use sensor::{Sample, Scope, Statistic};
pub use survey::Survey;
pub use time::Timestamp;
pub use uniques::{UniqueValues, Uniques};
pub use verdict::{FIGURES, Figure, REASON_BYTES, Status, Verdict, Wake};
pub use victims::Victims;

/// Makes a component of an [`Engine`]. Once in a crate of type `cdylib`.
///
/// In a component it takes the place of the `#[global_allocator]`, with a heap whose first memory is there from the beginning. A crate that
/// uses this macro, and what it depends on, can have no other.
///
/// Built natively, for tests, it only checks that the type is an engine: the names that a component exports are none that a native
/// linker takes.
#[macro_export]
macro_rules! export {
    ($engine:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, clippy::allow_attributes_without_reason, reason = "generated by wit-bindgen")]
        const _: () = {
            #[global_allocator]
            static HEAP: $crate::host::Heap = $crate::host::Heap::new();
            type Exported = $crate::host::Glue<$engine>;
    $crate::bindings::export_component!(Exported with_types_in $crate::bindings);
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const fn is_engine<E: $crate::Engine>() {}
            is_engine::<$engine>();
        };
    };
}
