//! What the system says of a thread of this process, and is told of it. Elsewhere than on Linux nothing: priorities are those of a whole
//! process.

use std::time::Duration;

/// What a thread is left of the processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// What nobody else wants. A processor that is at such a thread counts as free: whoever wakes up has it at once. A thread that is only
    /// at the lowest niceness keeps it from them for some milliseconds, and then again.
    Rest,
    /// A sixtieth of the share of everything else, wanted or not: what takes 40 ms has it within three seconds.
    Little,
}

/// What a thread has had since it began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    /// The time that it was on a processor.
    pub(super) had: Duration,
    /// The time that it would have gone on, and had to wait for one.
    pub(super) waited: Duration,
}

#[cfg(target_os = "linux")]
pub(super) use self::linux::*;
#[cfg(not(target_os = "linux"))]
pub(super) use self::nothing::*;

#[cfg(target_os = "linux")]
mod linux {
    use std::io;

    use rustix::process::{getpriority_process, setpriority_process};

    use super::*;

    /// Names a thread to the system, as long as it runs.
    pub(in crate::runner) type Id = rustix::thread::Pid;

    pub(in crate::runner) fn this_thread() -> Id {
        rustix::thread::gettid()
    }

    /// Nothing where the system does not tell.
    pub(in crate::runner) fn times(id: &Id) -> Option<Times> {
        let told = std::fs::read_to_string(format!("/proc/self/task/{}/schedstat", id.as_raw_pid())).ok()?;
        let mut nanos = told.split_ascii_whitespace().map_while(|number| number.parse().ok()).map(Duration::from_nanos);
        Some(Times { had: nanos.next()?, waited: nanos.next()? })
    }

    /// What this thread has had of the processors since it began, to the microsecond.
    pub(in crate::runner) fn had() -> Option<Duration> {
        Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime)).ok()
    }

    /// Leaves a thread this share, and no more than that as long as it runs: taking it back would need a privilege.
    pub(in crate::runner) fn lower(id: &Id, share: Share) {
        let lowered = match share {
            // Where it is not allowed, the next best.
            Share::Rest => idle(id).or_else(|_| nice(id)),
            Share::Little => nice(id),
        };
        if let Err(error) = lowered {
            static ONCE: std::sync::Once = std::sync::Once::new();
            ONCE.call_once(|| tracing::warn!(%error, "long calls of engines go on at the priority of everything else"));
        }
    }

    const LOWEST: i32 = 19;

    fn nice(id: &Id) -> io::Result<()> {
        match getpriority_process(Some(*id)) {
            // So may this whole process be.
            Ok(LOWEST) => Ok(()),
            _ => Ok(setpriority_process(Some(*id), LOWEST)?),
        }
    }

    #[allow(unsafe_code, reason = "no crate that is well kept has a safe function for it")]
    fn idle(id: &Id) -> io::Result<()> {
        let priority: libc::c_int = 0;
        // SAFETY: the kernel reads one number from where the pointer says, while it is there, and changes nothing in this process's memory. By
        // its number, since one libc offers nothing but a failure under the call's name.
        let done = unsafe { libc::syscall(libc::SYS_sched_setscheduler, id.as_raw_pid(), libc::SCHED_IDLE, &raw const priority) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// What this thread was left; nothing if it has the usual.
    #[cfg(test)]
    #[allow(unsafe_code, reason = "as above")]
    pub(in crate::runner) fn left() -> Option<Share> {
        // SAFETY: nothing is handed over.
        let policy = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
        match (policy == libc::c_long::from(libc::SCHED_IDLE), getpriority_process(None)) {
            (true, _) => Some(Share::Rest),
            (false, Ok(LOWEST)) => Some(Share::Little),
            _ => None,
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod nothing {
    use super::*;

    pub(in crate::runner) type Id = ();

    pub(in crate::runner) fn this_thread() -> Id {}

    pub(in crate::runner) fn times(_: &Id) -> Option<Times> {
        None
    }

    pub(in crate::runner) fn had() -> Option<Duration> {
        None
    }

    pub(in crate::runner) fn lower(_: &Id, _: Share) {}
}
