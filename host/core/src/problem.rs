//! What went wrong on an instance, as its agent told it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::time::Timestamp;

/// One error: a line of text, or a failed process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text, or a failed process with its `name`")]
pub enum Problem {
    /// In words.
    Text(String),
    /// A process that ended and should not have.
    Process(FailedProcess),
}

/// A process that ended and should not have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FailedProcess {
    /// What the agent calls it.
    pub name: String,
    /// How it ended; negative for a signal, as the agents of this field write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exitcode: Option<i64>,
    /// When, in seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timestamp: Option<f64>,
    /// The last lines that it wrote to its standard error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<String>,
    /// Whatever else the agent tells.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// The errors of one instance: newest first, bounded, the same error once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorLog {
    /// Newest first, at most [`ErrorLog::MAX`].
    pub list: Vec<Problem>,
    /// When the agent says that the newest came up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// How many error heartbeats there were since the last one that was well.
    #[serde(default)]
    pub count: u64,
}

impl ErrorLog {
    /// How many errors of an instance are kept: enough to see a pattern, few enough for a journal record.
    pub const MAX: usize = 8;
    /// The longest text of one error, in bytes.
    pub const MAX_TEXT: usize = 4096;
    /// The longest name of a failed process, in characters.
    pub const MAX_NAME: usize = 256;
    /// The longest of all that an agent tells of a failed process beside what is asked for, in bytes of JSON. What does not fit is left out.
    pub const MAX_MORE: usize = 1024;

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && self.count == 0
    }

    /// Takes in what one error heartbeat tells. What was known of a failed process is kept and what is new about it is merged in,
    /// so that a later heartbeat that leaves out the standard error does not lose it.
    pub fn merge(&mut self, news: Vec<Problem>, time: Option<Timestamp>) {
        for problem in news.into_iter().rev() {
            let problem = problem.bounded();
            match self.list.iter().position(|known| known.is_about_the_same(&problem)) {
                Some(at) => {
                    let merged = self.list.remove(at).updated_by(problem);
                    self.list.insert(0, merged);
                }
                None => self.list.insert(0, problem),
            }
        }
        self.list.truncate(Self::MAX);
        self.time = time.or(self.time);
        self.count += 1;
    }
}

impl Problem {
    fn is_about_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Process(a), Self::Process(b)) => a.name == b.name,
            _ => false,
        }
    }

    fn updated_by(self, newer: Self) -> Self {
        match (self, newer) {
            (Self::Process(old), Self::Process(new)) => Self::Process(FailedProcess {
                name: new.name,
                exitcode: new.exitcode.or(old.exitcode),
                stop_timestamp: new.stop_timestamp.or(old.stop_timestamp),
                stderr: new.stderr.or(old.stderr),
                more: bounded(old.more.into_iter().chain(new.more).collect()),
            }),
            (_, newer) => newer,
        }
    }

    /// No longer than what is kept.
    pub(crate) fn bounded(self) -> Self {
        match self {
            Self::Text(text) => Self::Text(tail(text)),
            Self::Process(process) => Self::Process(FailedProcess {
                name: process.name.chars().take(ErrorLog::MAX_NAME).collect(),
                stderr: process.stderr.map(tail),
                more: bounded(process.more),
                ..process
            }),
        }
    }

    /// One line for people and for engines.
    pub fn line(&self) -> String {
        match self {
            Self::Text(text) => text.lines().next().unwrap_or_default().to_owned(),
            Self::Process(process) => {
                let mut line = format!("process {} failed", process.name);
                match process.exitcode {
                    Some(code) if code < 0 => line += &format!(", killed by signal {}", code.unsigned_abs()),
                    Some(code) => line += &format!(", exit code {code}"),
                    None => {}
                }
                if let Some(last) = process.stderr.as_deref().and_then(|text| text.lines().rfind(|line| !line.trim().is_empty())) {
                    line += &format!(": {}", last.trim());
                }
                line
            }
        }
    }
}

/// As much as fits, in the order of the names.
fn bounded(mut more: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let mut room = ErrorLog::MAX_MORE;
    more.retain(|name, value| {
        let size = name.len() + value.to_string().len();
        let fits = size <= room;
        room -= if fits { size } else { 0 };
        fits
    });
    more
}

/// The end of a long text, where an error usually says what it is.
fn tail(text: String) -> String {
    if text.len() <= ErrorLog::MAX_TEXT {
        return text;
    }
    let mut from = text.len() - ErrorLog::MAX_TEXT;
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text[from..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(name: &str, stderr: Option<&str>) -> Problem {
        Problem::Process(FailedProcess {
            name: name.into(),
            exitcode: Some(-9),
            stop_timestamp: None,
            stderr: stderr.map(Into::into),
            more: BTreeMap::new(),
        })
    }

    #[test]
    fn a_heartbeat_that_leaves_out_stderr_does_not_lose_it() {
        let mut log = ErrorLog::default();
        log.merge(vec![process("a", Some("boom\n"))], None);
        log.merge(vec![process("a", None)], None);
        assert_eq!(log.list.len(), 1);
        assert_eq!(log.list[0].line(), "process a failed, killed by signal 9: boom");
        assert_eq!(log.count, 2);
    }

    #[test]
    fn no_exit_code_is_too_small_to_be_told() {
        let Problem::Process(process) = process("a", None) else { unreachable!() };
        let line = Problem::Process(FailedProcess { exitcode: Some(i64::MIN), ..process }).line();
        assert_eq!(line, "process a failed, killed by signal 9223372036854775808");
    }

    #[test]
    fn errors_are_newest_first_and_bounded() {
        let mut log = ErrorLog::default();
        for i in 0..20 {
            log.merge(vec![Problem::Text(format!("e{i}"))], None);
        }
        assert_eq!(log.list.len(), ErrorLog::MAX);
        assert_eq!(log.list[0], Problem::Text("e19".into()));
        log.merge(vec![Problem::Text("ü".repeat(5000))], None);
        assert!(log.list[0].line().len() <= ErrorLog::MAX_TEXT);
    }
}
