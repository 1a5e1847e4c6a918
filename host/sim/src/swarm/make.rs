//! Makes random scenarios.
//!
//! Nobody who writes a timeline knows which launches there will be. So a plausible world is written with references that mean whoever is there
//! when the time comes: *the first that is REQUESTING* is acknowledged, *whoever is RUNNING* sends heartbeats, *the first that is TERMINATING*
//! goes. Over that come troubles, which mean somebody by launch order, by a foreign id, or nobody at all.

use pilothouse_core::instance::State;
use pilothouse_core::name::Name;
use pilothouse_core::record::Subscriber;
use serde_json::{Map, Value, json};

use super::{Dice, versions};
use crate::event::{AgentDoes, Beat, Kill, Matching, Of, Provisioner, Reading, Report, Unsubscribe, Works};
use crate::scenario::{Guards, Scenario};
use crate::tick::TickKind;
use crate::timeline::{Entry, Ticks};

/// What scenarios are made for.
pub struct Shape<'s> {
    /// The engine.
    pub engine: &'s str,
    /// A section `engine_conf` that suits it.
    pub engine_conf: &'s dyn Fn(&mut Dice) -> Map<String, Value>,
    /// Engines that may take its place, or run beside it. They take the same configuration.
    pub others: &'s [&'s str],
    /// A sensor that it reads.
    pub metric: &'s str,
}

impl std::fmt::Debug for Shape<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shape").field("engine", &self.engine).field("metric", &self.metric).finish_non_exhaustive()
    }
}

/// The scenario of a seed: the same every time, and valid.
pub fn scenario(seed: u64, shape: &Shape<'_>) -> Scenario {
    let mut dice = Dice::new(seed);
    let span = dice.pick(&[30, 120, 120, 600, 600, 600, 3600, 20_000]);
    let mut making = Making { shape, span, events: Vec::new(), dice };
    let start = making.dice.percent(30).then(|| "2026-03-01T12:00:00Z".to_owned());
    let (general, health) = (making.general(), making.health());
    let engine_conf = (shape.engine_conf)(&mut making.dice);
    let (guards, agent) = (making.guards(), making.agent());
    making.ticks();
    if making.dice.percent(85) {
        making.life();
    }
    for _ in 0..making.dice.from_to(2, 25) {
        let at = making.moment();
        // At times much happens at one moment.
        for _ in 0..making.dice.pick(&[1, 1, 1, 1, 2, 5]) {
            making.trouble(at);
        }
    }
    if making.dice.percent(20) {
        making.end();
    }
    // Dice of its own: what else happens does not depend on it.
    making.dice = Dice::new(seed ^ 0x7665_7273_696f_6e73);
    if making.dice.percent(60) {
        versions::happen(&mut making);
    }
    let Making { events, .. } = making;
    Scenario {
        title: format!("random scenario {seed}"),
        engine: shape.engine.to_owned(),
        seed,
        start,
        domain: Default::default(),
        general,
        health,
        engine_conf,
        schedule: Vec::new(),
        guards,
        agent,
        events,
    }
}

pub(super) struct Making<'s> {
    pub(super) shape: &'s Shape<'s>,
    /// How long it goes, in seconds.
    span: u64,
    events: Vec<Entry>,
    pub(super) dice: Dice,
}

/// The most times that one entry happens. Many short scenarios get to more places than few long ones.
const MOST_TIMES: u64 = 40;

impl Making<'_> {
    /// A moment, to a tenth of a second; rather often a whole one.
    pub(super) fn moment(&mut self) -> f64 {
        if self.dice.percent(60) { self.dice.below(self.span) as f64 } else { self.dice.below(self.span * 10) as f64 / 10.0 }
    }

    pub(super) fn put(&mut self, at: f64, entry: Entry) {
        self.events.push(Entry { at, ..entry });
    }

    /// Something that happens every so often, from early on until late.
    fn every(&mut self, seconds: u64, entry: Entry) {
        let every = seconds.max(self.span.div_ceil(MOST_TIMES)) as f64;
        let until = if self.dice.percent(80) { self.span as f64 } else { self.moment() };
        let from = if self.dice.percent(70) { self.dice.below(10) as f64 } else { self.moment() };
        self.events.push(Entry { at: from, every: Some(every), until: Some(until.max(from)), ..entry });
    }

    /// Some keys, others are left as they are.
    fn section(&mut self, keys: &[(&str, &[f64])]) -> Map<String, Value> {
        let mut section = Map::new();
        for (key, values) in keys {
            if self.dice.percent(50) {
                let value = self.dice.pick(values);
                section.insert((*key).to_owned(), if value.fract() == 0.0 { json!(value as u64) } else { json!(value) });
            }
        }
        section
    }

    fn general(&mut self) -> Map<String, Value> {
        let mut general = self.section(&[
            ("launch_timeout", &[1.0, 20.0, 60.0, 600.0]),
            ("record_reaping_max_age", &[0.0, 10.0, 60.0, 7200.0]),
            ("max_instances", &[1.0, 3.0, 6.0, 12.0, 100.0]),
            ("launches_per_minute", &[1.0, 3.0, 10.0, 100.0]),
            ("terminations_per_minute", &[1.0, 3.0, 10.0, 100.0]),
            ("decide_interval", &[0.1, 1.0, 5.0, 60.0]),
        ]);
        if self.dice.percent(50) {
            let brake = self.section(&[
                ("floor", &[1.0, 2.0, 3.0, 0.0]),
                ("share", &[0.01, 0.3, 0.5, 1.0]),
                ("window", &[1.0, 30.0, 300.0, 10_000.0]),
                ("drip_after", &[0.0, 10.0, 900.0]),
                ("drip_every", &[0.0, 5.0, 60.0]),
            ]);
            general.insert("brake".to_owned(), Value::Object(brake));
        }
        if self.dice.percent(50) {
            let back_off = self.section(&[("first", &[0.5, 2.0, 30.0]), ("longest", &[0.0, 10.0, 300.0])]);
            general.insert("back_off".to_owned(), Value::Object(back_off));
        }
        if self.dice.percent(20) {
            general.insert("provisioner_vars".to_owned(), json!({"zone": self.dice.pick(&["a", "b"])}));
        }
        general
    }

    fn health(&mut self) -> Map<String, Value> {
        let mut health = self.section(&[
            ("boot_timeout", &[0.0, 5.0, 60.0, 300.0]),
            ("missing_timeout", &[0.5, 10.0, 30.0, 120.0]),
            ("really_missing_timeout", &[0.0, 1.0, 15.0]),
            ("zombie_seconds", &[0.0, 5.0, 30.0, 120.0]),
        ]);
        if self.dice.percent(10) {
            health.insert("monitor_health".to_owned(), json!(self.dice.percent(30)));
        }
        health
    }

    fn guards(&mut self) -> Guards {
        let mut off = |percent| !self.dice.percent(percent);
        let (blind, brake, budget, quota, back_off) = (off(20), off(20), off(30), off(20), off(20));
        Guards { pause: !off(5), dry_run: !off(5), blind, brake, budget, quota, back_off }
    }

    fn agent(&mut self) -> AgentDoes {
        self.dice.pick(&[AgentDoes::Ignores, AgentDoes::Answers, AgentDoes::Absent])
    }

    /// The loops of the host.
    fn ticks(&mut self) {
        let one = |kind| Entry { tick: Some(Ticks::One(kind)), ..Entry::default() };
        let every = self.dice.pick(&[1, 5, 5, 20]);
        self.every(every, one(TickKind::Decide));
        let every = self.dice.pick(&[1, 5, 10, 30]);
        self.every(every, one(TickKind::Health));
        if self.dice.percent(70) {
            let every = self.dice.pick(&[10, 30, 300]);
            self.every(every, one(TickKind::Reap));
        }
        for _ in 0..self.dice.below(3) {
            let at = self.moment();
            let kinds =
                (0..self.dice.from_to(2, 6)).map(|_| self.dice.pick(&[TickKind::Decide, TickKind::Health, TickKind::Reap])).collect();
            self.put(at, Entry { tick: Some(Ticks::Several(kinds)), ..Entry::default() });
        }
    }

    /// A cloud that does what it is asked, agents that are well, and sensors.
    fn life(&mut self) {
        let quick = self.dice.pick(&[1, 3, 10]);
        let way: &[(State, State)] = self.dice.pick(&[
            &[(State::Requesting, State::Running)] as &[_],
            &[(State::Requesting, State::Pending), (State::Pending, State::Running)],
            &[(State::Requesting, State::Requested), (State::Requested, State::Started), (State::Started, State::Running)],
        ]);
        for (from, to) in way.iter().chain(&[(State::Terminating, State::Terminated)]) {
            for _ in 0..self.dice.from_to(1, 3) {
                let entry = self.report_of(first(*from, 0), to.name());
                self.every(quick, entry);
            }
        }
        let every = self.dice.pick(&[3, 10, 30]);
        if self.dice.percent(50) {
            // Whoever was launched goes on telling that it is well, also when it should be gone.
            let of = Of::Each((0..self.dice.from_to(1, 8)).collect());
            self.every(every, well(of));
        } else {
            for nth in 0..self.dice.from_to(1, 5) {
                self.every(every, well(first(State::Running, nth as usize)));
            }
        }
        if self.dice.percent(60) {
            let of = self.dice.percent(70).then(|| Of::Each((0..self.dice.from_to(1, 5)).collect()));
            for _ in 0..self.dice.from_to(1, 4) {
                let value = Some(self.dice.below(100) as f64 / 10.0);
                let reading = Reading { metric: self.shape.metric.to_owned(), of: of.clone(), value, series: Vec::new() };
                self.every(20, Entry { reading: Some(reading), ..Entry::default() });
            }
        }
    }

    /// Somebody: mostly by launch order and likely to be there, at times nobody.
    fn somebody(&mut self) -> Of {
        match self.dice.below(20) {
            0..12 => Of::Nth(self.dice.below(8)),
            12..15 => {
                let state = self.dice.pick(&State::ALL);
                let health = self.dice.percent(30).then(|| self.dice.pick(&["OK", "UNKNOWN", "MISSING", "ZOMBIE"]).to_owned());
                Of::Matching(Matching { state: state.name().to_owned(), health, nth: self.dice.below(3) as usize })
            }
            15..17 => Of::Each((0..self.dice.below(6)).map(|_| self.dice.below(10)).collect()),
            17 => Of::Nth(self.dice.pick(&[99, u64::from(u32::MAX)])),
            18 => Of::Id(self.dice.pick(&["i001-nobodyknowsthis0", "n1"]).to_owned()),
            _ => Of::Id(self.dice.pick(&["", "no id!", "a.b", "*"]).to_owned()),
        }
    }

    fn report_of(&mut self, of: Of, state: &str) -> Entry {
        let generate_address = self.dice.percent(30);
        Entry { report: Some(Report { of, state: state.to_owned(), generate_address, fields: Map::new() }), ..Entry::default() }
    }

    /// One thing that goes wrong, or is out of the ordinary.
    fn trouble(&mut self, at: f64) {
        let entry = match self.dice.below(100) {
            0..24 => self.a_report(),
            24..38 => self.a_heartbeat(at),
            38..42 => Entry { unknown: Some(self.somebody()), ..Entry::default() },
            42..45 => Entry { reading: Some(self.a_reading()), ..Entry::default() },
            45..52 => Entry { restart: Some(true), ..Entry::default() },
            52..55 => Entry { snapshot: Some(true), ..Entry::default() },
            55..65 => Entry { reconfigure: Some(self.a_change()), ..Entry::default() },
            65..70 => {
                let mut works = || match self.dice.below(3) {
                    0 => None,
                    1 => Some(Works::Fails),
                    _ => Some(Works::Works),
                };
                Entry { provisioner: Some(Provisioner { provision: works(), terminate: works() }), ..Entry::default() }
            }
            70..74 => Entry { agent: Some(self.agent()), ..Entry::default() },
            74..78 => Entry { blind: Some("the link is down".to_owned()), ..Entry::default() },
            78..83 => Entry { see: Some(true), ..Entry::default() },
            83..86 => Entry { missed: Some(self.dice.pick(&[0.0, 1.5, 60.0, 3600.0, 1e9])), ..Entry::default() },
            86..91 => Entry { pause: Some(self.dice.percent(40)), ..Entry::default() },
            91..94 => Entry { dry_run: Some(self.dice.percent(40)), ..Entry::default() },
            94..96 => Entry { release_brake: Some(true), ..Entry::default() },
            _ => {
                let kind = self.dice.pick(&[TickKind::Decide, TickKind::Health, TickKind::Reap]);
                Entry { tick: Some(Ticks::One(kind)), ..Entry::default() }
            }
        };
        self.put(at, entry);
        if self.dice.percent(15) {
            let entry = self.an_order();
            self.put(at, entry);
        }
    }

    /// What an operator wants of single instances, and who wants to be told.
    fn an_order(&mut self) -> Entry {
        let subscriber =
            |dice: &mut Dice| Subscriber { name: name(dice.pick(&["bob", "eve"])), operation: name(dice.pick(&["changed", "seen"])) };
        match self.dice.below(8) {
            0..2 => {
                let reason = self.dice.pick(&["it is needed elsewhere", "it misbehaves", ""]).to_owned();
                Entry { kill: Some(Kill { of: self.somebody(), reason }), ..Entry::default() }
            }
            2..4 => Entry { protect: Some(self.somebody()), ..Entry::default() },
            4 => Entry { unprotect: Some(self.somebody()), ..Entry::default() },
            5..7 => Entry { subscribe: Some(subscriber(&mut self.dice)), ..Entry::default() },
            _ => {
                let Subscriber { name, operation } = subscriber(&mut self.dice);
                let operation = self.dice.percent(50).then_some(operation);
                Entry { unsubscribe: Some(Unsubscribe { name, operation }), ..Entry::default() }
            }
        }
    }

    /// Late, early, once more, out of order, or no report at all.
    fn a_report(&mut self) -> Entry {
        let of = self.somebody();
        let state = if self.dice.percent(85) {
            self.dice.pick(&State::ALL).name()
        } else {
            self.dice.pick(&["600-RUNNING", "600-PENDING", "garbage", ""])
        };
        let mut entry = self.report_of(of, state);
        let fields = entry.report.iter_mut().map(|report| &mut report.fields);
        for fields in fields {
            for (key, values) in [
                ("update_counter", [json!(0), json!(1), json!(7), json!(-1)]),
                ("reason", [json!("it was preempted"), json!(""), json!("no such image"), json!("x".repeat(2000))]),
                ("public_ip", [json!("10.0.0.1"), json!("10.0.0.2"), json!(["a list"]), json!({"an": "object"})]),
                ("cores", [json!(4), json!(true), json!(0.5), json!("x".repeat(2000))]),
            ] {
                if self.dice.percent(20) {
                    fields.insert(key.to_owned(), values[self.dice.pick(&[0, 0, 1, 1, 2, 3])].clone());
                }
            }
        }
        entry
    }

    fn a_heartbeat(&mut self, at: f64) -> Entry {
        let state = self.dice.pick(&["OK", "OK", "MONITOR_ERROR", "MONITOR_ERROR", "PROCESS_ERROR", "PROCESS_ERROR", "MISSING", "fine"]);
        let of = if self.dice.percent(40) { Of::Each((0..self.dice.from_to(1, 6)).collect()) } else { self.somebody() };
        let error = (state == "MONITOR_ERROR").then(|| self.dice.pick(&["disk full", "no route", ""]).to_owned());
        let processes = |dice: &mut Dice| {
            let one = json!({"name": dice.pick(&["web", "db"]), "exitcode": dice.below(3), "stop_timestamp": dice.below(50) as f64 / 3.0});
            vec![if dice.percent(90) { one } else { json!("not a process") }; dice.from_to(1, 3) as usize]
        };
        let failed_processes = (state == "PROCESS_ERROR").then(|| processes(&mut self.dice));
        let error_time = self.dice.percent(20).then(|| if self.dice.percent(80) { at } else { 1e9 });
        let beat = Beat { of, state: state.to_owned(), error, error_time, failed_processes };
        // Some ail for a while.
        let (every, until) = if self.dice.percent(30) { (Some(2.0), Some(at + self.dice.below(60) as f64)) } else { (None, None) };
        Entry { heartbeat: Some(beat), every, until, ..Entry::default() }
    }

    fn a_reading(&mut self) -> Reading {
        let metric =
            if self.dice.percent(80) { self.shape.metric.to_owned() } else { self.dice.pick(&["other", "", "no metric!"]).to_owned() };
        let of = self.dice.percent(60).then(|| self.somebody());
        let series = (0..self.dice.below(4)).map(|_| (self.moment(), self.dice.below(100) as f64 / 7.0)).collect();
        Reading { metric, of, value: Some(self.dice.pick(&[0.0, 1.0, 5.0, -1.0, 1e300])), series }
    }

    /// Another configuration, or one that nobody can take.
    fn a_change(&mut self) -> Map<String, Value> {
        let change = match self.dice.below(8) {
            0..2 => json!({"general": self.general()}),
            2 => json!({"general": {"max_instances": self.dice.from_to(1, 4)}}),
            3 => json!({"health": self.health()}),
            4..6 => json!({"engine_conf": (self.shape.engine_conf)(&mut self.dice)}),
            6 => json!({"health": {"monitor_health": self.dice.percent(60)}, "general": {"own_eyes": self.dice.percent(50)}}),
            _ => self.dice.pick::<fn() -> Value>(&[
                || json!({"general": {"max_instances": 0}}),
                || json!({"general": {"colour": "red"}}),
                || json!({"health": {"missing_timeout": -1}}),
                || json!({"colour": {}}),
                || json!({"engine_conf": {"colour": "red"}}),
            ])(),
        };
        change.as_object().cloned().unwrap_or_default()
    }

    /// The domain goes, at times with a host that dies meanwhile.
    fn end(&mut self) {
        let at = self.moment();
        let remove = if self.dice.percent(80) {
            Entry { remove: Some(true), ..Entry::default() }
        } else {
            Entry { abandon: Some(true), ..Entry::default() }
        };
        self.put(at, remove);
        if self.dice.percent(30) {
            let later = at + self.dice.below(20) as f64;
            self.put(later, Entry { restart: Some(true), ..Entry::default() });
        }
        if self.dice.percent(20) {
            self.put(at, Entry { remove: Some(true), ..Entry::default() });
        }
        if self.dice.percent(25) {
            let later = at + self.dice.below(20) as f64;
            self.put(later, Entry { abandon: Some(true), ..Entry::default() });
        }
    }
}

/// The n-th that has a state when the time comes.
fn first(state: State, nth: usize) -> Of {
    Of::Matching(Matching { state: state.name().to_owned(), health: None, nth })
}

fn name(text: &str) -> Name {
    text.parse().expect("a name that is written here")
}

fn well(of: Of) -> Entry {
    let beat = Beat { of, state: "OK".to_owned(), error: None, error_time: None, failed_processes: None };
    Entry { heartbeat: Some(beat), ..Entry::default() }
}
