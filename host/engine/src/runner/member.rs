//! One thread of a runner: what it tells of itself, and what the watch makes of that.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::priority::{self, Share};

/// How often the watch looks while there are jobs.
pub(super) const LOOK: Duration = Duration::from_millis(4);
/// A job is long when its thread has had so much of the processors since the watch saw it for the second time: after 5 to 13 ms in all.
/// Engines take that long when thousands of instances have ended at once; those that do no good take a second.
pub(super) const LONG: Duration = Duration::from_millis(5);
/// A job that began as a long one has been short when its thread has had less than this in all.
pub(super) const LONG_IN_ALL: Duration = Duration::from_millis(8);
/// By the clock on the wall it is long after this, whatever its thread had of the processors: then it waits for something, or the machine is
/// full. So it leaves the pool, and is left the usual share as long as it does not take much.
pub(super) const LONG_BY_THE_CLOCK: Duration = Duration::from_millis(50);
/// A thread that is left what nobody else wants starves when it would have gone on for so long, and has had less than a twentieth of that.
const STARVES: Duration = Duration::from_millis(250);

/// At no job.
const IDLE: u64 = 0;
/// At a job that is the last one of its thread. Everything else but these few is the number of a job, from 1.
const LAST: u64 = u64::MAX;
/// Started for a job that is long by habit, and has not taken one yet.
const HIRED: u64 = u64::MAX - 1;
/// The thread is about to end, and does nothing any more.
const GONE: u64 = u64::MAX - 2;

/// What is left to do when a job has ended: its answer.
pub(super) type Ending = Box<dyn FnOnce() + Send>;

/// What a thread tells of itself, and is told. Who is left less than the usual may be stopped anywhere for seconds: so nobody ever waits
/// for what it holds.
pub(super) struct Own {
    at: AtomicU64,
    /// How the system calls it, as long as it is there.
    id: Mutex<Option<priority::Id>>,
    /// It was left less than the usual.
    lowered: AtomicBool,
    /// It was started for one job that is long by habit.
    alone: bool,
    /// To the watch.
    endings: Sender<Ending>,
}

impl Own {
    /// Of a thread that takes one job after another.
    pub(super) fn in_pool(endings: Sender<Ending>) -> Arc<Self> {
        Self::new(IDLE, endings)
    }

    /// Of a thread for one job that is long by habit.
    pub(super) fn alone(endings: Sender<Ending>) -> Arc<Self> {
        Self::new(HIRED, endings)
    }

    fn new(at: u64, endings: Sender<Ending>) -> Arc<Self> {
        let (id, lowered, alone) = (Mutex::default(), AtomicBool::new(false), at == HIRED);
        Arc::new(Self { at: AtomicU64::new(at), id, lowered, alone, endings })
    }

    fn set_id(&self, id: Option<priority::Id>) {
        *self.id.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }

    /// The first that its thread does.
    pub(super) fn begins(&self) {
        self.set_id(Some(priority::this_thread()));
    }

    /// The last.
    pub(super) fn ends(&self) {
        // From here on the system may call another thread so.
        self.set_id(None);
        self.at.store(GONE, Ordering::Release);
    }

    /// A job of the pool begins. In one order with whether the watch is asleep.
    pub(super) fn begins_job(&self, number: u64) {
        self.at.store(number, Ordering::SeqCst);
    }

    /// It has ended; whether it was the last one.
    pub(super) fn ends_job(&self) -> bool {
        self.at.swap(IDLE, Ordering::AcqRel) == LAST
    }

    /// The job that this thread was started for begins, with this share.
    pub(super) fn begins_alone(&self, share: Share) {
        self.at.store(LAST, Ordering::SeqCst);
        self.lowered.store(priority::lower(&priority::this_thread(), share), Ordering::Release);
    }

    /// Whether the job of this thread, which asks, has computed for long.
    pub(super) fn is_long(&self) -> bool {
        let long = || !self.alone || priority::had().is_none_or(|had| had >= LONG_IN_ALL);
        self.lowered.load(Ordering::Acquire) && long()
    }

    /// Does what is left after the job of this thread. That touches what everybody needs, such as the queues of who awaits the answer: so
    /// the watch does it for those who are left less than the usual. It is woken when their threads end, which is at once.
    pub(super) fn end(&self, ending: impl FnOnce() + Send + 'static) {
        if !self.lowered.load(Ordering::Acquire) {
            ending();
        } else if let Err(unsent) = self.endings.send(Box::new(ending)) {
            // The watch is there as long as this thread is.
            unsent.0();
        }
    }

    /// Does something about its thread, if that is there and not about to go.
    fn with_id<T>(&self, act: impl FnOnce(&priority::Id) -> Option<T>) -> Option<T> {
        act(self.id.try_lock().ok()?.as_ref()?)
    }

    fn had(&self) -> Option<Duration> {
        self.with_id(priority::had_by)
    }
}

/// A thread, as the watch knows it.
pub(super) struct Member {
    own: Arc<Own>,
    seen: Seen,
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
        had: Option<Duration>,
    },
    /// A long job, which had the usual so far.
    Long {
        had: Option<Duration>,
    },
    /// A long job that is left this, and had had so much then.
    Lowered {
        share: Share,
        since: Instant,
        had: Option<Duration>,
    },
}

impl Member {
    pub(super) fn in_pool(own: Arc<Own>) -> Self {
        Self { own, seen: Seen::Idle }
    }

    pub(super) fn alone(own: Arc<Own>, share: Share, now: Instant) -> Self {
        Self { own, seen: Seen::Lowered { share, since: now, had: Some(Duration::ZERO) } }
    }

    /// Looks at what the thread is at. Once it is long at it, that is its last job.
    pub(super) fn look(&mut self, now: Instant) {
        let at = self.own.at.load(Ordering::SeqCst);
        self.seen = match self.seen {
            Seen::Long { .. } | Seen::Lowered { .. } => return,
            Seen::Job { number, since } if at == number => {
                // Whoever wakes the watch earlier makes nobody longer.
                if now.duration_since(since) < LOOK {
                    return;
                }
                Seen::Again { number, since, had: self.own.had() }
            }
            Seen::Again { number, since, had } if at == number => {
                let long = self.computes(had) || now.duration_since(since) >= LONG_BY_THE_CLOCK;
                // It may have ended just now.
                if !long || self.own.at.compare_exchange(number, LAST, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                    return;
                }
                Seen::Long { had }
            }
            _ if at == IDLE => Seen::Idle,
            _ => Seen::Job { number: at, since: now },
        }
    }

    /// Whether its thread has had much of the processors since then. Where the system does not tell, it has.
    fn computes(&self, before: Option<Duration>) -> bool {
        self.own.had().zip(before).is_none_or(|(now, before)| now.saturating_sub(before) >= LONG)
    }

    /// Leaves it this share from now on, if it is at a long job and computes.
    pub(super) fn lower(&mut self, share: Share, now: Instant) {
        let Seen::Long { had } = self.seen else { return };
        if self.computes(had) {
            let had = self.own.had();
            // First, so that whoever is lowered is known for it.
            self.own.lowered.store(true, Ordering::Release);
            let lowered = self.own.with_id(|id| Some(priority::lower(id, share)));
            self.own.lowered.store(lowered.unwrap_or(true), Ordering::Release);
            self.seen = Seen::Lowered { share, since: now, had };
        }
    }

    /// Whether it is left what nobody else wants, and that is nothing.
    pub(super) fn starves(&mut self, now: Instant) -> bool {
        let Seen::Lowered { share: Share::Rest, since, had: Some(before) } = self.seen else { return false };
        let passed = now.duration_since(since);
        if passed < STARVES {
            return false;
        }
        let Some(had) = self.own.had() else { return false };
        self.seen = Seen::Lowered { share: Share::Rest, since: now, had: Some(had) };
        had.saturating_sub(before) < passed / 20 && self.own.with_id(priority::would_go_on).unwrap_or(false)
    }

    /// Whether its thread ends with the job that it is at.
    pub(super) fn is_long(&self) -> bool {
        matches!(self.seen, Seen::Long { .. } | Seen::Lowered { .. })
    }

    pub(super) fn is_idle(&self) -> bool {
        self.own.at.load(Ordering::SeqCst) == IDLE
    }

    /// Whether it was started for a job that it has not taken yet.
    pub(super) fn is_hired(&self) -> bool {
        self.own.at.load(Ordering::SeqCst) == HIRED
    }

    pub(super) fn is_gone(&self) -> bool {
        self.own.at.load(Ordering::SeqCst) == GONE
    }

    pub(super) fn is_alone(&self) -> bool {
        self.own.alone
    }
}
