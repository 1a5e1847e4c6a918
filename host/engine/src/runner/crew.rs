//! The threads of a runner, and the watch over them: who is long at one job leaves the pool, and somebody else takes the place at once.
//!
//! A job that computes for a second has the same right to a processor as those that take twenty microseconds, and as everything else in
//! this process, which is late then. So the priority of its thread is lowered. It can't be raised again without a privilege for which a
//! host has no other use: the thread ends with its job.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use std::{io, mem};

use crossbeam_channel::Receiver;

use super::{Count, Job, priority};

/// The stack of a thread: the largest that limits allow a guest, and as much again and more for the host around it.
const STACK_BYTES: usize = 4 << 20;
/// How often the watch looks while there are jobs.
const LOOK: Duration = Duration::from_millis(4);
/// A job is long when its thread has had so much of the processor after the watch has seen it twice: after some 8 ms in all. Engines take
/// that long when thousands of instances have ended at once; those that do no good take a second.
const LONG: Duration = Duration::from_millis(3);
/// By the clock on the wall it is long after this, whatever its thread had of the processor: then it waits for something, or the machine is
/// full.
const LONG_BY_THE_CLOCK: Duration = Duration::from_millis(50);
/// The niceness of a long job: a sixtieth of the share of everything else. What takes 40 ms, as engines in interpreted languages may, ends within
/// its deadline all the same, on a machine that is full.
const LONG_NICENESS: i32 = 19;

/// At no job.
const IDLE: u64 = 0;
/// At a job that is the last one of its thread. Everything else is the number of a job, from 1.
const LAST: u64 = u64::MAX;

/// The threads of a runner.
pub(super) struct Crew {
    queue: Receiver<Job>,
    count: Arc<Count>,
    /// As many are in the pool,
    threads: usize,
    /// and at most as many have left it and still run their last job.
    most_slow: usize,
    members: Mutex<Members>,
    /// The thread that looks after the others.
    watch: OnceLock<Thread>,
    /// Whether it waits until there is a job.
    asleep: AtomicBool,
}

#[derive(Default)]
struct Members {
    pool: Vec<Member>,
    slow: Vec<Member>,
    /// How many there ever were.
    hired: u64,
    /// Whether there will never be jobs again.
    closed: bool,
}

/// A thread, as the watch knows it.
struct Member {
    own: Arc<Own>,
    seen: Seen,
}

/// What a thread tells of itself.
struct Own {
    at: AtomicU64,
    id: OnceLock<priority::Id>,
}

/// What the watch saw last of a thread.
#[derive(Clone, Copy, Debug)]
enum Seen {
    Idle,
    /// A job, for the first time.
    Job {
        number: u64,
        since: Instant,
    },
    /// The same job again, when its thread had had so much of the processor; nothing where the system does not tell.
    Again {
        number: u64,
        since: Instant,
        had: Option<Duration>,
    },
    /// A long job.
    Long,
}

impl Crew {
    /// Starts the threads.
    pub(super) fn start(queue: Receiver<Job>, count: Arc<Count>, threads: usize, most_slow: usize) -> io::Result<()> {
        let (members, watch, asleep) = (Mutex::default(), OnceLock::new(), AtomicBool::new(false));
        let crew = Arc::new(Self { queue, count, threads, most_slow, members, watch, asleep });
        let mut members = crew.members();
        for _ in 0..threads {
            crew.hire(&mut members)?;
        }
        drop(members);
        thread::Builder::new().name("engine-watch".to_owned()).spawn(move || crew.watch()).map(drop)
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a thread of the pool. Not to be done by one whose priority was lowered: it would pass that on.
    fn hire(self: &Arc<Self>, members: &mut Members) -> io::Result<()> {
        let own = Arc::new(Own { at: AtomicU64::new(IDLE), id: OnceLock::new() });
        let (crew, works) = (Arc::clone(self), Arc::clone(&own));
        let name = format!("engine-{}", members.hired);
        thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(move || crew.work(&works))?;
        members.hired += 1;
        members.pool.push(Member { own, seen: Seen::Idle });
        Ok(())
    }

    /// Takes jobs as long as somebody may queue any. As long as there are some, no thread is put to sleep or woken for the next one.
    fn work(&self, own: &Arc<Own>) {
        // Nobody else sets it.
        let _ = own.id.set(priority::this_thread());
        let mut number = IDLE;
        let closed = loop {
            let Ok(job) = self.queue.recv() else { break true };
            number += 1;
            // In one order for all: the watch sees the job before it falls asleep, or is seen asleep here.
            own.at.store(number, Ordering::SeqCst);
            if self.asleep.load(Ordering::SeqCst) {
                self.wake();
            }
            job(&self.count);
            if own.at.swap(IDLE, Ordering::AcqRel) == LAST {
                break false;
            }
        };
        // The watch has the same lock while it does anything to a thread: none that is gone.
        let mut members = self.members();
        members.closed |= closed;
        members.pool.retain(|member| !Arc::ptr_eq(&member.own, own));
        members.slow.retain(|member| !Arc::ptr_eq(&member.own, own));
        self.count.slow.store(members.slow.len(), Ordering::Release);
        drop(members);
        self.wake();
    }

    fn wake(&self) {
        if let Some(watch) = self.watch.get() {
            watch.unpark();
        }
    }

    /// Looks after the threads until the last has ended.
    fn watch(self: &Arc<Self>) {
        // Before it first sleeps, so that it can be woken.
        let _ = self.watch.set(thread::current());
        let mut hired = true;
        loop {
            let mut members = self.members();
            self.look(&mut members);
            // Before anybody is hired: who is served by them finds the others counted.
            self.count.slow.store(members.slow.len(), Ordering::Release);
            let short = !members.closed && members.pool.len() < self.threads;
            if short && let Err(error) = self.hire_all(&mut members) {
                if mem::replace(&mut hired, false) {
                    tracing::warn!(%error, "no thread for engines can be started in the place of one that is long at a call: trying again");
                }
            } else {
                hired = true;
            }
            if members.closed && members.pool.is_empty() && members.slow.is_empty() {
                return;
            }
            self.asleep.store(true, Ordering::SeqCst);
            let nothing_to_do =
                hired && members.pool.iter().chain(&members.slow).all(|member| member.own.at.load(Ordering::SeqCst) == IDLE);
            drop(members);
            if nothing_to_do {
                thread::park();
                self.asleep.store(false, Ordering::SeqCst);
            } else {
                self.asleep.store(false, Ordering::SeqCst);
                thread::park_timeout(LOOK);
            }
        }
    }

    fn hire_all(self: &Arc<Self>, members: &mut Members) -> io::Result<()> {
        while members.pool.len() < self.threads {
            self.hire(members)?;
        }
        Ok(())
    }

    /// Looks at every thread once. Those that are long at their job leave the pool, as far as there is room beside it.
    fn look(&self, members: &mut Members) {
        let (now, Members { pool, slow, .. }) = (Instant::now(), members);
        slow.iter_mut().chain(&mut *pool).for_each(|member| member.look(now));
        let room = self.most_slow.saturating_sub(slow.len());
        slow.extend(pool.extract_if(.., |member| member.is_long()).take(room));
    }
}

impl Member {
    /// Looks at what the thread is at. Once it is long at it, that is its last job, at a low priority.
    fn look(&mut self, now: Instant) {
        let at = self.own.at.load(Ordering::SeqCst);
        let had = || self.own.id.get().and_then(priority::processor_time);
        let used = |before: Option<Duration>| Some(had()?.saturating_sub(before?));
        self.seen = match self.seen {
            Seen::Long => return,
            Seen::Job { number, since } if at == number => Seen::Again { number, since, had: had() },
            Seen::Again { number, since, had: before } if at == number => {
                let long = used(before).is_none_or(|used| used >= LONG) || now.duration_since(since) >= LONG_BY_THE_CLOCK;
                // It may have ended just now.
                if !long || self.own.at.compare_exchange(number, LAST, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                    return;
                }
                self.lower(LONG_NICENESS);
                Seen::Long
            }
            _ if at == IDLE => Seen::Idle,
            _ => Seen::Job { number: at, since: now },
        }
    }

    /// Whether its thread ends with the job that it is at.
    fn is_long(&self) -> bool {
        matches!(self.seen, Seen::Long)
    }

    fn lower(&self, niceness: i32) {
        if let Some(id) = self.own.id.get() {
            priority::lower(id, niceness);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, channel};

    use crate::runner::{Pending, Runner};

    use super::*;

    /// A job that waits until it is let go.
    fn held(runner: &Runner) -> (mpsc::Sender<()>, Pending<()>) {
        let (go, gone) = channel::<()>();
        (go, runner.run(move || gone.recv().unwrap_or_default()).expect("room"))
    }

    /// What a thread of this process is given by whoever started it.
    #[cfg(target_os = "linux")]
    fn niceness() -> i32 {
        rustix::process::getpriority_process(None).expect("a niceness")
    }

    /// Waits for what the watch does.
    fn until(come: impl Fn() -> bool) {
        let since = Instant::now();
        while !come() {
            assert!(since.elapsed() < Duration::from_secs(60), "it never comes");
            thread::yield_now();
        }
    }

    #[tokio::test]
    async fn short_jobs_have_their_threads_while_as_many_as_there_are_are_taken_by_long_ones() {
        let runner = Runner::start(2, 4, 16).expect("threads");
        let (going, held): (Vec<_>, Vec<_>) = (0..4).map(|_| held(&runner)).unzip();
        assert_eq!(runner.run(|| 7).expect("room").await, Ok(7), "all that there were are held");
        until(|| runner.slow() == 4);
        assert_eq!(runner.busy(), 4);
        drop(going);
        for held in held {
            assert_eq!(held.await, Ok(()));
        }
        until(|| (runner.busy(), runner.slow()) == (0, 0));
    }

    #[tokio::test]
    async fn only_so_many_leave_the_pool_and_who_comes_after_them_waits() {
        let runner = Runner::start(1, 1, 16).expect("threads");
        let (let_first, first) = held(&runner);
        until(|| runner.slow() == 1);
        let (let_second, second) = held(&runner);
        until(|| runner.busy() == 2);
        let (tell, told) = channel();
        let third = runner.run(move || tell.send(())).expect("room");
        // Long by any measure, and no longer than that.
        assert_eq!(told.recv_timeout(4 * LONG_BY_THE_CLOCK), Err(mpsc::RecvTimeoutError::Timeout), "the second one keeps the pool");
        assert_eq!((runner.busy(), runner.slow()), (2, 1));
        drop(let_first);
        assert_eq!(first.await, Ok(()));
        assert_eq!(told.recv(), Ok(()), "there is room for the second one beside the pool");
        assert!(third.await.is_ok_and(|told| told.is_ok()));
        assert_eq!((runner.busy(), runner.slow()), (1, 1));
        drop(let_second);
        assert_eq!(second.await, Ok(()));
        until(|| runner.slow() == 0);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn who_is_long_goes_on_at_a_low_priority_and_who_comes_next_does_not() {
        for most_slow in [0, 1] {
            let runner = Runner::start(1, most_slow, 16).expect("threads");
            let usual = niceness();
            let long = || {
                until(|| niceness() == LONG_NICENESS);
                priority::processor_time(&priority::this_thread()).expect("the system tells")
            };
            let had = runner.run(long).expect("room").await.expect("an answer");
            assert!(had >= LONG, "{had:?}");
            let next = runner.run(niceness).expect("room").await;
            assert_eq!(next, Ok(usual), "another thread, also where nobody may leave the pool");
        }
    }

    #[tokio::test]
    async fn short_jobs_never_change_their_thread() {
        let runner = Runner::start(1, 2, 16).expect("threads");
        let number = async || runner.run(|| thread::current().id()).expect("room").await.expect("an answer");
        let first = number().await;
        let since = Instant::now();
        while since.elapsed() < 2 * LONG_BY_THE_CLOCK {
            assert_eq!(number().await, first);
        }
    }

    #[tokio::test]
    async fn what_waits_when_the_runner_goes_is_done_although_all_threads_are_held() {
        let runner = Runner::start(1, 1, 16).expect("threads");
        let (going, held) = held(&runner);
        let waits = runner.run(|| 7).expect("room");
        let count = Arc::clone(&runner.count);
        drop(runner);
        assert_eq!(waits.await, Ok(7), "on the thread that came for the one that is held");
        drop(going);
        assert_eq!(held.await, Ok(()));
        until(|| Arc::strong_count(&count) == 1);
    }
}
