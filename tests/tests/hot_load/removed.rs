//! Versions go when nobody needs them, and not before.

use anyhow::{Context, Result, ensure};
use pilothouse::api::{CallError, EngineChanged, Operation};
use pilothouse::driver::registry::put_component;
use pilothouse_tests::guest::Guest;
use pilothouse_tests::rig::SOON;
use pilothouse_tests::wait::eventually;
use serde_json::{Value, json};

use crate::ship::{Ship, brisk, content};

#[tokio::test]
async fn a_version_stays_while_a_domain_needs_it_for_anything() -> Result<()> {
    let ship = Ship::new().await?;
    let digest = |pushed: Value| pushed["digest"].as_str().map(str::to_owned).context("a digest");
    let first = digest(ship.push(&content("1.0.0"))?)?;
    ship.add("web", "guest").await?;
    ship.sees("web", "it decides", |it| it.asked.decisions >= 1).await?;
    let refused = |version: &str| -> Result<()> {
        let (code, why) = ship.fails(&["remove", &format!("guest@{version}")])?;
        ensure!(code == 4 && why.contains("default/web"), "{version}: {why}");
        Ok(())
    };
    refused("1.0.0")?;

    // It is what the domain goes back to.
    let second = digest(ship.push(&content("1.1.0"))?)?;
    let after = ship.decided_by("web", "1.1.0").await?;
    ensure!(after.engine_before.is_some_and(|engine| engine.digest == first));
    refused("1.1.0")?;
    refused("1.0.0")?;

    // It runs beside.
    let beside = digest(ship.push(&content("0.9.0"))?)?;
    ensure!(ship.rig.run(&["domain", "shadow", "web", "--engine", "guest@0.9.0"])?.code == 0);
    refused("0.9.0")?;
    ensure!(ship.rig.run(&["domain", "shadow", "web", "--off"])?.code == 0);
    ship.engine(&["remove", "guest@0.9.0"])?;
    let stored = ship.stored().await?;
    ensure!(!stored.contains(&beside) && stored.contains(&first) && stored.contains(&second), "{stored:?}");
    let again = ship.engine(&["remove", "guest@0.9.0"])?;
    ensure!(again["changed"] == false, "{again:#}");

    // It is pinned.
    ship.engine(&["pin", "guest@1.1.0"])?;
    let (code, why) = ship.fails(&["remove", "guest@1.1.0"])?;
    ensure!(code == 4, "{why}");
    ship.engine(&["unpin", "guest"])?;

    // Nobody needs any of it.
    ensure!(ship.rig.run(&["domain", "remove", "web"])?.code == 0);
    let gone = async || ship.rig.run(&["engine", "remove", "guest@1.1.0"]).is_ok_and(|answer| answer.code == 0);
    eventually("the domain is gone, and the version with it", SOON, gone).await?;
    ship.engine(&["remove", "guest@1.0.0"])?;
    let stored = ship.stored().await?;
    ensure!(!stored.contains(&first) && !stored.contains(&second), "{stored:?}");
    ensure!(ship.fails(&["show", "guest"])?.0 == 3);
    ensure!(ship.fails(&["remove", "guest@5.0.0"])?.0 == 3, "there never was one");
    Ok(())
}

#[tokio::test]
async fn what_comes_with_a_host_stays_in_the_store_when_its_version_is_removed() -> Result<()> {
    let ship = Ship::new().await?;
    let component = pilothouse_tests::guest::shipped("sensor");
    let digest = pilothouse::driver::registry::digest_of(&component);
    ensure!(ship.try_push(&component)?.code == 0);
    ship.engine(&["remove", "sensor@0.1.0"])?;
    ensure!(ship.stored().await?.contains(&digest), "hosts of another build go on with it");
    let shown = ship.engine(&["show", "sensor"])?;
    ensure!(shown["versions"][0]["sources"] == json!(["built_in"]), "{shown:#}");
    Ok(())
}

/// An engine that takes a good part of a second to judge a configuration, so that much may happen between its choice and its use.
fn thoughtful(version: &str) -> Guest {
    let count = "(local $n i32) (loop $on (local.set $n (i32.add (local.get $n) (i32.const 1))) \
                 (br_if $on (i32.lt_u (local.get $n) (i32.const 100000000))))";
    let check = "#check-config\") (param i32 i32) (result i32) ";
    content(version).with(check, &format!("{check}{count} "))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_removal_and_a_domain_at_the_same_time_one_comes_first() -> Result<()> {
    let ship = Ship::new().await?;
    let api = &ship.rig.api;
    for n in 0..4 {
        let version = format!("1.{n}.0");
        let digest = ship.push(&thoughtful(&version))?["digest"].as_str().context("a digest")?.to_owned();
        let domain = format!("web-{n}");
        let add = json!({"domain": domain, "config": brisk(&format!("guest@{version}"))});
        let remove = json!({"name": "guest", "version": version});
        let adding = api.call::<Value>(Operation::DomainAdd, &add);
        let removing = api.call::<EngineChanged>(Operation::EngineRemove, &remove);
        let (added, removed): (Result<Value, CallError>, Result<EngineChanged, CallError>) = futures::join!(adding, removing);
        let is_stored = ship.stored().await?.contains(&digest);
        match (&added, &removed) {
            (Ok(_), Err(error)) => ensure!(is_stored && error.to_string().contains(&domain), "{error}"),
            (Err(error), Ok(_)) => ensure!(!is_stored && error.to_string().contains("no engine"), "{error}"),
            _ => anyhow::bail!("{added:?} and {removed:?}, and it is {}stored", if is_stored { "" } else { "not " }),
        }
        if added.is_ok() {
            ship.sees(&domain, "it decides", |it| it.asked.decisions >= 1).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_removal_that_comes_again_takes_nothing_away_that_was_pushed_since() -> Result<()> {
    let ship = Ship::new().await?;
    let digest = ship.push(&content("1.0.0"))?["digest"].as_str().context("a digest")?.to_owned();
    let request = json!({"name": "guest", "version": "1.0.0", "request_id": "once"});
    let first: EngineChanged = ship.rig.api.call(Operation::EngineRemove, &request).await?;
    ensure!(first.changed && !ship.stored().await?.contains(&digest), "{first:?}");
    ensure!(ship.push(&content("1.0.0"))?["changed"] == true);
    let again: EngineChanged = ship.rig.api.call(Operation::EngineRemove, &request).await?;
    ensure!(again == first, "{again:?}");
    ensure!(ship.stored().await?.contains(&digest));
    ensure!(ship.engine(&["show", "guest"])?["versions"][0]["digest"] == json!(digest));
    Ok(())
}

#[tokio::test]
async fn what_was_put_into_the_store_long_ago_and_never_became_a_version_goes() -> Result<()> {
    let ship = Ship::new().await?;
    let jetstream = async_nats::jetstream::new(ship.rig.nats.client().await?);
    let store = jetstream.get_object_store("PH_ENGINES").await?;
    let put = async |guest: Guest, long_ago: bool| -> Result<String> {
        let digest = put_component(&store, &guest.component()).await?;
        if long_ago {
            ship.alter(&digest, "mtime", json!("2020-01-01T00:00:00Z")).await?;
            ensure!(store.info(&digest).await?.modified.is_some_and(|at| at.year() == 2020), "it is old");
        }
        Ok(digest)
    };
    let [left_over, used, fresh] =
        [put(content("3.0.0"), true).await?, put(content("4.0.0"), true).await?, put(content("5.0.0"), false).await?];
    // It came with hosts of another build.
    let pinned = put(content("6.0.0"), true).await?;
    let entry = json!({"v": 1, "pinned": {"version": "6.0.0", "digest": pinned, "by": "ann", "at": 1}});
    // What was put last is looked at last.
    let left_over = [left_over, put(content("7.0.0"), true).await?];
    jetstream.get_key_value("PH_REGISTRY").await?.put("other", entry.to_string().into()).await?;
    ship.add("web", &format!("sha256:{used}")).await?;
    ship.sees("web", "it decides", |it| it.asked.decisions >= 1).await?;
    let pushed = ship.push(&content("1.0.0"))?["digest"].as_str().context("a digest")?.to_owned();
    ship.push(&content("2.0.0"))?;

    ship.engine(&["remove", "guest@2.0.0"])?;
    eventually("what was left over is gone", SOON, async || {
        ship.stored().await.is_ok_and(|it| !left_over.iter().any(|gone| it.contains(gone)))
    })
    .await?;
    let stored = ship.stored().await?;
    for needed in [used, fresh, pushed, pinned, pilothouse::driver::registry::digest_of(&pilothouse_tests::guest::shipped("sensor"))] {
        ensure!(stored.contains(&needed), "{needed}: {stored:?}");
    }
    Ok(())
}
