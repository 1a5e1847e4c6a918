//! The timeline of a scenario: entries as they are written become steps in the order in which they happen.

use pilothouse_core::record::Subscriber;
use pilothouse_core::time::{Millis, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::event::{Adopt, AgentDoes, Beat, Beside, Event, Fail, Kill, Of, Provisioner, Reading, Report, Swap, Unsubscribe};
use crate::tick::TickKind;

/// The most steps of one scenario: a slip in `every` must not fill the memory.
pub(crate) const MAX_STEPS: usize = 200_000;

/// The latest moment of a scenario, in seconds: a hundred years.
const MAX_SECONDS: f64 = 3.2e9;

/// One entry: when, and exactly one thing that happens then.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// When, in seconds since the start. What happens at the same time happens in the order of the file.
    pub at: f64,
    /// Happens again after so many seconds, and again, up to and including `until`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<f64>,
    /// The last moment at which it may happen again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<f64>,
    /// A loop of the host runs once, or several do, in this order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tick: Option<Ticks>,
    /// `true`: the engine is asked and takes its time; the next tick `decide` is when it has decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<bool>,
    /// A provisioner reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Report>,
    /// An agent's heartbeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Beat>,
    /// Sensor readings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reading: Option<Reading>,
    /// A provisioner does not know this instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<Of>,
    /// Sections of the configuration, folded in key by key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconfigure: Option<Map<String, Value>>,
    /// Provisioners start or stop failing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioner: Option<Provisioner>,
    /// What agents do from now on when they are asked for a sign of life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentDoes>,
    /// `true`: the host dies and comes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<bool>,
    /// `true`: the journal gets a snapshot, and a restart reads from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<bool>,
    /// `true`: the domain is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove: Option<bool>,
    /// The host can't see from now on; why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blind: Option<String>,
    /// `true`: the host sees again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub see: Option<bool>,
    /// The host finds that it saw nothing for so many seconds up to now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<f64>,
    /// `true`: engines may ask for nothing; `false`: they may again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<bool>,
    /// `true`: what engines ask for is only recorded; `false`: it is carried out again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// `true`: whatever turned unhealthy up to now is believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_brake: Option<bool>,
    /// Somebody wants to be told of instances: whom, and what of theirs is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<Subscriber>,
    /// Somebody wants that no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsubscribe: Option<Unsubscribe>,
    /// An operator ends an instance, past its engine and the guards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill: Option<Kill>,
    /// An operator keeps an instance from being ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protect: Option<Of>,
    /// An operator does so no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unprotect: Option<Of>,
    /// An operator takes in an instance that runs at a site and belongs to no domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<Adopt>,
    /// `true`: the domain is removed, and nobody waits for its instances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abandon: Option<bool>,
    /// Another version of the engine comes into force by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap: Option<Swap>,
    /// The next calls of an engine fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail: Option<Fail>,
    /// `true`: an engine that is held, and versions that the domain went back from, get another chance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<bool>,
    /// Another engine runs beside; nothing that it asks for is carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Beside>,
    /// `true`: no engine runs beside any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unshadow: Option<bool>,
}

/// One tick or several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected decide, health or reap, or a list of these")]
pub enum Ticks {
    /// One.
    One(TickKind),
    /// Several, in this order.
    Several(Vec<TickKind>),
}

/// Something that happens at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Seconds since the start.
    pub at: f64,
    /// What.
    pub event: Event,
}

impl Step {
    /// The moment, when the scenario started at `start`.
    pub(crate) fn moment(&self, start: Timestamp) -> Timestamp {
        start + length(self.at)
    }
}

/// Seconds as a length; never negative.
pub(crate) fn length(seconds: f64) -> Millis {
    Millis::new((seconds.clamp(0.0, MAX_SECONDS) * 1000.0).round() as u64)
}

impl Entry {
    /// What happens, in order; or what is wrong with the entry.
    fn events(&self) -> Result<Vec<Event>, String> {
        let mut events: Vec<(&str, Vec<Event>)> = Vec::new();
        let mut put = |name, what: Option<Vec<Event>>| events.extend(what.map(|what| (name, what)));
        let one = |event: Event| Some(vec![event]);
        put(
            "tick",
            self.tick.clone().map(|ticks| match ticks {
                Ticks::One(kind) => vec![Event::Tick(kind)],
                Ticks::Several(kinds) => kinds.into_iter().map(Event::Tick).collect(),
            }),
        );
        put("report", self.report.clone().and_then(|it| one(Event::Report(it))));
        put("heartbeat", self.heartbeat.clone().and_then(|it| one(Event::Heartbeat(it))));
        put("reading", self.reading.clone().and_then(|it| one(Event::Reading(it))));
        put("unknown", self.unknown.clone().and_then(|it| one(Event::Unknown(it))));
        put("reconfigure", self.reconfigure.clone().and_then(|it| one(Event::Reconfigure(Value::Object(it)))));
        put("provisioner", self.provisioner.and_then(|it| one(Event::Provisioner(it))));
        put("agent", self.agent.and_then(|it| one(Event::Agent(it))));
        put("blind", self.blind.clone().and_then(|it| one(Event::Blind(it))));
        put("missed", self.missed.and_then(|it| one(Event::Missed(it))));
        put("pause", self.pause.and_then(|it| one(Event::Pause(it))));
        put("dry_run", self.dry_run.and_then(|it| one(Event::DryRun(it))));
        put("subscribe", self.subscribe.clone().and_then(|it| one(Event::Subscribe(it))));
        put("unsubscribe", self.unsubscribe.clone().and_then(|it| one(Event::Unsubscribe(it))));
        put("kill", self.kill.clone().and_then(|it| one(Event::Kill(it))));
        put("protect", self.protect.clone().and_then(|it| one(Event::Protect(it, true))));
        put("unprotect", self.unprotect.clone().and_then(|it| one(Event::Protect(it, false))));
        put("adopt", self.adopt.clone().and_then(|it| one(Event::Adopt(it))));
        put("swap", self.swap.clone().and_then(|it| one(Event::Swap(it))));
        put("fail", self.fail.clone().and_then(|it| one(Event::Fail(it))));
        put("shadow", self.shadow.clone().and_then(|it| one(Event::Shadow(it))));
        for (name, given, event) in [
            ("ask", self.ask, Event::Ask),
            ("restart", self.restart, Event::Restart),
            ("snapshot", self.snapshot, Event::Snapshot),
            ("remove", self.remove, Event::Remove),
            ("abandon", self.abandon, Event::Abandon),
            ("see", self.see, Event::See),
            ("release_brake", self.release_brake, Event::ReleaseBrake),
            ("retry", self.retry, Event::Retry),
            ("unshadow", self.unshadow, Event::Unshadow),
        ] {
            match given {
                Some(true) => put(name, one(event)),
                Some(false) => return Err(format!("{name}: expected true")),
                None => {}
            }
        }
        let versions = [
            self.swap.as_ref().map(|it| &it.version),
            self.fail.as_ref().and_then(|it| it.version.as_ref()),
            self.shadow.as_ref().and_then(|it| it.version.as_ref()),
        ];
        if let Some(version) = versions.into_iter().flatten().find(|version| !is_version(version)) {
            return Err(format!("version: {version:?} is none: expected one like 1.2.3"));
        }
        let promote_after = self.shadow.as_ref().and_then(|it| it.promote_after);
        if promote_after.is_some_and(|seconds| !(1.0..=MAX_SECONDS).contains(&seconds)) {
            return Err("promote_after: expected a number of seconds, at least 1".to_owned());
        }
        if self.missed.is_some_and(|missed| !(0.0..=MAX_SECONDS).contains(&missed)) {
            return Err("missed: expected a number of seconds".to_owned());
        }
        let whom = [
            self.report.as_ref().map(|it| &it.of),
            self.heartbeat.as_ref().map(|it| &it.of),
            self.reading.as_ref().and_then(|it| it.of.as_ref()),
            self.unknown.as_ref(),
            self.kill.as_ref().map(|it| &it.of),
            self.protect.as_ref(),
            self.unprotect.as_ref(),
        ];
        if let Some(problem) = whom.into_iter().flatten().find_map(Of::problem) {
            return Err(format!("of: {problem}"));
        }
        let names: Vec<&str> = events.iter().map(|(name, _)| *name).collect();
        match events.len() {
            1 => Ok(events.remove(0).1),
            0 => Err(
                "says when and not what: expected one of tick, ask, report, heartbeat, reading, unknown, reconfigure, provisioner, agent, \
                      restart, snapshot, remove, blind, see, missed, pause, dry_run, release_brake, subscribe, unsubscribe, kill, protect, \
                      unprotect, adopt, abandon, swap, fail, retry, shadow, unshadow"
                    .to_owned(),
            ),
            _ => Err(format!("says several things ({}): give each an entry of its own", names.join(", "))),
        }
    }

    /// When it happens.
    fn moments(&self) -> Result<Vec<f64>, String> {
        let good = |name: &str, seconds: f64| {
            if (0.0..=MAX_SECONDS).contains(&seconds) {
                Ok(seconds)
            } else {
                Err(format!("{name}: expected seconds from 0 to {MAX_SECONDS}"))
            }
        };
        let first = good("at", self.at)?;
        let (Some(every), Some(until)) = (self.every, self.until) else {
            return match (self.every, self.until) {
                (None, None) => Ok(vec![first]),
                _ => Err("every and until go together".to_owned()),
            };
        };
        let (every, until) = (good("every", every)?, good("until", until)?);
        if every < 0.001 {
            return Err("every: expected at least 0.001".to_owned());
        }
        // Counted in milliseconds, so that no error adds up on the way.
        let (first, every, until) = (length(first).get(), length(every).get(), length(until).get());
        let count = until.checked_sub(first).map_or(1, |span| span / every + 1);
        if count > MAX_STEPS as u64 {
            return Err(format!("every: happens {count} times; a scenario may have {MAX_STEPS} steps"));
        }
        Ok((0..count).map(|nth| (first + nth * every) as f64 / 1000.0).collect())
    }
}

/// Whether it is three numbers: as much as a scenario needs.
fn is_version(text: &str) -> bool {
    let is_number = |part: &str| part.parse::<u32>().is_ok_and(|number| number.to_string() == part);
    text.split('.').count() == 3 && text.split('.').all(is_number)
}

/// The steps of all entries, in the order in which they happen.
///
/// # Errors
/// The number of the first entry that makes no sense, and what is wrong with it.
pub(crate) fn steps(entries: &[Entry]) -> Result<Vec<Step>, (usize, String)> {
    let mut steps = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let events = entry.events().map_err(|error| (number, error))?;
        for at in entry.moments().map_err(|error| (number, error))? {
            steps.extend(events.iter().map(|event| Step { at, event: event.clone() }));
            if steps.len() > MAX_STEPS {
                return Err((number, format!("more than {MAX_STEPS} steps")));
            }
        }
    }
    // Stable: what happens at the same time stays in the order of the file.
    steps.sort_by(|one, other| one.at.total_cmp(&other.at));
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Matching;

    fn tick(at: f64) -> Entry {
        Entry { at, tick: Some(Ticks::One(TickKind::Decide)), ..Entry::default() }
    }

    #[test]
    fn steps_happen_in_the_order_of_time_and_then_of_the_file() {
        let entries = [
            Entry { every: Some(5.0), until: Some(10.0), ..tick(0.0) },
            Entry { at: 5.0, restart: Some(true), ..Entry::default() },
            Entry { at: 2.0, remove: Some(true), ..Entry::default() },
        ];
        let steps = steps(&entries).expect("good entries");
        let shown: Vec<String> = steps.iter().map(|step| format!("{} {:?}", step.at, step.event)).collect();
        assert_eq!(shown, ["0 Tick(Decide)", "2 Remove", "5 Tick(Decide)", "5 Restart", "10 Tick(Decide)"]);
    }

    #[test]
    fn an_entry_that_makes_no_sense_is_named() {
        let wrong = |entry: Entry, word: &str| {
            let (number, error) = steps(&[tick(0.0), entry]).expect_err("wrong");
            assert_eq!(number, 1);
            assert!(error.contains(word), "{error}");
        };
        wrong(Entry { at: -1.0, ..tick(0.0) }, "at:");
        wrong(Entry { at: f64::NAN, ..tick(0.0) }, "at:");
        wrong(Entry { at: 3.0, ..Entry::default() }, "not what");
        wrong(Entry { remove: Some(true), ..tick(0.0) }, "tick, remove");
        wrong(Entry { restart: Some(false), ..Entry::default() }, "expected true");
        for version in ["1.0", "one", "1.0.0-rc.1", "01.0.0", ""] {
            let swap = Swap { version: version.to_owned(), why: Default::default() };
            wrong(Entry { swap: Some(swap), ..Entry::default() }, "expected one like 1.2.3");
        }
        let beside = |promote_after| Beside { engine: None, version: None, promote_after: Some(promote_after) };
        wrong(Entry { shadow: Some(beside(0.5)), ..Entry::default() }, "at least 1");
        wrong(Entry { shadow: Some(beside(f64::NAN)), ..Entry::default() }, "at least 1");
        wrong(Entry { retry: Some(false), ..Entry::default() }, "expected true");
        let of = Of::Matching(Matching { state: "RUNING".to_owned(), health: None, nth: 0 });
        wrong(Entry { unknown: Some(of), ..Entry::default() }, "RUNING");
        let of = Of::Matching(Matching { state: "RUNNING".to_owned(), health: Some("WELL".to_owned()), nth: 0 });
        wrong(Entry { unknown: Some(of), ..Entry::default() }, "WELL");
        wrong(Entry { every: Some(1.0), ..tick(0.0) }, "go together");
        wrong(Entry { every: Some(0.0), until: Some(1.0), ..tick(0.0) }, "at least");
        wrong(Entry { every: Some(0.001), until: Some(1e6), ..tick(0.0) }, "200000 steps");
    }
}
