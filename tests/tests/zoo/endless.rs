//! Engines that do not come to an end.

use anyhow::ensure;
use pilothouse::api::DomainDescription;
use pilothouse_core::cycle::FaultKind;
use pilothouse_core::record::Event;
use serde_json::json;

use crate::beast::Beast;
use crate::faults::{BORNE, assert_stands_by_its_first, fails, uses_up};
use crate::keeper::visit;

/// What a host allows a call by default.
const FUEL: &str = "used up its 1000000000 units of fuel";

#[test]
fn an_engine_that_spins_is_cut_by_its_fuel() {
    fails(&Beast::once("spin"), FaultKind::Fuel, FUEL);
}

#[test]
fn an_engine_that_has_the_host_work_for_it_without_end_is_cut_by_its_fuel() {
    uses_up(&Beast::once("ask_for_ever"));
}

#[test]
fn an_engine_that_asks_for_launches_without_end_is_cut_by_its_fuel_and_launches_nobody() {
    uses_up(&Beast::once("launch_for_ever"));
}

#[test]
fn an_engine_that_logs_without_end_is_cut_by_its_fuel() {
    uses_up(&Beast::once("log_for_ever"));
}

#[test]
fn an_engine_that_calls_itself_without_end_runs_out_of_stack() {
    fails(&Beast::once("recurse"), FaultKind::Trap, "call stack exhausted");
}

#[test]
fn an_engine_that_spins_beyond_its_time_is_cut_by_the_clock_and_held_once_it_had_the_processor_all_that_time() {
    visit(async |zoo| {
        let beast = Beast::once_as("late", "spin");
        zoo.offer(&beast).await?;
        zoo.limit(&beast, "deadline_ms", 20).await?;
        let name = &*beast.name;
        zoo.add(name, name, json!({})).await?;
        // Whether the machine is busy with other things, so that few of its faults count or none, is not for a test to say.
        let failed = |it: &DomainDescription| it.asked.decisions > 0 && it.asked.faults >= u64::from(BORNE);
        zoo.sees(name, "it fails", |it| failed(it) || it.summary.held.is_some()).await?;
        for fault in assert_stands_by_its_first(zoo, name).await? {
            let words = if fault.kind == FaultKind::Deadline { "still ran after 20 ms" } else { "as long as a call may run" };
            ensure!(matches!(fault.kind, FaultKind::Deadline | FaultKind::Processor), "{fault:#?}");
            ensure!(fault.message.contains(words) && fault.call == "decide", "{fault:#?}");
        }
        let events = zoo.events(name).await?;
        let counted = events.iter().filter(|it| matches!(it, Event::Faulted(fault) if fault.kind.counts())).count();
        let held = events.iter().filter(|it| matches!(it, Event::Held(_))).count();
        ensure!(held == counted / BORNE as usize && held <= 1, "{counted} of them counted: {events:#?}");
        zoo.remove(name).await
    });
}
