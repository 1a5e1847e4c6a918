//! The other side of an engine: who answers its questions, and how its functions are called with bytes.
//!
//! [`Domain`], [`Control`] and [`Setup`] are thin; behind each stands a source. Inside a component that is the host's handle. Natively it
//! is whatever implements [`DomainSource`], [`ControlSource`] and [`SetupSource`]: the fake domain of [`crate::testing`], or a harness of
//! one's own. The functions of this module are what the component's exports do, so an engine that is run natively through them, over
//! sources that answer the same, gives the same to the byte.

#[cfg(target_arch = "wasm32")]
mod component;
#[cfg(target_arch = "wasm32")]
mod heap;
mod log;
mod source;

pub use log::{Level, log, logged};
pub use source::{ControlSource, DomainSource, SetupSource};

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use component::Glue;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use heap::Heap;

use crate::{Control, Domain, Engine, Error, Problem, Setup, Status, Wake, config, memory, schema};

/// Who an engine is, as the host is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Letters, digits, `_` and `-`, at most 63, a letter or digit first.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// Markdown, for people who configure a domain.
    pub documentation: String,
    /// JSON Schema (2020-12) of the configuration.
    pub config_schema: String,
}

/// What came of a decision, as the host is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// Handed to the next call as it is. At most [`MEMORY_BYTES`](crate::MEMORY_BYTES).
    pub memory: Vec<u8>,
    /// Whether the domain is as the policy wants it.
    pub status: Status,
    /// In words.
    pub reason: String,
    /// The figures behind it.
    pub figures: Vec<(String, f64)>,
    /// When to be asked next, if not after the domain's pulse.
    pub wake: Option<Wake>,
}

/// Who the engine is.
#[must_use]
pub fn describe<E: Engine>() -> Description {
    Description {
        name: E::ABOUT.name.to_owned(),
        version: E::ABOUT.version.to_owned(),
        documentation: E::ABOUT.documentation.to_owned(),
        config_schema: schema::text::<E::Config>(),
    }
}

/// What is wrong with a configuration, as JSON. No problem: an empty list.
#[must_use]
pub fn check_config<E: Engine>(text: &str) -> Vec<Problem> {
    read_config::<E>(text).err().unwrap_or_default()
}

/// The first memory.
///
/// # Errors
/// When the configuration is not good, or the engine says so.
pub fn initialize<E: Engine>(domain: &Domain<'_>, setup: &Setup<'_>) -> Result<Vec<u8>, Error> {
    let config = config_of::<E>(domain)?;
    memory::encode(&E::initialize(domain, &config, setup)?)
}

/// The memory that goes with a changed configuration.
///
/// # Errors
/// When the configuration is not good, the memory can't be read, or the engine says so. Then the old memory stays.
pub fn reconfigure<E: Engine>(memory: &[u8], domain: &Domain<'_>, setup: &Setup<'_>) -> Result<Vec<u8>, Error> {
    let config = config_of::<E>(domain)?;
    let mut engine: E = memory::decode(memory)?;
    engine.reconfigure(domain, &config, setup)?;
    memory::encode(&engine)
}

/// A decision. What it asks for has gone to the source of `control`; it counts only if the call succeeds.
///
/// # Errors
/// When the configuration is not good, the memory can't be read, or the engine says so. Then the call has not happened.
pub fn decide<E: Engine>(memory: &[u8], domain: &Domain<'_>, control: &Control<'_>) -> Result<Decided, Error> {
    let config = config_of::<E>(domain)?;
    let mut engine: E = memory::decode(memory)?;
    let verdict = engine.decide(domain, &config, control)?;
    Ok(Decided {
        memory: memory::encode(&engine)?,
        status: verdict.status,
        reason: verdict.reason,
        figures: verdict.figures,
        wake: verdict.wake,
    })
}

/// The domain goes away. A memory that can't be read stops nothing.
pub fn retire<E: Engine>(memory: &[u8]) {
    match memory::decode::<E>(memory) {
        Ok(engine) => engine.retire(),
        Err(error) => log(Level::Warn, &format!("retired with a memory that can't be read: {error:?}")),
    }
}

fn config_of<E: Engine>(domain: &Domain<'_>) -> Result<E::Config, Error> {
    read_config::<E>(&domain.config_text()).map_err(Error::Config)
}

/// A configuration that is good in every way, or what is wrong with it.
fn read_config<E: Engine>(text: &str) -> Result<E::Config, Vec<Problem>> {
    let config = config::parse(text).map_err(|problem| vec![problem])?;
    let problems = E::check_config(&config);
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}
