//! A provisioner that is played by the test: it notes when it was asked for what, and says only what it is told to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::StreamExt;
use pilothouse_core::instance::State;
use pilothouse_core::message::{Dump, DumpAnswer, InventoryAnswer, Known, Provision, Receipt, StateReport, Terminate};
use pilothouse_core::time::Timestamp;
use pilothouse_tests::rig::{Rig, SOON};
use pilothouse_tests::wait::eventually;

/// The site that is played.
pub(crate) const SITE: &str = "played";

/// Nothing is asked for again before so long. Written out here, so that the test does not believe the code under test.
pub(crate) const AGAIN: Duration = Duration::from_secs(5);

/// A request, and when it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) at: Instant,
    pub(crate) ids: Vec<String>,
}

#[derive(Default)]
struct Notes {
    launches: Vec<(Asked, Provision)>,
    ends: Vec<Asked>,
    /// Where to report of each.
    subjects: BTreeMap<String, String>,
    /// What it tells when it is asked what it runs.
    runs: Vec<Known>,
}

/// A provisioner that is played.
pub(crate) struct Played {
    nats: async_nats::Client,
    notes: Arc<Mutex<Notes>>,
    obliging: Arc<AtomicBool>,
}

impl Played {
    /// One that says nothing by itself.
    pub(crate) async fn silent(rig: &Rig) -> Result<Self> {
        let nats = rig.nats.client().await?;
        let mut requests = nats.subscribe(rig.api.subjects().provisioner(SITE, "*")).await?;
        nats.flush().await?;
        let played = Self { nats, notes: Arc::default(), obliging: Arc::default() };
        let (nats, notes, obliging) = (played.nats.clone(), Arc::clone(&played.notes), Arc::clone(&played.obliging));
        tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                let Taken { answer, reports } = take(&notes, &request).expect("a request that makes sense");
                // Who asked may have died meanwhile.
                if let Some(reply) = request.reply {
                    let _ = nats.publish(reply, answer.into()).await;
                }
                for (id, state) in reports.into_iter().filter(|_| obliging.load(Ordering::SeqCst)) {
                    say(&nats, &notes, &id, &told(state)).await.expect("a connection");
                }
            }
        });
        Ok(played)
    }

    /// One that has done what it is asked for at once.
    pub(crate) async fn obliging(rig: &Rig) -> Result<Self> {
        let played = Self::silent(rig).await?;
        played.obliges(true);
        Ok(played)
    }

    /// From now on it does what it is asked for, or says nothing.
    pub(crate) fn obliges(&self, does: bool) {
        self.obliging.store(does, Ordering::SeqCst);
    }

    /// From now on it says that it runs this, whoever launched it.
    pub(crate) fn runs(&self, known: Known) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.runs.push(known);
        // As it is told.
        notes.runs.sort_by(|a, b| a.node_id.cmp(&b.node_id));
    }

    /// Every launch that was asked for, in order.
    pub(crate) fn launches(&self) -> Vec<Asked> {
        self.with(|notes| notes.launches.iter().map(|(asked, _)| asked.clone()).collect())
    }

    /// The same, with all that was said.
    pub(crate) fn provisions(&self) -> Vec<Provision> {
        self.with(|notes| notes.launches.iter().map(|(_, provision)| provision.clone()).collect())
    }

    /// Every termination that was asked for, in order.
    pub(crate) fn ends(&self) -> Vec<Asked> {
        self.with(|notes| notes.ends.clone())
    }

    /// The instances whose launch was asked for, each once.
    pub(crate) fn launched(&self) -> Vec<String> {
        distinct(&self.launches())
    }

    /// The instances whose end was asked for, each once.
    pub(crate) fn ended(&self) -> Vec<String> {
        distinct(&self.ends())
    }

    /// Waits until so many launches were asked for, and tells of which instances.
    pub(crate) async fn is_asked_to_launch(&self, count: usize) -> Result<Vec<String>> {
        eventually(&format!("{count} launches"), SOON, async || self.launched().len() >= count)
            .await
            .with_context(|| format!("{:?}", self.launched()))?;
        Ok(self.launched())
    }

    /// Waits until so many terminations were asked for, and tells of which instances.
    pub(crate) async fn is_asked_to_end(&self, count: usize) -> Result<Vec<String>> {
        eventually(&format!("{count} terminations"), SOON, async || self.ended().len() >= count)
            .await
            .with_context(|| format!("{:?}", self.ended()))?;
        Ok(self.ended())
    }

    /// Reports a state.
    pub(crate) async fn reports(&self, id: &str, state: State) -> Result<()> {
        self.reports_all(id, &told(state)).await
    }

    /// Reports a state and more.
    pub(crate) async fn reports_all(&self, id: &str, report: &StateReport) -> Result<()> {
        say(&self.nats, &self.notes, id, report).await?;
        Ok(self.nats.flush().await?)
    }

    /// Where the state of an instance is reported.
    pub(crate) fn state_subject(&self, id: &str) -> Result<String> {
        self.with(|notes| notes.subjects.get(id).cloned()).with_context(|| format!("{id} was launched"))
    }

    fn with<T>(&self, look: impl FnOnce(&Notes) -> T) -> T {
        look(&self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The shortest time between two requests that name the same instance.
pub(crate) fn shortest_pause(asked: &[Asked], id: &str) -> Option<Duration> {
    let times: Vec<Instant> = asked.iter().filter(|asked| asked.ids.iter().any(|it| it == id)).map(|asked| asked.at).collect();
    times.windows(2).map(|two| two[1] - two[0]).min()
}

/// How often an instance was named.
pub(crate) fn times_asked(asked: &[Asked], id: &str) -> usize {
    asked.iter().filter(|asked| asked.ids.iter().any(|it| it == id)).count()
}

fn distinct(asked: &[Asked]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for id in asked.iter().flat_map(|asked| &asked.ids) {
        if !all.contains(id) {
            all.push(id.clone());
        }
    }
    all
}

fn told(state: State) -> StateReport {
    StateReport { attributes: [("hostname".to_owned(), "host.example".to_owned())].into(), ..StateReport::new(state) }
}

async fn say(nats: &async_nats::Client, notes: &Mutex<Notes>, id: &str, report: &StateReport) -> Result<()> {
    let subject = notes.lock().unwrap_or_else(PoisonError::into_inner).subjects.get(id).cloned();
    let subject = subject.with_context(|| format!("{id} was launched"))?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let now = Timestamp::from_millis(u64::try_from(now.as_millis())?);
    Ok(nats.publish(subject, report.to_json(id, now).into()).await?)
}

/// What comes of a request.
struct Taken {
    answer: Vec<u8>,
    /// What an obliging provisioner reports next.
    reports: Vec<(String, State)>,
}

/// Notes a request.
fn take(notes: &Mutex<Notes>, request: &async_nats::Message) -> Result<Taken> {
    let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
    let at = Instant::now();
    match request.subject.rsplit('.').next() {
        Some("provision") => {
            let provision = Provision::parse(&request.payload)?;
            let named: Vec<_> = provision.instances.iter().map(|it| (it.node_id.clone(), it.state_subject.clone())).collect();
            notes.subjects.extend(named.iter().map(|(id, subject)| (id.to_string(), subject.clone())));
            let ids: Vec<String> = named.iter().map(|(id, _)| id.to_string()).collect();
            notes.launches.push((Asked { at, ids: ids.clone() }, provision));
            let receipt = Receipt { accepted: named.into_iter().map(|(id, _)| id).collect(), refused: Vec::new() };
            Ok(Taken { answer: receipt.to_json(), reports: ids.into_iter().map(|id| (id, State::Running)).collect() })
        }
        Some("terminate") => {
            let terminate = Terminate::parse(&request.payload)?;
            let accepted: Vec<_> = terminate.instances.iter().map(|it| it.node_id.clone()).collect();
            notes.subjects.extend(terminate.instances.iter().map(|it| (it.node_id.to_string(), it.state_subject.clone())));
            let ids: Vec<String> = accepted.iter().map(ToString::to_string).collect();
            notes.ends.push(Asked { at, ids: ids.clone() });
            let receipt = Receipt { accepted, refused: Vec::new() };
            Ok(Taken { answer: receipt.to_json(), reports: ids.into_iter().map(|id| (id, State::Terminated)).collect() })
        }
        Some("dump") => {
            let dump = Dump::parse(&request.payload)?;
            let known = dump.instances.into_iter().map(|it| it.node_id).collect();
            Ok(Taken { answer: DumpAnswer { known, unknown: Vec::new() }.to_json(), reports: Vec::new() })
        }
        Some("inventory") => {
            let answer = InventoryAnswer { instances: notes.runs.clone(), more: false };
            Ok(Taken { answer: answer.to_json(), reports: Vec::new() })
        }
        other => anyhow::bail!("asked for {other:?}"),
    }
}
