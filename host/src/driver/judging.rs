//! A whole configuration, judged by an engine: with and without the windows of its schedule.

use std::time::Instant;

use pilothouse_core::config::{ConfigProblem, DomainConfig};
use pilothouse_core::cycle::Fault;
use pilothouse_core::schedule;
use pilothouse_core::time::Timestamp;
use serde_json::{Map, Value};

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// What is wrong, as far as it was looked at.
    pub(crate) problems: Vec<ConfigProblem>,
    /// Everything was looked at.
    pub(crate) is_whole: bool,
}

impl Judgement {
    /// What to tell whoever asked, who may try again: that not everything was looked at is a problem, too.
    pub(crate) fn told(mut self) -> Vec<ConfigProblem> {
        if !self.is_whole {
            let late = "its sets of windows take the engine too long to check: let fewer of them overlap, or try again";
            self.problems.push(ConfigProblem::new("/schedule", late));
        }
        self.problems
    }
}

/// Judges what holds without a window, and then one set of windows after another, but none any more after `deadline`: nobody would wait for
/// all of them, and they would hold a thread that decisions need.
///
/// # Errors
/// When a call failed: nothing is known then.
pub(crate) fn judge_until(
    deadline: Instant,
    config: &DomainConfig,
    now: Timestamp,
    mut judge: impl FnMut(&Map<String, Value>) -> Result<Vec<ConfigProblem>, Fault>,
) -> Result<Judgement, Fault> {
    let (mut is_first, mut is_whole, mut failed) = (true, true, None);
    let problems = schedule::check(config, now, |conf| {
        if failed.is_some() {
            return Vec::new();
        }
        if !std::mem::take(&mut is_first) && Instant::now() >= deadline {
            is_whole = false;
            return Vec::new();
        }
        judge(conf).unwrap_or_else(|fault| {
            failed = Some(fault);
            Vec::new()
        })
    });
    failed.map_or(Ok(Judgement { problems, is_whole }), Err)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pilothouse_core::cycle::FaultKind;
    use serde_json::json;

    use super::*;

    fn judged(deadline: Instant, fails: bool) -> (Vec<Value>, Result<Judgement, Fault>) {
        let config = DomainConfig::from_json(json!({
            "engine_conf": {"n": 1},
            "schedule": [{"name": "day", "time_zone": "UTC", "start": "0 8 * * *", "end": "0 18 * * *", "engine_conf": {"n": 2}}],
        }))
        .expect("a good configuration");
        let mut asked = Vec::new();
        let judged = judge_until(deadline, &config, Timestamp::from_secs(1_795_154_400), |conf| {
            asked.push(conf["n"].clone());
            if fails { Err(Fault::new(FaultKind::Crowded, "no room")) } else { Ok(Vec::new()) }
        });
        (asked, judged)
    }

    #[test]
    fn sets_of_windows_are_judged_only_as_long_as_somebody_waits() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(600));
        let judgement = |is_whole| Ok(Judgement { problems: Vec::new(), is_whole });
        assert_eq!(judged(later, false), (vec![json!(1), json!(2)], judgement(true)));
        assert_eq!(judged(now, false), (vec![json!(1)], judgement(false)), "what holds without a window is judged in any case");
        let told = |deadline| judged(deadline, false).1.expect("judged").told();
        assert!(told(later).is_empty() && told(now)[0].to_string().starts_with("/schedule: its sets of windows take the engine too long"));
        assert_eq!(judged(later, true), (vec![json!(1)], Err(Fault::new(FaultKind::Crowded, "no room"))), "nobody is asked once more");
    }
}
