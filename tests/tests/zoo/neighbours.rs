//! The well-behaved domains beside all that misbehave, and how often and how punctually they are asked.
//!
//! Their decisions change nothing, so there is no record of them, and the worst that a host tells of their lateness is that of all time. So
//! they are looked at, more often than they decide.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pilothouse::api::{ApiClient, Asked, DomainDescription, OnDomain, Operation};
use pilothouse_tests::rig::SOON;
use pilothouse_tests::wait::eventually;
use tokio::time::interval;
use tokio_util::task::AbortOnDropHandle;

/// Well-behaved domains, each with an instance that really runs.
pub(crate) const NEIGHBOURS: [&str; 3] = ["calm-1", "calm-2", "calm-3"];

/// Between two decisions of a neighbour: what `keep` says.
const PULSE: Duration = Duration::from_millis(200);

/// Between two looks at all of them: a few for each decision.
const GLANCE: Duration = Duration::from_millis(50);

/// The most that any of their decisions may begin late: three pulses. An engine that spins does so for longer.
const LATE: Duration = Duration::from_millis(600);

/// So many decisions of each show that they go on.
const SEVERAL: u64 = 5;

/// Looks at the neighbours all the time.
pub(crate) struct Watch {
    sight: Arc<Mutex<Sight>>,
    _looking: AbortOnDropHandle<()>,
}

impl Watch {
    /// Begins to look, and makes nothing of it until [`Watch::begin`].
    pub(crate) fn start(api: ApiClient) -> Self {
        let sight = Arc::new(Mutex::new(Sight { begun: Instant::now(), stood: Stood::default(), courses: BTreeMap::new() }));
        let seen = Arc::clone(&sight);
        let looking = tokio::spawn(async move {
            let mut every = interval(GLANCE);
            loop {
                let due = every.tick().await;
                lock(&seen).stood.note(due.elapsed());
                for name in NEIGHBOURS {
                    let request = OnDomain { domain: name.to_owned(), request_id: None };
                    // Who is not told of is not seen deciding.
                    if let Ok(described) = api.call::<DomainDescription>(Operation::DomainDescribe, &request).await
                        && let Some(course) = lock(&seen).courses.get_mut(name)
                    {
                        course.see(described.asked);
                    }
                }
                // What the answers take is the host's doing: only what this process itself comes late by is not.
                every.reset();
            }
        });
        Self { sight, _looking: AbortOnDropHandle::new(looking) }
    }

    /// A visit begins, with the neighbours like this.
    pub(crate) fn begin(&self, neighbours: &BTreeMap<&'static str, DomainDescription>) {
        let courses = neighbours.iter().map(|(name, it)| (*name, Course::after(it.asked))).collect();
        *lock(&self.sight) = Sight { begun: Instant::now(), stood: Stood::default(), courses };
    }

    /// A beast comes: they have to go on after this moment.
    pub(crate) fn beast_comes(&self) {
        lock(&self.sight).courses.values_mut().for_each(|it| it.seen_since_beast = 0);
    }

    /// Waits until each of them was seen deciding several times since the newest beast came.
    pub(crate) async fn go_on(&self) -> Result<()> {
        let go_on = async || lock(&self.sight).courses.values().all(|it| it.seen_since_beast >= SEVERAL);
        eventually("the neighbours go on", SOON, go_on).await.with_context(|| format!("{:#?}", lock(&self.sight)))
    }

    /// In this visit they decided at their pace, and none of their decisions came late.
    pub(crate) async fn assert_at_ease(&self) -> Result<()> {
        self.go_on().await?;
        let sight = lock(&self.sight);
        for (name, course) in &sight.courses {
            course.judge(sight.begun.elapsed(), sight.stood).with_context(|| format!("{name}: {sight:#?}"))?;
        }
        Ok(())
    }
}

fn lock(sight: &Mutex<Sight>) -> MutexGuard<'_, Sight> {
    sight.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was seen in a visit.
#[derive(Debug)]
struct Sight {
    begun: Instant,
    stood: Stood,
    courses: BTreeMap<&'static str, Course>,
}

/// How much later than they should have the looks themselves began. They are made by another process than the host: where that comes late as
/// well, the machine is busy with other things, and no engine is to blame.
#[derive(Clone, Copy, Debug, Default)]
struct Stood {
    longest: Duration,
    in_all: Duration,
}

impl Stood {
    fn note(&mut self, late: Duration) {
        self.longest = self.longest.max(late);
        self.in_all += late;
    }
}

/// How a neighbour was asked in a visit.
#[derive(Debug)]
struct Course {
    before: Asked,
    newest: Asked,
    /// Of the looks at it, those that showed another decision than the one before, since the newest beast came.
    seen_since_beast: u64,
    /// The most that any decision of this visit came late.
    latest: Duration,
}

impl Course {
    fn after(before: Asked) -> Self {
        Self { before, newest: before, seen_since_beast: 0, latest: Duration::ZERO }
    }

    fn see(&mut self, asked: Asked) {
        // A look from before the visit may be answered in it.
        if asked.decisions <= self.newest.decisions {
            return;
        }
        // One that nobody looked at in time is known by the worst of all time, if it is that.
        let is_worst = asked.lateness_worst_ms > self.newest.lateness_worst_ms;
        let late_ms = if is_worst { asked.lateness_worst_ms } else { asked.lateness_last_ms };
        self.latest = self.latest.max(Duration::from_millis(late_ms));
        self.seen_since_beast += 1;
        self.newest = asked;
    }

    fn judge(&self, took: Duration, stood: Stood) -> Result<()> {
        let pulses = took.saturating_sub(stood.in_all).as_millis() / PULSE.as_millis();
        let decided = self.newest.decisions - self.before.decisions;
        ensure!(2 * u128::from(decided) >= pulses, "it decided {decided} times in {pulses} pulses");
        let may = LATE + stood.longest;
        ensure!(self.latest <= may, "a decision came {:?} late, and {may:?} are the most", self.latest);
        Ok(())
    }
}

const STEADY: Stood = Stood { longest: Duration::ZERO, in_all: Duration::ZERO };

fn asked(decisions: u64, lateness_last_ms: u64, lateness_worst_ms: u64) -> Asked {
    Asked { decisions, lateness_last_ms, lateness_worst_ms, ..Asked::default() }
}

#[test]
fn a_neighbour_that_decides_less_than_half_as_often_as_it_should_is_noticed() {
    let mut course = Course::after(asked(100, 1, 1));
    assert!(course.judge(Duration::from_millis(400), STEADY).is_err(), "not at all");
    for decisions in 101..=105 {
        course.see(asked(decisions, 1, 1));
    }
    assert!(course.judge(Duration::from_millis(2199), STEADY).is_ok());
    assert!(course.judge(Duration::from_millis(2200), STEADY).is_err());
    let stood = Stood { longest: Duration::from_millis(40), in_all: Duration::from_millis(200) };
    assert!(course.judge(Duration::from_millis(2200), stood).is_ok(), "the machine stood still");
}

#[test]
fn a_neighbour_that_was_late_before_may_not_be_late_again() {
    let judged = |seen: &[Asked], stood: Stood| {
        let mut course = Course::after(asked(100, 5000, 5000));
        seen.iter().for_each(|asked| course.see(*asked));
        course.judge(PULSE, stood).is_ok()
    };
    assert!(judged(&[asked(100, 5000, 5000), asked(101, 600, 5000), asked(102, 0, 5000)], STEADY), "what was before is over");
    assert!(!judged(&[asked(101, 601, 5000), asked(102, 0, 5000)], STEADY));
    assert!(!judged(&[asked(102, 0, 5001)], STEADY), "nobody looked in time, and it was the worst");
    let stood = Stood { longest: Duration::from_millis(40), in_all: Duration::from_millis(40) };
    assert!(judged(&[asked(101, 640, 5000)], stood), "the machine stood still");
}
