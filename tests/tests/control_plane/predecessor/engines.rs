//! Engines that are asked, configured, and fail; and what they launch.

use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, ensure};
use pilothouse::api::Operation;
use pilothouse_core::instance::State;
use pilothouse_core::message::Reading;
use pilothouse_core::time::Timestamp;
use serde_json::{Value, json};

use crate::guests;
use crate::pair::{Pair, brisk, over, preserve};
use crate::played::{Played, SITE};
use crate::user::in_state;

/// How often the engine `tally` was initialised, reconfigured and asked, and its configuration: as it tells them.
fn tallied(described: &Value) -> Option<([u8; 3], Value)> {
    let reason = described["reason"].as_str()?;
    let digits: [u8; 3] = reason.as_bytes().get(..3)?.try_into().ok()?;
    Some((digits.map(|digit| digit - b'0'), serde_json::from_str(reason.get(3..)?).ok()?))
}

#[tokio::test]
async fn an_engine_is_initialised_once_and_then_asked_again_and_again() -> Result<()> {
    let pair = Pair::offering(&[("tally", guests::tally())]).await?;
    let owner = pair.user("owner1");
    owner.ask(Operation::DefinitionAdd, json!({"name": "def123", "definition": brisk("tally")})).await?;
    let request = json!({"domain": "testing123", "definition": "def123", "config": {"engine_conf": {"preserve_n": 1}}});
    owner.ask(Operation::DomainAdd, request).await?;
    for decisions in 1..=3 {
        let described = owner.sees("testing123", "it decides", |it| tallied(it).is_some_and(|([.., decided], _)| decided >= decisions));
        let (counts, config) = tallied(&described.await?).context("a tally")?;
        ensure!(counts[..2] == [1, 0], "initialised once, never reconfigured: {counts:?}");
        ensure!(config == json!({"preserve_n": 1}), "{config}");
    }
    pair.was_asked_through_the_standby().await
}

#[tokio::test]
async fn a_reconfiguration_reaches_the_engine_of_its_domain_once() -> Result<()> {
    let pair = Pair::offering(&[("tally", guests::tally())]).await?;
    let emily = pair.user("emily");
    emily.ask(Operation::DefinitionAdd, json!({"name": "def123", "definition": brisk("tally")})).await?;
    for name in ["testing123", "testing789"] {
        let request = json!({"domain": name, "definition": "def123", "config": {"engine_conf": {"preserve_n": 1}}});
        emily.ask(Operation::DomainAdd, request).await?;
        let decided = |it: &Value| tallied(it).is_some_and(|(counts, _)| counts[..2] == [1, 0] && counts[2] >= 1);
        emily.sees(name, "it decides", decided).await?;
    }
    let change = json!({"domain": "testing123", "config": {"engine_conf": {"preserve_n": 2}}});
    let answer = emily.ask(Operation::DomainReconfigure, change.clone()).await?;
    ensure!(answer["config_revision"] == 2, "{answer}");
    let taken_up = |it: &Value| tallied(it).is_some_and(|(counts, _)| counts[1] == 1);
    let described = emily.sees("testing123", "it is taken up", taken_up).await?;
    let (counts, config) = tallied(&described).context("a tally")?;
    ensure!(config == json!({"preserve_n": 2}), "{config}");
    // It does not happen again, and not to the other; also when the same is asked for once more, which changes nothing.
    let answer = emily.ask(Operation::DomainReconfigure, change).await?;
    ensure!(answer["config_revision"] == 2, "{answer}");
    for name in ["testing123", "testing789"] {
        let (before, _) = tallied(&emily.describe(name).await?).context("a tally")?;
        let goes_on = |it: &Value| tallied(it).is_some_and(|(counts, _)| counts[2] != before[2]);
        let described = emily.sees(name, "it decides again", goes_on).await?;
        let (after, config) = tallied(&described).context("a tally")?;
        let expected = if name == "testing123" { ([1, 1], 2) } else { ([1, 0], 1) };
        ensure!((after[..2] == expected.0) && config["preserve_n"] == expected.1, "{name}: {after:?} {config}");
    }
    ensure!(counts[0] == 1);
    pair.was_asked_through_the_standby().await
}

#[tokio::test]
async fn as_many_as_are_to_be_kept_are_launched_by_an_empty_definition_too() -> Result<()> {
    let pair = Pair::new().await?;
    let (owner, played) = (pair.user("owner1"), Played::obliging(&pair.rig).await?);
    owner.ask(Operation::DefinitionAdd, json!({"name": "definition1", "definition": {}})).await?;
    let config = over(&json!({"health": {"monitor_health": false}}), &preserve(2));
    owner.ask(Operation::DomainAdd, json!({"domain": "testing123", "definition": "definition1", "config": config})).await?;
    let described = owner.sees("testing123", "it is content", |it| it["status"] == "stable").await?;
    ensure!(in_state(&described, &["RUNNING"]).len() == 2 && played.launched().len() == 2 && played.ended().is_empty(), "{described:#}");
    pair.was_asked_through_the_standby().await
}

#[tokio::test]
async fn variables_of_the_configuration_reach_the_provisioner() -> Result<()> {
    let pair = Pair::new().await?;
    let (owner, played) = (pair.user("owner1"), Played::silent(&pair.rig).await?);
    let definition = json!({"general": {"provisioner_vars": {"chef_credential": "nobody's"}}});
    owner.ask(Operation::DefinitionAdd, json!({"name": "definition1", "definition": definition})).await?;
    let config = over(&preserve(2), &json!({"general": {"provisioner_vars": {"chef_credential": "chef1"}}}));
    owner.ask(Operation::DomainAdd, json!({"domain": "testing123", "definition": "definition1", "config": config})).await?;
    ensure!(played.is_asked_to_launch(2).await?.len() == 2);
    for provision in played.provisions() {
        ensure!(provision.vars.get("chef_credential").map(String::as_str) == Some("chef1"), "{provision:?}");
        ensure!(provision.domain.to_string() == "owner1/testing123", "{provision:?}");
    }
    pair.was_asked_through_the_standby().await
}

#[tokio::test]
async fn a_domain_follows_its_number_up_and_down_to_nothing() -> Result<()> {
    let pair = Pair::new().await?;
    let (owner, played) = (pair.user("opwner1"), Played::obliging(&pair.rig).await?);
    owner.ask(Operation::DefinitionAdd, json!({"name": "def123", "definition": brisk("simplest")})).await?;
    owner.ask(Operation::DomainAdd, json!({"domain": "testing123", "definition": "def123", "config": preserve(2)})).await?;
    for (count, launched, ended) in [(2, 2, 0), (4, 4, 0), (0, 4, 4)] {
        if count != 2 {
            owner.ask(Operation::DomainReconfigure, json!({"domain": "testing123", "config": preserve(count)})).await?;
        }
        let reason = format!("{count} of {count} healthy");
        let settled = |it: &Value| {
            it["status"] == "stable"
                && it["reason"].as_str().is_some_and(|told| told.starts_with(&reason))
                && in_state(it, &["TERMINATING"]).is_empty()
        };
        let described = owner.sees("testing123", &format!("it settles at {count}"), settled).await?;
        ensure!(in_state(&described, &["RUNNING"]).len() == count as usize, "{described:#}");
        let asked = (played.launched().len(), played.ended().len());
        ensure!(asked == (launched, ended), "at {count}: {asked:?}");
    }
    pair.was_asked_through_the_standby().await
}

#[tokio::test]
async fn readings_of_a_domain_and_of_its_instances_are_described() -> Result<()> {
    let pair = Pair::new().await?;
    let (asterix, played) = (pair.user("asterix"), Played::obliging(&pair.rig).await?);
    ensure!(asterix.domains().await?.is_empty());
    asterix.ask(Operation::DefinitionAdd, json!({"name": "twodomaindef", "definition": brisk("sensor")})).await?;
    let config = json!({"engine_conf": {
        "minimum_vms": 1, "maximum_vms": 3, "metric": "load", "sample_function": "Average", "iaas_site": SITE, "deployable_type": "worker",
    }});
    asterix.ask(Operation::DomainAdd, json!({"domain": "twodomain", "definition": "twodomaindef", "config": config})).await?;
    ensure!(asterix.domains().await? == ["twodomain"]);
    let described = asterix.sees("twodomain", "one runs", |it| in_state(it, &["RUNNING"]).len() == 1).await?;
    let instance = &described["instances"][0];
    ensure!(instance["sensor_data"].is_null() && described["sensor_data"] == json!({}), "nothing was read so far: {described:#}");

    let now = UNIX_EPOCH.elapsed()?.as_secs_f64();
    let reading = |metric: &str, value: f64| {
        let time = Timestamp::from_secs_f64(now).context("a time")?;
        anyhow::Ok(Reading { metric: metric.to_owned(), time, value })
    };
    let nats = pair.rig.api.nats();
    let of_domain = described["subjects"]["sensor"].as_str().context("a subject")?.to_owned();
    let launch = played.provisions().remove(0).instances.remove(0);
    nats.publish(of_domain, reading("queuelen", 12.0)?.to_json(None).into()).await?;
    let of_instance = reading("load", 0.5)?.to_json(Some(launch.node_id.as_str()));
    nats.publish(launch.sensor_subject, of_instance.into()).await?;
    let read = |it: &Value| !it["sensor_data"]["queuelen"].is_null() && !it["instances"][0]["sensor_data"]["load"].is_null();
    let described = asterix.sees("twodomain", "what was read is described", read).await?;
    for (series, value) in [(&described["sensor_data"]["queuelen"], 12.0), (&described["instances"][0]["sensor_data"]["load"], 0.5)] {
        let told: Vec<(f64, f64)> = serde_json::from_value(series["Series"].clone())?;
        ensure!(told.len() == 1 && told[0].1 == value && (told[0].0 - now).abs() < 1.0, "{series:#}");
        ensure!(series["Average"] == value && series["SampleCount"] == 1, "{series:#}");
    }
    pair.was_asked_through_the_standby().await
}

/// Whatever a failing engine does, another domain of the same host goes on.
async fn goes_on_beside_it(pair: &Pair, played: &Played) -> Result<()> {
    let beside = pair.user("somebody");
    beside.ask(Operation::DomainAdd, json!({"domain": "beside", "config": over(&brisk("simplest"), &preserve(1))})).await?;
    let described = beside.sees("beside", "it is content", |it| it["status"] == "stable").await?;
    ensure!(in_state(&described, &["RUNNING"]).len() == 1 && played.launched().len() == 1, "{described:#}");
    Ok(())
}

#[tokio::test]
async fn an_engine_that_fails_to_decide_harms_nobody() -> Result<()> {
    let pair = Pair::offering(&[("never", guests::never())]).await?;
    let (joe, played) = (pair.user("joeowner"), Played::obliging(&pair.rig).await?);
    joe.ask(Operation::DefinitionAdd, json!({"name": "fail_definition", "definition": brisk("never")})).await?;
    joe.ask(Operation::DomainAdd, json!({"domain": "fail_domain", "definition": "fail_definition", "config": {}})).await?;
    let described = joe.sees("fail_domain", "it failed more than once", |it| it["fault"]["in_a_row"].as_u64() >= Some(2)).await?;
    let told = described["fault"]["message"].as_str().unwrap_or_default();
    ensure!(told.contains("trap") && told.contains("decide"), "{told}");
    goes_on_beside_it(&pair, &played).await?;
    // And what people ask of the domain is done.
    joe.ask(Operation::DomainRemove, json!({"domain": "fail_domain"})).await?;
    joe.sees_it_go("fail_domain").await?;
    pair.was_asked_through_the_standby().await
}

#[tokio::test]
async fn an_engine_that_fails_to_reconfigure_harms_nobody() -> Result<()> {
    let pair = Pair::offering(&[("stuck", guests::stuck())]).await?;
    let (owner, played) = (pair.user("owner"), Played::obliging(&pair.rig).await?);
    owner.ask(Operation::DefinitionAdd, json!({"name": "fail_definition", "definition": brisk("stuck")})).await?;
    let request = json!({"domain": "fail_domain", "definition": "fail_definition", "config": {"engine_conf": {"preserve_n": 1}}});
    owner.ask(Operation::DomainAdd, request).await?;
    let described = owner.sees("fail_domain", "it decides", |it| tallied(it).is_some()).await?;
    ensure!(described["fault"].is_null(), "{described:#}");
    let change = json!({"domain": "fail_domain", "config": {"engine_conf": {"preserve_n": 2}}});
    let answer = owner.ask(Operation::DomainReconfigure, change).await?;
    ensure!(answer["config_revision"] == 2, "{answer}");
    let described = owner.sees("fail_domain", "it failed", |it| it["fault"]["in_a_row"].as_u64() >= Some(1)).await?;
    let told = described["fault"]["message"].as_str().unwrap_or_default();
    ensure!(told.contains("trap") && told.contains("reconfigure"), "{told}");
    ensure!(described["config"]["engine_conf"] == json!({"preserve_n": 2}), "{described:#}");
    goes_on_beside_it(&pair, &played).await?;
    // Another engine takes over what this one can't do.
    let change = json!({"domain": "fail_domain", "config": over(&json!({"general": {"engine": "simplest"}}), &preserve(1))});
    owner.ask(Operation::DomainReconfigure, change).await?;
    let mended = |it: &Value| it["status"] == "stable" && it["fault"].is_null() && in_state(it, &[State::Running.name()]).len() == 1;
    owner.sees("fail_domain", "it is content", mended).await?;
    pair.was_asked_through_the_standby().await
}
