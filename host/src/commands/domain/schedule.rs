//! What the schedule of a domain says: what is on, and what is coming.

use std::fmt::Write as _;

use pilothouse_core::schedule::{KeyChange, Switch, Window, changes_in_words};
use pilothouse_core::time::Timestamp;

use crate::api::DomainSchedule;
use crate::output::{clean, length, moment, table};

/// The windows, what they change now, and the next changes.
pub(super) fn text(it: &DomainSchedule, now: Timestamp) -> String {
    if it.windows.is_empty() {
        return format!("domain {} has no schedule: it is always configured the same (`pilothouse domain schedule --help`)", it.domain);
    }
    let row = |window: &Window| {
        let on = if it.on.contains(&window.name) { "on" } else { "-" };
        let sets = window.engine_conf.iter().map(|(key, value)| format!("{key} {value}")).collect::<Vec<_>>().join(", ");
        [window.name.to_string(), on.to_owned(), clean(&window.start), clean(&window.end), clean(&window.time_zone), clean(&sets)]
    };
    let rows: Vec<_> = it.windows.iter().map(row).collect();
    let mut text = table(["WINDOW", "NOW", "START", "END", "TIME ZONE", "SETS"], &rows);
    // Writing to a `String` never fails.
    let _ = writeln!(text, "\n{}", in_effect(&it.changes));
    if it.next.is_empty() {
        text += "no further change is shown\n";
        return text;
    }
    text += "\nThe next changes\n";
    for switch in &it.next {
        let _ = writeln!(text, "  {}", coming(switch, now));
    }
    text
}

fn in_effect(changes: &[KeyChange]) -> String {
    if changes.is_empty() {
        return "in effect is engine_conf as it is configured".to_owned();
    }
    let value = |change: &KeyChange| change.to.as_ref().map_or_else(String::new, ToString::to_string);
    let told: Vec<_> = changes.iter().map(|change| clean(&format!("{} {}", change.key, value(change)))).collect();
    format!("in effect is engine_conf with {}", told.join(", "))
}

/// One change: `2026-11-23 08:00 Europe/Vienna (2026-11-23 07:00:00Z, in 15 h)  window day begins: preserve_n 3 -> 10`.
pub(in crate::commands) fn coming(switch: &Switch, now: Timestamp) -> String {
    let local = switch.local.get(..16).unwrap_or(&switch.local).replacen('T', " ", 1);
    let when = format!("{local} {} ({}, in {})", switch.time_zone, moment(switch.at), length(switch.at.since(now)));
    let turns = |names: &[pilothouse_core::name::Name], verb: &str| {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        (!names.is_empty()).then(|| format!("{} {verb}{}", names.join(", "), if names.len() == 1 { "s" } else { "" }))
    };
    let turned: Vec<_> = turns(&switch.turn.ended, "end").into_iter().chain(turns(&switch.turn.began, "begin")).collect();
    clean(&format!("{when}  {}: {}", turned.join(", "), changes_in_words(&switch.turn.changes)))
}

#[cfg(test)]
mod tests {
    use pilothouse_core::config::DomainConfig;
    use pilothouse_core::schedule::key_changes;
    use serde_json::{Value, json};

    use super::*;

    /// 2026-11-20 15:00:00Z, a Friday.
    const NOW: Timestamp = Timestamp::from_secs(1_795_186_800);

    fn schedule(windows: Value) -> DomainSchedule {
        let config = DomainConfig::from_json(json!({"engine_conf": {"preserve_n": 3}, "schedule": windows})).expect("good");
        let on = config.windows_on(NOW);
        let engine_conf = config.engine_conf_while(&on).into_owned();
        DomainSchedule {
            domain: "web".parse().expect("a name"),
            at: NOW,
            changes: key_changes(&config.engine_conf, &engine_conf),
            next: config.coming(NOW, 3),
            windows: config.schedule,
            on,
            engine_conf,
        }
    }

    #[test]
    fn it_is_told_what_is_on_and_what_comes_when_in_both_times() {
        let windows = json!([
            {"name": "day", "time_zone": "Europe/Vienna", "start": "0 8 * * mon-fri", "end": "0 18 * * mon-fri", "engine_conf": {"preserve_n": 10}},
            {"name": "sale", "time_zone": "UTC", "start": "0 17 20 11 *", "end": "0 7 23 11 *", "engine_conf": {"preserve_n": 20, "note": "a\u{1b}b"}},
        ]);
        assert_eq!(
            text(&schedule(windows), NOW),
            "WINDOW  NOW  START            END               TIME ZONE      SETS\n\
             day     on   0 8 * * mon-fri  0 18 * * mon-fri  Europe/Vienna  preserve_n 10\n\
             sale    -    0 17 20 11 *     0 7 23 11 *       UTC            note \"a\\u001bb\", preserve_n 20\n\
             \n\
             in effect is engine_conf with preserve_n 10\n\
             \n\
             The next changes\n\
             \u{20} 2026-11-20 17:00 UTC (2026-11-20 17:00:00Z, in 2 h)  day ends, sale begins: note nothing -> \"a\\u001bb\", preserve_n 10 -> 20\n\
             \u{20} 2026-11-23 08:00 Europe/Vienna (2026-11-23 07:00:00Z, in 2 days)  sale ends, day begins: note \"a\\u001bb\" -> nothing, preserve_n 20 -> 10\n\
             \u{20} 2026-11-23 18:00 Europe/Vienna (2026-11-23 17:00:00Z, in 3 days)  day ends: preserve_n 10 -> 3\n"
        );
    }

    #[test]
    fn a_domain_without_a_schedule_is_told_in_a_line() {
        assert!(text(&schedule(json!([])), NOW).starts_with("domain web has no schedule"));
    }
}
