//! What users ask of one domain, answered by its task, between two records.

use std::collections::BTreeSet;

use pilothouse_core::command::ApiError;
use pilothouse_core::guard::Brake;
use pilothouse_core::instance::Instance;
use pilothouse_core::state::{DomainState, Life};
use serde_json::Value;

use super::{End, Task};
use crate::api::{DomainDescription, DomainSubjects, DomainSummary, InstanceDescription};
use crate::driver::router::{Changed, Mail, Question};
use crate::driver::service::why::explain_now;
use crate::store::Journal;

/// How many instances one description tells of.
const MAX_DESCRIBED: usize = 1000;

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
            Mail::Ask(Question::Why(instance), waiting) => {
                // Reads much of the journal: not on the domain's time.
                let (shared, state) = (std::sync::Arc::clone(&self.shared), std::sync::Arc::clone(self.domain.state()));
                let (eyes, asked) = (self.domain.eyes(), self.domain.last_asked());
                tokio::spawn(async move {
                    let now = shared.clock.now();
                    let _ = waiting.send(explain_now(&shared.journal, &state, &eyes, asked, now, instance).await);
                });
            }
            Mail::Ask(question, waiting) => {
                let _ = waiting.send(self.tell_about(question));
            }
            Mail::Input(_) | Mail::Reading(..) | Mail::DumpUnanswered => {}
        }
        Ok(())
    }

    fn tell_about(&self, question: Question) -> Result<Value, ApiError> {
        let state = self.domain.state();
        if matches!(state.life, Life::Absent | Life::Removed) {
            return Err(ApiError::NotFound { what: format!("domain {}", state.key.name) });
        }
        match question {
            Question::Changed(changes) => {
                let config = state.config.changed_by(&changes).map_err(|problems| ApiError::Invalid { problems })?;
                json(&Changed { config: config.to_json(), from_revision: state.config_revision })
            }
            Question::Answered(request) => Ok(state.answer_to(&request).cloned().unwrap_or(Value::Null)),
            Question::Summary | Question::Why(_) => json(&summary(state)),
            Question::Describe => {
                let now = self.shared.clock.now().max(state.now);
                // An answer must fit a message: the gone ones go first, the oldest of them before the others.
                let too_many = state.instances().count().saturating_sub(MAX_DESCRIBED);
                let left_out: BTreeSet<u64> =
                    state.gone().chain(state.instances().filter(|it| !it.state.is_gone())).map(|it| it.ordinal).take(too_many).collect();
                json(&DomainDescription {
                    summary: summary(state),
                    owner: state.key.owner.clone(),
                    config: state.config.to_json(),
                    config_revision: state.config_revision,
                    host: self.shared.host.clone(),
                    epoch: state.epoch,
                    blind: self.domain.eyes().blind_since,
                    brake: Brake::on(state, now, None).map(|brake| brake.to_string()),
                    deciding: true,
                    subjects: DomainSubjects {
                        sensor: self.shared.subjects.domain_sensor(state.slot, &state.key),
                        events: self.shared.subjects.events(state.slot, &state.key),
                    },
                    subscribers: state.subscribers.clone(),
                    sensor_data: Default::default(),
                    instances_left_out: left_out.len(),
                    instances: state.instances().filter(|it| !left_out.contains(&it.ordinal)).map(|it| describe(it)).collect(),
                })
            }
        }
    }
}

fn json(value: &impl serde::Serialize) -> Result<Value, ApiError> {
    serde_json::to_value(value).map_err(|error| ApiError::Unavailable { message: error.to_string() })
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
    }
}

fn describe(instance: &Instance) -> InstanceDescription {
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
        sensor_data: Default::default(),
    }
}
