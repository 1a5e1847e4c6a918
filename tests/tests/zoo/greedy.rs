//! Engines that take all the room that they can get.

use pilothouse_core::cycle::FaultKind;

use crate::beast::Beast;
use crate::faults::fails;

#[test]
fn an_engine_that_takes_all_memory_is_told_apart_from_other_traps() {
    fails(&Beast::once("hog"), FaultKind::Memory, "bytes of memory more when");
}

#[test]
fn an_engine_that_takes_all_places_of_its_tables_is_told_apart_from_other_traps() {
    fails(&Beast::once("hog_tables"), FaultKind::Memory, "table elements more");
}

#[test]
fn a_memory_that_is_a_byte_too_large_is_not_kept() {
    fails(&Beast::once("large_memory"), FaultKind::Output, "a memory of 65537 bytes; at most 65536 are kept");
}

#[test]
fn a_giant_memory_is_not_kept() {
    fails(&Beast::once("giant_memory"), FaultKind::Output, "too much data");
}

#[test]
fn a_list_of_a_thousand_ids_that_are_all_the_same_is_not_copied_a_thousand_times() {
    fails(&Beast::once("amplify"), FaultKind::Output, "too much data");
}
