//! How far this host is with the versions of the registry, and how all hosts are asked that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Client;
use bytes::Bytes;
use futures::StreamExt;
use pilothouse_core::name::Name;
use pilothouse_core::subject::Subjects;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::{AskEngines, EngineState, HostEngines};
use crate::driver::engines::Engines;

/// What every host is asked at once.
const ENGINES: &str = "engines";

/// How long the first answer may take. The host that asks hears its own question, so that there is one.
const FIRST: Duration = Duration::from_secs(1);

/// How long after an answer another may come. Hosts answer from memory.
const NEXT: Duration = Duration::from_millis(300);

/// How long all answers may take.
const ALL: Duration = Duration::from_secs(2);

/// The digests that one question may name: the answer to it fits into a message.
const MAX_DIGESTS: usize = 1024;

/// The longest reason that is told, in bytes.
const MAX_REASON_BYTES: usize = 500;

/// How far this host is, by the digests of components. Cheap to clone; all clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Ready(Arc<watch::Sender<BTreeMap<String, EngineState>>>);

/// Hosts can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is no link.
    #[error("asking all hosts: {0}")]
    Link(String),
    /// So many digests make no question.
    #[error("at most {MAX_DIGESTS} components can be asked for at once, not {0}")]
    TooMany(usize),
}

impl Ready {
    /// Notes how far it is with a component.
    pub(super) fn set(&self, digest: &str, mut state: EngineState) {
        if let EngineState::Refused { reason } | EngineState::Waiting { reason: Some(reason) } = &mut state {
            reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
        }
        self.0.send_if_modified(|states| states.get(digest) != Some(&state) && (states.insert(digest.to_owned(), state), true).1);
    }

    /// Forgets all but these components.
    pub(super) fn keep(&self, digests: &BTreeSet<String>) {
        self.0.send_if_modified(|states| {
            let before = states.len();
            states.retain(|digest, _| digests.contains(digest));
            states.len() != before
        });
    }

    /// How far it is with a component that the registry names; nothing for others.
    pub fn get(&self, digest: &str) -> Option<EngineState> {
        self.0.borrow().get(digest).cloned()
    }

    /// Whether a component can't serve here.
    pub fn is_refused(&self, digest: &str) -> bool {
        matches!(self.0.borrow().get(digest), Some(EngineState::Refused { .. }))
    }

    /// All of it, and changes of it.
    pub fn changes(&self) -> watch::Receiver<BTreeMap<String, EngineState>> {
        self.0.subscribe()
    }
}

/// Answers when every host is asked how components are there.
///
/// # Errors
/// When there is no subscription.
pub async fn attend(
    client: &Client,
    subjects: &Subjects,
    host: &Name,
    engines: &Engines,
    stop: &CancellationToken,
) -> Result<(), async_nats::SubscribeError> {
    let mut questions = client.subscribe(subjects.hosts(ENGINES)).await?;
    let (client, host, engines, stop) = (client.clone(), host.clone(), engines.clone(), stop.clone());
    tokio::spawn(async move {
        loop {
            let question = tokio::select! {
                question = questions.next() => match question { Some(question) => question, None => break },
                () = stop.cancelled() => break,
            };
            let Some(reply) = question.reply else { continue };
            let mut asked = match serde_json::from_slice::<AskEngines>(&question.payload) {
                Ok(asked) => asked,
                Err(error) => {
                    tracing::debug!(%error, "a question about engines that is none");
                    continue;
                }
            };
            asked.digests.truncate(MAX_DIGESTS);
            let states = asked.digests.iter().filter_map(|digest| Some((digest.clone(), engines.state(digest)?))).collect();
            let own = engines.own_among(&asked.digests);
            let answer = HostEngines { host: host.clone(), engines: states, own, files: engines.files() };
            let Ok(answer) = serde_json::to_vec(&answer) else { continue };
            if let Err(error) = client.publish(reply, answer.into()).await {
                tracing::debug!(%error, "nobody waits for an answer");
            }
        }
    });
    Ok(())
}

/// Asks every host how components are there. Who does not answer within a moment is held for away. In the order of the hosts' names.
///
/// # Errors
/// When there is no link, or too many are asked for.
pub async fn ask(client: &Client, subjects: &Subjects, digests: Vec<String>) -> Result<Vec<HostEngines>, AskError> {
    if digests.len() > MAX_DIGESTS {
        return Err(AskError::TooMany(digests.len()));
    }
    let failed = |error: &dyn std::fmt::Display| AskError::Link(error.to_string());
    let question = serde_json::to_vec(&AskEngines { digests }).map_err(|error| failed(&error))?;
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.map_err(|error| failed(&error))?;
    client.publish_with_reply(subjects.hosts(ENGINES), inbox, Bytes::from(question)).await.map_err(|error| failed(&error))?;
    let end = Instant::now() + ALL;
    let (mut hosts, mut patience) = (Vec::new(), FIRST);
    while let Ok(Some(answer)) = tokio::time::timeout(patience.min(end.saturating_duration_since(Instant::now())), answers.next()).await {
        match serde_json::from_slice::<HostEngines>(&answer.payload) {
            Ok(host) => hosts.push(host),
            Err(error) => tracing::debug!(%error, "a host tells of its engines in another way"),
        }
        patience = NEXT;
    }
    hosts.sort_by(|a, b| a.host.cmp(&b.host));
    Ok(hosts)
}
