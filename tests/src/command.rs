//! The program as an operator runs it, on a whole system.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::rig::Rig;

/// What a command did.
#[derive(Debug)]
pub struct Answer {
    /// How it exited; -1 when a signal ended it.
    pub code: i32,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// What it wrote to standard output.
    pub out: String,
    /// What it wrote to standard error.
    pub err: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let (code, signal) = (output.status.code().unwrap_or(-1), output.status.signal());
        Self { code, signal, out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Answer {
    /// Its standard output.
    ///
    /// # Errors
    /// When that is no JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.out).with_context(|| format!("{self:?}"))
    }
}

impl Rig {
    /// A command of the user of this system, that answers in JSON.
    pub fn operator(&self, arguments: &[&str]) -> Command {
        let mut command = self.ledger.command(&self.program);
        command.args(arguments).args(["--nats", &self.nats.url(), "--user", "default", "--output", "json"]);
        command
    }

    /// Runs such a command to its end.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn run(&self, arguments: &[&str]) -> Result<Answer> {
        Ok(self.operator(arguments).output()?.into())
    }
}
