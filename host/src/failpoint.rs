//! Named points at which a test can have the process die as by `kill -9`. Compiled in only with the feature `failpoints`.
//!
//! `PILOTHOUSE_FAILPOINT=NAME` (or `NAME:N` for the N-th time) names the point; `PILOTHOUSE_FAILPOINT_MARK=FILE` is a file that is written
//! just before the death, so that a test can show that it died there and nowhere else. While that file exists the point is spent.

use pilothouse_core::record::{Change, Event, Record};

/// Whether anything is to be done at failpoints in this process.
pub(crate) const COMPILED_IN: bool = cfg!(feature = "failpoints");

/// What a record leads to, as the last part of a failpoint's name: `launch`, `terminate`, the name of what somebody asked for, `removed`, or
/// nothing.
pub(crate) fn kind(record: &Record) -> Option<&'static str> {
    record.events.iter().find_map(|event| match event {
        Event::Decided(decision) if decision.dry_run => None,
        Event::Decided(decision) if decision.launches.iter().any(|launch| !launch.instances.is_empty()) => Some("launch"),
        Event::Decided(decision) if decision.terminations.iter().any(|it| !it.accepted.is_empty()) => Some("terminate"),
        Event::Configured(configured) => Some(asked_for(&configured.change)),
        Event::Removed => Some("removed"),
        Event::Scheduled(_) => Some("scheduled"),
        Event::Swapped(_) => Some("swapped"),
        _ => None,
    })
}

/// Exhaustive, so that a new kind of change gets points of its own.
const fn asked_for(change: &Change) -> &'static str {
    match change {
        Change::Added { .. } => "add",
        Change::Reconfigured { .. } => "reconfigure",
        Change::Paused(true) => "pause",
        Change::Paused(false) => "resume",
        Change::DryRun(true) => "dry-run",
        Change::DryRun(false) => "dry-run-off",
        Change::Shadowed(Some(_)) => "shadow",
        Change::Shadowed(None) => "shadow-off",
        Change::Retried => "retry",
        Change::BrakeReleased => "release-brake",
        Change::Removing => "remove",
        Change::Abandoned => "abandon",
        Change::Subscribed(_) => "subscribe",
        Change::Unsubscribed { .. } => "unsubscribe",
        Change::Killed { .. } => "kill",
        Change::Protected { on: true, .. } => "protect",
        Change::Protected { on: false, .. } => "unprotect",
        Change::Adopted(_) => "adopt",
        Change::Nothing => "nothing",
    }
}

/// Dies here, if this is the point that a test has named.
#[cfg(feature = "failpoints")]
pub(crate) fn reach(point: &str, kind: &str) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static REACHED: AtomicU32 = AtomicU32::new(0);
    let Ok(wanted) = std::env::var("PILOTHOUSE_FAILPOINT") else { return };
    let (name, nth) = match wanted.rsplit_once(':') {
        Some((name, nth)) => (name, nth.parse().unwrap_or(1)),
        None => (wanted.as_str(), 1),
    };
    if name != format!("{point}.{kind}") || REACHED.fetch_add(1, Ordering::SeqCst) + 1 != nth {
        return;
    }
    let Some(mark) = std::env::var_os("PILOTHOUSE_FAILPOINT_MARK").map(std::path::PathBuf::from) else { return };
    if mark.exists() {
        return;
    }
    // If it can't be written the test sees that it is missing.
    let _ = std::fs::write(&mark, name);
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    // The signal may take a moment; nothing must happen until then.
    loop {
        std::thread::park();
    }
}

/// Nothing: failpoints are not compiled in.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn reach(_point: &str, _kind: &str) {}

/// By how much a test has this host's clock be wrong: `PILOTHOUSE_CLOCK_AHEAD`, in milliseconds.
#[cfg(feature = "failpoints")]
pub(crate) fn clock_offset() -> pilothouse_core::time::Millis {
    let ahead = std::env::var("PILOTHOUSE_CLOCK_AHEAD").ok().and_then(|ahead| ahead.parse().ok());
    pilothouse_core::time::Millis::new(ahead.unwrap_or(0))
}

/// Nothing: failpoints are not compiled in.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn clock_offset() -> pilothouse_core::time::Millis {
    pilothouse_core::time::Millis::ZERO
}
