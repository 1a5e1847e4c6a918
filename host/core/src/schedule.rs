//! Windows of the calendar in which an engine is configured otherwise: more instances by day, fewer at the weekend.
//!
//! Which windows are on is a function of the configuration and of a moment, and nothing else: [`Timetable`] has the calendar, this module
//! what follows from it for a configuration. When the windows that are on are not those of the state, the domain appends a record that
//! names them ([`crate::record::Event::Scheduled`]); only that record changes what the engine is given. So the journal tells which
//! configuration a decision was made with, also where the calendar has changed since.

mod check;
mod timetable;

use std::borrow::Cow;
use std::collections::BTreeSet;

pub use check::{MAX_BOUNDARIES, MAX_COMBINATIONS, YEAR, check};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
pub use timetable::{Boundaries, Timetable};

use crate::config::{ConfigProblem, DomainConfig};
use crate::name::Name;
use crate::pointer::escaped;
use crate::time::Timestamp;

/// The most windows of a domain. Who needs more wants a list of dates, which is no schedule.
pub const MAX_WINDOWS: usize = 32;

/// The longest cron pattern, in bytes: some ten lists of numbers.
const MAX_PATTERN: usize = 200;

/// A window: from each time that `start` names to the next that `end` names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ScheduleWindow")]
pub struct Window {
    /// Its name, unique in its schedule.
    pub name: Name,
    /// The zone of the clock on the wall that `start` and `end` are read from, as `Europe/Vienna`.
    #[schemars(length(min = 1))]
    pub time_zone: String,
    /// When it begins: minute, hour, day of the month, month and day of the week, as in `0 8 * * mon-fri`.
    #[schemars(length(max = MAX_PATTERN))]
    pub start: String,
    /// When it ends, in the same way. Where both come at once the window is off.
    #[schemars(length(max = MAX_PATTERN))]
    pub end: String,
    /// What is given to the engine meanwhile, key by key over the section `engine_conf`. Of windows that overlap the later one wins.
    #[schemars(extend("minProperties" = 1))]
    pub engine_conf: Map<String, Value>,
}

impl Window {
    const KEYS: [&'static str; 5] = ["name", "time_zone", "start", "end", "engine_conf"];
}

/// One value that changes with the windows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyChange {
    /// The key of `engine_conf`.
    pub key: String,
    /// Its value before; left out where it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// Its value from then on; left out where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

/// A change of the windows that are on, and its moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Switch {
    /// When.
    pub at: Timestamp,
    /// The same in the zone of the first window that begins or ends then, as `2026-11-23T08:00:00+01:00`.
    pub local: String,
    /// That zone.
    pub time_zone: String,
    /// What changes.
    #[serde(flatten)]
    pub turn: Turn,
}

/// A change of the windows that are on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Turn {
    /// Windows that begin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub began: Vec<Name>,
    /// Windows that end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<Name>,
    /// What changes for the engine. Nothing, where other windows say the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<KeyChange>,
}

/// Reads the section `schedule`. Every problem names its place; of a schedule that has any nothing is kept.
pub(crate) fn read(section: Option<Value>, problems: &mut Vec<ConfigProblem>) -> Vec<Window> {
    let entries = match section {
        None => return Vec::new(),
        Some(Value::Array(entries)) => entries,
        Some(_) => {
            problems.push(ConfigProblem::new("/schedule", "expected a list of windows"));
            return Vec::new();
        }
    };
    if entries.len() > MAX_WINDOWS {
        problems.push(ConfigProblem::new("/schedule", format!("expected at most {MAX_WINDOWS} windows, got {}", entries.len())));
        return Vec::new();
    }
    let before = problems.len();
    let mut names = BTreeSet::new();
    let mut windows = Vec::with_capacity(entries.len());
    for (place, entry) in entries.into_iter().enumerate() {
        let Some(window) = Entry::of(&format!("/schedule/{place}"), entry, problems) else { continue };
        if !names.insert(window.name.clone()) {
            problems.push(ConfigProblem::new(format!("/schedule/{place}/name"), format!("there is a window {} before", window.name)));
        }
        windows.push(window);
    }
    // Looking for what is never there takes long: not before everything else is right, and not for more than one of them.
    if problems.len() == before {
        problems.extend(timetable::never(&windows));
    }
    if problems.len() == before { windows } else { Vec::new() }
}

/// A window that is being read, key by key.
struct Entry<'p> {
    at: &'p str,
    keys: Map<String, Value>,
    problems: &'p mut Vec<ConfigProblem>,
}

impl<'p> Entry<'p> {
    fn of(at: &'p str, entry: Value, problems: &'p mut Vec<ConfigProblem>) -> Option<Window> {
        let Value::Object(keys) = entry else {
            problems.push(ConfigProblem::new(at, format!("expected a window with {}", Window::KEYS.join(", "))));
            return None;
        };
        for unknown in keys.keys().filter(|key| !Window::KEYS.contains(&key.as_str())) {
            let message = format!("unknown key; expected {}", Window::KEYS.join(", "));
            problems.push(ConfigProblem::new(format!("{at}/{}", escaped(unknown)), message));
        }
        let mut entry = Self { at, keys, problems };
        let name = entry.text("name", |text| text.parse::<Name>().map_err(|error| error.to_string()));
        let time_zone = entry.text("time_zone", |text| timetable::zone(text).map(|_| text.to_owned()));
        let mut moment = |key| entry.text(key, |text| timetable::pattern(text).map(|_| text.to_owned()));
        let (start, end) = (moment("start"), moment("end"));
        let engine_conf = entry.engine_conf();
        Some(Window { name: name?, time_zone: time_zone?, start: start?, end: end?, engine_conf: engine_conf? })
    }

    fn problem<T>(&mut self, key: &str, message: impl Into<String>) -> Option<T> {
        self.problems.push(ConfigProblem::new(format!("{}/{key}", self.at), message));
        None
    }

    fn text<T>(&mut self, key: &str, judge: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        match self.keys.remove(key) {
            Some(Value::String(text)) => match judge(&text) {
                Ok(value) => Some(value),
                Err(message) => self.problem(key, message),
            },
            Some(other) => self.problem(key, format!("expected a text, got {other}")),
            None => self.problem(key, "expected a text, and there is none"),
        }
    }

    fn engine_conf(&mut self) -> Option<Map<String, Value>> {
        match self.keys.remove("engine_conf") {
            Some(Value::Object(keys)) if !keys.is_empty() => Some(keys),
            Some(Value::Object(_)) => self.problem("engine_conf", "expected at least one key: a window without changes nothing"),
            Some(other) => self.problem("engine_conf", format!("expected an object of keys for the engine, got {other}")),
            None => self.problem("engine_conf", "expected what the engine is given meanwhile, and there is nothing"),
        }
    }
}

impl DomainConfig {
    /// The engine's section while the windows of these names are on: the section `engine_conf`, and theirs over it in the order of the
    /// schedule. Names that the schedule does not know change nothing.
    pub fn engine_conf_while(&self, on: &[Name]) -> Cow<'_, Map<String, Value>> {
        let mut conf = Cow::Borrowed(&self.engine_conf);
        for window in self.schedule.iter().filter(|window| on.contains(&window.name)) {
            conf.to_mut().extend(window.engine_conf.clone());
        }
        conf
    }

    /// The names of the windows that are on at a moment, in the order of the schedule.
    pub fn windows_on(&self, now: Timestamp) -> Vec<Name> {
        if self.schedule.is_empty() {
            return Vec::new();
        }
        self.names(&Timetable::of(&self.schedule).on(now))
    }

    fn names(&self, windows: &[usize]) -> Vec<Name> {
        windows.iter().filter_map(|place| self.schedule.get(*place)).map(|window| window.name.clone()).collect()
    }

    /// The next changes after a moment, the first `count` of them. A schedule that changes very often, or hardly ever, is not looked through
    /// any further than for [`MAX_BOUNDARIES`] begins and ends. May take a tenth of a second: not for a thread that serves anything.
    pub fn coming(&self, now: Timestamp, count: usize) -> Vec<Switch> {
        if self.schedule.is_empty() {
            return Vec::new();
        }
        let timetable = Timetable::of(&self.schedule);
        let mut before = self.names(&timetable.on(now));
        let mut coming = Vec::new();
        let (mut boundaries, mut looked_at) = (timetable.boundaries(now), 0);
        while coming.len() < count && looked_at < MAX_BOUNDARIES {
            looked_at += boundaries.due().count();
            let Some((at, on)) = boundaries.next() else { break };
            let after = self.names(&on);
            if after != before {
                coming.extend(self.turn(&before, &after).map(|turn| self.switch(at, turn)));
                before = after;
            }
        }
        coming
    }

    /// What a change of the windows means; nothing, where it is none.
    pub fn turn(&self, before: &[Name], after: &[Name]) -> Option<Turn> {
        let only = |these: &[Name], those: &[Name]| these.iter().filter(|name| !those.contains(name)).cloned().collect::<Vec<_>>();
        let (began, ended) = (only(after, before), only(before, after));
        let changes = || key_changes(&self.engine_conf_while(before), &self.engine_conf_while(after));
        (!began.is_empty() || !ended.is_empty()).then(|| Turn { changes: changes(), began, ended })
    }

    fn switch(&self, at: Timestamp, turn: Turn) -> Switch {
        let first = turn.began.iter().chain(&turn.ended).next();
        let window = self.schedule.iter().find(|window| Some(&window.name) == first);
        let time_zone = window.map_or("UTC", |window| &window.time_zone);
        Switch { at, local: timetable::local(at, time_zone), time_zone: time_zone.to_owned(), turn }
    }
}

/// Every key that has another value, in the order of their names.
pub fn key_changes(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<KeyChange> {
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let change = |key: &String| KeyChange { key: key.clone(), from: before.get(key).cloned(), to: after.get(key).cloned() };
    keys.into_iter().map(change).filter(|change| change.from != change.to).collect()
}

impl Turn {
    /// For people: `window day began: preserve_n 3 -> 10`.
    pub fn in_words(&self) -> String {
        let names = |names: &[Name]| names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
        let windows = |list: &[Name], verb: &str| match list {
            [] => None,
            [one] => Some(format!("window {one} {verb}")),
            many => Some(format!("windows {} {verb}", names(many))),
        };
        let parts: Vec<String> = windows(&self.ended, "ended").into_iter().chain(windows(&self.began, "began")).collect();
        format!("{}: {}", parts.join(", "), changes_in_words(&self.changes))
    }
}

/// For people: `maximum_vms 4 -> 20, minimum_vms 2 -> 10`.
pub fn changes_in_words(changes: &[KeyChange]) -> String {
    if changes.is_empty() {
        return "nothing changes for the engine".to_owned();
    }
    let value = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), Value::to_string);
    let words = |change: &KeyChange| format!("{} {} -> {}", change.key, value(&change.from), value(&change.to));
    changes.iter().map(words).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
