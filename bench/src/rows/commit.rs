//! Decisions that are committed, held against raw publishes of the same messages.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, Context};
use bytes::Bytes;
use pilothouse::store::{Append, Appended, JetStreamJournal, Journal, JournalOptions, Tip};
use pilothouse_core::cycle::{Cause, Cycle, Engine};
use pilothouse_core::guard::Eyes;
use pilothouse_core::name::DomainKey;
use pilothouse_core::record::Record;
use pilothouse_core::seed::Seed;
use pilothouse_core::subject::Subjects;
use tokio::task::JoinSet;

use crate::Settings;
use crate::fixture::{self, NOW};
use crate::measure::Samples;
use crate::nats::{NatsServer, Sync};
use crate::report::{Figure, Outcome, Target, Unit};

/// Domains that commit at the same time, one record after the other each.
const DOMAINS: usize = 64;

pub(crate) fn measure(settings: &Settings) -> Result<Outcome> {
    let record = record()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting a runtime")?;
    let mut figures = Vec::new();
    for (sync, name, each) in [(Sync::Always, "every message flushed", 10), (Sync::Lazily, "flushed now and then", 50)] {
        let (ours, raw) = runtime.block_on(rounds(settings, &record, sync, each))?;
        let figure = Figure::new(format!("{name}, {DOMAINS} domains at once"), Unit::PerSecond, &ours);
        figures.push(figure.beside("raw publishes", &ours, &raw).target(Target::RatioAtLeast(0.8)));
    }
    let bytes = record.to_bytes().len();
    let notes = vec![format!(
        "a record of {bytes} bytes is made into bytes and appended; a raw publish sends the same bytes and headers to a stream configured \
         alike, and awaits the acknowledgement"
    )];
    Ok(Outcome { figures, notes })
}

/// What one decision that launches something leaves in the journal.
fn record() -> Result<Record> {
    let (_sandbox, engine) = fixture::simplest()?;
    let state = Arc::new(fixture::state(0, 10, 11, &engine.identity()));
    let cycle = Cycle::begin(Arc::clone(&state), Arc::default(), Eyes::default(), NOW, Cause::Pulse, Seed([7; 16]));
    let event = cycle.run(&engine).finish(&state, NOW).event.context("a decision that launches is recorded")?;
    Ok(Record::new(NOW, state.epoch, vec![event]))
}

/// Commits a second, of ours and of raw publishes, round by round.
async fn rounds(settings: &Settings, record: &Record, sync: Sync, each: usize) -> Result<(Samples, Samples)> {
    let server = NatsServer::start(sync).await?;
    // A connection for each, as they have it in use.
    let journal = JetStreamJournal::open(server.client().await?, subjects("ph")?, &JournalOptions::default()).await?;
    let raw = Raw::open(&server, &journal).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (mut tips, mut sequences) = (vec![Tip::default(); DOMAINS], vec![0; DOMAINS]);
    // The first round is to warm up.
    for round in 0..=settings.rounds(30) {
        let began = Instant::now();
        tips = all(tips, |number, tip| append(journal.clone(), fixture::key(number), record.clone(), tip, each)).await?;
        let took = began.elapsed();
        let began = Instant::now();
        let bytes = Bytes::from(record.to_bytes());
        sequences = all(sequences, |number, sequence| raw.clone().publish(number, bytes.clone(), sequence, (round, each))).await?;
        if round > 0 {
            let count = (DOMAINS * each) as f64;
            ours.push(count / took.as_secs_f64());
            theirs.push(count / began.elapsed().as_secs_f64());
        }
    }
    Ok((Samples::of(ours), Samples::of(theirs)))
}

/// Does something for every domain, at the same time, and gives back where each has come to, in order.
async fn all<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
    from: Vec<T>,
    work: impl Fn(usize, T) -> F,
) -> Result<Vec<T>> {
    let mut tasks = JoinSet::new();
    for (number, at) in from.into_iter().enumerate() {
        let work = work(number, at);
        tasks.spawn(async move { work.await.map(|at| (number, at)) });
    }
    let mut done = Vec::new();
    while let Some(task) = tasks.join_next().await {
        done.push(task.context("a task")??);
    }
    done.sort_by_key(|(number, _)| *number);
    Ok(done.into_iter().map(|(_, at)| at).collect())
}

async fn append(journal: JetStreamJournal, key: DomainKey, record: Record, mut tip: Tip, count: usize) -> Result<Tip> {
    for _ in 0..count {
        let bytes = Bytes::from(record.to_bytes());
        match journal.append(&key, Append { after: tip, is_snapshot: false, bytes }).await? {
            Appended::Committed { tip: newest } => tip = newest,
            other => bail!("nobody else writes here: {other:?}"),
        }
    }
    Ok(tip)
}

/// A stream configured as the journal's, and the client as it comes.
#[derive(Clone)]
struct Raw {
    jetstream: Context,
    stream: String,
    subjects: Subjects,
}

impl Raw {
    async fn open(server: &NatsServer, journal: &JetStreamJournal) -> Result<Self> {
        let jetstream = jetstream::new(server.client().await?);
        let subjects = subjects("pr")?;
        let like = jetstream.get_stream(journal.stream_name()).await.context("looking at the journal's stream")?;
        let config = jetstream::stream::Config {
            name: "pr-journal".to_owned(),
            subjects: vec![subjects.all_journals()],
            ..like.cached_info().config.clone()
        };
        let stream = config.name.clone();
        jetstream.create_stream(config).await.context("making a stream like the journal's")?;
        Ok(Self { jetstream, stream, subjects })
    }

    async fn publish(self, number: usize, bytes: Bytes, mut sequence: u64, (round, count): (usize, usize)) -> Result<u64> {
        let key = fixture::key(number);
        let subject = self.subjects.journal(key.slot(256), &key);
        for n in 0..count {
            let message = PublishMessage::build()
                .message_id(format!("{key}/{:016x}/{round}-{n}", u64::MAX))
                .expected_stream(&self.stream)
                .expected_last_subject_sequence(sequence)
                .payload(bytes.clone());
            let ack = self.jetstream.send_publish(subject.clone(), message).await?.await?;
            ensure!(!ack.duplicate, "every message is a new one");
            sequence = ack.sequence;
        }
        Ok(sequence)
    }
}

fn subjects(prefix: &str) -> Result<Subjects> {
    Ok(Subjects::new(&prefix.parse()?))
}
