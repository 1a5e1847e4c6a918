//! The threads of a runner, and the watch over them: who is long at one job leaves the pool, and somebody else takes the place at once. A job
//! that is long by habit has a thread of its own from the start.
//!
//! A job that computes for a second has the same right to a processor as those that take twenty microseconds, and as everything else in
//! this process, which is late then. So its thread is left what nobody else wants. That can't be taken back without a privilege for which a
//! host has no other use: the thread ends with its job.
//!
//! Where all processors are busy all the time that would be nothing at all, and honest engines that take long would never come to an end.
//! So as soon as a long job is seen to starve, those that are found long from then on have a little share of their own.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use std::{io, mem};

use crossbeam_channel::Receiver;

use super::priority::{self, Share, Times};
use super::{Count, Job};

/// The stack of a thread: the largest that limits allow a guest, and as much again and more for the host around it.
const STACK_BYTES: usize = 4 << 20;
/// How often the watch looks while there are jobs.
const LOOK: Duration = Duration::from_millis(4);
/// A job is long when its thread has had so much of the processor after the watch has seen it twice: after some 8 ms in all. Engines take
/// that long when thousands of instances have ended at once; those that do no good take a second.
const LONG: Duration = Duration::from_millis(3);
/// A job that began as a long one has been short when its thread has had less than this in all.
const LONG_IN_ALL: Duration = Duration::from_millis(8);
/// By the clock on the wall it is long after this, whatever its thread had of the processor: then it waits for something, or the machine is
/// full. So it leaves the pool, and is left the usual share as long as it does not take much.
const LONG_BY_THE_CLOCK: Duration = Duration::from_millis(50);
/// A long job starves when it has waited for a processor for so long, and has had one for less than a twentieth of that.
const STARVES: Duration = Duration::from_millis(250);
/// How long nothing is expected to be left, after a job that starved.
const FULL: Duration = Duration::from_secs(60);

/// At no job.
const IDLE: u64 = 0;
/// At a job that is the last one of its thread. Everything else is the number of a job, from 1.
const LAST: u64 = u64::MAX;

/// The threads of a runner.
pub(super) struct Crew {
    queue: Receiver<Job>,
    /// Jobs that are long by habit.
    long: Receiver<Job>,
    count: Arc<Count>,
    /// As many are in the pool,
    threads: usize,
    /// and at most as many beside it, each at its last job.
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
    /// The machine is full, as far as is known: until then.
    full_until: Option<Instant>,
}

/// A thread, as the watch knows it.
struct Member {
    own: Arc<Own>,
    seen: Seen,
}

/// What a thread tells of itself, and is told.
pub(super) struct Own {
    at: AtomicU64,
    id: OnceLock<priority::Id>,
    /// It was left less than the usual.
    lowered: AtomicBool,
    /// From its start.
    was_long_before: bool,
}

impl Own {
    fn new(at: u64) -> Arc<Self> {
        let was_long_before = at == LAST;
        Arc::new(Self { at: AtomicU64::new(at), id: OnceLock::new(), lowered: AtomicBool::new(was_long_before), was_long_before })
    }

    /// Whether the job of this thread, which asks, has computed for long.
    pub(super) fn is_long(&self) -> bool {
        let enough = || priority::had().is_none_or(|had| had >= LONG_IN_ALL);
        self.lowered.load(Ordering::Acquire) && (!self.was_long_before || enough())
    }
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
    /// The same job again, when its thread had had so much of the processors; nothing where the system does not tell.
    Again {
        number: u64,
        since: Instant,
        before: Option<Times>,
    },
    /// A long job. Its thread had had so much before it computed for long; or, if it is left less than the usual for that, since then.
    Long {
        before: Option<Times>,
        left: Option<Share>,
    },
}

impl Crew {
    /// Starts the threads.
    pub(super) fn start(
        queue: Receiver<Job>,
        long: Receiver<Job>,
        count: Arc<Count>,
        threads: usize,
        most_slow: usize,
    ) -> io::Result<Arc<Self>> {
        let (members, watch, asleep) = (Mutex::default(), OnceLock::new(), AtomicBool::new(false));
        let crew = Arc::new(Self { queue, long, count, threads, most_slow, members, watch, asleep });
        let mut members = crew.members();
        for _ in 0..threads {
            crew.hire(&mut members)?;
        }
        drop(members);
        let watches = Arc::clone(&crew);
        let watch = thread::Builder::new().name("engine-watch".to_owned()).spawn(move || watches.watch())?;
        // Before there is any job, so that it can be woken for the first one.
        let _ = crew.watch.set(watch.thread().clone());
        Ok(crew)
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a thread of the pool.
    fn hire(self: &Arc<Self>, members: &mut Members) -> io::Result<()> {
        let own = Own::new(IDLE);
        let (crew, works) = (Arc::clone(self), Arc::clone(&own));
        Self::spawn(members, move || crew.work(&works))?;
        members.pool.push(Member { own, seen: Seen::Idle });
        Ok(())
    }

    /// Starts a thread for one job that is long by habit.
    fn hire_for_long(self: &Arc<Self>, members: &mut Members, share: Share) -> io::Result<()> {
        let own = Own::new(LAST);
        let (crew, works) = (Arc::clone(self), Arc::clone(&own));
        Self::spawn(members, move || crew.work_for_long(&works, share))?;
        members.slow.push(Member { own, seen: Seen::Long { before: Some(Times::default()), left: Some(share) } });
        Ok(())
    }

    /// Not to be done by a thread that was left less than the usual: it would pass that on.
    fn spawn(members: &mut Members, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let name = format!("engine-{}", members.hired);
        members.hired += 1;
        thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(work).map(drop)
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
            job(&self.count, own);
            if own.at.swap(IDLE, Ordering::AcqRel) == LAST {
                break false;
            }
        };
        self.leave(own, closed);
    }

    /// Takes one job that is long by habit.
    fn work_for_long(&self, own: &Arc<Own>, share: Share) {
        let id = priority::this_thread();
        let _ = own.id.set(id);
        // Taken before anything is given up, so that the watch starts no other thread for it. It may have got one already.
        if let Ok(job) = self.long.try_recv() {
            priority::lower(&id, share);
            job(&self.count, own);
        }
        self.leave(own, false);
    }

    /// The last that a thread does.
    fn leave(&self, own: &Arc<Own>, closed: bool) {
        // The watch has the same lock while it does anything to a thread: none that is gone.
        let mut members = self.members();
        members.closed |= closed;
        members.pool.retain(|member| !Arc::ptr_eq(&member.own, own));
        members.slow.retain(|member| !Arc::ptr_eq(&member.own, own));
        self.count.slow.store(members.slow.len(), Ordering::Release);
        drop(members);
        self.wake();
    }

    /// Has the watch look.
    pub(super) fn wake(&self) {
        if let Some(watch) = self.watch.get() {
            watch.unpark();
        }
    }

    /// Looks after the threads until the last has ended.
    fn watch(self: &Arc<Self>) {
        let mut hired = true;
        loop {
            let mut members = self.members();
            self.look(&mut members);
            // Before anybody is hired: who is served by them finds the others counted.
            self.count.slow.store(members.slow.len(), Ordering::Release);
            if let Err(error) = self.hire_all(&mut members) {
                if mem::replace(&mut hired, false) {
                    tracing::warn!(%error, "no thread for engines can be started beside those that are long at a call: trying again");
                }
            } else {
                hired = true;
            }
            if members.closed && members.pool.is_empty() && members.slow.is_empty() && self.long.is_empty() {
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
        while !members.closed && members.pool.len() < self.threads {
            self.hire(members)?;
        }
        let share = members.share(Instant::now());
        for _ in 0..self.long.len().min(self.most_slow.saturating_sub(members.slow.len())) {
            self.hire_for_long(members, share)?;
        }
        self.count.slow.store(members.slow.len(), Ordering::Release);
        Ok(())
    }

    /// Looks at every thread once. Those that are long at their job leave the pool, as far as there is room beside it.
    fn look(&self, members: &mut Members) {
        let now = Instant::now();
        if members.pool.iter().chain(&members.slow).any(Member::starves) {
            members.full_until = Some(now + FULL);
        }
        let share = members.share(now);
        let Members { pool, slow, .. } = members;
        slow.iter_mut().chain(&mut *pool).for_each(|member| member.look(share, now));
        let room = self.most_slow.saturating_sub(slow.len());
        slow.extend(pool.extract_if(.., |member| member.is_long()).take(room));
    }
}

impl Members {
    /// What is left to jobs that are found long.
    fn share(&self, now: Instant) -> Share {
        if self.full_until.is_some_and(|until| now < until) { Share::Little } else { Share::Rest }
    }
}

impl Member {
    /// Looks at what the thread is at. Once it is long at it, that is its last job; once it computes for long, it is left this share.
    fn look(&mut self, share: Share, now: Instant) {
        let at = self.own.at.load(Ordering::SeqCst);
        self.seen = match self.seen {
            Seen::Long { before, left: None } if self.computes(before) => {
                // First, so that whoever is lowered is known for it.
                self.own.lowered.store(true, Ordering::Release);
                if let Some(id) = self.own.id.get() {
                    priority::lower(id, share);
                }
                Seen::Long { before: self.times(), left: Some(share) }
            }
            Seen::Long { .. } => return,
            Seen::Job { number, since } if at == number => Seen::Again { number, since, before: self.times() },
            Seen::Again { number, since, before } if at == number => {
                let long = self.computes(before) || now.duration_since(since) >= LONG_BY_THE_CLOCK;
                // It may have ended just now.
                if !long || self.own.at.compare_exchange(number, LAST, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                    return;
                }
                self.seen = Seen::Long { before, left: None };
                return self.look(share, now);
            }
            _ if at == IDLE => Seen::Idle,
            _ => Seen::Job { number: at, since: now },
        }
    }

    /// Whether its thread has had much of the processors since then. Where the system does not tell, it has.
    fn computes(&self, before: Option<Times>) -> bool {
        self.times().zip(before).is_none_or(|(now, before)| now.had.saturating_sub(before.had) >= LONG)
    }

    fn times(&self) -> Option<Times> {
        self.own.id.get().and_then(priority::times)
    }

    /// Whether its thread ends with the job that it is at.
    fn is_long(&self) -> bool {
        matches!(self.seen, Seen::Long { .. })
    }

    /// Whether it is left what nobody else wants, and that is nothing.
    fn starves(&self) -> bool {
        let Seen::Long { before: Some(before), left: Some(Share::Rest) } = self.seen else { return false };
        self.times().is_some_and(|now| {
            let waited = now.waited.saturating_sub(before.waited);
            waited >= STARVES && now.had.saturating_sub(before.had) < waited / 20
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, channel};

    use crate::runner::{Habit, Pending, Runner};

    use super::*;

    /// A job that waits until it is let go.
    fn held(runner: &Runner) -> (mpsc::Sender<()>, Pending<()>) {
        let (go, gone) = channel::<()>();
        (go, runner.run(move || gone.recv().unwrap_or_default()).expect("room"))
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
            let long = || {
                until(|| priority::left().is_some());
                (priority::left(), priority::times(&priority::this_thread()).expect("the system tells").had)
            };
            let (left, had) = runner.run(long).expect("room").await.expect("an answer");
            assert!(had >= LONG, "{had:?}");
            assert_eq!(left, Some(Share::Rest));
            let next = runner.run(priority::left).expect("room").await;
            assert_eq!(next, Ok(None), "another thread, also where nobody may leave the pool");
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn who_only_waits_leaves_the_pool_and_keeps_the_usual_share() {
        let runner = Runner::start(1, 1, 16).expect("threads");
        let (go, gone) = channel::<()>();
        let waits = runner.run(move || (gone.recv(), priority::left()).1).expect("room");
        until(|| runner.slow() == 1);
        drop(go);
        assert_eq!(waits.await, Ok(None));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn where_nothing_is_left_for_long_jobs_the_next_ones_have_a_little() {
        use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
        /// Holds one processor and all that it has.
        fn burn(processor: usize, ends: &AtomicBool) {
            let mut one = CpuSet::new();
            one.set(processor);
            sched_setaffinity(None, &one).expect("this processor is one of ours");
            while !ends.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
        }
        let (processor, ends) = (sched_getcpu(), Arc::new(AtomicBool::new(false)));
        let runner = Runner::start(1, 2, 16).expect("threads");
        let long = || {
            until(|| priority::left().is_some());
            priority::left()
        };
        assert_eq!(runner.run(long).expect("room").await, Ok(Some(Share::Rest)));
        let (busy, starves) = (Arc::clone(&ends), Arc::clone(&ends));
        let busy = thread::spawn(move || burn(processor, &busy));
        let starves = runner.run(move || burn(processor, &starves)).expect("room");
        let since = Instant::now();
        while runner.run(long).expect("room").await != Ok(Some(Share::Little)) {
            assert!(since.elapsed() < Duration::from_secs(60), "nobody sees that it starves");
        }
        ends.store(true, Ordering::Release);
        busy.join().expect("it burnt");
        assert_eq!(starves.await, Ok(()));
    }

    #[test]
    fn a_machine_is_full_for_a_while_after_a_job_that_starved() {
        let now = Instant::now();
        let members = Members { full_until: Some(now + FULL), ..Members::default() };
        assert_eq!((members.share(now), members.share(now + FULL)), (Share::Little, Share::Rest));
        assert_eq!(Members::default().share(now), Share::Rest);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn who_has_the_habit_begins_with_the_rest_and_loses_it_by_short_jobs() {
        let runner = Runner::start(1, 1, 16).expect("threads");
        let habit = Habit::default();
        let long = || {
            let began = priority::left();
            until(|| priority::had().is_some_and(|had| had >= LONG_IN_ALL) && priority::left().is_some());
            began
        };
        assert_eq!(runner.run_for(Some(&habit), long).expect("room").await, Ok(None), "nobody knows it yet");
        let other = runner.run_for(Some(&Habit::default()), priority::left).expect("room").await;
        assert_eq!(other, Ok(None), "others have their own");
        assert!(habit.is_long());
        assert_eq!(runner.run_for(Some(&habit), long).expect("room").await, Ok(Some(Share::Rest)));
        let mut short = 0;
        while habit.is_long() {
            assert_eq!(runner.run_for(Some(&habit), priority::left).expect("room").await, Ok(Some(Share::Rest)));
            short += 1;
        }
        assert!(short > 1);
        assert_eq!(runner.run_for(Some(&habit), priority::left).expect("room").await, Ok(None), "in the pool again");
    }

    #[tokio::test]
    async fn jobs_that_are_long_by_habit_take_turns_and_leave_the_pool_alone() {
        let runner = Runner::start(1, 2, 16).expect("threads");
        let habit = Habit::default();
        habit.note(true);
        let held: Vec<_> = (0..3)
            .map(|_| {
                let (go, gone) = channel::<()>();
                (go, runner.run_for(Some(&habit), move || gone.recv().unwrap_or_default()).expect("room"))
            })
            .collect();
        until(|| (runner.busy(), runner.slow()) == (2, 2));
        assert_eq!(runner.run(|| 7).expect("room").await, Ok(7));
        let (count, mut held) = (Arc::clone(&runner.count), held.into_iter());
        drop(runner);
        // All three are done, although nobody will ever queue any more.
        for (go, pending) in held.by_ref() {
            drop(go);
            assert_eq!(pending.await, Ok(()));
        }
        until(|| Arc::strong_count(&count) == 1);
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
