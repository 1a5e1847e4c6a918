//! The end of a domain: whoever is away, whatever fails.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pilothouse::api::Operation;
use pilothouse_core::command::ApiError;
use pilothouse_core::instance::State;
use pilothouse_tests::rig::SOON;
use pilothouse_tests::wait::eventually;
use serde_json::json;

use crate::guests;
use crate::pair::{Pair, brisk, over, preserve};
use crate::played::{AGAIN, Played, shortest_pause, times_asked};
use crate::user::in_state;

#[tokio::test]
async fn a_removal_takes_as_long_as_its_provisioner_does() -> Result<()> {
    let pair = Pair::new().await?;
    let (owner, played) = (pair.user("owner1"), Played::obliging(&pair.rig).await?);
    owner.ask(Operation::DomainAdd, json!({"domain": "web", "config": over(&brisk("simplest"), &preserve(3))})).await?;
    owner.sees("web", "three run", |it| in_state(it, &["RUNNING"]).len() == 3).await?;
    // It is away: nobody confirms.
    played.obliges(false);
    owner.ask(Operation::DomainRemove, json!({"domain": "web"})).await?;
    let ids = played.is_asked_to_end(3).await?;
    let described = owner.describe("web").await?;
    ensure!(described["life"] == "removing" && in_state(&described, &["TERMINATING"]).len() == 3, "{described:#}");
    // Nothing else can be asked of it meanwhile, but the same.
    for (operation, request) in [
        (Operation::DomainReconfigure, json!({"domain": "web", "config": preserve(5)})),
        (Operation::DomainPause, json!({"domain": "web"})),
        (Operation::DomainAdd, json!({"domain": "web", "config": preserve(5)})),
    ] {
        let error = owner.refused(operation, request).await?;
        ensure!(matches!(error, ApiError::Conflict { .. }), "{operation:?}: {error}");
    }
    owner.ask(Operation::DomainRemove, json!({"domain": "web"})).await?;
    // One goes, and the others are asked for again.
    played.reports(&ids[0], State::Terminated).await?;
    for id in &ids[1..] {
        eventually("its end is asked for again", SOON, async || times_asked(&played.ends(), id) >= 2).await?;
        let pause = shortest_pause(&played.ends(), id).context("asked twice")?;
        ensure!(pause + Duration::from_millis(100) >= AGAIN, "after {pause:?}");
    }
    let described = owner.describe("web").await?;
    ensure!(in_state(&described, &["TERMINATED"]) == ids[..1] && in_state(&described, &["TERMINATING"]) == ids[1..], "{described:#}");
    ensure!(times_asked(&played.ends(), &ids[0]) == 1 && played.launched().len() == 3, "{:?}", played.ends());
    // It is back, and what is left goes.
    for id in &ids[1..] {
        played.reports(id, State::Terminated).await?;
    }
    owner.sees_it_go("web").await?;
    ensure!(owner.domains().await?.is_empty());
    // The name is free, and what comes is another domain.
    played.obliges(true);
    owner.ask(Operation::DomainAdd, json!({"domain": "web", "config": over(&brisk("simplest"), &preserve(1))})).await?;
    let described = owner.sees("web", "one runs", |it| in_state(it, &["RUNNING"]).len() == 1).await?;
    ensure!(described["instances"].as_array().is_some_and(|all| all.len() == 1) && described["config_revision"] == 1, "{described:#}");
    pair.was_asked_through_the_standby().await
}

#[tokio::test]
async fn a_domain_whose_provisioner_is_gone_for_good_is_abandoned() -> Result<()> {
    let pair = Pair::new().await?;
    let (owner, played) = (pair.user("owner1"), Played::obliging(&pair.rig).await?);
    for name in ["at-once", "late"] {
        owner.ask(Operation::DomainAdd, json!({"domain": name, "config": over(&brisk("simplest"), &preserve(2))})).await?;
        owner.sees(name, "two run", |it| in_state(it, &["RUNNING"]).len() == 2).await?;
    }
    played.obliges(false);
    owner.ask(Operation::InstanceProtect, json!({"instance": "at-once/1"})).await?;
    // Also one with protected instances: who abandons knows what they do.
    let answer = owner.ask(Operation::DomainRemove, json!({"domain": "at-once", "abandon": true})).await?;
    ensure!(answer["abandoned"] == true, "{answer}");
    owner.sees_it_go("at-once").await?;
    owner.ask(Operation::DomainRemove, json!({"domain": "late"})).await?;
    owner.sees("late", "it waits", |it| in_state(it, &["TERMINATING"]).len() == 2).await?;
    owner.ask(Operation::DomainRemove, json!({"domain": "late", "abandon": true})).await?;
    owner.sees_it_go("late").await?;
    ensure!(owner.domains().await?.is_empty());
    pair.was_asked_through_the_standby().await
}

#[tokio::test]
async fn an_engine_that_fails_to_retire_blocks_nothing() -> Result<()> {
    let pair = Pair::offering(&[("cling", guests::cling())]).await?;
    let owner = pair.user("owner1");
    owner.ask(Operation::DomainAdd, json!({"domain": "web", "config": brisk("cling")})).await?;
    // It has a memory when it has decided, and only then it is told.
    let request = json!({"domain": "web", "last": 1});
    eventually("it decides", SOON, async || {
        let told = owner.ask(Operation::Why, request.clone()).await.unwrap_or_default();
        told["decisions"].as_array().is_some_and(|all| !all.is_empty())
    })
    .await?;
    owner.ask(Operation::DomainRemove, json!({"domain": "web"})).await?;
    owner.sees_it_go("web").await?;
    let logs = pair.rig.logs();
    ensure!(logs.contains("failed to retire") && logs.to_lowercase().contains("trap"), "it was told, and it failed: {logs}");
    pair.was_asked_through_the_standby().await
}

#[tokio::test]
async fn protected_instances_are_ended_by_nobody() -> Result<()> {
    let pair = Pair::new().await?;
    let (owner, played) = (pair.user("owner1"), Played::obliging(&pair.rig).await?);
    owner.ask(Operation::DomainAdd, json!({"domain": "web", "config": over(&brisk("simplest"), &preserve(3))})).await?;
    owner.sees("web", "three run", |it| in_state(it, &["RUNNING"]).len() == 3).await?;
    let ids = played.launched();
    owner.ask(Operation::InstanceProtect, json!({"instance": ids[1]})).await?;
    for called in [ids[1].as_str(), "web/1"] {
        let error = owner.refused(Operation::InstanceKill, json!({"instance": called})).await?;
        ensure!(matches!(error, ApiError::Conflict { .. }) && error.to_string().contains("protected"), "{error}");
    }
    let error = owner.refused(Operation::DomainRemove, json!({"domain": "web"})).await?;
    ensure!(matches!(error, ApiError::Conflict { .. }) && error.to_string().contains("web/1"), "{error}");
    // Its engine has others go in its place.
    owner.ask(Operation::DomainReconfigure, json!({"domain": "web", "config": preserve(1)})).await?;
    let described =
        owner.sees("web", "two go", |it| in_state(it, &["TERMINATED"]).len() == 2 && in_state(it, &["RUNNING"]).len() == 1).await?;
    ensure!(in_state(&described, &["RUNNING"]) == ids[1..2], "{described:#}");
    owner.ask(Operation::DomainReconfigure, json!({"domain": "web", "config": preserve(0)})).await?;
    // Asked for again and again, and never granted: until somebody takes the protection back.
    let revision =
        |it: &serde_json::Value| it["config_revision"] == 3 && it["reason"].as_str().is_some_and(|told| told.contains("of 0 healthy"));
    let described = owner.sees("web", "the engine has seen it", revision).await?;
    ensure!(in_state(&described, &["RUNNING"]) == ids[1..2] && !played.ended().contains(&ids[1]), "{described:#}");
    owner.ask(Operation::InstanceUnprotect, json!({"instance": "web/1"})).await?;
    owner.sees("web", "the last goes", |it| in_state(it, &["TERMINATED"]).len() == 3).await?;
    owner.ask(Operation::DomainRemove, json!({"domain": "web"})).await?;
    owner.sees_it_go("web").await?;
    pair.was_asked_through_the_standby().await
}

#[tokio::test]
async fn an_instance_that_is_killed_goes_whatever_its_engine_and_the_guards_think() -> Result<()> {
    let pair = Pair::new().await?;
    let (owner, played) = (pair.user("owner1"), Played::obliging(&pair.rig).await?);
    owner.ask(Operation::DomainAdd, json!({"domain": "web", "config": over(&brisk("simplest"), &preserve(2))})).await?;
    owner.sees("web", "two run", |it| in_state(it, &["RUNNING"]).len() == 2).await?;
    let ids = played.launched();
    owner.ask(Operation::DomainPause, json!({"domain": "web"})).await?;
    let answer = owner.ask(Operation::InstanceKill, json!({"instance": "web/0", "reason": "it hums"})).await?;
    ensure!(answer["instance_id"] == ids[0] && answer["domain"] == "web", "{answer}");
    let described = owner.sees("web", "it goes", |it| in_state(it, &["TERMINATED"]).len() == 1).await?;
    ensure!(in_state(&described, &["RUNNING"]) == ids[1..], "{described:#}");
    ensure!(described["instances"][0]["end_reason"].as_str().is_some_and(|told| told.contains("it hums")), "{described:#}");
    let error = owner.refused(Operation::InstanceKill, json!({"instance": ids[0]})).await?;
    ensure!(matches!(error, ApiError::Conflict { .. }), "{error}");
    // It is replaced as soon as its engine may ask.
    owner.ask(Operation::DomainResume, json!({"domain": "web"})).await?;
    owner.sees("web", "it is replaced", |it| in_state(it, &["RUNNING"]).len() == 2).await?;
    ensure!(played.launched().len() == 3 && played.ended() == ids[..1] && times_asked(&played.ends(), &ids[0]) == 1);
    pair.was_asked_through_the_standby().await
}
