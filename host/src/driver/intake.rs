//! What comes in on the data plane: parsed, checked, routed.

use std::sync::Arc;

use async_nats::{Client, Message, SubscribeError};
use futures::{FutureExt, StreamExt};
use pilothouse_core::id::InstanceId;
use pilothouse_core::intake::Input;
use pilothouse_core::message::{Heartbeat, Malformed, MalformedKind, Reading, StateReport};
use pilothouse_core::sensor::Scope;
use pilothouse_core::subject::{DataKind, Subjects};
use pilothouse_core::time::Timestamp;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::ownership::Ownership;
use super::router::{Mail, Router};
use crate::malformed::Ledger;

/// Takes in the data plane of one host.
pub(crate) struct Intake {
    pub(crate) subjects: Subjects,
    pub(crate) router: Arc<Router>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) ownership: Ownership,
    pub(crate) clock: Clock,
}

impl Intake {
    /// Subscribes to everything. A subscription outlives every loss of the connection.
    pub(crate) async fn start(self, client: &Client, stop: &CancellationToken) -> Result<(), SubscribeError> {
        let this = Arc::new(self);
        let subjects = &this.subjects;
        for subject in [
            subjects.all_data(DataKind::Heartbeat),
            subjects.all_data(DataKind::State),
            subjects.all_data(DataKind::Sensor),
            subjects.all_domain_sensors(),
        ] {
            let mut messages = client.subscribe(subject).await?;
            let (this, stop) = (Arc::clone(&this), stop.clone());
            tokio::spawn(async move {
                let taking = async {
                    while let Some(message) = messages.next().await {
                        // What is there already came at the same moment.
                        let now = this.clock.now();
                        this.take(&message, now);
                        while let Some(Some(message)) = messages.next().now_or_never() {
                            this.take(&message, now);
                        }
                    }
                };
                stop.run_until_cancelled(taking).await
            });
        }
        Ok(())
    }

    fn take(&self, message: &Message, now: Timestamp) {
        // A host that owns nothing hears everything and has an opinion on nothing.
        if !self.ownership.is_mine_at(now) {
            return;
        }
        if let Err(malformed) = self.route(&message.subject, &message.payload, now) {
            self.ledger.note(&message.subject, &malformed);
        }
    }

    fn route(&self, subject: &str, payload: &[u8], now: Timestamp) -> Result<(), Malformed> {
        if let Some((_, id)) = self.subjects.data_id(DataKind::Heartbeat, subject) {
            let heartbeat = Heartbeat::parse(id, payload, now)?;
            return self.deliver(id, |id| Mail::Input(Input::Heartbeat(id, heartbeat)));
        }
        if let Some((_, id)) = self.subjects.data_id(DataKind::State, subject) {
            let report = StateReport::parse(id, payload, now)?;
            return self.deliver(id, |id| Mail::Input(Input::Report(id, report)));
        }
        if let Some((_, id)) = self.subjects.data_id(DataKind::Sensor, subject) {
            let reading = Reading::parse(Some(id), payload, now)?;
            return self.deliver(id, |id| Mail::Reading(Scope::Instance(id), reading));
        }
        let Some((_, key)) = self.subjects.domain_sensor_key(subject) else {
            return Err(Malformed::new(MalformedKind::UnknownDomain, "the subject names no slot and domain"));
        };
        let reading = Reading::parse(None, payload, now)?;
        let unknown = || Malformed::new(MalformedKind::UnknownDomain, format!("no domain {key} here"));
        self.router.domain(&key).ok_or_else(unknown)?.offer(Mail::Reading(Scope::Domain, reading));
        Ok(())
    }

    fn deliver(&self, id: &str, mail: impl FnOnce(InstanceId) -> Mail) -> Result<(), Malformed> {
        if self.router.offer(id, mail) {
            return Ok(());
        }
        let id: InstanceId = id.parse().map_err(|error| Malformed::new(MalformedKind::ForeignId, format!("{error}")))?;
        Err(Malformed::new(MalformedKind::UnknownInstance, format!("no domain has an instance {id}")))
    }
}
