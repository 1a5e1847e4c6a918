//! What provisioners and subscribers were told, kept for the transcript.

use std::collections::BTreeSet;

use pilothouse_core::id::InstanceId;
use pilothouse_core::instance::State;
use pilothouse_core::promise::Request;
use pilothouse_core::record::Subscriber;
use serde::Serialize;
use serde_json::{Value, json};

use crate::event::{Provisioner, Works};

/// A message to a provisioner.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Message {
    /// To the provisioner of which site.
    pub site: String,
    /// The launch, when it asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch_id: Option<String>,
    /// The instances that it names.
    pub ids: Vec<InstanceId>,
    /// The same by launch order.
    pub instances: Vec<u64>,
    /// It did not reach its provisioner.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
}

/// Messages of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Messages {
    /// How many there were so far.
    pub so_far: u64,
    /// Those since the last tick.
    pub new: Vec<Message>,
}

/// Subscribers are told of this, or would be if there were any.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Notification {
    /// The instance.
    pub node_id: InstanceId,
    /// By launch order.
    pub instance: u64,
    /// RUNNING, FAILED or TERMINATED.
    pub state: State,
    /// Its host name or address, if its provisioner told one.
    pub hostname: Option<String>,
    /// Who was told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<Subscriber>,
}

/// Notifications.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Notifications {
    /// How many there were so far.
    pub so_far: u64,
    /// Those since the last tick.
    pub new: Vec<Notification>,
}

/// What has left the host.
#[derive(Debug, Default)]
pub(crate) struct Post {
    pub(crate) works: Provisioner,
    pub(crate) provisions: Messages,
    pub(crate) terminations: Messages,
    pub(crate) dumps: Messages,
    /// Everybody whose end was asked for, by launch order.
    pub(crate) terminated: BTreeSet<u64>,
    /// What the first message of each launch said.
    pub(crate) launches: Vec<(String, Value)>,
}

impl Post {
    /// Whether provisioners fail in everything: then nobody answers when the state of everything is asked for.
    pub(crate) fn is_nobody_there(&self) -> bool {
        self.works.provision == Some(Works::Fails) && self.works.terminate == Some(Works::Fails)
    }

    /// Takes note of a request that is sent. `nth` tells the launch order of an id.
    pub(crate) fn send(&mut self, request: &Request, nth: impl Fn(&InstanceId) -> u64) {
        let message = |site: &str, ids: Vec<InstanceId>, works: Option<Works>| Message {
            site: site.to_owned(),
            launch_id: None,
            instances: ids.iter().map(&nth).collect(),
            ids,
            lost: works == Some(Works::Fails),
        };
        let add = |messages: &mut Messages, message: Message| {
            messages.so_far += 1;
            messages.new.push(message);
        };
        match request {
            Request::Provision(ask) => {
                let ids = ask.instances.iter().map(|it| it.node_id.clone()).collect();
                let message = Message { launch_id: Some(ask.launch_id.to_string()), ..message(&ask.site, ids, self.works.provision) };
                let launch = ask.launch_id.to_string();
                let ordinals = message.instances.clone();
                match self.launches.iter_mut().find(|(known, _)| *known == launch) {
                    None => self.launches.push((
                        launch,
                        json!({
                            "launch_id": ask.launch_id,
                            "deployable_type": ask.deployable_type,
                            "site": ask.site,
                            "allocation": ask.allocation,
                            "vars": ask.vars,
                            "owner": ask.domain.owner,
                            "instances": ordinals,
                            "ids": message.ids,
                        }),
                    )),
                    Some((_, known)) => {
                        // A large launch goes out in several messages.
                        for (ordinal, id) in ordinals.iter().zip(&message.ids) {
                            let instances = known["instances"].as_array_mut();
                            if let Some(instances) = instances.filter(|all| !all.contains(&json!(ordinal))) {
                                instances.push(json!(ordinal));
                                if let Some(ids) = known["ids"].as_array_mut() {
                                    ids.push(json!(id));
                                }
                            }
                        }
                    }
                }
                add(&mut self.provisions, message);
            }
            Request::Terminate { site, message: ask } => {
                let ids = ask.instances.iter().map(|it| it.node_id.clone()).collect();
                let message = message(site, ids, self.works.terminate);
                self.terminated.extend(&message.instances);
                add(&mut self.terminations, message);
            }
            Request::Dump { site, message: ask } => {
                let ids = ask.instances.iter().map(|it| it.node_id.clone()).collect();
                let lost = self.is_nobody_there().then_some(Works::Fails);
                add(&mut self.dumps, message(site, ids, lost));
            }
        }
    }
}
