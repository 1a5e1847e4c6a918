//! Threads for calls that may take long: a small pool of their own, so that a guest that spins never holds up anything else.
//!
//! Nor are calls that are short held up by those that are long: a thread that is at one job for some ten milliseconds leaves the pool,
//! which gets another one for it at once, and goes on with what nobody else wants of the processors. So whoever computes for a second has
//! neither a thread of the others nor any of their share. Whoever is known for that has it so from the start.

mod crew;
mod habit;
mod member;
mod priority;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::{fmt, io, thread};

use crossbeam_channel::{Sender, TrySendError};
use futures::channel::oneshot;

use self::crew::Crew;
pub use self::habit::Habit;
use self::member::Own;

/// Long jobs may have so many threads beside the pool, for each thread of it.
pub(crate) const SLOW_PER_THREAD: usize = 2;

/// How a runner is made.
#[derive(Clone, Copy, Debug)]
pub struct RunnerConfig {
    /// Threads of the pool: as many short jobs run at the same time. By default two for each core, at least four.
    ///
    /// A job that is long, which it is after some ten milliseconds of work, leaves the pool with its thread, and the pool gets another one:
    /// at most twice as many run beside it. What is found long beyond that keeps its place in the pool.
    pub threads: usize,
    /// Jobs that may wait for a thread of the pool, and as many for one beside it. Beyond that, [`Runner::run`] says that it is busy. By
    /// default 1024.
    pub queue: usize,
}

impl Default for RunnerConfig {
    fn default() -> Self {
        Self { threads: default_threads(), queue: 1024 }
    }
}

pub(crate) fn default_threads() -> usize {
    thread::available_parallelism().map_or(4, |cores| (2 * cores.get()).max(4))
}

/// A pool of threads for blocking jobs.
///
/// Jobs start in the order in which they came; those that are long by habit have a queue of their own. One that is long goes on with what
/// nobody else wants of the processors, on a thread that ends with it; for a minute after such a job has starved, because everything is
/// busy, long ones have a sixtieth of the share of others instead. Whose jobs were long lately has the next ones begin so: see [`Habit`].
///
/// One that was given up before it started is never run; one that was given up while it ran keeps its thread, which counts as lost, until it
/// returns by itself: calls of engines do, since their limits end them. Dropping the runner lets running and waiting jobs finish, and does
/// not wait for them.
pub struct Runner {
    jobs: Sender<Job>,
    /// Those that are long by habit.
    long: Sender<Job>,
    crew: Arc<Crew>,
    count: Arc<Count>,
}

/// What a thread does, and says who it is meanwhile.
type Job = Box<dyn FnOnce(&Count, &Own) + Send>;

#[derive(Debug, Default)]
struct Count {
    busy: AtomicUsize,
    lost: AtomicUsize,
    slow: AtomicUsize,
}

/// All threads are taken and the queue is full. The job was not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all engine threads are taken, and the queue for them is full")]
pub struct Busy;

/// The job ended without an answer: it panicked, or was thrown away with its runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the job ended without an answer")]
pub struct Lost;

/// An answer that is awaited. Dropping it gives the job up.
#[must_use = "dropping it gives the job up"]
pub struct Pending<T> {
    answer: oneshot::Receiver<T>,
    progress: Arc<Progress>,
}

/// How far a job is. Every step is one atomic exchange, so that job and awaiter agree on who came first.
struct Progress {
    step: AtomicU8,
    count: Arc<Count>,
}

const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const DONE: u8 = 2;
const GIVEN_UP: u8 = 3;

impl Runner {
    /// Starts the threads.
    ///
    /// # Errors
    /// When a thread can't be started.
    pub fn new(config: RunnerConfig) -> io::Result<Self> {
        let threads = config.threads.max(1);
        Self::start(threads, threads * SLOW_PER_THREAD, config.queue)
    }

    fn start(threads: usize, most_slow: usize, queue: usize) -> io::Result<Self> {
        let ((jobs, short), (long, lengthy)) = (crossbeam_channel::bounded(queue), crossbeam_channel::bounded(queue.max(1)));
        let count = Arc::new(Count::default());
        let crew = Crew::start(short, lengthy, Arc::clone(&count), threads, most_slow)?;
        Ok(Self { jobs, long, crew, count })
    }

    /// Queues a job. The answer can be awaited on any runtime, with whatever time-out the caller thinks right.
    ///
    /// # Errors
    /// When the queue is full. Better to skip a decision and say so than to make it late.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<Pending<T>, Busy> {
        self.run_for(None, job)
    }

    /// The same for somebody who has it run one job after another, and whose habit is known.
    ///
    /// # Errors
    /// As [`Runner::run`].
    pub fn run_for<T: Send + 'static>(&self, habit: Option<&Habit>, job: impl FnOnce() -> T + Send + 'static) -> Result<Pending<T>, Busy> {
        let long = habit.is_some_and(Habit::is_long);
        let habit = habit.cloned();
        let (answer, receiver) = oneshot::channel();
        let progress = Arc::new(Progress { step: AtomicU8::new(WAITING), count: Arc::clone(&self.count) });
        let pending = Pending { answer: receiver, progress: Arc::clone(&progress) };
        let job = move |count: &Count, own: &Own| {
            let note = |long| habit.iter().for_each(|habit| habit.note(long));
            if progress.step.compare_exchange(WAITING, RUNNING, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // Given up. One that always waits in vain is not long for ever.
                note(false);
                return;
            }
            count.busy.fetch_add(1, Ordering::AcqRel);
            // A panic is a bug of the host's; it must not take the thread away from every domain. What it left half done is dropped.
            let value = catch_unwind(AssertUnwindSafe(job));
            note(own.is_long());
            count.busy.fetch_sub(1, Ordering::AcqRel);
            if progress.step.swap(DONE, Ordering::AcqRel) == GIVEN_UP {
                count.lost.fetch_sub(1, Ordering::AcqRel);
            }
            own.end(move || {
                if let Ok(value) = value {
                    // Nobody may be waiting any more.
                    let _ = answer.send(value);
                }
            });
        };
        let queue = if long { &self.long } else { &self.jobs };
        queue.try_send(Box::new(job)).map_err(|_: TrySendError<_>| Busy)?;
        if long {
            self.crew.wake();
        }
        Ok(pending)
    }

    /// Threads of the pool.
    pub fn threads(&self) -> usize {
        self.crew.threads()
    }

    /// How many jobs are running, the lost ones among them.
    pub fn busy(&self) -> usize {
        self.count.busy.load(Ordering::Acquire)
    }

    /// How many threads run jobs that were given up.
    pub fn lost(&self) -> usize {
        self.count.lost.load(Ordering::Acquire)
    }

    /// How many threads are at a long job beside the pool.
    pub fn slow(&self) -> usize {
        self.count.slow.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").field("busy", &self.busy()).field("lost", &self.lost()).field("slow", &self.slow()).finish_non_exhaustive()
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, Lost>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context).map_err(|_| Lost)
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        let progress = &self.progress;
        if progress.step.compare_exchange(WAITING, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire) == Err(RUNNING) {
            // Counted first, so that a job that ends just now finds something to take off.
            progress.count.lost.fetch_add(1, Ordering::AcqRel);
            if progress.step.compare_exchange(RUNNING, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire).is_err() {
                progress.count.lost.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, channel};

    use super::*;

    #[tokio::test]
    async fn a_full_queue_says_so_and_the_job_is_not_run() {
        let runner = Runner::start(1, 0, 1).expect("a thread");
        let (started, is_started) = channel();
        let (go, gone) = channel::<()>();
        let first = runner.run(move || started.send(()).and_then(|()| gone.recv().map_err(|_| mpsc::SendError(())))).expect("room");
        is_started.recv().expect("it has started");
        let second = runner.run(|| 2).expect("room in the queue");
        assert_eq!(runner.run(|| 3).expect_err("no room"), Busy);
        drop(go);
        assert!(first.await.is_ok());
        assert_eq!(second.await, Ok(2));
    }

    #[tokio::test]
    async fn a_job_that_was_given_up_before_it_started_is_never_run() {
        let runner = Runner::start(1, 0, 2).expect("a thread");
        let (go, gone) = channel::<()>();
        let first = runner.run(move || gone.recv().is_err()).expect("room");
        let (ran, has_run) = channel();
        drop(runner.run(move || ran.send(())).expect("room"));
        drop(go);
        assert_eq!(first.await, Ok(true));
        assert!(has_run.recv().is_err(), "thrown away without a message");
        assert_eq!((runner.busy(), runner.lost()), (0, 0));
    }

    #[tokio::test]
    async fn a_job_that_panics_leaves_its_thread_to_the_next() {
        let runner = Runner::start(1, 0, 2).expect("a thread");
        assert_eq!(runner.run(|| panic!("a bug")).expect("room").await, Err::<(), _>(Lost));
        assert_eq!(runner.run(|| 7).expect("room").await, Ok(7));
        assert_eq!(runner.busy(), 0);
    }
}
