//! How a story fits where it is read: on a terminal, lines that are too long go on below, and headings stand out.

use std::io::IsTerminal as _;

/// How wide a line may be on a terminal: what one still reads without losing the line.
const WIDTH: usize = 100;

/// How far a line that goes on is set in.
const FURTHER: usize = 4;

/// The text as it is shown: for a program or a file as it is, so that a line is a line.
pub(super) fn fitted(text: String) -> String {
    if !std::io::stdout().is_terminal() {
        return text;
    }
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    for_terminal(&text, !plain)
}

/// Breaks long lines, and shows headings (lines that are not set in) in bold.
fn for_terminal(text: &str, bold: bool) -> String {
    let mut shown = String::new();
    for line in text.lines() {
        let is_heading = bold && !line.is_empty() && !line.starts_with(' ');
        for (number, part) in wrapped(line).iter().enumerate() {
            if is_heading && number == 0 {
                shown.push_str("\u{1b}[1m");
            }
            shown.push_str(part);
            shown.push('\n');
        }
        if is_heading {
            // Before the line end, so that nothing else is bold.
            shown.pop();
            shown.push_str("\u{1b}[0m\n");
        }
    }
    shown
}

/// A line in as many as it takes, broken where words end. A word that is longer than a line stays whole.
fn wrapped(line: &str) -> Vec<String> {
    let indent = line.len() - line.trim_start_matches(' ').len();
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut width = 0;
    for (number, word) in line[indent..].split(' ').enumerate() {
        let length = word.chars().count();
        if number == 0 {
            part.extend(std::iter::repeat_n(' ', indent));
            width = indent;
        } else if width + 1 + length > WIDTH && !part.trim().is_empty() {
            parts.push(part.trim_end().to_owned());
            part = " ".repeat(indent + FURTHER);
            width = indent + FURTHER;
        } else {
            part.push(' ');
            width += 1;
        }
        part.push_str(word);
        width += length;
    }
    parts.push(part.trim_end().to_owned());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_goes_on_below_and_loses_nothing() {
        let line = format!("  {}", "words of a sentence ".repeat(12));
        let parts = wrapped(&line);
        assert!(parts.len() > 2 && parts.iter().all(|part| part.chars().count() <= WIDTH), "{parts:?}");
        assert!(parts[1].starts_with("      ") && !parts[1].starts_with("       "), "{parts:?}");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&parts.join(" ")), words(&line));
        let one = "x".repeat(WIDTH + 20);
        assert_eq!(wrapped(&one), std::slice::from_ref(&one));
        assert_eq!(wrapped(""), [""]);
        assert_eq!(wrapped("  columns   stay   apart"), ["  columns   stay   apart"]);
    }

    #[test]
    fn only_headings_stand_out_and_only_where_that_is_wanted() {
        assert_eq!(for_terminal("Head\n  body\n\nNext\n", true), "\u{1b}[1mHead\u{1b}[0m\n  body\n\n\u{1b}[1mNext\u{1b}[0m\n");
        assert_eq!(for_terminal("Head\n  body\n", false), "Head\n  body\n");
    }
}
