//! What became of the instances that a decision names.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::View;
use super::list::shortened;
use super::view::ordinals;
use crate::id::InstanceId;
use crate::instance::{Health, Instance, State};
use crate::record::{Change, Configured, Event, Judgement};
use crate::time::Timestamp;

/// An instance that a decision names, and how it stands by now: what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mention {
    /// What people call it: the how-manieth of the domain. Nothing where that is no longer known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordinal: Option<u64>,
    /// The newest state on record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// When it reached that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What the monitor thinks of it.
    #[serde(default, skip_serializing_if = "is_unknown")]
    pub health: Health,
    /// Why it ended, or is about to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

fn is_unknown(health: &Health) -> bool {
    *health == Health::Unknown
}

impl Mention {
    fn of(instance: &Instance) -> Self {
        Self {
            ordinal: Some(instance.ordinal),
            state: Some(instance.state),
            since: Some(instance.state_since),
            health: instance.health,
            reason: instance.end_reason.as_deref().map(shortened),
        }
    }

    fn reached(&mut self, state: State, at: Timestamp, reason: Option<String>) {
        (self.state, self.since) = (Some(state), Some(at));
        // Why an end was asked for says more than how it was carried out.
        self.reason = self.reason.take().or_else(|| reason.as_deref().map(shortened));
    }
}

/// How each of these instances stands by now: from the state, or, where its record was let go, from the records.
pub(super) fn mentions(view: &View<'_>, ids: impl Iterator<Item = InstanceId>) -> BTreeMap<InstanceId, Mention> {
    let state = view.known_by_now();
    let mut told: BTreeMap<InstanceId, Mention> = ids.map(|id| (id, Mention::default())).collect();
    let launched = ordinals(view.state, view.records);
    let mut let_go = BTreeMap::new();
    for (id, mention) in &mut told {
        match state.instance(id) {
            Some(instance) => *mention = Mention::of(instance),
            None => drop(let_go.insert(id.clone(), Mention { ordinal: launched.get(id).copied(), ..Mention::default() })),
        }
    }
    if !let_go.is_empty() {
        for (_, record) in view.own_records().iter().chain(view.records_since()) {
            for event in &record.events {
                follow(&mut let_go, event, record.at);
            }
        }
        told.extend(let_go);
    }
    told
}

fn follow(told: &mut BTreeMap<InstanceId, Mention>, event: &Event, at: Timestamp) {
    match event {
        Event::Reported(reported) => {
            if let (Some(mention), Some(state)) = (told.get_mut(&reported.id), reported.state) {
                mention.reached(state, at, reported.reason.clone());
            }
        }
        Event::Judged(judged) => {
            if let (Some(mention), Judgement::Ended { reason }) = (told.get_mut(&judged.id), &judged.verdict) {
                mention.reached(State::Terminating, at, Some(reason.clone()));
            }
        }
        Event::Configured(Configured { change, .. }) => match change {
            Change::Killed { id, reason } => {
                if let Some(mention) = told.get_mut(id) {
                    mention.reached(State::Terminating, at, Some(reason.clone()));
                }
            }
            Change::Adopted(adopted) => {
                if let Some(mention) = told.get_mut(&adopted.id) {
                    mention.reached(adopted.state, at, None);
                }
            }
            _ => {}
        },
        Event::Decided(decision) if !decision.dry_run => {
            for id in decision.launches.iter().flat_map(|launch| &launch.instances) {
                if let Some(mention) = told.get_mut(id) {
                    mention.reached(State::Requesting, at, None);
                }
            }
            for termination in &decision.terminations {
                for id in &termination.accepted {
                    if let Some(mention) = told.get_mut(id) {
                        mention.reached(State::Terminating, at, Some(termination.reason.clone()));
                    }
                }
            }
        }
        _ => {}
    }
}
