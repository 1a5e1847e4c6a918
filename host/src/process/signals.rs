//! How a service of ours is told to stop.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled when this process gets SIGTERM or SIGINT. Must be called within the runtime.
///
/// From then on neither signal ends the process by itself: whoever holds the token must.
///
/// # Errors
/// When the signals can't be caught.
pub fn asked_to_stop() -> io::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        let name = tokio::select! { _ = terminate.recv() => "SIGTERM", _ = interrupt.recv() => "SIGINT" };
        tracing::info!(signal = name, "asked to stop");
        cancelled.cancel();
    });
    Ok(token)
}
