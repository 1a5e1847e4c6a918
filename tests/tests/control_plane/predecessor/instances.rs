//! Instances: looked up, asked for again, ended, forgotten; and reports that come in every order.

use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use pilothouse::api::Operation;
use pilothouse_core::command::ApiError;
use pilothouse_core::instance::State;
use pilothouse_core::message::StateReport;
use pilothouse_core::time::Timestamp;
use pilothouse_tests::rig::SOON;
use pilothouse_tests::wait::{eventually, eventually_some};
use serde_json::{Value, json};

use crate::pair::{Pair, brisk, over, preserve};
use crate::played::{AGAIN, Played, shortest_pause, times_asked};
use crate::user::in_state;

#[tokio::test]
async fn an_instance_is_found_by_its_id_alone() -> Result<()> {
    let pair = Pair::new().await?;
    let (owner, other) = (pair.user("owner1"), pair.user("owner2"));
    let played = Played::obliging(&pair.rig).await?;
    owner.ask(Operation::DefinitionAdd, json!({"name": "definition1", "definition": brisk("simplest")})).await?;
    for (count, name) in [(1, "domain1"), (2, "domain2")] {
        owner.ask(Operation::DomainAdd, json!({"domain": name, "definition": "definition1", "config": preserve(1)})).await?;
        let id = played.is_asked_to_launch(count).await?[count - 1].clone();
        for called in [id.clone(), format!("{name}/0")] {
            let found = owner.ask(Operation::InstanceDescribe, json!({"instance": called})).await?;
            ensure!(found["domain"] == name && found["owner"] == "owner1" && found["instance_id"] == id, "{found:#}");
        }
        let error = other.refused(Operation::InstanceDescribe, json!({"instance": id})).await?;
        ensure!(matches!(error, ApiError::NotFound { .. }), "{error}");
    }
    for unknown in ["i000-nobody", "domain1/7", "domain3/0"] {
        let error = owner.refused(Operation::InstanceDescribe, json!({"instance": unknown})).await?;
        ensure!(matches!(error, ApiError::NotFound { .. }), "{unknown}: {error}");
    }
    let list = owner.ask(Operation::InstanceList, json!({})).await?;
    let listed: Vec<_> = list["instances"].as_array().context("a list")?.iter().map(|it| it["domain"].clone()).collect();
    ensure!(listed == ["domain1", "domain2"], "{list:#}");
    let list = owner.ask(Operation::InstanceList, json!({"domain": "domain2"})).await?;
    ensure!(list["instances"].as_array().is_some_and(|all| all.len() == 1 && all[0]["domain"] == "domain2"), "{list:#}");
    pair.was_asked_through_the_standby().await
}

#[tokio::test]
async fn what_is_not_acknowledged_is_asked_for_again_and_nothing_else() -> Result<()> {
    let pair = Pair::new().await?;
    let (owner, played) = (pair.user("owner1"), Played::silent(&pair.rig).await?);
    owner.ask(Operation::DefinitionAdd, json!({"name": "definition1", "definition": brisk("simplest")})).await?;
    owner.ask(Operation::DomainAdd, json!({"domain": "domain1", "definition": "definition1", "config": preserve(2)})).await?;
    let ids = played.is_asked_to_launch(2).await?;
    played.reports(&ids[0], State::Requested).await?;
    eventually("the launch of the other is asked for again", SOON, async || times_asked(&played.launches(), &ids[1]) == 2).await?;
    ensure!(times_asked(&played.launches(), &ids[0]) == 1 && played.launched() == ids, "{:?}", played.launches());

    owner.ask(Operation::DomainReconfigure, json!({"domain": "domain1", "config": preserve(0)})).await?;
    let mut ended = played.is_asked_to_end(2).await?;
    ended.sort();
    ensure!(
        ended == {
            let mut both = ids.clone();
            both.sort();
            both
        },
        "{ended:?}"
    );
    played.reports(&ids[0], State::Terminated).await?;
    eventually("the end of the other is asked for again", SOON, async || times_asked(&played.ends(), &ids[1]) == 2).await?;
    ensure!(times_asked(&played.ends(), &ids[0]) == 1, "{:?}", played.ends());
    ensure!(times_asked(&played.launches(), &ids[1]) <= 3 && played.launched() == ids, "{:?}", played.launches());
    // Not before it was due: the clocks of two processes differ by less than this.
    let due = AGAIN - Duration::from_millis(100);
    for asked in [played.launches(), played.ends()] {
        let pause = shortest_pause(&asked, &ids[1]).context("asked for twice")?;
        ensure!(pause >= due, "asked for again after {pause:?}");
    }
    played.reports(&ids[1], State::Terminated).await?;
    owner.sees("domain1", "both are gone", |it| in_state(it, &["TERMINATED"]).len() == 2).await?;
    pair.was_asked_through_the_standby().await
}

#[tokio::test]
async fn the_instances_of_a_removed_domain_are_ended() -> Result<()> {
    let pair = Pair::new().await?;
    let owner = pair.user("owner1");
    let _site = pair.rig.site("local").await?;
    owner.ask(Operation::DefinitionAdd, json!({"name": "def123", "definition": brisk("simplest")})).await?;
    let config = json!({"engine_conf": {"preserve_n": 2, "force_site": "local", "epuworker_type": "worker"}});
    owner.ask(Operation::DomainAdd, json!({"domain": "testing123", "definition": "def123", "config": config})).await?;
    owner.sees("testing123", "two run", |it| in_state(it, &["RUNNING"]).len() == 2).await?;
    ensure!(pair.rig.ledger.alive().len() == 2);
    owner.ask(Operation::DomainRemove, json!({"domain": "testing123"})).await?;
    owner.sees_it_go("testing123").await?;
    ensure!(pair.rig.ledger.alive().is_empty(), "its instances were gone before it: {:?}", pair.rig.ledger.alive());
    ensure!(owner.domains().await?.is_empty() && pair.rig.ledger.starts().len() == 2);
    pair.was_asked_through_the_standby().await
}

#[tokio::test]
async fn records_of_instances_that_are_gone_for_long_go_too() -> Result<()> {
    const KEPT: Duration = Duration::from_secs(4);
    const EACH: Duration = Duration::from_millis(500);
    const SLACK: Duration = Duration::from_secs(1);
    let pair = Pair::new().await?;
    let (owner, played) = (pair.user("owner1"), Played::silent(&pair.rig).await?);
    let config = over(&over(&brisk("simplest"), &preserve(90)), &json!({"general": {"record_reaping_max_age": KEPT.as_secs()}}));
    owner.ask(Operation::DomainAdd, json!({"domain": "testing123", "config": config})).await?;
    let ids = played.is_asked_to_launch(90).await?;
    owner.ask(Operation::DomainPause, json!({"domain": "testing123"})).await?;
    let (running, mut others) = ids.split_first().context("many")?;
    played.reports(running, State::Running).await?;
    // Records are looked through now and then. So that there are always some that are old enough and some that are not, one after the other
    // ends, in each of the ways in which an instance can.
    let mut gone: Vec<(String, State, Instant)> = Vec::new();
    let left = eventually_some("records go", SOON, async || {
        if gone.last().is_none_or(|(.., at)| at.elapsed() >= EACH) {
            let (id, rest) = others.split_first()?;
            let end = [State::Terminated, State::Rejected, State::Failed][gone.len() % 3];
            played.reports(id, end).await.ok()?;
            gone.push((id.clone(), end, Instant::now()));
            others = rest;
        }
        let left = of_all(&owner.describe("testing123").await.ok()?);
        (left.len() < ids.len()).then_some(left)
    });
    let left = left.await?;
    let (kept, reaped): (Vec<_>, Vec<_>) = gone.into_iter().partition(|(id, ..)| left.contains(id));
    ensure!(kept.len() >= 3 && reaped.len() >= 3, "of each kind some: {kept:?} {reaped:?}");
    ensure!(kept.iter().all(|(.., at)| at.elapsed() <= KEPT + SLACK), "old enough to go: {kept:?}");
    ensure!(reaped.iter().all(|(.., at)| at.elapsed() + SLACK >= KEPT), "too young to go: {reaped:?}");
    for end in [State::Terminated, State::Rejected, State::Failed] {
        ensure!(reaped.iter().any(|(_, how, _)| *how == end), "{end} too: {reaped:?}");
    }
    ensure!(left.contains(running) && others.iter().all(|id| left.contains(id)), "whoever is not gone stays: {left:?}");
    pair.was_asked_through_the_standby().await
}

fn of_all(described: &Value) -> Vec<String> {
    let all = described["instances"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter_map(|it| it["instance_id"].as_str().map(str::to_owned)).collect()
}

/// Two reports on one instance, sent on two connections at once: whichever comes first, the later state stays.
async fn settles_on_the_later(first: State, second: State) -> Result<()> {
    const MANY: u32 = 25;
    let pair = Pair::new().await?;
    let (owner, played) = (pair.user("owner1"), Played::silent(&pair.rig).await?);
    owner.ask(Operation::DefinitionAdd, json!({"name": "definition1", "definition": {}})).await?;
    let config = over(&json!({"health": {"monitor_health": false}}), &preserve(MANY));
    owner.ask(Operation::DomainAdd, json!({"domain": "testing123", "definition": "definition1", "config": config})).await?;
    let ids = played.is_asked_to_launch(MANY as usize).await?;
    let (one, other) = (pair.rig.nats.client().await?, pair.rig.nats.client().await?);
    for id in &ids {
        let subject = played.state_subject(id)?;
        let now = Timestamp::from_secs_f64(UNIX_EPOCH.elapsed()?.as_secs_f64()).context("a time")?;
        let sent = |state| StateReport::new(state).to_json(id, now);
        let (a, b) = tokio::join!(one.publish(subject.clone(), sent(first).into()), other.publish(subject.clone(), sent(second).into()));
        a?;
        b?;
    }
    tokio::try_join!(one.flush(), other.flush())?;
    let later = first.max(second).name();
    owner.sees("testing123", "all settle on the later state", |it| in_state(it, &[later]).len() == MANY as usize).await?;
    // Once more, late and twice: nothing goes back. What is told of one of them afterwards shows that all of it was read.
    for id in &ids {
        played.reports(id, State::Pending).await?;
        played.reports(id, State::Pending).await?;
    }
    let mark = StateReport { attributes: [("read".to_owned(), "all".to_owned())].into(), ..StateReport::new(first.max(second)) };
    let last = ids.last().context("many")?;
    played.reports_all(last, &mark).await?;
    let described = eventually_some("all was read", SOON, async || {
        let described = owner.describe("testing123").await.ok()?;
        let is_marked = described["instances"].as_array()?.iter().any(|it| it["attributes"]["read"] == "all");
        is_marked.then_some(described)
    });
    ensure!(in_state(&described.await?, &[later]).len() == MANY as usize);
    pair.was_asked_through_the_standby().await
}

#[tokio::test]
async fn a_later_state_wins_over_one_that_sneaks_in_before_it() -> Result<()> {
    settles_on_the_later(State::Pending, State::Started).await
}

#[tokio::test]
async fn an_earlier_state_that_comes_late_changes_nothing() -> Result<()> {
    settles_on_the_later(State::Started, State::Pending).await
}
