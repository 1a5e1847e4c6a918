//! What becomes of a component that is pushed.

use anyhow::{Context, Result, ensure};
use pilothouse::api::{EngineChanged, Operation};
use pilothouse::driver::registry::{digest_of, put_component};
use pilothouse_tests::guest::{Guest, shipped};
use pilothouse_tests::rig::SOON;
use pilothouse_tests::wait::eventually;
use serde_json::{Value, json};

use crate::ship::{Ship, called, content, never};

#[tokio::test]
async fn a_component_becomes_a_version_that_every_host_has() -> Result<()> {
    let ship = Ship::new().await?;
    let _other = ship.rig.host("other")?;
    let both = async || ship.rig.api.call::<Value>(Operation::HostList, &json!({})).await.is_ok_and(|it| it["hosts"][1].is_object());
    eventually("both hosts answer", SOON, both).await?;
    let component = content("1.2.0").component();
    let digest = digest_of(&component);
    let pushed = ship.push(&content("1.2.0"))?;
    ensure!(pushed["name"] == "guest" && pushed["version"] == "1.2.0" && pushed["digest"] == json!(digest), "{pushed:#}");
    ensure!(pushed["changed"] == true, "{pushed:#}");
    let hosts: Vec<_> = pushed["hosts"].as_array().context("hosts")?.iter().map(|host| (&host["host"], &host["state"])).collect();
    ensure!(hosts == [(&json!("other"), &json!("ready")), (&json!("ship"), &json!("ready"))], "{pushed:#}");

    let again = ship.push(&content("1.2.0"))?;
    ensure!(again["changed"] == false && again["digest"] == json!(digest), "the same bytes may be pushed again: {again:#}");

    let list = ship.engine(&["list"])?;
    let line = list["engines"].as_array().context("engines")?.iter().find(|it| it["name"] == "guest").context("a line")?;
    ensure!(line["in_effect"] == "1.2.0" && line["versions"] == 1 && line["used_by"] == 0 && line["pinned"] == false, "{line:#}");
    ensure!(line["sources"] == json!(["pushed"]) && line["ready"].as_array().is_some_and(|ready| ready.len() == 2), "{line:#}");
    let shown = ship.engine(&["show", "guest"])?;
    let version = &shown["versions"][0];
    ensure!(version["digest"] == json!(digest) && version["bytes"] == component.len() && version["by"] == "default", "{shown:#}");
    ensure!(version["about"] == "docs" && shown["documentation"] == "docs" && shown["config_schema"] == json!({}), "{shown:#}");
    ensure!(shown["limits"]["effective"]["fuel"] == 1_000_000_000, "{shown:#}");
    let text = ship.told(&["engine", "show", "guest"])?;
    ensure!(text.contains("in effect  1.2.0\n") && text.contains(&digest[..12]), "{text}");
    let text = ship.told(&["engine", "list"])?;
    ensure!(text.lines().any(|line| line.starts_with("guest ") && line.contains(" 2/2 ")), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_version_is_the_same_bytes_for_ever() -> Result<()> {
    let ship = Ship::new().await?;
    let first = ship.push(&content("1.0.0"))?;
    let other = never("1.0.0").component();
    let answer = ship.try_push(&other)?;
    ensure!(answer.code == 4 && answer.err.contains("a version never changes"), "{answer:?}");
    ensure!(answer.err.contains(first["digest"].as_str().context("a digest")?), "both are named: {answer:?}");
    ensure!(!ship.stored().await?.contains(&digest_of(&other)), "nothing is kept of it");
    // Nor is it when it was removed.
    ship.engine(&["remove", "guest@1.0.0"])?;
    let answer = ship.try_push(&other)?;
    ensure!(answer.code == 4 && answer.err.contains("was there with other bytes"), "{answer:?}");
    ensure!(ship.push(&content("1.0.0"))?["changed"] == true, "what was there may come back");

    // Nor one that comes with the host.
    let impostor = Guest::new("quiet").with("guest\\00\\00\\00", "sensor\\00\\00");
    let impostor = called(impostor.with("\\40\\00\\00\\00\\05", "\\40\\00\\00\\00\\06"), "0.1.0");
    let answer = ship.try_push(&impostor.component())?;
    ensure!(answer.code == 4 && answer.err.contains("comes with the hosts"), "{answer:?}");
    let answer = ship.try_push(&shipped("sensor"))?;
    ensure!(answer.code == 0, "the very same may be pushed: {answer:?}");
    Ok(())
}

#[tokio::test]
async fn what_no_host_could_run_is_refused_with_the_reason_and_not_kept() -> Result<()> {
    let ship = Ship::new().await?;
    let kept = ship.stored().await?.len();
    let module = content("1.0.0").module();
    let mut cut = content("1.0.0").component();
    cut.truncate(cut.len() / 2);
    let traps = content("1.0.0").with("#describe\") (result i32) (i32.const 0))", "#describe\") (result i32) unreachable)").component();
    let no_version = content("1.0.0").with("1.0.0\\00", "1.x.0\\00").component();
    let cases: [(&[u8], &str); 4] = [
        (&module, "it is a core module and no component"),
        (&cut, "it is damaged"),
        (&traps, "trap"),
        (&no_version, "no semantic version"),
    ];
    for (component, why) in cases {
        let answer = ship.try_push(component)?;
        ensure!(answer.code == 2 && answer.err.contains(why), "{why}: {answer:?}");
        ensure!(answer.err.contains("is refused"), "{answer:?}");
    }
    let file = ship.file("other@2.0.0.wasm", &content("1.0.0").component())?;
    let (code, why) = ship.fails(&["push", file.to_str().context("a path")?])?;
    ensure!(code == 2 && why.contains("expected other@2.0.0, and the component says that it is guest@1.0.0"), "{why}");
    let file = ship.file("text.wasm", b"no component")?;
    let (code, why) = ship.fails(&["push", file.to_str().context("a path")?])?;
    ensure!(code == 2 && why.contains("it is no WebAssembly component"), "{why}");
    ensure!(ship.stored().await?.len() == kept, "{:?}", ship.stored().await?);
    ensure!(ship.fails(&["show", "guest"])?.0 == 3, "it is not there");
    Ok(())
}

#[tokio::test]
async fn whichever_host_is_asked_nothing_is_kept_of_what_is_refused() -> Result<()> {
    let ship = Ship::new().await?;
    let _other = ship.rig.host("other")?;
    let both = async || ship.rig.api.call::<Value>(Operation::HostList, &json!({})).await.is_ok_and(|it| it["hosts"][1].is_object());
    eventually("both hosts answer", SOON, both).await?;
    let kept = ship.stored().await?;
    // Either of the two is asked, and only one of them knows all domains.
    for n in 0..8 {
        let answer =
            ship.try_push(&content("1.0.0").with("docs\\00", &format!("doc{n}\\00")).with("1.0.0\\00", "1.x.0\\00").component())?;
        ensure!(answer.code == 2 && answer.err.contains("no semantic version"), "{answer:?}");
        ensure!(ship.stored().await? == kept, "{n}: {:?}", ship.stored().await?);
    }
    Ok(())
}

#[tokio::test]
async fn a_request_that_comes_again_is_carried_out_once() -> Result<()> {
    let ship = Ship::new().await?;
    let component = content("1.0.0").component();
    let store = async_nats::jetstream::new(ship.rig.nats.client().await?).get_object_store("PH_ENGINES").await?;
    let digest = put_component(&store, &component).await?;
    let request = json!({"digest": digest, "bytes": component.len(), "request_id": "once"});
    let first: EngineChanged = ship.rig.api.call(Operation::EnginePush, &request).await?;
    ensure!(first.changed, "{first:?}");
    ship.engine(&["remove", "guest@1.0.0"])?;
    put_component(&store, &component).await?;
    let again: EngineChanged = ship.rig.api.call(Operation::EnginePush, &request).await?;
    ensure!(again == first, "{again:?}");
    let (code, _) = ship.fails(&["show", "guest"])?;
    ensure!(code == 3, "it was not pushed a second time");

    let missing: Result<EngineChanged, _> = ship.rig.api.call(Operation::EnginePush, &json!({"digest": "00".repeat(32), "bytes": 1})).await;
    ensure!(missing.is_err_and(|error| error.to_string().contains("put it there first")));
    let wrong: Result<EngineChanged, _> = ship.rig.api.call(Operation::EnginePush, &json!({"digest": digest, "bytes": 1})).await;
    ensure!(wrong.is_err_and(|error| error.to_string().contains("/bytes")));
    Ok(())
}
