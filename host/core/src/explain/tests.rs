//! Stories told from records made by hand and folded as the journal would be.

use super::view::ordinals;
use super::*;
use crate::config::DomainConfig;
use crate::cycle::{Cause, FaultKind, Status};
use crate::engine::{Compared, EngineHeld, HoldReason, Requested as Wanted, Shadow, Shadowing, SwapReason, Swapped, Tally};
use crate::guard::{Guard, Ruling};
use crate::id::InstanceId;
use crate::instance::{Health, State};
use crate::name::{DomainKey, Slot};
use crate::problem::Problem;
use crate::record::{
    Change, Configured, DecidedLaunch, DecidedTermination, Decision, EngineInForce, Event, Faulted, Judged, Judgement, Record, Reported,
};
use crate::state::DomainState;
use crate::time::{Millis, Timestamp};

/// A domain and its journal; a record a second.
struct Journal {
    state: DomainState,
    records: Vec<(u64, Record)>,
}

fn name(text: &str) -> crate::name::Name {
    text.parse().expect("a name")
}

fn id(text: &str) -> InstanceId {
    text.parse().expect("an id")
}

fn engine() -> EngineInForce {
    EngineInForce { name: "simplest".to_owned(), version: "0.1.0".to_owned(), digest: "d1".to_owned() }
}

impl Journal {
    /// A domain that was just added.
    fn new() -> Self {
        let key = DomainKey { owner: name("ann"), name: name("web") };
        let mut journal = Self { state: DomainState::absent(key, Slot(7)), records: Vec::new() };
        journal.write(Event::Took { host: name("h1") });
        journal.change(Change::Added { config: DomainConfig::default(), engine: engine() });
        journal
    }

    fn write(&mut self, event: Event) -> u64 {
        let sequence = self.state.sequence + 1;
        let record = Record::new(Timestamp::from_secs(1000 + sequence), 1, vec![event]);
        self.state.apply(sequence, &record);
        self.records.push((sequence, record));
        sequence
    }

    fn change(&mut self, change: Change) {
        self.write(Event::Configured(Configured { by: name("ann"), request: None, answer: Default::default(), change }));
    }

    fn decide(&mut self, decision: Decision) -> u64 {
        self.write(Event::Decided(Box::new(Decision { engine: engine(), ..decision })))
    }

    fn launch(&mut self, ids: &[&str]) -> u64 {
        let launch = DecidedLaunch {
            launch: "l1".parse().expect("an id"),
            deployable_type: "worker".to_owned(),
            site: "local".to_owned(),
            allocation: "small".to_owned(),
            extra_vars: vec![],
            replaces: None,
            asked: 3,
            instances: ids.iter().map(|text| id(text)).collect(),
            refused: None,
            rulings: vec![Ruling { guard: Guard::Budget, passed: ids.len() as u32, note: None }],
        };
        let reason = format!("launching {}", ids.len());
        self.decide(Decision { cause: Cause::Configured, reason, launches: vec![launch], ..Decision::default() })
    }

    fn terminate(&mut self, termination: DecidedTermination) -> u64 {
        self.decide(Decision { reason: "2 of 3 healthy".to_owned(), terminations: vec![termination], ..Decision::default() })
    }

    fn report(&mut self, of: &str, state: State, reason: Option<&str>) -> u64 {
        self.write(Event::Reported(Reported {
            id: id(of),
            state: Some(state),
            update_counter: None,
            attributes: Default::default(),
            reason: reason.map(str::to_owned),
            undead: None,
        }))
    }

    fn judge(&mut self, of: &str, verdict: Judgement) -> u64 {
        self.write(Event::Judged(Judged { id: id(of), verdict }))
    }

    fn view(&self) -> View<'_> {
        View { state: &self.state, records: &self.records, now: self.state.now, eyes: None, asked: None, later: None }
    }

    fn domain(&self) -> DomainStory {
        match explain_domain(&self.view()) {
            Explanation::Domain(story) => *story,
            other => panic!("not of a domain: {other:?}"),
        }
    }

    fn instance(&self, which: &str) -> InstanceStory {
        match explain_instance(&self.view(), which) {
            Some(Explanation::Instance(story)) => *story,
            other => panic!("no story of {which}: {other:?}"),
        }
    }
}

fn health(health: Health, problems: Vec<Problem>) -> Judgement {
    let heartbeats = u64::from(!problems.is_empty());
    Judgement::Health { health, well: false, problems, error_time: None, heartbeats }
}

fn ends(ids: &[&str]) -> DecidedTermination {
    DecidedTermination {
        reason: "missing".to_owned(),
        accepted: ids.iter().map(|text| id(text)).collect(),
        again: vec![],
        deferred: vec![],
        dropped: vec![],
        refused: None,
        dripped: false,
        rulings: vec![Ruling { guard: Guard::Brake, passed: 1, note: None }],
    }
}

#[test]
fn a_domain_tells_its_newest_decisions_and_who_changed_it() {
    let mut journal = Journal::new();
    let launched = journal.launch(&["a", "b"]);
    journal.change(Change::Paused(true));
    let stable = journal.decide(Decision { status: Status::Stable, memory: Some(vec![1]), ..Decision::default() });
    let story = journal.domain();
    assert_eq!(story.decisions.iter().map(|told| told.sequence).collect::<Vec<_>>(), [stable, launched]);
    assert_eq!(story.decisions[0].decision.memory, None, "what the engine remembers is its own affair");
    assert_eq!(story.decisions[1].decision.launches[0].rulings[0].guard, Guard::Budget);
    assert_eq!(story.changes.iter().map(|told| &*told.change).collect::<Vec<_>>(), ["paused", "added, decided by simplest 0.1.0"]);
    let ordinals: Vec<_> = story.instances.values().map(|mention| mention.ordinal).collect();
    assert_eq!(ordinals, [Some(0), Some(1)]);
    assert!(story.paused && story.status == Status::Stable);
}

#[test]
fn an_open_fault_and_a_failing_site_are_told() {
    let mut journal = Journal::new();
    journal.launch(&["a"]);
    journal.report("a", State::Failed, Some("no such file"));
    let message = "unreachable".to_owned();
    let kind = FaultKind::Trap;
    journal.write(Event::Faulted(Faulted {
        engine: engine(),
        call: "decide".to_owned(),
        kind,
        message,
        backtrace: Vec::new(),
        in_a_row: 1,
        fuel: 5,
        log: Vec::new(),
    }));
    let story = journal.domain();
    assert_eq!(story.fault.map(|fault| fault.message), Some("trap in decide: unreachable".to_owned()));
    assert_eq!(story.failing_sites["local"].failures, 1);
}

#[test]
fn only_the_newest_few_decisions_are_told_and_fewer_when_they_name_many() {
    let mut journal = Journal::new();
    for _ in 0..8 {
        journal.decide(Decision::default());
    }
    assert_eq!(journal.domain().decisions.len(), 5);
    journal.launch(&["a"]);
    let many: Vec<String> = (0..3000).map(|n| format!("n{n}")).collect();
    let newest = journal.launch(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let story = journal.domain();
    assert_eq!((story.decisions.len(), story.decisions[0].sequence), (1, newest), "the newest is told whole");
    assert_eq!(story.instances.len(), 1000);
}

#[test]
fn a_domain_of_the_same_name_before_is_another_story() {
    let mut journal = Journal::new();
    journal.launch(&["a"]);
    journal.write(Event::Removed);
    journal.change(Change::Added { config: DomainConfig::default(), engine: engine() });
    journal.launch(&["b"]);
    let story = journal.domain();
    assert_eq!((story.decisions.len(), story.changes.len()), (1, 1));
    assert_eq!(explain_instance(&journal.view(), "a"), None);
    assert_eq!(journal.instance("0").instance_id, id("b"));
}

#[test]
fn an_instance_is_known_by_id_by_number_and_by_what_people_say() {
    let mut journal = Journal::new();
    journal.launch(&["a", "b"]);
    for which in ["b", "1", "web/1"] {
        assert_eq!(journal.instance(which).instance_id, id("b"), "{which}");
    }
    for which in ["c", "2", "web/2", "other/1", "web/", "", "1 ", "-1", "99999999999999999999999"] {
        assert_eq!(explain_instance(&journal.view(), which), None, "{which:?}");
    }
}

#[test]
fn an_instance_tells_why_it_was_started_what_it_went_through_and_why_it_was_ended() {
    let mut journal = Journal::new();
    let launched = journal.launch(&["a", "b"]);
    journal.report("a", State::Running, None);
    journal.judge("a", health(Health::Ok, vec![]));
    journal.judge("a", health(Health::ProcessError, vec![Problem::Text("disk full".to_owned())]));
    journal.terminate(DecidedTermination {
        deferred: vec![id("a")],
        rulings: vec![Ruling { guard: Guard::Brake, passed: 0, note: Some("too many at once".to_owned()) }],
        ..ends(&[])
    });
    journal.terminate(DecidedTermination { dropped: vec![(id("a"), "it recovered".to_owned())], ..ends(&[]) });
    let ended = journal.terminate(ends(&["a"]));
    journal.terminate(DecidedTermination { again: vec![id("a")], ..ends(&[]) });
    journal.report("a", State::Terminated, None);

    let story = journal.instance("a");
    let started = story.started.expect("known");
    assert_eq!((started.sequence, &*started.reason, started.asked, started.granted), (launched, "launching 2", 3, 2));
    let Some(Ending::Engine { sequence, reason, decision, .. }) = story.ended else { panic!("{:?}", story.ended) };
    assert_eq!((sequence, &*reason, &*decision), (ended, "missing", "2 of 3 healthy"));
    let steps: Vec<StepKind> = story.history.into_iter().map(|step| step.what).collect();
    let reason = || "missing".to_owned();
    assert_eq!(
        steps,
        [
            StepKind::StartPromised { reason: "launching 2".to_owned() },
            StepKind::State { state: State::Running, reason: None },
            StepKind::Health { health: Health::Ok, problems: vec![], evidence: None },
            StepKind::Health { health: Health::ProcessError, problems: vec!["disk full".to_owned()], evidence: None },
            StepKind::EndDeferred { reason: reason(), held_by: "brake: too many at once".to_owned() },
            StepKind::EndDropped { reason: reason(), because: "it recovered".to_owned() },
            StepKind::EndPromised { reason: reason(), by_host: false },
            StepKind::EndAskedAgain,
            StepKind::State { state: State::Terminated, reason: None },
        ]
    );
    assert_eq!(story.now.map(|now| now.state), Some(State::Terminated));
}

#[test]
fn who_ended_an_instance_is_told_apart() {
    let mut journal = Journal::new();
    journal.launch(&["a", "b"]);
    journal.report("a", State::Failed, Some("exit code 1"));
    journal.judge("b", Judgement::Stalled);
    journal.judge("b", Judgement::Ended { reason: "no progress".to_owned() });
    assert!(matches!(journal.instance("a").ended, Some(Ending::Itself { state: State::Failed, reason: Some(_), .. })));
    assert!(matches!(journal.instance("b").ended, Some(Ending::Host { reason, .. }) if reason == "no progress"));
}

#[test]
fn a_reaped_instance_still_has_its_story_while_the_records_last() {
    let mut journal = Journal::new();
    journal.launch(&["a", "b"]);
    journal.report("a", State::Failed, None);
    journal.judge("a", Judgement::Reaped);
    journal.launch(&["c"]);
    let story = journal.instance("web/0");
    assert_eq!((story.instance_id, story.ordinal, story.now), (id("a"), Some(0), None));
    journal.records.pop();
    assert_eq!(journal.instance("a").ordinal, None, "records that don't reach up to the state tell no number");
    journal.records.drain(..3);
    assert_eq!(explain_instance(&journal.view(), "a"), None, "nobody knows it any more");
    assert_eq!(journal.instance("b").started, None, "on record, but its launch is not among these records");
}

#[test]
fn a_dry_run_launches_nobody() {
    let mut journal = Journal::new();
    journal.launch(&["a"]);
    journal.change(Change::DryRun(true));
    journal.launch(&["x"]);
    let Some((_, last)) = journal.records.last_mut() else { panic!("written") };
    let Event::Decided(decision) = &mut last.events[0] else { panic!("a decision") };
    decision.dry_run = true;
    assert_eq!(explain_instance(&journal.view(), "x-unknown"), None);
    assert_eq!(ordinals(&journal.state, &journal.records).get(&id("x")), None);
}

#[test]
fn a_life_of_many_steps_is_cut_to_the_newest() {
    let mut journal = Journal::new();
    journal.launch(&["a"]);
    for n in 0..300 {
        journal.judge("a", health(if n % 2 == 0 { Health::OutOfContact } else { Health::Ok }, vec![]));
    }
    let story = journal.instance("a");
    assert_eq!((story.history.len(), story.left_out), (200, 101));
    assert!(story.started.is_some());
}

/// Another version of the engine.
fn version(text: &str) -> EngineInForce {
    EngineInForce { version: text.to_owned(), digest: format!("d{text}"), ..engine() }
}

impl Journal {
    fn swap(&mut self, to: &str, why: SwapReason) {
        self.write(Event::Swapped(Swapped { engine: version(to), why, reference: None }));
    }

    fn fault(&mut self, of: EngineInForce) {
        let (call, kind, message) = ("decide".to_owned(), FaultKind::Trap, "unreachable".to_owned());
        let backtrace = vec!["a".to_owned(), "b".to_owned()];
        let fault = Faulted { engine: of, call, kind, message, backtrace, in_a_row: 1, fuel: 5, log: Vec::new() };
        self.write(Event::Faulted(fault));
    }
}

#[test]
fn a_version_that_a_domain_went_back_from_is_told_until_a_newer_one_is_in_force() {
    let back = SwapReason::RolledBack { kind: FaultKind::Trap, faults: 3 };
    let mut journal = Journal::new();
    journal.decide(Decision::default());
    journal.swap("0.2.0", SwapReason::Followed);
    journal.fault(version("0.2.0"));
    journal.write(Event::Swapped(Swapped { engine: engine(), why: back, reference: None }));
    let story = journal.domain();
    let [Hold::RolledBack { from, to, why, fault: Some(fault), .. }] = &story.holds[..] else { panic!("{:?}", story.holds) };
    assert_eq!((from, to, &**why), (&version("0.2.0"), &engine(), "trap in decide: unreachable"));
    assert_eq!((&fault.backtrace[..], fault.fuel), (&["a".to_owned(), "b".to_owned()][..], 5));
    // A fault of the version in force is another story.
    journal.fault(engine());
    let holds = journal.domain().holds;
    let [Hold::Failing { .. }, Hold::RolledBack { fault: Some(of_before), .. }] = &holds[..] else { panic!("{holds:?}") };
    assert_eq!(of_before, fault, "that of the rejected version, not the newest of all");
    journal.swap("0.3.0", SwapReason::Followed);
    assert_eq!(journal.domain().holds, [], "something newer is in force");
    assert_eq!(journal.state.lineage.as_ref().map(|it| it.rejected.len()), Some(1), "and it is still not to be taken up");
}

#[test]
fn a_file_that_was_saved_anew_and_failed_is_told_like_a_version() {
    let mut journal = Journal::new();
    journal.decide(Decision::default());
    let anew = EngineInForce { digest: "d2".to_owned(), ..engine() };
    journal.write(Event::Swapped(Swapped { engine: anew.clone(), why: SwapReason::Reloaded, reference: None }));
    journal.write(Event::Swapped(Swapped {
        engine: engine(),
        why: SwapReason::RolledBack { kind: FaultKind::Trap, faults: 3 },
        reference: None,
    }));
    assert_eq!(rolled_back(&journal.state).map(|it| &it.engine), Some(&anew));
}

#[test]
fn who_asks_for_another_engine_is_not_told_of_what_the_one_before_went_back_from() {
    let back = SwapReason::RolledBack { kind: FaultKind::Trap, faults: 3 };
    let mut journal = Journal::new();
    journal.decide(Decision::default());
    journal.swap("0.2.0", SwapReason::Followed);
    journal.write(Event::Swapped(Swapped { engine: engine(), why: back, reference: None }));
    assert!(rolled_back(&journal.state).is_some());
    journal.state.config.general.engine = "simplest@0.1".to_owned();
    assert_eq!(rolled_back(&journal.state), None, "the configuration would not take it up anyhow");
    journal.state.config.general.engine = "npreserving".to_owned();
    assert_eq!(rolled_back(&journal.state), None);
}

#[test]
fn an_engine_that_is_held_is_told_first_and_its_fault_with_it() {
    let mut journal = Journal::new();
    journal.fault(version("0.0.1"));
    journal.fault(engine());
    journal.change(Change::Paused(true));
    let why = HoldReason::Failed { kind: FaultKind::Trap, faults: 3 };
    let held = journal.write(Event::Held(EngineHeld { engine: engine(), why: why.clone() }));
    let holds = journal.domain().holds;
    let [Hold::EngineHeld { since, why: told, fault: Some(fault), .. }, Hold::Paused { .. }] = &holds[..] else { panic!("{holds:?}") };
    assert_eq!((*since, told, fault.sequence), (Timestamp::from_secs(1000 + held), &why, held - 2));
    journal.change(Change::Retried);
    let holds = journal.domain().holds;
    assert!(matches!(&holds[..], [Hold::Failing { .. }, Hold::Paused { .. }]), "{holds:?}");
}

#[test]
fn what_people_changed_does_not_hide_how_the_engine_came_into_force() {
    let mut journal = Journal::new();
    for to in ["0.2.0", "0.3.0", "0.4.0", "0.5.0"] {
        journal.swap(to, SwapReason::Followed);
    }
    for n in 0..8 {
        journal.change(Change::Paused(n % 2 == 0));
    }
    let changes = journal.domain().changes;
    let by_themselves: Vec<_> = changes.iter().filter(|it| it.by.is_none()).map(|it| &*it.change).collect();
    let words = |to: &str| format!("decided by simplest {to} from now on, which is newer");
    assert_eq!(by_themselves, [words("0.5.0"), words("0.4.0"), words("0.3.0")]);
    assert_eq!(changes.len() - by_themselves.len(), 5);
    assert!(changes.is_sorted_by(|newer, older| newer.sequence > older.sequence), "{changes:?}");
}

#[test]
fn an_instance_tells_which_version_decided_if_it_is_not_the_one_in_force() {
    let mut journal = Journal::new();
    journal.launch(&["a"]);
    assert_eq!(journal.instance("a").started.expect("known").in_force, None);
    journal.swap("0.2.0", SwapReason::Followed);
    let story = journal.instance("a");
    let started = story.started.expect("known");
    assert_eq!((started.engine, started.in_force), (engine(), Some(version("0.2.0"))));
    journal.terminate(ends(&["a"]));
    let Some(Ending::Engine { in_force, .. }) = journal.instance("a").ended else { panic!("ended by its engine") };
    assert_eq!(in_force, Some(version("0.2.0")), "decided by the version before");
}

#[test]
fn a_shadow_is_told_as_far_as_it_is_on_record_and_as_its_host_knows_it() {
    let mut journal = Journal::new();
    let shadow = |since: u64| Shadow {
        engine: version("0.2.0"),
        reference: "simplest".to_owned(),
        by: name("ann"),
        since: Timestamp::from_secs(since),
        promote_after: Some(Millis::from_secs(60)),
        tally: Tally::default(),
    };
    let compared = |reason: &str, differed: u64| {
        let requested = Some(Wanted { reason: reason.to_owned(), ..Wanted::default() });
        let tally = Tally { compared: 10, differed, ..Tally::default() };
        Event::Compared(Box::new(Compared { engine: version("0.2.0"), based_on: 1, tally, requested }))
    };
    assert_eq!(journal.domain().shadow, None);
    journal.change(Change::Shadowed(Some(Box::new(shadow(1003)))));
    journal.write(compared("long ago", 1));
    // The same version once more, from now on.
    let since = journal.state.now + Millis::from_secs(1);
    journal.change(Change::Shadowed(Some(Box::new(shadow(since.as_millis() / 1000)))));
    let told = journal.domain().shadow.expect("one runs beside");
    assert_eq!((told.said, told.shadow.tally.compared, told.promoted_at), (None, 0, None), "what was before is another story");
    journal.write(compared("3 are missing", 4));
    let on_record = journal.domain().shadow.expect("one runs beside");
    assert_eq!((on_record.said.as_deref(), on_record.shadow.tally.differed), (Some("3 are missing"), 4));

    let of_another_time = Shadowing::begin(&shadow(7), journal.state.now);
    assert_eq!(ShadowTold::of(&journal.state, Some(&of_another_time)).expect("there").quiet_since, None);
    let begun = Shadowing::begin(journal.state.shadow().expect("there"), journal.state.now);
    let known = ShadowTold::of(&journal.state, Some(&begun)).expect("there").with_words_of(Some(on_record));
    assert_eq!((known.quiet_since, known.promoted_at), (Some(journal.state.now), Some(journal.state.now + Millis::from_secs(60))));
    assert_eq!(known.said.as_deref(), Some("3 are missing"));
    journal.change(Change::Shadowed(None));
    assert_eq!(journal.domain().shadow, None);
}

#[test]
fn a_story_survives_json() {
    let mut journal = Journal::new();
    journal.launch(&["a"]);
    journal.report("a", State::Running, None);
    journal.terminate(ends(&["a"]));
    for story in [explain_domain(&journal.view()), explain_instance(&journal.view(), "a").expect("known")] {
        let json = serde_json::to_vec(&story).expect("JSON");
        assert_eq!(serde_json::from_slice::<Explanation>(&json).expect("an explanation"), story);
    }
}

#[test]
fn a_decision_from_before_the_counts_were_kept_is_still_read() {
    let mut journal = Journal::new();
    journal.decide(Decision { saw: Some(journal.state.counts()), reason: "well".to_owned(), ..Decision::default() });
    let (_, record) = journal.records.last().expect("it was written");
    let text = String::from_utf8(record.to_bytes()).expect("JSON");
    let mut old: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(old["events"][0]["decided"].as_object_mut().and_then(|decision| decision.remove("saw")).is_some(), "{old}");
    let read = Record::from_bytes(old.to_string().as_bytes()).expect("a record");
    let Event::Decided(decision) = &read.events[0] else { panic!("{read:?}") };
    assert_eq!((decision.saw, &*decision.reason), (None, "well"));
}
