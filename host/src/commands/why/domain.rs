//! The story of a domain, in words.

use std::fmt::Write as _;

use pilothouse_core::cycle::{Cause, Observation, Wake};
use pilothouse_core::explain::{DecisionTold, DomainStory};
use pilothouse_core::id::InstanceId;
use pilothouse_core::record::{DecidedLaunch, DecidedTermination, Decision, Prepared};
use pilothouse_core::sensor::{Sample, Scope};
use pilothouse_core::state::Life;
use pilothouse_core::time::Timestamp;

use super::{engine, rulings};
use crate::output::happening::status_word;
use crate::output::{clean, count, length, moment_ago};

/// How many instances are named one by one; all are in the JSON.
const NAMED: usize = 12;

/// The story: how it stands, the newest decision, the newest one that asked for something, and what people changed.
///
/// Writing to a `String` never fails, so results of `write!` are dropped here and below.
pub(super) fn text(story: &DomainStory, now: Timestamp) -> String {
    let mut text = standing(story, now);
    let newest = story.decisions.first();
    let acted = story.decisions.iter().find(|told| asks(&told.decision));
    match newest {
        None => text += "\nNo decision is on record yet.\n",
        Some(newest) => {
            text += "\nThe newest decision on record";
            text += &decision(story, newest, now);
        }
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
            let _ = writeln!(
                text,
                "  {}  #{}  {}, {} (\"{}\")",
                moment_ago(told.at, now),
                told.sequence,
                status_word(it.status),
                in_short(it),
                clean(&it.reason)
            );
        }
    }
    if !story.changes.is_empty() {
        text += "\nChanges by people\n";
        for change in &story.changes {
            let _ = writeln!(text, "  {}  #{}  {} by {}", moment_ago(change.at, now), change.sequence, clean(&change.change), change.by);
        }
    }
    text
}

fn standing(story: &DomainStory, now: Timestamp) -> String {
    let life = match story.life {
        Life::Active => status_word(story.status),
        Life::Removing => "being removed",
        Life::Removed | Life::Absent => "removed",
    };
    let mut text = format!("Domain {} is {life}: \"{}\"\n", story.domain.name, clean(&story.reason));
    let counts = &story.counts;
    let _ = writeln!(
        text,
        "  {} running of {}, {} unhealthy, {} on their way out",
        counts.running, counts.valid, counts.unhealthy, counts.terminating
    );
    let host = story.host.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string);
    let _ = writeln!(text, "  engine {}, configuration revision {}, looked after by {host}", engine(&story.engine), story.config_revision);
    if story.applied_revision != story.config_revision {
        let _ = writeln!(text, "  the engine has not taken up this revision yet; it works with revision {}", story.applied_revision);
    }
    if story.paused {
        text += "  PAUSED: the engine may ask for nothing until `pilothouse domain resume`\n";
    }
    if story.dry_run {
        text += "  DRY RUN: what the engine asks for is only recorded\n";
    }
    if let Some(fault) = &story.fault {
        let since = moment_ago(fault.since, now);
        let _ = writeln!(text, "  NO DECISIONS: the engine failed {} in a row since {since}: {}", fault.in_a_row, clean(&fault.message));
    }
    for (site, record) in &story.failing_sites {
        let failed = count(record.failures as usize, "launch").replace("launchs", "launches");
        let wait =
            record.backing_off_until.filter(|until| *until > now).map(|until| format!("; the next may go in {}", length(until.since(now))));
        let _ = writeln!(text, "  site {} failed the last {failed}{}", clean(site), wait.unwrap_or_default());
    }
    text
}

/// One decision, whole.
fn decision(story: &DomainStory, told: &DecisionTold, now: Timestamp) -> String {
    let it = &told.decision;
    let mut text = format!(": {}, record #{}\n", moment_ago(told.at, now), told.sequence);
    let _ = writeln!(text, "  asked because {}; it looked at everything up to record #{}", because(it.cause), it.based_on);
    if it.engine != story.engine {
        let _ = writeln!(text, "  decided by another engine than the one in force: {}", engine(&it.engine));
    }
    if it.config_revision != story.config_revision {
        let _ = writeln!(text, "  with configuration revision {}", it.config_revision);
    }
    match it.prepared {
        None => {}
        Some(Prepared::Initialized) => text += "  the engine began with a fresh memory\n",
        Some(Prepared::Reconfigured) => text += "  the engine took up the new configuration\n",
        Some(Prepared::Refused) => text += "  the engine refused the new configuration and went on as before\n",
    }
    let _ = writeln!(text, "  it said: {}, \"{}\"", status_word(it.status), clean(&it.reason));
    if !it.figures.is_empty() {
        let figures: Vec<_> = it.figures.iter().map(|(name, value)| format!("{} {value}", clean(name))).collect();
        let _ = writeln!(text, "  its figures: {}", figures.join(", "));
    }
    for observation in &it.observed {
        let _ = writeln!(text, "  it read {}", observed(story, observation));
    }
    if it.dry_run {
        text += "  all of this was only recorded: the domain ran dry\n";
    }
    it.launches.iter().for_each(|launch| text += &launched(story, launch, it.dry_run));
    it.terminations.iter().for_each(|termination| text += &terminated(story, termination));
    if !asks(it) {
        text += "  it asked for nothing\n";
    }
    match it.wake {
        None => {}
        Some(Wake::After(wait)) => {
            let _ = writeln!(text, "  it wanted to be asked again after {wait}");
        }
        Some(Wake::OnChange) => text += "  it wanted to be asked again when something changes\n",
    }
    for line in &it.log {
        let _ = writeln!(text, "  it logged {}", clean(line));
    }
    let _ = writeln!(text, "  it used {} units of fuel", it.fuel);
    text
}

fn launched(story: &DomainStory, launch: &DecidedLaunch, dry_run: bool) -> String {
    let (kind, site) = (clean(&launch.deployable_type), clean(&launch.site));
    let mut text = format!("  launch {} of {kind} at {site} ({}): ", launch.asked, clean(&launch.allocation));
    let promised = names(story, launch.instances.iter());
    match &launch.refused {
        Some(why) => text += &format!("refused: {}", clean(why)),
        None if dry_run => text += &format!("{} would have been launched", launch.instances.len()),
        None => text += &format!("{} promised: {promised}", launch.instances.len()),
    }
    text.push('\n');
    text + &rulings(&launch.rulings, "    ")
}

fn terminated(story: &DomainStory, it: &DecidedTermination) -> String {
    let mut text = format!("  terminate, because \"{}\"", clean(&it.reason));
    let listed = |ids: &[InstanceId]| names(story, ids.iter());
    for (ids, what) in [(&it.accepted, "promised"), (&it.again, "asked for again"), (&it.deferred, "deferred")] {
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
        let _ = writeln!(text, "    {} was dropped: {}", names(story, std::iter::once(id)), clean(why));
    }
    text + &rulings(&it.rulings, "    ")
}

/// Instances as people call them, as many as fit a line.
fn names<'i>(story: &DomainStory, ids: impl ExactSizeIterator<Item = &'i InstanceId>) -> String {
    let hidden = ids.len().saturating_sub(NAMED);
    let name = |id: &InstanceId| match story.ordinals.get(id) {
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
        Sample::Stale(value, age) => format!("nothing; the last was {value}, {age} before"),
        Sample::Absent => "nothing".to_owned(),
    };
    format!("sensor {} of {of}, {statistic} over {}: {sample}", clean(&it.metric), it.window)
}

fn in_short(decision: &Decision) -> String {
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

fn asks(decision: &Decision) -> bool {
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
