//! A domain on a bench: the real one, with a journal in memory.

use pilothouse_core::command::{ApiError, Command, What};
use pilothouse_core::config::DomainConfig;
use pilothouse_core::cycle::{Cycle, Finished, Ran};
use pilothouse_core::domain::{Domain, Effect, Told};
use pilothouse_core::engine::SwapReason;
use pilothouse_core::id::LaunchId;
use pilothouse_core::instance::{Instance, State};
use pilothouse_core::intake::Input;
use pilothouse_core::message::Notice;
use pilothouse_core::name::{DomainKey, Slot};
use pilothouse_core::promise::Request;
use pilothouse_core::record::{Change, Configured, Decision, EngineInForce, Event, Record, Restored, Subscriber};
use pilothouse_core::seed::Seed;
use pilothouse_core::state::DomainState;
use pilothouse_core::subject::Subjects;
use pilothouse_core::time::{Millis, Timestamp};
use pilothouse_sim::{Checker, Violation};
use serde_json::{Value, json};

use super::Native;

/// What happened to the state, from the beginning.
enum Step {
    Record(u64, Record),
    /// A fact from outside, as a test puts it there.
    Set(Box<Instance>),
}

pub(crate) struct Bench {
    pub(crate) domain: Domain,
    pub(crate) now: Timestamp,
    pub(crate) subjects: Subjects,
    history: Vec<Step>,
    sequence: u64,
    seeds: u128,
    /// What subscribers were told, from the beginning of this host.
    pub(crate) notices: Vec<(Subscriber, Notice)>,
    /// What a test kept for later.
    pub(crate) backup: Option<DomainState>,
    /// Holds after every step what must always hold.
    checker: Checker,
}

/// A configuration with these sections, and an engine that is native.
pub(crate) fn config(sections: Value) -> DomainConfig {
    let mut config = DomainConfig::from_json(sections).expect("a good configuration");
    config.general.engine = "native".to_owned();
    config
}

/// An instance of a launch of its own.
pub(crate) fn instance(id: &str, ordinal: u64, state: State, since: Timestamp) -> Instance {
    let launch = format!("launch-of-{id}").parse::<LaunchId>().expect("a launch id");
    Instance {
        deployable_type: "worker".to_owned(),
        site: "here".to_owned(),
        allocation: "small".to_owned(),
        state,
        ..Instance::requesting(id.parse().expect("an instance id"), launch, ordinal, since, 1)
    }
}

/// The engine of a domain, to begin with.
fn engine() -> EngineInForce {
    super::engine("native", "1.0.0")
}

impl Bench {
    /// A domain that was added in 1970 and is taken now.
    pub(crate) fn new(config: DomainConfig, now: Timestamp) -> Self {
        Self::with(config, now, [])
    }

    /// The same, with these instances there before.
    pub(crate) fn with(config: DomainConfig, now: Timestamp, instances: impl IntoIterator<Item = Instance>) -> Self {
        let change = Change::Added { config, engine: engine() };
        let added = Configured { by: "ann".parse().expect("a name"), request: None, answer: json!({}), change };
        let first = Record::new(Timestamp::ZERO, 0, vec![Event::Configured(added)]);
        let mut history = vec![Step::Record(1, first.clone())];
        let mut checker = Checker::new(absent());
        holds(checker.committed(1, &first, &fold(&history, false)));
        for it in instances {
            checker.given(&it);
            history.push(Step::Set(Box::new(it)));
        }
        Self::from(history, checker, 1, now)
    }

    /// A name that was never used.
    pub(crate) fn absent(now: Timestamp) -> Self {
        Self::from(Vec::new(), Checker::new(absent()), 0, now)
    }

    #[track_caller]
    fn from(history: Vec<Step>, mut checker: Checker, sequence: u64, now: Timestamp) -> Self {
        let state = fold(&history, false);
        let sequence = sequence + 3;
        let took = Domain::take(&state, &"host-a".parse().expect("a name"), now);
        let mut history = history;
        history.push(Step::Record(sequence, took.clone()));
        let state = fold(&history, true);
        holds(checker.committed(sequence, &took, &state));
        Self {
            domain: Domain::taken(state, now),
            now,
            subjects: Subjects::new(&"ph".parse().expect("a name")),
            history,
            sequence,
            seeds: 0,
            notices: Vec::new(),
            backup: None,
            checker,
        }
    }

    /// The host dies, and another takes the domain from what the journal holds.
    #[track_caller]
    pub(crate) fn restart(mut self, now: Timestamp) -> Self {
        self.checker.restarted();
        Self { seeds: self.seeds, backup: self.backup, notices: self.notices, ..Self::from(self.history, self.checker, self.sequence, now) }
    }

    pub(crate) fn at(&mut self, secs: f64) -> &mut Self {
        self.now = Timestamp::from_millis((secs * 1000.0).round() as u64);
        self
    }

    pub(crate) fn pass(&mut self, length: Millis) -> &mut Self {
        self.now = self.now + length;
        self
    }

    /// Appends a record and folds it in.
    #[track_caller]
    pub(crate) fn commit(&mut self, record: Record) -> Told {
        // Some tests end a decision on the domain itself.
        if record.events.iter().any(|event| matches!(event, Event::Decided(_) | Event::Faulted(_))) {
            self.checker.ended();
        }
        // The stream holds other domains, too: sequences have gaps.
        self.sequence += 3;
        let told = self.domain.committed(self.sequence, &record, self.now);
        holds(self.checker.committed(self.sequence, &record, self.domain.state()));
        holds(self.checker.told(&told.notices));
        self.notices.extend(told.notices.iter().cloned());
        assert!(self.domain.next_look(self.now) >= self.now, "the next look lies ahead");
        self.history.push(Step::Record(self.sequence, record));
        told
    }

    /// Takes inputs and what is due. Returns what was recorded.
    pub(crate) fn absorb(&mut self, inputs: impl IntoIterator<Item = Input>) -> Option<Record> {
        let record = self.domain.absorb(inputs, true, self.now, |stranger| panic!("{stranger} is not here"))?;
        self.commit(record.clone());
        Some(record)
    }

    pub(crate) fn tick(&mut self) -> Option<Record> {
        self.absorb([])
    }

    /// Puts a record where a test wants it.
    pub(crate) fn set(&mut self, instance: Instance) {
        self.checker.given(&instance);
        self.history.push(Step::Set(Box::new(instance.clone())));
        self.domain.set(instance, self.now);
    }

    pub(crate) fn command(&mut self, what: What) -> Result<Value, ApiError> {
        self.request(None, what)
    }

    pub(crate) fn request(&mut self, request: Option<&str>, what: What) -> Result<Value, ApiError> {
        let command = Command { by: "ann".parse().expect("a name"), request: request.map(str::to_owned), what };
        let commanded = self.domain.command(command, self.now)?;
        if let Some(record) = commanded.record {
            self.commit(record);
        }
        Ok(commanded.answer)
    }

    /// A command that adds a domain of this configuration.
    pub(crate) fn add(config: DomainConfig) -> What {
        What::Add { config, engine: engine(), subscriber: None }
    }

    /// A command that gives the domain this configuration.
    pub(crate) fn reconfigure(&self, config: DomainConfig) -> What {
        What::Reconfigure { config, engine: engine(), from_revision: self.state().config_revision }
    }

    /// Another engine decides from now on.
    #[track_caller]
    pub(crate) fn give_to(&mut self, name: &str) {
        let (mut config, from_revision) = (self.state().config.clone(), self.state().config_revision);
        config.general.engine = name.to_owned();
        self.command(What::Reconfigure { config, engine: super::engine(name, "1.0.0"), from_revision }).expect("taken");
    }

    /// A command that gives the domain these sections, and this version of its engine.
    pub(crate) fn reconfigure_to(&self, version: &str, sections: Value) -> What {
        let engine = super::engine("native", version);
        What::Reconfigure { config: config(sections), engine, from_revision: self.state().config_revision }
    }

    #[track_caller]
    pub(crate) fn begin(&mut self) -> Option<Cycle> {
        self.seeds += 1;
        let cycle = self.domain.begin(self.now, Seed(self.seeds.to_be_bytes()))?;
        holds(self.checker.begun());
        Some(cycle)
    }

    #[track_caller]
    pub(crate) fn finish(&mut self, ran: Ran) -> (Option<Record>, Finished) {
        self.checker.ended();
        let (record, finished) = self.domain.finish(ran, self.now);
        if let Some(record) = &record {
            self.commit(record.clone());
        }
        (record, finished)
    }

    /// Ends a decision whose record finds no room.
    pub(crate) fn give_up(&mut self, ran: Ran) -> Option<Record> {
        self.checker.ended();
        let (record, _) = self.domain.finish(ran, self.now);
        self.domain.given_up(self.now);
        record
    }

    /// A whole decision, which must be due.
    #[track_caller]
    pub(crate) fn decide(&mut self, engine: &Native<'_>) -> (Option<Record>, Finished) {
        let cycle = self.begin().expect("a decision is due");
        self.finish(cycle.run(engine))
    }

    /// Lets time pass until a decision is due, and decides.
    #[track_caller]
    pub(crate) fn decide_next(&mut self, engine: &Native<'_>) -> (Option<Record>, Finished) {
        self.pass(self.state().pace().max(Millis::from_secs(300)));
        self.decide(engine)
    }

    /// Puts another version into force. Whether it could be done.
    pub(crate) fn swap(&mut self, engine: &EngineInForce, why: SwapReason) -> bool {
        let record = self.domain.swap(engine, why, self.now);
        record.map(|record| self.commit(record)).is_some()
    }

    /// A whole decision, which must be due, with what runs beside. Returns what was recorded of both.
    #[track_caller]
    pub(crate) fn decide_beside(&mut self, engine: &Native<'_>, shadow: &Native<'_>) -> (Option<Record>, Option<Record>) {
        let cycle = self.begin().expect("a decision is due");
        assert!(self.domain.shadowing().is_some(), "a shadow runs beside");
        // One that has failed is left alone now and then.
        let beside = self.domain.shadow_cycle(&cycle);
        let (ran, wanted) = (cycle.run(engine), beside.map(|beside| beside.run(shadow)));
        let (record, finished) = self.finish(ran);
        let carried_out = |decided: &Decision| !finished.taken_back && !decided.dry_run;
        let told = finished.said.as_ref().zip(wanted).and_then(|(decided, wanted)| self.compare(wanted, decided, carried_out(decided)));
        (record, told)
    }

    /// Takes what a shadow wanted.
    #[track_caller]
    pub(crate) fn compare(&mut self, wanted: Ran, decided: &Decision, carried_out: bool) -> Option<Record> {
        let record = self.domain.compare(wanted, decided, carried_out, self.now)?;
        self.commit(record.clone());
        Some(record)
    }

    pub(crate) fn requests(&mut self) -> Vec<Request> {
        let effects = self.effects().into_iter();
        effects.filter_map(|effect| if let Effect::Request(request) = effect { Some(request) } else { None }).collect()
    }

    #[track_caller]
    pub(crate) fn effects(&mut self) -> Vec<Effect> {
        let effects = self.domain.effects(&self.subjects, self.now);
        for effect in &effects {
            if let Effect::Request(request) = effect {
                holds(self.checker.sent(request, self.now));
            }
        }
        effects
    }

    pub(crate) fn state(&self) -> &DomainState {
        self.domain.state()
    }

    pub(crate) fn instances(&self) -> Vec<&Instance> {
        self.state().instances().map(|it| &**it).collect()
    }

    #[track_caller]
    pub(crate) fn instance(&self, id: &str) -> &Instance {
        self.state().instance(&id.parse().expect("an id")).unwrap_or_else(|| panic!("no instance {id}"))
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = (u64, &Record)> {
        self.history.iter().filter_map(|step| if let Step::Record(sequence, record) = step { Some((*sequence, record)) } else { None })
    }

    /// The state as another host would find it, with every record read from its bytes.
    pub(crate) fn folded(&self) -> DomainState {
        fold(&self.history, true)
    }

    /// Appends a snapshot, whether one is due or not.
    pub(crate) fn snapshot(&mut self) {
        let event = Event::Snapshot(Box::new(self.state().clone()));
        self.commit(Record::new(self.now.max(self.state().now), self.state().epoch, vec![event]));
    }

    /// Appends a backup, the way a restore does.
    pub(crate) fn restore(&mut self, backup: DomainState, paused: bool) {
        let (at, epoch) = (self.now.max(self.state().now), (self.state().epoch + 1).max(1_000));
        let restored = Restored { by: "eve".parse().expect("a name"), backup_at: backup.now, state: backup, paused };
        self.commit(Record::new(at, epoch, vec![Event::Restored(Box::new(restored))]));
    }

    /// The state as another host would find it from the newest snapshot on, if there is one.
    pub(crate) fn folded_from_snapshot(&self) -> Option<DomainState> {
        let is_snapshot = |step: &Step| matches!(step, Step::Record(_, record) if record.is_snapshot());
        let newest = self.history.iter().rposition(is_snapshot)?;
        Some(fold(&self.history[newest..], true))
    }
}

/// What a checker says to a step.
#[track_caller]
fn holds(said: Result<(), Violation>) {
    said.unwrap_or_else(|violation| panic!("{violation}"));
}

/// The domain of which nothing is written yet.
fn absent() -> DomainState {
    let name = |text: &str| text.parse().expect("a name");
    DomainState::absent(DomainKey { owner: name("ann"), name: name("web") }, Slot(42))
}

fn fold(history: &[Step], through_bytes: bool) -> DomainState {
    let mut state = absent();
    for step in history {
        match step {
            Step::Set(instance) => state.set(Instance::clone(instance)),
            Step::Record(sequence, record) if through_bytes => {
                let read = Record::from_bytes(&record.to_bytes()).expect("a record can be read");
                state.apply(*sequence, &read);
            }
            Step::Record(sequence, record) => drop(state.apply(*sequence, record)),
        }
    }
    state
}

/// Equal, or a panic that names only what differs.
#[track_caller]
pub(crate) fn same(expected: &DomainState, got: &DomainState, what: &str) {
    if expected != got {
        let (expected, got) = (json!(expected), json!(got));
        let differs = |(key, value): (&String, &Value)| (got[key] != *value).then(|| format!("{key}: {value} but got {}", got[key]));
        let all: Vec<_> = expected.as_object().into_iter().flatten().filter_map(differs).collect();
        panic!("{what}: {}", if all.is_empty() { "the index differs".to_owned() } else { all.join("; ") });
    }
}
