//! Many callers at once: each is answered as if the others came before or after it.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use futures::future::{join_all, try_join_all};
use pilothouse::api::Operation;
use pilothouse_core::command::ApiError;
use pilothouse_tests::processes::Program;
use pilothouse_tests::rig::{Rig, SOON};
use pilothouse_tests::wait::eventually;
use serde_json::{Value, json};

use crate::PROGRAM;
use crate::guests;
use crate::pair::{Pair, brisk, over, preserve};
use crate::played::Played;
use crate::user::User;

/// So many users on connections of their own, all under one name.
async fn crowd(rig: &Rig, count: usize) -> Result<Vec<User>> {
    try_join_all((0..count).map(|_| User::apart(rig, "crowd"))).await
}

/// Two hosts that both hear users, who come to either of them by chance: any host changes definitions, and none asks the other.
async fn two_that_hear() -> Result<(Rig, [Program; 2])> {
    let rig = Rig::new(PROGRAM).await?;
    let hosts = [rig.host("first")?, rig.host("second")?];
    let both = async || {
        let listed = User::of(&rig, "crowd").call(Operation::HostList, json!({})).await;
        listed.is_ok_and(|answer| answer.is_ok_and(|list| list["hosts"].as_array().is_some_and(|all| all.len() == 2)))
    };
    eventually("both hosts are there", SOON, both).await.with_context(|| rig.logs())?;
    Ok((rig, hosts))
}

/// Exactly one is answered, the others are told of a conflict. Which one.
fn one_wins(answers: Vec<Result<Result<Value, ApiError>>>) -> Result<usize> {
    let mut winners = Vec::new();
    for (n, answer) in answers.into_iter().enumerate() {
        match answer? {
            Ok(_) => winners.push(n),
            Err(ApiError::Conflict { .. }) => {}
            Err(other) => anyhow::bail!("neither won nor in conflict: {other}"),
        }
    }
    ensure!(winners.len() == 1, "{winners:?} all won");
    Ok(winners[0])
}

#[tokio::test]
async fn of_twenty_who_add_one_domain_at_once_one_wins() -> Result<()> {
    let pair = Pair::new().await?;
    let (crowd, played) = (crowd(&pair.rig, 20).await?, Played::obliging(&pair.rig).await?);
    let config = |n: usize| over(&over(&brisk("simplest"), &preserve(2)), &json!({"general": {"max_instances": 100 + n}}));
    let adding = crowd.iter().enumerate().map(|(n, user)| user.call(Operation::DomainAdd, json!({"domain": "web", "config": config(n)})));
    let winner = one_wins(join_all(adding).await)?;
    let described = crowd[0].sees("web", "it is content", |it| it["status"] == "stable").await?;
    ensure!(described["config"]["general"]["max_instances"] == 100 + winner, "that of the winner: {described:#}");
    ensure!(described["config_revision"] == 1 && played.launched().len() == 2 && crowd[0].domains().await? == ["web"]);
    pair.was_asked_through_the_standby().await
}

#[tokio::test]
async fn of_twenty_who_add_one_definition_at_once_one_wins() -> Result<()> {
    let (rig, _hosts) = two_that_hear().await?;
    let crowd = crowd(&rig, 20).await?;
    let definition = |n: usize| over(&brisk("simplest"), &json!({"general": {"max_instances": 100 + n}}));
    let adding =
        crowd.iter().enumerate().map(|(n, user)| user.call(Operation::DefinitionAdd, json!({"name": "d", "definition": definition(n)})));
    let winner = one_wins(join_all(adding).await)?;
    let described = crowd[0].ask(Operation::DefinitionDescribe, json!({"name": "d"})).await?;
    ensure!(described["definition"] == definition(winner), "that of the winner: {described:#}");
    Ok(())
}

#[tokio::test]
async fn of_fifty_reconfigurations_every_accepted_one_is_in_the_configuration() -> Result<()> {
    let pair = Pair::offering(&[("tally", guests::tally())]).await?;
    let crowd = crowd(&pair.rig, 10).await?;
    let config = over(&brisk("tally"), &json!({"engine_conf": {"begun": true}}));
    crowd[0].ask(Operation::DomainAdd, json!({"domain": "web", "config": config})).await?;
    // Each a key of its own, and half of them a variable of one value that is replaced whole.
    let change = |n: usize| match n % 2 {
        0 => json!({"engine_conf": {format!("key{n}"): n}}),
        _ => json!({"engine_conf": {"shared": n}, "general": {"max_instances": 100 + n}}),
    };
    let asking = (0..50).map(|n| crowd[n % crowd.len()].call(Operation::DomainReconfigure, json!({"domain": "web", "config": change(n)})));
    let mut accepted: Vec<(u64, usize)> = Vec::new();
    for (n, answer) in join_all(asking).await.into_iter().enumerate() {
        match answer? {
            Ok(answer) => accepted.push((answer["config_revision"].as_u64().context("a revision")?, n)),
            // Too many others were faster for too long: told, and not done.
            Err(ApiError::Conflict { .. } | ApiError::Unavailable { .. }) => {}
            Err(other) => anyhow::bail!("{n}: {other}"),
        }
    }
    accepted.sort_unstable();
    ensure!(accepted.len() >= 40, "patience is rewarded: {} of 50", accepted.len());
    let revisions: BTreeSet<u64> = accepted.iter().map(|(revision, _)| *revision).collect();
    ensure!(revisions == (2..=accepted.len() as u64 + 1).collect(), "each was applied once: {accepted:?}");
    let mut expected = config;
    for (_, n) in &accepted {
        expected = over(&expected, &change(*n));
    }
    let described = crowd[0].describe("web").await?;
    ensure!(described["config_revision"] == accepted.len() + 1, "{described:#}");
    ensure!(described["config"]["engine_conf"] == expected["engine_conf"], "{described:#} instead of {expected:#}");
    ensure!(described["config"]["general"]["max_instances"] == expected["general"]["max_instances"], "{described:#}");
    // The engine comes to see the last of them.
    let last = |it: &Value| {
        let told = it["reason"].as_str().and_then(|reason| reason.get(3..)).and_then(|json| serde_json::from_str::<Value>(json).ok());
        told.is_some_and(|told| told == expected["engine_conf"])
    };
    crowd[0].sees("web", "the engine has all of them", last).await?;
    pair.was_asked_through_the_standby().await
}

#[tokio::test]
async fn a_definition_that_many_replace_and_remove_is_always_a_whole_one() -> Result<()> {
    let (rig, _hosts) = two_that_hear().await?;
    let crowd = crowd(&rig, 10).await?;
    // Two values that belong together.
    let definition =
        |n: usize| json!({"general": {"engine": "simplest", "max_instances": 100 + n}, "health": {"missing_timeout": 100 + n}});
    let write = |n: usize| json!({"name": "d", "definition": definition(n)});
    for round in 0..4 {
        crowd[0].ask(Operation::DefinitionAdd, write(0)).await?;
        let updating = crowd.iter().enumerate().map(|(n, user)| user.call(Operation::DefinitionUpdate, write(10 * round + n)));
        let removing =
            crowd.iter().take(if round % 2 == 0 { 0 } else { 2 }).map(|user| user.call(Operation::DefinitionRemove, json!({"name": "d"})));
        let (updated, removed) = tokio::join!(join_all(updating), join_all(removing));
        let mut last = BTreeSet::new();
        for (n, answer) in updated.into_iter().enumerate() {
            match answer? {
                Ok(answer) => drop(last.insert((answer["revision"].as_u64().context("a revision")?, n))),
                Err(ApiError::NotFound { .. }) if round % 2 == 1 => {}
                Err(ApiError::Conflict { .. }) => {}
                Err(other) => anyhow::bail!("{other}"),
            }
        }
        let mut removals = 0;
        for answer in removed {
            match answer? {
                Ok(_) => removals += 1,
                Err(ApiError::NotFound { .. } | ApiError::Conflict { .. }) => {}
                Err(other) => anyhow::bail!("{other}"),
            }
        }
        let now = crowd[0].call(Operation::DefinitionDescribe, json!({"name": "d"})).await?;
        if round % 2 == 0 {
            let (_, n) = last.last().context("one was accepted")?;
            ensure!(now?["definition"] == definition(10 * round + n), "the one that was accepted last");
            crowd[0].ask(Operation::DefinitionRemove, json!({"name": "d"})).await?;
        } else {
            ensure!(removals <= 1, "removed {removals} times");
            ensure!(matches!(now, Err(ApiError::NotFound { .. })) == (removals == 1), "{now:?} after {removals} removals");
            if removals == 0 {
                crowd[0].ask(Operation::DefinitionRemove, json!({"name": "d"})).await?;
            }
        }
    }
    Ok(())
}
