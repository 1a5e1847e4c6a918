//! Attempts that many may wait for: each is made once, whoever wants it, goes on when nobody waits any more, and holds up no other.
//!
//! A failure is told to everybody who asks for the same within a pause, without another attempt: what is wanted by a thousand domains, and
//! can't be had, is not tried a thousand times.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::time::Instant;

/// How long it is remembered after its pause that something failed, so that the next pause is longer.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Attempts by what is wanted. Cheap to clone; all clones are the same.
pub(super) struct Attempts<T, E> {
    by_key: Arc<Mutex<BTreeMap<String, Attempt<T, E>>>>,
    manner: Manner<E>,
}

/// How attempts are dealt with that fail.
pub(super) struct Manner<E> {
    /// How long an error is told without another attempt, when there were so many in a row.
    pub(super) pause: fn(&E, u32) -> Duration,
    /// The error of an attempt that broke off within this host.
    pub(super) crashed: fn(String) -> E,
}

struct Attempt<T, E> {
    /// In a row, before this one.
    failures: u32,
    state: State<T, E>,
}

enum State<T, E> {
    Running(Running<T, E>),
    Failed { error: E, until: Instant },
}

type Running<T, E> = Shared<BoxFuture<'static, Result<T, E>>>;

impl<E> Clone for Manner<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Manner<E> {}

impl<T, E> Clone for Attempts<T, E> {
    fn clone(&self) -> Self {
        Self { by_key: Arc::clone(&self.by_key), manner: self.manner }
    }
}

/// A pause that doubles with each failure in a row: from 5 s to 5 min.
pub(super) fn doubled(failures: u32) -> Duration {
    const FIRST: Duration = Duration::from_secs(5);
    const LONGEST: Duration = Duration::from_secs(300);
    FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST)
}

impl<T, E> Attempts<T, E>
where
    T: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// No attempts yet.
    pub(super) fn new(manner: Manner<E>) -> Self {
        Self { by_key: Arc::default(), manner }
    }

    /// What comes of an attempt: of the one that is under way, of one that failed a moment ago, or of this one.
    ///
    /// # Errors
    /// That of the attempt.
    pub(super) async fn of<F>(&self, key: &str, work: impl FnOnce() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        self.joined(key, work)?.await
    }

    /// Forgets that something failed, so that it is tried anew when somebody asks.
    pub(super) fn forgive(&self, key: &str) {
        let mut all = self.all();
        if matches!(all.get(key), Some(Attempt { state: State::Failed { .. }, .. })) {
            all.remove(key);
        }
    }

    fn joined<F>(&self, key: &str, work: impl FnOnce() -> F) -> Result<Running<T, E>, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let now = Instant::now();
        let mut all = self.all();
        all.retain(|_, attempt| !matches!(attempt.state, State::Failed { until, .. } if until + REMEMBERED < now));
        let failures = match all.get(key) {
            None => 0,
            Some(Attempt { state: State::Running(running), .. }) => return Ok(running.clone()),
            Some(Attempt { state: State::Failed { error, until }, .. }) if now < *until => return Err(error.clone()),
            Some(Attempt { failures, .. }) => *failures,
        };
        let (this, ended, crashed) = (self.clone(), key.to_owned(), self.manner.crashed);
        // In a task of its own: should it panic, that is an error like any other.
        let work = tokio::spawn(work());
        let end = tokio::spawn(async move {
            let done = work.await.unwrap_or_else(|error| Err(crashed(error.to_string())));
            this.end(&ended, failures, &done);
            done
        });
        let running = end.map(move |done| done.unwrap_or_else(|error| Err(crashed(error.to_string())))).boxed().shared();
        all.insert(key.to_owned(), Attempt { failures, state: State::Running(running.clone()) });
        Ok(running)
    }

    fn end(&self, key: &str, before: u32, done: &Result<T, E>) {
        let mut all = self.all();
        match done {
            Ok(_) => drop(all.remove(key)),
            Err(error) => {
                let failures = before.saturating_add(1);
                let until = Instant::now() + (self.manner.pause)(error, failures);
                all.insert(key.to_owned(), Attempt { failures, state: State::Failed { error: error.clone(), until } });
            }
        }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Attempt<T, E>>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    fn attempts() -> Attempts<u32, String> {
        Attempts::new(Manner { pause: |_, failures| doubled(failures), crashed: |why| format!("crashed: {why}") })
    }

    #[tokio::test]
    async fn a_thousand_who_want_ten_things_try_each_once_and_wait_for_no_other() {
        let (attempts, tried) = (attempts(), Arc::new(AtomicU32::new(0)));
        let mut waiting = tokio::task::JoinSet::new();
        for n in 0..1000_u32 {
            let (attempts, tried, thing) = (attempts.clone(), Arc::clone(&tried), n % 10);
            waiting.spawn(async move {
                let work = async move {
                    tried.fetch_add(1, Ordering::Relaxed);
                    if thing == 7 {
                        std::future::pending::<()>().await;
                    }
                    tokio::task::yield_now().await;
                    Ok(thing)
                };
                attempts.of(&thing.to_string(), || work).await.map(|got| (thing, got))
            });
        }
        let all_but_one = async {
            for _ in 0..900 {
                let (thing, got) = waiting.join_next().await.expect("more").expect("no panic").expect("no error");
                assert_eq!((thing, thing != 7), (got, true));
            }
        };
        tokio::time::timeout(Duration::from_secs(30), all_but_one).await.expect("nobody waits for the one that hangs");
        assert_eq!(tried.load(Ordering::Relaxed), 10);
    }

    #[tokio::test]
    async fn an_attempt_goes_on_when_nobody_waits_and_who_comes_again_has_its_result() {
        let (attempts, go, done) = (attempts(), Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (goes, ended) = (Arc::clone(&go), Arc::clone(&done));
        let work = async move {
            goes.notified().await;
            ended.notify_one();
            Ok(1)
        };
        let mut first = Box::pin(attempts.of("a", || work));
        assert!(futures::poll!(first.as_mut()).is_pending());
        drop(first);
        let mut second = Box::pin(attempts.of("a", || async { Ok(2) }));
        assert!(futures::poll!(second.as_mut()).is_pending());
        go.notify_one();
        done.notified().await;
        assert_eq!(second.await, Ok(1), "that of the attempt under way");
        assert_eq!(attempts.of("a", || async { Ok(3) }).await, Ok(3), "what was had is kept by who asked");
    }

    #[test]
    fn a_pause_doubles_up_to_five_minutes() {
        assert_eq!([1, 2, 3, 8, 40].map(|failures| doubled(failures).as_secs()), [5, 10, 20, 300, 300]);
    }

    #[tokio::test]
    async fn a_failure_is_told_for_its_pause_and_then_tried_again() {
        const HOUR: Duration = Duration::from_secs(3600);
        let pause: fn(&String, u32) -> Duration = |_, failures| if failures < 3 { Duration::ZERO } else { HOUR };
        let attempts: Attempts<u32, String> = Attempts::new(Manner { pause, crashed: |why| format!("crashed: {why}") });
        let tried = Arc::new(AtomicU32::new(0));
        let ask = async || {
            let tried = Arc::clone(&tried);
            attempts.of("a", || async move { Err(tried.fetch_add(1, Ordering::Relaxed).to_string()) }).await.expect_err("it fails")
        };
        assert_eq!([ask().await, ask().await, ask().await], ["0", "1", "2"], "each after no pause");
        assert_eq!([ask().await, ask().await], ["2", "2"], "the third in a row is told for an hour");
        assert_eq!(attempts.of("b", || async { Ok(1) }).await, Ok(1), "that is nobody else's business");
        attempts.forgive("a");
        assert_eq!(ask().await, "3", "somebody knew better");
        assert_eq!(ask().await, "4", "and it begins anew to count");
        assert_eq!(attempts.of("c", || async { panic!("no") }).await.map_err(|why| why.starts_with("crashed: ")), Err(true));
        assert_eq!(attempts.of("c", || async { Ok(1) }).await, Ok(1), "one that broke off is over");
    }
}
