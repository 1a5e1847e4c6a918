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
use pilothouse_core::name::DomainKey;
use pilothouse_core::state::{DomainState, Life};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use self::assign::Assigned;
use self::source::Source;
pub(crate) use self::source::Sources;
pub use self::source::SourcesError;
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
}

/// One series that is pulled.
#[derive(Debug)]
struct Pulled {
    pull: Pull,
    outcome: Arc<Mutex<Outcome>>,
    /// Asks, unless this host has no such source.
    _task: Option<AbortOnDropHandle<()>>,
}

/// How asking went.
#[derive(Clone, Debug, Default)]
struct Outcome {
    /// What the last answer came to, and when it came.
    last: Option<(pilothouse_core::time::Timestamp, Counts)>,
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
    /// is goes on undisturbed.
    pub(crate) fn follow(&mut self, state: &DomainState, asking: &Asking<'_>) {
        let now = (state.incarnation, state.config_revision, state.life);
        if self.seen == Some(now) {
            return;
        }
        let again = self.seen.is_none_or(|(incarnation, ..)| incarnation != state.incarnation);
        self.seen = Some(now);
        let wanted = &state.config.sensors;
        let is_wanted = state.life == Life::Active;
        self.series.retain(|metric, pulled| is_wanted && !again && wanted.get(metric) == Some(&pulled.pull));
        if is_wanted {
            for (metric, pull) in wanted.iter() {
                if !self.series.contains_key(metric) {
                    self.series.insert(metric.to_owned(), Pulled::begin(metric, pull, asking));
                }
            }
        }
    }

    /// How asking goes, by the names of the series.
    pub(crate) fn described(&self) -> BTreeMap<String, PullDescription> {
        self.series.iter().map(|(metric, pulled)| (metric.clone(), pulled.described())).collect()
    }
}

impl Pulled {
    fn begin(metric: &str, pull: &Pull, asking: &Asking<'_>) -> Self {
        let outcome = Arc::new(Mutex::new(Outcome::default()));
        let Some(source) = asking.sources.get(&pull.source) else {
            let message =
                format!("this host has no source {}: its operator adds [prometheus.{}] to its configuration", pull.source, pull.source);
            tracing::warn!(domain = %asking.handle.key, metric, "{message}");
            lock(&outcome).failure = Some(PullFailure { message, at: asking.clock.now(), in_a_row: 1 });
            return Self { pull: pull.clone(), outcome, _task: None };
        };
        let puller = Puller {
            metric: metric.to_owned(),
            pull: pull.clone(),
            source,
            sources: Arc::clone(asking.sources),
            ownership: asking.ownership.clone(),
            clock: asking.clock,
            handle: asking.handle.clone(),
            outcome: Arc::clone(&outcome),
        };
        Self { pull: pull.clone(), outcome, _task: Some(AbortOnDropHandle::new(tokio::spawn(puller.run()))) }
    }

    fn described(&self) -> PullDescription {
        let Outcome { last, failure } = lock(&self.outcome).clone();
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
            failure,
        }
    }
}

/// Asks for one series.
struct Puller {
    metric: String,
    pull: Pull,
    source: Arc<Source>,
    sources: Arc<Sources>,
    ownership: Ownership,
    clock: Clock,
    handle: Handle,
    outcome: Arc<Mutex<Outcome>>,
}

impl Puller {
    async fn run(self) {
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
        let answer = self.source.ask(&self.pull.query, self.pull.patience().to_std(), interval).await?;
        let now = self.clock.now();
        let Some(label) = &self.pull.instance_label else { return assign::to_domain(&answer, &self.metric, now) };
        let state = self.handle.state().await.map_err(|error| error.to_string())?;
        assign::to_instances(&answer, &self.metric, &self.pull, label, &state, now)
    }

    async fn note(&self, asked: Result<Assigned, String>) {
        self.sources.count(asked.as_ref().ok().map(|assigned| assigned.readings.len()));
        let (now, key, metric, source) = (self.clock.now(), &self.handle.key, &self.metric, &self.pull.source);
        match asked {
            Ok(Assigned { readings, unmatched, ambiguous, without_number }) => {
                let counts = Counts { readings: readings.len() as u64, unmatched, ambiguous, without_number };
                let failed = std::mem::replace(&mut *lock(&self.outcome), Outcome { last: Some((now, counts)), failure: None }).failure;
                if let Some(PullFailure { in_a_row, .. }) = failed {
                    tracing::info!(domain = %key, metric, %source, failures = in_a_row, "Prometheus answers again");
                }
                if !readings.is_empty() {
                    // When the domain is gone, so is this task in a moment.
                    let _ = self.handle.deliver(Mail::Readings(readings)).await;
                }
            }
            Err(message) => {
                let mut outcome = lock(&self.outcome);
                let in_a_row = outcome.failure.as_ref().map_or(0, |before| before.in_a_row).saturating_add(1);
                if in_a_row == 1 {
                    tracing::warn!(domain = %key, metric, %source, error = message, "no answer from Prometheus; it is asked again");
                }
                outcome.failure = Some(PullFailure { message, at: now, in_a_row });
            }
        }
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
}
