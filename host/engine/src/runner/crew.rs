//! The threads of a runner, and the watch over them: who is long at one job leaves the pool, and somebody else takes the place at once. A job
//! that is long by habit has a thread of its own from the start.
//!
//! A job that computes for a second has the same right to a processor as those that take twenty microseconds, and as everything else in
//! this process, which is late then. So its thread is left what nobody else wants. That can't be taken back without a privilege for which a
//! host has no other use: the thread ends with its job.
//!
//! Where all processors are busy all the time that would be nothing at all, and honest engines that take long would never come to an end.
//! So as soon as a long job is seen to starve, those that are found long from then on have a little share of their own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use std::{io, mem};

use crossbeam_channel::{Receiver, Sender};

use super::member::{Ending, LOOK, Member, Own};
use super::priority::{self, Share};
use super::{Count, Job};

/// The stack of a thread: the largest that limits allow a guest, and as much again and more for the host around it.
const STACK_BYTES: usize = 4 << 20;
/// How long nothing is expected to be left, after a job that starved.
const FULL: Duration = Duration::from_secs(60);

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
    /// What is left to do after long jobs.
    endings: (Sender<Ending>, Receiver<Ending>),
    /// The thread that looks after the others.
    watch: OnceLock<Thread>,
    /// Whether it waits until there is a job.
    asleep: AtomicBool,
    /// Whether there will never be jobs again.
    closed: AtomicBool,
}

/// The threads, as the watch knows them.
#[derive(Default)]
struct Members {
    pool: Vec<Member>,
    slow: Vec<Member>,
    /// How many there ever were.
    hired: u64,
    /// Whether the system tells what threads have had, so that it is seen when they starve.
    told: bool,
    /// The machine is full, as far as is known: until then.
    full_until: Option<Instant>,
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
        let (watch, asleep, closed) = (OnceLock::new(), AtomicBool::new(false), AtomicBool::new(false));
        let endings = crossbeam_channel::unbounded();
        let crew = Arc::new(Self { queue, long, count, threads, most_slow, endings, watch, asleep, closed });
        let told = priority::had_by(&priority::this_thread()).is_some();
        let mut members = Members { told, ..Members::default() };
        crew.hire_for_pool(&mut members)?;
        let watches = Arc::clone(&crew);
        let watch = thread::Builder::new().name("engine-watch".to_owned()).spawn(move || watches.watch(members))?;
        // Before there is any job, so that it can be woken for the first one.
        let _ = crew.watch.set(watch.thread().clone());
        Ok(crew)
    }

    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    /// As many threads as the pool has.
    fn hire_for_pool(self: &Arc<Self>, members: &mut Members) -> io::Result<()> {
        while members.pool.len() < self.threads && !self.closed.load(Ordering::Acquire) {
            let own = Own::in_pool(self.endings.0.clone());
            self.spawn(members, &own, Self::work)?;
            members.pool.push(Member::in_pool(own));
        }
        Ok(())
    }

    /// As many threads as there are jobs that are long by habit, and room for them.
    fn hire_for_long(self: &Arc<Self>, members: &mut Members, now: Instant) -> io::Result<()> {
        let (share, room) = (members.share(now), self.most_slow.saturating_sub(members.slow.len()));
        for _ in 0..self.wanted_for_long(members).min(room) {
            let own = Own::alone(self.endings.0.clone());
            self.spawn(members, &own, move |crew, own| crew.work_alone(own, share))?;
            members.slow.push(Member::alone(own, share, now));
        }
        Ok(())
    }

    /// How many threads there should be, beyond those that there are. They have half of the room beside the pool, and nobody takes it from
    /// them: the other half is for those who are found long in the pool.
    fn wanted_for_long(&self, members: &Members) -> usize {
        let coming = members.slow.iter().filter(|member| member.is_hired()).count();
        let alone = members.slow.iter().filter(|member| member.is_alone()).count();
        self.long.len().saturating_sub(coming).min((self.most_slow / 2).saturating_sub(alone))
    }

    /// Not to be done by a thread that was left less than the usual: it would pass that on.
    fn spawn(self: &Arc<Self>, members: &mut Members, own: &Arc<Own>, work: impl FnOnce(&Self, &Own) + Send + 'static) -> io::Result<()> {
        /// However its work ends, the watch hears of it.
        struct Leaves(Arc<Crew>, Arc<Own>);
        impl Drop for Leaves {
            fn drop(&mut self) {
                self.1.ends();
                self.0.wake();
            }
        }
        let (name, crew, own) = (format!("engine-{}", members.hired), Arc::clone(self), Arc::clone(own));
        members.hired += 1;
        let works = move || {
            let leaves = Leaves(crew, own);
            leaves.1.begins();
            work(&leaves.0, &leaves.1);
        };
        thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(works).map(drop)
    }

    /// Takes jobs as long as somebody may queue any. As long as there are some, no thread is put to sleep or woken for the next one.
    fn work(&self, own: &Own) {
        let mut number = 0;
        while let Ok(job) = self.queue.recv() {
            number += 1;
            // In one order for all: the watch sees the job before it falls asleep, or is seen asleep here.
            own.begins_job(number);
            if self.asleep.load(Ordering::SeqCst) {
                self.wake();
            }
            job(&self.count, own);
            if own.ends_job() {
                return;
            }
        }
        self.closed.store(true, Ordering::Release);
    }

    /// Takes one job that is long by habit.
    fn work_alone(&self, own: &Own, share: Share) {
        // Taken before anything is given up: that is done soon.
        if let Ok(job) = self.long.try_recv() {
            own.begins_alone(share);
            job(&self.count, own);
        }
    }

    /// Has the watch look.
    pub(super) fn wake(&self) {
        if let Some(watch) = self.watch.get() {
            watch.unpark();
        }
    }

    /// Looks after the threads until the last has ended.
    fn watch(self: &Arc<Self>, mut members: Members) {
        let (mut hired, mut quiet) = (true, false);
        loop {
            for ending in self.endings.1.try_iter() {
                // Of whoever awaits the answer: what panics there is no reason to look after nobody any more.
                let _ = catch_unwind(AssertUnwindSafe(ending));
            }
            let now = Instant::now();
            self.look(&mut members, now);
            // Before anybody is hired: who is served by them finds the others counted.
            self.count.slow.store(members.slow.len(), Ordering::Release);
            if let Err(error) = self.hire_for_pool(&mut members).and_then(|()| self.hire_for_long(&mut members, now)) {
                if mem::replace(&mut hired, false) {
                    tracing::warn!(%error, "no thread for engines can be started beside those that are long at a call: trying again");
                }
            } else {
                hired = true;
            }
            self.count.slow.store(members.slow.len(), Ordering::Release);
            let is_empty = members.pool.is_empty() && members.slow.is_empty() && self.long.is_empty() && self.endings.1.is_empty();
            if is_empty && self.closed.load(Ordering::Acquire) {
                return;
            }
            self.asleep.store(true, Ordering::SeqCst);
            // Whoever finds it asleep has to wake it, which takes longer than short jobs do. So it sleeps after two looks without any.
            let was_quiet = mem::replace(&mut quiet, members.pool.iter().chain(&members.slow).all(Member::is_idle));
            if quiet && was_quiet && hired && self.long.is_empty() {
                thread::park();
            } else {
                self.asleep.store(false, Ordering::SeqCst);
                thread::park_timeout(LOOK);
            }
            self.asleep.store(false, Ordering::SeqCst);
        }
    }

    /// Looks at every thread once. Those that are long at their job leave the pool, as far as there is room beside it; those who find none
    /// never have so little that nobody knows when the pool has them back.
    fn look(&self, members: &mut Members, now: Instant) {
        members.pool.retain(|member| !member.is_gone());
        members.slow.retain(|member| !member.is_gone());
        members.pool.iter_mut().for_each(|member| member.look(now));
        let room = self.most_slow.saturating_sub(members.slow.len() + self.wanted_for_long(members));
        members.slow.extend(members.pool.extract_if(.., |member| member.is_long()).take(room));
        for member in &mut members.slow {
            if member.starves(now) {
                members.full_until = Some(now + FULL);
            }
        }
        let share = members.share(now);
        members.slow.iter_mut().for_each(|member| member.lower(share, now));
        members.pool.iter_mut().for_each(|member| member.lower(Share::Little, now));
    }
}

impl Members {
    /// What is left to jobs that are found long.
    fn share(&self, now: Instant) -> Share {
        let full = self.full_until.is_some_and(|until| now < until);
        if full || !self.told { Share::Little } else { Share::Rest }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, channel};

    use crate::runner::member::{LONG, LONG_BY_THE_CLOCK, LONG_IN_ALL};
    use crate::runner::{Habit, Pending, Runner, priority};

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
            let usual = priority::left();
            let long = || {
                until(|| priority::left().is_some());
                (priority::left(), priority::had().expect("the system tells"))
            };
            let (left, had) = runner.run(long).expect("room").await.expect("an answer");
            assert!(had >= LONG, "{had:?}");
            // Who keeps a thread of the pool is never left with nothing.
            assert!(left == Some(Share::Little) || most_slow > 0, "{left:?}");
            let next = runner.run(priority::left).expect("room").await;
            assert_eq!(next, Ok(usual), "another thread, also where nobody may leave the pool");
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
        assert_eq!(waits.await, Ok(priority::left()));
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
        let mut members = Members { told: true, ..Members::default() };
        assert_eq!(members.share(now), Share::Rest);
        members.full_until = Some(now + FULL);
        assert_eq!((members.share(now), members.share(now + FULL)), (Share::Little, Share::Rest));
        members.told = false;
        assert_eq!(members.share(now + FULL), Share::Little, "nobody would see that they starve");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn who_has_the_habit_begins_with_the_rest_and_loses_it_by_short_jobs() {
        let runner = Runner::start(1, 2, 16).expect("threads");
        let (habit, usual) = (Habit::default(), priority::left());
        let long = || {
            let began = priority::left();
            until(|| priority::had().is_some_and(|had| had >= LONG_IN_ALL) && priority::left().is_some());
            began
        };
        assert_eq!(runner.run_for(Some(&habit), long).expect("room").await, Ok(usual), "nobody knows it yet");
        let other = runner.run_for(Some(&Habit::default()), priority::left).expect("room").await;
        assert_eq!(other, Ok(usual), "others have their own");
        assert!(habit.is_long());
        let began = runner.run_for(Some(&habit), long).expect("room").await.expect("an answer");
        assert!(began.is_some(), "from the start");
        let mut short = 0;
        while habit.is_long() {
            let began = runner.run_for(Some(&habit), priority::left).expect("room").await.expect("an answer");
            assert!(began.is_some());
            short += 1;
        }
        assert!(short > 1);
        assert_eq!(runner.run_for(Some(&habit), priority::left).expect("room").await, Ok(usual), "in the pool again");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_watch_hands_over_the_answer_of_who_was_left_less() {
        use std::pin::pin;
        use std::sync::{Mutex, mpsc::Sender};
        use std::task::{Context, Wake, Waker};

        /// Tells who wakes it.
        struct Tells(Mutex<Sender<Option<String>>>);
        impl Wake for Tells {
            fn wake(self: Arc<Self>) {
                let name = thread::current().name().map(str::to_owned);
                self.0.lock().expect("nobody panics with it").send(name).expect("somebody listens");
            }
        }
        let runner = Runner::start(1, 1, 16).expect("threads");
        let (tells, told) = channel();
        let waker = Waker::from(Arc::new(Tells(Mutex::new(tells))));
        let mut context = Context::from_waker(&waker);
        let mut name_of_waker = |job: fn(Option<Share>)| {
            let (usual, (go, gone)) = (priority::left(), channel::<()>());
            let job = move || {
                gone.recv().unwrap_or_default();
                job(usual);
            };
            let mut pending = pin!(runner.run(job).expect("room"));
            assert!(pending.as_mut().poll(&mut context).is_pending());
            drop(go);
            told.recv().expect("somebody wakes").expect("a name")
        };
        assert_eq!(name_of_waker(|usual| until(|| priority::left() != usual)), "engine-watch");
        assert_ne!(name_of_waker(|_| ()), "engine-watch", "who has the usual does it");
    }

    #[tokio::test]
    async fn jobs_that_are_long_by_habit_take_turns_and_leave_the_pool_alone() {
        let runner = Runner::start(1, 4, 16).expect("threads");
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
        drop(runner.run_for(Some(&habit), || panic!("it was given up")).expect("room"));
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
        let (mut first, since) = (number().await, Instant::now());
        while since.elapsed() < 2 * LONG_BY_THE_CLOCK {
            let (before, now) = (Instant::now(), number().await);
            // A machine that is busy makes any job long.
            assert!(now == first || before.elapsed() >= LONG_BY_THE_CLOCK);
            first = now;
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
