//! How many domains take up a version at once, and how often an engine is asked that is slow, writes much, or could not be had.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use futures::TryStreamExt;
use pilothouse::driver::registry::{Registry, What, Wish, digest_of};
use pilothouse::store::{JetStreamJournal, Journal, JournalOptions};
use pilothouse_core::name::DomainKey;
use pilothouse_core::record::{Event, Record};
use pilothouse_core::time::Timestamp;
use pilothouse_tests::guest::Guest;
use pilothouse_tests::rig::SOON;
use pilothouse_tests::wait::{eventually, eventually_some};
use serde_json::{Value, json};

use crate::ship::{Ship, content, demanding, tally};

const DONE: &str = "(call $done (local.get $domain) (local.get $control))";

/// An engine that goes round so many times before each of its decisions.
fn slow(version: &str, rounds: u32) -> Guest {
    let round = "(local.set $length (i32.sub (local.get $length) (i32.const 1))) (br_if $again (local.get $length))";
    content(version).with(DONE, &format!("(local.set $length (i32.const {rounds})) (loop $again {round}) {DONE}"))
}

fn every(seconds: f64) -> Value {
    json!({"general": {"engine": "guest", "decide_interval": seconds}, "health": {"monitor_health": false}})
}

/// How many domains were at once between the record of a swap and that of the decision after it.
async fn most_at_once(ship: &Ship, domains: &[String]) -> Result<usize> {
    let (client, subjects) = (ship.rig.nats.client().await?, ship.rig.api.subjects().clone());
    let journal = JetStreamJournal::open(client, subjects, &JournalOptions::default()).await?;
    // Sequences count over all domains.
    let mut story = Vec::new();
    for domain in domains {
        let key = DomainKey { owner: "default".parse()?, name: domain.parse()? };
        for entry in journal.history(&key, None, 10_000).await? {
            story.push((entry.sequence, domain, Record::from_bytes(&entry.bytes)?));
        }
    }
    story.sort_by_key(|(sequence, ..)| *sequence);
    let (mut on_their_way, mut most) = (BTreeSet::new(), 0);
    for (_, domain, record) in &story {
        for event in &record.events {
            match event {
                Event::Swapped(_) => drop(on_their_way.insert(domain)),
                Event::Decided(_) => drop(on_their_way.remove(domain)),
                _ => {}
            }
        }
        most = most.max(on_their_way.len());
    }
    ensure!(on_their_way.is_empty(), "still on their way: {on_their_way:?}");
    Ok(most)
}

#[tokio::test]
async fn a_version_that_all_follow_is_taken_up_by_a_few_at_a_time() -> Result<()> {
    let ship = Ship::new().await?;
    ship.push(&slow("1.0.0", 5_000_000))?;
    let domains: Vec<String> = (0..60).map(|nth| format!("web-{nth}")).collect();
    for domain in &domains {
        ship.rig.add(domain, every(30.0)).await?;
    }
    ship.push(&slow("1.1.0", 5_000_000))?;
    for domain in &domains {
        ship.decided_by(domain, "1.1.0").await?;
        // An engine that has just come into force says something with its first decision.
        ship.sees(domain, "it decides", |it| it.asked.decisions >= 2).await?;
    }
    let most = most_at_once(&ship, &domains).await?;
    ensure!((2..=16).contains(&most), "{most} at once");
    Ok(())
}

#[tokio::test]
async fn an_engine_that_is_slow_is_left_alone_for_as_long_and_that_is_told() -> Result<()> {
    let ship = Ship::new().await?;
    ship.push(&slow("1.0.0", 140_000_000))?;
    ship.rig.add("web", every(0.1)).await?;
    let told =
        || ship.told(&["why", "web"]).ok().filter(|it| it.contains("is asked LESS OFTEN than its engine wants: the newest call took"));
    let told = eventually_some("it is told", SOON, async || told()).await.with_context(|| ship.rig.logs())?;
    ensure!(told.contains("--set general.decide_interval=SECONDS"), "{told}");
    Ok(())
}

#[tokio::test]
async fn an_engine_that_does_not_come_back_in_time_is_left_alone_like_one_that_is_slow() -> Result<()> {
    let ship = Ship::limited("fuel = 1_000_000_000_000_000\ndeadline_ms = 1000\ntime_out_ms = 1000").await?;
    // It does not look at its deadline for seconds: it does not go round in anything, and calls nothing.
    let fill = "(memory.fill (i32.const 65536) (i32.const 1) (i32.const 65000000)) ".repeat(1500);
    let deaf = content("1.0.0").with("(memory (export \"memory\") 1)", "(memory (export \"memory\") 1000)");
    ship.push(&deaf.with(DONE, &format!("{fill} {DONE}")))?;
    ship.rig.add("web", every(0.1)).await?;
    let told =
        || ship.told(&["why", "web"]).is_ok_and(|it| it.contains("is asked LESS OFTEN than its engine wants: the newest call took 1"));
    eventually("it is told", SOON, async || told()).await.with_context(|| ship.rig.logs())?;
    let faults = ship.engine(&["faults"])?;
    ensure!(faults["counts"]["abandoned"].as_u64().is_some_and(|abandoned| abandoned > 0), "{faults:#}");
    Ok(())
}

#[tokio::test]
async fn an_engine_that_fills_the_journal_has_to_wait_and_that_is_told() -> Result<()> {
    let ship = Ship::new().await?;
    // It remembers another 64 KiB every time.
    let hoards = content("1.0.0").with("(memory (export \"memory\") 1)", "(memory (export \"memory\") 3)").with(
        DONE,
        &format!(
            "(i64.store (i32.const 65536) (call $now (local.get $domain))) (i32.store (i32.const 1032) (i32.const 65536)) \
                 (i32.store (i32.const 1036) (i32.const 65536)) {DONE}"
        ),
    );
    ship.push(&hoards)?;
    ship.rig.add("web", every(0.1)).await?;
    let told = || ship.told(&["why", "web"]).ok().filter(|it| it.contains("what its engine decides takes too much of the journal"));
    let told = eventually_some("it is told", SOON, async || told()).await.with_context(|| ship.rig.logs())?;
    ensure!(told.contains("may add 8 MiB a minute"), "{told}");
    Ok(())
}

#[tokio::test]
async fn a_domain_whose_engine_could_not_be_had_is_decided_as_soon_as_it_can() -> Result<()> {
    let mut ship = Ship::new().await?;
    let guest = tally("1.0.0");
    let digest = ship.push(&guest)?["digest"].as_str().context("a digest")?.to_owned();
    // Long enough that nobody would be asked again by its pulse.
    ship.rig.add("web", every(600.0)).await?;
    ship.sees("web", "it decides", |it| it.asked.decisions == 1).await?;
    let store = async_nats::jetstream::new(ship.rig.nats.client().await?).get_object_store("PH_ENGINES").await?;
    let stored: Vec<_> = store.list().await?.try_collect().await?;
    let name = stored.into_iter().map(|it| it.name).find(|name| name.contains(&digest)).context("it is stored")?;
    store.delete(&name).await?;
    ship.restart()?;
    let fails = |it: &pilothouse::api::DomainDescription| it.summary.fault.as_ref().is_some_and(|fault| fault.message.starts_with("load"));
    ship.sees("web", "its engine can't be had", fails).await?;
    let why = ship.told(&["why", "web"])?;
    ensure!(why.contains("if the engine store does not answer, look at NATS"), "{why}");
    store.put(name.as_str(), &mut guest.component().as_slice()).await?;
    ship.sees("web", "it decides", |it| it.summary.fault.is_none() && it.asked.decisions == 1).await?;
    Ok(())
}

#[tokio::test]
async fn an_old_version_that_decides_a_domain_and_could_not_be_had_is_looked_for_until_it_can() -> Result<()> {
    let mut ship = Ship::new().await?;
    let guest = tally("0.9.0");
    let digest = ship.push(&guest)?["digest"].as_str().context("a digest")?.to_owned();
    let mut config = every(600.0);
    config["general"]["engine"] = json!("guest@0.9");
    ship.rig.add("web", config).await?;
    ship.sees("web", "it decides", |it| it.asked.decisions == 1).await?;
    for n in 0..16 {
        ship.push(&content(&format!("{}.{}.0", 2 + n / 10, n % 10)))?;
    }
    let store = async_nats::jetstream::new(ship.rig.nats.client().await?).get_object_store("PH_ENGINES").await?;
    store.delete(&digest).await?;
    ship.restart()?;
    let waits = async || ship.ready("guest", "0.9.0").is_ok_and(|state| state == "waiting");
    eventually("it is not left to the next decision, which comes in ten minutes", SOON, waits).await.with_context(|| ship.rig.logs())?;
    store.put(digest.as_str(), &mut guest.component().as_slice()).await?;
    ship.sees("web", "it decides", |it| it.summary.fault.is_none() && it.asked.decisions == 1).await?;
    Ok(())
}

#[tokio::test]
async fn the_newest_version_that_would_not_take_the_configuration_does_not_stand_before_an_older_one() -> Result<()> {
    let ship = Ship::new().await?;
    ship.push(&content("1.0.0"))?;
    ship.add("web", "guest").await?;
    ship.decided_by("web", "1.0.0").await?;
    ship.push(&demanding("1.2.0"))?;
    let told =
        |version: &'static str| ship.told(&["why", "web"]).is_ok_and(|it| it.contains(&format!("does NOT TAKE UP guest {version}: ")));
    eventually("it is told", SOON, async || told("1.2.0")).await.with_context(|| ship.rig.logs())?;
    ship.push(&content("1.1.6"))?;
    ship.decided_by("web", "1.1.6").await?;
    eventually("it is told still", SOON, async || told("1.2.0")).await?;
    // A pin is another matter: that version or none.
    ship.engine(&["pin", "guest@1.2.0"])?;
    ship.push(&content("1.1.7"))?;
    eventually("it is told", SOON, async || told("1.2.0")).await?;
    ensure!(ship.version("web").await? == "1.1.6");
    ship.engine(&["unpin", "guest"])?;
    ship.decided_by("web", "1.1.7").await?;
    Ok(())
}

#[tokio::test]
async fn a_version_that_the_host_can_not_use_is_told_with_the_reason_and_changes_nothing() -> Result<()> {
    let ship = Ship::new().await?;
    ship.push(&content("1.0.0"))?;
    ship.add("web", "guest").await?;
    ship.decided_by("web", "1.0.0").await?;
    ensure!(!ship.told(&["why", "web"])?.contains("NOT TAKE UP"));
    // A push would find out; a host of another build may not have.
    let (client, component) = (ship.rig.nats.client().await?, content("1.5.0").component());
    let jetstream = async_nats::jetstream::new(client.clone());
    let registry = Registry::open(&client, &jetstream, "PH_REGISTRY", 1).await?;
    let store = jetstream.get_object_store("PH_ENGINES").await?;
    let (version, digest) = ("1.1.0".parse()?, digest_of(&component));
    let what = What::Push { version, digest, bytes: component.len() as u64, about: String::new() };
    let wish = Wish { what, by: "ann".parse()?, at: Timestamp::from_secs(1), built_in: BTreeMap::new() };
    let pushed = registry.push(&store, &component, &"guest".parse()?, &wish, None).await;
    pushed.map_err(|error| anyhow::anyhow!("{}: {error}", error.kind()))?;
    let headline = "does NOT TAKE UP guest 1.1.0: its host can't use that: ";
    let told = || ship.told(&["why", "web"]).ok().filter(|it| it.contains(headline));
    let told = eventually_some("it is told", SOON, async || told()).await.with_context(|| ship.rig.logs())?;
    ensure!(told.contains("it says that it is guest@1.5.0") && told.contains("pilothouse engine show guest"), "{told}");
    ensure!(ship.version("web").await? == "1.0.0");
    Ok(())
}
