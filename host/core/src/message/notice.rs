//! What subscribers of a domain are told of its instances.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::InstanceId;
use crate::instance::{Instance, State};
use crate::name::Name;

/// An instance runs, failed, or ended as asked. Told when it is on record, as a rule once for each of these. One that is published while
/// nobody listens, that the link did not take, or that a host had no time to publish before it died, is lost. After a restore, or when an
/// instance is adopted, one may come that was told before. Whoever has to be sure asks for the state of things with `domain.describe`, and
/// whoever was away does so when it is back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Notice {
    /// Which instance.
    pub node_id: InstanceId,
    /// `RUNNING`, `FAILED` or `TERMINATED`. One that was rejected has failed.
    pub state: State,
    /// The name of its domain.
    pub domain_id: Name,
    /// What is known of it by then.
    pub properties: NoticeProperties,
}

/// What a notice tells of an instance beside its state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NoticeProperties {
    /// Its host name or, without one, its public address; nothing when its provisioner told neither.
    pub hostname: Option<String>,
}

impl Notice {
    /// What there is to tell of an instance as it stands, if anything is.
    pub fn of(domain: &Name, instance: &Instance) -> Option<Self> {
        let attribute = |name: &str| instance.attributes.get(name).cloned();
        Some(Self {
            node_id: instance.id.clone(),
            state: Self::state(instance.state)?,
            domain_id: domain.clone(),
            properties: NoticeProperties { hostname: attribute("hostname").or_else(|| attribute("public_ip")) },
        })
    }

    /// What is told of an instance that has come to this state, if anything is. One that did not become ready may still do so, or is
    /// replaced: that is nobody's news yet.
    pub const fn state(state: State) -> Option<State> {
        match state {
            State::Running => Some(State::Running),
            State::Failed | State::Rejected => Some(State::Failed),
            State::Terminated => Some(State::Terminated),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::time::Timestamp;

    fn instance(state: State, attributes: &[(&str, &str)]) -> Instance {
        let (id, launch) = ("i001-x".parse().expect("an id"), "l001-x".parse().expect("an id"));
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Instance { state, attributes, ..Instance::requesting(id, launch, 0, Timestamp::ZERO, 1) }
    }

    fn told(state: State, attributes: &[(&str, &str)]) -> Option<serde_json::Value> {
        let notice = Notice::of(&"web".parse().expect("a name"), &instance(state, attributes))?;
        let json = serde_json::to_value(&notice).expect("JSON");
        assert_eq!(serde_json::from_value::<Notice>(json.clone()).expect("readable"), notice, "it is read as it was written");
        Some(json)
    }

    #[test]
    fn a_notice_has_the_fields_that_subscribers_know() {
        let expected = json!({"node_id": "i001-x", "state": "RUNNING", "domain_id": "web", "properties": {"hostname": "vm-7"}});
        assert_eq!(told(State::Running, &[("hostname", "vm-7"), ("public_ip", "10.0.0.7")]), Some(expected));
    }

    #[test]
    fn without_a_host_name_the_address_stands_for_it_and_without_both_nothing_does() {
        let hostname = |attributes: &[(&str, &str)]| told(State::Running, attributes).expect("told")["properties"]["hostname"].clone();
        assert_eq!(hostname(&[("public_ip", "10.0.0.7"), ("private_ip", "192.168.0.7")]), json!("10.0.0.7"));
        assert_eq!(hostname(&[("private_ip", "192.168.0.7")]), json!(null));
    }

    #[test]
    fn only_what_runs_failed_or_ended_is_told() {
        let of = |state| told(state, &[]).map(|notice| notice["state"].as_str().expect("a word").to_owned());
        let told: Vec<_> = State::ALL.into_iter().filter_map(|state| Some((state, of(state)?))).collect();
        let expected =
            [(State::Running, "RUNNING"), (State::Terminated, "TERMINATED"), (State::Failed, "FAILED"), (State::Rejected, "FAILED")];
        assert_eq!(told, expected.map(|(state, word)| (state, word.to_owned())));
    }
}
