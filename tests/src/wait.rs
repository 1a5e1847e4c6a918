//! Waiting for something to become true: the condition is looked at again and again, and a deadline bounds it. Tests pause here, and where
//! processes are ended that can't be waited for, and nowhere else.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two looks: short beside anything waited for, long enough to leave the processor to the processes that are waited for.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until `condition` holds.
///
/// # Errors
/// When it does not within `deadline`; the error says `what` was awaited.
pub async fn eventually(what: &str, deadline: Duration, mut condition: impl AsyncFnMut() -> bool) -> Result<()> {
    eventually_some(what, deadline, async || condition().await.then_some(())).await
}

/// Waits until `look` finds something, and gives it back.
///
/// # Errors
/// When it does not within `deadline`, or a single look takes longer than that; the error says `what` was awaited.
pub async fn eventually_some<T>(what: &str, deadline: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        match tokio::time::timeout(end.saturating_duration_since(Instant::now()), look()).await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) if Instant::now() < end => tokio::time::sleep(PAUSE).await,
            Ok(None) | Err(_) => bail!("waited {deadline:?} in vain: {what}"),
        }
    }
}
