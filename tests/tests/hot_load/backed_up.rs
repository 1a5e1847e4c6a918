//! Backups have the registry of engines.

use anyhow::{Context, Result, ensure};
use pilothouse::driver::registry::delete_component;
use pilothouse_tests::command::Answer;
use pilothouse_tests::rig::SOON;
use pilothouse_tests::wait::eventually;
use serde_json::{Value, json};

use crate::ship::{Ship, content, never};

/// What became of the things in a backup: of each the kind, the name, and the outcome.
fn outcomes(restored: &Answer) -> Result<Vec<[String; 3]>> {
    let answer = restored.json()?;
    let things = answer["things"].as_array().context("things")?.iter();
    Ok(things.map(|thing| ["kind", "name", "outcome"].map(|key| thing[key].as_str().unwrap_or_default().to_owned())).collect())
}

fn of_registry(restored: &Answer) -> Result<Vec<String>> {
    Ok(outcomes(restored)?
        .into_iter()
        .filter(|[kind, ..]| kind == "registry")
        .map(|[_, name, outcome]| format!("{name}: {outcome}"))
        .collect())
}

/// What is said of engines, without how long which host took to load what.
fn of_registry_alone(mut told: Value) -> Value {
    match &mut told {
        Value::Object(object) => {
            object.remove("ready");
            object.values_mut().for_each(|value| *value = of_registry_alone(value.take()));
        }
        Value::Array(array) => array.iter_mut().for_each(|value| *value = of_registry_alone(value.take())),
        _ => {}
    }
    told
}

fn backup(ship: &Ship) -> Result<String> {
    let file = ship.rig.path("backup.json").display().to_string();
    let made = ship.rig.run(&["journal", "backup", &file])?;
    let said = made.json()?;
    ensure!(made.code == 0 && said["left_out"] == json!([]) && said["registry"] == 1, "{made:?}");
    Ok(file)
}

#[tokio::test]
async fn versions_pins_and_limits_come_back_and_domains_follow_as_before() -> Result<()> {
    let mut ship = Ship::new().await?;
    let first = ship.push(&content("1.0.0"))?;
    ship.push(&content("1.2.0"))?;
    ship.engine(&["remove", "guest@1.2.0"])?;
    ship.push(&content("1.1.0"))?;
    ship.add("web", "guest").await?;
    ship.decided_by("web", "1.1.0").await?;
    ship.engine(&["pin", "guest@1.0.0", "--reason", "1.1 is too eager"])?;
    ship.engine(&["limits", "guest", "--set", "fuel=500000000"])?;
    ship.decided_by("web", "1.0.0").await?;
    let shown = of_registry_alone(ship.engine(&["show", "guest"])?);
    let listed = of_registry_alone(ship.engine(&["list"])?);
    let file = backup(&ship)?;

    ship.lose_everything().await?;
    let dry = ship.rig.run(&["journal", "restore", &file, "--dry-run"])?;
    ensure!(dry.code == 0 && of_registry(&dry)? == ["guest: restored"], "{dry:?}");
    let one = ship.rig.run(&["journal", "restore", &file, "--dry-run", "--domain", "default/web"])?;
    ensure!(one.code == 0 && of_registry(&one)?.is_empty(), "of the registry nothing comes with one domain: {one:?}");
    let restored = ship.rig.run(&["journal", "restore", &file, "--active"])?;
    ensure!(restored.code == 0 && outcomes(&restored)?.iter().all(|[.., outcome]| outcome == "restored"), "{restored:?}");
    ensure!(of_registry(&restored)? == ["guest: restored"], "{restored:?}");
    let again = ship.rig.run(&["journal", "restore", &file, "--active"])?;
    ensure!(again.code == 0 && outcomes(&again)?.iter().all(|[.., outcome]| outcome == "unchanged"), "{again:?}");

    ship.restart()?;
    let same = async || {
        let now = |arguments: &[&str]| ship.engine(arguments).map(of_registry_alone).unwrap_or_default();
        now(&["show", "guest"]) == shown && now(&["list"]) == listed
    };
    if let Err(error) = eventually("all is said of the engine that was said before", SOON, same).await {
        return Err(error.context(format!("{shown:#}\n{:#?}\n{}", ship.engine(&["show", "guest"]), ship.rig.logs())));
    }
    ensure!(shown["pinned"]["reason"] == "1.1 is too eager" && shown["versions"].as_array().is_some_and(|it| it.len() == 2), "{shown:#}");
    let described = ship.decided_by("web", "1.0.0").await?;
    ensure!(json!(described.summary.engine.digest) == first["digest"], "{described:#?}");
    // It follows as before, and what was removed is known.
    ship.engine(&["unpin", "guest"])?;
    ship.decided_by("web", "1.1.0").await?;
    let other = ship.try_push(&never("1.2.0").component())?;
    ensure!(other.code == 4 && other.err.contains("was there with other bytes"), "{other:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_registered_gives_way_only_when_that_is_said_and_a_version_never() -> Result<()> {
    let mut ship = Ship::new().await?;
    ship.push(&content("1.0.0"))?;
    ship.engine(&["pin", "guest@1.0.0"])?;
    let file = backup(&ship)?;
    ship.push(&content("1.1.0"))?;
    let newer = ship.rig.run(&["journal", "restore", &file])?;
    ensure!(newer.code == 0 && of_registry(&newer)? == ["guest: unchanged"], "what was pushed since is no conflict: {newer:?}");

    ship.engine(&["unpin", "guest"])?;
    ship.engine(&["remove", "guest@1.0.0"])?;
    let refused = ship.rig.run(&["journal", "restore", &file])?;
    ensure!(refused.code == 4 && of_registry(&refused)? == ["guest: conflict"], "{refused:?}");
    ensure!(ship.engine(&["show", "guest"])?["pinned"].is_null(), "it was left alone");

    let replaced = ship.rig.run(&["journal", "restore", &file, "--replace"])?;
    ensure!(replaced.code == 0 && of_registry(&replaced)? == ["guest: replaced"], "{replaced:?}");
    // A host that was there all the time knows of it, and can run what came back.
    let knows = async || {
        let shown = ship.engine(&["show", "guest"]).unwrap_or_default();
        let ready = |version: &Value| version["ready"].as_array().is_some_and(|hosts| hosts.iter().any(|host| host["state"] == "ready"));
        let versions = shown["versions"].as_array().cloned().unwrap_or_default();
        shown["pinned"]["version"] == "1.0.0" && versions.len() == 2 && versions.iter().all(ready)
    };
    if let Err(error) = eventually("the host follows", SOON, knows).await {
        return Err(error.context(format!("{:#?}\n{}", ship.engine(&["show", "guest"]), ship.rig.logs())));
    }

    ship.lose_everything().await?;
    ship.restart()?;
    let other = never("1.0.0").component();
    let push = async || ship.try_push(&other).is_ok_and(|answer| answer.code == 0);
    eventually("another component is pushed under that version", SOON, push).await?;
    for arguments in [&["--dry-run", "--replace"][..], &["--replace"]] {
        let refused = ship.rig.run(&[&["journal", "restore", file.as_str()], arguments].concat())?;
        ensure!(refused.code == 4 && of_registry(&refused)? == ["guest: conflict"], "{refused:?}");
        ensure!(refused.out.contains("never changes"), "{refused:?}");
    }
    let digest = pilothouse::driver::registry::digest_of(&other);
    ensure!(ship.engine(&["show", "guest"])?["versions"][0]["digest"] == json!(digest), "it has its own bytes");
    Ok(())
}

#[tokio::test]
async fn what_the_store_did_not_give_is_told_and_neither_it_nor_its_pin_comes_back() -> Result<()> {
    let mut ship = Ship::new().await?;
    let digest = |pushed: Value| pushed["digest"].as_str().map(str::to_owned).context("a digest");
    let lost = digest(ship.push(&content("1.0.0"))?)?;
    ship.push(&content("1.1.0"))?;
    let huge = digest(ship.push(&content("1.2.0"))?)?;
    ship.engine(&["pin", "guest@1.0.0"])?;
    let store = async_nats::jetstream::new(ship.rig.nats.client().await?).get_object_store("PH_ENGINES").await?;
    delete_component(&store, &lost).await?;
    ship.alter(&huge, "size", json!(200_000_000)).await?;
    let file = ship.rig.path("backup.json").display().to_string();
    let made = ship.rig.run(&["journal", "backup", &file])?.json()?;
    let left_out = made["left_out"].as_array().context("what was left out")?;
    let why = |digest: &str| left_out.iter().find(|it| it["what"] == format!("engine {digest}")).and_then(|it| it["reason"].as_str());
    ensure!(left_out.len() == 2 && why(&lost) == Some("it is not in the store"), "{made:#}");
    ensure!(why(&huge).is_some_and(|why| why.starts_with("it has 200000000 bytes; at most ")), "{made:#}");

    ship.lose_everything().await?;
    let restored = ship.rig.run(&["journal", "restore", &file])?;
    ensure!(restored.code == 0 && of_registry(&restored)? == ["guest: restored"], "{restored:?}");
    let told = "without 1.0.0, 1.2.0: the component is nowhere; nor is 1.0.0 pinned";
    ensure!(restored.out.contains(told), "{restored:?}");
    ship.restart()?;
    let follows = async || {
        let shown = ship.engine(&["show", "guest"]).unwrap_or_default();
        shown["pinned"].is_null() && shown["versions"].as_array().is_some_and(|it| it.len() == 1 && it[0]["version"] == "1.1.0")
    };
    if let Err(error) = eventually("one version came back", SOON, follows).await {
        return Err(error.context(format!("{:#?}\n{}", ship.engine(&["show", "guest"]), ship.rig.logs())));
    }
    Ok(())
}
