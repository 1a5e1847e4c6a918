//! What an engine answers when it was asked to decide.

use std::time::Duration;

use crate::config::Count;

pub use crate::bindings::exports::pilothouse::engine::engine::Status;

/// The most that a reason may take up. The host takes a longer one for a fault of the engine.
pub const REASON_BYTES: usize = 4096;

/// The most figures of one verdict. The host takes more for a fault of the engine.
pub const FIGURES: usize = 64;

/// When an engine wants to be asked next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// After so long, instead of after the domain's pulse. The host bounds it.
    After(Duration),
    /// When something changed: an instance, its health, the configuration. Sensor readings alone don't count.
    OnChange,
}

/// What an engine answers when it was asked to decide.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Verdict {
    /// Whether the domain is as the policy wants it.
    pub status: Status,
    /// In words, for people: what was seen, what was compared, what follows. At most [`REASON_BYTES`].
    pub reason: String,
    /// The figures behind the reason, in the order in which they should be read. At most [`FIGURES`].
    pub figures: Vec<(String, f64)>,
    /// When to be asked next, if not after the domain's pulse.
    pub wake: Option<Wake>,
}

impl Verdict {
    fn new(status: Status, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), figures: Vec::new(), wake: None }
    }

    /// The domain is as its policy wants it.
    pub fn stable(reason: impl Into<String>) -> Self {
        Self::new(Status::Stable, reason)
    }

    /// Something is still to be done or waited for.
    pub fn pending(reason: impl Into<String>) -> Self {
        Self::new(Status::Pending, reason)
    }

    /// The policy can't be kept; people should look.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::new(Status::Failed, reason)
    }

    /// With a figure behind the reason. One that is no number is left out by the host.
    pub fn figure(mut self, name: impl Into<String>, value: impl Figure) -> Self {
        self.figures.push((name.into(), value.figure()));
        self
    }

    /// Asked next after so long, instead of after the domain's pulse.
    pub fn wake_after(mut self, length: Duration) -> Self {
        self.wake = Some(Wake::After(length));
        self
    }

    /// Asked next when something changed.
    pub fn wake_on_change(mut self) -> Self {
        self.wake = Some(Wake::OnChange);
        self
    }
}

/// What can be a figure: any number, and a length of time, in seconds.
pub trait Figure {
    /// As the host takes it. Whole numbers beyond 2^53 lose their last digits.
    fn figure(self) -> f64;
}

macro_rules! figures {
    ($($number:ty)*) => {$(
        impl Figure for $number {
            fn figure(self) -> f64 {
                self as f64
            }
        }
    )*};
}
figures!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize f32 f64);

impl Figure for Count {
    fn figure(self) -> f64 {
        f64::from(self.get())
    }
}

impl Figure for Duration {
    fn figure(self) -> f64 {
        self.as_secs_f64()
    }
}
