//! Three servers that replicate to each other.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::jetstream::{self, stream};

use super::{NatsOptions, NatsServer, PORT_ATTEMPTS, free_port};
use crate::wait::{eventually, eventually_some};

/// Electing a leader takes up to ten seconds after a kill, and more on a machine that builds something meanwhile.
const ELECTED: Duration = Duration::from_secs(60);

/// Servers that form one JetStream cluster.
#[derive(Debug)]
pub struct NatsCluster {
    nodes: Vec<NatsServer>,
}

impl NatsCluster {
    /// Starts `size` plain servers and waits until a stream with as many replicas can be made.
    ///
    /// # Errors
    /// When the program is missing, or no leader is elected.
    pub async fn start(size: usize) -> Result<Self> {
        Self::start_with(size, &NatsOptions::default()).await
    }

    /// As [`start`](Self::start), with servers that differ from plain ones.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(size: usize, options: &NatsOptions) -> Result<Self> {
        let mut attempt = 1;
        loop {
            let mut cluster = Self::prepare(size, options)?;
            match cluster.form().await {
                Ok(()) => return Ok(cluster),
                Err(_) if attempt < PORT_ATTEMPTS && cluster.nodes.iter().any(NatsServer::port_was_taken) => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// The addresses of all servers, separated by commas.
    pub fn url(&self) -> String {
        self.nodes.iter().map(NatsServer::url).collect::<Vec<_>>().join(",")
    }

    /// How many servers there are, running or not.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// One of the servers.
    pub fn node(&mut self, index: usize) -> &mut NatsServer {
        &mut self.nodes[index]
    }

    /// A connection to whichever server answers.
    ///
    /// # Errors
    /// When none does.
    pub async fn client(&self) -> Result<async_nats::Client> {
        let running = self.nodes.iter().filter(|node| node.process.is_some());
        let addresses = running.map(|node| node.url().parse()).collect::<Result<Vec<async_nats::ServerAddr>, _>>()?;
        async_nats::connect(addresses).await.context("connecting to the cluster")
    }

    /// Ends one server as a crash would.
    pub fn kill(&mut self, index: usize) {
        self.nodes[index].kill();
    }

    /// Starts one server again, and waits until JetStream answers there.
    ///
    /// # Errors
    /// When it does not become ready, which takes a majority.
    pub async fn restart(&mut self, index: usize) -> Result<()> {
        self.nodes[index].restart().await
    }

    /// Ends all servers as a power cut would, and starts them again.
    ///
    /// # Errors
    /// When they don't find together.
    pub async fn crash_and_restart_all(&mut self) -> Result<()> {
        self.nodes.iter_mut().for_each(NatsServer::kill);
        self.form().await
    }

    /// The server that leads a stream. Waits until there is one.
    ///
    /// # Errors
    /// When there is none after a minute.
    pub async fn leader_of(&self, stream: &str) -> Result<usize> {
        let jetstream = short_of_patience(self.client().await?);
        let what = format!("a leader of stream {stream}");
        eventually_some(&what, ELECTED, async || {
            let info = jetstream.get_stream(stream).await.ok()?.cached_info().clone();
            let leader = info.cluster?.leader?;
            (0..self.nodes.len()).find(|index| node_name(*index) == leader && self.nodes[*index].process.is_some())
        })
        .await
    }

    /// Kills the server that leads a stream, and says which it was.
    ///
    /// # Errors
    /// When the stream has no leader.
    pub async fn kill_leader_of(&mut self, stream: &str) -> Result<usize> {
        let leader = self.leader_of(stream).await?;
        self.kill(leader);
        Ok(leader)
    }

    /// Waits until every replica of a stream is online and has caught up, so that the next kill leaves a majority that knows everything.
    ///
    /// # Errors
    /// When that takes longer than a minute.
    pub async fn caught_up(&self, stream: &str) -> Result<()> {
        let jetstream = short_of_patience(self.client().await?);
        let what = format!("all replicas of stream {stream} are current");
        eventually(&what, ELECTED, async || {
            let Ok(stream) = jetstream.get_stream(stream).await else { return false };
            let Some(cluster) = &stream.cached_info().cluster else { return false };
            cluster.leader.is_some() && cluster.replicas.iter().all(|replica| replica.current && !replica.offline)
        })
        .await
    }

    fn prepare(size: usize, options: &NatsOptions) -> Result<Self> {
        ensure!(size > 1, "a cluster of {size} is none");
        let route_ports = (0..size).map(|_| free_port()).collect::<Result<Vec<_>>>()?;
        let routes = route_ports.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect::<Vec<_>>().join(", ");
        let node = |(index, route_port): (usize, &u16)| {
            let cluster = format!("cluster {{\n name: tests\n listen: \"127.0.0.1:{route_port}\"\n routes: [{routes}]\n}}");
            NatsServer::prepare(&node_name(index), free_port()?, options, &cluster)
        };
        Ok(Self { nodes: route_ports.iter().enumerate().map(node).collect::<Result<_>>()? })
    }

    /// Starts every server, and waits until they work together.
    async fn form(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            node.relaunch()?;
        }
        for node in &mut self.nodes {
            node.ready().await?;
        }
        // An elected leader does not yet know that the others have disks to offer; being able to place a stream says it all.
        let jetstream = short_of_patience(self.client().await?);
        let config = stream::Config {
            name: "HARNESS_READY".to_owned(),
            subjects: vec!["harness.ready".to_owned()],
            num_replicas: self.nodes.len(),
            storage: stream::StorageType::Memory,
            ..Default::default()
        };
        eventually("the cluster places a stream", ELECTED, async || jetstream.create_stream(config.clone()).await.is_ok()).await?;
        eventually("the cluster removes a stream", ELECTED, async || jetstream.delete_stream(&config.name).await.is_ok()).await
    }
}

fn node_name(index: usize) -> String {
    format!("n{index}")
}

/// Asks again soon, rather than waiting long for an answer that will not come.
fn short_of_patience(client: async_nats::Client) -> jetstream::Context {
    let mut jetstream = jetstream::new(client);
    jetstream.set_timeout(Duration::from_secs(2));
    jetstream
}
