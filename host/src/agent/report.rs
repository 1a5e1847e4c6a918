//! What the agent says of its workers. Pure: conditions in, a heartbeat out.

use std::collections::BTreeMap;

use pilothouse_core::instance::Health;
use pilothouse_core::message::{Heartbeat, Verdict};
use pilothouse_core::problem::{ErrorLog, FailedProcess, Problem};

use super::worker::Condition;

/// The longest text on workers that could not be started, in bytes.
const MAX_TEXT: usize = 2048;

/// The heartbeat for workers in these conditions.
///
/// A worker that could not be started is an error of the monitor, for nothing ran that could fail; it outweighs failed processes, which
/// are told beside it. The newest failures come first, and only as many as a host keeps come with their standard error, so that the
/// message stays small if all of them fail.
pub(super) fn heartbeat<'c>(conditions: impl Iterator<Item = (&'c str, &'c Condition)>) -> Heartbeat {
    let mut failed = Vec::new();
    let mut not_started = Vec::new();
    let mut newest = None;
    for (name, condition) in conditions {
        match condition {
            Condition::Running => {}
            Condition::Ended { exit_code, at, stderr } => {
                newest = newest.max(Some(*at));
                failed.push((*at, name, *exit_code, stderr));
            }
            Condition::NotStarted { reason, at } => {
                newest = newest.max(Some(*at));
                not_started.push(reason.as_str());
            }
        }
    }
    if failed.is_empty() && not_started.is_empty() {
        return Heartbeat { verdict: Verdict::Ok };
    }
    let health = if not_started.is_empty() { Health::ProcessError } else { Health::MonitorError };
    failed.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
    let text = (!not_started.is_empty()).then(|| Problem::Text(head(&not_started.join("; "))));
    let processes = failed.into_iter().enumerate().map(|(rank, (at, name, exitcode, stderr))| {
        Problem::Process(FailedProcess {
            name: name.to_owned(),
            exitcode,
            stop_timestamp: Some(at.as_secs_f64()),
            stderr: stderr.clone().filter(|_| rank < ErrorLog::MAX),
            more: BTreeMap::new(),
        })
    });
    Heartbeat { verdict: Verdict::Error { health, problems: text.into_iter().chain(processes).collect(), time: newest } }
}

fn head(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use pilothouse_core::message::MAX_DATA_BYTES;
    use pilothouse_core::problem::ErrorLog;
    use pilothouse_core::time::Timestamp;

    use super::*;
    use crate::agent::Spec;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn ended(secs: u64, stderr: &str) -> Condition {
        Condition::Ended { exit_code: Some(-9), at: Timestamp::from_secs(1_700_000_000 + secs), stderr: Some(stderr.to_owned()) }
    }

    fn verdict(conditions: &[(&str, Condition)]) -> Verdict {
        heartbeat(conditions.iter().map(|(name, condition)| (*name, condition))).verdict
    }

    #[test]
    fn all_is_well_while_every_worker_runs() {
        assert_eq!(verdict(&[("a", Condition::Running), ("b", Condition::Running)]), Verdict::Ok);
    }

    #[test]
    fn failed_processes_are_told_newest_first() {
        let Verdict::Error { health, problems, time } = verdict(&[("a", ended(1, "x")), ("b", Condition::Running), ("c", ended(2, "y"))])
        else {
            panic!("an error")
        };
        assert_eq!((health, time), (Health::ProcessError, Some(Timestamp::from_secs(1_700_000_002))));
        let lines: Vec<_> = problems.iter().map(Problem::line).collect();
        assert_eq!(lines, ["process c failed, killed by signal 9: y", "process a failed, killed by signal 9: x"]);
    }

    #[test]
    fn what_could_not_be_started_is_an_error_of_the_monitor_beside_the_failed() {
        let not_started = Condition::NotStarted { reason: "b: can't start \"nonsense\"".into(), at: NOW };
        let Verdict::Error { health, problems, .. } = verdict(&[("a", ended(1, "x")), ("b", not_started)]) else { panic!("an error") };
        assert_eq!(health, Health::MonitorError);
        assert_eq!(problems.len(), 2);
        assert_eq!(problems[0].line(), "b: can't start \"nonsense\"");
    }

    #[test]
    fn a_host_takes_the_heartbeat_of_a_whole_crew_that_failed_noisily() {
        let names: Vec<_> = (0..Spec::MAX_COMMANDS).map(|i| format!("{i:0>63}")).collect();
        let conditions: Vec<_> = names.iter().map(|name| (name.as_str(), ended(1, &"\"".repeat(2048)))).collect();
        let all = Heartbeat { verdict: verdict(&conditions) };
        let json = all.to_json("n1", NOW);
        assert!(json.len() < MAX_DATA_BYTES, "{} bytes", json.len());
        let Ok(Heartbeat { verdict: Verdict::Error { problems, .. } }) = Heartbeat::parse("n1", &json, NOW) else { panic!("refused") };
        assert_eq!(problems.len(), ErrorLog::MAX, "it keeps the newest");
    }
}
