//! Where the contract is tried: writers of one journal, in memory or on servers.

use anyhow::{Context, Result};
use pilothouse::store::{Fault, JetStreamJournal, Journal, JournalOptions, MemoryJournal};
use pilothouse_core::name::Name;
use pilothouse_core::subject::Subjects;
use pilothouse_tests::nats::{NatsCluster, NatsServer};

use crate::link::Link;

pub(crate) trait Fixture {
    type Journal: Journal;

    /// Another writer of the same journal.
    async fn writer(&self) -> Result<Self::Journal>;

    /// Another writer, whose first append lands and is acknowledged, but the acknowledgement never arrives.
    async fn writer_that_loses_an_acknowledgement(&self) -> Result<Self::Journal>;

    /// A writer of another journal, which has so little room.
    async fn small(&self, bytes: u64) -> Result<Self::Journal>;
}

#[derive(Default)]
pub(crate) struct InMemory {
    journal: MemoryJournal,
}

impl Fixture for InMemory {
    type Journal = MemoryJournal;

    async fn writer(&self) -> Result<MemoryJournal> {
        Ok(self.journal.another_writer())
    }

    async fn writer_that_loses_an_acknowledgement(&self) -> Result<MemoryJournal> {
        let journal = self.journal.another_writer();
        journal.inject([Fault::AckLost]);
        Ok(journal)
    }

    async fn small(&self, bytes: u64) -> Result<MemoryJournal> {
        let journal = MemoryJournal::default();
        journal.set_capacity(usize::try_from(bytes)?);
        Ok(journal)
    }
}

/// On real servers. Each writer has a connection of its own.
pub(crate) struct Served {
    url: String,
    prefix: String,
    replicas: usize,
}

impl Served {
    pub(crate) fn by(server: &NatsServer) -> Self {
        Self { url: server.url(), prefix: "ph".to_owned(), replicas: 1 }
    }

    /// With streams that no other number has.
    pub(crate) fn in_cluster(cluster: &NatsCluster, number: usize) -> Self {
        Self { url: cluster.url(), prefix: format!("ph{number}"), replicas: 3 }
    }

    async fn open(&self, url: &str, prefix: &str, max_bytes: Option<u64>) -> Result<JetStreamJournal> {
        let addresses = url.split(',').map(str::parse).collect::<Result<Vec<async_nats::ServerAddr>, _>>()?;
        let client = async_nats::connect(addresses).await.context("connecting")?;
        let options = JournalOptions { replicas: self.replicas, max_bytes, ..Default::default() };
        Ok(JetStreamJournal::open(client, Subjects::new(&prefix.parse::<Name>()?), &options).await?)
    }
}

impl Fixture for Served {
    type Journal = JetStreamJournal;

    async fn writer(&self) -> Result<JetStreamJournal> {
        self.open(&self.url, &self.prefix, None).await
    }

    async fn writer_that_loses_an_acknowledgement(&self) -> Result<JetStreamJournal> {
        let first = self.url.split(',').next().unwrap_or_default();
        let link = Link::to(first, &format!("HPUB {}.v1.journal.", self.prefix)).await?;
        self.open(&link.url(), &self.prefix, None).await
    }

    async fn small(&self, bytes: u64) -> Result<JetStreamJournal> {
        self.open(&self.url, &format!("{}-small", self.prefix), Some(bytes)).await
    }
}
