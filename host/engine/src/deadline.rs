//! The deadline of a call, and who is to blame when it strikes.
//!
//! A call that had the processor for as long as it may run has not met a machine that is busy with other things: it wants more work than its
//! fuel says, with instructions that take many times as long as others. So the time that its own thread had is looked at: when the clock first
//! ticks in the call, and when the deadline strikes. A call that is shorter than a tick never asks the system for the time.

use std::time::Duration;

use pilothouse_core::cycle::FaultKind;
use rustix::time::{ClockId, clock_gettime};
use wasmtime::UpdateDeadline;

/// Of the time that it may run, in hundredths: who had the processor for so much of it, had it all the time. The rest is what the clock is
/// inexact by, and what the system takes for itself.
const ALL_THE_TIME: u32 = 90;

/// How far a call is on the way to its deadline.
#[derive(Debug)]
pub(crate) struct Deadline {
    ticks: u64,
    /// What the thread had used of the processor at the first tick.
    begun: Option<Duration>,
    /// What it has used from then until the deadline struck.
    used: Option<Duration>,
}

impl Deadline {
    /// Strikes so many ticks after the first one.
    pub(crate) fn new(ticks: u64) -> Self {
        Self { ticks, begun: None, used: None }
    }

    /// A tick that was waited for: the first one, or the deadline.
    pub(crate) fn tick(&mut self) -> UpdateDeadline {
        let now = processor_time();
        match self.begun {
            None => {
                self.begun = Some(now);
                UpdateDeadline::Continue(self.ticks)
            }
            Some(begun) => {
                self.used = Some(now.saturating_sub(begun));
                UpdateDeadline::Interrupt
            }
        }
    }

    /// What the call had of the processor when its deadline struck.
    pub(crate) fn used(&self) -> Duration {
        self.used.unwrap_or_default()
    }
}

/// What comes of a call that its deadline ended, by how long it had the processor.
pub(crate) fn struck(may: Duration, used: Duration) -> (FaultKind, String) {
    if used >= may * ALL_THE_TIME / 100 {
        (FaultKind::Processor, format!("used the processor for {} ms, as long as a call may run", used.as_millis()))
    } else {
        (FaultKind::Deadline, format!("still ran after {} ms", may.as_millis()))
    }
}

/// What this thread has had of the processor since it began.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const MAY: Duration = Duration::from_secs(3);

    #[test]
    fn who_had_the_processor_all_the_time_is_to_blame_and_who_waited_for_it_is_not() {
        let used = |millis| struck(MAY, Duration::from_millis(millis));
        assert_eq!(used(3009), (FaultKind::Processor, "used the processor for 3009 ms, as long as a call may run".to_owned()));
        assert_eq!(used(2700).0, FaultKind::Processor);
        assert_eq!(used(2699), (FaultKind::Deadline, "still ran after 3000 ms".to_owned()));
        assert_eq!(used(0).0, FaultKind::Deadline);
    }

    #[test]
    fn the_first_tick_begins_and_the_second_ends() {
        let mut deadline = Deadline::new(7);
        assert!(matches!(deadline.tick(), UpdateDeadline::Continue(7)));
        assert_eq!(deadline.used(), Duration::ZERO);
        assert!(matches!(deadline.tick(), UpdateDeadline::Interrupt));
    }

    #[test]
    fn only_work_of_this_thread_counts() {
        let (time, begun) = (Instant::now(), processor_time());
        while processor_time() - begun < Duration::from_millis(5) {
            std::hint::spin_loop();
        }
        assert!(time.elapsed() >= Duration::from_millis(5), "no thread has more of the processor than there is time");
        let begun = processor_time();
        let other = std::thread::spawn(|| {
            let begun = processor_time();
            while processor_time() - begun < Duration::from_millis(50) {
                std::hint::spin_loop();
            }
        });
        other.join().expect("it ends");
        assert!(processor_time() - begun < Duration::from_millis(50), "what another thread does is not counted");
    }
}
