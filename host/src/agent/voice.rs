//! How the agent speaks: heartbeats, readings, and answers to probes.

use std::time::Duration;

use async_nats::{Client, Message};
use bytes::Bytes;
use pilothouse_core::id::InstanceId;
use pilothouse_core::message::Reading;
use tokio::time::Instant;

use super::crew::Crew;
use super::report;
use super::spec::Spec;
use crate::nats::client::LinkEvent;
use crate::nats::outlet::Outlet;

/// The series that every agent publishes: how many of its workers run.
const PROCESS_COUNT: &str = "process_count";

/// Says what there is to say while there is a link, and nothing while there is none: a heartbeat that comes minutes late is worse than
/// none.
#[derive(Debug)]
pub(super) struct Voice {
    outlet: Outlet,
    node_id: InstanceId,
    heartbeat_subject: String,
    sensor_subject: String,
    spoke: Option<Instant>,
}

impl Voice {
    pub(super) fn new(client: Client, spec: &Spec) -> Self {
        Self {
            outlet: Outlet::new(client),
            node_id: spec.node_id.clone(),
            heartbeat_subject: spec.heartbeat_subject.clone(),
            sensor_subject: spec.sensor_subject.clone(),
            spoke: None,
        }
    }

    /// Takes note of what happened to the link; says whether there is something to say again.
    pub(super) fn take(&self, event: &LinkEvent) -> bool {
        self.outlet.take(event)
    }

    /// The next moment that keeps a distance from the last heartbeat.
    pub(super) fn next_after(&self, pause: Duration) -> Instant {
        self.spoke.map_or_else(Instant::now, |spoke| spoke + pause)
    }

    /// Publishes a heartbeat.
    pub(super) async fn publish(&mut self, crew: &Crew) {
        self.spoke = Some(Instant::now());
        self.outlet.send(&self.heartbeat_subject, self.heartbeat(crew)).await;
    }

    /// Publishes how many workers run.
    pub(super) async fn measure(&self, crew: &Crew) {
        let reading = Reading { metric: PROCESS_COUNT.to_owned(), time: crate::clock::now(), value: crew.running() as f64 };
        self.outlet.send(&self.sensor_subject, reading.to_json(Some(self.node_id.as_str()))).await;
    }

    /// Answers one who asked. A probe without a reply subject gets the published heartbeat alone.
    pub(super) async fn answer(&self, probe: Message, crew: &Crew) {
        if let Some(reply) = probe.reply {
            self.outlet.send(&reply, self.heartbeat(crew)).await;
        }
    }

    fn heartbeat(&self, crew: &Crew) -> Bytes {
        report::heartbeat(crew.conditions()).to_json(self.node_id.as_str(), crate::clock::now()).into()
    }
}
