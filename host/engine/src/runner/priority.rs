//! What the system says of a thread of this process, and is told of it. Elsewhere than on Linux nothing: priorities are those of a whole
//! process.

use std::time::Duration;

/// Names a thread to the system, as long as it runs.
#[cfg(target_os = "linux")]
pub(super) type Id = rustix::thread::Pid;
#[cfg(not(target_os = "linux"))]
pub(super) type Id = ();

#[cfg(target_os = "linux")]
pub(super) fn this_thread() -> Id {
    rustix::thread::gettid()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn this_thread() -> Id {}

/// What a thread has had of the processor since it began. Nothing where the system does not tell.
#[cfg(target_os = "linux")]
pub(super) fn processor_time(id: &Id) -> Option<Duration> {
    let told = std::fs::read_to_string(format!("/proc/self/task/{}/schedstat", id.as_raw_pid())).ok()?;
    told.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn processor_time(_: &Id) -> Option<Duration> {
    None
}

/// Gives a thread this niceness, of 0 to 19. Lower than what it has it can't be again.
#[cfg(target_os = "linux")]
pub(super) fn lower(id: &Id, niceness: i32) {
    use rustix::process::{getpriority_process, setpriority_process};
    // This whole process may have a lower one.
    let lowered = match getpriority_process(Some(*id)) {
        Ok(now) if now >= niceness => Ok(()),
        _ => setpriority_process(Some(*id), niceness),
    };
    if let Err(error) = lowered {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| tracing::warn!(%error, "long calls of engines go on at the priority of everything else"));
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn lower(_: &Id, _: i32) {}
