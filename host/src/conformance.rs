//! The conformance kit: runs a component through what a domain can bring it, and says what it does wrong.
//!
//! The parts are the host's own: the sandbox with its limits, the core's cycle over the core's state, the judge of configurations. So
//! what passes here is what a host would take, and the figures are those of a host. It needs no NATS, no clock but for measuring, and no
//! file but the component.
//!
//! It lives beside the driver, not in the crate of the sandbox, because a configuration is judged by the driver's
//! [`check`](crate::driver::engines::check): schema first, then the engine.
//!
//! | module | what it asks |
//! |---|---|
//! | [`described`] | is what it says of itself true: the schema, its examples and defaults |
//! | [`script`] | does it initialise, decide and reconfigure over domains of every size, well and unwell, with and without leave |
//! | [`memories`] | is a memory that is not its own an error, and no trap |
//! | [`repeated`] | does its memory stay bounded while instances come and go |
//! | [`sameness`] | does the same lead to the same, to the byte |

mod bench;
mod described;
mod memories;
mod repeated;
mod report;
mod sameness;
mod script;

use std::time::{Duration, Instant};

use pilothouse_core::config::ConfigProblem;
use pilothouse_core::cycle::{Fault, FaultKind, limits};
use pilothouse_engine_host::{EngineLimits, LoadError, LoadedEngine, Sandbox, SandboxConfig, SandboxError};
use serde_json::{Map, Value};

pub(crate) use described::keys;
pub use report::{Check, Configuration, Cost, Identity, Key, Limits, Outcome, Report};

/// A share of a limit from which on a check warns, in percent: a domain that doubles must still be decided.
pub const WARN_PERCENT: f64 = 50.0;

/// What tables and the like of the one call may take beside its memory, in bytes: more than they can.
const ALONE: usize = 64 << 20;

/// What examines a component.
pub struct Kit<'a> {
    /// The engine's section of a configuration. Nothing: one is made of what the schema gives as examples and defaults.
    pub config: Option<Map<String, Value>>,
    /// What each call may use up.
    pub limits: EngineLimits,
    /// Leaves out what takes long for a large component and finds the least: compiling it a second time.
    pub quick: bool,
    /// Told what comes next, in a few words, before anything that may take long.
    pub progress: &'a dyn Fn(&str),
}

/// Why a component could not be examined at all.
#[derive(Debug, thiserror::Error)]
pub enum ExamineError {
    /// It can't serve as an engine.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The configuration that was given is not one that the engine takes.
    #[error("the engine does not take this configuration")]
    Config(Vec<ConfigProblem>),
    /// This machine can't run the sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// There is no place for what is compiled.
    #[error("making a folder for what is compiled")]
    Folder(#[source] std::io::Error),
}

impl Kit<'_> {
    /// Examines a component. Takes from a fraction of a second for a small one to half a minute for an interpreter, on a thread that may
    /// block: calls to the engine are not cut short by whoever waits.
    ///
    /// # Errors
    /// When there is nothing to examine. An engine that does something wrong is no error but a [`Report`] that says so.
    pub fn examine(&self, component: &[u8]) -> Result<Report, ExamineError> {
        let folder = tempfile::tempdir().map_err(ExamineError::Folder)?;
        let sandbox = || self.sandbox(Some(folder.path().to_owned()));
        (self.progress)("compiling the component");
        let begun = Instant::now();
        let engine = sandbox()?.load(component)?;
        let loaded = begun.elapsed();

        let mut report = Report::new(Identity::of(&engine, component.len()), Limits::of(&self.limits));
        report.push(Check::passed("loads", Cost::of_time(loaded, None)));
        (self.progress)("reading its description");
        described::check(&engine, &self.limits, &mut report);
        let Some(configuration) = self.configuration(&engine, &mut report)? else { return Ok(report.finished()) };
        let script = script::Script::new(configuration.value.clone());
        report.configuration = Some(configuration);

        let first = script.run(&engine, self.progress);
        first.judge(&self.limits, &mut report);
        if first.cut_short {
            return Ok(report.finished());
        }
        (self.progress)("deciding again and again while instances come and go");
        let lasting = repeated::check(&script, &engine, &self.limits, &mut report);
        (self.progress)("handing it memories that are not its own");
        let own = [Some(&lasting), first.memory()].into_iter().flatten().max_by_key(|memory| memory.len()).cloned().unwrap_or_default();
        memories::check(&script, &engine, &own, &self.limits, &mut report);

        report.push(sameness::check("the same inputs, the same bytes, fuel and requests", &first, || {
            Ok(script.run(&engine, self.progress))
        })?);
        (self.progress)("loading it from the compile cache");
        report.push(sameness::check("the same from the compile cache", &first, || {
            Ok(script.run(&sandbox()?.load(component)?, self.progress))
        })?);
        if self.quick {
            return Ok(report.finished());
        }
        (self.progress)("compiling it once more, for a fresh sandbox");
        report.push(sameness::check("the same when compiled anew", &first, || {
            Ok(script.run(&self.sandbox(None)?.load(component)?, self.progress))
        })?);
        Ok(report.finished())
    }

    fn sandbox(&self, cache: Option<std::path::PathBuf>) -> Result<Sandbox, SandboxError> {
        // Nobody else is there who could take the memory away: whoever wants too much meets the limit of a call.
        let memory_together = Some(self.limits.memory_bytes.saturating_add(ALONE));
        Sandbox::new(SandboxConfig { limits: self.limits.clone(), memory_together, cache, concurrent_calls: 1, ..SandboxConfig::default() })
    }

    /// The configuration to decide with, and where it is from. None, with a failed check, when there is none that the engine takes.
    fn configuration(&self, engine: &LoadedEngine, report: &mut Report) -> Result<Option<Configuration>, ExamineError> {
        let Some(given) = &self.config else { return Ok(described::configuration(engine, report)) };
        match &*crate::driver::engines::check(engine, given) {
            [] => Ok(Some(Configuration { source: "given".to_owned(), value: given.clone() })),
            problems => Err(ExamineError::Config(problems.to_vec())),
        }
    }
}

/// One call, as it was: what it used up and how it failed, if it did.
#[derive(Clone, Debug)]
struct Call {
    fuel: u64,
    time: Duration,
    fault: Option<Fault>,
}

impl Call {
    /// Whether it was ended because it did not end.
    fn ran_for_too_long(&self) -> bool {
        self.fault.as_ref().is_some_and(|fault| matches!(fault.kind, FaultKind::Fuel | FaultKind::Processor | FaultKind::Deadline))
    }

    /// What is wrong with it, and what may become a problem.
    fn judge(&self, limits: &EngineLimits, check: &mut Check) {
        if let Some(fault) = &self.fault {
            check.fail(told(fault, limits));
        }
        let cost = Cost::of_call(self, limits);
        if cost.fuel_percent.is_some_and(|percent| percent > WARN_PERCENT) && self.fault.is_none() {
            check.warn("it needs more than half of the fuel that a call may use");
        }
        if cost.time_percent.is_some_and(|percent| percent > WARN_PERCENT) && self.fault.is_none() {
            check.warn("it needs more than half of the time that a call may take; this machine may be slow or busy");
        }
        check.cost = check.cost.clone().worst(cost);
    }
}

/// A fault, and what to do about it where that is not plain.
fn told(fault: &Fault, limits: &EngineLimits) -> String {
    let advice = match fault.kind {
        FaultKind::Fuel => "; ask for counts, columns or what changed instead of every instance".to_owned(),
        FaultKind::Memory => format!("; a call may use {}", of_memory(limits.memory_bytes)),
        FaultKind::Trap => "; return an error instead of a panic, so that people can read what is wrong".to_owned(),
        _ => String::new(),
    };
    format!("{fault}{advice}")
}

/// A limit of memory as a person would say it: as MiB if it is some, else to the byte.
fn of_memory(bytes: usize) -> String {
    const MIB: usize = 1 << 20;
    if bytes.is_multiple_of(MIB) { format!("{} MiB", bytes / MIB) } else { format!("{bytes} bytes") }
}

/// Warns of a memory that comes near to what is kept.
fn judge_memory(bytes: usize, check: &mut Check) {
    if bytes * 2 > limits::MEMORY_BYTES {
        check.warn(format!("its memory has {bytes} bytes; at most {} are kept", limits::MEMORY_BYTES));
    }
    check.cost.memory_bytes = check.cost.memory_bytes.max(Some(bytes));
}
