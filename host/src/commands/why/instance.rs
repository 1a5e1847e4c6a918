//! The story of an instance, in words.

use std::fmt::Write as _;

use pilothouse_core::explain::{Ending, Evidence, InstanceNow, InstanceStory, Step, StepKind, Unhealthy, Window};
use pilothouse_core::instance::{Health, State};
use pilothouse_core::record::EngineInForce;
use pilothouse_core::time::Timestamp;

use super::decision::because;
use super::{engine, rulings};
use crate::output::{clean, count, length, moment, moment_ago, time_of_day};

/// The story: the answer, what it rests on, what it went through, and the decisions that started and ended it.
///
/// Writing to a `String` never fails, so results of `write!` are dropped here and below.
pub(super) fn text(story: &InstanceStory, now: Timestamp) -> String {
    let mut text = format!("Instance {} {}\n", name(story), headline(story, now));
    text += &standing(story, now);
    text += &history(story, now);
    text += &started(story, now);
    text += &ended(story, now);
    text
}

fn name(story: &InstanceStory) -> String {
    match story.ordinal {
        Some(ordinal) => format!("{}/{ordinal}", story.domain.name),
        None => format!("{} of domain {}", story.instance_id, story.domain.name),
    }
}

/// The answer in one line: why it ended or is about to, what is wrong with it, or that all is well.
fn headline(story: &InstanceStory, now: Timestamp) -> String {
    let state = story.now.as_ref().map(|it| it.state);
    match (&story.ended, &story.now) {
        (Some(Ending::Engine { at, reason, .. }), _) => {
            let (verb, done) = confirmed(story, state, now);
            format!("{verb} by its engine {}, because \"{}\"{done}", moment_ago(*at, now), clean(reason))
        }
        (Some(Ending::Host { at, reason, asked_by, .. }), _) => {
            let who = asked_by.as_ref().map_or_else(String::new, |by| format!(", as {by} asked"));
            let (verb, done) = confirmed(story, state, now);
            format!("{verb} by its host {}, because {}{who}{done}", moment_ago(*at, now), clean(reason))
        }
        (Some(Ending::Person { at, asked_by, reason, .. }), _) => {
            let (verb, done) = confirmed(story, state, now);
            format!("{verb} because {asked_by} asked for it {}: \"{}\"{done}", moment_ago(*at, now), clean(reason))
        }
        (Some(Ending::Itself { at, state, reason, .. }), _) => {
            let why = reason.as_ref().map_or_else(String::new, |reason| format!(": {}", clean(reason)));
            format!("ended by itself {}: its provisioner reported {state}{why}", moment_ago(*at, now))
        }
        (None, Some(it)) => match &story.unhealthy {
            Some(wrong) => format!("is {}, and unhealthy since {}: {}", it.state, moment_ago(wrong.since, now), verdict(wrong)),
            None => alive(it, now),
        },
        (None, None) => "is gone, and so is its record".to_owned(),
    }
}

/// How far an end that was asked for has come: the verb, and what follows.
fn confirmed(story: &InstanceStory, state: Option<State>, now: Timestamp) -> (&'static str, String) {
    if let Some(it) = story.now.as_ref().filter(|it| it.health == Health::Zombie) {
        let since = moment_ago(it.health_since, now);
        return ("was ended", format!("; its provisioner says {}, but it is STILL HEARD: {} since {since}", it.state, it.health));
    }
    let last = story.history.iter().rev().find_map(|step| match &step.what {
        StepKind::State { state, .. } if state.is_gone() => Some(*state),
        _ => None,
    });
    match state.filter(|state| !state.is_gone()).or(last) {
        Some(State::Terminating) => ("is being ended", "; its provisioner has not confirmed that yet".to_owned()),
        Some(gone) if gone.is_gone() => ("was ended", format!("; it is {gone} by now")),
        _ => ("was ended", String::new()),
    }
}

fn alive(it: &InstanceNow, now: Timestamp) -> String {
    let since = length(now.since(it.state_since));
    match it.state {
        State::Requesting => format!("is being launched: no provisioner of {} has acknowledged that for {since}", clean(&it.site)),
        state if state.is_starting() => format!("is being launched: {} for {since}, acknowledged but not running yet", state),
        state if it.health == Health::Unknown => format!("is {state} for {since}"),
        State::Running if it.health == Health::OutOfContact => {
            format!("is RUNNING but silent: {} since {}, asked for a sign of life", it.health, moment_ago(it.health_since, now))
        }
        state => format!("is {state} for {since}, {} for {}", it.health, length(now.since(it.health_since))),
    }
}

/// A verdict of the monitor, in a few words.
fn verdict(wrong: &Unhealthy) -> String {
    let problems = clean(&wrong.problems.join("; "));
    match (wrong.health, problems.is_empty()) {
        (Health::Unknown, true) => "it did not become ready".to_owned(),
        (Health::Unknown, false) => format!("it did not become ready ({problems})"),
        (health, true) => health.to_string(),
        (health, false) => format!("{health} ({problems})"),
    }
}

fn standing(story: &InstanceStory, now: Timestamp) -> String {
    let mut text = String::new();
    let wrong = match &story.ended {
        Some(Ending::Engine { unhealthy, .. }) => unhealthy.as_ref(),
        _ => story.unhealthy.as_ref(),
    };
    if let Some(wrong) = wrong {
        if matches!(story.ended, Some(Ending::Engine { .. })) {
            let _ = writeln!(text, "  the host had held it for unhealthy since {}: {}", moment_ago(wrong.since, now), verdict(wrong));
        }
        for evidence in wrong.evidence.iter().rev() {
            let _ = writeln!(text, "  evidence: {}", proof(evidence, now));
        }
    }
    if story.unhealthy.is_some() {
        // Why it is still there.
        let held = story.history.iter().rev().find_map(|step| match &step.what {
            StepKind::EndDeferred { held_by, .. } => {
                Some(format!("its end was asked for and deferred, by decision #{}: {}", step.sequence, clean(held_by)))
            }
            StepKind::EndDropped { because, .. } => {
                Some(format!("its end was asked for and dropped, by decision #{}: {}", step.sequence, clean(because)))
            }
            _ => None,
        });
        let held = protected(story, now).or(held);
        let _ = writeln!(
            text,
            "  {}",
            held.unwrap_or_else(|| format!("its engine has not asked for its end; ask `pilothouse why {}`", story.domain.name))
        );
    }
    if let (None, Some(protected)) = (&story.unhealthy, protected(story, now)) {
        let _ = writeln!(text, "  {protected}");
    }
    let id = if story.ordinal.is_some() { format!("id {}", story.instance_id) } else { "its number is no longer known".to_owned() };
    let _ = match &story.now {
        Some(it) => writeln!(text, "  {} at {}, {id}", clean(&it.deployable_type), clean(&it.site)),
        None => writeln!(text, "  {id}; its record was let go, so this is told from the journal alone"),
    };
    for problem in story.now.iter().flat_map(|it| &it.problems) {
        let _ = writeln!(text, "  its agent tells: {}", clean(problem));
    }
    text
}

/// Who keeps it, what that means, and how that ends.
fn protected(story: &InstanceStory, now: Timestamp) -> Option<String> {
    let protection = story.protected.as_ref()?;
    let by = protection.by.as_ref().map_or_else(|| "it is protected".to_owned(), |by| format!("{by} protected it"));
    let since = protection.since.map_or_else(String::new, |since| format!(" {}", moment_ago(since, now)));
    let which = story.ordinal.map_or_else(|| story.instance_id.to_string(), |ordinal| format!("{}/{ordinal}", story.domain.name));
    Some(format!("{by}{since}: no engine may end it or replace it; pilothouse instance unprotect {which}"))
}

/// What a verdict of silence rests on. Only what must be so: the silence may have been longer, never shorter.
fn proof(evidence: &Evidence, now: Timestamp) -> String {
    match evidence {
        Evidence::Silence { window: window @ Window::Boot, length: window_length, .. } => format!(
            "it was never heard, for the whole {} of {} that it had for its first heartbeat (time in which the host could not see does not count)",
            window.key(),
            length(*window_length)
        ),
        Evidence::Silence { window: window @ Window::Missing, length: window_length, since } => format!(
            "no heartbeat after {}, for the whole {} of {} (time in which the host could not see does not count)",
            moment_ago(*since, now),
            window.key(),
            length(*window_length)
        ),
        Evidence::NoAnswer { asked, length: window } => {
            format!(
                "asked for a sign of life {}, it gave none for the whole health.really_missing_timeout of {}",
                moment_ago(*asked, now),
                length(*window)
            )
        }
        Evidence::NobodyThere { asked } => {
            format!("asked for a sign of life {}, and NATS knew of nobody who could have answered", moment_ago(*asked, now))
        }
        Evidence::StillHeard { length: window } => {
            format!("it was heard for longer than health.zombie_seconds of {} after its end", length(*window))
        }
    }
}

fn history(story: &InstanceStory, now: Timestamp) -> String {
    if story.history.is_empty() {
        return "\nNothing was heard of it.\n".to_owned();
    }
    let mut text = "\nWhat it went through\n".to_owned();
    if story.left_out > 0 {
        let _ = writeln!(text, "  {} before", count(story.left_out, "step"));
    }
    // The day only where it is not today.
    let day = |at: Timestamp| moment(at).split_once(' ').map(|(day, _)| day.to_owned());
    let is_today = story.history.iter().all(|step| day(step.at) == day(now));
    for step in &story.history {
        let at = if is_today { time_of_day(step.at) } else { moment(step.at) };
        let _ = writeln!(text, "  {at} ({:>7} ago)  #{:<5} {}", length(now.since(step.at)), step.sequence, words(step));
    }
    text
}

fn words(step: &Step) -> String {
    match &step.what {
        StepKind::StartPromised { reason } => format!("its launch was promised by its engine (\"{}\")", clean(reason)),
        StepKind::State { state, reason } => format!("{state}: {}{}", meaning(*state), in_brackets(reason.as_deref())),
        StepKind::Health { health, problems, .. } if problems.is_empty() => format!("health {health}{}", of_health(*health)),
        StepKind::Health { health, problems, .. } => format!("health {health} ({})", clean(&problems.join("; "))),
        StepKind::Stalled => "its launch made no progress and was asked for again".to_owned(),
        StepKind::EndDeferred { reason, held_by } => {
            format!("its engine wanted to end it (\"{}\"); deferred by {}", clean(reason), clean(held_by))
        }
        StepKind::EndDropped { reason, because } => {
            format!("its engine wanted to end it (\"{}\"); dropped: {}", clean(reason), clean(because))
        }
        StepKind::EndPromised { reason, by_host: false } => format!("its end was promised by its engine (\"{}\")", clean(reason)),
        StepKind::EndPromised { reason, by_host: true } => format!("its end was promised by the host ({})", clean(reason)),
        StepKind::EndAskedAgain => "its end was asked for again".to_owned(),
        StepKind::Undead { lives: true } => "something says that it lives although it is held for gone".to_owned(),
        StepKind::Undead { lives: false } => "it is gone after all".to_owned(),
        StepKind::Killed { by, reason } => format!("{by} asked for its end (\"{}\")", clean(reason)),
        StepKind::Protected { by, on: true } => format!("{by} protected it"),
        StepKind::Protected { by, on: false } => format!("{by} took its protection back"),
        StepKind::Adopted { by, state } => format!("{by} took it in, {state}: its provisioner ran it, and it was on no record"),
        StepKind::Restored { by, backup_at, state } => {
            format!("{by} restored it from a backup of {}, {state}; what came before is void", moment(*backup_at))
        }
        StepKind::Reaped => "its record was let go: it had been gone for long".to_owned(),
    }
}

/// What a state means.
const fn meaning(state: State) -> &'static str {
    match state {
        State::Requesting => "asked for",
        State::Requested => "acknowledged by its provisioner",
        State::ErrorRetrying => "its provisioner met an error and tries again",
        State::Pending => "accepted by the site",
        State::Started => "started, not yet ready",
        State::Running => "ready",
        State::RunningFailed => "started, and did not become ready",
        State::Terminating => "being ended by its provisioner",
        State::Terminated => "confirmed gone",
        State::Failed => "gone, without having been asked to",
        State::Rejected => "refused by its provisioner or the site",
    }
}

/// What a verdict without further words means.
const fn of_health(health: Health) -> &'static str {
    match health {
        Health::OutOfContact => ": silent for too long; asked for a sign of life",
        Health::Missing => ": silent, and no sign of life",
        Health::Zombie => ": should be gone, and is still heard",
        Health::Ok => ": it was heard, and all is well",
        Health::Unknown => ": nothing is known, or watched",
        Health::MonitorError | Health::ProcessError => "",
    }
}

/// An engine, and which one is in force by now where that is another one.
fn decided_by(by: &EngineInForce, in_force: Option<&EngineInForce>) -> String {
    let now = in_force.map_or_else(String::new, |now| format!(", which is not in force any more ({} is)", engine(now)));
    engine(by) + &now
}

fn started(story: &InstanceStory, now: Timestamp) -> String {
    let Some(it) = &story.started else {
        return "\nWhy it was started is no longer on record.\n".to_owned();
    };
    let mut text = format!("\nStarted by its engine {}, record #{}\n", moment_ago(it.at, now), it.sequence);
    let by = decided_by(&it.engine, it.in_force.as_ref());
    let _ = writeln!(text, "  decided by {by}, asked because {}", because(it.cause));
    let _ = writeln!(text, "  it said: \"{}\"", clean(&it.reason));
    let place = it.replaces.as_ref().map_or_else(String::new, |id| format!(", in the place of {id}"));
    let _ = writeln!(text, "  launch {}: {} asked for, {} granted{place}", it.launch, it.asked, it.granted);
    text + &rulings(&it.rulings, "    ")
}

fn ended(story: &InstanceStory, now: Timestamp) -> String {
    match &story.ended {
        None => String::new(),
        Some(Ending::Engine { sequence, at, engine: by, in_force, reason, decision, dripped, rulings: said, .. }) => {
            let mut text = format!("\nEnded by its engine {}, record #{sequence}\n", moment_ago(*at, now));
            let _ = writeln!(text, "  decided by {}: \"{}\"", decided_by(by, in_force.as_ref()), clean(reason));
            let _ = writeln!(text, "  it said of the domain: \"{}\"", clean(decision));
            if *dripped {
                text += "  it went although the brake was on: it had waited long enough\n";
            }
            text + &rulings(said, "    ")
        }
        Some(Ending::Host { sequence, at, reason, asked_by }) => {
            let mut text = format!("\nEnded by the host {}, record #{sequence}\n  {}\n", moment_ago(*at, now), clean(reason));
            if let Some(by) = asked_by {
                let _ = writeln!(text, "  {by} asked for that");
            }
            text + "  no guard is asked about what a host decides by itself\n"
        }
        Some(Ending::Person { sequence, at, asked_by, reason }) => {
            let when = moment_ago(*at, now);
            format!(
                "\nEnded by {asked_by} {when}, record #{sequence}\n  \"{}\"\n  no engine decided that, and no guard was asked\n",
                clean(reason)
            )
        }
        Some(Ending::Itself { sequence, at, state, reason }) => {
            let when = moment_ago(*at, now);
            let why = in_brackets(reason.as_deref());
            format!("\nEnded without being asked to {when}, record #{sequence}\n  its provisioner reported {state}{why}\n")
        }
    }
}

fn in_brackets(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(" ({})", clean(reason)))
}
