//! The calendar: when windows begin and end, in the zone of each.
//!
//! Patterns are looked for on the clock on the wall, and what is found there becomes a moment by one rule, which never lets a later time
//! on the wall come before an earlier one: an hour that is skipped in spring happens all at once when the clocks go forward, and of an hour
//! that comes twice in autumn only the first one counts.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{RoundMode, SignedDuration, Unit};

use super::{MAX_PATTERN, Window};
use crate::config::ConfigProblem;
use crate::time::Timestamp;

/// The smallest step of a pattern.
const MINUTE: SignedDuration = SignedDuration::from_secs(60);

/// Where the search for a first time begins, and the years that it goes through. A time that ever comes does in these: every calendar of a
/// leap year, and of any other, follows within 28 years.
const FIRST_DAY: DateTime = DateTime::constant(2000, 1, 1, 0, 0, 0, 0);
const YEARS: &str = "2000-2039";

/// The zone of a name.
pub(super) fn zone(name: &str) -> Result<TimeZone, String> {
    let expected = || format!("{name:?} is no time zone; expected a name of the IANA database, as Europe/Vienna or UTC");
    // Not the zones of this machine: every host must find the same.
    let zone = TimeZoneDatabase::bundled().get(name).map_err(|_| expected())?;
    if zone.is_unknown() { Err(expected()) } else { Ok(zone) }
}

/// A cron pattern of five fields.
pub(super) fn pattern(text: &str) -> Result<Cron, String> {
    const EXPECTED: &str =
        "expected a cron pattern of five fields (minute, hour, day of the month, month, day of the week), as 0 8 * * mon-fri";
    let of_pattern = |c: char| c.is_ascii_alphanumeric() || " *,-/?#+".contains(c);
    if text.len() > MAX_PATTERN {
        return Err(format!("expected at most {MAX_PATTERN} bytes"));
    }
    if !text.chars().all(of_pattern) || text.split_whitespace().count() != 5 {
        return Err(EXPECTED.to_owned());
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(text).map_err(|error| format!("{EXPECTED}: {error}"))
}

/// The first window that can't begin or end, because a day like that of its pattern never comes.
pub(super) fn never(windows: &[Window]) -> Option<ConfigProblem> {
    let patterns = windows.iter().enumerate().flat_map(|(place, it)| [(place, "start", &it.start), (place, "end", &it.end)]);
    patterns.into_iter().find_map(|(place, key, text)| {
        // Without years it would be looked for day by day for three thousand of them.
        let of_some_years = CronParser::builder().seconds(Seconds::Required).year(Year::Required).build();
        of_some_years.parse(&format!("0 {text} {YEARS}")).ok()?.find_next_occurrence(&FIRST_DAY, true).err()?;
        Some(ConfigProblem::new(format!("/schedule/{place}/{key}"), format!("{text:?} never comes")))
    })
}

/// A moment as the clock of a zone shows it, with its distance from UTC; in UTC, where there is no such zone.
pub(super) fn local(at: Timestamp, zone_name: &str) -> String {
    let Some(at) = instant(at) else { return String::new() };
    let zone = zone(zone_name).unwrap_or(TimeZone::UTC);
    at.display_with_offset(zone.to_offset(at)).to_string()
}

fn instant(at: Timestamp) -> Option<jiff::Timestamp> {
    i64::try_from(at.as_millis()).ok().and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
}

/// When each window of a schedule is on.
#[derive(Debug)]
pub struct Timetable {
    windows: Vec<Option<Hours>>,
}

/// The times of one window.
#[derive(Debug)]
struct Hours {
    zone: TimeZone,
    start: Cron,
    end: Cron,
}

impl Timetable {
    /// The timetable of a schedule. A window that can't be read is never on: it was judged when it was written, perhaps with other zones.
    pub fn of(windows: &[Window]) -> Self {
        let hours =
            |it: &Window| Some(Hours { zone: zone(&it.time_zone).ok()?, start: pattern(&it.start).ok()?, end: pattern(&it.end).ok()? });
        Self { windows: windows.iter().map(hours).collect() }
    }

    /// The windows that are on at a moment, by their places. One that begins exactly then is on, one that ends exactly then is off.
    pub fn on(&self, now: Timestamp) -> Vec<usize> {
        let on = |(place, hours): (usize, &Option<Hours>)| hours.as_ref().is_some_and(|hours| hours.on(now)).then_some(place);
        self.windows.iter().enumerate().filter_map(on).collect()
    }

    /// The first moment after `now` at which a window may begin or end; nothing, where none ever does.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        self.windows.iter().flatten().filter_map(|hours| hours.next(hours.on(now), now)).min()
    }

    /// Every moment after `now` at which a window may begin or end, each with the windows that are on from then. Endless, as a rule.
    pub fn boundaries(&self, now: Timestamp) -> Boundaries<'_> {
        let state = |hours: &Option<Hours>| {
            let on = hours.as_ref().is_some_and(|hours| hours.on(now));
            (on, hours.as_ref().and_then(|hours| hours.next(on, now)))
        };
        Boundaries { timetable: self, states: self.windows.iter().map(state).collect() }
    }
}

/// The moments of a timetable, in order.
#[derive(Debug)]
pub struct Boundaries<'t> {
    timetable: &'t Timetable,
    /// Of each window whether it is on, and when it may be otherwise.
    states: Vec<(bool, Option<Timestamp>)>,
}

impl Boundaries<'_> {
    /// The windows, by their places, that may begin or end at the moment that comes next.
    pub(super) fn due(&self) -> impl Iterator<Item = usize> {
        let at = self.states.iter().filter_map(|(_, next)| *next).min();
        self.states.iter().enumerate().filter_map(move |(place, (_, next))| (next.is_some() && *next == at).then_some(place))
    }
}

impl Iterator for Boundaries<'_> {
    type Item = (Timestamp, Vec<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.states.iter().filter_map(|(_, next)| *next).min()?;
        for (hours, (on, next)) in self.timetable.windows.iter().zip(&mut self.states) {
            let Some(hours) = hours.as_ref().filter(|_| *next == Some(at)) else { continue };
            *on = !*on && !hours.ends(at);
            *next = hours.next(*on, at);
        }
        Some((at, self.states.iter().enumerate().filter_map(|(place, (on, _))| on.then_some(place)).collect()))
    }
}

impl Hours {
    fn on(&self, now: Timestamp) -> bool {
        let newest = |pattern| newest(&self.zone, pattern, now);
        // Where both come at once the end wins: a window of no length must not last until the next end.
        newest(&self.start).is_some_and(|start| newest(&self.end).is_none_or(|end| end < start))
    }

    /// When the window, which is on or off now, may be otherwise.
    fn next(&self, on: bool, now: Timestamp) -> Option<Timestamp> {
        let (now, pattern) = (instant(now)?, if on { &self.end } else { &self.start });
        let on_the_wall = pattern.find_next_occurrence(&reached(&self.zone, now), false).ok()?;
        moment(&self.zone, on_the_wall)
    }

    fn ends(&self, at: Timestamp) -> bool {
        newest(&self.zone, &self.end, at) == Some(at)
    }
}

/// The newest moment of a pattern, up to and with `now`.
fn newest(zone: &TimeZone, pattern: &Cron, now: Timestamp) -> Option<Timestamp> {
    let on_the_wall = pattern.find_previous_occurrence(&reached(zone, instant(now)?), true).ok()?;
    moment(zone, on_the_wall)
}

/// The latest minute that the clock of a zone has shown up to now. That is what it shows, except in the hour after it was put back.
fn reached(zone: &TimeZone, now: jiff::Timestamp) -> DateTime {
    let shown = zone.to_datetime(now);
    let instant_before = |at: jiff::Timestamp| at.checked_sub(SignedDuration::from_nanos(1)).ok();
    // Whoever asks exactly when the clock is put back asks for that change, too.
    let after = now.checked_add(SignedDuration::from_nanos(1)).unwrap_or(now);
    let before_change = zone.preceding(after).next().and_then(|change| instant_before(change.timestamp()));
    let latest = before_change.map_or(shown, |before| zone.to_datetime(before).max(shown));
    let minutes = jiff::civil::DateTimeRound::new().smallest(Unit::Minute).mode(RoundMode::Trunc);
    latest.round(minutes).unwrap_or(latest)
}

/// When the clock of a zone shows a time for the first time; if it skips it, when it does.
fn moment(zone: &TimeZone, shown: DateTime) -> Option<Timestamp> {
    let at = match zone.to_ambiguous_timestamp(shown).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(shown).ok()?,
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(shown).ok()?,
        AmbiguousOffset::Gap { before, .. } => {
            let as_if_not_skipped = before.to_timestamp(shown).ok()?;
            zone.preceding(as_if_not_skipped.checked_add(MINUTE).ok()?).next()?.timestamp()
        }
    };
    u64::try_from(at.as_millisecond()).ok().map(Timestamp::from_millis)
}
