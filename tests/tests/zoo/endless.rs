//! Engines that do not come to an end.

use pilothouse_core::cycle::FaultKind;

use crate::beast::Beast;
use crate::faults::{assert_fails, fails, uses_up};
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
fn an_engine_that_spins_beyond_its_time_is_cut_by_the_clock_and_that_never_counts() {
    visit(async |zoo| {
        let beast = Beast::once_as("late", "spin");
        zoo.offer(&beast).await?;
        zoo.limit(&beast, "deadline_ms", 20).await?;
        assert_fails(zoo, &beast, FaultKind::Deadline, "still ran after 20 ms").await
    });
}
