//! The means to ask for something: [`Control`] in a decision, [`Setup`] before one.

use std::fmt;

use crate::host::{ControlSource, SetupSource};
use crate::instance::InstanceId;
use crate::request::{Destroyed, LaunchRequest, Launched, RateBudget, Refusal, Settings};

#[cfg(target_arch = "wasm32")]
type Source<'a> = &'a crate::bindings::pilothouse::engine::control::Control;
#[cfg(not(target_arch = "wasm32"))]
type Source<'a> = &'a dyn ControlSource;

#[cfg(target_arch = "wasm32")]
type SettingSource<'a> = &'a crate::bindings::pilothouse::engine::control::Setup;
#[cfg(not(target_arch = "wasm32"))]
type SettingSource<'a> = &'a dyn SetupSource;

/// What an engine may ask for in a decision.
///
/// Requests are checked and answered at once and count against each other within a call. They are carried out only if the call that
/// made them returns successfully, all together; a call that fails leaves nothing behind. A [`Refusal`] is an answer, not an error.
#[derive(Clone, Copy)]
pub struct Control<'a>(Source<'a>);

/// What an engine may set when it is initialised or reconfigured.
#[derive(Clone, Copy)]
pub struct Setup<'a>(SettingSource<'a>);

impl<'a> Control<'a> {
    /// The control that this source speaks for. Inside a component the only source is the host's handle.
    #[must_use]
    #[cfg(not(target_arch = "wasm32"))]
    pub fn new(source: &'a dyn ControlSource) -> Self {
        Self(source)
    }

    #[cfg(target_arch = "wasm32")]
    pub(crate) fn new(source: Source<'a>) -> Self {
        Self(source)
    }

    /// Asks for instances. Some may be granted and the rest deferred.
    ///
    /// # Errors
    /// When nothing of it is granted.
    pub fn launch(&self, request: LaunchRequest) -> Result<Launched, Refusal> {
        ControlSource::launch(self.0, request)
    }

    /// Asks for the end of instances. Unknown ids make the whole request invalid. Ids already on their way out, zombies among them, are
    /// accepted and asked to go again, at a bounded rate. `reason` is kept and shown to people.
    ///
    /// # Errors
    /// When nothing of it is granted.
    pub fn destroy_instances(&self, ids: &[InstanceId], reason: &str) -> Result<Destroyed, Refusal> {
        ControlSource::destroy_instances(self.0, ids, reason)
    }

    /// The same for all instances of a launch that are not gone.
    ///
    /// # Errors
    /// When nothing of it is granted.
    pub fn destroy_launch(&self, launch: &str, reason: &str) -> Result<Destroyed, Refusal> {
        ControlSource::destroy_launch(self.0, launch, reason)
    }

    /// What is left of the rate budget.
    #[must_use]
    pub fn budget(&self) -> RateBudget {
        ControlSource::budget(self.0)
    }

    /// Sets what the host does for this domain, until the next `initialize` or `reconfigure`: these begin with what the domain's own
    /// configuration says. What follows from the configuration alone is better set there.
    ///
    /// # Errors
    /// When a setting can't be used: too many variables, or too large ones. Then nothing of the request is set.
    pub fn configure(&self, settings: &Settings) -> Result<(), Refusal> {
        ControlSource::configure(self.0, settings)
    }
}

impl<'a> Setup<'a> {
    /// The setup that this source speaks for. Inside a component the only source is the host's handle.
    #[must_use]
    #[cfg(not(target_arch = "wasm32"))]
    pub fn new(source: &'a dyn SetupSource) -> Self {
        Self(source)
    }

    #[cfg(target_arch = "wasm32")]
    pub(crate) fn new(source: SettingSource<'a>) -> Self {
        Self(source)
    }

    /// Sets what the host does for this domain, until the next `initialize` or `reconfigure`: these begin with what the domain's own
    /// configuration says. So whoever sets something because of a key of its configuration does so in both of them, and where the key is
    /// not there sets nothing.
    ///
    /// # Errors
    /// When a setting can't be used: too many variables, or too large ones. Then nothing of the request is set.
    pub fn configure(&self, settings: &Settings) -> Result<(), Refusal> {
        SetupSource::configure(self.0, settings)
    }
}

impl fmt::Debug for Control<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

impl fmt::Debug for Setup<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").finish_non_exhaustive()
    }
}
