//! A random life of a domain, played by dice that look at it: so there is somebody to fall ill, somebody to recover, and a cooldown to end.

use std::collections::BTreeMap;

use pilothouse_core::instance::{Health, Instance, State};
use pilothouse_sim::Scenario;
use pilothouse_sim::event::{AgentDoes, Beat, Kill, Of, Provisioner, Reading, Report, Works};
use pilothouse_sim::scenario::Guards;
use pilothouse_sim::swarm::{Dice, Failure, caught};
use pilothouse_sim::tick::TickKind;
use pilothouse_sim::timeline::{Entry, Ticks};
use serde_json::{Map, Value, json};

use crate::edges::Edges;
use crate::kind::{Kind, Own, number};
use crate::size::METRIC;
use crate::watch::{Watched, scenario_of};

/// The scenario of a seed: up to where it fails, if it does.
pub(crate) fn scenario<K: Kind>(seed: u64) -> Scenario {
    let mut dice = Dice::new(seed);
    let mut scenario = scenario_of::<K>(seed);
    // At the beginning nothing is there that could be taken out.
    scenario.engine_conf = K::conf(&mut dice).into_iter().filter(|(_, value)| !value.is_null()).collect();
    (scenario.general, scenario.health) = (general(&mut dice), health(&mut dice));
    scenario.agent = dice.pick(&[AgentDoes::Ignores, AgentDoes::Answers, AgentDoes::Absent]);
    let mut off = |percent| !dice.percent(percent);
    let (blind, brake, budget, back_off) = (off(50), off(40), off(50), off(50));
    scenario.guards = Guards { blind, brake, budget, back_off, ..Guards::default() };
    let mut events = Vec::new();
    // Whoever checks the scenario tells how it fails.
    let _ = caught(|| {
        let (engine, mut edges) = (K::engine(), Edges::default());
        let watched = Watched::<K>::begin(&scenario, &engine, &mut edges)?;
        let fails = dice.pick(&[0, 5, 40]);
        let mut life = Life { watched, dice, events: &mut events, fails, mood: Mood::Silent };
        life.decide()?;
        for _ in 0..life.dice.from_to(10, 60) {
            life.goes_on()?;
        }
        Ok(())
    });
    Scenario { events, ..scenario }
}

fn section(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("an object")
}

fn general(dice: &mut Dice) -> Map<String, Value> {
    section(json!({
        "launch_timeout": dice.pick(&[20, 60, 600]),
        "launches_per_minute": dice.pick(&[1, 3, 100]),
        "terminations_per_minute": dice.pick(&[1, 3, 100]),
        "max_instances": dice.pick(&[2, 6, 100, 100]),
        "brake": { "floor": dice.pick(&[1, 2, 3]), "window": dice.pick(&[30, 300]), "drip_after": dice.pick(&[0, 10, 900]) },
        "back_off": { "first": dice.pick(&[1, 30]), "longest": dice.pick(&[10, 300]) },
    }))
}

fn health(dice: &mut Dice) -> Map<String, Value> {
    section(json!({
        "boot_timeout": dice.pick(&[30, 300]), "missing_timeout": dice.pick(&[10, 30, 120]),
        "really_missing_timeout": dice.pick(&[0, 5]), "zombie_seconds": dice.pick(&[5, 30]),
    }))
}

/// What sensors do for a while.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    /// Nobody tells anything.
    Silent,
    /// Everybody tells the same.
    All(f64),
    /// Some tell something, each what it wants.
    Some,
}

struct Life<'l, 'e, K: Kind> {
    watched: Watched<'e, K>,
    dice: Dice,
    events: &'l mut Vec<Entry>,
    /// So many of a hundred launches fail.
    fails: u64,
    mood: Mood,
}

impl<K: Kind> Life<'_, '_, K> {
    fn put(&mut self, entry: Entry) -> Result<(), Failure> {
        let entry = Entry { at: self.watched.at as f64 / 1000.0, ..entry };
        self.events.push(entry.clone());
        self.watched.put(entry)
    }

    fn goes_on(&mut self) -> Result<(), Failure> {
        let at_an_edge = self.time_passes();
        self.provisioner()?;
        self.agents()?;
        self.sensors(at_an_edge)?;
        if at_an_edge {
            // Nothing else, so that it is the cooldown that decides.
            return self.decide();
        }
        for _ in 0..self.dice.pick(&[0, 0, 1, 2]) {
            self.something()?;
        }
        if self.dice.percent(50) {
            self.tick(TickKind::Health)?;
        }
        if self.dice.percent(5) {
            self.tick(TickKind::Reap)?;
        }
        match self.dice.below(10) {
            0..6 => self.decide(),
            6..9 => self.decide_slowly(),
            _ => Ok(()),
        }
    }

    fn tick(&mut self, kind: TickKind) -> Result<(), Failure> {
        self.put(Entry { tick: Some(Ticks::One(kind)), ..Entry::default() })
    }

    fn decide(&mut self) -> Result<(), Failure> {
        self.tick(TickKind::Decide)
    }

    /// Much happens while the engine decides.
    fn decide_slowly(&mut self) -> Result<(), Failure> {
        self.put(Entry { ask: Some(true), ..Entry::default() })?;
        self.watched.at += self.dice.pick(&[0, 1, 700]);
        for _ in 0..self.dice.from_to(1, 3) {
            match self.dice.below(8) {
                0..4 => {
                    let ill = self.those(Instance::is_unhealthy);
                    self.beat(ill, "OK")?;
                }
                4 => {
                    let of = self.those(|it| it.state.is_valid() && it.is_unhealthy());
                    self.put(Entry { protect: Some(of), ..Entry::default() })?;
                }
                5 => self.provisioner()?,
                _ => self.something()?,
            }
        }
        self.decide()
    }

    /// Likes to come to the end of a cooldown. Whether it is there, or a millisecond off.
    fn time_passes(&mut self) -> bool {
        let now = self.watched.at;
        let end = self.watched.account.own.rests_until().map(|end| self.watched.until(end)).filter(|end| *end > now);
        let end = end.filter(|_| self.dice.percent(60));
        self.watched.at = match end {
            Some(end) => (end - 1 + self.dice.pick(&[0, 0, 1, 1, 2])).max(now),
            None => now + self.dice.pick(&[0, 1, 250, 1000, 1000, 5000, 5000, 10_000, 30_000, 61_000]),
        };
        end.is_some()
    }

    fn those(&self, wanted: fn(&Instance) -> bool) -> Of {
        Of::Each(self.watched.state().instances().filter(|it| wanted(it)).map(|it| it.ordinal).collect())
    }

    /// Launches go on or fail, and ends come.
    fn provisioner(&mut self) -> Result<(), Failure> {
        let mut reports: BTreeMap<State, Vec<u64>> = BTreeMap::new();
        let known: Vec<(u64, State)> = self.watched.state().instances().map(|it| (it.ordinal, it.state)).collect();
        for (nth, state) in known {
            let to = match state {
                State::Terminating if self.dice.percent(70) => State::Terminated,
                state if state.is_starting() && self.dice.percent(self.fails) => {
                    self.dice.pick(&[State::Failed, State::Rejected, State::RunningFailed])
                }
                state if state.is_starting() && self.dice.percent(70) => self.dice.pick(&[State::Pending, State::Running, State::Running]),
                State::Running if self.dice.percent(3) => self.dice.pick(&[State::Failed, State::Terminated]),
                _ => continue,
            };
            if to > state {
                reports.entry(to).or_default().push(nth);
            }
        }
        for (state, each) in reports {
            let report = Report { of: Of::Each(each), state: state.name().to_owned(), generate_address: false, fields: Map::new() };
            self.put(Entry { report: Some(report), ..Entry::default() })?;
        }
        Ok(())
    }

    fn beat(&mut self, of: Of, state: &str) -> Result<(), Failure> {
        let failed = (state == "PROCESS_ERROR").then(|| vec![json!({"name": "web", "exitcode": 1})]);
        let error = (state == "MONITOR_ERROR").then(|| "disk full".to_owned());
        let beat = Beat { of, state: state.to_owned(), error, error_time: None, failed_processes: failed };
        self.put(Entry { heartbeat: Some(beat), ..Entry::default() })
    }

    /// Most are well; some, or all, ail.
    fn agents(&mut self) -> Result<(), Failure> {
        if self.dice.percent(15) {
            return Ok(());
        }
        let ails = self.dice.pick(&[0, 0, 0, 10, 40, 100]);
        let known: Vec<u64> = self.watched.state().instances().filter(|it| it.state == State::Running).map(|it| it.ordinal).collect();
        let (ill, well): (Vec<u64>, Vec<u64>) = known.into_iter().partition(|_| self.dice.percent(ails));
        let trouble = self.dice.pick(&["PROCESS_ERROR", "MONITOR_ERROR"]);
        for (of, state) in [(well, "OK"), (ill, trouble)] {
            if !of.is_empty() {
                self.beat(Of::Each(of), state)?;
            }
        }
        Ok(())
    }

    /// `to_an_edge`: so that the size should move.
    fn sensors(&mut self, to_an_edge: bool) -> Result<(), Failure> {
        let conf = self.watched.state().engine_conf().into_owned();
        let target = number(&conf, "target_value");
        let (up, down) = (number(&conf, "scale_up_threshold").or(target), number(&conf, "scale_down_threshold").or(target));
        let (Some(up), Some(down)) = (up, down) else { return Ok(()) };
        let levels = match conf.get("scope").is_some_and(|scope| scope == "domain") && target.is_some() {
            // All the work there is: for so many instances.
            true => vec![0.0, up / 2.0, up, up * 2.0, up * 3.0, up * 5.0],
            false => vec![down - 1.0, down, (down + up) / 2.0, up, up + 1.0, down - 0.5, up + 0.5],
        };
        if to_an_edge {
            self.mood = Mood::All(self.dice.pick(&[down - 1.0, up + 1.0, up * 3.0, up * 5.0]));
        } else if self.dice.percent(40) {
            self.mood = match self.dice.below(10) {
                0..2 => Mood::Silent,
                2..7 => Mood::All(self.dice.pick(&levels)),
                _ => Mood::Some,
            };
        }
        let known: Vec<u64> = self.watched.state().instances().filter(|it| it.state.is_valid()).map(|it| it.ordinal).collect();
        let told: Vec<(Vec<u64>, f64)> = match self.mood {
            Mood::Silent => Vec::new(),
            Mood::All(level) => vec![(known, level)],
            Mood::Some => {
                let telling: Vec<u64> = known.into_iter().filter(|_| self.dice.percent(50)).collect();
                telling.into_iter().map(|it| (vec![it], self.dice.pick(&levels))).collect()
            }
        };
        // Somebody tells of the domain as a whole whenever somebody may tell anything.
        let of_domain = match self.mood {
            Mood::Silent => None,
            Mood::All(level) => Some(level),
            Mood::Some => self.dice.percent(50).then(|| self.dice.pick(&levels)),
        };
        if of_domain.is_some() {
            let reading = Reading { metric: METRIC.to_owned(), of: None, value: of_domain, series: Vec::new() };
            self.put(Entry { reading: Some(reading), ..Entry::default() })?;
        }
        for (of, value) in told.into_iter().filter(|(of, _)| !of.is_empty()) {
            let reading = Reading { metric: METRIC.to_owned(), of: Some(Of::Each(of)), value: Some(value), series: Vec::new() };
            self.put(Entry { reading: Some(reading), ..Entry::default() })?;
        }
        Ok(())
    }

    /// People interfere, links break, hosts die.
    fn something(&mut self) -> Result<(), Failure> {
        let newest = self.watched.state().next_ordinal;
        let somebody = Of::Each(vec![self.dice.below(newest.max(1)), self.dice.below(newest.max(1))]);
        let change = |conf: Map<String, Value>| section(json!({ "engine_conf": conf }));
        let entry = match self.dice.below(32) {
            0..6 => Entry { reconfigure: Some(change(K::conf(&mut self.dice))), ..Entry::default() },
            6..9 => Entry { reconfigure: Some(change(K::bad_conf(&mut self.dice))), ..Entry::default() },
            9 => Entry { reconfigure: Some(section(json!({ "general": general(&mut self.dice) }))), ..Entry::default() },
            10 => Entry { reconfigure: Some(section(json!({ "health": health(&mut self.dice) }))), ..Entry::default() },
            11..14 => Entry { restart: Some(true), ..Entry::default() },
            14 => Entry { snapshot: Some(true), ..Entry::default() },
            15 => Entry { pause: Some(true), ..Entry::default() },
            16..18 => Entry { pause: Some(false), ..Entry::default() },
            18 => Entry { dry_run: Some(true), ..Entry::default() },
            19..21 => Entry { dry_run: Some(false), ..Entry::default() },
            21 => Entry { blind: Some("the link is down".to_owned()), ..Entry::default() },
            22..24 => Entry { see: Some(true), ..Entry::default() },
            24 => Entry { protect: Some(somebody), ..Entry::default() },
            25..27 => Entry { unprotect: Some(somebody), ..Entry::default() },
            27 => Entry { kill: Some(Kill { of: somebody, reason: "it misbehaves".to_owned() }), ..Entry::default() },
            28 => {
                let fails = |dice: &mut Dice| Some(dice.pick(&[Works::Fails, Works::Works]));
                let works = Provisioner { provision: fails(&mut self.dice), terminate: fails(&mut self.dice) };
                Entry { provisioner: Some(works), ..Entry::default() }
            }
            29 => Entry { unknown: Some(Of::Nth(self.dice.below(newest.max(1)))), ..Entry::default() },
            30 => Entry { release_brake: Some(true), ..Entry::default() },
            // Whoever ailed recovers; whoever is silent goes on being silent.
            _ => {
                let ill = self.those(|it| it.is_unhealthy() && it.health != Health::Missing);
                return self.beat(ill, "OK");
            }
        };
        self.put(entry)
    }
}
