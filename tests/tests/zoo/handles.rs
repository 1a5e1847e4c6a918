//! Engines that misuse what they are handed.

use anyhow::{Context, bail, ensure};
use pilothouse_core::cycle::FaultKind;
use serde_json::json;

use crate::beast::Beast;
use crate::faults::{BORNE, fails, told};
use crate::keeper::visit;

#[test]
fn an_engine_that_keeps_its_handles_has_failed() {
    fails(&Beast::once("keep_handles"), FaultKind::Output, "borrow handles still remain");
}

#[test]
fn a_handle_that_was_given_back_can_not_be_used() {
    fails(&Beast::once("stale_handle"), FaultKind::Output, "unknown handle index");
}

#[test]
fn a_handle_that_was_made_up_can_not_be_used() {
    fails(&Beast::once("made_up_handle"), FaultKind::Output, "unknown handle index");
}

#[test]
fn an_engine_that_has_the_host_write_where_it_has_no_memory_has_failed() {
    let beast = Beast::once("lie_about_room").with("(local.get $at))", "(select (i32.const -64) (local.get $at) (global.get $mad)))");
    fails(&beast, FaultKind::Output, "realloc");
}

#[test]
fn an_engine_that_calls_the_host_while_the_host_asks_it_for_room_has_failed() {
    let call = "(if (global.get $handle) (then (call $drop_control (global.get $handle)))) (local.get $at))";
    fails(&Beast::once("call_back").with("(local.get $at))", call), FaultKind::Trap, "leave component instance");
}

#[test]
fn a_handle_that_was_kept_from_the_call_before_can_not_be_used() {
    visit(async |zoo| {
        zoo.offer(&Beast::alone("remembered_handle")).await?;
        zoo.add("remembered", "remembered_handle", json!({})).await?;
        let seen = zoo.sees("remembered", "its engine is held", |it| it.summary.held.is_some()).await?;
        let fault = seen.summary.fault.context("it is shown")?;
        ensure!(fault.message.contains("output in decide: unknown handle index"), "{fault:?}");
        ensure!(seen.instances.is_empty() && zoo.strangers().await?.is_empty(), "nobody was launched");
        let (decisions, faults) = told(zoo, "remembered").await?;
        let [only] = &decisions[..] else { bail!("{decisions:#?}") };
        ensure!(only.launches.is_empty() && only.terminations.is_empty(), "{only:#?}");
        ensure!(faults.len() == BORNE as usize && faults.iter().all(|it| it.kind == FaultKind::Output), "{faults:#?}");
        // The handle that it tried every time.
        let memory = zoo.state("remembered").await?.memory.context("a memory")?;
        ensure!(memory.len() == 4 && only.memory.as_ref() == Some(&memory), "it remembers {memory:?} and not {:?}", only.memory);
        zoo.remove("remembered").await
    });
}
