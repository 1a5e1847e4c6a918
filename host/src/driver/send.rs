//! Requests to provisioners and agents, and what they answer at once.
//!
//! Requests are published and forgotten: the promise behind each is in the journal, and what is not acknowledged by a state report is sent
//! again. Answers come to one inbox of the host and tell what can't be seen otherwise: that nobody is there, that a request was refused,
//! which instances a provisioner does not know.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Client, Message, StatusCode, SubscribeError};
use futures::StreamExt;
use pilothouse_core::domain::Effect;
use pilothouse_core::id::InstanceId;
use pilothouse_core::intake::Input;
use pilothouse_core::message::{DumpAnswer, Heartbeat, Malformed, MalformedKind, Receipt};
use pilothouse_core::name::{DomainKey, Slot};
use pilothouse_core::promise::Request;
use pilothouse_core::subject::Subjects;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::equip::Equipment;
use super::router::{Mail, Router};
use crate::failpoint;
use crate::malformed::Ledger;

/// How long a request may take to leave. Longer only when the link is in trouble.
const SEND: Duration = Duration::from_secs(1);

/// That nobody is there is said at most so often.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Sends for all domains of a host.
#[derive(Debug)]
pub(crate) struct Sender {
    client: Client,
    subjects: Subjects,
    inbox: String,
    router: Arc<Router>,
    ledger: Arc<Ledger>,
    clock: Clock,
    equipment: Arc<Equipment>,
    absent_reported: Mutex<Option<Instant>>,
}

impl Sender {
    /// Begins to listen for answers.
    pub(crate) async fn start(
        client: Client,
        subjects: Subjects,
        router: Arc<Router>,
        ledger: Arc<Ledger>,
        clock: Clock,
        equipment: Arc<Equipment>,
        stop: &CancellationToken,
    ) -> Result<Arc<Self>, SubscribeError> {
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(format!("{inbox}.>")).await?;
        let sender = Arc::new(Self { client, subjects, inbox, router, ledger, clock, equipment, absent_reported: Mutex::new(None) });
        let (this, stop) = (Arc::clone(&sender), stop.clone());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    answer = answers.next() => match answer {
                        Some(answer) => this.answered(answer).await,
                        None => break,
                    },
                    () = stop.cancelled() => break,
                }
            }
        });
        Ok(sender)
    }

    /// Sends what is to be done for one domain, in order.
    pub(crate) async fn send(&self, slot: Slot, effects: Vec<Effect>) {
        for (n, effect) in effects.into_iter().enumerate() {
            let effect = match effect {
                Effect::Request(Request::Provision(message)) => match self.equipment.equip(message, self.clock.now()).await {
                    Some(message) => Effect::Request(Request::Provision(message)),
                    None => continue,
                },
                effect => effect,
            };
            let (subject, answers, body, kind) = self.message(slot, effect);
            if n > 0 {
                failpoint::reach("between-effects", kind);
            }
            let reply = format!("{}.{answers}", self.inbox);
            // Sent again in time, like everything that is not acknowledged.
            match tokio::time::timeout(SEND, self.client.publish_with_reply(subject.clone(), reply, body.into())).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(subject, %error, "request not sent"),
                Err(_) => {
                    tracing::warn!(subject, "request not sent: the link takes nothing");
                    return;
                }
            }
            if failpoint::COMPILED_IN {
                // So that dying here is dying after the effect.
                let _ = self.client.flush().await;
                failpoint::reach("after-effect", kind);
            }
        }
    }

    /// Subject, last tokens of the reply subject, body, and the name for failpoints.
    fn message(&self, slot: Slot, effect: Effect) -> (String, String, Vec<u8>, &'static str) {
        match effect {
            Effect::Request(Request::Provision(message)) => {
                let subject = self.subjects.provisioner(&message.site, "provision");
                (subject, format!("receipt.{}", message.site), message.to_json(), "launch")
            }
            Effect::Request(Request::Terminate { site, message }) => {
                (self.subjects.provisioner(&site, "terminate"), format!("receipt.{site}"), message.to_json(), "terminate")
            }
            Effect::Request(Request::Dump { site, message }) => {
                let DomainKey { owner, name } = &message.domain;
                (self.subjects.provisioner(&site, "dump"), format!("dump.{owner}.{name}"), message.to_json(), "dump")
            }
            Effect::Probe(id) => (self.subjects.probe(slot, &id), format!("probe.{id}"), Vec::new(), "probe"),
        }
    }

    async fn answered(&self, answer: Message) {
        let Some((kind, of)) = answer.subject.strip_prefix(&self.inbox).and_then(|rest| rest.strip_prefix('.')?.split_once('.')) else {
            return;
        };
        let nobody = answer.status == Some(StatusCode::NO_RESPONDERS);
        let taken = match kind {
            "receipt" if nobody => {
                self.report_absent(of).await;
                Ok(())
            }
            "dump" if nobody => {
                self.dump_again(of);
                Ok(())
            }
            "receipt" => Receipt::parse(&answer.payload).map(|receipt| report_refused(of, &receipt)),
            "dump" => {
                DumpAnswer::parse(&answer.payload).map(|dump| dump.unknown.into_iter().for_each(|id| self.deliver(Input::Unknown(id))))
            }
            "probe" => self.probed(of, nobody, &answer.payload),
            _ => Ok(()),
        };
        if let Err(malformed) = taken {
            self.ledger.note(&answer.subject, &malformed);
        }
    }

    fn probed(&self, id: &str, nobody: bool, payload: &[u8]) -> Result<(), Malformed> {
        let parsed: InstanceId = id.parse().map_err(|error| Malformed::new(MalformedKind::ForeignId, format!("{error}")))?;
        let input =
            if nobody { Input::NoAgent(parsed) } else { Input::Heartbeat(parsed, Heartbeat::parse(id, payload, self.clock.now())?) };
        self.deliver(input);
        Ok(())
    }

    fn deliver(&self, input: Input) {
        if let Some(handle) = self.router.instance(input.id()) {
            handle.offer(Mail::Input(input));
        }
    }

    fn dump_again(&self, of: &str) {
        let key = of.split_once('.').and_then(|(owner, name)| Some(DomainKey { owner: owner.parse().ok()?, name: name.parse().ok()? }));
        if let Some(handle) = key.and_then(|key| self.router.domain(&key)) {
            handle.offer(Mail::DumpUnanswered);
        }
    }

    async fn report_absent(&self, site: &str) {
        let mut reported = self.absent_reported.lock().await;
        if reported.is_none_or(|last| last.elapsed() >= REPORT_EVERY) {
            *reported = Some(Instant::now());
            tracing::warn!(site, "no provisioner answers at this site; what it owes is asked for again");
        }
    }
}

fn report_refused(site: &str, receipt: &Receipt) {
    for refused in &receipt.refused {
        tracing::warn!(site, instance = %refused.node_id, kind = refused.kind, reason = refused.reason, "request refused by its provisioner");
    }
}
