//! Every checker catches a planted fault: one thing of a true run is tampered with, and the rule that it breaks is named.

mod support;

use pilothouse_core::cycle::FaultKind;
use pilothouse_core::engine::{SwapReason, Swapped};
use pilothouse_core::id::InstanceId;
use pilothouse_core::instance::{Health, State};
use pilothouse_core::message::{Provision, Terminate};
use pilothouse_core::promise::Request;
use pilothouse_core::record::{Change, Configured, Decision, Event, Judged, Judgement, Record, Reported};
use pilothouse_core::state::DomainState;
use pilothouse_core::time::Millis;
use pilothouse_sim::Rule;
use serde_json::Value;
use support::{Step, in_force, subscriber, tape, watch};

/// A true run with one thing that is not.
struct Plant {
    steps: Vec<Step>,
    /// The step that is tampered with, or after which something is put.
    at: usize,
}

/// The first step that fits, from a step on.
fn find(steps: &[Step], from: usize, fits: impl Fn(&Step) -> bool) -> usize {
    from + steps[from..].iter().position(fits).expect("the tape has such a step")
}

fn event(step: &Step, fits: impl Fn(&Event) -> bool) -> bool {
    matches!(step, Step::Committed(_, record) if record.events.iter().any(fits))
}

fn launches(event: &Event) -> bool {
    matches!(event, Event::Decided(it) if !it.launches.is_empty())
}

fn terminates(event: &Event) -> bool {
    matches!(event, Event::Decided(it) if !it.terminations.is_empty())
}

fn reports(event: &Event, of: State) -> bool {
    matches!(event, Event::Reported(it) if it.state == Some(of))
}

impl Plant {
    /// The how-manieth step that fits.
    fn nth(nth: usize, fits: impl Fn(&Step) -> bool) -> Self {
        let steps = tape();
        let mut at = find(&steps, 0, &fits);
        for _ in 0..nth {
            at = find(&steps, at + 1, &fits);
        }
        Self { steps, at }
    }

    fn at_record(nth: usize, fits: impl Fn(&Event) -> bool) -> Self {
        Self::nth(nth, |step| event(step, &fits))
    }

    fn at_provision(nth: usize) -> Self {
        Self::nth(nth, |step| matches!(step, Step::Sent(Request::Provision(_), _)))
    }

    fn at_terminate(nth: usize) -> Self {
        Self::nth(nth, |step| matches!(step, Step::Sent(Request::Terminate { .. }, _)))
    }

    fn record(mut self, change: impl FnOnce(&mut u64, &mut Record)) -> Self {
        let Step::Committed(sequence, record) = &mut self.steps[self.at] else { panic!("a record") };
        change(sequence, record);
        self
    }

    fn decision(self, change: impl FnOnce(&mut Decision)) -> Self {
        self.record(|_, record| {
            let Event::Decided(decision) = &mut record.events[0] else { panic!("a decision") };
            change(decision);
        })
    }

    fn provision(mut self, change: impl FnOnce(&mut Provision)) -> Self {
        let Step::Sent(Request::Provision(ask), _) = &mut self.steps[self.at] else { panic!("a request to launch") };
        change(ask);
        self
    }

    fn terminate(mut self, change: impl FnOnce(&mut String, &mut Terminate)) -> Self {
        let Step::Sent(Request::Terminate { site, message }, _) = &mut self.steps[self.at] else { panic!("a request to terminate") };
        change(site, message);
        self
    }

    /// The same request once more, so much later.
    fn again_after(mut self, length: Millis) -> Self {
        let Step::Sent(request, now) = self.steps[self.at].clone() else { panic!("a request") };
        let request = match request {
            Request::Provision(ask) => Request::Provision(Provision { not_after: ask.not_after + length, ..ask }),
            Request::Terminate { site, message } => {
                Request::Terminate { site, message: Terminate { not_after: message.not_after + length, ..message } }
            }
            dump @ Request::Dump { .. } => dump,
        };
        self.steps.insert(self.at + 1, Step::Sent(request, now + length));
        self
    }

    /// The request is sent again behind the first later record that fits, as if it were then.
    fn again_behind(mut self, fits: impl Fn(&Event) -> bool) -> Self {
        let behind = find(&self.steps, self.at, |step| event(step, &fits));
        let step = self.steps[self.at].clone();
        self.steps.insert(behind + 1, step);
        self
    }

    /// A record of this event follows on the step, or on the nearest record before it.
    fn then(mut self, event: Event) -> Self {
        let known = self.steps[..=self.at].iter().rev().find_map(|step| match step {
            Step::Committed(sequence, record) => Some((*sequence, record.at, record.epoch)),
            _ => None,
        });
        let (sequence, at, epoch) = known.expect("a record came before");
        // Subscribers are told of a record before the next one comes.
        let after = self.at + 1 + usize::from(matches!(self.steps.get(self.at + 1), Some(Step::Told(_))));
        self.steps.insert(after, Step::Committed(sequence + 1, Record::new(at, epoch, vec![event])));
        self
    }

    /// A record of this event comes right before the step.
    fn before(mut self, event: Event) -> Self {
        self.at -= 1;
        self.then(event)
    }

    /// What the host holds in memory behind the step is something else than the records tell.
    fn held(mut self, change: impl FnOnce(&mut DomainState)) -> Self {
        let mut state = watch(&self.steps[..=self.at]).expect("true up to here");
        let Step::Committed(sequence, record) = self.steps[self.at].clone() else { panic!("a record") };
        change(&mut state);
        self.steps[self.at] = Step::Held(sequence, record, Box::new(state));
        self
    }

    #[track_caller]
    fn breaks(self, rule: Rule, word: &str) {
        let violation = watch(&self.steps).expect_err("it is found out");
        assert_eq!(violation.rule, rule, "{violation}");
        assert!(violation.seen.contains(word), "{violation}");
    }
}

/// The instance of a launch order, as the tape's first two launches promised it.
fn instance(nth: usize) -> InstanceId {
    let ids = |step: &Step| match step {
        Step::Committed(_, record) => match &record.events[0] {
            Event::Decided(decision) => decision.launches.iter().flat_map(|it| it.instances.clone()).collect(),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    };
    tape().iter().flat_map(ids).nth(nth).expect("it was launched")
}

fn configured(change: Change) -> Event {
    Event::Configured(Configured { by: "ann".parse().expect("a name"), request: None, answer: Value::Null, change })
}

fn reported(id: InstanceId, state: Option<State>, undead: Option<bool>) -> Event {
    Event::Reported(Reported { id, state, update_counter: None, attributes: Default::default(), reason: None, undead })
}

fn judged(id: InstanceId, verdict: Judgement) -> Event {
    Event::Judged(Judged { id, verdict })
}

fn ended(reason: &str) -> Judgement {
    Judgement::Ended { reason: reason.to_owned() }
}

#[test]
fn a_true_run_breaks_no_rule() {
    let steps = tape();
    assert!(watch(&steps).is_ok());
    let requests = steps.iter().filter(|step| matches!(step, Step::Sent(..))).count();
    assert!(requests >= 8, "and it has something to tamper with: {requests} requests");
}

#[test]
fn a_second_launch_for_one_promise_is_caught() {
    let rule = Rule::LaunchedOnce;
    let first = || instance(0);
    Plant::at_record(1, launches).decision(|it| it.launches[0].instances[0] = first()).breaks(rule, "promised before");
    let launch = |steps: &[Step]| match &steps[find(steps, 0, |step| event(step, launches))] {
        Step::Committed(_, record) => match &record.events[0] {
            Event::Decided(it) => it.launches[0].launch.clone(),
            _ => panic!("a decision"),
        },
        _ => panic!("a record"),
    };
    let known = launch(&tape());
    Plant::at_record(1, launches).decision(|it| it.launches[0].launch = known).breaks(rule, "promised before");
    Plant::at_record(0, launches).decision(|it| it.launches[0].asked = 2).breaks(rule, "3 for 2");
    Plant::at_record(0, |it| matches!(it, Event::Judged(it) if it.verdict == Judgement::Stalled))
        .then(judged(instance(2), Judgement::Stalled))
        .breaks(rule, "asked for again");
}

#[test]
fn a_request_to_launch_that_nobody_promised_is_caught() {
    let rule = Rule::LaunchedOnce;
    let stranger = || "i02a-stranger".parse().expect("an id");
    Plant::at_provision(0).provision(|ask| ask.instances[0].node_id = stranger()).breaks(rule, "not on record");
    Plant::at_provision(0).provision(|ask| ask.instances[0].sequence += 1).breaks(rule, "was promised as part of");
    Plant::at_provision(0).provision(|ask| ask.launch_id = "l02a-other".parse().expect("an id")).breaks(rule, "was promised as part of");
    Plant::at_provision(0).provision(|ask| ask.site = "there".to_owned()).breaks(rule, "something else");
    Plant::at_provision(0).provision(|ask| ask.allocation = "large".to_owned()).breaks(rule, "something else");
    Plant::at_provision(0).provision(|ask| drop(ask.vars.remove("role"))).breaks(rule, "something else");
    Plant::at_provision(0).provision(|ask| drop(ask.extra_vars.remove("role"))).breaks(rule, "something else");
    let twice = |ask: &mut Provision| ask.instances.push(ask.instances[0].clone());
    Plant::at_provision(0).provision(twice).breaks(rule, "twice within");
    Plant::at_provision(0).again_after(Millis::new(4999)).breaks(rule, "twice within");
    Plant::at_provision(0).again_behind(|it| reports(it, State::Pending)).breaks(rule, "it is PENDING");
    // The stalled launch was asked for again; then its end was promised.
    Plant::at_provision(2)
        .again_behind(|it| matches!(it, Event::Judged(it) if it.verdict != Judgement::Stalled))
        .breaks(rule, "it is TERMINATING");
}

#[test]
fn an_end_without_a_reason_is_caught() {
    let rule = Rule::EndedForAReason;
    Plant::at_record(0, terminates).decision(|it| it.terminations[0].reason = " ".to_owned()).breaks(rule, "without a word");
    let stalls = |it: &Event| matches!(it, Event::Judged(it) if matches!(it.verdict, Judgement::Ended { .. }));
    Plant::at_record(0, stalls).record(|_, record| record.events[0] = judged(instance(2), ended(""))).breaks(rule, "without a word");
    // An end of somebody who has ended, or whose end is promised.
    Plant::at_record(0, terminates).decision(|it| it.terminations[0].accepted = vec![instance(2)]).breaks(rule, "it is TERMINATED");
    Plant::at_record(0, terminates).then(judged(instance(1), ended("once more"))).breaks(rule, "it is TERMINATING");
    Plant::at_record(0, |it| reports(it, State::Terminated)).then(judged(instance(2), ended("once more"))).breaks(rule, "once more");
    Plant::at_record(0, |it| reports(it, State::Running)).then(reported(instance(0), None, Some(true))).breaks(rule, "undead");
}

#[test]
fn a_record_that_is_dropped_too_early_is_caught() {
    let rule = Rule::EndedForAReason;
    let runs = |it: &Event| reports(it, State::Running);
    Plant::at_record(0, runs).then(judged(instance(0), Judgement::Reaped)).breaks(rule, "dropped");
    Plant::at_record(0, runs).then(Event::Removed).breaks(rule, "the domain went while");
    // Gone, but heard; and gone, but its end is asked for once more.
    let zombie = |it: &Event| matches!(it, Event::Judged(it) if matches!(it.verdict, Judgement::Health { health: Health::Zombie, .. }));
    Plant::at_record(0, zombie).then(judged(instance(1), Judgement::Reaped)).breaks(rule, "TERMINATED ZOMBIE");
    let undead = |it: &Event| matches!(it, Event::Reported(it) if it.undead == Some(true));
    Plant::at_record(0, undead).then(judged(instance(1), Judgement::Reaped)).breaks(rule, "undead");
    let last = |it: &Event| *it == Event::Removed;
    Plant::at_record(0, last).before(reported(instance(0), None, Some(true))).breaks(rule, "the domain went while");
}

#[test]
fn a_request_to_terminate_that_nobody_promised_is_caught() {
    let rule = Rule::EndedForAReason;
    let stranger = || "i02a-stranger".parse().expect("an id");
    Plant::at_terminate(0).terminate(|_, ask| ask.instances[0].node_id = instance(0)).breaks(rule, "it is RUNNING");
    Plant::at_terminate(0).terminate(|_, ask| ask.instances[0].node_id = stranger()).breaks(rule, "not on record");
    Plant::at_terminate(0).terminate(|_, ask| ask.instances[0].sequence += 1).breaks(rule, "was promised for");
    Plant::at_terminate(0).terminate(|site, _| *site = "there".to_owned()).breaks(rule, "was promised for");
    Plant::at_terminate(0).again_after(Millis::new(4999)).breaks(rule, "twice within");
    Plant::at_terminate(2).again_behind(|it| reports(it, State::Terminated)).breaks(rule, "it is TERMINATED");
}

#[test]
fn a_state_that_goes_back_is_caught() {
    let rule = Rule::NeverBackwards;
    let runs = |it: &Event| reports(it, State::Running);
    Plant::at_record(0, runs).then(reported(instance(0), Some(State::Pending), None)).breaks(rule, "PENDING after RUNNING");
    Plant::at_record(0, runs).then(reported(instance(0), Some(State::Running), None)).breaks(rule, "RUNNING after RUNNING");
    Plant::at_record(0, |it| reports(it, State::Terminated))
        .then(reported(instance(2), Some(State::Running), None))
        .breaks(rule, "RUNNING after TERMINATED");
    let back = |state: &mut DomainState| {
        let mut known = pilothouse_core::instance::Instance::clone(state.instance(&instance(0)).expect("it is there"));
        known.state = State::Started;
        state.set(known);
    };
    // In memory only: the records are true.
    Plant::at_record(1, runs).held(back).breaks(rule, "from RUNNING to STARTED in memory");
    Plant::at_record(0, |it| *it == judged(instance(2), Judgement::Reaped))
        .then(reported(instance(2), Some(State::Failed), None))
        .breaks(rule, "not on record");
}

#[test]
fn two_decisions_at_once_are_caught() {
    let rule = Rule::OneDecisionAtATime;
    let begun = |step: &Step| matches!(step, Step::Begun);
    let mut twice = Plant::nth(0, begun);
    twice.steps.insert(twice.at, Step::Begun);
    twice.breaks(rule, "while another was under way");
    let mut never = Plant::nth(0, begun);
    never.steps.remove(never.at);
    never.breaks(rule, "that nobody made");
    let mut recorded_early = Plant::nth(0, |step| matches!(step, Step::Ended));
    recorded_early.steps.swap(recorded_early.at, recorded_early.at + 1);
    recorded_early.breaks(rule, "that nobody made");
    Plant::at_record(0, launches).record(|_, record| record.events.extend(record.events.clone())).breaks(rule, "that nobody made");
    // It began before the decision before it was recorded; before this host took the domain; or after its own record.
    let first = |steps: &[Step]| match &steps[find(steps, 0, |step| event(step, launches))] {
        Step::Committed(sequence, _) => *sequence,
        _ => panic!("a record"),
    };
    let sequence = first(&tape());
    Plant::at_record(0, terminates).decision(|it| it.based_on = sequence).breaks(rule, "which is not from");
    Plant::at_record(1, launches).decision(|it| it.based_on = sequence + 3).breaks(rule, "which is not from");
    Plant::at_record(1, launches).decision(|it| it.based_on += 1).breaks(rule, "which is not from");
}

#[test]
fn memory_that_is_not_what_the_journal_tells_is_caught() {
    let rule = Rule::FoldIsState;
    let runs = |it: &Event| reports(it, State::Running);
    Plant::at_record(0, runs).held(|state| state.paused = true).breaks(rule, "paused");
    Plant::at_record(0, runs).held(|state| state.sequence -= 1).breaks(rule, "sequence");
    // A record that was never folded in.
    let mut lost = Plant::at_record(0, runs);
    let before = watch(&lost.steps[..lost.at]).expect("true up to here");
    let Step::Committed(sequence, record) = lost.steps[lost.at].clone() else { panic!("a record") };
    lost.steps[lost.at] = Step::Held(sequence, record, Box::new(before));
    lost.breaks(rule, "in memory");
    // The state is right and what is derived from it is not.
    let without_index =
        |state: &mut DomainState| *state = serde_json::from_str(&serde_json::to_string(state).expect("JSON")).expect("a state");
    Plant::at_record(0, runs).held(without_index).breaks(rule, "what is derived");
    let snapshot = |it: &Event| matches!(it, Event::Snapshot(_));
    Plant::at_record(0, snapshot)
        .record(|_, record| {
            if let Event::Snapshot(state) = &mut record.events[0] {
                state.next_ordinal += 1;
            }
        })
        .breaks(rule, "the snapshot");
    // A record that can't be read, and one that is another one when it is read.
    Plant::at_record(0, runs).record(|_, record| record.v += 1).breaks(rule, "can't be read");
}

#[test]
fn a_decision_that_brings_a_domain_above_its_maximum_is_caught() {
    let rule = Rule::MaximumRespected;
    let strangers: Vec<InstanceId> = (0..2).map(|nth| format!("i02a-more{nth}").parse().expect("an id")).collect();
    Plant::at_record(0, launches)
        .decision(|it| {
            it.launches[0].asked = 5;
            it.launches[0].instances.extend(strangers);
        })
        .breaks(rule, "5 instances");
    // The maximum was lowered before: what is there stays, and nothing may come.
    let lowered = |steps: &[Step]| {
        let mut config = watch(&steps[..10]).expect("a state").config;
        config.general.max_instances = 2;
        configured(Change::Reconfigured { config, engine: Default::default() })
    };
    let change = lowered(&tape());
    Plant::at_record(1, launches).before(change).breaks(rule, "max_instances is 2");
}

#[test]
fn a_stopped_domain_that_does_something_is_caught() {
    let rule = Rule::StoppedMeansStopped;
    Plant::at_record(0, launches).before(configured(Change::Paused(true))).breaks(rule, "paused");
    Plant::at_record(0, terminates).before(configured(Change::Paused(true))).breaks(rule, "paused");
    Plant::at_record(0, launches).before(configured(Change::DryRun(true))).breaks(rule, "dry run");
    Plant::at_record(0, launches).before(configured(Change::Removing)).breaks(rule, "Removing");
    Plant::at_record(0, |it| matches!(it, Event::Faulted(_))).before(configured(Change::Removing)).breaks(rule, "Removing");
}

fn killed(id: InstanceId) -> Event {
    configured(Change::Killed { id, reason: "so it is".to_owned() })
}

fn kills(event: &Event) -> bool {
    matches!(event, Event::Configured(Configured { change: Change::Killed { .. }, .. }))
}

#[test]
fn an_end_of_what_is_protected_is_caught() {
    let rule = Rule::ProtectedStay;
    let protected = |on| configured(Change::Protected { id: instance(1), on });
    Plant::at_record(0, terminates).before(protected(true)).breaks(rule, "protected");
    Plant::at_record(0, kills).then(killed(instance(0))).breaks(rule, "it is RUNNING");
    Plant::at_record(0, terminates).decision(|it| it.terminations[0].accepted = vec![instance(0)]).breaks(rule, "RUNNING");
}

#[test]
fn a_launch_beside_the_instance_that_it_replaces_is_caught() {
    let rule = Rule::ReplacedLeave;
    let replacing = |id: InstanceId| Plant::at_record(1, launches).decision(|it| it.launches[0].replaces = Some(id));
    replacing(instance(0)).breaks(rule, "RUNNING");
    // The third was given up before, and strangers are nowhere.
    for id in [instance(2), "i02a-stranger".parse().expect("an id")] {
        assert!(watch(&replacing(id).steps).is_ok());
    }
}

#[test]
fn a_kill_without_a_reason_or_of_who_is_gone_is_caught() {
    let rule = Rule::EndedForAReason;
    let no_words = |record: &mut Record| {
        let Event::Configured(Configured { change: Change::Killed { reason, .. }, .. }) = &mut record.events[0] else { panic!("kills") };
        reason.clear();
    };
    Plant::at_record(0, kills).record(|_, record| no_words(record)).breaks(rule, "without a word");
    Plant::at_record(0, kills).then(killed(instance(2))).breaks(rule, "it is TERMINATED");
    Plant::at_record(0, kills).before(killed("i02a-stranger".parse().expect("an id"))).breaks(Rule::NeverBackwards, "not on record");
}

fn swaps(event: &Event) -> bool {
    matches!(event, Event::Swapped(_))
}

fn swapped(record: &mut Record) -> &mut Swapped {
    let found = record.events.iter_mut().find_map(|event| if let Event::Swapped(it) = event { Some(it) } else { None });
    found.expect("a swap")
}

#[test]
fn a_decision_of_an_engine_that_was_not_in_force_is_caught() {
    let rule = Rule::DecidedInForce;
    Plant::at_record(0, launches).decision(|it| it.engine.version = "9.9.9".to_owned()).breaks(rule, "not in force at");
    // Of the version before, although it looked at what came after the swap; and of the one after, although it looked at what was before.
    let of_new = |event: &Event| matches!(event, Event::Decided(it) if it.engine.version == "1.1.0");
    let old = |it: &mut Decision| (it.engine.version, it.engine.digest) = ("1.0.0".to_owned(), "00".to_owned());
    Plant::at_record(0, of_new).decision(old).breaks(rule, "tape 1.0.0, which was not in force at");
    Plant::at_record(0, of_new).decision(|it| it.based_on -= 3).breaks(rule, "tape 1.1.0, which was not in force at");
}

#[test]
fn a_swap_while_an_engine_is_asked_or_for_no_reason_is_caught() {
    let rule = Rule::DecidedInForce;
    let mut asked = Plant::at_record(0, swaps);
    asked.steps.insert(asked.at, Step::Begun);
    asked.breaks(rule, "while the one before is asked");
    Plant::at_record(0, swaps).record(|_, record| swapped(record).engine.clone_from(&in_force())).breaks(rule, "which is in force");
    let rolled_back = SwapReason::RolledBack { kind: FaultKind::Trap, faults: 3 };
    Plant::at_record(0, swaps).record(|_, record| swapped(record).why = rolled_back).breaks(rule, "a fault is or is not why");
    // Going back without the fault that leads to it, for the fault of another version, or for no fault at all.
    Plant::at_record(1, swaps).record(|_, record| drop(record.events.remove(0))).breaks(rule, "a fault is or is not why");
    Plant::at_record(1, swaps).record(|_, record| swapped(record).why = SwapReason::Followed).breaks(rule, "a fault is or is not why");
    let of_another = |record: &mut Record| {
        let Event::Faulted(fault) = &mut record.events[0] else { panic!("a fault") };
        fault.engine = in_force();
    };
    Plant::at_record(1, swaps).record(|_, record| of_another(record)).breaks(rule, "for a fault of one that was not");
}

#[test]
fn an_engine_that_is_asked_while_it_is_held_is_caught() {
    let rule = Rule::HeldIsHeld;
    let holds = |event: &Event| matches!(event, Event::Held(_));
    let mut asked = Plant::at_record(0, holds);
    asked.steps.insert(asked.at + 1, Step::Begun);
    asked.breaks(rule, "was asked, and it is held");
    // Nobody said a word.
    let retried = |event: &Event| matches!(event, Event::Configured(Configured { change: Change::Retried, .. }));
    let mut silent = Plant::at_record(0, retried);
    silent.steps.remove(silent.at);
    silent.breaks(rule, "was asked, and it is held");
    Plant::at_record(0, holds).record(|_, record| drop(record.events.remove(0))).breaks(rule, "no fault of the engine in force");
    let other = |record: &mut Record| {
        let Event::Held(held) = &mut record.events[1] else { panic!("a hold") };
        held.engine.version = "9.9.9".to_owned();
    };
    Plant::at_record(0, holds).record(|_, record| other(record)).breaks(rule, "holds tape 9.9.9");
}

type Notices = Vec<(pilothouse_core::record::Subscriber, pilothouse_core::message::Notice)>;

#[test]
fn what_subscribers_are_told_too_much_too_little_or_wrong_is_caught() {
    let rule = Rule::ToldOnce;
    let tells = |step: &Step| matches!(step, Step::Told(_));
    let told = |change: &dyn Fn(&mut Notices)| {
        let mut plant = Plant::nth(0, tells);
        let Step::Told(notices) = &mut plant.steps[plant.at] else { panic!("notices") };
        change(notices);
        plant
    };
    told(&|notices| notices.clear()).breaks(rule, "bob was not told");
    told(&|notices| notices.push(notices[0].clone())).breaks(rule, "no news");
    told(&|notices| notices[0].0 = subscriber("eve")).breaks(rule, "eve was told");
    told(&|notices| notices[0].1.state = State::Failed).breaks(rule, "FAILED, which is no news");
    told(&|notices| notices[0].1.node_id = instance(0)).breaks(rule, "no news");
    told(&|notices| notices[0].1.domain_id = "other".parse().expect("a name")).breaks(rule, "was told");
    told(&|notices| notices[0].1.properties.hostname = Some("vm-7".to_owned())).breaks(rule, "vm-7");
    // Not at all, or twice.
    let mut silent = Plant::nth(0, tells);
    silent.steps.remove(silent.at);
    silent.breaks(rule, "bob was not told");
    let mut late = Plant::nth(0, tells);
    let notices = late.steps[late.at].clone();
    late.steps.insert(late.at + 1, notices);
    late.breaks(rule, "no news");
}

#[test]
fn an_abandoned_domain_goes_with_its_instances_and_no_other_does() {
    let runs = |it: &Event| reports(it, State::Running);
    let abandoned = || configured(Change::Abandoned);
    Plant::at_record(0, runs).then(Event::Removed).breaks(Rule::EndedForAReason, "the domain went while");
    let mut plant = Plant::at_record(0, runs).then(abandoned());
    plant.at += 1;
    let plant = plant.then(Event::Removed);
    assert!(watch(&plant.steps[..=plant.at + 1]).is_ok(), "nobody waits for them");
}

#[test]
fn a_restore_that_begins_no_epoch_of_its_own_is_caught() {
    let mut plant = Plant::nth(1, |step| event(step, |it| matches!(it, Event::Took { .. })));
    let state = watch(&plant.steps[..=plant.at]).expect("true up to here");
    let Step::Committed(sequence, record) = plant.steps[plant.at].clone() else { panic!("a record") };
    let restored = pilothouse_core::record::Restored { by: "ann".parse().expect("a name"), backup_at: record.at, state, paused: false };
    let at_epoch = |epoch| Step::Committed(sequence + 1, Record::new(record.at, epoch, vec![Event::Restored(Box::new(restored.clone()))]));
    plant.steps.truncate(plant.at + 1);
    plant.steps.push(at_epoch(record.epoch + 5));
    assert!(watch(&plant.steps).is_ok());
    plant.steps.pop();
    plant.steps.push(at_epoch(record.epoch));
    plant.breaks(Rule::InOrder, "is of epoch 2, expected 3");
}

#[test]
fn records_and_requests_out_of_order_are_caught() {
    let rule = Rule::InOrder;
    let runs = |it: &Event| reports(it, State::Running);
    Plant::at_record(0, runs).record(|sequence, _| *sequence -= 3).breaks(rule, "came after");
    // Of the host that had the domain before.
    Plant::at_record(2, runs).record(|_, record| record.epoch -= 1).breaks(rule, "is of epoch 1, expected 2");
    Plant::at_record(0, runs).record(|_, record| record.epoch += 1).breaks(rule, "is of epoch 2, expected 1");
    Plant::at_record(1, |it| matches!(it, Event::Took { .. })).record(|_, record| record.epoch -= 1).breaks(rule, "expected 2");
    Plant::at_record(0, runs).record(|_, record| record.at = record.at - Millis::from_secs(60)).breaks(rule, "before");
    Plant::at_provision(3).provision(|ask| ask.epoch -= 1).breaks(rule, "a request of epoch 1");
    Plant::at_terminate(1).terminate(|_, ask| ask.epoch -= 1).breaks(rule, "a request of epoch 1");
    Plant::nth(0, |step| matches!(step, Step::Sent(Request::Dump { message, .. }, _) if message.epoch == 2))
        .stale_dump()
        .breaks(rule, "epoch 1");
    Plant::at_provision(0).provision(|ask| ask.not_after = ask.not_after - Millis::from_secs(15)).breaks(rule, "good until");
    Plant::at_terminate(0).terminate(|_, ask| ask.not_after = ask.not_after + Millis::new(1)).breaks(rule, "good until");
}

impl Plant {
    fn stale_dump(mut self) -> Self {
        let Step::Sent(Request::Dump { message, .. }, _) = &mut self.steps[self.at] else { panic!("a request for the state") };
        message.epoch -= 1;
        self
    }
}
