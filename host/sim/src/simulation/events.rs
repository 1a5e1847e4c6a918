//! What happens in a scenario: each event, carried out and told.

use std::sync::Arc;

use pilothouse_core::command::{Command, What};
use pilothouse_core::config::{ConfigProblem, DomainConfig};
use pilothouse_core::domain::Domain;
use pilothouse_core::engine::{Shadow, SwapReason, Tally};
use pilothouse_core::id::{InstanceId, LaunchId};
use pilothouse_core::instance::{Health, Instance, State};
use pilothouse_core::intake::Input;
use pilothouse_core::message::{Heartbeat, Malformed, Reading, StateReport};
use pilothouse_core::record::Record;
use pilothouse_core::schedule;
use pilothouse_core::seed::{Seed, Stream};
use pilothouse_core::sensor::Scope;
use pilothouse_core::state::Life;
use serde_json::{Value, json};

use super::{HOST, Simulation, name};
use crate::check::Violation;
use crate::event::{Beat, Beside, Event, Kill, Of, Report, Swap, SwapWhy, Unsubscribe};
use crate::tick::Line;
use crate::timeline::{Step, length};

impl Simulation<'_> {
    pub(super) fn carry_out(&mut self, step: &Step) -> Result<Vec<Line>, Violation> {
        let before = self.rejected.1.len();
        let told = match &step.event {
            Event::Tick(kind) => {
                let switched = self.switch()?.map(|what| Line::Event { at: step.at, what });
                let tick = self.tick(step.at, *kind)?;
                return Ok(switched.into_iter().chain([Line::Tick(Box::new(tick))]).collect());
            }
            Event::Ask => {
                let asked = self.asked.is_none() && self.domain.state().life == Life::Active && self.ask()?;
                if asked { "the engine is asked, and takes its time" } else { "the engine can't be asked now" }.to_owned()
            }
            Event::Report(report) => self.report(report)?,
            Event::Heartbeat(beat) => self.heartbeat(beat)?,
            Event::Reading(reading) => self.reading(reading),
            Event::Unknown(of) => {
                let ids = self.find(of);
                self.take(ids.iter().filter_map(|(id, _)| id.parse().ok()).map(Input::Unknown).collect())?;
                let are = if ids.len() > 1 { "are unknown to their" } else { "is unknown to its" };
                format!("{} {are} provisioner", self.names(of, &ids))
            }
            Event::Reconfigure(changes) => self.reconfigure(changes)?,
            Event::Provisioner(works) => {
                self.post.works.provision = works.provision.or(self.post.works.provision);
                self.post.works.terminate = works.terminate.or(self.post.works.terminate);
                format!("the provisioner: {}", words(&json!(works)))
            }
            Event::Agent(does) => {
                self.agent = *does;
                format!("agents from now on: {}", words(&json!(does)))
            }
            Event::Restart => {
                self.restart()?;
                "the host dies and comes back".to_owned()
            }
            Event::Snapshot => {
                let snapshot = self.domain.snapshot_now(self.now);
                self.commit(snapshot)?;
                "the journal gets a snapshot".to_owned()
            }
            Event::Remove => {
                self.command(What::Remove { abandon: false })?;
                "remove the domain".to_owned()
            }
            Event::Abandon => {
                self.command(What::Remove { abandon: true })?;
                "abandon the domain".to_owned()
            }
            Event::Subscribe(subscriber) => {
                self.command(What::Subscribe(subscriber.clone()))?;
                format!("subscribe {}.{}", subscriber.name, subscriber.operation)
            }
            Event::Unsubscribe(Unsubscribe { name, operation }) => {
                self.command(What::Unsubscribe { name: name.clone(), operation: operation.clone() })?;
                let only = operation.as_ref().map_or_else(String::new, |operation| format!(".{operation}"));
                format!("unsubscribe {name}{only}")
            }
            Event::Kill(Kill { of, reason }) => {
                let ids = self.find(of);
                for (id, _) in &ids {
                    self.command(What::Kill { instance: id.clone(), reason: reason.clone() })?;
                }
                format!("kill {} ({reason})", self.names(of, &ids))
            }
            Event::Protect(of, on) => {
                let ids = self.find(of);
                for (id, _) in &ids {
                    self.command(What::Protect { instance: id.clone(), on: *on })?;
                }
                format!("{} {}", if *on { "protect" } else { "unprotect" }, self.names(of, &ids))
            }
            Event::Adopt(adopt) => {
                let nth = self.launched.len() as u64;
                let seed = Seed((u128::from(self.seed) << 64 | u128::from(u64::MAX - nth)).to_be_bytes());
                let (mut ids, slot) = (seed.stream(Stream::Ids), self.domain.state().slot);
                let adopted = adopt.instance(InstanceId::mint(slot, &mut ids), LaunchId::mint(slot, &mut ids));
                self.command(What::Adopt(adopted))?;
                let with = if adopt.extra_vars.is_empty() { String::new() } else { format!(" with {}", words(&json!(adopt.extra_vars))) };
                format!("adopt #{nth} at {}{with}", adopt.site)
            }
            Event::Blind(why) => {
                self.domain.lose_sight(self.now, why);
                format!("the host can't see: {why}")
            }
            Event::See => {
                self.domain.regain_sight(self.now);
                self.asks_for_state = true;
                "the host sees again".to_owned()
            }
            Event::Missed(seconds) => {
                self.domain.missed(length(*seconds), self.now);
                self.asks_for_state = true;
                format!("the host finds that it saw nothing for {seconds} s")
            }
            Event::Pause(pause) => {
                self.command(What::Pause(*pause))?;
                if *pause { "pause the domain" } else { "resume the domain" }.to_owned()
            }
            Event::DryRun(dry_run) => {
                self.command(What::DryRun(*dry_run))?;
                format!("switch dry run {}", if *dry_run { "on" } else { "off" })
            }
            Event::Swap(swap) => self.swap(swap)?,
            Event::Fail(fail) => {
                self.engines.fail(fail);
                let of = fail.version.as_ref().map_or_else(String::new, |version| format!(" of {version}"));
                let calls = if fail.times == 1 { format!("call{of} fails") } else { format!("{} calls{of} fail", fail.times) };
                format!("the next {calls}: {}", words(&json!(fail.kind)))
            }
            Event::Retry => {
                self.command(What::Retry)?;
                "give the engine another chance".to_owned()
            }
            Event::Shadow(beside) => self.shadow(beside)?,
            Event::Unshadow => {
                self.command(What::Shadow(None))?;
                "no shadow any more".to_owned()
            }
            Event::ReleaseBrake => {
                self.command(What::ReleaseBrake)?;
                "release the brake".to_owned()
            }
        };
        let event = |what| Line::Event { at: step.at, what };
        let refused = self.rejected.1[before..].iter().map(|why| event(format!("refused: {why}")));
        Ok(std::iter::once(event(told)).chain(refused).collect())
    }

    fn report(&mut self, report: &Report) -> Result<String, Violation> {
        let ids = self.find(&report.of);
        let mut inputs = Vec::new();
        for (id, nth) in &ids {
            let mut message = Value::Object(report.fields.clone());
            if report.generate_address {
                let nth = nth.unwrap_or(0);
                let host = nth + 1;
                message["hostname"] = json!(format!("host-{nth}.example"));
                message["public_ip"] = json!(format!("10.{}.{}.{}", host >> 16 & 255, host >> 8 & 255, host & 255));
            }
            message["node_id"] = json!(id);
            message["state"] = json!(report.state);
            message["timestamp"] = json!(self.now.as_secs_f64());
            let parsed = StateReport::parse(id, message.to_string().as_bytes(), self.now);
            inputs.extend(self.parsed(id, parsed).map(|(id, parsed)| Input::Report(id, parsed)));
        }
        self.take(inputs)?;
        let fields = if report.fields.is_empty() { String::new() } else { format!(" {}", words(&Value::Object(report.fields.clone()))) };
        let address = if report.generate_address { " with an address" } else { "" };
        Ok(format!("report {} {}{address}{fields}", self.names(&report.of, &ids), report.state))
    }

    fn heartbeat(&mut self, beat: &Beat) -> Result<String, Violation> {
        let ids = self.find(&beat.of);
        let mut inputs = Vec::new();
        for (id, _) in &ids {
            let mut message = json!({"node_id": id, "state": beat.state, "timestamp": self.now.as_secs_f64()});
            if let Some(error) = &beat.error {
                message["error"] = json!(error);
            }
            if let Some(time) = beat.error_time {
                message["error_time"] = json!(self.start.as_secs_f64() + time);
            }
            if let Some(processes) = &beat.failed_processes {
                message["failed_processes"] = json!(processes);
            }
            let parsed = Heartbeat::parse(id, message.to_string().as_bytes(), self.now);
            inputs.extend(self.parsed(id, parsed).map(|(id, parsed)| Input::Heartbeat(id, parsed)));
        }
        self.take(inputs)?;
        let error = beat.error.as_ref().map_or(String::new(), |error| format!(" {error:?}"));
        let processes = beat.failed_processes.as_ref().map_or(String::new(), |all| format!(" {}", json!(all)));
        Ok(format!("heartbeat {} {}{error}{processes}", self.names(&beat.of, &ids), beat.state))
    }

    fn reading(&mut self, told: &crate::event::Reading) -> String {
        let ids = told.of.as_ref().map(|of| self.find(of));
        let scopes: Vec<Option<String>> =
            ids.as_ref().map_or_else(|| vec![None], |ids| ids.iter().map(|(id, _)| Some(id.clone())).collect());
        let moments = told.series.iter().map(|(at, value)| (self.start.as_secs_f64() + at, *value));
        let readings: Vec<(f64, f64)> = told.value.map(|value| (self.now.as_secs_f64(), value)).into_iter().chain(moments).collect();
        for id in &scopes {
            for (time, value) in &readings {
                let mut message = json!({"sensor_id": told.metric, "time": time, "value": value});
                if let Some(id) = id {
                    message["node_id"] = json!(id);
                }
                let parsed = Reading::parse(id.as_deref(), message.to_string().as_bytes(), self.now);
                let scope = match id.as_deref().map(str::parse) {
                    None => Scope::Domain,
                    Some(Ok(id)) if self.domain.state().instance(&id).is_none() => {
                        self.reject(format!("nobody here is called {id}"));
                        continue;
                    }
                    Some(Ok(id)) => Scope::Instance(id),
                    Some(Err(error)) => {
                        self.reject(format!("{error}"));
                        continue;
                    }
                };
                let taken = parsed.map_err(|error| error.to_string());
                let taken = taken.and_then(|reading| self.domain.read(scope, reading).map_err(|error| error.to_string()));
                if let Err(error) = taken {
                    self.reject(format!("reading of {}: {error}", told.metric));
                }
            }
        }
        let whose = match (&told.of, &ids) {
            (Some(of), Some(ids)) => self.names(of, ids),
            _ => "of the domain".to_owned(),
        };
        let values: Vec<String> = readings.iter().map(|(_, value)| value.to_string()).collect();
        format!("reading {} {whose}: {}", told.metric, values.join(" "))
    }

    fn swap(&mut self, Swap { version, why }: &Swap) -> Result<String, Violation> {
        let name = self.domain.state().engine.name.clone();
        let why = match why {
            SwapWhy::Followed => SwapReason::Followed,
            SwapWhy::Pinned => SwapReason::Pinned,
            SwapWhy::Reloaded => SwapReason::Reloaded,
        };
        let engine = self.engines.version(&name, Some(version));
        match engine.and_then(|engine| self.domain.swap(&engine, why, self.now)) {
            Some(record) => {
                self.commit(record)?;
                // Told with the event.
                Ok(self.versions.pop().unwrap_or_default())
            }
            None => {
                let state = self.domain.state();
                let why = match state.life {
                    Life::Active if self.asked.is_some() => "the engine in force is being asked",
                    Life::Active if state.engine.version == *version => "it is in force",
                    Life::Active => "another version runs beside, as a shadow",
                    _ => "the domain goes",
                };
                self.reject(why.to_owned());
                Ok(format!("there is {name} {version}"))
            }
        }
    }

    fn shadow(&mut self, beside: &Beside) -> Result<String, Violation> {
        let name = beside.engine.clone().unwrap_or_else(|| self.domain.state().engine.name.clone());
        let promote_after = beside.promote_after.map(length);
        let Some(engine) = self.engines.version(&name, beside.version.as_deref()) else {
            self.reject(format!("no engine {name:?} in this scenario"));
            return Ok(format!("{name} runs beside, as a shadow"));
        };
        let (reference, version, by) = (format!("{name}@{}", engine.version), engine.version.clone(), self.absent.key.owner.clone());
        let shadow = Shadow { engine, reference, by, since: self.now, promote_after, tally: Tally::default() };
        self.command(What::Shadow(Some(shadow)))?;
        let promised = promote_after.map_or_else(String::new, |after| format!(", to decide after {after} without a difference"));
        Ok(format!("{name} {version} runs beside, as a shadow{promised}"))
    }

    fn reconfigure(&mut self, changes: &Value) -> Result<String, Violation> {
        let mut told = format!("reconfigure {}", words(changes));
        let state = self.domain.state();
        let from_revision = state.config_revision;
        let new = state.config.changed_by(changes).and_then(|mut config: DomainConfig| {
            // A guard that the scenario switched off stays off.
            self.guards.switch(&mut config);
            let reference = &config.general.engine;
            let engine =
                if *reference == state.config.general.engine { Some(state.engine.clone()) } else { self.engines.newest(reference) };
            let unknown = || vec![ConfigProblem::new("/general/engine", format!("no engine {reference:?} in this scenario"))];
            let engine = engine.ok_or_else(unknown)?;
            let judge = self.engines.judge(&engine.name).ok_or_else(unknown)?;
            let problems = schedule::check(&config, self.now, judge);
            if problems.is_empty() { Ok((config, engine)) } else { Err(problems) }
        });
        match new {
            Ok((config, engine)) => {
                if engine != self.domain.state().engine {
                    told = format!("{told}: decided by {} {} from now on", engine.name, engine.version);
                }
                self.command(What::Reconfigure { config, engine, from_revision })?;
            }
            Err(problems) => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                self.reject(problems.join("; "));
            }
        }
        Ok(told)
    }

    /// The journal is all that is left: another host takes the domain from it.
    pub(super) fn restart(&mut self) -> Result<(), Violation> {
        let mut state = self.absent.clone();
        // What was written by this code can be read by it: the checker did, record by record.
        let records: Vec<(u64, Record)> =
            self.journal.iter().filter_map(|(sequence, bytes)| Some((*sequence, Record::from_bytes(bytes).ok()?))).collect();
        let newest_snapshot = records.iter().rposition(|(_, record)| record.is_snapshot()).unwrap_or(0);
        for (sequence, record) in &records[newest_snapshot..] {
            state.apply(*sequence, record);
        }
        if state.life == Life::Removed {
            return Ok(());
        }
        self.checker.restarted();
        self.asked = None;
        let took = Domain::take(&state, &name(HOST), self.now);
        let (sequence, bytes) = (state.sequence + 3, took.to_bytes());
        state.apply(sequence, &took);
        self.journal.push((sequence, bytes));
        self.checker.committed(sequence, &took, &state)?;
        self.domain = Domain::taken(state, self.now);
        self.asks_for_state = true;
        Ok(())
    }

    pub(super) fn command(&mut self, what: What) -> Result<(), Violation> {
        let command = Command { by: self.absent.key.owner.clone(), request: None, what };
        match self.domain.command(command, self.now) {
            Ok(commanded) => commanded.record.map_or(Ok(()), |record| self.commit(record)),
            Err(error) => {
                self.reject(error.to_string());
                Ok(())
            }
        }
    }

    /// Who is meant, with the launch order of those who have one. Whoever is not there is told of and counted.
    fn find(&mut self, of: &Of) -> Vec<(String, Option<u64>)> {
        let by_order = |nth: u64| self.launched.get(usize::try_from(nth).unwrap_or(usize::MAX)).map(|id| (id.to_string(), Some(nth)));
        let found: Vec<_> = match of {
            Of::Nth(nth) => by_order(*nth).into_iter().collect(),
            Of::Each(all) => all.iter().filter_map(|nth| by_order(*nth)).collect(),
            Of::Id(id) => vec![(id.clone(), id.parse().ok().and_then(|id: InstanceId| self.nth.get(&id).copied()))],
            Of::Matching(wanted) => {
                let state = wanted.state.parse::<State>().ok();
                let health = wanted.health.as_ref().map(|health| health.parse::<Health>().ok());
                let fits = |it: &&Arc<Instance>| Some(it.state) == state && health.is_none_or(|health| Some(it.health) == health);
                let found = self.domain.state().instances().filter(fits).nth(wanted.nth);
                found.map(|it| (it.id.to_string(), self.nth.get(&it.id).copied())).into_iter().collect()
            }
        };
        let meant = if let Of::Each(all) = of { all.len() } else { 1 };
        self.skipped += meant.saturating_sub(found.len()) as u64;
        found
    }

    fn names(&self, of: &Of, found: &[(String, Option<u64>)]) -> String {
        let names: Vec<String> = found.iter().map(|(id, nth)| nth.map_or_else(|| id.clone(), |nth| format!("#{nth}"))).collect();
        if names.is_empty() { format!("{of} (nobody is)") } else { names.join(" ") }
    }

    fn parsed<T>(&mut self, id: &str, parsed: Result<T, Malformed>) -> Option<(InstanceId, T)> {
        let parsed =
            parsed.map_err(|error| error.to_string()).and_then(|parsed| Ok((id.parse().map_err(|error| format!("{error}"))?, parsed)));
        parsed.map_err(|error| self.reject(error)).ok()
    }

    pub(super) fn reject(&mut self, why: String) {
        self.rejected.0 += 1;
        self.rejected.1.push(why);
    }
}

/// JSON as people would write it: without the outermost braces and the quotes of plain words.
fn words(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let parts: Vec<String> = map.iter().map(|(key, value)| format!("{key}={}", inner(value))).collect();
            parts.join(" ")
        }
        other => inner(other),
    }
}

fn inner(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "_-.:/".contains(c)) => text.clone(),
        Value::Object(map) if !map.is_empty() => format!("{{{}}}", words(value)),
        other => other.to_string(),
    }
}
