//! Requests that make no sense, for every operation: answered with what is wrong and where, and nothing changes.

use anyhow::{Context, Result, ensure};
use pilothouse::api::Operation;
use pilothouse_core::command::ApiError;
use pilothouse_core::config::ConfigProblem;
use serde_json::{Map, Value, json};

use crate::pair::{Pair, brisk, over, preserve};
use crate::played::Played;
use crate::user::{User, in_state};

/// What a request of an operation must have at least, all of it right. Exhaustive, so that a new operation is not forgotten.
fn right(operation: Operation) -> Value {
    use Operation as Op;
    match operation {
        Op::DefinitionAdd | Op::DefinitionUpdate => json!({"name": "kept", "definition": {}}),
        Op::DefinitionDescribe | Op::DefinitionRemove => json!({"name": "kept"}),
        Op::DefinitionList | Op::DomainList | Op::InstanceList | Op::HostList | Op::OrphanList | Op::JournalReload => json!({}),
        // All of them could do something: one that asks for no more than a site nobody has does nothing.
        Op::OrphanAdopt | Op::OrphanTerminate => json!({"sites": ["none"]}),
        Op::DomainAdd => json!({"domain": "new", "config": preserve(0)}),
        Op::DomainDiff | Op::DomainReconfigure => json!({"domain": "web", "config": {}}),
        Op::DomainSubscribe => json!({"domain": "web", "subscriber_name": "s", "subscriber_op": "told"}),
        Op::DomainUnsubscribe => json!({"domain": "web", "subscriber_name": "s"}),
        Op::DomainDryRun => json!({"domain": "web", "on": false}),
        Op::DomainDescribe
        | Op::DomainSchedule
        | Op::DomainRemove
        | Op::DomainPause
        | Op::DomainResume
        | Op::DomainShadow
        | Op::DomainRetry
        | Op::DomainHistory
        | Op::Why
        | Op::BrakeShow
        | Op::BrakeRelease => json!({"domain": "web"}),
        Op::InstanceDescribe | Op::InstanceKill | Op::InstanceProtect | Op::InstanceUnprotect => json!({"instance": "web/0"}),
        Op::HostDisable | Op::HostEnable => json!({"host": "owner"}),
        Op::EngineList | Op::EngineFaults => json!({}),
        Op::EnginePush => json!({"digest": "00".repeat(32), "bytes": 1}),
        Op::EngineShow | Op::EngineUnpin | Op::EngineRollBack => json!({"name": "simplest"}),
        Op::EnginePin | Op::EngineRemove => json!({"name": "simplest", "version": "9.9.9"}),
        Op::EngineLimit => json!({"name": "simplest", "limits": {}}),
    }
}

/// Fields whose value is a name.
const NAMES: [&str; 5] = ["name", "domain", "subscriber_name", "subscriber_op", "host"];

/// Texts that are no names.
fn no_names() -> Vec<String> {
    let long = "x".repeat(64);
    ["", "a.b", "@x", "-x", "_x", "a b", "a*", ">", "é", "a\n", &long].map(str::to_owned).to_vec()
}

/// All that is there.
async fn everything(users: &[User]) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for user in users {
        let mut web = user.call(Operation::DomainDescribe, json!({"domain": "web"})).await?.unwrap_or_default();
        // What the engine says of it may be told in other words at any time, and it is asked on and on.
        if let Some(web) = web.as_object_mut() {
            web.retain(|field, _| !matches!(field.as_str(), "reason" | "status" | "sensor_data" | "asked"));
        }
        all.extend([web, json!(user.domains().await?), user.ask(Operation::DefinitionList, json!({})).await?]);
        all.push(user.ask(Operation::DefinitionDescribe, json!({"name": "kept"})).await?);
    }
    Ok(all)
}

fn problems(error: ApiError) -> Result<Vec<ConfigProblem>> {
    match error {
        ApiError::Invalid { problems } => Ok(problems),
        other => anyhow::bail!("{}: {other}", other.kind()),
    }
}

fn with(request: &Value, field: &str, value: Value) -> Value {
    let mut fields = request.as_object().cloned().unwrap_or_else(Map::new);
    fields.insert(field.to_owned(), value);
    Value::Object(fields)
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_told_what_is_wrong_and_changes_nothing() -> Result<()> {
    let pair = Pair::new().await?;
    let (ann, bob) = (pair.user("ann"), pair.user("bob"));
    let played = Played::obliging(&pair.rig).await?;
    ann.ask(Operation::DefinitionAdd, json!({"name": "kept", "definition": brisk("simplest")})).await?;
    ann.ask(Operation::DomainAdd, json!({"domain": "web", "definition": "kept", "config": preserve(1)})).await?;
    ann.sees("web", "it is content", |it| it["status"] == "stable" && in_state(it, &["RUNNING"]).len() == 1).await?;
    let users = [ann, bob];
    let ann = &users[0];
    let before = everything(&users).await?;

    for operation in Operation::ALL.iter().copied() {
        let request = right(operation);
        let whole = request.to_string().into_bytes();
        // No JSON, no object, cut off, something behind it, something that no field is for, far too much.
        let huge = with(&request, "request_id", json!("x".repeat(300_000))).to_string().into_bytes();
        let deep = [b"{\"domain\":".as_slice(), &b"[".repeat(50_000)].concat();
        let behind = [whole.as_slice(), b"}"].concat();
        let shapes: [&[u8]; 12] = [
            b"{",
            b"null",
            b"[]",
            b"42",
            b"\"web\"",
            b"\xff\xfe",
            b"{\"a\":1,}",
            &whole[..whole.len() - 1],
            &behind,
            &huge,
            &deep,
            b"{} {}",
        ];
        for body in shapes {
            let told = ann.refused_bytes(operation, body).await.and_then(problems);
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            told.with_context(|| format!("{operation:?} {shown}"))?;
        }
        let stray = with(&request, "colour", json!("red"));
        let told = problems(ann.refused(operation, stray).await?).with_context(|| format!("{operation:?}"))?;
        ensure!(told.iter().any(|it| it.message.contains("colour")), "{operation:?}: {told:?}");
        for (field, value) in request.as_object().context("an object")? {
            // What must be there must be there, and be of its type.
            for wrong in [json!(null), json!(7), json!([[]]), json!({"a": {}})] {
                // A definition that is not given is an empty one.
                if field == "definition" && wrong.is_null() {
                    continue;
                }
                let asked = with(&request, field, wrong.clone());
                if operation == Operation::DomainDiff && field == "config" {
                    // What is wrong with a change is what one asks for.
                    let diff = ann.ask(operation, asked).await?;
                    ensure!(diff["problems"].as_array().is_some_and(|all| !all.is_empty()), "{wrong}: {diff:#}");
                    continue;
                }
                let told = ann.refused(operation, asked).await.and_then(problems);
                told.with_context(|| format!("{operation:?} {field}: {wrong}"))?;
            }
            if !NAMES.contains(&field.as_str()) || !value.is_string() {
                continue;
            }
            for text in no_names() {
                let told = ann.refused(operation, with(&request, field, json!(text))).await.and_then(problems);
                let told = told.with_context(|| format!("{operation:?} {field}: {text:?}"))?;
                let at = format!("/{field}");
                ensure!(told.iter().any(|it| it.at == at), "{operation:?} {field} {text:?}: {told:?}");
            }
        }
        if operation.changes() {
            let long = with(&request, "request_id", json!("x".repeat(129)));
            let told = problems(ann.refused(operation, long).await?).with_context(|| format!("{operation:?} with a long id"))?;
            ensure!(told.iter().any(|it| it.at == "/request_id"), "{operation:?}: {told:?}");
        }
    }
    ensure!(everything(&users).await? == before, "{:#?} instead of {before:#?}", everything(&users).await?);
    ensure!(played.launched().len() == 1 && played.ended().is_empty());
    pair.was_asked_through_the_standby().await
}

#[tokio::test]
async fn values_that_make_no_sense_are_told_with_their_key() -> Result<()> {
    let pair = Pair::new().await?;
    let (ann, _played) = (pair.user("ann"), Played::obliging(&pair.rig).await?);
    ann.ask(Operation::DefinitionAdd, json!({"name": "kept", "definition": brisk("simplest")})).await?;
    ann.ask(Operation::DomainAdd, json!({"domain": "web", "definition": "kept", "config": preserve(1)})).await?;
    ann.sees("web", "it is content", |it| it["status"] == "stable" && in_state(it, &["RUNNING"]).len() == 1).await?;
    let users = [ann];
    let ann = &users[0];
    let before = everything(&users).await?;
    let config = |config: Value| over(&preserve(1), &config);
    let wrong = [
        (
            Operation::DefinitionAdd,
            json!({"name": "new", "definition": {"general": {"decide_interval": "soon"}}}),
            "/general/decide_interval",
        ),
        (Operation::DefinitionAdd, json!({"name": "new", "definition": {"general": {"engine": "best"}}}), "/general/engine"),
        (Operation::DefinitionAdd, json!({"name": "new", "definition": {"wealth": {}}}), "/wealth"),
        (
            Operation::DefinitionUpdate,
            json!({"name": "kept", "definition": {"health": {"missing_timeout": -1}}}),
            "/health/missing_timeout",
        ),
        (Operation::DefinitionUpdate, json!({"name": "kept", "definition": {"engine_conf": 7}}), "/engine_conf"),
        (Operation::DomainAdd, json!({"domain": "new", "definition": "a.b", "config": preserve(1)}), "/definition"),
        (Operation::DomainAdd, json!({"domain": "new", "definition": "", "config": preserve(1)}), "/definition"),
        (Operation::DomainAdd, json!({"domain": "new", "config": preserve(1), "subscriber_name": "s"}), "/subscriber_op"),
        (Operation::DomainAdd, json!({"domain": "new", "config": preserve(1), "subscriber_op": "s"}), "/subscriber_name"),
        (
            Operation::DomainAdd,
            json!({"domain": "new", "config": preserve(1), "subscriber_name": "a.b", "subscriber_op": "told"}),
            "/subscriber_name",
        ),
        (
            Operation::DomainAdd,
            json!({"domain": "new", "config": config(json!({"general": {"max_instances": 0}}))}),
            "/general/max_instances",
        ),
        (Operation::DomainReconfigure, json!({"domain": "web", "config": {"general": 7}}), "/general"),
        (Operation::DomainReconfigure, json!({"domain": "web", "config": {"engine_conf": {"preserve_n": -1}}}), "/engine_conf/preserve_n"),
        (Operation::DomainUnsubscribe, json!({"domain": "web", "subscriber_name": "s", "subscriber_op": "a b"}), "/subscriber_op"),
        (Operation::DomainShadow, json!({"domain": "web", "engine": "best"}), "/engine"),
        (Operation::DomainShadow, json!({"domain": "web", "engine": "simplest@1..2"}), "/engine"),
        (Operation::DomainShadow, json!({"domain": "web", "engine": "00".repeat(32)}), "/engine"),
        (Operation::DomainShadow, json!({"domain": "web", "engine": "sensor"}), "/engine_conf/preserve_n"),
        (Operation::DomainShadow, json!({"domain": "web", "engine": "npreserving", "promote_after": 0.5}), "/promote_after"),
        (Operation::DomainShadow, json!({"domain": "web", "engine": "npreserving", "promote_after": -1e300}), "/promote_after"),
        (Operation::DomainShadow, json!({"domain": "web", "promote_after": 60}), "/engine"),
        (Operation::DomainHistory, json!({"domain": "web", "limit": 0}), "/limit"),
        (Operation::DomainHistory, json!({"domain": "web", "limit": 100_000}), "/limit"),
        (Operation::Why, json!({"domain": "web", "last": 0}), "/last"),
        (Operation::InstanceKill, json!({"instance": "web/0", "reason": "x".repeat(1025)}), "/reason"),
        (Operation::EnginePush, json!({"digest": "00", "bytes": 1}), "/digest"),
        (Operation::EnginePush, json!({"digest": "00".repeat(32), "bytes": 1}), "/digest"),
        (Operation::EngineShow, json!({"name": "simplest", "version": "0.1"}), "/version"),
        (Operation::EngineRemove, json!({"name": "simplest", "version": "newest"}), "/version"),
        (Operation::EnginePin, json!({"name": "simplest", "version": "0.1"}), "/version"),
        (Operation::EnginePin, json!({"name": "simplest", "version": "0.1.0", "reason": "x".repeat(1025)}), "/reason"),
        (Operation::EngineRollBack, json!({"name": "simplest", "to": "0"}), "/to"),
        (Operation::EngineLimit, json!({"name": "simplest", "limits": {"fuel": 0}}), "/limits/fuel"),
        (Operation::EngineLimit, json!({"name": "simplest", "limits": {"colour": 3}}), "/limits/colour"),
        (Operation::EngineFaults, json!({"limit": 0}), "/limit"),
        (Operation::EngineFaults, json!({"domain": "a.b"}), "/domain"),
        (Operation::EngineFaults, json!({"name": "a.b"}), "/name"),
        (Operation::InstanceDescribe, json!({"instance": "no id"}), "/instance"),
        (Operation::InstanceProtect, json!({"instance": "web/"}), "/instance"),
        (Operation::InstanceList, json!({"domain": "a.b"}), "/domain"),
    ];
    for (operation, request, at) in wrong {
        let shown: String = request.to_string().chars().take(200).collect();
        let told = ann.refused(operation, request).await.and_then(problems).with_context(|| format!("{operation:?} {shown}"))?;
        ensure!(told.iter().any(|it| it.at.ends_with(at)), "{operation:?} {shown}: {told:?}");
    }
    for (operation, request) in [
        (Operation::DomainAdd, json!({"domain": "new", "definition": "none", "config": preserve(1)})),
        (Operation::DomainDescribe, json!({"domain": "none"})),
        (Operation::DomainReconfigure, json!({"domain": "none", "config": {}})),
        (Operation::DomainShadow, json!({"domain": "none", "engine": "npreserving"})),
        (Operation::DomainRetry, json!({"domain": "none"})),
        (Operation::InstanceKill, json!({"instance": "web/9"})),
        (Operation::InstanceKill, json!({"instance": "none/0"})),
        (Operation::InstanceKill, json!({"instance": "i000-nobody"})),
        (Operation::DomainHistory, json!({"domain": "none"})),
        (Operation::InstanceList, json!({"domain": "none"})),
        (Operation::EngineShow, json!({"name": "none"})),
        (Operation::EngineShow, json!({"name": "simplest", "version": "9.9.9"})),
        (Operation::EnginePin, json!({"name": "simplest", "version": "9.9.9"})),
        (Operation::EngineRemove, json!({"name": "simplest", "version": "0.1.0"})),
        (Operation::EngineRollBack, json!({"name": "none"})),
        (Operation::EngineLimit, json!({"name": "none", "limits": {"fuel": 5}})),
    ] {
        let error = ann.refused(operation, request.clone()).await?;
        ensure!(error.kind() == "not_found", "{operation:?} {request}: {error}");
    }
    ensure!(everything(&users).await? == before);
    pair.was_asked_through_the_standby().await
}

#[tokio::test]
async fn who_names_nobody_is_permitted_nothing() -> Result<()> {
    let pair = Pair::new().await?;
    // No name begins like this token, which stands for nobody; the hosts have no default user.
    let nobody = pair.user("_");
    for operation in Operation::ALL.iter().copied() {
        let error = nobody.refused_bytes(operation, right(operation).to_string().as_bytes()).await?;
        ensure!(error.kind() == "not_permitted", "{operation:?}: {error}");
    }
    // And a token that is no name is nobody's.
    for token in ["-ann", "@ann", &"x".repeat(64)] {
        let subject = pair.rig.api.subjects().api(token, Operation::DomainList.name());
        let answer = pair.rig.api.nats().request(subject, "{}".into()).await?;
        let header = answer.headers.as_ref().and_then(|headers| headers.get(pilothouse::api::ERROR_HEADER)).context("an error")?;
        let error: ApiError = serde_json::from_str(header.as_str())?;
        ensure!(error.kind() == "invalid", "{token}: {error}");
    }
    pair.was_asked_through_the_standby().await
}
