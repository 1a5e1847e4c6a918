//! What was said on a subject, recorded by the server itself: also what is said in the first moment after it comes back, when no client of
//! a test is there yet to hear it.

use anyhow::{Context, Result};
use async_nats::jetstream;

use crate::nats::NatsServer;

/// The stream that records.
const STREAM: &str = "TAPE";

/// Records everything on these subjects from now on. It survives restarts of the server.
///
/// # Errors
/// When the server does not make the recording.
pub async fn record(nats: &NatsServer, subjects: &[&str]) -> Result<()> {
    let subjects = subjects.iter().map(|subject| (*subject).to_owned()).collect();
    let config = jetstream::stream::Config { name: STREAM.to_owned(), subjects, ..Default::default() };
    jetstream::new(nats.client().await?).create_stream(config).await.map(drop).context("recording")
}

/// Everything recorded so far: subject and message, in order.
///
/// # Errors
/// When the server does not give it out.
pub async fn recorded(nats: &NatsServer) -> Result<Vec<(String, Vec<u8>)>> {
    let stream = jetstream::new(nats.client().await?).get_stream(STREAM).await.context("finding the recording")?;
    let state = &stream.cached_info().state;
    let mut all = Vec::new();
    for sequence in state.first_sequence..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await.context("reading the recording")?;
        all.push((message.subject.to_string(), message.payload.to_vec()));
    }
    Ok(all)
}
