//! What a schedule leads to within a year, so that an engine is asked about all of it before any of it happens.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{MAX_WINDOWS, Timetable};
use crate::config::{ConfigProblem, DomainConfig};
use crate::time::{Millis, Timestamp};

/// How far a schedule is followed when it is judged: a year, and a day more where it is a leap year.
pub const YEAR: Millis = Millis::from_secs(366 * 24 * 3600);

/// How often windows may begin or end within that time, each of those that do in one moment counted: a little more than as many windows
/// as there may be need that come once a day.
pub const MAX_BOUNDARIES: usize = 25_000;

/// The most different sets of windows that may be on within that time: for each the engine is asked once.
pub const MAX_COMBINATIONS: usize = 64;

/// Judges everything that an engine is given under a configuration within the coming year: first without any window, then with each set of
/// windows that is really on at some moment. `judge` is asked what is wrong with a section `engine_conf`; a problem that comes up with
/// windows only is placed at the window that brings the key.
///
/// A problem at `/general/engine`, or at `/schedule`, says that the engine can't judge, or not all of it: nothing more is asked then.
pub fn check(
    config: &DomainConfig,
    now: Timestamp,
    mut judge: impl FnMut(&Map<String, Value>) -> Vec<ConfigProblem>,
) -> Vec<ConfigProblem> {
    let mut problems = judge(&config.engine_conf);
    if config.schedule.is_empty() {
        return problems;
    }
    let combinations = match combinations(config, now) {
        Ok(combinations) => combinations,
        Err(found) => {
            problems.extend(found);
            return problems;
        }
    };
    if problems.iter().any(ends) {
        return problems;
    }
    // Whatever is wrong without a window is told once.
    let mut known: Vec<ConfigProblem> = problems.clone();
    for (on, at) in combinations.into_iter().filter(|(on, _)| !on.is_empty()) {
        let names = config.names(&on);
        for found in judge(&config.engine_conf_while(&names)) {
            if known.contains(&found) {
                continue;
            }
            known.push(found.clone());
            if found.at == SCHEDULE {
                problems.push(found);
                return problems;
            }
            let zone = &config.schedule[on[0]].time_zone;
            let names = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
            let when = format!("while {names} {} on, as at {}", are(on.len()), super::timetable::local(at, zone));
            problems.push(ConfigProblem::new(place(config, &on, &found.at), format!("{} ({when})", found.message)));
            if ends(&found) {
                return problems;
            }
        }
    }
    problems
}

/// The place of what is wrong with a schedule as a whole.
const SCHEDULE: &str = "/schedule";

/// Whether asking the engine again would only cost time.
fn ends(problem: &ConfigProblem) -> bool {
    ["/general/engine", SCHEDULE].contains(&problem.at.as_str())
}

const fn are(count: usize) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

/// Where a problem with a section in effect comes from: the last of the windows that are on and have the key, or else the section itself.
/// What is wrong with the section as a whole is put down to the window that is on last.
fn place(config: &DomainConfig, on: &[usize], at: &str) -> String {
    let Some(inside) = at.strip_prefix("/engine_conf") else { return at.to_owned() };
    let key = inside.strip_prefix('/').map(|rest| rest.split('/').next().unwrap_or(rest).replace("~1", "/").replace("~0", "~"));
    let brings = |place: &&usize| key.as_ref().is_none_or(|key| config.schedule[**place].engine_conf.contains_key(key));
    match on.iter().rev().find(brings) {
        Some(place) => format!("/schedule/{place}{at}"),
        None => at.to_owned(),
    }
}

/// Every set of windows that is on at some moment within the coming year, with the first such moment.
///
/// # Errors
/// When there are too many of them, or windows begin and end too often, or a window that begins is never on.
fn combinations(config: &DomainConfig, now: Timestamp) -> Result<Vec<(Vec<usize>, Timestamp)>, Vec<ConfigProblem>> {
    let timetable = Timetable::of(&config.schedule);
    let mut seen = BTreeMap::new();
    let mut stirred = [false; MAX_WINDOWS];
    seen.insert(timetable.on(now), now);
    let mut boundaries = timetable.boundaries(now);
    let mut count = 0;
    loop {
        let may_begin: Vec<usize> = boundaries.due().collect();
        let Some((at, on)) = boundaries.next().filter(|(at, _)| *at <= now + YEAR) else { break };
        count += may_begin.len();
        if count > MAX_BOUNDARIES {
            let message = format!("windows begin and end more than {MAX_BOUNDARIES} times within a year: more than any calendar needs");
            return Err(vec![ConfigProblem::new(SCHEDULE, message)]);
        }
        may_begin.into_iter().for_each(|place| stirred[place] = true);
        seen.entry(on).or_insert(at);
        if seen.len() > MAX_COMBINATIONS {
            let message = format!("more than {MAX_COMBINATIONS} different sets of windows are on within a year: let fewer of them overlap");
            return Err(vec![ConfigProblem::new(SCHEDULE, message)]);
        }
    }
    let never_on = |place: &usize| stirred[*place] && !seen.keys().any(|on| on.contains(place));
    let never: Vec<_> = (0..config.schedule.len())
        .filter(never_on)
        .map(|place| ConfigProblem::new(format!("/schedule/{place}/end"), "comes whenever start does, so the window is never on"))
        .collect();
    let mut combinations: Vec<_> = seen.into_iter().collect();
    // What one window alone gets wrong is told of that window alone.
    combinations.sort_by_key(|(on, at)| (on.len(), *at));
    if never.is_empty() { Ok(combinations) } else { Err(never) }
}
