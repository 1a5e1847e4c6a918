//! Versions that are swapped under a thousand domains, held against the same domains without swaps.
//!
//! The host is the real program. Its domains are decided by a small engine that counts its decisions in its memory, so each of them is in the
//! journal, and the journal says afterwards what was decided and when. Who pushes the versions listens to nothing but the news of swaps.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pilothouse::store::{JetStreamJournal, JournalOptions};
use pilothouse_core::domain::Happened;
use pilothouse_core::name::DomainKey;
use pilothouse_core::time::{Millis, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Settings;
use crate::chronicle::{self, Course, Story, Told};
use crate::fixture;
use crate::guests;
use crate::host::{Running, Watcher, add_all, program, subjects, wall};
use crate::measure::Samples;
use crate::nats::{NatsServer, Sync};
use crate::registry::Versions;
use crate::report::{Figure, Outcome, Target, Unit};

const DOMAINS: usize = 1000;
const INTERVAL: Millis = Millis::from_secs(1);
/// From one push to the next, at least: every version decides more than once.
const EACH: Duration = Duration::from_secs(2);
/// How long domains are left alone before anything is measured: their first decisions come all at once.
const SETTLE: Duration = Duration::from_secs(4);

/// A domain that is decided every second by the engine that counts, and wants nothing else.
pub(crate) fn config() -> Value {
    json!({
        "general": { "engine": guests::COUNT, "decide_interval": INTERVAL.as_secs_f64() },
        "engine_conf": {},
    })
}

pub(crate) fn measure(settings: &Settings) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting a runtime")?;
    let run = runtime.block_on(run(settings.rounds(20)))?;
    let course = |(from, to): (Timestamp, Timestamp)| {
        let all = run.stories.values().map(|story| Course::of(story, INTERVAL, from, to));
        all.fold(Course::default(), Course::and)
    };
    let (still, swapped) = (course(run.still), course(run.swapping));
    ensure!(still.made > 0 && swapped.made > 0, "decisions were made: {} and {}", still.made, swapped.made);
    let swaps: Vec<f64> = run.pushes.iter().map(|(version, pushed)| run.took(version, *pushed)).collect::<Result<_>>()?;
    let swaps = Samples::of(swaps);
    let one = |what: &str, unit: Unit, value: f64| Figure::new(what, unit, &Samples::of([value]));
    let beside = |what: &str, unit: Unit, of: &dyn Fn(&Course) -> f64| {
        one(what, unit, of(&swapped)).beside("without swaps", &Samples::of([of(&swapped)]), &Samples::of([of(&still)]))
    };
    let late = |course: &Course, share: f64| Samples::of_millis(course.late.iter().copied()).quantile(share);
    let failed = |course: &Course| course.failed.values().sum::<u64>() as f64;
    let figures = vec![
        beside("decisions made", Unit::Count, &|course| course.made as f64),
        one("decisions lost", Unit::Count, swapped.lost as f64).target(Target::AtMost(0.0)),
        one("  without swaps", Unit::Count, still.lost as f64),
        one("decisions doubled", Unit::Count, swapped.doubled as f64).target(Target::AtMost(0.0)),
        one("  without swaps", Unit::Count, still.doubled as f64),
        one("calls that failed", Unit::Count, failed(&swapped)).target(Target::AtMost(0.0)),
        one("  without swaps", Unit::Count, failed(&still)),
        // Less than two intervals.
        beside("longest time between two decisions of a domain", Unit::Seconds, &|course| course.longest.as_secs_f64())
            .target(Target::AtMost(2.0 * INTERVAL.as_secs_f64() - 1e-3)),
        beside("late, half of the decisions", Unit::Seconds, &|course| late(course, 0.5)),
        beside("late, one of a hundred", Unit::Seconds, &|course| late(course, 0.99)),
        Figure::new("from a push to the last domain's swap", Unit::Seconds, &swaps),
    ];
    let mut notes = vec![
        format!(
            "{DOMAINS} domains that decide every {} s, {} versions pushed to the registry, one every {} s; every decision is in the journal, on \
             a nats-server with `sync_interval: always`",
            INTERVAL.as_secs_f64(),
            run.pushes.len(),
            EACH.as_secs_f64()
        ),
        "a swap asks the engine at once, so there are more decisions with swaps than without; late: from one interval after the decision \
         before to the end of the engine's call, for decisions at the domain's own pace"
            .to_owned(),
    ];
    if !swapped.failed.is_empty() {
        notes.push(format!("calls that failed, by the sort of fault: {:?}", swapped.failed));
    }
    Ok(Outcome { figures, notes })
}

/// What was seen.
struct Run {
    stories: BTreeMap<DomainKey, Story>,
    /// The time without swaps, and the one with them.
    still: (Timestamp, Timestamp),
    swapping: (Timestamp, Timestamp),
    /// Each version, and when its push began.
    pushes: Vec<(String, Timestamp)>,
}

impl Run {
    /// Seconds from the push of a version to the record of the last domain that took it, which must be all of them.
    fn took(&self, wanted: &str, pushed: Timestamp) -> Result<f64> {
        let stored = self.stories.values().filter_map(|story| {
            story.iter().find_map(|told| match told {
                Told::Swapped { version, stored, .. } if version == wanted => Some(*stored),
                _ => None,
            })
        });
        let stored: Vec<Timestamp> = stored.collect();
        ensure!(stored.len() == DOMAINS, "only {} domains took {wanted}", stored.len());
        let last = stored.into_iter().max().context("a domain")?;
        Ok(last.since(pushed).as_secs_f64())
    }
}

async fn run(swaps: usize) -> Result<Run> {
    let server = NatsServer::start(Sync::Always).await?;
    let client = server.client().await?;
    let cache = TempDir::with_prefix("pilothouse-bench-")?;
    let versions = Versions::open(&client).await?;
    let first = versions.push(guests::COUNT, &guests::version(0), &guests::count(0)?).await?;
    let journal = JetStreamJournal::open(client.clone(), subjects()?, &JournalOptions::default()).await?;
    let keys: Vec<DomainKey> = (0..DOMAINS).map(fixture::key).collect();
    add_all(&journal, &keys, &first, &config()).await?;
    let components: Vec<(String, Vec<u8>)> =
        (1..=swaps).map(|number| Ok((guests::version(number), guests::count(number)?))).collect::<Result<_>>()?;

    let mut watcher = Watcher::start(&client).await?;
    let mut host = Running::start(&program()?, &server, cache.path(), &[])?;
    watcher.until(DOMAINS, |_, what| matches!(what, Happened::Decided { .. })).await.context("the first decisions")?;
    tokio::time::sleep(SETTLE).await;
    let began = wall();
    tokio::time::sleep(EACH * swaps as u32).await;
    let swapping = wall();
    let mut pushes = Vec::new();
    // News of decisions must not pile up: each swap is watched for anew.
    drop(watcher);
    for (version, component) in &components {
        let mut watcher = Watcher::start(&client).await?;
        let (pushed, next) = (wall(), Instant::now() + EACH);
        let engine = versions.push(guests::COUNT, version, component).await?;
        let swapped = |what: &Happened| matches!(what, Happened::Swapped { engine: taken, .. } if taken.digest == engine.digest);
        watcher.until(DOMAINS, |_, what| swapped(what)).await.with_context(|| format!("swaps to {version}"))?;
        pushes.push((version.clone(), pushed));
        tokio::time::sleep_until(next.into()).await;
    }
    let ended = wall();
    host.end()?;
    let stories = chronicle::read(&client, &journal).await?;
    Ok(Run { stories, still: (began, swapping), swapping: (swapping, ended), pushes })
}
