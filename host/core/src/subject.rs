//! Where messages go. The one place that builds and takes apart NATS subjects.
//!
//! Everything starts with the prefix (`ph` by default) and a version token. Agents and provisioners never build a subject of their own:
//! they are told.

use crate::id::InstanceId;
use crate::name::{DomainKey, Name, Slot};

/// The version of the layout below; the second token of every subject.
const VERSION: &str = "v1";

/// Builds subjects under one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subjects {
    root: String,
}

/// What a subject of the data plane carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DataKind {
    /// Heartbeats of an instance.
    Heartbeat,
    /// Reports of an instance's state.
    State,
    /// Sensor readings of an instance.
    Sensor,
}

impl DataKind {
    const fn token(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::State => "state",
            Self::Sensor => "sensor",
        }
    }
}

impl Subjects {
    /// The prefix unless configured otherwise.
    pub const DEFAULT_PREFIX: &'static str = "ph";

    /// Subjects under `prefix`, which is one token.
    pub fn new(prefix: &Name) -> Self {
        Self { root: format!("{prefix}.{VERSION}") }
    }

    /// The prefix itself.
    pub fn prefix(&self) -> &str {
        self.root.split('.').next().unwrap_or_default()
    }

    /// Where heartbeats, states or readings of one instance go.
    pub fn data(&self, kind: DataKind, slot: Slot, id: &InstanceId) -> String {
        format!("{}.{}.{slot}.{id}", self.root, kind.token())
    }

    /// All messages of a kind.
    pub fn all_data(&self, kind: DataKind) -> String {
        format!("{}.{}.*.*", self.root, kind.token())
    }

    /// Messages of a kind of one instance, whatever its slot. `id` may also stand for one, as in the permissions of a server.
    pub fn data_of(&self, kind: DataKind, id: &str) -> String {
        format!("{}.{}.*.{id}", self.root, kind.token())
    }

    /// Everything there is under this prefix.
    pub fn everything(&self) -> String {
        format!("{}.>", self.root)
    }

    /// The id that a subject of the data plane speaks for; nothing when it is none of that kind.
    pub fn data_id<'s>(&self, kind: DataKind, subject: &'s str) -> Option<(Slot, &'s str)> {
        let rest = subject.strip_prefix(&self.root)?.strip_prefix('.')?.strip_prefix(kind.token())?.strip_prefix('.')?;
        let (slot, id) = rest.split_once('.')?;
        (!id.contains('.')).then_some(())?;
        Some((Slot(slot.parse().ok()?), id))
    }

    /// Where readings of a domain as a whole go.
    pub fn domain_sensor(&self, slot: Slot, key: &DomainKey) -> String {
        format!("{}.domain-sensor.{slot}.{}.{}", self.root, key.owner, key.name)
    }

    /// Readings of all domains.
    pub fn all_domain_sensors(&self) -> String {
        format!("{}.domain-sensor.*.*.*", self.root)
    }

    /// Readings of the domains of a user as a whole.
    pub fn domain_sensors_of(&self, owner: &str) -> String {
        format!("{}.domain-sensor.*.{owner}.*", self.root)
    }

    /// The domain that a subject of domain readings speaks for.
    pub fn domain_sensor_key(&self, subject: &str) -> Option<(Slot, DomainKey)> {
        let rest = subject.strip_prefix(&self.root)?.strip_prefix(".domain-sensor.")?;
        let mut tokens = rest.split('.');
        let slot = Slot(tokens.next()?.parse().ok()?);
        let key = DomainKey { owner: tokens.next()?.parse().ok()?, name: tokens.next()?.parse().ok()? };
        tokens.next().is_none().then_some((slot, key))
    }

    /// Where the agent of one instance is asked for its state. It answers with a heartbeat.
    pub fn probe(&self, slot: Slot, id: &InstanceId) -> String {
        format!("{}.probe.{slot}.{id}", self.root)
    }

    /// Where the agent of an instance is asked, whatever the slot.
    pub fn probes_of(&self, id: &str) -> String {
        format!("{}.probe.*.{id}", self.root)
    }

    /// Where the provisioner of a site takes requests: `provision`, `terminate`, `dump` or `inventory`.
    pub fn provisioner(&self, site: &str, operation: &str) -> String {
        format!("{}.provisioner.{site}.{operation}", self.root)
    }

    /// Where users ask for an operation: `api(user, "domain.add")`. `*` as the user subscribes to all.
    pub fn api(&self, user: &str, operation: &str) -> String {
        format!("{}.api.{user}.{operation}", self.root)
    }

    /// Every operation, in anybody's name.
    pub fn all_api(&self) -> String {
        format!("{}.api.>", self.root)
    }

    /// The user token of an API subject.
    pub fn api_user<'s>(&self, subject: &'s str) -> Option<&'s str> {
        subject.strip_prefix(&self.root)?.strip_prefix(".api.")?.split('.').next()
    }

    /// Where one process of a host takes what other hosts forward to it.
    pub fn host(&self, process: u64, operation: &str) -> String {
        format!("{}.host.{process:016x}.{operation}", self.root)
    }

    /// Where every host is asked at once. No process has a token like it.
    pub fn hosts(&self, operation: &str) -> String {
        format!("{}.host.all.{operation}", self.root)
    }

    /// What happened in a domain, for people and programs that watch.
    pub fn events(&self, slot: Slot, key: &DomainKey) -> String {
        format!("{}.events.{slot}.{}.{}", self.root, key.owner, key.name)
    }

    /// Events of all domains of a user (`*` for everybody's).
    pub fn events_of(&self, owner: &str) -> String {
        format!("{}.events.*.{owner}.*", self.root)
    }

    /// What all subscribers of a user are told (`*` for everybody's).
    pub fn subscribers_of(&self, owner: &str) -> String {
        format!("{}.subscriber.{owner}.>", self.root)
    }

    /// Where a subscriber is told of instances: what of theirs is called is the last token.
    pub fn subscriber(&self, owner: &Name, name: &Name, operation: &Name) -> String {
        format!("{}.subscriber.{owner}.{name}.{operation}", self.root)
    }

    /// The journal subject of a domain.
    pub fn journal(&self, slot: Slot, key: &DomainKey) -> String {
        format!("{}.journal.{slot}.{}.{}", self.root, key.owner, key.name)
    }

    /// All journal subjects of a slot.
    pub fn journal_of(&self, slot: Slot) -> String {
        format!("{}.journal.{slot}.*.*", self.root)
    }

    /// All journal subjects.
    pub fn all_journals(&self) -> String {
        format!("{}.journal.*.*.*", self.root)
    }

    /// The slot and domain of a journal subject.
    pub fn journal_key(&self, subject: &str) -> Option<(Slot, DomainKey)> {
        let rest = subject.strip_prefix(&self.root)?.strip_prefix(".journal.")?;
        let mut tokens = rest.split('.');
        let slot = Slot(tokens.next()?.parse().ok()?);
        let key = DomainKey { owner: tokens.next()?.parse().ok()?, name: tokens.next()?.parse().ok()? };
        tokens.next().is_none().then_some((slot, key))
    }
}

/// The longest subject that is taken from outside, in bytes: those built here stay far below.
const MAX_SUBJECT_BYTES: usize = 512;

/// Whether a message can be published on a subject that came from outside: tokens with something in each, none of them a wildcard.
pub fn is_publishable(subject: &str) -> bool {
    let is_token =
        |token: &str| !token.is_empty() && token != "*" && token != ">" && !token.contains(|c: char| c.is_whitespace() || c.is_control());
    subject.len() <= MAX_SUBJECT_BYTES && subject.split('.').all(is_token)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_subject_panics(tail in ".*", kind in prop::sample::select(vec!["", "ph.v1.heartbeat.", "ph.v1.domain-sensor.1.", "ph.v1.journal.", "ph.v1.api."])) {
            let subjects = Subjects::new(&"ph".parse().expect("a name"));
            let subject = format!("{kind}{tail}");
            let _ = subjects.data_id(DataKind::Heartbeat, &subject);
            let _ = subjects.domain_sensor_key(&subject);
            let _ = subjects.journal_key(&subject);
            let _ = subjects.api_user(&subject);
        }
    }

    #[test]
    fn what_is_built_is_taken_apart_again() {
        let subjects = Subjects::new(&"ph".parse().expect("a name"));
        let id: InstanceId = "i02a-abc".parse().expect("an id");
        let key = DomainKey { owner: "ann".parse().expect("a name"), name: "web".parse().expect("a name") };
        let heartbeat = subjects.data(DataKind::Heartbeat, Slot(42), &id);
        assert_eq!(heartbeat, "ph.v1.heartbeat.42.i02a-abc");
        assert_eq!(subjects.data_id(DataKind::Heartbeat, &heartbeat), Some((Slot(42), "i02a-abc")));
        assert_eq!(subjects.data_id(DataKind::State, &heartbeat), None);
        assert_eq!(subjects.journal_key(&subjects.journal(Slot(7), &key)), Some((Slot(7), key.clone())));
        assert_eq!(subjects.domain_sensor_key(&subjects.domain_sensor(Slot(7), &key)), Some((Slot(7), key)));
        assert_eq!(subjects.api_user(&subjects.api("ann", "domain.add")), Some("ann"));
        let name = |text: &str| text.parse::<Name>().expect("a name");
        assert_eq!(subjects.subscriber(&name("ann"), &name("bob"), &name("changed")), "ph.v1.subscriber.ann.bob.changed");
    }

    #[test]
    fn a_foreign_subject_is_nobodys() {
        let subjects = Subjects::new(&"ph".parse().expect("a name"));
        for subject in
            ["", "ph", "ph.v2.heartbeat.1.x", "ph.v1.heartbeat.x.y", "ph.v1.heartbeat.1", "ph.v1.heartbeat.1.a.b", "xph.v1.heartbeat.1.a"]
        {
            assert_eq!(subjects.data_id(DataKind::Heartbeat, subject), None, "{subject}");
        }
    }

    #[test]
    fn a_subject_that_would_reach_many_or_break_the_protocol_is_not_published_on() {
        for good in ["a", "ph.v1.heartbeat.42.i02a-abc", "_INBOX.x.y"] {
            assert!(is_publishable(good), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a.*", "a.>", "a b", "a\r\nPUB", &"x".repeat(600)] {
            assert!(!is_publishable(bad), "{bad:?}");
        }
    }
}
