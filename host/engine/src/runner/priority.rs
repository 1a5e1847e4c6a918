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

    /// What a thread has had of the processors since it began. Nothing where the system does not tell.
    pub(in crate::runner) fn had_by(id: &Id) -> Option<Duration> {
        let told = told(id, "schedstat")?;
        let had = told.split(' ').next()?.parse().ok().map(Duration::from_nanos)?;
        // Some say nothing that way.
        (!had.is_zero()).then_some(had)
    }

    /// Whether a thread is on a processor or waits for one, and for nothing else.
    pub(in crate::runner) fn would_go_on(id: &Id) -> Option<bool> {
        // Its name comes first, in brackets, and may have more of them.
        Some(told(id, "stat")?.rsplit_once(") ")?.1.starts_with('R'))
    }

    fn told(id: &Id, file: &str) -> Option<String> {
        std::fs::read_to_string(format!("/proc/self/task/{}/{file}", id.as_raw_pid())).ok()
    }

    /// What this thread has had of the processors since it began, to the microsecond.
    pub(in crate::runner) fn had() -> Option<Duration> {
        Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime)).ok()
    }

    /// Leaves a thread this share, and no more than that as long as it runs: taking it back would need a privilege. Whether that was done.
    pub(in crate::runner) fn lower(id: &Id, share: Share) -> bool {
        let lowered = match share {
            // Where it is not allowed, the next best.
            Share::Rest => idle(id).or_else(|_| nice(id)),
            Share::Little => nice(id),
        };
        if let Err(error) = &lowered {
            static ONCE: std::sync::Once = std::sync::Once::new();
            ONCE.call_once(|| tracing::warn!(%error, "long calls of engines go on at the priority of everything else"));
        }
        lowered.is_ok()
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

    pub(in crate::runner) fn had_by(_: &Id) -> Option<Duration> {
        None
    }

    pub(in crate::runner) fn would_go_on(_: &Id) -> Option<bool> {
        None
    }

    pub(in crate::runner) fn had() -> Option<Duration> {
        None
    }

    pub(in crate::runner) fn lower(_: &Id, _: Share) -> bool {
        false
    }
}
