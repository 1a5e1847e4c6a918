//! What users ask of one domain, answered by its task, between two records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pilothouse_core::command::ApiError;
use pilothouse_core::explain::{HeldTold, Hold, ShadowTold, rolled_back};
use pilothouse_core::guard::Brake;
use pilothouse_core::instance::Instance;
use pilothouse_core::sensor::{Answer, Asked, Described, Room, Scope, Sensors};
use pilothouse_core::state::{DomainState, Life};
use pilothouse_core::time::Timestamp;
use serde_json::Value;

use super::{End, Task};
use crate::api::{DomainDescription, DomainSubjects, DomainSummary, InstanceDescription, InstanceOf, SensorAnswer, SensorData};
use crate::driver::router::{Configuration, Mail, Question};
use crate::driver::service::brake::brake_of;
use crate::driver::service::instances::instance_called;
use crate::driver::service::json;
use crate::driver::service::why::{Beside, explain_now};
use crate::store::Journal;

/// How long the journal may take to say where it ends. The domain stands still meanwhile.
const CONFIRM: Duration = Duration::from_secs(3);

/// How many instances one description tells of.
const MAX_DESCRIBED: usize = 1000;

/// How many readings, at some 40 bytes each, one description tells in all.
const MAX_READINGS: usize = 8000;

impl<J: Journal> Task<J> {
    pub(super) async fn answer(&mut self, call: Mail) -> Result<(), End> {
        match call {
            Mail::Command(command, waiting) => {
                let commanded = match self.domain.command(*command, self.shared.clock.now()) {
                    Ok(commanded) => commanded,
                    Err(error) => {
                        // Whoever asked may have gone; that is their business.
                        let _ = waiting.send(Err(error));
                        return Ok(());
                    }
                };
                if let Some(record) = commanded.record {
                    self.commit(record).await?;
                }
                let _ = waiting.send(Ok(commanded.answer));
            }
            Mail::Why(instance, waiting) => {
                // Reads much of the journal: not on the domain's time.
                let (shared, state) = (Arc::clone(&self.shared), Arc::clone(self.domain.state()));
                let disabled = self.disabled.borrow().clone();
                let beside = Beside {
                    eyes: self.domain.eyes(),
                    asked: self.domain.last_asked(),
                    hold: disabled.map(|it| Hold::Disabled { host: self.shared.host.clone(), by: it.by, since: it.at }),
                    waits: self.domain.waits(self.shared.clock.now()),
                    not_taken_up: self.not_taken_up(),
                    shadow: ShadowTold::of(&state, self.domain.shadowing()),
                };
                tokio::spawn(async move {
                    let mut waiting = waiting;
                    let told = explain_now(&shared.journal, state, beside, shared.clock.now(), instance);
                    let told = tokio::select! {
                        told = told => told,
                        // Nobody waits for it any more.
                        () = waiting.closed() => return,
                    };
                    let _ = waiting.send(told);
                });
            }
            Mail::State(waiting) => {
                let _ = waiting.send(Arc::clone(self.domain.state()));
            }
            Mail::Confirm(waiting) => {
                let confirmed = self.confirmed().await?;
                let _ = waiting.send(confirmed);
            }
            Mail::Ask(question, waiting) => {
                let _ = waiting.send(self.tell_about(question));
            }
            Mail::Input(_) | Mail::Reading(..) | Mail::Readings(_) | Mail::DumpUnanswered => {}
        }
        Ok(())
    }

    /// That the journal still ends where this task thinks, or why that can't be told. By a look, since an append may find no room for long.
    async fn confirmed(&self) -> Result<Result<(), String>, End> {
        let (key, sequence) = (&self.handle.key, self.domain.state().sequence);
        let last = tokio::select! {
            last = tokio::time::timeout(CONFIRM, self.shared.journal.last(key)) => last,
            () = self.stop.cancelled() => return Err(End::Stopped),
        };
        match last {
            Ok(Ok(last)) if last.as_ref().map_or(0, |entry| entry.sequence) == sequence => Ok(Ok(())),
            Ok(Ok(last)) => {
                tracing::info!(domain = %key, sequence, newest = last.map(|entry| entry.sequence), "the journal went on without this task");
                Err(End::Fenced)
            }
            Ok(Err(error)) => Ok(Err(error.to_string())),
            Err(_) => Ok(Err("the journal does not answer".to_owned())),
        }
    }

    fn tell_about(&self, question: Question) -> Result<Value, ApiError> {
        let state = self.domain.state();
        if matches!(state.life, Life::Absent | Life::Removed) {
            return Err(ApiError::NotFound { what: format!("domain {}", state.key.name) });
        }
        match question {
            Question::Configuration => {
                let (config, engine) = (state.config.clone(), state.engine.clone());
                let (windows, life) = (state.windows.clone(), state.life);
                let rejected = state.lineage.as_ref().map(|it| it.rejected.clone()).unwrap_or_default();
                json(&Configuration { config, windows, life, revision: state.config_revision, engine, rejected })
            }
            Question::Brake => json(&brake_of(state, self.shared.clock.now().max(state.now))),
            Question::Instance(which) => {
                let found = state.instance_called(&which).ok_or_else(|| ApiError::NotFound { what: instance_called(&which) })?;
                let (now, room) = (self.shared.clock.now().max(state.now), &mut Room::new(MAX_READINGS));
                let instance = describe(found, self.domain.sensors(), self.domain.observed(), now, room);
                json(&InstanceOf { owner: state.key.owner.clone(), domain: state.key.name.clone(), instance })
            }
            Question::Reconfigured(request) => Ok(state.answer_to_reconfigure(&request)?.cloned().unwrap_or(Value::Null)),
            Question::Summary => json(&summary(state)),
            Question::Describe => {
                let now = self.shared.clock.now().max(state.now);
                // An answer must fit a message: the gone ones go first, the oldest of them before the others.
                let too_many = state.instances().count().saturating_sub(MAX_DESCRIBED);
                let left_out: BTreeSet<u64> =
                    state.gone().chain(state.instances().filter(|it| !it.state.is_gone())).map(|it| it.ordinal).take(too_many).collect();
                let mut room = Room::new(MAX_READINGS);
                let (sensors, asked) = (self.domain.sensors(), self.domain.observed());
                let sensor_data = sensor_data(sensors, asked, &Scope::Domain, now, &mut room);
                let instances = state.instances().filter(|it| !left_out.contains(&it.ordinal));
                let instances = instances.map(|it| describe(it, sensors, asked, now, &mut room)).collect();
                json(&DomainDescription {
                    summary: summary(state),
                    owner: state.key.owner.clone(),
                    config: state.config.to_json(),
                    windows: state.windows.clone(),
                    config_revision: state.config_revision,
                    host: self.shared.host.clone(),
                    epoch: state.epoch,
                    blind: self.domain.eyes().blind_since,
                    brake: Brake::on(state, now, None).map(|brake| brake.to_string()),
                    deciding: self.disabled.borrow().is_none(),
                    asked: self.asked,
                    engine_before: state.lineage.as_ref().and_then(|it| it.before.clone()),
                    rejected: state.lineage.as_ref().map(|it| it.rejected.clone()).unwrap_or_default(),
                    shadow: ShadowTold::of(state, self.domain.shadowing()),
                    subjects: DomainSubjects {
                        sensor: self.shared.subjects.domain_sensor(state.slot, &state.key),
                        events: self.shared.subjects.events(state.slot, &state.key),
                    },
                    subscribers: state.subscribers.clone(),
                    sensor_data,
                    pulled: self.pulls.described(),
                    series_left_out: room.left_out,
                    instances_left_out: left_out.len(),
                    instances,
                })
            }
        }
    }
}

fn summary(state: &DomainState) -> DomainSummary {
    DomainSummary {
        name: state.key.name.clone(),
        life: state.life,
        engine: state.engine.clone(),
        status: state.decision.status,
        reason: state.decision.reason.clone(),
        paused: state.paused,
        dry_run: state.dry_run,
        counts: state.counts(),
        fault: state.fault.clone(),
        held: HeldTold::of(state),
        rolled_back: rolled_back(state).cloned(),
    }
}

/// The readings of an instance, or of the domain as a whole, as far as there is room.
fn sensor_data(sensors: &Sensors, asked: &Asked, scope: &Scope, now: Timestamp, room: &mut Room) -> BTreeMap<String, SensorData> {
    let answer = |Answer { statistic, window, sample }| SensorAnswer { statistic, window: window.as_secs_f64(), sample };
    let data = |Described { window, newest, series, average, minimum, maximum, sum, sample_count, answers }: Described| SensorData {
        window: window.as_secs_f64(),
        newest,
        series: series.into_iter().map(|(time, value)| (time.as_secs_f64(), value)).collect(),
        average,
        minimum,
        maximum,
        sum,
        sample_count,
        asked: answers.into_iter().map(answer).collect(),
    };
    sensors.described(scope, asked, now, room).into_iter().map(|(metric, it)| (metric, data(it))).collect()
}

fn describe(instance: &Instance, sensors: &Sensors, asked: &Asked, now: Timestamp, room: &mut Room) -> InstanceDescription {
    // Nobody misses readings of one that is gone.
    let nothing = Asked::default();
    let asked = if instance.state.is_gone() { &nothing } else { asked };
    InstanceDescription {
        instance_id: instance.id.clone(),
        ordinal: instance.ordinal,
        launch_id: instance.launch.clone(),
        state: instance.state,
        state_time: instance.state_since,
        health: instance.health,
        deployable_type: instance.deployable_type.clone(),
        site: instance.site.clone(),
        allocation: instance.allocation.clone(),
        attributes: instance.attributes.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        errors: instance.errors.list.clone(),
        end_reason: instance.end_reason.clone(),
        protected: instance.protected,
        sensor_data: sensor_data(sensors, asked, &Scope::Instance(instance.id.clone()), now, room),
    }
}
