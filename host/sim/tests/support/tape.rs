//! A tape of a true run: everything that a checker is told, in order, to be tampered with.

use pilothouse_core::command::{Command, What};
use pilothouse_core::config::DomainConfig;
use pilothouse_core::cycle::{Cause, Cycle, Fault, FaultKind, LaunchRequest, Verdict};
use pilothouse_core::domain::{Domain, Effect, Look};
use pilothouse_core::engine::SwapReason;
use pilothouse_core::instance::State;
use pilothouse_core::intake::Input;
use pilothouse_core::message::{Heartbeat, Notice, StateReport, Verdict as Beat};
use pilothouse_core::name::{DomainKey, Slot};
use pilothouse_core::promise::Request;
use pilothouse_core::record::{Adopted, EngineInForce, Event, Record, Subscriber};
use pilothouse_core::seed::Seed;
use pilothouse_core::state::{DomainState, Life};
use pilothouse_core::subject::Subjects;
use pilothouse_core::time::{Millis, Timestamp};
use pilothouse_sim::{Checker, Violation};
use serde_json::{Value, json};

use super::{Acts, Under, verdict};

/// What a checker is told.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Begun,
    Ended,
    /// A record was committed, and the host believes what was written.
    Committed(u64, Record),
    /// A record was committed, and the host holds something else in memory.
    Held(u64, Record, Box<DomainState>),
    Sent(Request, Timestamp),
    /// Subscribers were told of the newest record.
    Told(Vec<(Subscriber, Notice)>),
    Restarted,
}

/// Tells a checker everything, the way a host would.
pub(crate) fn watch(steps: &[Step]) -> Result<DomainState, Violation> {
    let mut state = absent();
    let mut checker = Checker::new(absent());
    for step in steps {
        match step {
            Step::Begun => checker.begun()?,
            Step::Ended => checker.ended(),
            Step::Committed(sequence, record) => {
                state.apply(*sequence, record);
                checker.committed(*sequence, record, &state)?;
            }
            Step::Held(sequence, record, held) => {
                state = DomainState::clone(held);
                checker.committed(*sequence, record, &state)?;
            }
            Step::Sent(request, now) => checker.sent(request, *now)?,
            Step::Told(notices) => checker.told(notices)?,
            Step::Restarted => checker.restarted(),
        }
    }
    Ok(state)
}

fn absent() -> DomainState {
    let name = |text: &str| text.parse().expect("a name");
    DomainState::absent(DomainKey { owner: name("ann"), name: name("web") }, Slot(42))
}

fn config(sections: Value) -> DomainConfig {
    DomainConfig::from_json(sections).expect("a good configuration")
}

/// The engine to begin with.
pub(crate) fn in_force() -> EngineInForce {
    EngineInForce { name: "tape".to_owned(), version: "1.0.0".to_owned(), digest: "00".to_owned() }
}

struct Recorder {
    domain: Domain,
    now: Timestamp,
    sequence: u64,
    seeds: u128,
    steps: Vec<Step>,
}

impl Recorder {
    fn commit(&mut self, record: Record) {
        self.sequence += 3;
        let told = self.domain.committed(self.sequence, &record, self.now);
        self.steps.push(Step::Committed(self.sequence, record));
        if !told.notices.is_empty() {
            self.steps.push(Step::Told(told.notices));
        }
    }

    fn take(&mut self) {
        let took = Domain::take(self.domain.state(), &"host".parse().expect("a name"), self.now);
        let mut state = DomainState::clone(self.domain.state());
        self.sequence += 3;
        state.apply(self.sequence, &took);
        self.domain = Domain::taken(state, self.now);
        self.steps.push(Step::Committed(self.sequence, took));
    }

    fn pass(&mut self, secs: u64) {
        self.now = self.now + Millis::from_secs(secs);
    }

    fn decide(&mut self, decide: impl Fn(&mut Cycle) -> Result<(), Fault>) {
        self.seeds += 1;
        self.domain.ask(Cause::Pulse, self.now);
        let cycle = self.domain.begin(self.now, Seed(self.seeds.to_be_bytes())).expect("a decision is due");
        self.steps.push(Step::Begun);
        let acts = Acts("tape", |cycle: &mut Cycle, memory: &[u8]| -> Result<Verdict, Fault> {
            decide(cycle)?;
            Ok(verdict(memory))
        });
        let ran = cycle.run(&Under(self.domain.state().engine.clone(), acts));
        self.steps.push(Step::Ended);
        if let (Some(record), _) = self.domain.finish(ran, self.now) {
            self.commit(record);
        }
    }

    fn swap(&mut self, version: &str) {
        let engine = EngineInForce { version: version.to_owned(), digest: version.to_owned(), ..in_force() };
        let record = self.domain.swap(&engine, SwapReason::Followed, self.now).expect("it can be swapped");
        self.commit(record);
    }

    /// So many faults that speak against the version in force.
    fn fail(&mut self, times: u32) {
        for _ in 0..times {
            self.pass(5);
            self.decide(|_| Err(Fault::new(FaultKind::Trap, "unreachable executed")));
        }
    }

    fn launch(&mut self, count: u32) {
        self.decide(|cycle| {
            let vars = vec![("role".to_owned(), "worker".to_owned())];
            let words = ["worker", "here", "small"].map(str::to_owned);
            let [deployable_type, site, allocation] = words;
            let request = LaunchRequest { deployable_type, site, allocation, count, extra_vars: vars, replaces: None, options: Vec::new() };
            cycle.launch(request).map(drop).map_err(|refusal| Fault::new(FaultKind::Returned, refusal.to_string()))
        });
    }

    fn destroy(&mut self, ordinal: u64) {
        let id = self.id(ordinal).to_string();
        self.decide(|cycle| {
            let done = cycle.destroy(std::slice::from_ref(&id), "there are too many".to_owned());
            done.map(drop).map_err(|refusal| Fault::new(FaultKind::Returned, refusal.to_string()))
        });
    }

    fn id(&self, ordinal: u64) -> pilothouse_core::id::InstanceId {
        self.domain.state().instance_at(ordinal).expect("it is there").id.clone()
    }

    fn look(&mut self, inputs: Vec<Input>, look: Look) {
        if let Some(record) = self.domain.look(inputs, look, self.now, |id| panic!("{id} is not here")) {
            self.commit(record);
        }
    }

    fn report(&mut self, ordinal: u64, state: State) {
        self.look(vec![Input::Report(self.id(ordinal), StateReport::new(state))], Look::default());
    }

    fn health(&mut self) {
        self.look(Vec::new(), Look { health: true, ..Look::default() });
    }

    fn act(&mut self) {
        let subjects = Subjects::new(&"ph".parse().expect("a name"));
        for effect in self.domain.effects(&subjects, self.now) {
            if let Effect::Request(request) = effect {
                self.steps.push(Step::Sent(request, self.now));
            }
        }
    }

    fn command(&mut self, what: What) {
        let command = Command { by: "ann".parse().expect("a name"), request: None, what };
        let commanded = self.domain.command(command, self.now).expect("it is taken");
        self.commit(commanded.record.expect("it changes something"));
    }
}

pub(crate) fn subscriber(name: &str) -> Subscriber {
    Subscriber { name: name.parse().expect("a name"), operation: "changed".parse().expect("a name") }
}

/// An instance that a provisioner runs, and of which nothing is on record.
fn adopted() -> Adopted {
    Adopted {
        id: "orphan".parse().expect("an id"),
        launch: "l-of-old".parse().expect("an id"),
        deployable_type: "worker".to_owned(),
        site: "here".to_owned(),
        allocation: "small".to_owned(),
        state: State::Running,
        attributes: [("public_ip".to_owned(), "10.0.0.9".to_owned())].into(),
        extra_vars: vec![("label".to_owned(), "n1".to_owned())],
    }
}

/// A whole life: launches, retries, a launch that stalls, ends, one that rises, a restart, a snapshot, and the removal of the domain.
pub(crate) fn tape() -> Vec<Step> {
    let now = Timestamp::from_secs(1_000_000);
    let mut run = Recorder { domain: Domain::taken(absent(), now), now, sequence: 0, seeds: 0, steps: Vec::new() };
    run.take();
    let sections = json!({"general": {"engine": "tape", "max_instances": 4, "launch_timeout": 60, "record_reaping_max_age": 600}, "health": {"zombie_seconds": 10}});
    run.command(What::Add { config: config(sections), engine: in_force(), subscriber: None });
    // Three, of which nobody hears at once.
    run.launch(3);
    run.act();
    run.pass(5);
    run.act();
    // The first two come up; the third stalls and is asked for again, then given up.
    run.report(0, State::Pending);
    run.report(0, State::Running);
    run.report(1, State::Running);
    run.pass(60);
    run.health();
    run.act();
    run.pass(61);
    run.health();
    run.act();
    // Somebody wants to be told, and an operator keeps one.
    run.command(What::Subscribe(subscriber("bob")));
    run.command(What::Protect { instance: "0".to_owned(), on: true });
    // A fault, a restart, a snapshot.
    run.decide(|_| Err(Fault::new(FaultKind::Trap, "unreachable executed")));
    run.steps.push(Step::Restarted);
    run.take();
    run.act();
    let snapshot = Event::Snapshot(Box::new(DomainState::clone(run.domain.state())));
    run.commit(Record::new(run.now, run.domain.state().epoch, vec![snapshot]));
    run.report(2, State::Terminated);
    // When the site has recovered, one more, up to the maximum less one; one ends and rises.
    run.pass(5);
    run.launch(1);
    run.act();
    run.report(3, State::Running);
    run.destroy(1);
    run.act();
    run.pass(5);
    run.act();
    run.report(1, State::Terminated);
    run.pass(20);
    run.look(vec![Input::Heartbeat(run.id(1), Heartbeat { verdict: Beat::Ok })], Look { health: true, ..Look::default() });
    run.report(1, State::Running);
    run.act();
    run.report(1, State::Terminated);
    // One is taken in, killed, and ends; the one that was protected is so no more.
    run.command(What::Adopt(adopted()));
    run.command(What::Kill { instance: "orphan".to_owned(), reason: "it is not needed".to_owned() });
    run.act();
    run.report(4, State::Terminated);
    run.command(What::Protect { instance: "0".to_owned(), on: false });
    // Paused and not; in dry run and not.
    run.command(What::Pause(true));
    run.command(What::Pause(false));
    run.command(What::DryRun(true));
    run.command(What::DryRun(false));
    // Another version takes over and works, then fails: back to the one before; that fails, too, and is held until somebody says a word.
    run.swap("1.1.0");
    run.decide(|_| Ok(()));
    run.fail(3);
    run.fail(3);
    assert!(run.domain.state().held().is_some(), "nothing to go back to");
    run.command(What::Retry);
    run.decide(|_| Ok(()));
    // Long after, records of those that are gone are dropped, and at last the domain goes.
    run.pass(2000);
    run.health();
    run.look(Vec::new(), Look { reaping: true, ..Look::default() });
    run.command(What::Remove { abandon: false });
    run.look(Vec::new(), Look { removal: true, ..Look::default() });
    run.act();
    run.report(0, State::Terminated);
    run.report(3, State::Terminated);
    assert!(run.domain.is_empty_at_last(), "nobody is left");
    run.commit(run.domain.removed(run.now));
    assert_eq!(run.domain.state().life, Life::Removed);
    assert_eq!(watch(&run.steps).as_ref(), Ok(&**run.domain.state()), "the tape as it was recorded is true");
    run.steps
}
