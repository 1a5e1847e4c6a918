//! The story of an instance, in words.

use std::fmt::Write as _;

use pilothouse_core::explain::{Ending, InstanceStory, Step, StepKind};
use pilothouse_core::instance::Health;
use pilothouse_core::time::Timestamp;

use super::domain::because;
use super::{engine, rulings};
use crate::output::{clean, count, length, moment_ago, time_of_day};

/// The story: how it stands, why it was started, what it went through, why it ended.
///
/// Writing to a `String` never fails, so results of `write!` are dropped here and below.
pub(super) fn text(story: &InstanceStory, now: Timestamp) -> String {
    let name = match story.ordinal {
        Some(ordinal) => format!("{}/{ordinal} ({})", story.domain.name, story.instance_id),
        None => format!("{} of domain {}", story.instance_id, story.domain.name),
    };
    let mut text = match &story.now {
        Some(it) => {
            let health = if it.health == Health::Unknown {
                String::new()
            } else {
                format!(", {} for {}", it.health, length(now.since(it.health_since)))
            };
            let (kind, site) = (clean(&it.deployable_type), clean(&it.site));
            format!("Instance {name} has been {} for {}{health}\n  {kind} at {site}\n", it.state, length(now.since(it.state_since)))
        }
        None => format!("Instance {name} is gone, and so is its record\n"),
    };
    for problem in story.now.iter().flat_map(|it| &it.problems) {
        let _ = writeln!(text, "  its agent tells: {}", clean(problem));
    }
    text += &started(story, now);
    text += &history(story, now);
    text += &ended(story, now);
    text
}

fn started(story: &InstanceStory, now: Timestamp) -> String {
    let Some(it) = &story.started else {
        return "\nWhy it was started is no longer on record.\n".to_owned();
    };
    let mut text = format!("\nStarted {}, record #{}\n", moment_ago(it.at, now), it.sequence);
    let _ = writeln!(text, "  decided by {}, asked because {}", engine(&it.engine), because(it.cause));
    let _ = writeln!(text, "  it said: \"{}\"", clean(&it.reason));
    let _ = writeln!(text, "  launch {}: {} asked for, {} granted", it.launch, it.asked, it.granted);
    text + &rulings(&it.rulings, "    ")
}

fn history(story: &InstanceStory, now: Timestamp) -> String {
    if story.history.is_empty() {
        return "\nNothing was heard of it.\n".to_owned();
    }
    let mut text = "\nWhat it went through\n".to_owned();
    if story.left_out > 0 {
        let _ = writeln!(text, "  {} before", count(story.left_out, "step"));
    }
    for step in &story.history {
        let _ = writeln!(text, "  {} ({:>7} ago)  #{:<5} {}", time_of_day(step.at), length(now.since(step.at)), step.sequence, words(step));
    }
    text
}

fn words(step: &Step) -> String {
    match &step.what {
        StepKind::State { state, reason } => format!("{state}{}", in_brackets(reason.as_deref())),
        StepKind::Health { health, problems } if problems.is_empty() => format!("health {health}"),
        StepKind::Health { health, problems } => format!("health {health} ({})", clean(&problems.join("; "))),
        StepKind::Stalled => "its launch made no progress and was asked for again".to_owned(),
        StepKind::EndDeferred { reason, held_by } => {
            format!("the engine wanted to terminate it (\"{}\"); deferred by {}", clean(reason), clean(held_by))
        }
        StepKind::EndDropped { reason, because } => {
            format!("the engine wanted to terminate it (\"{}\"); dropped: {}", clean(reason), clean(because))
        }
        StepKind::EndPromised { reason } => format!("its termination was promised (\"{}\")", clean(reason)),
        StepKind::EndAskedAgain => "its termination was asked for again".to_owned(),
        StepKind::Undead { lives: true } => "something says that it lives although it is held for gone".to_owned(),
        StepKind::Undead { lives: false } => "it is gone after all".to_owned(),
        StepKind::Reaped => "its record was let go".to_owned(),
    }
}

fn ended(story: &InstanceStory, now: Timestamp) -> String {
    match &story.ended {
        None => String::new(),
        Some(Ending::Engine { sequence, at, engine: by, reason, decision, dripped, rulings: said }) => {
            let mut text = format!("\nEnded by its engine {}, record #{sequence}\n", moment_ago(*at, now));
            let _ = writeln!(text, "  decided by {}: \"{}\"", engine(by), clean(reason));
            let _ = writeln!(text, "  it said of the domain: \"{}\"", clean(decision));
            if *dripped {
                text += "  it went although the brake was on: it had waited long enough\n";
            }
            text + &rulings(said, "    ")
        }
        Some(Ending::Host { sequence, at, reason }) => {
            format!("\nEnded by the host {}, record #{sequence}\n  \"{}\"\n", moment_ago(*at, now), clean(reason))
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
