//! The trait that an engine implements.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Control, Domain, Error, Figures, Problem, Setup, Status, Wake};

/// Who an engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// Letters, digits, `_` and `-`.
    pub name: &'static str,
    /// Semantic version.
    pub version: &'static str,
    /// Markdown, for people who configure a domain.
    pub documentation: &'static str,
    /// JSON Schema (2020-12) of the configuration. [`crate::testing::check_schema`] compares it with [`Engine::Config`].
    pub config_schema: &'static str,
}

/// What an engine answers when it was asked to decide.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict<M> {
    /// Handed to the next call.
    pub memory: M,
    /// Whether the domain is as the policy wants it.
    pub status: Status,
    /// In words, for people: what was seen, what was compared, what follows.
    pub reason: String,
    /// The figures behind the reason.
    pub figures: Figures,
    /// When to be asked next, if not after the domain's pulse.
    pub wake: Option<Wake>,
}

/// A decision engine: a deterministic function of what it is given.
///
/// The same inputs must give the same outputs. So an engine keeps nothing in statics, and where order shows it uses ordered maps.
pub trait Engine {
    /// The configuration. Derive `Deserialize` with `deny_unknown_fields`, so that a misspelt key is named and not ignored.
    type Config: DeserializeOwned;

    /// What the policy must remember from one decision to the next. Not the configuration: that is always given. The default value
    /// costs no bytes; other values are kept as versioned JSON of at most 64 KiB.
    type Memory: Serialize + DeserializeOwned + Default + PartialEq;

    /// Who the engine is.
    const ABOUT: About;

    /// Raised when [`Engine::Memory`] changes so that older bytes can't be read. A memory of another version is refused.
    const MEMORY_VERSION: u8 = 1;

    /// What is wrong with a configuration that its type can't say: values that don't go together. Also asked before every call that gets
    /// a configuration, which therefore sees only good ones.
    fn check_config(_config: &Self::Config) -> Vec<Problem> {
        Vec::new()
    }

    /// The first memory. The domain may already have instances, from another engine: adopt them.
    ///
    /// # Errors
    /// When the engine can't serve the domain.
    fn initialize(_domain: &Domain, _config: &Self::Config, _setup: &Setup) -> Result<Self::Memory, Error> {
        Ok(Self::Memory::default())
    }

    /// The configuration has changed. Unless an engine says otherwise its memory stays as it is.
    ///
    /// # Errors
    /// When the change can't be followed; the old memory stays. [`Error::NotSupported`] makes the host start afresh.
    fn reconfigure(memory: Self::Memory, _domain: &Domain, _config: &Self::Config, _setup: &Setup) -> Result<Self::Memory, Error> {
        Ok(memory)
    }

    /// Looks at the domain and asks for what should be done.
    ///
    /// # Errors
    /// A call that errs has not happened. A refusal by the host is an answer, not a reason to err.
    fn decide(memory: Self::Memory, domain: &Domain, config: &Self::Config, control: &Control) -> Result<Verdict<Self::Memory>, Error>;

    /// The domain goes away. For last log lines only.
    fn retire(_memory: Self::Memory) {}
}
