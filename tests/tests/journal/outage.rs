//! Servers are killed with appends in flight. What was acknowledged is there, once, in order; and nothing else is.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pilothouse::store::{JetStreamJournal, Journal, Scope};
use pilothouse_tests::nats::{NatsCluster, NatsServer};
use pilothouse_tests::wait::eventually;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::fixture::{Fixture, Served};
use crate::pen::{Pen, key, words};

/// Long enough for an election on a machine that has other things to do.
const DEADLINE: Duration = Duration::from_secs(90);

/// How many domains write at once.
const LANES: usize = 32;

/// Domains that are written without pause, each record a number.
struct Lanes {
    journal: JetStreamJournal,
    writing: JoinSet<Result<(usize, Vec<u64>)>>,
    stop: watch::Sender<bool>,
}

impl Lanes {
    fn start(journal: &JetStreamJournal) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut writing = JoinSet::new();
        for lane in 0..LANES {
            let (mut pen, stopped) = (Pen::fresh(journal, &domain(lane)), stopped.clone());
            writing.spawn(async move {
                let mut acknowledged = Vec::new();
                while !*stopped.borrow() {
                    let record = record(lane, acknowledged.len());
                    acknowledged.push(pen.write(record).await.with_context(|| format!("in lane {lane}"))?);
                }
                Ok((lane, acknowledged))
            });
        }
        Self { journal: journal.clone(), writing, stop }
    }

    /// Waits until so many more appends are committed, so that the next blow falls into the middle of something.
    async fn go_on_for(&mut self, more: u64) -> Result<()> {
        let enough = self.journal.health().counts().committed + more;
        tokio::select! {
            reached = eventually("appends go on", DEADLINE, async || self.journal.health().counts().committed >= enough) => reached,
            Some(lane) = self.writing.join_next() => lane?.and_then(|(lane, _)| bail!("lane {lane} stopped")),
        }
    }

    /// Ends the writing, and compares what was acknowledged with what is there.
    async fn compare(mut self) -> Result<()> {
        self.stop.send_replace(true);
        let mut loaded = self.journal.load(&Scope::All).await?;
        // Those in flight when the load began may be missing from it; so load again when all have ended.
        while let Some(lane) = self.writing.join_next().await {
            let (lane, acknowledged) = lane??;
            let key = key(&domain(lane));
            ensure!(loaded.take(&key)?.len() <= acknowledged.len(), "lane {lane} has records that nobody appended");
            let entries = self.journal.load(&Scope::Domain(key.clone())).await?.take(&key)?;
            let expected = (0..acknowledged.len()).map(|number| record(lane, number));
            ensure!(words(&entries).into_iter().eq(expected), "lane {lane} lost or doubled a record");
            ensure!(entries.iter().map(|entry| entry.sequence).eq(acknowledged), "lane {lane} was told other sequences");
        }
        let counts = self.journal.health().counts();
        ensure!(counts.repeats > 0, "no append was ever in doubt: this was no test");
        ensure!((counts.fenced, counts.full, counts.unsettled) == (0, 0, 0), "{counts:?}");
        Ok(())
    }
}

fn domain(lane: usize) -> String {
    format!("lanes/lane{lane}")
}

/// Records of the first lane are too large for one message.
fn record(lane: usize, number: usize) -> String {
    let padding = if lane == 0 { 600_000 } else { 0 };
    format!("{number}{}", " ".repeat(padding))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_with_appends_in_flight_loses_and_doubles_none() -> Result<()> {
    let mut server = NatsServer::start().await?;
    let mut lanes = Lanes::start(&Served::by(&server).writer().await?);
    for _ in 0..4 {
        lanes.go_on_for(300).await?;
        server.kill();
        server.restart().await?;
    }
    lanes.go_on_for(300).await?;
    lanes.compare().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_whose_leader_is_killed_with_appends_in_flight_loses_and_doubles_none() -> Result<()> {
    let mut cluster = NatsCluster::start(3).await?;
    let journal = Served::in_cluster(&cluster, 0).writer().await?;
    let mut lanes = Lanes::start(&journal);
    for _ in 0..2 {
        lanes.go_on_for(300).await?;
        let killed = cluster.kill_leader_of(journal.stream_name()).await?;
        lanes.go_on_for(300).await.context("with two servers of three")?;
        cluster.restart(killed).await?;
        cluster.caught_up(journal.stream_name()).await?;
    }
    cluster.crash_and_restart_all().await?;
    lanes.go_on_for(300).await.context("after all three were killed")?;
    lanes.compare().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_waits_for_the_server_to_come_back_and_shows_that_it_does() -> Result<()> {
    let mut server = NatsServer::start().await?;
    let journal = Served::by(&server).writer().await?;
    let mut pen = Pen::fresh(&journal, "ann/web");
    pen.write("before").await?;
    server.kill();

    let mut unsettled = journal.health().unsettled();
    let mut meanwhile = pen.clone();
    let append = tokio::spawn(async move { meanwhile.write("meanwhile").await });
    tokio::time::timeout(DEADLINE, unsettled.wait_for(|unsettled| *unsettled == 1)).await??;
    ensure!(!append.is_finished());
    server.restart().await?;
    append.await??;
    ensure!(*unsettled.borrow_and_update() == 0);
    ensure!(words(&pen.load().await?) == ["before", "meanwhile"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_begins_while_the_server_is_away_is_complete() -> Result<()> {
    let mut server = NatsServer::start().await?;
    let journal = Served::by(&server).writer().await?;
    let mut pen = Pen::fresh(&journal, "ann/web");
    for number in 0..20 {
        pen.write(number.to_string()).await?;
    }
    server.kill();
    let load = tokio::spawn(async move { journal.load(&Scope::All).await });
    server.restart().await?;
    ensure!(load.await??.take(&pen.key)?.len() == 20);
    Ok(())
}
