//! The reference in `docs/reference`: what it says is what the program does.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use pilothouse::api::{HostFigures, Operation};
use pilothouse::reference::{RECIPE, pages};
use pilothouse_core::message::{
    Dump, DumpAnswer, Heartbeat, Inventory, InventoryAnswer, Provision, Reading, Receipt, StateReport, Terminate,
};
use pilothouse_core::time::Timestamp;
use pilothouse_tests::play::root;
use pilothouse_tests::rig::{Rig, SOON, keep};
use pilothouse_tests::wait::eventually_some;
use serde_json::{Map, Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");

/// The moment of the examples in the reference.
const NOW: Timestamp = Timestamp::from_secs(1_789_000_000);

#[test]
fn the_reference_is_what_the_code_says() -> Result<()> {
    let folder = root().join("docs/reference");
    let pages = pages();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(&folder)?;
        for page in &pages {
            std::fs::write(folder.join(page.name), &page.text)?;
        }
    }
    for page in &pages {
        let kept = std::fs::read_to_string(folder.join(page.name)).unwrap_or_default();
        let differs = kept.lines().zip(page.text.lines()).find(|(kept, made)| kept != made);
        ensure!(
            kept == page.text,
            "docs/reference/{} is not what the code says; first difference: {differs:#?}. Run `{RECIPE}`",
            page.name
        );
    }
    let known: BTreeSet<_> = pages.iter().map(|page| page.name.to_owned()).collect();
    let there: BTreeSet<_> =
        std::fs::read_dir(&folder)?.map(|entry| anyhow::Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<Result<_>>()?;
    ensure!(there == known, "docs/reference holds files that nobody writes: {:?}", there.difference(&known));
    Ok(())
}

/// The AsyncAPI document, as it is published.
fn document() -> Result<Value> {
    Ok(serde_json::from_str(&std::fs::read_to_string(root().join("docs/reference/api.asyncapi.json"))?)?)
}

/// Every object within a value.
fn walk<'v>(value: &'v Value, visit: &mut impl FnMut(&'v Map<String, Value>)) {
    match value {
        Value::Object(fields) => {
            visit(fields);
            fields.values().for_each(|value| walk(value, visit));
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        _ => {}
    }
}

#[test]
fn every_reference_in_the_document_resolves_and_every_channel_is_used() -> Result<()> {
    let document = document()?;
    let mut targets = BTreeSet::new();
    // A payload that is an example may have any field; none of ours has `$ref`.
    walk(&document, &mut |fields| {
        if let Some(Value::String(target)) = fields.get("$ref") {
            targets.insert(target.clone());
        }
    });
    ensure!(targets.len() > 100, "{}", targets.len());
    for target in &targets {
        let pointer = target.strip_prefix('#').context("within the document")?;
        ensure!(document.pointer(pointer).is_some(), "{target} leads nowhere");
    }
    for kind in ["messages", "parameters"] {
        for name in document["components"][kind].as_object().context("an object")?.keys() {
            ensure!(targets.contains(&format!("#/components/{kind}/{name}")), "{kind} {name} is not used");
        }
    }
    for (id, channel) in document["channels"].as_object().context("channels")? {
        ensure!(targets.contains(&format!("#/channels/{id}")), "channel {id} is used by no operation");
        ensure!(channel["messages"].as_object().is_some_and(|all| !all.is_empty()), "channel {id} has no message");
        let address = channel["address"].as_str().unwrap_or_default();
        let used: BTreeSet<_> = address.split('.').filter_map(|token| token.strip_prefix('{')?.strip_suffix('}')).collect();
        let told: BTreeSet<_> = channel["parameters"].as_object().into_iter().flat_map(Map::keys).map(String::as_str).collect();
        ensure!(used == told, "{id}: {used:?} in the address, {told:?} told");
    }
    Ok(())
}

#[test]
fn every_operation_of_a_host_is_in_the_document() -> Result<()> {
    let document = document()?;
    for operation in Operation::ALL {
        let told = &document["operations"][operation.name()];
        ensure!(told["action"] == "receive" && told["reply"].is_object(), "{}: {told}", operation.name());
        let name = format!("{}.request", operation.name());
        ensure!(document["components"]["messages"][&name]["examples"][0].is_object(), "{name} has an example");
    }
    Ok(())
}

/// Judges by the schema of one message of the document.
fn validator(document: &Value, message: &str) -> Result<jsonschema::Validator> {
    let payload = &document["components"]["messages"][message]["payload"];
    ensure!(!payload.is_null(), "no message {message}");
    let whole = json!({"allOf": [payload], "components": {"schemas": document["components"]["schemas"]}});
    Ok(jsonschema::draft7::new(&whole)?)
}

/// What reads one message: whether it takes a payload.
type Reader = fn(&[u8]) -> bool;

/// Every message that hosts, agents and provisioners read, and what reads it.
const READERS: &[(&str, Reader)] = &[
    ("Heartbeat", |json| Heartbeat::parse("i02a-7k3m9x2q5w8r1t4v", json, NOW).is_ok()),
    ("StateReport", |json| StateReport::parse("i02a-7k3m9x2q5w8r1t4v", json, NOW).is_ok()),
    ("InstanceReading", |json| Reading::parse(Some("i02a-7k3m9x2q5w8r1t4v"), json, NOW).is_ok()),
    ("DomainReading", |json| Reading::parse(None, json, NOW).is_ok()),
    ("Provision", |json| Provision::parse(json).is_ok()),
    ("Terminate", |json| Terminate::parse(json).is_ok()),
    ("Dump", |json| Dump::parse(json).is_ok()),
    ("Inventory", |json| Inventory::parse(json).is_ok()),
    ("ProvisionAnswer", |json| Receipt::parse(json).is_ok()),
    ("DumpAnswer", |json| DumpAnswer::parse(json).is_ok()),
    ("InventoryAnswer", |json| InventoryAnswer::parse(json).is_ok()),
];

/// What is wrong in a way that a schema can tell: fields that are missing or unknown, and values of another type.
fn spoilt(example: &Value) -> Vec<Value> {
    let fields = example.as_object().cloned().unwrap_or_default();
    let mut all: Vec<Value> = vec![json!([example]), json!("text"), json!(null)];
    for (name, value) in &fields {
        let mut without = fields.clone();
        without.remove(name);
        all.push(without.into());
        for other in [json!({"a": 1}), json!([[1]]), json!(true), json!("no such word. Or id"), json!(-1.5), json!(null)] {
            if other != *value {
                let mut changed = fields.clone();
                changed.insert(name.clone(), other);
                all.push(changed.into());
            }
        }
    }
    for unknown in [json!("red"), json!(1), json!({"a": 1}), json!([1])] {
        let mut more = fields.clone();
        more.insert("colour".to_owned(), unknown);
        all.push(more.into());
    }
    all
}

#[test]
fn what_the_parsers_take_the_schemas_take_and_what_those_refuse_these_refuse() -> Result<()> {
    let document = document()?;
    for (name, reads) in READERS {
        let validator = validator(&document, name)?;
        let examples = document["components"]["messages"][name]["examples"].as_array().with_context(|| format!("examples of {name}"))?;
        let (mut taken, mut refused) = (0, 0);
        for example in examples.iter().map(|example| &example["payload"]) {
            for payload in std::iter::once(example.clone()).chain(spoilt(example)) {
                let (read, valid) = (reads(payload.to_string().as_bytes()), validator.is_valid(&payload));
                // A parser may know more than a schema can say: which time is near, or which instance the subject speaks for.
                let knows_more = !read && valid && is_beyond_a_schema(&payload, example);
                ensure!(read == valid || knows_more, "{name}: the parser takes it: {read}, the schema: {valid}: {payload}");
                if read { taken += 1 } else { refused += 1 }
            }
            ensure!(reads(example.to_string().as_bytes()), "{name}: an example is not taken: {example}");
        }
        ensure!(taken > 0 && refused > 5, "{name}: {taken} taken, {refused} refused");
    }
    Ok(())
}

/// Whether the only difference is a time, or the id of another instance.
fn is_beyond_a_schema(payload: &Value, example: &Value) -> bool {
    ["timestamp", "error_time", "time", "node_id"].iter().any(|field| payload[field] != example[field] && !payload[field].is_null())
}

#[test]
fn every_example_of_a_request_fits_and_none_does_with_an_unknown_field() -> Result<()> {
    let document = document()?;
    for operation in Operation::ALL {
        let name = format!("{}.request", operation.name());
        let validator = validator(&document, &name)?;
        let mut example = document["components"]["messages"][&name]["examples"][0]["payload"].clone();
        ensure!(validator.is_valid(&example), "{name}: {example}");
        example["colour"] = json!("red");
        ensure!(!validator.is_valid(&example), "{name}: {example}");
    }
    Ok(())
}

/// The first answer to a question of the micro protocol.
async fn service(rig: &Rig, verb: &str) -> Result<Value> {
    let subject = format!("$SRV.{verb}.pilothouse");
    let ask = async || serde_json::from_slice(&rig.api.nats().request(subject.clone(), "".into()).await.ok()?.payload).ok();
    eventually_some(&subject, SOON, ask).await
}

#[tokio::test]
async fn a_running_host_answers_discovers_and_counts_as_the_reference_says() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let _host = rig.host("ship-1")?;
    let (_site, document) = (rig.site("local").await?, document()?);
    let mut events = rig.api.nats().subscribe(rig.api.subjects().events_of("*")).await?;
    rig.add_web(keep(1, "local")).await?;
    let id = rig.settles_at(1).await?.remove(0).instance_id;

    for (operation, request) in [
        (Operation::DomainDescribe, json!({"domain": "web"})),
        (Operation::DomainList, json!({})),
        (Operation::InstanceList, json!({})),
        (Operation::InstanceDescribe, json!({"instance": id})),
        (Operation::BrakeShow, json!({"domain": "web"})),
        (Operation::DomainHistory, json!({"domain": "web"})),
        (Operation::DefinitionList, json!({})),
        (Operation::HostList, json!({})),
        (Operation::OrphanList, json!({})),
        (Operation::Why, json!({"domain": "web"})),
        (Operation::Why, json!({"domain": "web", "last": 5})),
        (Operation::Why, json!({"domain": "web", "instance": "0"})),
        (Operation::DomainPause, json!({"domain": "web"})),
    ] {
        let answer: Value = rig.api.call(operation, &request).await.with_context(|| format!("{operation:?} {request}"))?;
        let validator = validator(&document, &format!("{}.answer", operation.name()))?;
        let problems: Vec<_> = validator.iter_errors(&answer).map(|error| format!("{}: {error}", error.instance_path())).collect();
        ensure!(problems.is_empty(), "{operation:?}: {problems:?}\n{answer:#}");
        // Not every schema takes everything.
        ensure!(operation == Operation::DomainPause || !validator.is_valid(&json!({"colour": "red"})), "{operation:?}");
    }
    let happening = validator(&document, "Happening")?;
    let event: Value = serde_json::from_slice(&events.next().await.context("an event")?.payload)?;
    ensure!(happening.is_valid(&event), "{event:#}");

    let info = service(&rig, "INFO").await?;
    let endpoints = info["endpoints"].as_array().context("endpoints")?;
    ensure!(endpoints.len() == Operation::ALL.len(), "{}", endpoints.len());
    for endpoint in endpoints {
        let metadata = &endpoint["metadata"];
        let operation = metadata["reference"].as_str().and_then(|it| it.rsplit('/').next()).context("a reference")?;
        ensure!(document["operations"][operation]["summary"] == metadata["about"], "{endpoint:#}");
        let schema: Value = serde_json::from_str(metadata["request_schema"].as_str().context("a schema")?)?;
        ensure!(schema["type"] == "object", "{endpoint:#}");
    }

    let stats = service(&rig, "STATS").await?;
    let metrics = std::fs::read_to_string(root().join("docs/reference/metrics.md"))?;
    for endpoint in stats["endpoints"].as_array().context("endpoints")? {
        let figures: HostFigures = serde_json::from_value(endpoint["data"].clone())?;
        ensure!(figures.host.as_str() == "ship-1" && figures.owner && figures.domains == 1 && figures.journal.committed > 0, "{figures:?}");
        let whole = endpoint.as_object().into_iter().chain(endpoint["data"].as_object()).chain(endpoint["data"]["journal"].as_object());
        for field in whole.flat_map(Map::keys).filter(|field| !["metadata", "type"].contains(&field.as_str())) {
            ensure!(metrics.contains(&format!("| `{field}` |")), "{field} is not told");
        }
    }
    Ok(())
}
