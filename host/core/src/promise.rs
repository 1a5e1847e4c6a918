//! What provisioners must still be asked for.
//!
//! Nothing is remembered that the journal does not say: an instance that is requesting or terminating *is* the promise. This module only
//! knows when each was last asked for, so that nobody is asked more often than every five seconds; after a restart all are asked for at
//! once, which is harmless.

use std::collections::BTreeMap;

use crate::instance::{Instance, State};
use crate::message::{Dump, Provision, Terminate, ToDump, ToStart, ToStop};
use crate::state::DomainState;
use crate::subject::{DataKind, Subjects};
use crate::time::{Millis, Timestamp};

/// The shortest time between two requests for the same promise: time enough for a provisioner to acknowledge.
pub const RETRY_AFTER: Millis = Millis::from_secs(5);

/// How long a provisioner may sit on a request before it must not begin any more. Longer than a retry takes, so that a slow provisioner
/// still gets one through; short, because a host that was stopped must not act long after.
pub const VALID_FOR: Millis = Millis::from_secs(15);

/// Something to send.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// To the provisioner of a site.
    Provision(Provision),
    /// To the provisioner of a site.
    Terminate {
        /// Where.
        site: String,
        /// What.
        message: Terminate,
    },
    /// To the provisioner of a site.
    Dump {
        /// Where.
        site: String,
        /// What.
        message: Dump,
    },
}

/// When each promise was last asked for.
#[derive(Clone, Debug, Default)]
pub struct Promises {
    /// By ordinal: which promise, and when.
    sent: BTreeMap<u64, (u64, Timestamp)>,
}

impl Promises {
    /// The requests that are due now, and takes note that they are sent.
    pub fn due(&mut self, state: &DomainState, subjects: &Subjects, now: Timestamp) -> Vec<Request> {
        self.sent.retain(|ordinal, (promise, _)| state.instance_at(*ordinal).is_some_and(|it| it.promised_at == *promise));
        let mut starts: BTreeMap<&str, Vec<&Instance>> = BTreeMap::new();
        let mut stops: BTreeMap<&str, Vec<&Instance>> = BTreeMap::new();
        for instance in state.promised() {
            if self.sent.get(&instance.ordinal).is_some_and(|(_, sent)| now.since(*sent) < RETRY_AFTER) {
                continue;
            }
            self.sent.insert(instance.ordinal, (instance.promised_at, now));
            if instance.state.is_starting() {
                starts.entry(instance.launch.as_str()).or_default().push(instance);
            } else {
                stops.entry(&instance.site).or_default().push(instance);
            }
        }
        let starts = starts.values().flat_map(|of_launch| of_launch.chunks(Provision::MAX_INSTANCES));
        let stops = stops.iter().flat_map(|(site, of_site)| of_site.chunks(Provision::MAX_INSTANCES).map(move |chunk| (site, chunk)));
        let starts = starts.map(|chunk| Request::Provision(provision(state, subjects, chunk, now)));
        let stops = stops.map(|(site, chunk)| Request::Terminate {
            site: (*site).to_owned(),
            message: Terminate {
                domain: state.key.clone(),
                epoch: state.epoch,
                not_after: now + VALID_FOR,
                instances: chunk
                    .iter()
                    .map(|it| ToStop {
                        node_id: it.id.clone(),
                        sequence: it.promised_at,
                        state_subject: subjects.data(DataKind::State, state.slot, &it.id),
                    })
                    .collect(),
            },
        });
        starts.chain(stops).collect()
    }

    /// When the next request is due, if one is.
    pub fn next_due(&self, state: &DomainState) -> Option<Timestamp> {
        let due = |instance: &Instance| match self.sent.get(&instance.ordinal) {
            Some((promise, sent)) if *promise == instance.promised_at => *sent + RETRY_AFTER,
            _ => Timestamp::ZERO,
        };
        state.promised().map(|instance| due(instance)).min()
    }
}

fn provision(state: &DomainState, subjects: &Subjects, of_launch: &[&Instance], now: Timestamp) -> Provision {
    let first = of_launch[0];
    Provision {
        domain: state.key.clone(),
        launch_id: first.launch.clone(),
        deployable_type: first.deployable_type.clone(),
        site: first.site.clone(),
        allocation: first.allocation.clone(),
        vars: state.base_vars().iter().chain(&first.extra_vars).cloned().collect(),
        extra_vars: first.extra_vars.iter().cloned().collect(),
        epoch: state.epoch,
        not_after: now + VALID_FOR,
        instances: of_launch
            .iter()
            .map(|it| ToStart {
                node_id: it.id.clone(),
                ordinal: it.ordinal,
                sequence: it.promised_at,
                state_subject: subjects.data(DataKind::State, state.slot, &it.id),
                heartbeat_subject: subjects.data(DataKind::Heartbeat, state.slot, &it.id),
                sensor_subject: subjects.data(DataKind::Sensor, state.slot, &it.id),
                probe_subject: subjects.probe(state.slot, &it.id),
                credentials: None,
            })
            .collect(),
    }
}

/// Requests for the state of every instance that some provisioner should know.
pub fn dumps(state: &DomainState, subjects: &Subjects) -> Vec<Request> {
    let mut by_site: BTreeMap<&str, Vec<&Instance>> = BTreeMap::new();
    for instance in state.instances().filter(|it| !it.state.is_gone() && it.state > State::Requesting) {
        by_site.entry(&instance.site).or_default().push(instance);
    }
    let chunks = by_site.iter().flat_map(|(site, of_site)| of_site.chunks(Provision::MAX_INSTANCES).map(move |chunk| (site, chunk)));
    chunks
        .map(|(site, chunk)| Request::Dump {
            site: (*site).to_owned(),
            message: Dump {
                domain: state.key.clone(),
                epoch: state.epoch,
                instances: chunk
                    .iter()
                    .map(|it| ToDump { node_id: it.id.clone(), state_subject: subjects.data(DataKind::State, state.slot, &it.id) })
                    .collect(),
            },
        })
        .collect()
}
