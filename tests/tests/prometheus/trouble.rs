//! Everything that can go wrong with asking is told in words, and none of it becomes a reading.

use std::net::TcpListener;

use anyhow::{Result, ensure};
use pilothouse_core::sensor::Sample;
use pilothouse_tests::prometheus::{Exporter, Impostor, Manner, Prometheus};
use pilothouse_tests::rig::Rig;
use serde_json::{Map, Value, json};

use crate::{PROGRAM, config, host, pull, pulling, sees, text};

#[tokio::test]
async fn whatever_goes_wrong_is_told_in_words_and_is_never_a_reading() -> Result<()> {
    let exporter = Exporter::start().await?;
    exporter.set("queue_length{shard=\"a\"}", 6.0);
    exporter.set("queue_length{shard=\"b\"}", 9.0);
    let (rig, prometheus) = tokio::try_join!(Rig::new(PROGRAM), Prometheus::scraping(&exporter))?;
    let says = |status, body: &str| Impostor::start(Manner::Says(status, body.to_owned()));
    let target = says("200 OK", "{}").await?;
    let elsewhere = Manner::Elsewhere(format!("{}/api/v1/query", target.url()));
    let impostors = [
        ("silent", Impostor::start(Manner::Silent).await?),
        ("endless", Impostor::start(Manner::Endless).await?),
        ("elsewhere", Impostor::start(elsewhere).await?),
        ("locked", says("401 Unauthorized", "").await?),
        ("broken", says("502 Bad Gateway", "<html>").await?),
        ("page", says("200 OK", "<html>").await?),
    ];
    // A port that somebody had, and nobody listens on.
    let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut sources = vec![("main", json!({"url": prometheus.url()})), ("nobody", json!({"url": format!("http://{nobody}")}))];
    sources.extend(impostors.iter().map(|(name, impostor)| (*name, json!({"url": impostor.url()}))));
    let _host = host(&rig, "one", &sources)?;

    let of_main = [
        ("wrong", "sum(", "bad_data: "),
        ("many", "queue_length", "the query gives 2 series, {"),
        ("ranges", "queue_length[5m]", "the query gives ranges of values"),
        ("text", "\"hello\"", "the query gives a text"),
    ];
    let of_others = [
        ("silent", "no answer within 1s"),
        ("endless", "the answer is larger than 8 MiB"),
        ("elsewhere", "the server answers 307 Temporary Redirect, and redirects are not followed"),
        ("locked", "the server refuses the host's credentials: 401 Unauthorized"),
        ("broken", "the server answers 502 Bad Gateway"),
        ("page", "that is no answer of a Prometheus server"),
        ("nobody", "the server can't be reached: "),
        ("nowhere", "this host has no source nowhere: "),
    ];
    let of_main_too = [("absent", "no_such_metric"), ("nan", "sum(queue_length) * NaN")];
    let series = |source: &str, query: &str| json!({"source": source, "query": query, "interval": 1});
    let mut sensors = Map::new();
    sensors.extend(of_main.iter().map(|(name, query, _)| ((*name).to_owned(), series("main", query))));
    sensors.extend(of_main_too.iter().map(|(name, query)| ((*name).to_owned(), series("main", query))));
    sensors.extend(of_others.iter().map(|(name, _)| ((*name).to_owned(), series(name, "up"))));
    rig.add_web(pulling(Value::Object(sensors))).await?;

    let expected: Vec<_> = of_main.iter().map(|(name, _, words)| (*name, *words)).chain(of_others).collect();
    let described = sees(&rig, "everything fails as it should", |it| {
        let fails =
            |(name, words): &(&str, &str)| it.pulled[*name].failure.as_ref().is_some_and(|failure| failure.message.starts_with(words));
        let answered = |name: &str| it.pulled[name].last_success.is_some();
        expected.iter().all(fails) && of_main_too.iter().all(|(name, _)| answered(name)) && it.pulled["nan"].without_number == 1
    });
    let described = described.await?;
    for (name, _) in of_main_too {
        let pulled = pull(&described, name)?;
        ensure!(pulled.failure.is_none() && pulled.readings == 0, "{name}: {pulled:?}");
    }
    ensure!(described.sensor_data.is_empty(), "none of it is a reading: {:?}", described.sensor_data);
    ensure!(target.asked().is_empty(), "it went where it was sent: {:?}", target.asked());
    let told = text(&rig, &["domain", "describe", "web"])?;
    ensure!(told.contains("wrong: failed ") && told.contains("parse error"), "in the words of Prometheus: {told}");
    Ok(())
}

#[tokio::test]
async fn an_engine_that_asks_for_what_never_came_is_seen_to_get_nothing() -> Result<()> {
    let (rig, server) = tokio::try_join!(Rig::new(PROGRAM), Impostor::start(Manner::Silent))?;
    let _host = host(&rig, "one", &[("silent", json!({"url": server.url()}))])?;
    let engine_conf = json!({
        "metric": "queue", "scope": "domain", "sample_period": 60, "sample_function": "P90", "minimum_vms": 0, "maximum_vms": 3,
        "scale_up_threshold": 10, "scale_up_n_vms": 1, "scale_down_threshold": 2, "scale_down_n_vms": 1,
    });
    let sensors = json!({"queue": {"source": "silent", "query": "q", "interval": 1}});
    rig.add_web(config("sensor", engine_conf, sensors)).await?;
    let described = sees(&rig, "the engine has asked in vain", |it| {
        it.sensor_data.contains_key("queue") && it.pulled["queue"].failure.as_ref().is_some_and(|failure| failure.in_a_row >= 2)
    });
    let described = described.await?;
    let data = &described.sensor_data["queue"];
    ensure!(data.newest == Sample::Absent && data.asked.iter().all(|it| it.sample == Sample::Absent && it.window == 60.0), "{data:?}");
    ensure!(!data.asked.is_empty() && data.sample_count == 0 && described.instances.is_empty(), "{data:?}");
    Ok(())
}
