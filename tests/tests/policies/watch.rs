//! A simulation with an account that looks at every step.

use pilothouse_core::record::Record;
use pilothouse_core::time::{Millis, Timestamp};
use pilothouse_sim::swarm::Failure;
use pilothouse_sim::timeline::{Entry, Step};
use pilothouse_sim::{Scenario, Simulation};
use pilothouse_tests::native::Native;
use serde_json::{Map, Value, json};

use crate::account::{Account, Seen};
use crate::edges::Edges;
use crate::kind::Kind;

/// A domain under way, and who watches it.
pub(crate) struct Watched<'e, K: Kind> {
    simulation: Simulation<'e>,
    /// What was seen so far.
    pub(crate) account: Account<K>,
    edges: &'e mut Edges,
    records: usize,
    /// The start.
    begin: Timestamp,
    /// Milliseconds since the start.
    pub(crate) at: u64,
}

impl<'e, K: Kind> Watched<'e, K> {
    /// A domain that was just added.
    ///
    /// # Errors
    /// When the scenario makes no sense.
    pub(crate) fn begin(scenario: &Scenario, engine: &'e Native<K::Engine>, edges: &'e mut Edges) -> Result<Self, Failure> {
        let simulation = Simulation::begin(scenario, engine, &|conf: &Map<String, Value>| Native::<K::Engine>::check(conf))?;
        let records = simulation.journal().count();
        let begin = simulation.state().now;
        Ok(Self { simulation, account: Account::default(), edges, records, begin, at: 0 })
    }

    /// The domain as it stands.
    pub(crate) fn state(&self) -> &pilothouse_core::state::DomainState {
        self.simulation.state()
    }

    /// The moment at which it stands so.
    pub(crate) fn now(&self) -> Timestamp {
        self.begin + Millis::new(self.at)
    }

    /// How long it is from the start to a moment, in milliseconds.
    pub(crate) fn until(&self, moment: Timestamp) -> u64 {
        moment.since(self.begin).get()
    }

    /// Carries out an entry, now.
    ///
    /// # Errors
    /// When a rule or a promise is broken.
    pub(crate) fn put(&mut self, entry: Entry) -> Result<(), Failure> {
        let entry = Entry { at: self.at as f64 / 1000.0, ..entry };
        let alone = Scenario { events: vec![entry], ..scenario_of::<K>(0) };
        alone.steps()?.iter().try_for_each(|step| self.step(step))
    }

    /// Carries out a step and looks at what came of it.
    ///
    /// # Errors
    /// When a rule or a promise is broken.
    pub(crate) fn step(&mut self, step: &Step) -> Result<(), Failure> {
        self.at = self.at.max((step.at * 1000.0).round() as u64);
        let before = self.simulation.state().clone();
        let lines = self.simulation.step(step)?;
        let records: Vec<Record> =
            self.simulation.journal().skip(self.records).map(|(_, bytes)| Record::from_bytes(bytes).expect("a record")).collect();
        self.records += records.len();
        let (now, after) = (self.now(), self.simulation.state());
        let seen = Seen { now, event: &step.event, before: &before, lines: &lines, records: &records, after };
        self.account.look(&seen, self.edges)
    }
}

/// A scenario of an engine, in which nothing happens yet.
pub(crate) fn scenario_of<K: Kind>(seed: u64) -> Scenario {
    let empty = json!({ "title": format!("the life of seed {seed}"), "engine": K::NAME, "start": "2026-03-01T12:00:00Z", "seed": seed });
    serde_json::from_value(empty).expect("everything else may be left out")
}
