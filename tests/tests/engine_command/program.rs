//! The program `pilothouse`, as an author runs it.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The program with the arguments of a line, in a folder.
pub(crate) fn pilothouse(folder: &Path, line: &str) -> Result<Ran> {
    run(Command::new(env!("CARGO_BIN_EXE_pilothouse-under-test")).args(line.split_whitespace()).current_dir(folder), line)
}

/// Runs any program.
pub(crate) fn run(command: &mut Command, line: &str) -> Result<Ran> {
    let output = command.output().with_context(|| format!("starting {line}"))?;
    Ok(Ran { line: line.to_owned(), output })
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    line: String,
    output: Output,
}

impl Ran {
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// It ended with this code.
    pub(crate) fn ends(&self, code: i32) -> Result<&Self> {
        let (out, err) = (self.stdout(), self.stderr());
        ensure!(
            self.output.status.code() == Some(code),
            "{}: expected exit code {code}: {:?}\n{out}\n{err}",
            self.line,
            self.output.status
        );
        Ok(self)
    }

    /// It said so on standard output.
    pub(crate) fn says(&self, what: &str) -> Result<&Self> {
        ensure!(self.stdout().contains(what), "{}: {what:?} is not in\n{}", self.line, self.stdout());
        Ok(self)
    }

    /// It said so on standard error.
    pub(crate) fn complains(&self, what: &str) -> Result<&Self> {
        ensure!(self.stderr().contains(what), "{}: {what:?} is not in\n{}", self.line, self.stderr());
        Ok(self)
    }

    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.output.stdout).with_context(|| format!("{}: {}", self.line, self.stdout()))
    }
}
