//! Where something was measured: figures mean nothing without it.

use std::fmt;

use procfs::Current;
use serde::Serialize;

/// A machine, as far as figures depend on it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// Cores that this process may use.
    pub(crate) cores: usize,
    /// The model of the processor.
    pub(crate) processor: String,
    /// The release of the kernel.
    pub(crate) kernel: String,
    /// Processes that wanted to run on average over the last minute, before this run.
    pub(crate) load: f32,
    /// Whether this program was built with optimisations.
    pub(crate) release: bool,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let processor = procfs::CpuInfo::current().ok().and_then(|cpus| cpus.model_name(0).map(ToOwned::to_owned));
        Self {
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            processor: processor.unwrap_or_else(|| "unknown processor".to_owned()),
            kernel: procfs::sys::kernel::Version::current()
                .map_or_else(|_| "unknown".to_owned(), |version| format!("{}.{}.{}", version.major, version.minor, version.patch)),
            load: procfs::LoadAverage::current().map_or(f32::NAN, |load| load.one),
            release: !cfg!(debug_assertions),
        }
    }

    /// What makes figures of this run doubtful.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.release {
            warnings.push("this is a debug build: figures mean nothing; use `cargo xtask bench`".to_owned());
        }
        if self.load > 0.5 {
            warnings.push(format!("the machine is doing other things (load {:.1}): ratios hold better than figures", self.load));
        }
        warnings
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let build = if self.release { "release" } else { "debug" };
        write!(f, "{} cores of {}, Linux {}, load {:.1}, {build} build", self.cores, self.processor, self.kernel, self.load)
    }
}
