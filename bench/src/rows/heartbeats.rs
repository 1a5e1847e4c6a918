//! Heartbeats that a host takes in, held against a plain drain of the same messages.
//!
//! The host is the real one, in this process, with domains of real instances. Who publishes writes whole windows of messages that were
//! made before, and a marker behind each: for the host a heartbeat that changes a health, which comes back as an event when it is
//! recorded. What drains plainly publishes when it has counted that far. Two windows are under way at any time, so that nothing is ever
//! dropped and nobody ever waits for the publisher; a round ends when a last marker of every domain has come back.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use pilothouse::driver::{Host, HostOptions};
use pilothouse::nats::client::{NatsArgs, stay_connected};
use pilothouse::store::{Append, Appended, JetStreamJournal, Journal, JournalOptions, Tip};
use pilothouse_core::domain::{Happened, Happening};
use pilothouse_core::id::InstanceId;
use pilothouse_core::instance::Health;
use pilothouse_core::message::{Heartbeat, Verdict};
use pilothouse_core::name::Slot;
use pilothouse_core::problem::Problem;
use pilothouse_core::record::{Event, Record};
use pilothouse_core::subject::{DataKind, Subjects};
use pilothouse_core::time::Millis;
use procfs::process::Process;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::Settings;
use crate::fixture::{self, NOW};
use crate::host::wall;
use crate::measure::Samples;
use crate::nats::{NatsServer, Sync};
use crate::report::{Figure, Outcome, Target, Unit};

const DOMAINS: usize = 100;
const INSTANCES: usize = 100;
/// Messages of a window. Two of them must fit into a subscription, which holds 65 536.
const WINDOW: usize = 20_000;
const WINDOWS: usize = 25;

/// Far more than anything here takes.
const SOON: Duration = Duration::from_secs(60);

pub(crate) fn measure(settings: &Settings) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting a runtime")?;
    let (ours, plain) = runtime.block_on(rounds(settings))?;
    let rate = |rounds: &[Round]| Samples::of(rounds.iter().map(|round| round.messages / round.seconds));
    let work = |rounds: &[Round]| Samples::of(rounds.iter().map(|round| round.processor / round.messages));
    let taken = Figure::new("taken in by the host", Unit::PerSecond, &rate(&ours));
    let worked = Figure::new("processor time for one, client included", Unit::Seconds, &work(&ours));
    Ok(Outcome {
        figures: vec![
            taken.beside("plain drain", &rate(&ours), &rate(&plain)).target(Target::RatioAtLeast(0.85)),
            worked.beside("plain drain", &work(&ours), &work(&plain)),
        ],
        notes: vec![format!(
            "{} heartbeats of {} instances in {DOMAINS} domains a round; nats-server and publisher share the cores with who is measured",
            WINDOW * WINDOWS,
            DOMAINS * INSTANCES
        )],
    })
}

/// What came of one round.
struct Round {
    messages: f64,
    seconds: f64,
    /// Seconds of processor time of this process.
    processor: f64,
}

/// Rounds of the host and of a plain drain, by turns.
async fn rounds(settings: &Settings) -> Result<(Vec<Round>, Vec<Round>)> {
    let server = NatsServer::start(Sync::Lazily).await?;
    let (host, stop) = HostUnderTest::start(&server).await?;
    let drain = Drain::start(&server).await?;
    let publisher = Publisher::start(&server)?;
    let mut sides = [Side::new(host.subjects.clone(), host.crew.clone(), host.markers), Side::new(drain.0, host.crew, drain.1)];
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    // The first rounds warm up, and let every instance be heard once.
    for round in 0..=settings.rounds(20) {
        let [first, second] = &mut sides;
        let mine = first.round(&publisher).await.context("the host")?;
        let reference = second.round(&publisher).await.context("the plain drain")?;
        if round > 0 {
            ours.push(mine);
            plain.push(reference);
        }
    }
    stop.cancel();
    Ok((ours, plain))
}

/// Who takes heartbeats in, and says when it has come to a marker.
struct Side {
    /// Heartbeats of everybody, as bytes of the protocol.
    window: Bytes,
    /// One of each domain that says that something is wrong, and one that says that all is well again.
    bad: Vec<Bytes>,
    good: Vec<Bytes>,
    markers: UnboundedReceiver<()>,
    /// How many markers were sent.
    sent: usize,
}

impl Side {
    fn new(subjects: Subjects, crew: Vec<Vec<(Slot, InstanceId)>>, markers: UnboundedReceiver<()>) -> Self {
        let now = wall();
        let heartbeat = |(slot, id): &(Slot, InstanceId), verdict: Verdict| {
            let payload = Heartbeat { verdict }.to_json(id.as_str(), now);
            publish(&subjects.data(DataKind::Heartbeat, *slot, id), &payload)
        };
        let error = || Verdict::Error { health: Health::MonitorError, problems: vec![Problem::Text("bench".to_owned())], time: None };
        // One domain after the other, as fleets do; but for the first of each, which are the markers.
        let everybody = (1..INSTANCES).flat_map(|number| crew.iter().map(move |of_domain| &of_domain[number]));
        let window = everybody.cycle().take(WINDOW).flat_map(|instance| heartbeat(instance, Verdict::Ok)).collect();
        let each = |verdict: &dyn Fn() -> Verdict| crew.iter().map(|of_domain| heartbeat(&of_domain[0], verdict()).into()).collect();
        Self { window, bad: each(&error), good: each(&|| Verdict::Ok), markers, sent: 0 }
    }

    async fn round(&mut self, publisher: &Publisher) -> Result<Round> {
        let (began, worked) = (Instant::now(), processor()?);
        for window in 0..WINDOWS {
            publisher.send(self.window.clone())?;
            self.mark(publisher)?;
            if window > 0 {
                self.marker().await?;
            }
        }
        self.marker().await?;
        for _ in 0..DOMAINS {
            self.mark(publisher)?;
        }
        for _ in 0..DOMAINS {
            self.marker().await?;
        }
        let messages = (WINDOWS * (WINDOW + 1) + DOMAINS) as f64;
        Ok(Round { messages, seconds: began.elapsed().as_secs_f64(), processor: processor()? - worked })
    }

    /// Sends the next marker: of one domain after the other, each time with other news.
    fn mark(&mut self, publisher: &Publisher) -> Result<()> {
        let (times, domain) = (self.sent / DOMAINS, self.sent % DOMAINS);
        self.sent += 1;
        publisher.send(if times.is_multiple_of(2) { self.bad[domain].clone() } else { self.good[domain].clone() })
    }

    async fn marker(&mut self) -> Result<()> {
        timeout(SOON, self.markers.recv()).await.context("a marker did not come back: messages were lost")?.context("nobody listens")
    }
}

/// A host in this process.
struct HostUnderTest {
    subjects: Subjects,
    /// The instances, by domain.
    crew: Vec<Vec<(Slot, InstanceId)>>,
    markers: UnboundedReceiver<()>,
}

impl HostUnderTest {
    async fn start(server: &NatsServer) -> Result<(Self, CancellationToken)> {
        let prefix = Subjects::DEFAULT_PREFIX.parse()?;
        let subjects = Subjects::new(&prefix);
        let crew = domains(server, &subjects).await?;
        let watcher = server.client().await?;
        let mut events = watcher.subscribe(subjects.events_of("*")).await?;
        watcher.flush().await?;
        let (link, received) = unbounded_channel();
        let client = stay_connected(&NatsArgs { url: server.url(), creds: None }, "bench", link).await?;
        let options = HostOptions {
            name: "bench".parse()?,
            prefix,
            lease: Duration::from_secs(60),
            replicas: 1,
            cache: None,
            history_retention: Millis::from_secs(3600),
            limits: Default::default(),
            compiler: None,
            engines: Vec::new(),
            engines_dir: None,
            default_user: None,
            file: Default::default(),
            agent_signer: None,
            secrets: None,
        };
        let stop = CancellationToken::new();
        let host = Host::start(client, received, options, stop.clone()).await.context("starting the host")?;
        tokio::spawn(host.run());
        for _ in 0..DOMAINS {
            until(&mut events, |what| matches!(what, Happened::Taken { .. })).await?;
        }
        let (sender, markers) = unbounded_channel();
        tokio::spawn(async move {
            // Held, so that the subscription lives.
            let _watcher = watcher;
            while let Some(event) = events.next().await {
                let is_marker = serde_json::from_slice::<Happening>(&event.payload)
                    .is_ok_and(|happening| matches!(happening.what, Happened::Instance { .. }));
                if is_marker && sender.send(()).is_err() {
                    return;
                }
            }
        });
        Ok((Self { subjects, crew, markers }, stop))
    }
}

async fn until(events: &mut Subscriber, is: impl Fn(&Happened) -> bool) -> Result<()> {
    loop {
        let event = timeout(SOON, events.next()).await.context("no event in time")?.context("the connection is gone")?;
        if is(&serde_json::from_slice::<Happening>(&event.payload)?.what) {
            return Ok(());
        }
    }
}

/// Writes domains into the journal, as snapshots, and tells who is in them.
async fn domains(server: &NatsServer, subjects: &Subjects) -> Result<Vec<Vec<(Slot, InstanceId)>>> {
    let engine = fixture::embedded()?;
    let journal = JetStreamJournal::open(server.client().await?, subjects.clone(), &JournalOptions::default()).await?;
    let mut crew = Vec::new();
    for number in 0..DOMAINS {
        let mut state = fixture::state(number, INSTANCES, INSTANCES, &engine);
        // Nobody but the heartbeats is to have an opinion meanwhile.
        state.config.general.decide_interval = Millis::from_secs(3600);
        state.config.health.missing_timeout = Millis::from_secs(3600);
        crew.push(state.instances().map(|instance| (state.slot, instance.id.clone())).collect());
        let key = state.key.clone();
        let bytes = Bytes::from(Record::new(NOW, state.epoch, vec![Event::Snapshot(Box::new(state))]).to_bytes());
        let appended = journal.append(&key, Append { after: Tip::default(), is_snapshot: true, bytes }).await?;
        ensure!(matches!(appended, Appended::Committed { .. }), "{appended:?}");
    }
    Ok(crew)
}

/// A subscription like the host's that only counts, and publishes at every marker as the host does.
struct Drain(Subjects, UnboundedReceiver<()>);

impl Drain {
    async fn start(server: &NatsServer) -> Result<Self> {
        // Of the same length as the host's.
        let subjects = Subjects::new(&"pr".parse()?);
        let client = server.client().await?;
        let mut messages = client.subscribe(subjects.all_data(DataKind::Heartbeat)).await?;
        let watcher = server.client().await?;
        let mut acks = watcher.subscribe("pr.ack").await?;
        client.flush().await?;
        watcher.flush().await?;
        tokio::spawn(async move { while let Some(()) = drain(&client, &mut messages).await {} });
        let (sender, markers) = unbounded_channel();
        tokio::spawn(async move {
            let _watcher = watcher;
            while acks.next().await.is_some() && sender.send(()).is_ok() {}
        });
        Ok(Self(subjects, markers))
    }
}

/// One round's worth of messages.
async fn drain(client: &Client, messages: &mut Subscriber) -> Option<()> {
    let ack = async || client.publish("pr.ack", Bytes::from_static(&[b'x'; 200])).await.ok();
    for _ in 0..WINDOWS {
        for _ in 0..WINDOW {
            std::hint::black_box(messages.next().await?.payload);
        }
        messages.next().await?;
        ack().await?;
    }
    for _ in 0..DOMAINS {
        messages.next().await?;
        ack().await?;
    }
    Some(())
}

/// Writes to the server what was made before, from a thread of its own.
struct Publisher(mpsc::Sender<Bytes>);

impl Publisher {
    fn start(server: &NatsServer) -> Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port())).context("connecting the publisher")?;
        stream.write_all(b"CONNECT {\"verbose\":false}\r\n")?;
        let (sender, windows) = mpsc::channel::<Bytes>();
        std::thread::spawn(move || {
            for window in windows {
                if stream.write_all(&window).is_err() {
                    return;
                }
            }
        });
        Ok(Self(sender))
    }

    fn send(&self, bytes: Bytes) -> Result<()> {
        self.0.send(bytes).context("the publisher's connection is gone")
    }
}

/// A publication, as bytes of the protocol.
fn publish(subject: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("PUB {subject} {}\r\n", payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// Seconds of processor time that this process has used.
fn processor() -> Result<f64> {
    let stat = Process::myself()?.stat()?;
    Ok((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
}
