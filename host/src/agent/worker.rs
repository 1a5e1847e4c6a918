//! One worker: started once, watched until it ends.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{self, ExitStatus, Stdio};

use pilothouse_core::time::Timestamp;

use super::log::Log;
use super::spec::{Command, Spec};
use crate::process::{Handle, Signal, sweep};

/// The most that is told of what a worker wrote to its standard error, in bytes.
const MAX_STDERR_BYTES: usize = 2048;

/// The environment variable that says where a worker may publish readings of its own.
const SENSOR_SUBJECT: &str = "PILOTHOUSE_SENSOR_SUBJECT";

/// What the agent alone may know: its own mark, and how it proves to NATS who it is.
const AGENTS_ALONE: [&str; 2] = [sweep::AGENT_MARK, "PILOTHOUSE_NATS_CREDS"];

/// How a worker is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Condition {
    /// It runs.
    Running,
    /// It ended, in whatever way: a worker is meant to run.
    Ended {
        /// Negative for a signal. Nothing when the system does not tell.
        exit_code: Option<i64>,
        /// When that was noticed.
        at: Timestamp,
        /// The end of its standard error.
        stderr: Option<String>,
    },
    /// It could not be started.
    NotStarted {
        /// Why not.
        reason: String,
        /// When it was tried.
        at: Timestamp,
    },
}

/// One worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) name: String,
    pub(super) condition: Condition,
    running: Option<(Handle, [Log; 2])>,
}

impl Worker {
    /// Starts it. A worker that can't be started is one all the same, in that condition.
    pub(super) fn start(command: &Command, spec: &Spec, directory: &Path, now: Timestamp) -> Self {
        let name = command.name.to_string();
        match spawn(command, spec, directory) {
            Ok(running) => Self { name, condition: Condition::Running, running: Some(running) },
            Err(error) => {
                let program = command.argv.first().map_or("", String::as_str);
                let reason = format!("{name}: can't start {program:?}: {error}");
                tracing::error!(worker = name, %error, program, "can't be started");
                Self { name, condition: Condition::NotStarted { reason, at: now }, running: None }
            }
        }
    }

    /// The process, while it runs.
    pub(super) fn handle(&self) -> Option<&Handle> {
        self.running.as_ref().map(|(handle, _)| handle)
    }

    /// Takes note that it ended.
    pub(super) fn take_end(&mut self, now: Timestamp) {
        let Some((mut handle, [_, stderr])) = self.running.take() else { return };
        let exit_code = handle.reap().and_then(exit_code);
        tracing::warn!(worker = self.name, exit_code, "ended");
        self.condition = Condition::Ended { exit_code, at: now, stderr: stderr.tail(MAX_STDERR_BYTES) };
    }

    /// Sends it a signal, if it runs.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(handle) = self.handle()
            && let Err(error) = handle.signal(signal)
        {
            tracing::warn!(worker = self.name, %error, "can't be signalled");
        }
    }

    /// Keeps its logs from filling the disk.
    pub(super) fn trim_logs(&mut self) {
        if let Some((_, logs)) = &mut self.running {
            logs.iter_mut().for_each(Log::trim);
        }
    }
}

fn spawn(command: &Command, spec: &Spec, directory: &Path) -> io::Result<(Handle, [Log; 2])> {
    let log = |kind: &str| Log::open(directory.join(format!("{}.{kind}", command.name)));
    let (out, err) = (log("out")?, log("err")?);
    let (program, arguments) = command.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut process = process::Command::new(program);
    process.args(arguments).envs(&command.env).env(sweep::INSTANCE_MARK, spec.node_id.as_str()).env(SENSOR_SUBJECT, &spec.sensor_subject);
    for name in AGENTS_ALONE {
        process.env_remove(name);
    }
    process.current_dir(directory).stdin(Stdio::null()).stdout(out.writer()?).stderr(err.writer()?);
    Ok((Handle::spawn(&mut process)?, [out, err]))
}

/// As the agents of this field write it: negative for a signal.
fn exit_code(status: ExitStatus) -> Option<i64> {
    status.code().map(i64::from).or_else(|| status.signal().map(|signal| -i64::from(signal)))
}
