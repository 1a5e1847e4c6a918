//! What is told as JSON: every field that the guide promises, with the value that it must have.

use anyhow::{Context as _, Result, ensure};
use pilothouse_tests::guest::{Guest, guest};
use serde_json::{Value, json};

use crate::{Folder, STORY, tick};

/// Everything that a tick can show happens in this one.
const EVERYTHING: &str = r#"
    title = "Everything"
    engine = "simplest"
    seed = 9
    start = "2026-03-01T12:00:00Z"
    domain = { owner = "bob", name = "workers" }
    engine_conf = { preserve_n = 3, force_site = "north" }
    general = { provisioner_vars = { ZONE = "a" }, record_reaping_max_age = 10, max_instances = 4 }
    health = { boot_timeout = 10, missing_timeout = 100, really_missing_timeout = 5 }
    events = [
      { at = 0, tick = "decide" },
      { at = 1, report = { of = [0, 1], state = "RUNNING", generate_address = true } },
      { at = 1, report = { of = 2, state = "garbage" } },
      { at = 1, report = { of = 7, state = "RUNNING" } },
      { at = 2, heartbeat = { of = 0, state = "PROCESS_ERROR", error = "web is down", error_time = 1.5 } },
      { at = 3, provisioner = { provision = "fails" } },
      { at = 5, tick = "decide" },
      { at = 6, report = { of = 0, state = "TERMINATED" } },
      { at = 12, tick = "health" },
      { at = 13, restart = true },
      { at = 17, tick = "reap" },
      { at = 18, pause = true },
      { at = 18, report = { of = 2, state = "FAILED" } },
      { at = 19, tick = "decide" },
      { at = 20, remove = true },
      { at = 21, tick = "decide" },
      { at = 22, report = { of = [1, 2, 3], state = "TERMINATED" } },
      { at = 23, tick = "decide" },
    ]
"#;

#[test]
fn every_field_of_the_guide_is_told_as_json() -> Result<()> {
    let objects = Folder::with(&[("all.toml", EVERYTHING.as_bytes())])?.run("simulate all.toml --output json")?.objects()?;
    let types: Vec<&str> = objects.iter().filter_map(|object| object["type"].as_str()).collect();
    ensure!(types == ["scenario", "tick", "tick", "tick", "tick", "tick", "tick", "tick", "end"], "{types:?}");
    let head = &objects[0];
    ensure!(head["title"] == "Everything" && head["domain"] == "bob/workers" && head["seed"] == 9, "{head}");
    ensure!(head["engine"]["name"] == "simplest" && head["engine"]["digest"].as_str().is_some_and(|it| it.len() == 64), "{head}");

    let first = tick(&objects, 0.0, "decide")?;
    let ids = first["provisions"]["new"][0]["ids"].clone();
    ensure!(first["launched"] == 3 && ids.as_array().is_some_and(|ids| ids.len() == 3), "{first}");
    let launch = &first["provisions"]["new"][0];
    ensure!(launch["site"] == "north" && launch["instances"] == json!([0, 1, 2]) && launch["lost"].is_null(), "{launch}");
    ensure!(launch["launch_id"].as_str().is_some_and(|id| id.starts_with('l')), "{launch}");
    ensure!(first["provisions"]["so_far"] == 1 && first["terminations"] == json!({"so_far": 0, "new": []}), "{first}");
    let engine = &first["engine"];
    ensure!(engine["cause"] == "taken_over" && engine["status"] == "pending" && engine["prepared"] == "initialized", "{engine}");
    ensure!(engine["reason"] == "0 of 3 healthy: launching 3" && engine["recorded"] == true, "{engine}");
    ensure!(engine["figures"]["target"] == 3.0 && engine["wake"].is_null() && engine["log"].is_null(), "{engine}");

    // #0 is replaced by #3, the request for which is lost, like the one for #2 that is sent again.
    let replaced = tick(&objects, 5.0, "decide")?;
    ensure!(replaced["launched"] == 4 && replaced["provisions"]["so_far"] == 3, "{replaced}");
    ensure!(replaced["provisions"]["new"].as_array().is_some_and(|new| new.iter().all(|it| it["lost"] == true)), "{replaced}");
    ensure!(replaced["terminations"]["new"] == json!([{"site": "north", "ids": [ids[0]], "instances": [0]}]), "{replaced}");
    ensure!(replaced["terminated"] == json!([0]) && replaced["terminated_ids"] == json!([ids[0]]), "{replaced}");
    let stood = json!([["TERMINATING", "UNKNOWN"], ["RUNNING", "UNKNOWN"], ["REQUESTING", "UNKNOWN"], ["REQUESTING", "UNKNOWN"]]);
    ensure!(replaced["instances"] == stood && replaced["errors"] == json!({"0": ["web is down"]}), "{replaced}");
    let told = json!([
        {"node_id": ids[0], "instance": 0, "state": "RUNNING", "hostname": "host-0.example"},
        {"node_id": ids[1], "instance": 1, "state": "RUNNING", "hostname": "host-1.example"},
    ]);
    ensure!(replaced["notifications"] == json!({"so_far": 2, "new": told}), "{replaced}");
    let refused = replaced["rejected"].as_array().context("what was refused")?;
    ensure!(refused.len() == 1 && refused[0].as_str().is_some_and(|why| why.contains("garbage")), "{replaced}");

    let asked = tick(&objects, 12.0, "health")?;
    ensure!(asked["probes"] == json!({"so_far": 1, "new": [1]}) && asked["engine"].is_null(), "{asked}");
    ensure!(asked["instances"][1] == json!(["RUNNING", "OUT_OF_CONTACT"]) && asked["rejected"] == json!([]), "{asked}");

    // A restart asks the state of everything that a provisioner knows, and #1 again; the record of #0 is old enough to go.
    let back = tick(&objects, 17.0, "reap")?;
    ensure!(back["dumps"] == json!({"so_far": 1, "new": [{"site": "north", "ids": [ids[1]], "instances": [1]}]}), "{back}");
    ensure!(back["probes"] == json!({"so_far": 2, "new": [1]}) && back["instances"][0].is_null(), "{back}");

    let held = tick(&objects, 19.0, "decide")?;
    let refusal = json!({"request": "launch", "guard": "pause", "held_back": 1, "because": "the domain is paused"});
    ensure!(held["refusals"] == json!([refusal]) && held["faults"] == json!([]) && held["gone"] == false, "{held}");

    ensure!(tick(&objects, 21.0, "decide")?["terminated"] == json!([0, 1, 3]), "{objects:?}");
    ensure!(tick(&objects, 23.0, "decide")?["gone"] == true, "{objects:?}");
    let end = objects.last().context("an end")?;
    ensure!(end["at"] == 23.0 && end["start"] == 1_772_366_400_000_u64 && end["gone"] == true, "{end}");
    ensure!(end["records"] == json!([null, null, null, null]), "{end}");
    ensure!(end["rejected"] == 1 && end["skipped"] == 1 && end["faults"] == 0, "{end}");
    ensure!(end["decisions"] == 3 && end["journal_records"].as_u64().is_some_and(|records| records > 10), "{end}");
    let launches = end["launches"].as_array().context("launches")?;
    ensure!(launches.len() == 2 && launches[1]["instances"] == json!([3]), "{end}");
    let told = &launches[0];
    ensure!(told["deployable_type"] == "epu_work_consumer" && told["site"] == "north" && told["allocation"] == "small", "{told}");
    ensure!(told["vars"] == json!({"ZONE": "a"}) && told["owner"] == "bob" && told["ids"] == ids, "{told}");
    Ok(())
}

#[test]
fn records_are_told_whole_at_the_end() -> Result<()> {
    let objects = Folder::with(&[("story.toml", STORY.as_bytes())])?.run("simulate story.toml --output json")?.objects()?;
    let record = &objects.last().context("an end")?["records"][0];
    for (field, value) in [
        ("ordinal", json!(0)),
        ("deployable_type", json!("epu_work_consumer")),
        ("site", json!("ec2-east")),
        ("allocation", json!("small")),
        ("launched_at", json!(0)),
        ("state", json!("TERMINATING")),
        ("state_since", json!(3000)),
        ("health", json!("UNKNOWN")),
        ("health_since", json!(3000)),
        ("end_reason", json!("monitor error: disk full")),
        ("unhealthy_at_end", json!(2000)),
    ] {
        ensure!(record[field] == value, "{field}: {record}");
    }
    ensure!(record["errors"]["list"] == json!(["disk full"]) && record["errors"]["count"] == 1, "{record}");
    ensure!(record["launch"].is_string() && record["id"].is_string(), "{record}");
    Ok(())
}

/// A guest that sets a variable for all launches when it begins, and then logs, explains itself, launches one, and waits for a change.
fn talkative() -> Vec<u8> {
    let initialize = "#initialize\") (param $domain i32) (param $setup i32) (result i32)";
    // One variable, from the texts that the frame has: type=site.
    let vars = "(data (i32.const 160) \"\\80\\00\\00\\00\\04\\00\\00\\00\\88\\00\\00\\00\\04\\00\\00\\00\")\n  (global $heap";
    let configure = "(call $configure (local.get $setup) (i32.const 0) (i64.const 0) \
                     (i32.const 1) (i32.const 160) (i32.const 1) (i32.const 2048))";
    let done = "(call $done (local.get $domain) (local.get $control)))";
    let says = "(call $log (i32.const 1) (i32.const 128) (i32.const 4)) (call $ask (local.get $control) (i32.const 1)) \
                (i32.store (i32.const 1052) (i32.const 192)) (i32.store (i32.const 1056) (i32.const 1)) \
                (i32.store (i32.const 192) (i32.const 128)) (i32.store (i32.const 196) (i32.const 4)) (f64.store (i32.const 200) (f64.const 1.5)) \
                (i32.store8 (i32.const 1064) (i32.const 1)) (i32.store8 (i32.const 1072) (i32.const 1))";
    Guest::new("quiet")
        .with("(global $heap", vars)
        .with(initialize, &format!("{initialize} {configure}"))
        .with(done, &format!("{says} {done}"))
        .component()
}

#[test]
fn what_an_engine_may_say_beside_its_reason_is_told() -> Result<()> {
    let story = r#"
        engine = "talkative.wasm"
        general = { provisioner_vars = { ZONE = "a" } }
        events = [
          { at = 0, tick = "decide" },
          { at = 1, report = { of = 0, state = "RUNNING" } },
          { at = 2, tick = "decide" },
        ]
    "#;
    let folder = Folder::with(&[("talkative.wasm", &talkative()), ("story.toml", story.as_bytes())])?;
    let objects = folder.run("simulate story.toml --output json")?.objects()?;
    let said = &tick(&objects, 0.0, "decide")?["engine"];
    ensure!(said["log"] == json!(["warn: type"]) && said["wake"] == "on_change" && said["figures"] == json!({"type": 1.5}), "{said}");
    let cause = &tick(&objects, 2.0, "decide")?["engine"]["cause"];
    ensure!(cause == "changed", "it waited for a change, and there was one: {cause}");
    let end = objects.last().context("an end")?;
    let vars: Vec<&Value> = end["launches"].as_array().into_iter().flatten().map(|launch| &launch["vars"]).collect();
    ensure!(vars == [&json!({"type": "site"}), &json!({"type": "site"})], "the engine's in place of the domain's: {end}");
    folder.run("simulate story.toml")?.says("            log     warn: type\n")
}

#[test]
fn an_engine_that_fails_leaves_nothing_behind_and_is_asked_again() -> Result<()> {
    let story = r#"
        engine = "trap.wasm"
        events = [{ at = 0, tick = "decide" }, { at = 5, tick = ["health", "decide"] }, { at = 6, remove = true }, { at = 7, tick = "decide" }]
    "#;
    let folder = Folder::with(&[("trap.wasm", &guest("ask_and_trap")), ("story.toml", story.as_bytes())])?;
    let objects = folder.run("simulate story.toml --output json")?.objects()?;
    let failed = tick(&objects, 0.0, "decide")?;
    ensure!(failed["engine"].is_null() && failed["launched"] == 0 && failed["provisions"]["so_far"] == 0, "{failed}");
    let fault = failed["faults"][0].as_str().unwrap_or_default();
    ensure!(fault.starts_with("trap in decide: "), "{fault}");
    ensure!(tick(&objects, 5.0, "health")?["faults"] == json!([]), "{objects:?}");
    ensure!(tick(&objects, 5.0, "decide")?["faults"].as_array().is_some_and(|faults| faults.len() == 1), "{objects:?}");
    let end = objects.last().context("an end")?;
    ensure!(end["faults"] == 2 && end["decisions"] == 0 && end["gone"] == true, "{end}");
    folder.run("simulate story.toml")?.says("            FAULT   trap in decide: ")
}
