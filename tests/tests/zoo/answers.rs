//! Engines whose answers and questions make no sense.

use pilothouse_core::cycle::FaultKind;

use crate::beast::Beast;
use crate::faults::fails;

#[test]
fn a_reason_that_is_no_text_is_no_answer() {
    fails(&Beast::once("not_text"), FaultKind::Output, "utf-8");
}

#[test]
fn an_id_that_is_no_text_is_no_question() {
    fails(&Beast::once("ask_in_no_text"), FaultKind::Output, "utf-8");
}

#[test]
fn a_reason_as_long_as_a_length_can_be_is_not_read() {
    fails(&Beast::once("absurd_length"), FaultKind::Output, "out of bounds");
}

#[test]
fn a_log_line_as_long_as_a_length_can_be_is_not_read() {
    fails(&Beast::once("log_absurd_length"), FaultKind::Output, "out of bounds");
}

#[test]
fn a_list_of_hundreds_of_millions_is_not_read() {
    fails(&Beast::once("enormous_list"), FaultKind::Output, "out of bounds");
}

#[test]
fn more_figures_than_are_kept_are_no_answer() {
    fails(&Beast::once("many_figures"), FaultKind::Output, "65 figures; at most 64 are kept");
}

#[test]
fn a_reason_that_is_a_byte_too_long_is_no_answer() {
    fails(&Beast::once("long_reason"), FaultKind::Output, "a reason of 4097 bytes; at most 4096 are kept");
}

#[test]
fn a_status_that_there_is_not_is_no_answer() {
    fails(&Beast::once("odd_status"), FaultKind::Output, "discriminant");
}

#[test]
fn a_memory_from_outside_of_its_own_is_not_read() {
    fails(&Beast::once("outside"), FaultKind::Output, "out of bounds");
}
