//! Running other programs, and saying what went wrong with which.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use crate::BuildError;

/// How much is passed on of what a program said before it failed, in bytes. The end is what matters: that is where tools put the error.
const SAID_BYTES: usize = 4000;

/// Runs a program and returns what it writes to stdout. What it says is passed on only when it fails.
pub(crate) fn output(command: &mut Command) -> Result<String, BuildError> {
    let words = words(command);
    let ran = command.stdin(Stdio::null()).output().map_err(|source| BuildError::Start { command: words.clone(), source })?;
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    if ran.status.success() {
        return Ok(out.into_owned());
    }
    // Some tools complain on stdout.
    let said = if err.trim().is_empty() { out } else { err };
    Err(BuildError::Failed { command: words, status: ran.status.to_string(), said: tail(said.trim(), SAID_BYTES).to_owned() })
}

/// The command as one would type it. An argument of many lines is a program and told as `…`.
pub(crate) fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(OsStr::to_string_lossy);
    let words = words.map(|word| if word.contains('\n') { "…".into() } else { word });
    format!("`{}`", words.collect::<Vec<_>>().join(" "))
}

fn tail(text: &str, most: usize) -> &str {
    let mut from = text.len().saturating_sub(most);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_the_command_and_what_it_said() {
        let error = output(Command::new("sh").args(["-c", "echo broken >&2; exit 3"])).expect_err("it fails").to_string();
        assert!(error.contains("`sh -c echo broken") && error.contains("exit status: 3") && error.ends_with("broken"), "{error}");
    }

    #[test]
    fn what_is_passed_on_ends_with_the_end() {
        assert_eq!(tail("abc", 2), "bc");
        assert_eq!(tail("aäb", 2), "b", "no character is cut in two");
        assert_eq!(tail("abc", 9), "abc");
    }
}
