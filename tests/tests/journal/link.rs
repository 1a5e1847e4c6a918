//! A connection to a server that breaks at the worst moment: after a message got through, before its acknowledgement did.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Listens for connections and passes them on to a server. It breaks one connection, once.
pub(crate) struct Link {
    port: u16,
}

impl Link {
    /// Breaks when the server answers the first message that begins with `trigger`.
    pub(crate) async fn to(url: &str, trigger: &str) -> Result<Self> {
        let server = url.strip_prefix("nats://").context("a URL of a server")?.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let trigger = trigger.to_owned();
        // Ends with the runtime of the test.
        tokio::spawn(async move {
            let broken = Arc::new(AtomicBool::new(false));
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                tokio::spawn(pass_on(client, server, trigger.clone(), Arc::clone(&broken)));
            }
        });
        Ok(Self { port })
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

async fn pass_on(client: TcpStream, server: TcpStream, trigger: String, broken: Arc<AtomicBool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (seen, triggered) = watch::channel(false);
    let up = async {
        let mut tail = Vec::new();
        copy(&mut from_client, &mut to_server, |bytes| {
            tail.extend_from_slice(bytes);
            if tail.windows(trigger.len()).any(|window| window == trigger.as_bytes()) && !broken.load(Ordering::SeqCst) {
                seen.send_replace(true);
            }
            tail.drain(..tail.len().saturating_sub(trigger.len()));
            true
        })
        .await;
    };
    // What the server says next is the acknowledgement: it goes nowhere, and both ends are closed.
    let down = copy(&mut from_server, &mut to_client, |_| !*triggered.borrow() || broken.swap(true, Ordering::SeqCst));
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

/// Copies until either end is closed, or `look` says to stop.
async fn copy(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin), mut look: impl FnMut(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if !look(&buffer[..count]) || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
