//! What requests may take of a host at the same time, so that no flood of them takes its memory, or the time of its domains.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use pilothouse_core::command::ApiError;
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore};

/// Requests that one host carries out at the same time for users, and as many again that other hosts forward to it. Each may hold a body
/// and wait for a domain.
const MAX_AT_ONCE: usize = 256;

/// Those of one user: others find room beside whoever asks without waiting for answers.
const MAX_OF_ONE: usize = 64;

/// Configurations that engines judge at the same time. Few: it takes the threads that domains are decided on, and a decision never waits
/// for more of these than that.
const CHECKS: usize = 2;

/// Questions that are answered from the journal at the same time: each reads and folds up to some tens of MiB.
const READINGS: usize = 2;

/// How long who removes an engine waits for those that choose one.
const CHOSEN: Duration = Duration::from_secs(2);

/// Components that are pushed at the same time: each is in memory meanwhile.
const PUSHES: usize = 4;

/// How long a component waits for a place to be pushed.
const PUSHED: Duration = Duration::from_secs(2);

/// How long a request waits for a place: whoever asks should learn of it while they still wait.
const TAKEN: Duration = Duration::from_secs(10);

/// All places of a host.
pub(in crate::driver) struct Places {
    /// For requests of users.
    pub(super) users: Arc<Room>,
    /// For requests that other hosts forward.
    pub(super) hosts: Arc<Room>,
    /// Whoever chooses an engine for a domain holds this until the domain has it.
    choosing: RwLock<()>,
    /// For components that are pushed.
    pushing: Pushing,
    checks: Arc<Semaphore>,
    readings: Arc<Semaphore>,
}

impl Default for Places {
    fn default() -> Self {
        let room = || Arc::new(Room::new(MAX_AT_ONCE, MAX_OF_ONE));
        Self {
            users: room(),
            hosts: room(),
            choosing: RwLock::default(),
            pushing: Pushing::default(),
            checks: Arc::new(Semaphore::new(CHECKS)),
            readings: Arc::new(Semaphore::new(READINGS)),
        }
    }
}

impl Places {
    /// Waits for a place to have a configuration judged. To be kept by whatever takes a thread for it, until the thread is free again.
    pub(super) async fn check(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        taken(&self.checks).await
    }

    /// To be held from before an engine is chosen until a domain has it, so that it is not removed in between.
    ///
    /// # Errors
    /// `unavailable` when one is being removed for long: the store may not answer.
    pub(super) async fn chooses(&self) -> Result<RwLockReadGuard<'_, ()>, ApiError> {
        tokio::time::timeout(TAKEN, self.choosing.read())
            .await
            .map_err(|_| ApiError::Unavailable { message: "an engine is being removed at the moment; try again".to_owned() })
    }

    /// While this is held, no domain is given another engine by anybody.
    pub(super) async fn nobody_chooses(&self) -> Result<RwLockWriteGuard<'_, ()>, ApiError> {
        tokio::time::timeout(CHOSEN, self.choosing.write())
            .await
            .map_err(|_| ApiError::Unavailable { message: "domains are being configured at the moment; try again".to_owned() })
    }

    /// Waits until nobody else pushes the same component, and for a place to push it. To be kept until that is done.
    ///
    /// # Errors
    /// `unavailable` when too many others are being pushed.
    pub(super) async fn pushes(&self, digest: &str) -> Result<Pushes, ApiError> {
        self.pushing.pushes(digest).await
    }

    /// Waits for a place to read much of the journal.
    pub(super) async fn reading(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        taken(&self.readings).await
    }
}

async fn taken(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, ApiError> {
    let unavailable = |message: String| ApiError::Unavailable { message };
    match tokio::time::timeout(TAKEN, Arc::clone(places).acquire_owned()).await {
        Ok(taken) => taken.map_err(|closed| unavailable(closed.to_string())),
        Err(_) => Err(unavailable(format!("this host was too busy with the requests of others for {} s; try again", TAKEN.as_secs()))),
    }
}

/// Places for components that are pushed.
struct Pushing {
    all: Arc<Semaphore>,
    /// Of each component only one at a time: who comes again while it is compiled finds it done.
    of: std::sync::Mutex<HashMap<String, Weak<Mutex<()>>>>,
}

/// A place for one component, until it is dropped.
pub(super) struct Pushes {
    _only_one_of_it: OwnedMutexGuard<()>,
    _one_of_all: OwnedSemaphorePermit,
}

impl Default for Pushing {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(PUSHES)), of: std::sync::Mutex::default() }
    }
}

impl Pushing {
    async fn pushes(&self, digest: &str) -> Result<Pushes, ApiError> {
        let only_one_of_it = self.of(digest).lock_owned().await;
        let one_of_all = tokio::time::timeout(PUSHED, Arc::clone(&self.all).acquire_owned()).await;
        let busy = || ApiError::Unavailable { message: "other components are being tried at the moment; try again".to_owned() };
        let one_of_all = one_of_all.map_err(|_| busy())?.map_err(|_| busy())?;
        Ok(Pushes { _only_one_of_it: only_one_of_it, _one_of_all: one_of_all })
    }

    fn of(&self, digest: &str) -> Arc<Mutex<()>> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        of.retain(|_, turn| turn.strong_count() > 0);
        let turn = of.get(digest).and_then(Weak::upgrade).unwrap_or_default();
        of.insert(digest.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

/// Room for requests.
pub(super) struct Room {
    all: Arc<Semaphore>,
    most: usize,
    most_of_one: usize,
    /// How many there are of each user who has any.
    of: std::sync::Mutex<HashMap<String, usize>>,
}

/// A place for one request, until it is dropped.
pub(super) struct Place {
    _one_of_all: OwnedSemaphorePermit,
    room: Arc<Room>,
    user: String,
}

impl Room {
    fn new(most: usize, most_of_one: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(most)), most, most_of_one, of: std::sync::Mutex::default() }
    }

    /// A place for a request of a user.
    ///
    /// # Errors
    /// `unavailable` when there is none: who asks should come again.
    pub(super) fn place(self: &Arc<Self>, user: &str) -> Result<Place, ApiError> {
        let busy = |whose: &str, most: usize| {
            Err(ApiError::Unavailable { message: format!("this host carries out {most} requests{whose} already; try again") })
        };
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let has = of.get(user).copied().unwrap_or_default();
        if has >= self.most_of_one {
            return busy(" of yours", has);
        }
        let Ok(one_of_all) = Arc::clone(&self.all).try_acquire_owned() else { return busy("", self.most) };
        of.insert(user.to_owned(), has + 1);
        Ok(Place { _one_of_all: one_of_all, room: Arc::clone(self), user: user.to_owned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut of = self.room.of.lock().unwrap_or_else(PoisonError::into_inner);
        match of.get_mut(&self.user) {
            Some(has) if *has > 1 => *has -= 1,
            // Users come and go: nothing is kept of one who asks for nothing.
            _ => drop(of.remove(&self.user)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_requests_than_there_is_room_for_are_told_to_come_again() {
        let room = Arc::new(Room::new(2, 2));
        let (first, second) = (room.place("ann"), room.place("bob"));
        assert!(first.is_ok() && second.is_ok());
        let busy = room.place("eve").map(drop).expect_err("full");
        assert_eq!((busy.kind(), busy.to_string().as_str()), ("unavailable", "this host carries out 2 requests already; try again"));
        drop(first);
        assert!(room.place("eve").is_ok());
    }

    #[test]
    fn a_user_who_asks_for_too_much_leaves_room_for_others() {
        let room = Arc::new(Room::new(4, 2));
        let mut of_ann: Vec<_> = (0..2).map(|_| room.place("ann").expect("a place")).collect();
        let busy = room.place("ann").map(drop).expect_err("too many of one");
        assert_eq!(busy.to_string(), "this host carries out 2 requests of yours already; try again");
        let of_bob = room.place("bob").expect("a place");
        of_ann.pop();
        assert!(room.place("ann").is_ok(), "one has ended");
        drop((of_ann, of_bob));
        assert!(room.of.lock().expect("no panic").is_empty(), "nobody asks for anything");
    }

    #[tokio::test]
    async fn a_check_waits_until_one_before_it_has_ended() {
        let places = Places::default();
        let mut held = Vec::new();
        for _ in 0..CHECKS {
            held.push(places.check().await.expect("a place"));
        }
        let mut third = std::pin::pin!(places.check());
        assert!(futures::poll!(third.as_mut()).is_pending());
        assert!(futures::poll!(std::pin::pin!(places.reading())).is_ready(), "these don't wait for those");
        held.pop();
        assert!(futures::poll!(third.as_mut()).is_ready());
    }

    #[tokio::test]
    async fn who_chooses_an_engine_waits_for_a_removal_and_not_for_ever() {
        let places = Places::default();
        let removes = places.nobody_chooses().await.expect("nobody chooses");
        let told = places.chooses().await.map(drop).expect_err("it takes long");
        assert_eq!(told.to_string(), "an engine is being removed at the moment; try again");
        drop(removes);
        let chooses = places.chooses().await.map(drop);
        assert_eq!(chooses, Ok(()));
    }

    #[tokio::test]
    async fn a_component_that_takes_long_holds_up_itself_and_no_other() {
        let places = Places::default();
        let slow = places.pushes("slow").await.expect("a place");
        let mut again = Box::pin(places.pushes("slow"));
        assert!(futures::poll!(again.as_mut()).is_pending(), "who comes again finds it done");
        let mut others = Vec::new();
        for n in 1..PUSHES {
            others.push(places.pushes(&n.to_string()).await.expect("a place"));
        }
        let busy = places.pushes("one too many").await.map(drop).expect_err("all places are taken");
        assert_eq!(busy.to_string(), "other components are being tried at the moment; try again");
        drop(slow);
        again.await.expect("its turn has come");
        drop(others);
        let _last = places.pushes("last").await.expect("a place");
        assert_eq!(places.pushing.of.lock().expect("no panic").len(), 1, "nothing is kept of those that are done");
    }
}
