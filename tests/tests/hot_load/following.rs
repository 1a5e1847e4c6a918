//! Domains follow the versions that their configurations ask for.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use pilothouse::api::{ApiClient, EngineDescription, Operation};
use pilothouse_core::name::Name;
use pilothouse_tests::guest::Guest;
use pilothouse_tests::rig::SOON;
use pilothouse_tests::wait::eventually;
use serde_json::{Value, json};

use crate::ship::{Ship, brisk, called, content, tallied, tally};

#[tokio::test]
async fn a_newer_version_takes_over_between_two_decisions_and_has_the_memory() -> Result<()> {
    let ship = Ship::new().await?;
    ship.push(&tally("1.0.0"))?;
    ship.add("web", "guest").await?;
    let before = ship.sees("web", "it decides", |it| tallied(it).is_some_and(|[.., asked]| asked >= 2)).await?;
    ensure!(before.summary.engine.version == "1.0.0" && tallied(&before).is_some_and(|it| it[..2] == [1, 0]), "{before:#?}");

    let begun = Instant::now();
    ship.push(&tally("1.1.0"))?;
    let after = ship.decided_by("web", "1.1.0").await?;
    let took = begun.elapsed();
    let asked = ship.sees("web", "it decides", |it| tallied(it).is_some_and(|it| it[1] == 1)).await?;
    ensure!(tallied(&asked).is_some_and(|it| it[0] == 1), "the memory was handed over, not begun anew: {asked:#?}");
    ensure!(after.config["general"]["engine"] == "guest" && after.rejected.is_empty(), "{after:#?}");
    ensure!(
        ship.swaps("web") == [("1.1.0".to_owned(), "decided by guest 1.1.0 from now on, which is newer".to_owned())],
        "{:?}, {took:?} after the push began",
        ship.swaps("web")
    );
    let shown = ship.engine(&["show", "guest"])?;
    ensure!(shown["domains"][0]["domain"] == "web" && shown["domains"][0]["engine"]["version"] == "1.1.0", "{shown:#}");
    let used: Vec<_> = shown["versions"].as_array().context("versions")?.iter().map(|it| (&it["version"], &it["used_by"])).collect();
    ensure!(
        format!("{used:?}").contains("1.1.0") && shown["versions"][0]["used_by"] == 1 && shown["versions"][1]["used_by"] == 0,
        "{used:?}"
    );
    Ok(())
}

#[tokio::test]
async fn each_domain_takes_up_what_its_reference_says_and_nothing_else() -> Result<()> {
    let mut ship = Ship::new().await?;
    let digest = ship.push(&content("1.2.3"))?["digest"].as_str().context("a digest")?.to_owned();
    let references = [("any", "guest"), ("one", "guest@1"), ("minor", "guest@1.2"), ("exact", "guest@1.2.3"), ("bytes", digest.as_str())];
    for (domain, reference) in references {
        ship.add(domain, reference).await?;
        ship.decided_by(domain, "1.2.3").await?;
    }
    let expect = async |ship: &Ship, versions: [&str; 5]| -> Result<()> {
        for ((domain, _), version) in references.iter().zip(versions) {
            ship.decided_by(domain, version).await?;
        }
        Ok(())
    };
    ship.push(&content("1.2.4"))?;
    expect(&ship, ["1.2.4", "1.2.4", "1.2.4", "1.2.3", "1.2.3"]).await?;
    ship.push(&content("1.3.0"))?;
    expect(&ship, ["1.3.0", "1.3.0", "1.2.4", "1.2.3", "1.2.3"]).await?;
    ship.push(&content("2.0.0"))?;
    expect(&ship, ["2.0.0", "1.3.0", "1.2.4", "1.2.3", "1.2.3"]).await?;
    // An older one changes nothing, and new domains get the newest that fits.
    ship.push(&content("1.2.0"))?;
    ship.add("late", "guest@1.2").await?;
    ship.decided_by("late", "1.2.4").await?;
    expect(&ship, ["2.0.0", "1.3.0", "1.2.4", "1.2.3", "1.2.3"]).await?;
    ensure!(ship.swaps("exact").is_empty() && ship.swaps("bytes").is_empty() && ship.swaps("any").len() == 3);

    // A host that is started again has all of it from the registry.
    ship.restart()?;
    expect(&ship, ["2.0.0", "1.3.0", "1.2.4", "1.2.3", "1.2.3"]).await?;

    let answer = ship.rig.run(&["domain", "add", "none", "--engine", "guest@7"])?;
    ensure!(answer.code == 2 && answer.err.contains("no engine") && answer.err.contains("guest@1.2.4"), "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn a_pin_holds_until_it_is_undone_and_a_rollback_is_a_pin() -> Result<()> {
    let ship = Ship::new().await?;
    for version in ["1.0.0", "1.1.0"] {
        ship.push(&tally(version))?;
    }
    ship.add("web", "guest").await?;
    ship.add("fixed", "guest@1.1").await?;
    ship.decided_by("web", "1.1.0").await?;
    eventually("it has decided", SOON, async || ship.describe("web").await.is_ok_and(|it| tallied(&it).is_some())).await?;

    let back = ship.engine(&["rollback", "guest", "--reason", "it is odd"])?;
    ensure!(back["pinned"] == "1.0.0" && back["version"] == "1.0.0" && back["domains"] == 1, "{back:#}");
    let older = ship.decided_by("web", "1.0.0").await?;
    ensure!(older.rejected.is_empty() && older.summary.held.is_none(), "{older:#?}");
    let handed = ship.sees("web", "it decides", |it| tallied(it).is_some_and(|it| it[1] == 1)).await?;
    ensure!(tallied(&handed).is_some_and(|it| it[0] == 1), "{handed:#?}");
    ensure!(ship.swaps("web").last().is_some_and(|(_, why)| why.contains("which was pinned")), "{:?}", ship.swaps("web"));

    // A newer one is ready, and nobody takes it up.
    let pushed = ship.push(&tally("1.2.0"))?;
    ensure!(pushed["pinned"] == "1.0.0", "{pushed:#}");
    ship.add("new", "guest").await?;
    ship.decided_by("new", "1.0.0").await?;
    ensure!(ship.version("web").await? == "1.0.0" && ship.version("fixed").await? == "1.1.0");
    let shown = ship.engine(&["show", "guest"])?;
    ensure!(
        shown["pinned"]["version"] == "1.0.0" && shown["pinned"]["reason"] == "it is odd" && shown["in_effect"] == "1.0.0",
        "{shown:#}"
    );

    let pinned = ship.engine(&["pin", "guest@1.1.0"])?;
    ensure!(pinned["domains"] == 2 && pinned["changed"] == true, "{pinned:#}");
    ship.decided_by("web", "1.1.0").await?;
    let free = ship.engine(&["unpin", "guest"])?;
    ensure!(free["pinned"].is_null() && free["domains"] == 2, "{free:#}");
    ship.decided_by("web", "1.2.0").await?;
    ship.decided_by("new", "1.2.0").await?;
    ensure!(ship.version("fixed").await? == "1.1.0", "it asks for another");
    ensure!(ship.fails(&["rollback", "guest", "--to", "3.0.0"])?.0 == 4);
    ensure!(ship.fails(&["pin", "guest@3.0.0"])?.0 == 3);
    Ok(())
}

#[tokio::test]
async fn what_a_definition_names_may_be_a_version_of_the_registry() -> Result<()> {
    let ship = Ship::new().await?;
    let answer = ship.rig.run(&["definition", "add", "early", "--engine", "guest@1"])?;
    ensure!(answer.code == 2 && answer.err.contains("no engine"), "{answer:?}");
    ship.push(&called(Guest::new("quiet"), "1.0.0"))?;
    let answer = ship.rig.run(&["definition", "add", "late", "--engine", "guest@1"])?;
    ensure!(answer.code == 0, "{answer:?}");
    let described = ship.rig.run(&["definition", "describe", "late"])?.json()?;
    ensure!(described["engine"]["version"] == "1.0.0" && described["documentation"] == "docs", "{described:#}");
    let answer = ship.rig.run(&["domain", "add", "web", "--definition", "late"])?;
    ensure!(answer.code == 0, "{answer:?}");
    ship.decided_by("web", "1.0.0").await?;
    Ok(())
}

#[tokio::test]
async fn a_user_is_told_of_domains_of_their_own_alone_and_how_many_there_are_in_all() -> Result<()> {
    let ship = Ship::new().await?;
    ship.push(&content("1.0.0"))?;
    ship.add("web", "guest").await?;
    let ann = ApiClient::new(ship.rig.nats.client().await?, ship.rig.api.subjects().clone(), "ann".parse::<Name>()?);
    let mut request = json!({"domain": "jobs", "config": brisk("guest")});
    let _done: Value = ann.call(Operation::DomainAdd, &request).await?;
    request = json!({"name": "guest"});
    let of_ann: EngineDescription = ann.call(Operation::EngineShow, &request).await?;
    let of_default: EngineDescription = ship.rig.api.call(Operation::EngineShow, &request).await?;
    for (told, domain) in [(&of_ann, "jobs"), (&of_default, "web")] {
        let domains: Vec<_> = told.domains.iter().map(|it| it.domain.as_str()).collect();
        ensure!(domains == [domain] && told.versions[0].used_by == Some(2), "{told:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_old_version_that_no_host_has_at_hand_is_taken_up_all_the_same() -> Result<()> {
    let mut ship = Ship::new().await?;
    ship.push(&content("0.9.0"))?;
    ship.add("web", "guest@0.9").await?;
    ship.decided_by("web", "0.9.0").await?;
    ship.engine(&["pin", "guest@0.9.0"])?;
    let old = ["0.9.1", "0.9.2", "0.9.3"];
    for version in old {
        ship.push(&content(version))?;
    }
    for n in 0..16 {
        ship.push(&content(&format!("{}.{}.0", 2 + n / 10, n % 10)))?;
    }
    ship.restart()?;
    let on_demand = |version: &str| ship.ready("guest", version).is_ok_and(|state| state == "on_demand");
    eventually("these are too old to be compiled ahead of use", SOON, async || old.into_iter().all(on_demand)).await?;
    ship.decided_by("web", "0.9.0").await?;
    ship.engine(&["unpin", "guest"])?;
    ship.decided_by("web", "0.9.3").await?;
    ensure!(on_demand("0.9.1") && on_demand("0.9.2"), "nobody wants the ones before it: {:#}", ship.engine(&["show", "guest"])?);
    ensure!(ship.swaps("web").len() == 1, "{:?}", ship.swaps("web"));
    Ok(())
}
