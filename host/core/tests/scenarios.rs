//! Health scenarios: text files, one readable line per step.
//!
//! Every file in `scenarios/health` is run against the real domain with a journal in memory. Moments are in seconds, with a fraction if
//! need be. `#` begins a comment.
//!
//! | line | |
//! |---|---|
//! | `windows boot=10 missing=5 really_missing=0 zombie=10 launch=600 reap=7200 monitor=on` | before `watch`: the configuration |
//! | `set n1 RUNNING since 50 health OK` | puts a record there; without `health` it stays what it was |
//! | `watch at 100` | a host takes the domain and begins to watch |
//! | `at 106: STEP & STEP …` | steps that arrive together |
//! | `expect …` | holds now |
//!
//! Steps: `tick`; `heartbeat ID OK`; `heartbeat ID MONITOR_ERROR error="…"`; `heartbeat ID PROCESS_ERROR procs=[…]`;
//! `report ID STATE key=value …`; `unknown ID` (its provisioner does not know it); `no-agent ID`; `blind WHY`; `see`; `missed SECONDS`;
//! `restart`; `remove`; `windows …` (a reconfiguration); `set …`.
//!
//! Expectations: `expect HEALTH ID…`; `expect state STATE ID…`; `expect errors ID [JSON…]`; `expect error-count ID N`; `expect reaped ID…`;
//! `expect next look SECONDS`; and, of what was sent since that was last expected, `expect probed ID… | nobody`,
//! `expect launched ID… | nobody`, `expect terminated ID… | nobody`.

mod support;

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use pilothouse_core::command::What;
use pilothouse_core::domain::Effect;
use pilothouse_core::instance::{Health, Instance, State};
use pilothouse_core::intake::Input;
use pilothouse_core::message::{Heartbeat, StateReport};
use pilothouse_core::promise::Request;
use pilothouse_core::time::{Millis, Timestamp};
use serde_json::{Map, Value, json};
use support::{Bench, config, instance};

#[test]
fn every_health_scenario_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/health");
    let mut files: Vec<_> = std::fs::read_dir(&folder).expect("the folder is there").map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    assert!(files.len() >= 10, "{} scenarios in {}", files.len(), folder.display());
    let mut failures = String::new();
    for file in &files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let text = std::fs::read_to_string(file).expect("readable");
        for failure in run(&text) {
            writeln!(failures, "{name}:{failure}").expect("a string grows");
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

#[test]
fn a_scenario_that_does_not_hold_is_told_with_its_line() {
    let failures = run("set n1 RUNNING since 0\nwatch at 0\nexpect OK n1\nat 1: heartbeat n1 OK\nexpect OK n1\nat 2: dance\n");
    assert_eq!(failures, ["3: expect OK n1: expected OK, got UNKNOWN", "6: at 2: dance: no such step"]);
}

/// Runs one scenario. Returns what did not hold, each with its line.
fn run(text: &str) -> Vec<String> {
    let mut scene = Scene::default();
    let mut failures = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split_once('#').map_or(line, |(before, _)| before).trim();
        if line.is_empty() {
            continue;
        }
        let ran = catch_unwind(AssertUnwindSafe(|| scene.line(line)));
        let (message, goes_on) = match ran {
            Ok(Ok(())) => continue,
            Ok(Err(message)) => (message, line.starts_with("expect")),
            Err(panic) => (panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "panicked".to_owned()), false),
        };
        failures.push(format!("{}: {line}: {message}", number + 1));
        if !goes_on {
            break;
        }
    }
    failures
}

#[derive(Default)]
struct Scene {
    health: Map<String, Value>,
    general: Map<String, Value>,
    instances: Vec<Instance>,
    bench: Option<Bench>,
    probed: Vec<String>,
    launched: Vec<String>,
    terminated: Vec<String>,
}

type Outcome = Result<(), String>;

impl Scene {
    fn line(&mut self, line: &str) -> Outcome {
        if let Some(rest) = line.strip_prefix("expect ") {
            return self.expect(rest);
        }
        let Some((at, steps)) = line.strip_prefix("at ").and_then(|rest| rest.split_once(':')) else {
            return self.set_up(line);
        };
        let bench = self.bench.as_mut().ok_or("nobody watches yet")?;
        bench.at(number(at)?);
        let mut inputs = Vec::new();
        for step in steps.split(" & ") {
            inputs.extend(self.step(step.trim())?);
        }
        self.bench()?.absorb(inputs);
        self.take_effects()
    }

    fn set_up(&mut self, line: &str) -> Outcome {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["windows", ref windows @ ..] => self.windows(windows),
            ["set", ref rest @ ..] => self.set(rest),
            ["watch", "at", at] => {
                let now = Timestamp::from_millis((number(at)? * 1000.0) as u64);
                self.bench = Some(Bench::with(self.config(), now, std::mem::take(&mut self.instances)));
                self.take_effects()
            }
            _ => Err("no such line".to_owned()),
        }
    }

    fn windows(&mut self, windows: &[&str]) -> Outcome {
        for window in windows {
            let (name, value) = window.split_once('=').ok_or("expected NAME=SECONDS")?;
            let (section, key) = match name {
                "boot" => (&mut self.health, "boot_timeout"),
                "missing" => (&mut self.health, "missing_timeout"),
                "really_missing" => (&mut self.health, "really_missing_timeout"),
                "zombie" => (&mut self.health, "zombie_seconds"),
                "launch" => (&mut self.general, "launch_timeout"),
                "reap" => (&mut self.general, "record_reaping_max_age"),
                "monitor" => {
                    self.health.insert("monitor_health".to_owned(), json!(value == "on"));
                    continue;
                }
                _ => return Err(format!("no window {name}")),
            };
            section.insert(key.to_owned(), json!(number(value)?));
        }
        if self.bench.is_some() {
            let config = self.config();
            let bench = self.bench()?;
            bench.command(bench.reconfigure(config)).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn config(&self) -> pilothouse_core::config::DomainConfig {
        config(json!({"health": self.health, "general": self.general}))
    }

    fn set(&mut self, words: &[&str]) -> Outcome {
        let (&[id, state, "since", since], rest) = words.split_at(4.min(words.len())) else {
            return Err("expected set ID STATE since SECONDS [health HEALTH]".to_owned());
        };
        let known = match &self.bench {
            Some(bench) => bench.state().instance(&id.parse().expect("an id")).map(|it| Instance::clone(it)),
            None => None,
        };
        let count = self.bench.as_ref().map_or(self.instances.len() as u64, |bench| bench.state().next_ordinal);
        let since = Timestamp::from_millis((number(since)? * 1000.0) as u64);
        let new = instance(id, count, word(state)?, since);
        let mut record = match known {
            Some(known) => Instance { state: new.state, state_since: since, ..known },
            None => new,
        };
        if let ["health", health] = rest {
            (record.health, record.health_since) = (word(health)?, since);
        }
        match &mut self.bench {
            Some(bench) => bench.set(record),
            None => self.instances.push(record),
        }
        Ok(())
    }

    /// Carries out a step, or makes an input of it.
    fn step(&mut self, step: &str) -> Result<Option<Input>, String> {
        let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        let bench = self.bench.as_mut().ok_or("nobody watches yet")?;
        let now = bench.now;
        let id = || words.first().ok_or("whose?")?.parse().map_err(|error| format!("{error}"));
        match verb {
            "tick" => {}
            "heartbeat" => return heartbeat(rest, now).map(Some),
            "report" => return report(&words, now).map(Some),
            "unknown" => return Ok(Some(Input::Unknown(id()?))),
            "no-agent" => return Ok(Some(Input::NoAgent(id()?))),
            "blind" => bench.domain.lose_sight(now, rest),
            "see" => bench.domain.regain_sight(now),
            "missed" => bench.domain.missed(Millis::new((number(rest)? * 1000.0) as u64), now),
            "restart" => self.bench = self.bench.take().map(|bench| bench.restart(now)),
            "remove" => drop(bench.command(What::Remove { abandon: false }).map_err(|error| error.to_string())?),
            "windows" => self.windows(&words)?,
            "set" => self.set(&words)?,
            _ => return Err("no such step".to_owned()),
        }
        Ok(None)
    }

    fn take_effects(&mut self) -> Outcome {
        for effect in self.bench()?.effects() {
            match effect {
                Effect::Probe(id) => self.probed.push(id.to_string()),
                Effect::Request(Request::Provision(request)) => {
                    self.launched.extend(request.instances.iter().map(|it| it.node_id.to_string()))
                }
                Effect::Request(Request::Terminate { message, .. }) => {
                    self.terminated.extend(message.instances.iter().map(|it| it.node_id.to_string()));
                }
                Effect::Request(Request::Dump { .. }) => {}
            }
        }
        Ok(())
    }

    fn expect(&mut self, what: &str) -> Outcome {
        let words: Vec<&str> = what.split_whitespace().collect();
        match words[..] {
            ["probed", ref ids @ ..] => told(&mut self.probed, ids),
            ["launched", ref ids @ ..] => told(&mut self.launched, ids),
            ["terminated", ref ids @ ..] => told(&mut self.terminated, ids),
            ["next", "look", at] => {
                let (bench, expected) = (self.bench()?, number(at)?);
                let got = bench.domain.next_look(bench.now).as_secs_f64();
                same(&expected, &got)
            }
            ["state", state, ref ids @ ..] => ids.iter().try_for_each(|id| same(&word::<State>(state)?, &self.instance(id)?.state)),
            ["errors", id, ..] => {
                let (_, json) = what.split_once('[').ok_or("expected a list")?;
                let expected: Value = serde_json::from_str(&format!("[{json}")).map_err(|error| error.to_string())?;
                same(&expected, &json!(self.instance(id)?.errors.list))
            }
            ["error-count", id, count] => same(&(number(count)? as u64), &self.instance(id)?.errors.count),
            ["reaped", ref ids @ ..] => {
                ids.iter().try_for_each(|id| self.instance(id).map_or(Ok(()), |_| Err(format!("{id} is still there"))))
            }
            [health, ref ids @ ..] => ids.iter().try_for_each(|id| same(&word::<Health>(health)?, &self.instance(id)?.health)),
            [] => Err("expect what?".to_owned()),
        }
    }

    fn bench(&mut self) -> Result<&mut Bench, String> {
        self.bench.as_mut().ok_or_else(|| "nobody watches yet".to_owned())
    }

    fn instance(&mut self, id: &str) -> Result<Instance, String> {
        let known = self.bench()?.state().instance(&id.parse().map_err(|error| format!("{error}"))?);
        known.map(|it| Instance::clone(it)).ok_or_else(|| format!("no instance {id}"))
    }
}

/// `ID OK`, `ID MONITOR_ERROR error="…"` or `ID PROCESS_ERROR procs=[…]`, through the parser of what agents publish.
fn heartbeat(text: &str, now: Timestamp) -> Result<Input, String> {
    let (head, detail) = text.find('=').map_or((text, None), |at| (&text[..at], Some(&text[at + 1..])));
    let words: Vec<&str> = head.split_whitespace().collect();
    let &[id, state, ref key @ ..] = &words[..] else { return Err("expected heartbeat ID STATE".to_owned()) };
    let mut message = json!({"node_id": id, "state": state, "timestamp": now.as_secs_f64()});
    if let (Some(key), Some(detail)) = (key.first(), detail) {
        let key = if *key == "procs" { "failed_processes" } else { key };
        message[key] = serde_json::from_str(detail).map_err(|error| error.to_string())?;
    }
    let heartbeat = Heartbeat::parse(id, message.to_string().as_bytes(), now).map_err(|error| error.to_string())?;
    Ok(Input::Heartbeat(id.parse().map_err(|error| format!("{error}"))?, heartbeat))
}

/// `ID STATE key=value …`, through the parser of what provisioners publish.
fn report(words: &[&str], now: Timestamp) -> Result<Input, String> {
    let &[id, state, ref fields @ ..] = words else { return Err("expected report ID STATE".to_owned()) };
    let mut message = json!({"node_id": id, "state": state, "timestamp": now.as_secs_f64()});
    for field in fields {
        let (key, value) = field.split_once('=').ok_or("expected KEY=VALUE")?;
        message[key] = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
    }
    let report = StateReport::parse(id, message.to_string().as_bytes(), now).map_err(|error| error.to_string())?;
    Ok(Input::Report(id.parse().map_err(|error| format!("{error}"))?, report))
}

/// Exactly these, each once, since it was last asked.
fn told(got: &mut Vec<String>, ids: &[&str]) -> Outcome {
    let text = |mut ids: Vec<String>| {
        ids.sort();
        if ids.is_empty() { "nobody".to_owned() } else { ids.join(" ") }
    };
    same(&text(ids.iter().map(|id| (*id).to_owned()).collect()), &text(std::mem::take(got)))
}

fn same<T: PartialEq + std::fmt::Display>(expected: &T, got: &T) -> Outcome {
    if expected == got { Ok(()) } else { Err(format!("expected {expected}, got {got}")) }
}

fn number(text: &str) -> Result<f64, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is no number of seconds"))
}

fn word<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{error}"))
}
