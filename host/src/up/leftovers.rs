//! What a `pilothouse up` that was killed has left behind.
//!
//! Its children go on without it. They are ended before new ones are started; their instances are not: the new provisioner finds them
//! again and the new host goes on with them.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::timeout;

use super::folder::Folder;
use super::{nats_server, say};
use crate::process::{Handle, Signal};

/// How long nats-server has to stop by itself, and any of them to vanish when it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ends the children on record that still run.
pub(super) async fn end(folder: &Folder) -> anyhow::Result<()> {
    for (name, process) in folder.remembered().context("reading who runs here")? {
        if let Some(left) = Handle::adopt(&process).with_context(|| format!("looking for {name} (process {process})"))? {
            say(&format!("ending {name} (process {process}), left behind by a `pilothouse up` that was killed"));
            stop(&left, name == nats_server::NAME).await.with_context(|| format!("ending {name} (process {process})"))?;
        }
        folder.forget(&name);
    }
    Ok(())
}

/// A host and a provisioner are made to be killed, and a provisioner that is told to stop would end its instances.
async fn stop(left: &Handle, gently: bool) -> anyhow::Result<()> {
    if gently {
        left.signal(Signal::TERM)?;
        if let Ok(ended) = timeout(PATIENCE, left.ended()).await {
            return Ok(ended?);
        }
    }
    left.signal(Signal::KILL)?;
    match timeout(PATIENCE, left.ended()).await {
        Ok(ended) => Ok(ended?),
        Err(_) => bail!("it does not die"),
    }
}
