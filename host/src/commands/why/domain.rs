//! The story of a domain, in words.

use std::fmt::Write as _;

use pilothouse_core::cycle::Wake;
use pilothouse_core::engine::{Difference, Shadow};
use pilothouse_core::explain::{ChangeTold, DecisionTold, DomainStory, Hold, ShadowTold, UnhealthyTold};
use pilothouse_core::schedule::KeyChange;
use pilothouse_core::state::Life;
use pilothouse_core::time::{Millis, Timestamp};

use super::decision::{asks, decision};
use super::{engine, hold, list};
use crate::commands::domain::describe::compared;
use crate::commands::domain::schedule::coming;
use crate::output::happening::status_word;
use crate::output::{clean, length, moment, moment_ago};

/// How many unhealthy instances are named; more are in the JSON.
const UNHEALTHY: usize = 6;

/// The story: what holds it back or how it stands, the newest decision, the newest one that asked for something, and what people changed.
///
/// Writing to a `String` never fails, so results of `write!` are dropped here and below.
pub(super) fn text(story: &DomainStory, now: Timestamp) -> String {
    let mut text = standing(story, now);
    let newest = story.decisions.first();
    let acted = story.decisions.iter().find(|told| asks(&told.decision));
    match newest {
        None => text += "\nNo decision is on record yet.\n",
        Some(newest) => {
            text += if story.past { "\nThe newest decision by then" } else { "\nThe newest decision on record" };
            text += &decision(story, newest, now);
        }
    }
    if let Some(next) = &story.next {
        let (when, did) = (moment_ago(next.at, now), list::did(&next.what));
        let _ = writeln!(
            text,
            "\nThe next one\n  {when}  #{}  {did}; pilothouse why {} --at {}",
            next.sequence,
            story.domain.name,
            told_at(next.at)
        );
    }
    if let Some(acted) = acted.filter(|acted| newest != Some(*acted)) {
        text += "\nThe newest one that asked for something";
        text += &decision(story, acted, now);
    }
    let told = |it: &&DecisionTold| newest != Some(*it) && acted != Some(*it);
    let before: Vec<_> = story.decisions.iter().filter(told).collect();
    if !before.is_empty() {
        text += "\nOther decisions\n";
        for told in before {
            let it = &told.decision;
            let (when, status) = (moment_ago(told.at, now), status_word(it.status));
            let _ = writeln!(text, "  {when}  #{}  {status}, {} (\"{}\")", told.sequence, super::decision::in_short(it), clean(&it.reason));
        }
    }
    if !story.changes.is_empty() {
        let by_people = story.changes.iter().all(|change| change.by.is_some());
        text += if by_people { "\nChanges by people\n" } else { "\nChanges by people, and of the engine by itself\n" };
        for ChangeTold { sequence, at, by, change } in &story.changes {
            let by = by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
            let _ = writeln!(text, "  {}  #{sequence}  {}{by}", moment_ago(*at, now), clean(change));
        }
    }
    text
}

/// A moment as `--at` takes it.
fn told_at(at: Timestamp) -> String {
    // A decision lies within its second, so that the next second is the first that knows of it.
    moment(at + Millis::from_secs(1)).replacen(' ', "T", 1)
}

/// How it stands: the answer, for whoever has not the time for more.
fn standing(story: &DomainStory, now: Timestamp) -> String {
    let name = &story.domain.name;
    // Of the past it is told as it was then: how long ago is counted from that moment.
    let then = if story.past { story.told_at } else { now };
    let as_of = if story.past { format!("As of {}: ", moment_ago(story.told_at, now)) } else { String::new() };
    let engine_says = format!("{}: \"{}\"", status_word(story.status), clean(&story.reason));
    let has_decided = !story.decisions.is_empty() || !story.reason.is_empty();
    let mut holds = story.holds.iter().map(|it| hold::tell(name, it, then));
    let mut text = match holds.next() {
        None => match story.life {
            Life::Active if !has_decided => format!("{as_of}Domain {name} waits for the first decision of its engine\n"),
            Life::Active | Life::Removing => format!("{as_of}Domain {name} is {engine_says}\n"),
            Life::Removed | Life::Absent => format!("{as_of}Domain {name} is removed\n"),
        },
        Some(first) => {
            let mut text = format!("{as_of}Domain {name} {}\n{}", first.headline, first.below());
            for other in holds {
                let _ = write!(text, "And it {}\n{}", other.headline, other.below());
            }
            if has_decided && !story.holds.iter().any(|it| matches!(it, Hold::GaveUp { .. })) {
                let _ = writeln!(text, "Its engine said last: {engine_says}");
            }
            text
        }
    };
    let counts = &story.counts;
    let _ = writeln!(
        text,
        "  {} running of {}, {} unhealthy, {} on their way out",
        counts.running, counts.valid, counts.unhealthy, counts.terminating
    );
    text += &unhealthy(story, then);
    let host = story.host.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string);
    let _ = writeln!(text, "  engine {}, configuration revision {}, looked after by {host}", engine(&story.engine), story.config_revision);
    if has_decided && story.applied_revision != story.config_revision {
        let _ = writeln!(text, "  the engine has not taken up this revision yet; it works with revision {}", story.applied_revision);
    }
    text += &story.shadow.as_ref().map_or_else(String::new, |it| shadow(it, then));
    text += &schedule(story, then);
    for (site, record) in &story.failing_sites {
        let is_told = |it: &Hold| matches!(it, Hold::BackingOff { site: told, .. } if told == site);
        if !story.holds.iter().any(is_told) {
            let _ = writeln!(text, "  {} at {} failed; nothing waits for that any more", hold::in_a_row(record.failures), clean(site));
        }
    }
    if story.holds.is_empty() {
        text += "  nothing holds it back\n";
    }
    text + &quiet(story, now)
}

/// What runs beside its engine, how that compares, and what comes of it.
fn shadow(told: &ShadowTold, then: Timestamp) -> String {
    let Shadow { engine: which, reference, by, since, promote_after, tally } = &told.shadow;
    let since = moment_ago(*since, then);
    let mut text = format!("  a shadow runs beside: {}, as {by} asked for ({}), since {since}\n", engine(which), clean(reference));
    let _ = writeln!(text, "    {}", compared(tally));
    if let Some(Difference { at, words, .. }) = &tally.last {
        let said = told.said.as_ref().map_or_else(String::new, |said| format!(" (\"{}\")", clean(said)));
        let _ = writeln!(text, "    the newest difference, {}: {}{said}", moment_ago(*at, then), clean(words));
    }
    // Quiet is counted from when they were of one mind.
    let agrees = tally.compared > 0 && tally.last.as_ref().is_none_or(|last| Some(last.at) != told.quiet_since);
    let _ = match (promote_after, told.promoted_at) {
        (None, _) => writeln!(text, "    it never comes into force by itself"),
        (Some(after), None) => writeln!(text, "    it comes into force when it has not differed for {}", length(*after)),
        (Some(_), Some(at)) if !agrees => {
            writeln!(text, "    it comes into force at {} at the earliest, if from now on it does not differ", moment(at))
        }
        (Some(_), Some(at)) => {
            let left = at.since(then);
            let when =
                if left == Millis::ZERO { "with the next decision".to_owned() } else { format!("at {}, in {}", moment(at), length(left)) };
            writeln!(text, "    it comes into force {when}, if it does not differ before")
        }
    };
    text
}

/// What its schedule has it do, and the next change before it strikes.
fn schedule(story: &DomainStory, then: Timestamp) -> String {
    let Some(told) = &story.schedule else { return String::new() };
    let names: Vec<_> = told.on.iter().map(ToString::to_string).collect();
    let since = told.since.map_or_else(String::new, |since| format!(" since {}", moment_ago(since, then)));
    let mut text = match names.len() {
        0 => format!("  no window of its schedule is on{since}\n"),
        _ => format!("  windows of its schedule that are on{since}: {}\n", names.join(", ")),
    };
    let sets = |change: &KeyChange| change.to.as_ref().map(|value| format!("{} {value}", change.key));
    let sets: Vec<_> = told.changes.iter().filter_map(sets).collect();
    if !sets.is_empty() {
        let _ = writeln!(text, "    the engine is given {}", clean(&sets.join(", ")));
    }
    if let Some(next) = &told.next {
        let _ = writeln!(text, "    next: {}", coming(next, then));
    }
    text
}

/// Who is unhealthy, by name: the next question is about one of them.
fn unhealthy(story: &DomainStory, then: Timestamp) -> String {
    if story.unhealthy.is_empty() {
        return String::new();
    }
    let one = |it: &UnhealthyTold| {
        let what = if it.health.is_healthy() { it.state.to_string() } else { it.health.to_string() };
        let kept = if it.protected { ", protected" } else { "" };
        format!("{}/{} ({what} for {}{kept})", story.domain.name, it.ordinal, length(then.since(it.since)))
    };
    let mut named: Vec<_> = story.unhealthy.iter().take(UNHEALTHY).map(one).collect();
    let hidden = (story.counts.unhealthy as usize).saturating_sub(named.len());
    if hidden > 0 {
        named.push(format!("and {hidden} more"));
    }
    format!("  unhealthy: {}; pilothouse why {} {}\n", named.join(", "), story.domain.name, story.unhealthy[0].ordinal)
}

/// Why no newer decision is on record.
fn quiet(story: &DomainStory, now: Timestamp) -> String {
    let is_asked = story.life == Life::Active && story.fault.is_none() && !story.past;
    let Some(newest) = story.decisions.first().filter(|newest| is_asked && now.since(newest.at) > story.pace) else { return String::new() };
    let when = match newest.decision.wake {
        None => format!("it is asked every {}", length(story.pace)),
        Some(Wake::After(wait)) => format!("it is asked when it wants to be, then after {}", length(wait)),
        Some(Wake::OnChange) => "it is asked only when something changes, as it wanted".to_owned(),
    };
    let last = story.asked.map_or_else(String::new, |asked| format!(", {} ago for the last time", length(now.since(asked))));
    format!(
        "  since decision #{} the engine had nothing new to say: {when}{last}; an answer that changes nothing is not recorded\n",
        newest.sequence
    )
}
