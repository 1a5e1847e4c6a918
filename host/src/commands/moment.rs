//! A moment of the past, as people say it.

use pilothouse_core::time::{Millis, Timestamp};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, Time};

const DAY: Millis = Millis::from_secs(24 * 60 * 60);

/// Reads `2026-11-21T03:12:00Z` (RFC 3339, a space for the T as well), `03:12` or `03:12:30` (UTC, the last time it was that late), or
/// `-10m` (s, m, h or d ago).
///
/// # Errors
/// What was expected; or that the moment is still to come.
pub(super) fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let text = text.trim();
    let at = ago(text, now).or_else(|| time_of_day(text, now)).or_else(|| rfc3339(text)).ok_or_else(|| {
        format!("{text:?}: expected a time such as 2026-11-21T03:12:00Z, 03:12, 03:12:30 (both UTC) or -10m (s, m, h or d ago)")
    })?;
    if at > now { Err(format!("{text:?}: that is still to come")) } else { Ok(at) }
}

fn ago(text: &str, now: Timestamp) -> Option<Timestamp> {
    let length = text.strip_prefix('-')?;
    let (number, unit) = length.split_at(length.find(|c: char| !c.is_ascii_digit() && c != '.')?);
    let secs: f64 = match unit {
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let millis = number.parse::<f64>().ok()? * secs * 1000.0;
    // Whatever lies before 1970 is as early as it gets.
    Some(now - Millis::new(millis as u64))
}

fn time_of_day(text: &str, now: Timestamp) -> Option<Timestamp> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let with_seconds = Time::parse(text, format_description!("[hour]:[minute]:[second]"));
    let time = with_seconds.or_else(|_| Time::parse(text, format_description!("[hour]:[minute]"))).ok()?;
    let into_the_day = Millis::from_secs(u64::try_from((time - Time::MIDNIGHT).whole_seconds()).ok()?);
    let midnight = Timestamp::from_millis(now.as_millis() - now.as_millis() % DAY.get());
    let today = midnight + into_the_day;
    Some(if today > now { today - DAY } else { today })
}

fn rfc3339(text: &str) -> Option<Timestamp> {
    // What is shown has a space where the standard has a T.
    let text = text.replacen(' ', "T", 1);
    let nanos = OffsetDateTime::parse(&text, &Rfc3339).ok()?.unix_timestamp_nanos();
    u64::try_from(nanos / 1_000_000).ok().map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::output::moment;

    /// 2026-11-21 06:05:28Z.
    const NOW: Timestamp = Timestamp::from_secs(1_795_241_128);

    #[test]
    fn a_moment_is_read_however_people_say_it() {
        for (text, at) in [
            ("2026-11-21T03:12:00Z", "2026-11-21 03:12:00Z"),
            ("2026-11-21T03:12:00+02:00", "2026-11-21 01:12:00Z"),
            ("2026-11-21 03:12:00Z", "2026-11-21 03:12:00Z"),
            ("03:12", "2026-11-21 03:12:00Z"),
            ("06:05:28", "2026-11-21 06:05:28Z"),
            ("06:05:28Z", "2026-11-21 06:05:28Z"),
            ("23:50", "2026-11-20 23:50:00Z"),
            ("-90s", "2026-11-21 06:03:58Z"),
            ("-10m", "2026-11-21 05:55:28Z"),
            ("-1.5h", "2026-11-21 04:35:28Z"),
            ("-2d", "2026-11-19 06:05:28Z"),
        ] {
            assert_eq!(parse(text, NOW).map(moment), Ok(at.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_of_the_past_is_refused_with_what_was_expected() {
        for text in ["", "soon", "-10", "-m", "-10 parsecs", "25:00", "3", "2026-11-21", "10m", "-1e9d"] {
            let refused = parse(text, NOW).expect_err(text);
            assert!(refused.contains("-10m"), "{refused}");
        }
        assert!(parse("2026-11-21T06:05:29Z", NOW).expect_err("later").contains("still to come"));
    }

    proptest! {
        #[test]
        fn nothing_that_is_typed_panics_or_lies_ahead(text in "[-0-9smhd:.TZ ]{0,24}|.*", now in 0_u64..10_000_000_000_000) {
            let now = Timestamp::from_millis(now);
            if let Ok(at) = parse(&text, now) {
                prop_assert!(at <= now);
            }
        }
    }
}
