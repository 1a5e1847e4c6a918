//! The counter of a provisioner: takes requests from NATS one after the other, and answers.

use std::time::Duration;

use async_nats::{HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use pilothouse_core::id::InstanceId;
use pilothouse_core::message::{Dump, Inventory, Malformed, MalformedKind, Provision, Receipt, Refused, Terminate};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::site::Site;
use crate::malformed::Ledger;
use crate::nats::client::LinkEvent;

/// Between two looks for what may be forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// How long the last reports have to go out.
const LAST_FLUSH: Duration = Duration::from_secs(2);

/// Answers requests until it is told to stop.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) site: Site,
    pub(super) requests: Subscriber,
    pub(super) link: mpsc::UnboundedReceiver<LinkEvent>,
    pub(super) ledger: Ledger,
}

impl Service {
    /// Serves until `shutdown` is cancelled. With `stops_instances` all instances are ended then.
    pub(super) async fn run(mut self, shutdown: CancellationToken, stops_instances: bool) {
        let mut forget = interval(FORGET_EVERY);
        forget.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(request) = self.requests.next() => self.take(request).await,
                Some(event) = self.link.recv() => if self.site.means().outlet.take(&event) {
                    self.site.tell_again().await;
                },
                _ = forget.tick() => self.site.forget_old().await,
            }
        }
        if stops_instances && !self.site.stop_all("stopped with its provisioner").await {
            tracing::error!("not all instances ended in time; what is left is ended at the next start");
        }
        if timeout(LAST_FLUSH, self.site.means().outlet.client().flush()).await.is_err() {
            tracing::warn!("the last reports could not be sent");
        }
    }

    async fn take(&mut self, request: Message) {
        let operation = request.subject.rsplit('.').next().unwrap_or_default();
        let answer = match operation {
            "provision" => match Provision::parse(&request.payload) {
                Ok(parsed) => Ok(self.site.provision(&parsed).await.to_json()),
                Err(malformed) => Err(malformed),
            },
            "terminate" => match Terminate::parse(&request.payload) {
                Ok(parsed) => Ok(self.site.terminate(&parsed).await.to_json()),
                Err(malformed) => Err(malformed),
            },
            "dump" => match Dump::parse(&request.payload).and_then(bounded) {
                Ok(parsed) => Ok(self.site.dump(&parsed).await.to_json()),
                Err(malformed) => Err(malformed),
            },
            "inventory" => match Inventory::parse(&request.payload) {
                Ok(parsed) => Ok(self.site.inventory(&parsed).await.to_json()),
                Err(malformed) => Err(malformed),
            },
            _ => Err(Malformed::new(MalformedKind::Value, "no such operation; expected provision, terminate, dump or inventory")),
        };
        if let Err(malformed) = &answer {
            self.ledger.note(&request.subject, malformed);
        }
        self.reply(&request, answer).await;
    }

    async fn reply(&self, request: &Message, answer: Result<Vec<u8>, Malformed>) {
        let Some(subject) = &request.reply else { return };
        let outlet = &self.site.means().outlet;
        let sent = match answer {
            Ok(answer) => {
                outlet.send(subject, answer).await;
                return;
            }
            Err(malformed) => {
                let receipt = Receipt { accepted: Vec::new(), refused: named_in(&request.payload, &malformed) };
                let payload = Bytes::from(receipt.to_json());
                outlet.client().publish_with_headers(subject.clone(), error_headers(&malformed), payload).await
            }
        };
        if let Err(error) = sent {
            tracing::warn!(%error, "could not answer");
        }
    }
}

/// A dump may ask for as many instances as a launch may name.
fn bounded(dump: Dump) -> Result<Dump, Malformed> {
    let count = dump.instances.len();
    if count > Provision::MAX_INSTANCES {
        let text = format!("{count} instances in one request; at most {}", Provision::MAX_INSTANCES);
        return Err(Malformed::new(MalformedKind::Value, text));
    }
    Ok(dump)
}

/// How services of NATS say that they could not.
fn error_headers(malformed: &Malformed) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Service-Error-Code", "400");
    // A header is a line.
    let line: String = malformed.reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
    headers.insert("Nats-Service-Error", line.as_str());
    headers
}

/// The instances that a malformed request names all the same, each refused.
fn named_in(payload: &[u8], malformed: &Malformed) -> Vec<Refused> {
    let Ok(request) = serde_json::from_slice::<serde_json::Value>(payload) else { return Vec::new() };
    let instances = request.get("instances").and_then(|list| list.as_array()).map(Vec::as_slice).unwrap_or_default();
    let ids = instances.iter().filter_map(|instance| instance.get("node_id")?.as_str()?.parse::<InstanceId>().ok());
    let refused = |node_id| Refused { node_id, kind: "invalid".to_owned(), reason: malformed.reason.chars().take(500).collect() };
    ids.take(Provision::MAX_INSTANCES).map(refused).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn instances_that_a_malformed_request_names_are_refused_by_name() {
        let malformed = Malformed::new(MalformedKind::Json, "missing field `epoch`");
        let refused = named_in(br#"{"instances": [{"node_id": "i1"}, {"node_id": "*"}, {"node": 1}, 7]}"#, &malformed);
        assert_eq!(refused.len(), 1);
        assert_eq!((refused[0].node_id.as_str(), refused[0].kind.as_str()), ("i1", "invalid"));
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in prop::collection::vec(any::<u8>(), 0..256), reason in ".*") {
            let malformed = Malformed::new(MalformedKind::Json, reason);
            let _ = (named_in(&payload, &malformed), error_headers(&malformed));
        }
    }
}
