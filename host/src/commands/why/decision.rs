//! One decision, whole: what was seen, said and asked for, what each guard ruled, and what came of it since.

use std::fmt::Write as _;

use pilothouse_core::cycle::{Cause, Observation, Wake};
use pilothouse_core::explain::{DecisionTold, DomainStory, Mention};
use pilothouse_core::id::InstanceId;
use pilothouse_core::instance::{Health, State};
use pilothouse_core::record::{DecidedLaunch, DecidedTermination, Decision, Prepared};
use pilothouse_core::sensor::{Sample, Scope};
use pilothouse_core::state::Counts;
use pilothouse_core::time::Timestamp;

use super::{engine, rulings};
use crate::output::happening::status_word;
use crate::output::{clean, length, moment_ago};

/// How many instances are named one by one; all are in the JSON.
const NAMED: usize = 12;

/// What follows on the heading of a decision: when it was made, and a line for each thing that there is to say.
pub(super) fn decision(story: &DomainStory, told: &DecisionTold, now: Timestamp) -> String {
    let it = &told.decision;
    let mut text = format!(": {}, record #{}\n", moment_ago(told.at, now), told.sequence);
    let _ = writeln!(text, "  asked because {}; it looked at everything up to record #{}", because(it.cause), it.based_on);
    if let Some(saw) = &it.saw {
        let _ = writeln!(text, "  it saw {}", seen(saw));
    }
    for observation in &it.observed {
        let _ = writeln!(text, "  it read {}", observed(story, observation));
    }
    if it.engine != story.engine {
        let _ = writeln!(text, "  decided by another engine than the one in force: {}", engine(&it.engine));
    }
    if it.config_revision != story.config_revision {
        let _ = writeln!(text, "  with configuration revision {}", it.config_revision);
    }
    match it.prepared {
        None => {}
        Some(Prepared::Initialized) => text += "  the engine began with a fresh memory\n",
        Some(Prepared::Reconfigured) if it.cause == Cause::Swapped => text += "  the engine took over the memory of the version before\n",
        Some(Prepared::Reconfigured) => text += "  the engine took up the new configuration\n",
        Some(Prepared::Refused) => text += "  the engine refused the new configuration and went on as before\n",
    }
    let _ = writeln!(text, "  it said: {}, \"{}\"", status_word(it.status), clean(&it.reason));
    if !it.figures.is_empty() {
        let figures: Vec<_> = it.figures.iter().map(|(name, value)| format!("{} {value}", clean(name))).collect();
        let _ = writeln!(text, "  its figures: {}", figures.join(", "));
    }
    if it.dry_run {
        text += "  all of this was only recorded: the domain ran dry\n";
    }
    it.launches.iter().for_each(|launch| text += &launched(story, launch, it.dry_run, now));
    merged(&it.terminations).iter().for_each(|termination| text += &terminated(story, termination, it.dry_run, now));
    if !asks(it) {
        text += "  it asked for nothing\n";
    }
    match it.wake {
        None => {}
        Some(Wake::After(wait)) => {
            let _ = writeln!(text, "  it wanted to be asked again after {}", length(wait));
        }
        Some(Wake::OnChange) => text += "  it wanted to be asked again when something changes\n",
    }
    for line in &it.log {
        let _ = writeln!(text, "  it logged {}", clean(line));
    }
    let _ = writeln!(text, "  it used {} units of fuel", it.fuel);
    text
}

fn seen(saw: &Counts) -> String {
    let mut text = format!("{} running of {}", saw.running, saw.valid);
    for (n, what) in [
        (saw.starting, "starting"),
        (saw.unhealthy, "unhealthy"),
        (saw.launching, "not acknowledged by a provisioner"),
        (saw.terminating, "on their way out"),
    ] {
        if n > 0 {
            let _ = write!(text, ", {n} {what}");
        }
    }
    text
}

fn launched(story: &DomainStory, launch: &DecidedLaunch, dry_run: bool, now: Timestamp) -> String {
    let (kind, site) = (clean(&launch.deployable_type), clean(&launch.site));
    let place = launch.replaces.as_ref().map_or_else(String::new, |id| format!(" in the place of {}", names(story, std::iter::once(id))));
    let mut text = format!("  launch {} of {kind} at {site} ({}){place}: ", launch.asked, clean(&launch.allocation));
    let promised = names(story, launch.instances.iter());
    match &launch.refused {
        Some(why) => text += &format!("refused: {}", clean(why)),
        None if dry_run => text += &format!("{} would have been launched", launch.instances.len()),
        None => text += &format!("{} promised: {promised}", launch.instances.len()),
    }
    text.push('\n');
    text += &rulings(&launch.rulings, "    ");
    if launch.refused.is_none() && !dry_run {
        text += &outcome(story, &launch.instances, now);
    }
    text
}

/// Requests that were made for the same reason and ruled on in the same words, as one: engines may ask for each instance by itself.
fn merged(all: &[DecidedTermination]) -> Vec<DecidedTermination> {
    let mut merged: Vec<DecidedTermination> = Vec::new();
    for it in all {
        let same = |known: &&mut DecidedTermination| {
            let words = |it: &DecidedTermination| it.rulings.iter().map(|ruling| (ruling.guard, ruling.note.clone())).collect::<Vec<_>>();
            known.reason == it.reason && known.refused == it.refused && known.dripped == it.dripped && words(known) == words(it)
        };
        let Some(known) = merged.iter_mut().find(same) else {
            merged.push(it.clone());
            continue;
        };
        known.accepted.extend(it.accepted.iter().cloned());
        known.again.extend(it.again.iter().cloned());
        known.deferred.extend(it.deferred.iter().cloned());
        known.dropped.extend(it.dropped.iter().cloned());
        for (known, ruling) in known.rulings.iter_mut().zip(&it.rulings) {
            known.passed += ruling.passed;
        }
    }
    merged
}

fn terminated(story: &DomainStory, it: &DecidedTermination, dry_run: bool, now: Timestamp) -> String {
    let mut text = format!("  terminate, because \"{}\"", clean(&it.reason));
    let listed = |ids: &[InstanceId]| names(story, ids.iter());
    let promised = if dry_run { "would have been terminated" } else { "promised" };
    for (ids, what) in [(&it.accepted, promised), (&it.again, "asked for again"), (&it.deferred, "deferred")] {
        if !ids.is_empty() {
            let _ = write!(text, "; {} {what}: {}", ids.len(), listed(ids));
        }
    }
    if let Some(why) = &it.refused {
        let _ = write!(text, "; refused: {}", clean(why));
    }
    if it.dripped {
        text += "; one goes although the brake is on";
    }
    text.push('\n');
    for (id, why) in it.dropped.iter().take(NAMED) {
        let _ = writeln!(text, "    {} was dropped when the engine had decided: {}", names(story, std::iter::once(id)), clean(why));
    }
    text += &rulings(&it.rulings, "    ");
    if !dry_run {
        text += &outcome(story, &it.accepted, now);
    }
    text
}

/// What came of promised instances by now: those of one fate together, each with when it came to that.
fn outcome(story: &DomainStory, ids: &[InstanceId], now: Timestamp) -> String {
    let mut fates: Vec<(String, Vec<&InstanceId>, Timestamp)> = Vec::new();
    for id in ids {
        let Some((fate, at)) = story.instances.get(id).and_then(fate) else { continue };
        match fates.iter_mut().find(|(known, ..)| *known == fate) {
            Some((_, ids, since)) => {
                ids.push(id);
                *since = (*since).max(at);
            }
            None => fates.push((fate, vec![id], at)),
        }
    }
    let line = |(fate, ids, since): (String, Vec<&InstanceId>, Timestamp)| {
        let who = names(story, ids.into_iter());
        format!("    since then: {who}: {fate}, {} ago\n", length(now.since(since)))
    };
    fates.into_iter().map(line).collect()
}

/// How an instance stands, in words, and since when.
fn fate(mention: &Mention) -> Option<(String, Timestamp)> {
    let (state, since) = (mention.state?, mention.since?);
    let words = match state {
        State::Requesting => "no provisioner has acknowledged it yet",
        State::Requested | State::Pending | State::Started | State::ErrorRetrying => "acknowledged, not running yet",
        State::Running => "running",
        State::RunningFailed => "started but not ready",
        State::Terminating => "on its way out, not confirmed yet",
        State::Terminated => "confirmed gone",
        State::Failed => "failed",
        State::Rejected => "rejected",
    };
    let health = if mention.health == Health::Unknown { String::new() } else { format!(" {}", mention.health) };
    let reason = mention.reason.as_ref().map_or_else(String::new, |reason| format!(" ({})", clean(reason)));
    Some((format!("{state}{health}, {words}{reason}"), since))
}

/// Instances as people call them, as many as fit a line.
fn names<'i>(story: &DomainStory, ids: impl ExactSizeIterator<Item = &'i InstanceId>) -> String {
    let hidden = ids.len().saturating_sub(NAMED);
    let name = |id: &InstanceId| match story.instances.get(id).and_then(|mention| mention.ordinal) {
        Some(ordinal) => format!("{}/{ordinal}", story.domain.name),
        None => id.to_string(),
    };
    let mut names: Vec<_> = ids.take(NAMED).map(name).collect();
    if hidden > 0 {
        names.push(format!("and {hidden} more"));
    }
    names.join(" ")
}

fn observed(story: &DomainStory, it: &Observation) -> String {
    let of = match &it.scope {
        Scope::Domain => "the domain".to_owned(),
        Scope::Instance(id) => names(story, std::iter::once(id)),
    };
    let statistic = it.statistic.map_or_else(|| "the series".to_owned(), |statistic| format!("{statistic:?}").to_lowercase());
    let sample = match it.sample {
        Sample::Value(value) => value.to_string(),
        Sample::Stale(value, age) => format!("nothing; the last was {value}, {} before", length(age)),
        Sample::Absent => "nothing".to_owned(),
    };
    format!("sensor {} of {of}, {statistic} over {}: {sample}", clean(&it.metric), length(it.window))
}

/// What a decision did, in a few words.
pub(super) fn in_short(decision: &Decision) -> String {
    let launches: usize = decision.launches.iter().map(|launch| launch.instances.len()).sum();
    let terminations: usize = decision.terminations.iter().map(|it| it.accepted.len()).sum();
    let what = match (launches, terminations) {
        (0, 0) if asks(decision) => "asked in vain".to_owned(),
        (0, 0) => "asked for nothing".to_owned(),
        (launches, 0) => format!("launched {launches}"),
        (0, terminations) => format!("terminated {terminations}"),
        (launches, terminations) => format!("launched {launches}, terminated {terminations}"),
    };
    if decision.dry_run { format!("{what}, in a dry run") } else { what }
}

/// Whether a decision asked for anything.
pub(super) fn asks(decision: &Decision) -> bool {
    !decision.launches.is_empty() || !decision.terminations.is_empty()
}

/// Why an engine was asked.
pub(super) const fn because(cause: Cause) -> &'static str {
    match cause {
        Cause::Pulse => "it was time",
        Cause::Wake => "it had wanted to be asked then",
        Cause::Changed => "something had changed",
        Cause::Configured => "the configuration had changed",
        Cause::Swapped => "another engine had come into force",
        Cause::TakenOver => "a host had just taken the domain",
        Cause::Asked => "an operator wanted it",
    }
}
