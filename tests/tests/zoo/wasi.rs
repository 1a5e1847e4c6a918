//! Engines that look for the world through WASI, and find none.

use anyhow::{Context, Result, ensure};
use pilothouse_core::cycle::FaultKind;
use serde_json::json;

use crate::beast::Beast;
use crate::faults::{fails, uses_up};
use crate::keeper::visit;

#[test]
fn an_engine_that_sleeps_is_not_waited_for() {
    fails(&Beast::once("sleep").with_wasi(), FaultKind::Trap, "waits through WASI");
}

#[test]
fn an_engine_that_waits_for_what_can_not_come_is_not_waited_for() {
    fails(&Beast::once("wait_for_nothing").with_wasi(), FaultKind::Trap, "waits through WASI");
}

#[test]
fn an_engine_that_asks_for_the_time_without_end_is_cut_by_its_fuel() {
    uses_up(&Beast::once("wake_for_ever").with_wasi());
}

#[test]
fn an_engine_that_prints_without_end_is_cut_by_its_fuel() {
    uses_up(&Beast::once("print_for_ever").with_wasi());
}

#[test]
fn an_engine_that_makes_sockets_without_end_is_cut_by_its_fuel() {
    uses_up(&Beast::once("connect_for_ever").with_wasi());
}

#[test]
fn a_file_in_a_directory_that_was_made_up_can_not_be_opened() {
    fails(&Beast::once("open_made_up").with_wasi(), FaultKind::Output, "unknown handle index");
}

#[test]
fn an_engine_that_ends_itself_has_failed_and_ends_nothing_else() {
    fails(&Beast::once("end_itself").with_wasi(), FaultKind::Trap, "ended itself through WASI with status 0");
}

#[test]
fn a_terabyte_of_chance_is_not_drawn() {
    fails(&Beast::once("drain_chance").with_wasi(), FaultKind::Trap, "asked WASI for 1099511627776 bytes");
}

#[test]
fn an_engine_that_looks_for_files_sockets_names_and_an_environment_finds_none() {
    visit(async |zoo| {
        zoo.offer(&Beast::alone("look_around").with_wasi()).await?;
        zoo.add("looking", "look_around", json!({})).await?;
        zoo.sees("looking", "it decides", |it| it.asked.decisions >= 3).await?;
        let memory = zoo.state("looking").await?.memory.context("a memory")?;
        ensure!(memory[..12] == [0; 12], "no variables, no arguments, no directories: {memory:?}");
        let access_denied = [1, 0, 0, 0, 1, 0, 0, 0];
        ensure!(memory[12..36] == [access_denied; 3].concat(), "no sockets and no names: {memory:?}");
        ensure!(memory[40..48] == memory[48..56], "time stands still: {memory:?}");
        zoo.remove("looking").await
    });
}

#[test]
fn what_is_not_served_of_wasi_is_refused_with_its_name() {
    let component = wat::parse_str("(component (import \"wasi:http/outgoing-handler@0.2.0\" (instance)))").expect("well formed");
    visit(async |zoo| -> Result<()> {
        let told = zoo.refusal(&component).await?;
        ensure!(told.contains("it imports `wasi:http/outgoing-handler@0.2.0`, which is not served"), "{told}");
        Ok(())
    });
}
