//! Backups on real parts: the server is lost with everything on it, and the fleet goes on as if nothing had been.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, ensure};
use futures::TryStreamExt;
use pilothouse::api::{InstanceDescription, Operation};
use pilothouse_core::domain::{Happened, Happening};
use pilothouse_core::explain::Ask;
use pilothouse_core::instance::State;
use pilothouse_core::name::DomainKey;
use pilothouse_tests::command::Answer;
use pilothouse_tests::rig::{Rig, SOON, WEB, keep};
use pilothouse_tests::wait::{eventually, eventually_some};
use serde_json::{Value, json};

/// The program that has `serve`, `agent` and `provisioner local` as its first arguments.
const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");

/// What became of things of a kind, each by its name.
fn outcomes(restored: &Answer, kind: &str) -> Result<Vec<(String, String)>> {
    let answer = restored.json()?;
    let things = answer["things"].as_array().context("things")?.iter().filter(|thing| thing["kind"] == kind);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(things.map(|thing| (text(&thing["name"]), text(&thing["outcome"]))).collect())
}

fn names(instances: &[InstanceDescription]) -> BTreeSet<String> {
    instances.iter().map(|it| it.instance_id.to_string()).collect()
}

/// The state of every domain, the definitions and the engines of a rig, in a file.
fn backup(rig: &Rig, name: &str) -> Result<String> {
    let file = rig.path(name).display().to_string();
    let made = rig.run(&["journal", "backup", &file])?;
    ensure!(made.code == 0 && made.json()?["left_out"] == json!([]), "{made:?}");
    Ok(file)
}

/// How many messages there are in all streams of the server; nothing in a server of which no stream was ever made.
async fn messages(rig: &Rig) -> Result<BTreeMap<String, u64>> {
    let jetstream = async_nats::jetstream::new(rig.nats.client().await?);
    let streams: Vec<_> = jetstream.streams().try_collect().await?;
    Ok(streams.into_iter().map(|info| (info.config.name, info.state.messages)).collect())
}

/// Lets `web` go on.
async fn resume(rig: &Rig) -> Result<()> {
    let _: Value = rig.api.call(Operation::DomainResume, &json!({"domain": WEB})).await?;
    Ok(())
}

async fn why(rig: &Rig) -> Result<Value> {
    Ok(rig.api.call(Operation::Why, &Ask { domain: WEB.parse()?, ..Ask::default() }).await?)
}

#[tokio::test]
async fn a_fleet_goes_on_when_its_server_was_lost_and_restored() -> Result<()> {
    let mut rig = Rig::new(PROGRAM).await?;
    let _site = rig.site("a").await?;
    let host = rig.host("ship")?;
    rig.add_web(keep(1, "a")).await?;
    rig.settles_at(1).await?;
    // So that the provisioner has seen sequences that the restored journal does not reach for long.
    for _ in 0..20 {
        rig.reconfigure(keep(2, "a")).await?;
        rig.reconfigure(json!({"general": {"decide_interval": 0.3}})).await?;
        rig.reconfigure(keep(3, "a")).await?;
    }
    let before = rig.settles_at(3).await?;
    let processes = rig.ledger.alive();
    let file = backup(&rig, "backup.json")?;

    host.crash().await?;
    rig.nats.restart_empty().await?;
    ensure!(messages(&rig).await?.is_empty(), "nothing is left");
    let dry = rig.run(&["journal", "restore", &file, "--dry-run"])?;
    ensure!(dry.code == 0 && outcomes(&dry, "domain")? == [("default/web".to_owned(), "restored".to_owned())], "{dry:?}");
    ensure!(messages(&rig).await?.is_empty(), "a dry run makes nothing");
    let restored = rig.run(&["journal", "restore", &file, "--active"])?;
    ensure!(restored.code == 0 && outcomes(&restored, "domain")? == [("default/web".to_owned(), "restored".to_owned())], "{restored:?}");
    ensure!(restored.json()?["hosts"]["note"].as_str().is_some_and(|note| note.contains("no host answers")), "{restored:?}");

    let _host = rig.host("ship")?;
    let after = rig.settles_at(3).await?;
    ensure!(names(&after) == names(&before), "the same instances: {after:?}");
    ensure!(rig.ledger.alive() == processes, "the same processes");
    ensure!(rig.ledger.starts().values().all(|starts| *starts == 1), "{:?}", rig.ledger.starts());

    // Its host is believed by a provisioner that has heard of much higher sequences.
    rig.reconfigure(keep(1, "a")).await?;
    let left = rig.settles_at(1).await?;
    ensure!(names(&before).is_superset(&names(&left)), "{left:?}");
    rig.reconfigure(keep(2, "a")).await?;
    rig.settles_at(2).await?;
    let told = why(&rig).await?;
    ensure!(told.to_string().contains("\"domain\""), "{told}");
    let of_one = Ask { domain: WEB.parse()?, instance: Some(left[0].instance_id.to_string()), ..Ask::default() };
    let told: Value = rig.api.call(Operation::Why, &of_one).await?;
    ensure!(told.to_string().contains(left[0].instance_id.as_str()), "{told}");
    Ok(())
}

#[tokio::test]
async fn what_was_launched_since_the_backup_is_an_orphan_and_what_ended_since_is_found_out() -> Result<()> {
    let mut rig = Rig::new(PROGRAM).await?;
    let _site = rig.site("a").await?;
    let host = rig.host("ship")?;
    rig.add_web(keep(2, "a")).await?;
    let before = rig.settles_at(2).await?;
    let file = backup(&rig, "backup.json")?;
    // One ends and is replaced after the backup.
    let ended = before[0].instance_id.clone();
    rig.ledger.agent_of(ended.as_str()).context("its agent")?.signal(nix::sys::signal::Signal::SIGKILL)?;
    eventually("it is known to have failed", SOON, async || {
        let instances = rig.describe().await.map(|it| it.instances).unwrap_or_default();
        instances.iter().any(|it| it.instance_id == ended && it.state == State::Failed)
    })
    .await?;
    let later = rig.settles_at(2).await?;
    let stranger = later.iter().find(|it| !names(&before).contains(it.instance_id.as_str())).context("it was replaced")?;
    let stranger = stranger.instance_id.to_string();

    host.crash().await?;
    rig.nats.restart_empty().await?;
    let restored = rig.run(&["journal", "restore", &file])?;
    ensure!(restored.code == 0 && restored.json()?["things"].to_string().contains("\"paused\":true"), "{restored:?}");
    let _host = rig.host("ship")?;
    let decided = eventually_some("the end of the one is found out, and its engine asks for another", SOON, async || {
        let described = rig.describe().await.ok()?;
        let failed = described.instances.iter().any(|it| it.instance_id == ended && it.state == State::Failed);
        let held = why(&rig).await.ok()?.to_string();
        (failed && held.contains("\"launches\":1")).then_some(held)
    })
    .await
    .with_context(|| rig.logs())?;
    ensure!(rig.valid().await?.len() == 1 && rig.ledger.starts().len() == 3, "it is paused, and nothing is launched: {decided}");
    ensure!(!names(&rig.valid().await?).contains(&stranger), "nobody knows the one that was launched since");
    ensure!(rig.ledger.agent_of(&stranger).is_some(), "and nobody ended it");

    let listed = rig.run(&["orphans", "--check"])?;
    ensure!(listed.code == 7, "{listed:?}");
    let unknown = listed.json()?["unknown"].clone();
    ensure!(unknown.as_array().map(Vec::len) == Some(1) && unknown[0]["node_id"] == stranger.as_str(), "{unknown}");
    ensure!(unknown[0]["adoptable"] == true && unknown[0]["deployable_type"] == "worker" && unknown[0]["state"] == "RUNNING", "{unknown}");

    // Adopted, it is what was missing: there is nothing to do when the domain goes on.
    let adopted = rig.run(&["orphans", "--adopt"])?;
    ensure!(adopted.code == 0 && adopted.json()?["done"] == json!([stranger]), "{adopted:?}");
    let again = rig.run(&["orphans", "--adopt", "--instance", &stranger])?;
    ensure!(again.code == 0 && again.json()?["failed"] == json!([]), "harmless: {again:?}");
    resume(&rig).await?;
    rig.reconfigure(keep(3, "a")).await?;
    rig.settles_at(3).await?;
    rig.reconfigure(keep(2, "a")).await?;
    let all = rig.settles_at(2).await?;
    ensure!(rig.run(&["orphans", "--check"])?.code == 0, "{all:?}");
    ensure!(rig.ledger.starts().len() == 4, "nothing was launched twice: {:?}", rig.ledger.starts());
    ensure!(rig.ledger.starts().values().all(|starts| *starts == 1), "{:?}", rig.ledger.starts());
    Ok(())
}

#[tokio::test]
async fn a_domain_that_lives_gives_way_only_when_that_is_said() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let _site = rig.site("a").await?;
    let _host = rig.host("ship")?;
    rig.add_web(keep(2, "a")).await?;
    rig.settles_at(2).await?;
    let file = backup(&rig, "backup.json")?;
    rig.reconfigure(keep(1, "a")).await?;
    let one = rig.settles_at(1).await?;

    let refused = rig.run(&["journal", "restore", &file])?;
    ensure!(refused.code == 4 && outcomes(&refused, "domain")? == [("default/web".to_owned(), "conflict".to_owned())], "{refused:?}");
    ensure!(rig.describe().await?.config["engine_conf"]["preserve_n"] == 1);

    let replaced = rig.run(&["journal", "restore", &file, "--domain", "default/web", "--replace"])?;
    ensure!(replaced.code == 0 && outcomes(&replaced, "domain")? == [("default/web".to_owned(), "replaced".to_owned())], "{replaced:?}");
    ensure!(replaced.json()?["hosts"]["taken"] == json!([{"owner": "default", "name": "web"}]), "{replaced:?}");
    let told = |happening: &Happening| matches!(&happening.what, Happened::Restored { by, .. } if by.as_str() == "default");
    eventually("it is told", SOON, async || rig.happened().iter().any(told)).await?;
    resume(&rig).await?;
    // The one that went since the backup went for good; another takes its place.
    let two = rig.settles_at(2).await?;
    ensure!(names(&two).is_superset(&names(&one)), "{two:?}");
    let described = rig.describe().await?;
    ensure!(described.config["engine_conf"]["preserve_n"] == 2 && described.epoch > 1_600_000_000_000, "{described:?}");
    ensure!(rig.ledger.starts().values().all(|starts| *starts == 1), "{:?}", rig.ledger.starts());

    let unknown = rig.run(&["journal", "restore", &file, "--domain", "default/wob"])?;
    ensure!(unknown.code == 3, "{unknown:?}");
    Ok(())
}

#[tokio::test]
async fn a_domain_that_was_removed_comes_back_while_hosts_run() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let _site = rig.site("a").await?;
    let _host = rig.host("ship")?;
    rig.add_web(keep(1, "a")).await?;
    rig.settles_at(1).await?;
    let file = backup(&rig, "backup.json")?;
    let removed = rig.run(&["domain", "remove", "web", "--wait=60"])?;
    ensure!(removed.code == 0, "{removed:?}");
    let restored = rig.run(&["journal", "restore", &file, "--active"])?;
    ensure!(restored.code == 0 && restored.json()?["hosts"]["taken"] == json!([{"owner": "default", "name": "web"}]), "{restored:?}");
    rig.settles_at(1).await?;
    Ok(())
}

#[tokio::test]
async fn a_domain_whose_records_are_damaged_is_restored_when_that_is_said() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let _site = rig.site("a").await?;
    let host = rig.host("ship")?;
    rig.add_web(keep(1, "a")).await?;
    let before = rig.settles_at(1).await?;
    let file = backup(&rig, "backup.json")?;
    host.crash().await?;
    let key: DomainKey = DomainKey { owner: "default".parse()?, name: WEB.parse()? };
    let subject = rig.api.subjects().journal(key.slot(256), &key);
    let jetstream = async_nats::jetstream::new(rig.nats.client().await?);
    jetstream.publish(subject, "junk".into()).await?.await?;

    let refused = rig.run(&["journal", "restore", &file])?;
    ensure!(refused.code == 4 && refused.out.contains("no journal wrote it"), "{refused:?}");
    for outcome in ["replaced", "unchanged"] {
        let restored = rig.run(&["journal", "restore", &file, "--replace"])?;
        ensure!(restored.code == 0 && outcomes(&restored, "domain")? == [("default/web".to_owned(), outcome.to_owned())], "{restored:?}");
    }
    // A host that begins with all there is takes it.
    let _host = rig.host("ship")?;
    let after = rig.settles_at(1).await.with_context(|| rig.logs())?;
    ensure!(names(&after) == names(&before) && rig.describe().await?.summary.paused, "{after:?}");
    Ok(())
}

#[tokio::test]
async fn a_restore_that_was_killed_can_be_done_again() -> Result<()> {
    let mut rig = Rig::new(PROGRAM).await?;
    let _site = rig.site("a").await?;
    let host = rig.host("ship")?;
    rig.add("jobs", keep(1, "a")).await?;
    rig.add_web(keep(1, "a")).await?;
    let definition = json!({"name": "small", "definition": {"general": {"engine": "simplest"}, "engine_conf": {"preserve_n": 1}}});
    let _: Value = rig.api.call(Operation::DefinitionAdd, &definition).await?;
    eventually("both run", SOON, async || rig.ledger.alive().len() == 2).await?;
    let file = backup(&rig, "backup.json")?;
    host.crash().await?;
    rig.nats.restart_empty().await?;

    let mark = rig.path("died-at").display().to_string();
    let mut command = rig.operator(&["journal", "restore", &file]);
    command.env("PILOTHOUSE_FAILPOINT", "after-restore.domain").env("PILOTHOUSE_FAILPOINT_MARK", &mark);
    let killed = Answer::from(command.output()?);
    ensure!(killed.signal == Some(9) && fs::exists(&mark)?, "{killed:?}");
    let again = rig.run(&["journal", "restore", &file])?;
    ensure!(again.code == 0, "{again:?}");
    let expected = [("default/jobs".to_owned(), "unchanged".to_owned()), ("default/web".to_owned(), "restored".to_owned())];
    ensure!(outcomes(&again, "domain")? == expected, "{again:?}");
    ensure!(outcomes(&again, "definition")? == [("small".to_owned(), "unchanged".to_owned())], "{again:?}");

    let _host = rig.host("ship")?;
    eventually("both are looked after again", SOON, async || {
        let listed: Result<Value, _> = rig.api.call(Operation::DomainList, &json!({})).await;
        listed.is_ok_and(|listed| listed["domains"].as_array().is_some_and(|all| all.len() == 2))
    })
    .await?;
    let described: Value = rig.api.call(Operation::DefinitionDescribe, &json!({"name": "small"})).await?;
    ensure!(described["definition"] == definition["definition"], "{described}");
    ensure!(rig.ledger.starts().values().all(|starts| *starts == 1) && rig.ledger.alive().len() == 2);
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_not_whole_is_refused_and_changes_nothing() -> Result<()> {
    let mut rig = Rig::new(PROGRAM).await?;
    let host = rig.host("ship")?;
    rig.add_web(keep(0, "a")).await?;
    let file = backup(&rig, "backup.json")?;
    let whole = fs::read(&file)?;
    host.crash().await?;
    rig.nats.restart_empty().await?;

    let middle = whole.len() / 2;
    let mut altered = whole.clone();
    altered[middle] ^= 1;
    let text = String::from_utf8(whole.clone())?;
    let lines: Vec<&str> = text.lines().collect();
    let without_engine: String = lines.iter().filter(|line| !line.starts_with("{\"engine\"")).map(|line| format!("{line}\n")).collect();
    ensure!(without_engine.len() < whole.len());
    let later = text.replacen("\"version\":2", "\"version\":9", 1);
    let bad: [(&str, &[u8]); 6] = [
        ("cut off", &whole[..middle]),
        ("without its end", &whole[..whole.len() - lines[lines.len() - 1].len() - 1]),
        ("altered", &altered),
        ("without its engine", without_engine.as_bytes()),
        ("of a later format", later.as_bytes()),
        ("foreign", b"[general]\nengine = \"simplest\"\n"),
    ];
    for (what, bytes) in bad {
        fs::write(rig.path("bad.json"), bytes)?;
        let refused = rig.run(&["journal", "restore", &rig.path("bad.json").display().to_string()])?;
        ensure!(refused.code == 2 && refused.err.contains("nothing was restored"), "{what}: {refused:?}");
        ensure!(messages(&rig).await?.is_empty(), "{what}: nothing was changed");
    }
    let none = rig.run(&["journal", "backup", &rig.path("none.json").display().to_string()])?;
    ensure!(none.code == 3 && !rig.path("none.json").exists(), "no empty backup of the wrong server: {none:?}");

    // Through a pipe the same file is as good as ever.
    let piped = Answer::from(rig.operator(&["journal", "restore", "-"]).stdin(fs::File::open(&file)?).output()?);
    ensure!(piped.code == 0, "{piped:?}");
    Ok(())
}
