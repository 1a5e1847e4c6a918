//! What commands print: the same value for two readers, people and programs.
//!
//! Data goes to standard output. Nothing here decides what is told; it only makes it readable: columns that line up, moments with how
//! long ago they were, and no control characters from texts that others wrote.

pub(crate) mod happening;
pub(crate) mod readings;

use std::fmt::Write as _;
use std::io::{self, Write as _};

use clap::ValueEnum;
use pilothouse_core::time::{Millis, Timestamp};
use serde::Serialize;
use time::OffsetDateTime;
use time::macros::format_description;

/// How a command answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs: the answer of the API, as it is
    Json,
}

impl Format {
    /// Prints a value: as JSON, or as the text that is made of it.
    pub(crate) fn print<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> io::Result<()> {
        match self {
            Self::Text => print(&text(value)),
            Self::Json => print(&serde_json::to_string_pretty(value).map_err(io::Error::other)?),
        }
    }

    /// Prints one of many values: as a line of JSON, or as the text that is made of it.
    pub(crate) fn print_line<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> io::Result<()> {
        match self {
            Self::Text => print(&text(value)),
            Self::Json => print(&serde_json::to_string(value).map_err(io::Error::other)?),
        }
    }
}

/// Writes to standard output, with a line end where there is none.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        stdout.write_all(b"\n")?;
    }
    stdout.flush()
}

/// Whether an error says that nobody reads any more.
pub(crate) fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// A text that others wrote, on one line and without what could play tricks on a terminal.
pub(crate) fn clean(text: &str) -> String {
    let is_tricky = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let lines = text.lines().map(str::trim_end).collect::<Vec<_>>().join(" ");
    lines.chars().map(|c| if is_tricky(c) { '\u{fffd}' } else { c }).collect()
}

/// Rows under headings, in columns as wide as they need to be; the last column is left as it is.
pub(crate) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = headings.map(|heading| heading.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let headings = headings.map(str::to_owned);
    for row in std::iter::once(&headings).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a `String` never fails.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A moment in UTC: `2026-11-21 06:05:28Z`.
pub(crate) fn moment(at: Timestamp) -> String {
    let nanos = i128::from(at.as_millis()) * 1_000_000;
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z");
    let formatted = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok().and_then(|time| time.format(format).ok());
    formatted.unwrap_or_else(|| format!("{} ms", at.as_millis()))
}

/// The time of day of a moment in UTC: `06:05:28Z`.
pub(crate) fn time_of_day(at: Timestamp) -> String {
    moment(at).split_once(' ').map_or_else(String::new, |(_, time)| time.to_owned())
}

/// A moment and how long ago it was: `2026-11-21 06:05:28Z (12 s ago)`.
pub(crate) fn moment_ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ({} ago)", moment(at), length(now.since(at)))
}

/// A length of time in the unit a person would choose; days too.
pub(crate) fn length(length: Millis) -> String {
    const DAY: Millis = Millis::from_secs(24 * 60 * 60);
    match length.get() {
        days if length >= DAY + DAY => format!("{} days", days / DAY.get()),
        _ => length.to_string(),
    }
}

/// `1 instance`, `2 instances`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["web".to_owned(), "stable".to_owned(), "fine".to_owned()], ["a-long-name".to_owned(), "x".to_owned(), String::new()]];
        assert_eq!(table(["NAME", "STATUS", "REASON"], &rows), "NAME         STATUS  REASON\nweb          stable  fine\na-long-name  x\n");
    }

    #[test]
    fn a_text_of_others_stays_on_its_line_and_can_not_command_the_terminal() {
        assert_eq!(clean("two\nlines \u{1b}[2J\u{202e}\n"), "two lines \u{fffd}[2J\u{fffd}");
    }

    #[test]
    fn moments_are_told_with_their_distance() {
        let at = Timestamp::from_secs(1_795_241_128);
        assert_eq!(moment_ago(at, at + Millis::from_secs(12)), "2026-11-21 06:05:28Z (12 s ago)");
        assert_eq!(time_of_day(at), "06:05:28Z");
        assert_eq!(length(Millis::from_secs(3 * 86_400)), "3 days");
        assert!(!moment(Timestamp::from_millis(u64::MAX)).is_empty(), "beyond the calendar is no panic");
        assert!(!time_of_day(Timestamp::from_millis(u64::MAX)).is_empty());
    }
}
