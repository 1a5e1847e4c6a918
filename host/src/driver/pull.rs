//! Sensors that are pulled: what a domain's configuration asks for is asked of Prometheus servers, again and again, and becomes readings
//! like those that come in on NATS.
//!
//! The task of a domain holds its [`Pulls`], so only a host that owns a domain asks for it, and when that task ends nobody asks any more.
//! Asking happens in tasks of its own, off the way of decisions; what comes back goes into the domain's mailbox.

mod answer;
mod assign;
mod source;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pilothouse_core::config::Pull;
use pilothouse_core::message::Reading;
use pilothouse_core::name::{DomainKey, Name};
use pilothouse_core::sensor::{Scope, TooManySeries};
use pilothouse_core::state::{DomainState, Life};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use self::assign::Assigned;
pub(crate) use self::source::Sources;
pub use self::source::SourcesError;
use self::source::{PLACES_OF_A_DOMAIN, Question, Source, Trouble};
use super::clock::Clock;
use super::ownership::Ownership;
use super::router::{Handle, Mail};
use crate::api::{PullDescription, PullFailure};

/// The first questions of many domains are spread over so long, and the later ones with them: a host that takes a thousand domains at
/// once must not ask a thousand questions at once.
const SPREAD: Duration = Duration::from_secs(10);

/// What is pulled for one domain. Nothing is asked any more when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Pulls {
    /// Of which state this is.
    seen: Option<(u64, u64, Life)>,
    series: BTreeMap<String, Pulled>,
    /// The domain's own places at each source.
    places: BTreeMap<Name, Arc<Semaphore>>,
}

/// One series that is pulled.
#[derive(Debug)]
struct Pulled {
    pull: Pull,
    outcome: Arc<Mutex<Outcome>>,
    _asking: AskingFor,
}

/// What a series that is pulled holds on to.
#[derive(Debug)]
enum AskingFor {
    /// The task that asks.
    Task { _task: AbortOnDropHandle<()> },
    /// This host has no such source.
    Nothing { _trouble: Trouble },
}

/// The readings of one answer, on their way to the domain.
#[derive(Debug)]
pub(crate) struct Batch {
    metric: String,
    /// Tells which pull they are of: what was asked may have changed meanwhile.
    outcome: Arc<Mutex<Outcome>>,
    readings: Vec<(Scope, Reading)>,
    /// Waits for the number of those that were dropped.
    taken: oneshot::Sender<usize>,
}

impl Batch {
    /// Gives the readings away one by one. One that is refused hinders no other: series that are known go on where new ones find no room.
    pub(crate) fn hand_over(self, mut take: impl FnMut(Scope, Reading) -> Result<(), TooManySeries>) {
        let dropped = self.readings.into_iter().map(|(scope, reading)| take(scope, reading)).filter(Result::is_err).count();
        // Nobody waits if the pull was taken away just now.
        let _ = self.taken.send(dropped);
    }
}

/// How asking went.
#[derive(Clone, Debug, Default)]
struct Outcome {
    /// What the last answer came to, and when it came.
    last: Option<(pilothouse_core::time::Timestamp, Counts)>,
    /// What the server said against it.
    warning: Option<String>,
    failure: Option<PullFailure>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    readings: u64,
    unmatched: u64,
    ambiguous: u64,
    without_number: u64,
}

/// What a task needs to ask.
pub(crate) struct Asking<'a> {
    pub(crate) sources: &'a Arc<Sources>,
    pub(crate) ownership: &'a Ownership,
    pub(crate) clock: Clock,
    pub(crate) handle: &'a Handle,
}

impl Pulls {
    /// Begins to ask for what is new in the configuration of a domain, and stops asking for what is not in it any more. What stays as it
    /// is goes on undisturbed. Returns the series that end: what comes under their names from now on is something else.
    #[must_use]
    pub(crate) fn follow(&mut self, state: &DomainState, asking: &Asking<'_>) -> Vec<String> {
        let now = (state.incarnation, state.config_revision, state.life);
        if self.seen == Some(now) {
            return Vec::new();
        }
        let again = self.seen.is_none_or(|(incarnation, ..)| incarnation != state.incarnation);
        self.seen = Some(now);
        let wanted = &state.config.sensors;
        let is_wanted = state.life == Life::Active;
        let mut ended = Vec::new();
        self.series.retain(|metric, pulled| {
            let new = wanted.get(metric).filter(|_| is_wanted && !again);
            if !new.is_some_and(|new| new.asks_like(&pulled.pull)) {
                ended.push(metric.clone());
            }
            new == Some(&pulled.pull)
        });
        if is_wanted {
            for (metric, pull) in wanted.iter() {
                if !self.series.contains_key(metric) {
                    self.series.insert(metric.to_owned(), Pulled::begin(metric, pull, asking, &mut self.places));
                }
            }
        }
        ended
    }

    /// Whether readings are answers to a pull that is still in the configuration.
    pub(crate) fn asked_for(&self, batch: &Batch) -> bool {
        self.series.get(&batch.metric).is_some_and(|pulled| Arc::ptr_eq(&pulled.outcome, &batch.outcome))
    }

    /// How asking goes, by the names of the series.
    pub(crate) fn described(&self) -> BTreeMap<String, PullDescription> {
        self.series.iter().map(|(metric, pulled)| (metric.clone(), pulled.described())).collect()
    }
}

impl Pulled {
    fn begin(metric: &str, pull: &Pull, asking: &Asking<'_>, places: &mut BTreeMap<Name, Arc<Semaphore>>) -> Self {
        let outcome = Arc::new(Mutex::new(Outcome::default()));
        let Some(source) = asking.sources.get(&pull.source) else {
            let message =
                format!("this host has no source {}: its operator adds [prometheus.{}] to its configuration", pull.source, pull.source);
            let trouble = asking.sources.trouble(&pull.source, &message, &asking.handle.key, metric);
            lock(&outcome).failure = Some(PullFailure { message, at: asking.clock.now(), in_a_row: 1 });
            return Self { pull: pull.clone(), outcome, _asking: AskingFor::Nothing { _trouble: trouble } };
        };
        let puller = Puller {
            metric: metric.to_owned(),
            pull: pull.clone(),
            source,
            places: Arc::clone(places.entry(pull.source.clone()).or_insert_with(|| Arc::new(Semaphore::new(PLACES_OF_A_DOMAIN)))),
            sources: Arc::clone(asking.sources),
            ownership: asking.ownership.clone(),
            clock: asking.clock,
            handle: asking.handle.clone(),
            outcome: Arc::clone(&outcome),
            trouble: None,
        };
        let task = AbortOnDropHandle::new(tokio::spawn(puller.run()));
        Self { pull: pull.clone(), outcome, _asking: AskingFor::Task { _task: task } }
    }

    fn described(&self) -> PullDescription {
        let Outcome { last, warning, failure } = lock(&self.outcome).clone();
        let (at, counts) = last.unzip();
        let Counts { readings, unmatched, ambiguous, without_number } = counts.unwrap_or_default();
        PullDescription {
            source: self.pull.source.clone(),
            query: self.pull.query.clone(),
            interval: self.pull.interval.as_secs_f64(),
            last_success: at,
            readings,
            unmatched,
            ambiguous,
            without_number,
            warning,
            failure,
        }
    }
}

/// Asks for one series.
struct Puller {
    metric: String,
    pull: Pull,
    source: Arc<Source>,
    /// The domain's own places at the source.
    places: Arc<Semaphore>,
    sources: Arc<Sources>,
    ownership: Ownership,
    clock: Clock,
    handle: Handle,
    outcome: Arc<Mutex<Outcome>>,
    /// What goes wrong now.
    trouble: Option<Trouble>,
}

impl Puller {
    async fn run(mut self) {
        let interval = self.pull.interval.to_std();
        let mut turns = tokio::time::interval_at(Instant::now() + turn(&self.handle.key, &self.metric, interval), interval);
        turns.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            turns.tick().await;
            // A lease that ran out is noticed here at once, and by the domain's task a moment later.
            if self.ownership.is_mine() {
                let asked = self.ask(interval).await;
                self.note(asked).await;
            }
        }
    }

    async fn ask(&self, interval: Duration) -> Result<Assigned, String> {
        let question = Question { query: &self.pull.query, patience: self.pull.patience().to_std(), queue: interval };
        let whose = async {
            match self.pull.instance_label {
                Some(_) => self.handle.state().await.map(Some).map_err(|error| error.to_string()),
                None => Ok(None),
            }
        };
        let (metric, pull, clock) = (self.metric.clone(), self.pull.clone(), self.clock);
        let assign = move |answer: answer::Answer, whose: Option<Arc<DomainState>>| {
            let now = clock.now();
            let assigned = match (whose, &pull.instance_label) {
                (Some(state), Some(label)) => assign::to_instances(&answer.series, &metric, &pull, label, &state, now)?,
                _ => assign::to_domain(&answer.series, &metric, now)?,
            };
            Ok(Assigned { warning: answer.warning, ..assigned })
        };
        self.source.ask(question, &self.places, whose, assign).await
    }

    async fn note(&mut self, asked: Result<Assigned, String>) {
        self.sources.count(asked.as_ref().ok().map(|assigned| assigned.readings.len()));
        let failure = match asked {
            Ok(Assigned { readings, unmatched, ambiguous, without_number, warning }) => {
                let came = readings.len();
                // When the domain is gone, so is this task in a moment.
                let Some(dropped) = self.deliver(readings).await else { return };
                let counts = Counts { readings: (came - dropped) as u64, unmatched, ambiguous, without_number };
                let mut outcome = lock(&self.outcome);
                (outcome.last, outcome.warning) = (Some((self.clock.now(), counts)), warning);
                (dropped > 0).then(|| format!("{TooManySeries}: {dropped} of {came} readings of the newest answer were dropped"))
            }
            Err(message) => Some(message),
        };
        let mut outcome = lock(&self.outcome);
        match failure {
            Some(message) => {
                let in_a_row = outcome.failure.as_ref().map_or(0, |before| before.in_a_row).saturating_add(1);
                let Self { sources, pull, handle, metric, trouble, .. } = self;
                // Another trouble than before is told, too.
                if trouble.as_ref().is_none_or(|known| !known.is(&message)) {
                    *trouble = Some(sources.trouble(&pull.source, &message, &handle.key, metric));
                }
                outcome.failure = Some(PullFailure { message, at: self.clock.now(), in_a_row });
            }
            None => {
                outcome.failure = None;
                if let Some(trouble) = self.trouble.take() {
                    trouble.over();
                }
            }
        }
    }

    /// Delivers readings, and waits until the domain has taken them. How many it dropped; nothing when there is no such domain any more.
    async fn deliver(&self, readings: Vec<(Scope, Reading)>) -> Option<usize> {
        if readings.is_empty() {
            return Some(0);
        }
        let (taken, waiting) = oneshot::channel();
        let batch = Batch { metric: self.metric.clone(), outcome: Arc::clone(&self.outcome), readings, taken };
        self.handle.deliver(Mail::Readings(batch)).await.ok()?;
        waiting.await.ok()
    }
}

/// When a series is asked for first, counted from now: always the same for one series, and another for others.
fn turn(key: &DomainKey, metric: &str, interval: Duration) -> Duration {
    let digest = Sha256::digest(format!("{key}\n{metric}"));
    let share = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    interval.min(SPREAD).mul_f64(f64::from(share) / f64::from(u32::MAX))
}

fn lock(outcome: &Mutex<Outcome>) -> MutexGuard<'_, Outcome> {
    outcome.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_questions_of_many_domains_are_spread_and_always_the_same() {
        let key = |n: u32| DomainKey { owner: "ann".parse().expect("a name"), name: format!("d{n}").parse().expect("a name") };
        let turns: Vec<_> = (0..1000).map(|n| turn(&key(n), "queue", Duration::from_secs(60))).collect();
        assert!(turns.iter().all(|turn| *turn <= SPREAD));
        let in_second = |second: u64| turns.iter().filter(|turn| turn.as_secs() == second).count();
        assert!((0..10).all(|second| (60..140).contains(&in_second(second))), "{:?}", (0..10).map(in_second).collect::<Vec<_>>());
        assert_eq!(turn(&key(7), "queue", Duration::from_secs(60)), turns[7]);
        assert_ne!(turn(&key(7), "load", Duration::from_secs(60)), turns[7]);
        assert!(turn(&key(7), "queue", Duration::from_secs(1)) <= Duration::from_secs(1));
    }

    #[test]
    fn what_a_domain_has_no_room_for_is_counted_and_hinders_no_other() {
        let reading = |value: f64| (Scope::Domain, Reading { metric: "q".into(), time: pilothouse_core::time::Timestamp::ZERO, value });
        let (taken, mut waiting) = oneshot::channel();
        let readings = [1.0, 2.0, 3.0, 4.0].map(reading).to_vec();
        let batch = Batch { metric: "q".into(), outcome: Arc::default(), readings, taken };
        let mut tried = Vec::new();
        batch.hand_over(|_, reading| {
            tried.push(reading.value);
            if reading.value < 2.0 || reading.value > 3.0 { Ok(()) } else { Err(TooManySeries) }
        });
        assert_eq!((tried, waiting.try_recv()), (vec![1.0, 2.0, 3.0, 4.0], Ok(2)));
    }
}
