//! A thousand domains that behave, with and without one whose engine does not.
//!
//! All of it is one host, the real program, and one run: spans with a hostile domain alternate with spans without, and each is held
//! against the ones before and after it. How late the others are decided the journal says: their engine counts, so each decision is on record.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use pilothouse::api::{AddDomain, ApiClient, Operation, RemoveDomain};
use pilothouse::store::{JetStreamJournal, JournalOptions};
use pilothouse_core::domain::Happened;
use pilothouse_core::name::DomainKey;
use pilothouse_core::record::EngineInForce;
use pilothouse_core::time::{Millis, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::swap;
use crate::Settings;
use crate::chronicle::{self, Course, Told};
use crate::decision::Decide;
use crate::fixture;
use crate::guests::{self, Bad};
use crate::host::{Running, Watcher, add_all, program, subjects, wall};
use crate::measure::Samples;
use crate::nats::{NatsServer, Sync};
use crate::report::{Figure, Outcome, Target, Unit};

const DOMAINS: usize = 1000;
const INTERVAL: Millis = Millis::from_secs(1);
/// How long a span is measured.
const SPAN: Duration = Duration::from_secs(4);
/// How long a span goes on before it is measured.
const BEFORE: Duration = Duration::from_millis(500);
/// The same after a domain beside was removed: a call of it that still runs ends within that.
const AFTER: Duration = Duration::from_millis(1500);
/// How long domains are left alone before anything is measured.
const SETTLE: Duration = Duration::from_secs(4);
/// The share of its fuel that an engine uses up which is never at fault.
const NEARLY_ALL: f64 = 0.97;

/// What is beside the domains that behave.
#[derive(Clone, Copy, Debug)]
struct Beside {
    what: &'static str,
    /// The engine; without one, another domain that behaves.
    engine: Option<Bad>,
    /// Whether its domain is configured so that it is asked as often as anything can be: the shortest pulse, and held after 255 faults.
    worst: bool,
}

pub(crate) fn measure(settings: &Settings) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting a runtime")?;
    let all = all()?;
    let spans = runtime.block_on(run(settings.rounds(9).max(3), &all))?;
    let mut figures = Vec::new();
    for beside in &all {
        let of: Vec<&Span> = spans.iter().filter(|span| span.what == beside.what).collect();
        let (with, without) = (Samples::of(of.iter().map(|span| span.with)), Samples::of(of.iter().map(|span| span.without)));
        let figure = Figure::new(beside.what, Unit::Seconds, &with).beside("without it, before and after", &with, &without);
        figures.push(if beside.engine.is_some() { figure.target(Target::RatioAtMost(1.1)) } else { figure });
        if beside.engine.is_some() {
            figures.push(Figure::new("  its calls in a span", Unit::Count, &Samples::of(of.iter().map(|span| span.calls as f64))));
        }
    }
    let decisions = Samples::of(spans.iter().map(|span| span.decisions as f64)).median();
    Ok(Outcome {
        figures,
        notes: vec![
            format!(
                "how late one of a hundred decisions of {DOMAINS} domains is, which decide every {} s: from when it was due to the end of its \
                 engine's call; about {decisions:.0} decisions in a span",
                INTERVAL.as_secs_f64()
            ),
            format!(
                "spans of {} s by turns, with and without; \"worst\": asked again after the shortest pulse, and held after 255 faults; faults \
                 still make it wait longer each time, and what burns or keeps its memory is never at fault",
                SPAN.as_secs_f64()
            ),
            "the first line says how far spans differ by chance".to_owned(),
        ],
    })
}

/// Everything that is tried.
fn all() -> Result<Vec<Beside>> {
    let worst = |what, engine| Beside { what, engine: Some(engine), worst: true };
    Ok(vec![
        Beside { what: "one more that behaves", engine: None, worst: false },
        Beside { what: "one spins, as it is configured by default", engine: Some(Bad::Spins), worst: false },
        worst("one spins, worst", Bad::Spins),
        worst("one takes all memory and traps, worst", Bad::Hoards),
        worst("one traps, worst", Bad::Traps),
        worst("one takes all memory every time, worst", Bad::Keeps),
        worst("one burns nearly all its fuel every time, worst", burning()?),
    ])
}

/// An engine that uses up nearly all its fuel.
fn burning() -> Result<Bad> {
    let sandbox = pilothouse_engine_host::Sandbox::new(Default::default()).context("making a sandbox")?;
    let few = 1_000_000;
    let engine = sandbox.load(&Bad::Burns(few).component()?).context("loading an engine that burns fuel")?;
    let most = engine.limits().fuel;
    let identity = pilothouse_core::cycle::Engine::identity(&engine);
    let said = Decide::new(engine, fixture::state(0, 0, 0, &identity)).once().0.said;
    let used = said.context("an engine that burns fuel decides")?.fuel;
    Ok(Bad::Burns((most as f64 * NEARLY_ALL / (used as f64 / few as f64)) as u64))
}

/// A span with something beside, and those before and after it without.
struct Span {
    what: &'static str,
    /// Seconds that one of a hundred decisions was late.
    with: f64,
    /// The mean of both: what disturbs the machine for longer than a span is in it.
    without: f64,
    /// Decisions of the others.
    decisions: u64,
    /// Calls of the hostile engine.
    calls: usize,
}

async fn run(rounds: usize, all: &[Beside]) -> Result<Vec<Span>> {
    let server = NatsServer::start(Sync::Lazily).await?;
    let (client, dir) = (server.client().await?, TempDir::with_prefix("pilothouse-bench-")?);
    let component = guests::count(0)?;
    let mut files = vec![write(&dir, guests::COUNT, &component)?];
    for name in all.iter().filter_map(|beside| beside.engine) {
        let file = write(&dir, name.name(), &name.component()?)?;
        if !files.contains(&file) {
            files.push(file);
        }
    }
    let journal = JetStreamJournal::open(client.clone(), subjects()?, &JournalOptions::default()).await?;
    let keys: Vec<DomainKey> = (0..DOMAINS).map(fixture::key).collect();
    let digest = pilothouse::driver::registry::digest_of(&component);
    let engine = EngineInForce { name: guests::COUNT.to_owned(), version: guests::version(0), digest };
    add_all(&journal, &keys, &engine, &swap::config()).await?;

    let api = ApiClient::new(client.clone(), subjects()?, keys[0].owner.clone());
    let mut watcher = Watcher::start(&client).await?;
    let mut host = Running::start(&program()?, &server, &dir.path().join("cache"), &files)?;
    watcher.until(DOMAINS, |_, what| matches!(what, Happened::Decided { .. })).await.context("the first decisions")?;
    drop(watcher);
    tokio::time::sleep(SETTLE).await;
    let mut spans = Vec::new();
    let mut before = span(BEFORE).await;
    for round in 0..rounds {
        for turn in 0..all.len() {
            // Each round begins with another one.
            let beside = all[(round + turn) % all.len()];
            let name = format!("beside-{}", spans.len());
            add(&api, &name, beside).await?;
            let with = span(BEFORE).await;
            remove(&api, &client, &name).await?;
            let after = span(AFTER).await;
            spans.push((beside, DomainKey { owner: keys[0].owner.clone(), name: name.parse()? }, with, [before, after]));
            before = after;
        }
    }
    host.end()?;
    let stories = chronicle::read(&client, &journal).await?;
    let course = |(from, to): (Timestamp, Timestamp)| {
        let others = keys.iter().filter_map(|key| stories.get(key));
        others.map(|story| Course::of(story, INTERVAL, from, to)).fold(Course::default(), Course::and)
    };
    let one_of_a_hundred = |course: Course| {
        let late = Samples::of_millis(course.late);
        ensure!(late.len() >= DOMAINS, "a span with {} decisions says nothing", late.len());
        Ok(late.quantile(0.99))
    };
    let mut told = Vec::new();
    for (beside, key, with, [before, after]) in spans {
        let story = stories.get(&key).map(Vec::as_slice).unwrap_or_default();
        let calls = story.iter().filter(|told| matches!(told, Told::Decided(_) | Told::Faulted { .. })).count();
        let with = course(with);
        told.push(Span {
            what: beside.what,
            decisions: with.made,
            calls,
            with: one_of_a_hundred(with)?,
            without: (one_of_a_hundred(course(before))? + one_of_a_hundred(course(after))?) / 2.0,
        });
    }
    Ok(told)
}

fn write(dir: &TempDir, name: &str, component: &[u8]) -> Result<PathBuf> {
    let file = dir.path().join(format!("{name}.wasm"));
    std::fs::write(&file, component).with_context(|| format!("writing {}", file.display()))?;
    Ok(file)
}

/// Lets a span pass, after so long, and says when it was.
async fn span(passes: Duration) -> (Timestamp, Timestamp) {
    tokio::time::sleep(passes).await;
    let from = wall();
    tokio::time::sleep(SPAN).await;
    (from, wall())
}

async fn add(api: &ApiClient, name: &str, beside: Beside) -> Result<()> {
    let config = match beside.engine {
        None => swap::config(),
        Some(engine) => json!({
            "general": if beside.worst {
                json!({ "engine": engine.name(), "decide_interval": 0.1, "roll_back_after": 255 })
            } else {
                json!({ "engine": engine.name(), "decide_interval": INTERVAL.as_secs_f64() })
            },
            "engine_conf": {},
        }),
    };
    let request = AddDomain { domain: name.to_owned(), config, ..AddDomain::default() };
    let added: Result<Value, _> = api.call(Operation::DomainAdd, &request).await;
    added.map(drop).map_err(|error| anyhow!("adding a domain beside: {error}"))
}

/// Removes a domain, and waits until it is gone.
async fn remove(api: &ApiClient, client: &async_nats::Client, name: &str) -> Result<()> {
    let mut watcher = Watcher::start(client).await?;
    let request = RemoveDomain { domain: name.to_owned(), abandon: true, request_id: None };
    let removed: Result<Value, _> = api.call(Operation::DomainRemove, &request).await;
    removed.map_err(|error| anyhow!("removing a domain: {error}"))?;
    watcher.until(1, |key, what| key.name.as_str() == name && matches!(what, Happened::Removed)).await
}
