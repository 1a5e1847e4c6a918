//! What is pulled moves domains as what is published does.

use anyhow::{Context, Result, ensure};
use pilothouse_core::sensor::{Sample, Statistic};
use pilothouse_tests::prometheus::{Impostor, Manner};
use pilothouse_tests::rig::{Rig, SOON};
use pilothouse_tests::wait::eventually;
use serde_json::{Value, json};

use crate::{PROGRAM, Whole, answer, config, figures, host, pull, pulling, sees, text};

fn sensor(scope: &str, metric: &str) -> Value {
    json!({
        "metric": metric, "scope": scope, "sample_period": 3,
        "scale_up_threshold": 10, "scale_up_n_vms": 1, "scale_down_threshold": 2, "scale_down_n_vms": 1,
        "minimum_vms": 1, "maximum_vms": 3, "cooldown_period": 0, "iaas_site": "local", "deployable_type": "worker",
    })
}

#[tokio::test]
async fn a_queue_in_prometheus_grows_a_domain_its_loss_holds_it_and_an_empty_queue_shrinks_it() -> Result<()> {
    let mut whole = Whole::start().await?;
    whole.exporter.set("queue_length{shard=\"a\"}", 6.0);
    whole.exporter.set("queue_length{shard=\"b\"}", 9.0);
    let sensors = json!({"queue": {"source": "main", "query": "sum(queue_length)", "interval": 1}});
    whole.rig.add_web(config("sensor", sensor("domain", "queue"), sensors)).await?;
    whole.rig.settles_at(3).await?;

    let described = sees(&whole.rig, "the engine has asked", |it| it.sensor_data["queue"].newest == Sample::Value(15.0)).await?;
    let data = &described.sensor_data["queue"];
    let asked = data.asked.first().with_context(|| format!("what the engine asked for: {data:?}"))?;
    ensure!((asked.statistic, asked.window, asked.sample) == (Statistic::Average, 3.0, Sample::Value(15.0)), "{data:?}");
    ensure!(data.window == 3.0 && data.minimum == Some(15.0) && data.sample_count > 0, "{data:?}");
    let pulled = pull(&described, "queue")?;
    ensure!(pulled.readings == 1 && pulled.failure.is_none() && pulled.interval == 1.0, "{pulled:?}");
    ensure!(pulled.query == "sum(queue_length)" && pulled.source.as_str() == "main", "{pulled:?}");

    // Its loss: nothing is made of nothing, however long it lasts.
    whole.prometheus.stop();
    let is_stale = |sample| matches!(sample, Sample::Stale(last, age) if last == 15.0 && age.get() > 3000);
    let described = sees(&whole.rig, "readings are stale", |it| {
        let failed = it.pulled["queue"].failure.as_ref().is_some_and(|failure| failure.in_a_row >= 5);
        failed && is_stale(it.sensor_data["queue"].newest)
    });
    let described = described.await?;
    let data = &described.sensor_data["queue"];
    ensure!(is_stale(data.asked[0].sample) && data.average.is_none() && data.series.is_empty(), "{data:?}");
    let pulled = pull(&described, "queue")?;
    let (failure, last) = (pulled.failure.as_ref().context("a failure")?, pulled.last_success.context("it was there")?);
    ensure!(failure.message.starts_with("the server can't be reached: ") && failure.at > last, "{pulled:?}");
    ensure!(!failure.message.contains("127.0.0.1"), "an operator's address is told to users: {failure:?}");
    let told = text(&whole.rig, &["domain", "describe", "web"])?;
    for part in [
        "15 (stale)",
        "stale, the last was 15 before",
        "pulled from Prometheus\n",
        " in a row: the server can't be reached",
        "sum(queue_length)",
    ] {
        ensure!(told.contains(part), "{part:?} is not in {told}");
    }
    ensure!(whole.rig.settles_at(3).await?.len() == 3 && whole.rig.ledger.starts().len() == 3, "nobody came or went");

    // It comes back, and the queue is nearly empty.
    whole.exporter.set("queue_length{shard=\"a\"}", 0.25);
    whole.exporter.set("queue_length{shard=\"b\"}", 0.25);
    whole.prometheus.start_again().await?;
    whole.rig.settles_at(1).await?;
    let described = whole.rig.describe().await?;
    ensure!(pull(&described, "queue")?.failure.is_none(), "{:?}", described.pulled);
    Ok(())
}

#[tokio::test]
async fn a_label_says_whose_a_value_is_by_the_id_or_by_what_the_provisioner_told() -> Result<()> {
    let whole = Whole::start().await?;
    let by_id = json!({"load": {"source": "main", "query": "load", "interval": 1, "instance_label": "node"}});
    whole.rig.add_web(config("sensor", sensor("instance", "load"), by_id)).await?;
    let all = |ids: Vec<String>, value: f64| {
        let known = ids.into_iter().map(move |id| (format!("load{{node=\"{id}\"}}"), value));
        known.chain([("load{node=\"stranger\"}".to_owned(), 7.0), ("load{other=\"label\"}".to_owned(), 7.0)])
    };
    let grown = eventually("the load of every instance is seen", SOON, async || {
        let Ok(valid) = whole.rig.valid().await else { return false };
        let read =
            |it: &pilothouse::api::InstanceDescription| it.sensor_data.get("load").is_some_and(|data| data.newest == Sample::Value(50.0));
        let done = valid.len() == 3 && valid.iter().all(read);
        whole.exporter.set_all(all(valid.into_iter().map(|it| it.instance_id.to_string()).collect(), 50.0));
        done
    });
    grown.await.with_context(|| whole.rig.logs())?;
    let instances = whole.rig.settles_at(3).await?;
    let described = whole.rig.describe().await?;
    let pulled = pull(&described, "load")?;
    ensure!((pulled.readings, pulled.unmatched, pulled.ambiguous) == (3, 2, 0), "{pulled:?}");
    ensure!(!described.sensor_data.contains_key("load"), "a load of the domain as a whole: {:?}", described.sensor_data);
    let shown = text(&whole.rig, &["instance", "show", instances[0].instance_id.as_str()])?;
    ensure!(shown.contains("average over 3 s: 50"), "{shown}");

    // The same by an attribute; one instance has no number, and says nothing.
    let pids: Vec<_> = instances.iter().filter_map(|it| it.attributes.get("pid").cloned()).collect();
    ensure!(pids.len() == 3, "{instances:?}");
    whole.exporter.set_all(all(pids.clone(), 0.5));
    whole.exporter.set(&format!("load{{node=\"{}\"}}", pids[0]), f64::NAN);
    let by_pid = json!({"load": {"source": "main", "query": "load", "interval": 1, "instance_label": "node", "instance_attribute": "pid"}});
    whole.rig.reconfigure(json!({ "sensors": by_pid, "engine_conf": {"scale_down_n_vms": 0} })).await?;
    let described =
        sees(&whole.rig, "two have a number", |it| it.pulled["load"].readings == 2 && it.pulled["load"].without_number == 1).await?;
    let pulled = pull(&described, "load")?;
    ensure!(pulled.unmatched == 2 && pulled.failure.is_none(), "{pulled:?}");
    // The silent one is not taken to be idle; as soon as it says so itself, it is.
    whole.rig.reconfigure(json!({"engine_conf": {"scale_down_n_vms": 1}})).await?;
    whole.rig.settles_at(2).await?;
    whole.exporter.set_all(all(pids, 0.5));
    whole.rig.settles_at(1).await?;
    Ok(())
}

#[tokio::test]
async fn what_is_taken_out_of_the_configuration_is_asked_for_no_more() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let (a, b, c) = tokio::try_join!(
        Impostor::start(Manner::Says("200 OK", answer(1.0))),
        Impostor::start(Manner::Says("200 OK", answer(2.0))),
        Impostor::start(Manner::Says("200 OK", answer(3.0)))
    )?;
    let _host = host(&rig, "one", &[("a", json!({"url": a.url()})), ("b", json!({"url": b.url()})), ("c", json!({"url": c.url()}))])?;
    let from = |source: &str| json!({"source": source, "query": "q", "interval": 1});
    rig.add_web(pulling(json!({"first": from("a"), "second": from("b")}))).await?;
    rig.add("other", pulling(json!({"third": from("c")}))).await?;
    sees(&rig, "both are read", |it| it.sensor_data.len() == 2).await?;

    let taken_out = rig.run(&["domain", "reconfigure", "web", "--set", "sensors.first=null"])?;
    ensure!(taken_out.code == 0, "{taken_out:?}");
    let described = sees(&rig, "one is left", |it| it.pulled.len() == 1).await?;
    pull(&described, "second")?;
    ensure!(!described.sensor_data.contains_key("first"), "what was read goes with it: {:?}", described.sensor_data);
    // One question may be on its way. Three seconds by the clock of the other.
    let (asked, other) = (a.asked().len(), b.asked().len());
    eventually("the other is still asked", SOON, async || b.asked().len() >= other + 3).await?;
    ensure!(a.asked().len() <= asked + 1, "{} after {asked}", a.asked().len());

    // Pausing does not stop it: people look at a paused domain, too. Removing does.
    ensure!(rig.run(&["domain", "pause", "web"])?.code == 0, "it is paused");
    let other = b.asked().len();
    eventually("a paused domain asks on", SOON, async || b.asked().len() >= other + 2).await?;
    ensure!(rig.run(&["domain", "remove", "web"])?.code == 0, "it is being removed");
    eventually("the domain is gone", SOON, async || rig.describe().await.is_err()).await?;
    let (asked, other) = (b.asked().len(), c.asked().len());
    eventually("the other domain still asks", SOON, async || c.asked().len() >= other + 3).await?;
    ensure!(b.asked().len() <= asked + 1, "{} after {asked}", b.asked().len());
    Ok(())
}

#[tokio::test]
async fn a_series_goes_on_when_it_is_asked_for_more_often_and_begins_anew_when_something_else_is_asked() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let says = |value| Impostor::start(Manner::Says("200 OK", answer(value)));
    let (a, b) = tokio::try_join!(says(1.0), says(2.0))?;
    let _host = host(&rig, "one", &[("a", json!({"url": a.url()})), ("b", json!({"url": b.url()}))])?;
    let queue = |source: &str, interval: u32| json!({"queue": {"source": source, "query": "q", "interval": interval}});
    rig.add_web(pulling(queue("a", 1))).await?;
    sees(&rig, "it was read twice", |it| it.sensor_data.get("queue").is_some_and(|data| data.sample_count >= 2)).await?;
    rig.reconfigure(json!({ "sensors": queue("a", 60) })).await?;
    let described = sees(&rig, "it is asked for less often", |it| it.pulled["queue"].interval == 60.0).await?;
    ensure!(described.sensor_data["queue"].sample_count >= 2, "{:?}", described.sensor_data);
    rig.reconfigure(json!({ "sensors": queue("b", 1) })).await?;
    let described = sees(&rig, "the other is read", |it| it.sensor_data.get("queue").is_some_and(|it| it.maximum == Some(2.0))).await?;
    ensure!(described.sensor_data["queue"].minimum == Some(2.0), "two things in one series: {:?}", described.sensor_data);
    Ok(())
}

#[tokio::test]
async fn only_the_host_that_has_the_domain_asks_and_its_successor_goes_on() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let server = Impostor::start(Manner::Says("200 OK", answer(1.0))).await?;
    let sources = [("main", json!({"url": server.url()}))];
    let one = host(&rig, "one", &sources)?;
    rig.add_web(pulling(json!({"queue": {"source": "main", "query": "q", "interval": 1}}))).await?;
    sees(&rig, "it is read", |it| it.sensor_data.contains_key("queue")).await?;
    let _two = host(&rig, "two", &sources)?;
    eventually("both hosts answer, and one asks", SOON, async || figures(&rig, 2).await.is_ok_and(|all| all["one"].pulls.questions >= 3))
        .await?;
    let all = figures(&rig, 2).await?;
    ensure!(all["two"].pulls.questions == 0 && !all["two"].owner, "{all:?}");
    ensure!(all["one"].pulls.readings > 0 && all["one"].pulls.failures == 0, "{all:?}");

    one.crash().await?;
    // A value is there a moment before it is counted.
    let reads = sees(&rig, "the other has the domain and reads", |it| {
        it.host.as_str() == "two"
            && it.sensor_data.get("queue").is_some_and(|data| data.newest == Sample::Value(1.0))
            && pull(it, "queue").is_ok_and(|pull| pull.readings == 1)
    });
    reads.await.map(drop)
}
