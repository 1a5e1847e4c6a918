//! The roles of those who connect, and what each may publish and hear.

use std::time::Duration;

use pilothouse_core::subject::{DataKind, Subjects};
use serde::{Deserialize, Serialize};

use crate::api::{Audience, Operation};

/// The name of whoever shows a token, filled in by the server.
const NAME: &str = "{{name()}}";

/// The site that a token is made for, filled in by the server.
const SITE: &str = "{{tag(site)}}";

/// What somebody is to Pilothouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Has domains, and asks for what concerns them, in its own name alone
    User,
    /// Asks for everything, in anybody's name, and backs the journal up
    Operator,
    /// Carries out launches and terminations at one site
    Provisioner,
    /// Looks after the domains: `pilothouse serve`
    Host,
    /// Speaks for one instance. Hosts make its credentials, for every launch anew
    #[value(skip)]
    Agent,
}

/// What the holder of a token may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Permissions {
    /// Nothing else may be published.
    pub(crate) publish: Vec<String>,
    /// Nothing else may be heard.
    pub(crate) subscribe: Vec<String>,
    /// Beside that, requests that were heard may be answered, where the request says.
    pub(crate) responses: Option<Responses>,
}

/// How requests may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Responses {
    /// So many messages a request.
    pub(crate) most: u32,
    /// So long after it.
    pub(crate) within: Duration,
}

impl Role {
    /// Every role.
    pub(crate) const ALL: [Self; 5] = [Self::User, Self::Operator, Self::Provisioner, Self::Host, Self::Agent];

    /// What it is called.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Operator => "operator",
            Self::Provisioner => "provisioner",
            Self::Host => "host",
            Self::Agent => "agent",
        }
    }

    /// What it may do. Where the name or the site of the holder belongs, the server fills it in.
    pub(crate) fn permissions(self, subjects: &Subjects) -> Permissions {
        // Nobody can hear the answers to others: everybody has an inbox under their own name.
        let inbox = format!("_INBOX.{NAME}.>");
        match self {
            Self::User => {
                let theirs = Operation::ALL.iter().filter(|operation| operation.audience() == Audience::Users);
                let asking = theirs.map(|operation| subjects.api(NAME, operation.name()));
                Permissions {
                    // Not `$SRV.…`: such questions are answered wherever they say, before a host could look at that.
                    publish: asking.chain([subjects.domain_sensors_of(NAME)]).collect(),
                    subscribe: vec![inbox, subjects.events_of(NAME), subjects.subscribers_of(NAME)],
                    responses: None,
                }
            }
            Self::Operator => Permissions {
                // Backing up reads every stream; restoring writes the journal and the buckets.
                publish: [subjects.all_api(), subjects.all_journals(), subjects.all_domain_sensors()]
                    .into_iter()
                    .chain(["$SRV.>", "$JS.API.>", "$JS.ACK.>", "$JS.FC.>", "$KV.>", "$O.>"].map(str::to_owned))
                    .collect(),
                subscribe: vec![inbox, subjects.events_of("*"), subjects.subscribers_of("*")],
                responses: None,
            },
            Self::Provisioner => Permissions {
                publish: vec![subjects.all_data(DataKind::State)],
                subscribe: vec![subjects.provisioner(SITE, "*")],
                // An answer may wait for the disk, and for a hundred state reports before it.
                responses: Some(Responses { most: 1, within: Duration::from_secs(60) }),
            },
            Self::Host => Permissions {
                publish: [subjects.everything()].into_iter().chain(["_INBOX.>", "$JS.>", "$KV.>", "$O.>"].map(str::to_owned)).collect(),
                subscribe: vec![inbox, subjects.everything(), "$SRV.>".to_owned()],
                responses: None,
            },
            Self::Agent => Permissions {
                publish: vec![subjects.data_of(DataKind::Heartbeat, NAME), subjects.data_of(DataKind::Sensor, NAME)],
                subscribe: vec![subjects.probes_of(NAME)],
                // A probe that is not answered within seconds is not waited for any more.
                responses: Some(Responses { most: 1, within: Duration::from_secs(10) }),
            },
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permissions(role: Role) -> Permissions {
        role.permissions(&Subjects::new(&"ph".parse().expect("a name")))
    }

    #[test]
    fn a_user_may_ask_for_every_operation_of_users_in_its_own_name_and_for_no_other() {
        let user = permissions(Role::User);
        for operation in Operation::ALL {
            let subject = format!("ph.v1.api.{NAME}.{}", operation.name());
            assert_eq!(user.publish.contains(&subject), operation.audience() == Audience::Users, "{subject}");
        }
        assert!(user.publish.iter().all(|subject| subject.contains(NAME)), "{user:?}");
        assert!(user.subscribe.iter().all(|subject| subject.contains(NAME)), "{user:?}");
    }

    #[test]
    fn an_agent_speaks_and_hears_under_its_own_name_alone() {
        let Permissions { publish, subscribe, .. } = permissions(Role::Agent);
        assert_eq!(publish, ["ph.v1.heartbeat.*.{{name()}}", "ph.v1.sensor.*.{{name()}}"]);
        assert_eq!(subscribe, ["ph.v1.probe.*.{{name()}}"]);
    }

    /// What the guide says in the row of a role: all that is between backticks.
    fn told(role: Role) -> Vec<&'static str> {
        let guide = include_str!("../../../docs/auth.md");
        let row = guide.lines().find(|line| line.starts_with(&format!("| **{role}** |"))).expect("a row");
        row.split('`').skip(1).step_by(2).collect()
    }

    #[test]
    fn the_guide_tells_what_each_role_may_do_and_no_more() {
        let name = |role| if role == Role::Agent { "INSTANCE" } else { "NAME" };
        for role in Role::ALL {
            let Permissions { publish, subscribe, .. } = permissions(role);
            let shown = |subject: String| subject.replace("ph.", "PREFIX.").replace(NAME, name(role)).replace(SITE, "SITE");
            let mut shown: Vec<String> = publish.into_iter().chain(subscribe).map(shown).collect();
            // A user's operations are too many for a row.
            let operations = shown.extract_if(.., |subject| subject.starts_with("PREFIX.v1.api.NAME.")).count();
            if operations > 0 {
                shown.push("PREFIX.v1.api.NAME.OPERATION".to_owned());
            }
            let mut told = told(role);
            told.sort_unstable();
            shown.sort_unstable();
            assert_eq!(told, shown, "{role}");
        }
    }

    #[test]
    fn nobody_may_publish_or_hear_everything() {
        for role in Role::ALL {
            let Permissions { publish, subscribe, .. } = permissions(role);
            assert!(!publish.is_empty() && !subscribe.is_empty(), "{role}: an empty list would allow everything");
            assert!(publish.iter().chain(&subscribe).all(|subject| subject != ">" && !subject.starts_with("$SYS")), "{role}");
        }
    }
}
