//! The trait that an engine implements.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Control, Domain, Setup, Verdict};

pub use crate::bindings::exports::pilothouse::engine::engine::{Failure as Error, Problem};

/// Who an engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// Letters, digits, `_` and `-`, at most 63, a letter or digit first.
    pub name: &'static str,
    /// Semantic version.
    pub version: &'static str,
    /// Markdown, for people who configure a domain.
    pub documentation: &'static str,
}

/// A decision engine: a deterministic function of what it is given.
///
/// The struct that implements this *is* what the policy remembers from one decision to the next. The host keeps it, as bytes, and hands
/// it to the next call, so nothing else survives. It is for what the policy must remember (a cooldown, who holds which name), not for the
/// configuration: that is always given. A policy that remembers nothing is an empty struct.
///
/// A value is written with `postcard`, compactly and exactly, behind a byte with the [`Engine::MEMORY_VERSION`]; at most
/// [`MEMORY_BYTES`](crate::MEMORY_BYTES). Since postcard writes no names, a struct that is kept must not use
/// `#[serde(skip_serializing_if)]`, `flatten`, `untagged` or types that describe themselves, such as a `serde_json::Value`.
///
/// In version 1 a value that equals the default one is not written at all: it takes no bytes, and is read as whatever the default is
/// *then*. So derive `PartialEq`: one that ignores a field loses what that field holds. And raise [`Engine::MEMORY_VERSION`] when the
/// default changes: otherwise a domain that remembers the old default remembers the new one after the update.
///
/// The same inputs must give the same outputs. So an engine keeps nothing in statics, and where order shows it uses ordered maps.
pub trait Engine: Serialize + DeserializeOwned + Default + PartialEq {
    /// The configuration. Derive `Deserialize` with `deny_unknown_fields`, so that a misspelt key is named and not ignored, and
    /// `JsonSchema`, from which people and programs learn what can be configured: comments become descriptions.
    type Config: DeserializeOwned + JsonSchema;

    /// Who the engine is.
    const ABOUT: About;

    /// Raised when the struct changes so that older bytes can't be read or mean something else: when a field comes, goes, or changes its
    /// place or type, and when the default value changes, which in version 1 is kept as no bytes.
    const MEMORY_VERSION: u8 = 1;

    /// What is wrong with a configuration that its type can't say: values that don't go together. Also asked before every call that gets
    /// a configuration, which therefore sees only good ones.
    fn check_config(_config: &Self::Config) -> Vec<Problem> {
        Vec::new()
    }

    /// Reads what another version of this engine has written, if this one can: `bytes` without the byte that says the version.
    /// [`crate::read_memory`] reads them as the type that they were. Nothing: the memory is refused, and the host says so.
    ///
    /// Version 1 kept its default value as no bytes, which come here as version 1 with empty `bytes`: give what that default means now.
    /// Here nothing is no refusal: the engine goes on with its present default.
    fn migrate(_version: u8, _bytes: &[u8]) -> Option<Self> {
        None
    }

    /// The first memory. The domain may already have instances, from another engine: adopt them.
    ///
    /// # Errors
    /// When the engine can't serve the domain.
    fn initialize(_domain: &Domain<'_>, _config: &Self::Config, _setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(Self::default())
    }

    /// The configuration has changed. Unless an engine says otherwise its memory stays as it is.
    ///
    /// # Errors
    /// When the change can't be followed; the old memory stays. [`Error::NotSupported`] makes the host start afresh.
    fn reconfigure(&mut self, _domain: &Domain<'_>, _config: &Self::Config, _setup: &Setup<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// Looks at the domain and asks for what should be done.
    ///
    /// # Errors
    /// A call that errs has not happened. A refusal by the host is an answer, not a reason to err.
    fn decide(&mut self, domain: &Domain<'_>, config: &Self::Config, control: &Control<'_>) -> Result<Verdict, Error>;

    /// The domain goes away and its instances are gone. For last log lines only.
    fn retire(self) {}
}
