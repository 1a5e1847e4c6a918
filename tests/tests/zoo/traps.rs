//! Engines that do what can't be done.

use pilothouse_core::cycle::FaultKind;

use crate::beast::Beast;
use crate::faults::fails;

#[test]
fn an_engine_that_gives_up_has_failed() {
    fails(&Beast::once("trap"), FaultKind::Trap, "unreachable");
}

#[test]
fn an_engine_that_divides_by_zero_has_failed() {
    fails(&Beast::once("divide"), FaultKind::Trap, "divide by zero");
}

#[test]
fn an_engine_that_reads_beyond_its_memory_reads_nothing() {
    fails(&Beast::once("reach"), FaultKind::Trap, "out of bounds memory access");
}

#[test]
fn an_engine_that_calls_what_is_not_there_has_failed() {
    fails(&Beast::once("lost_call"), FaultKind::Trap, "uninitialized element");
}
