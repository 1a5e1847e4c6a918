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

/// Where the server is: workers may publish readings of their own there, but do it in their own name.
const NATS_URL: &str = "PILOTHOUSE_NATS";

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
    process.args(arguments);
    if let Ok(url) = std::env::var(NATS_URL) {
        process.env(NATS_URL, without_user(&url));
    }
    process.envs(&command.env).env(sweep::INSTANCE_MARK, spec.node_id.as_str()).env(SENSOR_SUBJECT, &spec.sensor_subject);
    for name in AGENTS_ALONE {
        process.env_remove(name);
    }
    process.current_dir(directory).stdin(Stdio::null()).stdout(out.writer()?).stderr(err.writer()?);
    Ok((Handle::spawn(&mut process)?, [out, err]))
}

/// Addresses, separated by commas, without the users, passwords and tokens in them.
fn without_user(urls: &str) -> String {
    let of_one = |url: &str| {
        let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (&url[..scheme.len() + 3], rest));
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        format!("{scheme}{host}")
    };
    urls.split(',').map(of_one).collect::<Vec<_>>().join(",")
}

/// As the agents of this field write it: negative for a signal.
fn exit_code(status: ExitStatus) -> Option<i64> {
    status.code().map(i64::from).or_else(|| status.signal().map(|signal| -i64::from(signal)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_told_where_the_server_is_and_not_who_their_provisioner_is() {
        for (given, told) in [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            ("nats://ann:hunter2@a:4222", "nats://a:4222"),
            ("tls://token@a:1,nats://ann:p@ss@b:2, c:3", "tls://a:1,nats://b:2, c:3"),
            ("ann:hunter2@a:4222", "a:4222"),
            ("", ""),
        ] {
            assert_eq!(without_user(given), told);
        }
    }
}
