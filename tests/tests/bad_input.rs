//! Whatever comes from outside: what can't be used is counted by kind and answered with a reason, and changes nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use pilothouse::api::{AddDomain, CallError, Operation};
use pilothouse_core::command::ApiError;
use pilothouse_core::name::Slot;
use pilothouse_core::subject::DataKind;
use pilothouse_tests::rig::{Rig, SOON, keep};
use pilothouse_tests::wait::eventually;
use serde_json::{Value, json};

/// The program that has `serve`, `agent` and `provisioner local` as its first arguments.
const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");

async fn refused(rig: &Rig) -> Result<Value> {
    let answer = rig.api.nats().request("$SRV.STATS.pilothouse", "".into()).await?;
    let statistics: Value = serde_json::from_slice(&answer.payload)?;
    Ok(statistics["endpoints"][0]["data"]["refused_messages"].clone())
}

#[tokio::test]
async fn what_is_malformed_is_counted_by_kind_and_changes_nothing() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let host = rig.host("ship")?;
    let _site = rig.site("local").await?;
    rig.add_web(keep(1, "local")).await?;
    let before = rig.settles_at(1).await?;
    let id = before[0].instance_id.clone();
    let id = &id;
    let slot = id.slot().context("a minted id has a slot")?;
    let subjects = rig.api.subjects();
    let on = |kind| subjects.data(kind, slot, id);
    let stranger = subjects.data(DataKind::Heartbeat, slot, &"i000-nobody".parse()?);
    let no_domain = subjects.domain_sensor(Slot(0), &pilothouse_core::name::DomainKey { owner: "default".parse()?, name: "none".parse()? });
    let long = "x".repeat(100_000);
    let bad = [
        ("json", on(DataKind::Heartbeat), "{".to_owned()),
        ("json", on(DataKind::Heartbeat), json!({"node_id": id}).to_string()),
        ("json", on(DataKind::Heartbeat), json!({"node_id": id, "state": "OK", "colour": "red"}).to_string()),
        ("json", on(DataKind::Sensor), json!({"node_id": id, "sensor_id": "load", "value": "high"}).to_string()),
        ("too_large", on(DataKind::Heartbeat), json!({"node_id": id, "state": "MONITOR_ERROR", "error": long}).to_string()),
        ("foreign_id", on(DataKind::Heartbeat), json!({"node_id": "i000-nobody", "state": "MONITOR_ERROR"}).to_string()),
        ("foreign_id", on(DataKind::State), json!({"node_id": "i000-nobody", "state": "FAILED"}).to_string()),
        ("unknown_word", on(DataKind::Heartbeat), json!({"node_id": id, "state": "MISSING"}).to_string()),
        ("unknown_word", on(DataKind::State), json!({"node_id": id, "state": "garbage"}).to_string()),
        ("time", on(DataKind::Heartbeat), json!({"node_id": id, "state": "MONITOR_ERROR", "timestamp": 12}).to_string()),
        ("time", on(DataKind::State), json!({"node_id": id, "state": "FAILED", "timestamp": 99_999_999_999_u64}).to_string()),
        ("value", on(DataKind::State), json!({"node_id": id, "state": "FAILED", "addresses": []}).to_string()),
        ("unknown_instance", stranger, json!({"node_id": "i000-nobody", "state": "OK"}).to_string()),
        ("unknown_domain", no_domain, json!({"sensor_id": "load", "value": 1}).to_string()),
    ];
    let mut expected = serde_json::Map::new();
    for (kind, subject, payload) in bad {
        rig.api.nats().publish(subject, payload.into()).await?;
        let count = expected.entry(kind).or_insert_with(|| json!(0));
        *count = json!(count.as_u64().unwrap_or(0) + 1);
    }
    let expected = Value::Object(expected);
    let mut found = Value::Null;
    eventually("each is counted", SOON, async || {
        found = refused(&rig).await.unwrap_or_default();
        found == expected
    })
    .await
    .with_context(|| format!("{found:#} instead of {expected:#}"))?;
    let after = rig.settles_at(1).await?;
    ensure!(after[0].state_time == before[0].state_time && after[0].attributes == before[0].attributes, "{after:?}");
    // Reported with subject and reason, at a bounded rate: not once for each.
    for _ in 0..2000 {
        rig.api.nats().publish(on(DataKind::Heartbeat), "nonsense".into()).await?;
    }
    eventually("the flood is counted", SOON, async || refused(&rig).await.is_ok_and(|found| found["json"].as_u64() >= Some(2000))).await?;
    let reports = host.said().lines().filter(|line| line.contains("message refused") && line.contains("json")).count();
    ensure!((1..100).contains(&reports), "{reports} reports");
    ensure!(host.said().contains(id.as_str()), "a report names the subject");
    Ok(())
}

/// A configuration with a window over it, which ends then.
fn over(mut config: Value, end: &str, engine_conf: Value) -> Value {
    config["schedule"] =
        json!([{"name": "day", "time_zone": "Europe/Vienna", "start": "0 8 * * *", "end": end, "engine_conf": engine_conf}]);
    config
}

async fn refuses(rig: &Rig, operation: Operation, body: &[u8]) -> Result<ApiError> {
    let subject = rig.api.subjects().api("default", operation.name());
    let answer = rig.api.nats().request(subject, body.to_vec().into()).await?;
    let header = answer.headers.as_ref().and_then(|headers| headers.get(pilothouse::api::ERROR_HEADER)).context("an error")?;
    Ok(serde_json::from_str(header.as_str())?)
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_answered_with_what_is_wrong() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let _host = rig.host("ship")?;
    rig.add_web(keep(0, "local")).await?;
    for operation in Operation::ALL.iter().copied() {
        for body in [&b"{"[..], b"[]", b"\xff\xfe", br#"{"colour": "red"}"#, &b" ".repeat(300_000)] {
            let error = refuses(&rig, operation, body).await?;
            ensure!(error.kind() == "invalid", "{operation:?} {error}");
        }
    }
    let add = async |config: Value| -> Result<String> {
        let request = AddDomain { domain: "new".to_owned(), config, ..AddDomain::default() };
        match rig.api.call::<Value>(Operation::DomainAdd, &request).await {
            Err(CallError::Api(error @ ApiError::Invalid { .. })) => Ok(error.to_string()),
            other => anyhow::bail!("expected a refusal, got {other:?}"),
        }
    };
    for (config, told) in [
        (json!({"general": {"decide_interval": "soon"}}), vec!["/general/decide_interval", "soon"]),
        (json!({"general": {"colour": 1}}), vec!["colour", "decide_interval"]),
        (json!({"general": {"engine": "best"}}), vec!["/general/engine", "best", "simplest@"]),
        (json!({"general": {"engine": "simplest@9"}}), vec!["/general/engine", "simplest@9"]),
        (json!({"engine_conf": {"preserve_n": -1}}), vec!["/engine_conf/preserve_n"]),
        (json!({"engine_conf": {}}), vec!["/engine_conf", "preserve_n"]),
        (json!({"engine_conf": {"preserve_n": 1, "preserv_n": 2}}), vec!["/engine_conf", "preserv_n"]),
        (json!({"health": {"missing_timeout": -3}}), vec!["/health/missing_timeout"]),
        (json!({"schedule": 3}), vec!["/schedule: expected a list"]),
        (
            json!({"schedule": [{"name": "day", "time_zone": "Europe/Vienne"}]}),
            vec!["/schedule/0/time_zone", "/schedule/0/start", "/schedule/0/engine_conf"],
        ),
        (over(keep(1, "local"), "0 18 30 2 *", json!({"preserve_n": 2})), vec!["/schedule/0/end: \"0 18 30 2 *\" never comes"]),
        (
            over(keep(1, "local"), "0 18 * * *", json!({"preserve_n": -1, "preserv_n": 2})),
            vec!["/schedule/0/engine_conf/preserve_n: -1", "/schedule/0/engine_conf/preserv_n", "while day is on, as at 20"],
        ),
        (over(keep(1, "local"), "0 8 * * *", json!({"preserve_n": 2})), vec!["/schedule/0/end: comes whenever start does"]),
    ] {
        let error = add(config).await?;
        for word in told {
            ensure!(error.contains(word), "{error:?} does not tell of {word:?}");
        }
    }
    for name in ["", "a.b", "a b", "*", &"x".repeat(64)] {
        let request = AddDomain { domain: name.to_owned(), config: keep(0, "local"), ..AddDomain::default() };
        let answer = rig.api.call::<Value>(Operation::DomainAdd, &request).await;
        ensure!(matches!(answer, Err(CallError::Api(ApiError::Invalid { .. }))), "{name:?}: {answer:?}");
    }
    // And the one domain is what it was.
    let described = rig.describe().await?;
    ensure!(described.config_revision == 1 && described.summary.fault.is_none(), "{described:?}");
    Ok(())
}

#[tokio::test]
async fn somebody_elses_domain_is_not_found() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let _host = rig.host("ship")?;
    rig.add_web(keep(0, "local")).await?;
    let body = json!({"domain": "web"}).to_string();
    for operation in [Operation::DomainDescribe, Operation::DomainRemove, Operation::DomainPause, Operation::Why] {
        let subject = rig.api.subjects().api("mallory", operation.name());
        let answer = rig.api.nats().request(subject, body.clone().into()).await?;
        let header = answer.headers.as_ref().and_then(|headers| headers.get(pilothouse::api::ERROR_HEADER)).context("an error")?;
        let error: ApiError = serde_json::from_str(header.as_str())?;
        ensure!(error.kind() == "not_found", "{error}");
    }
    let subject = rig.api.subjects().api("mallory", Operation::DomainList.name());
    let answer = rig.api.nats().request(subject, "{}".into()).await?;
    ensure!(serde_json::from_slice::<Value>(&answer.payload)? == json!({"domains": [], "unanswered": [], "left_out": 0}));
    Ok(())
}

#[tokio::test]
async fn messages_that_are_dropped_make_the_host_blind_and_are_reported() -> Result<()> {
    use async_nats::ConnectOptions;
    use pilothouse::driver::{Host, HostOptions};
    use pilothouse::nats::client::watched;
    let rig = Rig::new(PROGRAM).await?;
    // A host in this process, on a connection that holds only a few messages.
    let (events, received) = tokio::sync::mpsc::unbounded_channel();
    let client = watched(ConnectOptions::new().subscription_capacity(8), events).connect(rig.nats.url()).await?;
    let stop = tokio_util::sync::CancellationToken::new();
    let options = HostOptions {
        name: "small".parse()?,
        prefix: "ph".parse()?,
        lease: Duration::from_secs(3),
        replicas: 1,
        cache: Some(std::env::temp_dir().join("pilothouse-test-cache")),
        history_retention: pilothouse_core::time::Millis::from_secs(3600),
        limits: Default::default(),
        compiler: None,
        engines: Vec::new(),
        engines_dir: None,
        default_user: None,
        file: Default::default(),
        agent_signer: None,
        secrets: None,
    };
    let host = tokio::spawn(Host::start(client, received, options, stop.clone()).await?.run());
    rig.add_web(keep(0, "local")).await?;
    eventually("it sees", SOON, async || rig.describe().await.is_ok_and(|described| described.blind.is_none())).await?;
    let nats = rig.nats.client().await?;
    let mut told = None;
    eventually("it is blind for the messages that it dropped", SOON, async || {
        for _ in 0..5000 {
            let _ = nats.publish("ph.v1.heartbeat.0.i000-nobody", "{}".into()).await;
        }
        told = rig.describe().await.ok().and_then(|described| described.blind);
        told.as_ref().is_some_and(|(_, why)| why.contains("dropped"))
    })
    .await
    .with_context(|| format!("{told:?}"))?;
    eventually("it sees again", SOON, async || rig.describe().await.is_ok_and(|described| described.blind.is_none())).await?;
    stop.cancel();
    host.await??;
    let mut answers = nats.subscribe("answers").await?;
    nats.publish_with_reply("$SRV.PING.pilothouse", "answers", "".into()).await?;
    let nobody = answers.next().await.context("word that nobody is there")?;
    ensure!(nobody.status == Some(async_nats::StatusCode::NO_RESPONDERS), "it ended in order: {nobody:?}");
    Ok(())
}
