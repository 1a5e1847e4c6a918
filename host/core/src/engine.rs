//! Which engine decides a domain: what a configuration asks for, what it takes up by itself, what it goes back to, and what runs beside it.

mod limits;
mod lineage;
mod reference;
mod shadow;

pub use limits::Limits;
pub use lineage::{EngineHeld, HoldReason, Lineage, Rejected, SwapReason, Swapped};
pub use reference::{Candidate, Origin, Reference, ReferenceError, follow, newest};
pub use shadow::{Compared, Difference, Requested, RequestedLaunch, Shadow, ShadowCycle, Shadowing, Tally, Where};
