//! What a provisioner knows of one instance, on disk and in memory. No effects.

use std::collections::BTreeMap;

use pilothouse_core::id::{InstanceId, LaunchId};
use pilothouse_core::instance::State;
use pilothouse_core::message::{Known, Provision, StateReport};
use pilothouse_core::name::DomainKey;
use pilothouse_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::rules::Promise;
use crate::process::ProcessId;

/// What is remembered of one instance: while it lives so that it is found again, and when it is gone so that it stays gone.
///
/// It is written before whatever it tells of is done. So an instance that is PENDING without an agent may have one all the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// Of this layout: [`Record::VERSION`].
    pub(super) version: u32,
    pub(super) node_id: InstanceId,
    pub(super) domain: DomainKey,
    /// The highest that was promised of it, and until when that may be begun.
    pub(super) promise: Promise,
    pub(super) state_subject: String,
    /// What was asked for. Nothing of an instance that was to be ended before it was seen, or that was taken on before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) launched: Option<Launched>,
    /// Whether its launch brought credentials for its agent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) has_credentials: bool,
    pub(super) state: State,
    /// Why it came to that state, where that is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    pub(super) changed_at: Timestamp,
    /// Grows with every change that is reported.
    pub(super) update_counter: u64,
    /// The leader of its processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) agent: Option<ProcessId>,
}

/// What was asked for with an instance, as far as it is told to those who ask what runs here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Launched {
    pub(super) launch_id: LaunchId,
    pub(super) deployable_type: String,
    pub(super) allocation: String,
    /// Its variables over those of its domain. Nothing in records of before this was kept.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) extra_vars: BTreeMap<String, String>,
}

impl From<&Provision> for Launched {
    fn from(request: &Provision) -> Self {
        let Provision { launch_id, deployable_type, allocation, extra_vars, .. } = request;
        Self {
            launch_id: launch_id.clone(),
            deployable_type: deployable_type.clone(),
            allocation: allocation.clone(),
            extra_vars: extra_vars.clone(),
        }
    }
}

impl Record {
    /// The layout of the file.
    pub(super) const VERSION: u32 = 1;

    /// An instance that is taken on in a state: REQUESTED, REJECTED at once, or TERMINATED without ever having been seen.
    pub(super) fn new(
        node_id: InstanceId,
        domain: DomainKey,
        promise: Promise,
        state_subject: String,
        state: State,
        reason: Option<String>,
        now: Timestamp,
    ) -> Self {
        Self {
            version: Self::VERSION,
            node_id,
            domain,
            promise,
            state_subject,
            launched: None,
            has_credentials: false,
            state,
            reason,
            changed_at: now,
            update_counter: 1,
            agent: None,
        }
    }

    /// Moves on to a later state; says whether it did. There is no way back, and none from one end to another.
    pub(super) fn advance(&mut self, state: State, reason: Option<String>, now: Timestamp) -> bool {
        if self.state.is_gone() || state <= self.state {
            return false;
        }
        self.state = state;
        self.reason = reason;
        self.changed_at = now;
        self.update_counter += 1;
        true
    }

    /// Takes note of the process that leads it. It counts as started then, unless it was told to stop meanwhile.
    pub(super) fn led_by(&mut self, agent: ProcessId, now: Timestamp) {
        self.agent = Some(agent);
        if !self.advance(State::Started, None, now) {
            self.update_counter += 1;
        }
    }

    /// For those who ask what runs here: nothing when it is gone.
    pub(super) fn known(&self) -> Option<Known> {
        if self.state.is_gone() {
            return None;
        }
        // That it runs matters more than what it was launched as.
        let unknown = || {
            let launch_id = self.node_id.as_str().parse().ok()?;
            Some(Launched { launch_id, deployable_type: String::new(), allocation: String::new(), extra_vars: BTreeMap::new() })
        };
        let launched = self.launched.clone().or_else(unknown)?;
        Some(Known {
            node_id: self.node_id.clone(),
            domain: self.domain.clone(),
            launch_id: launched.launch_id,
            deployable_type: launched.deployable_type,
            allocation: launched.allocation,
            extra_vars: launched.extra_vars,
            state: self.state,
            epoch: self.promise.epoch,
            sequence: self.promise.sequence,
        })
    }

    /// For the log.
    pub(super) fn log(&self) {
        tracing::info!(instance = %self.node_id, domain = %self.domain, state = %self.state, reason = self.reason.as_deref(), "is");
    }

    /// What is reported of it, beside what all instances of this machine have in common.
    pub(super) fn report(&self, mut attributes: BTreeMap<String, String>) -> StateReport {
        if let Some(agent) = &self.agent {
            attributes.insert("pid".to_owned(), agent.pid.to_string());
        }
        StateReport { state: self.state, update_counter: Some(self.update_counter), attributes, reason: self.reason.clone() }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::provisioner) const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    /// A record of an instance in a state.
    pub(in crate::provisioner) fn record(state: State, promise: Promise) -> Record {
        let domain = DomainKey { owner: "ann".parse().expect("a name"), name: "web".parse().expect("a name") };
        Record::new("i1".parse().expect("an id"), domain, promise, "s".to_owned(), state, None, NOW)
    }

    fn promise() -> Promise {
        Promise { epoch: 1, sequence: 1, not_after: NOW }
    }

    fn launched() -> Launched {
        let json = br#"{"domain":{"owner":"ann","name":"web"},"launch_id":"l1","deployable_type":"worker","site":"local",
            "allocation":"small","vars":{"label":"n1","level":"debug"},"extra_vars":{"label":"n1"},"epoch":1,"not_after":1,"instances":[]}"#;
        Launched::from(&Provision::parse(json).expect("a request"))
    }

    #[test]
    fn there_is_no_way_back_and_none_from_one_end_to_another() {
        let mut running = record(State::Running, promise());
        assert!(!running.advance(State::Started, None, NOW) && !running.advance(State::Running, None, NOW));
        assert!(running.advance(State::Terminating, None, NOW) && running.advance(State::Terminated, None, NOW));
        assert!(!running.advance(State::Failed, None, NOW), "it went as asked");
        assert_eq!((running.state, running.update_counter), (State::Terminated, 3));
    }

    #[test]
    fn an_agent_that_comes_up_while_it_is_told_to_stop_is_noted_all_the_same() {
        let agent = ProcessId { pid: 7, started: 1, boot: "b".to_owned() };
        let mut stopping = record(State::Terminating, promise());
        stopping.led_by(agent.clone(), NOW);
        assert_eq!((stopping.state, stopping.agent.as_ref()), (State::Terminating, Some(&agent)));
        assert_eq!(stopping.report(BTreeMap::new()).attributes["pid"], "7");
    }

    #[test]
    fn what_lives_is_told_to_those_who_ask_what_runs_here_and_what_is_gone_is_not() {
        for state in State::ALL {
            let known = Record { launched: Some(launched()), ..record(state, promise()) }.known();
            assert_eq!(known.is_none(), state.is_gone(), "{state}");
            let without = record(state, promise()).known();
            assert_eq!(without.is_none(), state.is_gone(), "{state}, and it is not known what was asked for");
            assert!(
                known.is_none_or(|known| known.launch_id.as_str() == "l1" && known.state == state && known.extra_vars["label"] == "n1")
            );
        }
    }

    #[test]
    fn a_record_survives_its_file() {
        let mut record = record(State::Running, promise());
        record.launched = Some(launched());
        record.led_by(ProcessId { pid: 7, started: 1, boot: "b".to_owned() }, NOW);
        let json = serde_json::to_vec(&record).expect("JSON");
        assert_eq!(serde_json::from_slice::<Record>(&json).expect("a record"), record);
    }
}
