//! Everything that travels between hosts, agents, provisioners and users: where, from whom, to whom, and what it says.
//!
//! The one list that `subjects.md`, `messages.md` and the AsyncAPI document are made of. Subjects come from [`Subjects`], with parameters in
//! place of their tokens; schemas come from the types.

use pilothouse_core::command::ApiError;
use pilothouse_core::domain::Happening;
use pilothouse_core::id::InstanceId;
use pilothouse_core::message::{
    Dump, DumpAnswer, Heartbeat, Inventory, InventoryAnswer, Notice, Provision, Reading, Receipt, StateReport, Terminate,
};
use pilothouse_core::name::{DomainKey, Name, Slot};
use pilothouse_core::subject::{DataKind, Subjects};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::examples;
use crate::api::{Operation, ServedBy};

/// Who sends, or receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Party {
    /// A host.
    Host,
    /// The agent of an instance.
    Agent,
    /// The provisioner of a site.
    Provisioner,
    /// Whoever manages domains, or watches them.
    User,
    /// Whoever measures something.
    Sensor,
    /// Whoever subscribed to a domain.
    Subscriber,
}

impl Party {
    /// For people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Agent => "agent",
            Self::Provisioner => "provisioner",
            Self::User => "user",
            Self::Sensor => "sensor",
            Self::Subscriber => "subscriber",
        }
    }
}

/// One sort of message.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// Unique among messages.
    pub(super) name: String,
    /// What its JSON is like.
    pub(super) schema: Value,
    /// Real ones, written by the code.
    pub(super) examples: Vec<Value>,
}

/// How it is said that a request was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fails {
    /// Nothing is answered, so nothing can be wrong with it.
    Never,
    /// In the headers of the micro protocol, and as JSON in one of our own.
    Typed,
    /// In the headers of the micro protocol.
    Untyped,
}

/// What goes over one subject.
#[derive(Clone, Debug)]
pub(super) struct Channel {
    /// Unique among channels.
    pub(super) id: String,
    /// The heading it stands under.
    pub(super) group: &'static str,
    /// The subject, with `{parameters}`.
    pub(super) address: String,
    /// What it is for.
    pub(super) about: String,
    pub(super) from: Party,
    pub(super) to: Party,
    /// What is sent.
    pub(super) message: Message,
    /// What is answered, if anything is.
    pub(super) answer: Option<Message>,
    pub(super) fails: Fails,
    /// For operations of users.
    pub(super) operation: Option<Operation>,
}

/// Everything that travels.
#[derive(Debug)]
pub(super) struct Traffic {
    pub(super) channels: Vec<Channel>,
    /// The types that the messages are made of, by name.
    pub(super) types: Map<String, Value>,
}

/// A parameter of a subject: its name, what stands for it while subjects are built, and what it is.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    mark: &'static str,
    pub(super) about: &'static str,
}

/// Marks are what the types allow and no fixed token looks like.
pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter { name: "prefix", mark: "0-prefix", about: "First token of all subjects: `ph`, unless hosts and callers are told another." },
    Parameter {
        name: "slot",
        mark: "65535",
        about: "Partition of the domain space that the domain falls into: a number that is part of what agents, provisioners and users are told.",
    },
    Parameter { name: "node_id", mark: "0-node", about: "Id of an instance." },
    Parameter { name: "owner", mark: "0-owner", about: "User that the domain belongs to." },
    Parameter { name: "domain", mark: "0-domain", about: "Name of a domain." },
    Parameter { name: "user", mark: "0-user", about: "User in whose name is asked; `_` for the default user of the hosts." },
    Parameter { name: "site", mark: "0-site", about: "Name of a site: the provisioner's." },
    Parameter { name: "subscriber", mark: "0-subscriber", about: "Name of a subscriber." },
    Parameter { name: "call", mark: "0-call", about: "What of the subscriber is called: the operation that was given when it subscribed." },
];

/// What stands for a parameter. Every mark is a name.
fn mark<T: std::str::FromStr<Err: std::fmt::Debug>>(name: &str) -> T {
    let parameter = PARAMETERS.iter().find(|parameter| parameter.name == name).expect("a parameter that is listed");
    parameter.mark.parse().expect("a mark that is a name")
}

/// A subject with its parameters in place of their marks.
fn address(subject: &str) -> String {
    let token = |token: &str| match PARAMETERS.iter().find(|parameter| parameter.mark == token) {
        Some(parameter) => format!("{{{}}}", parameter.name),
        None => token.to_owned(),
    };
    subject.split('.').map(token).collect::<Vec<_>>().join(".")
}

/// Makes messages, and remembers the types that they are made of.
struct Maker {
    generator: SchemaGenerator,
}

impl Maker {
    fn message<T: JsonSchema>(&mut self, name: &str, examples: Vec<Value>) -> Message {
        Message { name: name.to_owned(), schema: self.generator.subschema_for::<T>().to_value(), examples }
    }
}

/// The headings, in order.
pub(super) const GROUPS: &[(&str, &str)] = &[
    (
        INSTANCES,
        "What hosts hear of instances. Agents and provisioners build no subject of their own: they are told, in the request that starts an instance.",
    ),
    (PROVISIONERS, "What hosts ask of the provisioner of a site. A request may come twice; carrying it out twice is harmless."),
    (WATCHERS, "What hosts tell whoever wants to know. Nobody's answer is waited for."),
    (
        OPERATIONS,
        "What users ask of hosts, as a service of the NATS micro protocol: any host takes a request. An empty body is an empty object.",
    ),
];

const INSTANCES: &str = "Instances";
const PROVISIONERS: &str = "Provisioners";
const WATCHERS: &str = "Events and notices";
const OPERATIONS: &str = "Operations";

impl Traffic {
    /// All of it.
    pub(super) fn all() -> Self {
        let settings = SchemaSettings::draft07().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        let mut maker = Maker { generator: settings.into_generator() };
        let subjects = Subjects::new(&mark("prefix"));
        let key = DomainKey { owner: mark("owner"), name: mark("domain") };
        let mut channels = of_instances(&mut maker, &subjects, &key);
        channels.extend(of_provisioners(&mut maker, &subjects));
        channels.extend(of_watchers(&mut maker, &subjects, &key));
        channels.extend(Operation::ALL.iter().map(|operation| of_operation(&mut maker, &subjects, *operation)));
        // Told in a header.
        maker.generator.subschema_for::<ApiError>();
        Self { channels, types: maker.generator.take_definitions(true) }
    }
}

fn slot() -> Slot {
    Slot(mark("slot"))
}

fn told(id: &str, group: &'static str, subject: &str, about: &str, (from, to): (Party, Party), message: Message) -> Channel {
    Channel {
        id: id.to_owned(),
        group,
        address: address(subject),
        about: about.to_owned(),
        from,
        to,
        message,
        answer: None,
        fails: Fails::Never,
        operation: None,
    }
}

fn of_instances(maker: &mut Maker, subjects: &Subjects, key: &DomainKey) -> Vec<Channel> {
    let id: InstanceId = mark("node_id");
    let reading = maker.message::<Reading>("Reading", examples::readings());
    let (of_instance, of_domain) = examples::readings_apart();
    let only =
        |name: &str, rule: Value, examples| Message { name: name.to_owned(), schema: json!({"allOf": [reading.schema, rule]}), examples };
    let question =
        Message { name: "Probe".to_owned(), schema: json!({"description": "Nothing: the subject says it all."}), examples: Vec::new() };
    vec![
        told(
            "heartbeat",
            INSTANCES,
            &subjects.data(DataKind::Heartbeat, slot(), &id),
            "An agent says how its instance is: again and again, and at once when that changes.",
            (Party::Agent, Party::Host),
            maker.message::<Heartbeat>("Heartbeat", examples::heartbeats()),
        ),
        told(
            "state",
            INSTANCES,
            &subjects.data(DataKind::State, slot(), &id),
            "A provisioner says how far an instance has come. Reports may come twice, late, and in any order: the later state holds.",
            (Party::Provisioner, Party::Host),
            maker.message::<StateReport>("StateReport", examples::reports()),
        ),
        told(
            "sensor",
            INSTANCES,
            &subjects.data(DataKind::Sensor, slot(), &id),
            "A reading of one instance.",
            (Party::Agent, Party::Host),
            only("InstanceReading", json!({"required": ["node_id"], "properties": {"node_id": {"type": "string"}}}), of_instance),
        ),
        told(
            "domain-sensor",
            INSTANCES,
            &subjects.domain_sensor(slot(), key),
            "A reading of a domain as a whole. `domain.describe` tells the subject of a domain.",
            (Party::Sensor, Party::Host),
            only("DomainReading", json!({"properties": {"node_id": {"type": "null"}}}), of_domain),
        ),
        Channel {
            answer: Some(maker.message::<Heartbeat>("ProbeAnswer", examples::heartbeats())),
            ..told(
                "probe",
                INSTANCES,
                &subjects.probe(slot(), &id),
                "An agent that was silent for too long is asked for a sign of life. It answers with a heartbeat.",
                (Party::Host, Party::Agent),
                question,
            )
        },
    ]
}

fn of_provisioners(maker: &mut Maker, subjects: &Subjects) -> Vec<Channel> {
    let request = |name: &str, about: &str, message: Message, answer: Message| Channel {
        answer: Some(answer),
        fails: Fails::Untyped,
        ..told(name, PROVISIONERS, &subjects.provisioner(&mark::<String>("site"), name), about, (Party::Host, Party::Provisioner), message)
    };
    vec![
        request(
            "provision",
            "Start these instances. What becomes of them is told in state reports.",
            maker.message::<Provision>("Provision", examples::provisions()),
            maker.message::<Receipt>("ProvisionAnswer", examples::receipts()),
        ),
        request(
            "terminate",
            "Stop these instances. That they are gone is told in state reports, of those also that were never seen.",
            maker.message::<Terminate>("Terminate", examples::terminations()),
            maker.message::<Receipt>("TerminateAnswer", examples::receipts()),
        ),
        request(
            "dump",
            "Tell the state of these instances: each on its state subject, before this is answered.",
            maker.message::<Dump>("Dump", examples::dumps()),
            maker.message::<DumpAnswer>("DumpAnswer", examples::dump_answers()),
        ),
        request(
            "inventory",
            "Tell what you run, page by page.",
            maker.message::<Inventory>("Inventory", examples::inventories()),
            maker.message::<InventoryAnswer>("InventoryAnswer", examples::inventory_answers()),
        ),
    ]
}

fn of_watchers(maker: &mut Maker, subjects: &Subjects, key: &DomainKey) -> Vec<Channel> {
    let (subscriber, call): (Name, Name) = (mark("subscriber"), mark("call"));
    vec![
        told(
            "events",
            WATCHERS,
            &subjects.events(slot(), key),
            "What happened in a domain, when it is on record. Subscribe with `*` as the slot and the domain to hear of all of yours.",
            (Party::Host, Party::User),
            maker.message::<Happening>("Happening", examples::happenings()),
        ),
        told(
            "subscriber",
            WATCHERS,
            &subjects.subscriber(&key.owner, &subscriber, &call),
            "An instance of a domain that was subscribed to runs, failed, or ended: told when it is on record, as a rule once for each. It may \
             be lost, and after a restore or an adoption it may come again: `domain.describe` has the truth.",
            (Party::Host, Party::Subscriber),
            maker.message::<Notice>("Notice", examples::notices()),
        ),
    ]
}

fn of_operation(maker: &mut Maker, subjects: &Subjects, operation: Operation) -> Channel {
    let (request, answer) = operation.schemas(&mut maker.generator);
    let name = operation.name();
    let mut answer = answer.to_value();
    if answer == true {
        answer = json!({"type": "object", "description": "What now holds. It says at least of what."});
    }
    Channel {
        answer: Some(Message { name: format!("{name}.answer"), schema: answer, examples: examples::answers(operation) }),
        fails: Fails::Typed,
        operation: Some(operation),
        ..told(
            name,
            OPERATIONS,
            &subjects.api(&mark::<String>("user"), name),
            operation.about(),
            (Party::User, Party::Host),
            Message { name: format!("{name}.request"), schema: request.to_value(), examples: examples::requests(operation) },
        )
    }
}

/// Who serves an operation, in words.
pub(super) const fn served_by(operation: Operation) -> &'static str {
    match operation.served_by() {
        ServedBy::Any => "the host that takes it",
        ServedBy::Owner => "the host that looks after the domains; others forward it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_is_used_and_no_mark_is_left() {
        let traffic = Traffic::all();
        for parameter in PARAMETERS {
            let part = format!("{{{}}}", parameter.name);
            assert!(traffic.channels.iter().any(|channel| channel.address.contains(&part)), "{part}");
        }
        for channel in &traffic.channels {
            assert!(channel.address.starts_with("{prefix}.") && !channel.address.contains("0-"), "{}", channel.address);
        }
    }

    #[test]
    fn every_example_fits_its_schema() {
        let traffic = Traffic::all();
        let mut tried = 0;
        for message in traffic.channels.iter().flat_map(|channel| std::iter::once(&channel.message).chain(&channel.answer)) {
            let whole = json!({"allOf": [message.schema], "components": {"schemas": traffic.types}});
            let validator = jsonschema::draft7::new(&whole).expect("a schema");
            for example in &message.examples {
                let problems: Vec<_> = validator.iter_errors(example).map(|error| error.to_string()).collect();
                assert!(problems.is_empty(), "{}: {problems:?}\n{example:#}", message.name);
                tried += 1;
            }
        }
        assert!(tried > 30, "{tried}");
    }
}
