//! Lines for the author of an engine.

pub use crate::bindings::pilothouse::engine::log::Level;

/// Writes a line for the author of the engine. The host bounds how many and how long; what is over a bound is dropped and counted.
///
/// Natively the line goes to [`logged`], or else to standard error.
pub fn log(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::pilothouse::engine::log::log(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    native::log(level, message);
}

/// Runs a call of an engine and keeps the lines that it logs, in their order. Inside a component there are none: the host has them.
pub fn logged<T>(call: impl FnOnce() -> T) -> (T, Vec<(Level, String)>) {
    #[cfg(target_arch = "wasm32")]
    return (call(), Vec::new());
    #[cfg(not(target_arch = "wasm32"))]
    native::logged(call)
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::cell::RefCell;

    use super::Level;

    type Lines = Vec<(Level, String)>;

    thread_local! {
        static LINES: RefCell<Option<Lines>> = const { RefCell::new(None) };
    }

    pub(super) fn log(level: Level, message: &str) {
        LINES.with_borrow_mut(|lines| match lines {
            Some(lines) => lines.push((level, message.to_owned())),
            None => eprintln!("{level:?}: {message}"),
        });
    }

    pub(super) fn logged<T>(call: impl FnOnce() -> T) -> (T, Lines) {
        /// Puts back whoever listened before, also when the call panics.
        struct Outer(Option<Lines>);
        impl Drop for Outer {
            fn drop(&mut self) {
                LINES.replace(self.0.take());
            }
        }
        let outer = Outer(LINES.replace(Some(Vec::new())));
        let result = call();
        let lines = LINES.take().unwrap_or_default();
        drop(outer);
        (result, lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_call_are_kept_in_their_order_and_of_no_other() {
        let line = |text: &str| (Level::Info, text.to_owned());
        let ((_, inner), outer) = logged(|| {
            log(Level::Info, "before");
            let inner = logged(|| log(Level::Info, "inside"));
            log(Level::Info, "after");
            inner
        });
        assert_eq!((inner, outer), (vec![line("inside")], vec![line("before"), line("after")]));
    }
}
