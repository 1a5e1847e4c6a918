//! From what the sandbox says to a fault with a kind.

use std::fmt::Write as _;
use std::time::Duration;

use pilothouse_core::cycle::{Fault, FaultKind};
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

use crate::deadline;
use crate::held::NoRoom;
use crate::limits::EngineLimits;
use crate::wasi::Ended;

/// Frames of a guest's stack that a fault tells: enough to find the place, and a recursion does not fill the journal.
const FRAMES: usize = 6;
/// The longest name of a frame, in characters.
const FRAME_CHARS: usize = 160;
/// The longest text of a fault, in bytes.
const TEXT_BYTES: usize = 2048;

/// Tells why a call did not return. `refused` is what memory or table it was refused, which is the cause of most traps that follow;
/// `used` how long it had the processor, if its deadline struck.
pub(crate) fn fault(error: &wasmtime::Error, limits: &EngineLimits, refused: Option<&str>, used: Duration) -> Fault {
    let (kind, text) = match (error.downcast_ref::<Trap>(), refused) {
        (Some(Trap::OutOfFuel), _) => (FaultKind::Fuel, format!("used up its {} units of fuel", limits.fuel)),
        (Some(Trap::Interrupt), _) => deadline::struck(limits.deadline, used),
        (None, _) if let Some(no_room) = error.downcast_ref::<NoRoom>() => (FaultKind::Crowded, no_room.to_string()),
        (_, Some(refused)) => (FaultKind::Memory, refused.to_owned()),
        (None, None) if let Some(ended) = error.downcast_ref::<Ended>() => (FaultKind::Trap, ended.to_string()),
        (Some(trap), None) => (FaultKind::Trap, trap.to_string()),
        (None, None) if error.is::<PoolConcurrencyLimitError>() => (FaultKind::Crowded, chain(error)),
        // Not the guest's code stopped, but the host, which would not take what it was handed.
        (None, None) => (FaultKind::Output, chain(error)),
    };
    Fault { backtrace: backtrace(error), ..Fault::new(kind, bounded(text)) }
}

/// An answer that is over a limit or makes no sense.
pub(crate) fn output(text: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Output, bounded(text.into()))
}

/// An error that the guest returned.
pub(crate) fn returned(text: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Returned, bounded(text.into()))
}

/// What went wrong, from the outside in, without the backtrace that wasmtime puts around it.
pub(crate) fn chain(error: &wasmtime::Error) -> String {
    let mut text = String::new();
    for level in error.chain().map(ToString::to_string) {
        if !level.starts_with("error while executing at wasm backtrace") {
            let separator = if text.is_empty() { "" } else { ": " };
            let _ = write!(text, "{separator}{level}");
        }
    }
    text
}

/// Where in the guest, innermost first: by name, if it has names, and else by the number of the function.
fn backtrace(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let name = |frame: &wasmtime::FrameInfo| {
        let name = frame.func_name().map_or_else(|| format!("function {}", frame.func_index()), str::to_owned);
        name.chars().take(FRAME_CHARS).collect()
    };
    backtrace.frames().iter().take(FRAMES).map(name).collect()
}

/// A text of a guest on one line of the log of the host: what it says there must not look like lines of the host itself.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Cut to what a journal record can bear, at a character.
pub(crate) fn bounded(mut text: String) -> String {
    if text.len() > TEXT_BYTES {
        let end = (0..=TEXT_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_guest_stays_one_line_whatever_is_in_it() {
        assert_eq!(
            one_line("done\n2026-11-21 ERROR pilothouse: \x1b[31mfenced\r"),
            "done\u{fffd}2026-11-21 ERROR pilothouse: \u{fffd}[31mfenced\u{fffd}"
        );
        assert_eq!(one_line("größer als 3"), "größer als 3");
    }
}
